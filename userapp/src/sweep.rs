//! The main job: moves patterns by every route, in both directions, at many lengths and offsets,
//! and verifies every byte.

mod accounts;
mod beside;
mod outcome;
mod plan;
mod registers;
mod run;
mod shadow;
#[cfg(test)]
mod tests;
mod verify;

pub use accounts::{Account, disagreements};
pub use beside::accompany;
pub use outcome::{End, Failure, Load, Outcome, Recorder, Settings};
pub use plan::{Case, Depth, Plan, Selection};
pub(crate) use plan::{is_allowed, reaches_memory};
pub use run::run;
pub(crate) use run::{Problem, complement};
