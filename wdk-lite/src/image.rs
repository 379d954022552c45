//! What a driver image needs besides its driver: the KMDF stub entry point, the C runtime's memory
//! functions, and what happens on a panic.
//!
//! The WDK links its own stub (WdfDriverEntry.lib) into a driver; this one does the same without
//! it: bind to the framework, call the driver, and put itself between the system and the
//! framework's unload routine (IMAGE: entry sequence). Define the entry point with
//! [`kmdf_image!`](crate::kmdf_image).

// UNSAFETY: the entry point of a driver image works on statics that the framework keeps pointers
// to.

mod memory;

use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr;

use crate::*;

/// Defines the image's entry point `FxDriverEntry`, which binds to the framework and then calls
/// the driver's own entry point, and the image's panic handler.
///
/// ```ignore
/// wdk_lite::kmdf_image!(dmaproof_driver::driver_entry);
/// ```
#[macro_export]
macro_rules! kmdf_image {
    ($entry:path) => {
        /// What the system calls when the image is loaded. IRQL: PASSIVE_LEVEL.
        ///
        /// # Errors
        /// Those of binding and of the driver's entry point; the image is unloaded then.
        ///
        /// # Safety
        /// Called once, by the system, with its driver object and registry path.
        // SAFETY: the one symbol of this name in the image; the linker makes it the entry point.
        // The section is thrown away once the image is initialised (nothing calls this again).
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "INIT")]
        pub unsafe extern "C" fn FxDriverEntry(
            driver: $crate::PDRIVER_OBJECT,
            registry_path: $crate::PCUNICODE_STRING,
        ) -> $crate::NTSTATUS {
            // SAFETY: the system's arguments, by the caller's promise.
            unsafe { $crate::image::enter(driver, registry_path, $entry) }
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::image::bug_check(info)
        }
    };
}

/// Defines the entry point `DriverEntry` of an image that does without the framework, and the
/// image's panic handler.
///
/// ```ignore
/// wdk_lite::wdm_image!(example::driver_entry);
/// ```
#[macro_export]
macro_rules! wdm_image {
    ($entry:path) => {
        /// What the system calls when the image is loaded. IRQL: PASSIVE_LEVEL.
        ///
        /// # Errors
        /// Those of the driver's entry point; the image is unloaded then.
        ///
        /// # Safety
        /// Called once, by the system, with its driver object and registry path.
        // SAFETY: the one symbol of this name in the image; the linker makes it the entry point.
        // The section is thrown away once the image is initialised (nothing calls this again).
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "INIT")]
        pub unsafe extern "C" fn DriverEntry(
            driver: $crate::PDRIVER_OBJECT,
            registry_path: $crate::PCUNICODE_STRING,
        ) -> $crate::NTSTATUS {
            let entry: $crate::image::Entry = $entry;
            // SAFETY: the system's arguments, by the caller's promise.
            unsafe { entry(driver, registry_path) }
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::image::bug_check(info)
        }
    };
}

/// A driver's own entry point.
pub type Entry = unsafe extern "C" fn(PDRIVER_OBJECT, PCUNICODE_STRING) -> NTSTATUS;

/// Component, `"KmdfLibrary"` with its NUL.
static COMPONENT: [u16; 12] = {
    let ascii = *b"KmdfLibrary\0";
    let mut units = [0; 12];
    let mut at = 0;
    while at < ascii.len() {
        units[at] = ascii[at] as u16;
        at += 1;
    }
    units
};

/// `WDF_BIND_INFO` of version 1 (fxldr.h): what the framework's loader binds by. The framework
/// keeps its address for as long as the driver is loaded.
#[repr(C)]
struct BindInfo {
    size: ULONG,
    component: *const u16,
    major: ULONG,
    minor: ULONG,
    build: ULONG,
    function_count: ULONG,
    /// Where the address of the function table goes; with so many functions it is not copied.
    functions: *mut *const *const (),
    module: PVOID,
}

const _: () = assert!(size_of::<BindInfo>() == 0x30);

/// Memory of a static that the framework and this stub change, one after the other.
#[repr(transparent)]
struct Static<T>(UnsafeCell<T>);

// SAFETY: changed at PASSIVE_LEVEL by the system's load and unload calls only, which never overlap.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    const fn get(&self) -> *mut T {
        self.0.get()
    }
}

static BIND_INFO: Static<BindInfo> = Static::new(BindInfo {
    // CAST: 48.
    size: size_of::<BindInfo>() as ULONG,
    component: COMPONENT.as_ptr(),
    major: 1,
    minor: 33,
    build: 0,
    // CAST: 458.
    function_count: WDF_FUNCTION_COUNT as ULONG,
    functions: &raw mut wdf::WdfFunctions_01033,
    module: ptr::null_mut(),
});

/// Units of the longest registry path that is kept.
const PATH_UNITS: usize = 260;

/// The registry path: needed again at unload, when the system's own is gone.
static PATH_TEXT: Static<[u16; PATH_UNITS]> = Static::new([0; PATH_UNITS]);
static PATH: Static<UNICODE_STRING> =
    Static::new(UNICODE_STRING { Length: 0, MaximumLength: 0, Buffer: ptr::null_mut() });

/// The framework's unload routine, whose place [`unload`] took.
static DISPLACED: Static<PDRIVER_UNLOAD> = Static::new(None);

#[cfg_attr(windows, link(name = "WDFLDR.SYS", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "C" {
    fn WdfVersionBind(
        DriverObject: PDRIVER_OBJECT,
        RegistryPath: PUNICODE_STRING,
        BindInfo: *mut BindInfo,
        ComponentGlobals: *mut PWDF_DRIVER_GLOBALS,
    ) -> NTSTATUS;
    fn WdfVersionUnbind(
        RegistryPath: PUNICODE_STRING,
        BindInfo: *mut BindInfo,
        ComponentGlobals: PWDF_DRIVER_GLOBALS,
    ) -> NTSTATUS;
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "C" {
    fn KeBugCheckEx(
        BugCheckCode: ULONG,
        BugCheckParameter1: ULONG_PTR,
        BugCheckParameter2: ULONG_PTR,
        BugCheckParameter3: ULONG_PTR,
        BugCheckParameter4: ULONG_PTR,
    ) -> !;
}

/// Binds the image to the framework and enters the driver. IRQL: PASSIVE_LEVEL.
///
/// # Errors
/// Those of `WdfVersionBind` and of `entry`; the image is bound to nothing then.
///
/// # Safety
/// Called once, by the image's entry point, with the system's arguments.
pub unsafe fn enter(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
    entry: Entry,
) -> NTSTATUS {
    if driver.is_null() {
        // Loaded as a library of another driver: there is nothing to bind.
        // SAFETY: the system's arguments.
        return unsafe { entry(driver, registry_path) };
    }
    // SAFETY: the system's string.
    if !unsafe { keep_path(registry_path) } {
        return STATUS_INVALID_PARAMETER;
    }
    let globals = &raw mut wdf::WdfDriverGlobals;
    // SAFETY: the statics are this image's and stay; PASSIVE_LEVEL by the caller's promise.
    let status = unsafe { WdfVersionBind(driver, PATH.get(), BIND_INFO.get(), globals) };
    if !NT_SUCCESS(status) {
        return status;
    }
    // SAFETY: bound, and the system's arguments.
    let status = unsafe { entry(driver, registry_path) };
    if !NT_SUCCESS(status) {
        // The system does not call DriverUnload after a failed entry.
        // SAFETY: bound above, once.
        unsafe { unbind() };
        return status;
    }
    // SAFETY: the framework set it when it bound the image.
    let globals = unsafe { globals.read() };
    // SAFETY: the framework's globals live as long as the image is bound.
    if unsafe { (*globals).DisplaceDriverUnload } != 0 {
        // SAFETY: the system's driver object.
        unsafe { displace_unload(driver) };
    }
    status
}

/// Copies the registry path; `false` if it is too long.
///
/// # Safety
/// `path` is the system's.
unsafe fn keep_path(path: PCUNICODE_STRING) -> bool {
    // SAFETY: the caller's promise.
    let path = unsafe { *path };
    let bytes = usize::from(path.Length);
    if bytes > PATH_UNITS * size_of::<u16>() {
        return false;
    }
    let text: *mut u16 = PATH_TEXT.get().cast();
    // SAFETY: the string's own length, which fits, as just checked.
    unsafe { ptr::copy_nonoverlapping(path.Buffer, text, bytes / size_of::<u16>()) };
    let kept = UNICODE_STRING { Length: path.Length, MaximumLength: path.Length, Buffer: text };
    // SAFETY: this image's own, and only the load call is running.
    unsafe { PATH.get().write(kept) };
    true
}

/// Puts [`unload`] in the place of the framework's unload routine.
///
/// # Safety
/// `driver` is the system's driver object.
unsafe fn displace_unload(driver: PDRIVER_OBJECT) {
    // SAFETY: a field of the caller's object.
    let place = unsafe { &raw mut (*driver).DriverUnload };
    // SAFETY: as above.
    let displaced = unsafe { place.replace(Some(unload)) };
    // SAFETY: this image's own, and only the load call is running.
    unsafe { DISPLACED.get().write(displaced) };
}

/// Calls the framework's unload routine and unbinds. IRQL: PASSIVE_LEVEL.
unsafe extern "C" fn unload(driver: PDRIVER_OBJECT) {
    // SAFETY: set before this routine could be called.
    if let Some(framework) = unsafe { DISPLACED.get().read() } {
        // SAFETY: the framework's own routine, with the system's argument.
        unsafe { framework(driver) };
    }
    // SAFETY: bound, and the framework has ended with this driver.
    unsafe { unbind() };
}

/// # Safety
/// The image is bound, and nothing of it runs but this call.
unsafe fn unbind() {
    // SAFETY: set when the image was bound.
    let globals = unsafe { wdf::WdfDriverGlobals };
    // Nothing could be done about a failure.
    // SAFETY: what it was bound with.
    let _status = unsafe { WdfVersionUnbind(PATH.get(), BIND_INFO.get(), globals) };
}

/// The bug check code that `wdk-panic` uses too.
const PANIC: ULONG = u32::from_be_bytes(*b"RPNC");

/// Ends the system: a panic in a driver is a defect. The parameters are the address and length of
/// the file's name, the line and the column.
pub fn bug_check(info: &PanicInfo<'_>) -> ! {
    let (file, line, column) = match info.location() {
        Some(place) => (place.file(), place.line(), place.column()),
        None => ("", 0, 0),
    };
    // CAST: an address, a length, and numbers that fit.
    let parameters =
        [file.as_ptr() as ULONG_PTR, file.len() as ULONG_PTR, line.into(), column.into()];
    let [first, second, third, fourth] = parameters;
    // SAFETY: callable at any level; does not return.
    unsafe { KeBugCheckEx(PANIC, first, second, third, fourth) }
}

/// The personality that the prebuilt core library names in its unwind tables: it handles nothing
/// and lets the search go on, so that a fault below such a frame becomes a bug check.
#[cfg(windows)]
// SAFETY: the one symbol of this name in the image.
#[unsafe(no_mangle)]
extern "C" fn __CxxFrameHandler3() -> i32 {
    /// `ExceptionContinueSearch`.
    const CONTINUE_SEARCH: i32 = 1;
    CONTINUE_SEARCH
}
