//! The table of all objects of one machine, and their tree.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use wdk_lite::{NTSTATUS, STATUS_DELETE_PENDING, STATUS_INSUFFICIENT_RESOURCES};

use super::context::Owners;
use super::slot::{Slot, State};
use super::{Attributes, Handle, Kind, Payload};
use crate::verifier::CallStack;

/// Slots of a chunk.
const CHUNK: usize = 256;
/// Chunks of the table; together they stay below the twenty bits of a handle.
const CHUNKS: usize = 1024;

type Chunk = [OnceLock<Slot>; CHUNK];

/// All framework objects of a machine.
#[derive(Debug)]
pub(crate) struct Objects {
    chunks: Box<[OnceLock<Box<Chunk>>]>,
    used: AtomicU32,
    /// Slots without an object, by kind.
    free: [Mutex<Vec<u32>>; Kind::COUNT],
    /// Guards all [`Links`](super::slot::Links).
    tree: Mutex<()>,
    pub(super) owners: Owners,
    /// Disposals and destructions that wait for PASSIVE_LEVEL.
    pub(super) deferred: AtomicUsize,
}

/// The tree is locked while this lives.
pub(super) struct Tree<'a> {
    objects: &'a Objects,
    _lock: MutexGuard<'a, ()>,
}

impl Objects {
    pub(crate) fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            used: AtomicU32::new(0),
            free: std::array::from_fn(|_| Mutex::new(Vec::new())),
            tree: Mutex::new(()),
            owners: Owners::default(),
            deferred: AtomicUsize::new(0),
        }
    }

    #[inline]
    fn at(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get()?[index % CHUNK].get()
    }

    /// The slot of a live object.
    #[inline]
    pub(super) fn slot(&self, handle: Handle) -> Option<&Slot> {
        self.at(handle.slot()?).filter(|slot| slot.is_generation(handle.generation()))
    }

    /// The slot whose context block starts at this address, if an object lives in it.
    pub(super) fn slot_of_block(&self, block: usize) -> Option<&Slot> {
        self.at(self.owners.slot(block)?)
    }

    fn fresh<T: Payload>(&self) -> Option<&Slot> {
        let recycled = self.free[T::KIND as usize].lock().pop();
        if let Some(slot) = recycled.and_then(|index| self.at(index)) {
            slot.body().reset();
            return Some(slot);
        }
        let index = self.used.fetch_add(1, Ordering::Relaxed);
        let chunk = self.chunks.get(index as usize / CHUNK)?;
        let chunk = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        Some(chunk[index as usize % CHUNK].get_or_init(|| Slot::new::<T>(index)))
    }

    /// Makes an object.
    pub(super) fn create<T: Payload>(
        &self,
        parent: Option<Handle>,
        attributes: &Attributes,
    ) -> Result<(Handle, &T), NTSTATUS> {
        let slot = self.fresh::<T>().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let payload = slot.payload().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let (cleanup, destroy) = (attributes.cleanup, attributes.destroy);
        let block = slot.contexts.begin(attributes.context, cleanup, destroy);
        if let Some((block, true)) = block {
            self.owners.insert(block, slot.index);
        }
        let handle = slot.begin(parent, attributes);
        if let Some(parent) = parent {
            let linked = self.tree().link(parent, slot);
            if !linked {
                slot.contexts.suppress();
                self.recycle(slot);
                return Err(STATUS_DELETE_PENDING);
            }
        }
        Ok((handle, payload))
    }

    /// Gives a slot back whose object is gone.
    pub(super) fn recycle(&self, slot: &Slot) {
        slot.end();
        slot.contexts.end(|block| self.owners.remove(block));
        self.free[slot.kind as usize].lock().push(slot.index);
    }

    /// Locks the tree.
    pub(super) fn tree(&self) -> Tree<'_> {
        Tree { objects: self, _lock: self.tree.lock() }
    }

    /// Every object that exists.
    pub(super) fn live(&self) -> Vec<(Kind, CallStack)> {
        let used = self.used.load(Ordering::Acquire);
        let slots = (0..used).filter_map(|index| self.at(index));
        let live = slots.filter(|slot| slot.handle().is_some());
        live.map(|slot| (slot.kind, slot.origin())).collect()
    }
}

impl<'a> Tree<'a> {
    fn linked(&self, link: &AtomicU32) -> Option<&'a Slot> {
        self.objects.at(link.load(Ordering::Relaxed).checked_sub(1)?)
    }

    /// Appends a child; `false` if the parent is gone or being deleted.
    fn link(&self, parent: Handle, child: &Slot) -> bool {
        let parent = self.objects.slot(parent).filter(|parent| parent.state() == State::Live);
        let Some(parent) = parent else { return false };
        let me = child.index + 1;
        let last = self.linked(&parent.links.last);
        child.links.previous.store(last.map_or(0, |last| last.index + 1), Ordering::Relaxed);
        child.links.next.store(0, Ordering::Relaxed);
        let before = last.map_or(&parent.links.first, |last| &last.links.next);
        before.store(me, Ordering::Relaxed);
        parent.links.last.store(me, Ordering::Relaxed);
        true
    }

    /// Takes a child out of its parent's list.
    pub(super) fn unlink(&self, parent: &Slot, child: &Slot) {
        let next = self.linked(&child.links.next);
        let previous = self.linked(&child.links.previous);
        let to_next = child.links.next.swap(0, Ordering::Relaxed);
        let to_previous = child.links.previous.swap(0, Ordering::Relaxed);
        let after = next.map_or(&parent.links.last, |next| &next.links.previous);
        after.store(to_previous, Ordering::Relaxed);
        let before = previous.map_or(&parent.links.first, |previous| &previous.links.next);
        before.store(to_next, Ordering::Relaxed);
    }

    /// The first child.
    pub(super) fn first(&self, parent: &Slot) -> Option<&'a Slot> {
        self.linked(&parent.links.first)
    }

    /// The sibling after this one.
    pub(super) fn next(&self, child: &Slot) -> Option<&'a Slot> {
        self.linked(&child.links.next)
    }
}
