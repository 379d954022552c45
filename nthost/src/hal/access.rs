//! The device's side: what a bus-master access reaches, and what it says about the driver.
//!
//! An access is translated page by page through the adapters of the device. What nothing maps is
//! a violation in waiting: there is no driver frame here, so it is kept for the next crossing. On
//! a machine without remapping the access goes through where the memory still exists; behind an
//! IOMMU it is blocked.

// UNSAFETY: the memory that devices reach is raw.

use std::ptr;
use std::sync::atomic::Ordering;

use testdev::bus::BusError;

use super::Hal;
use super::adapter::{Adapter, Paging, Retirement, State};
use super::common::Common;
use super::flushes::Lack;
use crate::RuleId;
use crate::cache::{Cause, LINE};
use crate::machine::Kernel;
use crate::memory::{PAGE, PAGE_SHIFT};
use crate::verifier::{Violation, broken};

/// One bus-master access of a device.
#[derive(Debug)]
pub(crate) enum BusMaster<'a> {
    /// The device reads memory.
    Read(&'a mut [u8]),
    /// The device writes memory.
    Write(&'a [u8]),
}

impl BusMaster<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Read(data) => data.len(),
            Self::Write(data) => data.len(),
        }
    }

    fn is_write(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    /// Moves bytes `at..at + length` of the access from or to host memory.
    fn copy(&mut self, at: usize, length: usize, host: *mut u8) {
        match self {
            Self::Read(data) => {
                let target = data[at..at + length].as_mut_ptr();
                // SAFETY: `host` names `length` bytes that are mapped for the device, or lie in a
                // bounce page or common buffer; the caller holds the adapter's lock.
                unsafe { ptr::copy_nonoverlapping(host, target, length) };
            }
            Self::Write(data) => {
                let source = data[at..at + length].as_ptr();
                // SAFETY: as above; mapped bytes of the driver's were locked for writing.
                unsafe { ptr::copy_nonoverlapping(source, host, length) };
            }
        }
    }
}

/// The part of an access that lies in one page.
struct Part<'a, 'b> {
    access: &'a mut BusMaster<'b>,
    at: usize,
    length: usize,
}

impl Part<'_, '_> {
    /// Moves it from or to host memory, past the processor's caches where they are not coherent.
    fn copy(&mut self, kernel: &Kernel, host: usize) {
        let (at, length) = (self.at, self.length);
        if let Some(mut cache) = kernel.caches() {
            let tracked = match self.access {
                BusMaster::Read(data) => cache.device_reads(host, &mut data[at..at + length]),
                BusMaster::Write(data) => {
                    cache.device_writes(host, &data[at..at + length], Cause::DeviceWrite)
                }
            };
            if tracked {
                return;
            }
        }
        self.access.copy(at, length, ptr::with_exposed_provenance_mut(host));
    }

    /// Moves it from or to a common buffer: elsewhere than what waits in the adapter's FIFO. What
    /// the device writes without a KeFlushIoBuffers for it leaves older copies in the caches.
    fn copy_common(&mut self, kernel: &Kernel, adapter: &Adapter, host: usize, served: bool) {
        if let (true, Some(mut cache)) = (adapter.has_fifo(kernel), kernel.caches()) {
            cache.drain(adapter.slot, Cause::FifoDrained);
        }
        self.copy(kernel, host);
        if let (false, true, Some(mut cache)) = (served, self.access.is_write(), kernel.caches()) {
            cache.keep_stale(host, self.length);
        }
    }

    /// Moves it from or to a page that the adapter translates: some lines through the
    /// bounce page, what is written elsewhere through the adapter's FIFO if it has one.
    fn copy_by_line(&mut self, kernel: &Kernel, adapter: &Adapter, target: Target, touch: Touch) {
        let Target { page, bounce, lines, operation } = target;
        // CAST: an offset in a page.
        let start = touch.offset() as usize;
        if let (true, Some(mut cache)) = (adapter.has_fifo(kernel), kernel.caches()) {
            if let BusMaster::Write(data) = self.access {
                let data = &data[self.at..self.at + self.length];
                cache.fifo_takes((adapter.slot, operation), page + start, data);
                return;
            }
            cache.drain(adapter.slot, Cause::FifoDrained);
        }
        let mut done = 0;
        while done < self.length {
            let offset = start + done;
            let ahead = lines >> (offset / LINE);
            let bounced = ahead & 1 == 1;
            let run = if bounced { ahead.trailing_ones() } else { ahead.trailing_zeros() };
            // CAST: at most 64 lines.
            let length = (run as usize * LINE - offset % LINE).min(self.length - done);
            match bounce.filter(|_| bounced) {
                Some(bounce) => {
                    self.access.copy(self.at + done, length, bounce.wrapping_add(offset));
                }
                None => Part { access: self.access, at: self.at + done, length }
                    .copy(kernel, page + offset),
            }
            done += length;
        }
    }
}

/// A page that a map register translates.
#[derive(Clone, Copy, Debug)]
struct Target {
    /// Its host memory.
    page: usize,
    bounce: Option<*mut u8>,
    /// The lines that go through the bounce page, one bit each.
    lines: u64,
    /// The operation that mapped it.
    operation: u64,
}

/// What part of a page an access reaches.
#[derive(Debug)]
enum Reach {
    /// Nothing of this adapter's.
    Elsewhere,
    /// Host memory.
    Memory(usize),
    /// Host memory of a common buffer; whether KeFlushIoBuffers served the transfer.
    Common { host: usize, served: bool },
    /// A page that is translated.
    Translated(Target),
    /// Memory that still exists but must not be accessed so, or none.
    Forbidden { error: BusError, memory: Option<usize>, violation: Violation },
}

/// A part of an access that lies in one page.
#[derive(Clone, Copy, Debug)]
struct Touch {
    address: u64,
    length: usize,
    write: bool,
    /// The transfer it belongs to.
    transfer: u64,
}

impl Touch {
    fn offset(self) -> u32 {
        // CAST: below a page.
        (self.address % PAGE as u64) as u32
    }

    /// Offset behind its last byte.
    fn end(self) -> u32 {
        // CAST: at most a page.
        self.offset() + self.length as u32
    }

    fn verb(self) -> &'static str {
        if self.write { "wrote" } else { "read" }
    }
}

impl Hal {
    /// A bus-master access at a logical address, for the transfer that the last register write to
    /// the device began.
    pub(crate) fn access(
        &self,
        kernel: &Kernel,
        slot: usize,
        address: u64,
        access: BusMaster<'_>,
    ) -> Result<(), BusError> {
        self.access_for(kernel, slot, address, access, kernel.bus.last_write(slot))
    }

    /// A bus-master access of the device in `slot` at a logical address, for a transfer.
    pub(crate) fn access_for(
        &self,
        kernel: &Kernel,
        slot: usize,
        address: u64,
        mut access: BusMaster<'_>,
        transfer: u64,
    ) -> Result<(), BusError> {
        self.mastered.fetch_add(u64::from(access.is_write()), Ordering::Relaxed);
        let mut done = 0;
        while done < access.len() {
            let at = address.wrapping_add(done as u64);
            // CAST: below a page.
            let in_page = PAGE - (at % PAGE as u64) as usize;
            let length = in_page.min(access.len() - done);
            let touch = Touch { address: at, length, write: access.is_write(), transfer };
            self.touch(kernel, slot, touch, &mut Part { access: &mut access, at: done, length })?;
            done += length;
        }
        Ok(())
    }

    fn touch(
        &self,
        kernel: &Kernel,
        slot: usize,
        touch: Touch,
        part: &mut Part<'_, '_>,
    ) -> Result<(), BusError> {
        for adapter in self.adapters_of(slot).filter(|a| a.may_hold(touch.address)) {
            let mut state = adapter.state.lock();
            match self.reach(kernel, adapter, &mut state, touch) {
                Reach::Elsewhere => {}
                Reach::Memory(host) => {
                    part.copy(kernel, host);
                    return Ok(());
                }
                Reach::Common { host, served } => {
                    part.copy_common(kernel, adapter, host, served);
                    return Ok(());
                }
                Reach::Translated(target) => {
                    part.copy_by_line(kernel, adapter, target, touch);
                    return Ok(());
                }
                Reach::Forbidden { error, memory, violation } => {
                    if let (Some(host), false) = (memory, kernel.options.profile.remaps()) {
                        part.copy(kernel, host);
                        self.blame(violation);
                        return Ok(());
                    }
                    self.blame(with_code(kernel, touch, error, violation));
                    return Err(error);
                }
            }
        }
        let violation = nothing_there(kernel, touch);
        self.blame(with_code(kernel, touch, BusError::Miss, violation));
        Err(BusError::Miss)
    }

    /// Keeps the first violation for the next crossing.
    pub(crate) fn blame(&self, violation: Violation) {
        self.fault.lock().get_or_insert(violation);
        self.unsettled.store(true, Ordering::Release);
    }

    fn reach(&self, kernel: &Kernel, adapter: &Adapter, state: &mut State, touch: Touch) -> Reach {
        let windows = &adapter.windows;
        let shared = touch.address.wrapping_sub(windows.commons) >> PAGE_SHIFT;
        let is_shared = shared < u64::from(windows.common_pages);
        let holds = |common: &&mut Common| {
            (common.address..common.address + common.span()).contains(&touch.address)
        };
        if let Some(common) = state.commons.iter_mut().take_while(|_| is_shared).find(holds) {
            return self.reach_common(kernel, adapter, common, touch);
        }
        let register = touch.address.wrapping_sub(windows.registers) >> PAGE_SHIFT;
        if adapter.paging != Paging::Direct && register < u64::from(state.file.count()) {
            // CAST: a register number, as just checked.
            let register = register as u32;
            return match adapter.paging {
                Paging::Translated { .. } => reach_translated(kernel, state, register, touch),
                _ => reach_bounce(state, register, touch),
            };
        }
        let direct = windows.direct.filter(|_| adapter.paging == Paging::Direct);
        let physical = direct.map(|offset| touch.address.wrapping_sub(offset));
        if let Some(physical) = physical.filter(|&p| kernel.memory.is_physical(p)) {
            return reach_direct(kernel, state, physical >> PAGE_SHIFT, touch);
        }
        ended(explain_range(state, touch), None)
    }

    /// What an access to a common buffer reaches. If the processor may cache it, each transfer needs
    /// a KeFlushIoBuffers for its bytes and its direction (DMA-84, DMA-90).
    fn reach_common(
        &self,
        kernel: &Kernel,
        adapter: &Adapter,
        common: &mut Common,
        touch: Touch,
    ) -> Reach {
        // CAST: below the buffer's length.
        let offset = (touch.address - common.address) as usize;
        let (host, bytes) = (common.host + offset, common.bytes(offset, touch.length));
        let version = adapter.traits.version;
        let served = match adapter.traits.slave {
            // For system DMA MapTransfer begins the transfer, and looks.
            Some(_) => !common.needs_flush(version) || common.flushes.cover(bytes, touch.write),
            None => {
                let lack = common.serve(version, bytes, touch.write, touch.transfer);
                lack.is_none_or(|lack| {
                    self.accuse(kernel, common, lack, bytes, touch);
                    false
                })
            }
        };
        Reach::Common { host, served }
    }

    /// Blames or notes what an access to a common buffer lacks.
    fn accuse(
        &self,
        kernel: &Kernel,
        common: &mut Common,
        (lack, harmless): (Lack, bool),
        bytes: (usize, usize),
        touch: Touch,
    ) {
        if harmless && std::mem::replace(&mut common.noted, true) {
            return;
        }
        let who = format!("the device {}", touch.verb());
        let found = lack.found(&who, bytes, touch.write).from(common.origin());
        if harmless || kernel.options.go_on {
            self.notes.lock().push((found, harmless));
            self.unsettled.store(true, Ordering::Release);
        } else {
            self.blame(found);
        }
    }
}

/// What an access to a map register's page reaches.
fn reach_bounce(state: &mut State, register: u32, touch: Touch) -> Reach {
    let memory = state.file.bounce_page(register).map(|page| page.addr() + touch.offset() as usize);
    let entry = state.file.get(register).copied();
    match (entry.filter(|entry| entry.mapped), memory) {
        (Some(entry), Some(memory)) if !(touch.write && entry.to_device) => {
            // The rest of the page is looked at when it is flushed (E6/0F).
            state.file.touch(register);
            Reach::Memory(memory)
        }
        (Some(entry), memory) => {
            let violation = wrong_direction(state, entry.operation, touch);
            Reach::Forbidden { error: BusError::Permission, memory, violation }
        }
        (None, memory) => {
            let operation = entry.map_or(0, |entry| entry.operation);
            ended(explain(state, operation, touch), memory)
        }
    }
}

/// What an access to a page that a map register translates reaches.
fn reach_translated(kernel: &Kernel, state: &mut State, register: u32, touch: Touch) -> Reach {
    let entry = state.file.get(register).copied();
    let Some(entry) = entry.filter(|entry| entry.mapped) else {
        return ended(explain(state, entry.map_or(0, |entry| entry.operation), touch), None);
    };
    if touch.write && entry.to_device {
        let violation = wrong_direction(state, entry.operation, touch);
        return Reach::Forbidden { error: BusError::Permission, memory: None, violation };
    }
    if entry.from <= touch.offset() && touch.end() <= entry.to {
        state.file.touch(register);
        let bounce = state.file.bounce_page(register);
        let (lines, operation) = (state.file.bounced_lines(register), entry.operation);
        return Reach::Translated(Target { page: entry.page, bounce, lines, operation });
    }
    beyond(kernel, touch)
}

/// An access to bytes of a mapped page that are not mapped.
fn beyond(kernel: &Kernel, touch: Touch) -> Reach {
    let message = format!(
        "the device {} {} bytes at {:#x}, beyond the bytes mapped there",
        touch.verb(),
        touch.length,
        touch.address
    );
    let violation = broken(unmapped_rule(kernel), message);
    Reach::Forbidden { error: BusError::Miss, memory: None, violation }
}

/// What an access to a page behind an adapter's offset reaches.
fn reach_direct(kernel: &Kernel, state: &mut State, frame: u64, touch: Touch) -> Reach {
    let (from, to) = (touch.offset(), touch.end());
    let first = state.file.overlapping(frame, from, to);
    let found = first.and_then(|first| Some((first, *state.file.get(first)?)));
    let Some((first, entry)) = found else {
        let last = state.file.last_with(frame, from).map_or(0, |register| register.operation);
        return ended(explain(state, last, touch), None);
    };
    if touch.write && entry.to_device {
        let violation = wrong_direction(state, entry.operation, touch);
        return Reach::Forbidden { error: BusError::Permission, memory: None, violation };
    }
    let whole = entry.from <= from && to <= entry.to;
    if whole || state.file.covers(frame, from, to) {
        state.file.touch_from(first, from, to);
        return Reach::Memory(entry.page + from as usize);
    }
    beyond(kernel, touch)
}

/// An access to what is mapped no more; another adapter may know more.
fn ended(violation: Option<Violation>, memory: Option<usize>) -> Reach {
    match violation {
        Some(violation) => Reach::Forbidden { error: BusError::Miss, memory, violation },
        None => Reach::Elsewhere,
    }
}

impl Adapter {
    /// Whether what the device writes waits in a buffer of the adapter's. The system's DMA
    /// controller has its own.
    fn has_fifo(&self, kernel: &Kernel) -> bool {
        kernel.options.profile.has_fifos() && self.traits.slave.is_none()
    }

    /// Whether an address lies in one of the adapter's windows.
    fn may_hold(&self, address: u64) -> bool {
        let windows = &self.windows;
        let within = |start: u64, pages: u32| {
            address >= start && address - start < u64::from(pages) << PAGE_SHIFT
        };
        within(windows.registers, windows.register_limit)
            || within(windows.commons, windows.common_pages)
            || windows.direct.is_some_and(|offset| {
                address >= offset && address - offset < crate::memory::pages::END_OF_MEMORY
            })
    }
}

/// The rule for an access that nothing maps.
fn unmapped_rule(kernel: &Kernel) -> RuleId {
    if kernel.options.profile.remaps() { RuleId::Dma114 } else { RuleId::Sim02 }
}

/// Adds the code that an IOMMU's fault has.
fn with_code(kernel: &Kernel, touch: Touch, error: BusError, mut found: Violation) -> Violation {
    if !kernel.options.profile.remaps() {
        return found;
    }
    let (kind, name) = match error {
        BusError::Permission => (2, "a permission failure"),
        _ => (1, "a miss"),
    };
    found.message = format!("{}; the IOMMU reports {name}", found.message);
    found.code(0xE6, [0x26, 0, touch.address, kind])
}

/// No window of the device's adapters holds the address.
fn nothing_there(kernel: &Kernel, touch: Touch) -> Violation {
    let Touch { address, length, .. } = touch;
    if kernel.memory.is_physical(address) {
        let message = format!(
            "the device {} {length} bytes at {address:#x}, which is a physical address; it must \
             be given logical ones",
            touch.verb()
        );
        let violation = broken(RuleId::Sim01, message);
        return match kernel.memory.asked_for(address) {
            Some(origin) => violation.from(origin),
            None => violation,
        };
    }
    let message = format!(
        "the device {} {length} bytes at {address:#x}, which was never mapped",
        touch.verb()
    );
    broken(unmapped_rule(kernel), message)
}

/// DMA-52: the device wrote what was mapped for reading.
fn wrong_direction(state: &State, operation: u64, touch: Touch) -> Violation {
    let message = format!(
        "the device wrote {} bytes at {:#x}, which are mapped for transfer to the device",
        touch.length, touch.address
    );
    let violation = broken(RuleId::Dma52, message);
    match state.find_operation(operation) {
        Some(mapping) => violation.from(mapping.origin),
        None => violation,
    }
}

/// An address that an operation mapped which has ended.
fn explain(state: &State, operation: u64, touch: Touch) -> Option<Violation> {
    let retired = state.retired.iter().rev().find(|retired| retired.operation == operation);
    let Some(retired) = retired.filter(|_| operation != 0) else {
        return explain_range(state, touch);
    };
    let message = format!(
        "the device {} {} bytes at {:#x} after their mapping was flushed",
        touch.verb(),
        touch.length,
        touch.address
    );
    Some(broken(RuleId::Dma57, message).from(retired.origin))
}

/// An address in a window where nothing lies, or no more.
fn explain_range(state: &State, touch: Touch) -> Option<Violation> {
    let holds = |r: &&super::adapter::Retired| (r.from..r.to).contains(&touch.address);
    let retired = state.retired.iter().rev().find(holds)?;
    let (rule, what) = match retired.how {
        Retirement::Flushed => (RuleId::Dma57, "their mapping was flushed"),
        Retirement::Freed => (RuleId::Dma115, "their common buffer was freed"),
    };
    let message = format!(
        "the device {} {} bytes at {:#x} after {what}",
        touch.verb(),
        touch.length,
        touch.address
    );
    Some(broken(rule, message).from(retired.origin))
}
