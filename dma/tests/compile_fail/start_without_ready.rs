//! A transfer whose MDLs were not flushed cannot ask for a channel, nor for a list (DMA-85).

use wdk_dma::{Adapter, Transfer, V2};

fn start<R>(transfer: Transfer<R>, adapter: &Adapter<V2>) {
    let _ = transfer.channel_request(adapter);
}

fn main() {}
