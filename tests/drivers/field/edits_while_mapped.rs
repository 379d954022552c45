//! Packet DMA by a driver that turns the header of what it read, a big-endian number, into the
//! processor's order: at once when the interrupt has come, while the buffer is still mapped.

use std::cell::Cell;

use dmaproof_tests::lab::ddk::{ContextType, MmGetSystemAddressForMdlSafe, YES};
use wdk_lite::*;

use super::frame::context_type;
use super::frame::transfer::{Device, Transfer};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// What the driver keeps of its own.
pub struct Own<const WRONG: bool> {
    /// The buffer's system address, for the header.
    system: Cell<*mut u32>,
}

/// The header of what was read, in the processor's order.
///
/// # Safety
/// The request's buffer is locked.
unsafe fn convert_header<const WRONG: bool>(device: &Field<WRONG>) {
    if !device.to_device.get() {
        let header = device.own.system.get();
        // SAFETY: the buffer has at least a block, and begins on a boundary of the header.
        unsafe { header.write_unaligned(u32::from_be(header.read_unaligned())) };
    }
}

// SAFETY: zeros are a valid value of every member; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(7);

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        let mdl = device.mdl.get();
        let priority = _MM_PAGE_PRIORITY::NormalPagePriority as ULONG | MdlMappingNoExecute;
        // SAFETY: the request's MDL.
        unsafe {
            let system = MmGetSystemAddressForMdlSafe(mdl, priority);
            if system.is_null() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            device.own.system.set(system.cast());
            let read_operation = !device.to_device.get();
            ntddk::KeFlushIoBuffers(mdl, read_operation.into(), YES);
            device.allocate_channel()
        }
    }

    unsafe fn done(device: &Device<Self>) {
        // SAFETY: the device is done with the request, which is the driver's.
        unsafe {
            if WRONG {
                convert_header(device);
            }
            let flushed = device.flush_adapter();
            device.free_registers();
            if !WRONG {
                convert_header(device);
            }
            device.complete(flushed);
        }
    }
}
