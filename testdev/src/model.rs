//! Device models: what the register maps of this crate look like from the other side of the bus.

pub mod edu;
pub mod exerciser;
#[cfg(test)]
mod machine;
pub mod slave;
