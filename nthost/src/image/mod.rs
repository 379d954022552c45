//! Driver images: PE files as Windows loads them, run in this process with the Windows calling
//! convention.
//!
//! An [`Image`] is read once; each machine gets a copy of its own, restored between machines, so
//! that thousands of runs are cheap. Imports lead to the win64 wrappers of wdk-lite's lists; one
//! that nthost does not have is an address that faults when it is called, and the report names it.
//! Device registers, the processor control region and the shared user data are addresses of the
//! system half, which no process can touch: an access faults, and [`fault`] carries it out.

mod alu;
mod bind;
mod control_region;
mod debug_print;
mod exception;
mod exports;
mod fault;
mod framework_names;
mod instance;
mod instruction;
mod last_words;
mod mapping;
mod pe;
mod port;
mod raise;
mod region;
mod report;
mod shared_data;
mod step;
pub(crate) mod symbols;
mod tables;
#[cfg(test)]
mod tests;
mod tracing;
pub(crate) mod trap;
mod unwind;
mod watchdog;

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use fault::prepare_thread;
pub(crate) use instance::{Instance, Slot};
pub(crate) use unwind::walk;

use crate::image_error::ImageError;
use mapping::{Binding, Mapping};
use pe::{Flaw, Parsed};
use symbols::Module;

/// A driver image, read and checked, for machines to load.
///
/// A handle: clones name the same image.
#[derive(Clone, Debug)]
pub struct Image {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parsed: Parsed,
    module: Arc<Module>,
    /// Copies that no machine uses.
    idle: Mutex<Vec<Mapping>>,
}

impl Image {
    /// Reads an image from a file. Call sites in reports have names and lines if its PDB lies
    /// beside it.
    ///
    /// # Errors
    /// [`ImageError`]: the file cannot be read, is damaged, or asks for what is not provided.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |reason: String| ImageError::Read { path: path.to_owned(), reason };
        // A pipe or a device might never end.
        let facts = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        if !facts.is_file() {
            return Err(failed("it is not a regular file".to_owned()));
        }
        if facts.len() > pe::FILE_MAX {
            return Err(failed(format!("it has {} bytes; no driver has so many", facts.len())));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::read(&name, Some(path), &bytes)
    }

    /// Reads an image from memory; `name` is what reports call it.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        Self::read(name, None, bytes)
    }

    fn read(name: &str, path: Option<&Path>, bytes: &[u8]) -> Result<Self, ImageError> {
        let parsed = pe::parse(bytes).map_err(|flaw| {
            let name = name.to_owned();
            match flaw {
                Flaw::Corrupt(reason) => ImageError::Corrupt { name, reason },
                Flaw::Unsupported(reason) => ImageError::Unsupported { name, reason },
            }
        })?;
        let module = Module::new(name.to_owned(), path, parsed.code_view.as_ref());
        Ok(Self { shared: Arc::new(Shared { parsed, module, idle: Mutex::default() }) })
    }

    /// The image's file name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.module.name()
    }

    /// The imports that nthost does not have, as `ntoskrnl.exe!Name`. A driver that calls one
    /// stops its machine, and the report names it.
    #[must_use]
    pub fn missing_imports(&self) -> Vec<String> {
        let imports = self.shared.parsed.imports.iter();
        imports
            .filter(|import| exports::find(&import.module, &import.name).is_none())
            .map(|import| format!("{}!{}", import.module, import.name))
            .collect()
    }

    /// A copy in its first state, for one machine.
    fn copy(&self) -> std::io::Result<Mapping> {
        let idle = self.shared.idle.lock().pop();
        if let Some(mapping) = idle {
            mapping.restore()?;
            return Ok(mapping);
        }
        fault::install();
        let parsed = &self.shared.parsed;
        let addresses = parsed.imports.iter().enumerate().map(|(index, import)| {
            exports::find(&import.module, &import.name).unwrap_or(trap::import(index))
        });
        let binding = Binding {
            imports: &addresses.collect::<Vec<_>>(),
            guard_check: exports::guard_check(),
            guard_dispatch: exports::guard_dispatch(),
        };
        Mapping::new(parsed, &binding)
    }

    /// Takes a copy back that no machine uses any more.
    fn give_back(&self, mapping: Mapping) {
        self.shared.idle.lock().push(mapping);
    }
}
