//! One transfer: what is asked for, what the device allows, and the decision.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::path::{Direction, Path, Paths};
use crate::wire::{read_request, wire_enum};
use crate::{VERSION, status};

/// The input of [`Ioctl::ToDevice`](crate::Ioctl::ToDevice) and
/// [`Ioctl::FromDevice`](crate::Ioctl::FromDevice).
///
/// It names no address: the data is the request's second buffer, the place on the device is an
/// offset into the window of the chosen path.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TransferHeader {
    /// [`VERSION`].
    pub version: u32,
    /// A [`Path`] by its number.
    pub path: u32,
    /// Where on the device the transfer starts, in bytes from the start of the path's window.
    pub offset: u64,
    /// How much to transfer, in bytes; must equal the length of the data buffer.
    pub length: u64,
    /// Version 1 defines no flag; must be 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

impl TransferHeader {
    /// A header of this version without flags.
    #[must_use]
    pub const fn new(path: Path, offset: u64, length: u64) -> Self {
        Self { version: VERSION, path: path.code(), offset, length, flags: 0, reserved: 0 }
    }

    /// Copies the header out of the request's input buffer.
    ///
    /// # Errors
    ///
    /// In this order: [`Refusal::HeaderTooShort`], [`Refusal::WrongVersion`],
    /// [`Refusal::HeaderTooLong`].
    pub fn read(input: &[u8]) -> Result<Self, Refusal> {
        read_request(input)
    }

    /// Decides whether the device may carry out this transfer. There is no other check.
    ///
    /// `direction` follows from the control code, `buffer_length` is the length of the data buffer
    /// as the I/O manager reports it.
    ///
    /// # Errors
    ///
    /// The first of these that applies, in this order:
    ///
    /// 1. [`WrongVersion`](Refusal::WrongVersion)
    /// 2. [`UnknownPath`](Refusal::UnknownPath)
    /// 3. [`UnknownFlags`](Refusal::UnknownFlags)
    /// 4. [`ReservedSet`](Refusal::ReservedSet)
    /// 5. [`ZeroLength`](Refusal::ZeroLength)
    /// 6. [`LengthMismatch`](Refusal::LengthMismatch)
    /// 7. [`PathNotAvailable`](Refusal::PathNotAvailable)
    /// 8. [`TooLong`](Refusal::TooLong)
    /// 9. [`OutOfRange`](Refusal::OutOfRange)
    /// 10. [`Misaligned`](Refusal::Misaligned)
    /// 11. [`DirectionNotAvailable`](Refusal::DirectionNotAvailable)
    ///
    /// The first six need only the request; the others depend on the device.
    pub fn check(
        &self,
        direction: Direction,
        buffer_length: u64,
        device: &Limits,
    ) -> Result<Transfer, Refusal> {
        if self.version != VERSION {
            return Err(Refusal::WrongVersion);
        }
        let path = Path::try_from(self.path).map_err(|_| Refusal::UnknownPath)?;
        if self.flags != 0 {
            return Err(Refusal::UnknownFlags);
        }
        if self.reserved != 0 {
            return Err(Refusal::ReservedSet);
        }
        if self.length == 0 {
            return Err(Refusal::ZeroLength);
        }
        if self.length != buffer_length {
            return Err(Refusal::LengthMismatch);
        }
        device.admit(path, direction, Some(self.offset), self.length)
    }
}

/// Decides about a `ReadFile` ([`Direction::FromDevice`]) or `WriteFile`
/// ([`Direction::ToDevice`]), which take the packet path with the file offset as device offset.
///
/// The framework itself completes a read or write of no bytes, with success and 0 bytes, so the
/// driver never asks about one; here it would be [`Refusal::ZeroLength`].
///
/// # Errors
///
/// As [`TransferHeader::check`], from step 5 on and without step 6. A negative offset, which also
/// is how Windows says "append", is [`Refusal::OutOfRange`].
pub fn check_read_write(
    direction: Direction,
    offset: i64,
    length: u64,
    device: &Limits,
) -> Result<Transfer, Refusal> {
    if length == 0 {
        return Err(Refusal::ZeroLength);
    }
    device.admit(Path::Packet, direction, u64::try_from(offset).ok(), length)
}

/// A transfer that passed every check.
///
/// # Invariants
///
/// Only the checks of this crate make one, so the length is not 0, and offset plus length does not
/// overflow and stays inside the window of the path on the device that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transfer {
    path: Path,
    direction: Direction,
    offset: u64,
    length: u64,
}

impl Transfer {
    /// How the bytes travel.
    #[must_use]
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Where they go.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The first byte on the device, from the start of the path's window.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of bytes; never 0.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// One past the last byte on the device.
    #[must_use]
    pub const fn end(&self) -> u64 {
        // By the invariant nothing is saturated here.
        self.offset.saturating_add(self.length)
    }
}

wire_enum! {
    /// What the processor can reach of a device without DMA.
    PioKind {
        /// Nothing that a transfer may touch.
        None = 0,
        /// Registers: accesses of one fixed width.
        Registers = 1,
        /// Memory: the device's memory shows through a window.
        Memory = 2,
    }
}

/// What [`Path::Pio`] can reach. Offsets of PIO transfers count from the start of this window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PioWindow {
    /// What is there. With [`PioKind::None`] the path is not available, whatever else is set.
    pub kind: PioKind,
    /// Offset and length of a transfer must be multiples of this many bytes; 0 and 1 ask nothing.
    pub alignment: u32,
    /// The length of the window in bytes.
    pub length: u64,
    /// The first byte that may be written.
    pub writable_offset: u64,
    /// How many bytes from there may be written.
    pub writable_length: u64,
}

impl PioWindow {
    /// No window.
    pub const NONE: Self = Self {
        kind: PioKind::None,
        alignment: 0,
        length: 0,
        writable_offset: 0,
        writable_length: 0,
    };

    /// Whether a transfer may start at `offset` and have this `length`, both in bytes.
    const fn is_aligned(&self, offset: u64, length: u64) -> bool {
        // CAST: `u32` to `u64` keeps every value.
        let unit = self.alignment as u64;
        // No remainder at all (a unit of 0) asks for nothing.
        !matches!(offset.checked_rem(unit), Some(1..))
            && !matches!(length.checked_rem(unit), Some(1..))
    }

    /// Whether every byte from `offset` up to `end` may be written.
    const fn is_writable(&self, offset: u64, end: u64) -> bool {
        offset >= self.writable_offset
            && end <= self.writable_offset.saturating_add(self.writable_length)
    }
}

impl Default for PioWindow {
    fn default() -> Self {
        Self::NONE
    }
}

/// What a device allows. The default allows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The device memory that every path but PIO reaches, in bytes.
    pub memory_length: u64,
    /// The longest single transfer that the driver takes, in bytes.
    pub transfer_length_max: u64,
    /// The paths that work on this device and machine.
    pub paths: Paths,
    /// What PIO reaches.
    pub pio: PioWindow,
}

impl Limits {
    /// The length in bytes of the window that the offsets of this path count in.
    #[must_use]
    pub const fn window_length(&self, path: Path) -> u64 {
        match path {
            Path::Pio => self.pio.length,
            Path::CommonBufferCached
            | Path::CommonBufferUncached
            | Path::Packet
            | Path::ScatterGather
            | Path::Version3
            | Path::SystemDma => self.memory_length,
        }
    }

    /// Whether transfers by this path are possible at all.
    #[must_use]
    pub fn is_available(&self, path: Path) -> bool {
        self.paths.contains(path) && (path != Path::Pio || self.pio.kind != PioKind::None)
    }

    /// Steps 7 to 11 of [`TransferHeader::check`]. `None` stands for an offset below 0.
    fn admit(
        &self,
        path: Path,
        direction: Direction,
        offset: Option<u64>,
        length: u64,
    ) -> Result<Transfer, Refusal> {
        if !self.is_available(path) {
            return Err(Refusal::PathNotAvailable);
        }
        if length > self.transfer_length_max {
            return Err(Refusal::TooLong);
        }
        let offset = offset.ok_or(Refusal::OutOfRange)?;
        let end = offset.checked_add(length).ok_or(Refusal::OutOfRange)?;
        if end > self.window_length(path) {
            return Err(Refusal::OutOfRange);
        }
        if path == Path::Pio {
            if !self.pio.is_aligned(offset, length) {
                return Err(Refusal::Misaligned);
            }
            if direction == Direction::ToDevice && !self.pio.is_writable(offset, end) {
                return Err(Refusal::DirectionNotAvailable);
            }
        }
        // INVARIANT: the length was compared with 0 by both callers, the range just above.
        Ok(Transfer { path, direction, offset, length })
    }
}

/// Why a request is refused. A refused request has changed nothing and moved no byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The input buffer is shorter than the request's structure.
    HeaderTooShort,
    /// The request speaks another version of this contract.
    WrongVersion,
    /// The input buffer is longer than the request's structure.
    HeaderTooLong,
    /// No path has this number.
    UnknownPath,
    /// A flag is set that this version does not define, and it defines none.
    UnknownFlags,
    /// A reserved field is not 0.
    ReservedSet,
    /// The transfer has no bytes.
    ZeroLength,
    /// The header's length is not the data buffer's.
    LengthMismatch,
    /// The path exists, but not on this device or machine.
    PathNotAvailable,
    /// The transfer is longer than the driver takes at once.
    TooLong,
    /// The transfer leaves the window of its path.
    OutOfRange,
    /// Offset or length is no multiple of the registers' width.
    Misaligned,
    /// The device cannot be written there by PIO.
    DirectionNotAvailable,
}

impl Refusal {
    /// Every refusal, in the order of the checks.
    pub const ALL: &'static [Self] = &[
        Self::HeaderTooShort,
        Self::WrongVersion,
        Self::HeaderTooLong,
        Self::UnknownPath,
        Self::UnknownFlags,
        Self::ReservedSet,
        Self::ZeroLength,
        Self::LengthMismatch,
        Self::PathNotAvailable,
        Self::TooLong,
        Self::OutOfRange,
        Self::Misaligned,
        Self::DirectionNotAvailable,
    ];

    /// The NTSTATUS that the request is completed with.
    ///
    /// Each refusal has its own, but for [`TooLong`](Self::TooLong), which shares that of
    /// [`LengthMismatch`](Self::LengthMismatch): the caller knows both lengths and can tell.
    #[must_use]
    pub const fn status(self) -> i32 {
        match self {
            Self::HeaderTooShort => status::BUFFER_TOO_SMALL,
            Self::WrongVersion => status::REVISION_MISMATCH,
            Self::HeaderTooLong => status::INFO_LENGTH_MISMATCH,
            // The numbered statuses carry the place of the wrong field in the header: the path is
            // its second field, the length its fourth, the flags its fifth.
            Self::UnknownPath => status::INVALID_PARAMETER_2,
            Self::ZeroLength => status::INVALID_PARAMETER_4,
            Self::UnknownFlags => status::INVALID_PARAMETER_5,
            // Another place in every structure, so without a number.
            Self::ReservedSet => status::INVALID_PARAMETER,
            Self::LengthMismatch | Self::TooLong => status::INVALID_BUFFER_SIZE,
            Self::PathNotAvailable => status::DEVICE_FEATURE_NOT_SUPPORTED,
            // Not STATUS_END_OF_FILE: ReadFile turns that into a success with 0 bytes, and a test
            // would take the refusal for a short read.
            Self::OutOfRange => status::NONEXISTENT_SECTOR,
            // Not STATUS_DATATYPE_MISALIGNMENT: that one is a warning, and requests that end with
            // a warning still copy their output.
            Self::Misaligned => status::DATATYPE_MISALIGNMENT_ERROR,
            Self::DirectionNotAvailable => status::MEDIA_WRITE_PROTECTED,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeaderTooShort => "the input buffer is shorter than the request's structure",
            Self::WrongVersion => "the request has another protocol version",
            Self::HeaderTooLong => "the input buffer is longer than the request's structure",
            Self::UnknownPath => "no path has this number",
            Self::UnknownFlags => "a flag is set that this version does not define",
            Self::ReservedSet => "a reserved field is not 0",
            Self::ZeroLength => "the transfer has no bytes",
            Self::LengthMismatch => "the header's length is not the data buffer's",
            Self::PathNotAvailable => "the path is not available on this device",
            Self::TooLong => "the transfer is longer than the driver takes at once",
            Self::OutOfRange => "the transfer leaves the device's window",
            Self::Misaligned => "offset or length is no multiple of the register width",
            Self::DirectionNotAvailable => "the device cannot be written there",
        })
    }
}

impl core::error::Error for Refusal {}
