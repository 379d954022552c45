//! Caches around a transfer: what KeFlushIoBuffers should have been called for (RULES section H),
//! and what becomes of the lines that a device is given.

use super::adapter::{Adapter, State};
use super::mapping::{Mapping, Part};
use super::registers::{Piece, Register};
use crate::RuleId;
use crate::machine::Kernel;
use crate::memory::cache::flush::Flushed;
use crate::memory::cache::{Given, Spoiled, Spoiler};
use crate::memory::mdl::Mdl;
use crate::verifier::{Violation, broken};

/// What is wrong with KeFlushIoBuffers for some part.
#[derive(Clone, Copy, Debug)]
enum Lack {
    /// It was not called for the MDL.
    Never,
    /// It was, but an earlier transfer of these bytes has used it up.
    UsedUp,
    /// It was, but before anybody asked for this transfer.
    Early(bool, bool),
    /// It had other arguments: ReadOperation, DmaOperation.
    Otherwise(bool, bool),
}

/// Says what KeFlushIoBuffers owes a version 1 or 2 transfer of these bytes (RULES section H).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coherency {
    worst: Option<Lack>,
    proper: bool,
}

impl Coherency {
    /// Whether some MDL of the transfer was flushed properly before.
    pub(super) fn after(proper: bool) -> Self {
        Self { worst: None, proper }
    }

    /// Looks at one part.
    pub(super) fn look(&mut self, kernel: &Kernel, part: Part, to_device: bool) {
        let (bytes, requests) = ((part.offset, part.offset + part.length), kernel.io.requests());
        match part.mdl.use_cache_flush(bytes, to_device, requests) {
            Flushed::Properly => self.proper = true,
            Flushed::Never => {
                self.worst.get_or_insert(Lack::Never);
            }
            Flushed::UsedUp => {
                self.worst.get_or_insert(Lack::UsedUp);
            }
            Flushed::Early(read, dma) => {
                self.worst.get_or_insert(Lack::Early(read, dma));
            }
            Flushed::Otherwise(read, dma) => self.worst = Some(Lack::Otherwise(read, dma)),
        }
    }

    /// Whether some part was flushed properly.
    pub(super) fn is_proper(self) -> bool {
        self.proper
    }

    /// Reports what was found; without a host lock.
    pub(super) fn report(self, kernel: &Kernel, to_device: bool) -> Result<(), Violation> {
        match self.worst {
            None => Ok(()),
            Some(Lack::Never) if self.proper => {
                let message = "KeFlushIoBuffers was called for some MDLs of the chain, not for all";
                kernel.lapse(RuleId::Dma87, message)
            }
            Some(Lack::Never) => {
                let message = "no KeFlushIoBuffers before this transfer";
                kernel.lapse(RuleId::Dma85, message)
            }
            Some(Lack::UsedUp) => {
                let message = "no KeFlushIoBuffers since the last transfer of these bytes";
                kernel.lapse(RuleId::Dma85, message)
            }
            Some(Lack::Early(read, dma)) => {
                let message = format!(
                    "no KeFlushIoBuffers for this transfer: the last call was made before anybody \
                     asked for it, with ReadOperation {read} and DmaOperation {dma}"
                );
                kernel.lapse(RuleId::Dma85, message)
            }
            Some(Lack::Otherwise(read, dma)) => {
                let message = format!(
                    "KeFlushIoBuffers had ReadOperation {read} and DmaOperation {dma} before a \
                     transfer {} the device",
                    if to_device { "to" } else { "from" }
                );
                kernel.lapse(RuleId::Dma84, message)
            }
        }
    }
}

/// DMA-15: start and length are multiples of what GetDmaAlignment says.
#[inline(always)]
pub(super) fn check_alignment(
    kernel: &Kernel,
    adapter: &Adapter,
    part: Part,
) -> Result<(), Violation> {
    if adapter.alignment == 1 { Ok(()) } else { check_lines(kernel, adapter, part) }
}

#[cold]
fn check_lines(kernel: &Kernel, adapter: &Adapter, part: Part) -> Result<(), Violation> {
    // CAST: a small number.
    let unit = adapter.alignment as usize;
    let address = part.start + part.offset;
    let (kind, what) = if !address.is_multiple_of(unit) {
        ([0x1F, 4, address as u64, part.mdl.pointer().addr() as u64], "begins")
    } else if !part.length.is_multiple_of(unit) {
        ([0x1F, 5, part.length as u64, part.mdl.pointer().addr() as u64], "ends")
    } else {
        return Ok(());
    };
    let message = format!(
        "a mapping of {} bytes at {address:#x} {what} in a cache line that it shares with its \
         neighbours; GetDmaAlignment is {unit}",
        part.length
    );
    kernel.breach(broken(RuleId::Dma15, message).code(0xE6, kind))
}

/// Whose store it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Culprit {
    /// The driver's, as far as anybody can tell.
    Driver,
    /// That of the application whose buffer it is: the driver has no address of it.
    Requester,
}

/// A line that processor and device both wrote.
pub(super) fn spoilt(spoiled: Spoiled, mapping: &Mapping) -> (Violation, Culprit) {
    let Spoiled { who, address } = spoiled;
    let place = match mapping.head.and_then(|mdl| address.checked_sub(mdl.start())) {
        Some(offset) => format!("offset {offset:#x} of the buffer"),
        None => format!("{address:#x}"),
    };
    let holds = |mdl: &Mdl| (mdl.start()..mdl.start() + mdl.byte_count()).contains(&address);
    let mdl = mapping.mdls.iter().map(|&(mdl, _)| mdl).find(holds);
    let stored = matches!(who, Spoiler::Early | Spoiler::Store);
    let (rule, message, culprit) = match who {
        _ if stored && mdl.is_some_and(Mdl::is_requesters_alone) => (
            RuleId::Sim16,
            format!(
                "the requester stored into its own buffer, at {place}, during a transfer {} the \
                 device; the driver has no address of it",
                if mapping.to_device { "to" } else { "from" }
            ),
            Culprit::Requester,
        ),
        Spoiler::Unflushed => (
            RuleId::Dma85,
            format!(
                "the cache line at {place} was dirty when the device was given it, and had not been \
                 flushed"
            ),
            Culprit::Driver,
        ),
        Spoiler::Early => (
            RuleId::Dma85,
            format!(
                "the processor stored into the cache line at {place} after KeFlushIoBuffers, before \
                 the device was given it"
            ),
            Culprit::Driver,
        ),
        Spoiler::Store => (
            RuleId::Dma94,
            format!("the processor stored into the buffer, at {place}, while the device had it"),
            Culprit::Driver,
        ),
        Spoiler::Neighbour => (
            RuleId::Sim13,
            format!(
                "the processor stored at {place}, beside the bytes that the device had, in the \
                 same cache line"
            ),
            Culprit::Driver,
        ),
    };
    (broken(rule, message).from(mapping.origin), culprit)
}

impl Register {
    /// The register's bytes, as the cache model takes them.
    fn given(&self, bounced: u64) -> Given {
        // CAST: offsets in a page.
        let (from, to) = (self.from as usize, self.to as usize);
        Given { page: self.page, from, to, bounced, to_device: self.to_device }
    }
}

impl State {
    /// A device is given the bytes of a piece. Version 3's routines flush the caches themselves.
    #[inline(always)]
    pub(super) fn give(&self, kernel: &Kernel, adapter: &Adapter, register: u32, piece: Piece) {
        let Some(mut cache) = kernel.caches() else { return };
        // CAST: offsets in a page.
        let (from, to) = (piece.from as usize, piece.to as usize);
        let bounced = self.file.bounced_lines(register);
        let given = Given { page: piece.page, from, to, bounced, to_device: piece.to_device };
        cache.give(given, adapter.traits.version >= 3, kernel.present_call());
    }

    /// A device's bytes are taken back; tells the first line that somebody spoiled.
    #[inline(always)]
    pub(super) fn take_back(
        &self,
        kernel: &Kernel,
        register: u32,
        arrives: bool,
    ) -> Option<Spoiled> {
        let mut cache = kernel.caches()?;
        let given = self.file.get(register)?.given(self.file.bounced_lines(register));
        cache.take_back(&kernel.choices, given, arrives, kernel.present_call())
    }

    /// A mapping of this name ends: what waits in the adapter's FIFO goes on to memory, or what it
    /// has of the mapping's is lost. Other mappings' bytes wait on then.
    #[inline(always)]
    pub(super) fn drain(&self, kernel: &Kernel, adapter: &Adapter, operation: u64, arrives: bool) {
        let Some(mut cache) = kernel.caches() else { return };
        let call = kernel.present_call();
        if arrives {
            cache.drain(adapter.slot, call);
        } else {
            cache.spill((adapter.slot, operation), call);
        }
    }
}
