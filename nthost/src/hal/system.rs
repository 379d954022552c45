//! System DMA: adapters that stand for a channel of the system's DMA controller (RULES section K).
//!
//! Map registers, bounce pages and lists of mappings are those of every adapter; here is what a
//! slave device has besides: the channel, which MapTransfer sets up and a flush empties.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::ops::Range;

use testdev::bus::SystemDevice;
use wdk_lite::*;

use super::adapter::{Adapter, State};
use super::common::Common;
use super::controller::{CHANNELS, COUNTER, Completion, NUMBER, Progress, Setup};
use super::description::Traits;
use super::mapping::Part;
use super::packet::{over_budget, too_long};
use super::waiting::Opaque;
use super::{Suspicion, number};
use crate::RuleId;
use crate::cache::Cause;
use crate::ddi::callback::{Routine, routine};
use crate::machine::{Kernel, context};
use crate::memory::cache::Cache;
use crate::memory::{PAGE, PAGE_SHIFT};
use crate::verifier::{Violation, broken};

/// What an adapter of a slave device has that a bus master's has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slave {
    pub channel: u32,
    /// The controller takes what the device offers, not one unit for each request.
    pub demand: bool,
    /// The counter starts again when it has run out.
    pub repeats: bool,
    /// Where DeviceAddress lies in the device's registers.
    pub port: u64,
}

/// Address bits of the controller.
const REACH: u32 = 24;

/// Makes something of the description of a slave device. `None` if the controller has no such
/// channel, request line or width (SMP, SystemDma: IoGetDmaAdapter returns NULL then).
///
/// # Errors
/// DMA-08 for a bus that has no system DMA, DMA-108 for a data register that is not the device's.
pub(super) fn describe(
    kernel: &Kernel,
    slot: usize,
    device: SystemDevice,
    d: &DEVICE_DESCRIPTION,
) -> Result<Option<Traits>, Violation> {
    if d.InterfaceType == _INTERFACE_TYPE::PCIBus {
        let message = "DEVICE_DESCRIPTION: InterfaceType is PCIBus, but Master is FALSE";
        return Err(broken(RuleId::Dma08, message));
    }
    let third = d.Version == DEVICE_DESCRIPTION_VERSION3;
    let wired = match third {
        true => d.DmaRequestLine == device.request_line,
        false => d.DmaChannel == device.channel,
    };
    let fits = d.DmaWidth == _DMA_WIDTH::Width8Bits && device.channel < CHANNELS;
    if kernel.options.system_dma.is_none() || !wired || !fits {
        return Ok(None);
    }
    let told = number(d.DeviceAddress);
    let port = if third { check_port(kernel, slot, device, told)? } else { device.data_port };
    Ok(Some(Traits {
        version: d.Version.max(1),
        bits: REACH,
        // The controller's, whatever the description says: it takes no lists.
        scatter_gather: false,
        maximum_length: d.MaximumLength,
        slave: Some(Slave {
            channel: device.channel,
            demand: d.DemandMode != 0 || d.Version != DEVICE_DESCRIPTION_VERSION2,
            repeats: d.AutoInitialize != 0,
            port,
        }),
    }))
}

/// DMA-108: version 3 is told where the data register lies; the base counts with MapTransferEx's
/// DeviceOffset.
fn check_port(
    kernel: &Kernel,
    slot: usize,
    device: SystemDevice,
    told: u64,
) -> Result<u64, Violation> {
    let window = kernel.bus.function(slot).and_then(|f| f.config.windows[0]);
    let offset = window.and_then(|window| told.checked_sub(window.base));
    if let Some(offset) = offset.filter(|&offset| offset == 0 || offset == device.data_port) {
        return Ok(offset);
    }
    let message = format!(
        "DEVICE_DESCRIPTION.DeviceAddress is {told:#x}, where the device has no data register"
    );
    Err(broken(RuleId::Dma108, message))
}

/// DMA-107, DMA-108: a system DMA channel is set up once for each operation, and an operation ends
/// with its flush.
pub(super) fn check_idle(
    adapter: &Adapter,
    state: &State,
    grant: usize,
    call: &str,
) -> Result<(), Violation> {
    let (Some(slave), Some(mapping)) = (adapter.traits.slave, state.grants[grant].maps.first())
    else {
        return Ok(());
    };
    let (rule, what) = if slave.repeats {
        (RuleId::Dma108, "an auto-initialise channel was set up already")
    } else {
        (RuleId::Dma107, "the last operation of the channel was not flushed")
    };
    let code = [0x0D, mapping.length as u64, mapping.length as u64, 0];
    let message = format!("{call} was called although {what}");
    Err(broken(rule, message).code(0xE6, code).from(mapping.origin))
}

impl State {
    /// Maps bytes of a slave's own common buffer, which lies in the controller's reach as it is:
    /// its logical address, and what it lacks of KeFlushIoBuffers (DMA-84, DMA-90). `None` for
    /// other memory and other adapters.
    pub(super) fn map_common(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        grant: usize,
        part: Part,
        to_device: bool,
    ) -> Result<Option<(u64, Option<Suspicion>)>, Violation> {
        if adapter.traits.slave.is_none() {
            return Ok(None);
        }
        let named = part.mdl.common_buffer().filter(|&(owner, _)| owner == adapter.number);
        let is = |c: &&Common| named.is_some_and(|(_, serial)| c.serial == serial);
        let Some(at) = self.commons.iter().position(|common| is(&common)) else { return Ok(None) };
        let common = &mut self.commons[at];
        if part.length > adapter.traits.maximum_length as usize {
            return Err(too_long(adapter, part.length));
        }
        // CAST: 32 bits.
        if part.length > COUNTER as usize {
            return Err(over_budget(part.pages(), self.grants[grant].count));
        }
        let offset = part.start + part.offset - common.host;
        let (address, bytes) = (common.address + offset as u64, common.bytes(offset, part.length));
        let (writes, transfer) = (!to_device, kernel.bus.next_number());
        let lack = common.serve(adapter.traits.version, bytes, writes, transfer);
        let lack = lack.map(|(lack, harmless)| {
            let who = if writes { "system DMA writes" } else { "system DMA reads" };
            (lack.found(who, bytes, writes), harmless)
        });
        let (operation, origin) = (kernel.hal.next_serial(), context::stack());
        let register = self.grants[grant].first;
        let mut mapping =
            self.begin(operation, register, (part.mdl, part.offset), to_device, origin);
        part.mdl.begin_mapping(origin);
        mapping.mdls.push((part.mdl, part.mdl.next().addr()));
        mapping.length = part.length;
        self.grants[grant].maps.push(mapping);
        Ok(Some((address, lack)))
    }
}

impl State {
    /// Where a byte that an adapter gave the controller lies in the process.
    fn host_of(&self, adapter: &Adapter, logical: u64) -> Option<usize> {
        let within = |c: &&Common| (c.address..c.address + c.span()).contains(&logical);
        if let Some(common) = self.commons.iter().find(within) {
            // CAST: below the buffer's length.
            return Some(common.host + (logical - common.address) as usize);
        }
        let offset = logical.checked_sub(adapter.windows.registers)?;
        let register = self.file.get(u32::try_from(offset >> PAGE_SHIFT).ok()?)?;
        // CAST: below a page.
        register.mapped.then_some(register.page + (offset % PAGE as u64) as usize)
    }
}

/// Bytes at these logical addresses are left in the controller's FIFO for good.
pub(super) fn leave_in_fifo(
    kernel: &Kernel,
    adapter: usize,
    waiting: impl Iterator<Item = (u64, usize)>,
) {
    each_place(kernel, adapter, waiting, |cache, host, bytes| {
        cache.left_behind(host, bytes.len(), kernel.present_call());
    });
}

/// Records that bytes for these logical addresses, or from there, have come into the controller's
/// FIFO or gone on.
pub(super) fn record_fifo(
    kernel: &Kernel,
    adapter: usize,
    places: impl Iterator<Item = (u64, usize)>,
    data: &[u8],
    cause: Cause,
) {
    each_place(kernel, adapter, places, |cache, host, bytes| {
        cache.record_passing(host, &data[bytes], cause);
    });
}

/// Where bytes at logical addresses are in host memory, page by page, and which of them.
fn each_place(
    kernel: &Kernel,
    adapter: usize,
    places: impl Iterator<Item = (u64, usize)>,
    mut each: impl FnMut(&mut Cache, usize, Range<usize>),
) {
    let Some(adapter) = kernel.hal.adapter_at(adapter) else { return };
    let state = adapter.state.lock();
    let Some(mut cache) = kernel.caches() else { return };
    let mut done = 0;
    for (mut logical, mut left) in places {
        while left != 0 {
            // CAST: below a page.
            let length = (PAGE - (logical % PAGE as u64) as usize).min(left);
            if let Some(host) = state.host_of(adapter, logical) {
                each(&mut cache, host, done..done + length);
            }
            (logical, left, done) = (logical + length as u64, left - length, done + length);
        }
    }
}

/// A slave's part of an adapter that has its channel now; another adapter may have it.
pub(super) fn holder(kernel: &Kernel, adapter: &Adapter) -> Option<Slave> {
    adapter.traits.slave.filter(|slave| kernel.hal.controller.is_of(slave.channel, adapter.number))
}

/// Sets the adapter's channel up for what was just mapped. Without a lock of the adapter's.
pub(super) fn program(
    kernel: &Kernel,
    adapter: &Adapter,
    (address, length): (u64, usize),
    to_device: bool,
    completion: Option<Completion>,
) {
    let Some(Slave { channel, demand, repeats, .. }) = holder(kernel, adapter) else { return };
    let (adapter, slot, origin) = (adapter.number, adapter.slot, context::stack());
    kernel.hal.controller.program(
        channel,
        Setup { adapter, slot, address, length, to_device, demand, repeats, completion, origin },
    );
}

/// A completion routine and its context, as MapTransferEx gets them.
pub(super) fn completion(
    completion: PDMA_COMPLETION_ROUTINE,
    context: PVOID,
) -> Option<(Routine, Opaque)> {
    let routine = routine(completion);
    routine.is_some().then_some((routine, Opaque(context)))
}

/// DMA-108: MapTransferEx's DeviceOffset names the device's data register.
pub(super) fn check_offset(
    kernel: &Kernel,
    adapter: &Adapter,
    offset: ULONG,
) -> Result<(), Violation> {
    let system = kernel.bus.function(adapter.slot).and_then(|function| function.system);
    let port = system.map_or(0, |system| system.data_port);
    let base = adapter.traits.slave.map_or(0, |slave| slave.port);
    if base + u64::from(offset) == port {
        return Ok(());
    }
    let message = format!(
        "MapTransferEx was given DeviceOffset {offset:#x}, where the device has no data register"
    );
    Err(broken(RuleId::Dma108, message))
}

/// What FlushAdapterBuffers does to a channel before the mapping ends: empties its FIFO. Without a
/// lock of the adapter's.
///
/// # Errors
/// DMA-109 if the transfer is neither over nor cancelled, unless the device is gone. Versions 1 and
/// 2 cannot cancel: for them only while the device still requests.
pub(super) fn flush(kernel: &Kernel, adapter: &Adapter) -> Result<(), Violation> {
    let Some(Slave { channel, .. }) = holder(kernel, adapter) else { return Ok(()) };
    let function = kernel.bus.function(adapter.slot);
    let controller = &kernel.hal.controller;
    let cancels = adapter.traits.version >= 3;
    let requests =
        function.as_ref().is_some_and(|f| f.is_present() && (cancels || f.is_active(&kernel.bus)));
    if let Some((Progress::Running, origin)) = controller.progress(channel)
        && requests
    {
        let message = "a DMA channel was flushed whose transfer is neither over nor cancelled";
        let code = [0x23, 0, NUMBER, channel.into()];
        return Err(broken(RuleId::Dma109, message).code(0xE6, code).from(origin));
    }
    let owed = controller.drain(kernel, channel, kernel.hal.next_flush_fails(kernel));
    if let Some(function) = function
        && let Some(system) = function.system
    {
        function.feed(kernel, system.data_port, owed.bytes());
    }
    Ok(())
}

/// The slave's part of an adapter; DMA-70 for a bus master's.
fn slave(adapter: &Adapter, call: &str) -> Result<Slave, Violation> {
    adapter.traits.slave.ok_or_else(|| {
        let message = format!("{call} is for system DMA; this adapter is a bus master's");
        broken(RuleId::Dma70, message).from(adapter.origin)
    })
}

/// Tells the bytes that the channel's counter still has to count (wdm, PREAD_DMA_COUNTER). For
/// slave devices only (DMA-70).
pub(crate) unsafe fn ReadDmaCounter(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
) -> Result<ULONG, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let slave = slave(adapter, "ReadDmaCounter")?;
    Ok(kernel.hal.controller.remaining(slave.channel))
}

/// Calls a function that the controller adds: it has none, STATUS_NOT_IMPLEMENTED (wdm,
/// PCONFIGURE_ADAPTER_CHANNEL). For slave devices only (DMA-70).
pub(crate) unsafe fn ConfigureAdapterChannel(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    _FunctionNumber: ULONG,
    _Context: PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    slave(adapter, "ConfigureAdapterChannel").map(|_| STATUS_NOT_IMPLEMENTED)
}

/// Cancels the transfer that is mapped under a context, and every later one (DMA-69; wdm,
/// PCANCEL_MAPPED_TRANSFER). The flush is still owed. STATUS_INVALID_PARAMETER for a context that
/// no allocation uses. For slave devices only (DMA-70).
pub(crate) unsafe fn CancelMappedTransfer(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DmaTransferContext: PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let slave = slave(adapter, "CancelMappedTransfer")?;
    let known = {
        let mut state = adapter.state.lock();
        let context = DmaTransferContext.addr();
        let grant = state.grants.iter_mut().find(|g| g.live && g.context == context);
        grant.filter(|_| context != 0).map(|grant| grant.cancelled = true).is_some()
    };
    if !known {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    if holder(kernel, adapter).is_some() {
        kernel.hal.controller.stop(kernel, slave.channel, Progress::Cancelled);
    }
    Ok(STATUS_SUCCESS)
}
