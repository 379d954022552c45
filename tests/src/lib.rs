//! Tests of a whole machine: a driver, a device and an application together.
//!
//! The driver here is the [`lab`]: a small, correct KMDF driver for `edu`, written against the
//! DDI without any safe layer, whose requests and callbacks run routines that a test hands in. A
//! [`Case`] is one such test: what the driver does, on which machine, and what the application
//! does meanwhile. Each rule of the catalogue has a case that breaks exactly that rule and one
//! that does the same thing right ([`rule_tests!`]).

#[path = "../drivers/lab/mod.rs"]
pub mod lab;

mod bench;
mod case;
mod judge;
pub mod ways;

pub use bench::Bench;
pub use case::{Case, run};
pub use judge::{Expected, Named, Played, answers, breaks, is_clean, is_noted, play_once, verdict};
