//! Test devices for DMA drivers.
//!
//! Two audiences share this crate. A driver takes the register maps ([`edu`], [`slave`]): constants
//! and a few helpers, no code that runs by itself. A simulated machine turns on the feature `model`
//! and gets the devices themselves, behind the contract in `bus`.
//!
//! The crate uses neither the standard library nor the heap, so a transfer cannot allocate.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "model")]
pub mod bus;
pub mod edu;
pub mod exerciser;
#[cfg(feature = "model")]
pub mod model;
pub mod slave;
