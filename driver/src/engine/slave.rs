//! The slave device: a data port that the system's DMA controller serves. It can be stopped.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use testdev::slave;
use wdk_dma::{Direction, ddk};

use super::EngineState;

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
///
/// # Invariants
/// `base` is null, or the address of at least [`REGISTERS_LENGTH`] mapped bytes (KMDF-04).
#[derive(Debug)]
pub struct Slave {
    base: AtomicPtr<u8>,
}

impl Slave {
    /// Without registers.
    #[must_use]
    pub const fn new() -> Self {
        Self { base: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Takes the registers at `base`.
    ///
    /// # Safety
    /// At least [`REGISTERS_LENGTH`] bytes are mapped there until [`unmap`](Slave::unmap).
    pub unsafe fn map(&self, base: *mut u8) {
        // INVARIANT: by the caller's promise.
        self.base.store(base, Ordering::Release);
    }

    /// Forgets the registers. Reads give all ones from now on.
    pub fn unmap(&self) {
        self.base.store(ptr::null_mut(), Ordering::Release);
    }

    /// Whether there are registers.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        !self.base.load(Ordering::Acquire).is_null()
    }

    fn register(&self, offset: u64) -> Option<*mut u32> {
        let base = self.base.load(Ordering::Acquire);
        let offset = usize::try_from(offset).ok()?;
        (!base.is_null()).then(|| base.wrapping_add(offset).cast())
    }

    fn read(&self, offset: u64) -> u32 {
        let Some(register) = self.register(offset) else { return u32::MAX };
        // SAFETY: one of the device's registers, mapped and 4-aligned by the type's invariant
        // (KMDF-04).
        unsafe { ddk::READ_REGISTER_ULONG(register) }
    }

    fn write(&self, offset: u64, value: u32) {
        let Some(register) = self.register(offset) else { return };
        // SAFETY: as in `read`.
        unsafe { ddk::WRITE_REGISTER_ULONG(register, value) };
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.read(slave::ID) == slave::ID_VALUE
    }

    /// Pending interrupt causes; `None` if the device is not there or has none (SUR-01). Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        match self.read(slave::IRQ_STATUS) {
            0 | u32::MAX => None,
            causes => Some(causes),
        }
    }

    /// Acknowledges interrupt causes. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        self.write(slave::IRQ_ACK, causes);
    }

    /// What the device is doing. Only a status that makes sense counts as idle.
    #[must_use]
    pub fn state(&self) -> EngineState {
        match self.read(slave::STATUS) {
            // All ones may be a read gone wrong; a device that is gone has no identification.
            u32::MAX if self.read(slave::ID) == u32::MAX => EngineState::Gone,
            0 | slave::STATUS_REFUSED => EngineState::Idle,
            _ => EngineState::Running,
        }
    }

    /// Bytes that passed the data port since the last start, as the device says. Any IRQL.
    #[must_use]
    pub fn passed(&self) -> u32 {
        self.read(slave::PASSED)
    }

    /// Starts a command; the device is idle, and the controller set up. It interrupts at the end.
    pub fn start(&self, command: &Command) {
        let direction = match command.direction {
            Direction::ToDevice => 0,
            Direction::FromDevice => slave::COMMAND_FROM_DEVICE,
        };
        self.write(slave::OFFSET, command.offset);
        self.write(slave::COUNT, command.length);
        self.write(slave::COMMAND, slave::COMMAND_START | slave::COMMAND_IRQ | direction);
    }

    /// Stops the command that runs, if one does. It has stopped when its status says so.
    pub fn stop(&self) {
        self.write(slave::COMMAND, slave::COMMAND_STOP);
    }
}

impl Default for Slave {
    fn default() -> Self {
        Self::new()
    }
}
