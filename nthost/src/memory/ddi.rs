//! The memory functions a driver calls.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::mdl::{Content, Kind, Mdl};
use super::pages::span;
use super::pool::Wish;
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::verifier::{Violation, broken};

/// Allocates pool, at least 16-byte aligned and zeroed unless asked otherwise (wdm,
/// ExAllocatePool2). NULL without memory, for zero bytes, and without a tag.
pub(crate) unsafe fn ExAllocatePool2(
    kernel: &Kernel,
    Flags: POOL_FLAGS,
    NumberOfBytes: SIZE_T,
    Tag: ULONG,
) -> Result<PVOID, Violation> {
    let Some(size) = usize::try_from(NumberOfBytes).ok().filter(|&n| n != 0 && Tag != 0) else {
        return Ok(std::ptr::null_mut());
    };
    let wish = Wish {
        zeroed: Flags & POOL_FLAG_UNINITIALIZED == 0,
        cache_aligned: Flags & POOL_FLAG_CACHE_ALIGNED != 0,
    };
    Ok(kernel.memory.pool.allocate(size, Tag, wish, context::stack()).cast())
}

/// Frees pool (wdm, ExFreePoolWithTag): once, with its tag (SIM-11), and not while a mapping, a
/// scatter/gather list or a pending allocation lies in it (DMA-100, DMA-80, DMA-59).
pub(crate) unsafe fn ExFreePoolWithTag(
    kernel: &Kernel,
    P: PVOID,
    Tag: ULONG,
) -> Result<(), Violation> {
    if let Some((size, _)) = kernel.memory.pool.size_of(P.addr()) {
        kernel.memory.check_not_mapped(P.addr(), size, "pool was freed")?;
        kernel.hal.check_unused(P.addr(), size)?;
        kernel.memory.forget(kernel, P.addr(), size);
    }
    kernel.memory.pool.free(P.cast(), Tag)
}

/// Allocates an MDL for a range of virtual addresses (wdm, IoAllocateMdl). NULL for an empty
/// range. With an IRP it would become the IRP's; this host takes none (KMDF requests own their
/// MDLs).
pub(crate) unsafe fn IoAllocateMdl(
    kernel: &Kernel,
    VirtualAddress: PVOID,
    Length: ULONG,
    _SecondaryBuffer: BOOLEAN,
    _ChargeQuota: BOOLEAN,
    Irp: PIRP,
) -> Result<PMDL, Violation> {
    if !Irp.is_null() {
        let message = "IoAllocateMdl with an IRP: the framework owns the MDLs of its requests";
        return Err(broken(RuleId::Dma102, message));
    }
    if Length == 0 {
        return Ok(std::ptr::null_mut());
    }
    // CAST: 32 bits.
    let (address, length) = (VirtualAddress.expose_provenance(), Length as usize);
    let mdl = kernel.memory.mdls.take(span(address, length));
    mdl.initialise(address, length, Kind::Driver, context::stack());
    Ok(mdl.pointer())
}

/// The live MDL, which the driver allocated itself.
fn own(kernel: &Kernel, mdl: PMDL, call: &str) -> Result<Mdl, Violation> {
    let found = kernel.memory.usable(mdl, call)?;
    if found.kind() == Kind::Driver {
        return Ok(found);
    }
    Err(broken(RuleId::Dma103, format!("{call} was given an MDL that belongs to a request")))
}

/// Makes an MDL a part of another (DMA-103; wdm, IoBuildPartialMdl): the source is locked, the
/// range lies in it, the target is large enough and not locked itself. Length 0 is the rest.
pub(crate) unsafe fn IoBuildPartialMdl(
    kernel: &Kernel,
    SourceMdl: PMDL,
    TargetMdl: PMDL,
    VirtualAddress: PVOID,
    Length: ULONG,
) -> Result<(), Violation> {
    const CALL: &str = "IoBuildPartialMdl";
    let source = kernel.memory.usable(SourceMdl, CALL)?;
    let target = own(kernel, TargetMdl, CALL)?;
    let refuse = |message: &str| Err(broken(RuleId::Dma103, format!("{CALL}: {message}")));
    if source.content() == Content::Empty {
        return refuse("the source describes no locked pages");
    }
    if matches!(target.content(), Content::Locked { .. } | Content::Nonpaged) {
        return refuse("the target describes locked pages of its own");
    }
    target.check_unmapped("an MDL was rebuilt")?;
    let (start, end) = (source.start(), source.start() + source.byte_count());
    let address = VirtualAddress.addr();
    // CAST: 32 bits.
    let length = if Length == 0 { end.saturating_sub(address) } else { Length as usize };
    if address < start || address > end || length > end - address || length == 0 {
        return refuse("the range does not lie in the source");
    }
    if span(address, length) > target.room() {
        return refuse("the target has too few pages");
    }
    target.become_partial(source, address, length);
    Ok(())
}

/// Frees an MDL the driver allocated (wdm, IoFreeMdl): once, unlocked (DMA-105) and unmapped
/// (DMA-100).
pub(crate) unsafe fn IoFreeMdl(kernel: &Kernel, Mdl: PMDL) -> Result<(), Violation> {
    let mdl = own(kernel, Mdl, "IoFreeMdl")?;
    mdl.check_unmapped("an MDL was freed")?;
    if matches!(mdl.content(), Content::Locked { .. }) {
        let message = "an MDL was freed while its pages were still locked";
        return Err(broken(RuleId::Dma105, message).from(mdl.origin()));
    }
    kernel.memory.empty(kernel, mdl);
    kernel.memory.mdls.give_back(mdl);
    Ok(())
}

/// Describes nonpaged memory (wdm, MmBuildMdlForNonPagedPool). The MDL is neither locked nor
/// partial (DMA-103).
pub(crate) unsafe fn MmBuildMdlForNonPagedPool(
    kernel: &Kernel,
    MemoryDescriptorList: PMDL,
) -> Result<(), Violation> {
    let mdl = own(kernel, MemoryDescriptorList, "MmBuildMdlForNonPagedPool")?;
    match mdl.content() {
        Content::Nonpaged => return Ok(()),
        Content::Empty => {}
        Content::Locked { .. } | Content::Partial { .. } => {
            let message = "MmBuildMdlForNonPagedPool was given a locked or partial MDL";
            return Err(broken(RuleId::Dma103, message).from(mdl.origin()));
        }
    }
    kernel.memory.fill(kernel, mdl, Content::Nonpaged);
    mdl.set_common_buffer(kernel.hal.common_buffer_at(mdl.start(), mdl.byte_count()));
    Ok(())
}

/// The physical address of a byte (wdm, MmGetPhysicalAddress). Harmless by itself; a device that
/// is given it reaches nothing (SIM-01, DMA-24), and the report says where it comes from.
pub(crate) unsafe fn MmGetPhysicalAddress(
    kernel: &Kernel,
    BaseAddress: PVOID,
) -> Result<PHYSICAL_ADDRESS, Violation> {
    let physical = kernel.memory.pages.physical(BaseAddress.addr());
    kernel.memory.ask(physical, context::stack());
    // CAST: the signed view of an address below 2^63.
    Ok(PHYSICAL_ADDRESS { QuadPart: physical as i64 })
}

/// Maps an MDL's pages into system space (DMA-106; wdm, MmMapLockedPagesSpecifyCache): here at
/// their own address. The mapping must not be executable (SEC-12).
pub(crate) unsafe fn MmMapLockedPagesSpecifyCache(
    kernel: &Kernel,
    MemoryDescriptorList: PMDL,
    AccessMode: KPROCESSOR_MODE,
    _CacheType: MEMORY_CACHING_TYPE,
    _RequestedAddress: PVOID,
    _BugCheckOnFailure: ULONG,
    Priority: ULONG,
) -> Result<PVOID, Violation> {
    let mdl = kernel.memory.usable(MemoryDescriptorList, "MmMapLockedPagesSpecifyCache")?;
    if mdl.content() == Content::Empty {
        let message = "an MDL was mapped whose pages are not locked";
        return Err(broken(RuleId::Dma106, message).code(0xC4, [0xB3, 0, 0, 0]));
    }
    // CAST: the mode is a small number.
    if AccessMode != _MODE::KernelMode as i8 {
        return Ok(std::ptr::null_mut());
    }
    if Priority & MdlMappingNoExecute == 0 {
        let message = "an MDL was mapped executable; MdlMappingNoExecute is missing";
        return Err(broken(RuleId::Sec12, message).code(0xC4, [0x2002, 0, 0, 0]));
    }
    mdl.set_mapped(true);
    mdl.open(kernel.device_activity(mdl.slot()));
    Ok(std::ptr::with_exposed_provenance_mut(mdl.start()))
}

/// Locks the pages of an MDL the driver allocated (DMA-105; wdm, MmProbeAndLockPages): not twice,
/// and no partial or nonpaged-pool MDL (DMA-103).
pub(crate) unsafe fn MmProbeAndLockPages(
    kernel: &Kernel,
    MemoryDescriptorList: PMDL,
    _AccessMode: KPROCESSOR_MODE,
    Operation: LOCK_OPERATION,
) -> Result<(), Violation> {
    let mdl = own(kernel, MemoryDescriptorList, "MmProbeAndLockPages")?;
    let (rule, code, what) = match mdl.content() {
        Content::Empty => {
            let write = Operation != _LOCK_OPERATION::IoReadAccess;
            kernel.memory.fill(kernel, mdl, Content::Locked { write });
            return Ok(());
        }
        Content::Locked { .. } => (RuleId::Dma105, 0xB0, "that is locked already"),
        Content::Partial { .. } => (RuleId::Dma103, 0xB4, "that is a part of another"),
        Content::Nonpaged => (RuleId::Dma103, 0xB4, "of nonpaged memory"),
    };
    let message = format!("MmProbeAndLockPages was given an MDL {what}");
    Err(broken(rule, message).code(0xC4, [code, 0, 0, 0]).from(mdl.origin()))
}

/// Unlocks what MmProbeAndLockPages locked (DMA-105; wdm, MmUnlockPages): once, and after the
/// mapping is gone.
pub(crate) unsafe fn MmUnlockPages(
    kernel: &Kernel,
    MemoryDescriptorList: PMDL,
) -> Result<(), Violation> {
    let mdl = own(kernel, MemoryDescriptorList, "MmUnlockPages")?;
    let (rule, code, what) = match mdl.content() {
        Content::Locked { .. } => {
            if let Err(mut found) = mdl.check_unmapped("pages were unlocked") {
                found.rule = RuleId::Dma105;
                return Err(found);
            }
            kernel.memory.empty(kernel, mdl);
            return Ok(());
        }
        Content::Empty => (RuleId::Dma105, 0x7C, "whose pages are not locked"),
        Content::Partial { .. } => (RuleId::Dma103, 0x7D, "that is a part of another"),
        Content::Nonpaged => (RuleId::Dma103, 0x7D, "of nonpaged memory"),
    };
    let message = format!("MmUnlockPages was given an MDL {what}");
    Err(broken(rule, message).code(0xC4, [code, 0, 0, 0]).from(mdl.origin()))
}

/// Takes a system mapping away (wdm, MmUnmapLockedPages): with the address of the mapping, and
/// not that of nonpaged pool.
pub(crate) unsafe fn MmUnmapLockedPages(
    kernel: &Kernel,
    BaseAddress: PVOID,
    MemoryDescriptorList: PMDL,
) -> Result<(), Violation> {
    let mdl = kernel.memory.usable(MemoryDescriptorList, "MmUnmapLockedPages")?;
    // SAFETY: a live MDL of this machine.
    let flags = unsafe { (*mdl.pointer()).MdlFlags } as u32;
    let mapped = flags & MDL_MAPPED_TO_SYSTEM_VA != 0 && flags & MDL_SOURCE_IS_NONPAGED_POOL == 0;
    if !mapped || BaseAddress.addr() != mdl.start() {
        let message = "MmUnmapLockedPages was given an address at which the MDL is not mapped";
        return Err(broken(RuleId::Dma106, message).code(0xC4, [0xB6, 0, 0, 0]));
    }
    mdl.set_mapped(false);
    Ok(())
}
