//! Calls of the driver's routines: one function for each entry of wdk-lite's list.

// UNSAFETY: a routine's address comes from a structure the driver filled in.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::log::Loggable;
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::verifier::broken;

/// The address of one of the driver's routines; null if it registered none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Routine(*const ());

// SAFETY: an address of code; any thread may hold it.
unsafe impl Send for Routine {}
// SAFETY: as above.
unsafe impl Sync for Routine {}

impl Default for Routine {
    fn default() -> Self {
        Self(std::ptr::null())
    }
}

impl Routine {
    /// Whether the driver registered one.
    #[inline]
    pub(crate) fn is_some(self) -> bool {
        !self.0.is_null()
    }

    /// The routine at an address that [`Routine::address`] gave.
    pub(crate) fn at(address: usize) -> Self {
        Self(std::ptr::with_exposed_provenance(address))
    }

    /// The address.
    pub(crate) fn address(self) -> usize {
        self.0.expose_provenance()
    }
}

/// What a call into the driver must leave as it found it (KMDF-11).
struct Before {
    irql: u8,
    locks: u32,
    driver_frame: usize,
    callback: &'static str,
    ddi: Option<&'static super::Ddi>,
    ddi_frame: usize,
}

#[inline(always)]
fn before(kernel: &Kernel, name: &'static str) -> Before {
    let frame = context::frame_pointer();
    // A cancel routine is called with the cancel spin lock, which it releases.
    let releases = name == "DRIVER_CANCEL";
    let irql = if releases { kernel.wdm.cancel_irql() } else { kernel.irql() };
    context::with(|c| Before {
        irql,
        locks: c.locks.get() - u32::from(releases),
        driver_frame: c.driver_frame.replace(frame),
        callback: c.callback.replace(name),
        ddi: c.ddi.replace(None),
        ddi_frame: c.ddi_frame.replace(0),
    })
}

#[inline]
fn after(kernel: &Kernel, name: &'static str, before: &Before) {
    let (irql, locks) = (kernel.irql(), context::with(|c| c.locks.get()));
    if irql != before.irql || locks != before.locks {
        changed(kernel, name, before, irql, locks);
    }
    context::with(|c| {
        c.driver_frame.set(before.driver_frame);
        c.callback.set(before.callback);
        c.ddi.set(before.ddi);
        c.ddi_frame.set(before.ddi_frame);
    });
}

#[cold]
fn changed(kernel: &Kernel, name: &'static str, before: &Before, irql: u8, locks: u32) {
    let message = if locks == before.locks {
        format!("{name} was entered at IRQL {} and returned at IRQL {irql}", before.irql)
    } else {
        format!("{name} was entered holding {} locks and returned holding {locks}", before.locks)
    };
    let parameters = [0xE, 0, before.irql.into(), irql.into()];
    kernel.stop(broken(RuleId::Kmdf11, message).code(0x10D, parameters).returned_from(name))
}

/// Calls a routine of this type with the machine's calling convention.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
macro_rules! call {
    ($kernel:ident, $routine:ident, fn($($ty:ty),*) -> $ret:ty, ($($arg:ident),*)) => {
        if $kernel.image.is_loaded() {
            crate::image::prepare_thread();
            type Call = unsafe extern "win64" fn($($ty),*) -> $ret;
            // SAFETY: the caller vouches for the type; the machine's driver is an image.
            let call: Call = unsafe { std::mem::transmute($routine.0) };
            // SAFETY: the caller vouches for the arguments.
            unsafe { call($($arg),*) }
        } else {
            call_hosted!($routine, fn($($ty),*) -> $ret, ($($arg),*))
        }
    };
}
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
macro_rules! call {
    ($kernel:ident, $($rest:tt)*) => { call_hosted!($($rest)*) };
}
macro_rules! call_hosted {
    ($routine:ident, fn($($ty:ty),*) -> $ret:ty, ($($arg:ident),*)) => {{
        type Call = unsafe extern "C" fn($($ty),*) -> $ret;
        // SAFETY: the caller vouches for the type.
        let call: Call = unsafe { std::mem::transmute($routine.0) };
        // SAFETY: the caller vouches for the arguments.
        unsafe { call($($arg),*) }
    }};
}

macro_rules! callers {
    ($($name:ident = fn($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(
            #[doc = concat!("Calls the driver's `", stringify!($name), "` and checks what it left behind.")]
            ///
            /// # Safety
            /// `routine` is the address of a function of this type, and the arguments are what
            /// its page promises. No host lock is held.
            #[allow(dead_code, reason = "generated for every entry of the list")]
            pub(crate) unsafe fn $name(kernel: &Kernel, routine: Routine, $($arg: $ty),*) -> $ret {
                kernel.driver_mode(#[inline(always)] || {
                    let state = before(kernel, stringify!($name));
                    let result = if kernel.is_special() {
                        if let Some(saboteur) = &kernel.saboteur {
                            let names: &[&str] = &[$(stringify!($arg)),*];
                            saboteur.heard(
                                stringify!($name), names, &[$(super::Word::of($arg)),*],
                            );
                        }
                        kernel.log.callback(kernel, stringify!($name), || [$($arg.log()),*]);
                        let result = call!(kernel, routine, fn($($ty),*) -> $ret, ($($arg),*));
                        kernel.log.callback_return(kernel, stringify!($name), result.log());
                        result
                    } else {
                        call_hosted!(routine, fn($($ty),*) -> $ret, ($($arg),*))
                    };
                    after(kernel, stringify!($name), &state);
                    result
                })
            }
        )*
    };
}
wdk_lite::callbacks!(callers);

/// The address in an optional function pointer of any of the driver's routine types.
pub(crate) fn routine<F: Copy>(field: Option<F>) -> Routine {
    const { assert!(size_of::<Option<F>>() == size_of::<*const ()>()) };
    // SAFETY: an optional function pointer has a pointer's size, and `None` is null.
    Routine(unsafe { std::mem::transmute_copy(&field) })
}
