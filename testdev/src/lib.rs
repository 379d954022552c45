//! Test devices for DMA drivers.
//!
//! Two audiences share this crate. A driver takes the register maps ([`edu`], [`exerciser`],
//! [`slave`]): constants, layouts and a few helpers, no code that runs by itself. A simulated
//! machine turns on the feature `model` and gets the devices themselves, behind the contract in
//! `bus`.
//!
//! The crate does not use the standard library. The models use the heap where a device has more
//! memory than anybody will touch, and never once a transfer has run the way the next one does.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "model")]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "model")]
pub mod bus;
pub mod edu;
pub mod exerciser;
#[cfg(feature = "model")]
pub mod model;
pub mod slave;
