//! Faults of image code: from the signal to ordinary code on the task's own stack.
//!
//! The signal handler decides by addresses alone whether the fault is a driver's. If so it puts
//! what it knows on the task's stack, points RIP at [`trampoline`] and returns. The trampoline
//! saves general registers, flags and the x87 and SSE state, lets [`super::step::step`] do the work
//! as any host function would (it may wait, run interrupts or stop the machine), restores them and
//! goes on behind the instruction. All state lives on the task's stack, so a scheduler may switch
//! tasks meanwhile. Windows code keeps nothing below its stack pointer, so that place is free.

// UNSAFETY: signal handling, raw stack memory, and a routine written in assembly.

use std::cell::Cell;
use std::sync::OnceLock;

use super::last_words::{self, Place};
use super::region;
use super::step;
use super::watchdog::{self, Timer};
use crate::machine::context;

/// Registers by their x86 number, and where the fault was. Lies on the task's stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// RAX, RCX, RDX, RBX, two words that are not used, RSI, RDI, R8 to R15.
    pub registers: [u64; 16],
    /// Signal, trap number (from bit 8) and error code (from bit 32).
    pub info: u64,
    /// The address that the signal names.
    pub address: u64,
    pub flags: u64,
    /// With `rip`, a frame as a called function has it: the stack walk begins here.
    pub rbp: u64,
    /// The faulting instruction; when the trampoline returns, where to go on.
    pub rip: u64,
}

/// RSP and RBP by number: [`Frame`] has them elsewhere.
pub(super) const RSP: usize = 4;
pub(super) const RBP: usize = 5;

const REGISTERS: usize = 128;
const BELOW_FLAGS: usize = REGISTERS + 16;
const PAIR: usize = REGISTERS + 24;

const _: () = assert!(std::mem::offset_of!(Frame, info) == REGISTERS);
const _: () = assert!(std::mem::offset_of!(Frame, flags) == BELOW_FLAGS);
const _: () = assert!(std::mem::offset_of!(Frame, rbp) == PAIR);

impl Frame {
    /// The stack pointer at the fault.
    pub(super) fn rsp(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64 + size_of::<Self>() as u64
    }

    /// Where a stack walk begins.
    pub(super) fn pair(&self) -> usize {
        (&raw const self.rbp).expose_provenance()
    }

    /// The signal.
    pub(super) fn signal(&self) -> i32 {
        // CAST: one byte.
        i32::from(self.info as u8)
    }

    /// Whether the fault was an instruction fetch.
    pub(super) fn is_fetch(&self) -> bool {
        self.trap() == PAGE_FAULT && self.error() & FETCH != 0
    }

    /// Whether the fault was a write.
    pub(super) fn is_write(&self) -> bool {
        self.error() & 2 != 0
    }

    /// Whether an address of memory is what is wrong.
    pub(super) fn is_page_fault(&self) -> bool {
        self.trap() == PAGE_FAULT
    }

    /// Whether it is `int 3`, behind which RIP is.
    pub(super) fn is_breakpoint(&self) -> bool {
        self.trap() == BREAKPOINT
    }

    fn trap(&self) -> u64 {
        self.info >> 8 & 0xFF
    }

    fn error(&self) -> u64 {
        self.info >> 32
    }
}

/// The processor's state that FXSAVE writes.
#[repr(C, align(16))]
#[derive(Debug)]
pub(super) struct Extended {
    header: [u8; 160],
    pub xmm: [u128; 16],
    rest: [u8; 96],
}

const _: () = assert!(size_of::<Extended>() == 512);

#[cfg(test)]
impl Default for Extended {
    fn default() -> Self {
        Self { header: [0; 160], xmm: [0; 16], rest: [0; 96] }
    }
}

/// Vector 3.
const BREAKPOINT: u64 = 3;
/// Vector 14, and the bit of its error code for an instruction fetch.
const PAGE_FAULT: u64 = 14;
const FETCH: u64 = 0x10;

const SIGNALS: [libc::c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// What was installed before.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

/// A handler of the three-argument kind.
type Handler = unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs the handlers for the process; once.
pub(super) fn install() {
    BEFORE.get_or_init(|| {
        handle(watchdog::SIGNAL, watchdog::on_tick, libc::SA_RESTART);
        SIGNALS.map(|signal| handle(signal, on_signal, libc::SA_NODEFER))
    });
}

/// Installs a handler that does only what a handler may; what was there before.
fn handle(signal: libc::c_int, handler: Handler, flags: libc::c_int) -> libc::sigaction {
    // SAFETY: plain data for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: valid pointers; the handler is a function of this kind.
    let failed = unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    assert!(failed == 0, "the system lets a process handle its faults");
    before
}

/// Passes a fault that is not a driver's to whoever handled it before: the instruction runs again.
fn pass_on(signal: libc::c_int) {
    let index = SIGNALS.iter().position(|&known| known == signal);
    let before = BEFORE.get().zip(index).map(|(all, index)| &raw const all[index]);
    if let Some(before) = before {
        // SAFETY: what the system gave us; callable in a handler.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
}

/// Faults this close to the stack pointer are stack overflows: nothing can be put there.
const NEAR: u64 = 64 << 10;

unsafe extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the system's arguments to a handler of this kind.
    let info = unsafe { &*info };
    // SAFETY: the signals that this handles come with an address.
    let address = unsafe { info.si_addr() }.addr() as u64;
    // SAFETY: as above.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    // CAST: registers are 64 bits wide, whatever their sign.
    let [rip, rsp, error, trap] = [libc::REG_RIP, libc::REG_RSP, libc::REG_ERR, libc::REG_TRAPNO]
        .map(|index| registers[index as usize] as u64);
    let fault = Fault { signal, address, trap, error };
    let fetch = trap == PAGE_FAULT && error & FETCH != 0;
    // An image may lie beside the stack.
    let near = address.abs_diff(rsp) < NEAR && !region::contains(address as usize);
    let overflow = trap == PAGE_FAULT && !fetch && near;
    let end = |place| {
        last_words::say(place, rip, address, rsp);
        pass_on(signal);
    };
    if overflow {
        return end(Place::Stack);
    }
    if region::contains(rip as usize) {
        // SAFETY: the fault is the driver's, and its stack has room.
        return unsafe { fault.divert(registers, None) };
    }
    if !fetch {
        return end(Place::Host);
    }
    let stack: *const u64 = std::ptr::with_exposed_provenance(rsp as usize);
    // SAFETY: a call has just written there, or the driver's stack is damaged: then this faults,
    // and the process ends.
    let caller = unsafe { stack.read() };
    if region::contains(caller as usize) || super::trap::contains(rip) {
        // SAFETY: as above. The return address is on the stack already.
        unsafe { fault.divert(registers, Some(rsp + 8)) }
    } else if in_driver() {
        // A jump or a return to where no code is.
        // SAFETY: as above.
        unsafe { fault.divert(registers, None) }
    } else {
        end(Place::Host)
    }
}

/// Whether the calling thread runs driver code, as far as the host knows.
fn in_driver() -> bool {
    context::current().is_some()
        && context::with(|c| c.ddi.get().is_none() && c.driver_frame.get() != 0)
}

type Registers = [libc::greg_t; 23];

/// What a signal says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub signal: libc::c_int,
    pub address: u64,
    pub trap: u64,
    pub error: u64,
}

impl Fault {
    /// Lets the thread go on in [`trampoline`]. `called` is where the stack pointer was before a
    /// call that faulted: its return address is what [`Frame::rip`] becomes.
    ///
    /// # Safety
    /// The registers are those of driver code, whose stack has room below the stack pointer.
    pub(super) unsafe fn divert(self, registers: &mut Registers, called: Option<u64>) {
        // CAST: registers are 64 bits wide, whatever their sign.
        let [rip, rsp, rbp, flags] = [libc::REG_RIP, libc::REG_RSP, libc::REG_RBP, libc::REG_EFL]
            .map(|index| registers[index as usize] as u64);
        let top = called.unwrap_or(rsp);
        let start: *mut u64 = std::ptr::with_exposed_provenance_mut((top - 40) as usize);
        // CAST: a small number.
        let info = self.signal as u64 | self.trap << 8 | self.error << 32;
        for (index, value) in [info, self.address, flags, rbp, rip].into_iter().enumerate() {
            // The return address of a call stays where it is; where it went is in `address`.
            if index == 4 && called.is_some() {
                break;
            }
            // SAFETY: below the stack pointer of Windows code, which keeps nothing there; there
            // is room by the caller's promise.
            unsafe { start.wrapping_add(index).write(value) };
        }
        // CAST: addresses of a 64-bit machine.
        registers[libc::REG_RSP as usize] = (top - 40) as i64;
        registers[libc::REG_RIP as usize] = trampoline as *const () as i64;
    }
}

/// Saves the processor's state, calls [`step::step`] and goes on with the frame that it returns.
#[unsafe(naked)]
unsafe extern "C" fn trampoline() {
    std::arch::naked_asm!(
        "lea rsp, [rsp - {registers}]",
        "mov [rsp], rax",
        "mov [rsp + 8], rcx",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rbx",
        "mov [rsp + 48], rsi",
        "mov [rsp + 56], rdi",
        "mov [rsp + 64], r8",
        "mov [rsp + 72], r9",
        "mov [rsp + 80], r10",
        "mov [rsp + 88], r11",
        "mov [rsp + 96], r12",
        "mov [rsp + 104], r13",
        "mov [rsp + 112], r14",
        "mov [rsp + 120], r15",
        "cld",
        "mov rbx, rsp",
        "lea rbp, [rsp + {pair}]",
        "and rsp, -64",
        "sub rsp, 512",
        "fxsave64 [rsp]",
        "mov rdi, rbx",
        "mov rsi, rsp",
        "call {step}",
        "fxrstor64 [rsp]",
        "mov rsp, rax",
        "mov rax, [rsp]",
        "mov rcx, [rsp + 8]",
        "mov rdx, [rsp + 16]",
        "mov rbx, [rsp + 24]",
        "mov rsi, [rsp + 48]",
        "mov rdi, [rsp + 56]",
        "mov r8, [rsp + 64]",
        "mov r9, [rsp + 72]",
        "mov r10, [rsp + 80]",
        "mov r11, [rsp + 88]",
        "mov r12, [rsp + 96]",
        "mov r13, [rsp + 104]",
        "mov r14, [rsp + 112]",
        "mov r15, [rsp + 120]",
        "lea rsp, [rsp + {below_flags}]",
        "popfq",
        "pop rbp",
        "ret",
        registers = const REGISTERS,
        pair = const PAIR,
        below_flags = const BELOW_FLAGS,
        step = sym step::step,
    )
}

/// Bytes of a thread's signal stack.
const STACK: usize = 64 << 10;

/// A signal stack of the calling thread's own, since the standard library's may be too small, and
/// its watchdog.
struct SignalStack {
    memory: *mut libc::c_void,
    watchdog: Option<Timer>,
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        drop(self.watchdog.take());
        let off = libc::stack_t {
            ss_sp: std::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: STACK,
        };
        // SAFETY: a valid description; the thread is about to end and runs no driver any more.
        unsafe { libc::sigaltstack(&raw const off, std::ptr::null_mut()) };
        // SAFETY: mapped in `give_stack`, and not in use any more.
        unsafe { libc::munmap(self.memory, STACK) };
    }
}

thread_local! {
    static READY: Cell<bool> = const { Cell::new(false) };
    static SIGNAL_STACK: Cell<Option<SignalStack>> = const { Cell::new(None) };
}

/// Makes the calling thread ready for a call of image code.
#[inline]
pub(crate) fn prepare_thread() {
    watchdog::call_begins();
    if !READY.get() {
        give_stack();
    }
}

#[cold]
fn give_stack() {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at a place of the system's choice.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), STACK, protection, flags, -1, 0) };
    assert!(memory != libc::MAP_FAILED, "no memory for a signal stack");
    let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: STACK };
    // SAFETY: memory of this size that lives until the thread ends.
    let failed = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    assert!(failed == 0, "the system takes a signal stack");
    SIGNAL_STACK.set(Some(SignalStack { memory, watchdog: Timer::start() }));
    READY.set(true);
}
