//! A driver that does not come back: a loop without an end.
//!
//! Each thread that runs image code has a timer that counts the processor time of this thread, so
//! that a busy machine does not matter. If one call into the driver goes on for [`PATIENCE`] ticks,
//! the machine stops at the place where the driver is, as at a fault.

// UNSAFETY: timers, and a signal handler.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::fault::Fault;
use super::region;
use crate::machine::{DISPATCH, Kernel, context};
use crate::verifier::Violation;

/// The signal that ticks.
pub(super) const SIGNAL: libc::c_int = libc::SIGVTALRM;

/// Processor time between two ticks, nanoseconds. Tests need not wait long.
const TICK: i64 = if cfg!(test) { 20_000_000 } else { 500_000_000 };
/// Ticks that a call into the driver may take.
const PATIENCE: u32 = 20;
/// Between two ticks when the time is up, but the host is at work for the driver.
const SOON: i64 = 1_000_000;

/// What was seen of the thread at the last tick.
#[derive(Debug)]
struct Watch {
    /// Calls into the driver so far.
    calls: Cell<u64>,
    /// Exceptions after which the driver went on.
    exceptions: Cell<u64>,
    /// The calls at the last tick, and the machine's crossings and those exceptions.
    seen: Cell<(u64, u64)>,
    /// Ticks in the same call.
    ticks: Cell<u32>,
    /// Whether the timer ticks fast.
    hurries: Cell<bool>,
}

thread_local! {
    static WATCH: Watch = const {
        Watch {
            calls: Cell::new(0),
            exceptions: Cell::new(0),
            seen: Cell::new((0, 0)),
            ticks: Cell::new(0),
            hurries: Cell::new(false),
        }
    };
}

/// A call into the driver begins.
#[inline]
pub(super) fn call_begins() {
    WATCH.with(|watch| watch.calls.set(watch.calls.get() + 1));
}

/// The driver goes on after an exception; whether its time is up. A loop of exceptions spends next
/// to none of its time in the driver's code, so that no tick may ever find it there.
pub(super) fn goes_on() -> bool {
    WATCH.with(|watch| {
        watch.exceptions.set(watch.exceptions.get() + 1);
        watch.hurries.get() && watch.seen.get().0 == watch.calls.get()
    })
}

/// The calling thread's timer.
#[derive(Debug)]
pub(super) struct Timer(libc::timer_t);

impl Timer {
    /// Starts it; `None` if the system has none to give, and then nobody watches.
    pub(super) fn start() -> Option<Self> {
        // SAFETY: plain data for which zero is a value.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        // SAFETY: takes no arguments.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = std::ptr::null_mut();
        let clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: valid pointers; the signal has a handler, which is what this timer sends.
        if unsafe { libc::timer_create(clock, &raw mut event, &raw mut timer) } != 0 {
            return None;
        }
        TIMER.set(timer);
        set(timer, TICK);
        Some(Self(timer))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        TIMER.set(std::ptr::null_mut());
        // SAFETY: made in `start`, deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

thread_local! {
    static TIMER: Cell<libc::timer_t> = const { Cell::new(std::ptr::null_mut()) };
}

/// Lets a timer tick after each `nanoseconds`. Callable in a signal handler.
fn set(timer: libc::timer_t, nanoseconds: i64) {
    let interval = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let value = libc::itimerspec { it_interval: interval, it_value: interval };
    // SAFETY: a timer of this thread and a valid value. If it fails, nobody watches.
    unsafe { libc::timer_settime(timer, 0, &raw const value, std::ptr::null_mut()) };
}

/// The signal handler: counts, and if the time is up goes to the driver's end.
pub(super) unsafe extern "C" fn on_tick(
    signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the system's argument to a handler of this kind.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    // CAST: registers are 64 bits wide, whatever their sign.
    let rip = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    let in_image = region::contains(rip);
    let timer = TIMER.get();
    if timer.is_null() {
        return;
    }
    let (up, hurried) = WATCH.with(|watch| (watch.tick(in_image), watch.hurries.get()));
    let hurries = up && !in_image;
    if hurries != hurried {
        WATCH.with(|watch| watch.hurries.set(hurries));
        set(timer, if hurries { SOON } else { TICK });
    }
    if up && in_image {
        let fault = Fault { signal, address: rip as u64, trap: 0, error: 0 };
        // SAFETY: the thread was in the driver's code, on a stack where that can run on.
        unsafe { fault.divert(&mut context.uc_mcontext.gregs, None) };
    }
}

impl Watch {
    /// Whether the time is up.
    fn tick(&self, in_image: bool) -> bool {
        let Some(kernel) = context::current() else {
            self.ticks.set(0);
            return false;
        };
        let crossings = kernel.events.load(Ordering::Relaxed);
        let now = (self.calls.get(), crossings + self.exceptions.get());
        let before = self.seen.replace(now);
        if now.0 != before.0 || context::with(|c| c.driver_frame.get()) == 0 {
            self.ticks.set(0);
            return false;
        }
        // What the host does for one call of the driver may take its time.
        if in_image || now.1 != before.1 {
            self.ticks.set(self.ticks.get() + 1);
        }
        self.ticks.get() >= PATIENCE
    }
}

/// What is wrong with the driver.
pub(super) fn violation(kernel: &Kernel) -> Violation {
    // CAST: positive.
    let seconds = TICK as u64 * u64::from(PATIENCE) / 1_000_000_000;
    let callback = context::with(|c| c.callback.get());
    let violation = super::report::fault(format!(
        "{callback} has used {seconds} s of processor time and does not come back: a loop without \
         an end"
    ));
    // Below DISPATCH_LEVEL Windows lets it run for ever.
    if kernel.irql() < DISPATCH { violation } else { violation.code(0x133, [0, 0, 0, 0]) }
}
