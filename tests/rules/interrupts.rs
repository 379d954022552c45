//! Section N: interrupts.
//!
//! | not tested here | why |
//! |---|---|
//! | KMDF-15 | SUR-01's test is the same ISR; nothing else shares the line of `edu` |
//! | KMDF-18, shared data | plain loads and stores are invisible |
//! | KMDF-19 | a duty of the DPC's own logic: there is no call that breaks it |

use std::ptr;

use dmaproof_tests::lab::ddk::{self, KERNEL_MODE, NO, YES, interrupt_config, size, wait};
use dmaproof_tests::lab::{Lab, Script, complete};
use dmaproof_tests::{rule_tests, run};
use testdev::edu;
use wdk_lite::*;

use crate::{DMA, FRAMEWORK, VERIFIER, idle};

/// Declares a correct script, but that device add directs the interrupt to the first processor,
/// after this change.
macro_rules! directing {
    ($change:expr) => {
        Script {
            added: |lab| {
                let change: fn(&mut WDF_INTERRUPT_EXTENDED_POLICY) = $change;
                direct(lab, change)
            },
            ..Script::correct()
        }
    };
}
rule_tests! {
    answer interrupt_created_too_late {
        [Kmdf12],
        run(create_interrupt_now),
    }
    answer impossible_interrupt_configurations {
        [Kmdf12],
        run(idle).script(Script { added: impossible_interrupts, ..Script::correct() }),
    }
    breaks policy_with_the_initial_priority {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| policy.Priority = NO_PRIORITY)),
        clean: run(idle).script(directing!(|_| ())),
    }
    breaks policy_that_does_not_exist {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| policy.Policy = 6)),
        clean: run(idle).script(directing!(|policy| policy.Policy = 5)),
    }
    breaks policy_of_another_size {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| policy.Size -= 8)),
        clean: run(idle).script(directing!(|_| ())),
    }
    breaks policy_with_reserved_fields {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| {
            policy.TargetProcessorSetAndGroup.Reserved[2] = 1;
        })),
        clean: run(idle).script(directing!(|_| ())),
    }
    breaks policy_with_a_processor_that_is_not_active {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| {
            policy.TargetProcessorSetAndGroup.Mask = 1 << 63;
        })),
        clean: run(idle).script(directing!(|policy| {
            // Nobody looks at the processors of another policy.
            policy.Policy = _WDF_INTERRUPT_POLICY::WdfIrqPolicyAllProcessorsInMachine;
            policy.TargetProcessorSetAndGroup.Mask = 1 << 63;
        })),
    }
    breaks policy_with_no_processor {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| policy.TargetProcessorSetAndGroup.Mask = 0)),
        clean: run(idle).script(directing!(|_| ())),
    }
    breaks policy_with_a_group_that_does_not_exist {
        [Kmdf12], [],
        broken: run(idle).script(directing!(|policy| policy.TargetProcessorSetAndGroup.Group = 1)),
        clean: run(idle).script(directing!(|_| ())),
    }
    breaks dma_routine_in_interrupt_enable {
        [Kmdf13, Dma53], [(DMA, 0x13)],
        broken: run(idle).script(Script { enable: flush_adapter, ..Script::correct() }),
        clean: run(idle).script(Script { enable: Lab::acknowledge, ..Script::correct() }),
    }
    breaks dma_routine_in_isr {
        [Kmdf14, Dma53], [(DMA, 0x13)],
        broken: run(interrupt).script(serving(|lab| {
            flush_adapter(lab);
            lab.serve_interrupt()
        })),
        clean: run(interrupt),
    }
    breaks request_completed_in_isr {
        [Kmdf14, Kmdf23], [],
        broken: run(interrupt_and_keep).script(serving(|lab| {
            complete(lab.kept.get(), STATUS_SUCCESS);
            lab.serve_interrupt()
        })),
        clean: run(interrupt_and_keep).script(Script {
            dpc: |lab| complete(lab.kept.replace(ptr::null_mut()), STATUS_SUCCESS),
            ..Script::correct()
        }),
    }
    breaks isr_lowers_its_level {
        [Kmdf14, Kmdf11], [(VERIFIER, 0x111), (FRAMEWORK, 0xE)],
        broken: run(interrupt).script(serving(|lab| {
            let served = lab.serve_interrupt();
            // SAFETY: LAB.
            // CAST: a level.
            unsafe { ntddk::KeLowerIrql(DISPATCH_LEVEL as u8) };
            served
        })),
        clean: run(interrupt),
    }
    breaks wait_in_isr {
        [Kmdf14, Sim09], [],
        broken: run(interrupt).script(serving(|lab| {
            sleep();
            lab.serve_interrupt()
        })),
        clean: run(interrupt),
    }
    answer dpc_queued_twice_runs_once {
        [Kmdf16],
        run(interrupt).script(Script {
            isr: |lab| {
                let served = lab.serve_interrupt();
                if served != NO {
                    // SAFETY: LAB.
                    let again = unsafe { wdf::WdfInterruptQueueDpcForIsr(lab.interrupt.get()) };
                    lab.check(again == NO, "the DPC is queued already");
                }
                served
            },
            dpc: |lab| {
                lab.scratch[1].set(lab.scratch[1].get() + 1);
                lab.check(lab.scratch[1].get() == 1, "one DPC for two requests of it");
            },
            ..Script::correct()
        }),
    }
    breaks common_buffer_allocated_in_dpc {
        [Kmdf17, Dma22], [(DMA, 0x13)],
        broken: run(interrupt).script(deferring(|lab| {
            let mut logical = PHYSICAL_ADDRESS::default();
            // SAFETY: LAB.
            unsafe { lab.adapter.get().AllocateCommonBuffer(PAGE_SIZE, &raw mut logical, YES) };
        })),
        clean: run(interrupt),
    }
    breaks wait_in_dpc {
        [Kmdf17, Sim09], [(VERIFIER, 0x121), (VERIFIER, 0x122)],
        broken: run(interrupt).script(deferring(|_| sleep())),
        clean: run(interrupt),
    }
    breaks interrupt_lock_before_enable {
        [Kmdf18], [],
        broken: run(idle).script(Script {
            d0_entry: |lab| {
                lock_and_unlock(lab);
                lab.acknowledge()
            },
            ..Script::correct()
        }),
        clean: run(|lab, _| { lock_and_unlock(lab); STATUS_SUCCESS }),
    }
    breaks interrupt_lock_taken_twice {
        [Kmdf18, Sim08], [],
        broken: run(|lab, _| {
            // SAFETY: LAB.
            unsafe {
                wdf::WdfInterruptAcquireLock(lab.interrupt.get());
                wdf::WdfInterruptAcquireLock(lab.interrupt.get());
            }
            STATUS_SUCCESS
        }),
        clean: run(|lab, _| {
            lock_and_unlock(lab);
            lock_and_unlock(lab);
            STATUS_SUCCESS
        }),
    }
    breaks dma_routine_under_the_interrupt_lock {
        [Kmdf18, Dma53], [(DMA, 0x13)],
        broken: run(|lab, _| synchronized(lab, Some(flush_in_lock))),
        clean: run(|lab, _| synchronized(lab, Some(touch_in_lock))),
    }
    answer serialised_work_item_under_a_dispatch_level_queue {
        [Kmdf20],
        run(idle).script(Script { added: incompatible_levels, ..Script::correct() }),
    }
}

/// A correct script but for its ISR.
const fn serving(isr: fn(&Lab) -> BOOLEAN) -> Script {
    Script { isr, ..Script::correct() }
}

/// A correct script but for its DPC.
const fn deferring(dpc: fn(&Lab)) -> Script {
    Script { dpc, ..Script::correct() }
}

/// WdfIrqPriorityUndefined, which WDF_INTERRUPT_EXTENDED_POLICY_INIT sets and the framework refuses.
const NO_PRIORITY: WDF_INTERRUPT_PRIORITY = _WDF_INTERRUPT_PRIORITY::WdfIrqPriorityUndefined;

fn direct(lab: &Lab, change: fn(&mut WDF_INTERRUPT_EXTENDED_POLICY)) -> NTSTATUS {
    let mut policy = WDF_INTERRUPT_EXTENDED_POLICY {
        Size: size::<WDF_INTERRUPT_EXTENDED_POLICY>(),
        Policy: _WDF_INTERRUPT_POLICY::WdfIrqPolicySpecifiedProcessors,
        Priority: _WDF_INTERRUPT_PRIORITY::WdfIrqPriorityNormal,
        TargetProcessorSetAndGroup: GROUP_AFFINITY { Mask: 1, ..GROUP_AFFINITY::default() },
    };
    change(&mut policy);
    // SAFETY: LAB.
    unsafe { wdf::WdfInterruptSetExtendedPolicy(lab.interrupt.get(), &raw mut policy) };
    STATUS_SUCCESS
}

/// Has the device interrupt, and waits until the ISR has served it.
fn interrupt(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    lab.write(edu::IRQ_RAISE, 2);
    // SAFETY: LAB.
    let served = unsafe { wait(1000, || lab.interrupts.get() != 0) };
    lab.check(served, "no interrupt came");
    STATUS_SUCCESS
}

/// Has the device interrupt, and leaves the request to the interrupt.
fn interrupt_and_keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    lab.write(edu::IRQ_RAISE, 2);
    STATUS_PENDING
}

/// FlushAdapterBuffers: at most DISPATCH_LEVEL.
fn flush_adapter(lab: &Lab) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe {
        let mdl = ptr::null_mut();
        let va = ptr::null_mut();
        lab.adapter.get().FlushAdapterBuffers(mdl, ptr::null_mut(), va, 16, YES);
    }
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

fn lock_and_unlock(lab: &Lab) {
    // SAFETY: LAB.
    unsafe {
        wdf::WdfInterruptAcquireLock(lab.interrupt.get());
        wdf::WdfInterruptReleaseLock(lab.interrupt.get());
    }
}

fn synchronized(lab: &Lab, body: PFN_WDF_INTERRUPT_SYNCHRONIZE) -> NTSTATUS {
    let context = ptr::from_ref(lab).cast_mut().cast();
    // SAFETY: LAB.
    let result = unsafe { wdf::WdfInterruptSynchronize(lab.interrupt.get(), body, context) };
    lab.check(result == YES, "WdfInterruptSynchronize returns what its callback does");
    STATUS_SUCCESS
}

unsafe extern "C" fn flush_in_lock(_interrupt: WDFINTERRUPT, context: WDFCONTEXT) -> BOOLEAN {
    // SAFETY: LAB: `synchronized` passes the lab.
    flush_adapter(unsafe { &*context.cast::<Lab>() });
    YES
}

unsafe extern "C" fn touch_in_lock(_interrupt: WDFINTERRUPT, context: WDFCONTEXT) -> BOOLEAN {
    // SAFETY: LAB: `synchronized` passes the lab.
    let lab = unsafe { &*context.cast::<Lab>() };
    lab.check(edu::is_edu(lab.read(edu::ID)), "the device is there");
    YES
}

unsafe extern "C" fn no_isr(_interrupt: WDFINTERRUPT, _message: ULONG) -> BOOLEAN {
    NO
}

unsafe extern "C" fn no_dpc(_interrupt: WDFINTERRUPT, _device: WDFOBJECT) {}

/// WdfInterruptCreate with this configuration.
fn create(lab: &Lab, config: &mut WDF_INTERRUPT_CONFIG) -> NTSTATUS {
    let mut interrupt = ptr::null_mut();
    // SAFETY: LAB.
    unsafe {
        wdf::WdfInterruptCreate(lab.device, config, WDF_NO_OBJECT_ATTRIBUTES, &raw mut interrupt)
    }
}

/// After the start: STATUS_INVALID_DEVICE_STATE.
fn create_interrupt_now(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let status = create(lab, &mut interrupt_config(Some(no_isr), None));
    lab.check(status == STATUS_INVALID_DEVICE_STATE, "an interrupt made after the start");
    STATUS_SUCCESS
}

/// In EvtDriverDeviceAdd: no ISR, or both a DPC and a work item: STATUS_INVALID_PARAMETER.
fn impossible_interrupts(lab: &Lab) -> NTSTATUS {
    let status = create(lab, &mut interrupt_config(None, None));
    lab.check(status == STATUS_INVALID_PARAMETER, "an interrupt without an ISR");
    let mut both = interrupt_config(Some(no_isr), Some(no_dpc));
    both.EvtInterruptWorkItem = Some(no_dpc);
    let status = create(lab, &mut both);
    lab.check(status == STATUS_INVALID_PARAMETER, "both a DPC and a work item");
    STATUS_SUCCESS
}

unsafe extern "C" fn no_work(_item: WDFWORKITEM) {}

unsafe extern "C" fn no_request(_queue: WDFQUEUE, _request: WDFREQUEST) {}

/// A work item that is to be serialised with a queue whose callbacks run at DISPATCH_LEVEL.
fn incompatible_levels(lab: &Lab) -> NTSTATUS {
    let mut config = ddk::queue_config(_WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel);
    config.EvtIoDefault = Some(no_request);
    let mut attributes = ddk::attributes();
    attributes.SynchronizationScope = _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue;
    let mut queue = ptr::null_mut();
    let mut work = ptr::null_mut();
    // SAFETY: LAB.
    unsafe {
        let status =
            wdf::WdfIoQueueCreate(lab.device, &raw mut config, &raw mut attributes, &raw mut queue);
        lab.check(NT_SUCCESS(status), "a queue with a scope of its own");
        let mut config = WDF_WORKITEM_CONFIG {
            Size: size::<WDF_WORKITEM_CONFIG>(),
            EvtWorkItemFunc: Some(no_work),
            AutomaticSerialization: YES,
        };
        let mut attributes = ddk::attributes();
        attributes.ParentObject = queue.cast();
        let status = wdf::WdfWorkItemCreate(&raw mut config, &raw mut attributes, &raw mut work);
        lab.check(status == STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL, "levels that do not fit");
    }
    STATUS_SUCCESS
}
