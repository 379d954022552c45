//! The machine: processors, IRQL, DPCs, timers, the clock, and the application threads.

pub(crate) mod choices;
pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod ddi;
mod depth;
pub(crate) mod deterministic;
pub(crate) mod executor;
mod faults;
pub(crate) mod footprint;
mod inline;
pub(crate) mod interrupts;
pub(crate) mod policy;
pub(crate) mod processor;
mod profile;
mod recording;
mod strategies;
#[cfg(all(test, not(miri)))]
mod tests;
mod threads;

pub(crate) use executor::Wait;
pub use faults::{FallibleCall, Faults, NotFaults};
pub use policy::{NotAPolicy, Policy};
pub(crate) use profile::Options;
pub use profile::{Builder, Profile, Scheduling, SystemDma};
pub use recording::{ChoiceList, NotAChoiceList};
pub use threads::{Machine, Running, Stopped};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::bus::Bus;
use crate::ddi::Saboteur;
use crate::ddi::log::Log;
use crate::hal::Hal;
use crate::io::Io;
use crate::memory::Memory;
use crate::pnp::Pnp;
use crate::verifier::{Report, Verifier, Violation, broken};
use crate::wdf::Wdf;
use crate::wdm::Wdm;
use crate::{RuleId, image, verifier};
use choices::Choices;
use clock::{Clock, Deferred};
use footprint::Thing;
use interrupts::Interrupts;
use processor::Processor;

/// DISPATCH_LEVEL as the processors keep it.
pub(crate) const DISPATCH: u8 = 2;

/// The state of one machine, shared by its threads.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// This machine, for handles given to tests.
    this: std::sync::Weak<Self>,
    pub options: Options,
    /// Who spoils the driver's calls, if somebody is to.
    pub saboteur: Option<Saboteur>,
    pub choices: Choices,
    pub clock: Clock,
    pub processors: Vec<Processor>,
    pub interrupts: Interrupts,
    pub verifier: Verifier,
    pub memory: Memory,
    pub bus: Bus,
    pub hal: Hal,
    pub io: Io,
    pub pnp: Pnp,
    pub wdf: Wdf,
    pub wdm: Wdm,
    pub image: image::Slot,
    pub log: Log,
    /// Whether calls of the driver are logged or spoiled.
    watched: bool,
    /// Whether callbacks are logged or listened to, or follow the convention of an image.
    special: AtomicBool,
    /// Crossings so far.
    pub events: AtomicU64,
    pub injections: Injections,
    faults: faults::Injector,
    /// The most kernel stack that one call into the driver has used, bytes.
    deepest: AtomicU64,
    stopped: AtomicBool,
    /// The deterministic scheduler, if it is this machine's.
    scheduler: Option<Box<deterministic::Scheduler>>,
    idle: inline::Idle,
    /// Who waits for DPCs or work items to end.
    flushing: std::sync::atomic::AtomicUsize,
    work: Mutex<std::collections::VecDeque<Deferred>>,
    /// Work items under way.
    working: std::sync::atomic::AtomicUsize,
    /// Worker threads so far.
    workers: std::sync::atomic::AtomicUsize,
    /// Woken when the machine stops or an application thread ends.
    harness: (Mutex<()>, Condvar),
}

/// Who acts at crossings besides the driver and the host: a test, at a chosen one; caches that are
/// not coherent, at each.
#[derive(Default)]
pub(crate) struct Injections {
    /// The first crossing at which somebody may act; 0 if nobody will.
    at: AtomicU64,
    /// Somebody acts at each.
    always: bool,
    /// By crossing, the next one last.
    actions: Mutex<Vec<(u64, Injected)>>,
}

impl Injections {
    fn add(&self, event: u64, action: Injected) {
        let mut actions = self.actions.lock();
        // Before those of the same crossing, which came first and go first.
        let place = actions.partition_point(|(other, _)| *other > event);
        actions.insert(place, (event, action));
        self.settle(&actions);
    }

    fn take(&self, event: u64) -> Option<Injected> {
        let mut actions = self.actions.lock();
        let (_, action) = actions.pop_if(|(at, _)| *at <= event)?;
        self.settle(&actions);
        Some(action)
    }

    fn settle(&self, actions: &[(u64, Injected)]) {
        let next = actions.last().map_or(0, |(at, _)| *at);
        self.at.store(if self.always { 1 } else { next }, Ordering::Release);
    }
}

impl Injections {
    fn of(options: &Options) -> Self {
        // Caches that are not coherent; the deterministic scheduler has a move for them.
        let deterministic = matches!(options.scheduling, Scheduling::Deterministic { .. });
        let always = !options.profile.is_coherent() && !deterministic;
        Self { at: AtomicU64::new(u64::from(always)), always, actions: Mutex::default() }
    }
}

/// What a test does at a crossing.
type Injected = Box<dyn FnOnce(&Machine) + Send>;

impl Drop for Kernel {
    fn drop(&mut self) {
        // Whatever of it is suspended is unwound while the rest of it still exists.
        if let Some(scheduler) = &self.scheduler {
            scheduler.abandon(self);
        }
    }
}

impl std::fmt::Debug for Injections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injections").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Kernel {
    pub(crate) fn new(
        options: Options,
        strategy: Box<dyn policy::Strategy>,
        this: std::sync::Weak<Self>,
    ) -> Self {
        Self {
            this,
            saboteur: Saboteur::new(&options.sabotage),
            choices: Choices::new(options.seed, strategy),
            clock: Clock::new(),
            processors: (0..options.processors()).map(|_| Processor::new()).collect(),
            interrupts: Interrupts::new(),
            verifier: Verifier::default(),
            memory: Memory::new(&options),
            bus: Bus::new(),
            hal: Hal::new(),
            io: Io::new(),
            pnp: Pnp::new(),
            wdf: Wdf::new(),
            wdm: Wdm::default(),
            image: image::Slot::default(),
            log: Log::new(options.log),
            watched: options.log || !options.sabotage.is_empty(),
            special: AtomicBool::new(options.log || !options.sabotage.is_empty()),
            events: AtomicU64::new(0),
            injections: Injections::of(&options),
            faults: faults::Injector::new(options.faults.clone()),
            deepest: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            scheduler: options.scheduler().map(Box::new),
            idle: inline::Idle::default(),
            flushing: std::sync::atomic::AtomicUsize::new(0),
            work: Mutex::new(std::collections::VecDeque::with_capacity(32)),
            working: std::sync::atomic::AtomicUsize::new(0),
            workers: std::sync::atomic::AtomicUsize::new(0),
            harness: (Mutex::new(()), Condvar::new()),
            options,
        }
    }

    /// Whether calls of the driver are logged or spoiled.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether callbacks are logged or listened to, or follow the convention of an image.
    #[inline(always)]
    pub(crate) fn is_special(&self) -> bool {
        self.special.load(Ordering::Relaxed)
    }

    /// The machine's driver is an image.
    pub(crate) fn becomes_special(&self) {
        self.special.store(true, Ordering::Release);
    }

    /// The number of the crossing that begins.
    #[inline(always)]
    pub(crate) fn next_event(&self) -> u64 {
        if self.processors.len() == 1 {
            // Who crosses holds the only processor, so nobody else counts.
            let event = self.events.load(Ordering::Relaxed) + 1;
            self.events.store(event, Ordering::Relaxed);
            return event;
        }
        self.events.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A bit for each processor of group 0.
    pub(crate) fn all_processors(&self) -> u64 {
        u64::MAX >> (64 - self.processors.len().min(64))
    }

    /// The processor the calling thread holds.
    #[inline]
    pub(crate) fn processor(&self) -> &Processor {
        &self.processors[context::with(|c| c.processor.get())]
    }

    /// The calling thread's interrupt request level.
    #[inline]
    pub(crate) fn irql(&self) -> u8 {
        self.processor().irql()
    }

    /// Runs `body` at `irql` (not below the current one) and returns to the old level.
    pub(crate) fn at_irql<R>(&self, irql: u8, body: impl FnOnce() -> R) -> R {
        let old = self.processor().set_irql(irql);
        let result = body();
        self.processor().set_irql(old);
        result
    }

    /// Queues `work` for a system worker thread, at PASSIVE_LEVEL.
    pub(crate) fn queue_work(&self, work: Deferred) {
        self.touch(Thing::WORK_QUEUE);
        self.work.lock().push_back(work);
        self.poke();
    }

    /// Queues a DPC on the calling thread's processor.
    pub(crate) fn queue_dpc(&self, dpc: Deferred) {
        self.touch(Thing::Processor(context::with(|c| c.processor.get())));
        self.processor().queue_dpc(dpc);
        self.poke();
    }

    /// Removes a queued DPC from whichever processor has it.
    pub(crate) fn remove_dpc(&self, dpc: Deferred) -> bool {
        self.processors.iter().any(|p| p.remove_dpc(dpc))
    }

    /// Whether a violation has stopped the machine.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Stops the machine: records the violation and parks this thread for ever.
    ///
    /// No lock may be held: whoever waits for it would never get it.
    #[cold]
    pub(crate) fn stop(&self, violation: Violation) -> ! {
        self.record(violation);
        self.park()
    }

    /// Records the violation that stops the machine.
    #[cold]
    #[expect(clippy::boxed_local, reason = "violations travel boxed, to keep results small")]
    pub(crate) fn record(&self, violation: Violation) {
        let report = self.report(*violation);
        self.verifier.record(report);
        self.stopped.store(true, Ordering::Release);
        self.poke();
        self.wake_harness();
    }

    /// Notes a rule that was not followed where that is harmless on this machine; with
    /// `strict` it stops the machine like any other violation.
    pub(crate) fn note(&self, rule: RuleId, message: impl Into<String>) -> Result<(), Violation> {
        self.note_found(broken(rule, message))
    }

    /// Notes what was found, as [`Self::note`] does.
    pub(crate) fn note_found(&self, found: Violation) -> Result<(), Violation> {
        if self.options.strict {
            return Err(found);
        }
        self.remark(*found);
        Ok(())
    }

    /// Notes what is not the driver's doing; it stops no machine.
    pub(crate) fn remark(&self, found: verifier::Broken) {
        let report = Report { harmless: true, ..self.report(found) };
        self.verifier.note(report);
    }

    /// A breach that loses nothing but data: what `found` says stops the machine, unless the
    /// machine is to go on.
    pub(crate) fn breach(&self, found: Violation) -> Result<(), Violation> {
        if !self.options.go_on {
            return Err(found);
        }
        let report = self.report(*found);
        self.verifier.note(report);
        Ok(())
    }

    /// A rule about caches that was not followed: a note where caches are coherent, a breach where
    /// they are not.
    pub(crate) fn lapse(&self, rule: RuleId, message: impl Into<String>) -> Result<(), Violation> {
        if self.options.profile.is_coherent() {
            return self.note(rule, message);
        }
        self.breach(broken(rule, message))
    }

    fn report(&self, broken: verifier::Broken) -> Report {
        let (call, stack) = context::with(|c| {
            (c.ddi.get().map_or(c.callback.get(), |ddi| ddi.name), context::stack())
        });
        let broken = self.verifier.normalise(broken);
        Report {
            rule: broken.rule,
            message: broken.message,
            bug_check: broken.bug_check,
            call: broken.callback.unwrap_or(call),
            stack,
            origin: broken.origin,
            event: self.events.load(Ordering::Relaxed),
            seed: self.options.seed,
            choices: self.is_deterministic().then(|| self.choices.list()),
            count: 1,
            harmless: false,
        }
    }

    fn wake_harness(&self) {
        let _guard = self.harness.0.lock();
        self.harness.1.notify_all();
    }
}
