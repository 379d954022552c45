//! A driver without DMA: it reads a row of registers into its request's buffer, and forgets the flush
//! that ends a programmed read.

use std::ptr;

use dmaproof_tests::lab::ddk::{ContextType, NO, YES};
use testdev::edu;
use wdk_lite::*;

use super::frame::{Driver, Registers, context, context_type};

/// The driver, wrong or right.
pub struct Field<const WRONG: bool> {
    registers: Registers,
}

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// The registers of a dump, four bytes each.
const DUMP: [u64; 4] = [edu::ID, edu::LIVENESS, edu::STATUS, edu::IRQ_STATUS];

// SAFETY: zeros are a valid value of the registers; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Driver for Field<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(10);
    const READ: PFN_WDF_IO_QUEUE_IO_READ = Some(io_read::<WRONG>);

    fn registers(&self) -> &Registers {
        &self.registers
    }
}

unsafe extern "C" fn io_read<const WRONG: bool>(queue: WDFQUEUE, request: WDFREQUEST, _: usize) {
    let (mut buffer, mut mdl) = (ptr::null_mut(), ptr::null_mut());
    let bytes = size_of_val(&DUMP) / 2;
    // SAFETY: a request that the framework has just given; the pointers live on this stack; the
    // buffer has at least as many bytes as were asked for.
    unsafe {
        let device = context::<Field<WRONG>>(wdf::WdfIoQueueGetDevice(queue));
        let to = &raw mut buffer;
        let mut status = wdf::WdfRequestRetrieveOutputBuffer(request, bytes, to, ptr::null_mut());
        if NT_SUCCESS(status) {
            status = wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl);
        }
        if !NT_SUCCESS(status) {
            wdf::WdfRequestComplete(request, status);
            return;
        }
        for (index, register) in DUMP.into_iter().enumerate() {
            let value = device.registers.read(register);
            buffer.cast::<u32>().add(index).write_unaligned(value);
        }
        if !WRONG {
            ntddk::KeFlushIoBuffers(mdl, YES, NO);
        }
        wdf::WdfRequestCompleteWithInformation(request, STATUS_SUCCESS, bytes as u64);
    }
}
