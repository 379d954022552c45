//! Adapter objects and what each one has outstanding.

// UNSAFETY: an adapter's first members are shared with driver code by raw pointer.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use wdk_lite::*;

use super::Handle;
use super::common::Common;
use super::description::Traits;
use super::lists::List;
use super::mapping::Mapping;
use super::registers::RegisterFile;
use super::waiting::{Device, Waiting};
use super::windows::Windows;
use crate::verifier::CallStack;

/// An adapter object. It is never freed while the machine lives, so that its use after
/// PutDmaAdapter is recognised.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Adapter {
    /// What the driver sees.
    public: UnsafeCell<DMA_ADAPTER>,
    table: UnsafeCell<DMA_OPERATIONS>,
    /// Position in the HAL's list.
    pub number: usize,
    /// The device's slot.
    pub slot: usize,
    pub traits: Traits,
    /// NumberOfMapRegisters as the driver was told.
    pub granted: u32,
    pub windows: Windows,
    /// The area of its windows.
    pub area: u32,
    /// How its map registers work.
    pub paging: Paging,
    /// What GetDmaAlignment says, bytes.
    pub alignment: u32,
    /// Whether it was put.
    pub is_put: AtomicBool,
    /// Whether it joined its domain.
    pub joined: AtomicBool,
    /// Where IoGetDmaAdapter was called.
    pub origin: CallStack,
    /// The adapter that its device had before.
    earlier: OnceLock<Handle>,
    pub state: Mutex<State>,
}

// SAFETY: the public members are written before the adapter is shared and only read afterwards;
// everything else is shareable by itself.
unsafe impl Sync for Adapter {}

/// How an adapter's map registers work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paging {
    /// They only count: the device reaches memory behind an offset.
    Direct,
    /// Each has a page that data is copied through.
    Bounced,
    /// Each translates a page's logical address, as NT's and an IOMMU's do. With `bounced_lines`,
    /// cache lines that are mapped in part are copied through a page of the register's.
    Translated { bounced_lines: bool },
}

impl Paging {
    /// Whether every byte is copied.
    pub(super) fn copies_all(self) -> bool {
        self == Self::Bounced
    }
}

/// Who holds the adapter's one channel (DMA-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Free,
    /// AdapterControl runs; the device object it runs for.
    Running {
        grant: usize,
        device: usize,
        /// What it was started for is over already, and freed.
        freed: Freed,
    },
    /// Until FreeAdapterChannel or FreeAdapterObject.
    Held {
        grant: usize,
    },
}

/// What another processor freed while AdapterControl runs, which has to answer accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freed {
    Nothing,
    /// Map registers that the routine keeps: DeallocateObjectKeepRegisters.
    Registers,
    /// The channel that it keeps: KeepObject.
    Channel,
}

/// Map registers granted to the driver.
#[derive(Debug, Default)]
pub(super) struct Grant {
    pub live: bool,
    /// Names it; part of the driver's MapRegisterBase.
    pub serial: u64,
    pub first: u32,
    pub count: u32,
    /// Where the next operation's registers are looked for first.
    pub hint: u32,
    /// Operations mapped and not flushed.
    pub maps: Vec<Mapping>,
    /// Whether some MDL mapped through it was flushed from the CPU's caches as it should.
    pub coherent: bool,
    /// Transfer context of version 3; zero without one.
    pub context: usize,
    /// The device object it was allocated for.
    pub device: Device,
    /// CancelMappedTransfer was called for that context.
    pub cancelled: bool,
    pub origin: CallStack,
}

/// A mapping that ended, kept to explain late accesses of the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    pub operation: u64,
    pub from: u64,
    pub to: u64,
    pub how: Retirement,
    pub origin: CallStack,
}

/// How a range of logical addresses ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retirement {
    /// FlushAdapterBuffers or PutScatterGatherList.
    Flushed,
    /// FreeCommonBuffer.
    Freed,
}

/// Retired ranges remembered.
const REMEMBERED: usize = 64;

/// What changes in an adapter's life.
#[derive(Debug)]
pub(super) struct State {
    /// Where it was put.
    pub released: Option<CallStack>,
    pub file: RegisterFile,
    pub grants: Vec<Grant>,
    pub lists: Vec<List>,
    pub commons: Vec<Common>,
    pub vectors: Vec<super::vectors::Vector>,
    pub common_pages: super::extents::Extents,
    /// Allocations that wait, in order.
    pub waiting: VecDeque<Waiting>,
    pub channel: Channel,
    /// Whether the DPC that serves the waiting is queued.
    pub kicked: bool,
    pub retired: VecDeque<Retired>,
    /// Emptied mappings, so that none is allocated on the transfer path.
    pub spare: Vec<Mapping>,
    /// Memory of lists that GetScatterGatherList made, to be used again.
    pub buffers: Vec<super::list_memory::Buffer>,
}

impl Adapter {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            number,
            slot,
            traits,
            table,
            granted,
            registers,
            windows,
            area,
            paging,
            origin,
        } = parts;
        let alignment = if paging == (Paging::Translated { bounced_lines: false }) {
            // CAST: 64.
            crate::cache::LINE as u32
        } else {
            1
        };
        Self {
            public: UnsafeCell::new(DMA_ADAPTER {
                Version: 1,
                // CAST: 16 bytes.
                Size: size_of::<DMA_ADAPTER>() as u16,
                DmaOperations: std::ptr::null_mut(),
            }),
            table: UnsafeCell::new(table),
            number,
            slot,
            traits,
            granted,
            windows,
            area,
            paging,
            alignment,
            is_put: AtomicBool::new(false),
            joined: AtomicBool::new(false),
            origin,
            earlier: OnceLock::new(),
            state: Mutex::new(State {
                released: None,
                file: RegisterFile::new(registers, paging),
                grants: Vec::with_capacity(8),
                lists: Vec::with_capacity(8),
                commons: Vec::new(),
                vectors: Vec::new(),
                common_pages: super::extents::Extents::new(windows.common_pages),
                waiting: VecDeque::with_capacity(16),
                channel: Channel::Free,
                kicked: false,
                retired: VecDeque::with_capacity(REMEMBERED),
                spare: Vec::with_capacity(16),
                buffers: Vec::with_capacity(8),
            }),
        }
    }

    /// Points the public part to the table: once, before the driver sees it.
    pub(super) fn connect(&self) {
        // SAFETY: nobody else knows the adapter yet.
        unsafe { (*self.public.get()).DmaOperations = self.table.get() };
    }

    /// The adapter that its device had before.
    pub(super) fn earlier(&self) -> Option<Handle> {
        self.earlier.get().copied()
    }

    /// Once, before anybody looks for the device's adapters.
    pub(super) fn set_earlier(&self, earlier: Option<Handle>) {
        if let Some(earlier) = earlier {
            // Nobody has set it before.
            let _ = self.earlier.set(earlier);
        }
    }

    /// What the driver knows the adapter by.
    pub(super) fn pointer(&self) -> PDMA_ADAPTER {
        self.public.get()
    }

    /// Logical address of the first byte of a map register.
    #[inline]
    pub(super) fn register_address(&self, register: u32) -> u64 {
        self.windows.registers + (u64::from(register) << 12)
    }
}

/// What an adapter is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub number: usize,
    pub slot: usize,
    pub traits: Traits,
    pub table: DMA_OPERATIONS,
    pub granted: u32,
    pub registers: u32,
    pub windows: Windows,
    pub area: u32,
    pub paging: Paging,
    pub origin: CallStack,
}

impl State {
    /// Grants `count` map registers in a row.
    pub(super) fn grant(
        &mut self,
        count: u32,
        serial: u64,
        context: usize,
        origin: CallStack,
    ) -> Option<usize> {
        let first = if count == 0 { 0 } else { self.file.extents.take(count)? };
        let index = self.grants.iter().position(|g| !g.live).unwrap_or_else(|| {
            self.grants.push(Grant::default());
            self.grants.len() - 1
        });
        let grant = &mut self.grants[index];
        (grant.live, grant.serial, grant.first, grant.count) = (true, serial, first, count);
        (grant.hint, grant.context, grant.origin) = (first, context, origin);
        (grant.coherent, grant.cancelled) = (false, false);
        Some(index)
    }

    /// Takes granted registers back.
    pub(super) fn revoke(&mut self, index: usize) {
        let grant = &mut self.grants[index];
        grant.live = false;
        let (first, count) = (grant.first, grant.count);
        if count != 0 {
            self.file.extents.give(first, count);
        }
    }

    /// Remembers that a range of logical addresses means nothing any more.
    pub(super) fn retire(&mut self, retired: Retired) {
        if self.retired.len() == REMEMBERED {
            self.retired.pop_front();
        }
        self.retired.push_back(retired);
    }

    /// Whether an allocation by this transfer context is outstanding (DMA-59).
    pub(super) fn uses_context(&self, context: usize) -> bool {
        self.waiting.iter().any(|w| w.transfer == context)
            || self.grants.iter().any(|g| g.live && g.context == context)
            || self.lists.iter().any(|l| l.live && l.context == context)
    }
}

/// A live grant's MapRegisterBase: opaque, never null (DMA-39).
pub(super) fn base_of(index: usize, grant: &Grant) -> PVOID {
    // CAST: few grants live at a time.
    let value = 0x4D00_0000_0000_0000 | (grant.serial << 12 & 0x00FF_FFFF_FFFF_F000) | index as u64;
    std::ptr::without_provenance_mut(value as usize)
}

impl State {
    /// The live grant that a MapRegisterBase names.
    pub(super) fn find_grant(&self, base: PVOID) -> Option<usize> {
        let index = base.addr() & 0xFFF;
        let grant = self.grants.get(index)?;
        (grant.live && base_of(index, grant) == base).then_some(index)
    }
}
