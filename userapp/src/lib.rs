//! The dmaproof app: moves data through a DMA test device, checks every byte, and says what went
//! wrong in terms of the rule that was broken.
//!
//! - [`target`]: what is tested: a device behind an open handle of the driver;
//! - [`sweep`]: what is tried on it, and the run itself;
//! - [`traffic`]: transfers that keep the device busy, for tests under load, benches and soaks;
//! - [`pattern`], [`guard`], [`history`]: data that knows where it belongs, buffers that know what
//!   is around them, transfers that are remembered;
//! - [`explain`]: from wrong bytes to the kind of mistake and the rule;
//! - [`ledger`], [`report`]: what ran, what did not, and the verdict;
//! - [`notes`]: rules that were not followed where it did no harm;
//! - [`provoked`]: failures that the user asked for, and whether they happened;
//! - [`soak`], [`mod@bench`]: hours of it, and how fast it is;
//! - [`html`]: what all pages share;
//! - [`lab`]: the driver with mistakes made for it, and who notices;
//! - [`cli`], [`commands`]: the command line.

// Only `target::windows` may have some, and says why.
#![deny(unsafe_code)]

pub mod bench;
pub mod catalogue;
pub mod cli;
pub mod commands;
pub mod describe;
pub mod exit;
pub mod explain;
pub mod guard;
pub mod history;
pub mod html;
pub mod interrupt;
pub mod lab;
pub mod ledger;
pub mod notes;
pub mod output;
pub mod pattern;
pub mod progress;
pub mod provoked;
pub mod random;
pub mod report;
pub mod route;
pub mod soak;
pub mod sweep;
pub mod target;
pub mod traffic;
