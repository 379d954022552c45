//! QEMU's `edu`: one engine, one contiguous piece at a time, no abort, no reset, no errors.

use testdev::edu::{self, Command};
use wdk_dma::{Direction, LogicalAddress};

use super::EngineState;
use super::bar::Bar;

/// The registers that the driver uses end here, bytes.
pub const REGISTERS_LENGTH: u64 = edu::DMA_COMMAND + 8;

/// Bytes of device memory that transfers may touch on every version of the device.
pub const MEMORY_LENGTH: u64 = edu::SAFE_LENGTH;

/// Address bits that the device decodes; higher ones it drops without a word.
pub const ADDRESS_WIDTH: u32 = 28;

/// The registers that PIO reads: ID, LIVENESS and FACTORIAL. Reading them changes nothing.
pub const PIO_LENGTH: u64 = edu::FACTORIAL + 4;

/// What the engine is to do.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    address: LogicalAddress,
    device: u64,
    length: u64,
    direction: Direction,
}

impl Run {
    /// A run that is safe on every version of the device: the device's part lies inside its
    /// memory (a range outside makes some versions stop the whole machine), the memory's part
    /// inside the 28 bits that the device decodes. `None` if it is not.
    #[must_use]
    pub const fn new(
        address: LogicalAddress,
        device_offset: u64,
        length: u32,
        direction: Direction,
    ) -> Option<Self> {
        // CAST: `u32` to `u64` keeps every value.
        let length = length as u64;
        match edu::device_address(device_offset, length) {
            Some(device) if address.is_within(length, edu::DEFAULT_DMA_MASK) => {
                Some(Self { address, device, length, direction })
            }
            _ => None,
        }
    }
}

/// The registers of one device.
#[derive(Debug)]
pub struct Edu {
    pub(crate) bar: Bar<REGISTERS_LENGTH>,
}

impl Edu {
    /// Without registers.
    #[must_use]
    pub const fn new() -> Self {
        Self { bar: Bar::new() }
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        edu::is_edu(self.bar.read32(edu::ID))
    }

    /// Pending interrupt causes; `None` if the device is not there or has none (SUR-01). Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        match self.bar.read32(edu::IRQ_STATUS) {
            0 | u32::MAX => None,
            causes => Some(causes),
        }
    }

    /// Acknowledges interrupt causes; the line falls when none is left. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        self.bar.write32(edu::IRQ_ACK, causes);
    }

    /// What the engine is doing. Only a register that makes sense and says so counts as idle.
    #[must_use]
    pub fn state(&self) -> EngineState {
        let known = edu::COMMAND_RUN | edu::COMMAND_FROM_DEVICE | edu::COMMAND_IRQ;
        match self.bar.read64(edu::DMA_COMMAND) {
            // All ones may be a read gone wrong; a device that is gone has no identification.
            u64::MAX if self.bar.read32(edu::ID) == u32::MAX => EngineState::Gone,
            command if command & !known != 0 => EngineState::Running,
            command if Command::from_bits(command).is_running() => EngineState::Running,
            _ => EngineState::Idle,
        }
    }

    /// Starts a run; the engine is idle. The device interrupts when it is over.
    pub fn start(&self, run: &Run) {
        let memory = run.address.bits();
        let (source, target, direction) = match run.direction {
            Direction::ToDevice => (memory, run.device, edu::Direction::ToDevice),
            Direction::FromDevice => (run.device, memory, edu::Direction::FromDevice),
        };
        // With one store each: two halves would clear each other.
        self.bar.write64(edu::DMA_SOURCE, source);
        self.bar.write64(edu::DMA_DESTINATION, target);
        self.bar.write64(edu::DMA_COUNT, run.length);
        self.bar.write64(edu::DMA_COMMAND, Command::start(direction).with_interrupt().bits());
    }

    /// Reads a register of the PIO window at `offset`, a multiple of 4; all ones outside.
    #[must_use]
    pub fn pio_read(&self, offset: u64) -> u32 {
        if offset < PIO_LENGTH && offset & 3 == 0 { self.bar.read32(offset) } else { u32::MAX }
    }

    /// Writes the one register of the PIO window that takes it, LIVENESS; others are left alone.
    pub fn pio_write(&self, offset: u64, value: u32) {
        if offset == edu::LIVENESS {
            self.bar.write32(offset, value);
        }
    }
}

impl Default for Edu {
    fn default() -> Self {
        Self::new()
    }
}
