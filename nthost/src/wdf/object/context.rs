//! Context blocks of one slot.
//!
//! A block stays with its slot when the object dies: the next object of the slot with a context
//! of at most that size uses it again, zeroed. In between it holds a pattern, so that a driver
//! that still reads it does not see what it hopes for.

// UNSAFETY: blocks are raw memory that the driver reads and writes.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use parking_lot::Mutex;
use wdk_lite::{PCWDF_OBJECT_CONTEXT_TYPE_INFO, WDF_OBJECT_CONTEXT_TYPE_INFO};

use super::Handle;
use super::attributes::ContextType;
use crate::ddi::callback::Routine;

/// What a freed context is filled with.
const FREED: u8 = 0xFD;

/// Memory for one context: 16-aligned, at least 16 bytes.
#[derive(Debug)]
pub(super) struct Block {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: plain memory; the slot's lock orders who frees it.
unsafe impl Send for Block {}
// SAFETY: as above; a shared block only gives out its address.
unsafe impl Sync for Block {}

impl Block {
    fn new(size: usize) -> Self {
        let size = size.max(1).next_multiple_of(16);
        let layout = Layout::from_size_align(size, 16).expect("a context of some bytes");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start, layout }
    }

    fn fill(&self, byte: u8) {
        // SAFETY: the block is live and this long; no Rust reference to its bytes exists.
        unsafe { ptr::write_bytes(self.start, byte, self.layout.size()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.start, self.layout) }
    }
}

/// One context with its callbacks; without a type it carries callbacks only.
#[derive(Debug, Default)]
struct Context {
    key: usize,
    block: Option<Block>,
    cleanup: Routine,
    destroy: Routine,
}

/// Which of a context's callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Cleanup,
    Destroy,
}

/// The contexts of one slot, the one from the object's creation first.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    /// Type and address of the first context, for look-ups without a lock.
    key: AtomicPtr<WDF_OBJECT_CONTEXT_TYPE_INFO>,
    start: AtomicPtr<u8>,
    /// Whether there is more than one.
    several: AtomicBool,
    /// Whether any context has a callback.
    callbacks: AtomicBool,
    all: Mutex<Vec<Context>>,
}

/// What [`Contexts::add`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    New(*mut u8),
    Exists(*mut u8),
}

impl Contexts {
    /// Sets up the first context of a new object. Returns the block's address and whether that is
    /// new to the slot.
    pub(super) fn begin(
        &self,
        context: Option<ContextType>,
        cleanup: Routine,
        destroy: Routine,
    ) -> Option<(usize, bool)> {
        let mut all = self.all.lock();
        if all.is_empty() {
            all.push(Context::default());
        }
        let first = &mut all[0];
        (first.cleanup, first.destroy) = (cleanup, destroy);
        self.callbacks.store(cleanup.is_some() || destroy.is_some(), Ordering::Release);
        let Some(context) = context else {
            self.key.store(ptr::null_mut(), Ordering::Relaxed);
            return None;
        };
        let fits = first.block.as_ref().is_some_and(|block| block.layout.size() >= context.size);
        if let Some(block) = first.block.as_ref().filter(|_| fits) {
            block.fill(0);
        } else {
            first.block = Some(Block::new(context.size));
        }
        first.key = context.key.addr();
        let start = first.block.as_ref().map_or(ptr::null_mut(), |block| block.start);
        self.key.store(context.key.cast_mut(), Ordering::Relaxed);
        self.start.store(start, Ordering::Release);
        Some((start.addr(), !fits))
    }

    /// Adds a context to an existing object, unless it has one of this type.
    pub(super) fn add(&self, context: ContextType, cleanup: Routine, destroy: Routine) -> Added {
        let mut all = self.all.lock();
        let key = context.key.addr();
        let known = all.iter().filter(|known| known.key == key).find_map(|c| c.block.as_ref());
        if let Some(block) = known {
            return Added::Exists(block.start);
        }
        let block = Block::new(context.size);
        let start = block.start;
        all.push(Context { key, block: Some(block), cleanup, destroy });
        self.several.store(true, Ordering::Release);
        if cleanup.is_some() || destroy.is_some() {
            self.callbacks.store(true, Ordering::Release);
        }
        Added::New(start)
    }

    /// The context of this type.
    ///
    /// # Safety
    /// `info` is NULL or valid for reading.
    #[inline]
    pub(super) unsafe fn find(&self, info: PCWDF_OBJECT_CONTEXT_TYPE_INFO) -> Option<*mut u8> {
        if info.is_null() {
            return None;
        }
        if self.key.load(Ordering::Relaxed).cast_const() == info {
            return Some(self.start.load(Ordering::Acquire));
        }
        // SAFETY: the caller vouches for it.
        let unique = unsafe { (*info).UniqueType };
        self.find_key(if unique.is_null() { info } else { unique })
    }

    fn find_key(&self, key: PCWDF_OBJECT_CONTEXT_TYPE_INFO) -> Option<*mut u8> {
        if self.key.load(Ordering::Relaxed).cast_const() == key {
            return Some(self.start.load(Ordering::Acquire));
        }
        if !self.several.load(Ordering::Acquire) {
            return None;
        }
        let all = self.all.lock();
        all.iter().skip(1).find(|c| c.key == key.addr())?.block.as_ref().map(|block| block.start)
    }

    /// Whether there is anything to call.
    pub(super) fn has_callbacks(&self) -> bool {
        self.callbacks.load(Ordering::Acquire)
    }

    /// The routine to call for the context at `index`; `None` past the last one.
    pub(super) fn routine(&self, index: usize, call: Call) -> Option<Routine> {
        let all = self.all.lock();
        let context = all.get(index)?;
        Some(if call == Call::Cleanup { context.cleanup } else { context.destroy })
    }

    /// Forgets the callbacks.
    pub(super) fn suppress(&self) {
        self.callbacks.store(false, Ordering::Release);
        for context in self.all.lock().iter_mut() {
            (context.cleanup, context.destroy) = (Routine::default(), Routine::default());
        }
    }

    /// The object is gone. Returns the addresses of blocks that go with it, through `freed`.
    pub(super) fn end(&self, mut freed: impl FnMut(usize)) {
        self.key.store(ptr::null_mut(), Ordering::Relaxed);
        self.several.store(false, Ordering::Relaxed);
        let mut all = self.all.lock();
        let first = all.len().min(1);
        for context in all.drain(first..) {
            freed(context.block.as_ref().map_or(0, |block| block.start.addr()));
        }
        if let Some(first) = all.first_mut() {
            first.key = 0;
            if let Some(block) = &first.block {
                block.fill(FREED);
            }
        }
    }
}

/// Which slot a block belongs to, by the block's address.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<std::collections::HashMap<usize, u32>>);

impl Owners {
    pub(super) fn insert(&self, block: usize, slot: u32) {
        self.0.lock().insert(block, slot);
    }

    pub(super) fn remove(&self, block: usize) {
        self.0.lock().remove(&block);
    }

    pub(super) fn slot(&self, block: usize) -> Option<u32> {
        self.0.lock().get(&block).copied()
    }
}

/// A type info for tests: context of `size` bytes.
#[cfg(test)]
pub(super) fn type_info(size: usize) -> &'static WDF_OBJECT_CONTEXT_TYPE_INFO {
    Box::leak(Box::new(WDF_OBJECT_CONTEXT_TYPE_INFO {
        // CAST: 40 bytes.
        Size: size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() as u32,
        ContextName: c"TEST_CONTEXT".as_ptr().cast(),
        ContextSize: size,
        ..WDF_OBJECT_CONTEXT_TYPE_INFO::default()
    }))
}

const _: () = assert!(size_of::<Handle>() == size_of::<usize>());
