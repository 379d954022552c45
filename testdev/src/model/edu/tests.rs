//! The model against a machine of a few kilobytes.

mod dma;
mod faults;
mod interrupts;
mod properties;
mod registers;

use std::vec;
use std::vec::Vec;

use super::{Edu, EduConfig, EduFaults, Era};
use crate::bus::{BusError, Device};
use crate::edu::*;
use crate::model::machine::{Access, FakeBus, RAM, pattern};

/// How much memory there is, in bytes.
const RAM_LENGTH: usize = 0x4000;

/// A device in its machine.
struct Rig {
    edu: Edu,
    bus: FakeBus,
}

impl Rig {
    fn new(config: EduConfig) -> Self {
        let bus = FakeBus::new(RAM_LENGTH);
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

    /// Lets time pass, as a machine does.
    fn advance(&mut self, nanoseconds: u64) {
        self.bus.advance(&mut self.edu, nanoseconds);
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

/// To-device, with an interrupt.
fn to_device() -> Command {
    Command::start(Direction::ToDevice).with_interrupt()
}

/// From-device, with an interrupt.
fn from_device() -> Command {
    Command::start(Direction::FromDevice).with_interrupt()
}
