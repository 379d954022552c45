//! WDFDEVICE_INIT: what a driver says about a device before it exists.

// UNSAFETY: reads the driver's structures.

use parking_lot::Mutex;
use wdk_lite::*;

use super::PnpCallbacks;
use crate::RuleId;
use crate::ddi::callback::{Routine, routine};
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};
use crate::wdf::Wdf;
use crate::wdf::object::{AttributeRules, Attributes, Handle, ParentRule, null_parameter};

/// Everything a device is created with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `WDF_DEVICE_IO_TYPE` of reads and writes.
    pub read_write: WDF_DEVICE_IO_TYPE,
    /// Attributes of every request.
    pub request: Attributes,
    pub file: Option<FileConfig>,
    pub in_caller_context: Routine,
    pub exclusive: bool,
    pub device_type: u32,
    pub characteristics: u32,
    pub name: Option<String>,
    /// As assigned by the driver.
    pub sddl: Option<String>,
    pub callbacks: PnpCallbacks,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read_write: _WDF_DEVICE_IO_TYPE::WdfDeviceIoBuffered,
            request: Attributes::default(),
            file: None,
            in_caller_context: Routine::default(),
            exclusive: false,
            device_type: FILE_DEVICE_UNKNOWN,
            characteristics: FILE_DEVICE_SECURE_OPEN,
            name: None,
            sddl: None,
            callbacks: PnpCallbacks::default(),
        }
    }
}

/// `WDF_FILEOBJECT_CONFIG`, as far as it was valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileConfig {
    pub create: Routine,
    pub close: Routine,
    pub cleanup: Routine,
    /// `WDF_FILEOBJECT_CLASS` without its "can be optional" bit.
    pub class: WDF_FILEOBJECT_CLASS,
    pub attributes: Attributes,
    /// Effective scope Device: the callbacks hold the device's lock. Set by WdfDeviceCreate.
    pub serialised: bool,
}

/// A device to be, during EvtDriverDeviceAdd.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    pub slot: usize,
    pub driver: Handle,
    pub settings: Settings,
    /// The device that was made from it.
    pub device: Option<Handle>,
}

/// The WDFDEVICE_INITs of a machine; an index is never used twice.
#[derive(Debug, Default)]
pub(crate) struct Inits(Mutex<Vec<Option<Box<Init>>>>);

/// First value of the pointers that stand for them; nothing is behind these.
const BASE: usize = 0x00FF_1000_0000_0000;

impl Wdf {
    /// Begins a device: the pointer the driver gets.
    pub(crate) fn begin_init(&self, slot: usize, driver: Handle) -> PWDFDEVICE_INIT {
        let mut inits = self.inits.0.lock();
        let init = Init { slot, driver, settings: Settings::default(), device: None };
        inits.push(Some(Box::new(init)));
        std::ptr::without_provenance_mut(BASE + (inits.len() << 8))
    }

    /// EvtDriverDeviceAdd has returned; the device that was made.
    pub(crate) fn end_init(&self, init: PWDFDEVICE_INIT) -> Option<Handle> {
        let mut inits = self.inits.0.lock();
        let index = (init.addr().checked_sub(BASE)? >> 8).checked_sub(1)?;
        inits.get_mut(index)?.take()?.device
    }

    /// Changes a WDFDEVICE_INIT.
    ///
    /// # Errors
    /// It is NULL, or none that is in use.
    pub(crate) fn with_init<R>(
        &self,
        init: PWDFDEVICE_INIT,
        change: impl FnOnce(&mut Init) -> R,
    ) -> Result<R, Violation> {
        if init.is_null() {
            return Err(null_parameter("DeviceInit"));
        }
        let index = init.addr().checked_sub(BASE).filter(|at| at.is_multiple_of(256));
        let index = index.and_then(|at| (at >> 8).checked_sub(1));
        let mut inits = self.inits.0.lock();
        let found = index.and_then(|index| inits.get_mut(index)).and_then(Option::as_mut);
        found.map(|init| change(init)).ok_or_else(|| {
            let message = format!("{init:p} is no WDFDEVICE_INIT, or no longer one");
            broken(RuleId::Sim11, message).code(0x10D, [5, init.addr() as u64, 0, 0])
        })
    }
}

impl PnpCallbacks {
    /// Reads the driver's structure; `None` where the framework ignores it: a wrong size, or both
    /// kinds of usage notification.
    ///
    /// # Safety
    /// `given` is valid for reading.
    pub(super) unsafe fn read(given: PWDF_PNPPOWER_EVENT_CALLBACKS) -> Option<Self> {
        /// Size of the KMDF 1.9 structure: without the last member.
        const SIZE_1_9: usize =
            std::mem::offset_of!(WDF_PNPPOWER_EVENT_CALLBACKS, EvtDeviceUsageNotificationEx);
        // SAFETY: valid for reading.
        let size = unsafe { (*given).Size } as usize;
        if size != size_of::<WDF_PNPPOWER_EVENT_CALLBACKS>() && size != SIZE_1_9 {
            return None;
        }
        let mut all = WDF_PNPPOWER_EVENT_CALLBACKS::default();
        // SAFETY: `size` bytes are valid for reading, and fit; both are plain data.
        unsafe {
            std::ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut all).cast::<u8>(), size);
        }
        if all.EvtDeviceUsageNotification.is_some() && all.EvtDeviceUsageNotificationEx.is_some() {
            return None;
        }
        Some(Self {
            d0_entry: routine(all.EvtDeviceD0Entry),
            d0_entry_post: routine(all.EvtDeviceD0EntryPostInterruptsEnabled),
            d0_exit: routine(all.EvtDeviceD0Exit),
            d0_exit_pre: routine(all.EvtDeviceD0ExitPreInterruptsDisabled),
            prepare: routine(all.EvtDevicePrepareHardware),
            release: routine(all.EvtDeviceReleaseHardware),
            self_managed_cleanup: routine(all.EvtDeviceSelfManagedIoCleanup),
            self_managed_flush: routine(all.EvtDeviceSelfManagedIoFlush),
            self_managed_init: routine(all.EvtDeviceSelfManagedIoInit),
            self_managed_suspend: routine(all.EvtDeviceSelfManagedIoSuspend),
            self_managed_restart: routine(all.EvtDeviceSelfManagedIoRestart),
            surprise_removal: routine(all.EvtDeviceSurpriseRemoval),
            query_remove: routine(all.EvtDeviceQueryRemove),
            query_stop: routine(all.EvtDeviceQueryStop),
        })
    }

    /// Whether the device has self-managed I/O.
    pub(crate) fn has_self_managed(&self) -> bool {
        [
            self.self_managed_cleanup,
            self.self_managed_flush,
            self.self_managed_init,
            self.self_managed_suspend,
            self.self_managed_restart,
        ]
        .iter()
        .any(|routine| routine.is_some())
    }
}

/// Reads a file object configuration; `None` where the framework ignores it.
///
/// # Safety
/// Both are NULL or valid for reading.
pub(super) unsafe fn read_file_config(
    kernel: &Kernel,
    config: PWDF_FILEOBJECT_CONFIG,
    attributes: PWDF_OBJECT_ATTRIBUTES,
) -> Result<Option<FileConfig>, Violation> {
    if config.is_null() {
        return Err(null_parameter("FileObjectConfig"));
    }
    // SAFETY: not NULL, so valid for reading.
    let size = unsafe { (*config).Size } as usize;
    if size != size_of::<WDF_FILEOBJECT_CONFIG>() {
        return Ok(None);
    }
    // SAFETY: as above, and of this structure's size.
    let given = unsafe { config.read() };
    let rules = AttributeRules { parent: ParentRule::Forbidden, level: true, scope: true };
    // SAFETY: the driver's attributes.
    let Ok(attributes) = (unsafe { Attributes::read(kernel, attributes, rules) })? else {
        return Ok(None);
    };
    let forward = given.AutoForwardCleanupClose;
    /// `WdfFileObjectCanBeOptional`.
    const OPTIONAL: u32 = 0x8000_0000;
    // CAST: a bit set, read as one.
    let class = (given.FileObjectClass as u32 & !OPTIONAL) as WDF_FILEOBJECT_CLASS;
    let classes = _WDF_FILEOBJECT_CLASS::WdfFileObjectNotRequired
        ..=_WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts;
    let forwards = _WDF_TRI_STATE::WdfFalse..=_WDF_TRI_STATE::WdfUseDefault;
    if !classes.contains(&class) || !forwards.contains(&forward) {
        return Ok(None);
    }
    Ok(Some(FileConfig {
        create: routine(given.EvtDeviceFileCreate),
        close: routine(given.EvtFileClose),
        cleanup: routine(given.EvtFileCleanup),
        class,
        // CAST: as above.
        attributes,
        serialised: false,
    }))
}

/// The text of a counted string; `None` if the structure is malformed.
///
/// # Safety
/// `string` is valid for reading, and so are `Length` bytes at its buffer.
pub(crate) unsafe fn read_string(string: PCUNICODE_STRING) -> Option<String> {
    // SAFETY: valid for reading.
    let string = unsafe { string.read() };
    let malformed = string.Length % 2 != 0
        || string.Length > string.MaximumLength
        || (string.Length != 0 && string.Buffer.is_null());
    if malformed {
        return None;
    }
    if string.Length == 0 {
        return Some(String::new());
    }
    let length = usize::from(string.Length / 2);
    // SAFETY: the caller vouches for `Length` bytes; UTF-16 units are 2-aligned.
    let units = unsafe { std::slice::from_raw_parts(string.Buffer, length) };
    Some(String::from_utf16_lossy(units))
}
