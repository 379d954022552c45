//! KeFlushIoBuffers: before DMA, after PIO.

use Deed::{Falsify, LeaveOut, PutOff, Repeat};
use Expected::{Harmful, Harmless, Noted};
use Path::{CommonBufferCached, CommonBufferUncached, Packet, Pio, ScatterGather, Version3};
use RuleId::{Dma84, Dma85, Dma86, Dma90, Dma101};

use super::pages::{FLUSHING_DMA, FLUSHING_PIO, KE_FLUSH_IO_BUFFERS, USING_MDLS, VERSION_3};
use super::{
    Arm64, COHERENT, Deed, Direction, Expected, Forgery, INCOHERENT, Nt, Path, ROW, Row, RuleId,
    Sabotage, Seen, When,
};

const CALL: &str = "KeFlushIoBuffers";
const MAPPED: &[Path] = &[Packet, ScatterGather];
const CACHED: &[Path] = &[CommonBufferCached];
const READ: &[Direction] = &[Direction::FromDevice];

/// Another MDL than the request's: that of the driver's own common buffer.
const OTHER_MDL: Forgery = Forgery::Of("MmBuildMdlForNonPagedPool", "MemoryDescriptorList");

/// Without it: noted where caches are coherent; elsewhere the device reads old memory, or the
/// processor keeps or writes back old lines. The driver carries unaligned ends through its common
/// buffer, so its rule may be the first that is broken.
const NOT_BEFORE_DMA: &[(When, Expected)] = &[
    (When::on(COHERENT), Noted(&[Dma85])),
    (When::to_device(INCOHERENT), Harmful(&[Dma85, Dma90], Seen::Device)),
    (When::from_device(INCOHERENT), Harmful(&[Dma85, Dma90], Seen::App)),
];

/// The same for a common buffer that was asked for with caching; on arm64 it is not cached.
const NOT_BEFORE_COMMON: &[(When, Expected)] = &[
    (When::on(COHERENT), Noted(&[Dma90])),
    (When::on(&[Arm64]), Noted(&[Dma90])),
    (When::to_device(&[Nt]), Harmful(&[Dma90], Seen::Device)),
    (When::from_device(&[Nt]), Harmful(&[Dma90], Seen::App)),
];

/// With wrong arguments: noted where it does nothing; elsewhere nobody says what it still does.
const WRONGLY: &[(When, Expected)] = &[
    (When::on(COHERENT), Noted(&[Dma84])),
    (When::on(INCOHERENT), Harmful(&[Dma84], Seen::Nobody)),
];

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of(CALL, LeaveOut),
        paths: MAPPED,
        expected: NOT_BEFORE_DMA,
        page: FLUSHING_DMA,
        gist: "Unless the cache was flushed just before a read, stale data can be written over \
               what the device wrote; before a write, the cache can be more up to date than \
               memory. It does nothing where processor and DMA are coherent.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, LeaveOut),
        paths: CACHED,
        expected: NOT_BEFORE_COMMON,
        page: FLUSHING_DMA,
        gist: "A driver that calls AllocateCommonBuffer with CacheEnabled TRUE must call \
               KeFlushIoBuffers before it begins a transfer to or from that buffer.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, LeaveOut),
        paths: &[Version3],
        made: false,
        expected: &[(When::ALWAYS, Expected::Harmless)],
        page: VERSION_3,
        gist: "Drivers of version 3 need not call KeFlushIoBuffers: MapTransferEx and \
               FlushAdapterBuffersEx keep the caches coherent. Bytes that the driver carries through \
               its cached common buffer, as those that are no whole lines, are a row of their own.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, LeaveOut),
        paths: &[CommonBufferUncached],
        made: false,
        expected: &[(When::ALWAYS, Expected::Harmless)],
        page: FLUSHING_DMA,
        gist: "The demand is for buffers that were allocated with CacheEnabled TRUE; this one was \
               not.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, LeaveOut),
        paths: &[Pio],
        directions: READ,
        expected: &[
            (When::on(COHERENT), Noted(&[Dma86])),
            (When::on(INCOHERENT), Harmful(&[Dma86], Seen::Fetch)),
        ],
        page: FLUSHING_PIO,
        gist: "A driver that reads device registers into system memory should call \
               KeFlushIoBuffers at the end of the sequence; otherwise the data may still be in \
               the processor's data cache.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, LeaveOut),
        paths: &[Pio],
        directions: &[Direction::ToDevice],
        made: false,
        expected: &[(When::ALWAYS, Expected::Harmless)],
        page: FLUSHING_PIO,
        gist: "The demand is for read operations; a programmed write needs no flush.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Falsify("Mdl", OTHER_MDL)),
        paths: MAPPED,
        expected: NOT_BEFORE_DMA,
        page: KE_FLUSH_IO_BUFFERS,
        gist: "It flushes the memory that the given MDL describes, and no other.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Falsify("ReadOperation", Forgery::Invert)),
        paths: MAPPED,
        expected: WRONGLY,
        page: KE_FLUSH_IO_BUFFERS,
        gist: "ReadOperation is TRUE for a transfer from the device, FALSE for one to it.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Falsify("ReadOperation", Forgery::Invert)),
        paths: CACHED,
        expected: &[
            (When::from_device(&[Nt]), Harmful(&[Dma84], Seen::App)),
            (When::ALWAYS, Noted(&[Dma84])),
        ],
        page: KE_FLUSH_IO_BUFFERS,
        gist: "ReadOperation is TRUE for a transfer from the device, FALSE for one to it. Both flush \
               the data caches to memory, which is all that a device needs that reads.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Falsify("DmaOperation", Forgery::Invert)),
        paths: MAPPED,
        expected: WRONGLY,
        page: KE_FLUSH_IO_BUFFERS,
        gist: "DmaOperation is TRUE for a DMA transfer, FALSE for programmed I/O.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Falsify("DmaOperation", Forgery::Invert)),
        paths: CACHED,
        expected: &[
            (When::on(&[Nt]), Harmful(&[Dma84, Dma90], Seen::Nobody)),
            (When::ALWAYS, Noted(&[Dma90])),
        ],
        page: KE_FLUSH_IO_BUFFERS,
        gist: "DmaOperation is TRUE for a DMA transfer; a flush for programmed I/O is not the one \
               that a common buffer needs.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, PutOff("MapTransfer")),
        paths: &[Packet],
        // Late, but still before the device begins.
        expected: &[
            (When::on(COHERENT), Noted(&[Dma85])),
            (When::on(INCOHERENT), Harmful(&[Dma85], Seen::Nobody)),
        ],
        page: FLUSHING_DMA,
        gist: "KeFlushIoBuffers comes just before the transfer: the sequence has it before the \
               channel is allocated and the buffer mapped.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, PutOff("FlushAdapterBuffers")),
        paths: &[Packet],
        expected: NOT_BEFORE_DMA,
        page: FLUSHING_DMA,
        gist: "Flushed after the device is done, old lines go over new data, and what the device \
               was to read came too late.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, PutOff("PutScatterGatherList")),
        paths: &[ScatterGather],
        expected: NOT_BEFORE_DMA,
        page: FLUSHING_DMA,
        gist: "Flushed after the device is done, old lines go over new data, and what the device \
               was to read came too late.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, PutOff("WdfRequestCompleteWithInformation")),
        paths: &[Packet, ScatterGather, Pio],
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma85, Dma86, Dma90, Dma101], Seen::Nobody))],
        page: USING_MDLS,
        gist: "Completing the request unlocks and frees its MDL; no call may use it afterwards.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Repeat),
        paths: &[Packet, ScatterGather, CommonBufferCached, Pio],
        directions: READ,
        expected: &[(When::ALWAYS, Harmless)],
        page: FLUSHING_DMA,
        gist: "A flush more costs time and does no harm: nothing has touched the lines since.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of(CALL, Repeat),
        paths: &[Packet, ScatterGather, CommonBufferCached],
        directions: &[Direction::ToDevice],
        expected: &[(When::ALWAYS, Harmless)],
        page: FLUSHING_DMA,
        gist: "A flush more costs time and does no harm: nothing has touched the lines since.",
        ..ROW
    },
];
