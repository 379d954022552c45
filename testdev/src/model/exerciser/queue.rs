//! A queue: fetches commands, works on them one after the other, writes completions, signals.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use zerocopy::IntoBytes;

use super::card::{Card, Later};
use super::faults::Hit;
use super::job::{Job, Outcome};
use super::rings::Rings;
use crate::bus::Bus;
use crate::exerciser::command::{COMPLETION_LAST, COMPLETION_LENGTH};
use crate::exerciser::registers::*;
use crate::exerciser::{Command, Completion, FaultKind, RING_MAX, Status};

/// A command that was fetched.
struct Waiting {
    command: Command,
    hit: Hit,
    aborted: bool,
    transfer: u64,
}

/// The command that the queue works on.
struct Active {
    command: Command,
    hit: Hit,
    transfer: u64,
    /// When it goes on; never, without an abort.
    due: Option<u64>,
    /// Decided already.
    outcome: Option<Outcome>,
}

/// A queue with its rings.
pub(super) struct Queue {
    pub rings: Rings,
    number: usize,
    enabled: bool,
    failed: bool,
    vector: u32,
    fetch_at: Option<u64>,
    waiting: VecDeque<Waiting>,
    active: Option<Active>,
    job: Job,
    /// Completions that are not written yet.
    posted: Vec<Completion>,
    fetched: Vec<Command>,
    /// Some completion wants a signal.
    announce: bool,
    /// What the machine calls the transfer that the last doorbell began.
    transfer: u64,
    /// Commands completed since power-on.
    pub commands: u64,
}

impl Queue {
    pub(super) fn new(number: usize) -> Self {
        Self {
            rings: Rings::default(),
            number,
            enabled: false,
            failed: false,
            // CAST: below 4.
            vector: number as u32,
            fetch_at: None,
            waiting: VecDeque::new(),
            active: None,
            job: Job::default(),
            posted: Vec::new(),
            fetched: Vec::new(),
            announce: false,
            transfer: 0,
            commands: 0,
        }
    }

    /// As after power-on; buffers stay.
    pub(super) fn reset(&mut self) {
        self.drop_commands();
        self.rings = Rings::default();
        self.enabled = false;
        self.failed = false;
        // CAST: below 4.
        self.vector = self.number as u32;
    }

    fn drop_commands(&mut self) {
        self.fetch_at = None;
        self.waiting.clear();
        self.active = None;
        self.posted.clear();
        self.announce = false;
    }

    pub(super) fn is_busy(&self) -> bool {
        let under_way = self.active.is_some() || !self.waiting.is_empty();
        self.enabled && !self.failed && (under_way || self.rings.unfetched() != 0)
    }

    /// The value of a 32-bit register.
    pub(super) fn read(&self, register: u64) -> Option<u32> {
        Some(match register {
            RING_SIZE => self.rings.size,
            QUEUE_CONTROL => u32::from(self.enabled) * QUEUE_ENABLE,
            SUBMISSION_TAIL => self.rings.submission_tail,
            COMPLETION_HEAD => self.rings.completion_head,
            SUBMISSION_HEAD => self.rings.submission_head,
            COMPLETION_TAIL => self.rings.completion_tail,
            QUEUE_VECTOR => self.vector,
            // CAST: the discriminant.
            QUEUE_STATE => self.state() as u32,
            _ => return None,
        })
    }

    fn state(&self) -> QueueState {
        match (self.failed, self.enabled, self.is_busy()) {
            (true, ..) => QueueState::Failed,
            (false, false, _) => QueueState::Disabled,
            (false, true, false) => QueueState::Idle,
            (false, true, true) => QueueState::Busy,
        }
    }

    /// Writes a register; the caller runs the device afterwards.
    pub(super) fn write(&mut self, card: &mut Card, bus: &mut dyn Bus, register: u64, value: u64) {
        // CAST: all but the bases take 4 bytes.
        let narrow = value as u32;
        let open = !self.enabled && !self.failed;
        let works = self.enabled && !self.failed;
        match register {
            SUBMISSION_BASE if open => self.rings.submission_base = value,
            COMPLETION_BASE if open => self.rings.completion_base = value,
            RING_SIZE if open => self.rings.size = narrow,
            QUEUE_CONTROL => self.control(card, bus, narrow & QUEUE_ENABLE != 0),
            QUEUE_VECTOR => self.vector = narrow,
            SUBMISSION_TAIL if works => {
                if narrow >= self.rings.size {
                    return self.fail(card, bus, Error::Doorbell);
                }
                self.rings.submission_tail = narrow;
                self.transfer = bus.transfer();
                if self.rings.unfetched() != 0 && self.fetch_at.is_none() {
                    let delay = u64::from(card.registers.times.fetch);
                    self.fetch_at = Some(bus.now().saturating_add(delay));
                }
            }
            COMPLETION_HEAD if works && !self.rings.read_up_to(narrow) => {
                self.fail(card, bus, Error::Doorbell);
            }
            ABORT if works && card.works() => self.abort(card, bus, narrow),
            _ => {}
        }
    }

    fn control(&mut self, card: &mut Card, bus: &mut dyn Bus, enable: bool) {
        if self.failed || enable == self.enabled {
            return;
        }
        if !enable {
            self.enabled = false;
            self.drop_commands();
            card.forget_queue(self.number);
        } else if self.rings.are_valid() {
            self.enabled = true;
            self.rings.start();
            // CAST: 256. Nothing is allocated while it works.
            self.fetched.reserve_exact(RING_MAX as usize);
            self.posted.reserve(RING_MAX as usize);
            self.waiting.reserve(RING_MAX as usize);
        } else {
            self.fail(card, bus, Error::Setup);
        }
    }

    /// Stops for good.
    fn fail(&mut self, card: &mut Card, bus: &mut dyn Bus, error: Error) {
        self.failed = true;
        self.drop_commands();
        card.forget_queue(self.number);
        card.fail(bus, self.number, error);
    }

    /// Completion entries that can still be written.
    fn room(&self) -> u32 {
        // CAST: no more than a ring holds.
        self.rings.room().saturating_sub(self.posted.len() as u32)
    }

    /// Commands that can still be fetched.
    fn space(&self) -> u32 {
        // CAST: no more than a ring holds.
        self.rings.size.saturating_sub(self.waiting.len() as u32)
    }

    /// When the queue has to run next; nothing helps while its completion ring is full.
    pub(super) fn next_deadline(&self, card: &Card) -> Option<u64> {
        if !self.enabled || self.failed || !card.works() {
            return None;
        }
        let fetch = self.fetch_at.filter(|_| self.space() != 0);
        let due = self.active.as_ref().and_then(|active| active.due);
        let due = due.filter(|_| self.room() != 0);
        fetch.into_iter().chain(due).min()
    }

    /// Whether something is due or left to be said.
    fn has_to_act(&self, now: u64) -> bool {
        let fetches = self.fetch_at.is_some_and(|at| at <= now);
        let works = match &self.active {
            Some(active) => active.due.is_some_and(|due| due <= now),
            None => !self.waiting.is_empty(),
        };
        fetches || works || self.announce || !self.posted.is_empty()
    }

    /// Does what is due: fetches, moves data, writes completions, signals.
    pub(super) fn step(&mut self, card: &mut Card, bus: &mut dyn Bus) {
        if !self.enabled || self.failed || !card.works() {
            return;
        }
        let now = bus.now();
        if !self.has_to_act(now) {
            return;
        }
        loop {
            if self.fetch_at.is_some_and(|at| at <= now) {
                self.fetch(card, bus);
            }
            while !self.failed && self.room() != 0 && self.work(card, bus, now) {}
            // What had no place before may have one now.
            let more = self.fetch_at.is_some_and(|at| at <= now) && self.space() != 0;
            if self.failed || self.room() == 0 || !more {
                break;
            }
        }
        self.post(card, bus);
    }

    /// Fetches what was submitted, as far as there is space.
    fn fetch(&mut self, card: &mut Card, bus: &mut dyn Bus) {
        bus.on_behalf_of(self.transfer);
        while self.rings.unfetched() != 0 && self.space() != 0 {
            let (address, count) = self.rings.next_submissions(self.space());
            self.fetched.clear();
            // CAST: at most 256.
            self.fetched.resize(count as usize, Command::default());
            let entries = self.fetched.as_mut_slice().as_mut_bytes();
            if card.fetch(bus, address, entries).is_err() {
                return self.fail(card, bus, Error::Fetch);
            }
            self.rings.fetched(count);
            for command in &self.fetched {
                let hit = card.faults.of_command(self.number);
                let transfer = self.transfer;
                self.waiting.push_back(Waiting {
                    command: *command,
                    hit,
                    aborted: false,
                    transfer,
                });
            }
        }
        if self.rings.unfetched() == 0 {
            self.fetch_at = None;
        }
    }

    /// Goes on with a command; `false` if there is nothing to be done at present.
    fn work(&mut self, card: &mut Card, bus: &mut dyn Bus, now: u64) -> bool {
        let Some(active) = &mut self.active else {
            let Some(next) = self.waiting.pop_front() else { return false };
            self.begin(card, bus, next, now);
            return true;
        };
        if active.due.is_none_or(|due| due > now) {
            return false;
        }
        bus.on_behalf_of(active.transfer);
        let chunk_time = card.registers.times.chunk;
        let outcome = active.outcome.or_else(|| {
            // A chunk ends where the position is a multiple of its size.
            let chunk = card.registers.fifo_chunk;
            let rest = chunk - self.job.moved() % chunk;
            let bytes = if chunk_time == 0 { u32::MAX } else { rest };
            let moved = self.job.advance(card, bus, bytes);
            match moved {
                Err(outcome) => Some(outcome),
                Ok(()) => self.job.is_over().then(|| self.job.outcome()),
            }
        });
        match outcome {
            Some(outcome) => {
                let (command, hit) = (active.command, active.hit);
                self.active = None;
                self.finish(card, now, &command, &hit, outcome);
            }
            None => active.due = Some(now.saturating_add(u64::from(chunk_time))),
        }
        true
    }

    fn begin(&mut self, card: &mut Card, bus: &mut dyn Bus, next: Waiting, now: u64) {
        let Waiting { command, hit, aborted, transfer } = next;
        bus.on_behalf_of(transfer);
        let mut due = now.saturating_add(u64::from(card.registers.times.command));
        let mut outcome = None;
        let loaded = if aborted {
            Err(Outcome::new(Status::Aborted))
        } else {
            self.job.load(card, bus, &command)
        };
        match loaded {
            Err(failure) => outcome = Some(failure),
            Ok(()) if hit.has(FaultKind::FailedCommand) => {
                outcome = Some(Outcome::new(Status::DeviceError));
            }
            Ok(()) => self.job.spoil(&hit),
        }
        let mut forever = false;
        if let Some(longer) = hit.argument(FaultKind::Stall).filter(|_| !aborted) {
            due = due.saturating_add(longer);
            forever = longer == 0;
        }
        if let Some(early) = hit.argument(FaultKind::EarlyInterrupt) {
            due = due.saturating_add(early);
            card.put_off(Later::signal(now, self.number, self.cause(), self.vector));
        }
        if let Some(later) = hit.argument(FaultKind::CompletionBeforeData)
            && outcome.is_none()
        {
            let at = now.saturating_add(later);
            card.put_off(Later::data(at, self.number, command, transfer));
            outcome = Some(Outcome { bytes: command.length, ..Outcome::new(Status::Done) });
        }
        let due = (!forever).then_some(due);
        self.active = Some(Active { command, hit, transfer, due, outcome });
    }

    fn cause(&self) -> u32 {
        1 << self.number
    }

    /// A command is over: its completion entry, and how that is signalled.
    fn finish(
        &mut self,
        card: &mut Card,
        now: u64,
        command: &Command,
        hit: &Hit,
        outcome: Outcome,
    ) {
        card.commands = card.commands.saturating_add(1);
        self.commands = self.commands.saturating_add(1);
        let entry = Completion {
            bytes: u64::from(outcome.bytes),
            detail: outcome.detail,
            crc: outcome.crc,
            submission_head: self.rings.submission_head,
            tag: command.tag,
            status: outcome.status.code(),
            phase: 0,
        };
        self.posted.push(entry);
        if hit.has(FaultKind::DuplicateCompletion) && self.room() != 0 {
            self.posted.push(entry);
        }
        let (cause, vector) = (self.cause(), self.vector);
        let mut later = |delay: u64, cause, vector| {
            card.put_off(Later::signal(now.saturating_add(delay), self.number, cause, vector));
        };
        for kind in [FaultKind::DuplicateInterrupt, FaultKind::SpuriousInterrupt] {
            if let Some(delay) = hit.argument(kind) {
                later(delay, cause, vector);
            }
        }
        if let Some(delay) = hit.argument(FaultKind::LateInterrupt) {
            later(delay, cause, vector);
        } else if let Some(argument) = hit.argument(FaultKind::WrongVector) {
            let (cause, vector) = Card::wrong_vector(argument);
            later(0, cause, vector);
        } else if !hit.has(FaultKind::LostInterrupt) && !hit.has(FaultKind::EarlyInterrupt) {
            self.announce = true;
        }
    }

    /// Aborts the command with this tag, wherever it is.
    fn abort(&mut self, card: &mut Card, bus: &mut dyn Bus, tag: u32) {
        self.fetch(card, bus);
        let now = bus.now();
        if let Some(active) = &mut self.active
            && active.command.tag == tag
        {
            if !active.hit.has(FaultKind::IgnoredAbort) {
                let bytes = if active.outcome.is_some() { 0 } else { self.job.moved() };
                active.outcome = Some(Outcome { bytes, ..Outcome::new(Status::Aborted) });
                active.due = Some(now);
            }
            return;
        }
        let found = self.waiting.iter().position(|waiting| waiting.command.tag == tag);
        let Some(index) = found else { return };
        if self.waiting[index].hit.has(FaultKind::IgnoredAbort) {
            return;
        }
        if self.room() == 0 {
            self.waiting[index].aborted = true;
        } else if let Some(Waiting { command, hit, .. }) = self.waiting.remove(index) {
            self.finish(card, now, &command, &hit, Outcome::new(Status::Aborted));
        }
    }

    /// Writes the completion entries: everything but the last eight bytes in as few accesses as
    /// rows, then those of each entry in order.
    fn post(&mut self, card: &mut Card, bus: &mut dyn Bus) {
        bus.on_behalf_of(self.transfer);
        let mut posted = core::mem::take(&mut self.posted);
        let mut rest = posted.as_mut_slice();
        let mut good = true;
        while good && !rest.is_empty() {
            let (address, row) = self.rings.next_completion();
            // CAST: at most 256.
            let (entries, behind) = rest.split_at_mut(rest.len().min(row as usize));
            rest = behind;
            let phase = self.rings.phase;
            good = post_row(card, bus, address, entries, phase);
            // CAST: at most 256.
            self.rings.posted(entries.len() as u32);
        }
        posted.clear();
        self.posted = posted;
        if !good {
            self.fail(card, bus, Error::Post);
        } else if core::mem::take(&mut self.announce) {
            card.signal(bus, self.cause(), self.vector);
        }
    }
}

/// Writes completion entries that lie in a row.
fn post_row(
    card: &mut Card,
    bus: &mut dyn Bus,
    address: u64,
    entries: &mut [Completion],
    phase: u16,
) -> bool {
    for entry in &mut *entries {
        entry.phase = phase ^ 1;
    }
    if card.post(bus, address, entries.as_bytes()).is_err() {
        return false;
    }
    let places = (address..).step_by(COMPLETION_LENGTH);
    entries.iter_mut().zip(places).all(|(entry, place)| {
        entry.phase = phase;
        let bytes = entry.as_bytes();
        let (_, last) = bytes.split_at(COMPLETION_LENGTH - COMPLETION_LAST);
        let at = place + (COMPLETION_LENGTH - COMPLETION_LAST) as u64;
        card.post(bus, at, last).is_ok()
    })
}
