//! The executive functions a driver calls: levels, spin locks, events, waits, DPCs, time.

// UNSAFETY: the objects are the driver's memory, reached through its pointers.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::sync::atomic::{AtomicU64, Ordering};

use wdk_lite::*;

use super::clock::Deferred;
use super::executor::Wait;
use super::{DISPATCH, Kernel, context};
use crate::RuleId;
use crate::ddi::callback::{self, Routine};
use crate::verifier::{Violation, broken};

/// Words of an initialised event and DPC, so that garbage is recognised.
const EVENT: u64 = 0x4556_454E_5400;
const DPC: u64 = 0x4450_4300_0000;

pub(crate) unsafe fn KeGetCurrentIrql(kernel: &Kernel) -> Result<KIRQL, Violation> {
    Ok(kernel.irql())
}

/// Raises the level; never below the current one (0xC4/0x30).
pub(crate) unsafe fn KfRaiseIrql(kernel: &Kernel, NewIrql: KIRQL) -> Result<KIRQL, Violation> {
    let old = kernel.irql();
    if NewIrql < old {
        let message = format!("KfRaiseIrql to {NewIrql} at IRQL {old}, which is above");
        return Err(
            broken(RuleId::Sim09, message).code(0xC4, [0x30, old.into(), NewIrql.into(), 0])
        );
    }
    kernel.processor().set_irql(NewIrql);
    Ok(old)
}

/// Lowers the level; never above the current one (0xC4/0x31).
pub(crate) unsafe fn KeLowerIrql(kernel: &Kernel, NewIrql: KIRQL) -> Result<(), Violation> {
    let old = kernel.irql();
    if NewIrql > old {
        let message = format!("KeLowerIrql to {NewIrql} at IRQL {old}, which is below");
        return Err(
            broken(RuleId::Sim09, message).code(0xC4, [0x31, old.into(), NewIrql.into(), 0])
        );
    }
    kernel.processor().set_irql(NewIrql);
    Ok(())
}

pub(crate) unsafe fn KeInitializeSpinLock(
    _kernel: &Kernel,
    SpinLock: PKSPIN_LOCK,
) -> Result<(), Violation> {
    // SAFETY: the driver's lock, not yet in use.
    unsafe { SpinLock.write(0) };
    Ok(())
}

/// This thread's mark in a lock: never zero.
fn mark() -> u64 {
    context::with(|c| c.thread.get() as u64 + 1)
}

/// `what` is held by somebody who cannot release it any more (SIM-08).
pub(crate) fn cannot_release(what: &str) -> Violation {
    broken(RuleId::Sim08, format!("{what} is held by an activity that cannot go on to release it"))
}

impl Kernel {
    /// Spins until the lock word is this thread's. A thread that already has it would spin for
    /// ever (SIM-08).
    pub(crate) fn spin_acquire(&self, word: &AtomicU64) -> Result<(), Violation> {
        let mine = mark();
        if word.load(Ordering::Relaxed) == mine {
            let message = "a spin lock is acquired by the thread that holds it".to_owned();
            return Err(broken(RuleId::Sim08, message).code(0xC4, [0x1000, 0, 0, 0]));
        }
        let take = || word.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !self.spin(take) {
            return Err(cannot_release("a spin lock"));
        }
        context::with(|c| c.locks.set(c.locks.get() + 1));
        Ok(())
    }

    /// Releases a lock word that this thread holds (0xC4/0x10D: released by another).
    pub(crate) fn spin_release(&self, word: &AtomicU64) -> Result<(), Violation> {
        if word.compare_exchange(mark(), 0, Ordering::Release, Ordering::Relaxed).is_err() {
            let message = "a spin lock is released by a thread that does not hold it".to_owned();
            return Err(broken(RuleId::Sim08, message).code(0x10D, [0xB, 0, 0, 0]));
        }
        context::with(|c| c.locks.set(c.locks.get().saturating_sub(1)));
        Ok(())
    }
}

/// The lock word at the driver's pointer.
///
/// # Safety
/// `lock` points to a live, aligned lock word for the duration of the call.
unsafe fn word<'l>(lock: PKSPIN_LOCK) -> &'l AtomicU64 {
    // SAFETY: the caller vouches for the pointer; the word is only accessed atomically.
    unsafe { AtomicU64::from_ptr(lock) }
}

pub(crate) unsafe fn KeAcquireSpinLockRaiseToDpc(
    kernel: &Kernel,
    SpinLock: PKSPIN_LOCK,
) -> Result<KIRQL, Violation> {
    let old = kernel.processor().set_irql(DISPATCH);
    // SAFETY: the driver's lock.
    kernel.spin_acquire(unsafe { word(SpinLock) })?;
    Ok(old)
}

pub(crate) unsafe fn KeReleaseSpinLock(
    kernel: &Kernel,
    SpinLock: PKSPIN_LOCK,
    NewIrql: KIRQL,
) -> Result<(), Violation> {
    // SAFETY: the driver's lock.
    kernel.spin_release(unsafe { word(SpinLock) })?;
    // SAFETY: no pointers involved.
    unsafe { KeLowerIrql(kernel, NewIrql) }
}

pub(crate) unsafe fn KeAcquireSpinLockAtDpcLevel(
    kernel: &Kernel,
    SpinLock: PKSPIN_LOCK,
) -> Result<(), Violation> {
    if kernel.irql() < DISPATCH {
        let message = "KeAcquireSpinLockAtDpcLevel was called below DISPATCH_LEVEL".to_owned();
        return Err(broken(RuleId::Sim08, message).code(0xC4, [0x40, kernel.irql().into(), 0, 0]));
    }
    // SAFETY: the driver's lock.
    kernel.spin_acquire(unsafe { word(SpinLock) })
}

pub(crate) unsafe fn KeReleaseSpinLockFromDpcLevel(
    kernel: &Kernel,
    SpinLock: PKSPIN_LOCK,
) -> Result<(), Violation> {
    // SAFETY: the driver's lock.
    kernel.spin_release(unsafe { word(SpinLock) })
}

/// The words of an event: signature and type, signalled.
///
/// # Safety
/// `event` points to a live event object.
unsafe fn event_words<'e>(event: PRKEVENT) -> (&'e AtomicU64, &'e AtomicU64) {
    let words: *mut u64 = event.cast();
    // SAFETY: an event is three aligned words; accessed atomically only.
    let kind = unsafe { AtomicU64::from_ptr(words) };
    // SAFETY: the second of three words.
    let next = unsafe { words.add(1) };
    // SAFETY: as above.
    (kind, unsafe { AtomicU64::from_ptr(next) })
}

/// The event's words, if it is one.
///
/// # Safety
/// `event` points to at least two readable words.
unsafe fn valid_event<'e>(event: PRKEVENT) -> Result<(&'e AtomicU64, &'e AtomicU64), Violation> {
    // SAFETY: the caller's promise.
    let (kind, signal) = unsafe { event_words(event) };
    if kind.load(Ordering::Relaxed) & !0xFF != EVENT {
        let message = "the object is not an initialised event".to_owned();
        return Err(broken(RuleId::Sim11, message));
    }
    Ok((kind, signal))
}

pub(crate) unsafe fn KeInitializeEvent(
    _kernel: &Kernel,
    Event: PRKEVENT,
    Type: EVENT_TYPE,
    State: BOOLEAN,
) -> Result<(), Violation> {
    // SAFETY: the driver's event.
    let (kind, signal) = unsafe { event_words(Event) };
    // CAST: 0 or 1.
    kind.store(EVENT | (Type as u64 & 1), Ordering::Relaxed);
    signal.store(u64::from(State != 0), Ordering::Release);
    Ok(())
}

pub(crate) unsafe fn KeClearEvent(_kernel: &Kernel, Event: PRKEVENT) -> Result<(), Violation> {
    // SAFETY: the driver's event.
    let (_, signal) = unsafe { valid_event(Event) }?;
    signal.store(0, Ordering::Release);
    Ok(())
}

pub(crate) unsafe fn KeSetEvent(
    kernel: &Kernel,
    Event: PRKEVENT,
    _Increment: KPRIORITY,
    _Wait: BOOLEAN,
) -> Result<LONG, Violation> {
    // SAFETY: the driver's event.
    let (_, signal) = unsafe { valid_event(Event) }?;
    let before = signal.swap(1, Ordering::AcqRel);
    kernel.poke();
    // CAST: 0 or 1.
    Ok(before as LONG)
}

/// The deadline of a time-out in 100 ns units: negative is relative, positive absolute.
pub(crate) fn deadline(kernel: &Kernel, units: i64) -> u64 {
    let span = units.unsigned_abs().saturating_mul(100);
    if units < 0 { kernel.clock.now().saturating_add(span) } else { span }
}

/// Waits for an event. Above APC_LEVEL only a zero time-out is allowed (SIM-09).
pub(crate) unsafe fn KeWaitForSingleObject(
    kernel: &Kernel,
    Object: PVOID,
    _WaitReason: KWAIT_REASON,
    _WaitMode: KPROCESSOR_MODE,
    _Alertable: BOOLEAN,
    Timeout: PLARGE_INTEGER,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's event.
    let (kind, signal) = unsafe { valid_event(Object.cast()) }?;
    let synchronisation = kind.load(Ordering::Relaxed) & 1 == 1;
    let take = || match synchronisation {
        true => signal.swap(0, Ordering::AcqRel) != 0,
        false => signal.load(Ordering::Acquire) != 0,
    };
    // SAFETY: NULL or the driver's time-out.
    let timeout = unsafe { Timeout.as_ref() };
    // SAFETY: both views are integers.
    let timeout = timeout.map(|t| unsafe { t.QuadPart });
    if timeout == Some(0) {
        return Ok(if take() { STATUS_SUCCESS } else { STATUS_TIMEOUT });
    }
    blocking(kernel, "KeWaitForSingleObject")?;
    match kernel.wait(timeout.map(|units| deadline(kernel, units)), take) {
        Wait::Satisfied => Ok(STATUS_SUCCESS),
        Wait::TimedOut => Ok(STATUS_TIMEOUT),
        Wait::Never => Err(broken(
            RuleId::Sim09,
            "KeWaitForSingleObject waits for an event that nothing can set".to_owned(),
        )),
    }
}

/// A wait that may block, at `name`.
pub(crate) fn blocking(kernel: &Kernel, name: &str) -> Result<(), Violation> {
    let irql = kernel.irql();
    if irql >= DISPATCH {
        let message = format!("{name} blocks at IRQL {irql}");
        return Err(broken(RuleId::Sim09, message).code(0xC4, [0x121, irql.into(), 0, 0]));
    }
    if context::with(|c| c.callback.get()).starts_with("PFN_WDF_IO_QUEUE_IO_") {
        let message =
            format!("{name} blocks in an I/O handler, which runs in any thread's context");
        return Err(broken(RuleId::Kmdf35, message));
    }
    if context::with(|c| c.locks.get()) != 0 {
        let message = format!("{name} blocks while a spin lock is held");
        return Err(broken(RuleId::Sim09, message));
    }
    Ok(())
}

pub(crate) unsafe fn KeDelayExecutionThread(
    kernel: &Kernel,
    _WaitMode: KPROCESSOR_MODE,
    _Alertable: BOOLEAN,
    Interval: PLARGE_INTEGER,
) -> Result<NTSTATUS, Violation> {
    blocking(kernel, "KeDelayExecutionThread")?;
    // SAFETY: the driver's interval.
    let interval = unsafe { *Interval };
    // SAFETY: both views are integers.
    let due = deadline(kernel, unsafe { interval.QuadPart });
    kernel.wait(Some(due), || false);
    Ok(STATUS_SUCCESS)
}

pub(crate) unsafe fn KeStallExecutionProcessor(
    kernel: &Kernel,
    MicroSeconds: ULONG,
) -> Result<(), Violation> {
    kernel.clock.pass(u64::from(MicroSeconds) * 1000);
    Ok(())
}

/// Processors of a group, at most.
const GROUP: usize = 64;

/// The number of the processor that the caller runs on (wdm, KeGetCurrentProcessorNumberEx).
pub(crate) unsafe fn KeGetCurrentProcessorNumberEx(
    _kernel: &Kernel,
    ProcNumber: PPROCESSOR_NUMBER,
) -> Result<ULONG, Violation> {
    let index = context::with(|c| c.processor.get());
    if !ProcNumber.is_null() {
        // CAST: a few processors.
        let number = PROCESSOR_NUMBER {
            Group: (index / GROUP) as USHORT,
            Number: (index % GROUP) as UCHAR,
            Reserved: 0,
        };
        // SAFETY: the driver's variable, not NULL.
        unsafe { ProcNumber.write(number) };
    }
    // CAST: a few processors.
    Ok(index as ULONG)
}

/// How many processors of a group, or of all, are active (wdm, KeQueryActiveProcessorCountEx): all
/// that the machine has.
pub(crate) unsafe fn KeQueryActiveProcessorCountEx(
    kernel: &Kernel,
    GroupNumber: USHORT,
) -> Result<ULONG, Violation> {
    let all = kernel.processors.len();
    let count = match u32::from(GroupNumber) {
        ALL_PROCESSOR_GROUPS => all,
        // CAST: 16 bits.
        group => all.saturating_sub(group as usize * GROUP).min(GROUP),
    };
    // CAST: a few processors.
    Ok(count as ULONG)
}

/// Nanoseconds that reading the time takes, so that a loop on it ends.
const TIME_NS: u64 = 50;

/// Interrupt time in 100 ns units; the performance counter counts nanoseconds here.
pub(crate) unsafe fn KeQueryInterruptTimePrecise(
    kernel: &Kernel,
    QpcTimeStamp: PULONG64,
) -> Result<ULONG64, Violation> {
    kernel.clock.pass(TIME_NS);
    let now = kernel.clock.now();
    // SAFETY: the driver's variable.
    unsafe { QpcTimeStamp.write(now) };
    Ok(now / 100)
}

/// The words of a DPC object.
///
/// # Safety
/// `dpc` points to a live DPC object.
unsafe fn dpc_words<'d>(dpc: PRKDPC) -> &'d [AtomicU64; 8] {
    // SAFETY: a DPC object is eight aligned words, accessed atomically only.
    unsafe { &*dpc.cast::<[AtomicU64; 8]>() }
}

pub(crate) unsafe fn KeInitializeDpc(
    _kernel: &Kernel,
    Dpc: PRKDPC,
    DeferredRoutine: PKDEFERRED_ROUTINE,
    DeferredContext: PVOID,
) -> Result<(), Violation> {
    // SAFETY: the driver's object.
    let words = unsafe { dpc_words(Dpc) };
    words[0].store(DPC, Ordering::Relaxed);
    words[1].store(callback::routine(DeferredRoutine).address() as u64, Ordering::Relaxed);
    words[2].store(DeferredContext.expose_provenance() as u64, Ordering::Relaxed);
    words[5].store(0, Ordering::Release);
    Ok(())
}

pub(crate) unsafe fn KeInsertQueueDpc(
    kernel: &Kernel,
    Dpc: PRKDPC,
    SystemArgument1: PVOID,
    SystemArgument2: PVOID,
) -> Result<BOOLEAN, Violation> {
    // SAFETY: the driver's object.
    let words = unsafe { dpc_words(Dpc) };
    if words[0].load(Ordering::Relaxed) != DPC {
        return Err(broken(RuleId::Sim11, "the object is not an initialised DPC".to_owned()));
    }
    if words[5].swap(1, Ordering::AcqRel) != 0 {
        return Ok(0);
    }
    words[3].store(SystemArgument1.expose_provenance() as u64, Ordering::Relaxed);
    words[4].store(SystemArgument2.expose_provenance() as u64, Ordering::Relaxed);
    kernel.queue_dpc(Deferred { run: run_dpc, argument: Dpc.expose_provenance() });
    Ok(1)
}

/// Waits until every DPC that is queued has run, on whichever processor (wdm, KeFlushQueuedDpcs).
pub(crate) unsafe fn KeFlushQueuedDpcs(kernel: &Kernel) -> Result<(), Violation> {
    kernel.flush_dpcs();
    Ok(())
}

fn run_dpc(kernel: &Kernel, argument: usize) {
    let dpc: PRKDPC = std::ptr::with_exposed_provenance_mut(argument);
    // SAFETY: queued by `KeInsertQueueDpc`; the driver keeps it while it is queued.
    let words = unsafe { dpc_words(dpc) };
    let word = |index: usize| {
        // CAST: addresses of a 64-bit machine.
        std::ptr::with_exposed_provenance_mut(words[index].load(Ordering::Relaxed) as usize)
    };
    let routine = Routine::at(words[1].load(Ordering::Relaxed) as usize);
    let (context, first, second) = (word(2), word(3), word(4));
    words[5].store(0, Ordering::Release);
    // SAFETY: the routine the driver gave to `KeInitializeDpc`, with its arguments.
    unsafe { callback::KDEFERRED_ROUTINE(kernel, routine, dpc, context, first, second) };
}
