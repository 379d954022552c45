//! The driver's counters.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::VERSION;
use crate::path::{Direction, Path};

/// Successful transfers in one direction by one path.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Count {
    /// Transfers completed with success.
    pub transfers: u64,
    /// The bytes they moved.
    pub bytes: u64,
}

/// Successful transfers by one path.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DirectionCounts {
    /// From buffers to the device.
    pub to_device: Count,
    /// From the device to buffers.
    pub from_device: Count,
}

/// The output of [`Ioctl::Statistics`](crate::Ioctl::Statistics).
///
/// Counters start at 0 when the device starts and never go back. They are read one by one while
/// the device works, so sums of a busy device may be off by what is under way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Statistics {
    /// The driver's [`VERSION`].
    pub version: u32,
    /// 0.
    pub reserved: u32,
    /// [`Path::CommonBufferCached`].
    pub common_buffer_cached: DirectionCounts,
    /// [`Path::CommonBufferUncached`].
    pub common_buffer_uncached: DirectionCounts,
    /// [`Path::Packet`], `ReadFile` and `WriteFile` included.
    pub packet: DirectionCounts,
    /// [`Path::ScatterGather`].
    pub scatter_gather: DirectionCounts,
    /// [`Path::Version3`].
    pub version3: DirectionCounts,
    /// [`Path::Pio`].
    pub pio: DirectionCounts,
    /// [`Path::SystemDma`].
    pub system_dma: DirectionCounts,
    /// Transfers that began and failed, other than by cancellation or time-out.
    pub errors: u64,
    /// Transfers that ended because the caller cancelled them or closed the handle.
    pub cancelled: u64,
    /// Transfers that the device did not finish in time.
    pub timed_out: u64,
    /// Interrupts that were the device's.
    pub interrupts: u64,
    /// Interrupts that were not, or came without a cause.
    pub interrupts_spurious: u64,
    /// DPCs run.
    pub dpcs: u64,
    /// Pieces mapped for the device.
    pub pieces_mapped: u64,
    /// Pieces flushed and unmapped.
    pub pieces_flushed: u64,
    /// Flushes that reported a failure.
    pub flush_failures: u64,
    /// Requests refused by the checks of this contract.
    pub refused: u64,
    /// Waiting transfers whose request was gone when map registers came.
    pub slots_abandoned: u64,
    /// Pieces that were over without an interrupt that said so; the watchdog found them.
    pub interrupts_lost: u64,
    /// Completions of the device that belong to no piece.
    pub completions_unknown: u64,
    /// Pieces that the device was told to stop.
    pub aborts: u64,
    /// Times the device was reset while it worked.
    pub resets: u64,
}

impl Statistics {
    /// Counters of this version, all at 0.
    #[must_use]
    pub fn new() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    /// The count for a path and a direction.
    #[must_use]
    pub const fn count(&self, path: Path, direction: Direction) -> Count {
        let counts = match path {
            Path::CommonBufferCached => &self.common_buffer_cached,
            Path::CommonBufferUncached => &self.common_buffer_uncached,
            Path::Packet => &self.packet,
            Path::ScatterGather => &self.scatter_gather,
            Path::Version3 => &self.version3,
            Path::Pio => &self.pio,
            Path::SystemDma => &self.system_dma,
        };
        match direction {
            Direction::ToDevice => counts.to_device,
            Direction::FromDevice => counts.from_device,
        }
    }

    /// The count for a path and a direction, to be changed.
    pub const fn count_mut(&mut self, path: Path, direction: Direction) -> &mut Count {
        let counts = match path {
            Path::CommonBufferCached => &mut self.common_buffer_cached,
            Path::CommonBufferUncached => &mut self.common_buffer_uncached,
            Path::Packet => &mut self.packet,
            Path::ScatterGather => &mut self.scatter_gather,
            Path::Version3 => &mut self.version3,
            Path::Pio => &mut self.pio,
            Path::SystemDma => &mut self.system_dma,
        };
        match direction {
            Direction::ToDevice => &mut counts.to_device,
            Direction::FromDevice => &mut counts.from_device,
        }
    }
}
