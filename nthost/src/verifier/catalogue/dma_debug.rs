//! The errors that Linux's DMA-API debugging can report, and the rules here that correspond.

use super::RuleId::{self, *};

/// One error of `kernel/dma/debug.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaDebug {
    /// Its number, counted from 1: at map time, at unmap time, at sync time, at unbinding.
    pub number: u8,
    /// Its message, without the device and `device driver` in front.
    pub message: &'static str,
    /// What corresponds here.
    pub counterpart: Counterpart,
}

/// What corresponds in the catalogue to an error of dma-debug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counterpart {
    /// These rules forbid the same mistake; never empty.
    Rules(&'static [RuleId]),
    /// No rule does, for this reason.
    None(&'static str),
}

/// The errors of dma-debug, in order.
pub static DMA_DEBUG: &[DmaDebug] = &[
    DmaDebug {
        number: 1,
        message: "cacheline tracking EEXIST, overlapping mappings aren't supported",
        counterpart: Counterpart::Rules(&[Dma51]),
    },
    DmaDebug {
        number: 2,
        message: "exceeded %d overlapping mappings of cacheline",
        counterpart: Counterpart::Rules(&[Dma51]),
    },
    DmaDebug {
        number: 3,
        message: "maps memory from stack",
        counterpart: Counterpart::Rules(&[Dma99]),
    },
    DmaDebug {
        number: 4,
        message: "maps memory from kernel text or rodata",
        counterpart: Counterpart::Rules(&[Dma99]),
    },
    DmaDebug {
        number: 5,
        message: "maps memory from invalid area",
        counterpart: Counterpart::Rules(&[Dma99]),
    },
    DmaDebug {
        number: 6,
        message: "maps memory from vmalloc area",
        counterpart: Counterpart::None(
            "an MDL lists the pages of any virtual range, so memory that is only virtually \
             contiguous is legal",
        ),
    },
    DmaDebug {
        number: 7,
        message: "mapping sg segment longer than device claims to support",
        counterpart: Counterpart::None(
            "DEVICE_DESCRIPTION has no segment size; MaximumLength bounds a whole operation \
             (DMA-09), and a device's own limit is between driver and device (DMA-77)",
        ),
    },
    DmaDebug {
        number: 8,
        message: "mapping sg segment across boundary",
        counterpart: Counterpart::None(
            "DEVICE_DESCRIPTION has no boundary mask; a device's own limit is between \
             driver and device (DMA-77)",
        ),
    },
    DmaDebug {
        number: 9,
        message: "tries to free an invalid DMA memory address",
        counterpart: Counterpart::Rules(&[Dma42, Dma53, Dma65]),
    },
    DmaDebug {
        number: 10,
        message: "tries to free DMA memory it has not allocated",
        counterpart: Counterpart::Rules(&[Dma30, Dma42, Dma53, Dma75]),
    },
    DmaDebug {
        number: 11,
        message: "frees DMA memory with different size",
        counterpart: Counterpart::Rules(&[Dma30, Dma42, Dma53, Dma67]),
    },
    DmaDebug {
        number: 12,
        message: "frees DMA memory with wrong function",
        counterpart: Counterpart::Rules(&[Dma41, Dma74]),
    },
    DmaDebug {
        number: 13,
        message: "frees DMA memory with different CPU address",
        counterpart: Counterpart::Rules(&[Dma30]),
    },
    DmaDebug {
        number: 14,
        message: "frees DMA sg list with different entry count",
        counterpart: Counterpart::Rules(&[Dma75]),
    },
    DmaDebug {
        number: 15,
        message: "frees DMA memory with different direction",
        counterpart: Counterpart::Rules(&[Dma52, Dma53, Dma67, Dma75]),
    },
    DmaDebug {
        number: 16,
        message: "failed to check map error",
        counterpart: Counterpart::Rules(&[Dma12, Dma23, Dma34, Dma65, Dma72]),
    },
    DmaDebug {
        number: 17,
        message: "tries to sync DMA memory it has not allocated",
        counterpart: Counterpart::Rules(&[Dma53, Dma101]),
    },
    DmaDebug {
        number: 18,
        message: "syncs DMA memory outside allocated range",
        counterpart: Counterpart::Rules(&[Dma53, Dma67]),
    },
    DmaDebug {
        number: 19,
        message: "syncs DMA memory with different direction",
        counterpart: Counterpart::Rules(&[Dma52, Dma84]),
    },
    DmaDebug {
        number: 20,
        message: "syncs device read-only DMA memory for cpu",
        counterpart: Counterpart::Rules(&[Dma52, Dma84]),
    },
    DmaDebug {
        number: 21,
        message: "syncs device write-only DMA memory to device",
        counterpart: Counterpart::Rules(&[Dma52, Dma84]),
    },
    DmaDebug {
        number: 22,
        message: "syncs DMA sg list with different entry count",
        counterpart: Counterpart::Rules(&[Dma87]),
    },
    DmaDebug {
        number: 23,
        message: "has pending DMA allocations while released from device",
        counterpart: Counterpart::Rules(&[Dma18, Dma20]),
    },
];
