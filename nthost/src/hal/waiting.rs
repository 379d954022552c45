//! Allocations of channels, map registers and lists that wait for their turn.

use wdk_lite::*;

use crate::ddi::callback::Routine;
use crate::memory::mdl::Mdl;
use crate::verifier::CallStack;

/// A pointer of the driver's that is only handed back to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opaque(pub PVOID);

// SAFETY: an address that the HAL never follows.
unsafe impl Send for Opaque {}

/// A device object, which the HAL never follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device(pub PDEVICE_OBJECT);

// SAFETY: an address that the HAL never follows.
unsafe impl Send for Device {}

impl Default for Device {
    fn default() -> Self {
        Self(std::ptr::null_mut())
    }
}

/// An allocation that waits or is being served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// AdapterControl or AdapterListControl.
    pub routine: Routine,
    pub context: Opaque,
    pub device: Device,
    /// Map registers wanted.
    pub registers: u32,
    /// Transfer context of version 3; zero without one.
    pub transfer: usize,
    /// The list to be built; `None` for a channel.
    pub build: Option<Build>,
    pub origin: CallStack,
}

/// A scatter/gather list that is to be built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Build {
    pub mdl: Mdl,
    pub offset: usize,
    pub length: usize,
    pub to_device: bool,
    /// The driver's buffer; null if the HAL provides one.
    pub buffer: Opaque,
    pub buffer_length: u32,
}
