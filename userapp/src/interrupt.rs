//! Ctrl-C ends a run between two transfers, with a report of what was done, and cancels a transfer
//! that takes long where the target can; a second one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::exit::Exit;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether Ctrl-C was pressed since somebody asked for the flag.
#[must_use]
pub fn happened() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// The flag that Ctrl-C sets.
#[must_use]
pub fn flag() -> Arc<AtomicBool> {
    let install = || {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        // Without a handler Ctrl-C simply ends the program, which is good enough.
        let _ = ctrlc::set_handler(move || {
            if set.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(u8::from(Exit::Interrupted)));
            }
        });
        flag
    };
    Arc::clone(FLAG.get_or_init(install))
}
