//! Section M: plug and play, and power.
//!
//! | not tested here | why |
//! |---|---|
//! | KMDF-06 | the framework keeps the order |
//! | KMDF-09 | `edu` loses no register in Dx, so nothing that was not reprogrammed is missed |
//! | KMDF-10 | pageability is an attribute of image sections |

use std::ptr;

use dmaproof_tests::lab::ddk::{KERNEL_MODE, NO, at_level, wait};
use dmaproof_tests::lab::{Lab, Script, complete, whole_packet};
use dmaproof_tests::{Bench, rule_tests, run};
use testdev::edu;
use wdk_lite::*;

use crate::{DMA, FRAMEWORK, VERIFIER, idle};

rule_tests! {
    breaks register_beyond_the_window {
        [Kmdf01, Kmdf04, Sim06], [],
        broken: run(idle).script(preparing(|lab| read_at(lab, lab.register_bytes.get()))),
        clean: run(idle).script(preparing(|lab| read_at(lab, edu::ID))),
    }
    breaks register_read_in_release_hardware {
        [Kmdf02], [],
        broken: run(idle).script(releasing(|lab| {
            let _ = lab.read(edu::ID);
            lab.put_adapter()
        })),
        clean: run(idle),
    }
    breaks release_after_a_failed_prepare_puts_no_adapter {
        [Kmdf02, Dma12, Dma14], [(DMA, 0x19)],
        broken: run(idle).start_fails().script(Script {
            prepare: remember_put_and_fail,
            release: put_without_looking,
            ..Script::correct()
        }),
        clean: run(idle).start_fails()
            .script(Script { prepare: remember_put_and_fail, ..Script::correct() }),
    }
    breaks adapter_left_by_a_failed_prepare {
        [Kmdf02, Dma19, Dma20, Kmdf44], [],
        broken: run(idle).start_fails().script(Script {
            prepare: take_and_fail,
            release: |_| STATUS_SUCCESS,
            ..Script::correct()
        }),
        clean: run(idle).start_fails()
            .script(Script { prepare: take_and_fail, ..Script::correct() }),
    }
    breaks prepare_returns_not_supported {
        [Kmdf03], [],
        broken: run(idle).start_fails().script(preparing(|_| STATUS_NOT_SUPPORTED)),
        clean: run(idle).start_fails().script(preparing(|_| STATUS_DEVICE_CONFIGURATION_ERROR)),
    }
    breaks release_returns_not_supported {
        [Kmdf03], [],
        broken: run(idle).script(releasing(|lab| {
            lab.put_adapter();
            STATUS_NOT_SUPPORTED
        })),
        clean: run(idle),
    }
    breaks window_never_unmapped {
        [Kmdf04, Kmdf02, Kmdf44], [],
        broken: run(idle).script(Script { unmap: |_| (), ..Script::correct() }),
        clean: run(idle),
    }
    breaks window_unmapped_in_part {
        [Kmdf04], [],
        broken: run(idle).script(Script {
            unmap: |lab| {
                lab.register_bytes.set(4096);
                lab.unmap_registers();
            },
            ..Script::correct()
        }),
        clean: run(idle),
    }
    breaks window_unmapped_twice {
        [Kmdf04], [],
        broken: run(idle).script(Script {
            unmap: |lab| {
                let base = lab.registers.get();
                lab.unmap_registers();
                lab.registers.set(base);
                lab.unmap_registers();
            },
            ..Script::correct()
        }),
        clean: run(idle),
    }
    breaks window_unmapped_at_dispatch_level {
        [Kmdf04], [(VERIFIER, 0x7B)],
        broken: run(idle).script(Script {
            // SAFETY: LAB.
            unmap: |lab| unsafe { at_level(DISPATCH_LEVEL, || lab.unmap_registers()) },
            ..Script::correct()
        }),
        clean: run(idle),
    }
    breaks nothing_mapped {
        [Kmdf04], [],
        broken: run(idle).script(preparing(|lab| map_again(lab, 0))),
        clean: run(idle).script(preparing(|lab| map_again(lab, 1))),
    }
    breaks d0_entry_waits_for_an_interrupt {
        [Kmdf05, Sim09], [],
        broken: run(idle).script(Script { d0_entry: wait_for_ever, ..Script::correct() }),
        clean: run(idle),
    }
    breaks failed_d0_entry_leaves_its_work_to_d0_exit {
        [Kmdf07, Sim10], [],
        broken: run(idle).start_fails().script(Script {
            d0_entry: |lab| allocate_and_fail(lab, true),
            d0_exit: free_scratch,
            ..Script::correct()
        }),
        clean: run(idle).start_fails().script(Script {
            d0_entry: |lab| allocate_and_fail(lab, false),
            d0_exit: free_scratch,
            ..Script::correct()
        }),
    }
    breaks device_masters_the_bus_after_d0_exit {
        [Kmdf08], [],
        broken: run(start_and_leave).script(with_common_buffer(|_| STATUS_SUCCESS))
            .scenario(sleep_and_wake),
        clean: run(start_and_leave).script(with_common_buffer(stop_device))
            .scenario(sleep_and_wake),
    }
    breaks callback_returns_raised {
        [Kmdf11], [(FRAMEWORK, 0xE)],
        broken: run(idle).script(Script {
            d0_entry: |lab| {
                lab.acknowledge();
                // SAFETY: LAB.
                // CAST: a level.
                unsafe { ntddk::KfRaiseIrql(DISPATCH_LEVEL as u8) };
                STATUS_SUCCESS
            },
            ..Script::correct()
        }),
        clean: run(idle),
    }
    breaks callback_returns_with_a_lock {
        [Kmdf11], [],
        broken: run(|lab, request| {
            let lock: PKSPIN_LOCK = lab.scratch[0].as_ptr();
            // SAFETY: LAB.
            unsafe {
                ntddk::KeInitializeSpinLock(lock);
                complete(request, STATUS_SUCCESS);
                ntddk::KeAcquireSpinLockRaiseToDpc(lock);
            }
            STATUS_PENDING
        }).inline(),
        clean: run(idle).inline(),
    }
    breaks failed_device_goes_on_mastering_the_bus {
        [Sur06, Kmdf08, Dma30, Dma57, Dma114, Dma115, Sim02], [],
        broken: run(start_and_fail).script(with_common_buffer(|_| STATUS_SUCCESS))
            .scenario(run_and_lose),
        clean: run(start_and_fail).script(with_common_buffer(stop_device))
            .scenario(run_and_lose),
    }
    answer device_survives_a_power_cycle {
        [Kmdf08],
        run(whole_packet).scenario(|bench| {
            bench.run();
            sleep_and_wake_only(bench);
            bench.run();
        }),
    }
}

const fn preparing(prepare: fn(&Lab) -> NTSTATUS) -> Script {
    Script { prepare, ..Script::correct() }
}

const fn releasing(release: fn(&Lab) -> NTSTATUS) -> Script {
    Script { release, ..Script::correct() }
}

/// Takes the adapter and reads a register.
fn read_at(lab: &Lab, offset: u64) -> NTSTATUS {
    let status = lab.take_adapter();
    let _ = lab.read(offset);
    status
}

/// Takes the adapter, then maps the window again, `times` as long as it is, and unmaps that.
fn map_again(lab: &Lab, times: u64) -> NTSTATUS {
    let status = lab.take_adapter();
    let length = lab.register_bytes.get() * times;
    // SAFETY: LAB.
    unsafe {
        let start = memory_start(lab);
        let base = ntddk::MmMapIoSpaceEx(start, length, PAGE_READWRITE | PAGE_NOCACHE);
        if !base.is_null() {
            ntddk::MmUnmapIoSpace(base, length);
        }
    }
    status
}

/// Where the window lies in physical memory.
fn memory_start(lab: &Lab) -> PHYSICAL_ADDRESS {
    // SAFETY: LAB.
    unsafe { ntddk::MmGetPhysicalAddress(lab.registers.get().cast()) }
}

/// Takes an adapter for its table's sake, puts it again, and fails the start.
fn remember_put_and_fail(lab: &Lab) -> NTSTATUS {
    lab.take_adapter();
    // SAFETY: LAB.
    let put = unsafe { (*(*lab.adapter.get().0).DmaOperations).PutDmaAdapter };
    let put = put.expect("in every table");
    // CAST: an address.
    lab.scratch[0].set((put as *const ()).expose_provenance() as u64);
    lab.put_adapter();
    STATUS_INSUFFICIENT_RESOURCES
}

/// Puts the lab's adapter without looking whether there is one.
fn put_without_looking(lab: &Lab) -> NTSTATUS {
    // CAST: an address.
    let put: *const () = ptr::with_exposed_provenance(lab.scratch[0].get() as usize);
    // SAFETY: LAB: `remember_put_and_fail` stored a routine of this type.
    unsafe {
        let put: PPUT_DMA_ADAPTER = std::mem::transmute(put);
        put.expect("in every table")(lab.adapter.get().0);
    }
    STATUS_SUCCESS
}

fn take_and_fail(lab: &Lab) -> NTSTATUS {
    lab.take_adapter();
    STATUS_INSUFFICIENT_RESOURCES
}

/// Waits for an event that only an interrupt would set.
fn wait_for_ever(lab: &Lab) -> NTSTATUS {
    lab.acknowledge();
    let mut event = KEVENT::default();
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, NO);
        ntddk::KeWaitForSingleObject(
            (&raw mut event).cast(),
            _KWAIT_REASON::Executive,
            KERNEL_MODE,
            NO,
            ptr::null_mut(),
        )
    }
}

fn allocate_and_fail(lab: &Lab, leave: bool) -> NTSTATUS {
    let pool = lab.pool(64);
    // CAST: an address.
    lab.scratch[0].set(pool.expose_provenance() as u64);
    if !leave {
        free_scratch(lab);
    }
    STATUS_DEVICE_CONFIGURATION_ERROR
}

fn free_scratch(lab: &Lab) -> NTSTATUS {
    // CAST: an address.
    let pool = lab.scratch[0].replace(0) as usize;
    if pool != 0 {
        lab.free(ptr::with_exposed_provenance_mut(pool));
    }
    STATUS_SUCCESS
}

/// A driver with a common buffer, whose addresses are in the scratch words. Its ReleaseHardware
/// takes longer than a transfer of the device.
const fn with_common_buffer(d0_exit: fn(&Lab) -> NTSTATUS) -> Script {
    Script {
        prepare: take_with_buffer,
        release: put_with_buffer,
        unmap: |lab| {
            // SAFETY: LAB.
            unsafe { wait(20, || false) };
            lab.unmap_registers();
        },
        d0_exit,
        ..Script::correct()
    }
}

fn take_with_buffer(lab: &Lab) -> NTSTATUS {
    let status = lab.take_adapter();
    let mut logical = PHYSICAL_ADDRESS::default();
    // SAFETY: LAB.
    unsafe {
        let address = lab.adapter.get().AllocateCommonBuffer(PAGE_SIZE, &raw mut logical, 1);
        // CAST: addresses.
        lab.scratch[0].set(address.expose_provenance() as u64);
        lab.scratch[1].set(logical.QuadPart as u64);
    }
    status
}

fn put_with_buffer(lab: &Lab) -> NTSTATUS {
    // CAST: addresses.
    let address = ptr::with_exposed_provenance_mut(lab.scratch[0].get() as usize);
    let logical = PHYSICAL_ADDRESS { QuadPart: lab.scratch[1].get() as i64 };
    // SAFETY: LAB.
    unsafe { lab.adapter.get().FreeCommonBuffer(PAGE_SIZE, logical, address, 1) };
    lab.put_adapter()
}

/// Starts the device on the common buffer and completes the request at once.
fn start_and_leave(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    // CAST: an address.
    let address = ptr::with_exposed_provenance_mut(lab.scratch[0].get() as usize);
    let mdl = lab.mdl_over(address, PAGE_SIZE);
    // SAFETY: LAB.
    unsafe {
        ntddk::KeFlushIoBuffers(mdl, 1, 1);
        ntddk::IoFreeMdl(mdl);
    }
    lab.start_device(lab.scratch[1].get(), 64, false, false);
    STATUS_SUCCESS
}

/// Starts the device and declares it failed.
fn start_and_fail(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let status = start_and_leave(lab, request);
    // SAFETY: LAB.
    unsafe {
        wdf::WdfDeviceSetFailed(lab.device, _WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedNoRestart);
    }
    status
}

/// The system removes the device that failed; the device itself is still there.
fn run_and_lose(bench: &mut Bench) {
    bench.run();
    bench.close();
    bench.machine.sleep(1_000_000);
    bench.slot = None;
}

fn stop_device(lab: &Lab) -> NTSTATUS {
    lab.check(lab.wait_for_device(), "the device did not stop");
    STATUS_SUCCESS
}

fn sleep_and_wake(bench: &mut Bench) {
    bench.run();
    sleep_and_wake_only(bench);
}

fn sleep_and_wake_only(bench: &mut Bench) {
    bench.set_power(true);
    bench.machine.sleep(1_000_000);
    bench.set_power(false);
}
