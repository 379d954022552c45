//! Common buffers (RULES section C).
//!
//! Tags stand right before and behind the bytes the driver asked for; the rest of the last page is
//! filled. They are looked at when the buffer is freed (DMA-25).

// UNSAFETY: common buffers are raw memory shared by driver and device.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, Retired, Retirement, State};
use super::backing::Backing;
use super::flushes::{Flushes, Lack};
use super::{logical, number};
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::memory::mdl::Content;
use crate::memory::{PAGE, PAGE_SHIFT};
use crate::verifier::{CallStack, Violation, broken};

/// A live common buffer.
#[derive(Debug)]
pub(super) struct Common {
    /// Names it.
    pub serial: u64,
    /// Logical address of the first byte.
    pub address: u64,
    /// Bytes asked for.
    pub length: usize,
    /// Address of the first byte for the CPU.
    pub host: usize,
    pub cached: bool,
    /// Whether the processor's cache has it and is not coherent.
    pub incoherent: bool,
    /// What KeFlushIoBuffers was called for (DMA-84, DMA-90).
    pub flushes: Flushes,
    /// A missing or wrong flush was noted.
    pub noted: bool,
    /// First page of the logical window.
    page: u32,
    pages: u32,
    /// `None` for one made from an MDL.
    backing: Option<Backing>,
    origin: CallStack,
}

impl Common {
    /// Bytes of the pages it lies in.
    pub(super) fn span(&self) -> u64 {
        u64::from(self.pages) << PAGE_SHIFT
    }

    /// The bytes among `length` at this offset that the driver asked for: offsets.
    pub(super) fn bytes(&self, offset: usize, length: usize) -> (usize, usize) {
        (offset.min(self.length), (offset + length).min(self.length))
    }

    /// Whether a transfer needs a KeFlushIoBuffers (DMA-90). Version 3 needs none for what
    /// MapTransferEx maps (DMA-88): that is at other addresses. Nobody else flushes for a driver, so
    /// what is lost without a flush is looked at for version 3 too.
    pub(super) fn needs_flush(&self, version: u32) -> bool {
        self.cached && (self.incoherent || version < 3)
    }

    /// What a transfer that uses these bytes lacks of KeFlushIoBuffers, and whether nothing is lost
    /// by it.
    pub(super) fn serve(
        &mut self,
        version: u32,
        bytes: (usize, usize),
        writes: bool,
        transfer: u64,
    ) -> Option<(Lack, bool)> {
        if !self.needs_flush(version) {
            return None;
        }
        let lack = self.flushes.serve(bytes, writes, transfer)?;
        Some((lack, !self.incoherent || lack.is_harmless(writes)))
    }

    /// Where it was allocated.
    pub(super) fn origin(&self) -> CallStack {
        self.origin
    }

    /// DMA-25: nobody wrote outside.
    fn check_tags(&self) -> Result<(), Violation> {
        let stray = self.backing.as_ref().and_then(|backing| backing.stray(self.length));
        let Some((kind, at, place)) = stray else { return Ok(()) };
        let message = format!(
            "the device or the driver wrote {place} a common buffer of {} bytes, at {at:#x}",
            self.length
        );
        // CAST: a length and an address.
        let code = [0x0F, kind, self.length as u64, self.host as u64];
        Err(broken(RuleId::Dma25, message).code(0xE6, code).from(self.origin))
    }
}

/// What a common buffer is to be like.
#[derive(Clone, Copy, Debug)]
struct Wish {
    length: usize,
    cached: bool,
    /// First address behind it, and first address it may have.
    below: u64,
    from: u64,
}

/// Allocates a common buffer: CPU address and logical address.
fn allocate(kernel: &Kernel, adapter: &Adapter, wish: Wish) -> Option<(PVOID, u64)> {
    let origin = context::stack();
    let mut state = adapter.state.lock();
    let pages = u32::try_from(wish.length.div_ceil(PAGE)).ok().filter(|&n| n != 0)?;
    // A page between two buffers belongs to neither.
    let page = state.common_pages.take(pages + 1)?;
    let address = adapter.windows.commons + (u64::from(page) << PAGE_SHIFT);
    let end = address + (u64::from(pages) << PAGE_SHIFT);
    let backing = Backing::new(wish.length).filter(|_| address >= wish.from && end <= wish.below);
    let Some(backing) = backing else {
        state.common_pages.give(page, pages + 1);
        return None;
    };
    let memory = backing.at(PAGE);
    state.commons.push(Common {
        serial: kernel.hal.next_serial(),
        address,
        length: wish.length,
        host: memory.addr(),
        cached: wish.cached,
        incoherent: kernel.options.profile.caches_common_buffer(wish.cached),
        flushes: Flushes::default(),
        noted: false,
        page,
        pages,
        backing: Some(backing),
        origin,
    });
    kernel.memory.add_common(kernel, memory.addr(), pages as usize, wish.cached);
    Some((memory.cast(), address))
}

/// Hands the result to the driver.
fn answer(made: Option<(PVOID, u64)>, LogicalAddress: PPHYSICAL_ADDRESS) -> PVOID {
    let (memory, address) = made.unwrap_or((std::ptr::null_mut(), 0));
    if !memory.is_null() {
        // SAFETY: not null (checked by the callers), and the page promises a valid pointer.
        unsafe { LogicalAddress.write(logical(address)) };
    }
    memory
}

fn check_place(
    LogicalAddress: PPHYSICAL_ADDRESS,
    call: &str,
    rule: RuleId,
) -> Result<(), Violation> {
    if LogicalAddress.is_null() {
        return Err(broken(rule, format!("{call} was given no place for the logical address")));
    }
    Ok(())
}

/// DMA-26: the page about common buffers says for AllocateCommonBuffer, and for no other routine,
/// that a buffer has no more pages than map registers were granted. A request that the machine
/// cannot satisfy is answered with NULL instead.
fn check_budget(adapter: &Adapter, length: usize) -> Result<(), Violation> {
    // CAST: a count of pages.
    let (pages, granted) = (length.div_ceil(PAGE) as u64, u64::from(adapter.granted));
    if pages <= granted {
        return Ok(());
    }
    let message = format!(
        "a common buffer of {pages} pages was asked for; IoGetDmaAdapter granted {granted} map \
         registers"
    );
    Err(broken(RuleId::Dma26, message).code(0xE6, [0x00, 2, pages, granted]))
}

/// An optional bound.
fn bound(address: PPHYSICAL_ADDRESS, otherwise: u64) -> u64 {
    if address.is_null() {
        return otherwise;
    }
    // SAFETY: not null, and the page promises a valid pointer.
    number(unsafe { address.read() })
}

/// Allocates a common buffer (DMA-22; wdm, PALLOCATE_COMMON_BUFFER), cached whatever CacheEnabled
/// says (DMA-27), filled with 0x0F (SEC-08), of no more pages than map registers (DMA-26). NULL
/// without room (DMA-23).
pub(crate) unsafe fn AllocateCommonBuffer(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Length: ULONG,
    LogicalAddress: PPHYSICAL_ADDRESS,
    CacheEnabled: BOOLEAN,
) -> Result<PVOID, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    check_place(LogicalAddress, "AllocateCommonBuffer", RuleId::Dma22)?;
    // CAST: 32 bits.
    let length = Length as usize;
    let wish = Wish { length, cached: CacheEnabled != 0, below: u64::MAX, from: 0 };
    let made = allocate(kernel, adapter, wish);
    if made.is_some() {
        check_budget(adapter, length)?;
    }
    Ok(answer(made, LogicalAddress))
}

/// Allocates a common buffer below an address (DMA-28; wdm, PALLOCATE_COMMON_BUFFER_EX).
pub(crate) unsafe fn AllocateCommonBufferEx(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    MaximumAddress: PPHYSICAL_ADDRESS,
    Length: ULONG,
    LogicalAddress: PPHYSICAL_ADDRESS,
    CacheEnabled: BOOLEAN,
    PreferredNode: NODE_REQUIREMENT,
) -> Result<PVOID, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    check_place(LogicalAddress, "AllocateCommonBufferEx", RuleId::Dma28)?;
    if PreferredNode != 0 && PreferredNode != 0x8000_0000 {
        return Ok(std::ptr::null_mut());
    }
    let below = bound(MaximumAddress, u64::MAX);
    // CAST: 32 bits.
    let length = Length as usize;
    let wish = Wish { length, cached: CacheEnabled != 0, below, from: 0 };
    Ok(answer(allocate(kernel, adapter, wish), LogicalAddress))
}

/// Allocates a common buffer between two addresses (DMA-29; wdm,
/// PALLOCATE_COMMON_BUFFER_WITH_BOUNDS).
pub(crate) unsafe fn AllocateCommonBufferWithBounds(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    MinimumAddress: PPHYSICAL_ADDRESS,
    MaximumAddress: PPHYSICAL_ADDRESS,
    Length: ULONG,
    Flags: ULONG,
    CacheType: *mut MEMORY_CACHING_TYPE,
    _PreferredNode: NODE_REQUIREMENT,
    LogicalAddress: PPHYSICAL_ADDRESS,
) -> Result<PVOID, Violation> {
    const LARGE_PAGE: u32 = 1;
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    check_place(LogicalAddress, "AllocateCommonBufferWithBounds", RuleId::Dma29)?;
    let cached = match CacheType.is_null() {
        true => _MEMORY_CACHING_TYPE::MmCached,
        // SAFETY: not null, and the page promises a valid pointer.
        false => unsafe { CacheType.read() },
    };
    let known = [_MEMORY_CACHING_TYPE::MmCached, _MEMORY_CACHING_TYPE::MmNonCached];
    if Flags & !LARGE_PAGE != 0 || !known.contains(&cached) {
        return Ok(std::ptr::null_mut());
    }
    let wish = Wish {
        // CAST: 32 bits.
        length: Length as usize,
        cached: cached == _MEMORY_CACHING_TYPE::MmCached,
        below: bound(MaximumAddress, u64::MAX),
        from: bound(MinimumAddress, 0),
    };
    Ok(answer(allocate(kernel, adapter, wish), LogicalAddress))
}

/// Allocates a common buffer of a DMA domain. This system has one domain for each device, so the
/// handle must be the adapter's own; otherwise STATUS_NOT_SUPPORTED.
pub(crate) unsafe fn AllocateDomainCommonBuffer(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DomainHandle: HANDLE,
    MaximumAddress: PPHYSICAL_ADDRESS,
    Length: ULONG,
    _Flags: ULONG,
    _CacheType: *mut MEMORY_CACHING_TYPE,
    _PreferredNode: NODE_REQUIREMENT,
    LogicalAddress: PPHYSICAL_ADDRESS,
    VirtualAddress: *mut PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if DomainHandle != super::domains::domain_of(adapter) {
        return Ok(STATUS_NOT_SUPPORTED);
    }
    if LogicalAddress.is_null() || VirtualAddress.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let below = bound(MaximumAddress, u64::MAX);
    // CAST: 32 bits.
    let length = Length as usize;
    let made = allocate(kernel, adapter, Wish { length, cached: true, below, from: 0 });
    let memory = answer(made, LogicalAddress);
    // SAFETY: not null, and the caller promises a valid pointer.
    unsafe { VirtualAddress.write(memory) };
    Ok(if memory.is_null() { STATUS_INSUFFICIENT_RESOURCES } else { STATUS_SUCCESS })
}

/// Frees a common buffer (DMA-30; wdm, PFREE_COMMON_BUFFER): once, with the values of its
/// allocation (DMA-27), its tags intact (DMA-25).
pub(crate) unsafe fn FreeCommonBuffer(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Length: ULONG,
    LogicalAddress: PHYSICAL_ADDRESS,
    VirtualAddress: PVOID,
    CacheEnabled: BOOLEAN,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mut state = adapter.state.lock();
    let host = VirtualAddress.addr();
    let Some(at) = state.commons.iter().position(|common| common.host == host) else {
        let message = "FreeCommonBuffer was given a buffer that this adapter has not allocated";
        return Err(broken(RuleId::Dma30, message).code(0xE6, [0x03, 1, 0, 0]));
    };
    let common = &state.commons[at];
    // CAST: 32 bits.
    let same = common.length == Length as usize && common.address == number(LogicalAddress);
    if !same {
        let message = format!(
            "FreeCommonBuffer was given {Length} bytes at {:#x}; {} at {:#x} were allocated",
            number(LogicalAddress),
            common.length,
            common.address
        );
        return Err(broken(RuleId::Dma30, message).from(common.origin));
    }
    if common.cached != (CacheEnabled != 0) && common.backing.is_some() {
        let message = "FreeCommonBuffer's CacheEnabled is not the allocation's";
        return Err(broken(RuleId::Dma27, message).from(common.origin));
    }
    kernel.memory.check_not_mapped(host, common.length, "a common buffer was freed")?;
    state.free_common(kernel, at, context::stack())
}

impl State {
    /// Frees a common buffer after looking at its tags.
    pub(super) fn free_common(
        &mut self,
        kernel: &Kernel,
        at: usize,
        from: CallStack,
    ) -> Result<(), Violation> {
        let common = self.commons.remove(at);
        if common.backing.is_some() {
            kernel.memory.remove_common(kernel, common.host, common.pages as usize);
        }
        common.check_tags()?;
        self.common_pages.give(common.page, common.pages + 1);
        let to = common.address + common.span();
        let Common { serial: operation, address, .. } = common;
        self.retire(Retired { operation, from: address, to, how: Retirement::Freed, origin: from });
        Ok(())
    }
}

/// Allocates one element of a vector of common buffers; `None` without room.
pub(super) fn allocate_element(
    kernel: &Kernel,
    adapter: &Adapter,
    length: usize,
    cached: bool,
    bounds: (u64, u64),
) -> Option<(PVOID, u64)> {
    let wish = Wish { length, cached, below: bounds.1, from: bounds.0 };
    allocate(kernel, adapter, wish)
}

/// Makes a common buffer of memory that an MDL describes (DMA-31; wdm,
/// PCREATE_COMMON_BUFFER_FROM_MDL): whole pages, one MDL, mapped in system space; contiguous and in
/// reach, unless the IOMMU makes it so.
pub(crate) unsafe fn CreateCommonBufferFromMdl(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    _ExtendedConfigs: PVOID,
    ExtendedConfigsCount: ULONG,
    LogicalAddress: PPHYSICAL_ADDRESS,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mdl = kernel.memory.usable(Mdl, "CreateCommonBufferFromMdl")?;
    if ExtendedConfigsCount != 0 {
        return Ok(STATUS_NOT_SUPPORTED);
    }
    let whole = mdl.start().is_multiple_of(PAGE) && mdl.byte_count().is_multiple_of(PAGE);
    let described = !matches!(mdl.content(), Content::Empty);
    if !whole || !described || !mdl.next().is_null() || LogicalAddress.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let pages = mdl.byte_count() / PAGE;
    let first = mdl.frame(0);
    // CAST: a page of an MDL.
    let contiguous = (1..pages).all(|page| mdl.frame(page) == first + page as u64);
    let reachable = adapter.windows.direct.is_some() && contiguous;
    if !kernel.options.profile.remaps() && !reachable {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let mut state = adapter.state.lock();
    // CAST: pages of less than 4 GiB.
    let pages = pages as u32;
    let Some(page) = state.common_pages.take(pages + 1) else {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    };
    let address = adapter.windows.commons + (u64::from(page) << PAGE_SHIFT);
    state.commons.push(Common {
        serial: kernel.hal.next_serial(),
        address,
        length: mdl.byte_count(),
        host: mdl.start(),
        cached: false,
        incoherent: false,
        flushes: Flushes::default(),
        noted: false,
        page,
        pages,
        backing: None,
        origin: context::stack(),
    });
    // SAFETY: not null, and the page promises a valid pointer.
    unsafe { LogicalAddress.write(logical(address)) };
    Ok(STATUS_SUCCESS)
}

impl super::Hal {
    /// The common buffer that holds these bytes of process memory: adapter and number.
    pub(crate) fn common_buffer_at(&self, start: usize, length: usize) -> Option<(usize, u64)> {
        let count = self.adapters.read().len();
        (0..count).filter_map(|number| self.adapter_at(number)).find_map(|adapter| {
            let state = adapter.state.lock();
            let within = |c: &&Common| c.host <= start && start + length <= c.host + c.length;
            state.commons.iter().find(within).map(|common| (adapter.number, common.serial))
        })
    }

    /// KeFlushIoBuffers was called for bytes of a common buffer that an MDL describes (DMA-84,
    /// DMA-90).
    pub(super) fn common_buffer_flushed(
        &self,
        (adapter, serial): (usize, u64),
        (start, length): (usize, usize),
        read: bool,
        number: u64,
    ) {
        let Some(adapter) = self.adapter_at(adapter) else { return };
        let mut state = adapter.state.lock();
        // In the order of their names.
        if let Ok(at) = state.commons.binary_search_by_key(&serial, |common| common.serial) {
            let common = &mut state.commons[at];
            let bytes = common.bytes(start.saturating_sub(common.host), length);
            common.flushes.called(bytes, read, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(length: usize) -> Common {
        let backing = Backing::new(length).expect("there is memory");
        Common {
            serial: 1,
            address: 0,
            length,
            host: backing.at(PAGE).addr(),
            cached: true,
            incoherent: false,
            flushes: Flushes::default(),
            noted: false,
            page: 0,
            pages: 1,
            backing: Some(backing),
            origin: CallStack::default(),
        }
    }

    fn poke(common: &Common, offset: usize) {
        let place = common.backing.as_ref().expect("it has one").at(offset);
        // SAFETY: within the allocation.
        unsafe { place.write(0) };
    }

    #[test]
    fn writes_outside_a_common_buffer_are_found() {
        for (length, offset, kind) in
            [(100, PAGE - 1, 1), (100, PAGE + 100, 2), (PAGE, 2 * PAGE, 2), (100, 2 * PAGE - 1, 2)]
        {
            let common = common(length);
            common.check_tags().expect("nobody wrote yet");

            poke(&common, offset);

            let found = common.check_tags().expect_err("a tag is destroyed");
            assert_eq!(found.rule, RuleId::Dma25);
            assert_eq!(found.bug_check.expect("it has a code").parameters[1], kind);
        }
    }

    #[test]
    fn writes_inside_are_free() {
        let common = common(100);
        (0..100).for_each(|byte| poke(&common, PAGE + byte));
        common.check_tags().expect("the tags are intact");
    }
}
