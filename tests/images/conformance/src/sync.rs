//! Levels, spin locks, DPCs, events, waits.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdk_lite::*;

use crate::check::Checks;

const DISPATCH: KIRQL = DISPATCH_LEVEL as KIRQL;

fn level() -> u64 {
    // SAFETY: callable at any level.
    unsafe { ntddk::KeGetCurrentIrql() }.into()
}

/// Raises the level; the old one.
fn raise() -> KIRQL {
    // SAFETY: a dispatch routine runs at PASSIVE_LEVEL, or this raises from DISPATCH_LEVEL to the
    // same.
    unsafe { ntddk::KfRaiseIrql(DISPATCH) }
}

fn lower(old: KIRQL) {
    // SAFETY: what the matching raise returned.
    unsafe { ntddk::KeLowerIrql(old) };
}

/// A dispatch routine runs at PASSIVE_LEVEL; raising returns the old level, lowering restores it.
pub(crate) fn levels(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    checks.same(level(), PASSIVE_LEVEL.into());
    let old = raise();
    checks.same(old.into(), PASSIVE_LEVEL.into());
    checks.same(level(), DISPATCH_LEVEL.into());
    let again = raise();
    checks.same(again.into(), DISPATCH_LEVEL.into());
    lower(again);
    checks.same(level(), DISPATCH_LEVEL.into());
    lower(old);
    checks.same(level(), PASSIVE_LEVEL.into());
}

/// The lock's holder is at DISPATCH_LEVEL; releasing returns to the level of before.
pub(crate) fn spin_lock(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a lock that nobody else uses.
    let old = unsafe { ntddk::KeAcquireSpinLockRaiseToDpc(&mut lock) };
    checks.same(old.into(), PASSIVE_LEVEL.into());
    checks.same(level(), DISPATCH_LEVEL.into());
    // SAFETY: held.
    unsafe { ntddk::KeReleaseSpinLock(&mut lock, old) };
    checks.same(level(), PASSIVE_LEVEL.into());
    let old = raise();
    // SAFETY: at DISPATCH_LEVEL.
    unsafe { ntddk::KeAcquireSpinLockAtDpcLevel(&mut lock) };
    checks.same(level(), DISPATCH_LEVEL.into());
    // SAFETY: held.
    unsafe { ntddk::KeReleaseSpinLockFromDpcLevel(&mut lock) };
    checks.same(level(), DISPATCH_LEVEL.into());
    lower(old);
}

/// What the DPC of [`dpc`] saw.
struct Seen {
    runs: AtomicU32,
    level: AtomicU32,
    arguments: AtomicU64,
}

unsafe extern "C" fn routine(_dpc: PKDPC, context: PVOID, first: PVOID, second: PVOID) {
    // SAFETY: the variable of `dpc`, which waits until this has run.
    let seen = unsafe { &*context.cast::<Seen>() };
    seen.runs.fetch_add(1, Ordering::AcqRel);
    // CAST: a level; addresses as the numbers that they are here.
    seen.level.store(level() as u32, Ordering::Release);
    seen.arguments.store((first.addr() as u64) << 8 | second.addr() as u64, Ordering::Release);
}

/// A DPC that is queued is not queued again, keeps its first arguments, and runs at
/// DISPATCH_LEVEL.
pub(crate) fn dpc(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    let seen = Seen {
        runs: AtomicU32::new(0),
        level: AtomicU32::new(u32::MAX),
        arguments: AtomicU64::new(0),
    };
    let mut dpc = KDPC::default();
    let context = ptr::from_ref(&seen).cast_mut().cast();
    // SAFETY: variables of this routine, which waits below.
    unsafe { ntddk::KeInitializeDpc(&mut dpc, Some(routine), context) };
    let argument = |number: usize| ptr::without_provenance_mut::<c_void>(number);
    // While this processor is at DISPATCH_LEVEL, a DPC queued on it does not run.
    let old = raise();
    // SAFETY: initialised.
    let first = unsafe { ntddk::KeInsertQueueDpc(&mut dpc, argument(1), argument(2)) };
    checks.same(first.into(), TRUE.into());
    // SAFETY: as above.
    let second = unsafe { ntddk::KeInsertQueueDpc(&mut dpc, argument(3), argument(4)) };
    checks.same(second.into(), FALSE.into());
    checks.same(seen.runs.load(Ordering::Acquire).into(), 0);
    lower(old);
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { ntddk::KeFlushQueuedDpcs() };
    checks.same(seen.runs.load(Ordering::Acquire).into(), 1);
    checks.same(seen.level.load(Ordering::Acquire).into(), DISPATCH_LEVEL.into());
    checks.same(seen.arguments.load(Ordering::Acquire), 1 << 8 | 2);
}

fn event(kind: EVENT_TYPE, set: bool) -> KEVENT {
    let mut event = KEVENT::default();
    // SAFETY: a variable that nobody waits for yet.
    unsafe { ntddk::KeInitializeEvent(&mut event, kind, set.into()) };
    event
}

/// Sets an event; whether it was set before.
fn set(event: &mut KEVENT) -> bool {
    // SAFETY: a valid event; FALSE: no wait follows.
    unsafe { ntddk::KeSetEvent(event, 0, FALSE as BOOLEAN) != 0 }
}

/// Waits for an event at most this long, in units of 100 ns.
fn wait(event: &mut KEVENT, units: i64) -> NTSTATUS {
    let mut due = LARGE_INTEGER { QuadPart: -units };
    let object: *mut KEVENT = event;
    // SAFETY: a valid event, at PASSIVE_LEVEL.
    unsafe {
        ntddk::KeWaitForSingleObject(
            object.cast(),
            _KWAIT_REASON::Executive,
            _MODE::KernelMode as KPROCESSOR_MODE,
            FALSE as BOOLEAN,
            &mut due,
        )
    }
}

/// A notification event stays set through waits, until it is cleared.
pub(crate) fn notification(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    let mut event = event(_EVENT_TYPE::NotificationEvent, false);
    checks.status(wait(&mut event, 0), STATUS_TIMEOUT);
    checks.holds(!set(&mut event));
    checks.holds(set(&mut event));
    checks.status(wait(&mut event, 0), STATUS_SUCCESS);
    checks.status(wait(&mut event, 0), STATUS_SUCCESS);
    // SAFETY: a valid event.
    unsafe { ntddk::KeClearEvent(&mut event) };
    checks.status(wait(&mut event, 0), STATUS_TIMEOUT);
}

/// A synchronization event is reset by the wait that it satisfies.
pub(crate) fn synchronization(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    let mut event = event(_EVENT_TYPE::SynchronizationEvent, true);
    checks.status(wait(&mut event, 0), STATUS_SUCCESS);
    checks.status(wait(&mut event, 0), STATUS_TIMEOUT);
    checks.holds(!set(&mut event));
    checks.status(wait(&mut event, 0), STATUS_SUCCESS);
    checks.holds(!set(&mut event));
}

/// A zero time-out: the state is looked at, and nobody waits, so it may be done at DISPATCH_LEVEL.
pub(crate) fn no_time(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    let mut event = event(_EVENT_TYPE::NotificationEvent, false);
    let old = raise();
    checks.status(wait(&mut event, 0), STATUS_TIMEOUT);
    set(&mut event);
    checks.status(wait(&mut event, 0), STATUS_SUCCESS);
    checks.same(level(), DISPATCH_LEVEL.into());
    lower(old);
}

/// A delay lasts at least its time, by the clock that counts in units of 100 ns. Timers may end up
/// to a tick early, but this routine counts from within the tick since Windows 8 (kernel,
/// timer-accuracy).
pub(crate) fn delay(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    const UNITS: i64 = 20_000;
    let now = || {
        let mut counter = 0;
        // SAFETY: a variable for the counter.
        unsafe { ntddk::KeQueryInterruptTimePrecise(&mut counter) }
    };
    let start = now();
    let mut due = LARGE_INTEGER { QuadPart: -UNITS };
    // SAFETY: at PASSIVE_LEVEL.
    let status = unsafe {
        ntddk::KeDelayExecutionThread(
            _MODE::KernelMode as KPROCESSOR_MODE,
            FALSE as BOOLEAN,
            &mut due,
        )
    };
    checks.status(status, STATUS_SUCCESS);
    // CAST: positive.
    checks.holds(now().wrapping_sub(start) >= UNITS as u64);
}
