//! Section B: releasing the adapter.

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{
    Lab, Script, Transfer, Transfer3, whole_list, whole_packet, whole_version3,
};
use dmaproof_tests::{rule_tests, run};
use wdk_lite::*;

use crate::{DMA, idle};

rule_tests! {
    breaks put_with_a_common_buffer_left {
        [Dma18, Kmdf02, Kmdf44], [(DMA, 0x07)],
        broken: run(leave_common_buffer),
        clean: run(use_common_buffer),
    }
    breaks put_with_a_channel_left {
        [Dma18, Dma44, Kmdf02, Kmdf44], [(DMA, 0x08)],
        broken: run(leave_channel),
        clean: run(give_channel_back),
    }
    breaks put_with_map_registers_left {
        [Dma18, Dma44, Kmdf02, Kmdf44], [(DMA, 0x09)],
        broken: run(|lab, _| leave_registers(lab)),
        clean: run(whole_packet),
    }
    breaks put_with_a_list_left {
        [Dma18, Dma74, Dma75, Kmdf02, Kmdf44], [(DMA, 0x0A)],
        broken: run(|lab, _| leave_list(lab)),
        clean: run(whole_list),
    }
    breaks use_after_put {
        [Dma19], [(DMA, 0x18)],
        broken: run(ask_after_put),
        clean: run(idle),
    }
    breaks two_puts {
        [Dma19], [(DMA, 0x18)],
        broken: run(put_twice),
        clean: run(idle),
    }
    breaks adapter_never_put {
        [Dma20, Dma19, Kmdf02, Kmdf44], [],
        broken: run(idle).script(Script { release: |_| STATUS_SUCCESS, ..Script::correct() }),
        clean: run(idle),
    }
    breaks free_adapter_object_twice {
        [Dma21], [(DMA, 0x04), (DMA, 0x05)],
        broken: run(|lab, request| synchronous(lab, request, 2)).script(Script::version3()),
        clean: run(|lab, request| synchronous(lab, request, 1)).script(Script::version3()),
    }
    breaks free_map_registers_after_free_adapter_object {
        [Dma21, Dma41, Dma42], [(DMA, 0x05)],
        broken: run(free_both).script(Script::version3()),
        clean: run(whole_version3).script(Script::version3()),
    }
    answer registers_kept_by_free_adapter_object {
        [Dma21],
        run(keep_registers).script(Script::version3()),
    }
}

/// Allocates a common buffer of a page; the address, for the one who frees it.
fn common_buffer(lab: &Lab) -> (PVOID, PHYSICAL_ADDRESS) {
    let mut logical = PHYSICAL_ADDRESS::default();
    // SAFETY: LAB.
    let address = unsafe { lab.adapter.get().AllocateCommonBuffer(PAGE_SIZE, &raw mut logical, 1) };
    lab.check(!address.is_null(), "no common buffer");
    (address, logical)
}

fn leave_common_buffer(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    common_buffer(lab);
    STATUS_SUCCESS
}

fn use_common_buffer(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let (address, logical) = common_buffer(lab);
    // SAFETY: LAB.
    unsafe { lab.adapter.get().FreeCommonBuffer(PAGE_SIZE, logical, address, 1) };
    STATUS_SUCCESS
}

fn leave_channel(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    transfer.allocate();
    STATUS_SUCCESS
}

fn give_channel_back(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    transfer.allocate();
    transfer.free_channel();
    STATUS_SUCCESS
}

/// Registers for memory of the driver's own, so that no request is concerned.
fn leave_registers(lab: &Lab) -> NTSTATUS {
    let transfer = Transfer::over(lab, lab.mdl_over(lab.pool(4096), 4096), true);
    transfer.allocate();
    STATUS_SUCCESS
}

fn leave_list(lab: &Lab) -> NTSTATUS {
    let transfer = Transfer::over(lab, lab.mdl_over(lab.pool(4096), 4096), true);
    transfer.flush_caches();
    transfer.get_list();
    STATUS_SUCCESS
}

fn ask_after_put(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let adapter = lab.adapter.get();
    lab.put_adapter();
    // SAFETY: LAB.
    unsafe { adapter.GetDmaAlignment() };
    STATUS_SUCCESS
}

fn put_twice(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let adapter = lab.adapter.get();
    lab.put_adapter();
    // SAFETY: LAB.
    unsafe { adapter.PutDmaAdapter() };
    STATUS_SUCCESS
}

/// A synchronous allocation that is ended this often.
fn synchronous(lab: &Lab, request: WDFREQUEST, ends: u32) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate_synchronously();
    for _ in 0..ends {
        transfer.free_object();
    }
    STATUS_SUCCESS
}

fn free_both(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate_synchronously();
    transfer.free_object();
    transfer.free();
    STATUS_SUCCESS
}

/// FreeAdapterObject(DeallocateObjectKeepRegisters) leaves the registers to FreeMapRegisters.
fn keep_registers(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.allocate_synchronously();
    // SAFETY: LAB.
    unsafe {
        at_level(DISPATCH_LEVEL, || {
            transfer
                .adapter
                .FreeAdapterObject(_IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters);
        });
    }
    transfer.free();
    STATUS_SUCCESS
}
