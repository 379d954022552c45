//! The model against a machine of a few kilobytes.

mod dma;
mod faults;
mod interrupts;
mod properties;
mod registers;

use std::vec;
use std::vec::Vec;

use super::{Edu, EduConfig, EduFaults, Era};
use crate::bus::{Bus, BusError, Device};
use crate::edu::*;

/// Where the fake machine's memory starts.
const RAM: u64 = 0x10_0000;
/// How much there is, in bytes.
const RAM_LENGTH: usize = 0x4000;

/// One bus-master access, failed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access {
    write: bool,
    address: u64,
    length: usize,
}

/// The machine: some memory, a clock, and a record of what the device did.
struct FakeBus {
    now: u64,
    timer: Option<u64>,
    ram: Vec<u8>,
    /// Every access fails with this.
    error: Option<BusError>,
    msi: bool,
    messages: Vec<u16>,
    line: bool,
    accesses: Vec<Access>,
}

impl FakeBus {
    fn range(&self, address: u64, length: usize) -> Result<core::ops::Range<usize>, BusError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let start = address.checked_sub(RAM).ok_or(BusError::Miss)?;
        let start = usize::try_from(start).map_err(|_| BusError::Miss)?;
        let end = start.checked_add(length).filter(|&end| end <= self.ram.len());
        Ok(start..end.ok_or(BusError::Miss)?)
    }
}

impl Bus for FakeBus {
    fn now(&self) -> u64 {
        self.now
    }

    fn set_timer(&mut self, at: Option<u64>) {
        self.timer = at;
    }

    fn read(&mut self, address: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.accesses.push(Access { write: false, address, length: data.len() });
        let range = self.range(address, data.len())?;
        data.copy_from_slice(&self.ram[range]);
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), BusError> {
        self.accesses.push(Access { write: true, address, length: data.len() });
        let range = self.range(address, data.len())?;
        self.ram[range].copy_from_slice(data);
        Ok(())
    }

    fn msi_enabled(&self) -> bool {
        self.msi
    }

    fn send_msi(&mut self, message: u16) {
        self.messages.push(message);
    }

    fn set_line(&mut self, asserted: bool) {
        self.line = asserted;
    }
}

/// A device in its machine.
struct Rig {
    edu: Edu,
    bus: FakeBus,
}

impl Rig {
    fn new(config: EduConfig) -> Self {
        let ram = (0..RAM_LENGTH).map(pattern).collect();
        let bus = FakeBus {
            now: 5_000,
            timer: None,
            ram,
            error: None,
            msi: false,
            messages: vec![],
            line: false,
            accesses: vec![],
        };
        Self { edu: Edu::new(config), bus }
    }

    fn healthy() -> Self {
        Self::new(EduConfig::default())
    }

    fn of_era(era: Era) -> Self {
        Self::new(EduConfig { era, ..EduConfig::default() })
    }

    fn faulty(faults: EduFaults) -> Self {
        Self::new(EduConfig { faults, ..EduConfig::default() })
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.edu.read(&mut self.bus, BAR, offset, size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.edu.write(&mut self.bus, BAR, offset, size, value);
    }

    /// Lets time pass, as a machine does: the clock stops at each deadline on the way.
    fn advance(&mut self, nanoseconds: u64) {
        let end = self.bus.now.saturating_add(nanoseconds);
        while let Some(at) = self.bus.timer.filter(|&at| at <= end) {
            self.bus.timer = None;
            self.bus.now = self.bus.now.max(at);
            self.edu.on_timer(&mut self.bus);
        }
        self.bus.now = end;
    }

    /// Gives a command whose device side starts at `device`, an address of the device.
    fn start(&mut self, command: Command, device: u64, host: u64, count: u64) {
        let (source, destination) = match command.direction() {
            Direction::ToDevice => (host, device),
            Direction::FromDevice => (device, host),
        };
        self.write(DMA_SOURCE, 8, source);
        self.write(DMA_DESTINATION, 8, destination);
        self.write(DMA_COUNT, 8, count);
        self.write(DMA_COMMAND, 4, command.bits());
    }

    /// Gives a command and waits for its end.
    fn transfer(&mut self, command: Command, device: u64, host: u64, count: u64) {
        self.start(command, device, host, count);
        self.advance(DMA_DELAY_NS);
    }

    fn is_running(&mut self) -> bool {
        Command::from_bits(self.read(DMA_COMMAND, 8)).is_running()
    }
}

/// What the memory holds at first.
fn pattern(index: usize) -> u8 {
    ((index * 7) ^ (index >> 8)) as u8 | 1
}

/// To-device, with an interrupt.
fn to_device() -> Command {
    Command::start(Direction::ToDevice).with_interrupt()
}

/// From-device, with an interrupt.
fn from_device() -> Command {
    Command::start(Direction::FromDevice).with_interrupt()
}
