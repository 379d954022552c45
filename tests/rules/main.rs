//! The rules of the catalogue, each broken once and kept once.
//!
//! What a test expects comes from the documents that the catalogue cites, never from what the
//! host happens to do. Every file is one section of the catalogue; `coverage` knows which rules
//! have no test, and why.
//!
//! `SAFETY: LAB.` in a routine stands for this contract: the lab driver calls the routine in
//! kernel mode at PASSIVE_LEVEL (an `inline` one in the queue's handler, a callback at its own
//! level), the request is the driver's, handles and pointers come from the lab and are live. The
//! one thing that is wrong is the subject of the test, and the machine stops there before any
//! memory is touched.
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "deliberately wrong driver code; each routine has one contract, see above"
)]

use dmaproof_tests::Case;
use dmaproof_tests::lab::Lab;
use wdk_lite::{NTSTATUS, STATUS_SUCCESS, WDFREQUEST};

mod adapter;
mod build_lists;
mod channel;
mod coherency;
mod common_buffer;
mod common_buffer_ex;
mod common_coherency;
mod coverage;
mod incoherent;
mod interrupts;
mod legacy;
mod levels;
mod lists;
mod map_registers;
mod mdl;
mod objects;
mod pnp;
mod queues;
mod release;
mod removal;
mod requests;
mod stack;
mod system;
mod system_version3;
mod transfer;
mod version3;
mod version3_lists;
mod version3_map;

/// `DRIVER_VERIFIER_DMA_VIOLATION`.
const DMA: u32 = 0xE6;
/// `DRIVER_VERIFIER_DETECTED_VIOLATION`.
const VERIFIER: u32 = 0xC4;

/// `WDF_VIOLATION`.
const FRAMEWORK: u32 = 0x10D;

/// A request that has nothing to do.
fn idle(_lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    STATUS_SUCCESS
}
