//! Memory descriptor lists with what the kernel knows about them privately.
//!
//! Each MDL is the middle of a [`Block`]: private state in front, the page frame numbers behind.
//! Blocks are kept by size and never returned to the allocator while the machine lives, so that a
//! pointer to a freed MDL stays readable and is recognised.

// UNSAFETY: MDLs are shared with driver code by raw pointer.

mod owner;
mod programmed;
mod skipped;

pub(crate) use programmed::Activity;
pub(crate) use skipped::Skipped;

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use wdk_lite::*;

use super::cache::flush::{CacheFlush, Flushed};
use super::pages::{PAGE, PAGE_SHIFT, span};
use crate::RuleId;
use crate::verifier::{CallStack, Violation, broken};

/// Who made an MDL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody: it was freed, or released with its request.
    #[default]
    Free,
    /// The I/O manager, for a request.
    Request,
    /// The driver, with IoAllocateMdl.
    Driver,
}

/// What an MDL describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing yet: its pages are neither locked nor known.
    #[default]
    Empty,
    /// Locked pages, probed for writing or for reading only.
    Locked { write: bool },
    /// Nonpaged memory.
    Nonpaged,
    /// A part of another MDL, which must outlive it.
    Partial { source: Mdl, generation: u64 },
}

impl Content {
    /// Whether a device may write the pages (DMA-104).
    pub(crate) fn is_writable(self) -> bool {
        match self {
            Self::Locked { write } => write,
            Self::Partial { source, .. } => source.content().is_writable(),
            Self::Nonpaged | Self::Empty => true,
        }
    }
}

/// An operation that was flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// The first MDL of its chain; offset and length from there.
    pub head: Option<Mdl>,
    pub offset: usize,
    pub length: usize,
    /// Where it was mapped.
    pub origin: CallStack,
}

impl Operation {
    /// Whether it moves all that `other` was to move.
    fn repeats(&self, other: Self) -> bool {
        self.head == other.head
            && self.offset <= other.offset
            && other.offset + other.length <= self.offset + self.length
    }
}

/// Private state of an MDL.
#[derive(Debug, Default)]
struct State {
    kind: Kind,
    /// What it was before it was freed.
    was: Kind,
    content: Content,
    /// Moves with each release, so that a partial MDL notices that its source is gone.
    generation: u64,
    /// The header as the kernel left it.
    header: Option<MDL>,
    /// Pages it was allocated for.
    room: usize,
    mappings: u32,
    mapped_at: CallStack,
    builds: u32,
    build_at: CallStack,
    origin: CallStack,
    /// The chain as the I/O manager made it.
    next: usize,
    flush: CacheFlush,
    /// The operation whose data did not arrive (DMA-55).
    lost: Option<Operation>,
    /// The common buffer it describes: adapter and number.
    common: Option<(usize, u64)>,
    /// The memory that it describes was freed.
    freed: bool,
    /// The driver has, or had, a system address of it.
    reached: bool,
    /// The slot of the device whose request it belongs to.
    slot: Option<usize>,
    /// Bytes read from that device's registers when the processor was given its system address, if
    /// neither DMA nor a PIO flush came since.
    opened: Option<u64>,
    /// Bus-master writes when it was locked.
    mastered: u64,
    /// What a device left alone in a list (DMA-77), and a digest.
    skipped: Option<(Skipped, u64)>,
}

/// Memory of an MDL: the page frame numbers follow.
#[repr(C, align(16))]
pub(super) struct Block {
    state: Mutex<State>,
    class: u32,
    /// Address of the first byte.
    start: AtomicUsize,
    mdl: std::cell::UnsafeCell<MDL>,
}

impl Block {
    /// A block with room for `1 << class` frames behind it.
    pub(super) fn new(class: u32) -> Self {
        Self {
            state: Mutex::default(),
            class,
            start: AtomicUsize::new(0),
            // SAFETY: integers and pointers, for which all zeros are values.
            mdl: std::cell::UnsafeCell::new(unsafe { std::mem::zeroed() }),
        }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("class", &self.class).finish_non_exhaustive()
    }
}

/// An MDL of this machine. Blocks live as long as the machine, so a handle never dangles within
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mdl(NonNull<Block>);

// SAFETY: the block's state is behind a lock; its header and frames are plain memory that driver
// and host access through raw pointers only, and the block is freed with the machine.
unsafe impl Send for Mdl {}
// SAFETY: as above.
unsafe impl Sync for Mdl {}

/// Flags the kernel sets and the driver may not change.
const FLAGS: u32 = MDL_MAPPED_TO_SYSTEM_VA
    | MDL_PAGES_LOCKED
    | MDL_SOURCE_IS_NONPAGED_POOL
    | MDL_PARTIAL
    | MDL_PARTIAL_HAS_BEEN_MAPPED
    | MDL_WRITE_OPERATION;

impl Mdl {
    fn block(&self) -> &Block {
        // SAFETY: blocks live as long as the machine (see the type).
        unsafe { self.0.as_ref() }
    }

    /// The MDL in a block.
    pub(super) fn of(block: NonNull<Block>) -> Self {
        Self(block)
    }

    /// Its memory.
    pub(super) fn memory(self) -> NonNull<Block> {
        self.0
    }

    /// Its size class.
    pub(super) fn class(self) -> u32 {
        self.block().class
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.block().state.lock()
    }

    /// The address the driver knows.
    pub(crate) fn pointer(self) -> PMDL {
        // SAFETY: a field of a live block; no reference is made.
        unsafe { &raw mut (*self.0.as_ptr()).mdl }.cast()
    }

    fn header(self) -> MDL {
        // SAFETY: the header lies in a live block and is always initialised; the driver may write
        // it at the same time only against DMA-102.
        unsafe { self.pointer().read() }
    }

    fn set_header(self, state: &mut State, header: MDL) {
        state.header = Some(header);
        // SAFETY: as for reading.
        unsafe { self.pointer().write(header) };
    }

    fn update(self, state: &mut State, change: impl FnOnce(&mut MDL)) {
        let mut header = self.header();
        change(&mut header);
        self.set_header(state, header);
    }

    fn frames(self) -> *mut PFN_NUMBER {
        // SAFETY: the frames begin right behind the header, in the same allocation.
        unsafe { self.pointer().add(1) }.cast()
    }

    /// The frame of a page of the buffer.
    #[inline]
    pub(crate) fn frame(self, page: usize) -> u64 {
        debug_assert!(page < 1 << self.block().class);
        let frame = self.frames().wrapping_add(page);
        // SAFETY: within the block: callers stay within the byte count it was sized for.
        unsafe { frame.read() }
    }

    /// Writes the frame of a page.
    #[inline]
    pub(super) fn set_frame(self, page: usize, frame: u64) {
        debug_assert!(page < 1 << self.block().class);
        let place = self.frames().wrapping_add(page);
        // SAFETY: within the block, as for reading.
        unsafe { place.write(frame) }
    }

    /// Starts the life of an MDL for `length` bytes at `address`.
    pub(super) fn initialise(self, address: usize, length: usize, kind: Kind, origin: CallStack) {
        let mut state = self.state();
        let generation = state.generation;
        let room = span(address, length);
        *state = State { kind, generation, room, origin, ..State::default() };
        self.block().start.store(address, Ordering::Relaxed);
        let size = size_of::<MDL>() + room * size_of::<PFN_NUMBER>();
        let header = MDL {
            Next: ptr::null_mut(),
            Size: i16::try_from(size).unwrap_or(i16::MAX),
            MdlFlags: 0,
            Process: ptr::null_mut(),
            MappedSystemVa: ptr::null_mut(),
            StartVa: ptr::with_exposed_provenance_mut(address & !(PAGE - 1)),
            // CAST: an MDL describes less than 4 GiB.
            ByteCount: length as u32,
            // CAST: below a page.
            ByteOffset: (address % PAGE) as u32,
        };
        self.set_header(&mut state, header);
    }

    /// Nobody owns it any more.
    pub(super) fn become_free(self) {
        let mut state = self.state();
        state.was = state.kind;
        state.kind = Kind::Free;
        state.generation += 1;
    }

    /// Its pages are locked, or known to be nonpaged.
    pub(super) fn become_filled(self, content: Content) {
        let mut state = self.state();
        state.content = content;
        state.freed = false;
        let start = self.start();
        self.update(&mut state, |header| match content {
            Content::Locked { write } => {
                let writable = if write { MDL_WRITE_OPERATION } else { 0 };
                // CAST: flags of 16 bits.
                header.MdlFlags |= (MDL_PAGES_LOCKED | writable) as i16;
            }
            _ => {
                // CAST: flags of 16 bits.
                header.MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL as i16;
                header.MappedSystemVa = ptr::with_exposed_provenance_mut(start);
            }
        });
    }

    /// Its pages are locked no more; `false` if it had none of its own.
    pub(super) fn become_empty(self) -> bool {
        let mut state = self.state();
        let own = matches!(state.content, Content::Locked { .. } | Content::Nonpaged);
        state.content = Content::Empty;
        self.update(&mut state, |header| {
            // CAST: flags of 16 bits.
            header.MdlFlags &= !(FLAGS as i16);
            header.MappedSystemVa = ptr::null_mut();
        });
        own
    }

    /// Makes it a part of `source`: `length` bytes at `address`.
    pub(super) fn become_partial(self, source: Self, address: usize, length: usize) {
        let (source_start, generation, source_header, common) = {
            let state = source.state();
            (source.start(), state.generation, source.header(), state.common)
        };
        let first = (address >> PAGE_SHIFT) - (source_start >> PAGE_SHIFT);
        for page in 0..span(address, length) {
            self.set_frame(page, source.frame(first + page));
        }
        let mut state = self.state();
        state.content = Content::Partial { source, generation };
        self.block().start.store(address, Ordering::Relaxed);
        state.flush = CacheFlush::default();
        state.common = common;
        // CAST: flags of 16 bits.
        let kept = (MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA) as i16;
        self.update(&mut state, |header| {
            // CAST: flags of 16 bits.
            header.MdlFlags = source_header.MdlFlags & kept | MDL_PARTIAL as i16;
            header.StartVa = ptr::with_exposed_provenance_mut(address & !(PAGE - 1));
            // CAST: an MDL describes less than 4 GiB.
            header.ByteCount = length as u32;
            // CAST: below a page.
            header.ByteOffset = (address % PAGE) as u32;
            if source_header.MdlFlags & kept != 0 {
                header.MappedSystemVa = ptr::with_exposed_provenance_mut(address);
            }
        });
    }

    /// Maps it into system space or takes the mapping away; the address is the process's own.
    pub(super) fn set_mapped(self, mapped: bool) {
        if mapped {
            self.reach();
        }
        let mut state = self.state();
        let start = self.start();
        let partial = matches!(state.content, Content::Partial { .. });
        self.update(&mut state, |header| {
            let partly = if partial { MDL_PARTIAL_HAS_BEEN_MAPPED } else { 0 };
            // CAST: flags of 16 bits.
            let flags = (MDL_MAPPED_TO_SYSTEM_VA | partly) as i16;
            header.MdlFlags =
                if mapped { header.MdlFlags | flags } else { header.MdlFlags & !flags };
            header.MappedSystemVa =
                ptr::with_exposed_provenance_mut(if mapped { start } else { 0 });
        });
    }

    /// Links the chain.
    pub(super) fn set_next(self, next: PMDL) {
        let mut state = self.state();
        state.next = next.expose_provenance();
        self.update(&mut state, |header| header.Next = next);
    }

    /// The next MDL as the I/O manager linked it.
    pub(super) fn recorded_next(self) -> PMDL {
        ptr::with_exposed_provenance_mut(self.state().next)
    }

    /// The next MDL as the header says now.
    pub(crate) fn next(self) -> PMDL {
        self.header().Next
    }

    /// Address of the first byte (an index into the MDL, DMA-46).
    #[inline]
    pub(crate) fn start(self) -> usize {
        self.block().start.load(Ordering::Relaxed)
    }

    /// Bytes described.
    #[inline]
    pub(crate) fn byte_count(self) -> usize {
        // CAST: 32 bits.
        self.header().ByteCount as usize
    }

    /// First page number and number of pages.
    pub(super) fn page_range(self) -> (usize, usize) {
        let state = self.state();
        let length = state.header.map_or(0, |header| header.ByteCount as usize);
        (self.start() >> PAGE_SHIFT, span(self.start(), length))
    }

    /// Pages it was allocated for.
    pub(super) fn room(self) -> usize {
        self.state().room
    }

    /// What it describes.
    pub(crate) fn content(self) -> Content {
        self.state().content
    }

    pub(super) fn kind(self) -> Kind {
        self.state().kind
    }

    /// Where it was allocated.
    pub(super) fn origin(self) -> CallStack {
        self.state().origin
    }

    /// Whether nobody owns it.
    pub(crate) fn is_free(self) -> bool {
        self.state().kind == Kind::Free
    }

    /// Moves with each release.
    pub(crate) fn generation(self) -> u64 {
        self.state().generation
    }

    /// The common buffer it describes.
    pub(crate) fn common_buffer(self) -> Option<(usize, u64)> {
        self.state().common
    }

    /// Remembers the common buffer it describes.
    pub(super) fn set_common_buffer(self, common: Option<(usize, u64)>) {
        self.state().common = common;
    }

    pub(super) fn check_usable(self, call: &str) -> Result<Content, Violation> {
        let state = self.state();
        let (Some(expected), false) = (state.header, state.kind == Kind::Free) else {
            let (rule, what) = match state.was {
                Kind::Request => (RuleId::Dma101, "an MDL whose request was completed"),
                _ => (RuleId::Sim11, "an MDL that was freed"),
            };
            return Err(broken(rule, format!("{call} was given {what}")).from(state.origin));
        };
        let found = self.header();
        if (found.MdlFlags ^ expected.MdlFlags) & FLAGS as i16 != 0 {
            let (is, was) = (found.MdlFlags, expected.MdlFlags);
            let message =
                format!("{call}: the MDL's flags were changed from {was:#06x} to {is:#06x}");
            return Err(broken(RuleId::Dma99, message).from(state.origin));
        }
        let same = found.StartVa.addr() == expected.StartVa.addr()
            && (found.ByteCount, found.ByteOffset) == (expected.ByteCount, expected.ByteOffset);
        if !same {
            let message =
                format!("{call}: the MDL's header was changed by something not the kernel");
            return Err(broken(RuleId::Dma102, message).from(state.origin));
        }
        let content = state.content;
        if let Content::Partial { source, generation } = content {
            drop(state);
            self.check_source(source, generation, call)?;
        }
        Ok(content)
    }

    fn check_source(self, source: Self, generation: u64, call: &str) -> Result<(), Violation> {
        if source.generation() == generation {
            return Ok(());
        }
        let message = format!("{call} was given a partial MDL whose source is gone");
        Err(broken(RuleId::Dma103, message).from(self.origin()))
    }

    pub(super) fn check_unmapped(self, deed: &str) -> Result<(), Violation> {
        let state = self.state();
        if state.mappings != 0 {
            let message = format!("{deed} while its buffer was still mapped for DMA");
            let code = [0x0D, u64::from(expected_bytes(&state)), 0, 0];
            return Err(broken(RuleId::Dma100, message).code(0xE6, code).from(state.mapped_at));
        }
        if state.builds != 0 {
            let message =
                format!("{deed} while a scatter/gather list was still being built for it");
            return Err(broken(RuleId::Sim12, message).from(state.build_at));
        }
        Ok(())
    }

    /// A mapping names it from now on.
    pub(crate) fn begin_mapping(self, origin: CallStack) {
        if let Content::Partial { source, .. } = self.content() {
            source.begin_mapping(origin);
        }
        let mut state = self.state();
        (state.opened, state.skipped) = (None, None);
        state.mappings += 1;
        state.mapped_at = origin;
    }

    /// That mapping is gone.
    pub(crate) fn end_mapping(self) {
        if let Content::Partial { source, .. } = self.content() {
            source.end_mapping();
        }
        let mut state = self.state();
        state.mappings = state.mappings.saturating_sub(1);
    }

    /// A pending list build names it from now on.
    pub(crate) fn begin_build(self, origin: CallStack) {
        if let Content::Partial { source, .. } = self.content() {
            source.begin_build(origin);
        }
        let mut state = self.state();
        state.opened = None;
        state.builds += 1;
        state.build_at = origin;
    }

    /// That build is done or withdrawn.
    pub(crate) fn end_build(self) {
        if let Content::Partial { source, .. } = self.content() {
            source.end_build();
        }
        let mut state = self.state();
        state.builds = state.builds.saturating_sub(1);
    }

    /// KeFlushIoBuffers was called for it; `idle` as for [`CacheFlush::called`].
    pub(crate) fn cache_flushed(self, read: bool, dma: bool, idle: Option<u64>) {
        let mut state = self.state();
        state.flush = CacheFlush::called(read, dma, idle);
        if read && !dma {
            state.opened = None;
        }
    }

    /// Bytes `from..to` are mapped now, after so many requests: was KeFlushIoBuffers called for that?
    pub(crate) fn use_cache_flush(
        self,
        (from, to): (usize, usize),
        to_device: bool,
        requests: u64,
    ) -> Flushed {
        let (own, content) = {
            let mut state = self.state();
            (state.flush.consume((from, to), to_device, requests), state.content)
        };
        match content {
            // The whole may have been flushed instead of this part of it.
            Content::Partial { source, .. } if matches!(own, Flushed::Never | Flushed::UsedUp) => {
                let shift = self.start() - source.start();
                match source.use_cache_flush((from + shift, to + shift), to_device, requests) {
                    Flushed::Never => own,
                    other => other,
                }
            }
            _ => own,
        }
    }

    /// Whether KeFlushIoBuffers was called for DMA although version 3 maps it now (DMA-88); once.
    pub(crate) fn take_unused_cache_flush(self) -> bool {
        let (own, content) = {
            let mut state = self.state();
            (state.flush.take_unused(), state.content)
        };
        match content {
            Content::Partial { source, .. } => source.take_unused_cache_flush() || own,
            _ => own,
        }
    }

    /// An operation on it was flushed: remembers that its data did not arrive, or that a
    /// repetition of the operation did better (DMA-55).
    pub(crate) fn flushed(self, operation: Operation, arrived: bool) {
        if let Content::Partial { source, .. } = self.content() {
            source.flushed(operation, arrived);
        }
        let mut state = self.state();
        if !arrived {
            state.lost = Some(operation);
        } else if state.lost.is_some_and(|lost| operation.repeats(lost)) {
            state.lost = None;
        }
    }

    /// DMA-55: the data of its last operations arrived.
    pub(super) fn check_arrived(self) -> Result<(), Violation> {
        let Some(lost) = self.state().lost else { return Ok(()) };
        let message = "a request was completed with success although a flush had said that its \
                       data did not arrive";
        Err(broken(RuleId::Dma55, message).from(lost.origin))
    }
}

fn expected_bytes(state: &State) -> u32 {
    state.header.map_or(0, |header| header.ByteCount)
}
