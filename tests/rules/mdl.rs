//! Section J: MDLs and their lifetime.

use std::ptr;

use dmaproof_tests::lab::ddk::{
    KERNEL_MODE, MmGetMdlVirtualAddress, MmGetSystemAddressForMdlSafe, NO, YES, at_level,
};
use dmaproof_tests::lab::{Lab, Script, Transfer, complete, whole_packet};
use dmaproof_tests::{rule_tests, run};
use wdk_lite::*;

use crate::{DMA, VERIFIER};

rule_tests! {
    breaks memory_neither_locked_nor_nonpaged {
        [Dma99], [(DMA, 0x0E), (DMA, 0x22), (VERIFIER, 0x140)],
        broken: run(|lab, _| own_memory(lab, |_| ())),
        clean: run(|lab, _| own_memory(lab, build)),
    }
    breaks flags_damaged {
        [Dma99, Dma102], [],
        broken: run(|lab, _| own_memory(lab, |mdl| {
            build(mdl);
            // SAFETY: LAB.
            unsafe { (*mdl).MdlFlags = 0 };
        })),
        clean: run(|lab, _| own_memory(lab, build)),
    }
    breaks completed_before_the_flush {
        [Dma100, Dma44, Dma54, Dma101, Sim12], [],
        broken: run(|lab, request| completed(lab, request, true)),
        clean: run(|lab, request| completed(lab, request, false)),
    }
    breaks cache_flush_after_completion {
        [Dma101, Kmdf22, Sim11], [],
        broken: run(|lab, request| flush_around_completion(lab, request, true)),
        clean: run(|lab, request| flush_around_completion(lab, request, false)),
    }
    breaks chain_relinked_while_mapped {
        [Dma102], [],
        broken: run(|lab, request| relinked(lab, request, true)).script(Script::lists())
            .scenario(|bench| bench.chain(&[512, 512], 0)),
        clean: run(|lab, request| relinked(lab, request, false)).script(Script::lists())
            .scenario(|bench| bench.chain(&[512, 512], 0)),
    }
    breaks partial_mdl_beyond_its_source {
        [Dma103], [],
        broken: run(|lab, request| partial(lab, request, |p| p.offset = 2500)),
        clean: run(|lab, request| partial(lab, request, |_| ())),
    }
    breaks partial_mdl_too_small {
        [Dma103], [],
        broken: run(|lab, request| partial(lab, request, |p| p.room = 100)),
        clean: run(|lab, request| partial(lab, request, |_| ())),
    }
    breaks partial_mdl_unlocked {
        [Dma103, Dma105], [(VERIFIER, 0x7C), (VERIFIER, 0x7D), (VERIFIER, 0xB4)],
        broken: run(|lab, request| partial(lab, request, |p| p.unlock = true)),
        clean: run(|lab, request| partial(lab, request, |_| ())),
    }
    breaks nonpaged_mdl_unlocked {
        [Dma103, Dma105], [(VERIFIER, 0x7C), (VERIFIER, 0x7D), (VERIFIER, 0xB4)],
        broken: run(|lab, _| own_memory(lab, |mdl| {
            build(mdl);
            // SAFETY: LAB.
            unsafe { ntddk::MmUnlockPages(mdl) };
        })),
        clean: run(|lab, _| own_memory(lab, build)),
    }
    breaks device_writes_what_was_locked_for_reading {
        [Dma104], [],
        broken: run(|lab, request| {
            let mdl = lab.mdl_of(request);
            packet(&Transfer::over(lab, mdl, false))
        }),
        clean: run(whole_packet),
    }
    breaks unlocked_twice {
        [Dma105], [(VERIFIER, 0x7C)],
        broken: run(|lab, _| locked(lab, 1, 2)),
        clean: run(|lab, _| locked(lab, 1, 1)),
    }
    breaks locked_twice {
        [Dma105], [(VERIFIER, 0x70), (VERIFIER, 0xB0), (VERIFIER, 0x78)],
        broken: run(|lab, _| locked(lab, 2, 1)),
        clean: run(|lab, _| locked(lab, 1, 1)),
    }
    breaks freed_while_locked {
        [Dma105], [],
        broken: run(|lab, _| locked(lab, 1, 0)),
        clean: run(|lab, _| locked(lab, 1, 1)),
    }
    breaks unlocked_while_mapped {
        [Dma105, Dma100], [],
        broken: run(|lab, _| unlock_around_flush(lab, true)),
        clean: run(|lab, _| unlock_around_flush(lab, false)),
    }
    breaks lock_above_dispatch_level {
        [Dma105], [(VERIFIER, 0x70)],
        broken: run(|lab, _| lock_at(lab, HIGH_LEVEL)),
        clean: run(|lab, _| lock_at(lab, PASSIVE_LEVEL)),
    }
    breaks executable_mapping {
        [Dma106, Sec12], [(VERIFIER, 0x2002)],
        broken: run(|lab, request| mapped(lab, request, 16)),
        clean: run(|lab, request| mapped(lab, request, MdlMappingNoExecute | 16)),
    }
}

fn build(mdl: PMDL) {
    // SAFETY: LAB.
    unsafe { ntddk::MmBuildMdlForNonPagedPool(mdl) }
}

/// A packet of the driver's own memory, whose MDL is made ready by `ready`.
fn own_memory(lab: &Lab, ready: fn(PMDL)) -> NTSTATUS {
    let pool = lab.pool(2048);
    // SAFETY: LAB.
    let mdl = unsafe { ntddk::IoAllocateMdl(pool, 2048, NO, NO, ptr::null_mut()) };
    ready(mdl);
    packet(&Transfer::over(lab, mdl, true));
    // SAFETY: LAB.
    unsafe { ntddk::IoFreeMdl(mdl) };
    lab.free(pool);
    STATUS_SUCCESS
}

fn packet(transfer: &Transfer<'_>) -> NTSTATUS {
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(logical, mapped);
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// Completes the request before the flush, or at the end.
fn completed(lab: &Lab, request: WDFREQUEST, early: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(logical, mapped);
    if early {
        complete(request, STATUS_SUCCESS);
    }
    transfer.flush(0, mapped);
    transfer.free();
    if !early {
        complete(request, STATUS_SUCCESS);
    }
    STATUS_PENDING
}

fn flush_around_completion(lab: &Lab, request: WDFREQUEST, late: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    if !late {
        transfer.flush_caches();
    }
    complete(request, STATUS_SUCCESS);
    if late {
        transfer.flush_caches();
    }
    STATUS_PENDING
}

/// A list over a chain of two MDLs, whose link is cut before the put.
fn relinked(lab: &Lab, request: WDFREQUEST, cut: bool) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 1024;
    // SAFETY: LAB: the chain has two MDLs.
    unsafe {
        let second = (*transfer.mdl).Next;
        ntddk::KeFlushIoBuffers(transfer.mdl, NO, YES);
        ntddk::KeFlushIoBuffers(second, NO, YES);
        transfer.get_list();
        if cut {
            (*transfer.mdl).Next = ptr::null_mut();
        }
        transfer.put_list();
        (*transfer.mdl).Next = second;
    }
    STATUS_SUCCESS
}

/// A partial MDL: where it begins, how many bytes it was allocated for.
struct Partial {
    offset: usize,
    room: u32,
    unlock: bool,
}

/// 1000 bytes of the request's 3000, which begin in the middle of a page.
fn partial(lab: &Lab, request: WDFREQUEST, alter: fn(&mut Partial)) -> NTSTATUS {
    let mut partial = Partial { offset: 1500, room: 1000, unlock: false };
    alter(&mut partial);
    let source = lab.mdl_of(request);
    // SAFETY: LAB.
    unsafe {
        let address = MmGetMdlVirtualAddress(source).wrapping_byte_add(partial.offset);
        let target = ntddk::IoAllocateMdl(address, partial.room, NO, NO, ptr::null_mut());
        ntddk::IoBuildPartialMdl(source, target, address, 1000);
        if partial.unlock {
            ntddk::MmUnlockPages(target);
        }
        ntddk::IoFreeMdl(target);
    }
    STATUS_SUCCESS
}

/// Locks pool so often, unlocks it so often, and frees the MDL.
fn locked(lab: &Lab, locks: u32, unlocks: u32) -> NTSTATUS {
    let pool = lab.pool(2048);
    // SAFETY: LAB.
    unsafe {
        let mdl = ntddk::IoAllocateMdl(pool, 2048, NO, NO, ptr::null_mut());
        for _ in 0..locks {
            ntddk::MmProbeAndLockPages(mdl, KERNEL_MODE, _LOCK_OPERATION::IoModifyAccess);
        }
        for _ in 0..unlocks {
            ntddk::MmUnlockPages(mdl);
        }
        ntddk::IoFreeMdl(mdl);
    }
    lab.free(pool);
    STATUS_SUCCESS
}

fn unlock_around_flush(lab: &Lab, early: bool) -> NTSTATUS {
    let pool = lab.pool(2048);
    // SAFETY: LAB.
    unsafe {
        let mdl = ntddk::IoAllocateMdl(pool, 2048, NO, NO, ptr::null_mut());
        ntddk::MmProbeAndLockPages(mdl, KERNEL_MODE, _LOCK_OPERATION::IoModifyAccess);
        let transfer = Transfer::over(lab, mdl, true);
        transfer.flush_caches();
        transfer.allocate();
        let (_, mapped) = transfer.map(0, transfer.length);
        if early {
            ntddk::MmUnlockPages(mdl);
        }
        transfer.flush(0, mapped);
        transfer.free();
        if !early {
            ntddk::MmUnlockPages(mdl);
        }
        ntddk::IoFreeMdl(mdl);
    }
    lab.free(pool);
    STATUS_SUCCESS
}

fn lock_at(lab: &Lab, level: u32) -> NTSTATUS {
    let pool = lab.pool(2048);
    // SAFETY: LAB.
    unsafe {
        let mdl = ntddk::IoAllocateMdl(pool, 2048, NO, NO, ptr::null_mut());
        at_level(level, || {
            ntddk::MmProbeAndLockPages(mdl, KERNEL_MODE, _LOCK_OPERATION::IoModifyAccess);
        });
        ntddk::MmUnlockPages(mdl);
        ntddk::IoFreeMdl(mdl);
    }
    lab.free(pool);
    STATUS_SUCCESS
}

fn mapped(lab: &Lab, request: WDFREQUEST, priority: u32) -> NTSTATUS {
    let mdl = lab.mdl_of(request);
    // SAFETY: LAB.
    let address = unsafe { MmGetSystemAddressForMdlSafe(mdl, priority) };
    lab.check(!address.is_null(), "no system address");
    STATUS_SUCCESS
}
