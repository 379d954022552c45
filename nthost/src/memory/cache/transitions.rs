//! What driver, HAL and devices do to lines.

use super::adversary::Marks;
use super::lines::{bytes_of, differing, mask, read_whole};
use super::log::{LINE, LineState, Lost, POISON};
use super::pages::{Kind, lines_of, pages_of};
use super::{Cache, Cause};
use crate::machine::choices::Choices;

/// Bytes of one page that a device is given, or was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// Address of the page in the process.
    pub page: usize,
    /// The first byte in the page, and the first behind.
    pub from: usize,
    pub to: usize,
    /// The lines of the page that go through a bounce page, one bit each.
    pub bounced: u64,
    pub to_device: bool,
}

impl Given {
    fn is_bounced(&self, line: usize) -> bool {
        self.bounced >> line & 1 == 1
    }
}

/// Who spoiled a line that a device was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoiler {
    /// It was dirty when the device was given it, and nobody had flushed the caches for that. For a
    /// device that reads, only if memory lacked bytes that it was given; so for the next one.
    Unflushed,
    /// The processor stored into it after the caches were flushed, before the device was given it.
    Early,
    /// The processor stored into the bytes that the device had.
    Store,
    /// The processor stored into other bytes of the line.
    Neighbour,
}

/// A line that somebody spoiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoiled {
    pub who: Spoiler,
    /// Address in the process of the first byte stored, or of the line.
    pub address: usize,
}

impl Spoiled {
    /// The one to report of two: a store may be the requester's, a missing flush is the driver's.
    pub(crate) fn worse(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let is_flush = |s: &Self| matches!(s.who, Spoiler::Unflushed | Spoiler::Early);
        if one.is_some_and(|one| is_flush(&one)) {
            one
        } else {
            other.filter(is_flush).or(one).or(other)
        }
    }
}

impl Cache {
    /// Bytes of the process are locked: their lines are tracked, each in the state that the
    /// choices say. `frame` tells a page's frame.
    pub(crate) fn lock(
        &mut self,
        choices: &Choices,
        start: usize,
        length: usize,
        frame: impl Fn(usize) -> u64,
    ) {
        self.track(choices, start, length, frame, Kind::Locked);
    }

    /// A common buffer was allocated. Nothing of an uncached one is tracked.
    pub(crate) fn add_common(
        &mut self,
        choices: &Choices,
        start: usize,
        length: usize,
        frame: impl Fn(usize) -> u64,
        cached: bool,
    ) {
        let kind = if cached { Kind::Common } else { Kind::Uncached };
        self.track(choices, start, length, frame, kind);
    }

    fn track(
        &mut self,
        choices: &Choices,
        start: usize,
        length: usize,
        frame: impl Fn(usize) -> u64,
        kind: Kind,
    ) {
        let marks = Marks::draw(choices);
        for (number, (address, from, to)) in pages_of(start, length).enumerate() {
            let slot = self.pages.find_or_add(address, frame(number), kind);
            let page = self.pages.page_mut(slot);
            page.lock(from, to);
            if page.kind == Kind::Uncached {
                continue;
            }
            for (line, first, end) in lines_of(from, to) {
                let bytes = mask(first, end);
                let known = self.pages.page(slot).lines[line].locked;
                if known & bytes == bytes {
                    continue;
                }
                let mark = marks.of(number, line);
                self.step((slot, line), Cause::Tracked, (first, end - first), |line, address| {
                    line.track(address, bytes, mark);
                });
            }
        }
    }

    /// A lock of these bytes ends. What no other lock holds is written back if it is dirty; if it
    /// is stale it becomes fresh or stays as it is, as the choices say; then it is never touched
    /// again.
    pub(crate) fn unlock(&mut self, choices: &Choices, start: usize, length: usize) {
        self.keep_fetched(start, length);
        for (address, from, to) in pages_of(start, length) {
            let Some(slot) = self.pages.find(address) else { continue };
            let page = self.pages.page_mut(slot);
            page.unlock(from, to);
            let (free, uncached) = (page.is_free(), page.kind == Kind::Uncached);
            if !uncached {
                for (line, ..) in lines_of(from, to) {
                    self.let_go(choices, slot, line);
                }
            }
            if free {
                self.pages.remove(slot);
            }
        }
    }

    /// A lock of these bytes ends because their memory is freed: nothing of it is read or written
    /// from now on.
    pub(crate) fn forget(&mut self, start: usize, length: usize) {
        for (address, from, to) in pages_of(start, length) {
            let Some(slot) = self.pages.find(address) else { continue };
            let page = self.pages.page_mut(slot);
            page.unlock(from, to);
            let (first, end) = if page.kind == Kind::Uncached { (0, 0) } else { (from, to) };
            for (line, ..) in lines_of(first, end) {
                let page = self.pages.page_mut(slot);
                let locked = page.locked(line);
                page.lines[line].keep(locked);
                self.pages.note(slot, line);
            }
            if self.pages.page(slot).is_free() {
                self.pages.remove(slot);
            }
        }
    }

    fn let_go(&mut self, choices: &Choices, slot: usize, line: usize) {
        let page = self.pages.page(slot);
        let (locked, state) = (page.locked(line), &page.lines[line]);
        let leaving = state.locked & !locked;
        if leaving == 0 {
            return;
        }
        let at = (slot, line);
        self.losing_step(at, Cause::Forgotten, Lost::WrittenOver, |line, address| {
            if line.state == LineState::Dirty { line.write_back(address) } else { 0 }
        });
        let place = self.pages.page(slot).place(line);
        let stale = self.pages.page(slot).lines[line].stale(place.address) & leaving;
        if stale != 0 {
            if choices.coin(2) {
                self.step(at, Cause::Forgotten, (0, LINE), |line, address| {
                    line.invalidate(address);
                });
            } else {
                self.log.lose(place, Lost::KeptStale, Cause::Forgotten, stale);
            }
        }
        self.pages.page_mut(slot).lines[line].keep(locked);
        self.pages.note(slot, line);
    }

    /// KeFlushIoBuffers: what is dirty is written back; for a read operation nothing stays in the
    /// cache.
    pub(crate) fn flush(&mut self, start: usize, length: usize, read: bool, cause: Cause) {
        for (address, from, to) in pages_of(start, length) {
            let Some(slot) = self.tracked(address) else { continue };
            for (line, ..) in lines_of(from, to) {
                let page = self.pages.page_mut(slot);
                page.lines[line].flushed = true;
                if !self.log.recording && page.is_flushed(line, read) {
                    continue;
                }
                self.losing_step((slot, line), cause, Lost::WrittenOver, |line, address| {
                    let lost =
                        if line.state == LineState::Dirty { line.write_back(address) } else { 0 };
                    if read {
                        line.invalidate(address);
                    }
                    lost
                });
            }
        }
    }

    /// The slot of a page whose lines are tracked.
    pub(super) fn tracked(&self, address: usize) -> Option<usize> {
        let slot = self.pages.find(address)?;
        (self.pages.page(slot).kind != Kind::Uncached).then_some(slot)
    }

    /// The HAL gives bytes to a device. `flushes` if it makes the caches and memory agree itself,
    /// as version 3's routines do.
    pub(crate) fn give(&mut self, given: Given, flushes: bool, cause: Cause) {
        if flushes {
            self.flush(given.page + given.from, given.to - given.from, !given.to_device, cause);
        }
        let Some(slot) = self.tracked(given.page) else { return };
        for (number, from, to) in lines_of(given.from, given.to) {
            if given.is_bounced(number) {
                if given.to_device {
                    self.step((slot, number), Cause::BounceIn, (from, to - from), |_, _| ());
                }
                continue;
            }
            self.step((slot, number), cause, (from, to - from), |line, address| {
                let dirty = line.state == LineState::Dirty
                    && (!given.to_device || line.stale(address) & mask(from, to) != 0);
                let flushed = std::mem::take(&mut line.flushed);
                if line.given == 0 {
                    line.begin_record(address);
                }
                line.given += 1;
                if dirty {
                    line.dirty_when_given = true;
                    line.flushed_before &= flushed;
                }
            });
        }
    }

    /// The HAL takes bytes back from a device. If its data `arrives`, what is clean is dropped, so
    /// that the processor reads what the device wrote; a dirty line loses one of the two, as the
    /// choices say. Returns the first such line, or the first that was dirty when a device was given
    /// it to read. Bounced lines are copied by the caller, before.
    pub(crate) fn take_back(
        &mut self,
        choices: &Choices,
        given: Given,
        arrives: bool,
        cause: Cause,
    ) -> Option<Spoiled> {
        let slot = self.tracked(given.page)?;
        let mut spoiled = None;
        for (number, from, to) in lines_of(given.from, given.to) {
            let at = (slot, number);
            if given.is_bounced(number) {
                if !given.to_device && arrives {
                    self.step(at, Cause::BounceOut, (from, to - from), |_, _| ());
                } else if !given.to_device {
                    let place = self.pages.page(slot).place(number);
                    self.log.lose(place, Lost::LeftInBounce, cause, mask(from, to));
                }
                continue;
            }
            let drops = arrives && !given.to_device;
            let found =
                arrives.then(|| self.spoiler(at, given.to_device, mask(from, to))).flatten();
            if drops && found.is_some() {
                self.settle_dirty(choices, at, cause);
            }
            spoiled = Spoiled::worse(spoiled, found);
            self.step(at, cause, (from, to - from), |line, address| {
                line.given = line.given.saturating_sub(1);
                if drops && line.state == LineState::Clean {
                    line.invalidate(address);
                }
            });
        }
        spoiled
    }

    /// Who made a line dirty, or stored beside the device's bytes, while the device had `bytes`. To
    /// a device that reads, stores make no difference: the application may change its own buffer.
    fn spoiler(&mut self, at: (usize, usize), to_device: bool, bytes: u64) -> Option<Spoiled> {
        let page = self.pages.page_mut(at.0);
        let address = page.place(at.1).address;
        let line = &mut page.lines[at.1];
        line.look(address);
        let whole = read_whole(address, line.locked);
        let stored = line.stored | differing(&whole, &line.snapshot, !line.locked);
        let first = |of: u64| address + of.trailing_zeros() as usize;
        let (who, address) = match line.state {
            _ if line.dirty_when_given && line.flushed_before => (Spoiler::Early, address),
            _ if line.dirty_when_given => (Spoiler::Unflushed, address),
            _ if to_device => return None,
            _ if stored & bytes != 0 => (Spoiler::Store, first(stored & bytes)),
            _ if stored != 0 => (Spoiler::Neighbour, first(stored)),
            _ => return None,
        };
        Some(Spoiled { who, address })
    }

    /// A line that processor and device both wrote: one of them loses.
    fn settle_dirty(&mut self, choices: &Choices, at: (usize, usize), cause: Cause) {
        let processor_wins = choices.coin(2);
        let how = if processor_wins { Lost::WrittenOver } else { Lost::StoreDropped };
        self.losing_step(at, cause, how, |line, address| {
            if line.state != LineState::Dirty {
                return 0;
            }
            if processor_wins {
                return line.write_back(address);
            }
            let lost = differing(&line.cpu(address), &line.ram, line.locked & !line.unseen);
            line.invalidate(address);
            lost
        });
    }

    /// A device reads bytes of one page; `false` if they are not tracked.
    pub(crate) fn device_reads(&mut self, start: usize, data: &mut [u8]) -> bool {
        let Some(slot) = self.tracked(start) else { return false };
        let from = start % crate::memory::PAGE;
        let mut done = 0;
        for (number, first, end) in lines_of(from, from + data.len()) {
            let count = end - first;
            let part = &mut data[done..done + count];
            let at = (slot, number);
            let old = self.step(at, Cause::DeviceRead, (first, count), |line, address| {
                part.copy_from_slice(&line.ram[first..end]);
                line.stale(address) & mask(first, end)
            });
            if old != 0 {
                let place = self.pages.page(slot).place(number);
                let ram = &self.pages.page(slot).lines[number].ram;
                let poison = bytes_of(old).all(|byte| ram[byte] == POISON[byte % POISON.len()]);
                let how = if poison { Lost::ReadPoison } else { Lost::ReadOld };
                self.log.lose(place, how, Cause::DeviceRead, old);
            }
            done += count;
        }
        true
    }

    /// A device writes bytes of one page; `false` if they are not tracked.
    pub(crate) fn device_writes(&mut self, start: usize, data: &[u8], cause: Cause) -> bool {
        let Some(slot) = self.tracked(start) else { return false };
        let from = start % crate::memory::PAGE;
        let mut done = 0;
        for (number, first, end) in lines_of(from, from + data.len()) {
            let part = &data[done..done + (end - first)];
            self.step((slot, number), cause, (first, end - first), |line, address| {
                line.device_writes(address, first, part);
            });
            done += end - first;
        }
        true
    }

    /// A device wrote these bytes, of one page, and nobody has flushed the caches for it: where they
    /// hold an older copy, the processor keeps it.
    pub(crate) fn keep_stale(&mut self, start: usize, length: usize) {
        let Some(slot) = self.tracked(start) else { return };
        let from = start % crate::memory::PAGE;
        for (number, first, end) in lines_of(from, from + length) {
            let page = self.pages.page(slot);
            let (place, line) = (page.place(number), &page.lines[number]);
            let stale = line.stale(place.address) & line.unseen & mask(first, end);
            self.log.lose(place, Lost::KeptStale, Cause::DeviceWrite, stale);
        }
    }

    /// Keeps what an instruction fetch sees of a buffer that is about to be unlocked.
    fn keep_fetched(&mut self, start: usize, length: usize) {
        let (_, view) = self.fetched.take().unwrap_or_default();
        self.fetched = self.fetch_tracked(start, length, view).map(|view| (start, view));
    }

    /// What an instruction fetch sees of bytes that are tracked, in `view`, whose contents go.
    fn fetch_tracked(&self, start: usize, length: usize, mut view: Vec<u8>) -> Option<Vec<u8>> {
        view.clear();
        view.reserve(length);
        for (address, from, to) in pages_of(start, length) {
            let page = self.pages.page(self.tracked(address)?);
            for (line, first, end) in lines_of(from, to) {
                view.extend_from_slice(&page.lines[line].ram[first..end]);
            }
        }
        Some(view)
    }

    /// What an instruction fetch sees of these bytes: RAM, now if they are locked, or when they
    /// were unlocked last. `None` if nobody knows.
    pub(crate) fn fetch(&self, start: usize, length: usize) -> Option<Vec<u8>> {
        self.fetch_tracked(start, length, Vec::new()).or_else(|| {
            let (known, view) = self.fetched.as_ref()?;
            let offset = start.checked_sub(*known)?;
            view.get(offset..offset + length).map(<[u8]>::to_vec)
        })
    }
}
