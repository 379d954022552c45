//! What the queues share: device registers, on-card memory, interrupts, and what happens later.

use alloc::vec::Vec;

use super::ExerciserConfig;
use super::faults::Faults;
use super::job::Job;
use super::memory::Memory;
use crate::bus::{Bus, BusError};
use crate::exerciser::registers::*;
use crate::exerciser::{Command, MSIX_MESSAGES, QUEUES, WINDOW_SIZE, is_in_memory};
use crate::model::all_ones;

/// Most things that can be due later; a fault beyond them is not injected.
const LATER_MAX: usize = 64;

/// Reset values of the timing registers, ns.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub fetch: u32,
    pub command: u32,
    pub chunk: u32,
}

/// The registers that a reset sets back.
#[derive(Clone, Copy)]
pub(super) struct DeviceRegisters {
    pub enabled: bool,
    pub window_base: u32,
    pub fifo_chunk: u32,
    pub irq_status: u32,
    pub irq_enable: u32,
    pub error: u32,
    pub error_vector: u32,
    pub times: Times,
    pub scratch: u32,
}

impl DeviceRegisters {
    fn reset(times: Times) -> Self {
        Self {
            enabled: false,
            window_base: 0,
            fifo_chunk: FIFO_RESET,
            irq_status: 0,
            irq_enable: 0,
            error: 0,
            // CAST: 4.
            error_vector: QUEUES as u32,
            times,
            scratch: 0,
        }
    }
}

/// How far a reset is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    No,
    /// Under way until then.
    Until(u64),
    /// Ignored: it looks as if it were under way, and nothing stops.
    Ignored,
}

/// Something that a fault has put off.
pub(super) struct Later {
    at: u64,
    queue: usize,
    what: What,
}

enum What {
    /// A signal with a cause and a message number.
    Signal { cause: u32, vector: u32 },
    /// The data of a command that was completed before, and the transfer it belongs to.
    Data { command: Command, transfer: u64 },
}

impl Later {
    pub(super) fn signal(at: u64, queue: usize, cause: u32, vector: u32) -> Self {
        Self { at, queue, what: What::Signal { cause, vector } }
    }

    pub(super) fn data(at: u64, queue: usize, command: Command, transfer: u64) -> Self {
        Self { at, queue, what: What::Data { command, transfer } }
    }

    pub(super) fn perform(self, card: &mut Card, bus: &mut dyn Bus) {
        match self.what {
            What::Signal { cause, vector } => card.signal(bus, cause, vector),
            What::Data { command, transfer } => {
                bus.on_behalf_of(transfer);
                let mut job = Job::default();
                // Whoever hears of a failure has long been told of success.
                if job.load(card, bus, &command).is_ok() {
                    let _outcome = job.advance(card, bus, command.length);
                }
            }
        }
    }
}

/// What the queues share.
pub(super) struct Card {
    pub memory: Memory,
    /// The FIFO, where data passes that does not go from or to on-card memory.
    pub fifo: Vec<u8>,
    pub faults: Faults,
    pub registers: DeviceRegisters,
    pub reset: Reset,
    pub fault_address: u64,
    pub commands: u64,
    pub bus_errors: u64,
    /// What the machine's timer is set to.
    pub timer: Option<u64>,
    times: Times,
    line: bool,
    later: Vec<Later>,
}

impl Card {
    pub(super) fn new(config: &ExerciserConfig) -> Self {
        let times = Times {
            fetch: config.time_fetch_ns,
            command: config.time_command_ns,
            chunk: config.time_chunk_ns,
        };
        Self {
            memory: Memory::new(),
            fifo: Vec::new(),
            faults: Faults::new(&config.faults),
            registers: DeviceRegisters::reset(times),
            reset: Reset::No,
            fault_address: 0,
            commands: 0,
            bus_errors: 0,
            timer: None,
            times,
            line: false,
            later: Vec::new(),
        }
    }

    /// Whether queues may work.
    pub(super) fn works(&self) -> bool {
        self.registers.enabled && !matches!(self.reset, Reset::Until(_))
    }

    /// Sets everything back but on-card memory, counters and fault slots.
    pub(super) fn start_reset(&mut self, bus: &mut dyn Bus) {
        self.registers = DeviceRegisters::reset(self.times);
        self.later.clear();
        self.reset = Reset::Until(bus.now().saturating_add(RESET_NS));
        self.update_line(bus);
    }

    pub(super) fn finish_reset(&mut self, now: u64) {
        if matches!(self.reset, Reset::Until(at) if at <= now) {
            self.reset = Reset::No;
        }
    }

    /// Raises a cause: a message each time, or the pin's level.
    pub(super) fn signal(&mut self, bus: &mut dyn Bus, cause: u32, vector: u32) {
        self.registers.irq_status |= cause & IRQ_ALL;
        if bus.msi_enabled() {
            // A number that is no message goes nowhere.
            if let Ok(message) = u16::try_from(vector) {
                bus.send_msi(message);
            }
        }
        self.update_line(bus);
    }

    /// The pin follows the causes that are let through, unless messages have taken its place.
    pub(super) fn update_line(&mut self, bus: &mut dyn Bus) {
        let causes = self.registers.irq_status & self.registers.irq_enable;
        let asserted = causes != 0 && !bus.msi_enabled();
        if asserted != self.line {
            self.line = asserted;
            bus.set_line(asserted);
        }
    }

    /// Notes an error of a queue, the first one in the register, and signals it.
    pub(super) fn fail(&mut self, bus: &mut dyn Bus, queue: usize, error: Error) {
        if self.registers.error == 0 {
            // CAST: the discriminant, and a number below 4.
            self.registers.error = error as u32 | ((queue as u32) << 8);
        }
        self.signal(bus, IRQ_ERROR, self.registers.error_vector);
    }

    /// Counts a bus-master access that failed.
    pub(super) fn count_error(&mut self, address: u64) {
        self.bus_errors = self.bus_errors.saturating_add(1);
        self.fault_address = address;
    }

    /// Bus-master read, counted if it fails.
    pub(super) fn fetch(
        &mut self,
        bus: &mut dyn Bus,
        address: u64,
        data: &mut [u8],
    ) -> Result<(), BusError> {
        bus.read(address, data).inspect_err(|_| self.count_error(address))
    }

    /// Bus-master write, counted if it fails.
    pub(super) fn post(
        &mut self,
        bus: &mut dyn Bus,
        address: u64,
        data: &[u8],
    ) -> Result<(), BusError> {
        bus.write(address, data).inspect_err(|_| self.count_error(address))
    }

    pub(super) fn put_off(&mut self, later: Later) {
        if self.later.len() < LATER_MAX {
            self.later.push(later);
        }
    }

    /// The earliest thing that is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Later> {
        let due = self.later.iter().enumerate().filter(|(_, later)| later.at <= now);
        let (index, _) = due.min_by_key(|(_, later)| later.at)?;
        Some(self.later.remove(index))
    }

    /// A queue is disabled: nothing of its commands comes later.
    pub(super) fn forget_queue(&mut self, queue: usize) {
        self.later.retain(|later| later.queue != queue);
    }

    pub(super) fn has_later(&self) -> bool {
        self.later.iter().any(|later| matches!(later.what, What::Data { .. }))
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let reset = match self.reset {
            Reset::Until(at) => Some(at),
            Reset::No | Reset::Ignored => None,
        };
        self.later.iter().map(|later| later.at).chain(reset).min()
    }

    /// Cause and message number that a wrong vector stands for.
    pub(super) fn wrong_vector(argument: u64) -> (u32, u32) {
        // CAST: less than 5.
        let number = (argument % u64::from(MSIX_MESSAGES)) as u32;
        (1 << number, number)
    }

    /// Where in the on-card memory an access of the window is, if the device takes it.
    fn in_window(&self, offset: u64, size: u8) -> Option<u64> {
        let aligned = matches!(size, 1 | 2 | 4 | 8) && offset.is_multiple_of(u64::from(size));
        let at = u64::from(self.registers.window_base).checked_add(offset)?;
        (aligned && offset < WINDOW_SIZE && is_in_memory(at, u64::from(size))).then_some(at)
    }

    pub(super) fn read_window(&self, offset: u64, size: u8) -> Option<u64> {
        let at = self.in_window(offset, size)?;
        let mut bytes = [0; 8];
        self.memory.peek(at, bytes.get_mut(..usize::from(size))?);
        Some(u64::from_le_bytes(bytes))
    }

    pub(super) fn write_window(&mut self, offset: u64, size: u8, value: u64) {
        let Some(at) = self.in_window(offset, size) else { return };
        let bytes = (value & all_ones(size)).to_le_bytes();
        // Aligned, so never across two chunks.
        for (place, byte) in self.memory.part(at, usize::from(size)).iter_mut().zip(bytes) {
            *place = byte;
        }
    }
}
