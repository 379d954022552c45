//! Binding a driver to the framework: what WDFLDR.SYS does for its stub entry point.

// UNSAFETY: reads and writes the driver's bind information.

use std::mem::offset_of;

use wdk_lite::{
    NTSTATUS, PWDF_DRIVER_GLOBALS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, WDF_FUNCTION_COUNT,
};

use crate::ddi::win64;
use crate::machine::Kernel;

/// The version of the framework here: 1.33.
const MAJOR: u32 = 1;
const MINOR: u32 = 33;

/// Function counts of the versions that there were (WDF/kmdf/src/librarycommon: a count below the
/// framework's own must be one of these).
const COUNTS: [u32; 12] = [383, 386, 387, 396, 432, 438, 444, 446, 448, 451, 453, 454];
/// Up to this many functions the table is copied; above, its address is handed out.
const COPIED: u32 = 438;

/// WDF_BIND_INFO of version 1 (WDF/shared/inc/private/common/fxldr.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct BindInfo {
    size: u32,
    component: *const u16,
    major: u32,
    minor: u32,
    build: u32,
    functions: u32,
    /// Where the table, or its address, goes.
    table: *mut *const (),
    module: *mut (),
}

/// What version 2 has behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct BindInfo2 {
    first: BindInfo,
    minimum: *const u32,
    higher: *mut u8,
    functions: *mut u32,
    structures: *mut u32,
    sizes: *mut *const usize,
}

const _: () = assert!(size_of::<BindInfo>() == 0x30 && offset_of!(BindInfo, table) == 0x20);
const _: () = assert!(size_of::<BindInfo2>() == 0x58);

/// WdfVersionBind. IRQL: PASSIVE_LEVEL.
///
/// # Safety
/// The arguments are the driver's own: NULL or valid.
pub(super) unsafe fn version_bind(
    kernel: &Kernel,
    info: *mut BindInfo,
    globals: *mut PWDF_DRIVER_GLOBALS,
) -> NTSTATUS {
    let Some(instance) = kernel.image.instance() else { return STATUS_INVALID_PARAMETER };
    let refuse = |reason: String| {
        instance.refuse(reason);
        STATUS_INVALID_PARAMETER
    };
    if info.is_null() || globals.is_null() {
        return refuse("a NULL argument".to_owned());
    }
    // SAFETY: not NULL, so valid for reading by the caller's promise.
    let given = unsafe { info.read() };
    // SAFETY: the component's name by the caller's promise.
    let component = unsafe { name(given.component) };
    if component != "KmdfLibrary" {
        return refuse(format!("the component is {component:?}, not \"KmdfLibrary\""));
    }
    // CAST: small sizes.
    let second = given.size as usize == size_of::<BindInfo2>();
    if given.size as usize != size_of::<BindInfo>() && !second {
        return refuse(format!("WDF_BIND_INFO.Size is {:#x}", given.size));
    }
    if given.major != MAJOR || given.minor > MINOR {
        let (major, minor) = (given.major, given.minor);
        return refuse(format!("it needs KMDF {major}.{minor}; here is {MAJOR}.{MINOR}"));
    }
    let count = given.functions;
    if given.table.is_null() || !(count as usize == WDF_FUNCTION_COUNT || COUNTS.contains(&count)) {
        return refuse(format!(
            "a function table of {count} entries belongs to no version of KMDF"
        ));
    }
    if count <= COPIED {
        let table = win64::FRAMEWORK.as_ptr().cast();
        // SAFETY: the driver's table of `count` entries, fewer than the framework's.
        unsafe { std::ptr::copy_nonoverlapping(table, given.table, count as usize) };
    } else {
        let table: *const () = win64::FRAMEWORK.as_ptr().cast();
        // SAFETY: the driver's variable.
        unsafe { given.table.write(table) };
    }
    if second {
        // SAFETY: the size says that the second version's fields are there.
        let given = unsafe { info.cast::<BindInfo2>().read() };
        if !given.higher.is_null() {
            // SAFETY: the driver's variable. The client is never newer than the framework here.
            unsafe { given.higher.write(0) };
        }
    }
    instance.set_bound(true);
    // SAFETY: the driver's variable.
    unsafe { globals.write(instance.globals()) };
    STATUS_SUCCESS
}

/// WdfVersionUnbind.
pub(super) fn version_unbind(kernel: &Kernel) -> NTSTATUS {
    match kernel.image.instance() {
        Some(instance) if instance.set_bound(false) => STATUS_SUCCESS,
        _ => STATUS_INVALID_PARAMETER,
    }
}

/// A NUL-terminated name of reasonable length.
///
/// # Safety
/// `text` is NULL or points to such a name.
unsafe fn name(text: *const u16) -> String {
    /// No component's name is longer, characters.
    const LONGEST: usize = 64;
    if text.is_null() {
        return String::new();
    }
    let unit = |index| {
        // SAFETY: up to the NUL the name is readable, and nothing behind it is looked at.
        let unit = unsafe { text.wrapping_add(index).read() };
        (unit != 0).then_some(unit)
    };
    let units: Vec<u16> = (0..LONGEST).map_while(unit).collect();
    String::from_utf16_lossy(&units)
}
