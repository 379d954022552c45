//! What a driver gives back when its device goes.

use Deed::{LeaveOut, Repeat};
use Expected::Harmful;
use RuleId::{Dma18, Dma19, Dma20, Dma103, Kmdf04, Sim10, Sim11};

use super::pages::{FREE_MDL, FREE_POOL, GET_ADAPTER, PUT_ADAPTER, UNMAP_IO_SPACE};
use super::{Deed, Direction, Expected, Path, ROW, Row, RuleId, Sabotage, Seen, When};

const PATHS: &[Path] = &[Path::Packet];
const READ: &[Direction] = &[Direction::FromDevice];

pub(super) const ROWS: &[Row] = &[
    Row {
        sabotage: Sabotage::of("PutDmaAdapter", LeaveOut),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma19, Dma20], Seen::Nobody))],
        page: PUT_ADAPTER,
        gist: "A driver frees the adapter object when the device is stopped or removed.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("PutDmaAdapter", Repeat),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Dma19], Seen::Nobody))],
        page: GET_ADAPTER,
        gist: "Each adapter from IoGetDmaAdapter is put once; a released one may not be used (0xE6 \
               with 0x18).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("MmUnmapIoSpace", LeaveOut),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Kmdf04], Seen::Nobody))],
        page: UNMAP_IO_SPACE,
        gist: "A driver unmaps the ranges that it mapped when the device is stopped or removed.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("MmUnmapIoSpace", Repeat),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Kmdf04], Seen::Nobody))],
        page: UNMAP_IO_SPACE,
        gist: "The range to unmap is one that MmMapIoSpace has mapped.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("ExFreePoolWithTag", LeaveOut),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Sim10], Seen::Nobody))],
        page: FREE_POOL,
        gist: "Pool that is never freed is leaked (0xC4 with 0x62 at unload).",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("ExFreePoolWithTag", Repeat),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Sim11], Seen::Nobody))],
        page: FREE_POOL,
        gist: "Pool is freed once.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("IoFreeMdl", LeaveOut),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Sim10, Dma18, Dma103], Seen::Nobody))],
        page: FREE_MDL,
        gist: "An MDL from IoAllocateMdl is freed with IoFreeMdl.",
        ..ROW
    },
    Row {
        sabotage: Sabotage::of("IoFreeMdl", Repeat),
        paths: PATHS,
        directions: READ,
        expected: &[(When::ALWAYS, Harmful(&[Sim11, Dma103], Seen::Nobody))],
        page: FREE_MDL,
        gist: "An MDL is freed once.",
        ..ROW
    },
];
