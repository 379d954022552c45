//! Section A: the adapter object and DEVICE_DESCRIPTION.
//!
//! | not tested here | why |
//! |---|---|
//! | DMA-07 | only the device's manual says whether it takes fragments |
//! | DMA-13 | from which pool the memory of a driver comes is not looked up |
//! | DMA-15, buffer alignment | the alignment of these machines is 1, which no buffer misses |

use std::ptr;

use dmaproof_tests::lab::ddk::{at_level, pages};
use dmaproof_tests::lab::{
    Adapter, Lab, Script, Transfer, Transfer3, control, control3, description, whole_packet,
    whole_version3,
};
use dmaproof_tests::{rule_tests, run};
use testdev::edu;
use testdev::model::edu::EduConfig;
use wdk_lite::*;

use crate::{DMA, VERIFIER, idle};

rule_tests! {
    breaks get_adapter_at_dispatch_level {
        [Dma01], [(VERIFIER, 0x2000E), (DMA, 0x13)],
        broken: run(idle).script(preparing(take_at_dispatch_level)),
        clean: run(idle),
    }
    breaks get_adapter_for_the_functional_device_object {
        [Dma02], [],
        broken: run(idle).script(preparing(|lab| take_for(lab, lab.fdo))),
        clean: run(idle).script(preparing(|lab| take_for(lab, lab.pdo))),
    }
    breaks get_adapter_for_no_device {
        [Dma02], [],
        broken: run(idle).script(preparing(|lab| take_for(lab, ptr::null_mut()))),
        clean: run(idle).script(preparing(|lab| take_for(lab, lab.pdo))),
    }
    breaks get_adapter_for_each_transfer {
        [Dma02], [],
        broken: run(transfer_with_own_adapter).script(preparing(|_| STATUS_SUCCESS)),
        clean: run(whole_packet),
    }
    breaks description_with_reserved_member {
        [Dma03], [],
        broken: run(idle).script(preparing(|lab| {
            lab.take(&DEVICE_DESCRIPTION { Reserved1: 1, ..description(2) })
        })),
        clean: run(idle),
    }
    breaks unknown_description_version {
        [Dma04], [(DMA, 0x25)],
        broken: run(idle).script(preparing(|lab| lab.take(&description(4)))),
        clean: run(idle).script(preparing(|lab| lab.take(&description(1)))),
    }
    answer version_3_on_an_older_system_is_null {
        [Dma04],
        run(whole_packet)
            .machine(|builder| builder.adapter_versions(2))
            .script(preparing(fall_back_from_version_3)),
    }
    breaks claim_of_64_bits_for_a_device_with_28 {
        [Dma05, Dma114, Sim01, Sim02], [],
        broken: run(whole_packet).device(decode_28_bits).script(preparing(|lab| {
            lab.take(&DEVICE_DESCRIPTION { Dma64BitAddresses: 1, ..description(2) })
        })),
        clean: run(whole_packet).device(decode_28_bits),
    }
    answer version_3_width_out_of_range_is_null {
        [Dma06],
        run(idle).script(preparing(|lab| {
            for width in [0, 65] {
                let wrong = DEVICE_DESCRIPTION { DmaAddressWidth: width, ..description(3) };
                // SAFETY: LAB.
                let (adapter, _) = unsafe { Adapter::get(lab.pdo, &wrong) };
                lab.check(!adapter.is_some(), "an adapter of impossible width");
            }
            lab.take(&description(3))
        })),
    }
    answer version_3_ignores_the_address_flags {
        [Dma06],
        run(whole_version3).script(preparing(|lab| {
            lab.take(&DEVICE_DESCRIPTION { Dma64BitAddresses: 1, ..description(3) })
        })),
    }
    breaks description_of_no_bus_master {
        [Dma08], [],
        broken: run(idle).script(preparing(|lab| {
            lab.take(&DEVICE_DESCRIPTION { Master: 0, ..description(2) })
        })),
        clean: run(idle),
    }
    breaks operation_beyond_the_maximum_length {
        [Dma09], [],
        broken: run(map_in_one_piece)
            .script(preparing(take_for_one_page)).buffer(8192, 0),
        clean: run(whole_packet).script(preparing(take_for_one_page)).buffer(8192, 0),
    }
    breaks more_registers_than_a_small_grant {
        [Dma10, Dma09, Dma34], [(DMA, 0x0C), (DMA, 0x15)],
        broken: run(ask_for_every_page).machine(|b| b.map_registers(Some(2))).buffer(16_384, 0),
        clean: run(whole_packet).machine(|b| b.map_registers(Some(2))).buffer(16_384, 0),
    }
    breaks version_3_more_registers_than_granted {
        [Dma11, Dma34, Dma61], [(DMA, 0x0C), (DMA, 0x15)],
        broken: run(version_3_ask_beyond_the_grant).script(Script::version3()),
        clean: run(whole_version3).script(Script::version3()),
    }
    breaks operation_without_an_adapter {
        [Dma12, Dma14], [(DMA, 0x19)],
        broken: run(put_no_adapter),
        clean: run(idle),
    }
    breaks map_through_no_adapter {
        [Dma14, Dma12], [(DMA, 0x19)],
        broken: run(map_through_no_adapter),
        clean: run(whole_packet),
    }
    breaks alignment_asked_at_dispatch_level {
        [Dma15], [(DMA, 0x13)],
        broken: run(|lab, _| {
            // SAFETY: LAB.
            unsafe { at_level(DISPATCH_LEVEL, || lab.adapter.get().GetDmaAlignment()) };
            STATUS_SUCCESS
        }),
        clean: run(|lab, _| {
            // SAFETY: LAB.
            let bytes = unsafe { lab.adapter.get().GetDmaAlignment() };
            lab.check(bytes.is_power_of_two(), "an alignment is a power of two");
            STATUS_SUCCESS
        }),
    }
    answer adapter_info {
        [Dma16],
        run(ask_for_adapter_info).script(Script::version3()),
    }
    breaks second_channel_of_an_adapter {
        [Dma17, Dma35], [(DMA, 0x0B)],
        broken: run(two_channels),
        clean: run(one_channel),
    }
}

fn decode_28_bits(config: &mut EduConfig) {
    config.dma_mask = edu::DEFAULT_DMA_MASK;
}

/// A correct script but for how it takes the adapter.
const fn preparing(prepare: fn(&Lab) -> NTSTATUS) -> Script {
    Script { prepare, ..Script::correct() }
}

fn take_at_dispatch_level(lab: &Lab) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, || lab.take_adapter()) }
}

fn take_for(lab: &Lab, device: PDEVICE_OBJECT) -> NTSTATUS {
    // SAFETY: LAB.
    let (adapter, granted) = unsafe { Adapter::get(device, &description(2)) };
    lab.adapter.set(adapter);
    lab.granted.set(granted);
    STATUS_SUCCESS
}

fn take_for_one_page(lab: &Lab) -> NTSTATUS {
    lab.take(&DEVICE_DESCRIPTION { MaximumLength: PAGE_SIZE, ..description(2) })
}

fn fall_back_from_version_3(lab: &Lab) -> NTSTATUS {
    let status = lab.take(&description(3));
    lab.check(!NT_SUCCESS(status), "version 3 on a system that ends at 2");
    lab.take(&description(2))
}

/// Takes the adapter in the transfer and puts it at its end.
fn transfer_with_own_adapter(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.take_adapter();
    let status = whole_packet(lab, request);
    lab.put_adapter();
    status
}

/// Maps all of the buffer, for which the registers suffice.
fn map_in_one_piece(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let _ = transfer.map(0, transfer.length);
    transfer.flush(0, transfer.length);
    transfer.free();
    STATUS_SUCCESS
}

/// Asks for a register for each page, whatever was granted.
fn ask_for_every_page(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.registers = pages(transfer.va, transfer.length);
    transfer.flush_caches();
    if NT_SUCCESS(transfer.ask()) && transfer.wait_for_grant() {
        transfer.free();
    }
    STATUS_SUCCESS
}

fn version_3_ask_beyond_the_grant(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    transfer.registers.set(lab.granted.get() + 1);
    let status = transfer.ask(0, Some(control3), ptr::null_mut());
    if NT_SUCCESS(status) {
        transfer.free();
    }
    STATUS_SUCCESS
}

/// The operations of the lab's adapter, with NULL for the adapter.
fn operations(lab: &Lab) -> DMA_OPERATIONS {
    // SAFETY: LAB.
    unsafe { *(*lab.adapter.get().0).DmaOperations }
}

fn put_no_adapter(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let put = operations(lab).PutDmaAdapter.expect("in every table");
    // SAFETY: LAB.
    unsafe { put(ptr::null_mut()) };
    STATUS_SUCCESS
}

fn map_through_no_adapter(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let map = operations(lab).MapTransfer.expect("in every table");
    let mut length = transfer.length;
    // SAFETY: LAB.
    unsafe {
        map(
            ptr::null_mut(),
            transfer.mdl,
            transfer.base.get(),
            transfer.va,
            &raw mut length,
            transfer.write(),
        )
    };
    transfer.free();
    STATUS_SUCCESS
}

fn ask_for_adapter_info(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let adapter = lab.adapter.get();
    // SAFETY: LAB.
    unsafe {
        let mut info = DMA_ADAPTER_INFO { Version: 9, ..DMA_ADAPTER_INFO::default() };
        let status = adapter.GetDmaAdapterInfo(&raw mut info);
        lab.check(status == STATUS_NOT_SUPPORTED, "an unknown version is not supported");
        info.Version = DMA_ADAPTER_INFO_VERSION1;
        let status = adapter.GetDmaAdapterInfo(&raw mut info);
        lab.check(status == STATUS_SUCCESS, "version 1 is supported");
        lab.check(info.V1.DmaAddressWidth == 28, "the width is what the driver said");
        lab.check(info.V1.MinimumTransferUnit != 0, "a transfer unit is at least one byte");
    }
    STATUS_SUCCESS
}

/// A channel that is held while another is asked for.
fn two_channels(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    transfer.allocate();
    let second = Transfer::new(lab, request);
    let _ = second.ask();
    transfer.free_channel();
    STATUS_SUCCESS
}

/// A channel that is given back before another is asked for.
fn one_channel(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    for _ in 0..2 {
        let transfer = Transfer::new(lab, request);
        transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
        transfer.allocate();
        transfer.free_channel();
    }
    // A control routine that gives all back by its return value.
    let transfer = Transfer::new(lab, request);
    transfer.action.set(_IO_ALLOCATION_ACTION::DeallocateObject);
    // SAFETY: LAB.
    let status = unsafe {
        at_level(DISPATCH_LEVEL, || {
            transfer.adapter.AllocateAdapterChannel(lab.fdo, 1, Some(control), transfer.context())
        })
    };
    lab.check(NT_SUCCESS(status), "a third allocation");
    transfer.wait_for_grant();
    STATUS_SUCCESS
}
