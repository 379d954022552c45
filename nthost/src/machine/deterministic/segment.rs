//! Stacks: a task's code runs on segments, each a coroutine on a pooled stack of its own.
//!
//! The first segment of a task holds the host's frames, or those of the application. Every call
//! into the driver gets a new segment, on which lie the driver's frames and above them the host's
//! own that the driver called. So the frames of driver and host alternate by segment, and a
//! machine can be abandoned cleanly: on each segment, from the last one to the first, the host's
//! frames are unwound, up to the point where the driver called (`guarded`); below that there are
//! only driver frames, which own nothing but what the machine owns, and the segment is reset
//! without running them. Nothing ever unwinds through driver frames, and the host leaks nothing.

// UNSAFETY: suspended coroutines are reset, and a call is handed to another stack by address.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::coroutine::{Coroutine, CoroutineResult, DefaultStack, Yielder};

/// What a suspended segment is told when it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Go,
    /// The machine is abandoned: unwind the host's frames.
    Abandon,
}

/// Why a segment was suspended.
pub(super) enum Suspended {
    /// The scheduler has something else to do first.
    Point,
    /// The task goes on in a call of the driver, on a new segment.
    Call(Call),
    /// The host's frames are unwound; the driver's below must never run again.
    Unwound,
    /// The machine is abandoned, but a destructor on the way wanted to go on with it.
    Stuck,
}

/// How a segment ended by itself.
pub(super) enum Ended {
    Returned,
    /// Unwound to the bottom.
    Abandoned,
    /// Its code panicked.
    Panicked(Box<dyn Any + Send>),
}

type Body = Coroutine<Command, Suspended, Ended>;
pub(super) type Suspender = Yielder<Command, Suspended>;

/// A call of the driver, in a frame of the segment that waits for its end.
pub(super) struct Call(*mut dyn FnMut());

impl Call {
    /// # Safety
    /// What `call` borrows lives until the segment that [`Segment::call`] makes of it has ended
    /// or is reset.
    pub(super) unsafe fn new(call: &mut dyn FnMut()) -> Self {
        let call: *mut dyn FnMut() = call;
        // SAFETY: only the lifetime changes, for which the caller vouches.
        Self(unsafe { std::mem::transmute::<*mut dyn FnMut(), *mut (dyn FnMut() + 'static)>(call) })
    }
}

/// Payload of the unwinding of an abandoned machine.
struct Abandoned;

/// Bytes of a stack: an application thread's, as that of other schedulers; the kernel's, roomy
/// enough for unoptimised host code.
const APPLICATION: usize = 4 << 20;
const KERNEL: usize = 512 << 10;

/// Which pool a stack comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Application,
    Kernel,
}

/// Stacks of this thread that are not in use.
#[derive(Default)]
struct Pool {
    application: Vec<DefaultStack>,
    kernel: Vec<DefaultStack>,
}

/// Stacks kept of each size.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

impl Pool {
    fn of(&mut self, size: Size) -> &mut Vec<DefaultStack> {
        match size {
            Size::Application => &mut self.application,
            Size::Kernel => &mut self.kernel,
        }
    }
}

fn take(size: Size) -> DefaultStack {
    let bytes = match size {
        Size::Application => APPLICATION,
        Size::Kernel => KERNEL,
    };
    let pooled = POOL.with_borrow_mut(|pool| pool.of(size).pop());
    pooled.unwrap_or_else(|| DefaultStack::new(bytes).expect("the system has no stack to give"))
}

fn give_back(size: Size, stack: DefaultStack) {
    POOL.with_borrow_mut(|pool| {
        let stacks = pool.of(size);
        if stacks.len() < KEPT {
            stacks.push(stack);
        }
    });
}

/// A segment that is not running.
pub(super) struct Segment {
    body: Body,
    /// For the code on it; null until it has run.
    pub suspender: *const Suspender,
    size: Size,
}

impl Segment {
    /// A task's first segment. `started` is told the way to suspend it as soon as it runs.
    pub(super) fn new(
        size: Size,
        started: impl Fn(&Suspender) + 'static,
        body: impl FnOnce() + 'static,
    ) -> Self {
        let body = Coroutine::with_stack(take(size), move |suspender: &Suspender, command| {
            started(suspender);
            run(command, body)
        });
        Self { body, suspender: std::ptr::null(), size }
    }

    /// The segment of a call of the driver.
    pub(super) fn call(started: impl Fn(&Suspender) + 'static, call: Call) -> Self {
        Self::new(Size::Kernel, started, move || {
            let call = call;
            // SAFETY: `Call::new`'s caller keeps it alive; nobody else calls it.
            let call = unsafe { &mut *call.0 };
            call();
        })
    }

    /// Runs it until it is suspended or ends.
    #[inline]
    pub(super) fn resume(&mut self, command: Command) -> CoroutineResult<Suspended, Ended> {
        self.body.resume(command)
    }

    /// Gives its stack back. What still lies on it is forgotten, not dropped: driver frames.
    pub(super) fn end(mut self) {
        if !self.body.done() {
            if self.body.started() {
                // SAFETY: on it lie only driver frames, which own nothing outside their machine,
                // or it is stuck in a destructor of an abandoned machine and leaks.
                unsafe { self.body.force_reset() };
            } else {
                // Only drops what it would have run.
                self.body.force_unwind();
            }
        }
        give_back(self.size, self.body.into_stack());
    }
}

fn run(command: Command, body: impl FnOnce()) -> Ended {
    if command == Command::Abandon {
        return Ended::Abandoned;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => Ended::Returned,
        Err(payload) if payload.is::<Abandoned>() => Ended::Abandoned,
        Err(payload) => Ended::Panicked(payload),
    }
}

/// Unwinds the host's frames of this segment.
pub(super) fn unwind() -> ! {
    // Not a panic: no hook runs.
    resume_unwind(Box::new(Abandoned))
}

/// Whether a caught payload is that of an abandoned machine.
pub(in crate::machine) fn is_abandonment(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Abandoned>()
}

/// Runs a driver's call into the host; `Err` if the host's frames were unwound because the machine
/// is abandoned. Another panic goes on, to end the process at the border.
#[inline]
pub(super) fn guarded<R>(body: impl FnOnce() -> R) -> Result<R, ()> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => Ok(result),
        Err(payload) if payload.is::<Abandoned>() => Err(()),
        Err(payload) => resume_unwind(payload),
    }
}
