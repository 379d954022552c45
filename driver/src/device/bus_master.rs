//! What the bus-master devices are like: what their adapters are asked for, how much memory they
//! need, and what clients are told.

use dmaproof_protocol as protocol;
use protocol::{DeviceKind, Limits, Path, Paths, PioKind, PioWindow, QueryReply};
use wdk_dma::{Adapter, Description};

use super::hardware::Hardware;
use crate::engine::{Abilities, edu, exerciser};
use crate::sys::PAGE_SIZE;
use crate::transfer::state::State;

/// One of the bus-master devices.
#[derive(Debug)]
pub(super) struct Model {
    kind: DeviceKind,
    pci: (u16, u16, u8),
    pub(super) abilities: Abilities,
    /// Version 2 of the adapter.
    pub(super) v2: Description,
    /// Version 3.
    pub(super) v3: Description,
    /// Pages that one operation can touch: its length, unaligned.
    pub(super) pages_max: u32,
    /// Common buffers of each kind that transfers go through, and their length, bytes (DMA-22).
    pub(super) common_buffers: usize,
    pub(super) common_buffer_length: u32,
    memory_length: u64,
    pio: PioWindow,
}

/// edu's longest operation, bytes: its whole window.
const EDU_LENGTH: u32 = 4095;
const _: () = assert!(EDU_LENGTH as u64 == edu::MEMORY_LENGTH);

/// QEMU's edu.
pub(super) static EDU: Model = Model {
    kind: DeviceKind::Edu,
    pci: (testdev::edu::VENDOR_ID, testdev::edu::DEVICE_ID, testdev::edu::REVISION),
    abilities: Abilities::EDU,
    // Neither 32-bit nor 64-bit addresses nor, on PCI, scatter/gather, which implies 32 bits: 24
    // bits are the widest reach below edu's 28 that version 2 can name (DMA-05).
    v2: Description {
        address_width: 24,
        scatter_gather: false,
        maximum_length: EDU_LENGTH,
        fragments_max: u32::MAX,
    },
    // Version 3 takes the number of bits as it is (DMA-06).
    v3: Description {
        address_width: edu::ADDRESS_WIDTH,
        scatter_gather: false,
        maximum_length: EDU_LENGTH,
        fragments_max: u32::MAX,
    },
    pages_max: 2,
    common_buffers: 1,
    common_buffer_length: PAGE_SIZE,
    memory_length: edu::MEMORY_LENGTH,
    pio: PioWindow {
        kind: PioKind::Registers,
        alignment: 4,
        length: edu::PIO_LENGTH,
        writable_offset: testdev::edu::LIVENESS,
        writable_length: 4,
    },
};

/// The exerciser's longest operation, bytes: what its longest list holds in whole pages.
const EXERCISER_LENGTH: u32 = testdev::exerciser::ELEMENTS_MAX as u32 * PAGE_SIZE;

/// The exerciser: all 64 bits, with lists (DMA-05, DMA-07).
const EXERCISER_DESCRIPTION: Description = Description {
    address_width: 64,
    scatter_gather: true,
    maximum_length: EXERCISER_LENGTH,
    // CAST: 256.
    fragments_max: testdev::exerciser::ELEMENTS_MAX as u32,
};

/// The exerciser.
pub(super) static EXERCISER: Model = Model {
    kind: DeviceKind::Exerciser,
    pci: (
        testdev::exerciser::VENDOR_ID,
        testdev::exerciser::DEVICE_ID,
        testdev::exerciser::REVISION,
    ),
    abilities: Abilities::EXERCISER,
    v2: EXERCISER_DESCRIPTION,
    v3: EXERCISER_DESCRIPTION,
    pages_max: testdev::exerciser::ELEMENTS_MAX as u32 + 1,
    common_buffers: 4,
    common_buffer_length: 16 * PAGE_SIZE,
    memory_length: exerciser::MEMORY_LENGTH,
    pio: PioWindow {
        kind: PioKind::Memory,
        alignment: 1,
        length: exerciser::WINDOW_LENGTH,
        writable_offset: 0,
        writable_length: exerciser::WINDOW_LENGTH,
    },
};

impl Model {
    /// What clients are told.
    pub(super) fn describe(&self, hardware: &Hardware, state: &State) -> (Limits, QueryReply) {
        let mut paths = Paths::EMPTY.with(Path::Packet).with(Path::ScatterGather).with(Path::Pio);
        if state.cached.length().is_some() {
            paths = paths.with(Path::CommonBufferCached);
        }
        if state.uncached.length().is_some() {
            paths = paths.with(Path::CommonBufferUncached);
        }
        if hardware.v3.is_some() {
            paths = paths.with(Path::Version3);
        }
        let limits = Limits {
            memory_length: self.memory_length,
            transfer_length_max: self.memory_length,
            paths,
            pio: self.pio,
        };
        let mut reply = QueryReply::new(&limits);
        reply.device_kind = self.kind.code();
        let (vendor, device, revision) = self.pci;
        (reply.pci_vendor, reply.pci_device) = (vendor, device);
        reply.pci_revision = u32::from(revision);
        if let Some(v2) = &hardware.v2 {
            reply.adapter_v2 = adapter(v2, &self.v2, 2, state.pieces.alignment);
        }
        if let Some(v3) = &hardware.v3 {
            reply.adapter_v3 = adapter(v3, &self.v3, 3, state.pieces_v3.alignment);
        }
        (limits, reply)
    }
}

fn adapter<V: wdk_dma::adapter::Version>(
    adapter: &Adapter<V>,
    description: &Description,
    version: u32,
    alignment: u32,
) -> protocol::AdapterInfo {
    protocol::AdapterInfo {
        present: 1,
        description_version: version,
        map_registers: adapter.map_registers(),
        address_width_bits: description.address_width,
        alignment,
        scatter_gather: u32::from(description.scatter_gather),
        maximum_length: u64::from(description.maximum_length),
    }
}
