//! Framework objects: handles, attributes, contexts, the tree, and how objects end.
//!
//! Objects live in slots of a chunked table that only grows. A slot keeps its memory (payload and
//! context block) when its object dies and is used again for an object of the same kind; the
//! generation in the handle tells the objects apart. Looking a handle up takes no lock.

// UNSAFETY: context blocks are raw memory handed to the driver, attributes are read from its
// pointers.

mod attributes;
mod context;
pub(crate) mod ddi;
mod dispose;
mod slot;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use attributes::{AttributeRules, Attributes, ParentRule, null_parameter};
pub(crate) use table::Objects;

use wdk_lite::NTSTATUS;

use super::Wdf;
use crate::RuleId;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Driver,
    Device,
    Queue,
    Request,
    File,
    Interrupt,
    SpinLock,
    Timer,
    Dpc,
    WorkItem,
    ResourceList,
    DmaEnabler,
    Plain,
}

impl Kind {
    /// How many there are.
    const COUNT: usize = Self::Plain as usize + 1;

    /// The handle type's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Driver => "WDFDRIVER",
            Self::Device => "WDFDEVICE",
            Self::Queue => "WDFQUEUE",
            Self::Request => "WDFREQUEST",
            Self::File => "WDFFILEOBJECT",
            Self::Interrupt => "WDFINTERRUPT",
            Self::SpinLock => "WDFSPINLOCK",
            Self::Timer => "WDFTIMER",
            Self::Dpc => "WDFDPC",
            Self::WorkItem => "WDFWORKITEM",
            Self::ResourceList => "WDFCMRESLIST",
            Self::DmaEnabler => "WDFDMAENABLER",
            Self::Plain => "WDFOBJECT",
        }
    }

    /// Whether such objects are disposed and destroyed at PASSIVE_LEVEL only.
    const fn is_passive(self) -> bool {
        matches!(
            self,
            Self::Driver
                | Self::Device
                | Self::Queue
                | Self::Timer
                | Self::Dpc
                | Self::Interrupt
                | Self::WorkItem
        )
    }

    /// Whether such objects count as "passive callbacks" for automatic serialisation whatever
    /// their attributes say.
    const fn has_passive_callbacks(self) -> bool {
        matches!(self, Self::Driver | Self::WorkItem)
    }
}

/// A framework object: its slot and the slot's generation. Given to drivers as a pointer value
/// with nothing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle(u64);

impl Handle {
    /// Bits 63..56 of every handle: no valid address of either half looks like this.
    const MARK: u64 = 0xFD << 56;

    fn new(slot: u32, generation: u32) -> Self {
        Self(Self::MARK | u64::from(generation) << 24 | u64::from(slot) << 4)
    }

    /// The value the driver holds.
    #[inline]
    pub(crate) fn raw<T>(self) -> *mut T {
        // CAST: a 64-bit machine; nothing is behind this address.
        std::ptr::without_provenance_mut(self.0 as usize)
    }

    /// The bits, for [`Handle::from_bits`].
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The handle with these bits; it may name nothing.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    #[inline]
    fn slot(self) -> Option<u32> {
        // CAST: twenty bits.
        (self.0 & (0xFF << 56 | 0xF) == Self::MARK).then_some((self.0 >> 4) as u32 & 0xF_FFFF)
    }

    #[inline]
    fn generation(self) -> u32 {
        // CAST: the bits between mark and slot.
        (self.0 >> 24) as u32
    }
}

/// What an object of one kind consists of besides its header.
pub(crate) trait Payload: Default + Send + Sync + 'static {
    /// The kind; no other payload type has it.
    const KIND: Kind;

    /// The slot is used again: back to the default state. May keep what it has allocated.
    fn reset(&self) {}

    /// The kind's own part of disposal: after the children's disposal and before the object's
    /// cleanup callbacks, at the level those run at.
    fn dispose(&self, _kernel: &Kernel, _handle: Handle) {}
}

/// [`Payload`] as the table keeps it.
trait Body: Send + Sync {
    fn reset(&self);
    fn dispose(&self, kernel: &Kernel, handle: Handle);
}

impl<T: Payload> Body for T {
    fn reset(&self) {
        Payload::reset(self);
    }

    fn dispose(&self, kernel: &Kernel, handle: Handle) {
        Payload::dispose(self, kernel, handle);
    }
}

/// A WDFOBJECT of WdfObjectCreate: nothing but contexts.
#[derive(Debug, Default)]
pub(crate) struct Plain;

impl Payload for Plain {
    const KIND: Kind = Kind::Plain;
}

impl Wdf {
    /// Makes an object: child of the attributes' parent, else of `parent`; without either it
    /// stands alone.
    ///
    /// # Errors
    /// STATUS_DELETE_PENDING when the parent is being deleted; STATUS_INSUFFICIENT_RESOURCES
    /// when the table is full.
    pub(crate) fn create<T: Payload>(
        &self,
        kernel: &Kernel,
        parent: Option<Handle>,
        attributes: &Attributes,
    ) -> Result<(Handle, &T), NTSTATUS> {
        let _ = kernel;
        self.objects.create(attributes.parent.or(parent), attributes)
    }

    /// The object a driver's handle names.
    ///
    /// # Errors
    /// The 0x10D/5 violation for a handle that is NULL, stale or of another kind.
    #[inline]
    pub(crate) fn get<T: Payload>(&self, raw: *mut impl Sized) -> Result<(Handle, &T), Violation> {
        let found = Handle::from_bits(raw.addr() as u64)
            .and_then(|handle| Some((handle, self.payload::<T>(handle)?)));
        found.ok_or_else(|| self.bad_handle(raw.addr() as u64, Some(T::KIND)))
    }

    /// The object of any kind that a driver's handle names.
    ///
    /// # Errors
    /// As [`Wdf::get`].
    pub(crate) fn any(&self, raw: *mut impl Sized) -> Result<(Handle, Kind), Violation> {
        let found = Handle::from_bits(raw.addr() as u64)
            .and_then(|handle| Some((handle, self.kind(handle)?)));
        found.ok_or_else(|| self.bad_handle(raw.addr() as u64, None))
    }

    /// The payload behind a handle, if that object (still) exists and is of this kind.
    #[inline]
    pub(crate) fn payload<T: Payload>(&self, handle: Handle) -> Option<&T> {
        self.objects.slot(handle)?.payload()
    }

    /// What a handle names, if it names anything.
    pub(crate) fn kind(&self, handle: Handle) -> Option<Kind> {
        Some(self.objects.slot(handle)?.kind)
    }

    /// The object's parent.
    pub(crate) fn parent(&self, handle: Handle) -> Option<Handle> {
        self.objects.slot(handle)?.parent()
    }

    /// The object itself if it is of `kind`, else the nearest such object above it.
    pub(crate) fn ancestor(&self, handle: Handle, kind: Kind) -> Option<Handle> {
        let mut at = Some(handle);
        while let Some(handle) = at {
            if self.kind(handle)? == kind {
                return Some(handle);
            }
            at = self.parent(handle);
        }
        None
    }

    /// Whether the object is being deleted, or is deleted and only references keep it.
    pub(crate) fn is_deleted(&self, handle: Handle) -> bool {
        self.objects.slot(handle).is_none_or(slot::Slot::is_deleted)
    }

    /// Adds a reference.
    pub(crate) fn reference(&self, handle: Handle) {
        if let Some(slot) = self.objects.slot(handle) {
            slot.reference();
        }
    }

    /// No cleanup or destroy callback will be called for this object.
    pub(crate) fn suppress_callbacks(&self, handle: Handle) {
        if let Some(slot) = self.objects.slot(handle) {
            slot.suppress();
        }
    }

    /// The object's context of this type; `None` without one.
    ///
    /// # Safety
    /// `info` is NULL or a type info that is valid for reading.
    #[inline]
    pub(crate) unsafe fn context_of(
        &self,
        handle: Handle,
        info: wdk_lite::PCWDF_OBJECT_CONTEXT_TYPE_INFO,
    ) -> Option<*mut u8> {
        // SAFETY: passed on.
        self.objects.slot(handle).and_then(|slot| unsafe { slot.contexts.find(info) })
    }

    /// Every object that exists, with where it was made.
    pub(crate) fn survivors(&self) -> Vec<(Kind, crate::verifier::CallStack)> {
        self.objects.live()
    }

    #[cold]
    fn bad_handle(&self, bits: u64, wanted: Option<Kind>) -> Violation {
        let wanted = wanted.map_or("framework object", Kind::name);
        let is = Handle::from_bits(bits).map(|handle| (self.kind(handle), handle.slot()));
        let message = match is {
            None => format!("a NULL handle was passed where a {wanted} is needed"),
            Some((Some(kind), _)) => {
                format!("a {} was passed where a {wanted} is needed", kind.name())
            }
            Some((None, Some(_))) => {
                format!("{bits:#x} is a handle of an object that is gone; a {wanted} is needed")
            }
            Some((None, None)) => format!("{bits:#x} is no handle; a {wanted} is needed"),
        };
        broken(RuleId::Sim11, message).code(0x10D, [5, bits, 0, 0])
    }
}
