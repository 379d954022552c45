//! The slave device: a data port that the system's DMA controller serves. It can be stopped.

use testdev::slave;
use wdk_dma::Direction;

use super::EngineState;
use super::bar::Bar;

/// The registers that the driver uses end here, bytes.
pub const REGISTERS_LENGTH: u64 = slave::DATA + 4;

/// Bytes of device memory.
pub const MEMORY_LENGTH: u64 = slave::MEMORY_LENGTH;

/// What the device is to do.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    offset: u32,
    length: u32,
    direction: Direction,
}

impl Command {
    /// A command inside the device's memory; `None` if it is not.
    #[must_use]
    pub fn new(offset: u64, length: u32, direction: Direction) -> Option<Self> {
        let inside = slave::is_inside(offset, u64::from(length));
        let offset = u32::try_from(offset).ok().filter(|_| inside)?;
        Some(Self { offset, length, direction })
    }
}

/// The registers of one device.
#[derive(Debug)]
pub struct Slave {
    pub(crate) bar: Bar<REGISTERS_LENGTH>,
}

impl Slave {
    /// Without registers.
    #[must_use]
    pub const fn new() -> Self {
        Self { bar: Bar::new() }
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.bar.read32(slave::ID) == slave::ID_VALUE
    }

    /// Pending interrupt causes; `None` if the device is not there or has none (SUR-01). Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        match self.bar.read32(slave::IRQ_STATUS) {
            0 | u32::MAX => None,
            causes => Some(causes),
        }
    }

    /// Acknowledges interrupt causes. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        self.bar.write32(slave::IRQ_ACK, causes);
    }

    /// What the device is doing. Only a status that makes sense counts as idle.
    #[must_use]
    pub fn state(&self) -> EngineState {
        match self.bar.read32(slave::STATUS) {
            // All ones may be a read gone wrong; a device that is gone has no identification.
            u32::MAX if self.bar.read32(slave::ID) == u32::MAX => EngineState::Gone,
            0 | slave::STATUS_REFUSED => EngineState::Idle,
            _ => EngineState::Running,
        }
    }

    /// Bytes that passed the data port since the last start, as the device says. Any IRQL.
    #[must_use]
    pub fn passed(&self) -> u32 {
        self.bar.read32(slave::PASSED)
    }

    /// Starts a command; the device is idle, and the controller set up. It interrupts at the end.
    pub fn start(&self, command: &Command) {
        let direction = match command.direction {
            Direction::ToDevice => 0,
            Direction::FromDevice => slave::COMMAND_FROM_DEVICE,
        };
        self.bar.write32(slave::OFFSET, command.offset);
        self.bar.write32(slave::COUNT, command.length);
        self.bar.write32(slave::COMMAND, slave::COMMAND_START | slave::COMMAND_IRQ | direction);
    }

    /// Stops the command that runs, if one does. It has stopped when its status says so.
    pub fn stop(&self) {
        self.bar.write32(slave::COMMAND, slave::COMMAND_STOP);
    }
}

impl Default for Slave {
    fn default() -> Self {
        Self::new()
    }
}
