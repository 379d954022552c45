//! One 64-byte line: its state, the RAM copy and the snapshot, and what can happen to it.
//!
//! The CPU copy is the process memory itself. A line's state is only known when it is looked at
//! ([`Line::look`]): a store by the processor shows as a CPU copy that differs from the snapshot.
//! Nothing outside of the locked bytes is ever written.

// UNSAFETY: the CPU copy is memory of the process, reached by address.

use std::ptr;

use super::log::{LINE, LineState, POISON};

/// A line of poison.
const POISONED: [u8; LINE] = {
    let mut line = [0; LINE];
    let mut at = 0;
    while at < LINE {
        line[at] = POISON[at % POISON.len()];
        at += 1;
    }
    line
};

/// All bytes of a line.
pub(super) const ALL: u64 = u64::MAX;

/// The bytes `from..to` of a line, one bit each.
pub(super) fn mask(from: usize, to: usize) -> u64 {
    debug_assert!(from <= to && to <= LINE);
    if from == to { 0 } else { ALL >> (LINE - (to - from)) << from }
}

/// The bytes whose bits are set, in order.
pub(super) fn bytes_of(mask: u64) -> impl Iterator<Item = usize> {
    runs_of(mask).flat_map(|(from, to)| from..to)
}

/// The runs of bytes whose bits are set, in order: the first byte of each, and the first behind.
fn runs_of(mut mask: u64) -> impl Iterator<Item = (usize, usize)> {
    std::iter::from_fn(move || {
        let from = mask.trailing_zeros();
        let to = from + mask.checked_shr(from)?.trailing_ones();
        mask &= ALL.checked_shl(to).unwrap_or(0);
        // CAST: at most 64.
        Some((from as usize, to as usize))
    })
}

/// The bytes in which two copies differ, of those in `of`.
#[inline]
pub(super) fn differing(one: &[u8; LINE], other: &[u8; LINE], of: u64) -> u64 {
    let words = |copy: &[u8; LINE]| -> [u64; 8] {
        let (words, _) = copy.as_chunks();
        std::array::from_fn(|at| u64::from_le_bytes(words[at]))
    };
    let (one, other) = (words(one), words(other));
    // Most often there are none.
    if (0..8).fold(0, |sum, at| sum | (one[at] ^ other[at])) == 0 {
        return 0;
    }
    (0..8).fold(0, |sum, at| sum | nonzero_bytes(one[at] ^ other[at]) << (8 * at)) & of
}

/// A bit for each byte of a word that is not zero, the lowest byte's lowest.
fn nonzero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    // The highest bit of each byte: set if any other is, or it is itself.
    let found = (((word & LOW) + LOW) | word) & !LOW;
    // The product brings bit 8n + 7 to bit 56 + n, and no two others to the same place.
    (found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// What the line is like when it begins to be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// RAM never had the data.
    Dirty,
    Clean,
    Absent,
}

/// One line of a tracked page. Aligned, so that a look at it touches as little memory as it can.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Line {
    /// As far as the model has seen; [`Line::look`] brings it up to date.
    pub state: LineState,
    /// What devices read.
    pub ram: [u8; LINE],
    /// The CPU copy as the model last left it.
    pub snapshot: [u8; LINE],
    /// The bytes that are locked: the only ones that count, and that are ever written.
    pub locked: u64,
    /// The bytes that the device wrote to RAM and the processor does not have.
    pub unseen: u64,
    /// Mappings through which a device has the line itself, not a bounce page.
    pub given: u16,
    /// Whether KeFlushIoBuffers was called for it since a device was given it.
    pub flushed: bool,
    /// Whether it was dirty when a device was given it, and whether it had been flushed for that
    /// each time that it was. Of all mappings that a device has it through at the same time: another
    /// one makes nothing good.
    pub dirty_when_given: bool,
    pub flushed_before: bool,
    /// The bytes that the processor stored since a device was given the line, through the first of
    /// these mappings.
    pub stored: u64,
}

impl Line {
    pub(super) const UNTRACKED: Self = Self {
        state: LineState::Absent,
        ram: [0; LINE],
        snapshot: [0; LINE],
        locked: 0,
        unseen: 0,
        given: 0,
        flushed: false,
        dirty_when_given: false,
        flushed_before: false,
        stored: 0,
    };

    /// The CPU copy of the locked bytes; 0 elsewhere.
    pub(super) fn cpu(&self, address: usize) -> [u8; LINE] {
        read(address, self.locked)
    }

    /// Whether the processor stored since the last look.
    pub(super) fn is_stored(&self, address: usize) -> bool {
        differing(&self.cpu(address), &self.snapshot, self.locked) != 0
    }

    /// Brings the state up to date: a CPU copy that is not the snapshot is the processor's store.
    /// Returns the bytes that were stored since the last look.
    pub(super) fn look(&mut self, address: usize) -> u64 {
        let stored = differing(&self.cpu(address), &self.snapshot, self.locked);
        if stored != 0 {
            self.state = LineState::Dirty;
            self.stored |= stored;
        }
        stored
    }

    /// Tracks the bytes in `bytes` too. A line that is tracked already keeps its state; only what
    /// was never written back can be poison.
    pub(super) fn track(&mut self, address: usize, bytes: u64, mark: Mark) {
        let new = bytes & !self.locked;
        let first = self.locked == 0;
        self.locked |= bytes;
        let cpu = self.cpu(address);
        if first {
            self.state = match mark {
                Mark::Dirty => LineState::Dirty,
                Mark::Clean => LineState::Clean,
                Mark::Absent => LineState::Absent,
            };
        }
        if first && bytes != ALL {
            // What an earlier lock of the line left here.
            (self.snapshot, self.ram) = ([0; LINE], [0; LINE]);
        }
        let poisoned = self.state == LineState::Dirty && mark == Mark::Dirty;
        let ram = if poisoned { &POISONED } else { &cpu };
        for (from, to) in runs_of(new) {
            self.snapshot[from..to].copy_from_slice(&cpu[from..to]);
            self.ram[from..to].copy_from_slice(&ram[from..to]);
        }
    }

    /// A device is given the line, which none has: what is recorded of the time that it does begins
    /// anew.
    pub(super) fn begin_record(&mut self, address: usize) {
        (self.dirty_when_given, self.flushed_before, self.stored) = (false, true, 0);
        let whole = read_whole(address, self.locked);
        for byte in bytes_of(!self.locked) {
            self.snapshot[byte] = whole[byte];
        }
    }

    /// Only these bytes are tracked any longer.
    pub(super) fn keep(&mut self, locked: u64) {
        self.locked = locked;
        self.unseen &= locked;
        if locked == 0 {
            (self.state, self.given, self.flushed) = (LineState::Absent, 0, false);
        }
    }

    /// Writes the CPU copy back. Returns the bytes that the device had written and that are lost.
    pub(super) fn write_back(&mut self, address: usize) -> u64 {
        let cpu = self.cpu(address);
        let unseen = self.unseen & self.locked;
        let lost = if unseen == 0 { 0 } else { differing(&cpu, &self.ram, unseen) };
        self.ram = cpu;
        self.remember(&cpu);
        self.unseen = 0;
        self.state = LineState::Clean;
        lost
    }

    /// Drops the CPU copy: the processor reads RAM.
    pub(super) fn invalidate(&mut self, address: usize) {
        let mut cpu = self.cpu(address);
        let changed = differing(&cpu, &self.ram, self.locked);
        if changed != 0 {
            write(address, &self.ram, changed);
            cpu = self.cpu(address);
        }
        self.remember(&cpu);
        self.unseen = 0;
        self.state = LineState::Absent;
    }

    /// The snapshot of the locked bytes; beside them it has what stood there when a device was
    /// given the line.
    fn remember(&mut self, cpu: &[u8; LINE]) {
        if self.locked == ALL {
            self.snapshot = *cpu;
            return;
        }
        for (from, to) in runs_of(self.locked) {
            self.snapshot[from..to].copy_from_slice(&cpu[from..to]);
        }
    }

    /// The device writes bytes `at..` of RAM. An absent line has no copy that could be stale.
    pub(super) fn device_writes(&mut self, address: usize, at: usize, data: &[u8]) {
        let bytes = mask(at, at + data.len());
        debug_assert_eq!(bytes & !self.locked, 0, "a device reaches locked bytes only");
        self.ram[at..at + data.len()].copy_from_slice(data);
        if self.state == LineState::Absent {
            write(address, &self.ram, bytes);
            self.snapshot[at..at + data.len()].copy_from_slice(data);
        } else {
            self.unseen |= bytes;
        }
    }

    /// The bytes in which processor and RAM differ.
    pub(super) fn stale(&self, address: usize) -> u64 {
        differing(&self.cpu(address), &self.ram, self.locked)
    }

    /// The model's invariants, for a line that was just looked at.
    pub(super) fn check(&self, address: usize) {
        let cpu = self.cpu(address);
        match self.state {
            LineState::Absent => {
                debug_assert_eq!(differing(&cpu, &self.snapshot, self.locked), 0, "absent: CPU");
                debug_assert_eq!(differing(&cpu, &self.ram, self.locked), 0, "absent: RAM");
                debug_assert_eq!(self.unseen, 0, "absent: nothing is unseen");
            }
            LineState::Clean => {
                debug_assert_eq!(differing(&cpu, &self.snapshot, self.locked), 0, "clean: CPU");
            }
            LineState::Dirty => {}
        }
    }
}

/// Reads the bytes of a line whose bits are set; 0 elsewhere.
fn read(address: usize, bytes: u64) -> [u8; LINE] {
    let from: *const u8 = ptr::with_exposed_provenance(address);
    let mut copy = [0; LINE];
    if bytes == ALL {
        // SAFETY: the line is locked as a whole, so it is memory of the process that stays.
        unsafe { ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), LINE) };
        return copy;
    }
    for (first, end) in runs_of(bytes) {
        let (from, part) = (from.wrapping_add(first), &mut copy[first..end]);
        // SAFETY: locked bytes are memory of the process that stays.
        unsafe { ptr::copy_nonoverlapping(from, part.as_mut_ptr(), part.len()) };
    }
    copy
}

/// Writes the bytes of a line whose bits are set.
fn write(address: usize, copy: &[u8; LINE], bytes: u64) {
    let to: *mut u8 = ptr::with_exposed_provenance_mut(address);
    for (first, end) in runs_of(bytes) {
        let (part, to) = (&copy[first..end], to.wrapping_add(first));
        // SAFETY: locked bytes, and a device may write them: what the device wrote is the only
        // thing that makes RAM differ from a copy that is not dirty (DMA-104).
        unsafe { ptr::copy_nonoverlapping(part.as_ptr(), to, part.len()) };
    }
}

/// The whole line as memory has it now, locked or not: who stores next to a device's bytes?
///
/// A line never crosses a page, and some byte of this page is locked, so all of it is mapped.
/// Interpreters that know allocations get the locked bytes only.
pub(super) fn read_whole(address: usize, locked: u64) -> [u8; LINE] {
    if cfg!(miri) {
        return read(address, locked);
    }
    let from: *const u8 = ptr::with_exposed_provenance(address);
    std::array::from_fn(|byte| {
        let at = from.wrapping_add(byte);
        // SAFETY: mapped memory of this process, as said above; volatile, since the bytes beside
        // the locked ones may be anybody's.
        unsafe { at.read_volatile() }
    })
}

/// Writes bytes of a page that no cache holds.
pub(super) fn write_through(address: usize, data: &[u8]) {
    let to: *mut u8 = ptr::with_exposed_provenance_mut(address);
    // SAFETY: bytes of a common buffer that was not freed, which the device has.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Memory([u8; LINE]);

    fn tracked(memory: &mut Memory, mark: Mark) -> (Line, usize) {
        let address = memory.0.as_mut_ptr().expose_provenance();
        let mut line = Line::UNTRACKED;
        line.track(address, ALL, mark);
        (line, address)
    }

    #[test]
    fn masks_have_a_bit_for_each_byte() {
        assert_eq!(mask(0, LINE), ALL);
        assert_eq!(mask(3, 3), 0);
        assert_eq!(mask(0, 3), 0b111);
        assert_eq!(mask(62, 64), 0b11 << 62);
        assert_eq!(bytes_of(mask(5, 9)).collect::<Vec<_>>(), [5, 6, 7, 8]);
        assert_eq!(runs_of(0).count(), 0);
        assert_eq!(runs_of(ALL).collect::<Vec<_>>(), [(0, LINE)]);
        assert_eq!(runs_of(1 << 63 | 0b110).collect::<Vec<_>>(), [(1, 3), (63, 64)]);
    }

    #[test]
    fn copies_differ_where_their_bytes_do() {
        let one: [u8; LINE] = std::array::from_fn(|at| at as u8);
        for changed in [0, 1, ALL, 1 << 63, 0x8001_0000_0100_0180, 0x5555_5555_5555_5555] {
            for by in [1, 0x80, 0xFF] {
                let mut other = one;
                bytes_of(changed).for_each(|at| other[at] ^= by);
                assert_eq!(differing(&one, &other, ALL), changed);
                assert_eq!(differing(&one, &other, mask(7, 60)), changed & mask(7, 60));
            }
        }
    }

    #[test]
    fn only_a_marked_line_is_poisoned_underneath() {
        let mut memory = Memory([7; LINE]);
        let (dirty, address) = tracked(&mut memory, Mark::Dirty);
        assert_eq!(dirty.ram[..8], POISON);
        assert_eq!(dirty.cpu(address), [7; LINE]);
        for mark in [Mark::Clean, Mark::Absent] {
            let (line, address) = tracked(&mut memory, mark);
            assert_eq!(line.ram, [7; LINE]);
            line.check(address);
        }
    }

    #[test]
    fn a_store_is_seen_and_a_devices_write_under_it_is_lost_when_it_is_written_back() {
        let mut memory = Memory([1; LINE]);
        let (mut line, address) = tracked(&mut memory, Mark::Absent);
        write(address, &[9; LINE], mask(4, 6));
        assert_eq!(line.look(address), mask(4, 6));
        assert_eq!(line.state, LineState::Dirty);

        line.device_writes(address, 10, &[5, 5, 1]);
        // The third byte is what the processor has, so nothing is lost by it.
        assert_eq!(line.write_back(address), mask(10, 12));
        assert_eq!(line.ram[4], 9);
    }

    #[test]
    fn a_device_write_reaches_the_processor_at_once_if_the_line_is_absent_only() {
        let mut memory = Memory([1; LINE]);
        let (mut line, address) = tracked(&mut memory, Mark::Absent);
        line.device_writes(address, 0, &[3; 8]);
        line.check(address);
        assert_eq!(line.cpu(address)[..9], [3, 3, 3, 3, 3, 3, 3, 3, 1]);

        line.state = LineState::Clean;
        line.device_writes(address, 0, &[4; 8]);
        assert_eq!(line.cpu(address)[0], 3);
        assert_eq!(line.stale(address), mask(0, 8));
        line.invalidate(address);
        assert_eq!(line.cpu(address)[0], 4);
        line.check(address);
    }

    #[test]
    fn bytes_beside_the_locked_ones_are_never_written() {
        let mut memory = Memory([1; LINE]);
        let address = memory.0.as_mut_ptr().expose_provenance();
        let mut line = Line::UNTRACKED;
        line.track(address, mask(8, 16), Mark::Clean);
        line.device_writes(address, 8, &[2; 8]);
        line.ram[0] = 0xEE;
        line.invalidate(address);
        assert_eq!(memory.0[..8], [1; 8]);
        assert_eq!(memory.0[8..16], [2; 8]);
        assert_eq!(memory.0[16..], [1; 48]);
    }
}
