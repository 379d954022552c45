//! What Windows answers, in the app's terms. Nothing here calls Windows, so that it is tested on
//! every system.

use dmaproof_protocol::{QueryReply, VERSION, status};

use super::{NtStatus, TargetError};

/// The Win32 errors that opening a device ends with, by their names in `winerror.h`.
mod error {
    pub(super) const FILE_NOT_FOUND: u32 = 2;
    pub(super) const PATH_NOT_FOUND: u32 = 3;
    pub(super) const ACCESS_DENIED: u32 = 5;
    pub(super) const NOT_READY: u32 = 21;
    pub(super) const GEN_FAILURE: u32 = 31;
    pub(super) const SHARING_VIOLATION: u32 = 32;
    pub(super) const BAD_NETPATH: u32 = 53;
    pub(super) const DEV_NOT_EXIST: u32 = 55;
    pub(super) const INVALID_NAME: u32 = 123;
    pub(super) const BAD_PATHNAME: u32 = 161;
    pub(super) const NO_SUCH_DEVICE: u32 = 433;
    pub(super) const DEVICE_NOT_CONNECTED: u32 = 1167;
}

/// The Win32 errors of refused requests and the statuses that they stand for, where Windows keeps
/// the status to itself. Of several statuses with one error the most general one.
const STATUSES: [(u32, i32); 21] = [
    (1, status::INVALID_DEVICE_REQUEST),
    (error::ACCESS_DENIED, status::ACCESS_DENIED),
    // ERROR_INVALID_HANDLE: the file is no device that takes requests, or it is closed.
    (6, 0xC000_0008_u32 as i32),
    (19, status::MEDIA_WRITE_PROTECTED),
    (error::NOT_READY, status::DEVICE_NOT_READY),
    (22, status::INVALID_DEVICE_STATE),
    (23, status::DEVICE_DATA_ERROR),
    (24, status::INFO_LENGTH_MISMATCH),
    (27, status::NONEXISTENT_SECTOR),
    (50, status::NOT_SUPPORTED),
    (57, status::ADAPTER_HARDWARE_ERROR),
    (87, status::INVALID_PARAMETER),
    (121, status::IO_TIMEOUT),
    (122, status::BUFFER_TOO_SMALL),
    (316, status::DEVICE_FEATURE_NOT_SUPPORTED),
    (995, status::CANCELLED),
    (998, status::DATATYPE_MISALIGNMENT_ERROR),
    (1117, status::IO_DEVICE_ERROR),
    (1306, status::REVISION_MISMATCH),
    (1450, status::INSUFFICIENT_RESOURCES),
    (1617, status::DEVICE_REMOVED),
];

/// The strings of a list that ends with an empty one, as the configuration manager returns it.
pub(super) fn strings(list: &[u16]) -> Vec<String> {
    list.split(|unit| *unit == 0)
        .take_while(|string| !string.is_empty())
        .map(String::from_utf16_lossy)
        .collect()
}

/// What a completed request ended with, from the `Internal` field of its `OVERLAPPED`.
///
/// # Errors
///
/// A status that is an error or a warning: the driver ends requests with neither and data.
pub(super) const fn completion(internal: usize) -> Result<(), NtStatus> {
    // CAST: an NTSTATUS is the low 32 bits.
    let status = internal as i32;
    if status < 0 { Err(NtStatus(status)) } else { Ok(()) }
}

/// What a request that was refused at once ended with. The kernel may have left `Internal` alone
/// then, and only the Win32 error is known.
pub(super) fn refusal(internal: usize, error: u32) -> NtStatus {
    match completion(internal) {
        Err(status) => status,
        // Usually STATUS_PENDING, as it was before.
        Ok(()) => status_of(error),
    }
}

/// The status that a Win32 error stands for; for others the error in the form that
/// `NTSTATUS_FROM_WIN32` gives it.
fn status_of(error: u32) -> NtStatus {
    let known = STATUSES.iter().find(|(known, _)| *known == error);
    // CAST: the same 32 bits.
    NtStatus(known.map_or((0xC007_0000 | (error & 0xFFFF)) as i32, |(_, status)| *status))
}

/// Why a device cannot be opened. `error` is the Win32 error, `text` what Windows says about it.
pub(super) fn cannot_open(path: &str, error: Option<u32>, text: &str) -> TargetError {
    let reason = match error {
        Some(error::ACCESS_DENIED) => {
            "access is denied: the device is open to administrators only; run as administrator"
        }
        Some(
            error::FILE_NOT_FOUND
            | error::PATH_NOT_FOUND
            | error::BAD_NETPATH
            | error::DEV_NOT_EXIST
            | error::INVALID_NAME
            | error::BAD_PATHNAME
            | error::NO_SUCH_DEVICE,
        ) => {
            "there is no such device; `dmaproof list` shows those that there are, --sim takes a \
             simulated one"
        }
        Some(error::SHARING_VIOLATION) => "another program uses it; end that program first",
        Some(error::NOT_READY | error::GEN_FAILURE | error::DEVICE_NOT_CONNECTED) => {
            "the device is not started; look for it in Device Manager"
        }
        _ => return TargetError::Unavailable(format!("cannot open {path}: {text}")),
    };
    TargetError::Unavailable(format!("cannot open {path}: {reason}"))
}

/// Checks that app and driver speak the same version, from the driver's answer to the app's and
/// from the version in it.
///
/// # Errors
///
/// [`TargetError`] with the next step.
pub(super) fn check_version(answer: Result<QueryReply, NtStatus>) -> Result<(), TargetError> {
    let advice = "install app and driver from the same release";
    let what = match answer {
        Ok(reply) if reply.version == VERSION => return Ok(()),
        Ok(reply) => format!("the driver speaks version {}", reply.version),
        Err(NtStatus(status::REVISION_MISMATCH)) => "the driver refuses this version".to_owned(),
        Err(status) => {
            let step = "asking the driver for its version";
            return Err(TargetError::Start { step, status, reason: None });
        }
    };
    Err(TargetError::Unavailable(format!(
        "this app speaks version {VERSION} of the protocol and {what}; {advice}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn a_list_ends_with_an_empty_string() {
        let two = utf16("\\\\?\\pci#a\0\\\\?\\pci#b\0\0");
        assert_eq!(strings(&two), ["\\\\?\\pci#a", "\\\\?\\pci#b"]);
        // The buffer may be longer than the list.
        assert_eq!(strings(&utf16("a\0b\0\0left over\0\0")), ["a", "b"]);
    }

    #[test]
    fn an_empty_list_has_no_strings() {
        for list in ["", "\0", "\0\0", "\0left over\0"] {
            assert!(strings(&utf16(list)).is_empty(), "{list:?}");
        }
    }

    #[test]
    fn a_list_that_does_not_end_is_read_to_its_end() {
        assert_eq!(strings(&utf16("a\0b")), ["a", "b"]);
        assert_eq!(strings(&[0xD800, 0, 0]), ["\u{FFFD}"]);
    }

    #[test]
    fn warnings_and_errors_are_no_success() {
        assert_eq!(completion(0), Ok(()));
        assert_eq!(completion(0xC000_00B5), Err(NtStatus(status::IO_TIMEOUT)));
        assert!(completion(0x8000_0005).is_err());
    }

    #[test]
    fn a_refused_request_has_the_kernels_status_or_that_of_the_error() {
        let access_denied = NtStatus(status::ACCESS_DENIED);
        assert_eq!(refusal(0xC000_0023, 122), NtStatus(status::BUFFER_TOO_SMALL));
        assert_eq!(refusal(0x103, 5), access_denied);
        assert_eq!(refusal(0, 5), access_denied);
        assert_eq!(refusal(0x103, 1234), NtStatus(0xC007_04D2_u32 as i32));
    }

    #[test]
    fn every_error_is_listed_once_in_order() {
        assert!(STATUSES.is_sorted_by(|first, second| first.0 < second.0));
        // Those left out share their error with a more general status.
        let known = |status: &i32| STATUSES.iter().any(|(_, known)| known == status);
        let missing: Vec<_> = status::ALL.iter().filter(|status| !known(status)).collect();
        assert_eq!(missing.len(), 5, "{missing:x?}");
    }

    #[test]
    fn denied_access_asks_for_an_administrator() {
        let text = cannot_open("x", Some(5), "").to_string();
        assert!(text.contains("run as administrator"), "{text}");
        let text = cannot_open("x", Some(2), "").to_string();
        assert!(text.contains("dmaproof list"), "{text}");
        let text = cannot_open("x", Some(9999), "what Windows says").to_string();
        assert_eq!(text, "cannot open x: what Windows says");
        let text = cannot_open("x", None, "no text with a NUL").to_string();
        assert!(text.ends_with("a NUL"), "{text}");
    }

    #[test]
    fn the_version_is_checked_both_ways() {
        let reply = |version| QueryReply { version, ..QueryReply::default() };
        assert_eq!(check_version(Ok(reply(VERSION))), Ok(()));
        let newer = check_version(Ok(reply(VERSION + 1))).unwrap_err().to_string();
        assert!(newer.contains("speaks version 2") && newer.contains("same release"), "{newer}");
        let refused = check_version(Err(NtStatus(status::REVISION_MISMATCH))).unwrap_err();
        assert!(matches!(refused, TargetError::Unavailable(_)));
        let other = check_version(Err(NtStatus(status::DEVICE_NOT_READY))).unwrap_err();
        assert!(matches!(other, TargetError::Start { .. }));
    }
}
