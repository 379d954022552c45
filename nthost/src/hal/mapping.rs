//! One DMA operation's mapping: from bytes of an MDL chain to map registers and logical addresses.

use wdk_lite::*;

use super::adapter::{Adapter, Paging, Retired, Retirement, State};
use super::coherency::{Culprit, check_alignment, spoilt};
use super::registers::{Piece, Stray};
use crate::RuleId;
use crate::machine::Kernel;
use crate::memory::cache::Spoiled;
use crate::memory::mdl::{Content, Mdl};
use crate::memory::{PAGE, PAGE_SHIFT};
use crate::verifier::{CallStack, Violation, broken};

/// Operations up to this length have their bounce pages filled before the device writes them, so
/// that bytes it did not write show (DMA-96).
const POISONED: usize = 64 << 10;

/// An operation that is mapped and not yet flushed.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    /// Names it; rises with time.
    pub operation: u64,
    /// The first MDL of the chain, whether or not bytes of it are mapped.
    pub head: Option<Mdl>,
    /// The MDLs that are mapped, with their links as they were (DMA-102).
    pub mdls: Vec<(Mdl, usize)>,
    /// Offset of the first byte from the start of the chain.
    pub offset: usize,
    /// Bytes mapped.
    pub length: usize,
    pub to_device: bool,
    /// The first register and how many are used.
    pub register: u32,
    pub registers: u32,
    /// Where the last call wanted to end, from the start of the first MDL (DMA-48).
    pub asked_end: usize,
    pub origin: CallStack,
}

impl Mapping {
    /// Offset behind its last byte, from the start of the first MDL.
    pub(super) fn end(&self) -> usize {
        self.offset + self.length
    }
}

/// Some bytes of one MDL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub mdl: Mdl,
    pub start: usize,
    pub offset: usize,
    pub length: usize,
}

impl Part {
    /// Pages it touches.
    pub(super) fn pages(&self) -> u32 {
        // CAST: an MDL describes less than 4 GiB.
        crate::memory::pages::span(self.start + self.offset, self.length) as u32
    }

    /// Bytes of its first `pages` pages.
    pub(super) fn first_pages(&self, pages: u32) -> usize {
        // CAST: a count of pages.
        let whole = pages as usize * PAGE;
        self.length.min(whole.saturating_sub((self.start + self.offset) % PAGE))
    }
}

/// The MDL for a transfer in this direction.
///
/// # Errors
/// What [`Memory::usable`](crate::memory::Memory::usable) finds; DMA-99 if its pages are not
/// locked, DMA-104 if the device may not write them.
pub(super) fn examine(
    kernel: &Kernel,
    mdl: PMDL,
    to_device: bool,
    call: &str,
) -> Result<Mdl, Violation> {
    let (found, content) = kernel.memory.usable_with_content(mdl, call)?;
    check_content(found, content, to_device, call)?;
    Ok(found)
}

fn check_content(mdl: Mdl, content: Content, to_device: bool, call: &str) -> Result<(), Violation> {
    let unlocked = match content {
        Content::Empty => true,
        Content::Partial { source, .. } => source.content() == Content::Empty,
        Content::Locked { .. } | Content::Nonpaged => false,
    };
    if unlocked {
        let message = format!("{call} was given an MDL whose pages are not locked");
        // CAST: an address.
        let code = [0x0E, mdl.pointer().addr() as u64, 0, 0];
        return Err(broken(RuleId::Dma99, message).code(0xE6, code));
    }
    if !to_device && !content.is_writable() {
        let message =
            format!("{call} lets the device write pages that were probed for reading only");
        return Err(broken(RuleId::Dma104, message));
    }
    Ok(())
}

/// Walks a chain from `offset` in its first MDL on: every part of the next `length` bytes.
/// Returns the bytes that the chain lacks.
pub(super) fn walk(
    kernel: &Kernel,
    first: Mdl,
    offset: usize,
    length: usize,
    mut visit: impl FnMut(Part) -> Result<(), Violation>,
) -> Result<usize, Violation> {
    let (mut mdl, mut offset, mut left) = (first, offset, length);
    loop {
        let bytes = mdl.byte_count();
        if offset < bytes {
            let length = left.min(bytes - offset);
            visit(Part { mdl, start: mdl.start(), offset, length })?;
            left -= length;
        }
        offset = offset.saturating_sub(bytes);
        let next = mdl.next();
        if left == 0 || next.is_null() {
            return Ok(left);
        }
        mdl = kernel.memory.usable(next, "a walk through an MDL chain")?;
    }
}

/// Bytes of a whole chain.
pub(super) fn chain_length(kernel: &Kernel, first: Mdl) -> Result<usize, Violation> {
    let mut total = 0;
    walk(kernel, first, 0, usize::MAX, |part| {
        total += part.length;
        Ok(())
    })?;
    Ok(total)
}

impl State {
    /// An empty mapping that uses registers from `register` on.
    pub(super) fn begin(
        &mut self,
        operation: u64,
        register: u32,
        (head, offset): (Mdl, usize),
        to_device: bool,
        origin: CallStack,
    ) -> Mapping {
        let mut mapping = self.spare.pop().unwrap_or_default();
        mapping.mdls.clear();
        let head = Some(head);
        Mapping { operation, head, register, offset, to_device, origin, ..mapping.emptied() }
    }

    /// Adds a part of an MDL to a mapping, page by page; tells each page's logical address and
    /// length.
    ///
    /// # Errors
    /// DMA-51 for bytes that are mapped already, DMA-97 for a bounce page that was written while
    /// it was free.
    pub(super) fn map(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        mapping: &mut Mapping,
        part: Part,
        mut tell: impl FnMut(u64, u32),
    ) -> Result<(), Violation> {
        if mapping.mdls.last().is_none_or(|&(last, _)| last != part.mdl) {
            if mapping.head != Some(part.mdl) {
                let content = part.mdl.content();
                check_content(part.mdl, content, mapping.to_device, "mapping an MDL chain")?;
            }
            part.mdl.begin_mapping(mapping.origin);
            mapping.mdls.push((part.mdl, part.mdl.next().addr()));
        }
        check_alignment(kernel, adapter, part)?;
        let (mut address, end) = (part.start + part.offset, part.start + part.offset + part.length);
        while address < end {
            let page = (address >> PAGE_SHIFT) - (part.start >> PAGE_SHIFT);
            // CAST: offsets in a page.
            let from = (address % PAGE) as u32;
            let to = (end - address + address % PAGE).min(PAGE) as u32;
            let piece = self.piece(kernel, mapping, part.mdl.frame(page), from, to, part.length)?;
            if self.file.overlapping(piece.frame, from, to).is_some() {
                return Err(self.already_mapped(address, piece));
            }
            let (register, logical) = self.map_piece(adapter, mapping, piece, part.length)?;
            self.give(kernel, adapter, register, piece);
            tell(logical, to - from);
            address += (to - from) as usize;
        }
        mapping.length += part.length;
        Ok(())
    }

    fn piece(
        &self,
        kernel: &Kernel,
        mapping: &Mapping,
        frame: u64,
        from: u32,
        to: u32,
        _length: usize,
    ) -> Result<Piece, Violation> {
        let Some(page) = kernel.memory.pages.host_address(frame) else {
            let message = "an MDL describes pages that are locked no more";
            return Err(broken(RuleId::Dma99, message).code(0xE6, [0x0E, 0, 0, 0]));
        };
        let Mapping { to_device, operation, .. } = *mapping;
        Ok(Piece { frame, page, from, to, to_device, operation })
    }

    fn map_piece(
        &mut self,
        adapter: &Adapter,
        mapping: &mut Mapping,
        piece: Piece,
        length: usize,
    ) -> Result<(u32, u64), Violation> {
        let last = (mapping.register + mapping.registers).wrapping_sub(1);
        let continues = piece.from != 0
            && mapping.registers != 0
            && self.file.get(last).is_some_and(|r| r.frame == piece.frame && r.to == piece.from);
        let register = if continues {
            self.file.extend(last, piece.to);
            last
        } else {
            let register = mapping.register + mapping.registers;
            let mapped = self.file.map(register, piece, length <= POISONED);
            mapped.map_err(|stray| strayed(stray, mapping.origin))?;
            mapping.registers += 1;
            register
        };
        let logical = match (adapter.paging, adapter.windows.direct) {
            (Paging::Direct, Some(offset)) => {
                (piece.frame << PAGE_SHIFT) + u64::from(piece.from) + offset
            }
            _ => adapter.register_address(register) + u64::from(piece.from),
        };
        Ok((register, logical))
    }

    fn already_mapped(&self, address: usize, piece: Piece) -> Violation {
        let message = format!(
            "{} bytes at {address:#x} were mapped that this adapter has mapped already",
            piece.to - piece.from
        );
        let end = address + (piece.to - piece.from) as usize;
        // CAST: addresses.
        let code = [0x1D, address as u64, end as u64, (address & !(PAGE - 1)) as u64];
        let other = self.file.overlapping(piece.frame, piece.from, piece.to);
        let operation = other.and_then(|r| self.file.get(r)).map_or(0, |r| r.operation);
        let violation = broken(RuleId::Dma51, message).code(0xE6, code);
        match self.find_operation(operation) {
            Some(mapping) => violation.from(mapping.origin),
            None => violation,
        }
    }

    /// The live mapping of this name.
    pub(super) fn find_operation(&self, operation: u64) -> Option<&Mapping> {
        let granted = self.grants.iter().filter(|g| g.live).flat_map(|g| &g.maps);
        let listed = self.lists.iter().filter(|l| l.live).map(|l| &l.mapping);
        granted.chain(listed).find(|mapping| mapping.operation == operation)
    }

    /// Ends a mapping; bounced data from the device is copied back if `copy_back` (DMA-93).
    ///
    /// # Errors
    /// DMA-97 if something was written beside the mapped bytes.
    pub(super) fn unmap(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        mapping: Mapping,
        copy_back: bool,
        at: CallStack,
    ) -> Result<(), Violation> {
        self.drain(kernel, adapter, mapping.operation, copy_back);
        let (mut spoiled, mut stray) = (None, None);
        for register in mapping.register..mapping.register + mapping.registers {
            stray = stray.or(self.file.unmap(register, copy_back).err());
            let found = self.take_back(kernel, register, copy_back);
            spoiled = Spoiled::worse(spoiled, found);
        }
        for &(mdl, _) in &mapping.mdls {
            mdl.end_mapping();
        }
        let from = adapter.register_address(mapping.register);
        let to = from + (u64::from(mapping.registers) << PAGE_SHIFT);
        let Mapping { operation, .. } = mapping;
        self.retire(Retired { operation, from, to, how: Retirement::Flushed, origin: at });
        let spoilt = spoiled.map(|spoiled| spoilt(spoiled, &mapping));
        let origin = mapping.origin;
        self.spare.push(mapping);
        if let Some(stray) = stray {
            return Err(strayed(stray, origin));
        }
        match spoilt {
            None => Ok(()),
            Some((found, Culprit::Driver)) => kernel.breach(found),
            Some((found, Culprit::Requester)) => {
                kernel.remark(*found);
                Ok(())
            }
        }
    }
}

impl Mapping {
    /// Nothing, in the same memory.
    fn emptied(self) -> Self {
        Self { mdls: self.mdls, ..Self::default() }
    }

    /// DMA-102: nobody relinked the chain while it was mapped.
    pub(super) fn check_chain(&self) -> Result<(), Violation> {
        if self.mdls.iter().all(|&(mdl, next)| mdl.next().addr() == next) {
            return Ok(());
        }
        let message = "an MDL chain was relinked while it was mapped";
        Err(broken(RuleId::Dma102, message).from(self.origin))
    }
}

/// E6/0F for a write where nobody may write.
fn strayed(stray: Stray, origin: CallStack) -> Violation {
    let (kind, start, at, place) = match stray {
        Stray::Free { at } => (3, at, 0, "to a free map register"),
        Stray::Before { start, at } => (4, start, at, "before the mapped bytes"),
        Stray::Behind { start, at } => (5, start, at, "behind the mapped bytes"),
    };
    let message = format!("the device or the driver wrote {place} of a DMA buffer");
    // CAST: addresses.
    broken(RuleId::Dma77, message).code(0xE6, [0x0F, kind, start as u64, at as u64]).from(origin)
}
