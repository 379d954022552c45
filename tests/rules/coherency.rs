//! Section H: KeFlushIoBuffers, on a machine where it does nothing.
//!
//! There, leaving it out loses no data: it is a note, and a violation on a strict machine.

use std::ptr;

use dmaproof_tests::lab::ddk::{MmGetSystemAddressForMdlSafe, NO, YES, at_level};
use dmaproof_tests::lab::{
    Lab, Script, Transfer, Transfer3, whole_list, whole_packet, whole_version3,
};
use dmaproof_tests::{rule_tests, run};
use testdev::edu;
use wdk_lite::*;

use crate::{DMA, VERIFIER};

rule_tests! {
    breaks flush_above_dispatch_level {
        [Dma84], [(VERIFIER, 0x20011)],
        broken: run(|lab, request| {
            let transfer = Transfer::new(lab, request);
            // SAFETY: LAB.
            unsafe { at_level(HIGH_LEVEL, || transfer.flush_caches()) };
            STATUS_SUCCESS
        }),
        clean: run(whole_packet),
    }
    note flush_for_the_other_direction {
        [Dma84, Dma85],
        broken: run(|lab, request| flushed(lab, request, YES, YES)),
        clean: run(|lab, request| flushed(lab, request, NO, YES)),
    }
    note flush_for_pio_instead_of_dma {
        [Dma84, Dma85],
        broken: run(|lab, request| flushed(lab, request, NO, NO)),
        clean: run(|lab, request| flushed(lab, request, NO, YES)),
    }
    note packet_to_device_without_flush {
        [Dma85],
        broken: run(unflushed),
        clean: run(whole_packet),
    }
    note packet_from_device_without_flush {
        [Dma85],
        broken: run(unflushed).from_device(),
        clean: run(whole_packet).from_device(),
    }
    note list_without_flush {
        [Dma85],
        broken: run(unflushed_list).script(Script::lists()),
        clean: run(whole_list).script(Script::lists()),
    }
    note second_transfer_after_one_flush {
        [Dma85],
        broken: run(|lab, request| twice(lab, request, 1)),
        clean: run(|lab, request| twice(lab, request, 2)),
    }
    note pio_read_without_flush {
        [Dma86],
        broken: run(|lab, request| pio(lab, request, false)).from_device(),
        clean: run(|lab, request| pio(lab, request, true)).from_device(),
    }
    note first_mdl_of_a_chain_flushed {
        [Dma87, Dma85],
        broken: run(|lab, request| chained(lab, request, 1)).script(Script::lists())
            .scenario(|bench| bench.chain(&[512, 512], 0)),
        clean: run(|lab, request| chained(lab, request, 2)).script(Script::lists())
            .scenario(|bench| bench.chain(&[512, 512], 0)),
    }
    note version_3_with_a_flush {
        [Dma88],
        broken: run(|lab, request| {
            let mdl = lab.mdl_of(request);
            // SAFETY: LAB.
            unsafe { ntddk::KeFlushIoBuffers(mdl, NO, YES) };
            whole_version3(lab, request)
        }).script(Script::version3()),
        clean: run(whole_version3).script(Script::version3()),
    }
    breaks cache_flush_in_place_of_the_adapter_flush {
        [Dma89, Dma42, Dma54], [(DMA, 0x0D), (DMA, 0x10)],
        broken: run(|lab, request| interchanged(lab, request, true)),
        clean: run(|lab, request| interchanged(lab, request, false)),
    }
    note cached_common_buffer_without_flush {
        [Dma90],
        broken: run(|lab, _| common_buffer(lab, &[false])),
        clean: run(|lab, _| common_buffer(lab, &[true])),
    }
    note cached_common_buffer_flushed_for_the_first_transfer_only {
        [Dma90],
        broken: run(|lab, _| common_buffer(lab, &[true, true, false])),
        clean: run(|lab, _| common_buffer(lab, &[true, true, true])),
    }
    answer version_3_transfers_without_a_flush {
        [Dma88],
        run(|lab, request| {
            let transfer = Transfer3::new(lab, request);
            transfer.begin();
            transfer.allocate();
            let (status, mapped) = transfer.map(0, transfer.length);
            lab.check(NT_SUCCESS(status), "MapTransferEx failed");
            transfer.flush(0, mapped);
            transfer.free();
            STATUS_SUCCESS
        }).script(Script::version3()).from_device(),
    }
}

/// A packet transfer whose cache flush has these arguments.
pub fn flushed(lab: &Lab, request: WDFREQUEST, read: BOOLEAN, dma: BOOLEAN) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    // SAFETY: LAB.
    unsafe { ntddk::KeFlushIoBuffers(transfer.mdl, read, dma) };
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(logical, mapped);
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// A packet transfer without a cache flush.
pub fn unflushed(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(logical, mapped);
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// A scatter/gather list without a cache flush.
pub fn unflushed_list(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.get_list();
    transfer.put_list();
    STATUS_SUCCESS
}

/// Two operations on the same bytes, the first `flushes` of which have a cache flush.
pub fn twice(lab: &Lab, request: WDFREQUEST, flushes: u32) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.allocate();
    for operation in 0..2 {
        if operation < flushes {
            transfer.flush_caches();
        }
        let (logical, mapped) = transfer.map(0, transfer.length);
        transfer.run_device(logical, mapped);
        transfer.flush(0, mapped);
    }
    transfer.free();
    STATUS_SUCCESS
}

/// Four bytes are read from a register into the request's buffer.
pub fn pio(lab: &Lab, request: WDFREQUEST, flush: bool) -> NTSTATUS {
    let mdl = lab.mdl_of(request);
    // SAFETY: LAB: the buffer has at least four bytes.
    unsafe {
        let address = MmGetSystemAddressForMdlSafe(mdl, MdlMappingNoExecute | 16);
        lab.check(!address.is_null(), "no system address");
        address.cast::<u32>().write_unaligned(lab.read(edu::ID));
        if flush {
            ntddk::KeFlushIoBuffers(mdl, YES, NO);
        }
    }
    lab.information.set(4);
    STATUS_SUCCESS
}

/// A list over a chain of two MDLs, of which `flushes` are flushed.
pub fn chained(lab: &Lab, request: WDFREQUEST, flushes: u32) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 1024;
    let mut mdl = transfer.mdl;
    for _ in 0..flushes {
        // SAFETY: LAB: the chain has two MDLs.
        unsafe {
            ntddk::KeFlushIoBuffers(mdl, NO, YES);
            mdl = (*mdl).Next;
        }
    }
    transfer.get_list();
    transfer.put_list();
    STATUS_SUCCESS
}

/// After the transfer: the caches are flushed, or the adapter's buffers.
fn interchanged(lab: &Lab, request: WDFREQUEST, caches: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(logical, mapped);
    if caches {
        transfer.flush_caches();
    } else {
        transfer.flush(0, mapped);
    }
    transfer.free();
    STATUS_SUCCESS
}

/// The device reads a common buffer that was allocated with CacheEnabled TRUE.
pub fn common_buffer(lab: &Lab, flushes: &[bool]) -> NTSTATUS {
    let adapter = lab.adapter.get();
    let mut logical = PHYSICAL_ADDRESS::default();
    // SAFETY: LAB.
    unsafe {
        let address = adapter.AllocateCommonBuffer(PAGE_SIZE, &raw mut logical, YES);
        let mdl = lab.mdl_over(address, PAGE_SIZE);
        for &flush in flushes {
            ptr::write_bytes(address.cast::<u8>(), 0xA5, 64);
            if flush {
                ntddk::KeFlushIoBuffers(mdl, NO, YES);
            }
            // CAST: an address is unsigned.
            lab.start_device(logical.QuadPart as u64, 64, true, false);
            lab.check(lab.wait_for_device(), "the device did not finish");
        }
        ntddk::IoFreeMdl(mdl);
        adapter.FreeCommonBuffer(PAGE_SIZE, logical, address, YES);
    }
    STATUS_SUCCESS
}
