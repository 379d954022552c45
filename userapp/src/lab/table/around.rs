//! Calls around a transfer: levels, system addresses, MDLs, and the end of the request.

use Deed::{Falsify, LeaveOut, Misreport, Repeat};
use Expected::{Harmful, Noted};
use Path::{CommonBufferCached, Packet, Pio, ScatterGather, Version3};
use RuleId::{
    Dma15, Dma33, Dma61, Dma80, Dma90, Dma96, Dma99, Kmdf11, Kmdf21, Kmdf24, Sec12, Sim04, Sim13,
};

use super::pages::{
    BUG_CHECK_C4, BUG_CHECK_E6, COMPLETE_REQUEST, DMA_ALIGNMENT, KE_LOWER_IRQL, USING_MDLS,
};
use super::{Deed, Direction, Expected, Forgery, Nt, Path, ROW, Row, RuleId, Sabotage, Seen, When};

const READ: &[Direction] = &[Direction::FromDevice];
const COMPLETE: &str = "WdfRequestCompleteWithInformation";

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of("KfRaiseIrql", Falsify("NewIrql", Forgery::Set(0))),
        paths: &[Packet, ScatterGather, Version3],
        expected: &[(When::ALWAYS, Harmful(&[Dma33, Dma61, Dma80], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Channels and lists are asked for at DISPATCH_LEVEL exactly; another level is a \
               violation (0xE6 with 0x13).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("KeLowerIrql", LeaveOut),
        paths: &[Packet],
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Kmdf11], Seen::Nobody))],
        page: KE_LOWER_IRQL,
        gist: "The level is restored before the driver returns to the system.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("GetDmaAlignment", Misreport(Forgery::Set(1))),
        paths: &[Packet, ScatterGather, Version3],
        shares_lines: true,
        expected: &[(When::on(&[Nt]), Harmful(&[Dma15, Sim13], Seen::Nobody))],
        page: DMA_ALIGNMENT,
        gist: "Buffers of DMA operations begin and end at multiples of what it returns: a line that \
               is shared with other data cannot be kept coherent.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(
            "MmMapLockedPagesSpecifyCache",
            Falsify("Priority", Forgery::Set(16)),
        ),
        paths: &[CommonBufferCached, Pio],
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Sec12], Seen::Nobody))],
        page: BUG_CHECK_C4,
        gist: "A mapping that can be executed is a violation (0xC4 with 0x2002); MdlMappingNoExecute \
               makes it data.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("MmBuildMdlForNonPagedPool", LeaveOut),
        paths: &[CommonBufferCached],
        expected: &[
            (When::to_device(&[Nt]), Harmful(&[Dma90, Dma99], Seen::Nobody)),
            (When::from_device(&[Nt]), Harmful(&[Dma90, Dma99], Seen::Nobody)),
            (When::ALWAYS, Noted(&[Dma90])),
        ],
        page: USING_MDLS,
        gist: "An MDL describes no pages before it is built: flushing it flushes nothing of the \
               common buffer.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(COMPLETE, LeaveOut),
        paths: &[Packet],
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Sim04], Seen::Nobody))],
        page: COMPLETE_REQUEST,
        gist: "Each request that a driver receives is completed in the end.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(COMPLETE, Repeat),
        paths: &[Packet],
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Kmdf21], Seen::Nobody))],
        page: COMPLETE_REQUEST,
        gist: "A request is completed once; afterwards the driver does not own it.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(COMPLETE, Falsify("Information", Forgery::Add(4096))),
        paths: &[Packet],
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Kmdf24, Dma96], Seen::Nobody))],
        page: COMPLETE_REQUEST,
        gist: "Information is the number of bytes transferred, never more than the buffer has.",
        ..ROW
    },
];
