//! Parts 3 and 4: security, as far as a machine can check it, and surprise removal; and what the
//! simulation sees besides.
//!
//! | not tested here | why |
//! |---|---|
//! | SEC-02, 03, 05, 06, 07, 09, 11, 13 | decisions, or arithmetic, of the driver |
//! | SEC-04 | the INF's entry |
//! | SEC-08 | which bytes a driver or a device really wrote is not tracked |
//! | SIM-03 | the declarations have no access to configuration space |
//! | SIM-06, width | a model does not say which widths its registers take |
//! | SIM-07, in a debug build | unoptimised frames say nothing about the driver's stack |

use std::ptr;

use dmaproof_tests::lab::ddk::{KERNEL_MODE, NO, YES, at_level};
use dmaproof_tests::lab::{Lab, Script, Transfer, complete, whole_packet};
use dmaproof_tests::{Bench, rule_tests, run};
use nthost::Access;
use testdev::edu;
use wdk_lite::*;

use crate::{VERIFIER, idle};

rule_tests! {
    answer codes_demand_access {
        [Sec01],
        run(idle).scenario(|bench| {
            let path = bench.machine.interfaces(&dmaproof_tests::lab::INTERFACE).remove(0);
            let file = bench.machine.open(&path, Access::READ).expect("a reader may open");
            let (completion, _) = file.submit(bench.request(bench.routine())).wait();
            assert_eq!(completion.status.0, STATUS_ACCESS_DENIED, "the code demands writing");
        }),
    }
    breaks poll_of_a_device_that_is_gone_for_twenty_seconds {
        [Sur02, Sec10, Sim09, Sur01], [],
        broken: run(|lab, _| poll(lab, 400_000)).device(|edu| edu.faults.all_ones_at = Some(2)),
        clean: run(|lab, _| poll(lab, 100)).device(|edu| edu.faults.all_ones_at = Some(2)),
    }
    breaks isr_claims_the_interrupt_of_a_device_that_is_gone {
        [Sur01, Kmdf14, Kmdf15], [],
        broken: run(interrupt_at_the_last_moment).scenario(gone_meanwhile).script(Script {
            isr: |lab| BOOLEAN::from(lab.read(edu::IRQ_STATUS) != 0),
            ..Script::correct()
        }),
        clean: run(interrupt_at_the_last_moment).scenario(gone_meanwhile).script(Script {
            isr: |lab| {
                lab.scratch[0].set(1);
                lab.serve_interrupt()
            },
            release: |lab| {
                lab.check(lab.scratch[0].get() == 1, "the message was on its way");
                lab.put_adapter()
            },
            ..Script::correct()
        }),
    }
    breaks request_completed_in_surprise_removal {
        [Sur03], [],
        broken: run(keep).scenario(pull_with_request).script(Script {
            surprise: |lab| complete(lab.kept.replace(ptr::null_mut()), STATUS_DEVICE_REMOVED),
            ..stopping()
        }),
        clean: run(keep).scenario(pull_with_request).script(stopping()),
    }
    breaks queue_stopped_in_surprise_removal {
        [Sur03, Kmdf36], [],
        broken: run(idle).scenario(pull).script(Script {
            // SAFETY: LAB.
            surprise: |lab| unsafe {
                let queue = wdf::WdfDeviceGetDefaultQueue(lab.device);
                wdf::WdfIoQueueStop(queue, None, ptr::null_mut());
            },
            ..Script::correct()
        }),
        clean: run(idle).scenario(pull),
    }
    breaks registers_used_after_release_hardware {
        [Sur04, Sim06], [],
        broken: run(idle).scenario(pull).script(Script {
            unmap: |lab| {
                let base = lab.registers.get();
                lab.unmap_registers();
                lab.registers.set(base);
                let _ = lab.read(edu::ID);
            },
            ..Script::correct()
        }),
        clean: run(idle).scenario(pull),
    }
    breaks registers_left_mapped_for_dma_at_removal {
        [Sur05, Dma18, Dma44, Dma100, Kmdf34, Sim12], [],
        broken: run(list_and_keep).scenario(pull_with_request).script(Script {
            io_stop: Some(|lab, request, _| {
                lab.kept.set(ptr::null_mut());
                complete(request, STATUS_DEVICE_REMOVED);
            }),
            ..Script::lists()
        }),
        clean: run(list_and_keep).scenario(pull_with_request).script(Script {
            io_stop: Some(|lab, request, _| {
                put_kept_list(lab);
                lab.kept.set(ptr::null_mut());
                complete(request, STATUS_DEVICE_REMOVED);
            }),
            ..Script::lists()
        }),
    }
    breaks register_behind_the_window {
        [Sim06], [],
        broken: run(|lab, _| { let _ = lab.read(lab.register_bytes.get()); STATUS_SUCCESS }),
        clean: run(|lab, _| { let _ = lab.read(lab.register_bytes.get() - 4); STATUS_SUCCESS }),
    }
    breaks spin_lock_taken_twice {
        [Sim08], [],
        broken: run(|lab, _| locked(lab, 2)),
        clean: run(|lab, _| locked(lab, 1)),
    }
    breaks wait_at_dispatch_level {
        [Sim09], [(VERIFIER, 0x121), (VERIFIER, 0x122)],
        broken: run(|lab, _| wait_at(lab, DISPATCH_LEVEL)),
        clean: run(|lab, _| wait_at(lab, PASSIVE_LEVEL)),
    }
    breaks access_to_what_was_never_mapped {
        [Sim02, Dma114], [],
        broken: run(|lab, _| {
            lab.start_device(0x3000, 64, true, false);
            lab.wait_for_device();
            STATUS_SUCCESS
        }),
        clean: run(whole_packet),
    }
    breaks physical_address_programmed {
        [Sim01, Dma24, Dma95, Dma110, Dma114], [],
        broken: run(|lab, _| {
            let pool = lab.pool(64);
            // SAFETY: LAB. CAST: an address is unsigned.
            let physical = unsafe { ntddk::MmGetPhysicalAddress(pool).QuadPart as u64 };
            lab.start_device(physical, 64, true, false);
            lab.wait_for_device();
            lab.free(pool);
            STATUS_SUCCESS
        }),
        clean: run(whole_packet),
    }
    breaks request_never_completed {
        [Sim04, Kmdf21], [],
        broken: run(keep),
        clean: run(idle),
    }
    breaks completed_under_a_pending_build {
        [Sim12, Dma100], [],
        broken: run(|lab, request| pending_build(lab, request, true)).script(Script::lists())
            .machine(|builder| builder.map_registers(Some(2))),
        clean: run(|lab, request| pending_build(lab, request, false)).script(Script::lists())
            .machine(|builder| builder.map_registers(Some(2))),
    }
}

/// A correct script whose EvtIoStop completes the request.
const fn stopping() -> Script {
    Script {
        io_stop: Some(|lab, request, _| {
            lab.kept.set(ptr::null_mut());
            complete(request, STATUS_DEVICE_REMOVED);
        }),
        ..Script::correct()
    }
}

/// Polls the device every 50 microseconds until it is idle, at most so often.
fn poll(lab: &Lab, times: u32) -> NTSTATUS {
    for _ in 0..times {
        let command = edu::Command::from_bits(lab.read(edu::DMA_COMMAND).into());
        if !command.is_running() {
            break;
        }
        // SAFETY: LAB.
        unsafe { ntddk::KeStallExecutionProcessor(50) };
    }
    STATUS_SUCCESS
}

/// Has the device send its message while nothing can interrupt this processor, and stays there
/// for more crossings than [`gone_meanwhile`] needs.
fn interrupt_at_the_last_moment(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe {
        at_level(HIGH_LEVEL, || {
            lab.write(edu::IRQ_RAISE, 2);
            for _ in 0..1000 {
                let _ = lab.read(edu::LIVENESS);
            }
        });
    }
    STATUS_SUCCESS
}

/// The device is pulled out in the middle of the routine.
fn gone_meanwhile(bench: &mut Bench) {
    let slot = bench.slot();
    let middle = bench.machine.events() + 500;
    bench.machine.inject(middle, move |machine| machine.unplug_later(slot));
    bench.run();
    bench.close();
    bench.machine.sleep(1_000_000);
    bench.slot = None;
}

fn keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    STATUS_PENDING
}

/// Keeps the request with a list attached, whose address is in the scratch words.
fn list_and_keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.get_list();
    // CAST: an address.
    lab.scratch[0].set(transfer.list.get().expose_provenance() as u64);
    keep(lab, request)
}

/// A list that has to wait for its registers; the request is completed meanwhile, or at the end.
fn pending_build(lab: &Lab, request: WDFREQUEST, early: bool) -> NTSTATUS {
    let holder = Transfer::new(lab, request);
    lab.check(holder.registers == 2, "all registers are held");
    holder.allocate();
    let build = Transfer::new(lab, request);
    build.flush_caches();
    lab.check(NT_SUCCESS(build.ask_for_list()), "a build may wait");
    if early {
        complete(request, STATUS_SUCCESS);
    }
    holder.free();
    build.wait_for_grant();
    build.put_list();
    if !early {
        complete(request, STATUS_SUCCESS);
    }
    STATUS_PENDING
}

fn put_kept_list(lab: &Lab) {
    // CAST: an address.
    let list = ptr::with_exposed_provenance_mut(lab.scratch[0].get() as usize);
    // SAFETY: LAB.
    unsafe {
        at_level(DISPATCH_LEVEL, || lab.adapter.get().PutScatterGatherList(list, YES));
    }
}

fn pull(bench: &mut Bench) {
    bench.run();
    bench.pull();
}

/// The device is pulled out while the driver has a request.
fn pull_with_request(bench: &mut Bench) {
    let pending = bench.submit(bench.routine());
    bench.machine.sleep(1_000_000);
    bench.pull();
    let (completion, _) = pending.wait();
    assert_eq!(completion.status.0, STATUS_DEVICE_REMOVED, "{}", completion.status);
}

fn locked(lab: &Lab, times: u32) -> NTSTATUS {
    let lock: PKSPIN_LOCK = lab.scratch[0].as_ptr();
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeSpinLock(lock);
        let old = ntddk::KeAcquireSpinLockRaiseToDpc(lock);
        for _ in 1..times {
            ntddk::KeAcquireSpinLockAtDpcLevel(lock);
        }
        ntddk::KeReleaseSpinLock(lock, old);
    }
    STATUS_SUCCESS
}

fn wait_at(lab: &Lab, level: u32) -> NTSTATUS {
    let mut event = KEVENT::default();
    let mut interval = LARGE_INTEGER { QuadPart: -100 };
    // SAFETY: LAB.
    let status = unsafe {
        ntddk::KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, NO);
        at_level(level, || {
            ntddk::KeWaitForSingleObject(
                (&raw mut event).cast(),
                _KWAIT_REASON::Executive,
                KERNEL_MODE,
                NO,
                &raw mut interval,
            )
        })
    };
    lab.check(status == STATUS_TIMEOUT, "nobody sets the event");
    STATUS_SUCCESS
}
