//! Drivers as they are found in the field: small, complete, and each with one mistake.
//!
//! They were written from the public documentation alone, by somebody who did not know how the
//! verifier works. Each file has what is a driver's own: what it does with a request, and its
//! mistake. What is around that, and the same in all, is the [`frame`]. `Field<true>` is the wrong
//! driver, `Field<false>` its twin, which differs in the mistake only.

#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "these drivers have no safe layer; each callback has one contract"
)]

pub mod frame;

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

/// The device interface of the driver with this number.
const fn interface(number: u32) -> GUID {
    GUID {
        Data1: 0x6669_6500 + number,
        Data2: 0x1f0d,
        Data3: 0x4d1e,
        Data4: [0xb0, 2, 3, 5, 7, 11, 13, 17],
    }
}
