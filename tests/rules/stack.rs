//! SIM-07: how much kernel stack one call into the driver uses.
//!
//! The limit is set to 64 KiB, so that the frames of a build without optimisation do not count.

use std::hint::black_box;

use dmaproof_tests::lab::Lab;
use dmaproof_tests::{rule_tests, run};
use wdk_lite::*;

/// Bytes; more than the limit, and less.
const LARGE: usize = 96 << 10;
const SMALL: usize = 1 << 10;

/// Calls the host from below a frame of this size.
#[inline(never)]
fn deep<const BYTES: usize>(_lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let buffer = black_box([0u8; BYTES]);
    // SAFETY: LAB.
    let level = unsafe { ntddk::KeGetCurrentIrql() };
    // CAST: a level is a small number; the buffer is all zeros.
    NTSTATUS::from(level) + NTSTATUS::from(black_box(&buffer)[BYTES - 1])
}

rule_tests! {
    breaks a_large_buffer_on_the_stack {
        [Sim07], [],
        broken: run(deep::<LARGE>).machine(|machine| machine.stack_limit(64 << 10)),
        clean: run(deep::<SMALL>).machine(|machine| machine.stack_limit(64 << 10)),
    }
}
