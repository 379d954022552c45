//! A user-mode NT kernel for Windows drivers, KMDF and WDM.
//!
//! A [`Machine`] is built from a [`Profile`], devices are plugged in, a driver is loaded, files
//! are opened on its device interface and requests sent, as on Windows. The machine simulates
//! processors, interrupt request levels, memory, a PCI bus, the HAL's DMA adapters, the I/O and
//! PnP managers and the Kernel-Mode Driver Framework, and its [`verifier`] names every rule the
//! driver breaks.
//!
//! Behaviour follows the public documentation and the public KMDF sources, not any driver.
#![warn(missing_debug_implementations)]

mod bus;
mod ddi;
pub mod explore;
mod hal;
#[cfg_attr(all(target_os = "linux", target_arch = "x86_64"), path = "image/mod.rs")]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), path = "image/elsewhere.rs")]
mod image;
mod image_error;
mod io;
mod machine;
mod memory;
mod pnp;
mod status;
mod trace_event;
pub mod verifier;
mod wdf;
mod wdm;

pub use ddi::log::{Crossing, Value, Way};
pub use ddi::{Calls, Deed, Forgery, Sabotage};
pub use image::Image;
pub use image_error::{ImageError, LoadError};
/// What the cache model of a machine that is not coherent tells, see [`Machine::cache_steps`].
pub mod cache {
    pub use crate::memory::cache::log::{
        Cause, FIFO, LINE, LineState, Loss, Lost, Moment, POISON, Place, Step,
    };
}

pub use io::{Access, Buffer, Caller, Completion, File, Operation, Pending, Request};
pub use machine::{
    Builder, ChoiceList, FallibleCall, Faults, Machine, NotAChoiceList, NotAPolicy, NotFaults,
    Policy, Profile, Running, Scheduling, Stopped, SystemDma,
};
pub use pnp::{Driver, DriverEntry, Slot};
pub use status::NtStatus;
pub use trace_event::TraceEvent;
pub use verifier::RuleId;
pub use wdm::{Control, NamedFile};
