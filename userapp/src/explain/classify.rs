//! From segments to a class.

use dmaproof_protocol::Direction;

use super::segment::{Kind, Segment};
use super::{Class, Evidence};
use crate::describe::count;
use crate::guard::{LINE, PAGE};

/// At most this many wrong bits, and at most two in a byte, still are bit flips.
const FLIPS_MAX: u32 = 8;
/// The smallest power of two that an address can be taken to wrap at.
const WRAP_MIN: i64 = 256;

/// Finds the class of wrong data; `segments` is not empty.
pub(super) fn classify(evidence: &Evidence<'_>, segments: &[Segment]) -> Class {
    // Old bytes at the end can differ from the right ones in few bits.
    if let [segment] = segments
        && segment.kind == Kind::Before
        && ends_at(segment, evidence.actual.len())
    {
        return classify_old(evidence, segments);
    }
    if are_bit_flips(evidence) {
        return Class::BitFlips;
    }
    if segments.iter().all(|segment| matches!(segment.kind, Kind::Fill(_))) {
        let zero = segments.iter().all(|segment| segment.kind == Kind::Fill([0; 8]));
        return if zero { Class::ZeroFilled } else { Class::Poison };
    }
    if segments.iter().all(|segment| is_old(segment.kind)) {
        return classify_old(evidence, segments);
    }
    if segments.iter().any(|segment| matches!(segment.kind, Kind::Own { .. }))
        && segments.iter().all(|segment| matches!(segment.kind, Kind::Own { .. } | Kind::Before))
    {
        return classify_own(evidence, segments);
    }
    if is_shifted_with_edge(evidence, segments) {
        return Class::Shifted;
    }
    Class::Unknown
}

/// Whether the data is shifted, and what the shift laid bare at one end holds something else.
fn is_shifted_with_edge(evidence: &Evidence<'_>, segments: &[Segment]) -> bool {
    let (own, stray): (Vec<Segment>, Vec<Segment>) =
        segments.iter().partition(|segment| matches!(segment.kind, Kind::Own { .. }));
    let Some(Kind::Own { delta }) = own.first().map(|segment| segment.kind) else { return false };
    let bytes = |segments: &[Segment]| -> usize {
        segments.iter().map(|segment| segment.end - segment.start).sum()
    };
    let length = evidence.actual.len();
    // CAST: a shift is shorter than the transfer.
    let by = (delta.unsigned_abs() as usize).min(length);
    let edge = if delta < 0 { 0..by } else { length - by..length };
    own.iter().all(|segment| segment.kind == Kind::Own { delta })
        && stray.iter().all(|segment| edge.start <= segment.start && segment.end <= edge.end)
        && bytes(&stray) <= bytes(&own)
}

/// Few wrong bits in otherwise right data.
fn are_bit_flips(evidence: &Evidence<'_>) -> bool {
    let mut bits = 0;
    let mut bytes = 0;
    for (expected, actual) in evidence.expected.iter().zip(evidence.actual) {
        let flips = (expected ^ actual).count_ones();
        if flips > 2 {
            return false;
        }
        bits += flips;
        bytes += usize::from(flips > 0);
    }
    bits <= FLIPS_MAX && bytes * 4 <= evidence.actual.len()
}

const fn is_old(kind: Kind) -> bool {
    matches!(kind, Kind::Before | Kind::Earlier { .. } | Kind::Guard { .. })
}

/// Every wrong byte is one that was somewhere before.
fn classify_old(evidence: &Evidence<'_>, segments: &[Segment]) -> Class {
    let length = evidence.actual.len();
    let before = segments.iter().all(|segment| segment.kind == Kind::Before);
    if let [segment] = segments
        && reaches(segment, 0)
        && ends_at(segment, length)
    {
        return if before { Class::NotCopied } else { Class::OldData };
    }
    if before && segments.iter().all(|segment| is_bounded(evidence, segment, PAGE)) {
        return Class::PieceNotCopied;
    }
    if segments.iter().all(|segment| is_partial_line(evidence, segment)) {
        return Class::TornEdge;
    }
    if segments.iter().all(|segment| is_bounded(evidence, segment, LINE)) {
        return Class::StaleLine;
    }
    match segments {
        [segment] if before && ends_at(segment, length) => Class::TailMissing,
        _ => Class::OldData,
    }
}

/// This transfer's own data is in the wrong places.
fn classify_own(evidence: &Evidence<'_>, segments: &[Segment]) -> Class {
    let length = evidence.actual.len();
    let own: Vec<(Segment, i64)> = segments
        .iter()
        .filter_map(|segment| match segment.kind {
            Kind::Own { delta } => Some((*segment, delta)),
            _ => None,
        })
        .collect();
    let all_own = own.len() == segments.len();
    if all_own && own.len() > 1 && is_permutation(&own, length) {
        return Class::Swapped;
    }
    if own.iter().all(|(segment, delta)| is_repeated_piece(evidence, segment, *delta)) {
        return Class::PieceRepeated;
    }
    let (first, delta) = own[0];
    if own.iter().any(|(_, other)| *other != delta) {
        return Class::Misplaced;
    }
    if let [_, lost] = segments
        && !all_own
        && own.len() == 1
        && delta >= WRAP_MIN
        && delta.unsigned_abs().is_power_of_two()
        && reaches(&first, 0)
        && lost.kind == Kind::Before
        // CAST: positive and below the buffer's length.
        && reaches(lost, delta as usize)
        && ends_at(lost, length)
    {
        return Class::Wrapped;
    }
    Class::Shifted
}

/// Whether the wrong places hold just the data that belongs in them, in another order.
fn is_permutation(own: &[(Segment, i64)], length: usize) -> bool {
    let mut free = vec![false; length];
    for (segment, _) in own {
        free[segment.earliest..segment.latest].fill(true);
    }
    for (segment, delta) in own {
        // CAST: positions are far below 2^63, and data that fits comes from within the transfer.
        let source = (segment.start as i64 + delta) as usize;
        for place in &mut free[source..source + segment.end - segment.start] {
            if !std::mem::replace(place, false) {
                return false;
            }
        }
    }
    true
}

/// Whether a piece that starts at a page is a copy of one before it.
fn is_repeated_piece(evidence: &Evidence<'_>, segment: &Segment, delta: i64) -> bool {
    let distance = delta.unsigned_abs();
    // CAST: a length of memory fits in 64 bits.
    delta < 0
        && (segment.end - segment.start) as u64 <= distance
        && is_start_bounded(evidence, segment, PAGE)
        && segment.start as u64 >= distance
}

fn reaches(segment: &Segment, at: usize) -> bool {
    (segment.earliest..=segment.start).contains(&at)
}

fn ends_at(segment: &Segment, at: usize) -> bool {
    (segment.end..=segment.latest).contains(&at)
}

/// Whether the segment can begin at the buffer's start or at an address that `unit` divides.
fn is_start_bounded(evidence: &Evidence<'_>, segment: &Segment, unit: usize) -> bool {
    segment.earliest == 0
        || (segment.earliest..=segment.start)
            .any(|at| (evidence.position + at).is_multiple_of(unit))
}

/// Whether the segment can begin and end at addresses that `unit` divides, or where the buffer
/// does.
fn is_bounded(evidence: &Evidence<'_>, segment: &Segment, unit: usize) -> bool {
    is_start_bounded(evidence, segment, unit)
        && (segment.latest == evidence.actual.len()
            || (segment.end..=segment.latest)
                .any(|at| (evidence.position + at).is_multiple_of(unit)))
}

/// Whether the segment is exactly the part of a cache line that the buffer begins or ends with.
fn is_partial_line(evidence: &Evidence<'_>, segment: &Segment) -> bool {
    let length = evidence.actual.len();
    let end = evidence.position + length;
    let head = evidence.position.next_multiple_of(LINE) - evidence.position;
    let tail = end % LINE;
    let is_head = head > 0 && head < length && reaches(segment, 0) && ends_at(segment, head);
    let is_tail =
        tail > 0 && tail < length && reaches(segment, length - tail) && ends_at(segment, length);
    is_head || is_tail
}

/// Says it in words.
pub(super) fn sentence(class: Class, evidence: &Evidence<'_>, segments: &[Segment]) -> String {
    let first = &segments[0];
    let length = evidence.actual.len();
    let place = match evidence.direction {
        Direction::ToDevice => "the device",
        Direction::FromDevice => "the buffer",
    };
    let wrong: usize = segments.iter().map(|segment| segment.end - segment.start).sum();
    let description = match class {
        Class::Shifted => segments
            .iter()
            .find(|segment| matches!(segment.kind, Kind::Own { .. }))
            .unwrap_or(first)
            .describe(evidence),
        _ => first.describe(evidence),
    };
    match class {
        Class::StaleLine => format!(
            "whole {LINE}-byte cache lines are stale: {description} (the line at {:#x} of its page)",
            (evidence.position + first.start) % PAGE / LINE * LINE
        ),
        Class::LateWriteBack => format!(
            "the processor's older copy was written back over the device's data: {description}"
        ),
        Class::TornEdge => format!(
            "only the part of a cache line that the buffer shares with its neighbours is wrong: \
             {description}"
        ),
        Class::Poison => format!("data that nobody sent: {description}"),
        Class::ZeroFilled => format!("{place} holds zeros in {wrong} of {length} bytes"),
        Class::NotCopied => {
            format!("nothing arrived: {place} holds all {length} bytes that it held before")
        }
        Class::PieceNotCopied => format!(
            "whole pages did not arrive: {description}; a bounced page that was not copied back \
             looks like this"
        ),
        Class::TailMissing => format!(
            "the last {} did not arrive, as when a FIFO was not drained: {description}",
            count(length as u64 - first.start as u64, "byte")
        ),
        Class::OldData => format!("data of another transfer: {description}"),
        Class::Shifted => {
            let by = segments.iter().find_map(|segment| match segment.kind {
                Kind::Own { delta } => Some(-delta),
                _ => None,
            });
            let by = by.unwrap_or_default();
            let bytes = if by.abs() == 1 { "byte" } else { "bytes" };
            format!("the data is shifted by {by} {bytes}: {description}")
        }
        Class::Swapped => format!("pieces of the data changed places: {description}"),
        Class::PieceRepeated => {
            format!("a piece arrived again in place of a later one: {description}")
        }
        Class::Wrapped => format!(
            "an address wrapped: data that belongs past a power of two landed at the start: \
             {description}"
        ),
        Class::Misplaced => format!("pieces of the data are in the wrong places: {description}"),
        Class::BitFlips => {
            let bits: u32 = evidence
                .expected
                .iter()
                .zip(evidence.actual)
                .map(|(expected, actual)| (expected ^ actual).count_ones())
                .sum();
            format!("{bits} of {} bits flipped, the first at {:#x}", length * 8, first.start)
        }
        _ => format!("{wrong} of {length} bytes are wrong: {description}"),
    }
}
