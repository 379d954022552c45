//! The MDL macros. Drivers read `Next` and `MdlFlags` themselves and everything else through
//! these (DMA-102).

use core::ptr;

use crate::sys::{
    _MEMORY_CACHING_TYPE, _MODE, FALSE, KPROCESSOR_MODE, MDL_MAPPED_TO_SYSTEM_VA,
    MDL_SOURCE_IS_NONPAGED_POOL, PAGE_SHIFT, PAGE_SIZE, PMDL, PVOID, ULONG, ULONG_PTR, ntddk,
};

/// The offset of an address in its page, bytes.
#[must_use]
pub const fn page_offset(address: u64) -> u32 {
    // CAST: less than a page.
    (address & (PAGE_SIZE as u64 - 1)) as u32
}

/// How many pages `length` bytes touch that start `offset` bytes into a page
/// (ADDRESS_AND_SIZE_TO_SPAN_PAGES).
#[must_use]
pub const fn span_pages(offset: u32, length: u32) -> u32 {
    // CAST: two 32-bit numbers and a page fit 64 bits; a page count of them fits 32.
    ((offset as u64 + length as u64 + PAGE_SIZE as u64 - 1) >> PAGE_SHIFT) as u32
}

/// Length of the buffer, bytes. Any IRQL.
///
/// # Safety
/// `mdl` points to a live MDL.
#[allow(non_snake_case, reason = "the WDK's name")]
pub unsafe fn MmGetMdlByteCount(mdl: PMDL) -> ULONG {
    // SAFETY: live by the caller's promise.
    unsafe { (*mdl).ByteCount }
}

/// Offset of the buffer in its first page, bytes. Any IRQL.
///
/// # Safety
/// `mdl` points to a live MDL.
#[allow(non_snake_case, reason = "the WDK's name")]
pub unsafe fn MmGetMdlByteOffset(mdl: PMDL) -> ULONG {
    // SAFETY: live by the caller's promise.
    unsafe { (*mdl).ByteOffset }
}

/// The buffer's virtual address: an index for MapTransfer, not to be dereferenced (DMA-46).
/// Any IRQL.
///
/// # Safety
/// `mdl` points to a live MDL.
#[allow(non_snake_case, reason = "the WDK's name")]
pub unsafe fn MmGetMdlVirtualAddress(mdl: PMDL) -> PVOID {
    // SAFETY: live by the caller's promise.
    let start = unsafe { (*mdl).StartVa };
    // SAFETY: as above.
    let offset = unsafe { (*mdl).ByteOffset };
    // CAST: 32 bits fit a 64-bit usize.
    start.wrapping_byte_add(offset as usize)
}

/// The page frame numbers behind the MDL's header. Any IRQL.
///
/// # Safety
/// `mdl` points to a live MDL whose pages are locked or nonpaged (DMA-99).
#[allow(non_snake_case, reason = "the WDK's name")]
pub unsafe fn MmGetMdlPfnArray(mdl: PMDL) -> *const ULONG_PTR {
    mdl.wrapping_add(1).cast_const().cast()
}

/// The buffer's address in system space, mapped if it is not yet; null if that fails (DMA-106).
/// IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
/// `mdl` points to a live MDL whose pages are locked or nonpaged (DMA-99); calls for one MDL do
/// not overlap.
#[allow(non_snake_case, reason = "the WDK's name")]
pub unsafe fn MmGetSystemAddressForMdlSafe(mdl: PMDL, priority: ULONG) -> PVOID {
    // SAFETY: live by the caller's promise; `MdlFlags` is one of the public members (DMA-102).
    let flags = unsafe { (*mdl).MdlFlags };
    let mapped = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL;
    // CAST: flags are 16 bits, signed in C.
    if u32::from(flags as u16) & mapped != 0 {
        // SAFETY: the flags say that the member holds the address.
        return unsafe { (*mdl).MappedSystemVa };
    }
    // SAFETY: locked pages by the caller's promise; kernel mode does not raise an exception when
    // `BugCheckOnFailure` is FALSE (DMA-106).
    unsafe {
        ntddk::MmMapLockedPagesSpecifyCache(
            mdl,
            _MODE::KernelMode as KPROCESSOR_MODE,
            _MEMORY_CACHING_TYPE::MmCached,
            ptr::null_mut(),
            FALSE,
            priority,
        )
    }
}
