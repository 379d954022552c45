//! Pool, MDLs, physical addresses.

use core::ptr;

use wdk_dma::ddk;
use wdk_lite::*;

use crate::check::Checks;

/// "DmPc" in a debugger.
const TAG: ULONG = u32::from_le_bytes(*b"DmPc");
const PAGE: usize = PAGE_SIZE as usize;

/// Runs `body` on pool of a size; a failed allocation fails a check.
fn with_pool(checks: &mut Checks, bytes: usize, body: impl FnOnce(&mut Checks, *mut u8)) {
    // CAST: widening.
    // SAFETY: a valid request, at PASSIVE_LEVEL.
    let pool = unsafe { ntddk::ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes as SIZE_T, TAG) };
    checks.holds(!pool.is_null());
    if pool.is_null() {
        return;
    }
    body(checks, pool.cast());
    // SAFETY: allocated above with this tag, and not used any more.
    unsafe { ntddk::ExFreePoolWithTag(pool, TAG) };
}

/// Runs `body` on an MDL for a range.
fn with_mdl(
    checks: &mut Checks,
    address: *mut u8,
    length: usize,
    body: impl FnOnce(&mut Checks, PMDL),
) {
    // CAST: small lengths.
    // SAFETY: no IRP; the range need not be valid yet.
    let mdl = unsafe {
        ntddk::IoAllocateMdl(
            address.cast(),
            length as u32,
            FALSE as BOOLEAN,
            FALSE as BOOLEAN,
            ptr::null_mut(),
        )
    };
    checks.holds(!mdl.is_null());
    if mdl.is_null() {
        return;
    }
    body(checks, mdl);
    // SAFETY: allocated above, without locked pages.
    unsafe { ntddk::IoFreeMdl(mdl) };
}

/// Without POOL_FLAG_UNINITIALIZED every byte is zero, also where others have just been.
pub(crate) fn zeroed_pool(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    const BYTES: usize = 256;
    for _ in 0..4 {
        with_pool(checks, BYTES, |checks, pool| {
            // SAFETY: this many bytes of pool.
            let bytes = unsafe { core::slice::from_raw_parts_mut(pool, BYTES) };
            checks.holds(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(0xA5);
            // Pool is aligned to 16 bytes at least.
            checks.same((pool.addr() % 16) as u64, 0);
        });
    }
}

/// An allocation of a page or more begins at one.
pub(crate) fn page(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    for bytes in [PAGE, PAGE + 1, 3 * PAGE] {
        with_pool(checks, bytes, |checks, pool| {
            checks.same((pool.addr() % PAGE) as u64, 0);
        });
    }
}

/// Offset and length of an MDL are those of the buffer, and its page is where the buffer begins.
pub(crate) fn describes(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    with_pool(checks, 3 * PAGE, |checks, pool| {
        for (offset, length) in [(0, 1), (5, PAGE), (PAGE - 1, 2), (16, 2 * PAGE)] {
            let address = pool.wrapping_add(offset);
            with_mdl(checks, address, length, |checks, mdl| {
                // CAST: small lengths.
                // SAFETY: a live MDL.
                checks.same(unsafe { ddk::MmGetMdlByteCount(mdl) }.into(), length as u64);
                // SAFETY: as above.
                let start = unsafe { ddk::MmGetMdlByteOffset(mdl) };
                checks.same(start.into(), (address.addr() % PAGE) as u64);
                // SAFETY: as above.
                let virtual_address = unsafe { ddk::MmGetMdlVirtualAddress(mdl) };
                checks.same(virtual_address.addr() as u64, address.addr() as u64);
                // SAFETY: as above: one that was allocated alone has no successor.
                checks.holds(unsafe { (*mdl).Next }.is_null());
            });
        }
    });
}

/// MmBuildMdlForNonPagedPool says in the MDL that its pages are in nonpaged pool, so that the
/// system address is the buffer's own.
pub(crate) fn nonpaged(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    with_pool(checks, PAGE, |checks, pool| {
        let address = pool.wrapping_add(24);
        with_mdl(checks, address, 100, |checks, mdl| {
            // SAFETY: an MDL of nonpaged pool.
            unsafe { ntddk::MmBuildMdlForNonPagedPool(mdl) };
            // SAFETY: a live MDL. CAST: the bits of its flags.
            let flags = u32::from(unsafe { (*mdl).MdlFlags } as u16);
            checks.holds(flags & MDL_SOURCE_IS_NONPAGED_POOL != 0);
            // SAFETY: an MDL of nonpaged pool.
            let system = unsafe {
                // CAST: a priority.
                ddk::MmGetSystemAddressForMdlSafe(
                    mdl,
                    _MM_PAGE_PRIORITY::NormalPagePriority as u32 | MdlMappingNoExecute,
                )
            };
            checks.same(system.addr() as u64, address.addr() as u64);
        });
    });
}

/// With a length of zero a partial MDL reaches to the end of the source.
pub(crate) fn partial(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    with_pool(checks, 2 * PAGE, |checks, pool| {
        with_mdl(checks, pool, 2 * PAGE, |checks, source| {
            // SAFETY: an MDL of nonpaged pool.
            unsafe { ntddk::MmBuildMdlForNonPagedPool(source) };
            let (offset, length) = (100, 2 * PAGE - 100);
            let address = pool.wrapping_add(offset);
            with_mdl(checks, address, length, |checks, target| {
                // SAFETY: a target that is large enough, and a part of the source's range.
                unsafe { ntddk::IoBuildPartialMdl(source, target, address.cast(), 0) };
                // SAFETY: a live MDL. CAST: a small length.
                checks.same(unsafe { ddk::MmGetMdlByteCount(target) }.into(), length as u64);
                // SAFETY: as above.
                let start = unsafe { ddk::MmGetMdlVirtualAddress(target) };
                checks.same(start.addr() as u64, address.addr() as u64);
                // SAFETY: as above. CAST: the bits of its flags.
                let flags = u32::from(unsafe { (*target).MdlFlags } as u16);
                checks.holds(flags & MDL_PARTIAL != 0);
            });
        });
    });
}

/// A physical address has the offset in its page of the virtual one, and is the page's that the
/// MDL names.
pub(crate) fn physical(checks: &mut Checks, _driver: PDRIVER_OBJECT) {
    with_pool(checks, 2 * PAGE, |checks, pool| {
        with_mdl(checks, pool, 2 * PAGE, |checks, mdl| {
            // SAFETY: an MDL of nonpaged pool.
            unsafe { ntddk::MmBuildMdlForNonPagedPool(mdl) };
            for offset in [0, 1, PAGE - 1, PAGE, PAGE + 77] {
                // SAFETY: valid, nonpaged memory.
                let physical =
                    unsafe { ntddk::MmGetPhysicalAddress(pool.wrapping_add(offset).cast()) };
                // SAFETY: both views are integers. CAST: the bits of an address.
                let physical = unsafe { physical.QuadPart } as u64;
                // SAFETY: built above.
                let frames = unsafe { ddk::MmGetMdlPfnArray(mdl) };
                // SAFETY: the range has two pages.
                let frame = unsafe { frames.wrapping_add(offset / PAGE).read() };
                checks.same(physical, frame << PAGE_SHIFT | (offset % PAGE) as u64);
            }
        });
    });
}
