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
mod functions;
pub(crate) mod log;
mod sabotage;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod win64;

use wdk_lite::host::{HostTable, KernelExports, RegisterAccess};
use wdk_lite::legacy::LegacyExports;
use wdk_lite::*;

pub(crate) use contract::Ddi;
use functions::Function;
use log::{Loggable, Value, Way};
pub use sabotage::{Calls, Deed, Forgery, Sabotage};
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
    pub(super) use crate::wdm::ddi::*;
}

/// Where the implementations of the KMDF functions live.
mod framework {
    pub(super) use crate::wdf::ddi::*;
}

/// Where the implementations of the DMA operations live.
mod operations {
    pub(super) use crate::hal::operations::*;
}

/// An argument of a call: for the log, and for who spoils calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    value: Value,
    word: Word,
}

impl Argument {
    /// This argument.
    fn of<T: Loggable + Copy + 'static>(argument: T) -> Self {
        Self { value: argument.log(), word: Word::of(argument) }
    }

    /// The address of a register: for the log its offset in the window, whose number is small.
    fn register<T: 'static>(register: *mut T) -> Self {
        // CAST: addresses have 64 bits.
        Self { value: window(register as u64), word: Word::of(register) }
    }
}

/// What a call answers that fails for lack of resources, see [`crate::Builder::faults`]; `None` if
/// it cannot.
trait Fails: Sized {
    fn failed() -> Option<Self> {
        None
    }
}
impl Fails for () {}
impl Fails for u8 {}
impl Fails for i8 {}
impl Fails for u16 {}
impl Fails for u32 {}
impl Fails for u64 {}
impl Fails for LARGE_INTEGER {}
impl Fails for i32 {
    fn failed() -> Option<Self> {
        Some(STATUS_INSUFFICIENT_RESOURCES)
    }
}
impl<T> Fails for *mut T {
    fn failed() -> Option<Self> {
        Some(std::ptr::null_mut())
    }
}

/// Passes a driver's call to its implementation.
#[inline(always)]
fn enter<R: Loggable + Fails + Copy + 'static, const N: usize>(
    function: &'static Function,
    arguments: impl FnOnce() -> [Argument; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    enter_from(function, context::frame_pointer(), arguments, body)
}

/// The same for a call whose frame is at `frame`.
#[inline(always)]
fn enter_from<R: Loggable + Fails + Copy + 'static, const N: usize>(
    function: &'static Function,
    frame: usize,
    arguments: impl FnOnce() -> [Argument; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    let Some(kernel) = context::current() else { outside(&function.ddi) };
    if kernel.is_deterministic() {
        return enter_as_task(kernel, frame, function, arguments, body);
    }
    enter_host(kernel, frame, function, arguments, body)
}

/// The same under the deterministic scheduler, which may abandon the call: then the host's frames
/// are unwound, from here on.
#[cold]
#[inline(never)]
fn enter_as_task<R: Loggable + Fails + Copy + 'static, const N: usize>(
    kernel: &Kernel,
    frame: usize,
    function: &'static Function,
    arguments: impl FnOnce() -> [Argument; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    kernel.guarded(|| enter_host(kernel, frame, function, arguments, body))
}

#[inline(always)]
fn enter_host<R: Loggable + Fails + Copy + 'static, const N: usize>(
    kernel: &Kernel,
    frame: usize,
    function: &'static Function,
    arguments: impl FnOnce() -> [Argument; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    if kernel.is_watched() {
        return watched(kernel, frame, function, arguments, body);
    }
    pass(kernel, frame, &function.ddi, |event| checked(kernel, &function.ddi, event, body))
}

/// Crosses the border: `call` is the call itself, given the number of the crossing.
#[inline(always)]
fn pass<R>(kernel: &Kernel, frame: usize, ddi: &'static Ddi, call: impl FnOnce(u64) -> R) -> R {
    let outer = context::with(|c| (c.ddi.replace(Some(ddi)), c.ddi_frame.replace(frame)));
    let call = || {
        let event = kernel.next_event();
        kernel.park_if_stopped();
        kernel.inject(event);
        call(event)
    };
    let result = kernel.crossing(call);
    context::with(|c| {
        c.ddi.set(outer.0);
        c.ddi_frame.set(outer.1);
    });
    result
}

/// The call itself, if its level allows it.
#[inline(always)]
fn checked<R: Fails>(
    kernel: &Kernel,
    ddi: &'static Ddi,
    event: u64,
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
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

/// The call on a machine that keeps a log, or where somebody spoils calls.
#[cold]
#[inline(never)]
fn watched<R: Loggable + Fails + Copy + 'static, const N: usize>(
    kernel: &Kernel,
    frame: usize,
    function: &'static Function,
    arguments: impl FnOnce() -> [Argument; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    match &kernel.saboteur {
        Some(saboteur) => {
            let words = arguments().map(|argument| argument.word).to_vec();
            saboteur.cross(kernel, frame, function, words).get()
        }
        None => logged(kernel, frame, &function.ddi, arguments, body),
    }
}

/// Crosses the border, and logs it if the machine keeps a log.
fn logged<R: Loggable + Fails, const N: usize>(
    kernel: &Kernel,
    frame: usize,
    ddi: &'static Ddi,
    arguments: impl FnOnce() -> [Argument; N],
    body: impl FnOnce(&Kernel) -> Result<R, Violation>,
) -> R {
    pass(kernel, frame, ddi, |event| {
        if kernel.log.is_on() {
            let values = arguments().map(|argument| argument.value);
            kernel.log.keep(kernel, Way::Call, ddi.name, &values);
        }
        let result = checked(kernel, ddi, event, body);
        if kernel.log.is_on() {
            kernel.log.keep(kernel, Way::Return, ddi.name, &[result.log()]);
        }
        result
    })
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
                enter(
                    &functions::exports::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { exports::$name(kernel, $($arg),*) },
                )
            })*
        }
        const EXPORTS: KernelExports = KernelExports { $($name: c_exports::$name),* };
    };
}
wdk_lite::kernel_exports!(c_exports);

/// A register's place for the log: its offset in the window, whose number is small.
fn window(address: u64) -> Value {
    (address & 0xFFFF_FFFF).log()
}

macro_rules! c_legacy {
    ($($name:ident => $today:ident: fn($($arg:ident: $ty:ty),*) -> $ret:ty, $module:literal;)*) => {
        mod c_legacy {
            use super::*;
            $(pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                enter(
                    &functions::legacy::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { legacy::$name(kernel, $($arg),*) },
                )
            })*
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
                enter(
                    &functions::registers::$name,
                    || [Argument::register($register) $(, Argument::of($value))?],
                    |kernel| crate::bus::registers::$name(kernel, $register as u64 $(, $value)?),
                )
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
                enter(
                    &functions::framework::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { framework::$name(kernel, $($arg),*) },
                )
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
                enter(
                    &functions::operations::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { operations::$name(kernel, $($arg),*) },
                )
            })*
        }
        /// The operations table of an adapter of this `DEVICE_DESCRIPTION.Version` (DMA-04):
        /// members of later versions are absent.
        pub(crate) fn dma_operations(kernel: &Kernel, version: u32) -> DMA_OPERATIONS {
            // CAST: 320 bytes at most.
            let size = match version {
                0 | 1 => std::mem::offset_of!(DMA_OPERATIONS, CalculateScatterGatherList),
                2 => std::mem::offset_of!(DMA_OPERATIONS, GetDmaAdapterInfo),
                _ => size_of::<DMA_OPERATIONS>(),
            } as u32;
            let mut table = DMA_OPERATIONS {
                Size: size,
                $($name: if version.max(1) >= $version { Some(c_operations::$name) } else { None },)*
            };
            kernel.image.adapt(&mut table);
            table
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
