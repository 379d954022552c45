//! What a soak has found out so far, for whoever looks while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dmaproof_protocol::Statistics;
use serde::Serialize;

use crate::describe::count;
use crate::explain::Explanation;
use crate::notes;
use crate::provoked::{self, Provoked};
use crate::target::{Disturbance, Ended, Note, NtStatus, TargetError};
use crate::traffic::{Found, Tally};

/// After so many rounds the allocator has what it needs for good.
const SETTLED_AFTER: u64 = 100;
/// How many troubles are kept.
const TROUBLES_KEPT: usize = 16;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What, in a sentence.
    pub text: String,
    /// What the data looks like, if it is about data.
    pub explanation: Option<Explanation>,
}

/// Counts a soak's progress. All threads share it.
#[derive(Debug)]
pub struct Meter {
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rounds: u64,
    /// Rounds that are over.
    past: Tally,
    /// The threads of the round that runs.
    now: Vec<Tally>,
    disturbances: [u64; Disturbance::ALL.len()],
    troubles: Vec<Trouble>,
    failures: u64,
    /// The rule that a machine stopped at, or that was broken on the way.
    broken: Option<String>,
    notes: Vec<Note>,
    lost: Option<NtStatus>,
    provoked: Vec<Provoked>,
    /// How to make the round that runs again.
    round: Option<Replay>,
    resident_settled: Option<u64>,
}

impl State {
    fn has_failed(&self) -> bool {
        self.failures > 0 || self.broken.is_some() || self.lost.is_some()
    }
}

/// The command that makes a round again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The command line.
    pub command: String,
    /// Who may make another round of it, see [`Target::varies`](crate::target::Target::varies).
    pub varies: Option<&'static str>,
}

/// What the meter shows at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Since the beginning.
    pub elapsed: Duration,
    /// Rounds that are over.
    pub rounds: u64,
    /// All transfers.
    pub tally: Tally,
    /// How often the device was disturbed, in the order of [`Disturbance::ALL`].
    pub disturbances: [u64; Disturbance::ALL.len()],
    /// The first things that are wrong.
    pub troubles: Vec<Trouble>,
    /// All things that are wrong.
    pub failures: u64,
    /// The rule that was broken.
    pub broken: Option<String>,
    /// Rules that were not followed where it did no harm.
    pub notes: Vec<Note>,
    /// The device is gone for good, or the permission.
    pub lost: Option<NtStatus>,
    /// The failures that were asked for, of all rounds.
    pub provoked: Vec<Provoked>,
    /// The command that makes the failed round again.
    pub replay: Option<Replay>,
    /// The most memory that the process had after one of the first rounds, in bytes.
    pub resident_settled: Option<u64>,
}

/// The memory that the process has in RAM now, in bytes, where the system says it.
#[must_use]
pub fn resident() -> Option<u64> {
    // CAST: at most 64 bits.
    memory_stats::memory_stats().map(|stats| stats.physical_mem as u64)
}

impl Meter {
    /// A meter for so many threads, from now on.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let now = vec![Tally::default(); threads];
        Self { begin: Instant::now(), state: Mutex::new(State { now, ..State::default() }) }
    }

    /// Nothing that can stop or switch may be called while this is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it shows.
    #[must_use]
    pub fn read(&self) -> Reading {
        let state = self.state();
        let mut tally = state.past.clone();
        state.now.iter().for_each(|thread| tally.add(thread));
        Reading {
            elapsed: self.begin.elapsed(),
            rounds: state.rounds,
            tally,
            disturbances: state.disturbances,
            troubles: state.troubles.clone(),
            failures: state.failures,
            broken: state.broken.clone(),
            notes: state.notes.clone(),
            lost: state.lost,
            provoked: state.provoked.clone(),
            replay: state.round.clone().filter(|_| state.has_failed()),
            resident_settled: state.resident_settled,
        }
    }

    /// Whether something is wrong, so that the soak should end.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().has_failed()
    }

    /// What a thread of the round has done so far.
    pub(super) fn tell(&self, thread: usize, tally: &Tally) {
        self.state().now[thread] = tally.clone();
    }

    /// A thread is done: transfers that nobody has seen the end of are lost.
    pub(super) fn retire(&self, thread: usize) {
        let open = self.state().now[thread].open();
        if open > 0 && !self.has_failed() {
            self.trouble(format!("{} never completed", count(open, "transfer")));
        }
    }

    /// What the driver should have counted in the round that runs.
    pub(super) fn expected_of_round(&self) -> Statistics {
        let mut sum = Tally::default();
        self.state().now.iter().for_each(|thread| sum.add(thread));
        sum.expected
    }

    /// A transfer was wrong.
    pub(super) fn fail(&self, found: &Found) {
        let text = format!(
            "{}, {}, device memory {:#x}..{:#x}, buffer at {:#x} of its page: {}: {}; {}",
            found.route,
            found.direction,
            found.range.start,
            found.range.end,
            found.page_offset,
            found.explanation.class,
            found.explanation.text,
            found.blame
        );
        self.keep(Trouble { text, explanation: Some(found.explanation.clone()) });
    }

    /// No transfer ended for so long in the round with this seed.
    pub fn stall(&self, time: Duration, seed: u64) {
        let time = super::whole_seconds(time);
        self.trouble(format!("nothing has ended for {time} in the round with seed {seed}"));
    }

    /// Something else was wrong.
    pub(super) fn trouble(&self, text: String) {
        self.keep(Trouble { text, explanation: None });
    }

    fn keep(&self, trouble: Trouble) {
        let mut state = self.state();
        state.failures += 1;
        if state.troubles.len() < TROUBLES_KEPT {
            state.troubles.push(trouble);
        }
    }

    /// The device was disturbed, or could not be.
    pub(super) fn disturbed(&self, disturbance: Disturbance, result: Result<(), NtStatus>) {
        match result {
            Ok(()) => self.state().disturbances[disturbance as usize] += 1,
            Err(NtStatus(dmaproof_protocol::status::NOT_SUPPORTED)) => {}
            Err(status) => self.trouble(format!("{} ended with {status}", disturbance.name())),
        }
    }

    /// The device does not come back.
    pub(super) fn lose_device(&self, status: NtStatus) {
        self.state().lost.get_or_insert(status);
    }

    /// A round begins that this makes again.
    pub(super) fn begin_round(&self, replay: Replay) {
        self.state().round = Some(replay);
    }

    /// Everything was taken down.
    ///
    /// # Errors
    ///
    /// Why there was no target.
    pub(super) fn end_round(&self, ended: Ended) -> Result<(), TargetError> {
        let (mut broken, mut told) = (None, Vec::new());
        match ended.result {
            Ok(()) => {}
            Err(TargetError::Stopped(violation)) => {
                told.push(format!(
                    "rule {} was broken at {}: {}\n{}",
                    violation.rule, violation.call_site, violation.text, violation.details
                ));
                broken = Some(violation.rule);
            }
            Err(TargetError::NeverStopped(device)) => {
                told.push(format!("the device never stopped: {}", device.text));
            }
            Err(error) => return Err(error),
        }
        let (harmless, harmful): (Vec<_>, Vec<_>) =
            ended.notes.into_iter().partition(|note| note.harmless);
        for note in harmful {
            told.push(format!(
                "rule {} was broken at {}: {}",
                note.rule, note.call_site, note.text
            ));
            broken.get_or_insert(note.rule);
        }
        for device in ended.never_stopped {
            told.push(format!("the device never stopped: {}", device.text));
        }
        told.into_iter().for_each(|text| self.trouble(text));
        let mut state = self.state();
        state.rounds += 1;
        notes::add(&mut state.notes, harmless);
        provoked::add(&mut state.provoked, ended.provoked);
        state.broken = broken.or(state.broken.take());
        let State { past, now, .. } = &mut *state;
        for thread in now {
            past.add(&std::mem::take(thread));
        }
        if state.rounds <= SETTLED_AFTER {
            state.resident_settled = state.resident_settled.max(resident());
        }
        Ok(())
    }
}
