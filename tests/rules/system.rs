//! Section K: system DMA, with the slave device and the system's controller, through version 1 and
//! 2 adapters.
//!
//! The buffer's 3000 bytes are 187 chunks of the controller's FIFO and a tail of 8 bytes.

use std::ptr;

use dmaproof_tests::lab::ddk::{NO, YES, at_level, wait};
use dmaproof_tests::lab::{
    Adapter, Lab, Routine, Script, SlaveTransfer, Transfer, control, slave_description,
    whole_packet, whole_slave,
};
use dmaproof_tests::{Bench, Case, rule_tests, run};
use nthost::SystemDma;
use testdev::model::slave::Slave;
use testdev::slave;
use wdk_lite::legacy::{
    HalReadDmaCounter, IoAllocateAdapterChannel, IoFlushAdapterBuffers, IoFreeAdapterChannel,
    IoMapTransfer,
};
use wdk_lite::*;

use crate::DMA;

/// Bytes of the controller's chunks.
pub(crate) const CHUNK: usize = 16;
/// Bytes that are no whole chunk at the end of 3000.
const TAIL: usize = 3000 % CHUNK;

rule_tests! {
    breaks registers_kept_without_the_channel {
        [Dma107, Dma38], [],
        broken: slave(|lab, request| with_action(
            lab, request, _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters,
        )),
        clean: slave(|lab, request| with_action(
            lab, request, _IO_ALLOCATION_ACTION::KeepObject,
        )),
    }
    breaks second_map_without_a_flush {
        [Dma107, Dma53], [(DMA, 0x0D), (DMA, 0x1D)],
        broken: slave(|lab, request| two_pieces(lab, request, false)).from_device(),
        clean: slave(|lab, request| two_pieces(lab, request, true)).from_device(),
    }
    breaks channel_freed_without_a_flush {
        [Dma107, Dma43, Dma54], [(DMA, 0x10), (DMA, 0x0D)],
        broken: slave(|lab, request| without_flush(lab, request, false)),
        clean: slave(|lab, request| without_flush(lab, request, true)),
    }
    breaks auto_initialise_mapped_twice {
        [Dma108], [],
        broken: repeating(|lab, _| repeat(lab, true)),
        clean: repeating(|lab, _| repeat(lab, false)),
    }
    breaks channel_flushed_while_the_device_requests {
        [Dma109], [(DMA, 0x23)],
        broken: slave(|lab, request| flush_early(lab, request, false)).from_device(),
        clean: slave(|lab, request| flush_early(lab, request, true)).from_device(),
    }
    answer a_silent_device_is_flushed_by_version_2 {
        [Dma109],
        slave(silent_device).slave(hanging),
    }
    breaks slave_of_a_pci_bus {
        [Dma08], [],
        broken: slave(whole_slave).script(Script {
            prepare: |lab| lab.take(&DEVICE_DESCRIPTION {
                InterfaceType: _INTERFACE_TYPE::PCIBus, ..slave_description(lab, 2)
            }),
            ..Script::slave()
        }).start_fails(),
        clean: slave(whole_slave),
    }
    breaks master_false_for_a_pci_function {
        [Dma08], [],
        broken: run(whole_packet).script(Script {
            prepare: |lab| lab.take(&slave_description(lab, 2)), ..Script::correct()
        }).start_fails(),
        clean: run(whole_packet),
    }
    note system_dma_without_cache_flush {
        [Dma85],
        broken: slave(|lab, request| {
            let transfer = SlaveTransfer::new(lab, request);
            transfer.0.allocate();
            transfer.program(0, transfer.0.length);
            transfer.run(0, transfer.0.length);
            transfer.0.flush(0, transfer.0.length);
            transfer.0.free_channel();
            STATUS_SUCCESS
        }),
        clean: slave(whole_slave),
    }
    answer transfer_to_the_device {
        [Dma107, Dma108],
        slave(whole_slave).scenario(to_device).seeds(8),
    }
    answer transfer_from_the_device {
        [Dma107, Dma108],
        slave(whole_slave).scenario(from_device).seeds(8),
    }
    answer a_slave_driver_of_nt {
        [Dma107, Dma14],
        slave(by_the_old_names).scenario(to_device),
    }
    answer a_slave_driver_of_nt_reads {
        [Dma107, Dma14],
        slave(by_the_old_names).scenario(from_device),
    }
    answer one_unit_for_each_request {
        [Dma107],
        slave(whole_slave).script(Script {
            prepare: |lab| lab.take(&DEVICE_DESCRIPTION {
                DemandMode: NO, ..slave_description(lab, 2)
            }),
            ..Script::slave()
        }).scenario(from_device),
    }
    answer channels_that_the_controller_does_not_have {
        [Dma12],
        slave(whole_slave).script(Script {
            prepare: |lab| {
                refuse_others(lab);
                lab.take(&slave_description(lab, 2))
            },
            ..Script::slave()
        }),
    }
    answer a_short_transfer_leaves_its_rest_in_the_counter {
        [Dma108, Dma96],
        slave(short).from_device().slave(|config| config.faults.short_at = Some((1, 1234))),
    }
    answer a_common_buffer_tail_waits_for_the_flush {
        [Dma54, Dma107],
        slave(|lab, _| common_tail(lab)),
    }
    answer a_device_tail_waits_for_the_flush {
        [Dma54, Dma107],
        slave(whole_with_a_look).scenario(look_at_the_device),
    }
    answer the_channel_passes_from_adapter_to_adapter {
        [Dma17, Dma36],
        slave(two_adapters).seeds(8).script(Script {
            prepare: |lab| {
                lab.take(&slave_description(lab, 3));
                // CAST: an address.
                lab.scratch[3].set(lab.adapter.get().0.expose_provenance() as u64);
                lab.take(&slave_description(lab, 2))
            },
            release: |lab| {
                let first = lab.adapter.replace(other_adapter(lab));
                lab.put_adapter();
                lab.adapter.set(first);
                lab.put_adapter()
            },
            ..Script::slave()
        }),
    }
    note cached_common_buffer_without_cache_flush {
        [Dma90],
        broken: slave(|lab, _| common_once(lab, false)),
        clean: slave(|lab, _| common_once(lab, true)),
    }
    answer auto_initialise_goes_round {
        [Dma108],
        repeating(|lab, _| go_round(lab)),
    }
}

/// A case with the slave device and a version 2 adapter.
pub(crate) const fn slave(routine: Routine) -> Case {
    let machine = |builder: nthost::Builder| {
        builder.system_dma(Some(SystemDma { chunk: CHUNK, interrupts: true }))
    };
    run(routine).script(Script::slave()).slave(|_| ()).machine(machine)
}

/// With an adapter in auto-initialise mode.
const fn repeating(routine: Routine) -> Case {
    slave(routine).script(Script {
        prepare: |lab| {
            lab.take(&DEVICE_DESCRIPTION { AutoInitialize: YES, ..slave_description(lab, 2) })
        },
        ..Script::slave()
    })
}

pub(crate) fn hanging(config: &mut testdev::model::slave::SlaveConfig) {
    config.faults.hang_at = Some(1);
}

fn with_action(lab: &Lab, request: WDFREQUEST, action: IO_ALLOCATION_ACTION) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.0.action.set(action);
    transfer.begin();
    transfer.0.free_channel();
    STATUS_SUCCESS
}

/// A whole transfer as the driver of Windows NT made it.
fn by_the_old_names(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    let (adapter, write) = (transfer.adapter.0, transfer.write());
    let mut length = transfer.length;
    transfer.flush_caches();
    // SAFETY: LAB.
    unsafe {
        let status = at_level(DISPATCH_LEVEL, || {
            let (count, context) = (transfer.registers, transfer.context());
            IoAllocateAdapterChannel(adapter, lab.fdo, count, Some(control), context)
        });
        lab.check(NT_SUCCESS(status), "IoAllocateAdapterChannel failed");
        transfer.wait_for_grant();
        let (mdl, base) = (transfer.mdl, transfer.base.get());
        IoMapTransfer(adapter, mdl, base, transfer.va, &raw mut length, write);
        lab.start_slave(0, length, transfer.to_device);
        lab.wait_for_slave();
        lab.check(HalReadDmaCounter(adapter) == 0, "the counter has run out");
        let flushed = IoFlushAdapterBuffers(adapter, mdl, base, transfer.va, length, write);
        lab.check(flushed == YES, "IoFlushAdapterBuffers failed");
        at_level(DISPATCH_LEVEL, || IoFreeAdapterChannel(adapter));
    }
    lab.information.set(length.into());
    STATUS_SUCCESS
}

/// Two operations, with or without a flush in between.
fn two_pieces(lab: &Lab, request: WDFREQUEST, flush: bool) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.begin();
    for offset in [0, 1500] {
        transfer.program(offset, 1500);
        transfer.run(offset, 1500);
        if flush || offset != 0 {
            transfer.0.flush(offset, 1500);
        }
    }
    transfer.0.free_channel();
    STATUS_SUCCESS
}

/// One operation whose flush is left out, or is not.
fn without_flush(lab: &Lab, request: WDFREQUEST, flush: bool) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.begin();
    transfer.program(0, transfer.0.length);
    transfer.run(0, transfer.0.length);
    if flush {
        transfer.0.flush(0, transfer.0.length);
    }
    transfer.0.free_channel();
    STATUS_SUCCESS
}

/// A flush as soon as the device was started, or after it was told to stop.
fn flush_early(lab: &Lab, request: WDFREQUEST, stop: bool) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.begin();
    transfer.program(0, transfer.0.length);
    lab.start_slave(0, transfer.0.length, false);
    if stop {
        lab.write(slave::COMMAND, slave::COMMAND_STOP);
    }
    transfer.0.flush(0, transfer.0.length);
    transfer.0.free_channel();
    STATUS_SUCCESS
}

/// A version 2 transfer of a device that never requests: there is nothing to cancel it with.
fn silent_device(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.begin();
    transfer.program(0, transfer.0.length);
    lab.start_slave(0, transfer.0.length, true);
    lab.check(transfer.0.flush(0, transfer.0.length), "the flush works");
    transfer.0.free_channel();
    lab.write(slave::COMMAND, slave::COMMAND_STOP);
    STATUS_SUCCESS
}

/// Descriptions of channels, lines and widths that the controller does not have give NULL.
fn refuse_others(lab: &Lab) {
    let (second, third) = (slave_description(lab, 2), slave_description(lab, 3));
    let wrong = [
        DEVICE_DESCRIPTION { DmaChannel: second.DmaChannel + 1, ..second },
        DEVICE_DESCRIPTION { DmaChannel: 1000, ..second },
        DEVICE_DESCRIPTION { DmaWidth: _DMA_WIDTH::Width16Bits, ..second },
        DEVICE_DESCRIPTION { DmaRequestLine: third.DmaRequestLine + 1, ..third },
    ];
    for description in &wrong {
        // SAFETY: LAB.
        let (adapter, _) = unsafe { Adapter::get(lab.pdo, description) };
        lab.check(!adapter.is_some(), "an adapter for a channel that does not exist");
    }
}

/// The device gives fewer bytes than were mapped; the counter says how many.
fn short(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.begin();
    transfer.program(0, transfer.0.length);
    transfer.run(0, transfer.0.length);
    let left = transfer.counter();
    lab.check(left == transfer.0.length - 1234, "the counter stopped with the device");
    lab.check(transfer.0.flush(0, transfer.0.length), "the flush of a short transfer works");
    lab.check(transfer.counter() == left, "the flush changed the counter");
    transfer.0.free_channel();
    lab.information.set(1234);
    STATUS_SUCCESS
}

/// A common buffer of the lab's adapter, with its MDL, for `body`.
fn with_common(lab: &Lab, length: u32, body: impl FnOnce(PMDL, *mut u8)) -> NTSTATUS {
    let adapter = lab.adapter.get();
    let mut logical = PHYSICAL_ADDRESS { QuadPart: 0 };
    // SAFETY: LAB.
    unsafe {
        let memory = adapter.AllocateCommonBuffer(length, &raw mut logical, YES);
        lab.check(!memory.is_null(), "no common buffer");
        let mdl = lab.mdl_over(memory, length);
        body(mdl, memory.cast());
        ntddk::IoFreeMdl(mdl);
        adapter.FreeCommonBuffer(length, logical, memory, YES);
    }
    STATUS_SUCCESS
}

/// A transfer over an MDL that keeps its channel.
fn kept_over(lab: &Lab, mdl: PMDL, to_device: bool) -> SlaveTransfer<'_> {
    let transfer = SlaveTransfer(Transfer::over(lab, mdl, to_device));
    transfer.0.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    transfer
}

/// From the device into a common buffer: nothing is bounced, so the bytes are seen to come in
/// chunks, the tail only with the flush.
fn common_tail(lab: &Lab) -> NTSTATUS {
    with_common(lab, 3000, |mdl, memory| {
        // SAFETY: LAB: the buffer is the lab's.
        let at = |offset: usize| unsafe { memory.wrapping_add(offset).read_volatile() };
        let transfer = kept_over(lab, mdl, false);
        transfer.begin();
        let before = at(2999);
        transfer.program(0, 3000);
        // Zeros: the device's memory as after power-on.
        transfer.run(0, 3000);
        lab.check((0..3000 - TAIL).all(|offset| at(offset) == 0), "whole chunks have arrived");
        let missing = (3000 - TAIL..3000).all(|offset| at(offset) == before && before != 0);
        lab.check(missing, "the tail is in the FIFO");
        lab.check(transfer.0.flush(0, 3000), "the flush works");
        lab.check((0..3000).all(|offset| at(offset) == 0), "the flush brought the tail");
        transfer.0.free_channel();
    })
}

/// To the device: whole chunks arrive, the tail with the flush. The application looks into the
/// device in between, while this routine waits for it.
fn whole_with_a_look(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = SlaveTransfer::new(lab, request);
    transfer.begin();
    transfer.program(0, transfer.0.length);
    transfer.run(0, transfer.0.length);
    // CAST: a length.
    let passed = lab.read(slave::PASSED) as usize;
    lab.check(passed == 3000 - TAIL, "whole chunks have passed the port");
    lab.check(transfer.0.flush(0, transfer.0.length), "the flush works");
    lab.check(lab.read(slave::PASSED) == 3000, "the flush brought the tail");
    transfer.0.free_channel();
    STATUS_SUCCESS
}

fn look_at_the_device(bench: &mut Bench) {
    bench.run();
    let memory = bench.machine.device_model(bench.slot(), |model: &mut Slave| *model.memory());
    let memory = memory.expect("it is the slave device");
    assert!(memory[..3000].iter().all(|&byte| byte == 0x5A) && memory[3000] == 0);
}

/// Auto-initialise mode: one map for two rounds, or two maps.
fn repeat(lab: &Lab, twice: bool) -> NTSTATUS {
    with_common(lab, 512, |mdl, _| {
        let transfer = kept_over(lab, mdl, true);
        transfer.begin();
        transfer.program(0, 512);
        transfer.run(0, 1024);
        if twice {
            transfer.program(0, 512);
        }
        transfer.0.flush(0, 512);
        transfer.0.free_channel();
    })
}

/// The counter starts again, and the device gets the buffer twice.
fn go_round(lab: &Lab) -> NTSTATUS {
    with_common(lab, 480, |mdl, memory| {
        for offset in 0..480 {
            // CAST: the low byte; every byte of the buffer.
            // SAFETY: LAB: the buffer is the lab's.
            unsafe { memory.wrapping_add(offset).write((offset % 251) as u8) };
        }
        let transfer = kept_over(lab, mdl, true);
        transfer.begin();
        transfer.program(0, 480);
        transfer.run(0, 800);
        lab.check(lab.read(slave::PASSED) == 800, "the device got more than the buffer's length");
        lab.check(transfer.counter() == 160, "the counter is in its second round");
        transfer.0.flush(0, 480);
        transfer.0.free_channel();
    })
}

/// The adapter that `the_channel_passes_from_adapter_to_adapter` has besides the lab's own.
fn other_adapter(lab: &Lab) -> Adapter {
    // CAST: an address.
    Adapter(ptr::with_exposed_provenance_mut(lab.scratch[3].get() as usize))
}

/// A second adapter for the same channel waits until the first has freed it.
fn two_adapters(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let first = SlaveTransfer::new(lab, request);
    first.begin();
    let mut second = SlaveTransfer::new(lab, request);
    second.0.adapter = other_adapter(lab);
    lab.check(NT_SUCCESS(second.0.ask()), "AllocateAdapterChannel waits for its turn");
    // SAFETY: LAB.
    let early = unsafe { wait(10, || second.0.calls.get() != 0) };
    lab.check(!early, "two adapters have the channel");
    first.0.free_channel();
    second.0.wait_for_grant();
    second.0.free_channel();
    STATUS_SUCCESS
}

/// One transfer from the device into a common buffer, with or without its KeFlushIoBuffers.
fn common_once(lab: &Lab, flush: bool) -> NTSTATUS {
    with_common(lab, 512, |mdl, _| {
        let transfer = kept_over(lab, mdl, false);
        if flush {
            transfer.0.flush_caches();
        }
        transfer.0.allocate();
        transfer.program(0, 512);
        transfer.run(0, 512);
        transfer.0.flush(0, 512);
        transfer.0.free_channel();
    })
}

pub(crate) fn to_device(bench: &mut Bench) {
    let data: Vec<u8> = (0..3000).map(|n: u32| (n * 7 + 3) as u8).collect();
    let back = bench.transfer(METHOD_IN_DIRECT, &data);
    assert_eq!(back, data, "the source is intact");
    let memory = bench.machine.device_model(bench.slot(), |model: &mut Slave| *model.memory());
    assert_eq!(memory.expect("it is the slave device")[..3000], data);
}

pub(crate) fn from_device(bench: &mut Bench) {
    let data: Vec<u8> = (0..3000).map(|n: u32| (n * 11 + 5) as u8).collect();
    let filled = bench.machine.device_model(bench.slot(), |model: &mut Slave| {
        model.memory_mut()[..3000].copy_from_slice(&data);
    });
    assert!(filled.is_some(), "it is the slave device");
    assert_eq!(bench.transfer(METHOD_OUT_DIRECT, &vec![0x5A; 3000]), data);
}
