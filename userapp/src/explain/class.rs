//! The kinds of mistakes.

use std::fmt;

use serde::{Serialize, Serializer};

/// What wrong data looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Whole cache lines hold what memory or cache held before.
    StaleLine,
    /// The processor's older copy was written back over what the device had written.
    LateWriteBack,
    /// Only the part of a cache line that the buffer shares with its neighbours is wrong.
    TornEdge,
    /// Bytes next to the buffer, in a line shared with it, lost what was stored there.
    NeighbourStore,
    /// A word that nobody sent, over and over.
    Poison,
    /// Nothing but zeros.
    ZeroFilled,
    /// Nothing arrived: the destination holds what it held before.
    NotCopied,
    /// Whole pages did not arrive.
    PieceNotCopied,
    /// The last bytes did not arrive.
    TailMissing,
    /// An earlier transfer's data, not in whole cache lines.
    OldData,
    /// The data is there, but moved by a number of bytes.
    Shifted,
    /// Pieces of the data changed places.
    Swapped,
    /// One piece arrived more than once, in place of others.
    PieceRepeated,
    /// Data beyond a power of two landed at the start.
    Wrapped,
    /// This transfer's data, in the wrong places in no simple way.
    Misplaced,
    /// Bytes outside the buffer, or outside the range on the device, changed.
    Overrun,
    /// Single bits are wrong.
    BitFlips,
    /// The buffer that was sent changed.
    SourceChanged,
    /// The driver says that it moved another number of bytes.
    ShortCompletion,
    /// The request failed.
    RequestFailed,
    /// A register does not hold what it should.
    WrongRegister,
    /// None of these.
    Unknown,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 22] = [
        Self::StaleLine,
        Self::LateWriteBack,
        Self::TornEdge,
        Self::NeighbourStore,
        Self::Poison,
        Self::ZeroFilled,
        Self::NotCopied,
        Self::PieceNotCopied,
        Self::TailMissing,
        Self::OldData,
        Self::Shifted,
        Self::Swapped,
        Self::PieceRepeated,
        Self::Wrapped,
        Self::Misplaced,
        Self::Overrun,
        Self::BitFlips,
        Self::SourceChanged,
        Self::ShortCompletion,
        Self::RequestFailed,
        Self::WrongRegister,
        Self::Unknown,
    ];

    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleLine => "stale-line",
            Self::LateWriteBack => "late-write-back",
            Self::TornEdge => "torn-edge",
            Self::NeighbourStore => "neighbour-store",
            Self::Poison => "poison",
            Self::ZeroFilled => "zero-filled",
            Self::NotCopied => "not-copied",
            Self::PieceNotCopied => "piece-not-copied",
            Self::TailMissing => "tail-missing",
            Self::OldData => "old-data",
            Self::Shifted => "shifted",
            Self::Swapped => "swapped",
            Self::PieceRepeated => "piece-repeated",
            Self::Wrapped => "wrapped",
            Self::Misplaced => "misplaced",
            Self::Overrun => "overrun",
            Self::BitFlips => "bit-flips",
            Self::SourceChanged => "source-changed",
            Self::ShortCompletion => "short-completion",
            Self::RequestFailed => "request-failed",
            Self::WrongRegister => "wrong-register",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
