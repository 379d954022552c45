//! DMA through a common buffer, by a driver that gives its device the buffer's physical address, as
//! MmGetPhysicalAddress tells it, not the logical address that came with the buffer.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::ddk::{ContextType, NO};
use wdk_lite::*;

use super::frame::context_type;
use super::frame::transfer::{Buffer, Device, Transfer};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// What the driver keeps of its own.
pub struct Own<const WRONG: bool> {
    /// The common buffer, and where the device finds it.
    buffer: Cell<*mut u8>,
    logical: Cell<PHYSICAL_ADDRESS>,
}

// SAFETY: zeros are a valid value of every member; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(11);

    unsafe fn prepare(device: &Device<Self>) -> NTSTATUS {
        let Self { buffer, logical } = &device.own;
        let adapter = device.adapter.get();
        // SAFETY: at PASSIVE_LEVEL, with the adapter.
        let common = unsafe { adapter.AllocateCommonBuffer(PAGE_SIZE, logical.as_ptr(), NO) };
        buffer.set(common.cast());
        if common.is_null() { STATUS_INSUFFICIENT_RESOURCES } else { STATUS_SUCCESS }
    }

    unsafe fn release(device: &Device<Self>) {
        let Self { buffer, logical } = &device.own;
        let common = buffer.replace(ptr::null_mut());
        if !common.is_null() {
            let adapter = device.adapter.get();
            // SAFETY: the device is idle; the buffer came from the adapter.
            unsafe { adapter.FreeCommonBuffer(PAGE_SIZE, logical.get(), common.cast(), NO) };
        }
    }

    unsafe fn buffer(request: WDFREQUEST, to_device: bool) -> Result<Buffer, NTSTATUS> {
        // SAFETY: the driver's request.
        unsafe { Buffer::address(request, to_device) }
    }

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        let Self { buffer, logical } = &device.own;
        // SAFETY: the request's buffer, and the driver's own.
        unsafe {
            let length = device.length.get();
            if device.to_device.get() {
                // CAST: one page at most.
                buffer.get().copy_from(device.theirs.get(), length as usize);
            }
            let address = if WRONG {
                ntddk::MmGetPhysicalAddress(buffer.get().cast())
            } else {
                logical.get()
            };
            // CAST: an address is unsigned.
            device.start(address.QuadPart as u64, 0, length);
        }
        STATUS_SUCCESS
    }

    unsafe fn done(device: &Device<Self>) {
        // SAFETY: the device is done with the request, which is the driver's.
        unsafe {
            if !device.to_device.get() {
                // CAST: one page at most.
                let length = device.length.get() as usize;
                device.theirs.get().copy_from(device.own.buffer.get(), length);
            }
            device.complete(true);
        }
    }
}
