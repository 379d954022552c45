//! One copy of an image in memory: relocated, bound, protected, and restored for the next run.

// UNSAFETY: writes the bytes of an image into pages that only its driver's code will use.

use std::io;
use std::ops::Range;

use super::pe::{Parsed, Section};
use super::region::{Pages, Protection};

/// What the security cookie must not be: the value that the compiler put there.
const DEFAULT_COOKIE: u64 = 0x2B99_2DDF_A232;

/// A copy of an image.
#[derive(Debug)]
pub(super) struct Mapping {
    pages: Pages,
    /// RVA and first contents of each writable section.
    initial: Vec<(u32, Vec<u8>)>,
    /// The sections that are gone once the entry point has returned.
    discardable: Vec<Section>,
}

/// Where imports lead.
pub(super) struct Binding<'b> {
    /// The address for each import, in the image's order.
    pub imports: &'b [usize],
    /// A routine that checks an indirect call's target, and one that goes there.
    pub guard_check: usize,
    pub guard_dispatch: usize,
}

impl Mapping {
    /// Makes a copy.
    pub(super) fn new(parsed: &Parsed, binding: &Binding<'_>) -> io::Result<Self> {
        let pages = Pages::take(parsed.layout.len())?;
        let start = pages.start();
        let mut bytes = parsed.layout.clone();
        relocate(parsed, &mut bytes, start);
        bind(parsed, &mut bytes, binding);
        pages.protect(0, bytes.len(), Protection::READ_WRITE)?;
        let target: *mut u8 = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the pages are writable, exactly as long, and nobody else's.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        pages.protect(0, bytes.len(), Protection::NONE)?;
        let first = parsed.sections.first().map_or(parsed.layout.len(), |s| s.start as usize);
        pages.protect(0, first, Protection::READ)?;
        let written = parsed.sections.iter().filter(|section| section.write);
        let initial = written.map(|s| (s.start, bytes[range(s)].to_vec())).collect();
        let discardable = parsed.sections.iter().filter(|s| s.discardable).cloned().collect();
        for section in &parsed.sections {
            pages.protect(section.start as usize, section.length as usize, protection(section))?;
        }
        Ok(Self { pages, initial, discardable })
    }

    /// The address of its first byte.
    pub(super) fn start(&self) -> usize {
        self.pages.start()
    }

    /// Its addresses.
    pub(super) fn range(&self) -> Range<usize> {
        self.pages.range()
    }

    /// The RVA of an address in it.
    pub(super) fn rva(&self, address: usize) -> Option<u32> {
        // CAST: an image is smaller than 4 GiB.
        self.range().contains(&address).then(|| (address - self.start()) as u32)
    }

    /// Makes the image what it was before its first run. No code of it runs.
    pub(super) fn restore(&self) -> io::Result<()> {
        for section in &self.discardable {
            self.protect(section, protection(section))?;
        }
        for (rva, contents) in &self.initial {
            let target = self.start() + *rva as usize;
            let target: *mut u8 = std::ptr::with_exposed_provenance_mut(target);
            // SAFETY: a writable section of this image, of this length; no code of it runs.
            unsafe { std::ptr::copy_nonoverlapping(contents.as_ptr(), target, contents.len()) };
        }
        Ok(())
    }

    /// Takes the discardable sections away, as Windows does when the entry point has returned.
    pub(super) fn discard(&self) -> io::Result<()> {
        self.discardable.iter().try_for_each(|section| self.protect(section, Protection::NONE))
    }

    fn protect(&self, section: &Section, protection: Protection) -> io::Result<()> {
        self.pages.protect(section.start as usize, section.length as usize, protection)
    }
}

fn range(section: &Section) -> Range<usize> {
    // CAST: widening.
    section.start as usize..(section.start + section.length) as usize
}

fn protection(section: &Section) -> Protection {
    Protection { read: true, write: section.write, execute: section.execute }
}

fn relocate(parsed: &Parsed, bytes: &mut [u8], start: usize) {
    let delta = (start as u64).wrapping_sub(parsed.base);
    for &rva in &parsed.relocations {
        if let Some(value) = parsed.u64(rva) {
            put(bytes, rva, value.wrapping_add(delta));
        }
    }
    if let Some(rva) = parsed.config.cookie {
        // Any value but the compiler's own, and the same in every run.
        let cookie = crate::memory::pages::mix(parsed.base) & 0xFFFF_FFFF_FFFF;
        put(bytes, rva, if cookie == DEFAULT_COOKIE { cookie ^ 1 } else { cookie });
    }
}

fn bind(parsed: &Parsed, bytes: &mut [u8], binding: &Binding<'_>) {
    for (import, &address) in parsed.imports.iter().zip(binding.imports) {
        put(bytes, import.slot, address as u64);
    }
    // An image without routines of its own gets the host's; the others stay as they are, as on a
    // Windows whose kernel does not guard control flow.
    let guards = [
        (parsed.config.guard_check, binding.guard_check),
        (parsed.config.guard_dispatch, binding.guard_dispatch),
    ];
    for (rva, routine) in guards {
        if let Some(rva) = rva
            && parsed.u64(rva) == Some(0)
        {
            put(bytes, rva, routine as u64);
        }
    }
}

/// Writes a word that lies within a section.
fn put(bytes: &mut [u8], rva: u32, value: u64) {
    // CAST: widening.
    let at = rva as usize;
    if let Some(word) = bytes.get_mut(at..at + 8) {
        word.copy_from_slice(&value.to_le_bytes());
    }
}
