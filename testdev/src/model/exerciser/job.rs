//! One command: what it says, checked, and its data on the way.

use alloc::vec::Vec;

use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use zerocopy::IntoBytes;

use super::card::Card;
use super::faults::Hit;
use crate::bus::{Bus, BusError};
use crate::exerciser::command::{ELEMENT_LENGTH, FLAG_HOST, FLAG_INDIRECT, NO_POSITION};
use crate::exerciser::registers::FIFO_MAX;
use crate::exerciser::{
    Command, ELEMENTS_MAX, Element, FaultKind, MEMORY_LENGTH, Opcode, Status, is_in_memory, pattern,
};

type Sum = Table<16>;

/// CRC-32C, which the catalogue of CRCs calls ISCSI.
static CRC_32C: Crc<u32, Sum> = Crc::<u32, Sum>::new(&CRC_32_ISCSI);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub status: Status,
    pub bytes: u32,
    pub detail: u64,
    pub crc: u32,
}

impl Outcome {
    pub(super) const fn new(status: Status) -> Self {
        Self { status, bytes: 0, detail: 0, crc: 0 }
    }

    fn bus(error: BusError, address: u64) -> Self {
        let status = match error {
            BusError::Permission => Status::BusPermission,
            BusError::Miss | BusError::NotMaster => Status::BusMiss,
        };
        Self { detail: address, ..Self::new(status) }
    }
}

/// A list and the place in it that was reached.
#[derive(Default)]
struct List {
    elements: Vec<Element>,
    index: usize,
    within: u32,
}

impl List {
    fn clear(&mut self) {
        self.elements.clear();
        self.elements.reserve_exact(usize::from(ELEMENTS_MAX));
        self.index = 0;
        self.within = 0;
    }

    /// The next bytes that lie in a row, at most `most`: address and number.
    fn next(&self, most: u32) -> Option<(u64, u32)> {
        let element = self.elements.get(self.index)?;
        let rest = element.length.saturating_sub(self.within);
        Some((element.address.wrapping_add(u64::from(self.within)), rest.min(most)))
    }

    fn advance(&mut self, bytes: u32) {
        self.within = self.within.saturating_add(bytes);
        if self.elements.get(self.index).is_some_and(|element| self.within >= element.length) {
            self.index += 1;
            self.within = 0;
        }
    }

    /// Takes over `count` elements that the entry holds, or that lie where its element says.
    fn load(
        &mut self,
        card: &mut Card,
        bus: &mut dyn Bus,
        command: &Command,
        here: &[Element],
        count: u16,
    ) -> Result<(), Outcome> {
        self.clear();
        let bad = Err(Outcome::new(Status::BadList));
        let length = usize::from(count);
        if command.flags & FLAG_INDIRECT == 0 {
            let Some(here) = here.get(..length) else { return bad };
            self.elements.extend_from_slice(here);
        } else {
            let Some(place) = here.first() else { return bad };
            // CAST: at most 2^20.
            let wanted = (length * ELEMENT_LENGTH) as u32;
            let aligned = place.address.is_multiple_of(ELEMENT_LENGTH as u64);
            if count > ELEMENTS_MAX || place.length != wanted || place.reserved != 0 || !aligned {
                return bad;
            }
            self.elements.resize(length, Element::default());
            let data = self.elements.as_mut_slice().as_mut_bytes();
            card.fetch(bus, place.address, data)
                .map_err(|error| Outcome::bus(error, place.address))?;
        }
        if self.adds_up_to(command.length) { Ok(()) } else { bad }
    }

    fn adds_up_to(&self, length: u32) -> bool {
        let good = self.elements.iter().all(|element| {
            element.length != 0
                && element.reserved == 0
                && element.address.checked_add(u64::from(element.length)).is_some()
        });
        let sum: u64 = self.elements.iter().map(|element| u64::from(element.length)).sum();
        good && sum == u64::from(length)
    }
}

/// A command on its way. The buffers of one that is over serve the next.
#[derive(Default)]
pub(super) struct Job {
    opcode: Option<Opcode>,
    on_host: bool,
    card_offset: u64,
    seed: u64,
    length: u32,
    moved: u32,
    source: List,
    target: List,
    crc: Option<Digest<'static, u32, Sum>>,
    first_bad: Option<u64>,
    corrupt: Option<u64>,
    shift: u64,
}

impl Job {
    /// Checks a command and fetches its lists.
    pub(super) fn load(
        &mut self,
        card: &mut Card,
        bus: &mut dyn Bus,
        command: &Command,
    ) -> Result<(), Outcome> {
        let opcode = Opcode::from_code(command.opcode);
        let opcode = opcode.ok_or(Outcome::new(Status::BadOpcode))?;
        self.opcode = Some(opcode);
        self.on_host = command.flags & FLAG_HOST != 0;
        self.card_offset = command.card_offset;
        self.seed = command.seed;
        self.length = command.length;
        self.moved = 0;
        self.crc = (opcode == Opcode::Check).then(|| CRC_32C.digest());
        self.first_bad = None;
        self.corrupt = None;
        self.shift = 0;
        let patterned = matches!(opcode, Opcode::Fill | Opcode::Check);
        let listed = self.on_host || !(patterned || opcode == Opcode::Nothing);
        let copies = opcode == Opcode::Copy;
        let flags = if listed { FLAG_INDIRECT } else { 0 } | if patterned { FLAG_HOST } else { 0 };
        let unused = (!listed && command.count != 0) || (!copies && command.target_count != 0);
        let empty = (command.length == 0) != (opcode == Opcode::Nothing);
        if command.flags & !flags != 0 || command.reserved != 0 || unused || empty {
            return Err(Outcome::new(Status::BadField));
        }
        let on_card = !(self.on_host || copies || opcode == Opcode::Nothing);
        if on_card && !is_in_memory(command.card_offset, u64::from(command.length)) {
            return Err(Outcome::new(Status::BadRange));
        }
        if copies {
            let [source, target] = &command.elements;
            self.source.load(card, bus, command, &[*source], command.count)?;
            self.target.load(card, bus, command, &[*target], command.target_count)?;
        } else if listed {
            self.source.load(card, bus, command, &command.elements, command.count)?;
        }
        Ok(())
    }

    /// Makes the faults that concern data part of the command.
    pub(super) fn spoil(&mut self, hit: &Hit) {
        if let Some(missing) = hit.argument(FaultKind::ShortTransfer) {
            // CAST: no more than the length, which has 32 bits.
            self.length -= missing.min(u64::from(self.length)) as u32;
        }
        if let Some(further) = hit.argument(FaultKind::WrongOffset) {
            let places = MEMORY_LENGTH - u64::from(self.length).min(MEMORY_LENGTH) + 1;
            self.card_offset = self.card_offset.wrapping_add(further) % places;
        }
        self.corrupt = hit.argument(FaultKind::CorruptByte);
        self.shift = hit.argument(FaultKind::BadAddress).unwrap_or(0);
    }

    /// Bytes moved so far.
    pub(super) fn moved(&self) -> u32 {
        self.moved
    }

    pub(super) fn is_over(&self) -> bool {
        self.moved >= self.length
    }

    /// How it ended, all bytes moved.
    pub(super) fn outcome(&mut self) -> Outcome {
        let done = Outcome { bytes: self.moved, ..Outcome::new(Status::Done) };
        let Some(crc) = self.crc.take() else { return done };
        let status = if self.first_bad.is_some() { Status::Mismatch } else { Status::Done };
        let detail = self.first_bad.unwrap_or(NO_POSITION);
        Outcome { status, detail, crc: crc.finalize(), ..done }
    }

    /// Moves the next `bytes` bytes, or what is left.
    pub(super) fn advance(
        &mut self,
        card: &mut Card,
        bus: &mut dyn Bus,
        bytes: u32,
    ) -> Result<(), Outcome> {
        let end = self.length.min(self.moved.saturating_add(bytes));
        while self.moved < end {
            let most = end - self.moved;
            let moved = match (self.opcode, self.on_host) {
                (Some(Opcode::ToDevice), _) => self.host_to_card(card, bus, most),
                (Some(Opcode::FromDevice), _) => self.card_to_host(card, bus, most),
                (Some(Opcode::Copy), _) => self.copy(card, bus, most),
                (Some(Opcode::Fill), false) => Ok(self.fill_card(card, most)),
                (Some(Opcode::Fill), true) => self.fill_host(card, bus, most),
                (Some(Opcode::Check), false) => Ok(self.check_card(card, most)),
                (Some(Opcode::Check), true) => self.check_host(card, bus, most),
                _ => Ok(most),
            };
            let failed = |(error, address): Failure| {
                card.count_error(address);
                Outcome { bytes: self.moved, ..Outcome::bus(error, address) }
            };
            // INVARIANT: lists add up to the length and ranges lie in the memory, so every step
            // moves something.
            self.moved += moved.map_err(failed)?.max(1);
        }
        Ok(())
    }

    /// On-card memory at the place reached.
    fn on_card<'a>(&self, card: &'a mut Card, most: u32) -> &'a mut [u8] {
        // CAST: 32 bits fit a 64-bit usize.
        card.memory.part(self.card_offset.wrapping_add(u64::from(self.moved)), most as usize)
    }

    /// Flips the byte that the fault names, if it is among these.
    fn corrupt(&self, data: &mut [u8]) {
        let within = self.corrupt.and_then(|at| at.checked_sub(u64::from(self.moved)));
        let within = within.and_then(|within| usize::try_from(within).ok());
        if let Some(byte) = within.and_then(|within| data.get_mut(within)) {
            *byte ^= 0x01;
        }
    }

    fn host_to_card(&mut self, card: &mut Card, bus: &mut dyn Bus, most: u32) -> Moved {
        let (address, count) = self.source.next(most).ok_or((BusError::Miss, 0))?;
        let part = self.on_card(card, count);
        let address = address.wrapping_add(self.shift);
        bus.read(address, part).map_err(|error| (error, address))?;
        self.corrupt(part);
        let count = length(part);
        self.source.advance(count);
        Ok(count)
    }

    fn card_to_host(&mut self, card: &mut Card, bus: &mut dyn Bus, most: u32) -> Moved {
        let (address, count) = self.source.next(most).ok_or((BusError::Miss, 0))?;
        let part = self.on_card(card, count);
        let address = address.wrapping_add(self.shift);
        // On-card memory itself stays intact: it is flipped for the write only.
        self.corrupt(part);
        let written = bus.write(address, part).map_err(|error| (error, address));
        self.corrupt(part);
        written?;
        let count = length(part);
        self.source.advance(count);
        Ok(count)
    }

    /// The FIFO, as long as `most` and it allow.
    fn fifo<'a>(&self, card: &'a mut Card, most: u32) -> &'a mut [u8] {
        // CAST: 64 KiB.
        card.fifo.resize(FIFO_MAX as usize, 0);
        &mut card.fifo[..most.min(FIFO_MAX) as usize]
    }

    fn read_host(&mut self, data: &mut [u8], bus: &mut dyn Bus) -> Result<(), Failure> {
        let mut done = 0;
        while done < data.len() {
            let Some((address, count)) = self.source.next(length(&data[done..])) else { break };
            let address = address.wrapping_add(self.shift);
            // CAST: 32 bits fit a 64-bit usize.
            let part = &mut data[done..done + count as usize];
            bus.read(address, part).map_err(|error| (error, address))?;
            self.source.advance(count);
            done += count as usize;
        }
        Ok(())
    }

    fn copy(&mut self, card: &mut Card, bus: &mut dyn Bus, most: u32) -> Moved {
        let data = self.fifo(card, most);
        self.read_host(data, bus)?;
        self.corrupt(data);
        write_host(&mut self.target, self.shift, data, bus)?;
        Ok(length(data))
    }

    fn fill_card(&mut self, card: &mut Card, most: u32) -> u32 {
        let part = self.on_card(card, most);
        pattern::fill(self.seed, u64::from(self.moved), part);
        self.corrupt(part);
        length(part)
    }

    fn fill_host(&mut self, card: &mut Card, bus: &mut dyn Bus, most: u32) -> Moved {
        let data = self.fifo(card, most);
        pattern::fill(self.seed, u64::from(self.moved), data);
        self.corrupt(data);
        write_host(&mut self.source, self.shift, data, bus)?;
        Ok(length(data))
    }

    fn check_card(&mut self, card: &mut Card, most: u32) -> u32 {
        let part = self.on_card(card, most);
        self.check(part);
        length(part)
    }

    fn check_host(&mut self, card: &mut Card, bus: &mut dyn Bus, most: u32) -> Moved {
        let data = self.fifo(card, most);
        self.read_host(data, bus)?;
        self.check(data);
        Ok(length(data))
    }

    fn check(&mut self, data: &[u8]) {
        if let Some(crc) = &mut self.crc {
            crc.update(data);
        }
        let position = u64::from(self.moved);
        if self.first_bad.is_none() {
            let found = pattern::first_mismatch(self.seed, position, data);
            // CAST: `usize` to `u64` keeps every value.
            self.first_bad = found.map(|index| position + index as u64);
        }
    }
}

/// A bus-master access that failed, and its address.
type Failure = (BusError, u64);

/// Bytes that were moved.
type Moved = Result<u32, Failure>;

/// Length of what lies in a row; never more than was asked for in 32 bits.
fn length(data: &[u8]) -> u32 {
    // CAST: see above.
    data.len() as u32
}

fn write_host(list: &mut List, shift: u64, data: &[u8], bus: &mut dyn Bus) -> Result<(), Failure> {
    let mut done = 0;
    while done < data.len() {
        let Some((address, count)) = list.next(length(&data[done..])) else { break };
        let address = address.wrapping_add(shift);
        // CAST: 32 bits fit a 64-bit usize.
        bus.write(address, &data[done..done + count as usize]).map_err(|error| (error, address))?;
        list.advance(count);
        done += count as usize;
    }
    Ok(())
}
