//! Sabotage: calls of an unmodified driver that are left out, falsified, repeated or moved, so that
//! a run can show that the mistake is noticed.

mod plan;

pub use plan::{Calls, Deed, Forgery, Sabotage};
