//! The adapter of a system DMA channel is none that a bus master's transfer can use (DMA-70).

use wdk_dma::packet::ChannelRequest;
use wdk_dma::{Adapter, Ready, System};

fn ask<R>(ready: &Ready<R>, adapter: &Adapter<System>) -> ChannelRequest {
    ready.channel_request(adapter)
}

fn main() {}
