//! DMA through a common buffer that was asked for with CacheEnabled TRUE, by a driver that takes a
//! common buffer for coherent everywhere and never flushes it.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::ddk::{ContextType, NO, YES};
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
    const INTERFACE: GUID = super::interface(5);

    unsafe fn prepare(device: &Device<Self>) -> NTSTATUS {
        let Self { buffer, logical } = &device.own;
        // SAFETY: at PASSIVE_LEVEL, with the adapter.
        unsafe {
            let adapter = device.adapter.get();
            let common = adapter.AllocateCommonBuffer(PAGE_SIZE, logical.as_ptr(), YES);
            if common.is_null() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            buffer.set(common.cast());
            let mdl = ntddk::IoAllocateMdl(common, PAGE_SIZE, NO, NO, ptr::null_mut());
            if mdl.is_null() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            ntddk::MmBuildMdlForNonPagedPool(mdl);
            device.mdl.set(mdl);
        }
        STATUS_SUCCESS
    }

    unsafe fn release(device: &Device<Self>) {
        let Self { buffer, logical } = &device.own;
        // SAFETY: the device is idle; a buffer came from the adapter.
        unsafe {
            let mdl = device.mdl.replace(ptr::null_mut());
            if !mdl.is_null() {
                ntddk::IoFreeMdl(mdl);
            }
            let common = buffer.replace(ptr::null_mut());
            if !common.is_null() {
                let adapter = device.adapter.get();
                adapter.FreeCommonBuffer(PAGE_SIZE, logical.get(), common.cast(), YES);
            }
        }
    }

    unsafe fn buffer(request: WDFREQUEST, to_device: bool) -> Result<Buffer, NTSTATUS> {
        // SAFETY: the driver's request.
        unsafe { Buffer::address(request, to_device) }
    }

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: the request's buffer, and the driver's own.
        unsafe {
            let (to_device, length) = (device.to_device.get(), device.length.get());
            if to_device {
                // CAST: one page at most.
                device.own.buffer.get().copy_from(device.theirs.get(), length as usize);
            }
            if !WRONG {
                ntddk::KeFlushIoBuffers(device.mdl.get(), (!to_device).into(), YES);
            }
            // CAST: an address is unsigned.
            device.start(device.own.logical.get().QuadPart as u64, 0, length);
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
