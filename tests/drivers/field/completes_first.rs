//! Packet DMA by a driver that completes its request as soon as the device is done, to save time,
//! and tidies its DMA up afterwards.

use dmaproof_tests::lab::ddk::{ContextType, YES};
use wdk_lite::*;

use super::frame::context_type;
use super::frame::transfer::{Device, Transfer};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// The driver; it keeps nothing of its own.
pub struct Own<const WRONG: bool>;

// SAFETY: it has no value but one; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(3);

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: the request's MDL.
        unsafe {
            let read_operation = !device.to_device.get();
            ntddk::KeFlushIoBuffers(device.mdl.get(), read_operation.into(), YES);
            device.allocate_channel()
        }
    }

    unsafe fn done(device: &Device<Self>) {
        // SAFETY: the device is done with the request, which is the driver's.
        unsafe {
            if WRONG {
                device.complete(true);
            }
            let flushed = device.flush_adapter();
            device.free_registers();
            if !WRONG {
                device.complete(flushed);
            }
        }
    }
}
