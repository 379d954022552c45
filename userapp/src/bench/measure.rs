//! Times one cell in one thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dmaproof_protocol::{Direction, Limits};
use hdrhistogram::Histogram;

use super::Cell;
use crate::guard::Arena;
use crate::pattern::{Codec, Family, Tag};
use crate::target::{NtStatus, Pending, Session, Transfer};

/// The longest latency that is told from longer ones, in nanoseconds: ten minutes.
const LATENCY_MAX: u64 = 600_000_000_000;

/// What one thread found.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Nanoseconds of each transfer.
    pub latency: Histogram<u64>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// Why there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A request failed.
    Status(NtStatus),
    /// The driver says that it moved fewer bytes.
    Short,
    /// The data is wrong: the first wrong byte of a transfer.
    Wrong(usize),
    /// The user ended it.
    Interrupted,
}

impl From<NtStatus> for Flaw {
    fn from(status: NtStatus) -> Self {
        Self::Status(status)
    }
}

/// Who measures.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which thread.
    pub thread: usize,
    /// Of how many.
    pub threads: usize,
}

/// A buffer, and the place on the device that it belongs to.
struct Slot {
    offset: u64,
    tag: Tag,
}

/// A transfer under way, its slot, and when it was asked for.
type UnderWay = (usize, Instant, Box<dyn Pending>);

/// Keeps transfers under way for this long, and verifies what they moved.
///
/// # Errors
///
/// [`Flaw`].
pub fn measure(
    session: &mut dyn Session,
    cell: &Cell,
    limits: &Limits,
    place: Place,
    time: Duration,
    interrupted: &AtomicBool,
) -> Result<Sample, Flaw> {
    let codec = Codec::new(1);
    let slots = slots(cell, limits, place);
    let mut arenas = Vec::new();
    for slot in &slots {
        let mut arena = Arena::new(codec, cell.size);
        arena.place(0, cell.size);
        codec.fill(slot.tag, 0, arena.buffer_mut());
        if cell.direction == Direction::FromDevice {
            // What is to be read has to be there, and must not be in the buffer already.
            exactly(
                session.move_by(cell.route, Direction::ToDevice, slot.offset, arena.buffer_mut()),
                cell,
            )?;
            codec.fill(slot.tag.complement(), 0, arena.buffer_mut());
        }
        arenas.push(arena);
    }
    let (sample, arenas) = run(session, cell, &slots, arenas, time, interrupted)?;
    for (slot, mut arena) in slots.iter().zip(arenas) {
        if cell.direction == Direction::ToDevice {
            codec.fill(slot.tag.complement(), 0, arena.buffer_mut());
            let back = Direction::FromDevice;
            exactly(session.move_by(cell.route, back, slot.offset, arena.buffer_mut()), cell)?;
        }
        if let Some(wrong) = codec.first_mismatch(slot.tag, 0, arena.buffer()) {
            return Err(Flaw::Wrong(wrong));
        }
    }
    Ok(sample)
}

/// One slot for each transfer under way. Those that have to share a place on the device share its
/// data.
fn slots(cell: &Cell, limits: &Limits, place: Place) -> Vec<Slot> {
    let reach = limits.window_length(cell.route.path()).min(limits.memory_length);
    // CAST: a length of memory fits in 64 bits; a cell's size is at least a byte.
    let places = (reach / cell.size as u64).max(1);
    let slot = |number: usize| {
        // CAST: small numbers.
        let index = (place.thread * cell.depth + number) as u64 % places;
        let transfer = u32::try_from(index).unwrap_or_default();
        Slot { offset: index * cell.size as u64, tag: Tag { transfer, family: Family::Plain } }
    };
    (0..cell.depth).map(slot).collect()
}

fn exactly(result: Result<usize, NtStatus>, cell: &Cell) -> Result<(), Flaw> {
    if result? == cell.size { Ok(()) } else { Err(Flaw::Short) }
}

/// The timed part.
fn run(
    session: &mut dyn Session,
    cell: &Cell,
    slots: &[Slot],
    arenas: Vec<Arena>,
    time: Duration,
    interrupted: &AtomicBool,
) -> Result<(Sample, Vec<Arena>), Flaw> {
    let mut latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("bounds are in order");
    let mut under_way: VecDeque<UnderWay> = VecDeque::with_capacity(cell.depth);
    let begin = Instant::now();
    let ask = |session: &mut dyn Session, at: usize, arena| {
        let (route, direction) = (cell.route, cell.direction);
        let transfer = Transfer { route, direction, offset: slots[at].offset };
        (at, Instant::now(), session.submit(transfer, arena))
    };
    for (at, arena) in arenas.into_iter().enumerate() {
        under_way.push_back(ask(session, at, arena));
    }
    let mut back: Vec<Option<Arena>> = slots.iter().map(|_| None).collect();
    let mut flaw = None;
    // All that is under way is waited for, whatever happens.
    while let Some((at, asked, pending)) = under_way.pop_front() {
        let (result, arena) = pending.wait();
        let now = Instant::now();
        // CAST: less than centuries.
        latency.saturating_record((now - asked).as_nanos() as u64);
        flaw = flaw.or(exactly(result, cell).err());
        let over = now - begin >= time || interrupted.load(Ordering::Relaxed) || flaw.is_some();
        if over {
            back[at] = Some(arena);
        } else {
            under_way.push_back(ask(session, at, arena));
        }
    }
    let elapsed = begin.elapsed();
    match flaw {
        _ if interrupted.load(Ordering::Relaxed) => Err(Flaw::Interrupted),
        Some(flaw) => Err(flaw),
        None => Ok((Sample { latency, elapsed }, back.into_iter().flatten().collect())),
    }
}
