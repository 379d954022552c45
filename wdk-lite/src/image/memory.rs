//! The C runtime's memory functions, which compiled code calls and no library supplies.
//!
//! The kernel exports them too. These are the image's own, so that no import thunk is linked for
//! them: a symbol file with one records a temporary path, and no two builds would be alike.

// UNSAFETY: the functions' contract is C's.
#![cfg(windows)]

/// Copies `length` bytes; the ranges do not overlap.
#[cfg(target_arch = "x86_64")]
// SAFETY: the one symbol of this name in the image, with C's meaning.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the ranges are valid by C's contract; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
    to
}

/// Fills `length` bytes with the low byte of `value`.
#[cfg(target_arch = "x86_64")]
// SAFETY: the one symbol of this name in the image, with C's meaning.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    // SAFETY: the range is valid by C's contract; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep stosb",
            inout("rcx") length => _,
            inout("rdi") to => _,
            in("eax") value,
            options(nostack, preserves_flags)
        );
    }
    to
}

/// Copies `length` bytes; the ranges may overlap.
// SAFETY: the one symbol of this name in the image, with C's meaning.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= length {
        // SAFETY: a forward copy reads each byte before it writes there.
        return unsafe { memcpy(to, from, length) };
    }
    let mut left = length;
    while left != 0 {
        left -= 1;
        // Volatile, or the compiler would make a call of this very function of the loop.
        // SAFETY: within the source, by C's contract.
        let byte = unsafe { from.wrapping_add(left).read_volatile() };
        // SAFETY: within the destination, by C's contract.
        unsafe { to.wrapping_add(left).write_volatile(byte) };
    }
    to
}

/// Compares `length` bytes: the sign of the first difference.
// SAFETY: the one symbol of this name in the image, with C's meaning.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    let mut at = 0;
    while at < length {
        // Volatile, or the compiler would make a call of this very function of the loop.
        // SAFETY: within the range, by C's contract.
        let left = unsafe { one.wrapping_add(at).read_volatile() };
        // SAFETY: as above.
        let right = unsafe { other.wrapping_add(at).read_volatile() };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
        at += 1;
    }
    0
}

#[cfg(not(target_arch = "x86_64"))]
mod portable {
    /// Copies `length` bytes; the ranges do not overlap, or the destination lies before the source.
    // SAFETY: the one symbol of this name in the image, with C's meaning.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        let mut at = 0;
        let word = size_of::<u64>();
        if to.addr().is_multiple_of(word) && from.addr().is_multiple_of(word) {
            while length - at >= word {
                // SAFETY: within the source and aligned, as just checked.
                let value = unsafe { from.wrapping_add(at).cast::<u64>().read_volatile() };
                // SAFETY: within the destination and aligned.
                unsafe { to.wrapping_add(at).cast::<u64>().write_volatile(value) };
                at += word;
            }
        }
        while at < length {
            // SAFETY: within the source, by C's contract.
            let byte = unsafe { from.wrapping_add(at).read_volatile() };
            // SAFETY: within the destination, by C's contract.
            unsafe { to.wrapping_add(at).write_volatile(byte) };
            at += 1;
        }
        to
    }

    /// Fills `length` bytes with the low byte of `value`.
    // SAFETY: the one symbol of this name in the image, with C's meaning.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
        let mut at = 0;
        while at < length {
            // CAST: the low byte is what C's memset stores.
            // SAFETY: within the range, by C's contract.
            unsafe { to.wrapping_add(at).write_volatile(value as u8) };
            at += 1;
        }
        to
    }
}
#[cfg(not(target_arch = "x86_64"))]
use portable::memcpy;
