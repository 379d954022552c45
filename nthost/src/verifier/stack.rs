//! Call stacks of driver code, walked by frame pointers.

// UNSAFETY: reading the caller's frames needs raw loads from this thread's own stack.

use std::fmt;

/// At most eight return addresses, innermost first; zero where the stack ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallStack {
    frames: [usize; Self::DEPTH],
}

impl CallStack {
    /// Frames kept.
    pub const DEPTH: usize = 8;

    /// Walks from the frame at `frame` to the frame of the host's call into the driver at
    /// `bottom`. Both are addresses on this thread's stack, `bottom` the higher one.
    #[inline]
    pub(crate) fn walk(frame: usize, bottom: usize) -> Self {
        let mut frames = [0; Self::DEPTH];
        let mut current = frame;
        for slot in &mut frames {
            let aligned = current.is_multiple_of(size_of::<usize>());
            if current == 0 || !aligned || current.saturating_add(16) > bottom {
                break;
            }
            // SAFETY: `current` lies between this frame and `bottom`, both on the live part of
            // this thread's stack, and is aligned: two words there are mapped and readable, the
            // saved frame pointer and the return address.
            let [next, address] = unsafe { (current as *const [usize; 2]).read() };
            *slot = address;
            if next <= current {
                break;
            }
            current = next;
        }
        Self { frames }
    }

    /// The return addresses.
    pub fn addresses(&self) -> impl Iterator<Item = usize> + '_ {
        self.frames.iter().copied().take_while(|&address| address != 0)
    }

    /// The first frame outside the declarations' crate: the line that made the call.
    #[must_use]
    pub fn call_site(&self) -> String {
        let mut fallback = None;
        for address in self.addresses() {
            let (name, place) = symbol(address);
            if fallback.is_none() {
                fallback = Some(place.clone());
            }
            if !name.starts_with("wdk_lite::") && !name.starts_with("nthost::") {
                return place;
            }
        }
        fallback.unwrap_or_else(|| "an unknown place".to_owned())
    }
}

/// Name and place of the call that returns to `address`.
fn symbol(address: usize) -> (String, String) {
    let mut name = String::new();
    let mut place = format!("{address:#x}");
    // One less: the return address may already belong to the next line.
    backtrace::resolve((address - 1) as *mut _, |symbol| {
        if !name.is_empty() {
            return;
        }
        if let Some(found) = symbol.name() {
            name = format!("{found:#}");
        }
        place = match (symbol.filename(), symbol.lineno()) {
            (Some(file), Some(line)) => format!("{}:{line} ({name})", shorten(file)),
            _ => format!("{name} ({address:#x})"),
        };
    });
    (name, place)
}

/// The path from the crate's folder on, so that a report does not depend on the checkout.
fn shorten(file: &std::path::Path) -> String {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    let source = parts.iter().rposition(|part| part == "src" || part == "tests");
    let from = source.map_or(0, |at| at.saturating_sub(1));
    parts.get(from..).unwrap_or_default().join("/")
}

impl fmt::Display for CallStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in self.addresses() {
            let (name, place) = symbol(address);
            if !name.starts_with("wdk_lite::") {
                writeln!(f, "    at {place}")?;
            }
        }
        Ok(())
    }
}
