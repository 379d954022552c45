//! Scatter/gather lists (RULES section G).

// UNSAFETY: lists are memory shared with the driver, and arguments are its.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, State};
use super::channel::{Turn, submit};
use super::coherency::Coherency;
use super::list_memory::{Buffer, digest, element_lengths, elements_in, list_size, write_list};
use super::mapping::{Mapping, examine, walk};
use super::packet::too_long;
use super::registers::RegisterFile;
use super::waiting::{Build, Device, Opaque, Waiting};
use crate::RuleId;
use crate::ddi::callback::{self, routine};
use crate::machine::{DISPATCH, Kernel, context};
use crate::memory::mdl::{Mdl, Skipped};
use crate::memory::pages::span;
use crate::verifier::{CallStack, Violation, broken};

/// A list that was built and not put.
#[derive(Debug, Default)]
pub(super) struct List {
    pub live: bool,
    /// Address of the SCATTER_GATHER_LIST.
    pub address: usize,
    /// Bytes of the list with its private part.
    pub bytes: usize,
    /// The HAL's own memory, if GetScatterGatherList made the list.
    pub buffer: Option<Buffer>,
    /// Its registers.
    pub grant: usize,
    pub mapping: Mapping,
    /// Of what the HAL wrote.
    pub digest: u64,
    pub context: usize,
    /// Built synchronously without a routine: FreeAdapterObject may end it.
    pub bare: bool,
    pub origin: CallStack,
}

/// What a transfer needs: registers, elements, and whether the chain is long enough.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    pub registers: u32,
    pub elements: usize,
    pub missing: usize,
}

/// Counts registers and elements for bytes of a chain: summed for each MDL (DMA-78).
pub(super) fn demand(
    kernel: &Kernel,
    adapter: &Adapter,
    mdl: Mdl,
    offset: usize,
    length: usize,
) -> Result<Demand, Violation> {
    let mut demand = Demand::default();
    demand.missing = walk(kernel, mdl, offset, length, |part| {
        demand.registers += part.pages();
        // CAST: pages of an MDL.
        demand.elements += if adapter.traits.scatter_gather { part.pages() as usize } else { 1 };
        Ok(())
    })?;
    Ok(demand)
}

/// Offset of CurrentVa in the first MDL (DMA-46).
fn offset_in(mdl: Mdl, CurrentVa: PVOID, length: ULONG, call: &str) -> Result<usize, Violation> {
    let (start, end, at) = (mdl.start(), mdl.start() + mdl.byte_count(), CurrentVa.addr());
    if length == 0 {
        let message = format!("{call} was asked to map zero bytes");
        return Err(broken(RuleId::Dma50, message).code(0xE6, [0x21, 0, 0, 0]));
    }
    if at >= start && at < end {
        return Ok(at - start);
    }
    let kind = if at < start { 1 } else { 2 };
    let message =
        format!("{call}: CurrentVa {at:#x} lies outside the first MDL, {start:#x}..{end:#x}");
    // CAST: addresses.
    let code = [0x1F, kind, at as u64, mdl.pointer().addr() as u64];
    Err(broken(RuleId::Dma46, message).code(0xE6, code))
}

/// Builds a list in memory of the HAL's (DMA-72; wdm, PGET_SCATTER_GATHER_LIST).
/// STATUS_BUFFER_TOO_SMALL for a chain shorter than the length, STATUS_INSUFFICIENT_RESOURCES for
/// more registers than the adapter has.
pub(crate) unsafe fn GetScatterGatherList(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    Mdl: PMDL,
    CurrentVa: PVOID,
    Length: ULONG,
    ExecutionRoutine: PDRIVER_LIST_CONTROL,
    Context: PVOID,
    WriteToDevice: BOOLEAN,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let to_device = WriteToDevice != 0;
    let mdl = examine(kernel, Mdl, to_device, "GetScatterGatherList")?;
    let offset = offset_in(mdl, CurrentVa, Length, "GetScatterGatherList")?;
    let buffer = Opaque(std::ptr::null_mut());
    // CAST: 32 bits.
    let length = Length as usize;
    let build = Build { mdl, offset, length, to_device, buffer, buffer_length: 0 };
    let asked = Asked {
        routine: routine(ExecutionRoutine),
        context: Opaque(Context),
        device: Device(DeviceObject),
        transfer: 0,
    };
    request(kernel, adapter, build, asked, Turn::Chosen)
}

/// Builds a list in the driver's buffer (DMA-80; wdm, PBUILD_SCATTER_GATHER_LIST), as
/// GetScatterGatherList does in the HAL's.
pub(crate) unsafe fn BuildScatterGatherList(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    Mdl: PMDL,
    CurrentVa: PVOID,
    Length: ULONG,
    ExecutionRoutine: PDRIVER_LIST_CONTROL,
    Context: PVOID,
    WriteToDevice: BOOLEAN,
    ScatterGatherBuffer: PVOID,
    ScatterGatherLength: ULONG,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let to_device = WriteToDevice != 0;
    let mdl = examine(kernel, Mdl, to_device, "BuildScatterGatherList")?;
    let offset = offset_in(mdl, CurrentVa, Length, "BuildScatterGatherList")?;
    if ScatterGatherBuffer.is_null() {
        return Err(broken(RuleId::Dma80, "BuildScatterGatherList was given no buffer"));
    }
    let buffer = Opaque(ScatterGatherBuffer);
    // CAST: 32 bits.
    let length = Length as usize;
    let build =
        Build { mdl, offset, length, to_device, buffer, buffer_length: ScatterGatherLength };
    let asked = Asked {
        routine: routine(ExecutionRoutine),
        context: Opaque(Context),
        device: Device(DeviceObject),
        transfer: 0,
    };
    request(kernel, adapter, build, asked, Turn::Chosen)
}

/// Who asks for a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub routine: callback::Routine,
    pub context: Opaque,
    pub device: Device,
    pub transfer: usize,
}

/// Serves or queues a list; the statuses are the pages'.
pub(super) fn request(
    kernel: &Kernel,
    adapter: &Adapter,
    build: Build,
    asked: Asked,
    turn: Turn,
) -> Result<NTSTATUS, Violation> {
    let demand = demand(kernel, adapter, build.mdl, build.offset, build.length)?;
    if demand.missing != 0 {
        return Ok(STATUS_BUFFER_TOO_SMALL);
    }
    // The system's DMA controller takes no lists.
    if demand.registers > adapter.granted || adapter.traits.slave.is_some() {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    }
    if !build.buffer.0.is_null() && elements_in(build.buffer_length as usize) < demand.elements {
        return Ok(STATUS_BUFFER_TOO_SMALL);
    }
    if build.length > adapter.traits.maximum_length as usize {
        return Err(too_long(adapter, build.length));
    }
    let Asked { routine, context, device, transfer } = asked;
    if turn == Turn::Chosen && !routine.is_some() {
        return Err(broken(
            RuleId::Sim11,
            "a list was asked for without an AdapterListControl routine",
        ));
    }
    let origin = context::stack();
    let registers = demand.registers;
    let waiting =
        Waiting { routine, context, device, registers, transfer, build: Some(build), origin };
    let served = submit(kernel, adapter, waiting, turn)?;
    Ok(if served { STATUS_SUCCESS } else { STATUS_INSUFFICIENT_RESOURCES })
}

/// Maps the bytes, writes the list and calls AdapterListControl, if there is one. Returns the
/// list's address.
pub(super) fn build(
    kernel: &Kernel,
    adapter: &Adapter,
    waiting: Waiting,
    build: Build,
    grant: usize,
) -> Result<usize, Violation> {
    let (address, coherency) = {
        let mut state = adapter.state.lock();
        state.build(kernel, adapter, &waiting, build, grant)?
    };
    if adapter.traits.version < 3 {
        coherency.report(kernel, build.to_device)?;
    }
    if waiting.routine.is_some() {
        let (device, context) = (waiting.device.0, waiting.context.0);
        let list = std::ptr::with_exposed_provenance_mut(address);
        kernel.at_irql(DISPATCH, || {
            // SAFETY: the driver registered this routine as its AdapterListControl; the list was
            // just written. The Irp argument is for drivers with StartIo only (DMA-73).
            unsafe {
                callback::DRIVER_LIST_CONTROL(
                    kernel,
                    waiting.routine,
                    device,
                    std::ptr::null_mut(),
                    list,
                    context,
                );
            }
        });
    }
    Ok(address)
}

impl State {
    fn build(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        waiting: &Waiting,
        build: Build,
        grant: usize,
    ) -> Result<(usize, Coherency), Violation> {
        let operation = kernel.hal.next_serial();
        let Build { mdl, offset, length, to_device, .. } = build;
        let first = self.grants[grant].first;
        let mut mapping = self.begin(operation, first, (mdl, offset), to_device, waiting.origin);
        let elements = waiting.registers as usize;
        let (address, buffer) = self.list_memory(build, elements);
        let mut coherency = Coherency::default();
        if adapter.traits.version < 3 {
            walk(kernel, mdl, offset, length, |part| {
                coherency.look(kernel, part, to_device);
                Ok(())
            })?;
        }
        let range = (mdl, offset, length);
        let (bytes, digest) = write_list(kernel, adapter, self, &mut mapping, range, address)?;
        let list = List {
            live: true,
            address,
            bytes,
            buffer,
            grant,
            mapping,
            digest,
            context: waiting.transfer,
            bare: !waiting.routine.is_some(),
            origin: waiting.origin,
        };
        match self.lists.iter().position(|list| !list.live) {
            Some(free) => self.lists[free] = list,
            None => self.lists.push(list),
        }
        Ok((address, coherency))
    }

    /// Where the list goes: the driver's buffer, or one of the HAL's.
    fn list_memory(&mut self, build: Build, elements: usize) -> (usize, Option<Buffer>) {
        if !build.buffer.0.is_null() {
            return (build.buffer.0.expose_provenance(), None);
        }
        let fits = self.buffers.iter().position(|buffer| buffer.holds(elements));
        let mut buffer = match fits {
            Some(at) => self.buffers.swap_remove(at),
            None => Buffer::new(elements),
        };
        (buffer.address(), Some(buffer))
    }

    /// Address of the live list that was asked for with this transfer context.
    pub(super) fn list_of(&self, context: usize) -> Option<usize> {
        self.lists.iter().find(|list| list.live && list.context == context).map(|l| l.address)
    }

    /// Position of the live list at this address.
    pub(super) fn find_list(&self, address: usize) -> Option<usize> {
        self.lists.iter().position(|list| list.live && list.address == address)
    }
}

/// Ends a list (DMA-75; wdm, PPUT_SCATTER_GATHER_LIST): flushes it, frees its registers and, if the
/// HAL made it, its memory. Once, with the list as it was and the direction of the mapping.
pub(crate) unsafe fn PutScatterGatherList(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    ScatterGather: PSCATTER_GATHER_LIST,
    WriteToDevice: BOOLEAN,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mut state = adapter.state.lock();
    let Some(at) = state.find_list(ScatterGather.addr()) else {
        let live = state.lists.iter().filter(|list| list.live).count();
        let message = "PutScatterGatherList was given a list that this adapter has not outstanding";
        // CAST: a count.
        return Err(broken(RuleId::Dma75, message).code(0xE6, [0x06, live as u64, 0, 0]));
    };
    if state.lists[at].mapping.to_device != (WriteToDevice != 0) {
        let message = "the direction of PutScatterGatherList is not the list's";
        return Err(broken(RuleId::Dma52, message).from(state.lists[at].origin));
    }
    state.end_list(kernel, adapter, at)
}

impl State {
    /// Flushes a list and frees what it holds.
    pub(super) fn end_list(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        at: usize,
    ) -> Result<(), Violation> {
        let list = &mut self.lists[at];
        list.mapping.check_chain()?;
        if digest(list.address, list.bytes) != list.digest {
            let rule = if list.buffer.is_some() { RuleId::Dma75 } else { RuleId::Dma80 };
            let message = "the scatter/gather list was changed before it was put";
            return Err(broken(rule, message).from(list.origin));
        }
        list.live = false;
        let mapping = std::mem::take(&mut list.mapping);
        let (grant, buffer) = (list.grant, list.buffer.take());
        let skipped = skipped(&self.file, &mapping, list.address);
        if let Some(mut buffer) = buffer {
            buffer.forget();
            self.buffers.push(buffer);
        }
        self.unmap(kernel, adapter, mapping, true, context::stack())?;
        self.revoke(grant);
        self.kick(kernel, adapter);
        skipped.map_or(Ok(()), |(head, skipped)| tell_skipped(kernel, head, skipped))
    }
}

/// The first element of the list at this address of which the device accessed nothing, if it
/// accessed others (DMA-77); its offset is from the start of the chain.
fn skipped(file: &RegisterFile, mapping: &Mapping, list: usize) -> Option<(Mdl, Skipped)> {
    let parts = || file.parts(mapping.register..mapping.register + mapping.registers);
    if parts().all(|(.., touched)| touched) || !parts().any(|(.., touched)| touched) {
        return None;
    }
    let &Mapping { head, to_device, origin, .. } = mapping;
    let mut end = 0;
    let mut elements = element_lengths(list).map(|length| {
        end += length;
        (end - length, length)
    });
    let alone = |&(from, length): &(usize, usize)| {
        parts().all(|(start, end, touched)| !touched || end <= from || from + length <= start)
    };
    let (from, length) = elements.find(alone)?;
    let offset = mapping.offset + from;
    Some((head?, Skipped { offset, before: 0, length, to_device, origin }))
}

/// Remembers it with the MDL that has its bytes.
fn tell_skipped(kernel: &Kernel, head: Mdl, skipped: Skipped) -> Result<(), Violation> {
    walk(kernel, head, skipped.offset, 1, |part| {
        let (offset, before) = (part.offset, skipped.offset - part.offset);
        part.mdl.skip(Skipped { offset, before, ..skipped });
        Ok(())
    })?;
    Ok(())
}

/// Tells the size of a list (DMA-79; wdm, PCALCULATE_SCATTER_GATHER_LIST_SIZE): the worst case for
/// the length without an MDL. STATUS_INSUFFICIENT_RESOURCES for more registers than the adapter
/// has, STATUS_BUFFER_TOO_SMALL for a chain shorter than the length.
pub(crate) unsafe fn CalculateScatterGatherList(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    CurrentVa: PVOID,
    Length: ULONG,
    ScatterGatherListSize: PULONG,
    pNumberOfMapRegisters: PULONG,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if ScatterGatherListSize.is_null() {
        return Err(broken(
            RuleId::Dma79,
            "CalculateScatterGatherList was given no size to fill in",
        ));
    }
    // CAST: 32 bits.
    let length = Length as usize;
    let needs = if Mdl.is_null() {
        // CAST: pages of less than 4 GiB.
        let registers = span(CurrentVa.addr(), length) as u32;
        Demand { registers, elements: registers as usize, missing: 0 }
    } else {
        let mdl = kernel.memory.usable(Mdl, "CalculateScatterGatherList")?;
        let offset = offset_in(mdl, CurrentVa, Length.max(1), "CalculateScatterGatherList")?;
        demand(kernel, adapter, mdl, offset, length)?
    };
    if needs.missing != 0 {
        return Ok(STATUS_BUFFER_TOO_SMALL);
    }
    if needs.registers > adapter.granted {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    }
    // CAST: at most the adapter's registers times a few bytes.
    let size = list_size(needs.elements.max(1)) as u32;
    // SAFETY: not null, and the page promises a valid pointer.
    unsafe { ScatterGatherListSize.write(size) };
    if !pNumberOfMapRegisters.is_null() {
        // SAFETY: as above.
        unsafe { pNumberOfMapRegisters.write(needs.registers) };
    }
    Ok(STATUS_SUCCESS)
}

/// Describes the memory a list maps (DMA-82; wdm, PBUILD_MDL_FROM_SCATTER_GATHER_LIST). Reserved
/// for the system: the original MDL is the answer where nothing was copied; elsewhere no MDL can
/// be made.
pub(crate) unsafe fn BuildMdlFromScatterGatherList(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    ScatterGather: PSCATTER_GATHER_LIST,
    OriginalMdl: PMDL,
    TargetMdl: *mut PMDL,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if OriginalMdl.is_null() || TargetMdl.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    if adapter.state.lock().find_list(ScatterGather.addr()).is_none() {
        let message = "BuildMdlFromScatterGatherList was given a list that is not outstanding";
        return Err(broken(RuleId::Dma82, message));
    }
    if adapter.paging.copies_all() {
        return Ok(STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: not null, and the page promises a valid pointer.
    unsafe { TargetMdl.write(OriginalMdl) };
    Ok(STATUS_SUCCESS)
}
