//! Packet DMA by a driver whose author took KeFlushIoBuffers' ReadOperation for MapTransfer's
//! WriteToDevice: the two have opposite senses.

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
    const INTERFACE: GUID = super::interface(2);

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: the request's MDL.
        unsafe {
            let to_device = device.to_device.get();
            let read_operation = if WRONG { to_device } else { !to_device };
            ntddk::KeFlushIoBuffers(device.mdl.get(), read_operation.into(), YES);
            device.allocate_channel()
        }
    }

    // Here, not in the frame: a report about MapTransfer has to name a line of this file.
    unsafe fn control(device: &Device<Self>) -> IO_ALLOCATION_ACTION {
        // SAFETY: the map registers are the request's.
        unsafe { device.map_and_start() }
    }

    unsafe fn done(device: &Device<Self>) {
        // SAFETY: the device is done with the request, which is the driver's.
        unsafe {
            let flushed = device.flush_adapter();
            device.free_registers();
            device.complete(flushed);
        }
    }
}
