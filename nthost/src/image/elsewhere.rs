//! Systems on which driver images do not run: the types are there, and every attempt says so.

use std::path::Path;

use wdk_lite::{DMA_OPERATIONS, PDRIVER_OBJECT};

use crate::ddi::callback::Routine;
use crate::image_error::ImageError;
use crate::trace_event::TraceEvent;
use crate::verifier::CallStack;
use crate::wdf::object::Handle;

/// A driver image; none can be opened on this system.
#[derive(Clone, Debug)]
pub struct Image(Never);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Never {}

impl Image {
    /// Images run on 64-bit x86 Linux only.
    ///
    /// # Errors
    /// [`ImageError::System`], always.
    pub const fn open(_path: &Path) -> Result<Self, ImageError> {
        Err(ImageError::System)
    }

    /// As [`Image::open`].
    ///
    /// # Errors
    /// [`ImageError::System`], always.
    pub const fn from_bytes(_name: &str, _bytes: &[u8]) -> Result<Self, ImageError> {
        Err(ImageError::System)
    }

    /// The image's file name.
    #[must_use]
    pub const fn name(&self) -> &str {
        match self.0 {}
    }

    /// The imports that nthost does not have.
    #[must_use]
    pub const fn missing_imports(&self) -> Vec<String> {
        match self.0 {}
    }
}

/// The image of a machine: none.
#[derive(Debug)]
pub(crate) struct Instance(Never);

impl Instance {
    pub(crate) const fn entry(&self) -> Routine {
        match self.0 {}
    }

    pub(crate) const fn object(&self) -> PDRIVER_OBJECT {
        match self.0 {}
    }

    pub(crate) const fn unload_routine(&self) -> Routine {
        match self.0 {}
    }

    pub(crate) const fn discard(&self) -> Result<(), String> {
        match self.0 {}
    }

    pub(crate) const fn refusal(&self) -> Option<String> {
        match self.0 {}
    }
}

/// A machine's place for an image: always empty.
#[derive(Debug, Default)]
pub(crate) struct Slot;

impl Slot {
    /// Nothing is loaded.
    pub(crate) const fn instance(&self) -> Option<&Instance> {
        None
    }

    /// See [`Instance`].
    pub(crate) const fn load(&self, image: &Image) -> Result<&Instance, String> {
        match image.0 {}
    }

    /// A hosted driver needs nothing more.
    pub(crate) const fn driver_created(&self, _framework: Handle) {}

    /// Nothing was written.
    pub(crate) const fn trace_events(&self) -> Vec<TraceEvent> {
        Vec::new()
    }

    /// There is nothing to forget.
    pub(crate) const fn clear(&self) {}

    /// A hosted driver's table is right as it is.
    pub(crate) const fn adapt(&self, _table: &mut DMA_OPERATIONS) {}
}

/// There is no image to walk in.
pub(crate) const fn walk(instance: &Instance, _frame: usize, _bottom: usize) -> Option<CallStack> {
    match instance.0 {}
}

pub(crate) mod symbols {
    //! Names of places in images.

    /// No address is an image's.
    pub(crate) const fn places(_address: usize) -> Option<Vec<String>> {
        None
    }
}
