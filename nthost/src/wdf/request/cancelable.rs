//! Cancelable requests (KMDF.md 5.2).

use wdk_lite::*;

use super::{Live, Mark, Place, Request};
use crate::RuleId;
use crate::ddi::callback::Routine;
use crate::io::Cancelled;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// What became of marking a request cancelable.
pub(super) enum Marked {
    Cancelable,
    /// It is cancelled already; nothing was changed.
    Cancelled,
    /// It is on no queue.
    NoQueue,
}

/// Marks a request, unless it is cancelled or its queue is being purged.
pub(super) fn mark(
    kernel: &Kernel,
    live: &Live<'_>,
    routine: Routine,
) -> Result<Marked, Violation> {
    live.owned(RuleId::Kmdf26)?;
    let Some((_, queue)) = live.request.queue(kernel) else { return Ok(Marked::NoQueue) };
    if !routine.is_some() {
        return Err(crate::wdf::object::null_parameter("EvtRequestCancel"));
    }
    let queue = queue.lock();
    let mut state = live.request.lock();
    if state.mark != Mark::None {
        drop((state, queue));
        let message = "a request was marked cancelable that is cancelable already";
        return Err(broken(RuleId::Kmdf26, message));
    }
    if queue.cancels_dispatched || live.irp.cancel.arm() == Err(Cancelled) {
        return Ok(Marked::Cancelled);
    }
    (state.mark, state.cancel) = (Mark::Marked, routine);
    live.irp.step("marked cancelable");
    Ok(Marked::Cancelable)
}

/// WdfRequestMarkCancelable: a request that is cancelled already has its EvtRequestCancel called,
/// now or when its queue's callback under way returns (KMDF.md 4.8).
pub(super) fn mark_or_call(
    kernel: &Kernel,
    live: &Live<'_>,
    routine: Routine,
) -> Result<(), Violation> {
    if !matches!(mark(kernel, live, routine)?, Marked::Cancelled) {
        return Ok(());
    }
    let Some((handle, queue)) = live.request.queue(kernel) else { return Ok(()) };
    {
        let mut queue = queue.lock();
        let mut state = live.request.lock();
        (state.mark, state.cancel) = (Mark::Claimed, routine);
        queue.cancelled_owned.push_back(live.handle);
    }
    live.irp.step("marked cancelable after it was cancelled");
    queue.run_internal(kernel, handle)
}

/// WdfRequestUnmarkCancelable: exactly one of it and a cancel wins.
pub(super) fn unmark(live: &Live<'_>) -> Result<NTSTATUS, Violation> {
    let mut state = live.request.lock();
    if state.queue.is_none() {
        return Ok(STATUS_INVALID_DEVICE_REQUEST);
    }
    if !matches!(state.place, Place::Owned(_)) || state.mark == Mark::None {
        let place = state.place;
        drop(state);
        let what = if matches!(place, Place::Owned(_)) { "not cancelable" } else { "not owned" };
        let message = format!("WdfRequestUnmarkCancelable was called for a request that is {what}");
        return Err(broken(RuleId::Kmdf26, message));
    }
    if live.irp.cancel.disarm() == Err(Cancelled) {
        return Ok(STATUS_CANCELLED);
    }
    (state.mark, state.cancel) = (Mark::None, Routine::default());
    live.irp.step("unmarked");
    Ok(STATUS_SUCCESS)
}

/// WdfRequestIsCanceled: only of a request that is owned and not cancelable (KMDF-30).
pub(super) fn is_cancelled(kernel: &Kernel, live: &Live<'_>) -> Result<bool, Violation> {
    live.owned(RuleId::Kmdf30)?;
    let mark = live.request.lock().mark;
    if mark == Mark::Marked {
        let message = "WdfRequestIsCanceled was called for a cancelable request";
        return Err(broken(RuleId::Kmdf30, message));
    }
    let purged = live.request.queue(kernel).is_some_and(|(_, q)| q.lock().cancels_dispatched);
    Ok(live.irp.cancel.is_requested() || purged)
}

impl Request {
    /// WdfRequestStopAcknowledge (KMDF-33, KMDF-34).
    pub(super) fn acknowledge(
        kernel: &Kernel,
        live: &Live<'_>,
        requeue: bool,
    ) -> Result<(), Violation> {
        use super::Stop;
        let mut state = live.request.lock();
        let message = match (state.stop, state.place, state.mark) {
            (Stop::Calling, Place::Owned(_), Mark::None) => None,
            (Stop::Calling, Place::Owned(_), _) if !requeue => None,
            (Stop::Calling, Place::Owned(_), _) => {
                Some("WdfRequestStopAcknowledge was called with Requeue for a cancelable request")
            }
            _ => Some("WdfRequestStopAcknowledge was called outside EvtIoStop for its request"),
        };
        if let Some(message) = message {
            drop(state);
            return Err(broken(RuleId::Kmdf33, message));
        }
        if requeue && let Err(found) = live.check_released(kernel) {
            drop(state);
            return Err(found);
        }
        state.stop = if requeue { Stop::Return } else { Stop::Keep };
        live.irp.step(if requeue { "stop acknowledged, requeued" } else { "stop acknowledged" });
        Ok(())
    }
}

impl Live<'_> {
    /// KMDF-34: a request that goes back to its queue takes no mapping along.
    fn check_released(&self, kernel: &Kernel) -> Result<(), Violation> {
        let mdls = {
            let body = self.irp.body();
            [body.mdl.0, body.system_mdl.0]
        };
        for mdl in mdls {
            kernel.memory.check_idle(mdl, "the request went back to its queue").map_err(
                |mut found| {
                    (found.rule, found.bug_check) = (RuleId::Kmdf34, None);
                    found
                },
            )?;
        }
        Ok(())
    }
}
