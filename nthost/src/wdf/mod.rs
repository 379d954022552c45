//! The Kernel-Mode Driver Framework.

pub(crate) mod device;
pub(crate) mod file;
pub(crate) mod helpers;
pub(crate) mod interrupt;
pub(crate) mod object;
pub(crate) mod queue;
pub(crate) mod request;

/// Where the implementations of the KMDF functions live.
pub(crate) mod ddi {
    pub(crate) use super::device::ddi::*;
    pub(crate) use super::file::ddi::*;
    pub(crate) use super::helpers::ddi::*;
    pub(crate) use super::interrupt::ddi::*;
    pub(crate) use super::object::ddi::*;
    pub(crate) use super::queue::ddi::*;
    pub(crate) use super::request::ddi::*;
}

use device::init::Inits;
use object::{Handle, Objects};

/// The framework's state in one machine.
#[derive(Debug)]
pub(crate) struct Wdf {
    objects: Objects,
    inits: Inits,
    /// The WDFDRIVER of the driver loaded last.
    driver: device::HandleCell,
}

impl Wdf {
    pub(crate) fn new() -> Self {
        Self {
            objects: Objects::new(),
            inits: Inits::default(),
            driver: device::HandleCell::default(),
        }
    }

    /// A driver was unloaded; `newest` is the one loaded last of those left.
    pub(crate) fn forget_driver(&self, newest: Option<Handle>) {
        self.driver.set(newest);
    }

    /// The WDFDRIVER of the driver loaded last, the default parent of most objects.
    pub(crate) fn driver(&self) -> Option<Handle> {
        self.driver.get()
    }
}
