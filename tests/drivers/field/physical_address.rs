//! DMA through a common buffer, by a driver that gives its device the buffer's physical address, as
//! MmGetPhysicalAddress tells it, not the logical address that came with the buffer.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::Adapter;
use dmaproof_tests::lab::ddk::{self, ContextType, NO, YES, size};
use testdev::edu;
use wdk_lite::*;

/// The device interface.
pub const INTERFACE: GUID = GUID { Data1: 0x6669_6500 + 11, ..super::INTERFACE_CLASS };

/// What the framework keeps for the device; it begins as zeros.
struct Context {
    registers: Cell<*mut u8>,
    /// Bytes of the registers.
    window: Cell<u64>,
    adapter: Cell<Adapter>,
    /// The common buffer, and the request's own.
    buffer: Cell<*mut u8>,
    logical: Cell<PHYSICAL_ADDRESS>,
    theirs: Cell<*mut u8>,
    request: Cell<WDFREQUEST>,
    length: Cell<u32>,
    to_device: Cell<bool>,
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

/// The device's block: a request has whole ones.
const BLOCK: u32 = 64;

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

    fn write64(&self, register: u64, value: u64) {
        // SAFETY: as above.
        unsafe { host::WRITE_REGISTER_ULONG64(self.address(register), value) }
    }

    /// Starts the device on `length` bytes at a logical address and at `offset` of its buffer.
    fn start(&self, logical: u64, offset: u32, length: u32) {
        let inside = edu::BUFFER_ADDRESS + u64::from(offset);
        let (from, to, direction) = if self.to_device.get() {
            (logical, inside, edu::Direction::ToDevice)
        } else {
            (inside, logical, edu::Direction::FromDevice)
        };
        self.write64(edu::DMA_SOURCE, from);
        self.write64(edu::DMA_DESTINATION, to);
        self.write64(edu::DMA_COUNT, length.into());
        self.write64(edu::DMA_COMMAND, edu::Command::start(direction).with_interrupt().bits());
    }

    /// Whether the device still moves data.
    fn is_running(&self) -> bool {
        edu::Command::from_bits(self.read(edu::DMA_COMMAND).into()).is_running()
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
    config.EvtIoWrite = Some(io_write::<WRONG>);
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
        let mut config = ddk::interrupt_config(Some(isr), Some(dpc::<WRONG>));
        let mut interrupt = ptr::null_mut();
        wdf::WdfInterruptCreate(
            device,
            &raw mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut interrupt,
        )
    }
}

/// A bus master that takes one range at a time, below 16 MiB.
fn description() -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        Version: DEVICE_DESCRIPTION_VERSION2,
        Master: YES,
        InterfaceType: _INTERFACE_TYPE::PCIBus,
        MaximumLength: PAGE_SIZE,
        ..DEVICE_DESCRIPTION::default()
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
        let pdo = wdf::WdfDeviceWdmGetPhysicalDevice(device);
        let (adapter, _) = Adapter::get(pdo, &description());
        if !adapter.is_some() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        context.adapter.set(adapter);
        let logical = context.logical.as_ptr();
        let buffer = adapter.AllocateCommonBuffer(PAGE_SIZE, logical, NO);
        if buffer.is_null() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        context.buffer.set(buffer.cast());
        STATUS_SUCCESS
    }
}

unsafe extern "C" fn release_hardware(device: WDFDEVICE, _translated: WDFCMRESLIST) -> NTSTATUS {
    // SAFETY: the framework's device, idle by now, at PASSIVE_LEVEL; each resource is released as
    // it was acquired, once.
    unsafe {
        let context = context(device);
        let adapter = context.adapter.replace(Adapter::NONE);
        if adapter.is_some() {
            let buffer = context.buffer.replace(ptr::null_mut());
            if !buffer.is_null() {
                let logical = context.logical.get();
                adapter.FreeCommonBuffer(PAGE_SIZE, logical, buffer.cast(), NO);
            }
            adapter.PutDmaAdapter();
        }
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
    let (mut buffer, mut length) = (ptr::null_mut(), 0);
    let (to, bytes) = (&raw mut buffer, &raw mut length);
    // SAFETY: a request that the framework has just given; the values live on this stack.
    unsafe {
        let status = wdf::WdfRequestRetrieveOutputBuffer(request, 1, to, bytes);
        begin::<WRONG>(queue, request, status, (buffer, length), false);
    }
}

unsafe extern "C" fn io_write<const WRONG: bool>(queue: WDFQUEUE, request: WDFREQUEST, _: usize) {
    let (mut buffer, mut length) = (ptr::null_mut(), 0);
    let (to, bytes) = (&raw mut buffer, &raw mut length);
    // SAFETY: as above.
    unsafe {
        let status = wdf::WdfRequestRetrieveInputBuffer(request, 1, to, bytes);
        begin::<WRONG>(queue, request, status, (buffer, length), true);
    }
}

/// Begins the transfer of a request.
///
/// # Safety
/// Called from the queue's handlers with the request's buffer, if `status` is a success.
unsafe fn begin<const WRONG: bool>(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    status: NTSTATUS,
    (buffer, length): (PVOID, usize),
    to_device: bool,
) {
    // SAFETY: the request is the driver's until it is completed, and so is its buffer; the queue
    // gives one at a time.
    unsafe {
        if !NT_SUCCESS(status) {
            wdf::WdfRequestComplete(request, status);
            return;
        }
        let context = context(wdf::WdfIoQueueGetDevice(queue));
        // CAST: one page at most, checked in 64 bits.
        let bytes = length as u32;
        if length as u64 > edu::SAFE_LENGTH || !bytes.is_multiple_of(BLOCK) {
            wdf::WdfRequestComplete(request, STATUS_INVALID_BUFFER_SIZE);
            return;
        }
        context.request.set(request);
        context.theirs.set(buffer.cast());
        context.length.set(bytes);
        context.to_device.set(to_device);
        if to_device {
            context.buffer.get().copy_from(buffer.cast(), length);
        }
        let address = if WRONG {
            ntddk::MmGetPhysicalAddress(context.buffer.get().cast())
        } else {
            context.logical.get()
        };
        // CAST: an address is unsigned.
        context.start(address.QuadPart as u64, 0, bytes);
    }
}

unsafe extern "C" fn isr(interrupt: WDFINTERRUPT, _message: ULONG) -> BOOLEAN {
    // SAFETY: called by the framework.
    let context = unsafe { context(wdf::WdfInterruptGetDevice(interrupt)) };
    let causes = context.read(edu::IRQ_STATUS);
    if causes == 0 || causes == u32::MAX {
        return NO;
    }
    context.write(edu::IRQ_ACK, causes);
    // SAFETY: called from the interrupt's ISR.
    unsafe { wdf::WdfInterruptQueueDpcForIsr(interrupt) };
    YES
}

unsafe extern "C" fn dpc<const WRONG: bool>(_interrupt: WDFINTERRUPT, device: WDFOBJECT) {
    // SAFETY: called by the framework, at DISPATCH_LEVEL; the device is done with the request.
    unsafe {
        let context = context(device.cast());
        if context.request.get().is_null() || context.is_running() {
            return;
        }
        let length = context.length.get();
        if !context.to_device.get() {
            // CAST: one page at most.
            context.theirs.get().copy_from(context.buffer.get(), length as usize);
        }
        let request = context.request.replace(ptr::null_mut());
        wdf::WdfRequestCompleteWithInformation(request, STATUS_SUCCESS, length.into());
    }
}
