//! QEMU's `edu` device as a model: its registers, its interrupts, its one slow DMA channel, and
//! the differences between QEMU versions that a driver can run into.
//!
//! What it does follows QEMU's `docs/specs/edu.rst`, `hw/misc/edu.c` and measurements on 7.2.22;
//! [`crate::edu`] describes the registers. What it does *wrong* on request is [`EduFaults`].
//!
//! Not modelled: transfers into the device's own BAR, and QEMU's thread (a factorial ends at an
//! exact time here).

mod config;
mod dma;
mod interrupt;
mod range;
mod registers;
#[cfg(test)]
mod tests;

use core::any::Any;
use core::fmt;

pub use config::{EduConfig, EduFaults, Era};
pub use range::OutOfRange;

use crate::bus::{BarInfo, Bus, Device, Identity};
use crate::edu::*;
use crate::model::all_ones;

/// Bytes in the device buffer.
const BUFFER: usize = 4096;

/// The model. It neither allocates nor depends on anything but its calls, so equal calls give
/// equal results.
#[derive(Clone)]
pub struct Edu {
    config: EduConfig,
    memory: [u8; BUFFER],
    liveness: u32,
    factorial: u32,
    status: u32,
    irq_status: u32,
    dma: DmaRegisters,
    deadlines: Deadlines,
    late: LateWrite,
    /// A spurious INTx interrupt is owed, or under way.
    glitch: bool,
    /// It answers nothing and does nothing any more.
    gone: bool,
    out_of_range: Option<OutOfRange>,
    accesses: u64,
    reads: u64,
    commands: u64,
    commands_from_device: u64,
    bus_errors: u64,
}

/// The four DMA registers as last written.
#[derive(Clone, Copy, Debug, Default)]
struct DmaRegisters {
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
}

/// What the device has to do later. The machine gives it one timer, programmed to the earliest.
#[derive(Clone, Copy, Debug, Default)]
struct Deadlines {
    factorial: Option<u64>,
    dma: Option<u64>,
    late_write: Option<u64>,
}

/// The three jobs of [`Deadlines`].
#[derive(Clone, Copy, Debug)]
enum Job {
    Factorial,
    Dma,
    LateWrite,
}

/// What a late write will write again.
#[derive(Clone, Copy)]
struct LateWrite {
    address: u64,
    length: usize,
    data: [u8; BUFFER],
}

impl Deadlines {
    /// The earliest, and its job.
    fn first(&self) -> Option<(u64, Job)> {
        let jobs = [
            (self.factorial, Job::Factorial),
            (self.dma, Job::Dma),
            (self.late_write, Job::LateWrite),
        ];
        jobs.into_iter().filter_map(|(at, job)| Some((at?, job))).min_by_key(|&(at, _)| at)
    }

    /// Takes the earliest job that is due.
    fn take_due(&mut self, now: u64) -> Option<Job> {
        let (_, job) = self.first().filter(|&(at, _)| at <= now)?;
        match job {
            Job::Factorial => self.factorial = None,
            Job::Dma => self.dma = None,
            Job::LateWrite => self.late_write = None,
        }
        Some(job)
    }
}

impl Edu {
    /// A device as after power-on.
    pub const fn new(config: EduConfig) -> Self {
        Self {
            config,
            memory: [0; BUFFER],
            liveness: 0,
            factorial: 0,
            status: 0,
            irq_status: 0,
            dma: DmaRegisters { source: 0, destination: 0, count: 0, command: 0 },
            deadlines: Deadlines { factorial: None, dma: None, late_write: None },
            late: LateWrite { address: 0, length: 0, data: [0; BUFFER] },
            glitch: false,
            gone: false,
            out_of_range: None,
            accesses: 0,
            reads: 0,
            commands: 0,
            commands_from_device: 0,
            bus_errors: 0,
        }
    }

    /// The device buffer.
    pub const fn memory(&self) -> &[u8; 4096] {
        &self.memory
    }

    /// The device buffer, to be filled without the driver.
    pub const fn memory_mut(&mut self) -> &mut [u8; 4096] {
        &mut self.memory
    }

    /// What the liveness register reads.
    pub const fn liveness(&self) -> u32 {
        self.liveness
    }

    /// DMA commands accepted so far.
    pub const fn commands(&self) -> u64 {
        self.commands
    }

    /// Pending interrupt causes, as they are, whatever a faulty read would give.
    pub const fn irq_status(&self) -> u32 {
        self.irq_status
    }

    /// Bus-master accesses that failed, stray and late writes included.
    pub const fn bus_errors(&self) -> u64 {
        self.bus_errors
    }

    /// Why the virtual machine is dead, if it is (eras A0 and A1). From then on every read gives
    /// all ones and nothing else happens.
    pub fn killed(&self) -> Option<OutOfRange> {
        self.out_of_range.filter(|reason| matches!(reason.era, Era::A0 | Era::A1))
    }

    /// The first command that made the emulator copy past its buffer (era B).
    pub fn overran(&self) -> Option<OutOfRange> {
        self.out_of_range.filter(|reason| reason.era == Era::B)
    }

    /// The first command whose copy was left out although it completed (era C).
    pub fn skipped(&self) -> Option<OutOfRange> {
        self.out_of_range.filter(|reason| reason.era == Era::C)
    }

    /// Changes the mask at run time, as QEMU's `qom-set` on the property `dma_mask` does. A command
    /// under way uses it already.
    pub const fn set_dma_mask(&mut self, mask: u64) {
        self.config.dma_mask = mask;
    }

    /// Programs the machine's timer to the earliest deadline.
    fn program_timer(&self, bus: &mut dyn Bus) {
        bus.set_timer(self.deadlines.first().map(|(at, _)| at));
    }

    /// Drops out of the machine: no answers, no timers, no interrupt.
    fn vanish(&mut self, bus: &mut dyn Bus) {
        self.gone = true;
        self.deadlines = Deadlines::default();
        self.program_timer(bus);
        bus.set_line(false);
    }

    /// Counts a register access; false if there is nobody left to answer it.
    fn answers(&mut self, bus: &mut dyn Bus) -> bool {
        self.accesses = self.accesses.saturating_add(1);
        if !self.gone && self.config.faults.all_ones_at.is_some_and(|n| self.accesses >= n) {
            self.vanish(bus);
        }
        !self.gone
    }
}

impl Default for Edu {
    fn default() -> Self {
        Self::new(EduConfig::default())
    }
}

impl fmt::Debug for Edu {
    /// The registers and counters; the memory would hide them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edu")
            .field("config", &self.config)
            .field("status", &self.status)
            .field("irq_status", &self.irq_status)
            .field("dma", &self.dma)
            .field("deadlines", &self.deadlines)
            .field("gone", &self.gone)
            .field("out_of_range", &self.out_of_range)
            .field("commands", &self.commands)
            .field("bus_errors", &self.bus_errors)
            .finish_non_exhaustive()
    }
}

impl Device for Edu {
    fn identity(&self) -> Identity {
        let mut bars = [None; 6];
        bars[usize::from(BAR)] =
            Some(BarInfo { size: BAR_SIZE, bits64: false, prefetchable: false });
        Identity {
            vendor: VENDOR_ID,
            device: DEVICE_ID,
            subsystem_vendor: SUBSYSTEM_VENDOR_ID,
            subsystem: SUBSYSTEM_ID,
            revision: REVISION,
            class: CLASS_CODE,
            interrupt_pin: 1,
            bars,
            msi_messages: MSI_MESSAGES,
            msi64: true,
            msix_messages: 0,
        }
    }

    fn read(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, size: u8) -> u64 {
        let ones = all_ones(size);
        if !self.answers(bus) {
            return ones;
        }
        let value = if bar == BAR { self.read_register(bus, offset, size) } else { None };
        self.garble(value.unwrap_or(u64::MAX)) & ones
    }

    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, size: u8, value: u64) {
        if self.answers(bus) && bar == BAR {
            self.write_register(bus, offset, size, value & all_ones(size));
        }
    }

    fn on_timer(&mut self, bus: &mut dyn Bus) {
        while let Some(job) = self.deadlines.take_due(bus.now()) {
            match job {
                Job::Factorial => self.finish_factorial(bus),
                Job::Dma => self.finish_command(bus),
                Job::LateWrite => self.write_late(bus),
            }
        }
        self.program_timer(bus);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
