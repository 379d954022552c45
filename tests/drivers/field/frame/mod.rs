//! What the drivers have in common: everything around a request.
//!
//! This module has what every driver of a device has: DriverEntry, the device with its queue,
//! interface and interrupt, and the device's registers. [`transfer`] has what those have in common
//! that move data by DMA, and [`bounce`] a buffer of a driver's own.

pub mod bounce;
pub mod transfer;

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::ddk::{self, ContextType, NO, YES, size};
use testdev::edu;
use wdk_lite::*;

/// The registers of a device; they begin as zeros, and not mapped.
pub struct Registers {
    base: Cell<*mut u8>,
    /// Bytes of the registers.
    window: Cell<u64>,
}

impl Registers {
    fn address<T>(&self, register: u64) -> *mut T {
        // CAST: an offset in the window.
        self.base.get().wrapping_add(register as usize).cast()
    }

    /// Reads a register.
    pub fn read(&self, register: u64) -> u32 {
        // SAFETY: a register of the mapped window.
        unsafe { host::READ_REGISTER_ULONG(self.address(register)) }
    }

    /// Writes a register.
    pub fn write(&self, register: u64, value: u32) {
        // SAFETY: as above.
        unsafe { host::WRITE_REGISTER_ULONG(self.address(register), value) }
    }

    /// Writes a 64-bit register.
    pub fn write64(&self, register: u64, value: u64) {
        // SAFETY: as above.
        unsafe { host::WRITE_REGISTER_ULONG64(self.address(register), value) }
    }
}

/// A driver: what the framework keeps for its device, which begins as zeros.
///
/// # Safety
/// Zeros are a valid value of the type, and `CONTEXT` is of its size.
pub unsafe trait Driver: Sized + 'static {
    /// The framework's name for the type.
    const CONTEXT: &'static ContextType;
    /// The device interface.
    const INTERFACE: GUID;
    /// What serves the queue, one request at a time.
    const READ: PFN_WDF_IO_QUEUE_IO_READ;
    /// See above.
    const WRITE: PFN_WDF_IO_QUEUE_IO_WRITE = None;
    /// What serves the interrupt, if the driver uses it.
    const DPC: PFN_WDF_INTERRUPT_DPC = None;
    /// The register with the interrupt's causes, and the one that takes them away.
    const IRQ_STATUS: u64 = edu::IRQ_STATUS;
    /// See above.
    const IRQ_ACK: u64 = edu::IRQ_ACK;

    /// The device's registers.
    fn registers(&self) -> &Registers;

    /// A resource of the device's.
    fn take(&self, _descriptor: &CM_PARTIAL_RESOURCE_DESCRIPTOR) {}

    /// Acquires what else the device needs, when its registers are mapped.
    ///
    /// # Safety
    /// Called in EvtDevicePrepareHardware.
    unsafe fn prepare(&self, _device: WDFDEVICE) -> NTSTATUS {
        STATUS_SUCCESS
    }

    /// Releases what there is of that, once.
    ///
    /// # Safety
    /// Called in EvtDeviceReleaseHardware; the device is idle.
    unsafe fn release(&self) {}
}

/// The context type of a driver; `this` is the static that is being defined.
pub const fn context_type<D>(this: *const ContextType) -> ContextType {
    ContextType::new(c"Field", size_of::<D>(), this)
}

/// The context of a device.
///
/// # Safety
/// `device` is a live device of this driver.
pub unsafe fn context<'a, D: Driver>(device: WDFDEVICE) -> &'a D {
    // SAFETY: made with the device, of this type and with zeros, by the trait's contract.
    unsafe {
        let context = wdf::WdfObjectGetTypedContextWorker(device.cast(), &raw const D::CONTEXT.0);
        &*context.cast::<D>()
    }
}

/// DriverEntry.
///
/// # Safety
/// Called by the system that loads the driver.
pub unsafe extern "C" fn driver_entry<D: Driver>(
    object: PDRIVER_OBJECT,
    path: PCUNICODE_STRING,
) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(device_add::<D>),
        ..WDF_DRIVER_CONFIG::default()
    };
    let attributes = WDF_NO_OBJECT_ATTRIBUTES;
    // SAFETY: the loader's arguments, and a structure on this stack.
    unsafe { wdf::WdfDriverCreate(object, path, attributes, &raw mut config, ptr::null_mut()) }
}

unsafe extern "C" fn device_add<D: Driver>(
    _driver: WDFDRIVER,
    mut init: PWDFDEVICE_INIT,
) -> NTSTATUS {
    // SAFETY: the framework's own `init`, and structures on this stack.
    unsafe {
        let mut pnp = WDF_PNPPOWER_EVENT_CALLBACKS {
            Size: size::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
            EvtDevicePrepareHardware: Some(prepare_hardware::<D>),
            EvtDeviceReleaseHardware: Some(release_hardware::<D>),
            EvtDeviceD0Entry: Some(d0_entry::<D>),
            ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
        };
        wdf::WdfDeviceInitSetPnpPowerEventCallbacks(init, &raw mut pnp);
        wdf::WdfDeviceInitSetIoType(init, _WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect);
        let mut attributes = ddk::attributes();
        attributes.ContextTypeInfo = &raw const D::CONTEXT.0;
        let mut device = ptr::null_mut();
        let status = wdf::WdfDeviceCreate(&raw mut init, &raw mut attributes, &raw mut device);
        if !NT_SUCCESS(status) {
            return status;
        }
        create_queue_and_interrupt::<D>(device)
    }
}

/// The interface, one request at a time, and the interrupt.
///
/// # Safety
/// Called in EvtDriverDeviceAdd.
unsafe fn create_queue_and_interrupt<D: Driver>(device: WDFDEVICE) -> NTSTATUS {
    let sequential = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential;
    let mut config = ddk::queue_config(sequential);
    config.DefaultQueue = YES;
    config.EvtIoRead = D::READ;
    config.EvtIoWrite = D::WRITE;
    // SAFETY: the device is live; structures on this stack.
    unsafe {
        let status = wdf::WdfIoQueueCreate(
            device,
            &raw mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            ptr::null_mut(),
        );
        if !NT_SUCCESS(status) {
            return status;
        }
        let status = wdf::WdfDeviceCreateDeviceInterface(device, &D::INTERFACE, ptr::null());
        if !NT_SUCCESS(status) || D::DPC.is_none() {
            return status;
        }
        let mut config = ddk::interrupt_config(Some(isr::<D>), D::DPC);
        let mut interrupt = ptr::null_mut();
        wdf::WdfInterruptCreate(
            device,
            &raw mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut interrupt,
        )
    }
}

unsafe extern "C" fn prepare_hardware<D: Driver>(
    device: WDFDEVICE,
    _raw: WDFCMRESLIST,
    translated: WDFCMRESLIST,
) -> NTSTATUS {
    // SAFETY: the framework's device and list, at PASSIVE_LEVEL; the descriptor's type says which
    // member of the union is valid.
    unsafe {
        let context = context::<D>(device);
        let registers = context.registers();
        for index in 0..wdf::WdfCmResourceListGetCount(translated) {
            let descriptor = &*wdf::WdfCmResourceListGetDescriptor(translated, index);
            let kind = u32::from(descriptor.Type);
            if kind == CmResourceTypeMemory && registers.base.get().is_null() {
                let memory = descriptor.u.Memory;
                let length = u64::from(memory.Length);
                let flags = PAGE_READWRITE | PAGE_NOCACHE;
                let base = ntddk::MmMapIoSpaceEx(memory.Start, length, flags);
                registers.base.set(base.cast());
                registers.window.set(length);
            }
            context.take(descriptor);
        }
        if registers.base.get().is_null() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        context.prepare(device)
    }
}

unsafe extern "C" fn release_hardware<D: Driver>(
    device: WDFDEVICE,
    _translated: WDFCMRESLIST,
) -> NTSTATUS {
    // SAFETY: the framework's device, idle by now, at PASSIVE_LEVEL; each resource is released as
    // it was acquired, once.
    unsafe {
        let context = context::<D>(device);
        context.release();
        let registers = context.registers();
        let base = registers.base.replace(ptr::null_mut());
        if !base.is_null() {
            ntddk::MmUnmapIoSpace(base.cast(), registers.window.get());
        }
    }
    STATUS_SUCCESS
}

unsafe extern "C" fn d0_entry<D: Driver>(
    device: WDFDEVICE,
    _previous: WDF_POWER_DEVICE_STATE,
) -> NTSTATUS {
    // SAFETY: the framework's device; the registers are mapped.
    unsafe { context::<D>(device) }.registers().write(D::IRQ_ACK, u32::MAX);
    STATUS_SUCCESS
}

unsafe extern "C" fn isr<D: Driver>(interrupt: WDFINTERRUPT, _message: ULONG) -> BOOLEAN {
    // SAFETY: called by the framework.
    let context = unsafe { context::<D>(wdf::WdfInterruptGetDevice(interrupt)) };
    let causes = context.registers().read(D::IRQ_STATUS);
    if causes == 0 || causes == u32::MAX {
        return NO;
    }
    context.registers().write(D::IRQ_ACK, causes);
    // SAFETY: called from the interrupt's ISR.
    unsafe { wdf::WdfInterruptQueueDpcForIsr(interrupt) };
    YES
}
