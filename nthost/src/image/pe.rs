//! Reading a driver image: a PE file for 64-bit x86 of the native subsystem.
//!
//! Every number in the file is hostile input: what does not fit is an error with a sentence, never
//! a panic. The result is the image as it will lie in memory, not relocated and not bound yet.

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader};

use super::tables::{self, CodeView, Function, Import, LoadConfig};

/// Bytes of a page.
pub(super) const PAGE: u32 = 4096;

/// The largest image that is loaded, bytes in memory.
const SIZE_MAX: u32 = 64 << 20;

/// The largest file that is read, bytes: an image and what may lie behind it.
pub(super) const FILE_MAX: u64 = 4 * SIZE_MAX as u64;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is damaged, or no driver image.
    Corrupt(String),
    /// It is sound but needs what this loader does not have.
    Unsupported(String),
}

pub(super) fn corrupt<T>(reason: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::Corrupt(reason.into()))
}

pub(super) fn unsupported<T>(reason: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::Unsupported(reason.into()))
}

impl From<object::Error> for Flaw {
    fn from(error: object::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// A range of pages of one protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub name: String,
    /// RVA of the first byte: a multiple of the page size.
    pub start: u32,
    /// Bytes, whole pages.
    pub length: u32,
    pub write: bool,
    pub execute: bool,
    /// Gone after the entry point has returned.
    pub discardable: bool,
}

impl Section {
    pub(super) fn contains(&self, rva: u32) -> bool {
        rva.checked_sub(self.start).is_some_and(|offset| offset < self.length)
    }
}

/// An image as it will lie in memory, at its preferred base and with nothing bound.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The preferred base.
    pub base: u64,
    pub entry: u32,
    /// Bytes by RVA; whole pages.
    pub layout: Vec<u8>,
    pub sections: Vec<Section>,
    /// RVAs of the 64-bit words to relocate.
    pub relocations: Vec<u32>,
    pub imports: Vec<Import>,
    /// The exception directory, sorted.
    pub functions: Vec<Function>,
    pub config: LoadConfig,
    pub code_view: Option<CodeView>,
}

impl Parsed {
    /// The section that an RVA lies in.
    pub(super) fn section(&self, rva: u32) -> Option<&Section> {
        self.sections.iter().find(|section| section.contains(rva))
    }
}

/// Reads an image.
pub(super) fn parse(file: &[u8]) -> Result<Parsed, Flaw> {
    if !file.starts_with(b"MZ") {
        return corrupt("it does not begin with \"MZ\", so it is no Windows program or driver");
    }
    let dos = pe::ImageDosHeader::parse(file)?;
    let mut offset = u64::from(dos.nt_headers_offset());
    let Ok(signature) = object::read::pe::optional_header_magic(file) else {
        return corrupt("it has no PE header, or ends within it");
    };
    if signature != pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC {
        return unsupported("it is a 32-bit image; drivers here are 64-bit (PE32+)");
    }
    let checksum_at = offset + 24 + 64;
    let (headers, directories) = pe::ImageNtHeaders64::parse(file, &mut offset)?;
    check_header(headers)?;
    check_checksum(file, headers.optional_header().check_sum(), checksum_at)?;
    let table = headers.sections(file, offset)?;
    let optional = headers.optional_header();
    let size = optional.size_of_image();
    let headers_length = optional.size_of_headers();
    // CAST: a 64-bit machine.
    let mut layout = vec![0; size as usize];
    let Some(source) = file.get(..headers_length as usize) else {
        return corrupt("the file ends within its headers");
    };
    let Some(target) = layout.get_mut(..headers_length as usize) else {
        return corrupt("the headers are longer than the image");
    };
    target.copy_from_slice(source);
    let mut sections = Vec::new();
    let mut free_from = headers_length.next_multiple_of(PAGE);
    for header in table.iter() {
        let section = place(file, header, free_from, &mut layout)?;
        free_from = section.start + section.length;
        sections.push(section);
    }
    let entry = optional.address_of_entry_point();
    if !sections.iter().any(|s| s.execute && s.contains(entry)) {
        return corrupt(format!("the entry point {entry:#x} lies in no executable section"));
    }
    let directory = |index: usize| {
        let entry = directories.get(index)?;
        let address = entry.virtual_address.get(LE);
        (address != 0).then(|| (address, entry.size.get(LE)))
    };
    let base = optional.image_base();
    let mut parsed = Parsed {
        base,
        entry,
        relocations: Vec::new(),
        imports: Vec::new(),
        functions: Vec::new(),
        config: LoadConfig::default(),
        code_view: None,
        layout,
        sections,
    };
    tables::read(&mut parsed, &directory)?;
    Ok(parsed)
}

fn check_header(headers: &pe::ImageNtHeaders64) -> Result<(), Flaw> {
    let (file, optional) = (headers.file_header(), headers.optional_header());
    let machine = file.machine.get(LE);
    if machine != pe::IMAGE_FILE_MACHINE_AMD64 {
        let name = match machine {
            pe::IMAGE_FILE_MACHINE_ARM64 => "ARM64".to_owned(),
            other => format!("machine type {:#06x}", other.0),
        };
        return unsupported(format!("it is built for {name}; here drivers for x64 run"));
    }
    let characteristics = file.characteristics.get(LE);
    if !characteristics.contains(pe::IMAGE_FILE_EXECUTABLE_IMAGE) {
        return corrupt("the linker marked it as not executable (unresolved symbols)");
    }
    if characteristics.contains(pe::IMAGE_FILE_RELOCS_STRIPPED) {
        return unsupported("its relocations are stripped; a driver is loaded anywhere");
    }
    if optional.subsystem() != pe::IMAGE_SUBSYSTEM_NATIVE {
        let subsystem = optional.subsystem().0;
        return unsupported(format!("its subsystem is {subsystem}; a driver's is 1 (native)"));
    }
    if optional.section_alignment() < PAGE || !optional.section_alignment().is_power_of_two() {
        let alignment = optional.section_alignment();
        return unsupported(format!(
            "its section alignment is {alignment:#x}; protections need whole pages (0x1000)"
        ));
    }
    let size = optional.size_of_image();
    if size == 0 || size > SIZE_MAX || !size.is_multiple_of(PAGE) {
        return corrupt(format!(
            "its size in memory is {size:#x}; at most {SIZE_MAX:#x}, in whole pages, is loaded"
        ));
    }
    Ok(())
}

/// Windows refuses a driver whose checksum is wrong; zero means that none was made.
fn check_checksum(file: &[u8], stated: u32, at: u64) -> Result<(), Flaw> {
    // CAST: the headers were read there.
    let at = at as usize;
    if stated == 0 {
        return Ok(());
    }
    let mut sum = 0u64;
    for (index, pair) in file.chunks(2).enumerate() {
        let offset = index * 2;
        if (at..at + 4).contains(&offset) {
            continue;
        }
        sum += u64::from(u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    // CAST: a file of less than 4 GiB; the field has 32 bits.
    let actual = (sum as u32).wrapping_add(file.len() as u32);
    if actual == stated {
        return Ok(());
    }
    corrupt(format!("its checksum is {actual:#x}, but the header states {stated:#x}"))
}

/// Copies a section to its place and describes it.
fn place(
    file: &[u8],
    header: &pe::ImageSectionHeader,
    free_from: u32,
    layout: &mut [u8],
) -> Result<Section, Flaw> {
    let raw_name = header.raw_name();
    let name = String::from_utf8_lossy(raw_name).into_owned();
    let start = header.virtual_address.get(LE);
    let (virtual_size, raw_size) = (header.virtual_size.get(LE), header.size_of_raw_data.get(LE));
    let used = if virtual_size == 0 { raw_size } else { virtual_size };
    let length = used.checked_next_multiple_of(PAGE).filter(|&length| length != 0);
    let end = length.and_then(|length| start.checked_add(length));
    // CAST: an image of at most 64 MiB.
    let (Some(length), Some(end)) = (length, end.filter(|&end| end as usize <= layout.len()))
    else {
        return corrupt(format!("section {name} does not fit into the image"));
    };
    if !start.is_multiple_of(PAGE) || start < free_from {
        return corrupt(format!("section {name} at {start:#x} overlaps what lies before it"));
    }
    let flags = header.characteristics.get(LE);
    if !flags.contains(pe::IMAGE_SCN_MEM_READ) {
        return unsupported(format!(
            "section {name} is not readable; Windows refuses such a driver with error 998"
        ));
    }
    let copied = raw_size.min(length);
    if copied != 0 && !flags.contains(pe::IMAGE_SCN_CNT_UNINITIALIZED_DATA) {
        let from = header.pointer_to_raw_data.get(LE) as usize;
        // CAST: widening.
        let source = from.checked_add(copied as usize).and_then(|to| file.get(from..to));
        let Some(source) = source else {
            return corrupt(format!("the file ends within section {name}"));
        };
        // CAST: widening. The range fits: checked above.
        layout[start as usize..end as usize][..source.len()].copy_from_slice(source);
    }
    Ok(Section {
        name,
        start,
        length,
        write: flags.contains(pe::IMAGE_SCN_MEM_WRITE),
        execute: flags.contains(pe::IMAGE_SCN_MEM_EXECUTE),
        discardable: flags.contains(pe::IMAGE_SCN_MEM_DISCARDABLE),
    })
}
