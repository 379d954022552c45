//! What a driver image must be like, and whether a file is so.
//!
//! The rules are those of the system's loader, of memory integrity (HVCI) and of drivers that the
//! WDK builds (IMAGE: PE image).

#[cfg(test)]
mod tests;

use std::path::Path;

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{ImageOptionalHeader, PeFile64};

use super::imports::{ALLOWED, LOADER, SUPPORTED};
use super::{Architecture, Error, at};

/// Reads and inspects an image.
pub fn file(path: &Path) -> Result<(), Error> {
    let data = std::fs::read(path).map_err(at(path))?;
    let findings = findings(&data);
    if findings.is_empty() {
        return Ok(());
    }
    Err(Error::Unsound { path: path.to_owned(), findings })
}

/// What is wrong with an image, a sentence each.
pub fn findings(data: &[u8]) -> Vec<String> {
    let mut findings = Findings(Vec::new());
    match PeFile64::parse(data) {
        Ok(image) => findings.inspect(&image, data),
        Err(error) => findings.0.push(format!("it is no PE image for 64 bits: {error}")),
    }
    findings.0
}

/// Characteristics of the file: a program that knows large addresses, not a library.
const PROGRAM: u16 = pe::IMAGE_FILE_EXECUTABLE_IMAGE.0 | pe::IMAGE_FILE_LARGE_ADDRESS_AWARE.0;
/// Characteristics of the image, with and without control flow guard.
const PLACED: u16 = pe::IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA.0
    | pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE.0
    | pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT.0;
const GUARDED: u16 = PLACED | pe::IMAGE_DLLCHARACTERISTICS_GUARD_CF.0;

const READ: u32 = pe::IMAGE_SCN_MEM_READ.0;
const WRITE: u32 = pe::IMAGE_SCN_MEM_WRITE.0;
const EXECUTE: u32 = pe::IMAGE_SCN_MEM_EXECUTE.0;
const NOT_PAGED: u32 = pe::IMAGE_SCN_MEM_NOT_PAGED.0;
const DISCARDABLE: u32 = pe::IMAGE_SCN_MEM_DISCARDABLE.0;

/// What sections of these names must be; others, only readable and not both writable and
/// executable.
const SECTIONS: &[(&str, u32)] = &[
    (".text", READ | EXECUTE | NOT_PAGED),
    (".rdata", READ | NOT_PAGED),
    (".data", READ | WRITE | NOT_PAGED),
    (".pdata", READ | NOT_PAGED),
    ("INIT", READ | EXECUTE | DISCARDABLE),
    ("PAGE", READ | EXECUTE),
    (".rsrc", READ | DISCARDABLE),
    (".reloc", READ | DISCARDABLE),
];

/// Bits of a section that say what memory it becomes.
const MEMORY: u32 = READ | WRITE | EXECUTE | NOT_PAGED | DISCARDABLE;

struct Findings(Vec<String>);

impl Findings {
    fn unless(&mut self, good: bool, finding: impl FnOnce() -> String) {
        if !good {
            self.0.push(finding());
        }
    }

    fn inspect(&mut self, image: &PeFile64<'_>, data: &[u8]) {
        let architecture = match image.nt_headers().file_header.machine.get(LE) {
            pe::IMAGE_FILE_MACHINE_AMD64 => Some(Architecture::X86_64),
            pe::IMAGE_FILE_MACHINE_ARM64 => Some(Architecture::Aarch64),
            machine => {
                self.0.push(format!("machine {machine:#06x} is neither x64 nor ARM64"));
                None
            }
        };
        self.headers(image);
        self.sections(image);
        self.directories(image);
        if let Some(architecture) = architecture {
            self.imports(image, architecture);
        }
        let stored = image.nt_headers().optional_header.check_sum();
        let sum = checksum(data, checksum_offset(image));
        self.unless(stored == sum, || format!("checksum {stored:#x}; it is {sum:#x}"));
    }

    fn headers(&mut self, image: &PeFile64<'_>) {
        let file = &image.nt_headers().file_header;
        let characteristics = file.characteristics.get(LE).0;
        self.unless(characteristics == PROGRAM, || {
            format!("file characteristics {characteristics:#06x}; a driver has {PROGRAM:#06x}")
        });
        let optional = &image.nt_headers().optional_header;
        let placed = optional.dll_characteristics().0;
        self.unless(placed == PLACED || placed == GUARDED, || {
            format!("image characteristics {placed:#06x}; a driver has {PLACED:#06x}")
        });
        let subsystem = optional.subsystem().0;
        self.unless(subsystem == pe::IMAGE_SUBSYSTEM_NATIVE.0, || {
            format!("subsystem {subsystem}; a driver's is 1 (native)")
        });
        let versions = [
            ("operating system", optional.major_operating_system_version()),
            ("image", optional.major_image_version()),
            ("subsystem", optional.major_subsystem_version()),
        ];
        for (what, version) in versions {
            self.unless(version == 10, || format!("{what} version {version}; it must be 10"));
        }
        let (sections, files) = (optional.section_alignment(), optional.file_alignment());
        self.unless(sections == 0x1000, || {
            format!("sections are aligned to {sections:#x}; memory integrity wants pages")
        });
        self.unless(files == 0x200, || format!("the file is aligned to {files:#x}, not 0x200"));
        let entry = optional.address_of_entry_point();
        self.unless(entry != 0, || "there is no entry point".to_owned());
    }

    fn sections(&mut self, image: &PeFile64<'_>) {
        for section in image.section_table().iter() {
            let name = String::from_utf8_lossy(section.raw_name()).into_owned();
            let memory = section.characteristics.get(LE).0 & MEMORY;
            self.unless(memory & READ != 0, || {
                format!("section {name} is not readable; the image would not load (error 998)")
            });
            self.unless(memory & (WRITE | EXECUTE) != WRITE | EXECUTE, || {
                format!("section {name} is writable and executable; memory integrity refuses it")
            });
            let expected = SECTIONS.iter().find(|(known, _)| *known == name);
            if let Some((_, expected)) = expected {
                self.unless(memory == *expected, || {
                    format!("section {name} has memory bits {memory:#010x}, not {expected:#010x}")
                });
            }
        }
    }

    fn directories(&mut self, image: &PeFile64<'_>) {
        let present = |index| image.data_directory(index).is_some();
        let refused = [
            (pe::IMAGE_DIRECTORY_ENTRY_EXPORT, "exports; a driver has none"),
            (pe::IMAGE_DIRECTORY_ENTRY_TLS, "thread-local storage; the kernel has none"),
            (pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT, "delayed imports; the kernel knows none"),
            (pe::IMAGE_DIRECTORY_ENTRY_BOUND_IMPORT, "bound imports"),
        ];
        for (index, what) in refused {
            self.unless(!present(index), || format!("it has {what}"));
        }
        let needed = [
            (pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION, "unwind data"),
            (pe::IMAGE_DIRECTORY_ENTRY_RESOURCE, "a version resource"),
            (pe::IMAGE_DIRECTORY_ENTRY_IMPORT, "imports"),
        ];
        for (index, what) in needed {
            self.unless(present(index), || format!("it has no {what}"));
        }
        // What binds a driver to the framework contains addresses; a driver without it may have
        // none.
        let imports = imported(image).unwrap_or_default();
        let bound = imports.iter().any(|(module, _)| module == LOADER);
        self.unless(!bound || present(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC), || {
            "it has no relocations".to_owned()
        });
        let table = image.data_directory(pe::IMAGE_DIRECTORY_ENTRY_IAT);
        let place = table.map_or(0, |table| table.virtual_address.get(LE));
        let executable = image.section_table().iter().any(|section| {
            let offset = place.checked_sub(section.virtual_address.get(LE));
            let within = offset.is_some_and(|offset| offset < section.virtual_size.get(LE));
            within && section.characteristics.get(LE).0 & EXECUTE != 0
        });
        self.unless(!executable, || {
            "the import addresses lie in an executable section; memory integrity refuses it"
                .to_owned()
        });
    }

    fn imports(&mut self, image: &PeFile64<'_>, architecture: Architecture) {
        let imports = match imported(image) {
            Ok(imports) => imports,
            Err(error) => return self.0.push(format!("its imports cannot be read: {error}")),
        };
        for (module, name) in imports {
            let known = ALLOWED.iter().find(|import| import.name == name);
            let Some(home) = known.and_then(|import| import.module(architecture)) else {
                let arch = architecture.name();
                self.0.push(format!("{module}!{name} is no known export on {arch}"));
                continue;
            };
            self.unless(module == home, || format!("{name} is exported by {home}, not {module}"));
            let since = known.map_or(SUPPORTED, |import| import.since);
            self.unless(since <= SUPPORTED, || {
                format!("{name} came with build {}; the driver supports {}", since.0, SUPPORTED.0)
            });
        }
    }
}

/// Module and name of everything an image imports.
fn imported(image: &PeFile64<'_>) -> Result<Vec<(String, String)>, object::read::Error> {
    let mut all = Vec::new();
    let Some(table) = image.import_table()? else { return Ok(all) };
    let mut descriptors = table.descriptors()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some(descriptor) = descriptors.next()? {
        let module = text(table.name(descriptor.name.get(LE))?);
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>()? {
            let import = table.import::<pe::ImageNtHeaders64>(thunk)?;
            let name = match import {
                object::read::pe::Import::Ordinal(ordinal) => format!("#{ordinal}"),
                object::read::pe::Import::Name(_, name) => text(name),
            };
            all.push((module.clone(), name));
        }
    }
    Ok(all)
}

/// Where the checksum stands in the file.
fn checksum_offset(image: &PeFile64<'_>) -> usize {
    /// Of the field in the optional header.
    const FIELD: usize = 64;
    // CAST: an offset in the file.
    let headers = image.dos_header().nt_headers_offset() as usize;
    headers + size_of::<u32>() + size_of::<pe::ImageFileHeader>() + FIELD
}

/// The checksum of an image file: the folded sum of its 16-bit words, without the checksum itself,
/// plus its length.
pub fn checksum(data: &[u8], field: usize) -> u32 {
    let mut sum = 0u32;
    for (index, pair) in data.chunks(2).enumerate() {
        let word = match *pair {
            _ if (field..field + 4).contains(&(index * 2)) => 0,
            [low, high] => u16::from_le_bytes([low, high]),
            [low] => u16::from(low),
            _ => 0,
        };
        sum += u32::from(word);
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    // CAST: drivers are smaller than 4 GiB.
    sum + data.len() as u32
}
