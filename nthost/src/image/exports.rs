//! What an image can import: the kernel functions of wdk-lite's list, and what only a binary
//! needs: the C runtime's memory functions, the framework's loader, event tracing.

// UNSAFETY: these are functions that a driver calls with raw pointers.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::ffi::c_void;

use wdk_lite::{
    GUID, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, PUNICODE_STRING, PVOID, PWDF_DRIVER_GLOBALS,
    STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};

use super::bind::{self, BindInfo};
use super::debug_print::{DbgPrint, DbgPrintEx};
use super::report::fault;
use super::step::{outside, stop};
use super::tracing::{DataDescriptor, EventDescriptor};
use super::{exception, raise};
use crate::bus::registers;
use crate::ddi::win64::{self, Export};
use crate::machine::{Kernel, context};

/// The address of an export; `None` if nthost does not have it.
pub(super) fn find(module: &str, name: &str) -> Option<usize> {
    let lists: [&[Export]; 3] = match module.to_ascii_lowercase().as_str() {
        // The HAL's functions are the kernel's since Windows 10 2004 (IMAGE: imports).
        "ntoskrnl.exe" | "hal.dll" => [RUNTIME, win64::EXPORTS, win64::LEGACY],
        "wdfldr.sys" => [LOADER, &[], &[]],
        _ => [&[], &[], &[]],
    };
    if name == "__C_specific_handler" && !lists[0].is_empty() {
        return Some((exception::c_specific_handler as *const ()).addr());
    }
    let found = lists.into_iter().flatten().find(|export| export.name == name);
    let found = found.map(|export| export.address.addr());
    found.or_else(|| raise::find(name).filter(|_| !lists[1].is_empty()))
}

macro_rules! exports {
    ($($name:ident),* $(,)?) => {
        &[$(Export { name: stringify!($name), address: $name as *const () }),*]
    };
}

/// What only a binary needs of the kernel.
static RUNTIME: &[Export] = exports![
    memcpy,
    memmove,
    memset,
    memcmp,
    strlen,
    __chkstk,
    KeBugCheckEx,
    DbgPrint,
    DbgPrintEx,
    MmGetSystemRoutineAddress,
    RtlInitUnicodeString,
    RtlCopyUnicodeString,
    EtwRegister,
    EtwUnregister,
    EtwSetInformation,
    EtwWriteTransfer,
    EtwWrite,
    EtwProviderEnabled,
];

/// The framework's loader.
static LOADER: &[Export] =
    exports![WdfVersionBind, WdfVersionUnbind, WdfVersionBindClass, WdfVersionUnbindClass];

/// The routine of an image without one of its own: any target is fine.
pub(super) fn guard_check() -> usize {
    (__chkstk as *const ()).addr()
}

/// The same for a call through the guard.
pub(super) fn guard_dispatch() -> usize {
    (dispatch as *const ()).addr()
}

/// What the framework puts into the driver object.
pub(super) fn framework_unload() -> usize {
    (FxDriverUnload as *const ()).addr()
}

/// The machine that runs on this thread.
pub(super) fn kernel(name: &str) -> &'static Kernel {
    match context::current() {
        Some(kernel) => kernel,
        None => outside(&format!("a call of {name}")),
    }
}

/// Memory functions are for memory: on registers their accesses would have no width (KMDF-04).
#[inline(always)]
fn check_memory(name: &str, places: &[*const c_void]) {
    if places.iter().any(|place| registers::is_window(place.addr() as u64)) {
        let message = format!("{name} was called on device registers");
        stop(kernel(name), context::frame_pointer(), fault(message));
    }
}

unsafe extern "win64" fn memcpy(to: PVOID, from: *const c_void, length: usize) -> PVOID {
    check_memory("memcpy", &[to, from]);
    // SAFETY: the driver's buffers. Windows' memcpy is memmove.
    unsafe { std::ptr::copy(from.cast::<u8>(), to.cast(), length) };
    to
}

unsafe extern "win64" fn memmove(to: PVOID, from: *const c_void, length: usize) -> PVOID {
    check_memory("memmove", &[to, from]);
    // SAFETY: the driver's buffers.
    unsafe { std::ptr::copy(from.cast::<u8>(), to.cast(), length) };
    to
}

unsafe extern "win64" fn memset(to: PVOID, value: i32, length: usize) -> PVOID {
    check_memory("memset", &[to]);
    // SAFETY: the driver's buffer. CAST: the low byte is what memset stores.
    unsafe { std::ptr::write_bytes(to.cast::<u8>(), value as u8, length) };
    to
}

unsafe extern "win64" fn memcmp(a: *const c_void, b: *const c_void, length: usize) -> i32 {
    check_memory("memcmp", &[a, b]);
    // SAFETY: the driver's buffer.
    let a = unsafe { std::slice::from_raw_parts(a.cast::<u8>(), length) };
    // SAFETY: as above.
    let b = unsafe { std::slice::from_raw_parts(b.cast::<u8>(), length) };
    a.cmp(b) as i32
}

unsafe extern "win64" fn strlen(text: *const std::ffi::c_char) -> usize {
    // SAFETY: the driver's string.
    unsafe { std::ffi::CStr::from_ptr(text) }.count_bytes()
}

/// Stack probes change no register; the stack here is large enough.
#[unsafe(naked)]
unsafe extern "win64" fn __chkstk() {
    std::arch::naked_asm!("ret")
}

/// The control-flow guard's dispatch goes to the address in RAX.
#[unsafe(naked)]
unsafe extern "win64" fn dispatch() {
    std::arch::naked_asm!("jmp rax")
}

unsafe extern "win64" fn KeBugCheckEx(code: u32, p1: u64, p2: u64, p3: u64, p4: u64) -> ! {
    let message = format!("the driver called KeBugCheckEx({code:#X})");
    let violation = fault(message).code(code, [p1, p2, p3, p4]);
    stop(kernel("KeBugCheckEx"), context::frame_pointer(), violation)
}

unsafe extern "win64" fn MmGetSystemRoutineAddress(name: PCUNICODE_STRING) -> PVOID {
    // SAFETY: the driver's string.
    let name = unsafe { text(name) };
    let found = find("ntoskrnl.exe", &name);
    std::ptr::with_exposed_provenance_mut(found.unwrap_or(0))
}

/// The characters of a counted string.
///
/// # Safety
/// `string` points to a valid one.
pub(super) unsafe fn text(string: PCUNICODE_STRING) -> String {
    // SAFETY: valid by the caller's promise.
    let string = unsafe { string.read() };
    if string.Buffer.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    let units =
        unsafe { std::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2) };
    String::from_utf16_lossy(units)
}

unsafe extern "win64" fn RtlInitUnicodeString(string: PUNICODE_STRING, source: *const u16) {
    let mut units = 0;
    if !source.is_null() {
        // SAFETY: the driver's NUL-terminated string; what lies before the NUL is readable.
        while units < 0x7FFE && unsafe { source.wrapping_add(units).read() } != 0 {
            units += 1;
        }
    }
    // CAST: at most 0xFFFE bytes.
    let length = (units * 2) as u16;
    let maximum = if source.is_null() { 0 } else { length + 2 };
    let value = wdk_lite::UNICODE_STRING {
        Length: length,
        MaximumLength: maximum,
        Buffer: source.cast_mut(),
    };
    // SAFETY: the driver's variable.
    unsafe { string.write(value) };
}

unsafe extern "win64" fn RtlCopyUnicodeString(to: PUNICODE_STRING, from: PCUNICODE_STRING) {
    // SAFETY: the driver's string.
    let target = unsafe { &mut *to };
    if from.is_null() {
        target.Length = 0;
        return;
    }
    // SAFETY: as above.
    let source = unsafe { from.read() };
    let length = source.Length.min(target.MaximumLength) & !1;
    // SAFETY: both buffers have at least this many bytes, by their own words.
    unsafe { std::ptr::copy(source.Buffer, target.Buffer, usize::from(length) / 2) };
    target.Length = length;
    if target.MaximumLength - length >= 2 {
        let end = target.Buffer.wrapping_add(usize::from(length) / 2);
        // SAFETY: there is room for one more character.
        unsafe { end.write(0) };
    }
}

unsafe extern "win64" fn WdfVersionBind(
    _object: PDRIVER_OBJECT,
    _path: PCUNICODE_STRING,
    info: *mut BindInfo,
    globals: *mut PWDF_DRIVER_GLOBALS,
) -> NTSTATUS {
    // SAFETY: the driver's arguments, passed on.
    unsafe { bind::version_bind(kernel("WdfVersionBind"), info, globals) }
}

unsafe extern "win64" fn WdfVersionUnbind(
    _path: PCUNICODE_STRING,
    _info: *mut BindInfo,
    _globals: PWDF_DRIVER_GLOBALS,
) -> NTSTATUS {
    bind::version_unbind(kernel("WdfVersionUnbind"))
}

/// There is no class extension here.
unsafe extern "win64" fn WdfVersionBindClass() -> NTSTATUS {
    STATUS_NOT_SUPPORTED
}

unsafe extern "win64" fn WdfVersionUnbindClass() {}

unsafe extern "win64" fn FxDriverUnload(_object: PDRIVER_OBJECT) {
    let kernel = kernel("the framework's DriverUnload");
    let framework = kernel.image.instance().and_then(super::Instance::take_framework);
    if let Some(framework) = framework {
        crate::pnp::unload_framework(kernel, framework);
    }
}

unsafe extern "win64" fn EtwRegister(
    provider: *const GUID,
    callback: PVOID,
    context: PVOID,
    handle: *mut u64,
) -> NTSTATUS {
    let kernel = kernel("EtwRegister");
    // SAFETY: the driver's arguments, passed on.
    unsafe { kernel.image.trace().register(kernel, provider, callback, context, handle) }
}

unsafe extern "win64" fn EtwUnregister(handle: u64) -> NTSTATUS {
    kernel("EtwUnregister").image.trace().unregister(handle)
}

/// Traits of the provider are in each event too.
unsafe extern "win64" fn EtwSetInformation() -> NTSTATUS {
    STATUS_SUCCESS
}

unsafe extern "win64" fn EtwWriteTransfer(
    handle: u64,
    event: *const EventDescriptor,
    _activity: *const GUID,
    _related: *const GUID,
    count: u32,
    data: *const DataDescriptor,
) -> NTSTATUS {
    let kernel = kernel("EtwWriteTransfer");
    // SAFETY: the driver's arguments, passed on.
    unsafe { kernel.image.trace().write(kernel, handle, event, count, data) }
}

unsafe extern "win64" fn EtwWrite(
    handle: u64,
    event: *const EventDescriptor,
    _activity: *const GUID,
    count: u32,
    data: *const DataDescriptor,
) -> NTSTATUS {
    let kernel = kernel("EtwWrite");
    // SAFETY: the driver's arguments, passed on.
    unsafe { kernel.image.trace().write(kernel, handle, event, count, data) }
}

/// Whether a session listens.
unsafe extern "win64" fn EtwProviderEnabled() -> u8 {
    u8::from(kernel("EtwProviderEnabled").options.trace)
}
