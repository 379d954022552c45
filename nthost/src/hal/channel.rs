//! Channels and map registers: who waits, whose turn it is, and the driver's AdapterControl
//! (RULES section D).
//!
//! An allocation runs inside the call that asks for it, or later from a DPC, as the machine's seed
//! decides (DMA-36); it waits, first come first served, while registers or the channel are taken.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, Channel, Freed, State, base_of};
use super::system::{Slave, holder};
use super::waiting::{Device, Opaque, Waiting};
use crate::RuleId;
use crate::ddi::callback::{self, routine};
use crate::machine::clock::Deferred;
use crate::machine::{DISPATCH, Kernel, context};
use crate::verifier::{Violation, broken};

/// Allocates the channel and map registers for one device object (wdm,
/// PALLOCATE_ADAPTER_CHANNEL). STATUS_INSUFFICIENT_RESOURCES for more registers than the adapter
/// has (DMA-34); one allocation at a time (DMA-17, DMA-35).
pub(crate) unsafe fn AllocateAdapterChannel(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    NumberOfMapRegisters: ULONG,
    ExecutionRoutine: PDRIVER_CONTROL,
    Context: PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let waiting = Waiting {
        routine: routine(ExecutionRoutine),
        context: Opaque(Context),
        device: Device(DeviceObject),
        registers: NumberOfMapRegisters,
        transfer: 0,
        build: None,
        origin: context::stack(),
    };
    if DeviceObject.is_null() || !waiting.routine.is_some() {
        let message = "AllocateAdapterChannel needs a device object and an AdapterControl routine";
        return Err(broken(RuleId::Sim11, message));
    }
    if NumberOfMapRegisters > adapter.granted {
        return Err(too_many(RuleId::Dma34, NumberOfMapRegisters, adapter.granted));
    }
    kernel.hal.check_one_channel(adapter, waiting.device)?;
    submit(kernel, adapter, waiting, Turn::Chosen)?;
    Ok(STATUS_SUCCESS)
}

/// Frees a channel that AdapterControl kept (KeepObject) with its map registers (wdm,
/// PFREE_ADAPTER_CHANNEL): once (DMA-43), nothing mapped (DMA-54).
pub(crate) unsafe fn FreeAdapterChannel(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    free_channel(kernel, adapter, true, "FreeAdapterChannel", RuleId::Dma43)
}

/// Frees map registers that AdapterControl kept (DeallocateObjectKeepRegisters; wdm,
/// PFREE_MAP_REGISTERS): as many as were allocated, once (DMA-42), nothing mapped (DMA-54), and
/// not those of a channel that is still held (DMA-41).
pub(crate) unsafe fn FreeMapRegisters(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    MapRegisterBase: PVOID,
    NumberOfMapRegisters: ULONG,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    {
        let mut state = adapter.state.lock();
        let Some(grant) = state.find_grant(MapRegisterBase) else {
            let message = "map registers were freed that the driver does not hold";
            let code = [0x05, NumberOfMapRegisters.into(), 0, 0];
            return Err(broken(RuleId::Dma42, message).code(0xE6, code));
        };
        let (count, origin) = (state.grants[grant].count, state.grants[grant].origin);
        if count != NumberOfMapRegisters {
            let message = format!("{NumberOfMapRegisters} map registers were freed of {count}");
            let excess = NumberOfMapRegisters.saturating_sub(count);
            let violation = broken(RuleId::Dma42, message).from(origin);
            return Err(violation.code(0xE6, [0x05, excess.into(), 0, 0]));
        }
        let held = match &mut state.channel {
            Channel::Held { grant: held } => *held == grant,
            Channel::Running { grant: held, .. } if is_inside() => *held == grant,
            // The transfer that the routine started may be over on another processor before it
            // has returned; what it answers then decides whether this was right.
            Channel::Running { grant: held, freed, .. } => {
                if *held == grant && *freed == Freed::Nothing {
                    *freed = Freed::Registers;
                }
                false
            }
            Channel::Free => false,
        };
        if held {
            let message = "FreeMapRegisters was called while the channel is still held";
            let code = [0x05, count.into(), 0, 0];
            return Err(broken(RuleId::Dma41, message).code(0xE6, code).from(origin));
        }
        if let Err(found) = state.check_nothing_mapped(grant, RuleId::Dma42, "FreeMapRegisters") {
            state.discard_maps(kernel, adapter, grant, found)?;
        }
        state.revoke(grant);
        state.kick(kernel, adapter);
    }
    Ok(())
}

/// Whether the caller is in an AdapterControl routine.
fn is_inside() -> bool {
    context::with(|c| c.callback.get()) == "DRIVER_CONTROL"
}

/// Releases the held channel, with its registers if `registers`. It is held, too, while the routine
/// that keeps it has not returned on another processor, as for [`FreeMapRegisters`].
pub(super) fn free_channel(
    kernel: &Kernel,
    adapter: &Adapter,
    registers: bool,
    call: &str,
    rule: RuleId,
) -> Result<(), Violation> {
    if let Some(slave) = holder(kernel, adapter) {
        // Only a set-up that was not flushed is left: it goes with its mapping, as below.
        let _ = kernel.hal.controller.drain(kernel, slave.channel, true);
    }
    let mut state = adapter.state.lock();
    let (grant, runs) = match state.channel {
        Channel::Held { grant } => (grant, false),
        Channel::Running { grant, freed: Freed::Nothing, .. } if !is_inside() => (grant, true),
        Channel::Free | Channel::Running { .. } => {
            let message = format!("{call} was called, but the driver holds no channel");
            return Err(broken(rule, message).code(0xE6, [0x04, 1, 0, 0]));
        }
    };
    if registers {
        if let Err(found) = state.check_nothing_mapped(grant, rule, call) {
            state.discard_maps(kernel, adapter, grant, found)?;
        }
        state.revoke(grant);
    }
    match &mut state.channel {
        Channel::Running { freed, .. } if runs => *freed = Freed::Channel,
        _ => state.release_channel(kernel, adapter),
    }
    Ok(())
}

/// More map registers asked for than the adapter has. Without Driver Verifier the call only fails.
pub(super) fn too_many(rule: RuleId, asked: u32, granted: u32) -> Violation {
    let message =
        format!("{asked} map registers were asked for; IoGetDmaAdapter granted {granted}");
    broken(rule, message).code(0xE6, [0x0C, asked.into(), granted.into(), 0])
}

/// When an allocation's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Now or later, as the seed decides.
    Chosen,
    /// Now or never (DMA_SYNCHRONOUS_CALLBACK).
    Now,
}

/// Serves an allocation now, or queues it; `false` if it had to be now and could not.
pub(super) fn submit(
    kernel: &Kernel,
    adapter: &Adapter,
    waiting: Waiting,
    turn: Turn,
) -> Result<bool, Violation> {
    let grant = {
        let mut state = adapter.state.lock();
        let free = state.waiting.is_empty() && state.has_room(kernel, adapter, &waiting);
        let chosen = free && (turn == Turn::Now || kernel.choices.coin(2));
        let now = chosen && reserve(kernel, adapter, &waiting);
        if !now && turn == Turn::Now {
            return Ok(false);
        }
        if !now {
            if let Some(build) = waiting.build {
                build.mdl.begin_build(waiting.origin);
            }
            state.waiting.push_back(waiting);
            state.kick(kernel, adapter);
            return Ok(true);
        }
        state.admit(kernel, adapter, &waiting)
    };
    run(kernel, adapter, waiting, grant)?;
    Ok(true)
}

/// Calls the driver's routine for an allocation that was admitted.
fn run(
    kernel: &Kernel,
    adapter: &Adapter,
    waiting: Waiting,
    grant: usize,
) -> Result<(), Violation> {
    if let Some(build) = waiting.build {
        return super::lists::build(kernel, adapter, waiting, build, grant).map(|_| ());
    }
    let base = {
        let state = adapter.state.lock();
        base_of(grant, &state.grants[grant])
    };
    let (device, context) = (waiting.device.0, waiting.context.0);
    let action = kernel.at_irql(DISPATCH, || {
        // SAFETY: the driver registered this routine as its AdapterControl. The Irp argument is
        // for drivers with StartIo only (DMA-37).
        unsafe {
            callback::DRIVER_CONTROL(
                kernel,
                waiting.routine,
                device,
                std::ptr::null_mut(),
                base,
                context,
            )
        }
    });
    finish(kernel, adapter, grant, action)
}

/// Does what AdapterControl's return value says (DMA-38).
fn finish(
    kernel: &Kernel,
    adapter: &Adapter,
    grant: usize,
    action: IO_ALLOCATION_ACTION,
) -> Result<(), Violation> {
    let mut state = adapter.state.lock();
    let freed = match state.channel {
        Channel::Running { freed, .. } => freed,
        Channel::Free | Channel::Held { .. } => Freed::Nothing,
    };
    let (due, what, answer) = match freed {
        Freed::Nothing => (action, "", ""),
        Freed::Registers => (
            _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters,
            "map registers were",
            "DeallocateObjectKeepRegisters",
        ),
        Freed::Channel => (_IO_ALLOCATION_ACTION::KeepObject, "channel was", "KeepObject"),
    };
    if action != due {
        let message = format!(
            "AdapterControl returned {action}, but its {what} freed already, as if it had returned \
             {answer}"
        );
        return Err(broken(RuleId::Dma41, message));
    }
    match action {
        _IO_ALLOCATION_ACTION::KeepObject if freed == Freed::Channel => {}
        _IO_ALLOCATION_ACTION::KeepObject => {
            state.channel = Channel::Held { grant };
            return Ok(());
        }
        _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters => {
            if adapter.traits.slave.is_some() {
                let message = "AdapterControl returned DeallocateObjectKeepRegisters for a system DMA channel";
                return Err(broken(RuleId::Dma107, message).from(state.grants[grant].origin));
            }
        }
        _IO_ALLOCATION_ACTION::DeallocateObject => {
            let deed = "AdapterControl returned DeallocateObject";
            state.check_nothing_mapped(grant, RuleId::Dma38, deed)?;
            state.revoke(grant);
        }
        other => {
            let message =
                format!("AdapterControl returned {other}, which is no IO_ALLOCATION_ACTION");
            return Err(broken(RuleId::Dma38, message).from(state.grants[grant].origin));
        }
    }
    state.release_channel(kernel, adapter);
    Ok(())
}

/// The DPC that serves an adapter's waiting allocations.
fn serve(kernel: &Kernel, number: usize) {
    let Some(adapter) = kernel.hal.adapter_at(number) else { return };
    adapter.state.lock().kicked = false;
    loop {
        let (waiting, grant) = {
            let mut state = adapter.state.lock();
            let Some(&waiting) = state.waiting.front() else { return };
            let room = state.has_room(kernel, adapter, &waiting);
            if !room || !reserve(kernel, adapter, &waiting) {
                return;
            }
            state.waiting.pop_front();
            if let Some(build) = waiting.build {
                build.mdl.end_build();
            }
            let grant = state.admit(kernel, adapter, &waiting);
            (waiting, grant)
        };
        if let Err(violation) = run(kernel, adapter, waiting, grant) {
            kernel.stop(violation);
        }
    }
}

/// The DPC after a system DMA channel was freed: other adapters may wait for it.
fn serve_channel(kernel: &Kernel, channel: usize) {
    let wired = |adapter: &&Adapter| {
        adapter.traits.slave.is_some_and(|slave| slave.channel as usize == channel)
    };
    for adapter in (0..).map_while(|number| kernel.hal.adapter_at(number)).filter(wired) {
        adapter.state.lock().kick(kernel, adapter);
    }
}

/// Takes the controller's channel for an allocation that has room otherwise; another adapter may
/// have been quicker. Always for a bus master.
pub(super) fn reserve(kernel: &Kernel, adapter: &Adapter, waiting: &Waiting) -> bool {
    let take = |slave: Slave| kernel.hal.controller.take(slave.channel, adapter.number);
    waiting.build.is_some() || adapter.traits.slave.is_none_or(take)
}

impl State {
    /// Whether an allocation can be served: registers in a row, and the channel unless it is for
    /// a list (lists queue freely, DMA-73).
    pub(super) fn has_room(&self, kernel: &Kernel, adapter: &Adapter, waiting: &Waiting) -> bool {
        let wired = |slave: Slave| kernel.hal.controller.is_free(slave.channel);
        let free = self.channel == Channel::Free && adapter.traits.slave.is_none_or(wired);
        let channel = waiting.build.is_some() || free;
        channel && (waiting.registers == 0 || self.file.extents.fits(waiting.registers))
    }

    /// Takes what an allocation for which there is room needs.
    pub(super) fn admit(&mut self, kernel: &Kernel, adapter: &Adapter, waiting: &Waiting) -> usize {
        let serial = kernel.hal.next_serial();
        let grant = self.grant(waiting.registers, serial, waiting.transfer, waiting.origin);
        let grant = grant.unwrap_or_else(|| {
            unreachable!("adapter {} has room, as was just seen", adapter.number)
        });
        self.grants[grant].device = waiting.device;
        if waiting.build.is_none() {
            let device = waiting.device.0.addr();
            self.channel = Channel::Running { grant, device, freed: Freed::Nothing };
        }
        grant
    }

    /// The driver has the channel no more; who waits for it may have it.
    fn release_channel(&mut self, kernel: &Kernel, adapter: &Adapter) {
        self.channel = Channel::Free;
        if let Some(slave) = adapter.traits.slave {
            kernel.hal.controller.give(slave.channel);
            kernel.queue_dpc(Deferred { run: serve_channel, argument: slave.channel as usize });
        }
        self.kick(kernel, adapter);
    }

    /// Has the waiting served by a DPC, if there are any.
    pub(super) fn kick(&mut self, kernel: &Kernel, adapter: &Adapter) {
        let Some(first) = self.waiting.front() else { return };
        if !self.kicked && self.has_room(kernel, adapter, first) {
            self.kicked = true;
            kernel.queue_dpc(Deferred { run: serve, argument: adapter.number });
        }
    }

    /// E6/10: nothing is mapped through the registers.
    fn check_nothing_mapped(
        &self,
        grant: usize,
        rule: RuleId,
        deed: &str,
    ) -> Result<(), Violation> {
        let maps = &self.grants[grant].maps;
        let Some(mapping) = maps.first() else { return Ok(()) };
        let count: u32 = maps.iter().map(|mapping| mapping.registers).sum();
        let message = format!("{deed} while {count} map registers were still mapped");
        Err(broken(rule, message).code(0xE6, [0x10, count.into(), 0, 0]).from(mapping.origin))
    }

    /// Whether a version 1 or 2 allocation of the channel for this device object is pending.
    pub(super) fn pends_for(&self, device: Device) -> bool {
        // Version 3 names an allocation by its transfer context, not by the device object.
        let running = match self.channel {
            Channel::Running { grant, device: other, .. } => {
                self.grants[grant].context == 0 && other == device.0.addr()
            }
            Channel::Free | Channel::Held { .. } => false,
        };
        let waits = |w: &Waiting| w.build.is_none() && w.transfer == 0 && w.device == device;
        running || self.waiting.iter().any(waits)
    }

    /// Channels outstanding: held, running, or waited for.
    pub(super) fn channels(&self) -> usize {
        let waiting = self.waiting.iter().filter(|w| w.build.is_none()).count();
        waiting + usize::from(self.channel != Channel::Free)
    }
}

impl super::Hal {
    /// DMA-35 and DMA-17: no other allocation for the device object, none by the adapter.
    fn check_one_channel(&self, adapter: &Adapter, device: Device) -> Result<(), Violation> {
        let outstanding = adapter.state.lock().channels();
        let pending = self.any_adapter(|other| other.state.lock().pends_for(device));
        if outstanding == 0 && !pending {
            return Ok(());
        }
        let (rule, message) = if pending {
            (
                RuleId::Dma35,
                "AllocateAdapterChannel was called again before AdapterControl was done",
            )
        } else {
            (RuleId::Dma17, "AllocateAdapterChannel was called while the adapter's channel is held")
        };
        Err(broken(rule, message).code(0xE6, [0x0B, outstanding.max(1) as u64, 0, 0]))
    }
}
