//! Packet DMA for a device that takes fragments, by a driver that goes on behind the length it asked
//! MapTransfer for, not behind the length it got.

use std::cell::Cell;

use dmaproof_tests::lab::ddk::{ContextType, MmGetMdlVirtualAddress, YES};
use wdk_lite::*;

use super::frame::context_type;
use super::frame::transfer::{Device, Transfer, takes_fragments};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// What the driver keeps of its own.
pub struct Own<const WRONG: bool> {
    /// The pieces that the buffer was mapped in, how many, and how many are done.
    pieces: [Cell<(u64, u32)>; 2],
    mapped: Cell<usize>,
    done: Cell<usize>,
    offset: Cell<u32>,
}

/// Starts the device on the next piece; false if there is none.
fn next_piece<const WRONG: bool>(device: &Field<WRONG>) -> bool {
    let Own { pieces, mapped, done, offset } = &device.own;
    let index = done.get();
    let piece = pieces.get(index).filter(|_| index < mapped.get());
    let Some((logical, length)) = piece.map(Cell::get) else { return false };
    done.set(index + 1);
    device.start(logical, offset.get(), length);
    offset.set(offset.get() + length);
    true
}

// SAFETY: zeros are a valid value of every member; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(6);

    fn description(&self) -> DEVICE_DESCRIPTION {
        takes_fragments()
    }

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: the request's MDL.
        unsafe {
            let read_operation = !device.to_device.get();
            ntddk::KeFlushIoBuffers(device.mdl.get(), read_operation.into(), YES);
            device.allocate_channel()
        }
    }

    /// Maps the buffer piece by piece and starts the device on the first.
    unsafe fn control(device: &Device<Self>) -> IO_ALLOCATION_ACTION {
        // SAFETY: the map registers are the request's.
        unsafe {
            let (mdl, base) = (device.mdl.get(), device.base.get());
            let mut current = MmGetMdlVirtualAddress(mdl);
            let mut remaining = device.length.get();
            let mut mapped = 0;
            for piece in &device.own.pieces {
                if remaining == 0 {
                    break;
                }
                let asked = remaining;
                let mut length = asked;
                let write = device.to_device.get().into();
                let adapter = device.adapter.get();
                let logical = adapter.MapTransfer(mdl, base, current, &raw mut length, write);
                // CAST: an address is unsigned.
                piece.set((logical.QuadPart as u64, length));
                mapped += 1;
                let advance = if WRONG { asked } else { length };
                // CAST: one page at most.
                current = current.wrapping_byte_add(advance as usize);
                remaining -= advance;
            }
            device.own.mapped.set(mapped);
        }
        device.own.done.set(0);
        device.own.offset.set(0);
        next_piece(device);
        _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters
    }

    unsafe fn done(device: &Device<Self>) {
        if next_piece(device) {
            return;
        }
        // SAFETY: the device is done with the request, which is the driver's.
        unsafe {
            let flushed = device.flush_adapter();
            device.free_registers();
            device.complete(flushed);
        }
    }
}
