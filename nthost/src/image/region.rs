//! The address range that all images of the process are mapped in, so that one comparison tells
//! whether an address is an image's, even in a signal handler.

// UNSAFETY: reserves, protects and gives back address space.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Bytes reserved: address space, not memory.
const RESERVED: usize = 16 << 30;

/// The first byte; zero before the first image.
static BASE: AtomicUsize = AtomicUsize::new(0);

/// What is used of it.
static USE: Mutex<Use> = Mutex::new(Use { end: 0, free: Vec::new() });

#[derive(Debug)]
struct Use {
    /// Offset of the first byte that was never used.
    end: usize,
    /// Offsets and lengths of what was given back.
    free: Vec<(usize, usize)>,
}

/// What may be done with pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protection {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

impl Protection {
    pub(super) const NONE: Self = Self { read: false, write: false, execute: false };
    pub(super) const READ: Self = Self { read: true, write: false, execute: false };
    pub(super) const READ_WRITE: Self = Self { read: true, write: true, execute: false };

    fn flags(self) -> libc::c_int {
        let bit = |set: bool, flag| if set { flag } else { 0 };
        bit(self.read, libc::PROT_READ)
            | bit(self.write, libc::PROT_WRITE)
            | bit(self.execute, libc::PROT_EXEC)
    }
}

/// Whether an address lies in an image. Callable in a signal handler.
#[inline]
pub(super) fn contains(address: usize) -> bool {
    let base = BASE.load(Ordering::Acquire);
    base != 0 && address.wrapping_sub(base) < RESERVED
}

/// Pages of their own, accessible to nobody until protected otherwise.
#[derive(Debug)]
pub(super) struct Pages {
    start: usize,
    length: usize,
}

impl Pages {
    /// Takes `length` bytes, a multiple of the page size, that read as zero.
    pub(super) fn take(length: usize) -> io::Result<Self> {
        let base = reserve()?;
        let mut used = USE.lock();
        let fitting = used.free.iter().position(|&(_, free)| free == length);
        let offset = match fitting {
            Some(index) => used.free.swap_remove(index).0,
            None if RESERVED - used.end < length => {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, "too many images"));
            }
            None => {
                let offset = used.end;
                used.end += length;
                offset
            }
        };
        Ok(Self { start: base + offset, length })
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// Sets the protection of `length` bytes at `offset`, whole pages of these.
    pub(super) fn protect(
        &self,
        offset: usize,
        length: usize,
        protection: Protection,
    ) -> io::Result<()> {
        assert!(offset <= self.length && length <= self.length - offset, "not these pages");
        let start = std::ptr::with_exposed_provenance_mut(self.start + offset);
        // SAFETY: the pages are this value's own and no Rust object lies in them.
        match unsafe { libc::mprotect(start, length, protection.flags()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let start = std::ptr::with_exposed_provenance_mut(self.start);
        let protected = self.protect(0, self.length, Protection::NONE).is_ok();
        // SAFETY: the pages are this value's own; nobody uses them any more. They read as zero
        // when they are used again.
        let emptied = unsafe { libc::madvise(start, self.length, libc::MADV_DONTNEED) } == 0;
        // What cannot be emptied is not used again.
        if protected && emptied {
            let base = BASE.load(Ordering::Acquire);
            USE.lock().free.push((self.start - base, self.length));
        }
    }
}

/// The range's first address; reserved at the first call.
fn reserve() -> io::Result<usize> {
    let base = BASE.load(Ordering::Acquire);
    if base != 0 {
        return Ok(base);
    }
    let _guard = USE.lock();
    let base = BASE.load(Ordering::Acquire);
    if base != 0 {
        return Ok(base);
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the system's choice; it replaces nothing.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), RESERVED, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = start.expose_provenance();
    BASE.store(base, Ordering::Release);
    Ok(base)
}
