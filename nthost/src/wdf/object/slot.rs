//! One slot of the object table.

// UNSAFETY: a payload is found by the type that its slot was made for.

use std::any::TypeId;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::context::Contexts;
use super::{Attributes, Body, Handle, Kind, Payload};
use crate::verifier::CallStack;

/// How far an object's deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// In use.
    Live,
    /// Deleted, or a parent of it is; its cleanup has not run.
    Disposing,
    /// Its cleanup has run.
    Disposed,
}

/// Links of the tree: slot numbers plus one, so that zero is "none". The table's tree lock guards
/// them; they are atomic only so that a slot can be shared.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub first: AtomicU32,
    pub last: AtomicU32,
    pub next: AtomicU32,
    pub previous: AtomicU32,
}

/// A place for objects of one kind, one after the other.
pub(super) struct Slot {
    pub index: u32,
    pub kind: Kind,
    /// The payload's type: here, so that a look at it calls nothing.
    payload: TypeId,
    /// Odd while an object lives here.
    generation: AtomicU32,
    state: AtomicU8,
    references: AtomicU32,
    /// Disposed and destroyed at PASSIVE_LEVEL only.
    passive: AtomicBool,
    passive_callbacks: AtomicBool,
    parent: AtomicU64,
    pub links: Links,
    pub contexts: Contexts,
    origin: Mutex<CallStack>,
    body: Box<dyn Body>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("index", &self.index)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Slot {
    pub(super) fn new<T: Payload>(index: u32) -> Self {
        Self {
            index,
            kind: T::KIND,
            payload: TypeId::of::<T>(),
            generation: AtomicU32::new(0),
            state: AtomicU8::new(State::Disposed as u8),
            references: AtomicU32::new(0),
            passive: AtomicBool::new(false),
            passive_callbacks: AtomicBool::new(false),
            parent: AtomicU64::new(0),
            links: Links::default(),
            contexts: Contexts::default(),
            origin: Mutex::new(CallStack::default()),
            body: Box::new(T::default()),
        }
    }

    /// The payload, if it is of this type.
    #[inline]
    pub(super) fn payload<T: Payload>(&self) -> Option<&T> {
        if self.payload != TypeId::of::<T>() {
            return None;
        }
        let body: *const dyn Body = self.body.as_ref();
        // SAFETY: `new` made the body of this type, as just checked, and the slot keeps it as long as
        // it lives.
        Some(unsafe { &*body.cast::<T>() })
    }

    pub(super) fn body(&self) -> &dyn Body {
        self.body.as_ref()
    }

    /// The handle of the object that lives here; `None` if none does.
    pub(super) fn handle(&self) -> Option<Handle> {
        let generation = self.generation.load(Ordering::Acquire);
        (generation % 2 == 1).then(|| Handle::new(self.index, generation))
    }

    /// Whether the object of this generation lives here.
    #[inline]
    pub(super) fn is_generation(&self, generation: u32) -> bool {
        generation % 2 == 1 && self.generation.load(Ordering::Acquire) == generation
    }

    /// A free slot becomes an object with one reference.
    pub(super) fn begin(&self, parent: Option<Handle>, attributes: &Attributes) -> Handle {
        let explicit = attributes.is_explicitly_passive();
        self.passive.store(self.kind.is_passive() || explicit, Ordering::Relaxed);
        let callbacks = self.kind.has_passive_callbacks() || explicit;
        self.passive_callbacks.store(callbacks, Ordering::Relaxed);
        self.parent.store(parent.map_or(0, Handle::bits), Ordering::Relaxed);
        self.references.store(1, Ordering::Relaxed);
        self.state.store(State::Live as u8, Ordering::Relaxed);
        if !matches!(self.kind, Kind::Request | Kind::File) {
            *self.origin.lock() = crate::machine::context::stack();
        }
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.generation.store(generation, Ordering::Release);
        Handle::new(self.index, generation)
    }

    /// The object is gone; handles of it are stale from here on.
    pub(super) fn end(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn parent(&self) -> Option<Handle> {
        Handle::from_bits(self.parent.load(Ordering::Relaxed))
    }

    pub(super) fn origin(&self) -> CallStack {
        *self.origin.lock()
    }

    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Live,
            1 => State::Disposing,
            _ => State::Disposed,
        }
    }

    /// Moves from one state to the next; `false` if the object is in another one.
    pub(super) fn advance(&self, from: State, to: State) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.state.compare_exchange(from as u8, to as u8, order.0, order.1).is_ok()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.state() != State::Live
    }

    pub(super) fn is_passive(&self) -> bool {
        self.passive.load(Ordering::Relaxed)
    }

    /// See [`Wdf::has_passive_callbacks`](crate::wdf::Wdf::has_passive_callbacks).
    pub(super) fn has_passive_callbacks(&self) -> bool {
        self.passive_callbacks.load(Ordering::Relaxed)
    }

    pub(super) fn set_passive_callbacks(&self) {
        self.passive_callbacks.store(true, Ordering::Relaxed);
    }

    pub(super) fn reference(&self) {
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn references(&self) -> u32 {
        self.references.load(Ordering::Acquire)
    }

    /// Drops a reference; `true` if it was the last one.
    pub(super) fn release(&self) -> bool {
        self.references.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether it has children; exact under the tree's lock, and for an object that nobody else
    /// knows any more.
    pub(super) fn has_children(&self) -> bool {
        self.links.first.load(Ordering::Acquire) != 0
    }

    pub(super) fn suppress(&self) {
        self.contexts.suppress();
    }
}
