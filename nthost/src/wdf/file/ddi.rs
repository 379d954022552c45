//! The KMDF functions of this module.

// UNSAFETY: called by drivers with raw handles.
#![allow(non_snake_case, reason = "names are the WDK's")]

use wdk_lite::*;

use super::File;
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::wdf::object::Handle;

/// The device a file was opened on (nf-wdffileobject-wdffileobjectgetdevice).
pub(crate) unsafe fn WdfFileObjectGetDevice(
    kernel: &Kernel,
    FileObject: WDFFILEOBJECT,
) -> Result<WDFDEVICE, Violation> {
    let (_, file) = kernel.wdf.get::<File>(FileObject)?;
    Ok(file.device.get().map_or(std::ptr::null_mut(), Handle::raw))
}
