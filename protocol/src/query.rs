//! What the driver says about itself and its device.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::VERSION;
use crate::path::Paths;
use crate::transfer::{Limits, PioKind, PioWindow, Refusal};
use crate::wire::{UnknownCode, read_request, wire_enum};

/// The input of every request that carries nothing but the caller's version.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VersionRequest {
    /// The caller's [`VERSION`].
    pub version: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// The input of [`Ioctl::Query`](crate::Ioctl::Query).
pub type QueryRequest = VersionRequest;

/// The input of [`Ioctl::Statistics`](crate::Ioctl::Statistics).
pub type StatisticsRequest = VersionRequest;

/// The input of [`Ioctl::Reset`](crate::Ioctl::Reset).
pub type ResetRequest = VersionRequest;

impl VersionRequest {
    /// A request of this version.
    #[must_use]
    pub const fn new() -> Self {
        Self { version: VERSION, reserved: 0 }
    }

    /// Copies the request out of its input buffer and checks all of it.
    ///
    /// # Errors
    ///
    /// In this order: [`Refusal::HeaderTooShort`], [`Refusal::WrongVersion`],
    /// [`Refusal::HeaderTooLong`], [`Refusal::ReservedSet`].
    pub fn read(input: &[u8]) -> Result<Self, Refusal> {
        let request: Self = read_request(input)?;
        if request.reserved != 0 {
            return Err(Refusal::ReservedSet);
        }
        Ok(request)
    }
}

wire_enum! {
    /// The test devices that the driver knows.
    DeviceKind {
        /// QEMU's edu device.
        Edu = 1,
        /// The dmaproof exerciser.
        Exerciser = 2,
        /// The device without bus mastering, for system DMA.
        Slave = 3,
    }
}

wire_enum! {
    /// How the device interrupts.
    InterruptKind {
        /// Not at all.
        None = 0,
        /// By an interrupt line, which it may share.
        Line = 1,
        /// By MSI.
        Msi = 2,
        /// By MSI-X.
        MsiX = 3,
    }
}

/// A [`PioWindow`] as it travels in a [`QueryReply`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PioInfo {
    /// A [`PioKind`] by its number.
    pub kind: u32,
    /// Bytes that offset and length of a PIO transfer must be multiples of; 0 and 1 ask nothing.
    pub alignment: u32,
    /// The length of the window in bytes.
    pub length: u64,
    /// The first byte that may be written.
    pub writable_offset: u64,
    /// How many bytes from there may be written.
    pub writable_length: u64,
}

impl From<PioWindow> for PioInfo {
    fn from(window: PioWindow) -> Self {
        let PioWindow { kind, alignment, length, writable_offset, writable_length } = window;
        Self { kind: kind.code(), alignment, length, writable_offset, writable_length }
    }
}

impl TryFrom<PioInfo> for PioWindow {
    type Error = UnknownCode;

    fn try_from(info: PioInfo) -> Result<Self, UnknownCode> {
        let PioInfo { kind, alignment, length, writable_offset, writable_length } = info;
        let kind = PioKind::try_from(kind)?;
        Ok(Self { kind, alignment, length, writable_offset, writable_length })
    }
}

/// One DMA adapter of the device; all zeros if there is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AdapterInfo {
    /// 1 if the driver has this adapter, else 0.
    pub present: u32,
    /// The `Version` field of the DEVICE_DESCRIPTION it was asked for with.
    pub description_version: u32,
    /// Map registers granted.
    pub map_registers: u32,
    /// How many address bits the adapter uses: 24, 28, 32, 64, ...
    pub address_width_bits: u32,
    /// What the adapter wants buffers aligned to, in bytes.
    pub alignment: u32,
    /// 1 if the adapter was described as capable of scatter/gather, else 0.
    pub scatter_gather: u32,
    /// The longest transfer that the adapter was asked for, in bytes.
    pub maximum_length: u64,
}

/// The output of [`Ioctl::Query`](crate::Ioctl::Query).
///
/// It holds no address of any kind: not of the device's registers, of memory or of a common buffer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct QueryReply {
    /// The driver's [`VERSION`].
    pub version: u32,
    /// The driver's own version, first number.
    pub driver_major: u32,
    /// The driver's own version, second number.
    pub driver_minor: u32,
    /// The driver's own version, third number.
    pub driver_patch: u32,
    /// A [`DeviceKind`] by its number.
    pub device_kind: u32,
    /// The PCI vendor ID; 0 for a device that is not on a PCI bus.
    pub pci_vendor: u16,
    /// The PCI device ID; 0 for a device that is not on a PCI bus.
    pub pci_device: u16,
    /// The PCI revision ID; 0 for a device that is not on a PCI bus.
    pub pci_revision: u32,
    /// An [`InterruptKind`] by its number.
    pub interrupt_kind: u32,
    /// Interrupts connected: messages, or 1 for a line.
    pub interrupt_count: u32,
    /// The paths that work on this device and machine.
    pub paths: Paths,
    /// The device memory that every path but PIO reaches, in bytes.
    pub memory_length: u64,
    /// The longest single transfer that the driver takes, in bytes.
    pub transfer_length_max: u64,
    /// What PIO reaches.
    pub pio: PioInfo,
    /// The adapter for all DMA paths but version 3.
    pub adapter_v2: AdapterInfo,
    /// The adapter for version 3 transfers and for the uncached common buffer.
    pub adapter_v3: AdapterInfo,
}

impl QueryReply {
    /// A reply of this version that describes these limits, the rest zero.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let Limits { memory_length, transfer_length_max, paths, pio } = *limits;
        Self {
            version: VERSION,
            paths,
            memory_length,
            transfer_length_max,
            pio: pio.into(),
            ..Self::default()
        }
    }

    /// The limits that the driver checks requests against, so that a client can ask
    /// [`TransferHeader::check`](crate::TransferHeader::check) beforehand.
    ///
    /// # Errors
    ///
    /// The number of the PIO kind, if this version knows none with that number.
    pub fn limits(&self) -> Result<Limits, UnknownCode> {
        Ok(Limits {
            memory_length: self.memory_length,
            transfer_length_max: self.transfer_length_max,
            paths: self.paths,
            pio: self.pio.try_into()?,
        })
    }
}
