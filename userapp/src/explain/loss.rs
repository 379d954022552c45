//! What the machine itself saw being lost: where its caches are simulated, how data went wrong need
//! not be guessed from its shape.

use std::ops::Range;

use dmaproof_protocol::Direction;

use super::{Class, Evidence, Segment};
use crate::describe::count;
use crate::target::{BrokenRule, Loss, Lost, Observed};

/// Bytes of a transfer that the machine saw being lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How.
    pub how: Lost,
    /// Where in the buffer; `None` for bytes elsewhere, in a common buffer for example.
    pub at: Option<Range<usize>>,
    /// How many.
    pub bytes: usize,
    /// What happened then: the call, or what caches do by themselves.
    pub step: &'static str,
}

impl Missing {
    /// A loss, as the transfer of the buffer with these addresses sees it.
    #[must_use]
    pub fn of(loss: &Loss, buffer: &Range<usize>) -> Self {
        let mut addresses = loss.addresses().filter(|at| buffer.contains(at)).peekable();
        let first = addresses.peek().copied();
        let last = addresses.last();
        let at = first.zip(last).map(|(first, last)| first - buffer.start..last + 1 - buffer.start);
        // CAST: a number of bits.
        let bytes = loss.bytes.count_ones() as usize;
        Self { how: loss.how, at, bytes, step: loss.cause.name() }
    }

    /// Whether bytes in these stretches, which are in order and apart, may come from it.
    fn explains(&self, wrong: &[Range<usize>]) -> bool {
        self.at.as_ref().is_none_or(|at| {
            let next = wrong.partition_point(|stretch| stretch.end <= at.start);
            wrong.get(next).is_some_and(|stretch| stretch.start < at.end)
        })
    }
}

/// Where the bytes of some segments are, in order and apart. A large transfer on a machine that
/// goes on has many thousand segments and losses.
fn stretches(segments: &[Segment]) -> Vec<Range<usize>> {
    let mut all: Vec<_> = segments.iter().map(|segment| segment.earliest..segment.latest).collect();
    all.sort_unstable_by_key(|stretch| stretch.start);
    all.dedup_by(|next, before| {
        let joined = next.start <= before.end;
        if joined {
            before.end = before.end.max(next.end);
        }
        joined
    });
    all
}

/// The class that a loss has.
const fn class_of(how: Lost) -> Class {
    match how {
        Lost::ReadPoison => Class::Poison,
        Lost::ReadOld | Lost::KeptStale => Class::StaleLine,
        Lost::WrittenOver => Class::LateWriteBack,
        Lost::StoreDropped => Class::NeighbourStore,
        Lost::LeftInFifo => Class::TailMissing,
        Lost::LeftInBounce => Class::PieceNotCopied,
    }
}

/// Whether data on its way in this direction can be lost so.
const fn happens(how: Lost, direction: Direction) -> bool {
    !matches!(
        (how, direction),
        (Lost::ReadPoison | Lost::ReadOld, Direction::FromDevice)
            | (Lost::WrittenOver | Lost::KeptStale | Lost::LeftInBounce, Direction::ToDevice)
    )
}

/// What the machine saw of one transfer besides its data; nothing where it cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The losses.
    pub missing: Vec<Missing>,
    /// The rules broken meanwhile.
    pub breaches: Vec<BrokenRule>,
    /// Bytes outside of the buffer, in a common buffer for example, that the device read before
    /// what the processor had stored came to memory.
    pub unread: usize,
}

impl Seen {
    /// Nothing.
    pub const NOTHING: Self = Self { missing: Vec::new(), breaches: Vec::new(), unread: 0 };

    /// What was observed, as a transfer in this direction of the buffer with these addresses sees
    /// it. What cannot be lost in this direction is an earlier transfer's, in a common buffer.
    #[must_use]
    pub fn of(observed: Observed, direction: Direction, buffer: &Range<usize>) -> Self {
        let (mut missing, mut unread) = (Vec::new(), 0);
        for loss in &observed.losses {
            let lost = Missing::of(loss, buffer);
            if lost.at.is_none() && matches!(lost.how, Lost::ReadPoison | Lost::ReadOld) {
                unread += lost.bytes;
            }
            if happens(lost.how, direction) {
                missing.push(lost);
            }
        }
        Self { missing, breaches: observed.breaches, unread }
    }

    /// What was observed while other transfers were under way too: only what is surely this one's.
    #[must_use]
    pub fn among_others(observed: Observed, direction: Direction, buffer: &Range<usize>) -> Self {
        let Self { mut missing, .. } = Self::of(observed, direction, buffer);
        missing.retain(|lost| lost.at.is_some());
        Self { missing, ..Self::NOTHING }
    }

    /// Why the device may have done nothing at all, if the machine saw it.
    #[must_use]
    pub fn unheard(&self) -> Option<String> {
        (self.unread != 0).then(|| {
            format!(
                "the device never saw the command: it read {} of a common buffer before what the \
                 driver had stored there was in memory",
                // CAST: a number of bytes.
                count(self.unread as u64, "byte")
            )
        })
    }

    /// Whether data was lost.
    #[must_use]
    pub const fn lost(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The class of the losses that explain the most bytes, if any explain some.
    pub(super) fn class(&self, segments: &[Segment]) -> Option<Class> {
        let wrong = stretches(segments);
        let mut explained: Vec<(Class, usize)> = Vec::new();
        for lost in self.missing.iter().filter(|lost| lost.explains(&wrong)) {
            let class = class_of(lost.how);
            match explained.iter_mut().find(|known| known.0 == class) {
                Some(known) => known.1 += lost.bytes,
                None => explained.push((class, lost.bytes)),
            }
        }
        let most = explained.into_iter().filter(|known| known.1 > 0).max_by_key(|known| known.1);
        most.map(|(class, _)| class)
    }
}

/// What is wrong, as the machine saw it.
pub(super) fn sentence(class: Class, evidence: &Evidence<'_>, first: &Segment) -> String {
    let transfer = match evidence.tag {
        Some(tag) => format!("transfer {}", tag.transfer),
        None => "this transfer".to_owned(),
    };
    let mut parts: Vec<(Lost, &'static str, usize)> = Vec::new();
    for lost in &evidence.seen.missing {
        match parts.iter_mut().find(|part| (part.0, part.1) == (lost.how, lost.step)) {
            Some(part) => part.2 += lost.bytes,
            None => parts.push((lost.how, lost.step, lost.bytes)),
        }
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(how, step, bytes)| format!("{} {} ({step})", count(bytes as u64, "byte"), verb(how)))
        .collect();
    format!(
        "{}: {}; of {transfer} ({}) the machine saw: {}",
        lead(class),
        first.describe(evidence),
        evidence.route,
        parts.join(", ")
    )
}

/// A class that the machine saw, in a few words.
const fn lead(class: Class) -> &'static str {
    match class {
        Class::Poison => "the device read memory that never had the data",
        Class::StaleLine => "a cache line and memory disagreed, and the older bytes were used",
        Class::LateWriteBack => "a cache line was written back over the device's data",
        Class::NeighbourStore => "processor and device wrote the same cache line",
        Class::TailMissing => "the adapter's FIFO was never drained",
        _ => "a bounce page was never copied back",
    }
}

/// What happened to the bytes.
const fn verb(how: Lost) -> &'static str {
    match how {
        Lost::ReadPoison => "were never in the memory that the device read",
        Lost::ReadOld => "were older in the memory that the device read",
        Lost::WrittenOver => "of the device were written over by a late write-back",
        Lost::KeptStale => "of the device stayed behind a stale cache line",
        Lost::StoreDropped => "that the processor stored were dropped with their cache line",
        Lost::LeftInFifo => "stayed in the adapter's FIFO",
        Lost::LeftInBounce => "of the device stayed in a bounce page",
    }
}
