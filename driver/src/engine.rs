//! The devices' DMA engines, one file for each device.

pub mod edu;
