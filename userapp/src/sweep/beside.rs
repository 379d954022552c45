//! What keeps the device busy beside the tested transfers: verified too, to the last byte.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dmaproof_protocol::Limits;

use super::outcome::{Failure, Load, Recorder, Settings};
use super::plan::Case;
use crate::pattern::Family;
use crate::target::Session;
use crate::traffic::{Found, Rough, Traffic, share};

/// How long is waited between two looks at what another thread does.
const MOMENT: Duration = Duration::from_micros(20);

/// The device's memory, divided: what the plan may use, and what the rest may.
pub(super) fn divide(limits: &Limits, load: Load) -> (Limits, Range<u64>) {
    let length = limits.memory_length;
    if load.is_none() {
        return (*limits, length..length);
    }
    let half = length / 2;
    let transfer_length_max = limits.transfer_length_max.min(half);
    (Limits { memory_length: half, transfer_length_max, ..*limits }, half..length)
}

/// The traffic on a thread's handle.
pub(super) fn traffic(
    limits: &Limits,
    rest: &Range<u64>,
    settings: &Settings,
    thread: usize,
) -> Traffic {
    let Load { threads, depth } = settings.load;
    // The first thread's own transfer is one of those under way.
    let lanes = if thread == 0 { depth.saturating_sub(1) } else { depth };
    let part = share(rest, thread, threads.max(1));
    // CAST: threads are few.
    let seed = settings.seed.wrapping_mul(0x1_0001).wrapping_add(1 + thread as u64);
    Traffic::new(limits, &part, lanes, seed, Rough::default())
}

/// A failure beside the case that ran meanwhile.
pub(super) fn failure(found: Found, number: u64) -> Failure {
    let Found { route, direction, range, page_offset, blame, explanation } = found;
    // CAST: a transfer that fitted in memory.
    let length = (range.end - range.start) as usize;
    let case = Case {
        route,
        direction,
        partner: route,
        length,
        page_offset,
        device_offset: range.start,
        family: Family::Plain,
    };
    Failure { number, case, route, direction, blame, explanation }
}

/// What a thread beside the first one does: keeps the device busy until the plan is done.
pub fn accompany(
    session: &mut dyn Session,
    settings: &Settings,
    recorder: &Recorder,
    thread: usize,
) {
    let crew = &recorder.1;
    while !crew.begun.load(Ordering::Acquire) && !crew.done.load(Ordering::Acquire) {
        session.pause(MOMENT);
    }
    if let Some(limits) = session.query().ok().and_then(|reply| reply.limits().ok()) {
        let (_, rest) = divide(&limits, settings.load);
        let mut traffic = traffic(&limits, &rest, settings, thread);
        let ends =
            || crew.done.load(Ordering::Acquire) || settings.interrupted.load(Ordering::Relaxed);
        while !ends() && !traffic.is_empty() {
            keep(recorder, traffic.step(session));
        }
        finish(session, settings, recorder, &mut traffic);
    }
    crew.idle.fetch_add(1, Ordering::AcqRel);
}

/// Waits for a traffic's transfers and verifies what the device holds. If the user interrupts the
/// run they are cancelled, and nothing is read back.
pub(super) fn finish(
    session: &mut dyn Session,
    settings: &Settings,
    recorder: &Recorder,
    traffic: &mut Traffic,
) {
    let interrupted = settings.interrupted.load(Ordering::Relaxed);
    if interrupted {
        traffic.cancel();
    }
    let found = traffic.settle(session);
    let found = found.or_else(|| if interrupted { None } else { traffic.verify(session) });
    keep(recorder, found);
    let tally = traffic.tally();
    recorder.update(|outcome| {
        outcome.transfers += tally.asked;
        outcome.bytes += tally.bytes;
        crate::traffic::add_counts(&mut outcome.beside, &tally.expected);
    });
}

/// Keeps what is wrong.
pub(super) fn keep(recorder: &Recorder, found: Option<Found>) {
    let Some(found) = found else { return };
    recorder.update(|outcome| {
        let failure = failure(found, outcome.done);
        if let Some(ledger) = &mut outcome.ledger {
            let case = &failure.case;
            ledger.count(failure.route, failure.direction, case.length, case.page_offset, false);
        }
        outcome.keep(failure);
    });
}

/// Ends the other threads, and waits for them.
pub(super) fn dismiss(session: &mut dyn Session, settings: &Settings, recorder: &Recorder) {
    let crew = &recorder.1;
    crew.done.store(true, Ordering::Release);
    while crew.idle.load(Ordering::Acquire) + 1 < settings.load.threads {
        session.pause(MOMENT);
    }
}
