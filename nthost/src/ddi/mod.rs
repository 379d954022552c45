//! The border: constant tables of everything a driver can call, and the calls into the driver.
//!
//! Both directions are generated from wdk-lite's lists, so that no crossing can be forgotten.
//! Each call in goes through [`enter`]: it finds the machine, counts the event, checks the
//! interrupt request level the function's page demands, runs the implementation and, on the way
//! out, whatever may interrupt. Implementations are ordinary functions
//! `unsafe fn Name(kernel, arguments) -> Result<Answer, Violation>`, found through the modules
//! `exports`, `framework` and `operations` below.

// UNSAFETY: these are the functions a driver calls with raw pointers, and the calls of a
// driver's routines through raw addresses.
#![allow(non_snake_case, reason = "names are the WDK's")]

pub(crate) mod callback;
mod contract;

use std::sync::atomic::Ordering;

use wdk_lite::host::{HostTable, KernelExports, RegisterAccess};
use wdk_lite::*;

pub(crate) use contract::Ddi;

use crate::machine::{Kernel, context};
use crate::verifier::Violation;

/// Where the implementations of the kernel exports live.
mod exports {
    pub(super) use crate::bus::ddi::*;
    pub(super) use crate::hal::ddi::*;
    pub(super) use crate::machine::ddi::*;
    pub(super) use crate::memory::ddi::*;
}

/// Where the implementations of the KMDF functions live.
mod framework {
    pub(super) use crate::wdf::ddi::*;
}

/// Where the implementations of the DMA operations live.
mod operations {
    pub(super) use crate::hal::operations::*;
}

/// What a call answers that the machine does not carry out; `None` if a driver could not go on
/// after it.
trait Answer: Sized {
    /// Of a call that is left out, see [`crate::Builder::leave_out`].
    fn left_out() -> Option<Self> {
        None
    }

    /// Of a call that fails for lack of resources, see [`crate::Builder::faults`].
    fn failed() -> Option<Self> {
        None
    }
}
impl Answer for () {
    fn left_out() -> Option<Self> {
        Some(())
    }
}
/// TRUE.
impl Answer for u8 {
    fn left_out() -> Option<Self> {
        Some(1)
    }
}
impl Answer for i8 {}
impl Answer for u16 {}
impl Answer for u32 {}
impl Answer for i32 {
    fn failed() -> Option<Self> {
        Some(STATUS_INSUFFICIENT_RESOURCES)
    }
}
impl Answer for u64 {}
impl Answer for LARGE_INTEGER {}
impl<T> Answer for *mut T {
    fn failed() -> Option<Self> {
        Some(std::ptr::null_mut())
    }
}

/// Passes a driver's call to its implementation.
#[inline(always)]
fn enter<R: Answer>(ddi: &'static Ddi, body: impl FnOnce(&Kernel) -> Result<R, Violation>) -> R {
    let Some(kernel) = context::current() else { outside(ddi) };
    let frame = context::frame_pointer();
    let outer = context::with(|c| (c.ddi.replace(Some(ddi)), c.ddi_frame.replace(frame)));
    let result = if kernel.is_deterministic() {
        enter_as_task(kernel, ddi, body)
    } else {
        let result = perform(kernel, ddi, body);
        kernel.service();
        result
    };
    context::with(|c| {
        c.ddi.set(outer.0);
        c.ddi_frame.set(outer.1);
    });
    result
}

#[inline(always)]
fn perform<R: Answer>(
    kernel: &Kernel,
    ddi: &'static Ddi,
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    let event = kernel.events.fetch_add(1, Ordering::Relaxed) + 1;
    kernel.park_if_stopped();
    kernel.inject(event);
    kernel.log_crossing(event, ddi.name);
    if let Some(name) = kernel.options.left_out
        && name == ddi.name
        && let Some(answer) = R::left_out()
    {
        return answer;
    }
    let checked = contract::check(kernel, ddi).and_then(|()| kernel.check_stack());
    let result = checked.and_then(|()| match R::failed() {
        Some(answer) if kernel.fails(event, ddi) => Ok(answer),
        _ => body(kernel),
    });
    match result {
        Ok(result) => result,
        Err(violation) => kernel.stop(violation),
    }
}

/// The same under the deterministic scheduler.
#[cold]
#[inline(never)]
fn enter_as_task<R: Answer>(
    kernel: &Kernel,
    ddi: &'static Ddi,
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    kernel.crossing(|| perform(kernel, ddi, body))
}

/// A driver's code ran on a thread that is not in kernel mode of any machine.
#[cold]
fn outside(ddi: &Ddi) -> ! {
    eprintln!("{} was called outside kernel mode of any machine; nthost cannot go on", ddi.name);
    std::process::abort()
}

macro_rules! c_exports {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        mod c_exports {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                const DDI: &Ddi = &contract::export(stringify!($name));
                // SAFETY: the driver's arguments, passed on; the implementation checks them.
                enter(DDI, |kernel| unsafe { exports::$name(kernel, $($arg),*) })
            })*
        }
        const EXPORTS: KernelExports = KernelExports { $($name: c_exports::$name),* };
    };
}
wdk_lite::kernel_exports!(c_exports);

macro_rules! c_registers {
    ($(fn $name:ident($register:ident: *mut $unit:ty $(, $value:ident: $ty:ty)?) -> $ret:ty;)*) => {
        mod c_registers {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name(
                $register: *mut $unit $(, $value: $ty)?
            ) -> $ret {
                const DDI: &Ddi = &contract::register(stringify!($name));
                enter(DDI, |kernel| crate::bus::registers::$name(kernel, $register as u64 $(, $value)?))
            })*
        }
        const REGISTERS: RegisterAccess = RegisterAccess { $($name: c_registers::$name),* };
    };
}
wdk_lite::register_accessors!(c_registers);

macro_rules! c_framework {
    ($($index:literal => fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        mod c_framework {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name(
                _globals: PWDF_DRIVER_GLOBALS, $($arg: $ty),*
            ) -> $ret {
                const DDI: &Ddi = &contract::framework(stringify!($name));
                // SAFETY: the driver's arguments, passed on; the implementation checks them.
                enter(DDI, |kernel| unsafe { framework::$name(kernel, $($arg),*) })
            })*
        }
        const FRAMEWORK: [*const (); WDF_FUNCTION_COUNT] = {
            let mut table = [absent as *const (); WDF_FUNCTION_COUNT];
            $(table[$index] = c_framework::$name as *const ();)*
            table
        };
    };
}
wdk_lite::wdf_functions!(c_framework);

/// An entry of the KMDF table that this host does not have.
extern "C" fn absent() -> ! {
    eprintln!("the driver called a KMDF function that nthost does not implement");
    std::process::abort()
}

macro_rules! c_operations {
    ($($name:ident: $pty:ident = fn($($arg:ident: $ty:ty),*) -> $ret:ty, $version:literal;)*) => {
        mod c_operations {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                const DDI: &Ddi = &contract::operation(stringify!($name));
                // SAFETY: the driver's arguments, passed on; the implementation checks them.
                enter(DDI, |kernel| unsafe { operations::$name(kernel, $($arg),*) })
            })*
        }
        /// The operations table of an adapter of this `DEVICE_DESCRIPTION.Version` (DMA-04):
        /// members of later versions are absent.
        pub(crate) fn dma_operations(version: u32) -> DMA_OPERATIONS {
            // CAST: 320 bytes at most.
            let size = match version {
                0 | 1 => std::mem::offset_of!(DMA_OPERATIONS, CalculateScatterGatherList),
                2 => std::mem::offset_of!(DMA_OPERATIONS, GetDmaAdapterInfo),
                _ => size_of::<DMA_OPERATIONS>(),
            } as u32;
            DMA_OPERATIONS {
                Size: size,
                $($name: if version.max(1) >= $version { Some(c_operations::$name) } else { None },)*
            }
        }
    };
}
wdk_lite::dma_operations!(c_operations);

static TABLE: HostTable = HostTable {
    exports: EXPORTS,
    registers: REGISTERS,
    wdf: FRAMEWORK,
    driver_globals: std::ptr::null_mut,
};

/// Installs this host for all hosted drivers of the process.
pub(crate) fn install() {
    assert!(
        wdk_lite::host::install(&TABLE).is_ok(),
        "another NT host is already installed in this process"
    );
}
