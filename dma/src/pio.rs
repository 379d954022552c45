//! Programmed I/O: the processor moves the bytes itself.

use crate::error::DmaError;
use crate::irql::AtMostDispatch;
use crate::transfer::{Direction, Transfer};

impl<R> Transfer<R> {
    /// Reads a sequence of 32-bit device registers into the buffer and then flushes the
    /// processor's caches for every MDL: KeFlushIoBuffers(mdl, TRUE, FALSE), once, at the end, and
    /// on every way out (DMA-86).
    ///
    /// `read` gets the offset in the transfer, bytes. IRQL: at most DISPATCH_LEVEL.
    pub fn read_registers(
        mut self,
        level: &impl AtMostDispatch,
        mut read: impl FnMut(u32) -> u32,
    ) -> Self {
        let Some(length) = pio_length(&self, Direction::FromDevice) else {
            return self.failed(DmaError::WrongPiece);
        };
        let mut word = [0u8; 4];
        let visited = self.chain().visit(0, length, level, |to, count, at| {
            for index in 0..count {
                let offset = at.saturating_add(index);
                // CAST: less than 4.
                let phase = (offset & 3) as usize;
                if phase == 0 {
                    word = read(offset).to_le_bytes();
                }
                let byte = word.get(phase).copied().unwrap_or(0);
                // CAST: 32 bits fit a 64-bit usize.
                // SAFETY: `index` is less than the length of the mapped range.
                let to = unsafe { to.as_ptr().add(index as usize) };
                // SAFETY: as above; volatile, since user mode may look on (KMDF-41).
                unsafe { to.write_volatile(byte) };
            }
        });
        self.chain().flush_io_buffers(Direction::FromDevice, false);
        match visited {
            Ok(()) => {
                self.advance(length);
                self
            }
            Err(error) => self.failed(error),
        }
    }

    /// Writes the buffer to a sequence of 32-bit device registers, each byte of the buffer read
    /// once. `write` gets the offset in the transfer, bytes, and the value. IRQL: at most
    /// DISPATCH_LEVEL.
    pub fn write_registers(
        mut self,
        level: &impl AtMostDispatch,
        mut write: impl FnMut(u32, u32),
    ) -> Self {
        let Some(length) = pio_length(&self, Direction::ToDevice) else {
            return self.failed(DmaError::WrongPiece);
        };
        let mut word = [0u8; 4];
        let visited = self.chain().visit(0, length, level, |from, count, at| {
            for index in 0..count {
                let offset = at.saturating_add(index);
                // CAST: 32 bits fit a 64-bit usize.
                // SAFETY: `index` is less than the length of the mapped range.
                let from = unsafe { from.as_ptr().add(index as usize) };
                // SAFETY: as above; volatile, since user mode may change it (KMDF-41).
                let byte = unsafe { from.read_volatile() };
                // CAST: less than 4.
                let phase = (offset & 3) as usize;
                if let Some(place) = word.get_mut(phase) {
                    *place = byte;
                }
                if phase == 3 {
                    write(offset & !3, u32::from_le_bytes(word));
                }
            }
        });
        match visited {
            Ok(()) => {
                self.advance(length);
                self
            }
            Err(error) => self.failed(error),
        }
    }
}

/// The length of a PIO transfer that can be done in one go.
fn pio_length<R>(transfer: &Transfer<R>, direction: Direction) -> Option<u32> {
    let length = u32::try_from(transfer.remaining()).ok()?;
    (transfer.done() == 0 && transfer.direction() == direction && length & 3 == 0).then_some(length)
}
