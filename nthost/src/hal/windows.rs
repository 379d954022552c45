//! Where an adapter's logical addresses lie.
//!
//! Every adapter of a device has windows of its own inside its reach, where no physical page lies:
//! one for its map registers, one for its common buffers, and, if the device decodes enough bits,
//! one through which it reaches all of memory without bouncing: physical address plus an offset.

use crate::memory::pages::{END_OF_MEMORY, mix};

/// An adapter that decodes this many bits reaches memory without bouncing.
const WIDE: u32 = 44;
/// Bits of a wide adapter's region.
const REGION: u32 = 36;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// The windows of one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// What is added to a physical address; `None` if every page is bounced.
    pub direct: Option<u64>,
    /// First logical address of the map registers.
    pub registers: u64,
    /// Most map registers that have room.
    pub register_limit: u32,
    /// First logical address of the common buffers.
    pub commons: u64,
    /// Pages of the common buffers' window.
    pub common_pages: u32,
}

/// Where windows are taken from: all adapters of a device with the same class share its areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class(u32);

impl Class {
    /// The class of an adapter that decodes `bits` address bits.
    pub(super) const fn of(bits: u32) -> Self {
        Self(if bits >= WIDE {
            if bits > 48 { 48 } else { bits }
        } else if bits > 32 {
            32
        } else {
            bits
        })
    }

    /// Areas for adapters that live at the same time.
    pub(super) const fn areas(self) -> u32 {
        if self.0 >= 28 { 16 } else { 4 }
    }

    /// The windows in area number `area`. `salt` is the machine's seed with the slot.
    pub(super) fn windows(self, area: u32, salt: u64) -> Windows {
        if self.0 >= WIDE { self.wide(area, salt) } else { self.narrow(area) }
    }

    fn wide(self, area: u32, salt: u64) -> Windows {
        let mixed = mix(salt ^ u64::from(area));
        let regions = 1u64 << (self.0 - REGION);
        // The upper half of the regions, so that a truncated address hits nothing.
        let region = regions / 2 + u64::from(area) + (mixed % (regions / 4)) / 16 * 16;
        let base = (region % regions).max(1) << REGION;
        // Up to 16 GiB on top of 36 GiB of physical addresses; never a multiple of 4 GiB.
        let offset = ((mixed >> 20) & 0x3F_FFFF) | 1;
        Windows {
            direct: Some(base + offset * PAGE),
            registers: base + (54 << 30),
            register_limit: 1 << 18,
            commons: base + (58 << 30),
            common_pages: 1 << 18,
        }
    }

    fn narrow(self, area: u32) -> Windows {
        let half = 1u64 << (self.0 - 1);
        // Above 3 GiB lie the devices' own windows.
        let span = if self.0 == 32 { 1 << 30 } else { half };
        let size = span / u64::from(self.areas());
        let base = half + size * u64::from(area);
        // CAST: at most 2^13 pages.
        let pages = (size / 2 / PAGE) as u32;
        Windows {
            direct: None,
            registers: base,
            register_limit: pages,
            commons: base + size / 2,
            common_pages: pages,
        }
    }
}

const _: () = assert!(END_OF_MEMORY <= 36 << 30, "a wide adapter's offset leaves room for it");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::pages::START_OF_MEMORY;
    use proptest::prelude::*;

    fn ranges(windows: &Windows) -> Vec<(u64, u64)> {
        let pages = |count: u32| u64::from(count) * PAGE;
        let mut ranges = vec![
            (windows.registers, windows.registers + pages(windows.register_limit)),
            (windows.commons, windows.commons + pages(windows.common_pages)),
        ];
        if let Some(offset) = windows.direct {
            ranges.push((START_OF_MEMORY + offset, END_OF_MEMORY + offset));
        }
        ranges
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "it needs files")]
        fn windows_lie_in_reach_apart_and_off_physical_memory(
            bits in 24u32..=64, salt in any::<u64>(), area in 0u32..16, other in 0u32..16
        ) {
            let class = Class::of(bits);
            let (area, other) = (area % class.areas(), other % class.areas());
            let mine = ranges(&class.windows(area, salt));
            for &(start, end) in &mine {
                prop_assert!(start > 0 && start < end);
                prop_assert!(bits >= 64 || end <= 1 << bits, "{start:#x}..{end:#x} in {bits} bits");
                prop_assert!(end <= START_OF_MEMORY || start >= END_OF_MEMORY);
                prop_assert!(start % PAGE == 0);
            }
            let mut all = mine;
            if other != area {
                all.extend(ranges(&class.windows(other, salt)));
            }
            all.sort_unstable();
            prop_assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{all:x?}");
        }
    }

    #[test]
    fn a_narrow_adapter_bounces_and_stays_below_the_devices_windows() {
        for bits in [24, 28, 32, 40] {
            let windows = Class::of(bits).windows(0, 1);
            assert_eq!(windows.direct, None);
            assert!(windows.commons + u64::from(windows.common_pages) * PAGE <= 0xC000_0000);
        }
    }

    #[test]
    fn low_halves_of_direct_addresses_differ_from_physical_ones() {
        for salt in 0..50 {
            let offset = Class::of(64).windows(3, salt).direct.expect("it is wide");
            assert_ne!(offset & 0xFFFF_FFFF, 0);
        }
    }
}
