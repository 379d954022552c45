//! Version 3 of the operations: transfer contexts, channels and MapTransferEx (RULES section F).

// UNSAFETY: arguments are the driver's; transfer contexts are its memory.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, Channel, base_of};
use super::channel::{Turn, free_channel, reserve, submit};
use super::list_memory::list_size;
use super::lists::demand;
use super::mapping::chain_length;
use super::waiting::{Device, Opaque, Waiting};
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::{Kernel, context};
use crate::memory::mdl::Mdl;
use crate::verifier::{Violation, broken};

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
        return Err(super::channel::too_many(RuleId::Dma61, NumberOfMapRegisters, adapter.granted));
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
    let room = state.waiting.is_empty() && state.has_room(kernel, adapter, &waiting);
    if !room || !reserve(kernel, adapter, &waiting) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let grant = state.admit(kernel, adapter, &waiting);
    state.channel = Channel::Held { grant };
    let value = base_of(grant, &state.grants[grant]);
    // SAFETY: not null (checked by the caller), and the page promises a valid pointer.
    unsafe { base.write(value) };
    STATUS_SUCCESS
}

/// Ends a synchronous allocation (DMA-21; wdm, PFREE_ADAPTER_OBJECT): the channel, and the
/// registers too for DeallocateObject. KeepObject does nothing. A slave device's channel and registers
/// go together (DMA-107).
pub(crate) unsafe fn FreeAdapterObject(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    AllocationAction: IO_ALLOCATION_ACTION,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if AllocationAction == _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters
        && adapter.traits.slave.is_some()
    {
        let message = "FreeAdapterObject keeps the registers of a system DMA channel";
        return Err(broken(RuleId::Dma107, message).from(adapter.origin));
    }
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
