//! Section F: the version 3 routines.

use std::ptr;

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{Lab, Script, Transfer3, control3, whole_version3};
use dmaproof_tests::{rule_tests, run};
use wdk_lite::*;

use crate::DMA;

rule_tests! {
    breaks map_without_an_allocation {
        [Dma58, Dma39, Dma45, Dma64], [],
        broken: v3(|lab, request| {
            let transfer = Transfer3::new(lab, request);
            transfer.begin();
            let _ = transfer.map(0, transfer.length);
            STATUS_SUCCESS
        }),
        clean: v3(whole_version3),
    }
    breaks context_not_initialised {
        [Dma59, Dma58], [],
        broken: v3(|lab, request| {
            let transfer = Transfer3::new(lab, request);
            transfer.registers.set(transfer.needed());
            ended(&transfer, transfer.ask(0, Some(control3), ptr::null_mut()))
        }),
        clean: v3(whole_version3),
    }
    breaks context_not_initialised_again {
        [Dma59], [],
        broken: v3(|lab, request| two_allocations(lab, request, false)),
        clean: v3(|lab, request| two_allocations(lab, request, true)),
    }
    answer transfer_info {
        [Dma60],
        v3(ask_for_transfer_info),
    }
    breaks transfer_info_beyond_the_buffer {
        [Dma60, Dma46], [(DMA, 0x24), (DMA, 0x1F), (DMA, 0x1B)],
        broken: v3(|lab, request| info_of(lab, request, 1)),
        clean: v3(|lab, request| info_of(lab, request, 0)),
    }
    breaks allocate_ex_at_passive_level {
        [Dma61], [(DMA, 0x13)],
        broken: v3(|lab, request| allocate_at(lab, request, PASSIVE_LEVEL)),
        clean: v3(|lab, request| allocate_at(lab, request, DISPATCH_LEVEL)),
    }
    answer impossible_arguments_of_allocate_ex {
        [Dma61],
        v3(impossible_arguments),
    }
    answer synchronous_allocation_runs_or_fails {
        [Dma62],
        v3(synchronous_or_not),
    }
    breaks synchronous_allocation_never_ended {
        [Dma63, Dma18, Dma44], [(DMA, 0x08), (DMA, 0x09)],
        broken: v3(|lab, request| synchronous(lab, request, |_| ())),
        clean: v3(|lab, request| synchronous(lab, request, |t| t.free_object())),
    }
    answer cancelled_context_cancels_the_allocation {
        [Dma68],
        v3(cancel_before_use),
    }
    breaks cancel_with_a_device_that_did_not_ask {
        [Dma68], [],
        broken: v3(|lab, request| cancel_with(lab, request, lab.pdo)),
        clean: v3(|lab, request| cancel_with(lab, request, lab.fdo)),
    }
    breaks cancel_mapped_transfer {
        [Dma69, Dma70], [],
        broken: v3(|lab, request| allocated(lab, request, |t| {
            // SAFETY: LAB.
            unsafe { t.adapter.CancelMappedTransfer(t.context) };
        })),
        clean: v3(whole_version3),
    }
    breaks read_dma_counter {
        [Dma70], [],
        broken: v3(|lab, _| {
            // SAFETY: LAB.
            unsafe { lab.adapter.get().ReadDmaCounter() };
            STATUS_SUCCESS
        }),
        clean: v3(whole_version3),
    }
    breaks configure_adapter_channel {
        [Dma70], [],
        broken: v3(|lab, _| {
            // SAFETY: LAB.
            unsafe { lab.adapter.get().ConfigureAdapterChannel(0, ptr::null_mut()) };
            STATUS_SUCCESS
        }),
        clean: v3(whole_version3),
    }
    breaks domain_asked_at_dispatch_level {
        [Dma71], [(DMA, 0x13)],
        broken: v3(|lab, _| domain_at(lab, DISPATCH_LEVEL)),
        clean: v3(|lab, _| domain_at(lab, PASSIVE_LEVEL)),
    }
}

/// A case with a version 3 adapter; its routine's buffer has 3000 bytes on two pages.
pub(crate) const fn v3(routine: dmaproof_tests::lab::Routine) -> dmaproof_tests::Case {
    run(routine).script(Script::version3())
}

/// Ends an allocation that should not have succeeded.
fn ended(transfer: &Transfer3<'_>, status: NTSTATUS) -> NTSTATUS {
    if NT_SUCCESS(status) {
        transfer.free();
    }
    STATUS_SUCCESS
}

/// A transfer with `body` between allocation and release.
pub(crate) fn allocated(lab: &Lab, request: WDFREQUEST, body: fn(&Transfer3<'_>)) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate();
    body(&transfer);
    transfer.free();
    STATUS_SUCCESS
}

/// Two allocations with one context, which is initialised before the second, or is not.
fn two_allocations(lab: &Lab, request: WDFREQUEST, again: bool) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate();
    transfer.free();
    if again {
        lab.check(NT_SUCCESS(transfer.initialize()), "InitializeDmaTransferContext failed");
    }
    transfer.calls.set(0);
    transfer.allocate();
    transfer.free();
    STATUS_SUCCESS
}

fn transfer_info(version: u32) -> DMA_TRANSFER_INFO {
    DMA_TRANSFER_INFO { Version: version, ..DMA_TRANSFER_INFO::default() }
}

fn ask_for_transfer_info(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    let ask = |info: &mut DMA_TRANSFER_INFO| {
        // SAFETY: LAB.
        unsafe { transfer.adapter.GetDmaTransferInfo(transfer.mdl, 0, 3000, 1, info) }
    };
    let status = ask(&mut transfer_info(9));
    lab.check(status == STATUS_NOT_SUPPORTED, "an unknown version is not supported");
    for version in [DMA_TRANSFER_INFO_VERSION1, DMA_TRANSFER_INFO_VERSION2] {
        let mut info = transfer_info(version);
        lab.check(ask(&mut info) == STATUS_SUCCESS, "versions 1 and 2 are supported");
        // SAFETY: both views begin with the same members.
        let answer = unsafe { info.__bindgen_anon_1.V1 };
        lab.check(answer.MapRegisterCount <= 2, "at most a register for each page");
        lab.check(answer.ScatterGatherElementCount >= 1, "at least one element");
        let element = size_of::<SCATTER_GATHER_ELEMENT>();
        // CAST: 32 bits fit a 64-bit usize.
        let least = 16 + answer.ScatterGatherElementCount as usize * element;
        lab.check(answer.ScatterGatherListSize as usize >= least, "the list has its elements");
    }
    STATUS_SUCCESS
}

/// GetDmaTransferInfo of the whole buffer and `beyond` bytes more.
fn info_of(lab: &Lab, request: WDFREQUEST, beyond: u32) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    let mut info = transfer_info(1);
    let length = transfer.length + beyond;
    // SAFETY: LAB.
    unsafe {
        transfer.adapter.GetDmaTransferInfo(transfer.mdl, 0, length, 1, &raw mut info);
    }
    STATUS_SUCCESS
}

fn allocate_at(lab: &Lab, request: WDFREQUEST, level: u32) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    // SAFETY: LAB.
    let status = unsafe {
        at_level(level, || {
            transfer.adapter.AllocateAdapterChannelEx(
                lab.fdo,
                transfer.context,
                transfer.registers.get(),
                DMA_SYNCHRONOUS_CALLBACK,
                Some(control3),
                transfer.this(),
                ptr::null_mut(),
            )
        })
    };
    lab.check(transfer.calls.get() == 1, "a synchronous routine has run");
    ended(&transfer, status)
}

/// Each is refused with STATUS_INVALID_PARAMETER, by the page of AllocateAdapterChannelEx.
fn impossible_arguments(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    let mut base = ptr::null_mut();
    let none: *mut PVOID = ptr::null_mut();
    let refused = |what, flags, routine, base| {
        transfer.begin();
        let status = transfer.ask(flags, routine, base);
        lab.check(status == STATUS_INVALID_PARAMETER, what);
    };
    refused("asynchronous without a routine", 0, None, none);
    refused("asynchronous with a base", 0, Some(control3), &raw mut base);
    refused("synchronous with neither", DMA_SYNCHRONOUS_CALLBACK, None, none);
    STATUS_SUCCESS
}

/// What a synchronous allocation does when the channel is held, and when it is free.
fn synchronous_or_not(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let held = Transfer3::new(lab, request);
    held.begin();
    held.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    held.allocate();
    let second = Transfer3::new(lab, request);
    second.begin();
    let status = second.ask(DMA_SYNCHRONOUS_CALLBACK, Some(control3), ptr::null_mut());
    lab.check(status == STATUS_INSUFFICIENT_RESOURCES, "the channel was held");
    lab.check(second.calls.get() == 0, "nothing is queued");
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, || held.adapter.FreeAdapterChannel()) };
    second.begin();
    let status = second.ask(DMA_SYNCHRONOUS_CALLBACK, Some(control3), ptr::null_mut());
    lab.check(status == STATUS_SUCCESS, "the channel is free");
    lab.check(second.calls.get() == 1, "the routine ran before the call returned");
    ended(&second, status)
}

fn synchronous(lab: &Lab, request: WDFREQUEST, end: fn(&Transfer3<'_>)) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate_synchronously();
    end(&transfer);
    STATUS_SUCCESS
}

/// "Cancelling a context before it is used cancels the later allocation": its routine never
/// runs, and the canceller cleans up.
fn cancel_before_use(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    // SAFETY: LAB.
    let cancelled = unsafe { transfer.adapter.CancelAdapterChannel(lab.fdo, transfer.context) };
    lab.check(cancelled != 0, "nothing can have run");
    let _ = transfer.ask(0, Some(control3), ptr::null_mut());
    lab.check(transfer.calls.get() == 0, "a cancelled allocation runs nothing");
    STATUS_SUCCESS
}

/// A held channel, a pending second allocation, and its cancellation by this device object.
fn cancel_with(lab: &Lab, request: WDFREQUEST, device: PDEVICE_OBJECT) -> NTSTATUS {
    let held = Transfer3::new(lab, request);
    held.begin();
    held.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    held.allocate();
    let pending = Transfer3::new(lab, request);
    pending.begin();
    let status = pending.ask(0, Some(control3), ptr::null_mut());
    lab.check(NT_SUCCESS(status), "an allocation may wait");
    // SAFETY: LAB.
    unsafe {
        let cancelled = pending.adapter.CancelAdapterChannel(device, pending.context);
        at_level(DISPATCH_LEVEL, || held.adapter.FreeAdapterChannel());
        lab.check(cancelled != 0 && pending.calls.get() == 0, "it was waiting");
    }
    STATUS_SUCCESS
}

fn domain_at(lab: &Lab, level: u32) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { at_level(level, || lab.adapter.get().GetDmaDomain()) };
    STATUS_SUCCESS
}
