//! A buffer of a driver's own, in nonpaged pool, which all its data goes through.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::ddk::NO;
use wdk_lite::*;

use super::transfer::Device;

/// Tag of the driver's pool.
const TAG: u32 = u32::from_le_bytes(*b"Fild");

/// A page of the driver's own; it begins as zeros, and not allocated.
pub struct Bounce {
    bytes: Cell<*mut u8>,
}

impl Bounce {
    /// Allocates the page; its MDL becomes what the device maps.
    ///
    /// # Safety
    /// At PASSIVE_LEVEL, once.
    pub unsafe fn allocate<T>(&self, device: &Device<T>) -> NTSTATUS {
        // SAFETY: as the caller promises.
        unsafe {
            let bytes = ntddk::ExAllocatePool2(POOL_FLAG_NON_PAGED, PAGE_SIZE.into(), TAG);
            if bytes.is_null() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            self.bytes.set(bytes.cast());
            let mdl = ntddk::IoAllocateMdl(bytes, PAGE_SIZE, NO, NO, ptr::null_mut());
            if mdl.is_null() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            device.mdl.set(mdl);
            ntddk::MmBuildMdlForNonPagedPool(mdl);
        }
        STATUS_SUCCESS
    }

    /// Frees what there is of that.
    ///
    /// # Safety
    /// The device is idle.
    pub unsafe fn free<T>(&self, device: &Device<T>) {
        // SAFETY: as the caller promises.
        unsafe {
            let mdl = device.mdl.replace(ptr::null_mut());
            if !mdl.is_null() {
                ntddk::IoFreeMdl(mdl);
            }
            let bytes = self.bytes.replace(ptr::null_mut());
            if !bytes.is_null() {
                ntddk::ExFreePoolWithTag(bytes.cast(), TAG);
            }
        }
    }

    /// Copies the request's data into the page.
    ///
    /// # Safety
    /// The driver owns the request.
    pub unsafe fn fill<T>(&self, device: &Device<T>) {
        // SAFETY: as the caller promises.
        // CAST: one page at most.
        unsafe { self.bytes.get().copy_from(device.theirs.get(), device.length.get() as usize) };
    }

    /// Copies the page's data to the request.
    ///
    /// # Safety
    /// The driver owns the request.
    pub unsafe fn empty<T>(&self, device: &Device<T>) {
        // SAFETY: as the caller promises.
        // CAST: one page at most.
        unsafe { device.theirs.get().copy_from(self.bytes.get(), device.length.get() as usize) };
    }
}
