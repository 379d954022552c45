//! The kernel and KMDF interfaces that dmaproof's driver uses, for builds without the Windows
//! Driver Kit.
//!
//! Names and shapes are those of the `wdk-sys` 0.5.2 bindings (KMDF 1.33), so a driver compiles
//! unchanged against either crate: types and constants at the root, kernel functions in
//! [`ntddk`], KMDF functions through [`call_unsafe_wdf_function_binding!`].
//!
//! Every crossing of the border between driver and kernel stands in one of four lists
//! ([`kernel_exports!`], [`wdf_functions!`], [`dma_operations!`], [`callbacks!`]); a fifth,
//! [`register_accessors!`], holds the register accesses that are inline functions on Windows, and
//! a sixth, [`legacy_exports!`], the DMA routines by the names that old drivers import.
//! Everything else is generated from them: the declarations here, the tables and the callback
//! calls of a host. There are two kinds of build:
//!
//! * hosted (default): each function goes through the table that a host installed with
//!   [`host::install`]; there are no undefined symbols, so it links on any operating system.
//! * `image`: the functions are imports of `ntoskrnl.exe`, resolved by a loader.
//!
//! Layouts are tested against literals taken from public headers and documentation
//! (`tests/layout.rs`).
#![no_std]
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::upper_case_acronyms,
    reason = "names are the WDK's"
)]

mod constants;
#[cfg(not(feature = "image"))]
pub mod host;
#[cfg(feature = "image")]
pub mod image;
#[cfg(not(feature = "image"))]
pub mod legacy;
mod lists;
pub mod ntddk;
mod resources;
mod types;
pub mod wdf;
mod wdf_types;
mod wdm_types;

pub use constants::*;
pub use resources::*;
pub use types::*;
pub use wdf_types::*;
pub use wdm_types::*;

/// Whether `status` is a success or informational code (the WDK's `NT_SUCCESS`).
#[must_use]
pub const fn NT_SUCCESS(status: NTSTATUS) -> bool {
    status >= 0
}
