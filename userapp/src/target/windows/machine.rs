//! What Windows knows about a device: by documented ways that an administrator may take.

use std::io;
use std::mem::size_of;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::ptr::null;

use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    HDEVINFO, SP_DEVINFO_DATA, SetupDiCreateDeviceInfoList, SetupDiDestroyDeviceInfoList,
    SetupDiEnumDeviceInfo, SetupDiGetDevicePropertyW, SetupDiOpenDeviceInterfaceW,
};
use windows_sys::Win32::Devices::Properties::{DEVPROP_TYPE_INT32, DEVPROP_TYPE_UINT32};
use windows_sys::Win32::Foundation::{DEVPROPKEY, ERROR_NOT_FOUND};
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::core::GUID;

use crate::target::machine::{Machine, names_the_driver};

/// `DEVPKEY_Device_DmaRemappingPolicy` (DOC, pci/enabling-dma-remapping-for-device-drivers names
/// the number).
const DMA_REMAPPING_POLICY: DEVPROPKEY =
    DEVPROPKEY { fmtid: GUID::from_u128(0x83da6326_97a6_4088_9453_a1923f573b29), pid: 18 };

/// What Windows says about the device with this interface path.
pub(super) fn ask(path: &str) -> Machine {
    let policy = DeviceInfoList::new()
        .and_then(|list| list.device(path).and_then(|device| list.number(&device)))
        .map_err(|error| error.to_string());
    Machine {
        dma_remapping_policy: policy,
        verifier: verifier("/query"),
        verifier_after_restart: verifier("/querysettings"),
    }
}

/// Whether `verifier.exe` names the driver. It is Windows' own program and the documented way to
/// its settings (DOC, devtest/verifier-command-line); where they are stored is not documented.
fn verifier(question: &str) -> Result<bool, String> {
    let program = system_directory().map_err(|error| error.to_string())?.join("verifier.exe");
    let output = Command::new(&program)
        .arg(question)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(names_the_driver(&output.stdout));
    }
    Err(format!("verifier {question} ended with {}", output.status))
}

fn system_directory() -> io::Result<PathBuf> {
    let mut name = [0_u16; 260];
    // CAST: 260 fits.
    // SAFETY: the buffer has room for that many characters.
    let length = unsafe { GetSystemDirectoryW(name.as_mut_ptr(), name.len() as u32) } as usize;
    match name.get(..length) {
        Some(name) if length > 0 => Ok(PathBuf::from(String::from_utf16_lossy(name))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A list of devices of the setup library.
struct DeviceInfoList(HDEVINFO);

impl DeviceInfoList {
    fn new() -> io::Result<Self> {
        // SAFETY: neither a class nor a window is given.
        let list = unsafe { SetupDiCreateDeviceInfoList(null(), std::ptr::null_mut()) };
        // INVALID_HANDLE_VALUE.
        if list == -1 { Err(io::Error::last_os_error()) } else { Ok(Self(list)) }
    }

    /// The device that has the interface, which becomes the only one of the list.
    fn device(&self, path: &str) -> io::Result<SP_DEVINFO_DATA> {
        let path: Vec<u16> = path.encode_utf16().chain([0]).collect();
        // SAFETY: the list is open, the path ends with a NUL, and the interface is not asked for.
        let found =
            unsafe { SetupDiOpenDeviceInterfaceW(self.0, path.as_ptr(), 0, std::ptr::null_mut()) };
        if found == 0 {
            return Err(io::Error::last_os_error());
        }
        let mut device = SP_DEVINFO_DATA {
            // CAST: the size of a small structure.
            cbSize: size_of::<SP_DEVINFO_DATA>() as u32,
            ..SP_DEVINFO_DATA::default()
        };
        // SAFETY: the list is open, and the structure has its size in it.
        let first = unsafe { SetupDiEnumDeviceInfo(self.0, 0, &raw mut device) };
        if first == 0 { Err(io::Error::last_os_error()) } else { Ok(device) }
    }

    /// The remapping policy of a device of the list; `None` if it has no such property.
    fn number(&self, device: &SP_DEVINFO_DATA) -> io::Result<Option<u32>> {
        let (mut kind, mut value) = (0, [0_u8; 4]);
        // SAFETY: the list is open and has the device; the buffer has the length that is given,
        // and the length needed is not asked for.
        let found = unsafe {
            SetupDiGetDevicePropertyW(
                self.0,
                device,
                &DMA_REMAPPING_POLICY,
                &raw mut kind,
                value.as_mut_ptr(),
                // CAST: 4 fits.
                value.len() as u32,
                std::ptr::null_mut(),
                0,
            )
        };
        if found == 0 {
            let error = io::Error::last_os_error();
            // CAST: Win32 errors are unsigned.
            let missing = error.raw_os_error().is_some_and(|code| code as u32 == ERROR_NOT_FOUND);
            return if missing { Ok(None) } else { Err(error) };
        }
        // The page says INT32, the header UINT32.
        if matches!(kind, DEVPROP_TYPE_UINT32 | DEVPROP_TYPE_INT32) {
            Ok(Some(u32::from_le_bytes(value)))
        } else {
            Err(io::Error::other(format!("the policy has the unknown type {kind:#x}")))
        }
    }
}

impl Drop for DeviceInfoList {
    fn drop(&mut self) {
        // SAFETY: the list is open, and nobody uses it any more.
        let closed = unsafe { SetupDiDestroyDeviceInfoList(self.0) };
        debug_assert_ne!(closed, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_has_no_policy_and_says_why() {
        let machine = ask(r"\\?\nosuch");
        let said = machine.dma_remapping();
        assert!(said.starts_with("not available: "), "{said}");
    }

    #[test]
    fn a_verifier_that_cannot_be_asked_is_not_one_that_is_off() {
        // An unknown option is an error of verifier.exe; Wine has no such program.
        assert!(verifier("/no-such-option").is_err());
    }

    #[test]
    fn the_system_directory_is_there() {
        assert!(system_directory().unwrap().is_dir());
    }
}
