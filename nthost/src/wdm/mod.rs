//! WDM drivers: device objects, IRPs in their real shape, device stacks, interrupts.
//!
//! A driver that makes no WDFDRIVER is one of these: it fills in its driver object and works on
//! device objects and IRPs itself. What it shares with KMDF drivers (DMA adapters, MDLs, memory,
//! DPCs, events) is elsewhere. Plug and play sends it START, QUERY_REMOVE, SURPRISE_REMOVAL and
//! REMOVE; power IRPs and stops are not sent.

// UNSAFETY: the objects here are shared with the driver by address.

pub(crate) mod ddi;
mod device;
mod driver;
mod file;
mod interrupt;
mod irp;
mod names;
mod pnp;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64};

use parking_lot::Mutex;

pub(crate) use driver::is_wdm;
pub use file::{Control, NamedFile};

use crate::verifier::{Violation, broken};
use crate::{NtStatus, RuleId};

/// What a machine keeps of its WDM drivers.
#[derive(Debug, Default)]
pub(crate) struct Wdm {
    drivers: Mutex<Vec<Box<driver::Object>>>,
    devices: Mutex<Vec<Box<device::Object>>>,
    names: Mutex<names::Names>,
    stacks: Mutex<Vec<pnp::Stack>>,
    interrupts: Mutex<Vec<Option<Arc<interrupt::Connected>>>>,
    packets: irp::Pool,
    /// The system's one cancel spin lock, and the level its holder returns to.
    cancel: AtomicU64,
    cancel_irql: AtomicU8,
}

/// A pointer that is no object of the expected kind.
#[cold]
fn foreign(what: &str) -> Violation {
    broken(RuleId::Sim11, format!("the driver used a pointer that is no {what}, or no more"))
}

/// The status as a result: whether it is a success.
fn check(status: wdk_lite::NTSTATUS) -> Result<(), NtStatus> {
    NtStatus::check(status).map(|_| ())
}
