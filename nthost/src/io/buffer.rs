//! Buffers that stay where they are while a device uses them, and requests that own them.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

/// Bytes of a page.
const PAGE: usize = wdk_lite::PAGE_SIZE as usize;

/// Memory of a user: its bytes never move, and they may begin at a chosen offset in a page.
#[derive(Default)]
pub struct Buffer {
    backing: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` zero bytes that begin `offset` bytes after the start of a page.
    ///
    /// # Panics
    /// When `offset` is not less than a page.
    #[must_use]
    pub fn at_page_offset(length: usize, offset: usize) -> Self {
        assert!(offset < PAGE, "an offset in a page is less than {PAGE}");
        let backing = vec![0; length + PAGE + offset];
        let to_page = backing.as_ptr().addr().wrapping_neg() % PAGE;
        Self { backing, start: to_page + offset, length }
    }

    /// A part of some memory, such as one between guards: the rest of it stays where it is too.
    ///
    /// # Panics
    /// When the part is not within the memory.
    #[must_use]
    pub fn within(backing: Vec<u8>, part: Range<usize>) -> Self {
        assert!(part.start <= part.end && part.end <= backing.len(), "{part:?} is no part of it");
        Self { backing, start: part.start, length: part.end - part.start }
    }

    /// All of the memory that the buffer is a part of.
    #[must_use]
    pub fn into_backing(self) -> Vec<u8> {
        self.backing
    }

    pub(super) fn address(&mut self) -> *mut u8 {
        // The pointer keeps the whole allocation's provenance: others in the same page are
        // reached through their own.
        self.backing.as_mut_ptr().wrapping_add(self.start)
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(backing: Vec<u8>) -> Self {
        Self { start: 0, length: backing.len(), backing }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.backing[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.backing[self.start..self.start + self.length]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.length)
    }
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Read from the device's offset into the buffer.
    Read {
        /// Byte offset.
        offset: u64,
    },
    /// Write the buffer to the device's offset.
    Write {
        /// Byte offset.
        offset: u64,
    },
    /// A device control request; the buffer is its output buffer.
    Ioctl {
        /// The control code.
        code: u32,
        /// The input buffer.
        input: Vec<u8>,
    },
}

/// An asynchronous request with the buffers it needs; they come back with its completion.
#[derive(Debug)]
pub struct Request {
    pub(super) operation: Operation,
    pub(super) segments: Vec<Buffer>,
    /// From a kernel-mode requester, whose buffer may be a chain.
    pub(super) kernel_mode: bool,
}

impl Request {
    /// A request from user mode.
    #[must_use]
    pub fn new(operation: Operation, buffer: impl Into<Buffer>) -> Self {
        Self { operation, segments: vec![buffer.into()], kernel_mode: false }
    }

    /// Reads at `offset` into `buffer`.
    #[must_use]
    pub fn read(offset: u64, buffer: impl Into<Buffer>) -> Self {
        Self::new(Operation::Read { offset }, buffer)
    }

    /// Writes `buffer` at `offset`.
    #[must_use]
    pub fn write(offset: u64, buffer: impl Into<Buffer>) -> Self {
        Self::new(Operation::Write { offset }, buffer)
    }

    /// A device control request.
    #[must_use]
    pub fn ioctl(code: u32, input: Vec<u8>, output: impl Into<Buffer>) -> Self {
        Self::new(Operation::Ioctl { code, input }, output)
    }

    /// A request from another driver: its buffer is a chain of MDLs, one for each segment
    /// (direct I/O only; for other methods the first segment is the buffer).
    #[must_use]
    pub fn chain<B: Into<Buffer>>(operation: Operation, segments: Vec<B>) -> Self {
        let segments = segments.into_iter().map(Into::into).collect();
        Self { operation, segments, kernel_mode: true }
    }

    /// The first (for most requests the only) buffer.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        self.segments.first().map_or(&[], |buffer| buffer)
    }

    /// All segments.
    #[must_use]
    pub fn segments(&self) -> &[Buffer] {
        &self.segments
    }

    /// Takes the buffers out.
    #[must_use]
    pub fn into_buffers(self) -> Vec<Buffer> {
        self.segments
    }

    /// Uses the buffers for another operation.
    #[must_use]
    pub fn again(mut self, operation: Operation) -> Self {
        self.operation = operation;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_where_it_was_asked_to() {
        for offset in [0, 1, 0x7FF, 0xFFF] {
            let mut buffer = Buffer::at_page_offset(5000, offset);
            assert_eq!(buffer.as_ptr().addr() % PAGE, offset);
            assert_eq!(buffer.len(), 5000);
            assert_eq!(buffer.address().addr(), buffer.as_ptr().addr());
        }
    }

    #[test]
    fn a_part_keeps_its_place_and_what_is_around_it() {
        let memory = vec![1, 2, 3, 4];
        let place = memory.as_ptr().addr();
        let mut buffer = Buffer::within(memory, 1..3);
        assert_eq!((&*buffer, buffer.as_ptr().addr()), (&[2, 3][..], place + 1));
        buffer[0] = 9;
        assert_eq!(buffer.into_backing(), [1, 9, 3, 4]);
    }

    #[test]
    fn a_vector_keeps_its_place_and_contents() {
        let bytes = vec![1, 2, 3];
        let place = bytes.as_ptr();
        let request = Request::write(0, bytes);
        assert_eq!(request.buffer(), [1, 2, 3]);
        assert_eq!(request.buffer().as_ptr(), place);
    }
}
