//! Version 3 of the operations: transfer contexts, channels and MapTransferEx (RULES section F).

// UNSAFETY: arguments are the driver's; transfer contexts are its memory.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, Channel, State, base_of};
use super::channel::{Turn, free_channel, submit};
use super::lists::{demand, elements_in, list_size, write_list};
use super::mapping::{Mapping, Part, chain_length, examine, walk};
use super::packet::{Wanted, flush, no_registers, too_long};
use super::waiting::{Device, Opaque, Waiting};
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::{Kernel, context};
use crate::memory::mdl::Mdl;
use crate::verifier::{Violation, broken};

/// First word of an initialised transfer context: not used yet, used, or cancelled before use.
const FRESH: u64 = 0x4358_5446_5245_5348;
const USED: u64 = 0x4358_5455_5345_4421;
const CANCELLED: u64 = 0x4358_5443_414E_434C;
/// The words of a context behind the first.
const CONTEXT_FILL: u64 = 0x4358_5458_4358_5458;

/// Where a transfer context's first word is.
fn first_word(context: PVOID) -> *mut u64 {
    context.cast()
}

/// Initialises a transfer context (DMA-59; wdm, PINITIALIZE_DMA_TRANSFER_CONTEXT): 128 bytes of
/// the driver's, not those of an outstanding allocation.
pub(crate) unsafe fn InitializeDmaTransferContext(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DmaTransferContext: PVOID,
) -> Result<NTSTATUS, Violation> {
    kernel.hal.adapter(kernel, DmaAdapter)?;
    if DmaTransferContext.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    kernel.hal.check_context_unused(DmaTransferContext, "InitializeDmaTransferContext")?;
    let words = DMA_TRANSFER_CONTEXT_SIZE_V1 as usize / 8;
    for word in 0..words {
        let value = if word == 0 { FRESH } else { CONTEXT_FILL };
        let place = first_word(DmaTransferContext).wrapping_add(word);
        // SAFETY: the page promises a buffer of DMA_TRANSFER_CONTEXT_SIZE_V1 bytes.
        unsafe { place.write_unaligned(value) };
    }
    Ok(STATUS_SUCCESS)
}

impl super::Hal {
    /// DMA-59: no outstanding allocation uses this context.
    fn check_context_unused(&self, context: PVOID, call: &str) -> Result<(), Violation> {
        if !self.any_adapter(|adapter| adapter.state.lock().uses_context(context.addr())) {
            return Ok(());
        }
        let message = format!("{call} was given the transfer context of an outstanding allocation");
        Err(broken(RuleId::Dma59, message))
    }

    /// Begins the use of a transfer context; `false` if it was cancelled before.
    pub(super) fn use_context(&self, context: PVOID, call: &str) -> Result<bool, Violation> {
        self.check_context_unused(context, call)?;
        // SAFETY: the page promises an initialised context of 128 bytes.
        let state = unsafe { first_word(context).read_unaligned() };
        match state {
            FRESH => {}
            CANCELLED => return Ok(false),
            _ => {
                let what = if state == USED { "not initialised anew" } else { "not initialised" };
                let message = format!("{call} was given a transfer context that was {what}");
                return Err(broken(RuleId::Dma59, message));
            }
        }
        // SAFETY: as above.
        unsafe { first_word(context).write_unaligned(USED) };
        Ok(true)
    }
}

/// Allocates the channel and map registers (DMA-61; wdm, PALLOCATE_ADAPTER_CHANNEL_EX).
/// Synchronously: now or STATUS_INSUFFICIENT_RESOURCES (DMA-62), with a routine, or without one and
/// then until FreeAdapterObject (DMA-63). STATUS_INVALID_PARAMETER for combinations that make no
/// sense.
pub(crate) unsafe fn AllocateAdapterChannelEx(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    DmaTransferContext: PVOID,
    NumberOfMapRegisters: ULONG,
    Flags: ULONG,
    ExecutionRoutine: PDRIVER_CONTROL,
    ExecutionContext: PVOID,
    MapRegisterBase: *mut PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let synchronous = Flags & DMA_SYNCHRONOUS_CALLBACK != 0;
    let routine = routine(ExecutionRoutine);
    let wants_base = !MapRegisterBase.is_null();
    let senseless = Flags & !DMA_SYNCHRONOUS_CALLBACK != 0
        || (!synchronous && (wants_base || !routine.is_some()))
        || wants_base == routine.is_some()
        || DeviceObject.is_null()
        || DmaTransferContext.is_null();
    if senseless {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    if NumberOfMapRegisters > adapter.granted {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    }
    if !kernel.hal.use_context(DmaTransferContext, "AllocateAdapterChannelEx")? {
        return Ok(STATUS_CANCELLED);
    }
    let waiting = Waiting {
        routine,
        context: Opaque(ExecutionContext),
        device: Device(DeviceObject),
        registers: NumberOfMapRegisters,
        transfer: DmaTransferContext.addr(),
        build: None,
        origin: context::stack(),
    };
    if !routine.is_some() {
        return Ok(hold(kernel, adapter, waiting, MapRegisterBase));
    }
    let turn = if synchronous { Turn::Now } else { Turn::Chosen };
    let served = submit(kernel, adapter, waiting, turn)?;
    Ok(if served { STATUS_SUCCESS } else { STATUS_INSUFFICIENT_RESOURCES })
}

/// Gives the channel to the caller, without a routine.
fn hold(kernel: &Kernel, adapter: &Adapter, waiting: Waiting, base: *mut PVOID) -> NTSTATUS {
    let mut state = adapter.state.lock();
    if !state.waiting.is_empty() || !state.has_room(&waiting) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let grant = state.admit(kernel, adapter, &waiting);
    state.channel = Channel::Held { grant };
    let value = base_of(grant, &state.grants[grant]);
    // SAFETY: not null (checked by the caller), and the page promises a valid pointer.
    unsafe { base.write(value) };
    STATUS_SUCCESS
}

/// Withdraws an allocation that waits (DMA-68; wdm, PCANCEL_ADAPTER_CHANNEL): TRUE, and its routine
/// never runs; FALSE if it ran or will. A context that was not used yet cancels the allocation it
/// will be used for.
pub(crate) unsafe fn CancelAdapterChannel(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    DmaTransferContext: PVOID,
) -> Result<BOOLEAN, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if DmaTransferContext.is_null() {
        return Err(broken(RuleId::Dma68, "CancelAdapterChannel was given no transfer context"));
    }
    let mut state = adapter.state.lock();
    let found = state.waiting.iter().position(|w| w.transfer == DmaTransferContext.addr());
    if let Some(at) = found {
        if state.waiting[at].device != Device(DeviceObject) {
            let message =
                "CancelAdapterChannel was given another device object than the allocation";
            return Err(broken(RuleId::Dma68, message).from(state.waiting[at].origin));
        }
        let withdrawn = state.waiting.remove(at);
        if let Some(build) = withdrawn.and_then(|w| w.build) {
            build.mdl.end_build();
        }
        state.kick(kernel, adapter);
        return Ok(1);
    }
    // SAFETY: the page promises an initialised context of 128 bytes.
    if unsafe { first_word(DmaTransferContext).read_unaligned() } == FRESH {
        // SAFETY: as above.
        unsafe { first_word(DmaTransferContext).write_unaligned(CANCELLED) };
        return Ok(1);
    }
    Ok(0)
}

/// Ends a synchronous allocation (DMA-21; wdm, PFREE_ADAPTER_OBJECT): the channel, and the
/// registers too for DeallocateObject. KeepObject does nothing.
pub(crate) unsafe fn FreeAdapterObject(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    AllocationAction: IO_ALLOCATION_ACTION,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let registers = match AllocationAction {
        _IO_ALLOCATION_ACTION::KeepObject => return Ok(()),
        _IO_ALLOCATION_ACTION::DeallocateObject => true,
        _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters => false,
        other => {
            let message = format!("FreeAdapterObject was given {other}, no IO_ALLOCATION_ACTION");
            return Err(broken(RuleId::Dma21, message));
        }
    };
    let bare = {
        let state = adapter.state.lock();
        let bare = state.lists.iter().position(|list| list.live && list.bare);
        bare.filter(|_| state.channel == Channel::Free)
    };
    let Some(list) = bare else {
        return free_channel(kernel, adapter, registers, "FreeAdapterObject", RuleId::Dma21);
    };
    // A list that was built synchronously without a routine: the adapter object is released, and
    // its registers with it or at PutScatterGatherList.
    let mut state = adapter.state.lock();
    if registers {
        return state.end_list(kernel, adapter, list);
    }
    state.lists[list].bare = false;
    Ok(())
}

/// Tells what a transfer needs (DMA-60; wdm, PGET_DMA_TRANSFER_INFO). STATUS_NOT_SUPPORTED for
/// another version of the structure.
pub(crate) unsafe fn GetDmaTransferInfo(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    Offset: ULONGLONG,
    Length: ULONG,
    _WriteOnly: BOOLEAN,
    TransferInfo: PDMA_TRANSFER_INFO,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mdl = kernel.memory.usable(Mdl, "GetDmaTransferInfo")?;
    if TransferInfo.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: not null, and the page promises a valid structure.
    let version = unsafe { (*TransferInfo).Version };
    if version != DMA_TRANSFER_INFO_VERSION1 && version != DMA_TRANSFER_INFO_VERSION2 {
        return Ok(STATUS_NOT_SUPPORTED);
    }
    // CAST: 32 bits.
    let length = Length as usize;
    let offset = check_offset(kernel, mdl, Offset, length, "GetDmaTransferInfo")?;
    let needs = demand(kernel, adapter, mdl, offset, length)?;
    // CAST: at most the pages of the chain.
    let (elements, size) = (needs.elements as u32, list_size(needs.elements) as u32);
    let pages = needs.registers;
    let answer = if version == DMA_TRANSFER_INFO_VERSION1 {
        let V1 = DMA_TRANSFER_INFO_V1 {
            MapRegisterCount: pages,
            ScatterGatherElementCount: elements,
            ScatterGatherListSize: size,
        };
        _DMA_TRANSFER_INFO__bindgen_ty_1 { V1 }
    } else {
        let V2 = DMA_TRANSFER_INFO_V2 {
            MapRegisterCount: pages,
            ScatterGatherElementCount: elements,
            ScatterGatherListSize: size,
            LogicalPageCount: pages,
        };
        _DMA_TRANSFER_INFO__bindgen_ty_1 { V2 }
    };
    // SAFETY: as above.
    let place = unsafe { &raw mut (*TransferInfo).__bindgen_anon_1 };
    // SAFETY: as above; the second version's structure is as large as the union.
    unsafe { place.write(answer) };
    Ok(STATUS_SUCCESS)
}

/// Offset and length of a transfer lie in the chain (DMA-46, DMA-50, DMA-60, DMA-64).
pub(super) fn check_offset(
    kernel: &Kernel,
    mdl: Mdl,
    Offset: ULONGLONG,
    length: usize,
    call: &str,
) -> Result<usize, Violation> {
    if length == 0 {
        let message = format!("{call} was asked for zero bytes");
        return Err(broken(RuleId::Dma50, message).code(0xE6, [0x21, 0, 0, 0]));
    }
    let total = chain_length(kernel, mdl)?;
    // CAST: addresses are as wide as offsets.
    let offset = Offset as usize;
    if offset < total && length <= total - offset {
        return Ok(offset);
    }
    let missing = offset.saturating_add(length) - total;
    let message = format!(
        "{call} was given offset {offset} and length {length}; the MDL chain has {total} bytes"
    );
    let code = [0x24, missing as u64, 0, 0];
    Err(broken(RuleId::Dma46, message).code(0xE6, code))
}

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
    if routine(DmaCompletionRoutine).is_some() || !CompletionContext.is_null() {
        let message = "MapTransferEx was given a DmaCompletionRoutine, which only system DMA has";
        return Err(broken(RuleId::Dma70, message));
    }
    if DeviceOffset != 0 || Length.is_null() {
        let message = "MapTransferEx for a bus master takes a DeviceOffset of 0, and a Length";
        return Err(broken(RuleId::Dma64, message));
    }
    let to_device = WriteToDevice != 0;
    let mdl = examine(kernel, Mdl, to_device, "MapTransferEx")?;
    // SAFETY: not null, and the page promises a valid in/out pointer.
    let length = unsafe { Length.read() } as usize;
    let offset = check_offset(kernel, mdl, Offset, length, "MapTransferEx")?;
    // CAST: 32 bits.
    let room = elements_in(ScatterGatherBufferLength as usize);
    if ScatterGatherBuffer.is_null() || room == 0 {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let wish = Wish { mdl, offset, length, to_device, room };
    let mut state = adapter.state.lock();
    let Some(grant) = state.find_grant(MapRegisterBase) else {
        return Err(no_registers("MapTransferEx"));
    };
    let list = ScatterGatherBuffer.expose_provenance();
    let mapped = state.map_extended(kernel, adapter, grant, wish, list)?;
    if mapped == 0 {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    }
    // CAST: at most what was asked.
    // SAFETY: as above.
    unsafe { Length.write(mapped as u32) };
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
    /// Maps as much as fits; the bytes mapped.
    fn map_extended(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        grant: usize,
        wish: Wish,
        list: usize,
    ) -> Result<usize, Violation> {
        if let Some(mapping) = self.grants[grant].maps.first() {
            let message = "MapTransferEx was called before the last mapping was flushed";
            let code = [0x0D, mapping.length as u64, mapping.length as u64, 0];
            return Err(broken(RuleId::Dma66, message).code(0xE6, code).from(mapping.origin));
        }
        let length = self.fitting(kernel, adapter, grant, wish)?;
        if length == 0 {
            return Ok(0);
        }
        if length > adapter.traits.maximum_length as usize {
            return Err(too_long(adapter, length));
        }
        let (first, operation) = (self.grants[grant].first, kernel.hal.next_serial());
        let Wish { mdl, offset, to_device, .. } = wish;
        let mut mapping: Mapping =
            self.begin(operation, first, (mdl, offset), to_device, context::stack());
        write_list(kernel, adapter, self, &mut mapping, (mdl, offset, length), list)?;
        self.grants[grant].maps.push(mapping);
        Ok(length)
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
        let short = kernel.hal.coin(4);
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
        Ok(first.first_pages(1 + kernel.hal.choose(first.pages())).min(fits))
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
    let arrived = flush(kernel, adapter, wanted)?;
    Ok(if arrived { STATUS_SUCCESS } else { STATUS_UNSUCCESSFUL })
}
