//! Names and lines of places in an image, from the PDB that lies beside it.
//!
//! A place is kept as one number that names the image and the RVA, so that it means the same
//! wherever a copy of the image lies, and after it is gone.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use pdb_addr2line::pdb::PDB;
use pdb_addr2line::{ContextPdbData, TypeFormatterFlags};

use super::tables::CodeView;
use crate::verifier::stack::shorten;

/// Upper bits of a place; no address of this process looks like that.
const TAG: usize = 0xFFFE << 48;
const TAG_MASK: usize = 0xFFFF << 48;

/// All images that were ever opened, by number. Small: a name, and what reports have looked up.
static MODULES: RwLock<Vec<Arc<Module>>> = RwLock::new(Vec::new());

/// An image as reports know it.
#[derive(Debug)]
pub(crate) struct Module {
    number: usize,
    name: String,
    /// The PDB, if one was looked for and belongs to the image.
    pdb: Option<PathBuf>,
    known: Mutex<HashMap<u32, Vec<String>>>,
}

impl Module {
    /// Registers an image that was read from `path`.
    pub(super) fn new(
        name: String,
        path: Option<&Path>,
        code_view: Option<&CodeView>,
    ) -> Arc<Self> {
        let pdb = path.map(|path| path.with_extension("pdb"));
        let pdb = pdb.filter(|pdb| code_view.is_some_and(|expected| belongs(pdb, expected)));
        let mut modules = MODULES.write();
        let number = modules.len();
        let module = Arc::new(Self { number, name, pdb, known: Mutex::default() });
        modules.push(Arc::clone(&module));
        module
    }

    /// The image's file name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number that stands for a place.
    pub(super) fn address(&self, rva: u32) -> usize {
        // CAST: widening.
        TAG | (self.number & 0xFFFF) << 32 | rva as usize
    }

    fn places(&self, rva: u32) -> Vec<String> {
        let mut known = self.known.lock();
        known.entry(rva).or_insert_with(|| self.look_up(rva)).clone()
    }

    fn look_up(&self, rva: u32) -> Vec<String> {
        // One less: the return address may already belong to the next line.
        let frames = self.pdb.as_deref().and_then(|pdb| frames(pdb, rva.saturating_sub(1)));
        let here = format!("{}+{rva:#x}", self.name);
        match frames {
            Some(frames) if !frames.is_empty() => frames
                .into_iter()
                .map(|(line, name)| match line {
                    Some(line) => format!("{line} ({name}, {here})"),
                    None => format!("{here} ({name})"),
                })
                .collect(),
            _ => vec![here],
        }
    }
}

/// The places that an address stands for, innermost first where functions are inlined; `None` if
/// the address is an ordinary one.
pub(crate) fn places(address: usize) -> Option<Vec<String>> {
    if address & TAG_MASK != TAG {
        return None;
    }
    // CAST: the low half.
    let (number, rva) = (address >> 32 & 0xFFFF, address as u32);
    let module = MODULES.read().get(number).cloned()?;
    Some(module.places(rva))
}

/// Whether a PDB was made in the same link as the image.
fn belongs(pdb: &Path, expected: &CodeView) -> bool {
    let Ok(file) = File::open(pdb) else { return false };
    let Ok(mut pdb) = PDB::open(file) else { return false };
    let Ok(information) = pdb.pdb_information() else { return false };
    information.guid.to_bytes_le() == expected.guid
}

type Place = (Option<String>, String);

fn frames(pdb: &Path, rva: u32) -> Option<Vec<Place>> {
    let pdb = PDB::open(File::open(pdb).ok()?).ok()?;
    let data = ContextPdbData::try_from_pdb(pdb).ok()?;
    let context = data.make_context_with_formatter_flags(TypeFormatterFlags::NAME_ONLY).ok()?;
    let found = context.find_frames(rva).ok()??;
    let place = |frame: &pdb_addr2line::Frame<'_>| {
        let line = frame.file.as_deref().zip(frame.line);
        let line = line.map(|(file, line)| {
            // The compiler's own sources were built on Windows.
            let file = file.replace('\\', "/");
            format!("{}:{line}", shorten(Path::new(&file)))
        });
        (line, frame.function.clone().unwrap_or_else(|| "?".to_owned()))
    };
    Some(found.frames.iter().map(place).collect())
}
