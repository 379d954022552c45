//! What the slave device has when it is started: its channel's adapter, and what clients are told.

use dmaproof_protocol as protocol;
use protocol::{Limits, Path, Paths, PioWindow, QueryReply};
use wdk_dma::irql::Passive;
use wdk_dma::system::SystemDescription;
use wdk_dma::{Adapter, DmaError, PieceLimits, System};

use super::DeviceContext;
use super::hardware::{self, Hardware};
use crate::engine::slave;
use crate::sys::{CM_RESOURCE_DMA_V3, CmResourceTypeDma, WDFCMRESLIST};

/// Longest single operation, bytes: half of the device's memory, so that long transfers take more
/// than one.
const MAXIMUM_LENGTH: u32 = 8192;
const _: () = assert!(MAXIMUM_LENGTH as u64 * 2 == slave::MEMORY_LENGTH);

/// The device's channel of the system's DMA controller, among its translated resources: only a
/// device without bus mastering has one.
pub(super) fn find_channel(resources: WDFCMRESLIST) -> Option<u32> {
    hardware::descriptors(resources).find_map(|descriptor| {
        if u32::from(descriptor.Type) != CmResourceTypeDma {
            return None;
        }
        if u32::from(descriptor.Flags) & CM_RESOURCE_DMA_V3 != 0 {
            // SAFETY: type and flag say which member of the union is there.
            return Some(unsafe { descriptor.u.DmaV3.Channel });
        }
        // SAFETY: as above.
        Some(unsafe { descriptor.u.Dma.Channel })
    })
}

/// Takes the adapter of the channel.
pub(super) fn open_adapter(
    context: &DeviceContext,
    hardware: &mut Hardware,
    channel: u32,
    passive: &Passive,
) -> Result<(), DmaError> {
    let description = SystemDescription { channel, maximum_length: MAXIMUM_LENGTH };
    let physical = hardware::physical_device(context);
    // SAFETY: the PDO, during device start (DMA-02).
    let adapter = unsafe { Adapter::<System>::open_channel(physical, &description, passive) }?;
    let adapter = hardware.system.insert(adapter);
    let pieces = PieceLimits {
        map_registers: adapter.map_registers(),
        maximum_length: MAXIMUM_LENGTH,
        alignment: adapter.alignment(passive),
    };
    let mut state = context.state.lock(passive);
    state.pieces = pieces;
    state.pieces_v3 = pieces;
    Ok(())
}

/// What clients are told. Without a common buffer nothing carries heads and tails that are not
/// aligned, so the path is there only where any alignment will do (DMA-15).
pub(super) fn describe(adapter: &Adapter<System>, alignment: u32) -> (Limits, QueryReply) {
    let paths = if alignment == 1 { Paths::EMPTY.with(Path::SystemDma) } else { Paths::EMPTY };
    let limits = Limits {
        memory_length: slave::MEMORY_LENGTH,
        transfer_length_max: slave::MEMORY_LENGTH,
        paths,
        pio: PioWindow::NONE,
    };
    let mut reply = QueryReply::new(&limits);
    reply.device_kind = protocol::DeviceKind::Slave.code();
    reply.adapter_v2 = protocol::AdapterInfo {
        present: 1,
        description_version: 2,
        map_registers: adapter.map_registers(),
        address_width_bits: 24,
        alignment,
        scatter_gather: 0,
        maximum_length: u64::from(MAXIMUM_LENGTH),
    };
    (limits, reply)
}
