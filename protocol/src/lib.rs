//! The contract between the dmaproof driver and the programs that use it.
//!
//! The driver and the app compile this same crate, so they cannot disagree about a code, an offset
//! or a status. It holds
//!
//! - the I/O control codes ([`Ioctl`]) with the access each one needs,
//! - the structures that cross the border, every byte of them named,
//! - the one function that decides whether a transfer is allowed ([`TransferHeader::check`]; for
//!   `ReadFile` and `WriteFile`, [`check_read_write`]),
//! - the statuses a request can end with and what each means to the caller ([`status`]).
//!
//! `docs/protocol.md` says the same for people who write a client in another language.
//!
//! Nothing here allocates, panics or indexes: the driver runs this code on bytes that any holder
//! of a handle chose. The lints below keep it so.
//!
//! # Example
//!
//! ```
//! use dmaproof_protocol::{Direction, Limits, Path, Paths, Refusal, TransferHeader};
//!
//! let device = Limits {
//!     memory_length: 4095,
//!     transfer_length_max: 4095,
//!     paths: Paths::EMPTY.with(Path::Packet),
//!     ..Limits::default()
//! };
//!
//! let header = TransferHeader::new(Path::Packet, 16, 1024);
//! let transfer = header.check(Direction::ToDevice, 1024, &device).unwrap();
//! assert_eq!(transfer.end(), 1040);
//!
//! let header = TransferHeader::new(Path::Packet, 4000, 1024);
//! assert_eq!(header.check(Direction::ToDevice, 1024, &device), Err(Refusal::OutOfRange));
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

#[cfg(not(target_endian = "little"))]
compile_error!("the structures are little endian and are used in place: build for such a target");

mod ioctl;
mod path;
mod query;
mod statistics;
pub mod status;
mod transfer;
mod wire;

pub use ioctl::{Access, DEVICE_TYPE, Ioctl, Method, access_of, ctl_code, method_of};
pub use path::{Direction, Path, Paths, UnknownName};
pub use query::{
    AdapterInfo, DeviceKind, InterruptKind, PioInfo, QueryReply, QueryRequest, ResetRequest,
    StatisticsRequest, VersionRequest,
};
pub use statistics::{Count, DirectionCounts, Statistics};
pub use transfer::{
    Limits, PioKind, PioWindow, Refusal, Transfer, TransferHeader, check_read_write,
};
pub use wire::UnknownCode;

/// The version of this contract.
///
/// Every request carries it, and the driver refuses any other. It grows whenever a structure, a
/// check or a status changes; there is no range of compatible versions.
pub const VERSION: u32 = 2;

/// The device interface class of the driver, in the order of the fields of a Windows `GUID`.
///
/// Programs find devices by it; [`GUID_TEXT`] is the same value as text.
pub const GUID_FIELDS: (u32, u16, u16, [u8; 8]) =
    (0xF841_DEDA, 0x968C, 0x4D17, [0x9B, 0x7C, 0xF1, 0x47, 0x16, 0xCC, 0x47, 0xD1]);

/// [`GUID_FIELDS`] as the registry and INF files write it.
pub const GUID_TEXT: &str = "{f841deda-968c-4d17-9b7c-f14716cc47d1}";
