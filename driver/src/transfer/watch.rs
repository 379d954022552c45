//! Looking after runs: which have ended, which are late, and what then.
//!
//! A run that is late times its request out and is stopped, where the device can be told to; what is
//! behind it in its queue has only waited for it, and gets its time anew. Late once more, the device
//! is reset, where it can be, and the runs of others begin again. A device that cannot, or does not,
//! is failed in the end; its requests stay until it stops or goes.

use wdk_dma::irql::{AtMostDispatch, Dispatch};

use super::pump::Held;
use super::state::{Finish, State};
use crate::device::DeviceContext;
use crate::engine::{Batch, EngineState, Seen};
use crate::sync::Guard;
use crate::sys::{_WDF_DEVICE_FAILED_ACTION, call_unsafe_wdf_function_binding, ntddk};
use crate::trace::{Event, trace};

/// Time the device gets for one piece; edu takes 100 ms. In units of 100 ns.
const WATCHDOG: u64 = 250 * 10_000;

/// How long a run may take before an expired watchdog means it. A little less than the watchdog's
/// time, since timers and the clock do not tick together.
const LATE: u64 = 240 * 10_000;

/// Time between two looks whether a reset is over: 1 ms.
const RESET_LOOK: u64 = 10_000;

/// After so many looks the reset counts as ignored.
const RESET_LOOKS_MAX: u32 = 250;

/// Late so often, a run is beyond being stopped: the device is reset.
const EXPIRATIONS_RESET: u32 = 2;

/// Late so often, a run shows that the device has failed.
const EXPIRATIONS_MAX: u32 = 4;

/// So many resets without a run that ends by itself show the same.
const RESETS_MAX: u32 = 4;

/// When a run that starts now is late.
pub(crate) fn deadline() -> u64 {
    interrupt_time().saturating_add(LATE)
}

/// Looks which runs have ended, and after what is late.
pub(crate) fn look<'a>(context: &'a DeviceContext, mask: u32, dispatch: &Dispatch) -> Held<'a> {
    let (seen, mut state) = collect_held(context, mask, dispatch);
    let next = {
        if seen == Seen::Running && state.engine.abilities.resettable && !state.engine.expired {
            context.statistics.interrupts_spurious.increment();
        }
        match seen {
            Seen::Idle => state.runs_ended(Finish::Done),
            Seen::Gone => state.runs_ended(Finish::Gone),
            Seen::Broken => state.engine.broken = true,
            Seen::More | Seen::Some | Seen::Running => {}
        }
        decide(&mut state)
    };
    if seen == Seen::Gone {
        trace(Event::DeviceGone);
    }
    if matches!(next, Next::Nothing) && !state.wants_watchdog() {
        return Some(state);
    }
    drop(state);
    match next {
        Next::Nothing => {}
        Next::Reset => begin_reset(context, dispatch),
        Next::AwaitReset => await_reset(context, dispatch),
        Next::Fail => fail_device(context, dispatch),
    }
    arm(context, dispatch);
    None
}

/// Takes note of every run that has ended.
pub(crate) fn collect(context: &DeviceContext, mask: u32, dispatch: &Dispatch) -> Seen {
    collect_held(context, mask, dispatch).0
}

/// The same; the state is held afterwards.
fn collect_held<'a>(
    context: &'a DeviceContext,
    mask: u32,
    dispatch: &Dispatch,
) -> (Seen, Guard<'a, State>) {
    let memory = context.hardware().shared.as_ref();
    let statistics = &context.statistics;
    loop {
        let mut batch = Batch::new();
        let seen = context.registers.look(memory, mask, &mut batch, dispatch);
        let mut state = context.state.lock(dispatch);
        for ended in batch.iter() {
            if !state.run_ended(ended) {
                statistics.completions_unknown.increment();
            } else if state.engine.expired {
                statistics.interrupts_lost.increment();
            }
        }
        if seen == Seen::Idle && state.engine.expired && state.engine.running != 0 {
            statistics.interrupts_lost.increment();
        }
        if seen != Seen::More {
            return (seen, state);
        }
    }
}

/// What to do about the engine.
enum Next {
    Nothing,
    Reset,
    AwaitReset,
    Fail,
}

fn decide(state: &mut State) -> Next {
    let expired = core::mem::take(&mut state.engine.expired);
    if state.engine.resetting.is_some() {
        return if expired { Next::AwaitReset } else { Next::Nothing };
    }
    let mut worst = 0;
    if expired {
        let now = interrupt_time();
        worst = state.expire(now, now.saturating_add(LATE));
        if worst != 0 {
            trace(Event::PieceLate);
        }
    }
    let can = state.engine.abilities.resettable;
    let reset = can && (worst >= EXPIRATIONS_RESET || state.engine.broken);
    let hopeless = worst >= EXPIRATIONS_MAX || (reset && state.engine.resets >= RESETS_MAX);
    if hopeless {
        return if state.fail() { Next::Fail } else { Next::Nothing };
    }
    if reset { Next::Reset } else { Next::Nothing }
}

/// Begins a reset. What had ended before has been collected; what has not begins again.
fn begin_reset(context: &DeviceContext, dispatch: &Dispatch) {
    trace(Event::DeviceReset);
    context.statistics.resets.increment();
    {
        let mut state = context.state.lock(dispatch);
        state.engine.resetting = Some(0);
        state.engine.resets = state.engine.resets.saturating_add(1);
    }
    context.registers.calm();
}

/// Looks whether a reset is over.
fn await_reset(context: &DeviceContext, dispatch: &Dispatch) {
    let engine = context.registers.state();
    if engine == EngineState::Idle {
        context.registers.set_up(context.hardware().shared.as_ref());
    }
    let fail = {
        let mut state = context.state.lock(dispatch);
        let looks = state.engine.resetting.unwrap_or(0).saturating_add(1);
        match engine {
            EngineState::Idle => state.reset_ended(Finish::Undone),
            EngineState::Gone => state.reset_ended(Finish::Gone),
            EngineState::Running => state.engine.resetting = Some(looks),
        }
        let ignored = engine == EngineState::Running && looks >= RESET_LOOKS_MAX;
        ignored && state.fail()
    };
    if fail {
        fail_device(context, dispatch);
    }
}

impl State {
    /// Notes that the device has failed; `false` if it had before. The system is told once.
    pub(crate) fn fail(&mut self) -> bool {
        !core::mem::replace(&mut self.failed, true)
    }

    /// Has the device reset; `false` if it cannot be.
    pub(crate) fn ask_reset(&mut self) -> bool {
        let can = self.engine.abilities.resettable && self.present;
        if can {
            self.engine.broken = true;
            self.engine.resets = 0;
            self.engine.check = u32::MAX;
        }
        can
    }

    /// A reset is over, or given up: no run is under way any more.
    pub(crate) fn reset_ended(&mut self, finish: Finish) {
        self.engine.resetting = None;
        self.engine.broken = false;
        self.runs_ended(finish);
    }

    /// Whether the watchdog has to be set.
    fn wants_watchdog(&self) -> bool {
        let resetting = self.engine.resetting.is_some();
        let idle = self.engine.running == 0 && !resetting;
        let set = self.engine.armed && !resetting;
        !(set || idle) && self.powered
    }

    /// When the watchdog has to look next, in units of 100 ns from now.
    fn next_look(&mut self) -> Option<u64> {
        if let Some(looks) = self.engine.resetting {
            return (looks < RESET_LOOKS_MAX).then_some(RESET_LOOK);
        }
        let first = self.first_deadline()?;
        let rest = first.saturating_sub(interrupt_time());
        Some(rest.saturating_add(WATCHDOG.saturating_sub(LATE)))
    }
}

/// Sets the watchdog for the first run that can be late, unless it is set already. IRQL: at most
/// DISPATCH_LEVEL.
pub(crate) fn arm(context: &DeviceContext, level: &impl AtMostDispatch) {
    let due = {
        let mut state = context.state.lock(level);
        if !state.wants_watchdog() {
            return;
        }
        let due = state.next_look();
        state.engine.armed = due.is_some();
        due
    };
    let Some(due) = due.and_then(|due| i64::try_from(due).ok()) else { return };
    // SAFETY: the device's live timer; a negative time is relative.
    let _was_queued = unsafe {
        call_unsafe_wdf_function_binding!(WdfTimerStart, context.watchdog(), due.saturating_neg())
    };
}

/// Stops a slot's run, where the device can be told to. It is looked at right afterwards.
pub(crate) fn stop(context: &DeviceContext, slot: usize, tag: u32, dispatch: &Dispatch) {
    // A run that the device has not been told of cannot be stopped there.
    context.registers.ring(context.hardware().shared.as_ref(), dispatch);
    context.registers.stop(context.processor(slot), tag);
    context.statistics.aborts.increment();
    context.state.lock(dispatch).engine.check = u32::MAX;
}

/// The machine's time since start, in units of 100 ns. Any IRQL.
pub(crate) fn interrupt_time() -> u64 {
    let mut counter = 0;
    // SAFETY: callable at any level; the counter is ours.
    unsafe { ntddk::KeQueryInterruptTimePrecise(&mut counter) }
}

/// Tells the system that the device has failed for good; it will be removed. IRQL: at most
/// DISPATCH_LEVEL.
pub(crate) fn fail_device(context: &DeviceContext, _level: &impl AtMostDispatch) {
    trace(Event::DeviceFailed);
    // SAFETY: a live device; any level up to DISPATCH_LEVEL; the call only sends for a removal.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDeviceSetFailed,
            context.device(),
            _WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedNoRestart
        );
    }
}
