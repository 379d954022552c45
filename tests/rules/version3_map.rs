//! Section F, continued: MapTransferEx and FlushAdapterBuffersEx.

use std::ptr;

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{Lab, Transfer3, whole_version3};
use dmaproof_tests::rule_tests;
use wdk_lite::*;

use crate::DMA;
use crate::version3::{allocated, v3};

rule_tests! {
    breaks map_nothing {
        [Dma64, Dma50], [(DMA, 0x21)],
        broken: v3(|lab, request| mapped(lab, request, |map| map.length = 0)),
        clean: v3(|lab, request| mapped(lab, request, |_| ())),
    }
    breaks map_beyond_the_chain {
        [Dma64, Dma46], [(DMA, 0x1B), (DMA, 0x1F), (DMA, 0x24)],
        broken: v3(|lab, request| mapped(lab, request, |map| map.offset = 3000)),
        clean: v3(|lab, request| mapped(lab, request, |map| map.offset = 2000)),
    }
    breaks map_with_a_device_offset {
        [Dma64], [],
        broken: v3(|lab, request| mapped(lab, request, |map| map.device_offset = 8)),
        clean: v3(|lab, request| mapped(lab, request, |_| ())),
    }
    breaks map_with_a_completion_routine {
        [Dma64, Dma70], [],
        broken: v3(|lab, request| mapped(lab, request, |map| map.completion = Some(completed))),
        clean: v3(|lab, request| mapped(lab, request, |_| ())),
    }
    breaks map_ex_above_dispatch_level {
        [Dma64], [(DMA, 0x13)],
        broken: v3(|lab, request| mapped(lab, request, |map| map.level = HIGH_LEVEL)),
        clean: v3(|lab, request| mapped(lab, request, |map| map.level = DISPATCH_LEVEL)),
    }
    answer list_buffer_for_no_element {
        [Dma65],
        v3(no_room_for_an_element),
    }
    breaks flush_after_a_failed_map {
        [Dma65, Dma53, Dma66, Dma67], [],
        broken: v3(|lab, request| failed_map(lab, request, true)),
        clean: v3(|lab, request| failed_map(lab, request, false)),
    }
    breaks second_map_before_the_flush {
        [Dma66, Dma51], [(DMA, 0x0D), (DMA, 0x10), (DMA, 0x1D)],
        broken: v3(|lab, request| allocated(lab, request, |t| {
            let (_, first) = t.map(0, 1000);
            let (_, second) = t.map(first, 1000);
            t.flush(0, first);
            t.flush(first, second);
        })),
        clean: v3(|lab, request| allocated(lab, request, |t| {
            let (_, first) = t.map(0, 1000);
            t.flush(0, first);
            let (_, second) = t.map(first, 1000);
            t.flush(first, second);
        })),
    }
    breaks registers_freed_without_a_flush {
        [Dma66, Dma42, Dma54], [(DMA, 0x0D), (DMA, 0x10)],
        broken: v3(|lab, request| allocated(lab, request, |t| { let _ = t.map(0, 1000); })),
        clean: v3(whole_version3),
    }
    breaks flush_ex_of_another_range {
        [Dma67, Dma53], [(DMA, 0x00), (DMA, 0x16), (DMA, 0x20)],
        broken: v3(|lab, request| allocated(lab, request, |t| {
            let (_, bytes) = t.map(0, 1000);
            t.flush(1024, bytes);
        })),
        clean: v3(whole_version3),
    }
    breaks flush_ex_of_what_is_not_mapped {
        [Dma67, Dma53, Dma66], [(DMA, 0x16), (DMA, 0x20)],
        broken: v3(|lab, request| allocated(lab, request, |t| { t.flush(0, 1000); })),
        clean: v3(whole_version3),
    }
    breaks flush_ex_of_less_than_was_mapped {
        [Dma67, Dma42, Dma53, Dma54, Dma66], [(DMA, 0x0D), (DMA, 0x10)],
        broken: v3(|lab, request| allocated(lab, request, |t| {
            let _ = t.map(0, 1000);
            t.flush(0, 500);
        })),
        clean: v3(whole_version3),
    }
}

/// The arguments of MapTransferEx that a test alters.
struct Map {
    offset: u64,
    length: u32,
    device_offset: u32,
    completion: PDMA_COMPLETION_ROUTINE,
    level: u32,
}

unsafe extern "C" fn completed(
    _adapter: PDMA_ADAPTER,
    _device: PDEVICE_OBJECT,
    _context: PVOID,
    _status: DMA_COMPLETION_STATUS,
) {
}

/// Maps 1000 bytes at the start, or what the test makes of it, and flushes them.
fn mapped(lab: &Lab, request: WDFREQUEST, alter: fn(&mut Map)) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate();
    let mut map =
        Map { offset: 0, length: 1000, device_offset: 0, completion: None, level: PASSIVE_LEVEL };
    alter(&mut map);
    let mut bytes = map.length;
    // SAFETY: LAB.
    unsafe {
        let status = at_level(map.level, || {
            transfer.adapter.MapTransferEx(
                transfer.mdl,
                transfer.base.get(),
                map.offset,
                map.device_offset,
                &raw mut bytes,
                transfer.write(),
                transfer.buffer,
                transfer.buffer_bytes,
                map.completion,
                ptr::null_mut(),
            )
        });
        if NT_SUCCESS(status) {
            let (mdl, base, write) = (transfer.mdl, transfer.base.get(), transfer.write());
            transfer.adapter.FlushAdapterBuffersEx(mdl, base, map.offset, bytes, write);
        }
    }
    transfer.free();
    STATUS_SUCCESS
}

fn no_room_for_an_element(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let mut transfer = Transfer3::new(lab, request);
    transfer.buffer_bytes = 8;
    transfer.begin();
    transfer.allocate();
    let (status, _) = transfer.map(0, transfer.length);
    lab.check(status == STATUS_INVALID_PARAMETER, "eight bytes hold no element");
    transfer.free();
    STATUS_SUCCESS
}

/// A map that fails for want of list space, flushed or not.
fn failed_map(lab: &Lab, request: WDFREQUEST, flush: bool) -> NTSTATUS {
    let mut transfer = Transfer3::new(lab, request);
    transfer.buffer_bytes = 8;
    transfer.begin();
    transfer.allocate();
    let (status, _) = transfer.map(0, transfer.length);
    lab.check(!NT_SUCCESS(status), "the map was to fail");
    if flush {
        transfer.flush(0, transfer.length);
    }
    transfer.free();
    STATUS_SUCCESS
}
