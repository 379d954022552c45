//! The range check of each era, and what becomes of a transfer that fails it.

use core::fmt;

use super::config::Era;
use crate::edu::{BUFFER_ADDRESS, BUFFER_LENGTH, Direction};

/// A command whose range does not fit the device buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutOfRange {
    /// Which command it was, counted from 1.
    pub command: u64,
    /// Which way it went.
    pub direction: Direction,
    /// The address it named for the device's side.
    pub device_address: u64,
    /// The length it named, in bytes.
    pub count: u64,
    /// Whose range check refused it.
    pub era: Era,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::ToDevice => "to-device",
            Direction::FromDevice => "from-device",
        };
        let end = match self.era {
            Era::A0 | Era::A1 => "QEMU aborts and the virtual machine is dead",
            Era::B => "QEMU copies past its buffer",
            Era::C => "QEMU skips the copy and completes",
        };
        write!(
            f,
            "edu command {} ({way}): {} bytes at {:#x} do not fit {:#x}..{:#x}; {end}",
            self.command,
            self.count,
            self.device_address,
            BUFFER_ADDRESS,
            BUFFER_ADDRESS + BUFFER_LENGTH,
        )
    }
}

/// The part of a transfer that lies in the device buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Offset in the device buffer.
    pub start: usize,
    /// Length in bytes; `start + length` is at most the buffer's length.
    pub length: usize,
    /// Bytes of the transfer before this part; 0 when the range fits.
    pub skip: u64,
}

impl Span {
    /// Where in the device buffer byte `offset` of the transfer is.
    pub(super) fn locate(&self, offset: u16) -> Option<usize> {
        let within = u64::from(offset).checked_sub(self.skip)?;
        // CAST: an offset that was a u16, less something.
        let within = within as usize;
        (within < self.length).then_some(self.start + within)
    }
}

/// Whether `era` accepts `count` bytes at `address`. Sums wrap, as in QEMU.
pub(super) fn accepts(era: Era, address: u64, count: u64) -> bool {
    let limit = BUFFER_ADDRESS + BUFFER_LENGTH;
    let end = address.wrapping_add(count);
    let starts_inside = (BUFFER_ADDRESS..limit).contains(&address);
    starts_inside
        && match era {
            Era::A0 => end > address && end < limit,
            Era::A1 => end > address && end <= limit,
            Era::B | Era::C => end >= address && end <= limit,
        }
}

/// The first stretch of `count` bytes at `address` that lies in the buffer, `None` if there is
/// none. Addresses wrap at 2^64, as the emulator's pointer arithmetic does.
pub(super) fn overlap(address: u64, count: u64) -> Option<Span> {
    let offset = address.wrapping_sub(BUFFER_ADDRESS);
    let (start, skip) =
        if offset < BUFFER_LENGTH { (offset, 0) } else { (0, offset.wrapping_neg()) };
    let length = count.saturating_sub(skip).min(BUFFER_LENGTH - start);
    if length == 0 {
        return None;
    }
    // CAST: start < 4096 and length <= 4096.
    Some(Span { start: start as usize, length: length as usize, skip })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const ERAS: [Era; 4] = [Era::A0, Era::A1, Era::B, Era::C];

    /// The table of accepted ranges, one row per range, in the order of `ERAS`.
    #[test]
    fn each_era_draws_its_own_line() {
        let rows = [
            (0x40000, 4095, [true; 4]),
            (0x40001, 4094, [true; 4]),
            (0x40ffe, 1, [true; 4]),
            (0x40000, 1, [true; 4]),
            (0x40000, 4096, [false, true, true, true]),
            (0x40001, 4095, [false, true, true, true]),
            (0x40fff, 1, [false, true, true, true]),
            (0x40000, 0, [false, false, true, true]),
            (0x40000, 4097, [false; 4]),
            (0x3ffff, 1, [false; 4]),
            (0x41000, 1, [false; 4]),
            (0x40800, u64::MAX, [false; 4]),
            (0x40000, u64::MAX - 0x3ffff, [false; 4]),
        ];
        for (address, count, expected) in rows {
            let got = ERAS.map(|era| accepts(era, address, count));
            assert_eq!(got, expected, "{count} bytes at {address:#x}");
        }
    }

    #[test]
    fn overlap_is_clamped_at_both_ends() {
        let whole = overlap(0x40000, 5000);
        let head = overlap(0x3fff0, 0x20);
        let tail = overlap(0x40ff0, 0x20);

        assert_eq!(whole, Some(Span { start: 0, length: 4096, skip: 0 }));
        assert_eq!(head, Some(Span { start: 0, length: 0x10, skip: 0x10 }));
        assert_eq!(tail, Some(Span { start: 0xff0, length: 0x10, skip: 0 }));
    }

    #[test]
    fn overlap_of_disjoint_ranges_is_nothing() {
        assert_eq!(overlap(0x41000, 16), None);
        assert_eq!(overlap(0x3fff0, 16), None);
        assert_eq!(overlap(0x40000, 0), None);
    }

    #[test]
    fn locate_counts_from_the_start_of_the_transfer() {
        let span = Span { start: 0, length: 0x10, skip: 0x10 };

        assert_eq!(span.locate(0x0f), None);
        assert_eq!(span.locate(0x10), Some(0));
        assert_eq!(span.locate(0x1f), Some(0x0f));
        assert_eq!(span.locate(0x20), None);
    }

    #[test]
    fn description_names_the_range() {
        let reason = OutOfRange {
            command: 3,
            direction: Direction::ToDevice,
            device_address: 0x40001,
            count: 4096,
            era: Era::C,
        };

        let text = reason.to_string();

        assert!(text.contains("command 3 (to-device)"), "{text}");
        assert!(text.contains("4096 bytes at 0x40001"), "{text}");
    }
}
