//! Scatter/gather DMA by a driver that was tried with small buffers only: it gives its device the first
//! element of the list and takes that for the whole.

use std::cell::Cell;

use dmaproof_tests::lab::ddk::{ContextType, MmGetMdlVirtualAddress, YES, at_level};
use wdk_lite::*;

use super::frame::context_type;
use super::frame::transfer::{Device, Transfer, takes_fragments};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// What the driver keeps of its own.
pub struct Own<const WRONG: bool> {
    /// The request's list, the elements done, and their bytes.
    list: Cell<PSCATTER_GATHER_LIST>,
    done: Cell<u32>,
    offset: Cell<u32>,
}

/// Starts the device on the next element; false if there is none.
///
/// # Safety
/// The list is live.
unsafe fn next_element<const WRONG: bool>(device: &Field<WRONG>) -> bool {
    let Own { list, done, offset } = &device.own;
    // SAFETY: the list has as many elements as it says.
    unsafe {
        let list = list.get();
        let index = done.get();
        if index == (*list).NumberOfElements {
            return false;
        }
        let elements = (&raw const (*list).Elements).cast::<SCATTER_GATHER_ELEMENT>();
        // CAST: 32 bits fit a 64-bit usize; an address is unsigned.
        let element = elements.add(index as usize).read();
        device.start(element.Address.QuadPart as u64, offset.get(), element.Length);
        done.set(index + 1);
        offset.set(offset.get() + element.Length);
        true
    }
}

/// AdapterListControl: starts the device on the first element.
unsafe extern "C" fn list_control<const WRONG: bool>(
    _device: *mut _DEVICE_OBJECT,
    _irp: *mut _IRP,
    list: PSCATTER_GATHER_LIST,
    context: PVOID,
) {
    // SAFETY: the device's context, and its request's list.
    unsafe {
        let device = &*context.cast::<Field<WRONG>>();
        device.own.list.set(list);
        device.own.done.set(0);
        device.own.offset.set(0);
        next_element(device);
    }
}

// SAFETY: zeros are a valid value of every member; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(8);

    fn description(&self) -> DEVICE_DESCRIPTION {
        takes_fragments()
    }

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        let (mdl, to_device) = (device.mdl.get(), device.to_device.get());
        // SAFETY: the request's MDL.
        unsafe {
            ntddk::KeFlushIoBuffers(mdl, (!to_device).into(), YES);
            at_level(DISPATCH_LEVEL, || {
                device.adapter.get().GetScatterGatherList(
                    device.object(),
                    mdl,
                    MmGetMdlVirtualAddress(mdl),
                    device.length.get(),
                    Some(list_control::<WRONG>),
                    device.as_context(),
                    to_device.into(),
                )
            })
        }
    }

    unsafe fn done(device: &Device<Self>) {
        // SAFETY: the device is done with the element; the request is the driver's.
        unsafe {
            if !WRONG && next_element(device) {
                return;
            }
            let write = device.to_device.get().into();
            device.adapter.get().PutScatterGatherList(device.own.list.get(), write);
            device.complete(true);
        }
    }
}
