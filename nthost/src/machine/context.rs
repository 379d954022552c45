//! What a thread of the machine is doing: its machine, processor and place in driver code.

// UNSAFETY: the current machine is reached through a thread-local pointer, because a driver's
// call carries no reference to it.

use std::cell::Cell;
use std::ptr;

use super::Kernel;
use crate::ddi::Ddi;
use crate::verifier::CallStack;

/// State of the calling thread. All cells: never borrowed over a call into driver code.
#[derive(Debug)]
pub(crate) struct Context {
    /// The machine whose kernel-mode code runs on this thread; null in user mode.
    kernel: Cell<*const Kernel>,
    /// The virtual processor held.
    pub processor: Cell<usize>,
    /// Number of this application thread in its machine.
    pub thread: Cell<usize>,
    /// Stack address at the host's last call into the driver; zero outside driver code.
    pub driver_frame: Cell<usize>,
    /// Frame pointer at the driver's last call into the host.
    pub ddi_frame: Cell<usize>,
    /// The call the driver is making.
    pub ddi: Cell<Option<&'static Ddi>>,
    /// The callback the driver is in.
    pub callback: Cell<&'static str>,
    /// Spin locks (of any kind) this thread holds.
    pub locks: Cell<u32>,
}

thread_local! {
    static CONTEXT: Context = const {
        Context {
            kernel: Cell::new(ptr::null()),
            processor: Cell::new(0),
            thread: Cell::new(0),
            driver_frame: Cell::new(0),
            ddi_frame: Cell::new(0),
            ddi: Cell::new(None),
            callback: Cell::new(""),
            locks: Cell::new(0),
        }
    };
}

/// Runs `body` with the calling thread's context.
#[inline]
pub(crate) fn with<R>(body: impl FnOnce(&Context) -> R) -> R {
    CONTEXT.with(body)
}

/// The machine that runs on this thread, if it is in kernel mode.
#[inline]
pub(crate) fn current<'k>() -> Option<&'k Kernel> {
    let kernel = CONTEXT.with(|c| c.kernel.get());
    // SAFETY: set by `Entered::new` from a live reference and cleared when that scope ends, so
    // the machine is alive while it is set.
    unsafe { kernel.as_ref() }
}

/// The calling thread is in kernel mode of a machine while this lives.
#[derive(Debug)]
pub(crate) struct Entered(*const Kernel);

impl Entered {
    pub(super) fn new(kernel: &Kernel, processor: usize) -> Self {
        CONTEXT.with(|c| {
            c.processor.set(processor);
            Self(c.kernel.replace(kernel))
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CONTEXT.with(|c| c.kernel.set(self.0));
    }
}

/// The driver's call stack at its last call into the host.
pub(crate) fn stack() -> CallStack {
    let (frame, bottom) = CONTEXT.with(|c| (c.ddi_frame.get(), c.driver_frame.get()));
    let image = current().and_then(|kernel| kernel.image.instance());
    image
        .and_then(|image| crate::image::walk(image, frame, bottom))
        .unwrap_or_else(|| CallStack::walk(frame, bottom))
}

/// The frame pointer of the function this is inlined into; zero where it cannot be read.
#[inline(always)]
pub(crate) fn frame_pointer() -> usize {
    #[cfg(all(not(miri), target_arch = "x86_64"))]
    {
        let frame: usize;
        // SAFETY: reads a register; no memory, no flags.
        unsafe {
            std::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
        };
        frame
    }
    #[cfg(all(not(miri), target_arch = "aarch64"))]
    {
        let frame: usize;
        // SAFETY: reads a register; no memory, no flags.
        unsafe {
            std::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
        };
        frame
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    0
}
