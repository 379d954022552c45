//! What was moved so far, so that data in the wrong place can be told where it came from.

use std::collections::VecDeque;

use dmaproof_protocol::Direction;

use crate::pattern::Tag;
use crate::route::Route;

/// How many transfers are remembered.
const LENGTH_MAX: usize = 4096;

/// One transfer of pattern data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose data it was.
    pub tag: Tag,
    /// How it was asked for.
    pub route: Route,
    /// Where it went.
    pub direction: Direction,
    /// The first byte on the device.
    pub device_offset: u64,
    /// The number of bytes.
    pub length: u64,
    /// Where the data was in the memory of its test buffers, which later transfers use again.
    pub position: usize,
}

/// The latest transfers, and the number of the next one.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: VecDeque<Record>,
    next: u32,
}

impl History {
    /// A number that no transfer has had.
    pub const fn next_number(&mut self) -> u32 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Whether a transfer with this number was given out.
    #[must_use]
    pub const fn is_known(&self, transfer: u32) -> bool {
        transfer < self.next
    }

    /// Remembers a transfer.
    pub fn remember(&mut self, record: Record) {
        if self.records.len() == LENGTH_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// The transfer with this number, if it is remembered.
    #[must_use]
    pub fn find(&self, transfer: u32) -> Option<&Record> {
        self.records.iter().rev().find(|record| record.tag.transfer == transfer)
    }

    /// The latest transfers, newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use dmaproof_protocol::Path;

    use super::*;
    use crate::pattern::Family;

    fn record(transfer: u32) -> Record {
        Record {
            tag: Tag { transfer, family: Family::Plain },
            route: Route::Path(Path::Packet),
            direction: Direction::ToDevice,
            device_offset: 0,
            length: 8,
            position: 0,
        }
    }

    #[test]
    fn numbers_are_given_out_once() {
        let mut history = History::default();
        assert!(!history.is_known(0));
        assert_eq!((history.next_number(), history.next_number()), (0, 1));
        assert!(history.is_known(1) && !history.is_known(2));
    }

    #[test]
    fn old_transfers_are_forgotten_in_the_end() {
        let mut history = History::default();
        for transfer in 0..5000 {
            history.remember(record(transfer));
        }
        assert_eq!(history.find(4999), Some(&record(4999)));
        assert_eq!(history.find(0), None);
        assert_eq!(history.newest().count(), LENGTH_MAX);
    }
}
