//! The DMA functions a driver calls by name.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Paging, Parts};
use super::description::{Traits, examine};
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::memory::pages::mix;
use crate::pnp::physical_object;
use crate::verifier::{Violation, broken};

/// Map registers of an adapter for each one the driver is told of, unless the machine is short of
/// them: transfers overlap.
const PLENTY: u32 = 4;

/// Makes an adapter for a device (RULES section A; wdm, IoGetDmaAdapter): the PDO (DMA-02), a
/// description that was zeroed (DMA-03) and makes sense. NULL for a version that this system does
/// not offer (DMA-04) or no address width (DMA-06). NumberOfMapRegisters is an output that may be
/// small (DMA-10).
pub(crate) unsafe fn IoGetDmaAdapter(
    kernel: &Kernel,
    PhysicalDeviceObject: PDEVICE_OBJECT,
    DeviceDescription: *mut _DEVICE_DESCRIPTION,
    NumberOfMapRegisters: PULONG,
) -> Result<*mut _DMA_ADAPTER, Violation> {
    kernel.hal.settle(kernel)?;
    let slot = kernel.pnp.slot_of(PhysicalDeviceObject);
    let slot = slot.filter(|&slot| physical_object(slot) == PhysicalDeviceObject);
    let slot = slot.or_else(|| kernel.wdm.physical_slot(PhysicalDeviceObject));
    let Some(slot) = slot else {
        let message = "IoGetDmaAdapter was not given the device's physical device object";
        return Err(broken(RuleId::Dma02, message));
    };
    let callback = context::with(|c| c.callback.get());
    let starting = ["PFN_WDF_DRIVER_DEVICE_ADD", "PFN_WDF_DEVICE_PREPARE_HARDWARE"];
    if !starting.contains(&callback) && !kernel.wdm.is_starting(slot) {
        let message = format!(
            "IoGetDmaAdapter was called in {callback}, not while the device is added or started"
        );
        return Err(broken(RuleId::Dma02, message));
    }
    if DeviceDescription.is_null() || NumberOfMapRegisters.is_null() {
        let message = "IoGetDmaAdapter needs a description and a place for NumberOfMapRegisters";
        return Err(broken(RuleId::Dma10, message));
    }
    // SAFETY: not null, and the page promises a valid description.
    let description = unsafe { DeviceDescription.read() };
    let system = kernel.bus.function(slot).and_then(|function| function.system);
    let as_slave = |d: &DEVICE_DESCRIPTION| {
        system.map(|device| super::system::describe(kernel, slot, device, d))
    };
    let Some(traits) = examine(&description, kernel.options.versions, as_slave)? else {
        return Ok(std::ptr::null_mut());
    };
    let Some(adapter) = make(kernel, slot, traits) else { return Ok(std::ptr::null_mut()) };
    // SAFETY: not null, and the page promises a valid pointer.
    unsafe { NumberOfMapRegisters.write(adapter.granted) };
    Ok(adapter.pointer())
}

fn make(kernel: &Kernel, slot: usize, traits: Traits) -> Option<&super::Adapter> {
    let profile = kernel.options.profile;
    let limit = kernel.options.map_registers.or(profile.map_registers());
    let translates = profile.translates() && !kernel.options.double_buffer;
    let parts = |number, area| {
        // CAST: a slot number.
        let mut windows = traits.class().windows(area, mix(kernel.options.seed ^ mix(slot as u64)));
        windows.direct = windows.direct.filter(|_| !profile.translates());
        let granted =
            traits.registers().min(limit.unwrap_or(u32::MAX)).min(windows.register_limit).max(1);
        let registers = if limit.is_some() { granted } else { granted.saturating_mul(PLENTY) };
        let direct = windows.direct.is_some() && traits.scatter_gather;
        Some(Parts {
            number,
            slot,
            traits,
            table: crate::ddi::dma_operations(kernel, traits.version),
            granted,
            registers: registers.min(windows.register_limit),
            windows,
            area,
            paging: if translates {
                // Slave devices take what the controller moves, of any length.
                let bounced_lines = profile.bounces_partial_lines() || traits.slave.is_some();
                Paging::Translated { bounced_lines }
            } else if direct && !kernel.options.double_buffer {
                Paging::Direct
            } else {
                Paging::Bounced
            },
            origin: context::stack(),
        })
    };
    kernel.hal.add(kernel, parts, slot, traits.class())
}

/// Makes the CPU's caches and memory agree for one MDL (RULES section H; wdm, KeFlushIoBuffers).
/// Nothing happens on coherent machines but that it is remembered: a version 1 or 2 transfer
/// without it is noted there, and a violation elsewhere (DMA-85).
pub(crate) unsafe fn KeFlushIoBuffers(
    kernel: &Kernel,
    Mdl: PMDL,
    ReadOperation: BOOLEAN,
    DmaOperation: BOOLEAN,
) -> Result<(), Violation> {
    kernel.hal.settle(kernel)?;
    let mdl = kernel.memory.usable(Mdl, "KeFlushIoBuffers")?;
    mdl.cache_flushed(ReadOperation != 0, DmaOperation != 0, kernel.io.idle());
    if let Some(mut cache) = kernel.caches() {
        let call = kernel.present_call();
        cache.flush(mdl.start(), mdl.byte_count(), ReadOperation != 0, call);
    }
    // A flush for programmed I/O is not the one that a transfer needs (DMA-84, DMA-90).
    if let Some(common) = mdl.common_buffer().filter(|_| DmaOperation != 0) {
        let (bytes, number) = ((mdl.start(), mdl.byte_count()), kernel.bus.next_number());
        kernel.hal.common_buffer_flushed(common, bytes, ReadOperation != 0, number);
    }
    Ok(())
}
