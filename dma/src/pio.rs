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
        self,
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
        self.processor_done(visited, length)
    }

    /// Writes the buffer to a sequence of 32-bit device registers, each byte of the buffer read
    /// once. `write` gets the offset in the transfer, bytes, and the value. IRQL: at most
    /// DISPATCH_LEVEL.
    pub fn write_registers(
        self,
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
        self.processor_done(visited, length)
    }
}

/// A window to device memory, which takes accesses of one byte and of one word of 32 bits.
pub trait Window {
    /// Reads a word at a byte offset that is a multiple of 4.
    fn read_word(&self, offset: u64) -> u32;
    /// Reads a byte.
    fn read_byte(&self, offset: u64) -> u8;
    /// Writes a word at a byte offset that is a multiple of 4.
    fn write_word(&self, offset: u64, value: u32);
    /// Writes a byte.
    fn write_byte(&self, offset: u64, value: u8);
}

/// Bytes of a word.
const WORD: u32 = 4;

impl<R> Transfer<R> {
    /// Moves all bytes between the buffer and device memory behind a window, from offset `start`
    /// on: whole words where they are aligned, else single bytes, each once. A read ends with
    /// KeFlushIoBuffers(mdl, TRUE, FALSE) for every MDL, on every way out (DMA-86). IRQL: at most
    /// DISPATCH_LEVEL.
    pub fn move_by_processor(
        self,
        window: &impl Window,
        start: u64,
        level: &impl AtMostDispatch,
    ) -> Self {
        let direction = self.direction();
        let length = u32::try_from(self.remaining()).ok().filter(|_| self.done() == 0);
        let Some(length) = length else { return self.failed(DmaError::WrongPiece) };
        let visited = self.chain().visit(0, length, level, |memory, count, at| {
            let device = start.saturating_add(u64::from(at));
            // SAFETY: `memory` names `count` mapped bytes of the buffer.
            unsafe { move_range(window, device, memory.as_ptr(), count, direction) };
        });
        self.processor_done(visited, length)
    }

    /// Ends a transfer by the processor. What it has read is flushed, on every way out (DMA-86).
    fn processor_done(mut self, visited: Result<(), DmaError>, length: u32) -> Self {
        if self.direction() == Direction::FromDevice {
            self.chain().flush_io_buffers(Direction::FromDevice, false);
        }
        match visited {
            Ok(()) => {
                self.advance(length);
                self
            }
            Err(error) => self.failed(error),
        }
    }
}

/// Moves `count` bytes between memory and a window.
///
/// # Safety
/// `count` bytes are mapped at `memory`.
unsafe fn move_range(
    window: &impl Window,
    device: u64,
    memory: *mut u8,
    count: u32,
    direction: Direction,
) {
    let mut done = 0;
    while done < count {
        let offset = device.saturating_add(u64::from(done));
        let rest = count.saturating_sub(done);
        let whole = offset & u64::from(WORD - 1) == 0 && rest >= WORD;
        // CAST: 32 bits fit a 64-bit usize.
        // SAFETY: less than `count`, by the caller's promise.
        let place = unsafe { memory.add(done as usize) };
        let step = match (whole, direction) {
            (true, Direction::FromDevice) => {
                // SAFETY: four bytes are left.
                unsafe { put(place, window.read_word(offset).to_le_bytes()) };
                WORD
            }
            (true, Direction::ToDevice) => {
                // SAFETY: four bytes are left.
                window.write_word(offset, u32::from_le_bytes(unsafe { get(place) }));
                WORD
            }
            (false, Direction::FromDevice) => {
                // SAFETY: a byte is left.
                unsafe { put(place, [window.read_byte(offset)]) };
                1
            }
            (false, Direction::ToDevice) => {
                // SAFETY: a byte is left.
                let [byte] = unsafe { get(place) };
                window.write_byte(offset, byte);
                1
            }
        };
        done = done.saturating_add(step);
    }
}

/// Writes bytes, each once: user mode may look on (KMDF-41).
///
/// # Safety
/// `N` bytes are mapped at `place`.
unsafe fn put<const N: usize>(place: *mut u8, bytes: [u8; N]) {
    for (index, byte) in bytes.into_iter().enumerate() {
        // SAFETY: less than `N`.
        let place = unsafe { place.add(index) };
        // SAFETY: as above; a byte is always aligned.
        unsafe { place.write_volatile(byte) };
    }
}

/// Reads bytes, each once: user mode may change them (KMDF-41).
///
/// # Safety
/// `N` bytes are mapped at `place`.
unsafe fn get<const N: usize>(place: *mut u8) -> [u8; N] {
    core::array::from_fn(|index| {
        // SAFETY: less than `N`.
        let place = unsafe { place.add(index) };
        // SAFETY: as above; a byte is always aligned.
        unsafe { place.read_volatile() }
    })
}

/// The length of a PIO transfer that can be done in one go.
fn pio_length<R>(transfer: &Transfer<R>, direction: Direction) -> Option<u32> {
    let length = u32::try_from(transfer.remaining()).ok()?;
    (transfer.done() == 0 && transfer.direction() == direction && length & 3 == 0).then_some(length)
}
