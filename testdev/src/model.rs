//! Device models: what the register maps of this crate look like from the other side of the bus.

pub mod edu;
pub mod exerciser;
#[cfg(test)]
mod machine;
pub mod slave;

/// All ones in `size` bytes.
const fn all_ones(size: u8) -> u64 {
    match size {
        0 => 0,
        1..8 => (1 << (8 * size)) - 1,
        _ => u64::MAX,
    }
}
