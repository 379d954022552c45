//! The DMA routines by NT's names: the same rules.

use std::ptr;

use dmaproof_tests::lab::ddk::{YES, at_level};
use dmaproof_tests::lab::{Lab, Script, Transfer, control, whole_packet};
use dmaproof_tests::{Bench, rule_tests, run};
use wdk_lite::_IO_ALLOCATION_ACTION::KeepObject;
use wdk_lite::legacy::{
    HalAllocateCommonBuffer, HalFreeCommonBuffer, HalGetAdapter, HalReadDmaCounter,
    IoAllocateAdapterChannel, IoFlushAdapterBuffers, IoFreeAdapterChannel, IoFreeMapRegisters,
    IoMapTransfer,
};
use wdk_lite::*;

use crate::DMA;

rule_tests! {
    breaks hal_get_adapter {
        [Dma14], [(DMA, 0x1E)],
        broken: run(whole_packet).script(Script {
            prepare: |lab| {
                let mut description = dmaproof_tests::lab::description(2);
                let mut registers = 0;
                // SAFETY: LAB.
                unsafe { HalGetAdapter(&raw mut description, &raw mut registers) };
                lab.take_adapter()
            },
            ..Script::correct()
        }).start_fails(),
        clean: run(whole_packet),
    }
    breaks null_adapter_by_the_old_name {
        [Dma14, Dma12], [(DMA, 0x19)],
        broken: run(|_, _| {
            // SAFETY: LAB.
            unsafe { HalReadDmaCounter(ptr::null_mut()) };
            STATUS_SUCCESS
        }),
        clean: run(old_packet),
    }
    breaks flush_left_out_by_the_old_names {
        [Dma42, Dma54], [(DMA, 0x10)],
        broken: run(|lab, request| packet(lab, request, false)),
        clean: run(old_packet),
    }
    breaks allocate_at_passive_level_by_the_old_name {
        [Dma33], [(DMA, 0x13)],
        broken: run(|lab, request| {
            let transfer = Transfer::new(lab, request);
            ask(&transfer);
            STATUS_SUCCESS
        }),
        clean: run(old_packet),
    }
    breaks counter_of_a_bus_master_by_the_old_name {
        [Dma70], [],
        broken: run(|lab, _| {
            // SAFETY: LAB.
            unsafe { HalReadDmaCounter(lab.adapter.get().0) };
            STATUS_SUCCESS
        }),
        clean: run(old_packet),
    }
    breaks common_buffer_kept_by_the_old_name {
        [Dma18, Dma30], [(DMA, 0x07)],
        broken: run(|lab, _| common(lab, false)),
        clean: run(|lab, _| common(lab, true)),
    }
    answer a_packet_driver_of_nt {
        [Dma53],
        run(old_packet).scenario(there_and_back),
    }
    answer a_kept_channel_by_the_old_name {
        [Dma43],
        run(|lab, request| {
            let transfer = Transfer::new(lab, request);
            transfer.action.set(KeepObject);
            transfer.flush_caches();
            transfer.allocate();
            // SAFETY: LAB.
            unsafe { at_level(DISPATCH_LEVEL, || IoFreeAdapterChannel(transfer.adapter.0)) };
            STATUS_SUCCESS
        }),
    }
}

fn ask(transfer: &Transfer<'_>) -> NTSTATUS {
    let (fdo, registers) = (transfer.lab.fdo, transfer.registers);
    // SAFETY: LAB.
    unsafe {
        IoAllocateAdapterChannel(
            transfer.adapter.0,
            fdo,
            registers,
            Some(control),
            transfer.context(),
        )
    }
}

/// A whole transfer, as a driver of Windows NT would make it.
fn old_packet(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    packet(lab, request, true)
}

fn packet(lab: &Lab, request: WDFREQUEST, flush: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let adapter = transfer.adapter.0;
    transfer.flush_caches();
    // SAFETY: LAB.
    let status = unsafe { at_level(DISPATCH_LEVEL, || ask(&transfer)) };
    lab.check(NT_SUCCESS(status), "IoAllocateAdapterChannel failed");
    transfer.wait_for_grant();
    let (base, write) = (transfer.base.get(), transfer.write());
    let mut length = transfer.length;
    // SAFETY: LAB.
    unsafe {
        let logical =
            IoMapTransfer(adapter, transfer.mdl, base, transfer.va, &raw mut length, write);
        // CAST: an address is unsigned.
        transfer.run_device(logical.QuadPart as u64, length);
        if flush {
            let done =
                IoFlushAdapterBuffers(adapter, transfer.mdl, base, transfer.va, length, write);
            lab.check(done == YES, "IoFlushAdapterBuffers failed");
        }
        at_level(DISPATCH_LEVEL, || IoFreeMapRegisters(adapter, base, transfer.registers));
    }
    lab.information.set(length.into());
    STATUS_SUCCESS
}

fn common(lab: &Lab, free: bool) -> NTSTATUS {
    let adapter = lab.adapter.get().0;
    let mut logical = PHYSICAL_ADDRESS { QuadPart: 0 };
    // SAFETY: LAB.
    unsafe {
        let memory = HalAllocateCommonBuffer(adapter, 4096, &raw mut logical, YES);
        lab.check(!memory.is_null(), "HalAllocateCommonBuffer failed");
        if free {
            HalFreeCommonBuffer(adapter, 4096, logical, memory, YES);
        }
    }
    STATUS_SUCCESS
}

/// What the old driver writes, today's reads.
fn there_and_back(bench: &mut Bench) {
    let data: Vec<u8> = (0..3000).map(|n: u32| (n * 13 + 1) as u8).collect();
    assert_eq!(bench.transfer(METHOD_IN_DIRECT, &data), data);
    let look = |edu: &mut testdev::model::edu::Edu| edu.memory().to_vec();
    let memory = bench.machine.device_model(bench.slot(), look).expect("it is an edu");
    assert_eq!(memory[..3000], data);
    assert_eq!(bench.transfer(METHOD_OUT_DIRECT, &[0; 3000]), data);
}
