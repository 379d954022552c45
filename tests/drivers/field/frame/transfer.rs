//! What the drivers that move data by DMA have in common: the adapter, one request at a time, and
//! the interrupt that ends it.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::Adapter;
use dmaproof_tests::lab::ddk::{
    ContextType, MmGetMdlByteCount, MmGetMdlVirtualAddress, NO, YES, at_level, pages,
};
use testdev::edu;
use wdk_lite::*;

use super::{Driver, Registers, context};

/// A bus master that takes one range at a time, below 16 MiB.
fn bus_master() -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        Version: DEVICE_DESCRIPTION_VERSION2,
        Master: YES,
        InterfaceType: _INTERFACE_TYPE::PCIBus,
        MaximumLength: PAGE_SIZE,
        ..DEVICE_DESCRIPTION::default()
    }
}

/// A bus master that takes fragments, one after the other, at any address.
pub fn takes_fragments() -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        ScatterGather: YES,
        Dma32BitAddresses: YES,
        Dma64BitAddresses: YES,
        ..bus_master()
    }
}

/// A driver that moves data: what it keeps beside what all of them do; it begins as zeros.
///
/// The methods are called at the moments of a request, which the driver then owns.
///
/// # Safety
/// Zeros are a valid value of the type, and `CONTEXT` is of the size of its [`Device`].
pub unsafe trait Transfer: Sized + 'static {
    /// The framework's name for the context.
    const CONTEXT: &'static ContextType;
    /// The device interface.
    const INTERFACE: GUID;
    /// Longest request, bytes.
    const LONGEST: u64 = edu::SAFE_LENGTH;
    /// The device's block, bytes: a request has whole ones.
    const BLOCK: u64 = 64;
    /// See [`Driver`].
    const IRQ_STATUS: u64 = edu::IRQ_STATUS;
    /// See [`Driver`].
    const IRQ_ACK: u64 = edu::IRQ_ACK;

    /// What the driver tells the system of its device: by default a bus master that takes one
    /// range at a time, below 16 MiB.
    fn description(&self) -> DEVICE_DESCRIPTION {
        bus_master()
    }

    /// A resource of the device's.
    fn take(&self, _descriptor: &CM_PARTIAL_RESOURCE_DESCRIPTOR) {}

    /// Acquires what the driver needs beside the adapter.
    ///
    /// # Safety
    /// Called in EvtDevicePrepareHardware, with the adapter.
    unsafe fn prepare(_device: &Device<Self>) -> NTSTATUS {
        STATUS_SUCCESS
    }

    /// Releases what there is of that, once.
    ///
    /// # Safety
    /// Called in EvtDeviceReleaseHardware, before the adapter goes; the device is idle.
    unsafe fn release(_device: &Device<Self>) {}

    /// The buffer of a request that has just come, in the form that the driver wants.
    ///
    /// # Safety
    /// The request is the driver's.
    unsafe fn buffer(request: WDFREQUEST, to_device: bool) -> Result<Buffer, NTSTATUS> {
        // SAFETY: as the caller promises.
        unsafe { Buffer::mdl(request, to_device) }
    }

    /// Begins the transfer of the request. If it fails, the request is completed.
    ///
    /// # Safety
    /// At PASSIVE_LEVEL or DISPATCH_LEVEL, as the queue calls.
    unsafe fn begin(device: &Device<Self>) -> NTSTATUS;

    /// AdapterControl of [`Device::allocate_channel`]: by default the whole request is one
    /// operation. A driver whose mistake MapTransfer has to report calls it from its own lines.
    ///
    /// # Safety
    /// The map registers are the request's.
    unsafe fn control(device: &Device<Self>) -> IO_ALLOCATION_ACTION {
        // SAFETY: as the caller promises.
        unsafe { device.map_and_start() }
    }

    /// Whether the device still moves data.
    fn is_running(registers: &Registers) -> bool {
        edu::Command::from_bits(registers.read(edu::DMA_COMMAND).into()).is_running()
    }

    /// The device is done with what it was started on.
    ///
    /// # Safety
    /// At DISPATCH_LEVEL, in the DPC.
    unsafe fn done(device: &Device<Self>);
}

/// A request's buffer.
pub enum Buffer {
    /// Its MDL.
    Mdl(PMDL),
    /// Its system address and bytes.
    Address(*mut u8, usize),
}

impl Buffer {
    /// The MDL of a request's buffer.
    ///
    /// # Safety
    /// The request is the driver's.
    pub unsafe fn mdl(request: WDFREQUEST, to_device: bool) -> Result<Self, NTSTATUS> {
        let mut mdl = ptr::null_mut();
        // SAFETY: the caller's request; the pointer lives on this stack.
        let status = unsafe {
            if to_device {
                wdf::WdfRequestRetrieveInputWdmMdl(request, &raw mut mdl)
            } else {
                wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl)
            }
        };
        if NT_SUCCESS(status) { Ok(Self::Mdl(mdl)) } else { Err(status) }
    }

    /// The address of a request's buffer.
    ///
    /// # Safety
    /// The request is the driver's.
    pub unsafe fn address(request: WDFREQUEST, to_device: bool) -> Result<Self, NTSTATUS> {
        let (mut buffer, mut length) = (ptr::null_mut(), 0);
        let (to, bytes) = (&raw mut buffer, &raw mut length);
        // SAFETY: the caller's request; the values live on this stack.
        let status = unsafe {
            if to_device {
                wdf::WdfRequestRetrieveInputBuffer(request, 1, to, bytes)
            } else {
                wdf::WdfRequestRetrieveOutputBuffer(request, 1, to, bytes)
            }
        };
        if NT_SUCCESS(status) { Ok(Self::Address(buffer.cast(), length)) } else { Err(status) }
    }
}

/// What the framework keeps for the device of a driver that moves data; it begins as zeros.
pub struct Device<T> {
    /// Its registers.
    pub registers: Registers,
    handle: Cell<WDFDEVICE>,
    /// The adapter.
    pub adapter: Cell<Adapter>,
    /// Map registers the adapter has, and those of the request.
    granted: Cell<u32>,
    wanted: Cell<u32>,
    /// The map registers of the request.
    pub base: Cell<PVOID>,
    /// What is mapped: the request's buffer, unless the driver has one of its own.
    pub mdl: Cell<PMDL>,
    /// The address of the request's buffer, if the driver has one of its own.
    pub theirs: Cell<*mut u8>,
    request: Cell<WDFREQUEST>,
    /// Bytes of the request.
    pub length: Cell<u32>,
    /// Its direction.
    pub to_device: Cell<bool>,
    /// What the driver keeps beside that.
    pub own: T,
}

// SAFETY: zeros are null pointers, numbers and, by the contract of `Transfer`, a value of `own`;
// so is the size.
unsafe impl<T: Transfer> Driver for Device<T> {
    const CONTEXT: &'static ContextType = T::CONTEXT;
    const INTERFACE: GUID = T::INTERFACE;
    const READ: PFN_WDF_IO_QUEUE_IO_READ = Some(io_read::<T>);
    const WRITE: PFN_WDF_IO_QUEUE_IO_WRITE = Some(io_write::<T>);
    const DPC: PFN_WDF_INTERRUPT_DPC = Some(dpc::<T>);
    const IRQ_STATUS: u64 = T::IRQ_STATUS;
    const IRQ_ACK: u64 = T::IRQ_ACK;

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn take(&self, descriptor: &CM_PARTIAL_RESOURCE_DESCRIPTOR) {
        self.own.take(descriptor);
    }

    unsafe fn prepare(&self, device: WDFDEVICE) -> NTSTATUS {
        self.handle.set(device);
        // SAFETY: the framework's device, at PASSIVE_LEVEL.
        unsafe {
            let pdo = wdf::WdfDeviceWdmGetPhysicalDevice(device);
            let (adapter, registers) = Adapter::get(pdo, &self.own.description());
            if !adapter.is_some() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            self.adapter.set(adapter);
            self.granted.set(registers);
            T::prepare(self)
        }
    }

    unsafe fn release(&self) {
        // SAFETY: as the caller promises.
        unsafe {
            T::release(self);
            let adapter = self.adapter.replace(Adapter::NONE);
            if adapter.is_some() {
                adapter.PutDmaAdapter();
            }
        }
    }
}

impl<T: Transfer> Device<T> {
    /// The device's system object.
    ///
    /// # Safety
    /// The device is live.
    pub unsafe fn object(&self) -> PDEVICE_OBJECT {
        // SAFETY: as the caller promises.
        unsafe { wdf::WdfDeviceWdmGetDeviceObject(self.handle.get()) }
    }

    /// The device as the context of the system's callbacks.
    pub fn as_context(&self) -> PVOID {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// AllocateAdapterChannel for the request, which goes on in [`Transfer::control`].
    ///
    /// # Safety
    /// Called in [`Transfer::begin`].
    pub unsafe fn allocate_channel(&self) -> NTSTATUS {
        // SAFETY: the device is live, and so is the MDL.
        unsafe {
            let pages = pages(MmGetMdlVirtualAddress(self.mdl.get()), self.length.get());
            self.wanted.set(pages.min(self.granted.get()));
            at_level(DISPATCH_LEVEL, || {
                self.adapter.get().AllocateAdapterChannel(
                    self.object(),
                    self.wanted.get(),
                    Some(control::<T>),
                    self.as_context(),
                )
            })
        }
    }

    /// MapTransfer of the whole request: the logical address, and the bytes from there on.
    ///
    /// # Safety
    /// The map registers are the request's.
    pub unsafe fn map(&self) -> (u64, u32) {
        let mut length = self.length.get();
        // SAFETY: as the caller promises.
        let logical = unsafe {
            self.adapter.get().MapTransfer(
                self.mdl.get(),
                self.base.get(),
                MmGetMdlVirtualAddress(self.mdl.get()),
                &raw mut length,
                self.to_device.get().into(),
            )
        };
        // SAFETY: both views are integers.
        // CAST: an address is unsigned.
        (unsafe { logical.QuadPart } as u64, length)
    }

    /// Maps the whole request as one operation, and starts `edu` on it.
    ///
    /// # Safety
    /// The map registers are the request's.
    pub unsafe fn map_and_start(&self) -> IO_ALLOCATION_ACTION {
        // SAFETY: as the caller promises.
        let (logical, length) = unsafe { self.map() };
        self.start(logical, 0, length);
        _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters
    }

    /// Starts `edu` on `length` bytes at a logical address and at `offset` of its buffer.
    pub fn start(&self, logical: u64, offset: u32, length: u32) {
        let inside = edu::BUFFER_ADDRESS + u64::from(offset);
        let (from, to, direction) = if self.to_device.get() {
            (logical, inside, edu::Direction::ToDevice)
        } else {
            (inside, logical, edu::Direction::FromDevice)
        };
        let command = edu::Command::start(direction).with_interrupt();
        self.registers.write64(edu::DMA_SOURCE, from);
        self.registers.write64(edu::DMA_DESTINATION, to);
        self.registers.write64(edu::DMA_COUNT, length.into());
        self.registers.write64(edu::DMA_COMMAND, command.bits());
    }

    /// FlushAdapterBuffers of the operation that has ended.
    ///
    /// # Safety
    /// The operation is mapped, and the device is done.
    pub unsafe fn flush_adapter(&self) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            self.adapter.get().FlushAdapterBuffers(
                self.mdl.get(),
                self.base.get(),
                MmGetMdlVirtualAddress(self.mdl.get()),
                self.length.get(),
                self.to_device.get().into(),
            ) != NO
        }
    }

    /// FreeMapRegisters.
    ///
    /// # Safety
    /// At DISPATCH_LEVEL; the registers are owned.
    pub unsafe fn free_registers(&self) {
        // SAFETY: as the caller promises.
        unsafe { self.adapter.get().FreeMapRegisters(self.base.get(), self.wanted.get()) }
    }

    /// Completes the request.
    ///
    /// # Safety
    /// The driver owns it.
    pub unsafe fn complete(&self, flushed: bool) {
        let request = self.request.replace(ptr::null_mut());
        // SAFETY: as the caller promises.
        unsafe {
            if flushed {
                let length = self.length.get().into();
                wdf::WdfRequestCompleteWithInformation(request, STATUS_SUCCESS, length);
            } else {
                wdf::WdfRequestComplete(request, STATUS_IO_DEVICE_ERROR);
            }
        }
    }
}

unsafe extern "C" fn io_read<T: Transfer>(queue: WDFQUEUE, request: WDFREQUEST, _: usize) {
    // SAFETY: a request that the framework has just given.
    unsafe { begin::<T>(queue, request, false) }
}

unsafe extern "C" fn io_write<T: Transfer>(queue: WDFQUEUE, request: WDFREQUEST, _: usize) {
    // SAFETY: as above.
    unsafe { begin::<T>(queue, request, true) }
}

/// Begins the transfer of a request.
///
/// # Safety
/// Called from the queue's handlers.
unsafe fn begin<T: Transfer>(queue: WDFQUEUE, request: WDFREQUEST, to_device: bool) {
    // SAFETY: the request is the driver's until it is completed, and so is its buffer; the queue
    // gives one at a time.
    unsafe {
        let buffer = match T::buffer(request, to_device) {
            Ok(buffer) => buffer,
            Err(status) => return wdf::WdfRequestComplete(request, status),
        };
        let device = context::<Device<T>>(wdf::WdfIoQueueGetDevice(queue));
        let length = match buffer {
            Buffer::Mdl(mdl) => MmGetMdlByteCount(mdl).into(),
            Buffer::Address(_, bytes) => bytes as u64,
        };
        if length > T::LONGEST || !length.is_multiple_of(T::BLOCK) {
            wdf::WdfRequestComplete(request, STATUS_INVALID_BUFFER_SIZE);
            return;
        }
        match buffer {
            Buffer::Mdl(mdl) => device.mdl.set(mdl),
            Buffer::Address(address, _) => device.theirs.set(address),
        }
        device.request.set(request);
        // CAST: one page at most, see above.
        device.length.set(length as u32);
        device.to_device.set(to_device);
        let status = T::begin(device);
        if !NT_SUCCESS(status) {
            wdf::WdfRequestComplete(device.request.replace(ptr::null_mut()), status);
        }
    }
}

unsafe extern "C" fn control<T: Transfer>(
    _device: *mut _DEVICE_OBJECT,
    _irp: *mut _IRP,
    base: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: the device's context; the registers are the request's.
    unsafe {
        let device = &*context.cast::<Device<T>>();
        device.base.set(base);
        T::control(device)
    }
}

unsafe extern "C" fn dpc<T: Transfer>(_interrupt: WDFINTERRUPT, device: WDFOBJECT) {
    // SAFETY: called by the framework, at DISPATCH_LEVEL; the device is done with the request.
    unsafe {
        let device = context::<Device<T>>(device.cast());
        if device.request.get().is_null() || T::is_running(&device.registers) {
            return;
        }
        T::done(device);
    }
}
