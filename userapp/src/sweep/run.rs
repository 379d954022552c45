//! Runs a plan and records what happened.

use std::ops::Range;
use std::sync::atomic::Ordering;

use dmaproof_protocol::{Direction, Limits, Path, QueryReply, Statistics};

use super::accounts::disagreements;
use super::beside;
use super::outcome::{End, Failure, Recorder, Settings};
use super::plan::{Case, Plan, reaches_memory};
use super::registers;
use super::shadow::Shadow;
use crate::describe::incidents;
use crate::explain::{Class, Explanation, Seen, explain_breach, missing_call, usual_rule};
use crate::guard::Arena;
use crate::history::{History, Record};
use crate::ledger::Ledger;
use crate::pattern::{Codec, Family, LENGTH_MAX, Tag};
use crate::route::Route;
use crate::target::{NtStatus, Session};
use crate::traffic::{Traffic, add_counts};

/// How many numbers are tried to find a pattern that differs from what the device holds.
const NUMBERS_TRIED: usize = 64;
/// What is added to the positions in the second arena, so that they are never taken for the first
/// one's; a multiple of the page size.
pub(super) const SINK_BASE: usize = 1 << 30;

/// Runs the plan for this device.
pub fn run(session: &mut dyn Session, settings: &Settings, recorder: &Recorder) {
    let end = match prepare(session, settings, recorder) {
        Ok((limits, query)) => {
            let before = session.statistics();
            recorder.1.begun.store(true, Ordering::Release);
            let mut runner = Runner::new(session, settings, recorder, limits, &query);
            let end = runner.run_all(&query);
            let mut asked = runner.asked;
            beside::finish(runner.session, settings, recorder, &mut runner.companions);
            beside::dismiss(session, settings, recorder);
            add_counts(&mut asked, &recorder.outcome().beside);
            if let (Ok(before), Ok(after)) = (before, session.statistics()) {
                let accounts = disagreements(&asked, &before, &after);
                recorder.update(|outcome| {
                    outcome.accounts = accounts;
                    outcome.incidents = incidents(&before, &after);
                });
            }
            end
        }
        Err(status) => {
            beside::dismiss(session, settings, recorder);
            End::Unavailable(status)
        }
    };
    recorder.update(|outcome| outcome.end = end);
}

fn prepare(
    session: &mut dyn Session,
    settings: &Settings,
    recorder: &Recorder,
) -> Result<(Limits, QueryReply), NtStatus> {
    let query = session.query()?;
    let revision_mismatch = NtStatus(dmaproof_protocol::status::REVISION_MISMATCH);
    if query.version != dmaproof_protocol::VERSION {
        return Err(revision_mismatch);
    }
    let limits = query.limits().map_err(|_| revision_mismatch)?;
    let (mut limits, _) = beside::divide(&limits, settings.load);
    recorder.update(|outcome| {
        outcome.query = Some(query);
        outcome.ledger = Some(Ledger::new(&limits));
    });
    limits.transfer_length_max = limits.transfer_length_max.min(LENGTH_MAX);
    Ok((limits, query))
}

/// Why a transfer gave no data to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Problem {
    Status(NtStatus),
    Short { said: usize, asked: usize },
}

/// The two arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Source,
    Sink,
}

pub(super) struct Runner<'a> {
    session: &'a mut dyn Session,
    settings: &'a Settings,
    recorder: &'a Recorder,
    pub(super) limits: Limits,
    pub(super) codec: Codec,
    pub(super) history: History,
    pub(super) shadow: Shadow,
    pub(super) source: Arena,
    pub(super) sink: Arena,
    asked: Statistics,
    /// What the machine saw of the last transfers to and from the device.
    pub(super) seen_there: Seen,
    pub(super) seen_back: Seen,
    /// What the device was told to do wrong, and did in the case that runs.
    injected: Vec<String>,
    /// The same, in the cases before it.
    injected_before: Vec<String>,
    /// What else is under way on the handle.
    companions: Traffic,
    /// Set when the device is gone.
    unavailable: Option<NtStatus>,
    /// Set when the user interrupted a transfer: what the case found means nothing then.
    cancelled: bool,
}

impl<'a> Runner<'a> {
    fn new(
        session: &'a mut dyn Session,
        settings: &'a Settings,
        recorder: &'a Recorder,
        limits: Limits,
        query: &QueryReply,
    ) -> Self {
        let whole = query.limits().unwrap_or(limits);
        let (_, rest) = beside::divide(&whole, settings.load);
        let companions = beside::traffic(&whole, &rest, settings, 0);
        let codec = Codec::new(settings.seed);
        let memory = Route::ALL.iter().any(|route| reaches_memory(&limits, *route));
        let memory_length = if memory { limits.memory_length } else { 0 };
        // CAST: a test device's memory fits in the app's.
        let (memory, longest) =
            (memory_length as usize, limits.transfer_length_max.max(limits.pio.length) as usize);
        Self {
            session,
            settings,
            recorder,
            limits,
            codec,
            history: History::default(),
            shadow: Shadow::new(memory),
            source: Arena::new(codec, longest),
            sink: Arena::new(codec, longest),
            asked: Statistics::new(),
            seen_there: Seen::default(),
            seen_back: Seen::default(),
            injected: Vec::new(),
            injected_before: Vec::new(),
            companions,
            unavailable: None,
            cancelled: false,
        }
    }

    fn run_all(&mut self, query: &QueryReply) -> End {
        let plan = Plan::new(
            &self.limits,
            &self.settings.selection,
            self.settings.depth,
            self.settings.seed,
        );
        let checks = registers::plan(&self.limits, query, &self.settings.selection);
        // CAST: counts of cases.
        let planned = (plan.cases.len() + checks.len()) as u64;
        self.recorder.update(|outcome| outcome.planned = planned);
        self.settings.progress.set_length(planned);
        if !plan.cases.is_empty() {
            // What is to go wrong goes wrong in a case, where it is looked for.
            self.session.arm(false);
            let filled = self.fill_device();
            self.session.arm(true);
            if self.cancelled {
                return End::Interrupted;
            }
            if !filled {
                return self.unavailable.map_or(End::NotPrepared, End::Unavailable);
            }
        }
        for (number, case) in (0..).zip(&plan.cases) {
            if let Some(end) = self.step(number, |runner| runner.run_case(number, case)) {
                return end;
            }
        }
        for (number, check) in (plan.cases.len() as u64..).zip(&checks) {
            if let Some(end) = self.step(number, |runner| check.run(runner, number)) {
                return end;
            }
        }
        End::Complete
    }

    /// Runs one case unless it is time to end.
    fn step(&mut self, number: u64, case: impl FnOnce(&mut Self)) -> Option<End> {
        if self.settings.interrupted.load(Ordering::Relaxed) {
            return Some(End::Interrupted);
        }
        if !self.settings.cases.contains(&number) {
            return None;
        }
        case(self);
        if self.cancelled {
            return Some(End::Interrupted);
        }
        let failures = self.recorder.update(|outcome| {
            outcome.done += 1;
            outcome.failures_total
        });
        self.settings.progress.inc(1);
        if let Some(status) = self.unavailable {
            return Some(End::Unavailable(status));
        }
        (failures >= self.settings.failures_max).then_some(End::TooManyFailures)
    }

    /// Gives all of the device's memory a known content.
    fn fill_device(&mut self) -> bool {
        let routes: Vec<Route> =
            Route::ALL.into_iter().filter(|route| reaches_memory(&self.limits, *route)).collect();
        let mut offset = 0;
        while offset < self.limits.memory_length {
            let length = (self.limits.memory_length - offset).min(self.limits.transfer_length_max);
            if !self.fill_range(&routes, &(offset..offset + length)) {
                return false;
            }
            offset += length;
        }
        true
    }

    /// Fills a range until two routes agree about what is there. If none do, the test goes on with
    /// what the last one read, and finds the mistake.
    pub(super) fn fill_range(&mut self, routes: &[Route], range: &Range<u64>) -> bool {
        let mut last = None;
        for &writer in routes {
            let tag = Tag { transfer: self.history.next_number(), family: Family::Plain };
            if let Err(problem) = self.send(writer, tag, range, 0) {
                let explanation = self.answer(problem, writer, Direction::ToDevice);
                let tested = self.settings.selection.routes.contains(&writer) && !self.cancelled;
                self.recorder.update(|outcome| {
                    if outcome.done == 0 {
                        outcome.preparation.get_or_insert(explanation);
                        outcome.preparation_counts |= tested;
                    }
                });
                continue;
            }
            // A route that is alone has to vouch for itself.
            let readers = routes.iter().filter(|reader| routes.len() == 1 || **reader != writer);
            for &reader in readers {
                if self.fetch(reader, range, 0).is_ok() {
                    if self.sink.buffer() == self.shadow.bytes(range.clone()) {
                        return true;
                    }
                    last = Some(self.sink.buffer().to_vec());
                }
            }
        }
        last.is_some_and(|held| {
            self.shadow.bytes_mut(range.clone()).copy_from_slice(&held);
            true
        })
    }

    /// What a request that gave no data looks like, with what the machine saw.
    pub(super) fn answer(
        &self,
        problem: Problem,
        route: Route,
        direction: Direction,
    ) -> Explanation {
        let found = problem.explanation(route, direction);
        let seen = match direction {
            Direction::ToDevice => &self.seen_there,
            Direction::FromDevice => &self.seen_back,
        };
        let (Some(why), Some(breach)) = (seen.unheard(), seen.breaches.first()) else {
            return found;
        };
        Explanation {
            text: format!("{why}; {}", found.text),
            rule: Some(breach.rule),
            call: missing_call(breach.rule),
            breach: Some(format!("{}, at {}", breach.text, breach.call_site)),
            ..found
        }
    }

    fn run_case(&mut self, number: u64, case: &Case) {
        // CAST: a length of memory fits in 64 bits.
        let range = case.device_offset..case.device_offset + case.length as u64;
        let tag = self.choose_tag(case.family, &range);
        let before = self.injected.drain(..);
        add_new(&mut self.injected_before, before);
        let failure = match case.direction {
            Direction::ToDevice => self.test_sending(case, tag, &range),
            Direction::FromDevice => self.test_receiving(case, tag, &range),
        };
        match failure {
            // A case that was cancelled is neither.
            _ if self.cancelled => {}
            None => self.count(case.route, case.direction, case.length, case.page_offset, true),
            Some((route, direction, blame, explanation)) => {
                let (case, explanation) =
                    (*case, explanation.of_injected(&self.injected, &self.injected_before));
                self.fail(Failure { number, case, route, direction, blame, explanation });
            }
        }
    }

    /// A new number, whose data differs from what the device holds in the first and last bytes.
    fn choose_tag(&mut self, family: Family, range: &Range<u64>) -> Tag {
        let mut tag = Tag { transfer: self.history.next_number(), family };
        for _ in 0..NUMBERS_TRIED {
            let edge = (range.end - range.start).min(8);
            let head = range.start..range.start + edge;
            let tail = range.end - edge..range.end;
            let differs = [head, tail].into_iter().all(|part| {
                let mut data = vec![0; edge as usize];
                self.codec.fill(tag, part.start - range.start, &mut data);
                data.iter().zip(self.shadow.bytes(part)).all(|(new, old)| new != old)
            });
            if differs {
                break;
            }
            tag.transfer = self.history.next_number();
        }
        tag
    }

    /// Moves the buffer of an arena.
    fn ask(
        &mut self,
        place: Place,
        route: Route,
        direction: Direction,
        offset: u64,
    ) -> Result<(), Problem> {
        let buffer = match place {
            Place::Source => self.source.buffer_mut(),
            Place::Sink => self.sink.buffer_mut(),
        };
        let asked = buffer.len();
        let start = buffer.as_ptr().addr();
        self.companions.begin(self.session);
        let result = self.session.move_by(route, direction, offset, buffer);
        let (mut observed, buffer) = (self.session.observe(), start..start + asked);
        if self.settings.load.is_none() {
            // Otherwise it may have been done to another transfer.
            add_new(&mut self.injected, observed.injected.drain(..));
        }
        let seen = if self.settings.load.is_none() {
            Seen::of(observed, direction, &buffer)
        } else {
            Seen::among_others(observed, direction, &buffer)
        };
        match direction {
            Direction::ToDevice => self.seen_there = seen,
            Direction::FromDevice => self.seen_back = seen,
        }
        beside::keep(self.recorder, self.companions.step(self.session));
        self.recorder.update(|outcome| {
            outcome.transfers += 1;
            outcome.bytes += asked as u64;
        });
        match result {
            Ok(said) => {
                let count = self.asked.count_mut(route.path(), direction);
                count.transfers += 1;
                count.bytes += said as u64;
                if said == asked { Ok(()) } else { Err(Problem::Short { said, asked }) }
            }
            Err(status) => {
                if status.is_unavailable() {
                    self.unavailable = Some(status);
                }
                let interrupted = self.settings.interrupted.load(Ordering::Relaxed);
                self.cancelled |= status.is_cancelled() && interrupted;
                Err(Problem::Status(status))
            }
        }
    }

    /// Sends a pattern to the device from a buffer at this offset of a page.
    pub(super) fn send(
        &mut self,
        route: Route,
        tag: Tag,
        range: &Range<u64>,
        page_offset: usize,
    ) -> Result<(), Problem> {
        let length = range.end - range.start;
        // CAST: the arena is long enough for it.
        self.source.place(page_offset, length as usize);
        self.codec.fill(tag, 0, self.source.buffer_mut());
        let record = Record {
            tag,
            route,
            direction: Direction::ToDevice,
            device_offset: range.start,
            length,
            position: self.source.position(),
        };
        self.codec.fill(tag, 0, self.shadow.bytes_mut(range.clone()));
        let result = self.ask(Place::Source, route, Direction::ToDevice, range.start);
        self.history.remember(record);
        result
    }

    /// Reads a range into a buffer at this offset of a page that holds the complement of what
    /// should come.
    pub(super) fn fetch(
        &mut self,
        route: Route,
        range: &Range<u64>,
        page_offset: usize,
    ) -> Result<(), Problem> {
        self.sink.place(page_offset, (range.end - range.start) as usize);
        let prefill = complement(self.shadow.bytes(range.clone()));
        self.sink.buffer_mut().copy_from_slice(&prefill);
        self.ask(Place::Sink, route, Direction::FromDevice, range.start)
    }

    /// The buffer for registers, at this offset of a page.
    pub(super) fn place_for_registers(&mut self, length: usize, page_offset: usize) -> &mut [u8] {
        self.sink.place(page_offset, length);
        self.sink.buffer_mut()
    }

    /// Moves that buffer by PIO, and returns what it holds then.
    pub(super) fn ask_registers(
        &mut self,
        direction: Direction,
        offset: u64,
    ) -> Result<Vec<u8>, Box<Explanation>> {
        let route = Route::Path(Path::Pio);
        self.ask(Place::Sink, route, direction, offset)
            .map_err(|problem| Box::new(problem.explanation(route, direction)))?;
        if let Some(breach) = self.sink.breaches().first() {
            let start = self.sink.position();
            let buffer = start..start + self.sink.buffer().len();
            return Err(Box::new(explain_breach(breach, buffer, &[], route, direction)));
        }
        Ok(self.sink.buffer().to_vec())
    }

    pub(super) fn count(
        &self,
        route: Route,
        direction: Direction,
        length: usize,
        page_offset: usize,
        intact: bool,
    ) {
        self.recorder.update(|outcome| {
            if let Some(ledger) = &mut outcome.ledger {
                ledger.count(route, direction, length, page_offset, intact);
            }
        });
    }

    pub(super) fn fail(&self, failure: Failure) {
        if self.cancelled {
            return;
        }
        let (route, direction, case) = (failure.route, failure.direction, failure.case);
        // The transfers around the tested one use buffers at the start of a page.
        let tested = (route, direction) == (case.route, case.direction);
        let page_offset = if tested { case.page_offset } else { 0 };
        self.count(route, direction, case.length, page_offset, false);
        self.recorder.update(|outcome| {
            outcome.keep(failure);
        });
    }
}

pub(crate) fn complement(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

impl Problem {
    pub(crate) fn explanation(self, route: Route, direction: Direction) -> Explanation {
        let (class, text) = match self {
            Self::Status(status) => {
                (Class::RequestFailed, format!("the request ended with {status}"))
            }
            Self::Short { said, asked } => (
                Class::ShortCompletion,
                format!("the driver says that it moved {said} bytes, asked for were {asked}"),
            ),
        };
        Explanation {
            class,
            text,
            rule: usual_rule(class, route, direction),
            call: usual_rule(class, route, direction).and_then(missing_call),
            breach: None,
            first_wrong: 0,
            wrong_bytes: 0,
            segments: Vec::new(),
            diff: Vec::new(),
        }
    }
}

/// Adds those that are not in the list.
fn add_new(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}
