//! The operations of version 3.

use Deed::{Falsify, Hasten, LeaveOut, PutOff, Repeat};
use Expected::{Harmful, Refused};
use Path::Version3;
use RuleId::{
    Dma17, Dma18, Dma20, Dma35, Dma41, Dma42, Dma44, Dma46, Dma51, Dma52, Dma53, Dma54, Dma57,
    Dma59, Dma60, Dma61, Dma64, Dma66, Dma67, Dma77, Dma97, Dma104, Dma114, Dma115, Sim02,
};

use super::packet::STARTED;
use super::pages::{
    ALLOCATE_CHANNEL_EX, BUG_CHECK_E6, DIRECT_ERRORS, FLUSH_ADAPTER_BUFFERS_EX, FREE_MAP_REGISTERS,
    INITIALIZE_CONTEXT, MAP_TRANSFER_EX, TRANSFER_INFO, USING_MAP_TRANSFER_EX,
};
use super::{
    Deed, Direction, Expected, Forgery, Path, ROW, Row, RuleId, Sabotage, Seen, When, X64,
};

const PATHS: &[Path] = &[Version3];
const FLUSH: &str = "FlushAdapterBuffersEx";
const MAP: &str = "MapTransferEx";
const FREE: &str = "FreeMapRegisters";
const ALLOCATE: &str = "AllocateAdapterChannelEx";

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of(FLUSH, LeaveOut),
        paths: PATHS,
        expected: &[
            (When::from_device(&[X64]), Harmful(&[Dma42, Dma66, Dma67], Seen::App)),
            (When::ALWAYS, Harmful(&[Dma42, Dma66, Dma67], Seen::Nobody)),
        ],
        page: USING_MAP_TRANSFER_EX,
        gist: "Each MapTransferEx that succeeds is followed by one FlushAdapterBuffersEx, before \
               the map registers are freed.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma52, Dma67], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS_EX,
        gist: "WriteToDevice has the value of the mapping.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, Falsify("Length", Forgery::Add(-64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53, Dma67], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS_EX,
        gist: "Length is the number of bytes that were mapped.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, Falsify("Length", Forgery::Add(64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53, Dma67], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS_EX,
        gist: "Length is the number of bytes that were mapped.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, Falsify("Offset", Forgery::Add(64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53, Dma67], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS_EX,
        gist: "Offset is that of the mapping.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53, Dma66, Dma67], Seen::Nobody))],
        page: USING_MAP_TRANSFER_EX,
        gist: "Each mapping has exactly one flush.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, Hasten(STARTED)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma54, Dma57, Dma67, Dma114, Dma115], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS_EX,
        gist: "It may not be called before the device is done.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FLUSH, PutOff(FREE)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42, Dma66, Dma67], Seen::Nobody))],
        page: USING_MAP_TRANSFER_EX,
        gist: "The flush comes before the release of the map registers.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        directions: &[Direction::FromDevice],
        expected: &[(When::ALWAYS, Harmful(&[Dma52, Dma114], Seen::Nobody))],
        page: MAP_TRANSFER_EX,
        gist: "WriteToDevice is the direction of the transfer.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        directions: &[Direction::ToDevice],
        expected: &[(When::ALWAYS, Harmful(&[Dma104, Dma52], Seen::Nobody))],
        page: DIRECT_ERRORS,
        gist: "Pages that were locked for reading may not be written by a device.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("Length", Forgery::AddToTarget(-64))),
        paths: PATHS,
        expected: &[(
            When::ALWAYS,
            Harmful(&[Dma53, Dma67, Dma77, Dma97, Dma114, Sim02], Seen::Nobody),
        )],
        page: MAP_TRANSFER_EX,
        gist: "Length says how many bytes are mapped; the device may touch no others, and the \
               flush names as many.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("Length", Forgery::AddToTarget(64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46, Dma64], Seen::Nobody))],
        page: MAP_TRANSFER_EX,
        gist: "Length reaches at most to the end of the chain.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("Offset", Forgery::Add(64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46, Dma64], Seen::Nobody))],
        page: MAP_TRANSFER_EX,
        gist: "Offset and Length stay inside the chain.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("DeviceOffset", Forgery::Set(4))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma64, RuleId::Dma70], Seen::Nobody))],
        page: MAP_TRANSFER_EX,
        gist: "DeviceOffset is for system DMA; a bus master passes 0.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Falsify("ScatterGatherBufferLength", Forgery::Set(8))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Refused)],
        page: MAP_TRANSFER_EX,
        gist: "A buffer that cannot hold one element is STATUS_INVALID_PARAMETER.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(MAP, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma51, Dma66], Seen::Nobody))],
        page: USING_MAP_TRANSFER_EX,
        gist: "A mapping is flushed before the next MapTransferEx.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("InitializeDmaTransferContext", LeaveOut),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma59], Seen::Nobody))],
        page: INITIALIZE_CONTEXT,
        gist: "A transfer context is initialised before each allocation that uses it.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("GetDmaTransferInfo", Falsify("Length", Forgery::Add(0x1_0000))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46, Dma60], Seen::Nobody))],
        page: TRANSFER_INFO,
        gist: "Offset and Length stay inside the chain.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(ALLOCATE, Falsify("NumberOfMapRegisters", Forgery::Add(1000))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma61], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Asking for more map registers than the adapter has is a violation (0xE6 with 0x0C \
               or 0x15).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(ALLOCATE, Falsify("ExecutionRoutine", Forgery::Set(0))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Refused)],
        page: ALLOCATE_CHANNEL_EX,
        gist: "An asynchronous allocation without an execution routine fails with \
               STATUS_INVALID_PARAMETER.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(ALLOCATE, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma17, Dma35, Dma59, Dma61], Seen::Nobody))],
        page: ALLOCATE_CHANNEL_EX,
        gist: "A transfer context is unique among all outstanding requests.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, LeaveOut),
        paths: PATHS,
        // Or its transfer context is used again while the allocation lasts.
        expected: &[(When::ALWAYS, Harmful(&[Dma18, Dma20, Dma44, Dma59], Seen::Nobody))],
        page: FREE_MAP_REGISTERS,
        gist: "A driver frees the map registers that it keeps when the transfer is over.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Falsify("NumberOfMapRegisters", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42, Dma41], Seen::Nobody))],
        page: FREE_MAP_REGISTERS,
        gist: "The number must match that of the allocation.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma41, Dma42], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "More map registers freed than allocated is a violation (0xE6 with 0x05).",
        ..ROW
    },
];
