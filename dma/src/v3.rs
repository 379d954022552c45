//! Version 3 transfers: a transfer context, MapTransferEx and FlushAdapterBuffersEx.
//!
//! There is no KeFlushIoBuffers here: mapping and flushing take care of the processor's caches
//! (DMA-88). So a transfer starts without being made ready. A pending allocation can be cancelled.
//!
//! ```text
//! Transfer --allocate_v3--> Allocating --granted--> GrantedV3 --map--> MappingV3
//!     ^                         |                     |   ^                |
//!     |<----cancelled, refused--'                     |   '-----flush------'
//!     '------------------------release----------------'
//! ```
//!
//! Or the next piece as a scatter/gather list: `Transfer --build_list_v3--> BuildingV3 --listed-->
//! ScatterGatherList --put--> Transfer`.

mod list;

use core::ffi::c_void;
use core::mem::{self, ManuallyDrop};
use core::ptr;

pub use list::{BuildingV3, ListMemory, ListRequestV3};

use crate::adapter::{Adapter, Handle, V3, operation};
use crate::error::DmaError;
use crate::irql::{AtMostDispatch, Dispatch};
use crate::leak;
use crate::packet::MapRegisters;
use crate::scatter_gather::{Element, Elements, ListBuffer};
use crate::sys::{
    DMA_SYNCHRONOUS_CALLBACK, DMA_TRANSFER_CONTEXT_SIZE_V1, DMA_TRANSFER_INFO,
    DMA_TRANSFER_INFO_VERSION1, NT_SUCCESS, PDEVICE_OBJECT, PDRIVER_CONTROL, PMDL, ULONG,
};
use crate::transfer::{Direction, NextPiece, Transfer};

/// Bytes of a [`TransferContext`] (DMA-59).
pub const TRANSFER_CONTEXT_LENGTH: u32 = DMA_TRANSFER_CONTEXT_SIZE_V1;

/// Nonpaged memory for the system's own notes on one transfer (DMA-59).
#[derive(Clone, Copy, Debug)]
pub struct TransferContext(*mut c_void);

impl TransferContext {
    /// No memory; allocating with it fails.
    pub const NONE: Self = Self(ptr::null_mut());

    /// # Safety
    /// `memory` is nonpaged, 16-aligned, [`TRANSFER_CONTEXT_LENGTH`] bytes long and used for one
    /// transfer at a time, from its allocation to its end.
    #[must_use]
    pub const unsafe fn new(memory: *mut c_void) -> Self {
        Self(memory)
    }

    /// InitializeDmaTransferContext, before each use.
    fn initialize(self, adapter: Handle) -> Result<(), DmaError> {
        if self.0.is_null() {
            return Err(DmaError::NoMapRegisters);
        }
        let initialize = operation!(adapter, InitializeDmaTransferContext)?;
        // SAFETY: memory of the right size that no other transfer uses (DMA-59).
        let status = unsafe { initialize(adapter.as_ptr(), self.0) };
        if NT_SUCCESS(status) { Ok(()) } else { Err(DmaError::Refused(status)) }
    }
}

/// The arguments of AllocateAdapterChannelEx.
#[derive(Debug)]
#[must_use]
pub struct ChannelRequestV3 {
    adapter: Handle,
    context: TransferContext,
    map_registers: u32,
}

impl ChannelRequestV3 {
    /// Map registers asked for.
    #[must_use]
    pub fn map_registers(&self) -> u32 {
        self.map_registers
    }

    /// AllocateAdapterChannelEx, asynchronously: `routine` may run before this returns, or later
    /// (DMA-61). IRQL: DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`DmaError::Refused`]: the routine never runs.
    ///
    /// # Safety
    /// No channel of the adapter is held or pending (DMA-17). `context` is what `routine` expects
    /// and stays valid until it ran or the allocation was cancelled.
    pub unsafe fn issue(
        &self,
        device_object: PDEVICE_OBJECT,
        routine: PDRIVER_CONTROL,
        context: *mut c_void,
        _dispatch: &Dispatch,
    ) -> Result<(), DmaError> {
        let allocate = operation!(self.adapter, AllocateAdapterChannelEx)?;
        // SAFETY: DISPATCH_LEVEL by the token; an initialised context; a routine and therefore no
        // MapRegisterBase (DMA-59, DMA-61); the rest is the caller's promise.
        let status = unsafe {
            allocate(
                self.adapter.as_ptr(),
                device_object,
                self.context.0,
                self.map_registers,
                0,
                routine,
                context,
                ptr::null_mut(),
            )
        };
        if NT_SUCCESS(status) { Ok(()) } else { Err(DmaError::Refused(status)) }
    }

    /// AllocateAdapterChannelEx, synchronously and without a routine: the adapter object and its
    /// map registers now, or not at all (DMA-62). They are released by FreeAdapterObject (DMA-63).
    /// IRQL: DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`DmaError::Refused`]: nothing was allocated.
    ///
    /// # Safety
    /// No channel of the adapter is held or pending (DMA-17); `adapter` is the request's.
    pub unsafe fn take(
        &self,
        adapter: &Adapter<V3>,
        device_object: PDEVICE_OBJECT,
        alignment: u32,
        _dispatch: &Dispatch,
    ) -> Result<MapRegisters, DmaError> {
        let allocate = operation!(self.adapter, AllocateAdapterChannelEx)?;
        let mut base = ptr::null_mut();
        // SAFETY: DISPATCH_LEVEL by the token; an initialised context; no routine and therefore a
        // place for the base, with the flag (DMA-59, DMA-61); the rest is the caller's promise.
        let status = unsafe {
            allocate(
                self.adapter.as_ptr(),
                device_object,
                self.context.0,
                self.map_registers,
                DMA_SYNCHRONOUS_CALLBACK,
                None,
                ptr::null_mut(),
                &mut base,
            )
        };
        if !NT_SUCCESS(status) {
            return Err(DmaError::Refused(status));
        }
        Ok(MapRegisters::with_adapter_object(adapter, base, self.map_registers, alignment))
    }
}

/// A transfer whose channel allocation is pending.
#[derive(Debug)]
#[must_use]
pub struct Allocating<R> {
    transfer: Transfer<R>,
    list: ListBuffer,
}

/// A pending allocation, to be cancelled.
#[derive(Clone, Copy, Debug)]
pub struct PendingV3 {
    adapter: Handle,
    context: TransferContext,
}

impl PendingV3 {
    /// The allocation of a slot's transfer context.
    #[must_use]
    pub fn new(adapter: &Adapter<V3>, context: TransferContext) -> Self {
        Self { adapter: adapter.handle(), context }
    }

    /// CancelAdapterChannel: `true` if the allocation was withdrawn, so that its routine never
    /// runs; `false` if it ran or will run (DMA-68). IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    /// An allocation with this context was issued for `device_object` and not cancelled yet.
    #[must_use]
    pub unsafe fn cancel(
        self,
        device_object: PDEVICE_OBJECT,
        _level: &impl AtMostDispatch,
    ) -> bool {
        let Ok(cancel) = operation!(self.adapter, CancelAdapterChannel) else { return false };
        // SAFETY: adapter, device object and context of the allocation (DMA-68).
        unsafe { cancel(self.adapter.as_ptr(), device_object, self.context.0) != 0 }
    }
}

impl<R> Transfer<R> {
    /// Prepares an allocation: InitializeDmaTransferContext, then GetDmaTransferInfo for the number
    /// of map registers (DMA-58 to DMA-60). IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The transfer back, marked as failed.
    pub fn allocate_v3(
        self,
        adapter: &Adapter<V3>,
        context: TransferContext,
        list: ListBuffer,
        _level: &impl AtMostDispatch,
    ) -> Result<(Allocating<R>, ChannelRequestV3), Self> {
        if list.memory.is_null() {
            return Err(self.failed(DmaError::NoMapRegisters));
        }
        match registers_needed(&self, adapter, context) {
            Ok(map_registers) => {
                let request =
                    ChannelRequestV3 { adapter: adapter.handle(), context, map_registers };
                Ok((Allocating { transfer: self, list }, request))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn chain_head(&self) -> PMDL {
        self.chain().first().as_ptr()
    }
}

fn registers_needed<R>(
    transfer: &Transfer<R>,
    adapter: &Adapter<V3>,
    context: TransferContext,
) -> Result<u32, DmaError> {
    let handle = adapter.handle();
    let information = operation!(handle, GetDmaTransferInfo)?;
    context.initialize(handle)?;
    let rest = u32::try_from(transfer.remaining()).unwrap_or(u32::MAX);
    let mut info = DMA_TRANSFER_INFO { Version: DMA_TRANSFER_INFO_VERSION1, ..Default::default() };
    // SAFETY: offset and length lie inside the chain and the length is not 0 (DMA-60).
    let status = unsafe {
        information(
            handle.as_ptr(),
            transfer.chain_head(),
            transfer.done(),
            rest.min(adapter.maximum_length()),
            transfer.direction().write_to_device(),
            &mut info,
        )
    };
    if !NT_SUCCESS(status) {
        return Err(DmaError::Refused(status));
    }
    // SAFETY: version 1 was asked for, so this member was written; it is integers only.
    let count = unsafe { info.__bindgen_anon_1.V1.MapRegisterCount };
    Ok(count.clamp(1, adapter.map_registers().max(1)))
}

impl<R> Allocating<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// Joins the transfer with the map registers it was granted, in the AdapterControl routine.
    pub fn granted(self, registers: MapRegisters) -> GrantedV3<R> {
        GrantedV3 { transfer: self.transfer, registers, list: self.list }
    }

    /// The transfer back, after the allocation was refused or cancelled.
    ///
    /// # Safety
    /// The routine of the allocation never runs.
    pub unsafe fn withdrawn(self) -> Transfer<R> {
        self.transfer
    }
}

/// A transfer that holds map registers, with nothing mapped at the moment.
#[derive(Debug)]
#[must_use]
pub struct GrantedV3<R> {
    transfer: Transfer<R>,
    registers: MapRegisters,
    list: ListBuffer,
}

impl<R> GrantedV3<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// The next piece with these registers.
    pub fn next_piece(&self) -> NextPiece {
        self.transfer.next_piece(&self.registers.limits())
    }

    /// Maps the next piece: MapTransferEx, which may map less than asked (DMA-64, DMA-65). IRQL: at
    /// most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The transfer back: over, in need of a copy, or marked as failed. Then nothing is mapped.
    pub fn map(mut self, _level: &impl AtMostDispatch) -> Result<MappingV3<R>, Self> {
        let NextPiece::Mapped(wanted) = self.next_piece() else { return Err(self) };
        let adapter = self.registers.adapter();
        let Ok(map) = operation!(adapter, MapTransferEx) else {
            return Err(self.failed(DmaError::MissingOperation));
        };
        let mut length: ULONG = wanted;
        let offset = self.transfer.done();
        // SAFETY: map registers of this adapter are held and nothing is mapped with them; offset
        // and length lie inside the chain; the list's memory is nonpaged and free; a bus master
        // passes neither device offset nor completion routine (DMA-64, DMA-66).
        let status = unsafe {
            map(
                adapter.as_ptr(),
                self.transfer.chain_head(),
                self.registers.base(),
                offset,
                0,
                &mut length,
                self.transfer.direction().write_to_device(),
                self.list.memory.cast(),
                self.list.length,
                None,
                ptr::null_mut(),
            )
        };
        if !NT_SUCCESS(status) {
            return Err(self.failed(DmaError::Refused(status)));
        }
        if length == 0 || length > wanted {
            self.transfer = self.transfer.failed(DmaError::NothingMapped);
        }
        // SAFETY: MapTransferEx filled the list, which stays until the flush (DMA-64).
        let elements = unsafe { Elements::new(self.list.memory.cast(), length) };
        Ok(MappingV3 { granted: ManuallyDrop::new(self), offset, elements })
    }

    /// The same, marked as failed.
    pub fn failed(self, error: DmaError) -> Self {
        Self { transfer: self.transfer.failed(error), ..self }
    }

    /// Frees the map registers and gives the transfer back. IRQL: DISPATCH_LEVEL (DMA-42).
    pub fn release(self, adapter: &Adapter<V3>, dispatch: &Dispatch) -> Transfer<R> {
        self.registers.release(adapter, dispatch);
        self.transfer
    }
}

/// A piece that the device may access, as a list of elements. Request and map registers are inside
/// until [`flush`](MappingV3::flush).
#[derive(Debug)]
#[must_use]
pub struct MappingV3<R> {
    granted: ManuallyDrop<GrantedV3<R>>,
    offset: u64,
    elements: Elements,
}

impl<R> MappingV3<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.granted.transfer
    }

    /// Where the data goes.
    pub fn direction(&self) -> Direction {
        self.granted.transfer.direction()
    }

    /// The element that is next, and how many bytes of the piece lie before it; `None` as well if
    /// the mapping is one that cannot be used.
    #[must_use]
    pub fn current(&self) -> Option<(Element, u32)> {
        if self.granted.transfer.is_over() { None } else { self.elements.current() }
    }

    /// The elements from the current one on, for a device that takes several at a time.
    pub fn rest(&self) -> impl Iterator<Item = Element> {
        self.elements.rest()
    }

    /// Takes note that the device has finished that many elements from the current one on.
    pub fn elements_done(&mut self, count: u32) {
        self.elements.elements_done(count);
    }

    /// Whether the device has finished every element.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.elements.is_complete()
    }

    /// Ends the piece: FlushAdapterBuffersEx with the values of the mapping (DMA-66, DMA-67). A
    /// failure marks the transfer as failed. Bytes count as moved if every element was done. IRQL:
    /// at most DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The device is done with the piece, was never given it, or is gone.
    pub unsafe fn flush(mut self, _level: &impl AtMostDispatch) -> GrantedV3<R> {
        // SAFETY: taken once, since the value is forgotten below.
        let mut granted = unsafe { ManuallyDrop::take(&mut self.granted) };
        let flushed = self.flush_adapter_buffers(&granted);
        let length = self.elements.length();
        let moved = self.is_complete() && granted.transfer.outcome().is_ok();
        mem::forget(self);
        if !flushed {
            return granted.failed(DmaError::FlushFailed);
        }
        if moved {
            granted.transfer.advance(length);
        }
        granted
    }

    fn flush_adapter_buffers(&self, granted: &GrantedV3<R>) -> bool {
        let adapter = granted.registers.adapter();
        let Ok(flush) = operation!(adapter, FlushAdapterBuffersEx) else { return false };
        // SAFETY: the arguments of the mapping, which is still there; the device is done with it
        // by the caller's promise (DMA-67).
        let status = unsafe {
            flush(
                adapter.as_ptr(),
                granted.transfer.chain_head(),
                granted.registers.base(),
                self.offset,
                self.elements.length(),
                granted.transfer.direction().write_to_device(),
            )
        };
        NT_SUCCESS(status)
    }

    /// Gives everything up for good: the device never stopped (DMA-100).
    pub fn abandon(self) {
        mem::forget(self);
    }
}

impl<R> Drop for MappingV3<R> {
    fn drop(&mut self) {
        // The device may still use the pages.
        leak::report();
    }
}
