//! The exerciser as a model. `docs/exerciser.md` is the manual of the device; the modules here
//! follow its chapters.
//!
//! Whatever software writes to the registers, the rings or the lists, the model does not panic, and
//! it reaches host memory through [`Bus`] only: where bus mastering is off, or nothing is mapped,
//! it reaches nothing. It acts inside its calls only, so equal calls give equal results.

mod card;
mod faults;
mod job;
mod memory;
mod queue;
mod registers;
mod rings;
#[cfg(test)]
mod tests;

use core::any::Any;
use core::fmt;

pub use faults::Fault;

use crate::bus::{BarInfo, Bus, Device, Identity};
use crate::exerciser::registers::FAULTS;
use crate::exerciser::*;
use crate::model::all_ones;
use card::Card;
use queue::Queue;

/// Set-up of an [`Exerciser`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExerciserConfig {
    /// Reset value of [`TIME_FETCH`](crate::exerciser::registers::TIME_FETCH), ns.
    pub time_fetch_ns: u32,
    /// Reset value of [`TIME_COMMAND`](crate::exerciser::registers::TIME_COMMAND), ns.
    pub time_command_ns: u32,
    /// Reset value of [`TIME_CHUNK`](crate::exerciser::registers::TIME_CHUNK), ns.
    pub time_chunk_ns: u32,
    /// Faults armed from the start, one for each slot.
    pub faults: [Option<Fault>; FAULTS],
}

impl Default for ExerciserConfig {
    /// A healthy device that takes a few microseconds to fetch and no time to move data.
    fn default() -> Self {
        Self { time_fetch_ns: 4_000, time_command_ns: 0, time_chunk_ns: 0, faults: [None; FAULTS] }
    }
}

impl ExerciserConfig {
    /// A device with this fault in its first slot.
    pub fn with(fault: Fault) -> Self {
        let mut config = Self::default();
        config.faults[0] = Some(fault);
        config
    }
}

/// The model.
pub struct Exerciser {
    card: Card,
    queues: [Queue; QUEUES],
}

impl Exerciser {
    /// A device as after power-on.
    pub fn new(config: ExerciserConfig) -> Self {
        Self { card: Card::new(&config), queues: core::array::from_fn(Queue::new) }
    }

    /// Copies on-card memory from `offset` on; zeros beyond its end.
    pub fn read_memory(&self, offset: u64, data: &mut [u8]) {
        self.card.memory.peek(offset, data);
    }

    /// Bytes of host memory that the on-card memory takes at present.
    pub fn resident(&self) -> usize {
        self.card.memory.resident()
    }

    /// Commands completed since power-on.
    pub fn commands(&self) -> u64 {
        self.card.commands
    }

    /// The same by queue.
    pub fn commands_by_queue(&self) -> [u64; QUEUES] {
        self.queues.each_ref().map(|queue| queue.commands)
    }

    /// Bus-master accesses that failed since power-on.
    pub fn bus_errors(&self) -> u64 {
        self.card.bus_errors
    }

    /// Arms a fault slot, or disarms it, as a write to its registers does. A slot that does not
    /// exist is ignored.
    pub fn inject(&mut self, slot: usize, fault: Option<Fault>) {
        self.card.faults.arm(slot, fault);
    }

    /// How many commands a fault slot has hit since it was armed.
    pub fn fired(&self, slot: usize) -> u32 {
        self.card.faults.fired(slot)
    }

    /// Does what is due, and programs the machine's timer to what comes next.
    fn run(&mut self, bus: &mut dyn Bus) {
        let now = bus.now();
        self.card.finish_reset(now);
        for queue in &mut self.queues {
            queue.step(&mut self.card, bus);
        }
        while let Some(later) = self.card.take_due(bus.now()) {
            later.perform(&mut self.card, bus);
        }
        let queues = self.queues.iter().filter_map(|queue| queue.next_deadline(&self.card));
        let next = queues.chain(self.card.next_deadline()).min();
        if next != self.card.timer {
            self.card.timer = next;
            bus.set_timer(next);
        }
    }

    /// Whether something of a command is under way.
    fn is_busy(&self) -> bool {
        self.card.has_later() || self.queues.iter().any(Queue::is_busy)
    }
}

impl Default for Exerciser {
    fn default() -> Self {
        Self::new(ExerciserConfig::default())
    }
}

impl fmt::Debug for Exerciser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exerciser")
            .field("commands", &self.card.commands)
            .field("bus_errors", &self.card.bus_errors)
            .finish_non_exhaustive()
    }
}

impl Device for Exerciser {
    fn identity(&self) -> Identity {
        let bar = |size, prefetchable| Some(BarInfo { size, bits64: true, prefetchable });
        let mut bars = [None; 6];
        bars[usize::from(BAR)] = bar(BAR_SIZE, false);
        bars[usize::from(WINDOW_BAR)] = bar(WINDOW_SIZE, true);
        bars[usize::from(MSIX_BAR)] = bar(MSIX_BAR_SIZE, false);
        Identity {
            vendor: VENDOR_ID,
            device: DEVICE_ID,
            subsystem_vendor: SUBSYSTEM_VENDOR_ID,
            subsystem: SUBSYSTEM_ID,
            revision: REVISION,
            class: CLASS_CODE,
            interrupt_pin: 1,
            bars,
            msi_messages: 0,
            msi64: false,
            msix_messages: MSIX_MESSAGES,
        }
    }

    fn read(&mut self, _bus: &mut dyn Bus, bar: u8, offset: u64, size: u8) -> u64 {
        let value = match bar {
            BAR => self.read_register(offset, size),
            WINDOW_BAR => self.card.read_window(offset, size),
            // The machine keeps the MSI-X table.
            _ => None,
        };
        value.unwrap_or(u64::MAX) & all_ones(size)
    }

    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, size: u8, value: u64) {
        match bar {
            BAR => self.write_register(bus, offset, size, value & all_ones(size)),
            WINDOW_BAR => self.card.write_window(offset, size, value),
            _ => {}
        }
    }

    fn on_timer(&mut self, bus: &mut dyn Bus) {
        self.card.timer = None;
        self.run(bus);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
