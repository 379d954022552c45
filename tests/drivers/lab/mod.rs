//! The lab driver: a small KMDF driver for `edu` whose requests run routines of a test.
//!
//! It follows the documents and uses nothing but the DDI. A device control request carries the
//! address of a [`Routine`] in its input buffer; the driver runs it from a work item (where a
//! driver may wait) or at once in the handler, and completes the request with what it returned.
//! The callbacks run the routines of a [`Script`]; those of [`Script::correct`] are right, so a
//! test replaces exactly the one it is about.
//!
//! Everything here runs on the thread of one machine with the straight scheduler, hence the
//! [`Cell`]s and the thread-local script: tests run side by side without sharing anything.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the lab shows what a driver without a safe layer does; each routine has one contract"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "handles and MDLs come from the machine, which checks that they are live"
)]

mod adapter;
mod callbacks;
pub mod ddk;
mod device;
mod slave;
mod transfer;
mod version3;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;

use testdev::edu;
use wdk_lite::*;

pub use adapter::{Adapter, MAXIMUM_LENGTH, description, scatter_gather};
pub use callbacks::{encode, request_cancel};
pub use device::driver_entry;
pub use slave::{
    SlaveTransfer, completed, map_slave3, slave_description, whole_slave, whole_slave3,
};
pub use transfer::{Transfer, control, list_control, whole_list, whole_packet};
pub use version3::{Transfer3, control3, whole_version3};

/// What a request runs. STATUS_PENDING means that the routine keeps the request; with any other
/// status the driver completes it.
pub type Routine = fn(&Lab, WDFREQUEST) -> NTSTATUS;

/// The device interface of the lab.
pub const INTERFACE: GUID =
    GUID { Data1: 0x6c61_6221, Data2: 0xd3a0, Data3: 0x4c0e, Data4: [0x9a, 1, 2, 3, 4, 5, 6, 7] };

/// The control code that runs a routine, with this transfer method.
///
/// `CTL_CODE(0x8000, 0x800 or 0x801, method, FILE_READ_DATA | FILE_WRITE_DATA)`.
#[must_use]
pub const fn control_code(method: u32, inline: bool) -> u32 {
    let function = if inline { 0x801 } else { 0x800 };
    0x8000 << 16 | 3 << 14 | function << 2 | method
}

/// What the lab's callbacks do.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Before WdfDeviceCreate.
    pub init: fn(PWDFDEVICE_INIT),
    /// Changes the default queue's configuration.
    pub queue: fn(&mut WDF_IO_QUEUE_CONFIG),
    /// At the end of EvtDriverDeviceAdd.
    pub added: fn(&Lab) -> NTSTATUS,
    /// Whether there is an interrupt.
    pub interrupt: bool,
    /// Changes the interrupt's configuration.
    pub interrupt_config: fn(&mut WDF_INTERRUPT_CONFIG),
    /// In EvtDevicePrepareHardware, with the registers mapped.
    pub prepare: fn(&Lab) -> NTSTATUS,
    /// In EvtDeviceReleaseHardware, before the registers are unmapped.
    pub release: fn(&Lab) -> NTSTATUS,
    /// In EvtDeviceReleaseHardware, at its end.
    pub unmap: fn(&Lab),
    /// EvtDeviceD0Entry.
    pub d0_entry: fn(&Lab) -> NTSTATUS,
    /// EvtDeviceD0Exit.
    pub d0_exit: fn(&Lab) -> NTSTATUS,
    /// EvtInterruptEnable.
    pub enable: fn(&Lab) -> NTSTATUS,
    /// EvtInterruptDisable.
    pub disable: fn(&Lab) -> NTSTATUS,
    /// EvtInterruptIsr.
    pub isr: fn(&Lab) -> BOOLEAN,
    /// EvtInterruptDpc.
    pub dpc: fn(&Lab),
    /// EvtIoStop; not registered if `None`.
    pub io_stop: Option<fn(&Lab, WDFREQUEST, u32)>,
    /// EvtIoResume; not registered if `None`.
    pub io_resume: Option<fn(&Lab, WDFREQUEST)>,
    /// EvtRequestCancel of the requests that a routine marks.
    pub cancel: fn(&Lab, WDFREQUEST),
    /// EvtDeviceSurpriseRemoval.
    pub surprise: fn(&Lab),
    /// EvtDeviceFileCreate; not registered if `None`.
    pub create: Option<fn(&Lab, WDFREQUEST)>,
    /// EvtFileCleanup.
    pub cleanup: fn(&Lab),
    /// EvtFileClose.
    pub close: fn(&Lab),
    /// EvtDriverUnload.
    pub unload: fn(),
}

impl Script {
    /// A driver that breaks no rule: one version 2 adapter, taken and put with the hardware.
    #[must_use]
    pub const fn correct() -> Self {
        Self {
            init: |_| (),
            queue: |_| (),
            added: |_| STATUS_SUCCESS,
            interrupt: true,
            interrupt_config: |_| (),
            prepare: Lab::take_adapter,
            release: Lab::put_adapter,
            unmap: Lab::unmap_registers,
            d0_entry: Lab::acknowledge,
            d0_exit: |_| STATUS_SUCCESS,
            enable: |_| STATUS_SUCCESS,
            disable: |_| STATUS_SUCCESS,
            isr: Lab::serve_interrupt,
            dpc: |_| (),
            io_stop: None,
            io_resume: None,
            cancel: |_, request| complete(request, STATUS_CANCELLED),
            surprise: |_| (),
            create: None,
            cleanup: |_| (),
            close: |_| (),
            unload: || (),
        }
    }

    /// As [`Script::correct`], with a version 3 adapter.
    #[must_use]
    pub const fn version3() -> Self {
        Self { prepare: |lab| lab.take(&description(3)), ..Self::correct() }
    }

    /// As [`Script::correct`], with a version 2 adapter that takes lists.
    #[must_use]
    pub const fn lists() -> Self {
        Self { prepare: |lab| lab.take(&scatter_gather(2)), ..Self::correct() }
    }

    /// As [`Script::correct`], with a version 3 adapter that takes lists.
    #[must_use]
    pub const fn lists3() -> Self {
        Self { prepare: |lab| lab.take(&scatter_gather(3)), ..Self::correct() }
    }
}

thread_local! {
    /// The script of the driver that will be loaded on this thread.
    pub static SCRIPT: Cell<Script> = const { Cell::new(Script::correct()) };
    /// What the driver's own checks found; see [`Lab::check`].
    pub static FINDINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A device of the lab driver.
#[derive(Debug)]
pub struct Lab {
    /// What its callbacks do.
    pub script: Script,
    /// The framework's device.
    pub device: WDFDEVICE,
    /// Its physical and its functional device object.
    pub pdo: PDEVICE_OBJECT,
    /// See above.
    pub fdo: PDEVICE_OBJECT,
    /// Its interrupt; null without one.
    pub interrupt: Cell<WDFINTERRUPT>,
    /// The work item that runs routines.
    pub work: Cell<WDFWORKITEM>,
    /// The mapped registers, and their length in bytes.
    pub registers: Cell<*mut u8>,
    /// See above.
    pub register_bytes: Cell<u64>,
    /// The interrupt's descriptors, raw and translated, during EvtDevicePrepareHardware.
    pub descriptors: Cell<[PCM_PARTIAL_RESOURCE_DESCRIPTOR; 2]>,
    /// Physical address of the registers.
    pub window: Cell<u64>,
    /// The system DMA channel and request line, if the device has them.
    pub channel: Cell<Option<(u32, u32)>>,
    /// The adapter, and the number of its map registers.
    pub adapter: Cell<Adapter>,
    /// See above.
    pub granted: Cell<u32>,
    /// What the next completion reports as bytes.
    pub information: Cell<u64>,
    /// A request that a routine kept.
    pub kept: Cell<WDFREQUEST>,
    /// Interrupts served so far.
    pub interrupts: Cell<u32>,
    /// For a test's own use.
    pub scratch: [Cell<u64>; 4],
    jobs: RefCell<VecDeque<(Routine, WDFREQUEST)>>,
}

/// Completes a request.
pub fn complete(request: WDFREQUEST, status: NTSTATUS) {
    // SAFETY: a request that the caller owns, unless the test is about that.
    unsafe { wdf::WdfRequestComplete(request, status) }
}

impl Lab {
    /// Notes what the test has to see as a failure; returns `condition`.
    pub fn check(&self, condition: bool, what: &str) -> bool {
        if !condition {
            FINDINGS.with_borrow_mut(|findings| findings.push(what.to_owned()));
        }
        condition
    }

    /// Takes an adapter with this description as the lab's own.
    pub fn take(&self, description: &DEVICE_DESCRIPTION) -> NTSTATUS {
        // SAFETY: the device's PDO; called in EvtDevicePrepareHardware, at PASSIVE_LEVEL.
        let (adapter, granted) = unsafe { Adapter::get(self.pdo, description) };
        self.adapter.set(adapter);
        self.granted.set(granted);
        if adapter.is_some() { STATUS_SUCCESS } else { STATUS_INSUFFICIENT_RESOURCES }
    }

    /// Takes the version 2 adapter.
    pub fn take_adapter(&self) -> NTSTATUS {
        self.take(&description(2))
    }

    /// Puts the lab's adapter if there is one.
    pub fn put_adapter(&self) -> NTSTATUS {
        let adapter = self.adapter.replace(Adapter::NONE);
        if adapter.is_some() {
            // SAFETY: the adapter was taken, is idle, and is forgotten.
            unsafe { adapter.PutDmaAdapter() };
        }
        STATUS_SUCCESS
    }

    /// Unmaps the registers if they are mapped.
    pub fn unmap_registers(&self) {
        let base = self.registers.replace(ptr::null_mut());
        if !base.is_null() {
            // SAFETY: mapped in EvtDevicePrepareHardware with this length.
            unsafe { ntddk::MmUnmapIoSpace(base.cast(), self.register_bytes.get()) };
        }
    }

    /// Acknowledges every interrupt cause: `edu` has no reset.
    pub fn acknowledge(&self) -> NTSTATUS {
        self.write(edu::IRQ_ACK, u32::MAX);
        STATUS_SUCCESS
    }

    /// Serves an interrupt: FALSE unless the device has a cause pending.
    pub fn serve_interrupt(&self) -> BOOLEAN {
        let causes = self.read(edu::IRQ_STATUS);
        if causes == 0 || causes == u32::MAX {
            return ddk::NO;
        }
        self.write(edu::IRQ_ACK, causes);
        self.interrupts.set(self.interrupts.get() + 1);
        // SAFETY: called from the interrupt's ISR.
        unsafe { wdf::WdfInterruptQueueDpcForIsr(self.interrupt.get()) };
        ddk::YES
    }

    /// Address of a register.
    #[must_use]
    pub fn register<T>(&self, offset: u64) -> *mut T {
        // CAST: an offset in the window.
        self.registers.get().wrapping_add(offset as usize).cast()
    }

    /// Reads a 32-bit register.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        // SAFETY: a register of the mapped window, unless the test is about that.
        unsafe { host::READ_REGISTER_ULONG(self.register(offset)) }
    }

    /// Writes a 32-bit register.
    pub fn write(&self, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { host::WRITE_REGISTER_ULONG(self.register(offset), value) }
    }

    /// Writes a 64-bit register in one store.
    pub fn write64(&self, offset: u64, value: u64) {
        // SAFETY: as above.
        unsafe { host::WRITE_REGISTER_ULONG64(self.register(offset), value) }
    }

    /// Starts `edu`: `length` bytes between `logical` and the start of the device's buffer.
    pub fn start_device(&self, logical: u64, length: u32, to_device: bool, interrupt: bool) {
        let (from, to) =
            if to_device { (logical, edu::BUFFER_ADDRESS) } else { (edu::BUFFER_ADDRESS, logical) };
        let direction =
            if to_device { edu::Direction::ToDevice } else { edu::Direction::FromDevice };
        let command = edu::Command::start(direction);
        let command = if interrupt { command.with_interrupt() } else { command };
        self.write64(edu::DMA_SOURCE, from);
        self.write64(edu::DMA_DESTINATION, to);
        self.write64(edu::DMA_COUNT, length.into());
        self.write64(edu::DMA_COMMAND, command.bits());
    }

    /// Whether a transfer is under way.
    #[must_use]
    pub fn device_runs(&self) -> bool {
        let command = self.read(edu::DMA_COMMAND);
        command != u32::MAX && edu::Command::from_bits(command.into()).is_running()
    }

    /// Waits, bounded, until the device is idle. PASSIVE_LEVEL.
    pub fn wait_for_device(&self) -> bool {
        // SAFETY: at PASSIVE_LEVEL by contract.
        unsafe { ddk::wait(1000, || !self.device_runs()) }
    }

    /// Nonpaged, zeroed pool; freed with [`Lab::free`].
    #[must_use]
    pub fn pool(&self, bytes: u64) -> PVOID {
        // SAFETY: at or below DISPATCH_LEVEL.
        unsafe { ntddk::ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes, TAG) }
    }

    /// Frees what [`Lab::pool`] gave.
    pub fn free(&self, pool: PVOID) {
        // SAFETY: allocated with this tag, unless the test is about that.
        unsafe { ntddk::ExFreePoolWithTag(pool, TAG) }
    }

    /// An MDL over nonpaged pool.
    #[must_use]
    pub fn mdl_over(&self, pool: PVOID, bytes: u32) -> PMDL {
        // SAFETY: the pool is live, nonpaged and as long as stated.
        unsafe {
            let mdl = ntddk::IoAllocateMdl(pool, bytes, ddk::NO, ddk::NO, ptr::null_mut());
            ntddk::MmBuildMdlForNonPagedPool(mdl);
            mdl
        }
    }

    /// The MDL of a direct request's second buffer.
    #[must_use]
    pub fn mdl_of(&self, request: WDFREQUEST) -> PMDL {
        let mut mdl = ptr::null_mut();
        // SAFETY: a request that the driver owns; the pointer lives on this stack.
        let status = unsafe { wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl) };
        self.check(NT_SUCCESS(status), "WdfRequestRetrieveOutputWdmMdl failed");
        mdl
    }

    /// The control code of a request.
    #[must_use]
    pub fn code_of(&self, request: WDFREQUEST) -> u32 {
        let mut parameters = WDF_REQUEST_PARAMETERS {
            // CAST: the size of a small structure.
            Size: size_of::<WDF_REQUEST_PARAMETERS>() as u16,
            ..WDF_REQUEST_PARAMETERS::default()
        };
        // SAFETY: a request that the driver owns, and a structure on this stack.
        unsafe { wdf::WdfRequestGetParameters(request, &raw mut parameters) };
        // SAFETY: the lab receives device control requests only.
        unsafe { parameters.Parameters.DeviceIoControl.IoControlCode }
    }
}

/// Pool tag.
pub const TAG: u32 = u32::from_le_bytes(*b"Lab ");
