//! Drivers as they are found in the field: small, complete, and each with one mistake.
//!
//! They were written from the public documentation alone, by somebody who did not know how the
//! verifier works. Each is a file of its own, so that it can be read by itself; all they share is
//! what the WDK's headers define. `driver_entry::<true>` is the wrong driver,
//! `driver_entry::<false>` its twin, which differs in the mistake only.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "these drivers have no safe layer; each callback has one contract"
)]

pub mod advances_by_request;
pub mod cached_mailbox;
pub mod completes_first;
pub mod edits_while_mapped;
pub mod first_element_only;
pub mod flush_at_start;
pub mod flushes_then_fills;
pub mod frees_while_mapped;
pub mod ignores_flush_result;
pub mod inverted_flush;
pub mod physical_address;
pub mod pio_unflushed;
pub mod slave_unflushed;

use wdk_lite::GUID;

/// What the drivers' device interfaces have in common.
const INTERFACE_CLASS: GUID =
    GUID { Data1: 0, Data2: 0x1f0d, Data3: 0x4d1e, Data4: [0xb0, 2, 3, 5, 7, 11, 13, 17] };
