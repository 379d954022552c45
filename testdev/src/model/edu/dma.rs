//! The DMA channel: one command at a time, one contiguous range, done all at once at its end.

use super::range::{self, OutOfRange, Span};
use super::{Edu, Era};
use crate::bus::{Bus, BusError};
use crate::edu::*;

/// What a stray write leaves behind.
const STRAY: [u8; 4] = 0xdead_beef_u32.to_le_bytes();

impl Edu {
    /// A write at or above `DMA_SOURCE`. All are dropped while a command runs.
    pub(super) fn write_dma(&mut self, bus: &mut dyn Bus, offset: u64, value: u64) {
        if Command::from_bits(self.dma.command).is_running() {
            return;
        }
        match offset {
            DMA_SOURCE => self.dma.source = value,
            DMA_DESTINATION => self.dma.destination = value,
            DMA_COUNT => self.dma.count = value,
            DMA_COMMAND => self.start_command(bus, Command::from_bits(value)),
            _ => {}
        }
    }

    fn start_command(&mut self, bus: &mut dyn Bus, command: Command) {
        if !command.is_running() {
            return;
        }
        self.dma.command = command.bits();
        self.commands += 1;
        if command.direction() == Direction::FromDevice {
            self.commands_from_device += 1;
        }
        let faults = &self.config.faults;
        let delay = match faults.hang_at {
            Some(n) if n == self.commands => faults.hang_duration_ns,
            _ => Some(self.config.dma_delay_ns),
        };
        self.deadlines.dma = delay.map(|delay| bus.now().saturating_add(delay));
        self.program_timer(bus);
    }

    /// The end of a command: the copy, then the completion. Only a dead machine sees no
    /// completion; an access that failed looks like one that worked.
    pub(super) fn finish_command(&mut self, bus: &mut dyn Bus) {
        let command = Command::from_bits(self.dma.command);
        self.copy_checked(bus, command.direction());
        if self.gone {
            return;
        }
        self.write_stray(bus);
        self.dma.command &= !COMMAND_RUN;
        let lost = self.config.faults.lost_interrupt_at == Some(self.commands);
        if command.has_interrupt() && !lost {
            self.raise(bus, IRQ_DMA);
        }
        self.raise_spurious(bus);
    }

    /// Checks the device's side of the range as the era does, and copies what it would copy.
    fn copy_checked(&mut self, bus: &mut dyn Bus, direction: Direction) {
        let (device, host) = match direction {
            Direction::ToDevice => (self.dma.destination, self.dma.source),
            Direction::FromDevice => (self.dma.source, self.dma.destination),
        };
        let (era, count) = (self.config.era, self.dma.count);
        if !range::accepts(era, device, count) {
            self.note_out_of_range(direction, device);
            match era {
                Era::A0 | Era::A1 => return self.vanish(bus),
                Era::B => {}
                Era::C => return,
            }
        }
        if let Some(span) = range::overlap(device, count) {
            let host = (host & self.config.dma_mask).wrapping_add(span.skip);
            self.copy(bus, direction, host, span);
        }
    }

    /// Remembers the first command that was out of range. Without a length nothing is overrun.
    fn note_out_of_range(&mut self, direction: Direction, device_address: u64) {
        let (era, count) = (self.config.era, self.dma.count);
        if self.out_of_range.is_none() && (era != Era::B || count != 0) {
            let command = self.commands;
            self.out_of_range = Some(OutOfRange { command, direction, device_address, count, era });
        }
    }

    fn copy(&mut self, bus: &mut dyn Bus, direction: Direction, host: u64, span: Span) {
        match direction {
            Direction::ToDevice => self.copy_in(bus, host, span),
            Direction::FromDevice => {
                // The buffer itself stays intact: what it has is flipped for the write only.
                self.corrupt(span);
                self.copy_out(bus, host, span);
                self.corrupt(span);
            }
        }
    }

    /// RAM to device. After a failure the range holds zeros, as measured.
    fn copy_in(&mut self, bus: &mut dyn Bus, host: u64, span: Span) {
        let target = &mut self.memory[span.start..span.start + span.length];
        let result = bus.read(host, target);
        if result.is_err() {
            target.fill(0);
        } else {
            self.corrupt(span);
        }
        self.count_error(result);
    }

    /// Device to RAM.
    fn copy_out(&mut self, bus: &mut dyn Bus, host: u64, span: Span) {
        let data = &self.memory[span.start..span.start + span.length];
        let result = bus.write(host, data);
        let faults = &self.config.faults;
        if faults.late_write_at == Some(self.commands_from_device)
            && let Some(delay) = faults.late_write_ns
        {
            self.late.data[..span.length].copy_from_slice(data);
            self.late.address = host;
            self.late.length = span.length;
            self.deadlines.late_write = Some(bus.now().saturating_add(delay));
        }
        self.count_error(result);
    }

    /// Flips the bit that the faults name, if this command and its length have it.
    fn corrupt(&mut self, span: Span) {
        if let Some((command, offset)) = self.config.faults.corrupt_byte_at
            && command == self.commands
            && let Some(offset) = span.locate(offset)
        {
            self.memory[offset] ^= 0x01;
        }
    }

    fn write_stray(&mut self, bus: &mut dyn Bus) {
        if let Some((command, address)) = self.config.faults.stray_write
            && command == self.commands
        {
            let result = bus.write(address, &STRAY);
            self.count_error(result);
        }
    }

    pub(super) fn write_late(&mut self, bus: &mut dyn Bus) {
        let result = bus.write(self.late.address, &self.late.data[..self.late.length]);
        self.count_error(result);
    }

    fn count_error(&mut self, result: Result<(), BusError>) {
        if result.is_err() {
            self.bus_errors += 1;
        }
    }
}
