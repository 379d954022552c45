//! Section K: system DMA through version 3 adapters.

use std::ptr;

use dmaproof_tests::lab::ddk::{at_level, wait};
use dmaproof_tests::lab::{
    Lab, Routine, Script, Transfer3, map_slave3, slave_description, whole_slave3,
};
use dmaproof_tests::{Case, rule_tests};
use nthost::SystemDma;
use testdev::slave;
use wdk_lite::*;

use crate::DMA;
use crate::system::{CHUNK, from_device, hanging, slave, to_device};

rule_tests! {
    breaks registers_kept_when_the_channel_is_freed {
        [Dma107, Dma21], [],
        broken: slave3(|lab, request| free_object(
            lab, request, _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters,
        )),
        clean: slave3(|lab, request| free_object(
            lab, request, _IO_ALLOCATION_ACTION::DeallocateObject,
        )),
    }
    breaks data_register_of_another_address {
        [Dma108], [],
        broken: slave3(whole_slave3).script(Script {
            prepare: |lab| lab.take(&misled(lab)), ..Script::slave3()
        }).start_fails(),
        clean: slave3(whole_slave3),
    }
    breaks version_3_flush_of_what_was_not_cancelled {
        [Dma109, Dma69], [(DMA, 0x23)],
        broken: slave3(|lab, request| hang(lab, request, false)).slave(hanging),
        clean: slave3(|lab, request| hang(lab, request, true)).slave(hanging),
    }
    answer a_refused_command_ends_the_transfer {
        [Dma109, Dma69],
        slave3(refused),
    }
    answer version_3_completion_routine {
        [Dma109, Dma70],
        slave3(whole_slave3).scenario(to_device),
    }
    answer version_3_from_the_device {
        [Dma109, Dma64],
        slave3(whole_slave3).scenario(from_device),
    }
    answer no_completion_routine_without_an_interrupt {
        [Dma109],
        slave3(silent).machine(|builder| {
            builder.system_dma(Some(SystemDma { chunk: CHUNK, interrupts: false }))
        }),
    }
    answer version_3_cancelled_transfer {
        [Dma69, Dma65],
        slave3(cancelled).slave(hanging),
    }
    answer a_cancelled_transfer_is_told_of_after_the_next_was_mapped {
        [Dma69, Dma109],
        slave3(told_in_order),
    }
    answer custom_functions_are_not_implemented {
        [Dma70],
        slave3(|lab, _| {
            // SAFETY: LAB.
            let status = unsafe {
                lab.adapter.get().ConfigureAdapterChannel(7, ptr::null_mut())
            };
            lab.check(status == STATUS_NOT_IMPLEMENTED, "there is no custom function");
            STATUS_SUCCESS
        }),
    }
}

/// With a version 3 adapter.
const fn slave3(routine: Routine) -> Case {
    slave(routine).script(Script::slave3())
}

fn misled(lab: &Lab) -> DEVICE_DESCRIPTION {
    let mut description = slave_description(lab, 3);
    // CAST: the signed view of an address.
    description.DeviceAddress =
        PHYSICAL_ADDRESS { QuadPart: (lab.window.get() + slave::COMMAND) as i64 };
    description
}

/// A synchronous allocation, ended by FreeAdapterObject with this action.
fn free_object(lab: &Lab, request: WDFREQUEST, action: IO_ALLOCATION_ACTION) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate_synchronously();
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, || transfer.adapter.FreeAdapterObject(action)) };
    STATUS_SUCCESS
}

/// A version 3 transfer of a device that never requests, cancelled or not before its flush.
fn hang(lab: &Lab, request: WDFREQUEST, cancel: bool) -> NTSTATUS {
    let transfer = kept(lab, request);
    let mut mapped = transfer.length;
    let status = map_slave3(&transfer, &mut mapped, ptr::null_mut(), 0);
    lab.check(NT_SUCCESS(status), "MapTransferEx failed");
    lab.start_slave(0, mapped, true);
    if cancel {
        // SAFETY: LAB.
        let status = unsafe { transfer.adapter.CancelMappedTransfer(transfer.context) };
        lab.check(NT_SUCCESS(status), "CancelMappedTransfer failed");
    }
    let _ = transfer.flush(0, mapped);
    lab.write(slave::COMMAND, slave::COMMAND_STOP);
    free_channel(&transfer);
    STATUS_SUCCESS
}

/// A command outside the device's memory: the device refuses it, and says that it is over.
fn refused(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = kept(lab, request);
    let mut mapped = transfer.length;
    let status = map_slave3(&transfer, &mut mapped, ptr::null_mut(), 0);
    lab.check(NT_SUCCESS(status), "MapTransferEx failed");
    lab.start_slave(u32::MAX, mapped, true);
    lab.check(lab.read(slave::STATUS) == slave::STATUS_REFUSED, "the device took the command");
    // SAFETY: LAB.
    let told = unsafe { wait(1000, || lab.scratch[0].get() == 1) };
    lab.check(told, "the completion routine never ran");
    lab.check(NT_SUCCESS(transfer.flush(0, mapped)), "FlushAdapterBuffersEx failed");
    free_channel(&transfer);
    STATUS_SUCCESS
}

/// A version 3 allocation that keeps the channel.
fn kept<'l>(lab: &'l Lab, request: WDFREQUEST) -> Box<Transfer3<'l>> {
    let transfer = Box::new(Transfer3::new(lab, request));
    transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    transfer.begin();
    transfer.allocate();
    transfer
}

fn free_channel(transfer: &Transfer3<'_>) {
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, || transfer.adapter.FreeAdapterChannel()) };
}

/// The completion routine hears of the cancel; nothing more is mapped under the context.
fn cancelled(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = kept(lab, request);
    let mut mapped = transfer.length;
    let list = transfer.buffer;
    let status = map_slave3(&transfer, &mut mapped, list, transfer.buffer_bytes);
    lab.check(NT_SUCCESS(status), "MapTransferEx failed");
    lab.check(transfer.elements().len() == 1, "the controller takes one element");
    lab.start_slave(0, mapped, true);
    // SAFETY: LAB.
    let status = unsafe { transfer.adapter.CancelMappedTransfer(transfer.context) };
    lab.check(NT_SUCCESS(status), "CancelMappedTransfer failed");
    // SAFETY: LAB.
    let told = unsafe { wait(1000, || lab.scratch[0].get() == 1) };
    // CAST: a small enumeration.
    let expected = DMA_COMPLETION_STATUS_VALUES::DmaCancelled as u64;
    lab.check(told && lab.scratch[1].get() == expected, "the routine was not told of the cancel");
    lab.check(NT_SUCCESS(transfer.flush(0, mapped)), "the flush is owed and works");
    let status = map_slave3(&transfer, &mut mapped, ptr::null_mut(), 0);
    lab.check(status == STATUS_CANCELLED, "a cancelled context maps nothing more");
    // SAFETY: LAB.
    let status = unsafe { transfer.adapter.CancelMappedTransfer(ptr::null_mut()) };
    lab.check(status == STATUS_INVALID_PARAMETER, "a context that nobody uses was cancelled");
    lab.write(slave::COMMAND, slave::COMMAND_STOP);
    free_channel(&transfer);
    STATUS_SUCCESS
}

/// A transfer is cancelled, flushed and freed, and another one mapped, before its completion routine
/// can run: the routine is called once for each, with the status of that transfer.
fn told_in_order(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let (first, second) = (Transfer3::new(lab, request), Transfer3::new(lab, request));
    let mut mapped = first.length;
    let map = |transfer: &Transfer3<'_>, mapped: &mut u32| {
        transfer.begin();
        lab.check(transfer.allocate_synchronously(), "the channel is free");
        let status = map_slave3(transfer, mapped, ptr::null_mut(), 0);
        lab.check(NT_SUCCESS(status), "MapTransferEx failed");
    };
    let early = || {
        map(&first, &mut mapped);
        // SAFETY: LAB.
        let status = unsafe { first.adapter.CancelMappedTransfer(first.context) };
        lab.check(NT_SUCCESS(status), "CancelMappedTransfer failed");
        lab.check(NT_SUCCESS(first.flush(0, mapped)), "the flush is owed and works");
        free_channel(&first);
        map(&second, &mut mapped);
        lab.check(lab.scratch[0].get() == 0, "a completion routine ran inside DISPATCH_LEVEL");
    };
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, early) };
    // SAFETY: LAB.
    let told = unsafe { wait(1000, || lab.scratch[0].get() == 1) };
    // CAST: a small enumeration.
    let cancelled = DMA_COMPLETION_STATUS_VALUES::DmaCancelled as u64;
    lab.check(told && lab.scratch[1].get() == cancelled, "the first transfer was cancelled");
    lab.start_slave(0, mapped, second.to_device);
    // SAFETY: LAB.
    let told = unsafe { wait(1000, || lab.scratch[0].get() == 2) };
    lab.check(told && lab.scratch[1].get() == 0, "the second transfer completed");
    lab.check(NT_SUCCESS(second.flush(0, mapped)), "FlushAdapterBuffersEx failed");
    free_channel(&second);
    STATUS_SUCCESS
}

/// A controller without an interrupt tells nobody; the device does.
fn silent(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = kept(lab, request);
    let mut mapped = transfer.length;
    let status = map_slave3(&transfer, &mut mapped, ptr::null_mut(), 0);
    lab.check(NT_SUCCESS(status), "MapTransferEx failed");
    lab.start_slave(0, mapped, true);
    lab.wait_for_slave();
    lab.check(lab.interrupts.get() == 1, "the device interrupted");
    lab.check(NT_SUCCESS(transfer.flush(0, mapped)), "FlushAdapterBuffersEx failed");
    free_channel(&transfer);
    lab.check(lab.scratch[0].get() == 0, "a completion routine ran without an interrupt");
    STATUS_SUCCESS
}
