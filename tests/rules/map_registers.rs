//! Sections I, K and L: map registers, bouncing, system DMA and remapping.
//!
//! | not tested here | why |
//! |---|---|
//! | DMA-91 to DMA-93, DMA-97 | they describe the HAL and Driver Verifier, not the driver |
//! | DMA-94 | the processor's own loads and stores cross no border |
//! | DMA-96 | which bytes the device really wrote is not tracked |
//! | DMA-107 to DMA-109 | system DMA needs a slave device and a controller |
//! | DMA-111, DMA-112 | the INF's entries |
//! | DMA-113, DMA-116, DMA-117 | policies of a Windows machine, or comparisons inside the driver |

use std::ptr;

use dmaproof_tests::lab::ddk::{KERNEL_MODE, MmGetSystemAddressForMdlSafe, NO, at_level};
use dmaproof_tests::lab::{Lab, Routine, Transfer, control, whole_packet};
use dmaproof_tests::{Case, rule_tests, run};
use nthost::Profile;
use wdk_lite::*;

use crate::DMA;

rule_tests! {
    breaks physical_address_of_a_packet {
        [Dma95, Dma24, Dma110, Dma114, Sim01], [],
        broken: run(|lab, request| device_at(lab, request, physical)),
        clean: run(|lab, request| device_at(lab, request, |_, logical| logical)),
    }
    breaks physical_address_behind_an_iommu {
        [Dma110, Dma24, Dma95, Dma114, Sim01], [(DMA, 0x26)],
        broken: remapped(|lab, request| device_at(lab, request, physical)),
        clean: remapped(|lab, request| device_at(lab, request, |_, logical| logical)),
    }
    breaks registers_held_while_waiting_for_more {
        [Dma98, Sim09], [],
        broken: run(|lab, request| two_sets(lab, request, true))
            .machine(|builder| builder.map_registers(Some(2))),
        clean: run(|lab, request| two_sets(lab, request, false))
            .machine(|builder| builder.map_registers(Some(2))),
    }
    breaks access_to_what_is_not_mapped {
        [Dma114, Sim02], [(DMA, 0x26)],
        broken: remapped(|lab, request| device_at(lab, request, |_, logical| logical ^ 0x10_0000)),
        clean: remapped(whole_packet),
    }
    breaks access_in_the_wrong_direction {
        [Dma114, Dma52, Sim02], [(DMA, 0x26)],
        broken: remapped(device_writes),
        clean: remapped(whole_packet),
    }
    breaks flush_with_an_access_in_flight {
        [Dma115, Dma54, Dma57, Dma114, Sim02], [],
        broken: remapped(|lab, request| in_flight(lab, request, false)),
        clean: remapped(|lab, request| in_flight(lab, request, true)),
    }
    answer packets_work_behind_an_iommu {
        [Dma114],
        remapped(whole_packet).from_device(),
    }
}

/// A case behind an IOMMU.
const fn remapped(routine: Routine) -> Case {
    run(routine).profile(Profile::X64Dmar)
}

/// The physical address of the buffer.
fn physical(transfer: &Transfer<'_>, _logical: u64) -> u64 {
    // SAFETY: LAB. CAST: an address is unsigned.
    unsafe {
        let address = MmGetSystemAddressForMdlSafe(transfer.mdl, MdlMappingNoExecute | 16);
        ntddk::MmGetPhysicalAddress(address).QuadPart as u64
    }
}

/// A packet transfer whose device gets what `address` makes of the logical address.
fn device_at(lab: &Lab, request: WDFREQUEST, address: fn(&Transfer<'_>, u64) -> u64) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    transfer.run_device(address(&transfer, logical), mapped);
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// The device writes what was mapped for it to read.
fn device_writes(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    lab.start_device(logical, mapped, false, false);
    lab.wait_for_device();
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// Two sets of two registers out of two; the first is held while the driver waits, or not.
fn two_sets(lab: &Lab, request: WDFREQUEST, hold: bool) -> NTSTATUS {
    let first = Transfer::new(lab, request);
    first.flush_caches();
    first.allocate();
    if !hold {
        first.free();
    }
    let second = Transfer::new(lab, request);
    let mut event = KEVENT::default();
    // CAST: an address.
    lab.scratch[0].set((&raw mut event).expose_provenance() as u64);
    second.on_grant.set(|transfer| {
        // CAST: an address.
        let event = transfer.lab.scratch[0].get() as usize;
        // SAFETY: LAB: the event lives until the wait below has ended.
        unsafe { ntddk::KeSetEvent(ptr::with_exposed_provenance_mut(event), 0, NO) };
    });
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, NO);
        let status = at_level(DISPATCH_LEVEL, || {
            second.adapter.AllocateAdapterChannel(lab.fdo, 2, Some(control), second.context())
        });
        lab.check(NT_SUCCESS(status), "an allocation may wait");
        ntddk::KeWaitForSingleObject(
            (&raw mut event).cast(),
            _KWAIT_REASON::Executive,
            KERNEL_MODE,
            NO,
            ptr::null_mut(),
        );
    }
    second.free();
    STATUS_SUCCESS
}

/// Flushes at once, or when the device is idle.
fn in_flight(lab: &Lab, request: WDFREQUEST, wait: bool) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, transfer.length);
    lab.start_device(logical, mapped, true, false);
    if wait {
        lab.wait_for_device();
    }
    transfer.flush(0, mapped);
    lab.wait_for_device();
    transfer.free();
    STATUS_SUCCESS
}
