//! A device's mapped memory resource: registers, or a window to its memory.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_dma::ddk;

/// The first `LENGTH` bytes of a memory resource while it is mapped.
///
/// What is not mapped, or lies beyond them, reads all ones; nothing is written there. The same goes
/// for accesses that are not naturally aligned. Any IRQL.
///
/// # Invariants
/// `base` is null, or the address of at least `LENGTH` mapped bytes (KMDF-04).
#[derive(Debug)]
pub(crate) struct Bar<const LENGTH: u64> {
    base: AtomicPtr<u8>,
}

impl<const LENGTH: u64> Bar<LENGTH> {
    /// Without memory.
    pub(crate) const fn new() -> Self {
        Self { base: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Takes the memory at `base`.
    ///
    /// # Safety
    /// At least `LENGTH` bytes are mapped there until [`unmap`](Bar::unmap).
    pub(crate) unsafe fn map(&self, base: *mut u8) {
        // INVARIANT: by the caller's promise.
        self.base.store(base, Ordering::Release);
    }

    /// Forgets the memory. Reads give all ones from now on.
    pub(crate) fn unmap(&self) {
        self.base.store(ptr::null_mut(), Ordering::Release);
    }

    /// Whether there is memory.
    pub(crate) fn is_mapped(&self) -> bool {
        !self.base.load(Ordering::Acquire).is_null()
    }

    /// The place of a value; aligned and mapped by the type's invariant.
    #[inline]
    fn at<T>(&self, offset: u64) -> Option<*mut T> {
        let base = self.base.load(Ordering::Acquire);
        // CAST: a few bytes.
        let inside = offset.checked_add(size_of::<T>() as u64)? <= LENGTH;
        let place: *mut T = base.wrapping_add(usize::try_from(offset).ok()?).cast();
        (inside && !base.is_null() && place.is_aligned()).then_some(place)
    }
}

macro_rules! accessors {
    ($($read:ident = $get:ident, $write:ident = $put:ident: $value:ty;)*) => {
        impl<const LENGTH: u64> Bar<LENGTH> {$(
            #[inline]
            pub(super) fn $read(&self, offset: u64) -> $value {
                match self.at(offset) {
                    // SAFETY: mapped and aligned, as `at` says (KMDF-04).
                    Some(place) => unsafe { ddk::$get(place) },
                    None => <$value>::MAX,
                }
            }

            #[inline]
            pub(super) fn $write(&self, offset: u64, value: $value) {
                if let Some(place) = self.at(offset) {
                    // SAFETY: mapped and aligned, as `at` says (KMDF-04).
                    unsafe { ddk::$put(place, value) };
                }
            }
        )*}
    };
}

accessors! {
    read8 = READ_REGISTER_UCHAR, write8 = WRITE_REGISTER_UCHAR: u8;
    read32 = READ_REGISTER_ULONG, write32 = WRITE_REGISTER_ULONG: u32;
    read64 = READ_REGISTER_ULONG64, write64 = WRITE_REGISTER_ULONG64: u64;
}
