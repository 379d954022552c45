//! Packet transfers of version 2: channel, map registers, MapTransfer, FlushAdapterBuffers.

use Deed::{Falsify, Hasten, LeaveOut, Misreport, PutOff, Repeat};
use Expected::Harmful;
use Path::Packet;
use RuleId::{
    Dma17, Dma18, Dma20, Dma34, Dma35, Dma39, Dma41, Dma42, Dma44, Dma45, Dma46, Dma49, Dma51,
    Dma52, Dma53, Dma54, Dma55, Dma57, Dma77, Dma84, Dma97, Dma104, Dma114, Dma115, Sim02, Sim04,
};

use super::pages::{
    ALLOCATE_CHANNEL, BUG_CHECK_E6, DIRECT_ERRORS, FLUSH_ADAPTER_BUFFERS, FLUSHING_DMA,
    FREE_MAP_REGISTERS, MAP_REGISTERS, MAP_TRANSFER, SETTING_UP,
};
use super::{
    Deed, Direction, Expected, Forgery, Path, ROW, Row, RuleId, Sabotage, Seen, When, X64,
};
use nthost::Calls;

const PATHS: &[Path] = &[Packet];
const MAP: &str = "MapTransfer";
const FLUSH: &str = "FlushAdapterBuffers";
const ALLOCATE: &str = "AllocateAdapterChannel";
const FREE: &str = "FreeMapRegisters";

/// The driver starts the device and then its watchdog: the device is at work when this call has
/// been answered.
pub(super) const STARTED: &str = "WdfTimerStart";

/// Another MDL than the request's.
const OTHER_MDL: Forgery = Forgery::Of("MmBuildMdlForNonPagedPool", "MemoryDescriptorList");

const fn flush(deed: Deed) -> Sabotage {
    Sabotage::of(FLUSH, deed)
}

const fn map(deed: Deed) -> Sabotage {
    Sabotage::of(MAP, deed)
}

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: flush(LeaveOut),
        paths: PATHS,
        // On x64 the data waits in a bounce page, which only this call copies.
        expected: &[
            (When::from_device(&[X64]), Harmful(&[Dma42, Dma54], Seen::App)),
            (When::ALWAYS, Harmful(&[Dma42, Dma54], Seen::Nobody)),
        ],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "Every driver that performs DMA must call it before it completes the request and \
               before it frees the map registers.",
        ..ROW
    },
    Row {
        sabotage: flush(Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma52], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "WriteToDevice is the direction of the transfer, TRUE from memory to the device.",
        ..ROW
    },
    Row {
        sabotage: flush(Falsify("Length", Forgery::Add(-64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "Length is that of the buffer: all bytes of the operation.",
        ..ROW
    },
    Row {
        sabotage: flush(Falsify("Length", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "A flush of more bytes than were mapped runs past the map registers.",
        ..ROW
    },
    Row {
        sabotage: flush(Falsify("CurrentVa", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "CurrentVa must be the one that the operation's first MapTransfer had.",
        ..ROW
    },
    Row {
        sabotage: flush(Falsify("Mdl", OTHER_MDL)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "Mdl is the one that was passed to MapTransfer.",
        ..ROW
    },
    Row {
        sabotage: flush(Falsify("MapRegisterBase", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53, Dma39, Dma45], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "MapRegisterBase is the value that AdapterControl was given.",
        ..ROW
    },
    Row {
        sabotage: flush(Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Flushing a buffer that is not mapped any more is a violation (0xE6 with 0x16 or \
               0x20).",
        ..ROW
    },
    Row {
        sabotage: flush(Hasten(STARTED)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma54, Dma57, Dma114, Dma115], Seen::Nobody))],
        page: FLUSHING_DMA,
        gist: "It belongs at the end of the transfer: the mapping is gone while the device still \
               works on it.",
        ..ROW
    },
    Row {
        sabotage: flush(PutOff(FREE)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42, Dma54], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "It must be called before the map registers are freed.",
        ..ROW
    },
    Row {
        sabotage: flush(PutOff("WdfRequestCompleteWithInformation")),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42, Dma54], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "It must be called before the request is completed.",
        ..ROW
    },
    Row {
        sabotage: flush(Misreport(Forgery::Invert)),
        paths: PATHS,
        failing_flush: Some(1),
        expected: &[(When::ALWAYS, Harmful(&[Dma55], Seen::Nobody))],
        page: FLUSHING_DMA,
        gist: "Its result says whether the flush was successful; a driver can use it for the \
               status of the request. FALSE was taken for TRUE here.",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("CurrentVa", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "CurrentVa begins at MmGetMdlVirtualAddress; bytes beyond the MDL may not be mapped.",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("CurrentVa", Forgery::Add(-64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "An address before the first MDL is a violation (0xE6 with 0x1B or 0x1F).",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("Length", Forgery::AddToTarget(64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "A transfer that is longer than its MDL is a violation (0xE6 with 0x1F or 0x24).",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("Length", Forgery::AddToTarget(-64))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma53, Dma77, Dma97, Dma114, Sim02], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "Length says how many bytes are mapped; the device may touch no others, and the \
               flush names as many.",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        directions: &[Direction::FromDevice],
        expected: &[(When::ALWAYS, Harmful(&[Dma52, Dma84, Dma114], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "WriteToDevice is the direction of the transfer: bounced data goes the wrong way.",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        directions: &[Direction::ToDevice],
        expected: &[(When::ALWAYS, Harmful(&[Dma104, Dma52], Seen::Nobody))],
        page: DIRECT_ERRORS,
        gist: "Pages that were locked for reading may not be written by a device.",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("Mdl", OTHER_MDL)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma46], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "CurrentVa lies in the buffer that the MDL describes.",
        ..ROW
    },
    Row {
        sabotage: map(Falsify("MapRegisterBase", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma45, Dma39], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "MapRegisterBase is the value that AdapterControl was given.",
        ..ROW
    },
    Row {
        sabotage: map(Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma49, Dma51], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Mapping a range that is mapped already is a violation (0xE6 with 0x1D).",
        ..ROW
    },
    Row {
        sabotage: map(Misreport(Forgery::Add(0x8000))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma57, Dma77, Dma97, Dma114, Sim02], Seen::Nobody))],
        page: SETTING_UP,
        gist: "The device is programmed with the logical address that MapTransfer returned, as it \
               is.",
        ..ROW
    },
    Row {
        sabotage: Sabotage {
            calls: Calls::Nth(2),
            ..Sabotage::of(ALLOCATE, Falsify("NumberOfMapRegisters", Forgery::Add(-1)))
        },
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma49], Seen::Nobody))],
        page: MAP_REGISTERS,
        gist: "A transfer needs a map register for each page that it touches.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(ALLOCATE, Falsify("NumberOfMapRegisters", Forgery::Add(1000))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma34], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Asking for more map registers than the adapter has is a violation (0xE6 with 0x0C \
               or 0x15).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(ALLOCATE, Repeat),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma35, Dma17], Seen::Nobody))],
        page: ALLOCATE_CHANNEL,
        gist: "Only one request may be queued for a device object at any time, and an adapter has \
               one channel.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, LeaveOut),
        paths: PATHS,
        // Or a later allocation waits for them for ever.
        expected: &[(When::ALWAYS, Harmful(&[Dma18, Dma20, Dma44, Sim04], Seen::Nobody))],
        page: FREE_MAP_REGISTERS,
        gist: "A driver frees the map registers that it keeps when the transfer is over; a put \
               adapter with registers outstanding is a violation (0xE6 with 0x09).",
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
    Row {
        sabotage: Sabotage::of(FREE, Falsify("NumberOfMapRegisters", Forgery::Add(1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42, Dma41], Seen::Nobody))],
        page: FREE_MAP_REGISTERS,
        gist: "The number must match that of AllocateAdapterChannel.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Falsify("NumberOfMapRegisters", Forgery::Add(-1))),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42], Seen::Nobody))],
        page: FREE_MAP_REGISTERS,
        gist: "The number must match that of AllocateAdapterChannel.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(FREE, Hasten(MAP)),
        paths: PATHS,
        expected: &[(When::ALWAYS, Harmful(&[Dma42, Dma54], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Freeing map registers that are still mapped is a violation (0xE6 with 0x10).",
        ..ROW
    },
];
