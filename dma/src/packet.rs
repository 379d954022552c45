//! Packet transfers of versions 1 and 2: an adapter channel, map registers, MapTransfer and
//! FlushAdapterBuffers.

use core::ffi::c_void;
use core::mem::{self, ManuallyDrop};

use crate::adapter::{Adapter, Handle, V2, V3, Version, operation};
use crate::address::LogicalAddress;
use crate::error::DmaError;
use crate::irql::{self, AtMostDispatch, Dispatch};
use crate::leak;
use crate::mdl::Mdl;
use crate::scatter_gather::Element;
use crate::sys::{
    _IO_ALLOCATION_ACTION, DISPATCH_LEVEL, IO_ALLOCATION_ACTION, NT_SUCCESS, PDEVICE_OBJECT,
    PDRIVER_CONTROL, PVOID, ULONG,
};
use crate::transfer::{NextPiece, PieceLimits, Ready, Transfer};

/// What an AdapterControl routine returns when it took the map registers (DMA-38).
pub const KEEP_REGISTERS: IO_ALLOCATION_ACTION =
    _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters;

/// What an AdapterControl routine returns when nobody wants the map registers any more (DMA-38).
pub const GIVE_BACK: IO_ALLOCATION_ACTION = _IO_ALLOCATION_ACTION::DeallocateObject;

/// A request for an adapter channel, which only a [`Ready`] transfer can make.
#[derive(Debug)]
#[must_use]
pub struct ChannelRequest {
    adapter: Handle,
    map_registers: u32,
}

impl ChannelRequest {
    pub(crate) fn new(adapter: Handle, map_registers: u32) -> Self {
        Self { adapter, map_registers }
    }

    /// Map registers asked for.
    #[must_use]
    pub fn map_registers(&self) -> u32 {
        self.map_registers
    }

    /// AllocateAdapterChannel. `routine` may run before this returns, or at any later time on any
    /// processor, so whatever it needs is in place beforehand and no lock it takes is held
    /// (DMA-36). IRQL: DISPATCH_LEVEL (DMA-33).
    ///
    /// # Errors
    /// [`DmaError::Refused`]: the routine never runs (DMA-34).
    ///
    /// # Safety
    /// No allocation for this adapter or device object is pending (DMA-17, DMA-35). `context` is
    /// what `routine` expects and stays valid until it ran. The routine treats the registers as
    /// [`MapRegisters::from_adapter_control`] says.
    pub unsafe fn issue(
        self,
        device_object: PDEVICE_OBJECT,
        routine: PDRIVER_CONTROL,
        context: *mut c_void,
        _dispatch: &Dispatch,
    ) -> Result<(), DmaError> {
        let allocate = operation!(self.adapter, AllocateAdapterChannel)?;
        // SAFETY: DISPATCH_LEVEL by the token, the count is within the adapter's, and the rest is
        // the caller's promise (DMA-33 to DMA-36).
        let status = unsafe {
            allocate(self.adapter.as_ptr(), device_object, self.map_registers, routine, context)
        };
        if NT_SUCCESS(status) { Ok(()) } else { Err(DmaError::Refused(status)) }
    }
}

impl<R> Ready<R> {
    /// A request for a channel with as many map registers as one piece can use, and not more than
    /// the adapter has (DMA-34).
    pub fn channel_request(&self, adapter: &Adapter<V2>) -> ChannelRequest {
        let wanted = self.transfer.registers_wanted(adapter.maximum_length());
        let map_registers = wanted.min(adapter.map_registers());
        ChannelRequest::new(adapter.handle(), map_registers)
    }

    /// Joins the transfer with the map registers it was granted.
    pub fn granted(self, registers: MapRegisters) -> Granted<R> {
        Granted { transfer: self.transfer, registers }
    }
}

/// Map registers that were kept after the channel was given back.
#[derive(Debug)]
#[must_use]
pub struct MapRegisters {
    adapter: Handle,
    base: PVOID,
    count: u32,
    maximum_length: u32,
    alignment: u32,
    /// The adapter object is held as well, and FreeAdapterObject releases both (DMA-21).
    with_object: bool,
}

impl MapRegisters {
    /// Takes the registers in an AdapterControl routine, which then returns [`KEEP_REGISTERS`].
    ///
    /// # Safety
    /// Called once, in the routine of a [`ChannelRequest`] of this adapter, with its
    /// MapRegisterBase (which may be null, DMA-39) and the number asked for.
    pub unsafe fn from_adapter_control<V: Version>(
        adapter: &Adapter<V>,
        base: PVOID,
        count: u32,
        alignment: u32,
    ) -> Self {
        Self::new(adapter, base, count, alignment, false)
    }

    /// Takes the registers with the adapter object, after a synchronous allocation of version 3
    /// (DMA-63).
    pub(crate) fn with_adapter_object(
        adapter: &Adapter<V3>,
        base: PVOID,
        count: u32,
        alignment: u32,
    ) -> Self {
        Self::new(adapter, base, count, alignment, true)
    }

    fn new<V: Version>(
        adapter: &Adapter<V>,
        base: PVOID,
        count: u32,
        alignment: u32,
        with_object: bool,
    ) -> Self {
        adapter.add_outstanding();
        let maximum_length = adapter.maximum_length();
        Self { adapter: adapter.handle(), base, count, maximum_length, alignment, with_object }
    }

    /// Frees the registers: the number allocated, not the number used (DMA-42). IRQL:
    /// DISPATCH_LEVEL.
    pub fn release<V: Version>(self, adapter: &Adapter<V>, _dispatch: &Dispatch) {
        adapter.remove_outstanding(self.adapter);
        self.free();
        mem::forget(self);
    }

    pub(crate) fn adapter(&self) -> Handle {
        self.adapter
    }

    pub(crate) fn base(&self) -> PVOID {
        self.base
    }

    pub(crate) fn limits(&self) -> PieceLimits {
        PieceLimits {
            map_registers: self.count,
            maximum_length: self.maximum_length,
            alignment: self.alignment,
        }
    }

    fn free(&self) {
        if self.with_object {
            self.free_object();
            return;
        }
        // Freeing through a null base is not allowed (DMA-42).
        if self.base.is_null() {
            return;
        }
        if let Ok(free) = operation!(self.adapter, FreeMapRegisters) {
            // SAFETY: DISPATCH_LEVEL by the callers; the registers are this value's and it ends
            // here; nothing is mapped, since a mapping owns its registers (DMA-41, DMA-42).
            unsafe { free(self.adapter.as_ptr(), self.base, self.count) };
        }
    }
}

impl MapRegisters {
    fn free_object(&self) {
        if let Ok(free) = operation!(self.adapter, FreeAdapterObject) {
            // SAFETY: the allocation is this value's, which ends here; nothing is mapped, since a
            // mapping owns its registers (DMA-21, DMA-63).
            unsafe { free(self.adapter.as_ptr(), _IO_ALLOCATION_ACTION::DeallocateObject) };
        }
    }
}

impl Drop for MapRegisters {
    fn drop(&mut self) {
        if u32::from(irql::current()) == DISPATCH_LEVEL {
            self.free();
        }
        // Either way the adapter still counts them, and refuses to be released.
        leak::report();
    }
}

/// A transfer that holds map registers, with nothing mapped at the moment.
#[derive(Debug)]
#[must_use]
pub struct Granted<R> {
    transfer: Transfer<R>,
    registers: MapRegisters,
}

impl<R> Granted<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// The next piece with these registers.
    pub fn next_piece(&self) -> NextPiece {
        self.transfer.next_piece(&self.registers.limits())
    }

    /// Maps the next piece with one MapTransfer. The mapping is as long as the system says, which
    /// may be shorter than asked (DMA-47, DMA-48). IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The transfer back: over, in need of a copy, or marked as failed.
    pub fn map(self, level: &impl AtMostDispatch) -> Result<Mapping<R>, Self> {
        let mut mapper = self.mapper(level)?;
        let _element = mapper.next();
        mapper.finish()
    }

    /// Begins to map the next piece: the device gets it as the elements that the mapper gives, as
    /// many as it can take (DMA-48). IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The transfer back: over, or in need of a copy.
    pub fn mapper<L: AtMostDispatch>(self, level: &L) -> Result<Mapper<'_, R, L>, Self> {
        let NextPiece::Mapped(wanted) = self.next_piece() else { return Err(self) };
        let (mdl, current_va) = (self.transfer.mdl(), self.transfer.current_va());
        let granted = ManuallyDrop::new(self);
        let mapping = Mapping { granted, mdl, current_va, address: None, length: 0 };
        Ok(Mapper { mapping, wanted, _level: level })
    }

    /// The same, marked as failed.
    pub fn failed(self, error: DmaError) -> Self {
        Self { transfer: self.transfer.failed(error), registers: self.registers }
    }

    /// Frees the map registers and gives the transfer back. IRQL: DISPATCH_LEVEL (DMA-42).
    pub fn release(self, adapter: &Adapter<V2>, dispatch: &Dispatch) -> Transfer<R> {
        self.registers.release(adapter, dispatch);
        self.transfer
    }
}

/// A piece on the way to being mapped: each element is one MapTransfer (DMA-48).
#[derive(Debug)]
#[must_use]
pub struct Mapper<'l, R, L: AtMostDispatch> {
    mapping: Mapping<R>,
    wanted: u32,
    _level: &'l L,
}

impl<R, L: AtMostDispatch> Mapper<'_, R, L> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        self.mapping.transfer()
    }

    /// Ends the mapping with the elements that were given.
    ///
    /// # Errors
    /// The transfer back, marked as failed, if nothing was mapped.
    pub fn finish(self) -> Result<Mapping<R>, Granted<R>> {
        if self.mapping.length != 0 {
            return Ok(self.mapping);
        }
        let mut mapping = ManuallyDrop::new(self.mapping);
        // SAFETY: taken once, since the mapping, of which nothing is mapped, is forgotten.
        let granted = unsafe { ManuallyDrop::take(&mut mapping.granted) };
        Err(granted.failed(DmaError::NothingMapped))
    }
}

impl<R, L: AtMostDispatch> Iterator for Mapper<'_, R, L> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        let rest = self.wanted.checked_sub(self.mapping.length).filter(|rest| *rest != 0)?;
        let registers = &self.mapping.granted.registers;
        let map = operation!(registers.adapter, MapTransfer).ok()?;
        // CAST: 32 bits fit a 64-bit usize. The sum is an index and never dereferenced (DMA-46).
        let current_va = self.mapping.current_va.wrapping_byte_add(self.mapping.length as usize);
        let mut length: ULONG = rest;
        // SAFETY: map registers of this adapter are held; the piece lies inside one locked MDL,
        // spans no more pages than there are registers, is not empty, and nothing of it from here
        // on is mapped (DMA-45, DMA-46, DMA-49, DMA-50, DMA-51).
        let address = unsafe {
            map(
                registers.adapter.as_ptr(),
                self.mapping.mdl.as_ptr(),
                registers.base,
                current_va,
                &mut length,
                self.mapping.transfer().direction().write_to_device(),
            )
        };
        let length = length.min(rest);
        let address = LogicalAddress::from_raw(address);
        self.mapping.length = self.mapping.length.saturating_add(length);
        self.mapping.address.get_or_insert(address);
        (length != 0).then_some(Element { address, length })
    }
}

/// A piece that the device may access: request and map registers are inside, and only
/// [`flush`](Mapping::flush) gives them back.
///
/// While it lives, the processor leaves the buffer alone (DMA-94).
#[derive(Debug)]
#[must_use]
pub struct Mapping<R> {
    granted: ManuallyDrop<Granted<R>>,
    mdl: Mdl,
    current_va: PVOID,
    /// Where the device finds the first element; `None` as long as nothing is mapped.
    address: Option<LogicalAddress>,
    length: u32,
}

impl<R> Mapping<R> {
    /// Where the device finds the piece, or the first element of several (DMA-57).
    #[must_use]
    pub fn address(&self) -> Option<LogicalAddress> {
        self.address
    }

    /// Length of the piece, bytes.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.granted.transfer
    }

    /// Ends the piece: FlushAdapterBuffers with what MapTransfer was called with and the length it
    /// returned (DMA-53). FALSE marks the transfer as failed (DMA-55). IRQL: at most
    /// DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The device is done with the piece, was never given it, or is gone (DMA-54).
    pub unsafe fn flush(mut self, moved: bool, _level: &impl AtMostDispatch) -> Granted<R> {
        // SAFETY: taken once, since the value is forgotten below.
        let mut granted = unsafe { ManuallyDrop::take(&mut self.granted) };
        let flushed = self.flush_adapter_buffers(&granted);
        if flushed {
            granted.transfer.moved(if moved { self.length } else { 0 }, self.length);
        }
        mem::forget(self);
        if flushed { granted } else { granted.failed(DmaError::FlushFailed) }
    }

    fn flush_adapter_buffers(&self, granted: &Granted<R>) -> bool {
        let registers = &granted.registers;
        let Ok(flush) = operation!(registers.adapter, FlushAdapterBuffers) else { return false };
        // SAFETY: the arguments of the mapping, which is still there; the device is done with it
        // by the caller's promise (DMA-53, DMA-54).
        let flushed = unsafe {
            flush(
                registers.adapter.as_ptr(),
                self.mdl.as_ptr(),
                registers.base,
                self.current_va,
                self.length,
                granted.transfer.direction().write_to_device(),
            )
        };
        flushed != 0
    }

    /// Gives everything up for good: the device never stopped, so request, mapping and map
    /// registers may not be completed, flushed or freed any more (DMA-100).
    pub fn abandon(self) {
        mem::forget(self);
    }
}

impl<R> Drop for Mapping<R> {
    fn drop(&mut self) {
        // The device may still use the pages: neither flush nor free.
        leak::report();
    }
}
