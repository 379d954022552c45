//! MapTransfer and FlushAdapterBuffers: the packet loop of versions 1 and 2 (RULES section E).

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::{Adapter, Grant, Paging, State};
use super::coherency::Coherency;
use super::mapping::{Mapping, Part, examine};
use super::system::{check_idle, program};
use super::{logical, raise};
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::memory::PAGE;
use crate::memory::mdl::{Mdl, Operation};
use crate::verifier::{Violation, broken};

/// Maps bytes of one MDL for the device (wdm, PMAP_TRANSFER): the registers are granted (DMA-45),
/// the range lies in the MDL (DMA-46), is not empty (DMA-50) and not mapped already (DMA-51).
/// Without scatter/gather all of it becomes one range; with it as much as is contiguous (DMA-47).
pub(crate) unsafe fn MapTransfer(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    MapRegisterBase: PVOID,
    CurrentVa: PVOID,
    Length: PULONG,
    WriteToDevice: BOOLEAN,
) -> Result<PHYSICAL_ADDRESS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if Length.is_null() {
        return Err(broken(RuleId::Dma47, "MapTransfer was given no Length"));
    }
    let to_device = WriteToDevice != 0;
    let mdl = examine(kernel, Mdl, to_device, "MapTransfer")?;
    // SAFETY: the page promises a valid in/out pointer.
    let asked = unsafe { Length.read() } as usize;
    let part = check_range(mdl, CurrentVa, asked)?;
    let mut lack = None;
    let (address, mapped, coherency) = {
        let mut state = adapter.state.lock();
        let Some(grant) = state.find_grant(MapRegisterBase) else {
            return Err(no_registers("MapTransfer"));
        };
        check_idle(adapter, &state, grant, "MapTransfer")?;
        match state.map_common(kernel, adapter, grant, part, to_device)? {
            Some((address, found)) => {
                lack = found;
                (address, part.length, Coherency::default())
            }
            None => map(kernel, adapter, &mut state, grant, part, to_device)?,
        }
    };
    lack.map_or(Ok(()), |lack| raise(kernel, lack))?;
    program(kernel, adapter, (address, mapped), to_device, None);
    if adapter.traits.version < 3 {
        coherency.report(kernel, to_device)?;
    }
    // CAST: at most what was asked.
    // SAFETY: as above.
    unsafe { Length.write(mapped as u32) };
    Ok(logical(address))
}

/// Flushes one operation (wdm, PFLUSH_ADAPTER_BUFFERS): with the MDL and base of its mapping, its
/// first CurrentVa, its whole length and its direction (DMA-52, DMA-53). FALSE if the data did not
/// arrive (DMA-55).
pub(crate) unsafe fn FlushAdapterBuffers(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    MapRegisterBase: PVOID,
    CurrentVa: PVOID,
    Length: ULONG,
    WriteToDevice: BOOLEAN,
) -> Result<BOOLEAN, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mdl = kernel.memory.usable(Mdl, "FlushAdapterBuffers")?;
    let wanted = Wanted {
        mdl,
        offset: CurrentVa.addr().wrapping_sub(mdl.start()),
        // CAST: 32 bits.
        length: Length as usize,
        to_device: WriteToDevice != 0,
        base: MapRegisterBase,
    };
    super::system::flush(kernel, adapter)?;
    // CAST: a truth value.
    Ok(flush(kernel, adapter, wanted)? as u8)
}

/// The part of the MDL that CurrentVa and Length name.
fn check_range(mdl: Mdl, CurrentVa: PVOID, length: usize) -> Result<Part, Violation> {
    let (start, bytes) = (mdl.start(), mdl.byte_count());
    let address = CurrentVa.addr();
    // CAST: addresses and lengths.
    let (at, list) = (address as u64, mdl.pointer().addr() as u64);
    if length == 0 {
        let message = "MapTransfer was asked to map zero bytes";
        return Err(broken(RuleId::Dma50, message).code(0xE6, [0x21, 0, 0, 0]));
    }
    if address < start || address >= start + bytes {
        let message = format!(
            "CurrentVa {at:#x} lies outside the MDL, which describes {start:#x}..{:#x}",
            start + bytes
        );
        return Err(broken(RuleId::Dma46, message).code(0xE6, [0x1B, at, list, 0]));
    }
    let offset = address - start;
    if length > bytes - offset {
        let message = format!(
            "{length} bytes at CurrentVa {at:#x} reach {} bytes beyond the end of the MDL",
            length - (bytes - offset)
        );
        return Err(broken(RuleId::Dma46, message).code(0xE6, [0x1F, 3, list, length as u64]));
    }
    Ok(Part { mdl, start, offset, length })
}

/// DMA-45: the base is none that the driver holds.
pub(super) fn no_registers(call: &str) -> Violation {
    let message = format!("{call} was given map registers that the driver does not hold");
    broken(RuleId::Dma45, message)
}

/// Maps what can be mapped of `part` in one piece.
fn map(
    kernel: &Kernel,
    adapter: &Adapter,
    state: &mut State,
    grant: usize,
    part: Part,
    to_device: bool,
) -> Result<(u64, usize, Coherency), Violation> {
    check_sequence(&state.grants[grant].maps, part, to_device)?;
    let continued = state.grants[grant]
        .maps
        .last()
        .is_some_and(|last| last.head == Some(part.mdl) && last.end() == part.offset);
    let mut mapping = if continued {
        state.grants[grant].maps.pop().unwrap_or_default()
    } else {
        let operation = kernel.hal.next_serial();
        let register = state.grants[grant].hint;
        state.begin(operation, register, (part.mdl, part.offset), to_device, context::stack())
    };
    let part = state.fit(kernel, adapter, grant, &mut mapping, part)?;
    let total = mapping.length + part.length;
    if total > adapter.traits.maximum_length as usize {
        return Err(too_long(adapter, total).from(mapping.origin));
    }
    let mut address = None;
    state.map(kernel, adapter, &mut mapping, part, |logical, _| {
        address.get_or_insert(logical);
    })?;
    let mut coherency = Coherency::after(state.grants[grant].coherent);
    coherency.look(kernel, part, to_device);
    let grant = &mut state.grants[grant];
    grant.coherent |= coherency.is_proper();
    grant.hint = mapping.register + mapping.registers;
    grant.maps.push(mapping);
    Ok((address.unwrap_or_default(), part.length, coherency))
}

/// DMA-09: an operation longer than the description said.
pub(super) fn too_long(adapter: &Adapter, length: usize) -> Violation {
    let maximum = adapter.traits.maximum_length;
    let message = format!(
        "an operation of {length} bytes exceeds DEVICE_DESCRIPTION.MaximumLength, {maximum}"
    );
    broken(RuleId::Dma09, message)
}

/// What earlier calls of the same operation demand of the next one.
fn check_sequence(maps: &[Mapping], part: Part, to_device: bool) -> Result<(), Violation> {
    let Some(last) = maps.last() else { return Ok(()) };
    if last.to_device != to_device {
        let message = "MapTransfer changed its direction within one operation";
        return Err(broken(RuleId::Dma52, message).from(last.origin));
    }
    let skipped =
        last.head == Some(part.mdl) && last.asked_end > last.end() && part.offset == last.asked_end;
    if skipped {
        let message = format!(
            "MapTransfer advanced by the length it asked for; {} bytes fewer had been mapped",
            last.asked_end - last.end()
        );
        return Err(broken(RuleId::Dma48, message).from(last.origin));
    }
    Ok(())
}

impl State {
    /// Registers of a grant that its mappings use.
    fn used(&self, grant: usize) -> u32 {
        self.grants[grant].maps.iter().map(|mapping| mapping.registers).sum()
    }

    /// Shortens `part` to what one call maps, and chooses the registers.
    fn fit(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        grant: usize,
        mapping: &mut Mapping,
        part: Part,
    ) -> Result<Part, Violation> {
        mapping.asked_end = part.offset + part.length;
        // A piece that goes on in the page where the last one ended shares its register.
        let begins_in_page = !(part.start + part.offset).is_multiple_of(PAGE);
        let shared = u32::from(mapping.registers != 0 && begins_in_page);
        let wanted = run(kernel, adapter, part) - shared;
        let next = match mapping.registers {
            0 => self.place(grant, if adapter.traits.scatter_gather { 1 } else { wanted }),
            registers => Some(mapping.register + registers),
        };
        let left = next.map_or(0, |next| self.unused_from(grant, next, wanted));
        let too_few = left < wanted && !adapter.traits.scatter_gather;
        let (Some(next), false) = (next, too_few || left + shared == 0) else {
            let used = self.used(grant) + mapping.registers;
            return Err(over_budget(used + part.pages() - shared, self.grants[grant].count));
        };
        if mapping.registers == 0 {
            mapping.register = next;
        }
        Ok(Part { length: part.first_pages(left + shared), ..part })
    }

    /// Unused registers in a row from `register` on, at most `enough`.
    fn unused_from(&self, grant: usize, register: u32, enough: u32) -> u32 {
        let grant = &self.grants[grant];
        let end = (grant.first + grant.count).min(register + enough);
        let unused = |&r: &u32| self.file.get(r).is_some_and(|r| !r.mapped);
        // CAST: a count of registers.
        (register..end).take_while(unused).count() as u32
    }

    /// The first of `count` unused registers in a row of a grant.
    fn place(&self, grant: usize, count: u32) -> Option<u32> {
        let Grant { hint, first, count: all, .. } = self.grants[grant];
        if self.unused_from(grant, hint, count) == count {
            return Some(hint);
        }
        (first..first + all).find(|&r| self.unused_from(grant, r, count) == count)
    }
}

/// How many of the first pages of `part` one call maps, if there are registers.
fn run(kernel: &Kernel, adapter: &Adapter, part: Part) -> u32 {
    let pages = part.pages();
    if !adapter.traits.scatter_gather {
        pages
    } else if adapter.paging == Paging::Direct {
        contiguous(part, pages)
    } else if kernel.choices.coin(4) {
        // Contiguous, but a HAL may give less.
        1 + kernel.choices.below(pages)
    } else {
        pages
    }
}

/// How many of the first pages of `part` have frames in a row.
fn contiguous(part: Part, pages: u32) -> u32 {
    let first = ((part.start + part.offset) >> 12) - (part.start >> 12);
    let frame = part.mdl.frame(first);
    // CAST: a page number of an MDL.
    let follows = |n: &u32| part.mdl.frame(first + *n as usize) == frame + u64::from(*n);
    // CAST: at most `pages`.
    1 + (1..pages).take_while(follows).count() as u32
}

/// DMA-49: more pages than map registers.
pub(super) fn over_budget(needed: u32, count: u32) -> Violation {
    let message = format!("an operation needs {needed} map registers; {count} were allocated");
    broken(RuleId::Dma49, message).code(0xE6, [0x0C, needed.into(), count.into(), 0])
}

/// The operation a flush names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub mdl: Mdl,
    /// From the start of the MDL.
    pub offset: usize,
    pub length: usize,
    pub to_device: bool,
    pub base: PVOID,
}

/// Flushes the operation; `false` if the machine lets this flush fail (DMA-55).
pub(super) fn flush(kernel: &Kernel, adapter: &Adapter, wanted: Wanted) -> Result<bool, Violation> {
    let mut state = adapter.state.lock();
    let Some(grant) = state.find_grant(wanted.base) else {
        return Err(never_mapped(wanted));
    };
    let at = wanted.find(&state.grants[grant].maps)?;
    let mapping = state.grants[grant].maps.remove(at);
    let arrives = !kernel.hal.flush_fails(kernel);
    if kernel.options.flush_failure.is_some() {
        let Mapping { head, offset, length, origin, .. } = mapping;
        for &(mdl, _) in &mapping.mdls {
            mdl.flushed(Operation { head, offset, length, origin }, arrives);
        }
    }
    if state.grants[grant].maps.is_empty() {
        state.grants[grant].hint = state.grants[grant].first;
    }
    state.unmap(kernel, adapter, mapping, arrives, context::stack())?;
    Ok(arrives)
}

fn never_mapped(wanted: Wanted) -> Violation {
    let message = "adapter buffers were flushed through map registers that map nothing";
    // CAST: addresses.
    let (base, list) = (wanted.base.addr() as u64, wanted.mdl.pointer().addr() as u64);
    let address = wanted.mdl.start().wrapping_add(wanted.offset) as u64;
    broken(RuleId::Dma53, message).code(0xE6, [0x20, base, address, list])
}

impl Wanted {
    /// The mapping it names exactly.
    fn find(&self, maps: &[Mapping]) -> Result<usize, Violation> {
        if maps.is_empty() {
            return Err(never_mapped(*self));
        }
        let is = |m: &Mapping| m.head == Some(self.mdl);
        let Some(at) = maps.iter().position(|m| is(m) && m.offset == self.offset) else {
            let message = match maps.iter().find(|m| is(m)) {
                Some(m) => format!(
                    "the flush begins at offset {} of the buffer; the operation began at {}",
                    self.offset, m.offset
                ),
                None => "the flush names an MDL that is not mapped here".to_owned(),
            };
            let code = [0x16, maps[0].register.into(), 0, 0];
            return Err(broken(RuleId::Dma53, message).code(0xE6, code).from(maps[0].origin));
        };
        let mapping = &maps[at];
        mapping.check_chain()?;
        if mapping.to_device != self.to_device {
            let message = "the flush's direction is not the mapping's";
            return Err(broken(RuleId::Dma52, message).from(mapping.origin));
        }
        // CAST: lengths.
        let (mapped, flushed) = (mapping.length as u64, self.length as u64);
        let code = match mapped.cmp(&flushed) {
            std::cmp::Ordering::Equal => return Ok(at),
            std::cmp::Ordering::Less => [0x00, 1, mapped, flushed - mapped],
            std::cmp::Ordering::Greater => [0x0D, mapped - flushed, mapped, 0],
        };
        let message = format!("the flush covers {flushed} bytes; the operation mapped {mapped}");
        Err(broken(RuleId::Dma53, message).code(0xE6, code).from(mapping.origin))
    }
}
