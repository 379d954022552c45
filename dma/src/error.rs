//! What can go wrong, and the status each failure gives a request.

use crate::sys::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_DATA_ERROR, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_UNSUCCESSFUL,
};

/// Why a DMA step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// `IoGetDmaAdapter` returned no adapter for the description (DMA-12).
    #[error("the system offers no adapter for this device description")]
    NoAdapter,
    /// The adapter came without a single map register (DMA-10).
    #[error("the adapter has no map registers")]
    NoMapRegisters,
    /// The table of operations lacks an operation of this version (DMA-04).
    #[error("the adapter's table lacks an operation")]
    MissingOperation,
    /// No common buffer could be allocated (DMA-23).
    #[error("no common buffer could be allocated")]
    NoCommonBuffer,
    /// No MDL could be allocated.
    #[error("no MDL could be allocated")]
    NoMdl,
    /// Pages could not be mapped into system space (DMA-106).
    #[error("the buffer could not be mapped into system space")]
    NoSystemAddress,
    /// The transfer has no bytes (DMA-50).
    #[error("a transfer needs at least one byte")]
    Empty,
    /// The MDL chain is shorter than the transfer (DMA-46).
    #[error("the MDL chain is shorter than the transfer")]
    TooShort,
    /// Nothing is left to do, or the next piece is of another kind.
    #[error("the next piece of the transfer is not of this kind")]
    WrongPiece,
    /// The mapping that came back has no bytes.
    #[error("the system mapped no bytes")]
    NothingMapped,
    /// A flush reported that the data did not reach its destination (DMA-55).
    #[error("the data did not reach its destination")]
    FlushFailed,
    /// A routine of the kernel refused.
    #[error("the system refused with status {0:#x}")]
    Refused(NTSTATUS),
}

impl DmaError {
    /// The status to complete a request with.
    #[must_use]
    pub const fn status(self) -> NTSTATUS {
        match self {
            Self::NoAdapter
            | Self::NoMapRegisters
            | Self::NoCommonBuffer
            | Self::NoMdl
            | Self::NoSystemAddress
            | Self::NothingMapped => STATUS_INSUFFICIENT_RESOURCES,
            Self::MissingOperation => STATUS_NOT_SUPPORTED,
            Self::Empty => STATUS_INVALID_PARAMETER,
            Self::TooShort => STATUS_BUFFER_TOO_SMALL,
            Self::WrongPiece => STATUS_UNSUCCESSFUL,
            Self::FlushFailed => STATUS_DEVICE_DATA_ERROR,
            Self::Refused(status) => status,
        }
    }
}
