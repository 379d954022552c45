//! Cuts wrong data into segments of one origin each.

use super::Evidence;
use crate::guard::{GUARD_TAG, GUARD_TRANSFER};
use crate::pattern::{LENGTH_MAX, Tag, WORD};

/// A match shorter than this is taken for chance, unless it accounts for the whole wrong run.
const EVIDENCE_MIN: usize = 4;
/// How many of the latest transfers short runs are compared with.
const RECORDS_TRIED: usize = 8;
/// How many bytes are looked for when own data is searched in another place.
const NEEDLE: usize = 16;

/// Where the bytes of a segment come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the destination held before the transfer.
    Before,
    /// One word over and over.
    Fill([u8; WORD]),
    /// This transfer's data from another place: the byte here belongs `delta` bytes further on.
    Own {
        /// Where the byte belongs minus where it is.
        delta: i64,
    },
    /// An earlier transfer's data.
    Earlier {
        /// Whose.
        tag: Tag,
        /// Its offset in that transfer minus where it is in this one.
        delta: i64,
    },
    /// Guard bytes of the app.
    Guard {
        /// The offset in the guard pattern minus the position in this transfer.
        delta: i64,
    },
    /// Nothing known.
    Unknown,
}

/// Wrong bytes of one origin.
///
/// A byte can be right and fit the segment as well, by chance. So a segment really begins between
/// `earliest` and `start`, and ends between `end` and `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The origin.
    pub kind: Kind,
    /// The first wrong byte.
    pub start: usize,
    /// One past the last wrong byte.
    pub end: usize,
    /// The first byte that fits.
    pub earliest: usize,
    /// One past the last byte that fits.
    pub latest: usize,
}

/// Cuts the wrong bytes into segments, in order.
pub(super) fn cut(evidence: &Evidence<'_>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(start) = next_wrong(evidence, at) {
        let kind = best_kind(evidence, start);
        let length = match kind {
            Kind::Unknown => unknown_length(evidence, start),
            _ => fits(evidence, kind, start, start),
        };
        let latest = start + length;
        let end = (start..latest).rev().find(|&q| is_wrong(evidence, q)).map_or(latest, |q| q + 1);
        let mut earliest = start;
        while earliest > at && fits_at(evidence, kind, start, earliest - 1) {
            earliest -= 1;
        }
        segments.push(Segment { kind, start, end, earliest, latest });
        at = latest;
    }
    segments
}

fn is_wrong(evidence: &Evidence<'_>, at: usize) -> bool {
    evidence.actual[at] != evidence.expected[at]
}

fn next_wrong(evidence: &Evidence<'_>, at: usize) -> Option<usize> {
    evidence.actual[at..]
        .iter()
        .zip(&evidence.expected[at..])
        .position(|(actual, expected)| actual != expected)
        .map(|offset| at + offset)
}

/// The bytes up to the next that looks right again or has an origin.
fn unknown_length(evidence: &Evidence<'_>, start: usize) -> usize {
    let length = evidence.actual.len();
    let mut at = start + 1;
    while at < length {
        let right = (at..length.min(at + EVIDENCE_MIN)).all(|q| !is_wrong(evidence, q));
        if right || (is_wrong(evidence, at) && best_kind(evidence, at) != Kind::Unknown) {
            break;
        }
        at += 1;
    }
    at - start
}

/// The origin that accounts for the most bytes from `start` on.
fn best_kind(evidence: &Evidence<'_>, start: usize) -> Kind {
    let mut best = (Kind::Unknown, 0);
    for kind in candidates(evidence, start) {
        let length = fits(evidence, kind, start, start);
        let enough = match kind {
            Kind::Fill(word) if word != [0; WORD] => length >= 2 * WORD,
            _ => length >= EVIDENCE_MIN || accounts_for_run(evidence, start, length),
        };
        if enough && length > best.1 {
            best = (kind, length);
        }
    }
    best.0
}

fn accounts_for_run(evidence: &Evidence<'_>, start: usize, length: usize) -> bool {
    let end = start + length;
    length > 0 && (end == evidence.actual.len() || !is_wrong(evidence, end))
}

/// The origins worth trying for the byte at `start`; of equally good ones the first wins.
fn candidates(evidence: &Evidence<'_>, start: usize) -> Vec<Kind> {
    let mut kinds = vec![Kind::Before, Kind::Fill([0; WORD])];
    if let Some(word) = evidence.actual[start..].first_chunk::<WORD>() {
        kinds.push(Kind::Fill(*word));
    }
    moved(evidence, start, &mut kinds);
    decoded(evidence, start, &mut kinds);
    for record in evidence.history.newest().take(RECORDS_TRIED) {
        // CAST: positions and offsets are far below 2^63.
        let by_memory = evidence.position as i64 - record.position as i64;
        let by_device = evidence.device_offset as i64 - record.device_offset as i64;
        for delta in [by_memory, by_device] {
            kinds.push(Kind::Earlier { tag: record.tag, delta });
        }
    }
    // Its own number with another family is no earlier transfer: an inverted pattern looks like what
    // a buffer was filled with before.
    let own = evidence.tag.map(|tag| tag.transfer);
    kinds.retain(|kind| match kind {
        Kind::Earlier { tag, .. } => Some(tag.transfer) != own,
        _ => true,
    });
    kinds
}

/// Adds the origins that words around `start` decode to.
fn decoded(evidence: &Evidence<'_>, start: usize, kinds: &mut Vec<Kind>) {
    for at in start.saturating_sub(WORD - 1)..start + WORD {
        let Some(word) = evidence.actual.get(at..).and_then(|rest| rest.first_chunk::<WORD>())
        else {
            break;
        };
        for origin in evidence.codec.decode(*word) {
            // CAST: positions and offsets are far below 2^63.
            let delta = origin.offset as i64 - at as i64;
            if Some(origin.tag) == evidence.tag {
                kinds.push(Kind::Own { delta });
            } else if origin.tag == GUARD_TAG {
                kinds.push(Kind::Guard { delta });
            } else if evidence.history.is_known(origin.tag.transfer) {
                kinds.push(Kind::Earlier { tag: origin.tag, delta });
            }
        }
    }
}

/// Adds the place that data without a pattern seems to come from.
fn moved(evidence: &Evidence<'_>, start: usize, kinds: &mut Vec<Kind>) {
    if evidence.tag.is_some() {
        return;
    }
    let Some(needle) = evidence.actual[start..].first_chunk::<NEEDLE>() else { return };
    // A fill is no evidence of a place.
    if needle.iter().all(|byte| byte == &needle[0]) {
        return;
    }
    if let Some(found) = evidence.expected.windows(NEEDLE).position(|window| window == needle) {
        // CAST: positions are far below 2^63.
        kinds.push(Kind::Own { delta: found as i64 - start as i64 });
    }
}

/// How many bytes from `at` on an origin accounts for, in a segment that starts at `start`.
fn fits(evidence: &Evidence<'_>, kind: Kind, start: usize, at: usize) -> usize {
    let actual = &evidence.actual[at..];
    match kind {
        Kind::Before => common_prefix(actual, &evidence.before[at..]),
        Kind::Fill(word) => actual
            .iter()
            .zip(at..)
            .take_while(|(byte, q)| **byte == word[(q + WORD - start % WORD) % WORD])
            .count(),
        Kind::Own { delta } => source_index(at, delta)
            .and_then(|source| evidence.expected.get(source..))
            .map_or(0, |source| common_prefix(actual, source)),
        Kind::Earlier { tag, delta } => {
            let length = evidence.history.find(tag.transfer).map(|record| record.length);
            pattern_prefix(evidence, tag, source_index(at, delta), length, actual)
        }
        Kind::Guard { delta } => {
            pattern_prefix(evidence, GUARD_TAG, source_index(at, delta), None, actual)
        }
        Kind::Unknown => 0,
    }
}

fn fits_at(evidence: &Evidence<'_>, kind: Kind, start: usize, at: usize) -> bool {
    match kind {
        // One byte is enough to look at, and cheaper than the whole rest.
        Kind::Before => evidence.actual[at] == evidence.before[at],
        _ => fits(evidence, kind, start, at) > 0,
    }
}

fn source_index(at: usize, delta: i64) -> Option<usize> {
    at.checked_add_signed(isize::try_from(delta).ok()?)
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let length = left.len().min(right.len());
    left.iter().zip(right).position(|(left, right)| left != right).unwrap_or(length)
}

fn pattern_prefix(
    evidence: &Evidence<'_>,
    tag: Tag,
    source: Option<usize>,
    length: Option<u64>,
    actual: &[u8],
) -> usize {
    let Some(source) = source else { return 0 };
    // CAST: an offset in memory fits in 64 bits, and what is left is not longer than a buffer.
    let left = length.unwrap_or(LENGTH_MAX).saturating_sub(source as u64);
    let left = left.min(actual.len() as u64) as usize;
    if left == 0 {
        return 0;
    }
    let actual = &actual[..left];
    evidence.codec.first_mismatch(tag, source as u64, actual).unwrap_or(actual.len())
}

impl Segment {
    /// One line for the report.
    pub(super) fn describe(&self, evidence: &Evidence<'_>) -> String {
        let place = format!("{:#x}..{:#x}", self.start, self.end);
        // CAST: positions are far below 2^63.
        let source = |delta: i64| (self.start as i64 + delta).max(0);
        match self.kind {
            Kind::Before => format!("{place} holds what was there before the transfer"),
            Kind::Fill(word) if word == [0; WORD] => format!("{place} holds zeros"),
            Kind::Fill(word) => {
                let word = u64::from_be_bytes(word);
                format!("{place} holds the bytes {word:016x} over and over")
            }
            Kind::Own { delta } => {
                format!("{place} holds this transfer's data of offset {:#x}", source(delta))
            }
            Kind::Earlier { tag, delta } => {
                let offset = source(delta);
                match evidence.history.find(tag.transfer) {
                    Some(record) => format!(
                        "{place} holds the data of transfer {} ({}, {}, {} bytes) from its offset \
                         {offset:#x}",
                        tag.transfer, record.route, record.direction, record.length
                    ),
                    None => format!(
                        "{place} holds the data of transfer {} from its offset {offset:#x}",
                        tag.transfer
                    ),
                }
            }
            Kind::Guard { .. } => format!("{place} holds the app's guard bytes"),
            Kind::Unknown => format!("{place} holds bytes of unknown origin"),
        }
    }
}

// The guards' number is never given to a transfer.
const _: () = assert!(GUARD_TRANSFER == u32::MAX);
