//! Scatter/gather lists of version 3: built with a transfer context, so that a pending build can be
//! cancelled like a pending allocation, and without KeFlushIoBuffers (DMA-81, DMA-88).

use core::ffi::c_void;
use core::ptr;

use super::TransferContext;
use crate::adapter::{Adapter, Handle, V3, operation};
use crate::error::DmaError;
use crate::irql::{AtMostDispatch, Dispatch};
use crate::scatter_gather::{ListBuffer, ScatterGatherList};
use crate::sys::{
    DMA_SYNCHRONOUS_CALLBACK, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PDRIVER_LIST_CONTROL, PMDL,
    PSCATTER_GATHER_LIST,
};
use crate::transfer::{NextPiece, PieceLimits, Transfer};

/// Whose memory a list lies in.
#[derive(Clone, Copy, Debug)]
pub enum ListMemory {
    /// The system's, from its pool: GetScatterGatherListEx.
    System,
    /// The driver's: BuildScatterGatherListEx.
    Driver(ListBuffer),
}

/// The arguments of GetScatterGatherListEx or BuildScatterGatherListEx.
#[derive(Debug)]
#[must_use]
pub struct ListRequestV3 {
    adapter: Handle,
    context: TransferContext,
    mdl: PMDL,
    offset: u64,
    length: u32,
    write_to_device: u8,
    memory: ListMemory,
}

impl ListRequestV3 {
    /// Asks for the list. `routine` may run before this returns or later (DMA-73). IRQL:
    /// DISPATCH_LEVEL (DMA-81).
    ///
    /// # Errors
    /// [`DmaError::Refused`]: the routine never runs.
    ///
    /// # Safety
    /// `context` is what `routine` expects and stays valid until it ran or the build was cancelled
    /// ([`PendingV3`](super::PendingV3)). The routine hands its list to [`BuildingV3::listed`].
    pub unsafe fn issue(
        self,
        device_object: PDEVICE_OBJECT,
        routine: PDRIVER_LIST_CONTROL,
        context: *mut c_void,
        _dispatch: &Dispatch,
    ) -> Result<(), DmaError> {
        // SAFETY: a routine, and no place for the list; the rest is the caller's promise.
        let status = unsafe { self.call(device_object, 0, routine, context, ptr::null_mut()) }?;
        if NT_SUCCESS(status) { Ok(()) } else { Err(DmaError::Refused(status)) }
    }

    /// Builds the list now or not at all, without a routine (DMA-62). IRQL: DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`DmaError::Refused`]: no list was built.
    ///
    /// # Safety
    /// `device_object` is the device's. The list goes to [`BuildingV3::listed`] of this request's
    /// transfer.
    pub unsafe fn build_now(
        self,
        device_object: PDEVICE_OBJECT,
        _dispatch: &Dispatch,
    ) -> Result<PSCATTER_GATHER_LIST, DmaError> {
        let mut list: PSCATTER_GATHER_LIST = ptr::null_mut();
        let flags = DMA_SYNCHRONOUS_CALLBACK;
        // SAFETY: no routine, and therefore a place for the list, which outlives the call.
        let status = unsafe { self.call(device_object, flags, None, ptr::null_mut(), &mut list) }?;
        if NT_SUCCESS(status) { Ok(list) } else { Err(DmaError::Refused(status)) }
    }

    /// # Safety
    /// DISPATCH_LEVEL; a routine or a place for the list, as DMA-81 says.
    unsafe fn call(
        &self,
        device_object: PDEVICE_OBJECT,
        flags: u32,
        routine: PDRIVER_LIST_CONTROL,
        context: *mut c_void,
        list: *mut PSCATTER_GATHER_LIST,
    ) -> Result<NTSTATUS, DmaError> {
        let adapter = self.adapter.as_ptr();
        Ok(match self.memory {
            ListMemory::System => {
                let get = operation!(self.adapter, GetScatterGatherListEx)?;
                // SAFETY: an initialised context; offset and length lie inside the chain and the
                // length is not 0; a bus master passes no completion routine (DMA-59, DMA-81).
                unsafe {
                    get(
                        adapter,
                        device_object,
                        self.context.0,
                        self.mdl,
                        self.offset,
                        self.length,
                        flags,
                        routine,
                        context,
                        self.write_to_device,
                        None,
                        ptr::null_mut(),
                        list,
                    )
                }
            }
            ListMemory::Driver(buffer) => {
                let build = operation!(self.adapter, BuildScatterGatherListEx)?;
                // SAFETY: as above; the buffer is the driver's, nonpaged and free (DMA-80).
                unsafe {
                    build(
                        adapter,
                        device_object,
                        self.context.0,
                        self.mdl,
                        self.offset,
                        self.length,
                        flags,
                        routine,
                        context,
                        self.write_to_device,
                        buffer.memory,
                        buffer.length,
                        None,
                        ptr::null_mut(),
                        list.cast(),
                    )
                }
            }
        })
    }
}

/// A transfer for whose next piece a list is being built. The pending build holds the MDL, so the
/// request stays inside until the list came, or the build was refused or cancelled.
#[derive(Debug)]
#[must_use]
pub struct BuildingV3<R> {
    transfer: Transfer<R>,
    length: u32,
}

impl<R> Transfer<R> {
    /// Prepares building a list for the next piece: InitializeDmaTransferContext (DMA-59). IRQL: at
    /// most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The transfer back, marked as failed.
    pub fn build_list_v3(
        self,
        adapter: &Adapter<V3>,
        context: TransferContext,
        memory: ListMemory,
        alignment: u32,
        _level: &impl AtMostDispatch,
    ) -> Result<(BuildingV3<R>, ListRequestV3), Self> {
        let limits = PieceLimits {
            map_registers: adapter.map_registers(),
            maximum_length: adapter.maximum_length(),
            alignment,
        };
        let NextPiece::Mapped(length) = self.next_piece(&limits) else {
            return Err(self.failed(DmaError::WrongPiece));
        };
        if let Err(error) = context.initialize(adapter.handle()) {
            return Err(self.failed(error));
        }
        let request = ListRequestV3 {
            adapter: adapter.handle(),
            context,
            mdl: self.chain_head(),
            offset: self.done(),
            length,
            write_to_device: self.direction().write_to_device(),
            memory,
        };
        Ok((BuildingV3 { transfer: self, length }, request))
    }
}

impl<R> BuildingV3<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// Takes the list, in the AdapterListControl routine or after
    /// [`build_now`](ListRequestV3::build_now).
    ///
    /// # Safety
    /// `list` is the list of this transfer's [`ListRequestV3`].
    pub unsafe fn listed(
        self,
        adapter: &Adapter<V3>,
        list: PSCATTER_GATHER_LIST,
    ) -> ScatterGatherList<R> {
        // SAFETY: live until it is put, and nobody modifies it (DMA-74, DMA-75).
        unsafe { ScatterGatherList::new(self.transfer, adapter, list, self.length) }
    }

    /// The transfer back, after the build was refused or cancelled (DMA-68).
    ///
    /// # Safety
    /// The routine of the build never runs.
    pub unsafe fn withdrawn(self) -> Transfer<R> {
        self.transfer
    }
}
