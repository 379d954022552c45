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
mod sabotage;

use std::sync::atomic::Ordering;

use wdk_lite::host::{HostTable, KernelExports, RegisterAccess};
use wdk_lite::legacy::LegacyExports;
use wdk_lite::*;

pub(crate) use contract::Ddi;
pub use sabotage::{Calls, Deed, Forgery, Sabotage};
use sabotage::{Function, Unmade};
pub(crate) use sabotage::{Saboteur, Word};

use crate::hal::legacy;
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

/// Passes a driver's call on: to the host, or to who spoils it first.
#[inline(always)]
fn cross<R: Copy + 'static, const N: usize>(
    function: &'static Function,
    words: impl FnOnce() -> [Word; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    let Some(kernel) = context::current() else { outside(&function.ddi) };
    let frame = context::frame_pointer();
    if let Some(saboteur) = &kernel.saboteur {
        return saboteur.cross(kernel, frame, function, words().to_vec()).get();
    }
    enter(kernel, frame, &function.ddi, body)
}

/// Passes a driver's call to its implementation.
#[inline(always)]
fn enter<R>(
    kernel: &Kernel,
    frame: usize,
    ddi: &'static Ddi,
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    let outer = context::with(|c| (c.ddi.replace(Some(ddi)), c.ddi_frame.replace(frame)));
    let event = kernel.events.fetch_add(1, Ordering::Relaxed) + 1;
    kernel.park_if_stopped();
    kernel.inject(event);
    kernel.adversary_step();
    let result = match contract::check(kernel, ddi).and_then(|()| body(kernel)) {
        Ok(result) => result,
        Err(violation) => kernel.stop(violation),
    };
    kernel.service();
    context::with(|c| {
        c.ddi.set(outer.0);
        c.ddi_frame.set(outer.1);
    });
    result
}

/// Declares a [`Function`] for each function of a list, under its name.
macro_rules! declare_functions {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $ddi:expr, $body:expr;)*) => {
        $(pub(super) static $name: Function = Function {
            ddi: $ddi,
            arguments: &[$(stringify!($arg)),*],
            unmade: <$ret as Unmade>::UNMADE,
            call: |kernel, frame, words| {
                let [$($arg),*] = *words else { unreachable!("a call has all its arguments") };
                let body: fn(&Kernel, $($ty),*) -> Result<$ret, Violation> = $body;
                Word::of(enter(kernel, frame, &$name.ddi, |kernel| body(kernel, $($arg.get()),*)))
            },
        };)*
        /// All of the list.
        pub(super) static ALL: &[&Function] = &[$(&$name),*];
    };
}

/// Every function that a driver can call.
fn functions() -> impl Iterator<Item = &'static Function> {
    let lists = [
        export_functions::ALL,
        legacy_functions::ALL,
        register_functions::ALL,
        framework_functions::ALL,
        operation_functions::ALL,
    ];
    lists.into_iter().flatten().copied()
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
                cross(
                    &export_functions::$name,
                    || [$(Word::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { exports::$name(kernel, $($arg),*) },
                )
            })*
        }
        #[allow(non_upper_case_globals, reason = "names are the WDK's")]
        mod export_functions {
            use super::*;
            declare_functions! { $($name($($arg: $ty),*) -> $ret =
                contract::export(stringify!($name)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { exports::$name(kernel, $($arg),*) };)* }
        }
        const EXPORTS: KernelExports = KernelExports { $($name: c_exports::$name),* };
    };
}
wdk_lite::kernel_exports!(c_exports);

macro_rules! c_legacy {
    ($($name:ident => $today:ident: fn($($arg:ident: $ty:ty),*) -> $ret:ty, $module:literal;)*) => {
        mod c_legacy {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                cross(
                    &legacy_functions::$name,
                    || [$(Word::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { legacy::$name(kernel, $($arg),*) },
                )
            })*
        }
        #[allow(non_upper_case_globals, reason = "names are the WDK's")]
        mod legacy_functions {
            use super::*;
            declare_functions! { $($name($($arg: $ty),*) -> $ret =
                contract::legacy(stringify!($name), stringify!($today)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { legacy::$name(kernel, $($arg),*) };)* }
        }
        const LEGACY: LegacyExports = LegacyExports { $($name: c_legacy::$name),* };
    };
}
wdk_lite::legacy_exports!(c_legacy);

macro_rules! c_registers {
    ($(fn $name:ident($register:ident: *mut $unit:ty $(, $value:ident: $ty:ty)?) -> $ret:ty;)*) => {
        mod c_registers {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name(
                $register: *mut $unit $(, $value: $ty)?
            ) -> $ret {
                cross(
                    &register_functions::$name,
                    || [Word::of($register) $(, Word::of($value))?],
                    |kernel| crate::bus::registers::$name(kernel, $register as u64 $(, $value)?),
                )
            })*
        }
        #[allow(non_upper_case_globals, reason = "names are the WDK's")]
        mod register_functions {
            use super::*;
            declare_functions! {
                $($name($register: *mut $unit $(, $value: $ty)?) -> $ret =
                    contract::register(stringify!($name)),
                    |kernel, $register $(, $value)?| {
                        crate::bus::registers::$name(kernel, $register as u64 $(, $value)?)
                    };)* }
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
                cross(
                    &framework_functions::$name,
                    || [$(Word::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { framework::$name(kernel, $($arg),*) },
                )
            })*
        }
        #[allow(non_upper_case_globals, reason = "names are the WDK's")]
        mod framework_functions {
            use super::*;
            declare_functions! { $($name($($arg: $ty),*) -> $ret =
                contract::framework(stringify!($name)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { framework::$name(kernel, $($arg),*) };)* }
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
                cross(
                    &operation_functions::$name,
                    || [$(Word::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { operations::$name(kernel, $($arg),*) },
                )
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
        #[allow(non_upper_case_globals, reason = "names are the WDK's")]
        mod operation_functions {
            use super::*;
            declare_functions! { $($name($($arg: $ty),*) -> $ret =
                contract::operation(stringify!($name)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { operations::$name(kernel, $($arg),*) };)* }
        }
    };
}
wdk_lite::dma_operations!(c_operations);

static TABLE: HostTable = HostTable {
    exports: EXPORTS,
    legacy: LEGACY,
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
