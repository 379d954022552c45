//! Sabotage: calls of an unmodified driver that are left out, falsified, repeated or moved, so that
//! a run can show that the mistake is noticed.
//!
//! It sits between the driver and [`enter`](super::enter): what is not made never crosses the
//! border, and what is made crosses it like any other call, in the driver's own frame. Nothing
//! behind the border knows that there is a plan.

mod plan;
mod saboteur;
mod word;

pub use plan::{Calls, Deed, Forgery, Sabotage};
pub(crate) use saboteur::Saboteur;
pub(crate) use word::Word;
