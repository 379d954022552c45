//! The ready value is its own transfer: it cannot start another one, whose MDLs it did not flush
//! (DMA-87).

use wdk_dma::{Granted, MapRegisters, Ready, Transfer};

fn start<R>(flushed: Ready<R>, other: Transfer<R>, registers: MapRegisters) -> Granted<R> {
    flushed.granted(other, registers)
}

fn main() {}
