//! Exploration: many runs of the same thing in different orders of events.
//!
//! [`Exhaustive`] runs every order at the granularity of crossings between driver and host, and
//! with sleep sets only one of several that differ in the order of independent moves alone.
//! [`fail_each_call`] lets every call that may fail do so.
//! [`Model`] explores tasks without a machine: an algorithm before it is a driver.

mod exhaustive;
mod faults;
mod model;

pub use exhaustive::{Exhaustive, Explored, Found};
pub use faults::{Failed, fail_each_call};
pub use model::{Body, Model, Tasks};
