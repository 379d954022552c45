//! The statuses that a request can end with.
//!
//! The values are those of Windows' `ntstatus.h`, as `NTSTATUS` is: signed, 32 bits. The table in
//! `docs/protocol.md` says which condition ends in which status.

/// Declares the constants and [`describe`] from one list.
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $windows:literal, $advice:literal;)+) => {
        $(
            $(#[$doc])*
            // CAST: the same 32 bits; `NTSTATUS` is signed and errors have the top bit set.
            pub const $name: i32 = $value as i32;
        )+

        /// Every status of the contract.
        pub const ALL: &[i32] = &[$($name,)+];

        /// The Windows name of a status, and what it means for the user with the next step; `None`
        /// for a status that is not part of this contract.
        #[must_use]
        pub const fn describe(status: i32) -> Option<(&'static str, &'static str)> {
            match status {
                $($name => Some(($windows, $advice)),)+
                _ => None,
            }
        }
    };
}

statuses! {
    /// The request did what it was to do.
    SUCCESS = 0x0000_0000_u32, "STATUS_SUCCESS",
        "The request did what it was to do.";
    /// [`Refusal::HeaderTooLong`](crate::Refusal::HeaderTooLong).
    INFO_LENGTH_MISMATCH = 0xC000_0004_u32, "STATUS_INFO_LENGTH_MISMATCH",
        "The input buffer is longer than the request's structure. Pass exactly the structure.";
    /// [`Refusal::ReservedSet`](crate::Refusal::ReservedSet).
    INVALID_PARAMETER = 0xC000_000D_u32, "STATUS_INVALID_PARAMETER",
        "A reserved field of the request is not 0. Clear the structure before filling it in.";
    /// The control code is not one of [`Ioctl`](crate::Ioctl).
    INVALID_DEVICE_REQUEST = 0xC000_0010_u32, "STATUS_INVALID_DEVICE_REQUEST",
        "The driver knows no such request. Compare the control code with the protocol, and make \
         sure that app and driver come from the same release.";
    /// [`Refusal::OutOfRange`](crate::Refusal::OutOfRange).
    NONEXISTENT_SECTOR = 0xC000_0015_u32, "STATUS_NONEXISTENT_SECTOR",
        "The transfer leaves the device's memory or register window. Its `info` shows the \
         lengths; choose a smaller offset or length.";
    /// The handle, or the user, lacks the access.
    ACCESS_DENIED = 0xC000_0022_u32, "STATUS_ACCESS_DENIED",
        "The device is open to administrators only, and each request needs a handle opened for \
         reading or writing. Run as administrator, and open the device for both.";
    /// [`Refusal::HeaderTooShort`](crate::Refusal::HeaderTooShort), or the output buffer is shorter
    /// than the reply.
    BUFFER_TOO_SMALL = 0xC000_0023_u32, "STATUS_BUFFER_TOO_SMALL",
        "The input or output buffer is shorter than its structure. Pass the whole structure.";
    /// [`Refusal::WrongVersion`](crate::Refusal::WrongVersion).
    REVISION_MISMATCH = 0xC000_0059_u32, "STATUS_REVISION_MISMATCH",
        "App and driver speak different versions of the protocol. Install both from the same \
         release.";
    /// Map registers, memory or a free slot could not be had.
    INSUFFICIENT_RESOURCES = 0xC000_009A_u32, "STATUS_INSUFFICIENT_RESOURCES",
        "The driver could not get map registers, memory or a free slot. Have fewer requests under \
         way, or shorter ones, and try again.";
    /// The flush after a transfer reported a failure.
    DEVICE_DATA_ERROR = 0xC000_009C_u32, "STATUS_DEVICE_DATA_ERROR",
        "Not all data of the transfer reached its destination: the device moved less than it was \
         told to, or the system's flush failed. Do not use the data; repeat the transfer, and if it \
         happens again suspect the device or the platform's DMA.";
    /// [`Refusal::DirectionNotAvailable`](crate::Refusal::DirectionNotAvailable).
    MEDIA_WRITE_PROTECTED = 0xC000_00A2_u32, "STATUS_MEDIA_WRITE_PROTECTED",
        "The processor may not write that part of the device. Its `info` shows the writable \
         part of the PIO window.";
    /// The device has power or a driver problem at the moment.
    DEVICE_NOT_READY = 0xC000_00A3_u32, "STATUS_DEVICE_NOT_READY",
        "The device is not started or has failed. Look for it in Device Manager; restarting the \
         device may help.";
    /// The device did not finish in time.
    IO_TIMEOUT = 0xC000_00B5_u32, "STATUS_IO_TIMEOUT",
        "The device did not finish the transfer in time. Do not use the data; if it happens again, \
         look at the device and its interrupts.";
    /// The device cannot do what was asked, such as a reset of edu.
    NOT_SUPPORTED = 0xC000_00BB_u32, "STATUS_NOT_SUPPORTED",
        "This device has no such function; the edu device, for one, cannot be reset. Go on without \
         it.";
    /// The device could not reach the memory that it was given.
    ADAPTER_HARDWARE_ERROR = 0xC000_00C2_u32, "STATUS_ADAPTER_HARDWARE_ERROR",
        "The device could not reach memory that it was given for the transfer. Do not use the \
         data; look at the device's driver, the IOMMU and the device itself.";
    /// [`Refusal::UnknownPath`](crate::Refusal::UnknownPath).
    INVALID_PARAMETER_2 = 0xC000_00F0_u32, "STATUS_INVALID_PARAMETER_2",
        "The second field of the transfer header, the path, has no meaning in this version. Use \
         one of the numbers that the protocol lists.";
    /// [`Refusal::ZeroLength`](crate::Refusal::ZeroLength).
    INVALID_PARAMETER_4 = 0xC000_00F2_u32, "STATUS_INVALID_PARAMETER_4",
        "The fourth field of the transfer header, the length, is 0. Transfer at least one byte.";
    /// [`Refusal::UnknownFlags`](crate::Refusal::UnknownFlags).
    INVALID_PARAMETER_5 = 0xC000_00F3_u32, "STATUS_INVALID_PARAMETER_5",
        "The fifth field of the transfer header, the flags, has a flag that this version does not \
         define. Set it to 0.";
    /// The caller cancelled the request, or closed the handle.
    CANCELLED = 0xC000_0120_u32, "STATUS_CANCELLED",
        "The request was cancelled. Part of the data may have been moved; do not use it.";
    /// The device is on its way out or in a state that allows no request.
    INVALID_DEVICE_STATE = 0xC000_0184_u32, "STATUS_INVALID_DEVICE_STATE",
        "The device is being stopped or removed. Close the handle and look for the device again.";
    /// The device reported an error.
    IO_DEVICE_ERROR = 0xC000_0185_u32, "STATUS_IO_DEVICE_ERROR",
        "The device reported an error. Do not use the data; reset the device if it can be reset, \
         and repeat the transfer.";
    /// [`Refusal::LengthMismatch`](crate::Refusal::LengthMismatch) and
    /// [`Refusal::TooLong`](crate::Refusal::TooLong).
    INVALID_BUFFER_SIZE = 0xC000_0206_u32, "STATUS_INVALID_BUFFER_SIZE",
        "The length in the transfer header is not that of the data buffer, or it is longer than \
         the driver takes at once. Make the two equal, and at most the maximum that the device's \
         `info` shows.";
    /// The device is gone.
    DEVICE_REMOVED = 0xC000_02B6_u32, "STATUS_DEVICE_REMOVED",
        "The device was removed while the request was under way. Do not use the data; close the \
         handle and look for the device again.";
    /// [`Refusal::Misaligned`](crate::Refusal::Misaligned).
    DATATYPE_MISALIGNMENT_ERROR = 0xC000_02C5_u32, "STATUS_DATATYPE_MISALIGNMENT_ERROR",
        "Offset or length of a PIO transfer is no multiple of the register width. The device's \
         `info` shows the width.";
    /// [`Refusal::PathNotAvailable`](crate::Refusal::PathNotAvailable).
    DEVICE_FEATURE_NOT_SUPPORTED = 0xC000_0463_u32, "STATUS_DEVICE_FEATURE_NOT_SUPPORTED",
        "This device, or this machine, does not offer the path. Its `info` shows those that \
         it offers.";
}
