//! System DMA: a device without bus mastering, and the DMA controller of the `nt` machine.

use Deed::{Falsify, LeaveOut, Repeat};
use Expected::Harmful;
use Path::SystemDma;
use RuleId::{
    Dma17, Dma18, Dma20, Dma41, Dma43, Dma44, Dma46, Dma51, Dma52, Dma53, Dma54, Dma84, Dma85,
    Dma90, Dma104, Dma107,
};

use super::pages::{
    BUG_CHECK_E6, FLUSH_ADAPTER_BUFFERS, FLUSHING_DMA, FREE_CHANNEL, MAP_TRANSFER, USING_SYSTEM_DMA,
};
use super::{Deed, Expected, Forgery, Nt, Path, ROW, Row, RuleId, Sabotage, Seen, When};

const PATHS: &[Path] = &[SystemDma];
const NT: When = When::on(&[Nt]);

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of("KeFlushIoBuffers", LeaveOut),
        paths: PATHS,
        expected: &[
            (When::to_device(&[Nt]), Harmful(&[Dma85, Dma90, Dma107], Seen::Device)),
            (When::from_device(&[Nt]), Harmful(&[Dma85, Dma90, Dma107], Seen::App)),
        ],
        page: USING_SYSTEM_DMA,
        gist: "The sequence begins with KeFlushIoBuffers: the processor's caches are as far from \
               the DMA controller as from a bus master.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("KeFlushIoBuffers", Falsify("ReadOperation", Forgery::Invert)),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma84], Seen::Nobody))],
        page: FLUSHING_DMA,
        gist: "ReadOperation is TRUE for a transfer from the device, FALSE for one to it.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("FlushAdapterBuffers", LeaveOut),
        paths: PATHS,
        expected: &[
            (When::from_device(&[Nt]), Harmful(&[Dma43, Dma54, Dma107], Seen::App)),
            (NT, Harmful(&[Dma43, Dma54, Dma107], Seen::Nobody)),
        ],
        page: FLUSHING_DMA,
        gist: "A DMA controller moves data in chunks and can wait until its buffer is full: \
               without FlushAdapterBuffers at the end of each transfer the driver cannot be sure \
               when every byte has arrived.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("FlushAdapterBuffers", Falsify("Length", Forgery::Add(-64))),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma53], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "Length is that of the buffer: all bytes of the operation.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("FlushAdapterBuffers", Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma52], Seen::Nobody))],
        page: FLUSH_ADAPTER_BUFFERS,
        gist: "WriteToDevice is the direction of the transfer.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("FlushAdapterBuffers", Repeat),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma53, Dma107], Seen::Nobody))],
        page: USING_SYSTEM_DMA,
        gist: "As many flushes as mappings.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("MapTransfer", Falsify("WriteToDevice", Forgery::Invert)),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma52, Dma84, Dma104], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "WriteToDevice is the direction of the transfer.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("MapTransfer", Falsify("CurrentVa", Forgery::Add(64))),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma46], Seen::Nobody))],
        page: MAP_TRANSFER,
        gist: "Bytes beyond the MDL may not be mapped.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("MapTransfer", Repeat),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma51, Dma107], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "Mapping a range that is mapped already is a violation (0xE6 with 0x1D).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("FreeAdapterChannel", LeaveOut),
        paths: PATHS,
        // At the latest when the channel is asked for again.
        expected: &[(NT, Harmful(&[Dma17, Dma18, Dma20, Dma43, Dma44], Seen::Nobody))],
        page: FREE_CHANNEL,
        gist: "AdapterControl kept the channel; the driver frees it when the transfer is over.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("FreeAdapterChannel", Repeat),
        paths: PATHS,
        expected: &[(NT, Harmful(&[Dma41, Dma43], Seen::Nobody))],
        page: BUG_CHECK_E6,
        gist: "More channels freed than allocated is a violation (0xE6 with 0x04).",
        ..ROW
    },
];
