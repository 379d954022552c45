//! One round: what each thread does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dmaproof_protocol::{Limits, Statistics, status};

use super::{Meter, STEPS, Settings};
use crate::random::Random;
use crate::sweep::disagreements;
use crate::target::{Disturbance, NtStatus, Session};
use crate::traffic::{Rough, Traffic, share};

/// One in so many steps of the first thread disturbs the device.
const DISTURB_ONE_IN: usize = 96;
/// How long is waited between two looks at whether something has happened.
const MOMENT: Duration = Duration::from_micros(100);
/// How often a device that went away is looked for.
const ATTEMPTS: u32 = 50_000;

/// The threads of a round.
#[derive(Debug)]
pub struct Crew {
    meter: Arc<Meter>,
    threads: usize,
    depth: usize,
    seed: u64,
    end: Instant,
    interrupted: Arc<AtomicBool>,
    /// Whether the device goes away in this round, or is stopped: the driver's counters begin
    /// again then, and cannot be compared with anything.
    rough: bool,
    /// Threads that have asked the driver what they need to know.
    ready: AtomicUsize,
    /// The driver's counters were read: transfers count, and the device may go, from now on.
    begun: AtomicBool,
    /// Threads that have all their transfers back.
    idle: AtomicUsize,
}

impl Crew {
    /// The threads of round `number`.
    #[must_use]
    pub fn new(settings: &Settings, meter: Arc<Meter>, number: u64) -> Self {
        let seed = settings.seed.wrapping_add(number);
        Self {
            meter,
            threads: settings.threads,
            depth: settings.depth,
            seed,
            end: settings.end,
            interrupted: Arc::clone(&settings.interrupted),
            rough: Random::new(seed).below(2) == 0,
            ready: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
        }
    }

    /// Whether it is time to end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
            || Instant::now() >= self.end
            || self.meter.has_failed()
    }
}

/// What one thread of a round does.
pub fn work(session: &mut dyn Session, crew: &Crew, thread: usize) {
    if let Err(status) = try_work(session, crew, thread) {
        crew.meter.lose_device(status);
    }
    crew.meter.retire(thread);
}

fn try_work(session: &mut dyn Session, crew: &Crew, thread: usize) -> Result<(), NtStatus> {
    let mut limits = limits(session)?;
    limits.transfer_length_max = limits.transfer_length_max.min(crate::pattern::LENGTH_MAX);
    let before = begin(session, crew, thread)?;
    // CAST: threads are few.
    let seed = crew.seed.wrapping_mul(0x1_0001).wrapping_add(thread as u64);
    let part = share(&(0..limits.memory_length), thread, crew.threads);
    let rough = Rough { cancels: true, removals: crew.rough };
    let mut traffic = Traffic::new(&limits, &part, crew.depth, seed, rough);
    let mut random = Random::new(seed ^ 0xD157);
    for _ in 0..STEPS {
        if crew.is_over() || traffic.is_empty() {
            break;
        }
        if thread == 0 && random.below(DISTURB_ONE_IN) == 0 {
            disturb(session, crew, &mut random);
        }
        let found = traffic.step(session);
        found.into_iter().for_each(|found| crew.meter.fail(&found));
        if traffic.is_gone() {
            come_back(session, crew, &mut traffic)?;
        }
        crew.meter.tell(thread, traffic.tally());
    }
    conclude(session, crew, &mut traffic)?;
    crew.meter.tell(thread, traffic.tally());
    crew.idle.fetch_add(1, Ordering::AcqRel);
    if thread == 0 && !crew.rough {
        check_counters(session, crew, &before)?;
    }
    Ok(())
}

/// Waits until every thread is ready; then the first one reads the driver's counters before any
/// moves data.
fn begin(session: &mut dyn Session, crew: &Crew, thread: usize) -> Result<Statistics, NtStatus> {
    crew.ready.fetch_add(1, Ordering::AcqRel);
    let is_time = || match thread {
        0 => crew.ready.load(Ordering::Acquire) >= crew.threads,
        _ => crew.begun.load(Ordering::Acquire),
    };
    while !is_time() && !crew.is_over() {
        session.pause(MOMENT);
    }
    if thread != 0 {
        return Ok(Statistics::new());
    }
    let counters = session.statistics();
    crew.begun.store(true, Ordering::Release);
    counters
}

fn limits(session: &mut dyn Session) -> Result<Limits, NtStatus> {
    let mismatch = |_| NtStatus(status::REVISION_MISMATCH);
    session.query()?.limits().map_err(mismatch)
}

fn disturb(session: &mut dyn Session, crew: &Crew, random: &mut Random) {
    let disturbance = Disturbance::ALL[random.below(Disturbance::ALL.len())];
    let calm = matches!(disturbance, Disturbance::Reset | Disturbance::PowerCycle);
    if !calm && !crew.rough {
        return;
    }
    let result = session.disturb(disturbance);
    // The handle may still be one to a device that went away.
    let gone = result.is_err_and(NtStatus::is_gone);
    if !(gone && crew.rough) {
        crew.meter.disturbed(disturbance, result);
    }
}

/// The device went away: gets all transfers back, and goes on with the next one.
fn come_back(
    session: &mut dyn Session,
    crew: &Crew,
    traffic: &mut Traffic,
) -> Result<(), NtStatus> {
    let found = traffic.settle(session);
    found.into_iter().for_each(|found| crew.meter.fail(&found));
    let mut last = NtStatus(status::DEVICE_REMOVED);
    for _ in 0..ATTEMPTS {
        match session.reopen().and_then(|()| session.query()) {
            Ok(_) => {
                traffic.go_on();
                return Ok(());
            }
            Err(status) => last = status,
        }
        session.pause(MOMENT);
    }
    Err(last)
}

/// Waits for all transfers, and verifies all that the device holds.
fn conclude(session: &mut dyn Session, crew: &Crew, traffic: &mut Traffic) -> Result<(), NtStatus> {
    let found = traffic.settle(session).or_else(|| traffic.verify(session));
    found.into_iter().for_each(|found| crew.meter.fail(&found));
    if traffic.is_gone() { come_back(session, crew, traffic) } else { Ok(()) }
}

/// Compares the driver's counters with what all threads have asked for, when they are done.
fn check_counters(
    session: &mut dyn Session,
    crew: &Crew,
    before: &Statistics,
) -> Result<(), NtStatus> {
    while crew.idle.load(Ordering::Acquire) < crew.threads {
        if crew.meter.has_failed() {
            return Ok(());
        }
        session.pause(MOMENT);
    }
    let after = session.statistics()?;
    let asked = crew.meter.expected_of_round();
    for account in disagreements(&asked, before, &after) {
        crew.meter.trouble(format!(
            "{}, {}: {} transfers ({} bytes) completed, the driver counted {} ({} bytes)",
            account.path,
            account.direction,
            account.asked,
            account.asked_bytes,
            account.counted,
            account.counted_bytes
        ));
    }
    let grown = [
        ("transfers failed", before.errors, after.errors),
        ("transfers timed out", before.timed_out, after.timed_out),
        ("flushes failed", before.flush_failures, after.flush_failures),
        (
            "completions belong to no transfer",
            before.completions_unknown,
            after.completions_unknown,
        ),
    ];
    for (what, before, after) in grown.into_iter().filter(|(_, before, after)| before != after) {
        crew.meter
            .trouble(format!("the driver counted that {} {what}", after.wrapping_sub(before)));
    }
    Ok(())
}
