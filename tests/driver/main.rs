//! The real driver end to end on a simulated machine: transfers over every path, bad input,
//! cancellation, removal, power, and devices that misbehave.
//!
//! Expectations come from docs/protocol.md, the design and the documents it implements.

use dmaproof_tests::ways::Way;

/// How the tests run the driver; `tests/image` runs them on the driver image too.
pub const WAYS: &[Way] = &[Way::Hosted];

mod bad_input;
mod cancel;
mod common;
mod concurrent;
mod deterministic;
mod events;
mod exerciser;
mod fallible;
mod faults;
mod incoherent;
mod limits;
mod pnp;
mod sabotage;
mod sweep;
mod system;
mod transfers;
