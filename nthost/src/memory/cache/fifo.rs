//! The buffers of adapters: a device's data waits there until the buffer is full, the device goes
//! on elsewhere, or somebody flushes it ("internal buffers", as the documents call them).
//!
//! A device has one, whatever adapter objects its driver has for it. It holds bytes of one page and
//! one mapping: others are elsewhere.

use super::lines::{mask, write_through};
use super::log::{FIFO, LINE, Lost, Place, Step};
use super::pages::lines_of;
use super::{Cache, Cause};
use crate::memory::{PAGE, PAGE_SHIFT};

/// What waits in one device's FIFO.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fifo {
    /// Address in the process of the first byte.
    pub address: usize,
    pub length: usize,
    /// Physical address of the page.
    page: u64,
    /// The mapping it goes through.
    operation: u64,
    bytes: [u8; FIFO],
}

impl Fifo {
    const EMPTY: Self = Self { address: 0, length: 0, page: 0, operation: 0, bytes: [0; FIFO] };

    /// What waits.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether a byte for `address`, through this mapping, can wait with the others.
    fn has_room(&self, operation: u64, address: usize) -> bool {
        self.operation == operation
            && self.address + self.length == address
            && self.length < FIFO
            && !address.is_multiple_of(PAGE)
    }
}

/// The FIFOs of all devices, by slot.
#[derive(Debug, Default)]
pub(super) struct Fifos(Vec<Fifo>);

impl Fifos {
    /// What waits in a device's FIFO.
    pub(super) fn get(&self, device: usize) -> Option<Fifo> {
        self.0.get(device).copied().filter(|fifo| fifo.length != 0)
    }

    /// Takes what waits in a device's FIFO.
    fn take(&mut self, device: usize) -> Option<Fifo> {
        let waiting = self.get(device)?;
        self.0[device].length = 0;
        Some(waiting)
    }

    /// Adds bytes as far as there is room; returns how many. `place` is where they go, if the FIFO
    /// is empty.
    fn fill(&mut self, device: usize, place: Fifo, data: &[u8]) -> usize {
        if self.0.len() <= device {
            self.0.resize(device + 1, Fifo::EMPTY);
        }
        let fifo = &mut self.0[device];
        if fifo.length == 0 {
            *fifo = place;
        }
        let count = data.len().min(FIFO - fifo.length);
        fifo.bytes[fifo.length..fifo.length + count].copy_from_slice(&data[..count]);
        fifo.length += count;
        count
    }

    /// The devices whose FIFOs hold something, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, fifo)| fifo.length != 0).map(|(at, _)| at)
    }
}

impl Cache {
    /// A device writes bytes of one page, which a mapping gave it, through its FIFO, where the last
    /// ones stay until it is full, drained, or the device goes on elsewhere.
    pub(crate) fn fifo_takes(
        &mut self,
        (device, operation): (usize, u64),
        start: usize,
        data: &[u8],
    ) {
        let page = self.physical(start);
        let (mut at, mut rest) = (start, data);
        while !rest.is_empty() {
            if self.fifos.get(device).is_some_and(|fifo| !fifo.has_room(operation, at)) {
                self.drain(device, Cause::FifoDrained);
            }
            let place = Fifo { address: at, page, operation, ..Fifo::EMPTY };
            let count = self.fifos.fill(device, place, rest);
            self.record_fifo(device);
            (at, rest) = (at + count, &rest[count..]);
        }
    }

    /// What waits in a device's FIFO goes on to memory.
    pub(crate) fn drain(&mut self, device: usize, cause: Cause) {
        let Some(fifo) = self.fifos.take(device) else { return };
        if self.device_writes(fifo.address, fifo.bytes(), cause) {
            return;
        }
        // Nothing of the page is in a cache, or it is not there any more.
        match self.pages.find(fifo.address) {
            Some(_) => write_through(fifo.address, fifo.bytes()),
            None => self.lose_fifo(&fifo, cause),
        }
    }

    /// What waits in a device's FIFO for a mapping is lost.
    pub(crate) fn spill(&mut self, (device, operation): (usize, u64), cause: Cause) {
        let waiting = self.fifos.get(device);
        if waiting.is_some_and(|fifo| fifo.operation == operation)
            && let Some(fifo) = self.fifos.take(device)
        {
            self.lose_fifo(&fifo, cause);
        }
    }

    fn lose_fifo(&mut self, fifo: &Fifo, cause: Cause) {
        self.lose_bytes(fifo.page, (fifo.address, fifo.length), cause);
    }

    /// Bytes of a device's, on one page with this physical address, are left in a FIFO for good.
    fn lose_bytes(&mut self, page: u64, (start, length): (usize, usize), cause: Cause) {
        let from = start % PAGE;
        for (line, first, end) in lines_of(from, from + length) {
            let address = start - from + line * LINE;
            // CAST: below 64.
            let place = Place { page, line: line as u8, address };
            self.log.lose(place, Lost::LeftInFifo, cause, mask(first, end));
        }
    }

    /// Bytes of one page are left in the FIFO of the system's DMA controller for good.
    pub(crate) fn left_behind(&mut self, start: usize, length: usize, cause: Cause) {
        self.lose_bytes(self.physical(start), (start, length), cause);
    }

    /// Physical address of the page of a byte.
    fn physical(&self, address: usize) -> u64 {
        self.pages.find(address).map_or(0, |slot| self.pages.page(slot).frame << PAGE_SHIFT)
    }

    fn record_fifo(&mut self, device: usize) {
        if let Some(fifo) = self.fifos.get(device).filter(|_| self.log.recording) {
            self.record_waiting(fifo.address, fifo.bytes(), Cause::FifoFilled);
        }
    }

    /// Records that bytes of one page have come into the FIFO of the system's DMA controller, or
    /// gone on from there.
    pub(crate) fn record_passing(&mut self, start: usize, bytes: &[u8], cause: Cause) {
        let mut done = 0;
        while self.log.recording && done < bytes.len() {
            let at = start + done;
            let length = (LINE - at % LINE).min(FIFO).min(bytes.len() - done);
            self.record_waiting(at, &bytes[done..done + length], cause);
            done += length;
        }
    }

    /// Records a step of what waits, not longer than a FIFO, for the line at `address`.
    fn record_waiting(&mut self, address: usize, bytes: &[u8], cause: Cause) {
        let Some(slot) = self.tracked(address) else { return };
        let page = self.pages.page(slot);
        let line = address % PAGE / LINE;
        let (place, state) = (page.place(line), &page.lines[line]);
        let mut fifo = [0; FIFO];
        fifo[..bytes.len()].copy_from_slice(bytes);
        self.log.steps.push(Step {
            moment: self.log.now,
            place,
            old: state.state,
            new: state.state,
            cause,
            // CAST: positions in a line, and at most the FIFO's length.
            bytes: ((address % LINE) as u8, bytes.len() as u8),
            cpu: state.cpu(place.address),
            ram: state.ram,
            fifo,
        });
    }
}
