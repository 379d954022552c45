//! Import libraries for what no Rust declaration imports.
//!
//! The trace provider's crate calls the kernel's Etw functions and expects a library to supply
//! them; it also names a library of Windows' user mode of which nothing is used. Written here, in
//! a place that does not change, they leave no temporary path in the symbols.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use ar_archive_writer::{COFFShortExport, MachineTypes, write_import_library};

use super::{Architecture, Error, at};

/// The library with the kernel's trace functions.
pub const TRACING: &str = "etw.lib";

/// Nothing of it is used, but it is named (UuidCreate).
const UNUSED: &str = "rpcrt4.lib";

/// What the trace provider calls.
const FUNCTIONS: &[&str] = &[
    "EtwActivityIdControl",
    "EtwRegister",
    "EtwSetInformation",
    "EtwUnregister",
    "EtwWriteTransfer",
];

/// Writes the libraries into `folder`.
pub fn write(architecture: Architecture, folder: &Path) -> Result<(), Error> {
    let machine = match architecture {
        Architecture::X86_64 => MachineTypes::AMD64,
        Architecture::Aarch64 => MachineTypes::ARM64,
    };
    let exports: Vec<_> = FUNCTIONS.iter().map(|name| export(name)).collect();
    for (name, exports) in [(TRACING, &exports[..]), (UNUSED, &[])] {
        let path = folder.join(name);
        let mut file = BufWriter::new(File::create(&path).map_err(at(&path))?);
        write_import_library(&mut file, "ntoskrnl.exe", exports, machine, false, false, &[])
            .map_err(at(&path))?;
    }
    Ok(())
}

fn export(name: &str) -> COFFShortExport {
    COFFShortExport {
        name: name.to_owned(),
        ext_name: None,
        symbol_name: None,
        import_name: None,
        export_as: None,
        ordinal: 0,
        noname: false,
        data: false,
        private: false,
        constant: false,
    }
}
