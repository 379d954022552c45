//! Ctrl-C ends a run between two transfers, with a report of what was done, and cancels a transfer
//! that takes long where the target can; a second one ends the program at once. SIGTERM, SIGHUP and
//! the closing of a Windows console count as Ctrl-C. What comes within half a second of the first
//! is the same one: programs such as `timeout` signal a process and its group.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::exit::Exit;

/// For how long further signals mean the first one.
const SAME: Duration = Duration::from_millis(500);

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Unfinished files.
static PARTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn parts() -> MutexGuard<'static, Vec<PathBuf>> {
    PARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An unfinished file, which a second Ctrl-C removes.
#[derive(Debug)]
pub struct Part(PathBuf);

impl Part {
    /// The file at `path` is unfinished as long as this lives.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        parts().push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        parts().retain(|part| *part != self.0);
    }
}

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
        let mut first = None;
        // Without a handler Ctrl-C simply ends the program, which is good enough.
        let _ = ctrlc::set_handler(move || {
            let since = first.get_or_insert_with(Instant::now).elapsed();
            if set.swap(true, Ordering::Relaxed) && since > SAME {
                // Nothing is dropped in such an end.
                for part in parts().iter() {
                    let _ = std::fs::remove_file(part);
                }
                std::process::exit(i32::from(u8::from(Exit::Interrupted)));
            }
        });
        flag
    };
    Arc::clone(FLAG.get_or_init(install))
}
