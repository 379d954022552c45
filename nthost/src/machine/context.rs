//! What a thread of the machine is doing: its machine, processor and place in driver code.

// UNSAFETY: the current machine is reached through a thread-local pointer, because a driver's
// call carries no reference to it.

use std::cell::Cell;
use std::ptr;

use super::Kernel;
use super::footprint::{Footprint, Thing};
use crate::ddi::Ddi;
use crate::verifier::CallStack;

/// State of the calling thread. All cells: never borrowed over a call into driver code.
#[derive(Debug)]
pub(crate) struct Context {
    /// The machine whose kernel-mode code runs on this thread; null in user mode.
    kernel: Cell<*const Kernel>,
    /// The machine of which a task runs on this thread, under the deterministic scheduler.
    simulation: Cell<*const Kernel>,
    /// The virtual processor held.
    pub processor: Cell<usize>,
    /// Processors that outer frames of this thread hold, a bit for each, while it acts for another
    /// one; never on a task.
    pub outer: Cell<u64>,
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
    /// The code that runs here has read a device that is gone.
    pub unanswered: Cell<bool>,
    /// What the code that runs here may touch, apart from its processor.
    pub about: Cell<Footprint>,
}

thread_local! {
    static CONTEXT: Context = const {
        Context {
            kernel: Cell::new(ptr::null()),
            simulation: Cell::new(ptr::null()),
            processor: Cell::new(0),
            outer: Cell::new(0),
            thread: Cell::new(0),
            driver_frame: Cell::new(0),
            ddi_frame: Cell::new(0),
            ddi: Cell::new(None),
            callback: Cell::new(""),
            locks: Cell::new(0),
            unanswered: Cell::new(false),
            about: Cell::new(Footprint::ALL),
        }
    };
}

/// The context of a task that is not running.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    pub kernel: *const Kernel,
    pub simulation: *const Kernel,
    pub processor: usize,
    pub thread: usize,
    driver_frame: usize,
    ddi_frame: usize,
    ddi: Option<&'static Ddi>,
    callback: &'static str,
    locks: u32,
    unanswered: bool,
    pub about: Footprint,
}

impl Saved {
    /// That of a thread, or of nobody.
    pub(crate) const fn new(thread: usize, simulation: *const Kernel) -> Self {
        Self {
            kernel: ptr::null(),
            simulation,
            processor: 0,
            thread,
            driver_frame: 0,
            ddi_frame: 0,
            ddi: None,
            callback: "",
            locks: 0,
            unanswered: false,
            about: Footprint::of(Thing::Application),
        }
    }
}

/// What the calling thread is doing, to be put back later.
#[inline]
pub(super) fn save() -> Saved {
    CONTEXT.with(|c| Saved {
        kernel: c.kernel.get(),
        simulation: c.simulation.get(),
        processor: c.processor.get(),
        thread: c.thread.get(),
        driver_frame: c.driver_frame.get(),
        ddi_frame: c.ddi_frame.get(),
        ddi: c.ddi.get(),
        callback: c.callback.get(),
        locks: c.locks.get(),
        unanswered: c.unanswered.get(),
        about: c.about.get(),
    })
}

/// The calling thread goes on with what was saved.
#[inline]
pub(super) fn restore(saved: Saved) {
    CONTEXT.with(|c| {
        c.kernel.set(saved.kernel);
        c.simulation.set(saved.simulation);
        c.processor.set(saved.processor);
        c.thread.set(saved.thread);
        c.driver_frame.set(saved.driver_frame);
        c.ddi_frame.set(saved.ddi_frame);
        c.ddi.set(saved.ddi);
        c.callback.set(saved.callback);
        c.locks.set(saved.locks);
        c.unanswered.set(saved.unanswered);
        c.about.set(saved.about);
    });
}

/// What the code that runs here may touch.
#[inline]
pub(super) fn footprint() -> Footprint {
    CONTEXT.with(|c| {
        let about = c.about.get();
        if c.kernel.get().is_null() {
            return about;
        }
        about.and(Footprint::of(Thing::Processor(c.processor.get())))
    })
}

/// Whether a task of this machine runs on the calling thread.
#[inline]
pub(super) fn is_task_of(kernel: &Kernel) -> bool {
    CONTEXT.with(|c| ptr::eq(c.simulation.get(), kernel))
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
