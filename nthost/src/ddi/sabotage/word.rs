//! An argument or an answer of any type of the border.

// UNSAFETY: values change their type on the way, pointers among them.

use std::any::TypeId;
use std::mem::{MaybeUninit, size_of, transmute_copy};

/// Bytes of the largest argument.
const BYTES: usize = 8;

/// A value of at most eight bytes, its pointers intact.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    /// The bytes behind those of the value are 0.
    bytes: MaybeUninit<u64>,
    size: usize,
    /// Whether it is the address of a 32-bit number.
    points_to_number: bool,
}

// SAFETY: a value that the driver passes through the border, where threads do not matter.
unsafe impl Send for Word {}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.number())
    }
}

impl Word {
    /// This value.
    pub(crate) fn of<T: Copy + 'static>(value: T) -> Self {
        const { assert!(size_of::<T>() <= BYTES) };
        let mut bytes = MaybeUninit::new(0u64);
        // SAFETY: eight bytes have room for it, and no reference exists; unaligned, since a type
        // of the border may ask for more than its size.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(value) };
        let number = TypeId::of::<T>() == TypeId::of::<*mut u32>();
        Self { bytes, size: size_of::<T>(), points_to_number: number }
    }

    /// The value, of the type that it was made from or of one of the same size for which all its
    /// bits are a value.
    pub(crate) fn get<T: Copy + 'static>(self) -> T {
        const { assert!(size_of::<T>() <= BYTES) };
        debug_assert!(size_of::<T>() <= self.size, "a word of a larger type");
        // SAFETY: the bytes of a value of this type: the driver's own, a number made from it for
        // which every bit pattern is a value, or an address that is checked like the driver's.
        unsafe { transmute_copy(&self.bytes) }
    }

    /// Its bits as a number.
    pub(super) fn number(self) -> u64 {
        // SAFETY: all eight bytes are initialised.
        unsafe { self.bytes.assume_init() }
    }

    /// Another number of the same size.
    pub(super) fn with_number(self, number: u64) -> Self {
        let kept = match self.size {
            BYTES => number,
            size => number & ((1 << (8 * size)) - 1),
        };
        Self { bytes: MaybeUninit::new(kept), ..self }
    }

    /// So much more.
    pub(super) fn plus(self, more: i64) -> Self {
        self.with_number(self.number().wrapping_add_signed(more))
    }

    /// A number that will be taken for one of any size.
    pub(super) fn bare(number: u64) -> Self {
        Self { bytes: MaybeUninit::new(number), size: BYTES, points_to_number: false }
    }

    /// Changes the 32-bit number it points to; nothing happens to one that points to none.
    pub(super) fn add_to_target(self, more: i64) {
        let Some(target) = self.target() else { return };
        // SAFETY: the driver passes the address of a number it owns, for the host to change.
        let number = unsafe { target.read() };
        // CAST: plans add small numbers.
        let changed = number.wrapping_add_signed(more as i32);
        // SAFETY: as above.
        unsafe { target.write(changed) };
    }

    /// What it points to if that is a number, or else itself.
    pub(super) fn followed(self) -> Self {
        let Some(target) = self.target() else { return self };
        // SAFETY: as above.
        Self::of(unsafe { target.read() })
    }

    fn target(self) -> Option<*mut u32> {
        let target: *mut u32 = self.points_to_number.then(|| self.get())?;
        (!target.is_null()).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        assert_eq!(Word::of(7u8).get::<u8>(), 7);
        assert_eq!(Word::of(-5i32).get::<i32>(), -5);
        assert_eq!(Word::of(wdk_lite::LARGE_INTEGER { QuadPart: -2 }).number(), u64::MAX - 1);
        Word::of(()).get::<()>();
        let mut value = 3;
        let pointer = &raw mut value;
        assert_eq!(Word::of(pointer).get::<*mut i32>(), pointer);
    }

    #[test]
    fn sums_stay_in_the_size_of_the_type() {
        assert_eq!(Word::of(1u32).plus(-2).get::<u32>(), u32::MAX);
        assert_eq!(Word::of(250u8).plus(10).get::<u8>(), 4);
        assert_eq!(Word::of(1u64).plus(-2).get::<u64>(), u64::MAX);
    }

    #[test]
    fn a_number_behind_a_pointer_can_be_changed_and_taken() {
        let mut length = 600u32;
        let place: *mut u32 = &raw mut length;
        let word = Word::of(place);
        word.add_to_target(-64);
        assert_eq!(length, 536);
        assert_eq!(word.followed().get::<u32>(), 536);
        assert_eq!(Word::of(5u8).followed().get::<u8>(), 5);
    }
}
