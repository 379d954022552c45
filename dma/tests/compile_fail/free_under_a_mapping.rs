//! Map registers that a mapping uses are inside it and cannot be freed (DMA-42).

use wdk_dma::{Adapter, Dispatch, Granted, V2};

fn free<R>(granted: Granted<R>, adapter: &Adapter<V2>, dispatch: &Dispatch) {
    let mapping = granted.map(dispatch);
    let _ = granted.release(adapter, dispatch);
    drop(mapping);
}

fn main() {}
