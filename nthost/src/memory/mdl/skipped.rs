//! Elements of scatter/gather lists that the device left alone (DMA-77).

// UNSAFETY: buffers are memory of the process, reached by address.

use super::{Content, Mdl};
use crate::RuleId;
use crate::verifier::{CallStack, Violation, broken};

/// An element of a list that was put, of which the device had accessed nothing, though it had
/// accessed others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skipped {
    /// Offset of its bytes from the start of the MDL, and of the MDL from the start of its chain.
    pub offset: usize,
    pub before: usize,
    pub length: usize,
    pub to_device: bool,
    /// Where the list was asked for.
    pub origin: CallStack,
}

impl Mdl {
    /// A list over it was put, and the device had left an element alone. Until the MDL is mapped
    /// again nobody else has moved those bytes for it.
    pub(crate) fn skip(self, skipped: Skipped) {
        if let Content::Partial { source, .. } = self.content() {
            let offset = skipped.offset + self.start() - source.start();
            source.skip(Skipped { offset, ..skipped });
        }
        // What the driver fills in itself after the list was put need not come from a device.
        let digest = if skipped.to_device { Some(0) } else { self.digest(skipped) };
        self.state().skipped = digest.map(|digest| (skipped, digest));
    }

    /// A digest of an element's bytes; `None` if they are zeros, as a driver may have left them
    /// on purpose.
    fn digest(self, skipped: Skipped) -> Option<u64> {
        let from: *const u8 = std::ptr::with_exposed_provenance(self.start() + skipped.offset);
        let bytes = (0..skipped.length).map(|at| {
            // SAFETY: a byte of the MDL, whose pages stay until its request is complete; volatile,
            // since the requester may store there at the same time.
            unsafe { from.wrapping_add(at).read_volatile() }
        });
        let (digest, any) = bytes.fold((0u64, 0), |(digest, any), byte| {
            (digest.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte), any | byte)
        });
        (any != 0).then_some(digest)
    }

    /// DMA-77: the first `reported` bytes of its chain are said to have been moved. Were they given
    /// to a device that left them alone, and does nothing show that somebody else moved them?
    ///
    /// # Errors
    /// DMA-77 then.
    pub(in crate::memory) fn check_moved(self, reported: u64) -> Result<(), Violation> {
        let Some((skipped, digest)) = self.state().skipped else { return Ok(()) };
        let Skipped { offset, before, length, to_device, origin } = skipped;
        let start = before + offset;
        // CAST: a position in memory of this process.
        // The driver may have written what it has an address of to the device in another way.
        let untouched =
            if to_device { !self.is_reached() } else { self.digest(skipped) == Some(digest) };
        if reported <= start as u64 || !untouched {
            return Ok(());
        }
        let message = format!(
            "a request was completed with {reported} bytes moved, but the device {} nothing of the \
             scatter/gather element for bytes {start:#x}..{:#x}",
            if to_device { "read" } else { "wrote" },
            start + length
        );
        Err(broken(RuleId::Dma77, message).from(origin))
    }
}
