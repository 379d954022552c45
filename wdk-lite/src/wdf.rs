//! The KMDF functions behind [`call_unsafe_wdf_function_binding!`].
//!
//! Each goes through the table of function pointers that the framework hands to a driver and
//! passes the driver globals first, exactly as the inline functions of the KMDF headers do.

use crate::*;

/// Calls a KMDF function by its C name, without the driver globals; the form of the macro of the
/// same name in `wdk-sys`.
///
/// ```ignore
/// let status = unsafe {
///     call_unsafe_wdf_function_binding!(WdfDeviceCreate, &mut init, &mut attributes, &mut device)
/// };
/// ```
#[macro_export]
macro_rules! call_unsafe_wdf_function_binding {
    ($name:ident $(, $argument:expr)* $(,)?) => {
        $crate::wdf::$name($($argument),*)
    };
}

#[cfg(not(feature = "image"))]
#[inline]
fn entry(index: usize) -> (*const (), PWDF_DRIVER_GLOBALS) {
    let host = crate::host::host();
    (host.wdf[index], (host.driver_globals)())
}

#[cfg(feature = "image")]
#[inline]
fn entry(index: usize) -> (*const (), PWDF_DRIVER_GLOBALS) {
    // SAFETY: the entry point bound the image before any driver code ran (WdfVersionBind), which
    // set both variables; the table has `WDF_FUNCTION_COUNT` entries (IMAGE: negotiation).
    let table = unsafe { WdfFunctions_01033 };
    // SAFETY: `index` comes from `wdf_functions!`, below `WDF_FUNCTION_COUNT`.
    let slot = unsafe { table.add(index) };
    // SAFETY: as above: an entry of the table.
    let function = unsafe { slot.read() };
    // SAFETY: as above: set before any driver code ran.
    (function, unsafe { WdfDriverGlobals })
}

/// The table the framework wrote at bind time (image builds).
#[cfg(feature = "image")]
#[unsafe(no_mangle)]
pub static mut WdfFunctions_01033: *const *const () = core::ptr::null();

/// The globals the framework wrote at bind time (image builds).
#[cfg(feature = "image")]
#[unsafe(no_mangle)]
pub static mut WdfDriverGlobals: PWDF_DRIVER_GLOBALS = core::ptr::null_mut();

macro_rules! declare {
    ($($index:literal => fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`, entry ", $index, " of the function table.")]
          ///
          /// # Safety
          /// As the page of the function says; handles are live and pointers valid (KMDF).
          #[inline]
          pub unsafe fn $name($($arg: $ty),*) -> $ret {
              let (function, globals) = entry($index);
              type Call = unsafe extern "C" fn(PWDF_DRIVER_GLOBALS, $($ty),*) -> $ret;
              // SAFETY: entry `$index` of the KMDF 1.33 table has this signature
              // (wdffuncenum.h and the function's page).
              let call: Call = unsafe { core::mem::transmute(function) };
              // SAFETY: the caller vouches for the arguments.
              unsafe { call(globals, $($arg),*) }
          })*
    };
}
wdf_functions!(declare);
