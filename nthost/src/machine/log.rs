//! What is written down at each crossing: the log, and how deep the driver's stack is.

use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{Kernel, context};
use crate::RuleId;
use crate::verifier::{Violation, broken};

/// One crossing from the driver to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number, counted from 1.
    pub number: u64,
    /// Machine time, nanoseconds.
    pub time: u64,
    /// The function called.
    pub call: &'static str,
    /// The callback that called it.
    pub callback: &'static str,
    /// The thread in whose context.
    pub thread: usize,
    /// The processor.
    pub processor: usize,
    /// The level.
    pub irql: u8,
}

/// The log of one machine.
#[derive(Debug)]
pub(super) struct Log(Option<Mutex<Vec<Event>>>);

impl Log {
    pub(super) fn new(kept: bool) -> Self {
        Self(kept.then(Mutex::default))
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.0.as_ref().map(|events| events.lock().clone()).unwrap_or_default()
    }
}

impl Kernel {
    /// Writes a crossing down, if that is wanted.
    #[inline]
    pub(crate) fn log_crossing(&self, number: u64, call: &'static str) {
        if let Some(events) = &self.log.0 {
            let (callback, thread, processor) =
                context::with(|c| (c.callback.get(), c.thread.get(), c.processor.get()));
            let (time, irql) = (self.clock.now(), self.irql());
            let event = Event { number, time, call, callback, thread, processor, irql };
            events.lock().push(event);
        }
    }

    /// How much stack the driver has used since the host called it (SIM-07). Seen at its calls
    /// into the host only.
    ///
    /// # Errors
    /// SIM-07 above the limit.
    #[inline]
    pub(crate) fn check_stack(&self) -> Result<(), Violation> {
        let (top, here) = context::with(|c| (c.driver_frame.get(), c.ddi_frame.get()));
        // Without frame pointers both are zero.
        // CAST: a distance within one stack.
        let used = top.saturating_sub(here) as u64;
        if used <= self.deepest.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.deepest.store(used, Ordering::Relaxed);
        if used <= self.options.stack_limit { Ok(()) } else { Err(too_deep(self, used)) }
    }
}

#[cold]
fn too_deep(kernel: &Kernel, used: u64) -> Violation {
    let limit = kernel.options.stack_limit;
    let callback = context::with(|c| c.callback.get());
    let message = format!("{callback} has used {used} bytes of kernel stack, more than {limit}");
    broken(RuleId::Sim07, message)
}
