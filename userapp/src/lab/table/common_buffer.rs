//! Common buffers: allocated once, freed once, with the same values.

use Deed::{Falsify, LeaveOut, PutOff, Repeat};
use Expected::Harmful;
use Path::{CommonBufferCached, CommonBufferUncached};
use RuleId::{Dma18, Dma19, Dma25, Dma27, Dma30, Dma90, Kmdf02};

use super::pages::{ALLOCATE_COMMON, ALLOCATE_COMMON_EX, BUG_CHECK_E6, FREE_COMMON, PUT_ADAPTER};
use super::{Deed, Direction, Expected, Forgery, Path, ROW, Row, RuleId, Sabotage, Seen, When};

const CACHED: &[Path] = &[CommonBufferCached];
const UNCACHED: &[Path] = &[CommonBufferUncached];
const READ: &[Direction] = &[Direction::FromDevice];
const FREE: &str = "FreeCommonBuffer";

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of(FREE, LeaveOut),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma18, Dma30, Kmdf02], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "An adapter that is put with common buffers outstanding is a violation (0xE6 with \
               0x07).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Repeat),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma30], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "More common buffers freed than allocated is a violation (0xE6 with 0x03).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Falsify("Length", Forgery::Add(-64))),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma30], Seen::Nobody))],
        page: FREE_COMMON,
        gist: "Length is the one of the allocation.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Falsify("LogicalAddress", Forgery::Add(4096))),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma30], Seen::Nobody))],
        page: FREE_COMMON,
        gist: "LogicalAddress is the one of the allocation.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Falsify("CacheEnabled", Forgery::Invert)),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma27, Dma30], Seen::Nobody))],
        page: FREE_COMMON,
        gist: "CacheEnabled is the value that the allocation had.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, PutOff("PutDmaAdapter")),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma18, Dma19], Seen::Nobody))],
        page: PUT_ADAPTER,
        gist: "Everything that was allocated through the adapter is freed before it is put.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("AllocateCommonBuffer", Falsify("Length", Forgery::Add(-64))),
        paths: CACHED,
        directions: READ,
        // The driver's MDL is longer than the buffer then, and so none of the buffer's.
        expected: &[(When::ALWAYS, Harmful(&[Dma25, Dma30, Dma90], Seen::Nobody))],
        page: ALLOCATE_COMMON,
        gist: "Driver and device may access the bytes that were asked for, and no more; the \
               length to free is the one that was allocated.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("AllocateCommonBuffer", Falsify("CacheEnabled", Forgery::Invert)),
        paths: CACHED,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma27, Dma30], Seen::Nobody))],
        page: FREE_COMMON,
        gist: "FreeCommonBuffer has the same CacheEnabled as the allocation.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("AllocateCommonBufferEx", Falsify("CacheEnabled", Forgery::Invert)),
        paths: UNCACHED,
        expected: &[(When::ALWAYS, Harmful(&[Dma27, Dma30, Dma90], Seen::Nobody))],
        page: ALLOCATE_COMMON_EX,
        gist: "CacheEnabled is honoured; a cached buffer needs its flushes, and is freed as cached.",
        ..ROW
    },
];
