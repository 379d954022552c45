//! Notes about KeFlushIoBuffers: what a version 1 or 2 transfer should have had (RULES section H).

use super::mapping::Part;
use crate::RuleId;
use crate::machine::Kernel;
use crate::memory::cache::Flushed;
use crate::verifier::Violation;

/// What is wrong with KeFlushIoBuffers for some part.
#[derive(Clone, Copy, Debug)]
enum Lack {
    /// It was not called for the MDL.
    Never,
    /// It was, but an earlier transfer of these bytes has used it up.
    UsedUp,
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
    pub(super) fn look(&mut self, part: Part, to_device: bool) {
        match part.mdl.use_cache_flush(part.offset, part.offset + part.length, to_device) {
            Flushed::Properly => self.proper = true,
            Flushed::Never => {
                self.worst.get_or_insert(Lack::Never);
            }
            Flushed::UsedUp => {
                self.worst.get_or_insert(Lack::UsedUp);
            }
            Flushed::Otherwise(read, dma) => self.worst = Some(Lack::Otherwise(read, dma)),
        }
    }

    /// Whether some part was flushed properly.
    pub(super) fn is_proper(self) -> bool {
        self.proper
    }

    /// Notes what was found; without a host lock.
    pub(super) fn report(self, kernel: &Kernel, to_device: bool) -> Result<(), Violation> {
        match self.worst {
            None => Ok(()),
            Some(Lack::Never) if self.proper => {
                let message = "KeFlushIoBuffers was called for some MDLs of the chain, not for all";
                kernel.note(RuleId::Dma87, message)
            }
            Some(Lack::Never) => {
                let message = "no KeFlushIoBuffers before this transfer";
                kernel.note(RuleId::Dma85, message)
            }
            Some(Lack::UsedUp) => {
                let message = "no KeFlushIoBuffers since the last transfer of these bytes";
                kernel.note(RuleId::Dma85, message)
            }
            Some(Lack::Otherwise(read, dma)) => {
                let message = format!(
                    "KeFlushIoBuffers had ReadOperation {read} and DmaOperation {dma} before a \
                     transfer {} the device",
                    if to_device { "to" } else { "from" }
                );
                kernel.note(RuleId::Dma84, message)
            }
        }
    }
}
