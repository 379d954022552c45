//! Scatter/gather lists of version 2.

use Deed::{Falsify, Hasten, LeaveOut, PutOff, Repeat};
use Expected::{Harmful, Refused};
use Path::ScatterGather;
use RuleId::{
    Dma46, Dma51, Dma52, Dma54, Dma57, Dma72, Dma75, Dma76, Dma80, Dma84, Dma100, Dma104, Dma114,
    Dma115, Sim12,
};

use super::packet::STARTED;
use super::pages::{BUG_CHECK_E6, BUILD_LIST, DIRECT_ERRORS, GET_LIST, PUT_LIST, USING_LISTS};
use super::{
    Deed, Direction, Expected, Forgery, Path, ROW, Row, RuleId, Sabotage, Seen, When, X64,
};

const PATHS: &[Path] = &[ScatterGather];
const BUILD: &str = "BuildScatterGatherList";
const PUT: &str = "PutScatterGatherList";

/// Another MDL than the request's.
const OTHER_MDL: Forgery = Forgery::Of("MmBuildMdlForNonPagedPool", "MemoryDescriptorList");

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of(PUT, LeaveOut),
        paths: PATHS,
        expected: &[
            (When::from_device(&[X64]), Harmful(&[Dma75, Dma76, Dma100, Sim12], Seen::App)),
            (When::ALWAYS, Harmful(&[Dma75, Dma76, Dma100, Sim12], Seen::Nobody)),
        ],
        page: PUT_LIST,
        gist: "It flushes what the adapter still holds and frees map registers and list; a driver \
               calls it for each list.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(PUT, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma75], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "More lists put than built is a violation (0xE6 with 0x06).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(PUT, Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma52, Dma75], Seen::Nobody))],
        page: PUT_LIST,
        gist: "WriteToDevice has the same value as when the list was built.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(PUT, Falsify("ScatterGather", Forgery::Add(16))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma75], Seen::Nobody))],
        page: PUT_LIST,
        gist: "The list is the one that AdapterListControl was given.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(PUT, Hasten(STARTED)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma54, Dma57, Dma75, Dma114, Dma115], Seen::Nobody))],
        page: USING_LISTS,
        gist: "The list is put when the device is done; a logical address is good until then.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(PUT, PutOff("WdfRequestCompleteWithInformation")),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma76, Dma100, Sim12], Seen::Nobody))],
        page: GET_LIST,
        gist: "PutScatterGatherList comes before the data is used and the request completed.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        directions: &[Direction::FromDevice],
        expected: &[(When::ALWAYS, Harmful(&[Dma52, Dma75, Dma84, Dma114], Seen::Nobody))],
        page: BUILD_LIST,
        gist: "WriteToDevice is the direction of the transfer.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        directions: &[Direction::ToDevice],
        expected: &[(When::ALWAYS, Harmful(&[Dma104, Dma52], Seen::Nobody))],
        page: DIRECT_ERRORS,
        gist: "Pages that were locked for reading may not be written by a device.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Falsify("CurrentVa", Forgery::Add(-64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46, Dma72], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "An address before the first MDL is a violation (0xE6 with 0x1B or 0x1F).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Falsify("Mdl", OTHER_MDL)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46, Dma72], Seen::Nobody))],
        page: BUILD_LIST,
        gist: "CurrentVa lies in the buffer that the MDL describes.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Falsify("Length", Forgery::Add(0x1_0000))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Refused)],
        page: BUILD_LIST,
        gist: "A Length beyond the MDL, or a list that needs more room than was given, is \
               STATUS_BUFFER_TOO_SMALL or STATUS_INSUFFICIENT_RESOURCES.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Falsify("ScatterGatherLength", Forgery::Set(8))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Refused)],
        page: BUILD_LIST,
        gist: "A buffer too small for the list is STATUS_BUFFER_TOO_SMALL.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(BUILD, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma51, Dma80], Seen::Nobody))],
        page: BUILD_LIST,
        gist: "The caller's buffer belongs to a list until it is put; a range may not be mapped \
               twice.",
        ..ROW
    },
];
