//! Why a driver image is not run.

use std::path::PathBuf;

use crate::status::NtStatus;

/// Why a file is not taken as a driver image. Each message is a sentence that names the file and
/// what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is no image, or is damaged.
    #[error("{name} is not a sound driver image: {reason}")]
    Corrupt {
        /// The file's name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The image asks for something that this loader does not provide.
    #[error("{name} cannot be run here: {reason}")]
    Unsupported {
        /// The file's name.
        name: String,
        /// What it asks for.
        reason: String,
    },
    /// Images run on one system only.
    #[error(
        "driver images run on 64-bit x86 Linux only; elsewhere the built-in driver runs (--sim)"
    )]
    System,
}

/// Why an image that is sound did not become a loaded driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The machine runs one kind of driver: the calls of a hosted one and of an image differ.
    #[error("the machine has another driver already; an image needs a machine of its own")]
    Occupied,
    /// The system has no memory to give.
    #[error("the image cannot be mapped: {0}")]
    Memory(String),
    /// The framework's loader refused the driver's version or bind information.
    #[error("WdfVersionBind refused the driver: {0}")]
    Bind(String),
    /// The entry point succeeded without registering with KMDF.
    #[error(
        "the driver registered no KMDF driver object (WdfDriverCreate); only KMDF drivers run here"
    )]
    NoFramework,
    /// What the entry point returned.
    #[error("the driver's entry point failed with {0}")]
    Entry(NtStatus),
}
