//! The tables of an image that the loader uses: relocations, imports, unwind data, the load
//! configuration, and the name of its PDB.

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{Import as ObjectImport, ImportTable, RelocationBlockIterator};

use super::pe::{Flaw, Parsed, corrupt, unsupported};

/// A function to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub module: String,
    pub name: String,
    /// RVA of the pointer that is to hold its address.
    pub slot: u32,
}

/// An entry of the exception directory (RUNTIME_FUNCTION): handlers in the image read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub begin: u32,
    pub end: u32,
    pub unwind: u32,
}

/// What the load configuration says; RVAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LoadConfig {
    pub cookie: Option<u32>,
    pub guard_check: Option<u32>,
    pub guard_dispatch: Option<u32>,
}

/// Which PDB belongs to the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeView {
    pub guid: [u8; 16],
    pub age: u32,
}

/// Address and size of a data directory, if it has one.
type Directory<'a> = &'a dyn Fn(usize) -> Option<(u32, u32)>;

/// More imports or relocations than this are no driver's.
const MANY: usize = 1 << 20;

/// Reads all tables.
pub(super) fn read(parsed: &mut Parsed, directory: Directory<'_>) -> Result<(), Flaw> {
    for (index, name) in [
        (pe::IMAGE_DIRECTORY_ENTRY_TLS, "thread-local storage"),
        (pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT, "delay-loaded imports"),
        (pe::IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR, "the .NET runtime"),
    ] {
        if directory(index).is_some_and(|(_, size)| size != 0) {
            return unsupported(format!("it uses {name}, which nthost does not provide"));
        }
    }
    if let Some((address, size)) = directory(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC) {
        parsed.relocations = relocations(parsed, address, size)?;
    }
    if let Some((address, size)) = directory(pe::IMAGE_DIRECTORY_ENTRY_IMPORT)
        && size != 0
    {
        parsed.imports = imports(parsed, address)?;
    }
    if let Some((address, size)) = directory(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION) {
        parsed.functions = functions(parsed, address, size)?;
    }
    if let Some((address, _)) = directory(pe::IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG) {
        parsed.config = load_config(parsed, address)?;
    }
    if let Some((address, size)) = directory(pe::IMAGE_DIRECTORY_ENTRY_DEBUG) {
        parsed.code_view = code_view(parsed, address, size);
    }
    Ok(())
}

impl Parsed {
    /// Bytes by RVA.
    pub(super) fn bytes(&self, rva: u32, length: u32) -> Option<&[u8]> {
        let end = rva.checked_add(length)?;
        // CAST: widening.
        self.layout.get(rva as usize..end as usize)
    }

    pub(super) fn u32(&self, rva: u32) -> Option<u32> {
        let bytes = self.bytes(rva, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    pub(super) fn u64(&self, rva: u32) -> Option<u64> {
        let bytes = self.bytes(rva, 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The RVA of an address at the preferred base.
    fn rva(&self, address: u64) -> Option<u32> {
        let rva = u32::try_from(address.checked_sub(self.base)?).ok()?;
        // CAST: widening.
        (rva as usize <= self.layout.len().checked_sub(8)?).then_some(rva)
    }

    /// Whether a section holds the 8 bytes at `rva`.
    fn holds_word(&self, rva: u32) -> bool {
        let section = self.section(rva);
        section.is_some_and(|s| rva - s.start <= s.length - 8)
    }
}

fn relocations(parsed: &Parsed, address: u32, size: u32) -> Result<Vec<u32>, Flaw> {
    let Some(data) = parsed.bytes(address, size) else {
        return corrupt("its relocations lie outside the image");
    };
    let mut found = Vec::new();
    for block in RelocationBlockIterator::new(data) {
        for relocation in block? {
            let at = relocation.virtual_address;
            match relocation.typ {
                pe::IMAGE_REL_BASED_ABSOLUTE => {}
                pe::IMAGE_REL_BASED_DIR64 if parsed.holds_word(at) => found.push(at),
                pe::IMAGE_REL_BASED_DIR64 => {
                    return corrupt(format!("a relocation at {at:#x} lies outside its sections"));
                }
                other => {
                    let kind = other.0;
                    return unsupported(format!("a relocation at {at:#x} is of kind {kind}"));
                }
            }
            if found.len() > MANY {
                return corrupt("its relocations have no end");
            }
        }
    }
    Ok(found)
}

fn imports(parsed: &Parsed, address: u32) -> Result<Vec<Import>, Flaw> {
    let table = ImportTable::new(&parsed.layout, 0, address);
    let mut found = Vec::new();
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let module = table.name(descriptor.name.get(LE))?;
        let module = String::from_utf8_lossy(module).into_owned();
        let first = descriptor.first_thunk.get(LE);
        let names = match descriptor.original_first_thunk.get(LE) {
            0 => first,
            names => names,
        };
        let mut thunks = table.thunks(names)?;
        let mut slot = first;
        while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>()? {
            let name = match table.import::<pe::ImageNtHeaders64>(thunk)? {
                ObjectImport::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
                ObjectImport::Ordinal(ordinal) => format!("#{ordinal}"),
            };
            if !parsed.holds_word(slot) || !slot.is_multiple_of(8) {
                return corrupt(format!("the import {module}!{name} has no place in the image"));
            }
            found.push(Import { module: module.clone(), name, slot });
            slot += 8;
            if found.len() > MANY {
                return corrupt("its imports have no end");
            }
        }
    }
    Ok(found)
}

fn functions(parsed: &Parsed, address: u32, size: u32) -> Result<Vec<Function>, Flaw> {
    let Some(data) = parsed.bytes(address, size) else {
        return corrupt("its exception directory lies outside the image");
    };
    let words = |entry: &[u8]| {
        let word = |at: usize| {
            let bytes = entry.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        Function { begin: word(0), end: word(4), unwind: word(8) }
    };
    let all = data.chunks_exact(12).map(words);
    let found: Vec<Function> = all.take_while(|function| function.begin != 0).collect();
    let sorted = found.windows(2).all(|pair| pair[0].end <= pair[1].begin);
    if !sorted || found.iter().any(|function| function.begin >= function.end) {
        return corrupt("its exception directory is not sorted");
    }
    Ok(found)
}

/// Offsets in IMAGE_LOAD_CONFIG_DIRECTORY64.
const COOKIE: u32 = 0x58;
const GUARD_CHECK: u32 = 0x70;
const GUARD_DISPATCH: u32 = 0x78;

fn load_config(parsed: &Parsed, address: u32) -> Result<LoadConfig, Flaw> {
    let Some(size) = parsed.u32(address) else {
        return corrupt("its load configuration lies outside the image");
    };
    let pointer = |offset: u32, what: &str| {
        if size < offset + 8 {
            return Ok(None);
        }
        let value = address.checked_add(offset).and_then(|at| parsed.u64(at));
        let Some(value) = value else {
            return corrupt("its load configuration lies outside the image");
        };
        if value == 0 {
            return Ok(None);
        }
        match parsed.rva(value).filter(|&rva| parsed.holds_word(rva) && rva.is_multiple_of(8)) {
            Some(rva) => Ok(Some(rva)),
            None => corrupt(format!("its load configuration puts {what} at {value:#x}, outside")),
        }
    };
    Ok(LoadConfig {
        cookie: pointer(COOKIE, "the security cookie")?,
        guard_check: pointer(GUARD_CHECK, "the control-flow guard's check")?,
        guard_dispatch: pointer(GUARD_DISPATCH, "the control-flow guard's dispatch")?,
    })
}

/// The CodeView record's signature: "RSDS".
const RSDS: u32 = 0x5344_5352;

fn code_view(parsed: &Parsed, address: u32, size: u32) -> Option<CodeView> {
    /// IMAGE_DEBUG_TYPE_CODEVIEW.
    const CODE_VIEW: u32 = 2;
    // CAST: the size of a small structure.
    let entries = (0..size / 28).map(|index| address.wrapping_add(index * 28));
    let entry = entries.take(16).find(|&at| parsed.u32(at.wrapping_add(12)) == Some(CODE_VIEW))?;
    let data = parsed.u32(entry.wrapping_add(20))?;
    if parsed.u32(data)? != RSDS {
        return None;
    }
    let guid = parsed.bytes(data.checked_add(4)?, 16)?.try_into().ok()?;
    Some(CodeView { guid, age: parsed.u32(data.checked_add(20)?)? })
}
