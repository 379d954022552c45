//! DMA adapters, map registers, common buffers, scatter/gather lists and the IOMMU.
//!
//! * [`windows`]: where an adapter's logical addresses lie
//! * [`registers`], [`mapping`]: map registers and bounce pages, one operation's mapping
//! * [`channel`], [`packet`], [`lists`], [`list_memory`]: versions 1 and 2 of the operations
//! * [`extended`], [`extended_map`], [`extended_lists`], [`contexts`]: version 3
//! * [`legacy`]: versions 1 and 2 by NT's names
//! * [`common`], [`backing`], [`vectors`]: common buffers
//! * [`flushes`]: what KeFlushIoBuffers was called for in a cached one
//! * [`coherency`]: what the processor's caches owe a transfer
//! * [`discard`]: mappings that end without their flush
//! * [`system`], [`controller`]: slave devices, and the controller that moves their data
//! * [`access`]: the device's side
//!
//! Lock order: an adapter's state, then an MDL's. A device's access comes with its model's lock
//! held, so nothing here calls the bus or the driver with a lock of its own.

// UNSAFETY: adapters are found by the raw pointers that drivers hold.

mod access;
mod adapter;
mod backing;
mod channel;
mod coherency;
mod common;
mod contexts;
mod controller;
pub(crate) mod ddi;
mod description;
mod discard;
mod domains;
mod extended;
mod extended_lists;
mod extended_map;
mod extents;
mod flushes;
pub(crate) mod legacy;
mod list_memory;
mod lists;
mod mapping;
pub(crate) mod operations;
mod packet;
mod registers;
mod system;
#[cfg(test)]
mod tests;
mod vectors;
mod waiting;
mod windows;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use wdk_lite::{PDMA_ADAPTER, PHYSICAL_ADDRESS};

use crate::RuleId;
use crate::machine::Kernel;
use crate::memory::pages::NumberMap;
use crate::verifier::{Violation, broken};
pub(crate) use access::BusMaster;
use adapter::{Adapter, Parts};

/// What was found, and whether nothing is lost by it on this machine.
type Suspicion = (Violation, bool);

/// Raises it: a note if it is harmless, otherwise a breach. Without a host lock.
fn raise(kernel: &Kernel, (found, harmless): Suspicion) -> Result<(), Violation> {
    if harmless { kernel.note_found(found) } else { kernel.breach(found) }
}

/// The HAL's state in one machine.
#[derive(Debug)]
pub(crate) struct Hal {
    /// Every adapter ever made, in order.
    adapters: RwLock<Vec<Handle>>,
    /// The same by what the driver knows them by.
    by_pointer: RwLock<NumberMap<usize, Handle>>,
    /// The newest adapter of each device, by its slot.
    newest: RwLock<Vec<Option<Handle>>>,
    serial: AtomicU64,
    flushes: AtomicU64,
    /// The system's DMA controller; in use if the machine's options say so.
    pub controller: controller::Controller,
    /// The first access of a device that the driver is to blame for.
    fault: Mutex<Option<Violation>>,
    /// What else was found on a device's side.
    notes: Mutex<Vec<Suspicion>>,
    /// Whether `fault` or `notes` hold something.
    unsettled: AtomicBool,
    /// Bus-master writes so far.
    mastered: AtomicU64,
}

/// An adapter on the heap, freed with the machine.
#[derive(Clone, Copy, Debug)]
struct Handle(NonNull<Adapter>);

// SAFETY: adapters may be shared and sent; the handle owns nothing by itself.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    fn get<'a>(self) -> &'a Adapter {
        // SAFETY: adapters live as long as the machine, which outlives every call into it; only
        // `Hal` hands out references, bound to its own lifetime.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Hal {
    fn drop(&mut self) {
        for handle in self.adapters.get_mut().drain(..) {
            // SAFETY: made from a box in `add`, and the machine is gone.
            drop(unsafe { Box::from_raw(handle.0.as_ptr()) });
        }
    }
}

/// A logical or physical address as the DDIs pass it.
pub(crate) fn logical(address: u64) -> PHYSICAL_ADDRESS {
    // CAST: the signed view of the same bits.
    PHYSICAL_ADDRESS { QuadPart: address as i64 }
}

/// The number in an address that the DDIs pass.
pub(crate) fn number(address: PHYSICAL_ADDRESS) -> u64 {
    // CAST: the unsigned view of the same bits.
    // SAFETY: both views of the union are plain integers of 64 bits.
    unsafe { address.QuadPart as u64 }
}

impl Hal {
    pub(crate) fn new() -> Self {
        Self {
            adapters: RwLock::new(Vec::with_capacity(16)),
            by_pointer: RwLock::default(),
            newest: RwLock::default(),
            serial: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            controller: controller::Controller::new(),
            fault: Mutex::new(None),
            notes: Mutex::new(Vec::new()),
            unsettled: AtomicBool::new(false),
            mastered: AtomicU64::new(0),
        }
    }

    /// Bus-master writes so far.
    pub(crate) fn mastered(&self) -> u64 {
        self.mastered.load(Ordering::Relaxed)
    }

    /// A number that rises with each call.
    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether this flush is the one that fails (DMA-55).
    fn flush_fails(&self, kernel: &Kernel) -> bool {
        let count = self.flushes.fetch_add(1, Ordering::Relaxed) + 1;
        kernel.options.flush_failure == Some(count)
    }

    /// Whether the next flush will be the one that fails.
    fn next_flush_fails(&self, kernel: &Kernel) -> bool {
        kernel.options.flush_failure == Some(self.flushes.load(Ordering::Relaxed) + 1)
    }

    /// Makes an adapter; `None` if the device has no area left for its windows.
    fn add(
        &self,
        kernel: &Kernel,
        parts: impl FnOnce(usize, u32) -> Option<Parts>,
        slot: usize,
        class: windows::Class,
    ) -> Option<&Adapter> {
        let mut adapters = self.adapters.write();
        let mut taken = 0u32;
        for handle in adapters.iter().filter(|h| h.get().slot == slot) {
            let other = handle.get();
            if other.traits.class() == class && other.state.lock().released.is_none() {
                taken |= 1 << other.area;
            }
        }
        let areas = class.areas();
        let first = kernel.choices.below(areas);
        let area = (0..areas).map(|n| (first + n) % areas).find(|area| taken & (1 << area) == 0)?;
        let adapter = Box::new(Adapter::new(parts(adapters.len(), area)?));
        let handle = Handle(NonNull::from(Box::leak(adapter)));
        // Only now: pointers into the adapter stay good when it has found its place.
        handle.get().connect();
        adapters.push(handle);
        self.by_pointer.write().insert(handle.get().pointer().addr(), handle);
        let mut newest = self.newest.write();
        let devices = newest.len().max(slot + 1);
        newest.resize(devices, None);
        handle.get().set_earlier(newest[slot].replace(handle));
        Some(handle.get())
    }

    /// The adapter at this address, which must be live. Raises what a device did meanwhile.
    ///
    /// # Errors
    /// DMA-14 for NULL, DMA-19 after PutDmaAdapter, SIM-11 for a pointer to something else.
    fn adapter(&self, kernel: &Kernel, adapter: PDMA_ADAPTER) -> Result<&Adapter, Violation> {
        self.settle(kernel)?;
        let found = self.by_pointer.read().get(&adapter.addr()).map(|handle| handle.get());
        // CAST: an address.
        let address = adapter.addr() as u64;
        let Some(found) = found else {
            return Err(if adapter.is_null() {
                broken(RuleId::Dma14, "a DMA operation was given a NULL adapter")
                    .code(0xE6, [0x19, 0, 0, 0])
            } else {
                broken(RuleId::Sim11, "a DMA operation was given a pointer to no adapter")
            });
        };
        if !found.is_put.load(Ordering::Acquire) {
            return Ok(found);
        }
        let put = found.state.lock().released.unwrap_or_default();
        let message = "a DMA operation was given an adapter after PutDmaAdapter";
        Err(broken(RuleId::Dma19, message).code(0xE6, [0x18, address, 0, 0]).from(put))
    }

    /// The adapter with this number.
    fn adapter_at(&self, number: usize) -> Option<&Adapter> {
        self.adapters.read().get(number).map(|handle| handle.get())
    }

    /// The adapters of a device, the newest first.
    fn adapters_of(&self, slot: usize) -> impl Iterator<Item = &Adapter> {
        let newest = self.newest.read().get(slot).copied().flatten();
        std::iter::successors(newest, |handle| handle.get().earlier()).map(|handle| handle.get())
    }

    /// Whether some adapter is so.
    fn any_adapter(&self, is: impl Fn(&Adapter) -> bool) -> bool {
        let count = self.adapters.read().len();
        (0..count).filter_map(|number| self.adapter_at(number)).any(is)
    }

    /// What the first adapter of a device with waiting allocations waits for.
    #[cold]
    pub(crate) fn describe_waiting(&self, slot: usize) -> Option<String> {
        let count = self.adapters.read().len();
        let mut adapters = (0..count).filter_map(|number| self.adapter_at(number));
        adapters.find_map(|adapter| {
            let state = adapter.state.lock();
            let first = state.waiting.front().filter(|_| adapter.slot == slot)?;
            let held: u32 = state.grants.iter().filter(|g| g.live).map(|g| g.count).sum();
            let (waiting, granted) = (state.waiting.len(), adapter.granted);
            Some(format!(
                "allocations that wait: {waiting}, the first for {} map registers, while {held} \
                 are held of the {granted} granted",
                first.registers
            ))
        })
    }

    /// Takes the violation that a device's access showed (SIM-01, SIM-02, DMA-52, DMA-57,
    /// DMA-100, DMA-114, DMA-115), if there is one.
    pub(crate) fn take_fault(&self) -> Option<Violation> {
        if !self.unsettled.load(Ordering::Acquire) {
            return None;
        }
        self.fault.lock().take()
    }

    /// Raises what devices did since the last call: a violation, or notes.
    pub(crate) fn settle(&self, kernel: &Kernel) -> Result<(), Violation> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        self.unsettled.store(false, Ordering::Release);
        if let Some(fault) = self.fault.lock().take() {
            return Err(fault);
        }
        let notes = std::mem::take(&mut *self.notes.lock());
        notes.into_iter().try_for_each(|found| raise(kernel, found))
    }

    /// What a driver left behind at removal or unload: an adapter that was not put (DMA-20), with
    /// what is outstanding on it; of the device in `slot`, or of any.
    pub(crate) fn check_released(&self, slot: Option<usize>) -> Vec<Violation> {
        let count = self.adapters.read().len();
        let mut found = Vec::new();
        let of_slot = |adapter: &&Adapter| slot.is_none_or(|slot| adapter.slot == slot);
        let adapters = (0..count).filter_map(|number| self.adapter_at(number));
        for adapter in adapters.filter(of_slot) {
            let outstanding = {
                let state = adapter.state.lock();
                if state.released.is_some() {
                    continue;
                }
                state.outstanding()
            };
            let message = if outstanding.is_empty() {
                "an adapter was never put".to_owned()
            } else {
                format!("an adapter was never put, with {outstanding} outstanding")
            };
            found.push(broken(RuleId::Dma20, message).from(adapter.origin));
        }
        found
    }

    /// Checks that no list (DMA-80) and no pending allocation's context (DMA-59) lies in memory
    /// that is about to be freed.
    pub(crate) fn check_unused(&self, start: usize, length: usize) -> Result<(), Violation> {
        let within = |address: usize| address != 0 && (start..start + length).contains(&address);
        let count = self.adapters.read().len();
        for adapter in (0..count).filter_map(|number| self.adapter_at(number)) {
            let state = adapter.state.lock();
            if let Some(list) = state.lists.iter().find(|l| l.live && within(l.address)) {
                let message = "the memory of a scatter/gather list was freed before it was put";
                return Err(broken(RuleId::Dma80, message).from(list.origin));
            }
            if let Some(waiting) = state.waiting.iter().find(|w| within(w.transfer)) {
                let message = "the transfer context of a pending allocation was freed";
                return Err(broken(RuleId::Dma59, message).from(waiting.origin));
            }
        }
        Ok(())
    }
}
