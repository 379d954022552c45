//! The real driver end to end on a simulated machine: transfers over every path, bad input,
//! cancellation, removal, power, and devices that misbehave.
//!
//! Expectations come from docs/protocol.md, the design and the documents it implements.

mod bad_input;
mod cancel;
mod common;
mod concurrent;
mod exerciser;
mod faults;
mod limits;
mod pnp;
mod sabotage;
mod system;
mod transfers;
