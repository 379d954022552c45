//! Version 3's scatter/gather lists (DMA-81).

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::Adapter;
use super::channel::Turn;
use super::extended::check_offset;
use super::lists::{Asked, request};
use super::mapping::examine;
use super::waiting::{Build, Device, Opaque};
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// What both calls have in common.
struct Call {
    name: &'static str,
    device: PDEVICE_OBJECT,
    transfer: PVOID,
    mdl: PMDL,
    offset: ULONGLONG,
    length: ULONG,
    flags: ULONG,
    routine: PDRIVER_LIST_CONTROL,
    context: PVOID,
    to_device: bool,
    buffer: PVOID,
    buffer_length: ULONG,
    list: *mut PSCATTER_GATHER_LIST,
    completes: bool,
}

/// Builds a list in memory of the HAL's (DMA-81; wdm, PGET_SCATTER_GATHER_LIST_EX). It ends with
/// PutScatterGatherList; built synchronously without a routine, FreeAdapterObject ends it too.
pub(crate) unsafe fn GetScatterGatherListEx(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    DmaTransferContext: PVOID,
    Mdl: PMDL,
    Offset: ULONGLONG,
    Length: ULONG,
    Flags: ULONG,
    ExecutionRoutine: PDRIVER_LIST_CONTROL,
    Context: PVOID,
    WriteToDevice: BOOLEAN,
    DmaCompletionRoutine: PDMA_COMPLETION_ROUTINE,
    CompletionContext: PVOID,
    ScatterGatherList: *mut PSCATTER_GATHER_LIST,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let call = Call {
        name: "GetScatterGatherListEx",
        device: DeviceObject,
        transfer: DmaTransferContext,
        mdl: Mdl,
        offset: Offset,
        length: Length,
        flags: Flags,
        routine: ExecutionRoutine,
        context: Context,
        to_device: WriteToDevice != 0,
        buffer: std::ptr::null_mut(),
        buffer_length: 0,
        list: ScatterGatherList,
        completes: routine(DmaCompletionRoutine).is_some() || !CompletionContext.is_null(),
    };
    serve(kernel, adapter, call)
}

/// Builds a list in the driver's buffer (DMA-81; wdm, PBUILD_SCATTER_GATHER_LIST_EX), as
/// GetScatterGatherListEx does in the HAL's. STATUS_BUFFER_TOO_SMALL if it does not fit.
pub(crate) unsafe fn BuildScatterGatherListEx(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    DmaTransferContext: PVOID,
    Mdl: PMDL,
    Offset: ULONGLONG,
    Length: ULONG,
    Flags: ULONG,
    ExecutionRoutine: PDRIVER_LIST_CONTROL,
    Context: PVOID,
    WriteToDevice: BOOLEAN,
    ScatterGatherBuffer: PVOID,
    ScatterGatherLength: ULONG,
    DmaCompletionRoutine: PDMA_COMPLETION_ROUTINE,
    CompletionContext: PVOID,
    ScatterGatherList: PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if ScatterGatherBuffer.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let call = Call {
        name: "BuildScatterGatherListEx",
        device: DeviceObject,
        transfer: DmaTransferContext,
        mdl: Mdl,
        offset: Offset,
        length: Length,
        flags: Flags,
        routine: ExecutionRoutine,
        context: Context,
        to_device: WriteToDevice != 0,
        buffer: ScatterGatherBuffer,
        buffer_length: ScatterGatherLength,
        list: ScatterGatherList.cast(),
        completes: routine(DmaCompletionRoutine).is_some() || !CompletionContext.is_null(),
    };
    serve(kernel, adapter, call)
}

fn serve(kernel: &Kernel, adapter: &Adapter, call: Call) -> Result<NTSTATUS, Violation> {
    if adapter.traits.slave.is_some() {
        // For bus masters only (DMA-81).
        return Ok(STATUS_INVALID_PARAMETER);
    }
    if call.completes {
        let message =
            format!("{} was given a DmaCompletionRoutine, which it does not use", call.name);
        return Err(broken(RuleId::Dma70, message));
    }
    let routine = routine(call.routine);
    let synchronous = call.flags & DMA_SYNCHRONOUS_CALLBACK != 0;
    let senseless = call.flags & !DMA_SYNCHRONOUS_CALLBACK != 0
        || (!routine.is_some() && (!synchronous || call.list.is_null()))
        || call.transfer.is_null()
        || call.device.is_null();
    if senseless {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let mdl = examine(kernel, call.mdl, call.to_device, call.name)?;
    // CAST: 32 bits.
    let length = call.length as usize;
    let offset = check_offset(kernel, mdl, call.offset, length, call.name)?;
    if !kernel.hal.use_context(call.transfer, call.name)? {
        return Ok(STATUS_CANCELLED);
    }
    let buffer = Opaque(call.buffer);
    let Call { to_device, buffer_length, .. } = call;
    let build = Build { mdl, offset, length, to_device, buffer, buffer_length };
    let transfer = call.transfer.addr();
    let device = Device(call.device);
    let asked = Asked { routine, context: Opaque(call.context), device, transfer };
    let turn = if synchronous { Turn::Now } else { Turn::Chosen };
    let status = request(kernel, adapter, build, asked, turn)?;
    if NT_SUCCESS(status) && !call.list.is_null() {
        // A list that is still to be built has no address yet, but for the driver's own buffer.
        let address = adapter.state.lock().list_of(transfer);
        let address = address.unwrap_or(call.buffer.addr());
        // SAFETY: not null, and the page promises a valid pointer.
        unsafe { call.list.write(std::ptr::with_exposed_provenance_mut(address)) };
    }
    Ok(status)
}
