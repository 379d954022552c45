//! Section D: the adapter channel and AdapterControl.
//!
//! | not tested here | why |
//! |---|---|
//! | DMA-37 | a driver breaks it by loads from the IRP, which no run-time check sees |

use std::ptr;

use dmaproof_tests::lab::ddk::{KERNEL_MODE, NO, at_level, wait};
use dmaproof_tests::lab::{Lab, Routine, Script, Transfer, control, whole_packet};
use dmaproof_tests::{Case, rule_tests, run};
use testdev::edu;
use wdk_lite::_IO_ALLOCATION_ACTION::{
    DeallocateObject, DeallocateObjectKeepRegisters, KeepObject,
};
use wdk_lite::*;

use crate::{DMA, VERIFIER};

rule_tests! {
    breaks allocate_at_passive_level {
        [Dma33], [(DMA, 0x13)],
        broken: run(allocate_at_passive_level),
        clean: run(whole_packet),
    }
    breaks more_registers_than_granted {
        [Dma34, Dma10], [(DMA, 0x0C), (DMA, 0x15)],
        broken: run(|lab, request| {
            with(lab, request, |transfer| transfer.registers = lab.granted.get() + 1, |_| ())
        }),
        clean: run(|lab, request| {
            with(lab, request, |transfer| transfer.registers = lab.granted.get(), |_| ())
        }),
    }
    breaks allocate_inside_adapter_control {
        [Dma35, Dma17], [(DMA, 0x0B)],
        broken: run(|lab, request| {
            with(lab, request, |_| (), |transfer| { let _ = transfer.ask(); })
        }),
        clean: run(|lab, request| with(lab, request, |_| (), |_| ())),
    }
    breaks lock_held_that_adapter_control_takes {
        [Dma36, Sim08], [],
        broken: run(|lab, request| under_lock(lab, request, true)).seeds(8),
        clean: run(|lab, request| under_lock(lab, request, false)).seeds(8),
    }
    breaks adapter_control_returns_nonsense {
        [Dma38], [],
        broken: run(|lab, request| returning(lab, request, 7, |_| ())),
        clean: run(|lab, request| {
            returning(lab, request, DeallocateObjectKeepRegisters, Transfer::free)
        }),
    }
    breaks registers_deallocated_while_mapped {
        [Dma38, Dma42, Dma54], [(DMA, 0x10)],
        broken: run(|lab, request| {
            with(lab, request, |transfer| transfer.action.set(DeallocateObject), |transfer| {
                let _ = transfer.map(0, transfer.length);
            })
        }),
        clean: run(|lab, request| returning(lab, request, DeallocateObject, |_| ())),
    }
    breaks register_base_altered {
        [Dma39, Dma53], [(DMA, 0x20)],
        broken: run(|lab, request| flush_with_base(lab, request, 8)),
        clean: run(|lab, request| flush_with_base(lab, request, 0)),
    }
    breaks wait_in_adapter_control {
        [Dma40, Sim09], [(VERIFIER, 0x121), (VERIFIER, 0x122)],
        broken: run(|lab, request| with(lab, request, |_| (), |_| sleep())),
        clean: run(whole_packet),
    }
    breaks free_channel_after_keep_registers {
        [Dma41, Dma43], [(DMA, 0x04)],
        broken: run(|lab, request| {
            returning(lab, request, DeallocateObjectKeepRegisters, Transfer::free_channel)
        }),
        clean: run(|lab, request| {
            returning(lab, request, KeepObject, Transfer::free_channel)
        }),
    }
    breaks free_registers_after_deallocate_object {
        [Dma41, Dma42], [(DMA, 0x05)],
        broken: run(|lab, request| returning(lab, request, DeallocateObject, Transfer::free)),
        clean: run(|lab, request| returning(lab, request, DeallocateObject, |_| ())),
    }
    breaks free_registers_after_keep_object {
        [Dma41, Dma42], [],
        broken: run(|lab, request| returning(lab, request, KeepObject, Transfer::free)),
        clean: run(|lab, request| returning(lab, request, KeepObject, Transfer::free_channel)),
    }
    breaks free_registers_before_adapter_control_keeps_the_channel {
        [Dma41, Dma42], [],
        broken: overtaken(|lab, request| overtake(lab, request, KeepObject)),
        clean: overtaken(|lab, request| {
            overtake(lab, request, DeallocateObjectKeepRegisters)
        }).seeds(20),
    }
    breaks free_the_registers_used_instead_of_those_allocated {
        [Dma42], [],
        broken: run(|lab, request| free_counted(lab, request, 1)),
        clean: run(|lab, request| free_counted(lab, request, 2)),
    }
    breaks free_registers_twice {
        [Dma42], [(DMA, 0x05)],
        broken: run(twice),
        clean: run(|lab, request| with(lab, request, |_| (), |_| ())),
    }
    breaks free_registers_while_mapped {
        [Dma42, Dma54], [(DMA, 0x10)],
        broken: run(|lab, request| returning(lab, request, DeallocateObjectKeepRegisters, |t| {
            let _ = t.map(0, t.length);
            t.free();
        })),
        clean: run(whole_packet),
    }
    breaks free_registers_at_passive_level {
        [Dma42], [(DMA, 0x13), (VERIFIER, 0x20003)],
        broken: run(|lab, request| returning(lab, request, DeallocateObjectKeepRegisters, |t| {
            // SAFETY: LAB.
            unsafe { t.adapter.FreeMapRegisters(t.base.get(), t.registers) }
        })),
        clean: run(whole_packet),
    }
    breaks free_registers_of_no_base {
        [Dma42], [],
        broken: run(|lab, request| returning(lab, request, DeallocateObjectKeepRegisters, |t| {
            // SAFETY: LAB.
            unsafe {
                at_level(DISPATCH_LEVEL, || {
                    t.adapter.FreeMapRegisters(ptr::null_mut(), t.registers);
                });
            }
        })),
        clean: run(whole_packet),
    }
    breaks free_channel_that_is_not_held {
        [Dma43], [(DMA, 0x04)],
        broken: run(|lab, request| { Transfer::new(lab, request).free_channel(); STATUS_SUCCESS }),
        clean: run(|lab, request| returning(lab, request, KeepObject, Transfer::free_channel)),
    }
    breaks free_channel_at_passive_level {
        [Dma43], [(DMA, 0x13), (VERIFIER, 0x20003)],
        broken: run(|lab, request| returning(lab, request, KeepObject, |transfer| {
            // SAFETY: LAB.
            unsafe { transfer.adapter.FreeAdapterChannel() }
        })),
        clean: run(|lab, request| returning(lab, request, KeepObject, Transfer::free_channel)),
    }
    breaks request_completed_with_registers_held {
        [Dma44, Dma18], [(DMA, 0x09)],
        broken: run(|lab, request| returning(lab, request, DeallocateObjectKeepRegisters, |_| ())),
        clean: run(|lab, request| {
            returning(lab, request, DeallocateObjectKeepRegisters, Transfer::free)
        }),
    }
    answer adapter_control_runs_once_per_allocation {
        [Dma34],
        run(|lab, request| {
            let mut transfer = Transfer::new(lab, request);
            transfer.registers = lab.granted.get();
            transfer.allocate();
            lab.check(transfer.calls.get() == 1, "AdapterControl runs once per allocation");
            transfer.free();
            STATUS_SUCCESS
        }),
    }
}

/// An allocation with an altered transfer and a control routine that does something.
fn with(
    lab: &Lab,
    request: WDFREQUEST,
    alter: impl FnOnce(&mut Transfer<'_>),
    on_grant: fn(&Transfer<'_>),
) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    alter(&mut transfer);
    transfer.on_grant.set(on_grant);
    transfer.flush_caches();
    if NT_SUCCESS(transfer.ask()) {
        transfer.wait_for_grant();
        transfer.free();
    }
    STATUS_SUCCESS
}

/// An allocation whose control routine returns `action`, and what follows it.
fn returning<'l>(
    lab: &'l Lab,
    request: WDFREQUEST,
    action: IO_ALLOCATION_ACTION,
    then: impl FnOnce(&Transfer<'l>),
) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.action.set(action);
    transfer.flush_caches();
    transfer.allocate();
    then(&transfer);
    STATUS_SUCCESS
}

/// A driver whose DPC ends the transfer that its AdapterControl started. It may do so on another
/// processor before that routine has returned: the pages have the routine start the device, and
/// the DPC free the registers as soon as the transfer is over, without a word about waiting.
const fn overtaken(routine: Routine) -> Case {
    run(routine).buffer(1000, 0).script(Script {
        dpc: |lab| {
            let of: *const Transfer<'_> =
                ptr::with_exposed_provenance(lab.scratch[0].get() as usize);
            if of.is_null() || lab.device_runs() {
                return;
            }
            // SAFETY: LAB: `overtake` keeps the transfer until this is done.
            let transfer = unsafe { &*of };
            lab.scratch[0].set(0);
            lab.check(transfer.flush(0, transfer.length), "FlushAdapterBuffers failed");
            transfer.free();
            lab.scratch[1].set(1);
        },
        ..Script::correct()
    })
}

/// One transfer, whose AdapterControl is held up for a while before it returns `action`.
fn overtake(lab: &Lab, request: WDFREQUEST, action: IO_ALLOCATION_ACTION) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.action.set(action);
    transfer.on_grant.set(|transfer| {
        let lab = transfer.lab;
        // CAST: an address.
        lab.scratch[0].set(ptr::from_ref(transfer).expose_provenance() as u64);
        let (logical, mapped) = transfer.map(0, transfer.length);
        lab.start_device(logical, mapped, transfer.to_device, true);
        let held_up = (0..1000).take_while(|_| lab.scratch[1].get() == 0 && lab.read(edu::ID) != 0);
        lab.scratch[2].set(1 + held_up.count() as u64);
    });
    transfer.flush_caches();
    lab.check(NT_SUCCESS(transfer.ask()), "AllocateAdapterChannel failed");
    // SAFETY: LAB.
    let over = unsafe { wait(1000, || lab.scratch[1].get() != 0 && lab.scratch[2].get() != 0) };
    lab.check(over, "the transfer never ended");
    STATUS_SUCCESS
}

fn allocate_at_passive_level(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    // SAFETY: LAB.
    unsafe {
        transfer.adapter.AllocateAdapterChannel(
            lab.fdo,
            transfer.registers,
            Some(control),
            transfer.context(),
        )
    };
    transfer.wait_for_grant();
    transfer.free();
    STATUS_SUCCESS
}

/// The control routine takes a spin lock, which the caller holds or does not hold.
fn under_lock(lab: &Lab, request: WDFREQUEST, held: bool) -> NTSTATUS {
    let lock: PKSPIN_LOCK = lab.scratch[0].as_ptr();
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.on_grant.set(|transfer| {
        let lock: PKSPIN_LOCK = transfer.lab.scratch[0].as_ptr();
        // SAFETY: LAB: AdapterControl runs at DISPATCH_LEVEL.
        unsafe {
            ntddk::KeAcquireSpinLockAtDpcLevel(lock);
            ntddk::KeReleaseSpinLockFromDpcLevel(lock);
        }
    });
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeSpinLock(lock);
        let old = ntddk::KeAcquireSpinLockRaiseToDpc(lock);
        if !held {
            ntddk::KeReleaseSpinLock(lock, old);
        }
        lab.check(NT_SUCCESS(transfer.ask()), "AllocateAdapterChannel failed");
        if held {
            ntddk::KeReleaseSpinLock(lock, old);
        }
    }
    transfer.wait_for_grant();
    transfer.free();
    STATUS_SUCCESS
}

fn sleep() {
    let mut event = KEVENT::default();
    let mut interval = LARGE_INTEGER { QuadPart: -100 };
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, NO);
        ntddk::KeWaitForSingleObject(
            (&raw mut event).cast(),
            _KWAIT_REASON::Executive,
            KERNEL_MODE,
            NO,
            &raw mut interval,
        );
    }
}

/// Maps, then flushes with the base moved by some bytes.
fn flush_with_base(lab: &Lab, request: WDFREQUEST, shift: usize) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.allocate();
    let (_, mapped) = transfer.map(0, transfer.length);
    // SAFETY: LAB.
    unsafe {
        transfer.adapter.FlushAdapterBuffers(
            transfer.mdl,
            transfer.base.get().wrapping_byte_add(shift),
            transfer.va,
            mapped,
            transfer.write(),
        )
    };
    transfer.free();
    STATUS_SUCCESS
}

/// Two registers allocated, `count` freed.
fn free_counted(lab: &Lab, request: WDFREQUEST, count: u32) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    lab.check(transfer.registers == 2, "the buffer spans two pages");
    transfer.flush_caches();
    transfer.allocate();
    // SAFETY: LAB.
    unsafe {
        at_level(DISPATCH_LEVEL, || {
            transfer.adapter.FreeMapRegisters(transfer.base.get(), count);
        });
    }
    STATUS_SUCCESS
}

fn twice(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    returning(lab, request, DeallocateObjectKeepRegisters, |transfer| {
        transfer.free();
        transfer.free();
    })
}
