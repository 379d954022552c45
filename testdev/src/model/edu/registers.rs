//! BAR 0: decoding of accesses, and the registers that are not about DMA.

use super::Edu;
use crate::bus::Bus;
use crate::edu::*;

/// Whether the device takes an access of `size` bytes there.
const fn takes(offset: u64, size: u8) -> bool {
    size == 4 || (size == 8 && offset >= DMA_SOURCE)
}

impl Edu {
    /// The register's value; `None` where there is none to be read.
    pub(super) fn read_register(
        &mut self,
        bus: &mut dyn Bus,
        offset: u64,
        size: u8,
    ) -> Option<u64> {
        if !takes(offset, size) {
            return None;
        }
        let narrow = match offset {
            ID => ID_VALUE,
            LIVENESS => self.liveness,
            FACTORIAL => self.factorial,
            STATUS => self.status,
            IRQ_STATUS => self.read_causes(bus),
            DMA_SOURCE => return Some(self.dma.source),
            DMA_DESTINATION => return Some(self.dma.destination),
            DMA_COUNT => return Some(self.dma.count),
            DMA_COMMAND => return Some(self.dma.command),
            _ => return None,
        };
        Some(u64::from(narrow))
    }

    /// Writes a register; `value` holds no more than `size` bytes, so a 4-byte write to a wide
    /// register clears its upper half.
    pub(super) fn write_register(&mut self, bus: &mut dyn Bus, offset: u64, size: u8, value: u64) {
        if !takes(offset, size) {
            return;
        }
        if offset >= DMA_SOURCE {
            return self.write_dma(bus, offset, value);
        }
        // CAST: below DMA_SOURCE only 4-byte accesses come this far.
        let value = value as u32;
        match offset {
            LIVENESS => self.liveness = liveness(value),
            FACTORIAL => self.start_factorial(bus, value),
            STATUS => {
                self.status = (self.status & STATUS_COMPUTING) | (value & STATUS_FACTORIAL_IRQ);
            }
            IRQ_RAISE => self.raise(bus, value),
            IRQ_ACK => self.acknowledge(bus, value),
            _ => {}
        }
    }

    fn start_factorial(&mut self, bus: &mut dyn Bus, n: u32) {
        if self.status & STATUS_COMPUTING != 0 {
            return;
        }
        self.status |= STATUS_COMPUTING;
        self.factorial = n;
        self.deadlines.factorial = Some(bus.now().saturating_add(self.config.factorial_delay_ns));
        self.program_timer(bus);
    }

    pub(super) fn finish_factorial(&mut self, bus: &mut dyn Bus) {
        self.factorial = factorial(self.factorial);
        self.status &= !STATUS_COMPUTING;
        if self.status & STATUS_FACTORIAL_IRQ != 0 {
            self.raise(bus, IRQ_FACTORIAL);
        }
    }

    /// Counts a read, and replaces its value once the garbage fault has set in.
    pub(super) fn garble(&mut self, value: u64) -> u64 {
        self.reads = self.reads.saturating_add(1);
        let faults = &self.config.faults;
        match faults.garbage_at {
            Some(from) if self.reads >= from => mix(faults.garbage_seed.wrapping_add(self.reads)),
            _ => value,
        }
    }
}

/// A well-mixed value for each input (the finaliser of SplitMix64).
const fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
