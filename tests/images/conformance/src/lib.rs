//! What a kernel does, tested by a driver on whatever kernel it runs on: on Windows, to hold the
//! simulated one to account, and on the simulated one.
//!
//! `\\.\DmaproofConformance` answers [`IOCTL_RUN`]: the number of a test goes in, a [`Report`] comes
//! out. Each test names the page that it rests on, in the driver documentation of Windows. Nothing
//! here needs hardware.
#![no_std]

mod check;
mod io;
mod memory;
mod sync;

use image_support::{Name, complete, control, control_code, system_buffer};
use wdk_lite::*;

use check::Checks;

/// Runs the test whose number is the input, 32 bits; the output is a [`Report`].
pub const IOCTL_RUN: u32 = control_code(0x800, METHOD_BUFFERED);
/// A request with a second buffer that is described by an MDL, for the tests of such requests:
/// the output is what the driver found out, as a [`Report`] in the input's place is.
pub const IOCTL_DIRECT: u32 = control_code(0x801, METHOD_OUT_DIRECT);

/// Bytes of a name or a page.
pub const TEXT: usize = 64;

/// What became of a test.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Report {
    /// How many tests there are.
    pub count: u32,
    /// 0: all checks held. Otherwise the number of the first that did not, from 1.
    pub failed: u32,
    /// How many checks were made.
    pub checks: u32,
    /// Zero: no byte of a report is undefined.
    pub reserved: u32,
    /// Of the failed check: what was found, and what was expected.
    pub found: u64,
    /// See [`found`](Self::found).
    pub expected: u64,
    /// The test's name, filled up with zeros.
    pub name: [u8; TEXT],
    /// The page, filled up with zeros.
    pub page: [u8; TEXT],
}

/// A test.
struct Test {
    name: &'static str,
    page: &'static str,
    run: fn(&mut Checks, PDRIVER_OBJECT),
}

static TESTS: [Test; 16] = [
    Test { name: "levels", page: "wdm/nf-wdm-keraiseirql", run: sync::levels },
    Test {
        name: "a spin lock raises the level",
        page: "wdm/nf-wdm-keacquirespinlockraisetodpc",
        run: sync::spin_lock,
    },
    Test { name: "a DPC is queued once", page: "wdm/nf-wdm-keinsertqueuedpc", run: sync::dpc },
    Test {
        name: "a notification event stays",
        page: "wdm/nf-wdm-kesetevent",
        run: sync::notification,
    },
    Test {
        name: "a synchronization event is taken",
        page: "wdm/nf-wdm-kewaitforsingleobject",
        run: sync::synchronization,
    },
    Test {
        name: "a wait without time ends at once",
        page: "wdm/nf-wdm-kewaitforsingleobject",
        run: sync::no_time,
    },
    Test {
        name: "a delay lasts its time",
        page: "wdm/nf-wdm-kedelayexecutionthread",
        run: sync::delay,
    },
    Test { name: "pool is zeroed", page: "wdm/nf-wdm-exallocatepool2", run: memory::zeroed_pool },
    Test {
        name: "large pool begins a page",
        page: "wdm/nf-wdm-exallocatepool2",
        run: memory::page,
    },
    Test {
        name: "an MDL describes its buffer",
        page: "wdm/nf-wdm-ioallocatemdl",
        run: memory::describes,
    },
    Test {
        name: "an MDL of nonpaged pool",
        page: "wdm/nf-wdm-mmbuildmdlfornonpagedpool",
        run: memory::nonpaged,
    },
    Test {
        name: "a partial MDL reaches the end",
        page: "wdm/nf-wdm-iobuildpartialmdl",
        run: memory::partial,
    },
    Test {
        name: "physical addresses keep the offset",
        page: "ntddk/nf-ntddk-mmgetphysicaladdress",
        run: memory::physical,
    },
    Test { name: "a new device object", page: "wdm/nf-wdm-iocreatedevice", run: io::device },
    Test { name: "names are given once", page: "wdm/nf-wdm-iocreatedevice", run: io::names },
    Test {
        name: "a stack of devices",
        page: "wdm/nf-wdm-ioattachdevicetodevicestack",
        run: io::stack,
    },
];

/// The name and page of each test, for whoever runs them.
#[must_use]
pub fn tests() -> impl ExactSizeIterator<Item = (&'static str, &'static str)> {
    TESTS.iter().map(|test| (test.name, test.page))
}

static NAME: Name<27> = Name::new(b"\\Device\\DmaproofConformance");
static LINK: Name<31> = Name::new(b"\\DosDevices\\DmaproofConformance");

/// The driver's entry point. IRQL: PASSIVE_LEVEL.
///
/// # Errors
/// Those of making the control device.
///
/// # Safety
/// Called once by the system, or by a host that stands in for it.
pub unsafe extern "C" fn driver_entry(
    driver: PDRIVER_OBJECT,
    _registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the system's driver object, in the driver's entry point.
    let object = unsafe { &mut *driver };
    // CAST: numbers of major functions.
    for major in [IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP] {
        if let Some(entry) = object.MajorFunction.get_mut(major as usize) {
            *entry = Some(dispatch_open);
        }
    }
    if let Some(entry) = object.MajorFunction.get_mut(IRP_MJ_DEVICE_CONTROL as usize) {
        *entry = Some(dispatch_control);
    }
    object.DriverUnload = Some(unload);
    let (mut name, mut link) = (NAME.string(), LINK.string());
    // SAFETY: the system's driver object.
    let made = unsafe { io::make(driver, 0, Some(&mut name)) };
    let device = match made {
        Ok(device) => device,
        Err(status) => return status,
    };
    // SAFETY: valid strings, at PASSIVE_LEVEL.
    let status = unsafe { ntddk::IoCreateSymbolicLink(&mut link, &mut name) };
    if !NT_SUCCESS(status) {
        // SAFETY: made above, and nobody knows it yet.
        unsafe { ntddk::IoDeleteDevice(device) };
    }
    status
}

/// DriverUnload.
unsafe extern "C" fn unload(driver: PDRIVER_OBJECT) {
    let mut link = LINK.string();
    // SAFETY: a valid string, at PASSIVE_LEVEL. A link that is gone is no loss.
    let _status = unsafe { ntddk::IoDeleteSymbolicLink(&mut link) };
    // SAFETY: the system's driver object; the control device is its only one.
    let device = unsafe { (*driver).DeviceObject };
    if !device.is_null() {
        // SAFETY: nobody uses it any more.
        unsafe { ntddk::IoDeleteDevice(device) };
    }
}

/// IRP_MJ_CREATE, IRP_MJ_CLOSE and IRP_MJ_CLEANUP.
unsafe extern "C" fn dispatch_open(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the system's IRP for this driver.
    unsafe { complete(irp, STATUS_SUCCESS, 0) }
}

/// IRP_MJ_DEVICE_CONTROL.
unsafe extern "C" fn dispatch_control(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: an IRP_MJ_DEVICE_CONTROL for this driver.
    let parameters = unsafe { control(irp) };
    if parameters.IoControlCode == IOCTL_DIRECT {
        // SAFETY: the system's IRP, with a second buffer.
        return unsafe { io::direct(irp) };
    }
    // CAST: widening.
    let (input, output) =
        (parameters.InputBufferLength as usize, parameters.OutputBufferLength as usize);
    let right = parameters.IoControlCode == IOCTL_RUN;
    if !right || input != size_of::<u32>() || output != size_of::<Report>() {
        let status = if right { STATUS_INVALID_BUFFER_SIZE } else { STATUS_INVALID_DEVICE_REQUEST };
        // SAFETY: the system's IRP.
        return unsafe { complete(irp, status, 0) };
    }
    // SAFETY: the system's IRP; with these lengths there is a buffer of the larger one.
    let buffer = unsafe { system_buffer(irp) };
    // SAFETY: its first four bytes.
    let number = unsafe { buffer.cast::<u32>().read_unaligned() };
    // SAFETY: this driver's device.
    let driver = unsafe { (*device).DriverObject };
    let Some(report) = run(number, driver) else {
        // SAFETY: the system's IRP.
        return unsafe { complete(irp, STATUS_NO_MORE_ENTRIES, 0) };
    };
    // SAFETY: a buffer of this size.
    unsafe { buffer.cast::<Report>().write_unaligned(report) };
    // SAFETY: the system's IRP. CAST: widening.
    unsafe { complete(irp, STATUS_SUCCESS, size_of::<Report>() as u64) }
}

/// Runs a test; `None` if there is none of this number.
fn run(number: u32, driver: PDRIVER_OBJECT) -> Option<Report> {
    // CAST: widening.
    let test = TESTS.get(number as usize)?;
    let mut checks = Checks::new();
    (test.run)(&mut checks, driver);
    let mut report = Report {
        // CAST: a few.
        count: TESTS.len() as u32,
        failed: checks.failed,
        checks: checks.made,
        reserved: 0,
        found: checks.found,
        expected: checks.expected,
        name: [0; TEXT],
        page: [0; TEXT],
    };
    copy(&mut report.name, test.name);
    copy(&mut report.page, test.page);
    Some(report)
}

fn copy(place: &mut [u8; TEXT], text: &str) {
    for (to, from) in place.iter_mut().zip(text.bytes()) {
        *to = from;
    }
}
