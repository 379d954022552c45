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

use super::Ddi;
use crate::machine::Kernel;

/// A function that a driver can call, in a form that does not depend on its type.
#[derive(Debug)]
pub(crate) struct Function {
    pub ddi: Ddi,
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// What a driver is told if the call is not made; `None` if it could not go on.
    pub unmade: Option<u64>,
    /// Makes the call from the frame of the driver's call that is under way, with these arguments.
    pub call: fn(&Kernel, usize, &[Word]) -> Word,
}

impl Function {
    /// The place of an argument.
    fn argument(&self, name: &str) -> Option<usize> {
        self.arguments.iter().position(|&argument| argument == name)
    }
}

/// The answers that a driver can go on with if a call is not made.
pub(crate) trait Unmade {
    const UNMADE: Option<u64> = None;
}
impl Unmade for () {
    const UNMADE: Option<u64> = Some(0);
}
/// TRUE.
impl Unmade for u8 {
    const UNMADE: Option<u64> = Some(1);
}
/// STATUS_SUCCESS.
impl Unmade for i32 {
    const UNMADE: Option<u64> = Some(0);
}
impl Unmade for i8 {}
impl Unmade for u16 {}
impl Unmade for u32 {}
impl Unmade for u64 {}
impl Unmade for wdk_lite::LARGE_INTEGER {}
impl<T> Unmade for *mut T {}
