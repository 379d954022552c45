#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(all(feature = "wdk", feature = "image"))]
compile_error!("`wdk` takes the genuine bindings, `image` stands in for them: choose one");

#[cfg(not(feature = "wdk"))]
use wdk_lite as sys;
#[cfg(feature = "wdk")]
use wdk_sys as sys;

pub mod adapter;
pub mod address;
pub mod common_buffer;
pub mod ddk;
mod error;
pub mod irql;
pub mod leak;
pub mod mdl;
pub mod packet;
pub mod pio;
pub mod scatter_gather;
pub mod shared;
pub mod system;
mod transfer;
pub mod v3;

pub use adapter::{Adapter, Description, System, V2, V3};
pub use address::{LogicalAddress, SystemVa};
pub use common_buffer::{Cached, CommonBuffer, ReadyCommonBuffer, Uncached};
pub use error::DmaError;
pub use irql::{AtMostDispatch, Dispatch, Passive};
pub use mdl::{Footprint, Mdl, MdlChain, PageSet};
pub use packet::{Granted, MapRegisters, Mapping};
pub use scatter_gather::{Building, Element, ScatterGatherList};
pub use shared::SharedBuffer;
pub use transfer::{Direction, Finished, NextPiece, PieceLimits, Ready, Transfer};
