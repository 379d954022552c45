//! Map registers: which page each one maps, and the pages that data is bounced through.
//!
//! A free register's bounce page is filled with [`FILL`]; so are the bytes around the mapped part
//! of a page. Stray writes show when the register is mapped again or flushed. A free page is
//! looked at in samples only: a device's stray write is reported when it happens anyway.

// UNSAFETY: bounce pages and the pages behind them are raw memory.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::{self, NonNull};

use super::adapter::Paging;
use super::extents::Extents;
use crate::cache::LINE;
use crate::memory::PAGE;
use crate::memory::pages::NumberMap;

/// What unused bounce memory is filled with, as Driver Verifier does.
pub(super) const FILL: u8 = 0x0F;
/// Distance of the samples in a free page.
const SAMPLE: usize = 512;
/// No register.
const NONE: u32 = u32::MAX;

/// One map register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    /// The physical page it maps, or mapped last.
    pub frame: u64,
    /// Host address of that page.
    pub page: usize,
    /// The mapped bytes of the page.
    pub from: u32,
    pub to: u32,
    pub to_device: bool,
    pub mapped: bool,
    /// Whether the device accessed some of them.
    pub touched: bool,
    /// Names the operation, also after its end.
    pub operation: u64,
    /// The next register that maps the same page.
    next: u32,
}

const UNUSED: Register = Register {
    frame: 0,
    page: 0,
    from: 0,
    to: 0,
    to_device: false,
    mapped: false,
    touched: false,
    operation: 0,
    next: NONE,
};

/// What was found where nobody may write (E6/0F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// In the page of a free register.
    Free { at: usize },
    /// Before the mapped bytes of a page.
    Before { start: usize, at: usize },
    /// Behind them.
    Behind { start: usize, at: usize },
}

/// Bounce pages in a row, one for each register.
#[derive(Debug)]
struct Bounce {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: owned memory without an owner's thread.
unsafe impl Send for Bounce {}

impl Bounce {
    fn new(pages: usize) -> Self {
        let layout = Layout::from_size_align(pages.max(1) * PAGE, PAGE).expect("the size fits");
        // SAFETY: the layout has a size.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the layout's size was just allocated.
        unsafe { memory.write_bytes(FILL, layout.size()) };
        memory.as_ptr().expose_provenance();
        Self { memory, layout }
    }

    fn page(&self, register: u32) -> *mut u8 {
        // CAST: a register number.
        let offset = register as usize * PAGE;
        assert!(offset < self.layout.size());
        // SAFETY: within the allocation, as just asserted.
        unsafe { self.memory.as_ptr().add(offset) }
    }
}

impl Drop for Bounce {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

/// The map registers of one adapter.
#[derive(Debug)]
pub(super) struct RegisterFile {
    pub extents: Extents,
    registers: Vec<Register>,
    bounce: Option<Bounce>,
    /// First register that maps a frame.
    frames: NumberMap<u64, u32>,
    /// The lines of each register's page that go through its bounce page, one bit each; `None`
    /// if whole pages do.
    lines: Option<Vec<u64>>,
}

/// The part of a page that is to be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub frame: u64,
    pub page: usize,
    pub from: u32,
    pub to: u32,
    pub to_device: bool,
    pub operation: u64,
}

impl RegisterFile {
    /// `count` registers, with bounce pages if something is copied.
    pub(super) fn new(count: u32, paging: Paging) -> Self {
        let by_line = paging == Paging::Translated { bounced_lines: true };
        let bounces = by_line || paging.copies_all();
        // CAST: a count of registers.
        let length = count as usize;
        Self {
            extents: Extents::new(count),
            registers: vec![UNUSED; length],
            bounce: bounces.then(|| Bounce::new(length)),
            frames: NumberMap::with_capacity_and_hasher(2 * length, Default::default()),
            lines: by_line.then(|| vec![0; length]),
        }
    }

    /// The lines of a register's page that are copied, one bit each.
    #[inline]
    pub(super) fn bounced_lines(&self, register: u32) -> u64 {
        match (&self.lines, &self.bounce) {
            (Some(lines), _) => lines[register as usize],
            (None, Some(_)) => u64::MAX,
            (None, None) => 0,
        }
    }

    /// How many registers there are.
    pub(super) fn count(&self) -> u32 {
        // CAST: made from 32 bits.
        self.registers.len() as u32
    }

    /// A register.
    #[inline]
    pub(super) fn get(&self, register: u32) -> Option<&Register> {
        self.registers.get(register as usize)
    }

    /// Address of a register's bounce page.
    #[inline]
    pub(super) fn bounce_page(&self, register: u32) -> Option<*mut u8> {
        self.bounce.as_ref().map(|bounce| bounce.page(register))
    }

    /// The first register that maps some byte of `from..to` of a page.
    #[inline]
    pub(super) fn overlapping(&self, frame: u64, from: u32, to: u32) -> Option<u32> {
        let mut current = *self.frames.get(&frame)?;
        while current != NONE {
            let register = &self.registers[current as usize];
            if register.from < to && from < register.to {
                return Some(current);
            }
            current = register.next;
        }
        None
    }

    /// Whether registers map every byte of `from..to` of a page.
    pub(super) fn covers(&self, frame: u64, from: u32, to: u32) -> bool {
        let mut at = from;
        while at < to {
            let found = self.overlapping(frame, at, at + 1).and_then(|r| self.get(r));
            let Some(register) = found else { return false };
            at = register.to;
        }
        true
    }

    /// What registers map, one after the other: offsets of the first byte and behind the last, and
    /// whether the device accessed some.
    pub(super) fn parts(
        &self,
        registers: Range<u32>,
    ) -> impl Iterator<Item = (usize, usize, bool)> {
        let mut end = 0;
        registers.filter_map(|register| self.get(register)).map(move |entry| {
            let start = end;
            // CAST: bytes of a page.
            end += (entry.to - entry.from) as usize;
            (start, end, entry.touched)
        })
    }

    /// The device accesses bytes that a register maps.
    #[inline]
    pub(super) fn touch(&mut self, register: u32) {
        if let Some(entry) = self.registers.get_mut(register as usize) {
            entry.touched = true;
        }
    }

    /// The device accesses bytes `from..to` of a page, which the register `first` and others map.
    pub(super) fn touch_from(&mut self, first: u32, from: u32, to: u32) {
        let mut current = first;
        while let Some(entry) = self.registers.get_mut(current as usize) {
            entry.touched |= entry.from < to && from < entry.to;
            current = entry.next;
        }
    }

    /// Gives the bounce pages back; the adapter is put.
    pub(super) fn free_bounce_pages(&mut self) {
        self.bounce = None;
    }

    /// Maps a piece through a free register; data for the device is copied.
    pub(super) fn map(&mut self, register: u32, piece: Piece, poison: bool) -> Result<(), Stray> {
        let Piece { frame, page, from, to, to_device, operation } = piece;
        if self.bounce.is_some() {
            self.check_free(register)?;
        }
        let head = self.frames.insert(frame, register).unwrap_or(NONE);
        let (mapped, touched, next) = (true, false, head);
        self.registers[register as usize] =
            Register { frame, page, from, to, to_device, mapped, touched, operation, next };
        let Some(bounce) = self.bounce_page(register) else { return Ok(()) };
        if self.lines.is_some() {
            self.copy_partial_lines(register, (from, to), bounce);
            return Ok(());
        }
        // CAST: offsets in a page.
        fill(bounce, 0, from as usize);
        fill(bounce, to as usize, PAGE);
        if to_device {
            copy(page, bounce, from, to);
        } else if poison {
            fill(bounce, from as usize, to as usize);
        }
        Ok(())
    }

    /// Maps more of the page that a register maps already: up to `to`.
    pub(super) fn extend(&mut self, register: u32, to: u32) {
        let entry = &mut self.registers[register as usize];
        let from = std::mem::replace(&mut entry.to, to);
        let (page, to_device) = (entry.page, entry.to_device);
        if self.lines.is_some() {
            if let Some(bounce) = self.bounce_page(register) {
                self.copy_partial_lines(register, (from, to), bounce);
            }
            return;
        }
        if let (Some(bounce), true) = (self.bounce_page(register), to_device) {
            copy(page, bounce, from, to);
        }
    }

    /// Ends a register's mapping, also if something strayed; data from the device is copied back if
    /// `copy_back`.
    pub(super) fn unmap(&mut self, register: u32, copy_back: bool) -> Result<(), Stray> {
        let entry = &mut self.registers[register as usize];
        entry.mapped = false;
        let Register { frame, page, from, to, to_device, next, .. } = *entry;
        self.unlink(frame, register, next);
        let Some(bounce) = self.bounce_page(register) else { return Ok(()) };
        if self.lines.is_some() {
            self.copy_lines_back(register, bounce, copy_back);
            return Ok(());
        }
        // CAST: offsets in a page.
        let (start, end) = (from as usize, to as usize);
        let before = changed(bounce, 0, start).map(|at| Stray::Before { start: page + start, at });
        let behind =
            || changed(bounce, end, PAGE).map(|at| Stray::Behind { start: page + start, at });
        let stray = before.or_else(behind);
        if copy_back && !to_device {
            copy_out(bounce, page, from, to);
        }
        for sample in (0..PAGE).step_by(SAMPLE) {
            fill(bounce, sample, sample + 8);
        }
        stray.map_or(Ok(()), Err)
    }

    /// Bounces the lines that bytes `from..to` of a register's page fill in part, besides those
    /// that are bounced already.
    fn copy_partial_lines(&mut self, register: u32, (from, to): (u32, u32), bounce: *mut u8) {
        let entry = self.registers[register as usize];
        let Some(lines) = &mut self.lines else { return };
        let bounced = &mut lines[register as usize];
        if entry.from == from {
            *bounced = 0;
        }
        // CAST: a constant.
        let line = LINE as u32;
        for start in (from - from % line..to).step_by(LINE) {
            let (first, end) = (from.max(start), to.min(start + line));
            if end - first == line {
                continue;
            }
            *bounced |= 1 << (start / line);
            if entry.to_device {
                copy(entry.page, bounce, first, end);
            } else {
                // CAST: offsets in a page.
                fill(bounce, first as usize, end as usize);
            }
        }
    }

    /// Copies the bounced lines of a register's page back, if `copy_back`, and fills them.
    fn copy_lines_back(&self, register: u32, bounce: *mut u8, copy_back: bool) {
        let Register { page, from, to, to_device, .. } = self.registers[register as usize];
        let bounced = self.bounced_lines(register);
        // CAST: a constant.
        let line = LINE as u32;
        for start in (from - from % line..to).step_by(LINE) {
            if bounced >> (start / line) & 1 == 0 {
                continue;
            }
            let (first, end) = (from.max(start), to.min(start + line));
            if copy_back && !to_device {
                copy_out(bounce, page, first, end);
            }
            // CAST: offsets in a page.
            fill(bounce, first as usize, end as usize);
        }
    }

    fn unlink(&mut self, frame: u64, register: u32, next: u32) {
        let Some(head) = self.frames.get_mut(&frame) else { return };
        if *head == register {
            if next == NONE {
                self.frames.remove(&frame);
            } else {
                *head = next;
            }
            return;
        }
        let mut current = *head;
        while current != NONE {
            let entry = &mut self.registers[current as usize];
            if entry.next == register {
                entry.next = next;
                return;
            }
            current = entry.next;
        }
    }

    fn check_free(&self, register: u32) -> Result<(), Stray> {
        let Some(bounce) = self.bounce_page(register) else { return Ok(()) };
        for sample in (0..PAGE).step_by(SAMPLE) {
            if let Some(at) = changed(bounce, sample, sample + 8) {
                return Err(Stray::Free { at });
            }
        }
        Ok(())
    }

    /// The register that maps, or last mapped, this byte of a page.
    pub(super) fn last_with(&self, frame: u64, offset: u32) -> Option<&Register> {
        let holds = |r: &&Register| r.frame == frame && (r.from..r.to).contains(&offset);
        self.registers.iter().filter(holds).max_by_key(|r| r.operation)
    }
}

/// Fills `from..to` of a bounce page.
fn fill(bounce: *mut u8, from: usize, to: usize) {
    // SAFETY: `bounce` is a whole page and the range lies in it.
    let start = unsafe { bounce.add(from) };
    // SAFETY: as above.
    unsafe { start.write_bytes(FILL, to - from) };
}

/// Address of the first byte of `from..to` that is not the filling.
fn changed(bounce: *const u8, from: usize, to: usize) -> Option<usize> {
    const WORD: usize = size_of::<u64>();
    // In words, as long as they are filled: only one that is not is looked at byte by byte.
    let filled = |offset: &usize| {
        let word: *const u64 = bounce.wrapping_add(*offset).cast();
        // SAFETY: `bounce` is a whole page, and the word at the offset lies in it, below `to`.
        let word = unsafe { word.read_unaligned() };
        word == u64::from_ne_bytes([FILL; WORD])
    };
    let words = (to - from) / WORD;
    let good = (0..words).map(|word| from + word * WORD).take_while(filled).count();
    (from + good * WORD..to).find_map(|offset| {
        let at = bounce.wrapping_add(offset);
        // SAFETY: `bounce` is a whole page and the offset lies in it.
        let byte = unsafe { at.read() };
        (byte != FILL).then(|| at.addr())
    })
}

/// Copies `from..to` of a process page into its bounce page.
fn copy(page: usize, bounce: *mut u8, from: u32, to: u32) {
    // CAST: offsets in a page.
    let (offset, length) = (from as usize, (to - from) as usize);
    let source: *const u8 = ptr::with_exposed_provenance(page + offset);
    // SAFETY: the page is locked, so these bytes belong to the buffer; the bounce page is ours.
    unsafe { ptr::copy_nonoverlapping(source, bounce.wrapping_add(offset), length) };
}

/// Copies `from..to` of a bounce page back into its process page.
fn copy_out(bounce: *const u8, page: usize, from: u32, to: u32) {
    // CAST: offsets in a page.
    let (offset, length) = (from as usize, (to - from) as usize);
    let target: *mut u8 = ptr::with_exposed_provenance_mut(page + offset);
    // SAFETY: the page is locked for writing (DMA-104), so these bytes belong to the buffer.
    unsafe { ptr::copy_nonoverlapping(bounce.wrapping_add(offset), target, length) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(page: usize, from: u32, to: u32, to_device: bool) -> Piece {
        Piece { frame: 77, page, from, to, to_device, operation: 1 }
    }

    fn page_of(byte: u8) -> (Vec<u8>, usize) {
        let mut memory = vec![byte; 2 * PAGE];
        let page = memory.as_mut_ptr().expose_provenance().next_multiple_of(PAGE);
        (memory, page)
    }

    #[test]
    fn data_is_copied_in_at_map_and_out_at_flush_only() {
        let mut file = RegisterFile::new(2, Paging::Bounced);
        let (_memory, page) = page_of(0x55);
        file.map(0, piece(page, 100, 200, true), true).expect("it is free");
        let bounce = file.bounce_page(0).expect("it bounces");
        // SAFETY: within the bounce page.
        assert_eq!(unsafe { bounce.wrapping_add(150).read() }, 0x55);
        file.unmap(0, true).expect("nothing strayed");

        file.map(1, piece(page, 0, 4096, false), true).expect("it is free");
        let bounce = file.bounce_page(1).expect("it bounces");
        // SAFETY: within the bounce page.
        unsafe { bounce.wrapping_add(7).write(0x99) };
        file.unmap(1, true).expect("nothing strayed");

        let written: *const u8 = ptr::with_exposed_provenance(page + 7);
        // SAFETY: within the page that the test owns.
        assert_eq!(unsafe { written.read() }, 0x99);
    }

    #[test]
    fn a_write_beside_the_mapped_bytes_is_found() {
        let mut file = RegisterFile::new(1, Paging::Bounced);
        let (_memory, page) = page_of(0);
        file.map(0, piece(page, 100, 200, false), true).expect("it is free");
        let bounce = file.bounce_page(0).expect("it bounces");
        // SAFETY: within the bounce page.
        unsafe { bounce.wrapping_add(200).write(1) };

        assert!(matches!(file.unmap(0, true), Err(Stray::Behind { .. })));
    }

    #[test]
    fn a_write_to_a_free_register_is_found() {
        let mut file = RegisterFile::new(1, Paging::Bounced);
        let bounce = file.bounce_page(0).expect("it bounces");
        // SAFETY: within the bounce page.
        unsafe { bounce.write_bytes(3, PAGE) };
        let (_memory, page) = page_of(0);

        let found = file.map(0, piece(page, 0, 10, true), true);

        assert!(matches!(found, Err(Stray::Free { .. })));
    }

    #[test]
    fn overlaps_are_seen_byte_by_byte_through_one_page() {
        let mut file = RegisterFile::new(3, Paging::Direct);
        file.map(0, piece(0x1000, 0, 100, true), true).expect("it is free");
        file.map(1, piece(0x1000, 200, 300, true), true).expect("it is free");

        assert_eq!(file.overlapping(77, 99, 150), Some(0));
        assert_eq!(file.overlapping(77, 100, 200), None);
        file.unmap(0, true).expect("nothing strayed");
        assert_eq!(file.overlapping(77, 0, 100), None);
        assert_eq!(file.overlapping(77, 250, 260), Some(1));
    }
}
