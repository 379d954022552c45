//! MDLs and chains of them.

use core::ffi::c_void;
use core::ptr::NonNull;

use crate::address::SystemVa;
use crate::ddk;
use crate::error::DmaError;
use crate::irql::AtMostDispatch;
use crate::sys::{
    _MM_PAGE_PRIORITY, BOOLEAN, MDL, MdlMappingNoExecute, PAGE_SIZE, PMDL, ULONG, ntddk,
};
use crate::transfer::Direction;

/// One MDL.
///
/// # Invariants
/// Live, and its pages are locked or nonpaged, for as long as the value is used: whoever made the
/// chain promised it ([`MdlChain::new`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mdl(NonNull<MDL>);

impl Mdl {
    pub(crate) fn as_ptr(self) -> PMDL {
        self.0.as_ptr()
    }

    /// Length of the buffer, bytes.
    #[must_use]
    pub fn byte_count(self) -> u32 {
        // SAFETY: live by the type's invariant.
        unsafe { ddk::MmGetMdlByteCount(self.as_ptr()) }
    }

    /// Offset of the buffer in its first page, bytes.
    #[must_use]
    pub fn byte_offset(self) -> u32 {
        // SAFETY: live by the type's invariant.
        unsafe { ddk::MmGetMdlByteOffset(self.as_ptr()) }
    }

    /// MapTransfer's CurrentVa for a place in the buffer (DMA-46).
    pub(crate) fn current_va(self, offset: u32) -> *mut c_void {
        // SAFETY: live by the type's invariant.
        let start = unsafe { ddk::MmGetMdlVirtualAddress(self.as_ptr()) };
        // CAST: 32 bits fit a 64-bit usize. The result is an index and never dereferenced.
        start.wrapping_byte_add(offset as usize)
    }

    fn next(self) -> Option<Self> {
        // SAFETY: live by the type's invariant; `Next` is one of the public members (DMA-102).
        let next = unsafe { (*self.as_ptr()).Next };
        NonNull::new(next).map(Self)
    }

    /// The buffer's address in system space, mapped without execute permission (DMA-106).
    fn system_address(self) -> Option<SystemVa> {
        // CAST: the C constant is a small positive number.
        let priority = _MM_PAGE_PRIORITY::NormalPagePriority as ULONG | MdlMappingNoExecute;
        // SAFETY: live and locked by the type's invariant; the owner of the chain is one task.
        let address = unsafe { ddk::MmGetSystemAddressForMdlSafe(self.as_ptr(), priority) };
        NonNull::new(address.cast()).map(SystemVa::new)
    }

    /// KeFlushIoBuffers on this MDL and no other (DMA-87).
    pub(crate) fn flush_io_buffers(self, direction: Direction, dma: bool) {
        // ReadOperation is the opposite of WriteToDevice (DMA-84).
        let read = BOOLEAN::from(direction == Direction::FromDevice);
        // SAFETY: a live MDL with locked or nonpaged pages; the level is at most DISPATCH_LEVEL
        // by the token of every caller (DMA-84).
        unsafe { ntddk::KeFlushIoBuffers(self.as_ptr(), read, BOOLEAN::from(dma)) };
    }

    /// The parts of physical pages that the buffer covers.
    fn spans(self) -> impl Iterator<Item = Span> {
        // SAFETY: live with locked or nonpaged pages by the type's invariant.
        let frames = unsafe { ddk::MmGetMdlPfnArray(self.as_ptr()) };
        let first = self.byte_offset();
        let count = self.byte_count();
        let end = u64::from(first).saturating_add(u64::from(count));
        (0..ddk::span_pages(first, count)).map(move |page| {
            let page_start = u64::from(page).saturating_mul(u64::from(PAGE_SIZE));
            // SAFETY: the array has an entry for every page that the buffer touches (DMA-99).
            let frame = unsafe { frames.wrapping_add(page as usize).read() };
            Span {
                frame,
                start: u64::from(first).saturating_sub(page_start),
                end: end.saturating_sub(page_start).min(u64::from(PAGE_SIZE)),
            }
        })
    }
}

/// Bytes `start..end` of a physical page.
struct Span {
    frame: u64,
    start: u64,
    end: u64,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        self.frame == other.frame && self.start < other.end && other.start < self.end
    }
}

/// The physical pages of a buffer, roughly: none lies below the first or above the last, and each
/// has its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    first: u64,
    last: u64,
    pages: u64,
    /// A bit for each page; several pages may have the same one.
    marks: u64,
}

impl Footprint {
    /// A bit for each page of the buffer; several pages may have the same one. Buffers whose marks
    /// have none in common share no page.
    #[inline]
    #[must_use]
    pub const fn marks(self) -> u64 {
        self.marks
    }
}

/// The mark of a page.
const fn mark_of(frame: u64) -> u64 {
    // CAST: 6 bits.
    1u64.wrapping_shl((frame.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as u32)
}

/// The most pairs of pages that are compared one by one.
const COMPARISONS_MAX: u64 = 1 << 8;

/// A set of physical pages, to find out what two long buffers share. It is large; the driver keeps
/// one.
#[derive(Debug)]
pub struct PageSet {
    /// Frame numbers plus 1; 0 is a free place.
    places: [u64; Self::PLACES],
    /// The buffer whose pages it holds.
    of: Option<MdlChain>,
}

impl PageSet {
    const BITS: u32 = 11;
    const PLACES: usize = 1 << Self::BITS;
    /// The most pages it holds, so that places are found quickly.
    const PAGES_MAX: u64 = Self::PLACES as u64 / 4 * 3;

    /// No page.
    pub const EMPTY: Self = Self { places: [0; Self::PLACES], of: None };

    /// Makes an empty set in place: it is too large for the stack.
    ///
    /// # Safety
    /// `this` is valid for writes.
    pub unsafe fn initialise(this: *mut Self) {
        // SAFETY: a field of a place that is valid for writes.
        let places = unsafe { &raw mut (*this).places };
        // SAFETY: as above; zeros are a value of it.
        unsafe { places.write_bytes(0, 1) };
        // SAFETY: a field of a place that is valid for writes.
        let of = unsafe { &raw mut (*this).of };
        // SAFETY: as above.
        unsafe { of.write(None) };
    }

    /// The place where a frame is, or would be.
    fn find(&mut self, frame: u64) -> Option<&mut u64> {
        let key = frame.wrapping_add(1);
        // CAST: 11 bits.
        let hash = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - Self::BITS)) as usize;
        let place = (0..Self::PLACES)
            .map(|step| hash.wrapping_add(step) & (Self::PLACES - 1))
            .find(|place| self.places.get(*place).is_some_and(|held| *held == 0 || *held == key))?;
        self.places.get_mut(place)
    }

    /// Whether a page of `other` is one of `chain`'s, which has no more than fit.
    fn holds_any(&mut self, chain: MdlChain, other: MdlChain) -> bool {
        if self.of != Some(chain) {
            self.places.fill(0);
            self.of = Some(chain);
            for span in chain.iter().flat_map(Mdl::spans) {
                if let Some(place) = self.find(span.frame) {
                    *place = span.frame.wrapping_add(1);
                }
            }
        }
        let mut spans = other.iter().flat_map(Mdl::spans);
        spans.any(|span| self.find(span.frame).is_none_or(|place| *place != 0))
    }

    /// Forgets what it held: the next buffer may be another one at the same address.
    pub fn forget(&mut self) {
        self.of = None;
    }
}

/// A chain of MDLs that describes one buffer.
///
/// # Invariants
/// Every MDL of the chain is live, its pages are locked or nonpaged (DMA-99), and nobody relinks
/// it (DMA-102), for as long as the value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MdlChain(Mdl);

impl MdlChain {
    /// The chain that starts with `mdl`; `None` for a null pointer.
    ///
    /// # Safety
    /// The invariants of the type hold for as long as the value and its copies are used; for the
    /// MDL of a request, until the request is completed (DMA-100, DMA-101).
    #[must_use]
    pub unsafe fn new(mdl: PMDL) -> Option<Self> {
        NonNull::new(mdl).map(|mdl| Self(Mdl(mdl)))
    }

    /// The first MDL.
    #[must_use]
    pub fn first(self) -> Mdl {
        self.0
    }

    /// The MDLs in order.
    pub fn iter(self) -> impl Iterator<Item = Mdl> {
        core::iter::successors(Some(self.0), |mdl| mdl.next())
    }

    /// Length of the whole buffer, bytes.
    #[must_use]
    pub fn byte_count(self) -> u64 {
        self.iter().fold(0, |sum, mdl| sum.saturating_add(u64::from(mdl.byte_count())))
    }

    /// Whether the two buffers share a byte of physical memory. Two transfers of one adapter must
    /// not (DMA-51).
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.iter().any(|mdl| {
            mdl.spans().any(|span| {
                other.iter().any(|mdl| mdl.spans().any(|theirs| span.overlaps(&theirs)))
            })
        })
    }

    /// What [`shares`](MdlChain::shares) looks at first.
    #[must_use]
    pub fn footprint(self) -> Footprint {
        let none = Footprint { first: u64::MAX, last: 0, pages: 0, marks: 0 };
        self.iter().flat_map(Mdl::spans).fold(none, |sum, span| Footprint {
            first: sum.first.min(span.frame),
            last: sum.last.max(span.frame),
            pages: sum.pages.saturating_add(1),
            marks: sum.marks | mark_of(span.frame),
        })
    }

    /// Whether the two buffers share a byte of physical memory, or are so long and so mixed up that
    /// finding out would take too long. Both come with their footprints.
    #[must_use]
    pub fn shares(
        self,
        own: Footprint,
        other: Self,
        theirs: Footprint,
        pages: &mut PageSet,
    ) -> bool {
        let apart = own.last < theirs.first || theirs.last < own.first;
        if apart || own.marks & theirs.marks == 0 {
            return false;
        }
        if own.pages.saturating_mul(theirs.pages) <= COMPARISONS_MAX {
            return self.overlaps(other);
        }
        if own.pages > PageSet::PAGES_MAX {
            return true;
        }
        pages.holds_any(self, other) && self.overlaps(other)
    }

    /// KeFlushIoBuffers on every MDL of the chain (DMA-87).
    pub(crate) fn flush_io_buffers(self, direction: Direction, dma: bool) {
        for mdl in self.iter() {
            mdl.flush_io_buffers(direction, dma);
        }
    }

    /// Hands the processor's view of bytes `offset..offset + length` to `visit`, one range after
    /// the other, each with its place in the sequence.
    ///
    /// The memory may be shared with user mode: no reference to it may be formed, and what is read
    /// from it once may read differently the next time (KMDF-41).
    ///
    /// # Errors
    /// [`DmaError::TooShort`] if the chain ends before; [`DmaError::NoSystemAddress`] if pages
    /// cannot be mapped. Ranges before the failure have been visited.
    pub fn visit(
        self,
        offset: u64,
        length: u32,
        _level: &impl AtMostDispatch,
        mut visit: impl FnMut(SystemVa, u32, u32),
    ) -> Result<(), DmaError> {
        let mut skip = offset;
        let mut done: u32 = 0;
        for mdl in self.iter() {
            let count = mdl.byte_count();
            let Some(start) = u32::try_from(skip).ok().filter(|start| *start < count) else {
                skip = skip.saturating_sub(u64::from(count));
                continue;
            };
            skip = 0;
            let here = count.saturating_sub(start).min(length.saturating_sub(done));
            if here == 0 {
                break;
            }
            let base = mdl.system_address().ok_or(DmaError::NoSystemAddress)?;
            // CAST: 32 bits fit a 64-bit usize.
            // SAFETY: `start` is less than the length of the mapped buffer.
            let at = unsafe { base.as_ptr().add(start as usize) };
            let at = NonNull::new(at).ok_or(DmaError::NoSystemAddress)?;
            visit(SystemVa::new(at), here, done);
            done = done.saturating_add(here);
        }
        if done == length { Ok(()) } else { Err(DmaError::TooShort) }
    }
}

/// An MDL that this crate allocated over nonpaged memory, and frees.
#[derive(Debug)]
#[must_use]
pub(crate) struct OwnedMdl(Mdl);

impl OwnedMdl {
    /// Describes `length` bytes of nonpaged memory. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The memory is nonpaged and outlives the value.
    pub(crate) unsafe fn over_nonpaged(va: SystemVa, length: u32) -> Result<Self, DmaError> {
        // SAFETY: no IRP, no quota; the page of IoAllocateMdl asks for nothing else.
        let mdl = unsafe {
            ntddk::IoAllocateMdl(va.as_ptr().cast(), length, 0, 0, core::ptr::null_mut())
        };
        let mdl = NonNull::new(mdl).ok_or(DmaError::NoMdl)?;
        // SAFETY: a fresh MDL over nonpaged memory (DMA-99).
        unsafe { ntddk::MmBuildMdlForNonPagedPool(mdl.as_ptr()) };
        Ok(Self(Mdl(mdl)))
    }

    pub(crate) fn mdl(&self) -> Mdl {
        self.0
    }
}

impl Drop for OwnedMdl {
    fn drop(&mut self) {
        // SAFETY: allocated by IoAllocateMdl, never locked, freed once (DMA-103).
        unsafe { ntddk::IoFreeMdl(self.0.as_ptr()) };
    }
}

/// KeFlushIoBuffers' last argument when the device moves the data itself (DMA-84).
pub(crate) const DMA: bool = true;
