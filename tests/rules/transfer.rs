//! Section E: MapTransfer and FlushAdapterBuffers.
//!
//! | not tested here | why |
//! |---|---|
//! | DMA-47, aliasing | a pointer to a ULONG does not say whose length it is |

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{
    Adapter, Lab, MAXIMUM_LENGTH, Script, Transfer, description, whole_packet,
};
use dmaproof_tests::{Bench, rule_tests, run};
use nthost::Profile;
use testdev::edu;
use wdk_lite::*;

use crate::DMA;

rule_tests! {
    breaks map_above_dispatch_level {
        [Dma45], [(DMA, 0x13)],
        broken: run(|lab, request| packet(lab, request, |t| {
            // SAFETY: LAB.
            unsafe { at_level(HIGH_LEVEL, || t.map(0, t.length)) };
        })),
        clean: run(|lab, request| packet(lab, request, |t| {
            // SAFETY: LAB.
            let (_, mapped) = unsafe { at_level(DISPATCH_LEVEL, || t.map(0, t.length)) };
            t.flush(0, mapped);
        })),
    }
    breaks map_without_registers {
        [Dma45, Dma39, Dma58], [],
        broken: run(|lab, request| {
            let transfer = Transfer::new(lab, request);
            transfer.flush_caches();
            let _ = transfer.map(0, transfer.length);
            STATUS_SUCCESS
        }),
        clean: run(whole_packet),
    }
    breaks map_after_the_registers_were_freed {
        [Dma45, Dma39, Dma58], [],
        broken: run(|lab, request| {
            packet(lab, request, |_| ());
            let transfer = Transfer::new(lab, request);
            transfer.flush_caches();
            transfer.allocate();
            transfer.free();
            let _ = transfer.map(0, transfer.length);
            STATUS_SUCCESS
        }),
        clean: run(whole_packet),
    }
    breaks map_with_another_adapter {
        [Dma45, Dma39, Dma58], [],
        broken: run(|lab, request| other_adapter(lab, request, true))
            .script(Script { prepare: two_adapters, release: put_both, ..Script::correct() }),
        clean: run(|lab, request| other_adapter(lab, request, false))
            .script(Script { prepare: two_adapters, release: put_both, ..Script::correct() }),
    }
    breaks map_before_the_buffer {
        [Dma46], [(DMA, 0x1B), (DMA, 0x1F)],
        broken: run(|lab, request| packet(lab, request, |t| map_shifted(t, -1, 16))),
        clean: run(|lab, request| packet(lab, request, |t| map_shifted(t, 0, 16))),
    }
    breaks map_behind_the_buffer {
        [Dma46], [(DMA, 0x1B), (DMA, 0x1F)],
        broken: run(|lab, request| packet(lab, request, |t| map_shifted(t, 3000, 16))),
        clean: run(|lab, request| packet(lab, request, |t| map_shifted(t, 2984, 16))),
    }
    breaks map_more_than_the_buffer_has {
        [Dma46], [(DMA, 0x1B), (DMA, 0x1F), (DMA, 0x24)],
        broken: run(|lab, request| packet(lab, request, |t| map_shifted(t, 8, 3000))),
        clean: run(|lab, request| packet(lab, request, |t| map_shifted(t, 8, 2992))),
    }
    answer a_contiguous_adapter_maps_all {
        [Dma47],
        run(|lab, request| packet(lab, request, |t| {
            let (logical, mapped) = t.map(0, t.length);
            t.lab.check(mapped == t.length, "an adapter without lists maps what was asked");
            t.run_device(logical, mapped);
            t.flush(0, mapped);
        })).buffer(4000, 0xF00),
    }
    answer a_short_piece_is_contiguous {
        [Dma47],
        run(|lab, request| pieces(lab, request, false)).buffer(20_000, 0xF00)
            .script(Script::lists()),
    }
    breaks advance_by_less_than_was_mapped {
        [Dma48, Dma51], [(DMA, 0x1D)],
        broken: run(|lab, request| pieces(lab, request, true)).buffer(20_000, 0xF00)
            .script(Script::lists()),
        clean: run(|lab, request| pieces(lab, request, false)).buffer(20_000, 0xF00)
            .script(Script::lists()),
    }
    breaks more_pages_than_registers {
        [Dma49, Dma34], [(DMA, 0x0C), (DMA, 0x15), (DMA, 0x00)],
        broken: run(|lab, request| budget(lab, request, 1)),
        clean: run(|lab, request| budget(lab, request, 2)),
    }
    breaks map_nothing {
        [Dma50], [(DMA, 0x21)],
        broken: run(|lab, request| packet(lab, request, |t| map_shifted(t, 0, 0))),
        clean: run(|lab, request| packet(lab, request, |t| map_shifted(t, 0, 1))),
    }
    breaks map_twice {
        [Dma51], [(DMA, 0x1D)],
        broken: run(|lab, request| packet(lab, request, |t| {
            let _ = t.map(0, 100);
            let _ = t.map(0, 100);
        })),
        clean: run(|lab, request| packet(lab, request, |t| {
            for _ in 0..2 {
                t.flush_caches();
                let _ = t.map(0, 100);
                t.flush(0, 100);
            }
        })),
    }
    breaks flush_in_the_other_direction {
        [Dma52, Dma53], [],
        broken: run(|lab, request| flush_altered(lab, request, |a| a.write = false)),
        clean: run(|lab, request| flush_altered(lab, request, |_| ())),
    }
    breaks flush_from_another_address {
        [Dma53], [(DMA, 0x16), (DMA, 0x1B), (DMA, 0x1F), (DMA, 0x20)],
        broken: run(|lab, request| flush_altered(lab, request, |a| a.offset += 512)),
        clean: run(|lab, request| flush_altered(lab, request, |_| ())),
    }
    breaks flush_less_than_was_mapped {
        [Dma53, Dma54, Dma42], [(DMA, 0x0D), (DMA, 0x10)],
        broken: run(|lab, request| flush_altered(lab, request, |a| a.length -= 512)),
        clean: run(|lab, request| flush_altered(lab, request, |_| ())),
    }
    breaks flush_more_than_was_mapped {
        [Dma53], [(DMA, 0x00), (DMA, 0x16), (DMA, 0x20)],
        broken: run(|lab, request| flush_altered(lab, request, |a| a.length += 512)),
        clean: run(|lab, request| flush_altered(lab, request, |_| ())),
    }
    breaks flush_what_is_not_mapped {
        [Dma53], [(DMA, 0x16), (DMA, 0x20)],
        broken: run(|lab, request| packet(lab, request, |t| { t.flush(0, t.length); })),
        clean: run(whole_packet),
    }
    breaks flush_twice {
        [Dma53], [(DMA, 0x16), (DMA, 0x20)],
        broken: run(|lab, request| packet(lab, request, |t| {
            let (_, mapped) = t.map(0, t.length);
            t.flush(0, mapped);
            t.flush(0, mapped);
        })),
        clean: run(whole_packet),
    }
    breaks flush_never {
        [Dma54, Dma42], [(DMA, 0x0D), (DMA, 0x10)],
        broken: run(|lab, request| packet(lab, request, |t| {
            let (logical, mapped) = t.map(0, t.length);
            t.run_device(logical, mapped);
        })),
        clean: run(whole_packet),
    }
    breaks flush_before_the_device_is_done {
        [Dma54, Dma57, Dma114, Dma115, Sim02], [],
        broken: run(|lab, request| packet(lab, request, |t| {
            let (logical, mapped) = t.map(0, t.length);
            t.lab.start_device(logical, mapped, true, false);
            t.flush(0, mapped);
            t.lab.wait_for_device();
        })),
        clean: run(whole_packet),
    }
    breaks failed_flush_reported_as_success {
        [Dma55], [],
        broken: run(|lab, request| failed_flush(lab, request, STATUS_SUCCESS))
            .machine(|builder| builder.fail_flush(1)),
        clean: run(|lab, request| failed_flush(lab, request, STATUS_IO_DEVICE_ERROR))
            .machine(|builder| builder.fail_flush(1))
            .scenario(|bench| assert!(bench.send(bench.routine()).is_err())),
    }
    breaks second_operation_without_flush_of_the_first {
        [Dma56, Dma49, Dma51, Dma54], [],
        broken: run(|lab, request| two_operations(lab, request, false)).buffer(8192, 0)
            .machine(|builder| builder.map_registers(Some(1))),
        clean: run(|lab, request| two_operations(lab, request, true)).buffer(8192, 0)
            .machine(|builder| builder.map_registers(Some(1))),
    }
    breaks logical_address_used_after_the_flush {
        [Dma57, Dma114, Sim02], [],
        broken: run(late),
        clean: run(whole_packet),
    }
    breaks logical_address_used_after_the_flush_behind_an_iommu {
        [Dma57, Dma114, Sim02], [(DMA, 0x26)],
        broken: run(late).profile(Profile::X64Dmar),
        clean: run(whole_packet).profile(Profile::X64Dmar),
    }
    answer data_survives_both_directions {
        [Dma56],
        run(whole_packet).buffer(4000, 0xF00).scenario(there_and_back),
    }
}

/// A packet transfer with `body` between allocation and release.
fn packet(lab: &Lab, request: WDFREQUEST, body: fn(&Transfer<'_>)) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    body(&transfer);
    transfer.free();
    STATUS_SUCCESS
}

/// The device gets its address after the mapping has gone.
fn late(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    packet(lab, request, |transfer| {
        let (logical, mapped) = transfer.map(0, transfer.length);
        transfer.flush(0, mapped);
        transfer.run_device(logical, mapped);
    })
}

/// Maps and flushes `length` bytes `offset` bytes after the buffer's start.
fn map_shifted(transfer: &Transfer<'_>, offset: isize, length: u32) {
    let current = transfer.va.wrapping_byte_offset(offset);
    let (mdl, base, write) = (transfer.mdl, transfer.base.get(), transfer.write());
    let mut mapped = length;
    // SAFETY: LAB.
    unsafe {
        transfer.adapter.MapTransfer(mdl, base, current, &raw mut mapped, write);
        transfer.adapter.FlushAdapterBuffers(mdl, base, current, mapped, write);
    }
}

/// The second adapter of a device is kept in the lab's first scratch word.
fn two_adapters(lab: &Lab) -> NTSTATUS {
    lab.take(&description(2));
    // CAST: an address.
    lab.scratch[0].set(lab.adapter.get().0.expose_provenance() as u64);
    lab.take(&description(2))
}

fn other(lab: &Lab) -> Adapter {
    // CAST: an address.
    let address = lab.scratch[0].get() as usize;
    Adapter(std::ptr::with_exposed_provenance_mut(address))
}

fn put_both(lab: &Lab) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { other(lab).PutDmaAdapter() };
    lab.put_adapter()
}

/// Maps with the adapter that has no registers, or with the one that has.
fn other_adapter(lab: &Lab, request: WDFREQUEST, wrong: bool) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    let right = transfer.adapter;
    transfer.flush_caches();
    transfer.allocate();
    transfer.adapter = if wrong { other(lab) } else { right };
    let (_, mapped) = transfer.map(0, transfer.length);
    transfer.flush(0, mapped);
    transfer.adapter = right;
    transfer.free();
    STATUS_SUCCESS
}

/// The MapTransfer loop for a device with lists, which advances by the bytes mapped, or by less.
fn pieces(lab: &Lab, request: WDFREQUEST, too_little: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let mut done = 0;
    while done < transfer.length {
        let rest = transfer.length - done;
        let (_, mapped) = transfer.map(done, rest.min(PAGE_SIZE));
        lab.check((1..=rest).contains(&mapped), "a piece is not empty and not too long");
        done += if too_little { mapped / 2 } else { mapped };
    }
    transfer.flush(0, transfer.length);
    transfer.free();
    lab.check(transfer.length < MAXIMUM_LENGTH, "one operation");
    STATUS_SUCCESS
}

/// A buffer on two pages, mapped with so many registers.
fn budget(lab: &Lab, request: WDFREQUEST, registers: u32) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.registers = registers;
    transfer.flush_caches();
    transfer.allocate();
    let (_, mapped) = transfer.map(0, transfer.length);
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// The arguments of a flush that a test alters.
struct Flush {
    offset: u32,
    length: u32,
    write: bool,
}

/// Maps 1024 bytes at 512 and flushes with altered arguments.
fn flush_altered(lab: &Lab, request: WDFREQUEST, alter: fn(&mut Flush)) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(512, 1024);
    transfer.run_device(logical, mapped);
    let mut flush = Flush { offset: 512, length: 1024, write: true };
    alter(&mut flush);
    // SAFETY: LAB.
    unsafe {
        transfer.adapter.FlushAdapterBuffers(
            transfer.mdl,
            transfer.base.get(),
            transfer.at(flush.offset),
            flush.length,
            flush.write.into(),
        )
    };
    transfer.free();
    STATUS_SUCCESS
}

/// A transfer whose flush fails, completed with `status`.
fn failed_flush(lab: &Lab, request: WDFREQUEST, status: NTSTATUS) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(logical, mapped);
    lab.check(!transfer.flush(0, mapped), "the flush was to fail");
    transfer.free();
    status
}

/// Two operations of a page each with one register.
fn two_operations(lab: &Lab, request: WDFREQUEST, flush: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    lab.check(transfer.registers == 1, "one register was granted");
    transfer.flush_caches();
    transfer.allocate();
    for offset in [0, PAGE_SIZE] {
        let (_, mapped) = transfer.map(offset, PAGE_SIZE);
        if flush {
            transfer.flush(offset, mapped);
        }
    }
    transfer.free();
    STATUS_SUCCESS
}

/// Writes a pattern to the device and reads it back.
fn there_and_back(bench: &mut Bench) {
    // CAST: a pattern of bytes.
    let pattern: Vec<u8> = (0..edu::SAFE_LENGTH).map(|i| (i * 7 + i / 256) as u8).collect();
    let sent = bench.transfer(METHOD_IN_DIRECT, &pattern);
    let received = bench.transfer(METHOD_OUT_DIRECT, &vec![0; pattern.len()]);
    assert_eq!(sent, pattern, "the source of a transfer stays what it is");
    assert!(received == pattern, "data was lost between memory and device");
}
