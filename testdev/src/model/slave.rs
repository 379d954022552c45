//! The slave device as a model: registers, 16 KiB of memory, and DMA requests in bursts.
//!
//! [`crate::slave`] describes the registers. Equal calls give equal results: bursts come at fixed
//! distances in machine time.

#[cfg(test)]
mod tests;

use core::any::Any;
use core::fmt;

use crate::bus::{Acknowledge, BarInfo, Bus, Device, Identity, SystemDevice};
use crate::slave::*;

/// Bytes of device memory, as an array length.
const MEMORY: usize = 16 << 10;
const _: () = assert!(MEMORY as u64 == MEMORY_LENGTH);

/// The longest burst, bytes.
const BURST_MAX: usize = 256;

/// How long an unanswered request waits before it counts again, in nanoseconds.
const RETRY_NS: u64 = 100_000;

/// Set-up of a [`Slave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlaveConfig {
    /// The controller's channel that it is wired to.
    pub channel: u32,
    /// Its request line.
    pub request_line: u32,
    /// Bytes it asks for at a time, 1 to 256.
    pub burst: usize,
    /// Nanoseconds between two bursts.
    pub burst_ns: u64,
    /// What is wrong with it.
    pub faults: SlaveFaults,
}

impl Default for SlaveConfig {
    /// A healthy device on channel 2: 64 bytes each microsecond.
    fn default() -> Self {
        Self {
            channel: 2,
            request_line: 6,
            burst: 64,
            burst_ns: 1_000,
            faults: SlaveFaults::default(),
        }
    }
}

/// Faults of a [`Slave`]; the default is none. Commands count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlaveFaults {
    /// (command, bytes): this command is over after so many bytes, as if it had not more. A driver
    /// reports the bytes that were transferred, not those it asked for (DMA-96).
    pub short_at: Option<(u64, u32)>,
    /// This command raises no request and never ends by itself. A driver stops it after a bounded
    /// time.
    pub hang_at: Option<u64>,
    /// This command ends without its interrupt. A driver has a timer behind each command.
    pub lost_interrupt_at: Option<u64>,
}

/// The model.
#[derive(Clone)]
pub struct Slave {
    config: SlaveConfig,
    memory: [u8; MEMORY],
    offset: u32,
    count: u32,
    /// Of the last command: where it goes on, and the bytes it has still to move.
    at: usize,
    left: usize,
    passed: u32,
    from_device: bool,
    interrupts: bool,
    busy: bool,
    refused: bool,
    irq_status: u32,
    commands: u64,
}

impl Slave {
    /// A device as after power-on.
    #[must_use]
    pub const fn new(config: SlaveConfig) -> Self {
        Self {
            config,
            memory: [0; MEMORY],
            offset: 0,
            count: 0,
            at: 0,
            left: 0,
            passed: 0,
            from_device: false,
            interrupts: false,
            busy: false,
            refused: false,
            irq_status: 0,
            commands: 0,
        }
    }

    /// The device's memory.
    #[must_use]
    pub const fn memory(&self) -> &[u8; MEMORY] {
        &self.memory
    }

    /// The same, to be filled.
    pub const fn memory_mut(&mut self) -> &mut [u8; MEMORY] {
        &mut self.memory
    }

    /// Commands that were started so far.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.commands
    }

    fn start(&mut self, bus: &mut dyn Bus, command: u32) {
        if self.busy {
            return;
        }
        let (offset, count) = (u64::from(self.offset), u64::from(self.count));
        self.refused = !is_inside(offset, count);
        self.passed = 0;
        self.from_device = command & COMMAND_FROM_DEVICE != 0;
        self.interrupts = command & COMMAND_IRQ != 0;
        self.commands += 1;
        if self.refused {
            (self.at, self.left) = (0, 0);
            bus.end_dma();
            return self.complete(bus);
        }
        // CAST: inside the memory, as just checked.
        (self.at, self.left) = (offset as usize, count as usize);
        if let Some((command, bytes)) = self.config.faults.short_at
            && command == self.commands
        {
            self.left = self.left.min(bytes as usize);
        }
        self.busy = true;
        if self.config.faults.hang_at != Some(self.commands) {
            self.request(bus, self.config.burst_ns);
        }
    }

    /// Raises the DMA request in some nanoseconds.
    fn request(&self, bus: &mut dyn Bus, nanoseconds: u64) {
        bus.set_timer(Some(bus.now().saturating_add(nanoseconds)));
    }

    /// One burst: what the controller answers to a request.
    fn burst(&mut self, bus: &mut dyn Bus) {
        let length = self.left.min(self.config.burst.clamp(1, BURST_MAX));
        let Acknowledge { bytes, terminal_count } = if self.from_device {
            bus.dma_from_device(&self.memory[self.at..self.at + length])
        } else {
            let mut data = [0; BURST_MAX];
            let acknowledge = bus.dma_to_device(&mut data[..length]);
            let bytes = acknowledge.bytes.min(length);
            self.memory[self.at..self.at + bytes].copy_from_slice(&data[..bytes]);
            acknowledge
        };
        self.pass(bytes.min(length));
        if terminal_count || self.left == 0 {
            if !terminal_count {
                bus.end_dma();
            }
            return self.finish(bus);
        }
        self.request(bus, if bytes == 0 { RETRY_NS } else { self.config.burst_ns });
    }

    fn pass(&mut self, bytes: usize) {
        self.at += bytes;
        self.left -= bytes;
        // CAST: at most the memory's length.
        self.passed += bytes as u32;
    }

    fn finish(&mut self, bus: &mut dyn Bus) {
        self.busy = false;
        bus.set_timer(None);
        self.complete(bus);
    }

    fn complete(&mut self, bus: &mut dyn Bus) {
        let lost = self.config.faults.lost_interrupt_at == Some(self.commands);
        if self.interrupts && !lost {
            self.irq_status |= IRQ_DONE;
            bus.set_line(true);
        }
    }

    /// Ends the command at once. What has not passed the port never does.
    fn stop(&mut self, bus: &mut dyn Bus) {
        self.left = 0;
        if self.busy {
            self.busy = false;
            bus.set_timer(None);
            bus.end_dma();
        }
    }

    fn command(&mut self, bus: &mut dyn Bus, command: u32) {
        if command & COMMAND_STOP != 0 {
            self.stop(bus);
        } else if command & COMMAND_START != 0 {
            self.start(bus, command);
        }
    }

    /// The processor, or the controller at a flush, puts a byte into the port.
    fn give(&mut self, byte: u8) {
        if self.left != 0 && !self.from_device {
            self.memory[self.at] = byte;
            self.pass(1);
        }
    }

    fn take(&mut self) -> u64 {
        if self.left == 0 || !self.from_device {
            return u64::MAX;
        }
        let byte = self.memory[self.at];
        self.pass(1);
        byte.into()
    }

    fn register(&self, offset: u64) -> Option<u32> {
        Some(match offset {
            ID => ID_VALUE,
            STATUS if self.busy => STATUS_BUSY,
            STATUS if self.refused => STATUS_REFUSED,
            STATUS => 0,
            IRQ_STATUS => self.irq_status,
            OFFSET => self.offset,
            COUNT => self.count,
            PASSED => self.passed,
            _ => return None,
        })
    }
}

impl Default for Slave {
    fn default() -> Self {
        Self::new(SlaveConfig::default())
    }
}

impl fmt::Debug for Slave {
    /// The registers; the memory would hide them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slave")
            .field("config", &self.config)
            .field("offset", &self.offset)
            .field("count", &self.count)
            .field("passed", &self.passed)
            .field("busy", &self.busy)
            .field("irq_status", &self.irq_status)
            .field("commands", &self.commands)
            .finish_non_exhaustive()
    }
}

impl Device for Slave {
    fn identity(&self) -> Identity {
        let mut bars = [None; 6];
        bars[usize::from(BAR)] = Some(BarInfo { size: WINDOW, bits64: false, prefetchable: false });
        Identity {
            vendor: 0,
            device: 0,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 0,
            class: 0,
            interrupt_pin: 1,
            bars,
            msi_messages: 0,
            msi64: false,
            msix_messages: 0,
        }
    }

    fn system(&self) -> Option<SystemDevice> {
        Some(SystemDevice {
            acpi_id: ACPI_ID,
            channel: self.config.channel,
            request_line: self.config.request_line,
            width_bits: 8,
            data_port: DATA,
        })
    }

    fn read(&mut self, _bus: &mut dyn Bus, bar: u8, offset: u64, size: u8) -> u64 {
        match size {
            1 if bar == BAR && offset == DATA => self.take(),
            4 if bar == BAR => self.register(offset).map_or(u64::MAX, u64::from),
            _ => u64::MAX,
        }
    }

    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, size: u8, value: u64) {
        if bar != BAR {
            return;
        }
        // CAST: the low bytes, as the access has them.
        let word = value as u32;
        match (offset, size) {
            // CAST: the low byte.
            (DATA, 1) => self.give(value as u8),
            (IRQ_ACK, 4) => {
                self.irq_status &= !word;
                if self.irq_status == 0 {
                    bus.set_line(false);
                }
            }
            (OFFSET, 4) if !self.busy => self.offset = word,
            (COUNT, 4) if !self.busy => self.count = word,
            (COMMAND, 4) => self.command(bus, word),
            _ => {}
        }
    }

    fn on_timer(&mut self, bus: &mut dyn Bus) {
        if self.busy {
            self.burst(bus);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
