//! Section G, continued: lists in the caller's memory, and version 3.

use std::ptr;

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{Lab, Transfer, Transfer3, list_control};
use dmaproof_tests::rule_tests;
use wdk_lite::*;

use crate::DMA;
use crate::lists::{sg, sg3};

rule_tests! {
    answer size_of_a_list {
        [Dma79],
        sg(calculate),
    }
    breaks build_at_passive_level {
        [Dma80], [(DMA, 0x13)],
        broken: sg(|lab, request| built(lab, request, |build| build.level = PASSIVE_LEVEL)),
        clean: sg(|lab, request| built(lab, request, |_| ())),
    }
    answer build_into_too_little_space_is_refused {
        [Dma80],
        sg(too_little_space),
    }
    breaks list_buffer_freed_before_the_put {
        [Dma80, Sim11], [],
        broken: sg(|lab, request| built(lab, request, |build| build.early = true)),
        clean: sg(|lab, request| built(lab, request, |_| ())),
    }
    breaks build_ex_at_passive_level {
        [Dma81], [(DMA, 0x13)],
        broken: sg3(|lab, request| built_ex(lab, request, PASSIVE_LEVEL, None)),
        clean: sg3(|lab, request| built_ex(lab, request, DISPATCH_LEVEL, None)),
    }
    breaks build_ex_with_a_completion_routine {
        [Dma81, Dma70], [],
        broken: sg3(|lab, request| built_ex(lab, request, DISPATCH_LEVEL, Some(completed))),
        clean: sg3(|lab, request| built_ex(lab, request, DISPATCH_LEVEL, None)),
    }
    answer build_mdl_from_a_list {
        [Dma82],
        sg(build_mdl),
    }
}

/// CalculateScatterGatherList: status, size, registers.
fn calculated(transfer: &Transfer<'_>, mdl: PMDL, length: u32) -> (NTSTATUS, u32, u32) {
    let (mut size, mut registers) = (0, 0);
    let va = if mdl.is_null() { ptr::null_mut() } else { transfer.va };
    // SAFETY: LAB.
    let status = unsafe {
        transfer.adapter.CalculateScatterGatherList(
            mdl,
            va,
            length,
            &raw mut size,
            &raw mut registers,
        )
    };
    (status, size, registers)
}

fn calculate(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let all = lab.granted.get() * PAGE_SIZE;
    let (status, size, registers) = calculated(&transfer, ptr::null_mut(), all);
    lab.check(status == STATUS_SUCCESS, "the worst case of the whole grant");
    lab.check(registers == lab.granted.get(), "a register for each page");
    // CAST: 32 bits fit a 64-bit usize.
    let least = 16 + registers as usize * size_of::<SCATTER_GATHER_ELEMENT>();
    lab.check(size as usize >= least, "the list has its elements");
    let (status, _, registers) = calculated(&transfer, transfer.mdl, transfer.length);
    lab.check(status == STATUS_SUCCESS && registers == 2, "the buffer spans two pages");
    let (status, ..) = calculated(&transfer, transfer.mdl, transfer.length + 1);
    lab.check(status == STATUS_BUFFER_TOO_SMALL, "more than the MDL has");
    let (status, ..) = calculated(&transfer, ptr::null_mut(), all + 2 * PAGE_SIZE);
    lab.check(status == STATUS_INSUFFICIENT_RESOURCES, "more registers than there are");
    STATUS_SUCCESS
}

/// How a list is built.
struct Build {
    level: u32,
    early: bool,
}

/// Builds a list into pool and puts it; the pool is freed afterwards, or too early.
fn built(lab: &Lab, request: WDFREQUEST, alter: fn(&mut Build)) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let mut build = Build { level: DISPATCH_LEVEL, early: false };
    alter(&mut build);
    let (_, size, _) = calculated(&transfer, transfer.mdl, transfer.length);
    let buffer = lab.pool(size.into());
    transfer.flush_caches();
    let status = build_into(&transfer, build.level, buffer, size);
    lab.check(NT_SUCCESS(status), "BuildScatterGatherList failed");
    transfer.wait_for_grant();
    lab.check(transfer.list.get().addr() == buffer.addr(), "the list lies in the buffer");
    if build.early {
        lab.free(buffer);
    }
    transfer.put_list();
    if !build.early {
        lab.free(buffer);
    }
    STATUS_SUCCESS
}

fn build_into(transfer: &Transfer<'_>, level: u32, buffer: PVOID, size: u32) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe {
        at_level(level, || {
            transfer.adapter.BuildScatterGatherList(
                transfer.lab.fdo,
                transfer.mdl,
                transfer.va,
                transfer.length,
                Some(list_control),
                transfer.context(),
                transfer.write(),
                buffer,
                size,
            )
        })
    }
}

fn too_little_space(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let buffer = lab.pool(16);
    transfer.flush_caches();
    let status = build_into(&transfer, DISPATCH_LEVEL, buffer, 16);
    lab.check(status == STATUS_BUFFER_TOO_SMALL, "sixteen bytes hold no list");
    lab.check(transfer.calls.get() == 0, "a refused list calls nobody");
    lab.free(buffer);
    STATUS_SUCCESS
}

unsafe extern "C" fn completed(
    _adapter: PDMA_ADAPTER,
    _device: PDEVICE_OBJECT,
    _context: PVOID,
    _status: DMA_COMPLETION_STATUS,
) {
}

/// BuildScatterGatherListEx, synchronously without a routine, and PutScatterGatherList.
fn built_ex(
    lab: &Lab,
    request: WDFREQUEST,
    level: u32,
    completion: PDMA_COMPLETION_ROUTINE,
) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    let mut list: PVOID = ptr::null_mut();
    // SAFETY: LAB.
    unsafe {
        let status = at_level(level, || {
            transfer.adapter.BuildScatterGatherListEx(
                lab.fdo,
                transfer.context,
                transfer.mdl,
                0,
                transfer.length,
                DMA_SYNCHRONOUS_CALLBACK,
                None,
                ptr::null_mut(),
                transfer.write(),
                transfer.buffer.cast(),
                transfer.buffer_bytes,
                completion,
                ptr::null_mut(),
                (&raw mut list).cast(),
            )
        });
        lab.check(NT_SUCCESS(status), "BuildScatterGatherListEx failed");
        lab.check(list.addr() == transfer.buffer.addr(), "the list lies in the caller's buffer");
        at_level(DISPATCH_LEVEL, || {
            transfer.adapter.PutScatterGatherList(transfer.buffer, transfer.write());
        });
    }
    STATUS_SUCCESS
}

fn build_mdl(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.get_list();
    let mut target = ptr::null_mut();
    // SAFETY: LAB.
    unsafe {
        let status = transfer.adapter.BuildMdlFromScatterGatherList(
            transfer.list.get(),
            ptr::null_mut(),
            &raw mut target,
        );
        lab.check(status == STATUS_INVALID_PARAMETER, "without an original MDL");
    }
    transfer.put_list();
    STATUS_SUCCESS
}
