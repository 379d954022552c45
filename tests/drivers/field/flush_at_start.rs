//! Packet DMA through a buffer of the driver's own, whose author flushed that buffer from the caches
//! when the device was started and thought that was that.

use dmaproof_tests::lab::ddk::{ContextType, YES};
use wdk_lite::*;

use super::frame::bounce::Bounce;
use super::frame::context_type;
use super::frame::transfer::{Buffer, Device, Transfer};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// What the driver keeps of its own.
pub struct Own<const WRONG: bool> {
    /// The buffer that all data goes through.
    bounce: Bounce,
}

// SAFETY: zeros are a valid value of every member; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(1);

    unsafe fn prepare(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: at PASSIVE_LEVEL; the MDL is there if that was a success.
        unsafe {
            let status = device.own.bounce.allocate(device);
            if NT_SUCCESS(status) && WRONG {
                ntddk::KeFlushIoBuffers(device.mdl.get(), YES, YES);
            }
            status
        }
    }

    unsafe fn release(device: &Device<Self>) {
        // SAFETY: the device is idle.
        unsafe { device.own.bounce.free(device) };
    }

    unsafe fn buffer(request: WDFREQUEST, to_device: bool) -> Result<Buffer, NTSTATUS> {
        // SAFETY: the driver's request.
        unsafe { Buffer::address(request, to_device) }
    }

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: the request's buffer, and the driver's MDL.
        unsafe {
            let to_device = device.to_device.get();
            if to_device {
                device.own.bounce.fill(device);
            }
            if !WRONG {
                ntddk::KeFlushIoBuffers(device.mdl.get(), (!to_device).into(), YES);
            }
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
            if flushed && !device.to_device.get() {
                device.own.bounce.empty(device);
            }
            device.complete(flushed);
        }
    }
}
