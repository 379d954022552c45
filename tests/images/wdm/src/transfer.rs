//! Transfers: one at a time, in as many pieces as MapTransfer makes.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use image_support::{complete, control, mark_pending, system_buffer};
use testdev::edu::{self, Command};
use wdk_dma::ddk;
use wdk_lite::*;

use crate::{IOCTL_FROM_DEVICE, IOCTL_TO_DEVICE, function};

/// The transfer under way.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    irp: PIRP,
    mdl: PMDL,
    /// Address and length of the whole, bytes.
    start: PVOID,
    length: u32,
    /// Done so far, and the length of the piece under way, bytes.
    done: u32,
    piece: u32,
    /// Where it begins in the device's memory.
    device: u64,
    direction: edu::Direction,
    base: PVOID,
    registers: u32,
}

/// What is guarded by the engine's lock.
#[derive(Debug)]
struct State {
    gone: bool,
    transfer: Option<Transfer>,
}

/// What moves the data of one device. Its routines, and the interrupt's and the DPC's, share it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Engine {
    registers: AtomicPtr<u8>,
    adapter: AtomicPtr<DMA_ADAPTER>,
    /// The most that the adapter maps at once.
    limit: AtomicU32,
    causes: AtomicU32,
    dpc: UnsafeCell<KDPC>,
    /// Signalled while no transfer is under way.
    idle: UnsafeCell<KEVENT>,
    lock: UnsafeCell<KSPIN_LOCK>,
    state: UnsafeCell<State>,
}

impl Engine {
    /// Prepares a zeroed engine. IRQL: PASSIVE_LEVEL.
    pub(crate) fn init(&self) {
        let this = ptr::from_ref(self).cast_mut();
        // SAFETY: nobody else has it yet. Zeroed memory need not be "no transfer".
        unsafe { self.state.get().write(State { gone: false, transfer: None }) };
        // What KeInitializeSpinLock, inline on 64-bit systems, does.
        // SAFETY: as above.
        unsafe { self.lock.get().write(0) };
        // SAFETY: objects of the extension, which stays where it is.
        unsafe { ntddk::KeInitializeDpc(self.dpc.get(), Some(deferred), this.cast()) };
        // SAFETY: as above.
        unsafe {
            ntddk::KeInitializeEvent(
                self.idle.get(),
                _EVENT_TYPE::NotificationEvent,
                TRUE as BOOLEAN,
            );
        }
    }

    /// Takes the device's registers, or gives them up with null; those of before.
    pub(crate) fn set_registers(&self, registers: *mut u8) -> *mut u8 {
        self.registers.swap(registers, Ordering::AcqRel)
    }

    /// Gets the DMA adapter: 24 address bits, since version 2 cannot say 28, and no lists.
    ///
    /// # Safety
    /// The device's physical device object, while it is started; PASSIVE_LEVEL.
    pub(crate) unsafe fn take_adapter(&self, physical: PDEVICE_OBJECT) -> bool {
        let mut description = DEVICE_DESCRIPTION {
            Version: DEVICE_DESCRIPTION_VERSION2,
            Master: TRUE as BOOLEAN,
            InterfaceType: _INTERFACE_TYPE::PCIBus,
            // CAST: 4096.
            MaximumLength: edu::BUFFER_LENGTH as u32,
            ..DEVICE_DESCRIPTION::default()
        };
        let mut limit = 0;
        // SAFETY: the caller's promise; the variables outlive the call.
        let adapter = unsafe { ntddk::IoGetDmaAdapter(physical, &mut description, &mut limit) };
        self.limit.store(limit, Ordering::Relaxed);
        self.adapter.store(adapter, Ordering::Release);
        !adapter.is_null()
    }

    fn adapter(&self) -> PDMA_ADAPTER {
        self.adapter.load(Ordering::Acquire)
    }

    /// Gives the adapter back.
    ///
    /// # Safety
    /// No transfer is under way, and none comes.
    pub(crate) unsafe fn put_adapter(&self) {
        let adapter = self.adapter.swap(ptr::null_mut(), Ordering::AcqRel);
        if adapter.is_null() {
            return;
        }
        // SAFETY: a live adapter.
        if let Some(put) = unsafe { operations(adapter) }.PutDmaAdapter {
            // SAFETY: by the caller's promise.
            unsafe { put(adapter) };
        }
    }

    /// Runs `body` on the state, under the lock. IRQL: at most DISPATCH_LEVEL.
    fn locked<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        // SAFETY: the engine's lock.
        let irql = unsafe { ntddk::KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        // SAFETY: under the lock there is no other reference to the state.
        let result = body(unsafe { &mut *self.state.get() });
        // SAFETY: acquired above.
        unsafe { ntddk::KeReleaseSpinLock(self.lock.get(), irql) };
        result
    }

    fn register<T>(&self, offset: u64) -> *mut T {
        // CAST: an offset of a register.
        self.registers.load(Ordering::Acquire).wrapping_add(offset as usize).cast()
    }

    /// Reads a 32-bit register. Any IRQL.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        // SAFETY: one of the device's mapped registers (KMDF-04).
        unsafe { ddk::READ_REGISTER_ULONG(self.register(offset)) }
    }

    fn write(&self, offset: u64, value: u64) {
        // SAFETY: as above; 64-bit registers take one store.
        unsafe { ddk::WRITE_REGISTER_ULONG64(self.register(offset), value) };
    }

    fn acknowledge(&self, causes: u32) {
        // SAFETY: as above.
        unsafe { ddk::WRITE_REGISTER_ULONG(self.register(edu::IRQ_ACK), causes) };
    }

    /// Maps the next piece and starts the device on it.
    ///
    /// # Safety
    /// The transfer under way, which has its map registers and whose device is idle.
    unsafe fn next_piece(&self, transfer: &mut Transfer) {
        // CAST: widening.
        let address = transfer.start.wrapping_byte_add(transfer.done as usize);
        transfer.piece = transfer.length - transfer.done;
        let to_device = transfer.direction == edu::Direction::ToDevice;
        // SAFETY: a live adapter.
        let Some(map) = unsafe { operations(self.adapter()) }.MapTransfer else { return };
        // SAFETY: the transfer's own MDL and map registers, and a part of its buffer.
        let logical = unsafe {
            map(
                self.adapter(),
                transfer.mdl,
                transfer.base,
                address,
                &mut transfer.piece,
                to_device.into(),
            )
        };
        // SAFETY: both views are integers. CAST: the bits of an address.
        let memory = unsafe { logical.QuadPart } as u64;
        let device = transfer.device + u64::from(transfer.done);
        let (source, target) = if to_device { (memory, device) } else { (device, memory) };
        self.write(edu::DMA_SOURCE, source);
        self.write(edu::DMA_DESTINATION, target);
        self.write(edu::DMA_COUNT, transfer.piece.into());
        self.write(edu::DMA_COMMAND, Command::start(transfer.direction).with_interrupt().bits());
    }

    /// Ends a transfer: flush, free, complete. IRQL: DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Taken out of the engine; the device does not touch its memory any more.
    unsafe fn end(&self, transfer: &Transfer, mut status: NTSTATUS) {
        if !transfer.base.is_null() {
            let to_device = transfer.direction == edu::Direction::ToDevice;
            // SAFETY: a live adapter.
            let table = unsafe { operations(self.adapter()) };
            if let Some(flush) = table.FlushAdapterBuffers {
                // SAFETY: all that was mapped of this transfer.
                let flushed = unsafe {
                    flush(
                        self.adapter(),
                        transfer.mdl,
                        transfer.base,
                        transfer.start,
                        transfer.length,
                        to_device.into(),
                    )
                };
                if flushed == 0 && NT_SUCCESS(status) {
                    status = STATUS_IO_DEVICE_ERROR;
                }
            }
            if let Some(free) = table.FreeMapRegisters {
                // SAFETY: kept by `adapter_control`, and nothing is mapped by them.
                unsafe { free(self.adapter(), transfer.base, transfer.registers) };
            }
        }
        let information = if NT_SUCCESS(status) { transfer.length } else { 0 };
        // SAFETY: the transfer's IRP, which has no cancel routine.
        unsafe { complete(transfer.irp, status, information.into()) };
        // SAFETY: the engine's event. Last: the device may be removed then.
        unsafe { ntddk::KeSetEvent(self.idle.get(), 0, FALSE as BOOLEAN) };
    }

    /// The device is gone: a transfer that it was working on ends here. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    /// The device does not answer any more.
    pub(crate) unsafe fn abandon(&self) {
        let running = self.locked(|state| {
            state.gone = true;
            // One that waits for map registers ends when it gets them.
            state.transfer.take_if(|transfer| !transfer.base.is_null())
        });
        if let Some(transfer) = running {
            // SAFETY: at most DISPATCH_LEVEL.
            let old = unsafe { ntddk::KfRaiseIrql(DISPATCH_LEVEL as KIRQL) };
            // SAFETY: taken out, and a device that is gone touches nothing.
            unsafe { self.end(&transfer, STATUS_DEVICE_REMOVED) };
            // SAFETY: the level of before.
            unsafe { ntddk::KeLowerIrql(old) };
        }
    }

    /// Waits until no transfer is under way; none begins afterwards. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    /// Called once, before the device is given back.
    pub(crate) unsafe fn finish(&self) {
        self.locked(|state| state.gone = true);
        let event = self.idle.get().cast();
        // SAFETY: the engine's event, at PASSIVE_LEVEL.
        unsafe {
            ntddk::KeWaitForSingleObject(
                event,
                _KWAIT_REASON::Executive,
                _MODE::KernelMode as KPROCESSOR_MODE,
                FALSE as BOOLEAN,
                ptr::null_mut(),
            );
        }
    }
}

/// The operations of an adapter.
///
/// # Safety
/// `adapter` is live.
unsafe fn operations<'a>(adapter: PDMA_ADAPTER) -> &'a DMA_OPERATIONS {
    // SAFETY: by the caller's promise.
    let table = unsafe { (*adapter).DmaOperations };
    // SAFETY: the adapter's table lives as long as it does.
    unsafe { &*table }
}

/// A device control request. IRQL: PASSIVE_LEVEL.
///
/// # Safety
/// The system's IRP for this edu device.
pub(crate) unsafe fn request(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: an IRP_MJ_DEVICE_CONTROL for this driver.
    let parsed = unsafe { parse(irp) };
    let transfer = match parsed {
        Ok(transfer) => transfer,
        // SAFETY: the system's IRP.
        Err(status) => return unsafe { complete(irp, status, 0) },
    };
    // SAFETY: an edu device.
    let extension = unsafe { function::extension(device) };
    // SAFETY: as above.
    let engine = unsafe { &(*extension).engine };
    let limit = engine.limit.load(Ordering::Relaxed);
    let refusal = engine.locked(|state| {
        if state.gone || engine.adapter().is_null() {
            return Some(STATUS_DEVICE_NOT_READY);
        }
        if state.transfer.is_some() || transfer.registers > limit {
            return Some(STATUS_DEVICE_BUSY);
        }
        state.transfer = Some(transfer);
        // SAFETY: the engine's event.
        unsafe { ntddk::KeClearEvent(engine.idle.get()) };
        // SAFETY: the system's IRP, not given away yet.
        unsafe { mark_pending(irp) };
        None
    });
    if let Some(status) = refusal {
        // SAFETY: the system's IRP.
        return unsafe { complete(irp, status, 0) };
    }
    let from_device = transfer.direction == edu::Direction::FromDevice;
    // SAFETY: the IRP's MDL, whose pages are locked; before the device is given the buffer.
    unsafe { ntddk::KeFlushIoBuffers(transfer.mdl, from_device.into(), TRUE as BOOLEAN) };
    let context = ptr::from_ref(engine).cast_mut().cast();
    // SAFETY: a live adapter.
    let allocate = unsafe { operations(engine.adapter()) }.AllocateAdapterChannel;
    let Some(allocate) = allocate else { return STATUS_PENDING };
    // SAFETY: PASSIVE_LEVEL; the call is made at DISPATCH_LEVEL (DMA-33).
    let old = unsafe { ntddk::KfRaiseIrql(DISPATCH_LEVEL as KIRQL) };
    // SAFETY: one allocation at a time, no more registers than the adapter has.
    let status = unsafe {
        allocate(engine.adapter(), device, transfer.registers, Some(adapter_control), context)
    };
    if !NT_SUCCESS(status) {
        engine.locked(|state| state.transfer = None);
        // SAFETY: nothing was mapped.
        unsafe { engine.end(&transfer, status) };
    }
    // SAFETY: the level of before.
    unsafe { ntddk::KeLowerIrql(old) };
    STATUS_PENDING
}

/// What a request asks for.
///
/// # Safety
/// An IRP_MJ_DEVICE_CONTROL that this driver has.
unsafe fn parse(irp: PIRP) -> Result<Transfer, NTSTATUS> {
    // SAFETY: the caller's IRP.
    let parameters = unsafe { control(irp) };
    let direction = match parameters.IoControlCode {
        IOCTL_TO_DEVICE => edu::Direction::ToDevice,
        IOCTL_FROM_DEVICE => edu::Direction::FromDevice,
        _ => return Err(STATUS_INVALID_DEVICE_REQUEST),
    };
    // SAFETY: as above.
    let mdl = unsafe { (*irp).MdlAddress };
    if parameters.InputBufferLength as usize != size_of::<u32>() || mdl.is_null() {
        return Err(STATUS_INVALID_BUFFER_SIZE);
    }
    // SAFETY: as above; with an input there is a system buffer.
    let offset: *const u32 = unsafe { system_buffer(irp) }.cast_const().cast();
    // SAFETY: its four bytes.
    let offset = unsafe { offset.read_unaligned() };
    let length = parameters.OutputBufferLength;
    let device = edu::device_address(offset.into(), length.into());
    let device = device.ok_or(STATUS_INVALID_PARAMETER)?;
    // SAFETY: the IRP's MDL.
    let start = unsafe { ddk::MmGetMdlVirtualAddress(mdl) };
    // CAST: the bits of an address.
    let registers = ddk::span_pages(ddk::page_offset(start.addr() as u64), length);
    Ok(Transfer {
        irp,
        mdl,
        start,
        length,
        done: 0,
        piece: 0,
        device,
        direction,
        base: ptr::null_mut(),
        registers,
    })
}

/// AdapterControl. IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn adapter_control(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    base: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: the engine that allocated.
    let engine = unsafe { &*context.cast::<Engine>() };
    let (gone, taken) = engine.locked(|state| {
        if state.gone {
            return (true, state.transfer.take());
        }
        if let Some(transfer) = &mut state.transfer {
            transfer.base = base;
            // SAFETY: it has its map registers now, and the device is idle.
            unsafe { engine.next_piece(transfer) };
        }
        (false, state.transfer)
    });
    match taken {
        Some(transfer) if gone => {
            // SAFETY: taken out; nothing was mapped.
            unsafe { engine.end(&transfer, STATUS_DEVICE_REMOVED) };
            _IO_ALLOCATION_ACTION::DeallocateObject
        }
        _ => _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters,
    }
}

/// The service routine. IRQL: the device's.
pub(crate) unsafe extern "C" fn service(_interrupt: PKINTERRUPT, context: PVOID) -> BOOLEAN {
    let engine: *mut Engine = context.cast();
    // SAFETY: the engine that the interrupt was connected with; only its atomics and registers
    // are used here.
    let this = unsafe { &*engine };
    let causes = this.read(edu::IRQ_STATUS);
    if causes == 0 || causes == u32::MAX {
        return FALSE as BOOLEAN;
    }
    this.acknowledge(causes);
    this.causes.fetch_or(causes, Ordering::AcqRel);
    // SAFETY: the engine's DPC; one that is queued already sees the causes too.
    unsafe { ntddk::KeInsertQueueDpc(this.dpc.get(), ptr::null_mut(), ptr::null_mut()) };
    TRUE as BOOLEAN
}

/// The DPC: the next piece, or the end. IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn deferred(_dpc: PKDPC, context: PVOID, _first: PVOID, _second: PVOID) {
    // SAFETY: the engine that the DPC was made with.
    let engine = unsafe { &*context.cast::<Engine>() };
    if engine.causes.swap(0, Ordering::AcqRel) & edu::IRQ_DMA == 0 {
        return;
    }
    let over = engine.locked(|state| {
        let transfer = state.transfer.as_mut()?;
        transfer.done += transfer.piece;
        if transfer.done < transfer.length {
            // SAFETY: the device has finished the piece before.
            unsafe { engine.next_piece(transfer) };
            return None;
        }
        state.transfer.take()
    });
    if let Some(transfer) = over {
        // SAFETY: taken out, and the device has finished the last piece.
        unsafe { engine.end(&transfer, STATUS_SUCCESS) };
    }
}
