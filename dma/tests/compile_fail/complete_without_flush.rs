//! A mapped request is inside the mapping, which gives it back only when it is flushed (DMA-54,
//! DMA-100).

use wdk_dma::{Finished, Mapping};

fn complete<R>(mapping: Mapping<R>) -> Finished<R> {
    mapping.finish()
}

fn main() {}
