//! QEMU's `edu`: one engine, one contiguous piece at a time, no abort, no reset, no errors.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use testdev::edu::{self, Command};
use wdk_dma::{Direction, LogicalAddress, ddk};

use super::EngineState;

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
///
/// # Invariants
/// `base` is null, or the address of at least [`REGISTERS_LENGTH`] mapped bytes (KMDF-04).
#[derive(Debug)]
pub struct Edu {
    base: AtomicPtr<u8>,
}

impl Edu {
    /// Without registers.
    #[must_use]
    pub const fn new() -> Self {
        Self { base: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Takes the registers at `base`.
    ///
    /// # Safety
    /// At least [`REGISTERS_LENGTH`] bytes are mapped there until [`unmap`](Edu::unmap).
    pub unsafe fn map(&self, base: *mut u8) {
        // INVARIANT: by the caller's promise.
        self.base.store(base, Ordering::Release);
    }

    /// Forgets the registers. Reads give all ones from now on.
    pub fn unmap(&self) {
        self.base.store(ptr::null_mut(), Ordering::Release);
    }

    fn register(&self, offset: u64) -> Option<*mut u8> {
        let base = self.base.load(Ordering::Acquire);
        let offset = usize::try_from(offset).ok()?;
        (!base.is_null()).then(|| base.wrapping_add(offset))
    }

    /// Reads a 32-bit register; all ones if there is none. Any IRQL.
    fn read(&self, offset: u64) -> u32 {
        let Some(register) = self.register(offset) else { return u32::MAX };
        // SAFETY: one of the device's registers, mapped and 4-aligned by the type's invariant
        // (KMDF-04).
        unsafe { ddk::READ_REGISTER_ULONG(register.cast()) }
    }

    fn write(&self, offset: u64, value: u32) {
        let Some(register) = self.register(offset) else { return };
        // SAFETY: as in `read`.
        unsafe { ddk::WRITE_REGISTER_ULONG(register.cast(), value) };
    }

    fn read64(&self, offset: u64) -> u64 {
        let Some(register) = self.register(offset) else { return u64::MAX };
        // SAFETY: one of the device's 64-bit registers, mapped and 8-aligned by the type's
        // invariant (KMDF-04).
        unsafe { ddk::READ_REGISTER_ULONG64(register.cast()) }
    }

    /// Writes a 64-bit register with one store: two halves would clear each other.
    fn write64(&self, offset: u64, value: u64) {
        let Some(register) = self.register(offset) else { return };
        // SAFETY: as in `read64`.
        unsafe { ddk::WRITE_REGISTER_ULONG64(register.cast(), value) };
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        edu::is_edu(self.read(edu::ID))
    }

    /// Pending interrupt causes; `None` if the device is not there or has none (SUR-01). Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        match self.read(edu::IRQ_STATUS) {
            0 | u32::MAX => None,
            causes => Some(causes),
        }
    }

    /// Acknowledges interrupt causes; the line falls when none is left. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        self.write(edu::IRQ_ACK, causes);
    }

    /// What the engine is doing. Only a register that makes sense and says so counts as idle.
    #[must_use]
    pub fn state(&self) -> EngineState {
        let known = edu::COMMAND_RUN | edu::COMMAND_FROM_DEVICE | edu::COMMAND_IRQ;
        match self.read64(edu::DMA_COMMAND) {
            // All ones may be a read gone wrong; a device that is gone has no identification.
            u64::MAX if self.read(edu::ID) == u32::MAX => EngineState::Gone,
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
        self.write64(edu::DMA_SOURCE, source);
        self.write64(edu::DMA_DESTINATION, target);
        self.write64(edu::DMA_COUNT, run.length);
        self.write64(edu::DMA_COMMAND, Command::start(direction).with_interrupt().bits());
    }

    /// Reads a register of the PIO window at `offset`, a multiple of 4; all ones outside.
    #[must_use]
    pub fn pio_read(&self, offset: u64) -> u32 {
        if offset < PIO_LENGTH && offset & 3 == 0 { self.read(offset) } else { u32::MAX }
    }

    /// Writes the one register of the PIO window that takes it, LIVENESS; others are left alone.
    pub fn pio_write(&self, offset: u64, value: u32) {
        if offset == edu::LIVENESS {
            self.write(offset, value);
        }
    }
}

impl Default for Edu {
    fn default() -> Self {
        Self::new()
    }
}
