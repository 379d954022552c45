//! MapTransferEx and FlushAdapterBuffersEx (RULES section F).

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, State};
use super::controller::Completion;
use super::extended::check_offset;
use super::list_memory::{Buffer, elements_in, first_address, write_list};
use super::mapping::{Mapping, Part, examine, walk};
use super::packet::{Wanted, flush, no_registers, too_long};
use super::system;
use super::waiting::Device;
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::memory::mdl::Mdl;
use crate::verifier::{Violation, broken};

/// Maps bytes of a chain and writes their list (DMA-64, DMA-65; wdm, PMAP_TRANSFER_EX). It may map
/// less than asked. One mapping at a time (DMA-66). STATUS_INVALID_PARAMETER for a buffer that
/// holds no element.
pub(crate) unsafe fn MapTransferEx(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    MapRegisterBase: PVOID,
    Offset: ULONGLONG,
    DeviceOffset: ULONG,
    Length: PULONG,
    WriteToDevice: BOOLEAN,
    ScatterGatherBuffer: PSCATTER_GATHER_LIST,
    ScatterGatherBufferLength: ULONG,
    DmaCompletionRoutine: PDMA_COMPLETION_ROUTINE,
    CompletionContext: PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let completion = system::completion(DmaCompletionRoutine, CompletionContext);
    if adapter.traits.slave.is_some() {
        system::check_offset(kernel, adapter, DeviceOffset)?;
    } else if completion.is_some() || !CompletionContext.is_null() {
        let message = "MapTransferEx was given a DmaCompletionRoutine, which only system DMA has";
        return Err(broken(RuleId::Dma70, message));
    } else if DeviceOffset != 0 {
        let message = "MapTransferEx for a bus master takes a DeviceOffset of 0";
        return Err(broken(RuleId::Dma64, message));
    }
    if Length.is_null() {
        return Err(broken(RuleId::Dma64, "MapTransferEx was given no Length"));
    }
    let to_device = WriteToDevice != 0;
    let mdl = examine(kernel, Mdl, to_device, "MapTransferEx")?;
    // SAFETY: not null, and the page promises a valid in/out pointer.
    let length = unsafe { Length.read() } as usize;
    let offset = check_offset(kernel, mdl, Offset, length, "MapTransferEx")?;
    // CAST: 32 bits.
    let room = elements_in(ScatterGatherBufferLength as usize);
    // For system DMA the list is optional: the HAL has room for one element of its own.
    let own = adapter.traits.slave.is_some() && ScatterGatherBuffer.is_null();
    if !own && (ScatterGatherBuffer.is_null() || room == 0) {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let mut buffer = own.then(|| Buffer::new(1));
    let list = buffer.as_mut().map_or(ScatterGatherBuffer.expose_provenance(), Buffer::address);
    let wish = Wish { mdl, offset, length, to_device, room: room.max(own.into()) };
    let mut state = adapter.state.lock();
    let Some(grant) = state.find_grant(MapRegisterBase) else {
        return Err(no_registers("MapTransferEx"));
    };
    if state.grants[grant].cancelled {
        return Ok(STATUS_CANCELLED);
    }
    let (mapped, was_flushed) = state.map_extended(kernel, adapter, grant, wish, list)?;
    let device = Device(state.grants[grant].device.0);
    drop(state);
    if mapped == 0 {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    }
    if was_flushed {
        let message = "KeFlushIoBuffers was called before MapTransferEx, which needs none";
        kernel.note(RuleId::Dma88, message)?;
    }
    // CAST: at most what was asked.
    // SAFETY: as above.
    unsafe { Length.write(mapped as u32) };
    // Last: *Length is written before the completion routine can run (DMA-109).
    let completion = completion.map(|(routine, context)| Completion { routine, context, device });
    system::program(kernel, adapter, (first_address(list), mapped), to_device, completion);
    Ok(STATUS_SUCCESS)
}

/// What MapTransferEx is to map, and for how many elements there is room.
#[derive(Clone, Copy, Debug)]
struct Wish {
    mdl: Mdl,
    offset: usize,
    length: usize,
    to_device: bool,
    room: usize,
}

impl State {
    /// Maps as much as fits; the bytes mapped, and whether KeFlushIoBuffers was called for some of
    /// them.
    fn map_extended(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        grant: usize,
        wish: Wish,
        list: usize,
    ) -> Result<(usize, bool), Violation> {
        if let Some(mapping) = self.grants[grant].maps.first() {
            let message = "MapTransferEx was called before the last mapping was flushed";
            let code = [0x0D, mapping.length as u64, mapping.length as u64, 0];
            return Err(broken(RuleId::Dma66, message).code(0xE6, code).from(mapping.origin));
        }
        let length = self.fitting(kernel, adapter, grant, wish)?;
        if length == 0 {
            return Ok((0, false));
        }
        if length > adapter.traits.maximum_length as usize {
            return Err(too_long(adapter, length));
        }
        let (first, operation) = (self.grants[grant].first, kernel.hal.next_serial());
        let Wish { mdl, offset, to_device, .. } = wish;
        let mut mapping: Mapping =
            self.begin(operation, first, (mdl, offset), to_device, context::stack());
        write_list(kernel, adapter, self, &mut mapping, (mdl, offset, length), list)?;
        let was_flushed =
            mapping.mdls.iter().fold(false, |any, (mdl, _)| mdl.take_unused_cache_flush() || any);
        self.grants[grant].maps.push(mapping);
        Ok((length, was_flushed))
    }

    /// How many bytes the registers and the list have room for; sometimes fewer (DMA-65).
    fn fitting(
        &self,
        kernel: &Kernel,
        adapter: &Adapter,
        grant: usize,
        wish: Wish,
    ) -> Result<usize, Violation> {
        let (mut registers, mut room) = (self.grants[grant].count, wish.room);
        let short = kernel.choices.coin(4);
        let mut fits = 0;
        walk(kernel, wish.mdl, wish.offset, wish.length, |part| {
            if registers == 0 {
                return Ok(());
            }
            let bytes = part.first_pages(registers);
            let bytes = if adapter.traits.scatter_gather {
                // CAST: at most the elements of a list.
                bytes.min(part.first_pages(u32::try_from(room).unwrap_or(u32::MAX)))
            } else {
                bytes
            };
            let taken = Part { length: bytes, ..part };
            registers -= taken.pages();
            room -= if adapter.traits.scatter_gather { taken.pages() as usize } else { 1 };
            fits += bytes;
            if bytes < part.length || room == 0 || !adapter.traits.scatter_gather {
                registers = 0;
            }
            Ok(())
        })?;
        if !short || !adapter.traits.scatter_gather {
            return Ok(fits);
        }
        let first =
            Part { mdl: wish.mdl, start: wish.mdl.start(), offset: wish.offset, length: fits };
        // CAST: a count of pages.
        Ok(first.first_pages(1 + kernel.choices.below(first.pages())).min(fits))
    }
}

/// Ends MapTransferEx's mapping (DMA-66, DMA-67; wdm, PFLUSH_ADAPTER_BUFFERS_EX) with its chain,
/// base, offset, length and direction. An error if the data did not arrive.
pub(crate) unsafe fn FlushAdapterBuffersEx(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    MapRegisterBase: PVOID,
    Offset: ULONGLONG,
    Length: ULONG,
    WriteToDevice: BOOLEAN,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mdl = kernel.memory.usable(Mdl, "FlushAdapterBuffersEx")?;
    let wanted = Wanted {
        mdl,
        // CAST: addresses are as wide as offsets.
        offset: Offset as usize,
        length: Length as usize,
        to_device: WriteToDevice != 0,
        base: MapRegisterBase,
    };
    system::flush(kernel, adapter)?;
    let arrived = flush(kernel, adapter, wanted)?;
    Ok(if arrived { STATUS_SUCCESS } else { STATUS_UNSUCCESSFUL })
}
