//! A driver without DMA: it reads a row of registers into its request's buffer, and forgets the flush
//! that ends a programmed read.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::ddk::{self, ContextType, NO, YES, size};
use testdev::edu;
use wdk_lite::*;

/// The device interface.
pub const INTERFACE: GUID = GUID { Data1: 0x6669_6500 + 10, ..super::INTERFACE_CLASS };

/// What the framework keeps for the device; it begins as zeros.
struct Context {
    registers: Cell<*mut u8>,
    /// Bytes of the registers.
    window: Cell<u64>,
}

static CONTEXT: ContextType = ContextType::new(c"Field", size_of::<Context>(), &raw const CONTEXT);

/// The context of a device.
///
/// # Safety
/// `device` is a live device of this driver.
unsafe fn context<'a>(device: WDFDEVICE) -> &'a Context {
    // SAFETY: made with the device; zeros are a valid value of every member.
    unsafe {
        let context = wdf::WdfObjectGetTypedContextWorker(device.cast(), &raw const CONTEXT.0);
        &*context.cast::<Context>()
    }
}

/// The registers of a dump, four bytes each.
const DUMP: [u64; 4] = [edu::ID, edu::LIVENESS, edu::STATUS, edu::IRQ_STATUS];

impl Context {
    fn address<T>(&self, register: u64) -> *mut T {
        // CAST: an offset in the window.
        self.registers.get().wrapping_add(register as usize).cast()
    }

    fn read(&self, register: u64) -> u32 {
        // SAFETY: a register of the mapped window.
        unsafe { host::READ_REGISTER_ULONG(self.address(register)) }
    }

    fn write(&self, register: u64, value: u32) {
        // SAFETY: as above.
        unsafe { host::WRITE_REGISTER_ULONG(self.address(register), value) }
    }
}

/// DriverEntry.
///
/// # Safety
/// Called by the system that loads the driver.
pub unsafe extern "C" fn driver_entry<const WRONG: bool>(
    object: PDRIVER_OBJECT,
    path: PCUNICODE_STRING,
) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(device_add::<WRONG>),
        ..WDF_DRIVER_CONFIG::default()
    };
    let attributes = WDF_NO_OBJECT_ATTRIBUTES;
    // SAFETY: the loader's arguments, and a structure on this stack.
    unsafe { wdf::WdfDriverCreate(object, path, attributes, &raw mut config, ptr::null_mut()) }
}

unsafe extern "C" fn device_add<const WRONG: bool>(
    _driver: WDFDRIVER,
    mut init: PWDFDEVICE_INIT,
) -> NTSTATUS {
    // SAFETY: the framework's own `init`, and structures on this stack.
    unsafe {
        let mut pnp = WDF_PNPPOWER_EVENT_CALLBACKS {
            Size: size::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
            EvtDevicePrepareHardware: Some(prepare_hardware::<WRONG>),
            EvtDeviceReleaseHardware: Some(release_hardware),
            EvtDeviceD0Entry: Some(d0_entry),
            ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
        };
        wdf::WdfDeviceInitSetPnpPowerEventCallbacks(init, &raw mut pnp);
        wdf::WdfDeviceInitSetIoType(init, _WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect);
        let mut attributes = ddk::attributes();
        attributes.ContextTypeInfo = &raw const CONTEXT.0;
        let mut device = ptr::null_mut();
        let status = wdf::WdfDeviceCreate(&raw mut init, &raw mut attributes, &raw mut device);
        if !NT_SUCCESS(status) {
            return status;
        }
        create_queue_and_interrupt::<WRONG>(device)
    }
}

/// The interface, one request at a time, and the interrupt.
///
/// # Safety
/// Called in EvtDriverDeviceAdd.
unsafe fn create_queue_and_interrupt<const WRONG: bool>(device: WDFDEVICE) -> NTSTATUS {
    let sequential = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential;
    let mut config = ddk::queue_config(sequential);
    config.DefaultQueue = YES;
    config.EvtIoRead = Some(io_read::<WRONG>);
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
        let status = wdf::WdfDeviceCreateDeviceInterface(device, &INTERFACE, ptr::null());
        if !NT_SUCCESS(status) {
            return status;
        }
        STATUS_SUCCESS
    }
}

unsafe extern "C" fn prepare_hardware<const WRONG: bool>(
    device: WDFDEVICE,
    _raw: WDFCMRESLIST,
    translated: WDFCMRESLIST,
) -> NTSTATUS {
    // SAFETY: the framework's device and list, at PASSIVE_LEVEL; the descriptor's type says which
    // member of the union is valid.
    unsafe {
        let context = context(device);
        for index in 0..wdf::WdfCmResourceListGetCount(translated) {
            let descriptor = wdf::WdfCmResourceListGetDescriptor(translated, index);
            let kind = u32::from((*descriptor).Type);
            if kind == CmResourceTypeMemory && context.registers.get().is_null() {
                let memory = (*descriptor).u.Memory;
                let length = u64::from(memory.Length);
                let flags = PAGE_READWRITE | PAGE_NOCACHE;
                let base = ntddk::MmMapIoSpaceEx(memory.Start, length, flags);
                context.registers.set(base.cast());
                context.window.set(length);
            }
        }
        if context.registers.get().is_null() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        STATUS_SUCCESS
    }
}

unsafe extern "C" fn release_hardware(device: WDFDEVICE, _translated: WDFCMRESLIST) -> NTSTATUS {
    // SAFETY: the framework's device, idle by now, at PASSIVE_LEVEL; each resource is released as
    // it was acquired, once.
    unsafe {
        let context = context(device);
        let base = context.registers.replace(ptr::null_mut());
        if !base.is_null() {
            ntddk::MmUnmapIoSpace(base.cast(), context.window.get());
        }
    }
    STATUS_SUCCESS
}

unsafe extern "C" fn d0_entry(device: WDFDEVICE, _previous: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    // SAFETY: the framework's device; the registers are mapped.
    unsafe { context(device) }.write(edu::IRQ_ACK, u32::MAX);
    STATUS_SUCCESS
}

unsafe extern "C" fn io_read<const WRONG: bool>(queue: WDFQUEUE, request: WDFREQUEST, _: usize) {
    let (mut buffer, mut mdl) = (ptr::null_mut(), ptr::null_mut());
    let bytes = size_of_val(&DUMP) / 2;
    // SAFETY: a request that the framework has just given; the pointers live on this stack; the
    // buffer has at least as many bytes as were asked for.
    unsafe {
        let context = context(wdf::WdfIoQueueGetDevice(queue));
        let to = &raw mut buffer;
        let mut status = wdf::WdfRequestRetrieveOutputBuffer(request, bytes, to, ptr::null_mut());
        if NT_SUCCESS(status) {
            status = wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl);
        }
        if !NT_SUCCESS(status) {
            wdf::WdfRequestComplete(request, status);
            return;
        }
        for (index, register) in DUMP.into_iter().enumerate() {
            let value = context.read(register);
            buffer.cast::<u32>().add(index).write_unaligned(value);
        }
        if !WRONG {
            ntddk::KeFlushIoBuffers(mdl, YES, NO);
        }
        wdf::WdfRequestCompleteWithInformation(request, STATUS_SUCCESS, bytes as u64);
    }
}
