//! A transfer by system DMA is inside the set-up channel, which gives it back only when it is
//! flushed: the controller's FIFO may hold its last bytes (DMA-54, DMA-107).

use wdk_dma::system::Programmed;
use wdk_dma::{Adapter, Dispatch, System, Transfer};

fn end<R>(
    programmed: Programmed<R>,
    adapter: &Adapter<System>,
    dispatch: &Dispatch,
) -> Transfer<R> {
    programmed.release(adapter, dispatch)
}

fn main() {}
