//! The ways that data can take, and the two directions.

use core::{fmt, str::FromStr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::wire_enum;

wire_enum! {
    /// How the driver moves the bytes of a transfer.
    Path {
        /// Through a common buffer that was asked for with caching.
        CommonBufferCached = 1,
        /// Through a common buffer that was asked for without caching.
        CommonBufferUncached = 2,
        /// Packet transfers: map registers, one piece after the other.
        Packet = 3,
        /// Scatter/gather lists.
        ScatterGather = 4,
        /// The version 3 operations: MapTransferEx and its relatives.
        Version3 = 5,
        /// The processor moves the bytes itself, through the device's window or registers.
        Pio = 6,
        /// The system's DMA controller moves them for a device that is no bus master.
        SystemDma = 7,
    }
}

impl Path {
    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::CommonBufferCached => "common buffer, cached",
            Self::CommonBufferUncached => "common buffer, uncached",
            Self::Packet => "packet",
            Self::ScatterGather => "scatter/gather",
            Self::Version3 => "version 3",
            Self::Pio => "PIO",
            Self::SystemDma => "system DMA",
        }
    }

    /// The name for command lines and machine-readable reports; parsing reads it back.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::CommonBufferCached => "common-cached",
            Self::CommonBufferUncached => "common-uncached",
            Self::Packet => "packet",
            Self::ScatterGather => "sg",
            Self::Version3 => "v3",
            Self::Pio => "pio",
            Self::SystemDma => "system",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// The text is the command-line name of no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a path; the paths are")?;
        for path in Path::ALL {
            write!(f, " {}", path.option())?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownName {}

impl FromStr for Path {
    type Err = UnknownName;

    /// Reads a command-line name, exactly as [`Path::option`] writes it.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.iter().copied().find(|path| path.option() == name).ok_or(UnknownName)
    }
}

/// A set of paths: bit *n* stands for the path with the number *n*.
///
/// Bits without a path are kept as they are and mean nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Paths(u32);

impl Paths {
    /// No path.
    pub const EMPTY: Self = Self(0);

    /// Every path: bits 1 to 7.
    pub const ALL: Self = Self(0xFE);

    const fn bit(path: Path) -> u32 {
        1u32.wrapping_shl(path.code())
    }

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits of the set.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with this path in it.
    #[must_use]
    pub const fn with(self, path: Path) -> Self {
        Self(self.0 | Self::bit(path))
    }

    /// The set without this path.
    #[must_use]
    pub const fn without(self, path: Path) -> Self {
        Self(self.0 & !Self::bit(path))
    }

    /// Whether the path is in the set.
    #[must_use]
    pub const fn contains(self, path: Path) -> bool {
        self.0 & Self::bit(path) != 0
    }

    /// The paths in the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Path> {
        Path::ALL.iter().copied().filter(move |path| self.contains(*path))
    }
}

impl FromIterator<Path> for Paths {
    fn from_iter<I: IntoIterator<Item = Path>>(paths: I) -> Self {
        paths.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// Where the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the caller's buffer to the device.
    ToDevice,
    /// From the device to the caller's buffer.
    FromDevice,
}

impl Direction {
    /// Both of them.
    pub const ALL: &'static [Self] = &[Self::ToDevice, Self::FromDevice];

    /// The name for people and for command lines.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::ToDevice => "to-device",
            Self::FromDevice => "from-device",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}
