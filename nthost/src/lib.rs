//! A user-mode NT kernel for Windows KMDF drivers.
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
mod io;
mod machine;
mod memory;
mod pnp;
mod status;
pub mod verifier;
mod wdf;

pub use io::{Access, Buffer, Caller, Completion, File, Operation, Pending, Request};
pub use machine::{
    Builder, ChoiceList, Event, FallibleCall, Faults, Machine, NotAChoiceList, NotAPolicy,
    NotFaults, Policy, Profile, Running, Scheduling, Stopped,
};
pub use pnp::{Driver, DriverEntry, Slot};
pub use status::NtStatus;
pub use verifier::RuleId;
