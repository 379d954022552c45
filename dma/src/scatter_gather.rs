//! Scatter/gather lists that the system builds into memory of the driver (version 2), and lists of
//! both versions while a device works on them.

use core::ffi::c_void;
use core::mem::{self, ManuallyDrop};
use core::ptr;

use crate::adapter::{Adapter, Handle, V2, Version, operation};
use crate::address::LogicalAddress;
use crate::error::DmaError;
use crate::irql::Dispatch;
use crate::leak;
use crate::mdl::Mdl;
use crate::sys::{
    NT_SUCCESS, PAGE_SIZE, PDEVICE_OBJECT, PDRIVER_LIST_CONTROL, PSCATTER_GATHER_LIST, PVOID,
    SCATTER_GATHER_ELEMENT, ULONG,
};
use crate::transfer::{NextPiece, PieceLimits, Ready, Transfer};

/// Nonpaged memory for one list, the driver's.
#[derive(Clone, Copy, Debug)]
pub struct ListBuffer {
    pub(crate) memory: *mut c_void,
    pub(crate) length: u32,
}

impl ListBuffer {
    /// No memory; building into it fails.
    pub const NONE: Self = Self { memory: ptr::null_mut(), length: 0 };

    /// # Safety
    /// `memory` is nonpaged, 8-aligned, `length` bytes long and used for one list at a time, which
    /// is put before the memory is freed (DMA-80).
    #[must_use]
    pub const unsafe fn new(memory: *mut c_void, length: u32) -> Self {
        Self { memory, length }
    }
}

impl<V: Version> Adapter<V> {
    /// Bytes that a list needs in the worst case of `pages` pages (DMA-79). Any IRQL.
    ///
    /// # Errors
    /// [`DmaError::Refused`].
    pub fn list_length(&self, pages: u32) -> Result<u32, DmaError> {
        let calculate = operation!(self.handle(), CalculateScatterGatherList)?;
        let pages = pages.min(self.map_registers());
        let mut length: ULONG = 0;
        let mut registers: ULONG = 0;
        // SAFETY: without an MDL the routine answers for the worst case (DMA-79).
        let status = unsafe {
            calculate(
                self.handle().as_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
                pages.saturating_mul(PAGE_SIZE),
                &mut length,
                &mut registers,
            )
        };
        if NT_SUCCESS(status) { Ok(length) } else { Err(DmaError::Refused(status)) }
    }
}

/// The arguments of BuildScatterGatherList, which only a [`Building`] transfer can make.
#[derive(Debug)]
#[must_use]
pub struct ListRequest {
    adapter: Handle,
    mdl: Mdl,
    current_va: PVOID,
    length: u32,
    write_to_device: u8,
    buffer: ListBuffer,
}

impl ListRequest {
    /// BuildScatterGatherList. `routine` may run before this returns or later, like the one of a
    /// channel (DMA-73). IRQL: DISPATCH_LEVEL (DMA-80).
    ///
    /// # Errors
    /// [`DmaError::Refused`]: the routine never runs.
    ///
    /// # Safety
    /// `context` is what `routine` expects and stays valid until it ran; the [`Building`] transfer
    /// stays where the routine finds it. The routine hands its list to [`Building::listed`].
    pub unsafe fn issue(
        self,
        device_object: PDEVICE_OBJECT,
        routine: PDRIVER_LIST_CONTROL,
        context: *mut c_void,
        _dispatch: &Dispatch,
    ) -> Result<(), DmaError> {
        let build = operation!(self.adapter, BuildScatterGatherList)?;
        // SAFETY: DISPATCH_LEVEL by the token; the piece lies inside one locked MDL and is not
        // empty; the buffer is the driver's, nonpaged and free (DMA-72, DMA-80).
        let status = unsafe {
            build(
                self.adapter.as_ptr(),
                device_object,
                self.mdl.as_ptr(),
                self.current_va,
                self.length,
                routine,
                context,
                self.write_to_device,
                self.buffer.memory,
                self.buffer.length,
            )
        };
        if NT_SUCCESS(status) { Ok(()) } else { Err(DmaError::Refused(status)) }
    }
}

/// A transfer for whose next piece a list is being built. The pending build holds the MDL, so the
/// request stays inside until the list came or the build was refused.
#[derive(Debug)]
#[must_use]
pub struct Building<R> {
    transfer: Transfer<R>,
    length: u32,
}

impl<R> Ready<R> {
    /// Prepares building a list for the next piece.
    ///
    /// # Errors
    /// The transfer back, if its next piece cannot be mapped.
    pub fn build_list(
        self,
        adapter: &Adapter<V2>,
        alignment: u32,
        buffer: ListBuffer,
    ) -> Result<(Building<R>, ListRequest), Transfer<R>> {
        let limits = PieceLimits {
            map_registers: adapter.map_registers(),
            maximum_length: adapter.maximum_length(),
            alignment,
        };
        let NextPiece::Mapped(length) = self.transfer.next_piece(&limits) else {
            return Err(self.transfer.failed(DmaError::WrongPiece));
        };
        let request = ListRequest {
            adapter: adapter.handle(),
            mdl: self.transfer.mdl(),
            current_va: self.transfer.current_va(),
            length,
            write_to_device: self.transfer.direction().write_to_device(),
            buffer,
        };
        Ok((Building { transfer: self.transfer, length }, request))
    }
}

impl<R> Building<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// Takes the list in an AdapterListControl routine.
    ///
    /// # Safety
    /// `list` is what the routine of this transfer's [`ListRequest`] was called with.
    pub unsafe fn listed(
        self,
        adapter: &Adapter<V2>,
        list: PSCATTER_GATHER_LIST,
    ) -> ScatterGatherList<R> {
        // SAFETY: live until it is put, and nobody modifies it (DMA-74, DMA-75).
        unsafe { ScatterGatherList::new(self.transfer, adapter, list, self.length) }
    }

    /// The transfer back, marked as failed, after the build was refused.
    ///
    /// # Safety
    /// The build was refused, so its routine never runs.
    pub unsafe fn refused(self, error: DmaError) -> Transfer<R> {
        self.transfer.failed(error)
    }
}

/// One contiguous range of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where the device finds it.
    pub address: LogicalAddress,
    /// Length, bytes.
    pub length: u32,
}

/// The elements of a list, worked on one by one.
#[derive(Debug)]
pub(crate) struct Elements {
    list: PSCATTER_GATHER_LIST,
    /// Length of the piece, bytes.
    length: u32,
    next: u32,
}

impl Elements {
    /// # Safety
    /// The list is live and unmodified for as long as the value is used.
    pub(crate) unsafe fn new(list: PSCATTER_GATHER_LIST, length: u32) -> Self {
        Self { list, length, next: 0 }
    }

    pub(crate) fn length(&self) -> u32 {
        self.length
    }

    fn count(&self) -> u32 {
        // SAFETY: a live list by `new` (DMA-74).
        unsafe { (*self.list).NumberOfElements }
    }

    fn element(&self, index: u32) -> Option<Element> {
        if index >= self.count() {
            return None;
        }
        // SAFETY: a live list by `new` (DMA-74); only an address is taken.
        let elements = unsafe { &raw const (*self.list).Elements };
        let elements = elements.cast::<SCATTER_GATHER_ELEMENT>();
        // CAST: 32 bits fit a 64-bit usize.
        // SAFETY: `index` is less than the number of elements (DMA-77).
        let element = unsafe { elements.wrapping_add(index as usize).read() };
        let address = LogicalAddress::from_raw(element.Address);
        Some(Element { address, length: element.Length })
    }

    pub(crate) fn current(&self) -> Option<(Element, u32)> {
        let element = self.element(self.next)?;
        let before = (0..self.next)
            .filter_map(|index| self.element(index))
            .fold(0u32, |sum, element| sum.saturating_add(element.length));
        // Never past the piece, whatever the list says.
        let rest = self.length.checked_sub(before)?;
        (element.length > 0 && element.length <= rest).then_some((element, before))
    }

    /// The elements from the current one on that lie in the piece, whatever the list says.
    pub(crate) fn rest(&self) -> impl Iterator<Item = Element> {
        let before = self.current().map_or(self.length, |(_, before)| before);
        let mut room = self.length.saturating_sub(before);
        (self.next..self.count()).map_while(move |index| {
            let element = self.element(index)?;
            room = room.checked_sub(element.length)?;
            (element.length > 0).then_some(element)
        })
    }

    pub(crate) fn elements_done(&mut self, count: u32) {
        self.next = self.next.saturating_add(count);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.next >= self.count()
    }
}

/// A list that the device may work on. Request and list are inside until
/// [`put`](ScatterGatherList::put).
#[derive(Debug)]
#[must_use]
pub struct ScatterGatherList<R> {
    transfer: ManuallyDrop<Transfer<R>>,
    adapter: Handle,
    elements: Elements,
}

impl<R> ScatterGatherList<R> {
    /// # Safety
    /// `list` is one that the adapter built for the next `length` bytes of the transfer, live and
    /// unmodified until it is put.
    pub(crate) unsafe fn new<V: Version>(
        transfer: Transfer<R>,
        adapter: &Adapter<V>,
        list: PSCATTER_GATHER_LIST,
        length: u32,
    ) -> Self {
        adapter.add_outstanding();
        // SAFETY: by the caller's promise.
        let elements = unsafe { Elements::new(list, length) };
        Self { transfer: ManuallyDrop::new(transfer), adapter: adapter.handle(), elements }
    }

    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// Number of elements.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.elements.count()
    }

    /// The element that is next, and how many bytes of the piece lie before it.
    #[must_use]
    pub fn current(&self) -> Option<(Element, u32)> {
        self.elements.current()
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

    /// Ends the piece: PutScatterGatherList, which flushes and frees the map registers. Bytes
    /// count as moved if every element was done. IRQL: DISPATCH_LEVEL (DMA-75).
    ///
    /// # Safety
    /// The device is done with the list, was never given it, or is gone.
    pub unsafe fn put<V: Version>(
        mut self,
        adapter: &Adapter<V>,
        _dispatch: &Dispatch,
    ) -> Transfer<R> {
        let complete = self.is_complete();
        // SAFETY: taken once, since the value is forgotten below.
        let mut transfer = unsafe { ManuallyDrop::take(&mut self.transfer) };
        match operation!(self.adapter, PutScatterGatherList) {
            Ok(put) => {
                // SAFETY: this adapter's list, unmodified, once; the device is done with it by the
                // caller's promise (DMA-75).
                unsafe {
                    put(
                        self.adapter.as_ptr(),
                        self.elements.list,
                        transfer.direction().write_to_device(),
                    );
                }
                adapter.remove_outstanding(self.adapter);
            }
            Err(error) => transfer = transfer.failed(error),
        }
        let length = self.elements.length;
        transfer.moved(if complete { length } else { 0 }, length);
        mem::forget(self);
        transfer
    }

    /// Gives everything up for good: the device never stopped (DMA-100).
    pub fn abandon(self) {
        mem::forget(self);
    }
}

impl<R> Drop for ScatterGatherList<R> {
    fn drop(&mut self) {
        // The device may still use the pages.
        leak::report();
    }
}
