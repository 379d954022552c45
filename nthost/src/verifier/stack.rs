//! Call stacks of driver code, walked by frame pointers; on 64-bit x86 Windows, whose frames are
//! not chained, by unwind tables.

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
    #[cfg(not(all(windows, target_arch = "x86_64")))]
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

    /// Walks from above `frame` to the frame of the host's call into the driver at `bottom`, both
    /// addresses on this thread's stack. Frames are not chained here: unwind tables describe them.
    #[cfg(all(windows, target_arch = "x86_64"))]
    #[inline(never)]
    pub(crate) fn walk(frame: usize, bottom: usize) -> Self {
        let mut frames = [0; Self::DEPTH];
        let mut kept = 0;
        if frame != 0 && frame < bottom {
            backtrace::trace(|at| {
                let stack = at.sp().addr();
                if stack > frame && stack <= bottom {
                    frames[kept] = at.ip().addr();
                    kept += 1;
                }
                stack <= bottom && kept < Self::DEPTH
            });
        }
        Self { frames }
    }

    /// These places, innermost first.
    #[cfg(any(test, all(target_os = "linux", target_arch = "x86_64")))]
    pub(crate) const fn of(frames: [usize; Self::DEPTH]) -> Self {
        Self { frames }
    }

    /// The return addresses; for a driver image, numbers that name image and RVA.
    pub fn addresses(&self) -> impl Iterator<Item = usize> + '_ {
        self.frames.iter().copied().take_while(|&address| address != 0)
    }

    /// Whether the driver was not running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames[0] == 0
    }

    /// The first frame of the driver's own code: the line that made the call.
    #[must_use]
    pub fn call_site(&self) -> String {
        let mut fallback = None;
        for place in self.addresses().flat_map(places) {
            if is_drivers(&place) {
                return place;
            }
            fallback.get_or_insert(place);
        }
        fallback.unwrap_or_else(|| "no call of the driver".to_owned())
    }
}

/// Whether a place is neither in the standard library nor in the declarations or the host.
fn is_drivers(place: &str) -> bool {
    let others = ["core/", "alloc/", "std/", "library/", "wdk-lite/", "nthost/"];
    !others.iter().any(|folder| place.starts_with(folder))
}

/// The places of the call that returns to `address`: innermost first where functions are inlined.
fn places(address: usize) -> Vec<String> {
    if let Some(places) = crate::image::symbols::places(address) {
        return places;
    }
    let mut found = Vec::new();
    // One less: the return address may already belong to the next line.
    backtrace::resolve((address - 1) as *mut _, |symbol| {
        let name = symbol.name().map(|name| format!("{name:#}")).unwrap_or_default();
        found.push(match (symbol.filename(), symbol.lineno()) {
            (Some(file), Some(line)) => format!("{}:{line} ({name})", shorten(file)),
            _ => format!("{name} ({address:#x})"),
        });
    });
    if found.is_empty() {
        found.push(format!("{address:#x}"));
    }
    found
}

/// The path from the crate's folder on, so that a report does not depend on the checkout.
pub(crate) fn shorten(file: &std::path::Path) -> String {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    let source = parts.iter().rposition(|part| part == "src" || part == "tests");
    let from = source.map_or(0, |at| at.saturating_sub(1));
    parts.get(from..).unwrap_or_default().join("/")
}

impl fmt::Display for CallStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.addresses().flat_map(places).filter(|place| is_drivers(place)) {
            writeln!(f, "    at {place}")?;
        }
        Ok(())
    }
}
