//! The tests of the hosted driver, run hosted and on the driver image: the same tests, on the same
//! machines with the same seeds. Where the machine's own order decides (straight scheduler), both
//! must cross the border between driver and host in the same order with the same values.

use std::alloc::{GlobalAlloc, Layout, System};

use dmaproof_tests::ways::Way;

/// Byte buffers begin at an offset in their page that follows from their length. How a buffer lies
/// in its pages decides into how many pieces it is mapped, so two runs of a test can only be
/// compared if their buffers lie alike.
struct Placed;

const PAGE: usize = 4096;

impl Placed {
    /// The layout to ask for, and where in it the buffer begins.
    fn place(layout: Layout) -> (Layout, usize) {
        // Bytes have alignment 1; what belongs to the host or the test harness rarely has.
        if layout.align() != 1 {
            return (layout, 0);
        }
        let offset = layout.size().wrapping_mul(0x9E37_79B9) >> 7 & (PAGE - 1);
        let larger = Layout::from_size_align(layout.size() + offset, PAGE);
        (larger.expect("buffers are small"), offset)
    }
}

// SAFETY: the system's allocator with a larger layout; memory is given back with the same one.
unsafe impl GlobalAlloc for Placed {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (larger, offset) = Self::place(layout);
        // SAFETY: not empty, since `layout` is not.
        let start = unsafe { System.alloc(larger) };
        if start.is_null() { start } else { start.wrapping_add(offset) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let (larger, offset) = Self::place(layout);
        // SAFETY: what `alloc` asked for, at the place it was given.
        unsafe { System.dealloc(pointer.wrapping_sub(offset), larger) }
    }
}

#[global_allocator]
static ALLOCATOR: Placed = Placed;

/// How the tests run the driver.
pub const WAYS: &[Way] = &[Way::Hosted, Way::Image];

#[path = "../driver/bad_input.rs"]
mod bad_input;
#[path = "../driver/cancel.rs"]
mod cancel;
#[path = "../driver/common.rs"]
mod common;
#[path = "../driver/concurrent.rs"]
mod concurrent;
#[path = "../driver/faults.rs"]
mod faults;
#[path = "../driver/incoherent.rs"]
mod incoherent;
#[path = "../driver/limits.rs"]
mod limits;
#[path = "../driver/pnp.rs"]
mod pnp;
#[path = "../driver/sabotage.rs"]
mod sabotage;
#[path = "../driver/sweep.rs"]
mod sweep;
#[path = "../driver/system.rs"]
mod system;
#[path = "../driver/transfers.rs"]
mod transfers;

mod tracing;
