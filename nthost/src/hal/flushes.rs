//! What KeFlushIoBuffers was called for in a cached common buffer (DMA-84, DMA-90): which bytes, in
//! which direction, and which transfer of the device's each call served.
//!
//! A driver may flush a ring as a whole through one MDL or entry by entry through several, and a
//! device may use the entries in any order. So the record has one span for each run of bytes with
//! the same history. A flush makes one span of all that it covers: their number is bounded by the
//! places where flushes and accesses begin and end in the buffer, however long the machine runs.

use crate::RuleId;
use crate::verifier::{Violation, broken};

/// A run of bytes that were flushed: offsets in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: usize,
    to: usize,
    /// When, in the bus's order of register writes and flushes.
    flushed: u64,
    /// The transfer that has used it, by the number of the register write that began it; 0 if none.
    transfer: u64,
}

impl Span {
    /// The part that lies in `from..to`, if there is one.
    fn within(self, from: usize, to: usize) -> Option<Self> {
        let (from, to) = (self.from.max(from), self.to.min(to));
        (from < to).then_some(Self { from, to, ..self })
    }
}

/// The spans of one direction, in order and without overlaps.
#[derive(Debug, Default)]
struct Spans {
    spans: Vec<Span>,
    /// Empty; kept so that a change allocates nothing.
    scratch: Vec<Span>,
}

impl Spans {
    /// Bytes `from..to` were flushed.
    fn flush(&mut self, from: usize, to: usize, flushed: u64) {
        self.change(from, to, |_, add| add(Span { from, to, flushed, transfer: 0 }));
    }

    /// A transfer uses bytes `from..to`. A flush serves one transfer: it must be later than the
    /// beginning of the one that used the bytes before. Of two that go on at the same time the
    /// older one has had its flush.
    fn take(&mut self, from: usize, to: usize, transfer: u64) {
        let first = self.spans.partition_point(|span| span.to <= from);
        let touched = self.spans[first..].iter().take_while(|span| span.from < to);
        if touched.into_iter().all(|span| span.transfer >= transfer) {
            return;
        }
        self.change(from, to, |spans, add| {
            for span in spans.iter().filter_map(|span| span.within(from, to)) {
                if span.transfer >= transfer {
                    add(span);
                } else if span.flushed > span.transfer {
                    add(Span { transfer, ..span });
                }
            }
        });
    }

    /// Whether a flush serves each of the bytes `from..to`.
    fn covers(&self, from: usize, to: usize) -> bool {
        let first = self.spans.partition_point(|span| span.to <= from);
        let mut at = from;
        for span in self.spans[first..].iter().take_while(|span| span.from < to) {
            if span.from > at {
                return false;
            }
            at = span.to;
        }
        at >= to
    }

    /// Replaces what is known of bytes `from..to` by what `fill` adds, in order.
    fn change(&mut self, from: usize, to: usize, fill: impl Fn(&[Span], &mut dyn FnMut(Span))) {
        let Self { spans, scratch } = self;
        // Neighbours too: they may be one span with what comes now.
        let first = spans.partition_point(|span| span.to < from);
        let end = spans.partition_point(|span| span.from <= to);
        let mut add = |span: Span| match scratch.last_mut() {
            Some(last)
                if (last.to, last.flushed, last.transfer)
                    == (span.from, span.flushed, span.transfer) =>
            {
                last.to = span.to;
            }
            _ => scratch.push(span),
        };
        let touched = &spans[first..end];
        touched.iter().filter_map(|span| span.within(0, from)).for_each(&mut add);
        fill(touched, &mut add);
        touched.iter().filter_map(|span| span.within(to, usize::MAX)).for_each(&mut add);
        spans.splice(first..end, scratch.drain(..));
    }
}

/// What an access of a device's lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// No KeFlushIoBuffers for all of these bytes serves the transfer (DMA-90).
    Flush,
    /// One does, but it had the other ReadOperation (DMA-84).
    Direction,
}

impl Lack {
    /// Whether nothing is lost by it even where caches are not coherent: both flushes write the
    /// processor's data back (wdm, KeFlushIoBuffers), and a device that reads needs no more.
    pub(super) fn is_harmless(self, writes: bool) -> bool {
        self == Self::Direction && !writes
    }

    /// What is wrong with a transfer of bytes `from..to`, where `who` does what with them.
    pub(super) fn found(self, who: &str, (from, to): (usize, usize), writes: bool) -> Violation {
        match self {
            Self::Flush => broken(
                RuleId::Dma90,
                format!(
                    "{who} bytes {from:#x}..{to:#x} of a cached common buffer without a \
                     KeFlushIoBuffers for them and for this transfer"
                ),
            ),
            Self::Direction => broken(
                RuleId::Dma84,
                format!(
                    "KeFlushIoBuffers had ReadOperation {} before {who} bytes {from:#x}..{to:#x} \
                     of a cached common buffer",
                    !writes
                ),
            ),
        }
    }
}

/// The record of one common buffer.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    to_device: Spans,
    from_device: Spans,
}

impl Flushes {
    /// KeFlushIoBuffers was called for bytes `from..to`, with this ReadOperation.
    pub(super) fn called(&mut self, (from, to): (usize, usize), read: bool, number: u64) {
        if from < to {
            self.of(read).flush(from, to, number);
        }
    }

    /// A transfer reads bytes `from..to`, or writes them: what is missing?
    pub(super) fn serve(
        &mut self,
        (from, to): (usize, usize),
        writes: bool,
        transfer: u64,
    ) -> Option<Lack> {
        self.to_device.take(from, to, transfer);
        self.from_device.take(from, to, transfer);
        if self.cover((from, to), writes) {
            None
        } else if self.cover((from, to), !writes) {
            Some(Lack::Direction)
        } else {
            Some(Lack::Flush)
        }
    }

    /// Whether the last transfer that uses bytes `from..to` is served for this direction.
    pub(super) fn cover(&self, (from, to): (usize, usize), writes: bool) -> bool {
        if writes { &self.from_device } else { &self.to_device }.covers(from, to)
    }

    fn of(&mut self, read: bool) -> &mut Spans {
        if read { &mut self.from_device } else { &mut self.to_device }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 64;
    const ALL: (usize, usize) = (0, SIZE);

    #[test]
    fn each_transfer_needs_a_flush_of_its_own() {
        let mut flushes = Flushes::default();
        assert_eq!(flushes.serve(ALL, false, 1), Some(Lack::Flush));
        flushes.called(ALL, false, 2);
        assert_eq!(flushes.serve((0, 8), false, 3), None);
        assert_eq!(flushes.serve(ALL, false, 3), None, "the same transfer");
        assert_eq!(flushes.serve((4, 12), false, 4), Some(Lack::Flush), "the next one");
        flushes.called(ALL, false, 5);
        assert_eq!(flushes.serve(ALL, false, 6), None);
    }

    #[test]
    fn a_flush_has_a_direction() {
        let mut flushes = Flushes::default();
        flushes.called(ALL, false, 1);
        assert_eq!(flushes.serve(ALL, true, 2), Some(Lack::Direction));
        flushes.called(ALL, true, 3);
        assert_eq!(flushes.serve(ALL, true, 2), None);
        flushes.called(ALL, true, 4);
        assert_eq!(flushes.serve(ALL, false, 5), Some(Lack::Direction), "that of 1 is used up");
    }

    #[test]
    fn a_flush_has_a_range() {
        let mut flushes = Flushes::default();
        flushes.called((0, 16), true, 1);
        assert_eq!(flushes.serve((8, 24), true, 2), Some(Lack::Flush));
        assert_eq!(flushes.serve((8, 16), true, 2), None);
        flushes.called((16, 32), true, 3);
        assert_eq!(flushes.serve((0, 32), true, 2), None, "two MDLs side by side");
    }

    #[test]
    fn entries_that_are_flushed_in_advance_serve_later_transfers() {
        let mut flushes = Flushes::default();
        flushes.called((0, 16), false, 1);
        flushes.called((16, 32), false, 2);
        assert_eq!(flushes.serve((0, 16), false, 3), None);
        assert_eq!(flushes.serve((16, 32), false, 4), None);
        assert_eq!(flushes.serve((0, 16), false, 3), None, "the first one goes on");
    }

    #[test]
    fn two_transfers_that_overlap_in_time_have_had_their_flushes() {
        let mut flushes = Flushes::default();
        flushes.called(ALL, true, 1);
        assert_eq!(flushes.serve(ALL, true, 2), None);
        flushes.called(ALL, true, 3);
        assert_eq!(flushes.serve(ALL, true, 4), None);
        assert_eq!(flushes.serve(ALL, true, 2), None);
    }

    #[test]
    fn the_record_does_not_grow_with_time() {
        let mut flushes = Flushes::default();
        let mut number = 0;
        for round in 0..10_000 {
            let entry = round % 8 * 8;
            number += 2;
            flushes.called((entry, entry + 8), round % 3 == 0, number);
            let _ = flushes.serve((entry, entry + 4), round % 2 == 0, number + 1);
        }
        assert!(flushes.to_device.spans.len() <= 16 && flushes.from_device.spans.len() <= 16);
        flushes.called(ALL, true, number + 2);
        assert_eq!(flushes.from_device.spans.len(), 1);
    }

    /// One byte's history, without spans.
    #[derive(Clone, Copy, Default)]
    struct Byte {
        flushed: u64,
        transfer: u64,
    }

    impl Byte {
        fn take(&mut self, transfer: u64) {
            if self.flushed == 0 || self.transfer >= transfer {
                return;
            }
            if self.flushed > self.transfer {
                self.transfer = transfer;
            } else {
                *self = Self::default();
            }
        }
    }

    proptest! {
        #[test]
        fn spans_say_what_bytes_would(
            steps in proptest::collection::vec(
                (0..SIZE, 0..=SIZE, any::<bool>(), 0_u64..4), 1..60,
            ),
        ) {
            let mut flushes = Flushes::default();
            let mut bytes = [[Byte::default(); SIZE]; 2];
            for (at, (from, length, way, back)) in steps.into_iter().enumerate() {
                let to = (from + length).min(SIZE);
                // CAST: a few steps.
                let number = at as u64 + 1;
                if back == 0 {
                    flushes.called((from, to), way, number);
                    bytes[usize::from(way)][from..to].fill(Byte { flushed: number, transfer: 0 });
                    continue;
                }
                let transfer = number.saturating_sub(back - 1).max(1);
                let lack = flushes.serve((from, to), way, transfer);
                bytes.iter_mut().for_each(|b| b[from..to].iter_mut().for_each(|b| b.take(transfer)));
                let covers = |way: bool| bytes[usize::from(way)][from..to].iter().all(|b| b.flushed != 0);
                let expected = match (covers(way), covers(!way)) {
                    (true, _) => None,
                    (false, true) => Some(Lack::Direction),
                    (false, false) => Some(Lack::Flush),
                };
                prop_assert_eq!(lack, expected);
                for spans in [&flushes.to_device, &flushes.from_device] {
                    prop_assert!(spans.spans.iter().all(|s| s.from < s.to));
                    prop_assert!(spans.spans.windows(2).all(|w| w[0].to <= w[1].from));
                }
            }
        }
    }
}
