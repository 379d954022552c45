//! The drivers of `tests/images`, which are not dmaproof's: linked into the test, and as the images
//! that `cargo xtask image` builds.

mod common;
mod conformance;
mod echo;
mod wdm;
