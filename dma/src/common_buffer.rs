//! Common buffers: memory that processor and device share for the life of the device.

use core::marker::PhantomData;
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::{Ordering, fence};

use crate::adapter::{Adapter, Handle, V2, V3, Version, operation};
use crate::address::{LogicalAddress, SystemVa};
use crate::error::DmaError;
use crate::irql::{self, AtMostDispatch, Passive};
use crate::leak;
use crate::mdl::{DMA, Mdl, OwnedMdl};
use crate::sys::{BOOLEAN, PASSIVE_LEVEL, PHYSICAL_ADDRESS};
use crate::transfer::Direction;

/// Whether a common buffer was asked for with caching.
pub trait Kind: sealed::Sealed {
    /// CacheEnabled, the same value for allocation and release (DMA-27).
    const CACHE_ENABLED: bool;
}

/// Asked for with caching: KeFlushIoBuffers before every transfer (DMA-90).
#[derive(Debug)]
pub enum Cached {}

/// Asked for without caching: naturally aligned accesses only (DMA-27).
#[derive(Debug)]
pub enum Uncached {}

impl Kind for Cached {
    const CACHE_ENABLED: bool = true;
}

impl Kind for Uncached {
    const CACHE_ENABLED: bool = false;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Cached {}
    impl Sealed for super::Uncached {}
}

/// A common buffer that belongs to the processor at the moment.
///
/// # Invariants
/// `va` and `address` name the same `length` bytes, which are the driver's until the buffer is
/// released (DMA-25).
#[derive(Debug)]
#[must_use]
pub struct CommonBuffer<K: Kind> {
    adapter: Handle,
    va: SystemVa,
    address: LogicalAddress,
    length: u32,
    /// Present where there are caches to flush. It is freed before the buffer.
    mdl: Option<OwnedMdl>,
    _kind: PhantomData<fn() -> K>,
}

impl CommonBuffer<Cached> {
    /// AllocateCommonBuffer with caching, and an MDL over it for KeFlushIoBuffers. IRQL:
    /// PASSIVE_LEVEL, at device start (DMA-22).
    ///
    /// # Errors
    /// [`DmaError::NoCommonBuffer`] (DMA-23), [`DmaError::NoMdl`].
    pub fn allocate(
        adapter: &Adapter<V2>,
        length: u32,
        passive: &Passive,
    ) -> Result<Self, DmaError> {
        let allocate = operation!(adapter.handle(), AllocateCommonBuffer)?;
        let mut address = PHYSICAL_ADDRESS::default();
        // SAFETY: PASSIVE_LEVEL by the token, a live adapter (DMA-22).
        let va = unsafe {
            allocate(
                adapter.handle().as_ptr(),
                length,
                &mut address,
                BOOLEAN::from(Cached::CACHE_ENABLED),
            )
        };
        let mut buffer = Self::new(adapter, va.cast(), address, length)?;
        // SAFETY: a common buffer is nonpaged and outlives its MDL, which it owns.
        match unsafe { OwnedMdl::over_nonpaged(buffer.va, length) } {
            Ok(mdl) => {
                buffer.mdl = Some(mdl);
                Ok(buffer)
            }
            Err(error) => {
                buffer.release(adapter, passive);
                Err(error)
            }
        }
    }
}

impl CommonBuffer<Uncached> {
    /// AllocateCommonBufferEx without caching. Version 2's routine ignores the wish (DMA-27).
    /// IRQL: PASSIVE_LEVEL (DMA-28).
    ///
    /// # Errors
    /// [`DmaError::NoCommonBuffer`].
    pub fn allocate_uncached(
        adapter: &Adapter<V3>,
        length: u32,
        _passive: &Passive,
    ) -> Result<Self, DmaError> {
        let allocate = operation!(adapter.handle(), AllocateCommonBufferEx)?;
        let mut address = PHYSICAL_ADDRESS::default();
        // SAFETY: PASSIVE_LEVEL by the token, a live version 3 adapter, no limit beyond the
        // adapter's own, node 0 (DMA-28).
        let va = unsafe {
            allocate(
                adapter.handle().as_ptr(),
                ptr::null_mut(),
                length,
                &mut address,
                BOOLEAN::from(Uncached::CACHE_ENABLED),
                0,
            )
        };
        Self::new(adapter, va.cast(), address, length)
    }
}

impl<K: Kind> CommonBuffer<K> {
    fn new<V: Version>(
        adapter: &Adapter<V>,
        va: *mut u8,
        address: PHYSICAL_ADDRESS,
        length: u32,
    ) -> Result<Self, DmaError> {
        let va = NonNull::new(va).ok_or(DmaError::NoCommonBuffer)?;
        adapter.add_outstanding();
        Ok(Self {
            adapter: adapter.handle(),
            va: SystemVa::new(va),
            address: LogicalAddress::from_raw(address),
            length,
            mdl: None,
            _kind: PhantomData,
        })
    }

    /// Length, bytes.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    pub(crate) fn va(&self) -> SystemVa {
        self.va
    }

    pub(crate) fn address(&self) -> LogicalAddress {
        self.address
    }

    pub(crate) fn mdl(&self) -> Option<Mdl> {
        self.mdl.as_ref().map(OwnedMdl::mdl)
    }

    /// Fills the buffer with zeros, so that nothing old can reach a caller (SEC-08).
    pub fn clear(&mut self) {
        self.clear_first(self.length);
    }

    /// The same for its first `length` bytes, if no more of it will be used.
    pub fn clear_first(&mut self, length: u32) {
        let length = length.min(self.length);
        let whole = length & !7;
        for offset in (0..whole).step_by(8) {
            // CAST: 32 bits fit a 64-bit usize.
            // SAFETY: 8 bytes of the buffer lie there.
            let at = unsafe { self.va.as_ptr().add(offset as usize) };
            // SAFETY: aligned, since common buffers begin at a page (DMA-22).
            unsafe { at.cast::<u64>().write_volatile(0) };
        }
        for offset in whole..length {
            self.store(offset, 0);
        }
    }

    /// Copies `length` bytes at `from` to offset `at` of the buffer; nothing beyond its end.
    pub(crate) fn write(&mut self, at: u32, from: SystemVa, length: u32) {
        let length = length.min(self.length.saturating_sub(at));
        // CAST: 32 bits fit a 64-bit usize.
        // SAFETY: the callers pass mapped ranges; inside the buffer by the line above.
        let to = unsafe { self.va.as_ptr().add(at as usize) };
        // SAFETY: two ranges of `length` bytes, one the caller's buffer, one this one.
        unsafe { copy_aligned(from.as_ptr(), to, length) };
    }

    /// Copies `length` bytes at offset `at` of the buffer to `to`; nothing beyond its end.
    pub(crate) fn read(&self, at: u32, to: SystemVa, length: u32) {
        let length = length.min(self.length.saturating_sub(at));
        // CAST: 32 bits fit a 64-bit usize.
        // SAFETY: inside the buffer by the line above.
        let from = unsafe { self.va.as_ptr().add(at as usize) };
        // SAFETY: two ranges of `length` bytes, one this buffer, one the caller's.
        unsafe { copy_aligned(from, to.as_ptr(), length) };
    }

    fn store(&mut self, offset: u32, value: u8) {
        // CAST: 32 bits fit a 64-bit usize.
        // SAFETY: `offset` is inside the buffer by the caller's loop.
        let at = unsafe { self.va.as_ptr().add(offset as usize) };
        // SAFETY: as above; a byte is always aligned.
        unsafe { at.write_volatile(value) };
    }

    /// Hands the buffer over to the device: flushes the processor's caches where the buffer may be
    /// cached (DMA-90) and orders what was written before. IRQL: at most DISPATCH_LEVEL.
    pub fn make_ready(
        self,
        direction: Direction,
        _level: &impl AtMostDispatch,
    ) -> ReadyCommonBuffer<K> {
        if let Some(mdl) = &self.mdl {
            mdl.mdl().flush_io_buffers(direction, DMA);
        }
        fence(Ordering::SeqCst);
        ReadyCommonBuffer { buffer: mem::ManuallyDrop::new(self) }
    }

    /// FreeCommonBuffer with the values of the allocation. IRQL: PASSIVE_LEVEL (DMA-30).
    pub fn release<V: Version>(mut self, adapter: &Adapter<V>, _passive: &Passive) {
        adapter.remove_outstanding(self.adapter);
        self.free();
        mem::forget(self);
    }

    /// Gives the buffer up for good: the adapter it came from is abandoned.
    pub fn abandon(self) {
        mem::forget(self);
    }

    fn free(&mut self) {
        self.mdl = None;
        if let Ok(free) = operation!(self.adapter, FreeCommonBuffer) {
            // SAFETY: the values of the allocation, once; no device uses the buffer, since a
            // `ReadyCommonBuffer` would own it (DMA-30).
            unsafe {
                free(
                    self.adapter.as_ptr(),
                    self.length,
                    self.address.to_raw(),
                    self.va.as_ptr().cast(),
                    BOOLEAN::from(K::CACHE_ENABLED),
                );
            }
        }
    }
}

impl<K: Kind> Drop for CommonBuffer<K> {
    fn drop(&mut self) {
        if u32::from(irql::current()) == PASSIVE_LEVEL {
            self.free();
        } else {
            mem::forget(self.mdl.take());
        }
        // Either way the adapter still counts it, and refuses to be released.
        leak::report();
    }
}

/// A common buffer that belongs to the device: the processor cannot reach it until the device is
/// done.
#[derive(Debug)]
#[must_use]
pub struct ReadyCommonBuffer<K: Kind> {
    buffer: mem::ManuallyDrop<CommonBuffer<K>>,
}

impl<K: Kind> ReadyCommonBuffer<K> {
    /// Where the device finds the buffer (DMA-24).
    #[must_use]
    pub fn address(&self) -> LogicalAddress {
        self.buffer.address
    }

    /// Length, bytes.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.buffer.length
    }

    /// The buffer back, for the processor.
    ///
    /// # Safety
    /// The device is done with it, was never given it, or is gone.
    pub unsafe fn finish(mut self) -> CommonBuffer<K> {
        fence(Ordering::SeqCst);
        // SAFETY: taken once, since the value is forgotten below.
        let buffer = unsafe { mem::ManuallyDrop::take(&mut self.buffer) };
        mem::forget(self);
        buffer
    }

    /// Gives the buffer up for good: the device never stopped (DMA-30).
    pub fn abandon(self) {
        mem::forget(self);
    }
}

impl<K: Kind> Drop for ReadyCommonBuffer<K> {
    fn drop(&mut self) {
        // The device may still use the memory.
        leak::report();
    }
}

/// Copies with naturally aligned accesses only: device memory tolerates no others (DMA-27).
///
/// # Safety
/// Both ranges are mapped and `length` bytes long, and they do not overlap.
unsafe fn copy_aligned(from: *const u8, to: *mut u8, length: u32) {
    // CAST: 32 bits fit a 64-bit usize.
    let length = length as usize;
    let same_phase = (from.addr() ^ to.addr()) & 7 == 0;
    let mut at = 0;
    while at < length {
        // SAFETY: `at` is less than `length`.
        let source = unsafe { from.add(at) };
        // SAFETY: as above.
        let target = unsafe { to.add(at) };
        if same_phase && source.addr() & 7 == 0 && length.saturating_sub(at) >= 8 {
            // SAFETY: aligned, and 8 bytes are left in the range.
            let word = unsafe { source.cast::<u64>().read_volatile() };
            // SAFETY: aligned, since both pointers have the same phase; 8 bytes are left.
            unsafe { target.cast::<u64>().write_volatile(word) };
            at = at.saturating_add(8);
        } else {
            // SAFETY: inside the range; a byte is always aligned.
            let byte = unsafe { source.read_volatile() };
            // SAFETY: as above.
            unsafe { target.write_volatile(byte) };
            at = at.saturating_add(1);
        }
    }
}
