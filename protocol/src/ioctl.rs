//! The I/O control codes.

use crate::path::Direction;
use crate::wire::wire_enum;

/// The device type in the codes; types of drivers that are not Microsoft's start at 0x8000.
pub const DEVICE_TYPE: u16 = 0xDA7A;

/// How the I/O manager hands the caller's buffers to the driver; bits 0 and 1 of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Method {
    /// Input and output share one kernel copy.
    Buffered = 0,
    /// The first buffer is copied, the second is locked, described by an MDL and only read.
    InDirect = 1,
    /// The first buffer is copied, the second is locked, described by an MDL and may be written.
    OutDirect = 2,
    /// Bare user addresses. No code of this contract uses it.
    Neither = 3,
}

/// The access that a handle must have been granted; bits 14 and 15 of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Access {
    /// Any handle will do. No code of this contract uses it.
    Any = 0,
    /// `FILE_READ_ACCESS`: the handle was opened for reading.
    Read = 1,
    /// `FILE_WRITE_ACCESS`: the handle was opened for writing.
    Write = 2,
    /// Both of them.
    ReadWrite = 3,
}

/// Composes an I/O control code as the `CTL_CODE` macro of the Windows headers does.
///
/// A function number has 12 bits; higher ones are dropped.
#[must_use]
pub const fn ctl_code(device_type: u16, function: u16, method: Method, access: Access) -> u32 {
    // CAST: `u16` to `u32` keeps every value; the enumerations are `repr(u32)`.
    ((device_type as u32) << 16)
        | ((access as u32) << 14)
        | (((function & 0x0FFF) as u32) << 2)
        | method as u32
}

/// The transfer method in a code.
#[must_use]
pub const fn method_of(code: u32) -> Method {
    match code & 3 {
        0 => Method::Buffered,
        1 => Method::InDirect,
        2 => Method::OutDirect,
        _ => Method::Neither,
    }
}

/// The required access in a code.
#[must_use]
pub const fn access_of(code: u32) -> Access {
    match (code >> 14) & 3 {
        0 => Access::Any,
        1 => Access::Read,
        2 => Access::Write,
        _ => Access::ReadWrite,
    }
}

wire_enum! {
    /// The requests that the driver answers. The number of each is its I/O control code.
    ///
    /// Codes are compared as whole 32-bit numbers: the right function number with another method
    /// or access is an unknown request.
    Ioctl {
        /// What the device and the driver are: [`QueryRequest`](crate::QueryRequest) in,
        /// [`QueryReply`](crate::QueryReply) out.
        Query = ctl_code(DEVICE_TYPE, 0x800, Method::Buffered, Access::Read),
        /// Moves the data buffer to the device: [`TransferHeader`](crate::TransferHeader) in.
        ToDevice = ctl_code(DEVICE_TYPE, 0x801, Method::InDirect, Access::Write),
        /// Fills the data buffer from the device: [`TransferHeader`](crate::TransferHeader) in.
        FromDevice = ctl_code(DEVICE_TYPE, 0x802, Method::OutDirect, Access::Read),
        /// Counters: [`StatisticsRequest`](crate::StatisticsRequest) in,
        /// [`Statistics`](crate::Statistics) out.
        Statistics = ctl_code(DEVICE_TYPE, 0x803, Method::Buffered, Access::Read),
        /// Resets the device: [`ResetRequest`](crate::ResetRequest) in, nothing out.
        ///
        /// The edu device has no reset and answers
        /// [`NOT_SUPPORTED`](crate::status::NOT_SUPPORTED).
        Reset = ctl_code(DEVICE_TYPE, 0x804, Method::Buffered, Access::Write),
    }
}

impl Ioctl {
    /// How the buffers of this request are handed over.
    #[must_use]
    pub const fn method(self) -> Method {
        method_of(self.code())
    }

    /// The access that the caller's handle needs.
    #[must_use]
    pub const fn access(self) -> Access {
        access_of(self.code())
    }

    /// The direction of the data, for the two requests that transfer some.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::ToDevice => Some(Direction::ToDevice),
            Self::FromDevice => Some(Direction::FromDevice),
            Self::Query | Self::Statistics | Self::Reset => None,
        }
    }
}
