//! Memory of scatter/gather lists: what is written to it, and whether it is still that.

// UNSAFETY: lists are memory shared with the driver.

use std::mem::offset_of;

use wdk_lite::*;

use super::adapter::{Adapter, State};
use super::mapping::{Mapping, walk};
use crate::machine::Kernel;
use crate::memory::mdl::Mdl;
use crate::verifier::Violation;

/// Private bytes behind a list's elements: a fixed part and a part for each element.
const PRIVATE: usize = 16;
const PRIVATE_EACH: usize = 8;
/// What the private part is filled with.
const PRIVATE_FILL: u64 = 0x4C41_4820_4147_5353;
/// What a list of the HAL's is filled with when it is put (DMA-77).
const PUT_FILL: u64 = 0x0F0F_0F0F_0F0F_0F0F;
/// Offset of the elements in a list.
const ELEMENTS: usize = offset_of!(SCATTER_GATHER_LIST, Elements);

/// Memory of a list that the HAL provides.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<u64>);

impl Buffer {
    /// Memory for a list of this many elements, or some more.
    pub(super) fn new(elements: usize) -> Self {
        Self(vec![PUT_FILL; list_size(elements).div_ceil(8).next_power_of_two()])
    }

    /// Whether a list of this many elements fits.
    pub(super) fn holds(&self, elements: usize) -> bool {
        self.0.len() * 8 >= list_size(elements)
    }

    /// Address of the list.
    pub(super) fn address(&mut self) -> usize {
        self.0.as_mut_ptr().expose_provenance()
    }

    /// The list was put.
    pub(super) fn forget(&mut self) {
        self.0.fill(PUT_FILL);
    }
}

/// Bytes of a list with `elements` elements, with the HAL's private part.
pub(super) fn list_size(elements: usize) -> usize {
    ELEMENTS + elements * (size_of::<SCATTER_GATHER_ELEMENT>() + PRIVATE_EACH) + PRIVATE
}

/// Most elements of a list of this size.
pub(super) fn elements_in(bytes: usize) -> usize {
    bytes.saturating_sub(ELEMENTS + PRIVATE) / (size_of::<SCATTER_GATHER_ELEMENT>() + PRIVATE_EACH)
}

/// Maps `range` (first MDL, offset, length) and writes its list to `address`. Returns the list's
/// bytes and digest.
pub(super) fn write_list(
    kernel: &Kernel,
    adapter: &Adapter,
    state: &mut State,
    mapping: &mut Mapping,
    range: (Mdl, usize, usize),
    address: usize,
) -> Result<(usize, u64), Violation> {
    let mut writer = Writer::new(address, adapter, kernel);
    walk(kernel, range.0, range.1, range.2, |part| {
        writer.begin_part();
        state.map(kernel, adapter, mapping, part, |logical, length| writer.add(logical, length))
    })?;
    Ok(writer.end(mapping.operation))
}

/// Writes a list's elements one after the other.
struct Writer<'a> {
    address: usize,
    count: usize,
    /// The element under way.
    current: Option<(u64, u32)>,
    part_begins: bool,
    adapter: &'a Adapter,
    kernel: &'a Kernel,
}

impl<'a> Writer<'a> {
    fn new(address: usize, adapter: &'a Adapter, kernel: &'a Kernel) -> Self {
        Self { address, count: 0, current: None, part_begins: true, adapter, kernel }
    }

    /// The next bytes are another MDL's.
    fn begin_part(&mut self) {
        self.part_begins = true;
    }

    /// Adds a page: to the element under way if it is contiguous with it. A list of fragments may
    /// also split there, as the seed decides.
    fn add(&mut self, logical: u64, length: u32) {
        let begins = std::mem::take(&mut self.part_begins);
        if let Some((start, bytes)) = self.current {
            let joins = !begins
                && start + u64::from(bytes) == logical
                && (!self.adapter.traits.scatter_gather || self.kernel.choices.coin(2));
            if joins {
                self.current = Some((start, bytes + length));
                return;
            }
            self.flush(start, bytes);
        }
        self.current = Some((logical, length));
    }

    fn flush(&mut self, address: u64, length: u32) {
        // The element's place is within the buffer: its size was checked against the demand.
        let at = self.address + ELEMENTS + self.count * size_of::<SCATTER_GATHER_ELEMENT>();
        // Word by word, so that the padding has a value and belongs to the digest.
        write_word(at + offset_of!(SCATTER_GATHER_ELEMENT, Address), address);
        write_word(at + offset_of!(SCATTER_GATHER_ELEMENT, Length), length.into());
        write_word(at + offset_of!(SCATTER_GATHER_ELEMENT, Reserved), 0);
        self.count += 1;
    }

    /// Ends the list; returns its bytes and its digest.
    fn end(mut self, operation: u64) -> (usize, u64) {
        if let Some((address, length)) = self.current.take() {
            self.flush(address, length);
        }
        let bytes = list_size(self.count);
        let private = self.address + ELEMENTS + self.count * size_of::<SCATTER_GATHER_ELEMENT>();
        for at in (private..self.address + bytes).step_by(8) {
            write_word(at, PRIVATE_FILL);
        }
        // CAST: at most one element for each register. The upper half is padding.
        write_word(self.address, self.count as u64);
        write_word(self.address + offset_of!(SCATTER_GATHER_LIST, Reserved), operation);
        (bytes, digest(self.address, bytes))
    }
}

fn write_word(at: usize, value: u64) {
    let place: *mut u64 = std::ptr::with_exposed_provenance_mut(at);
    // SAFETY: within the list's memory, which is the HAL's or, for this purpose, the driver's
    // (DMA-80); the driver's may not be aligned.
    unsafe { place.write_unaligned(value) };
}

/// Logical address of the first element of a list that was just written.
pub(super) fn first_address(list: usize) -> u64 {
    let at = list + ELEMENTS + offset_of!(SCATTER_GATHER_ELEMENT, Address);
    let place: *const u64 = std::ptr::with_exposed_provenance(at);
    // SAFETY: within the memory that the list was written to.
    unsafe { place.read_unaligned() }
}

/// The lengths of the elements of a list that is still as it was written.
pub(super) fn element_lengths(list: usize) -> impl Iterator<Item = usize> {
    let read = |at: usize| {
        let place: *const u32 = std::ptr::with_exposed_provenance(at);
        // SAFETY: within the memory that the list was written to.
        let value = unsafe { place.read_unaligned() };
        // CAST: 32 bits.
        value as usize
    };
    let first = list + ELEMENTS + offset_of!(SCATTER_GATHER_ELEMENT, Length);
    (0..read(list)).map(move |element| read(first + element * size_of::<SCATTER_GATHER_ELEMENT>()))
}

/// A digest of a list's memory.
pub(super) fn digest(address: usize, bytes: usize) -> u64 {
    let words = (0..bytes / 8).map(|word| {
        let place: *const u64 = std::ptr::with_exposed_provenance(address + word * 8);
        // SAFETY: within the memory that the list was written to; the driver keeps it alive until
        // PutScatterGatherList (DMA-80).
        unsafe { place.read_unaligned() }
    });
    words.fold(0, |sum, word| (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "it needs files")]
        fn a_calculated_size_holds_its_elements(elements in 1usize..100_000) {
            prop_assert_eq!(elements_in(list_size(elements)), elements);
            prop_assert!(list_size(elements) > ELEMENTS + elements * 24);
        }
    }

    #[test]
    fn too_small_a_buffer_holds_nothing() {
        assert_eq!(elements_in(0), 0);
        assert_eq!(elements_in(list_size(1) - 1), 0);
    }
}
