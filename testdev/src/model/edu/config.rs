//! How an `edu` model is set up: QEMU version, timing, and the faults it is told to have.

use crate::edu::{DEFAULT_DMA_MASK, DMA_DELAY_NS};

/// Which QEMU's range check the model has (`hw/misc/edu.c`). All agree on ranges that
/// [`device_address`](crate::edu::device_address) accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Era {
    /// Measured on QEMU 7.2.22: a transfer that reaches the last byte of the buffer, has no length
    /// or lies outside kills the virtual machine.
    A0,
    /// QEMU at commit 9468484f: the last byte may be used; no length, or outside, still kills.
    A1,
    /// QEMU at commit 06b40d25, and 10.2: outside is logged and then copied all the same, over
    /// whatever the emulator keeps next to the buffer. No length is fine. The model copies the part
    /// inside the buffer and records the rest.
    B,
    /// QEMU since commit 42f599172ae (July 2026): outside is logged and not copied; the command
    /// completes as if it had been.
    #[default]
    C,
}

/// Set-up of an [`Edu`](super::Edu).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EduConfig {
    /// Which QEMU's range check it has.
    pub era: Era,
    /// ANDed to every host address a command names, without a sign of it anywhere.
    pub dma_mask: u64,
    /// Time from command to completion, in nanoseconds of machine time.
    pub dma_delay_ns: u64,
    /// Time a factorial takes, in nanoseconds of machine time.
    pub factorial_delay_ns: u64,
    /// What is wrong with it.
    pub faults: EduFaults,
}

impl Default for EduConfig {
    /// A healthy device of the newest era, with QEMU's mask and delay.
    fn default() -> Self {
        Self {
            era: Era::default(),
            dma_mask: DEFAULT_DMA_MASK,
            dma_delay_ns: DMA_DELAY_NS,
            factorial_delay_ns: 1_000,
            faults: EduFaults::default(),
        }
    }
}

/// Faults of an [`Edu`](super::Edu); the default is none.
///
/// Commands, accesses and reads count from 1. A command counts when it is accepted: RUN written
/// while RUN was 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EduFaults {
    /// This command never finishes: RUN stays 1, no data moves, no interrupt comes.
    ///
    /// A driver gives up waiting after a bounded time, starts nothing more, and neither completes
    /// the request nor unmaps or frees its memory: the device may still write there.
    pub hang_at: Option<u64>,
    /// The command of `hang_at` finishes after all, with data and interrupt, this many nanoseconds
    /// after it was given.
    ///
    /// A driver must not have reused the memory in the meantime. It treats a completion that comes
    /// after its timeout as the end of that command, not of another.
    pub hang_duration_ns: Option<u64>,
    /// From this register access on every read gives all ones and writes are dropped; transfers
    /// and timers stop and the interrupt pin falls. Pulled from its slot, as software sees it.
    ///
    /// A driver recognises all ones in a register that cannot hold them, stops touching the device
    /// and fails its requests; no loop may wait for a bit to change.
    pub all_ones_at: Option<u64>,
    /// From this register read on reads give pseudo-random values. Writes and transfers work.
    ///
    /// A driver bounds every loop over a register, uses no register value as an index or a length
    /// unchecked, and corrupts nothing.
    pub garbage_at: Option<u64>,
    /// Where the values of `garbage_at` start; the same seed gives the same values.
    pub garbage_seed: u64,
    /// This command moves its data and clears RUN, but sets no interrupt cause and interrupts
    /// nobody.
    ///
    /// A driver has a timer behind each command, looks at RUN when it fires, and completes.
    pub lost_interrupt_at: Option<u64>,
    /// After every completion there is an interrupt without a cause. MSI: one more message.
    /// INTx: the pin stays up after the last acknowledge, until `IRQ_STATUS` has read 0 once.
    ///
    /// A driver's ISR answers "not mine" when no cause is pending, and completes nothing twice.
    pub spurious_interrupts: bool,
    /// (command, offset in bytes): in this command the byte at this offset of the transfer arrives
    /// XORed with 0x01. Nothing happens when the transfer is shorter.
    ///
    /// A driver cannot notice; whoever checks the data must.
    pub corrupt_byte_at: Option<(u64, u16)>,
    /// (command, logical address): when this command's copy runs, the device also writes the four
    /// bytes of 0xDEADBEEF, little-endian, to this address, unmasked.
    ///
    /// The positive control of an IOMMU: unless the driver mapped that address, it must block the
    /// write and say so. Without an IOMMU the memory there changes.
    pub stray_write: Option<(u64, u64)>,
    /// Together with `late_write_at`: that many nanoseconds after completion its data is written
    /// a second time.
    ///
    /// A driver cannot prevent it. Whether memory that went back to its owner changes is the
    /// machine's test: unmapping is what protects it.
    pub late_write_ns: Option<u64>,
    /// Which from-device command writes again; to-device commands do not count.
    pub late_write_at: Option<u64>,
}
