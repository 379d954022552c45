//! Exceptions: `__try`, `__except` and `__finally` of the driver's own code, as Windows dispatches
//! them on x64 (CON: x64 exception handling; DDI: ntddk, exceptions).
//!
//! First the frames between the exception and the host's call into the driver are searched for a
//! filter that takes it; then those below it are unwound, their cleanup is run, and the driver goes
//! on behind its `__except`. An exception that nobody takes is the end of the machine, and one that
//! would have to leave through the host is such a one.

// UNSAFETY: calls the driver's handlers with structures that they read, and writes registers.

use std::ffi::c_void;

use super::Instance;
use super::fault::{Extended, Frame, RBP, RSP};
use super::unwind::{self, Handler, Stack, State};

/// Frames that are looked at.
const DEPTH: usize = 64;

/// EXCEPTION_NONCONTINUABLE, EXCEPTION_UNWINDING, EXCEPTION_TARGET_UNWIND.
const NOT_CONTINUABLE: u32 = 1;
const UNWINDING: u32 = 2;
const TARGET: u32 = 0x20;

/// EXCEPTION_DISPOSITION: go on where it happened, or with the next handler.
const CONTINUE_EXECUTION: i32 = 0;
const CONTINUE_SEARCH: i32 = 1;

/// EXCEPTION_RECORD.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub code: u32,
    flags: u32,
    nested: *mut c_void,
    address: u64,
    count: u32,
    information: [u64; 15],
}

const _: () = assert!(size_of::<Record>() == 0x98);

impl Record {
    /// An exception by the processor, at an instruction.
    pub(super) fn fault(code: u32, address: u64, parameters: &[u64]) -> Self {
        let mut information = [0; 15];
        for (to, from) in information.iter_mut().zip(parameters) {
            *to = *from;
        }
        // CAST: at most two.
        let count = parameters.len() as u32;
        Self { code, flags: 0, nested: std::ptr::null_mut(), address, count, information }
    }

    /// One that the driver or a function of the kernel raises: there is no going back.
    pub(super) fn raised(code: u32, address: u64) -> Self {
        Self { flags: NOT_CONTINUABLE, ..Self::fault(code, address, &[]) }
    }
}

/// CONTEXT, of which only the integer registers are filled in.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Registers {
    home: [u64; 6],
    flags: u32,
    mxcsr: u32,
    segments: [u16; 6],
    eflags: u32,
    debug: [u64; 6],
    integer: [u64; 16],
    rip: u64,
    rest: [u8; 0x4D0 - 0x100],
}

const _: () = assert!(std::mem::offset_of!(Registers, integer) == 0x78);
const _: () = assert!(size_of::<Registers>() == 0x4D0);

/// DISPATCHER_CONTEXT, and behind it what this host's `__C_specific_handler` found.
#[repr(C)]
#[derive(Debug)]
struct Dispatcher {
    control: u64,
    base: u64,
    function: *const super::tables::Function,
    frame: u64,
    target: u64,
    context: *mut Registers,
    handler: u64,
    data: u64,
    history: *const c_void,
    scope: u32,
    fill: u32,
    found: Option<Scope>,
}

const _: () = assert!(std::mem::offset_of!(Dispatcher, scope) == 0x48);

/// EXCEPTION_POINTERS.
#[repr(C)]
struct Pointers {
    record: *mut Record,
    context: *mut Registers,
}

/// An entry of a scope table, RVAs.
#[derive(Clone, Copy, Debug)]
struct Scope {
    index: u32,
    begin: u32,
    end: u32,
    /// The filter, 1 for one that takes everything, or the cleanup.
    routine: u32,
    /// Where the code of `__except` begins; zero for a cleanup.
    jump: u32,
}

/// How the driver goes on.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nobody took the exception.
    Unhandled,
    /// A filter changed what this host cannot.
    Unknown,
    /// With these registers: behind `__except`, or where a filter says.
    Resumed(Frame),
}

/// A frame on the way, with an RVA in the instruction that it is at.
#[derive(Clone, Copy, Debug)]
struct Level {
    state: State,
    probe: u32,
}

/// Dispatches an exception of the driver that runs on this thread. `frame` is where it happened;
/// `called` says that RIP is a return address already.
pub(super) fn dispatch(
    instance: &Instance,
    bottom: usize,
    frame: &Frame,
    extended: &mut Extended,
    record: &mut Record,
    called: bool,
) -> Outcome {
    let mut registers = frame.registers.map(Some);
    registers[RSP] = Some(frame.rsp());
    registers[RBP] = Some(frame.rbp);
    let state =
        State { rip: frame.rip, rsp: frame.rsp(), registers, vectors: extended.xmm.map(Some) };
    let mut context = context_of(frame);
    let mut walk = Walk {
        instance,
        stack: Stack { low: frame.rsp(), high: bottom as u64 },
        context: &raw mut context,
        first: !called,
    };
    let Some(start) = walk.level(state) else { return Outcome::Unhandled };
    let found = walk.search(start, record);
    let (target, scope) = match found {
        Search::Nobody => return Outcome::Unhandled,
        Search::Again if record.flags & NOT_CONTINUABLE != 0 => return Outcome::Unhandled,
        Search::Again => {
            return continued(frame, &context).map_or(Outcome::Unknown, Outcome::Resumed);
        }
        Search::Taken(target, scope) => (target, scope),
    };
    walk.first = !called;
    let Some(state) = walk.unwind(start, record, target, scope) else { return Outcome::Unhandled };
    resume(instance, frame, extended, record, state, scope)
}

enum Search {
    Nobody,
    Again,
    /// By the function with this RSP.
    Taken(u64, Scope),
}

struct Walk<'w> {
    instance: &'w Instance,
    stack: Stack,
    /// Handlers and filters may change it.
    context: *mut Registers,
    /// Whether RIP is the instruction itself, and not behind a call.
    first: bool,
}

impl Walk<'_> {
    /// A frame of the driver's; `None` outside the image.
    fn level(&self, state: State) -> Option<Level> {
        // CAST: a 64-bit machine.
        let rva = self.instance.mapping().rva(state.rip as usize)?;
        Some(Level { state, probe: if self.first { rva } else { rva.wrapping_sub(1) } })
    }

    /// The next frame outwards.
    fn outer(&mut self, level: Level) -> Option<Level> {
        // CAST: a 64-bit machine.
        let rva = self.instance.mapping().rva(level.state.rip as usize)?;
        let state = unwind::caller(self.instance, &self.stack, level.state, rva, level.probe)?;
        self.first = false;
        (state.rsp > level.state.rsp).then(|| self.level(state)).flatten()
    }

    fn search(&mut self, start: Level, record: &mut Record) -> Search {
        let mut next = Some(start);
        for _ in 0..DEPTH {
            let Some(level) = next else { break };
            let handler = unwind::handler(self.instance, &level.state, level.probe);
            if let Some(handler) = handler.filter(|handler| handler.filters) {
                let (answer, found) = self.ask(level, &handler, record, None);
                if let Some(scope) = found {
                    return Search::Taken(level.state.rsp, scope);
                }
                if answer == CONTINUE_EXECUTION {
                    return Search::Again;
                }
            }
            next = self.outer(level);
        }
        Search::Nobody
    }

    /// Runs the cleanup of all frames up to the target; the state of the target's.
    fn unwind(
        &mut self,
        start: Level,
        record: &mut Record,
        target: u64,
        scope: Scope,
    ) -> Option<State> {
        record.flags |= UNWINDING;
        let mut level = start;
        for _ in 0..DEPTH {
            let last = level.state.rsp == target;
            if last {
                record.flags |= TARGET;
            }
            let handler = unwind::handler(self.instance, &level.state, level.probe);
            if let Some(handler) = handler.filter(|handler| handler.cleans) {
                self.ask(level, &handler, record, last.then_some(scope.index));
            }
            if last {
                return Some(level.state);
            }
            level = self.outer(level)?;
        }
        None
    }

    /// Calls a handler. `limit`: which scope takes the exception.
    fn ask(
        &self,
        level: Level,
        handler: &Handler,
        record: &mut Record,
        limit: Option<u32>,
    ) -> (i32, Option<Scope>) {
        let base = self.instance.mapping().start() as u64;
        let mut dispatcher = Dispatcher {
            control: base + u64::from(level.probe),
            base,
            function: &raw const handler.function,
            frame: handler.frame,
            target: 0,
            context: self.context,
            handler: base + u64::from(handler.routine),
            data: base + u64::from(handler.data),
            history: std::ptr::null(),
            scope: 0,
            fill: limit.map_or(u32::MAX, |index| index),
            found: None,
        };
        type Routine =
            unsafe extern "win64" fn(*mut Record, u64, *mut Registers, *mut Dispatcher) -> i32;
        // CAST: a 64-bit machine.
        let routine: *const () = std::ptr::with_exposed_provenance(dispatcher.handler as usize);
        // SAFETY: the image's unwind data names it as a handler; if it is no code the call faults.
        let routine: Routine = unsafe { std::mem::transmute(routine) };
        // SAFETY: structures that live until it returns.
        let answer = unsafe { routine(record, handler.frame, self.context, &raw mut dispatcher) };
        (answer, dispatcher.found)
    }
}

/// `__C_specific_handler`: looks for the scope that the exception happened in, asks its filter, or
/// runs its cleanup.
///
/// # Safety
/// Called by [`Walk::ask`], perhaps through a routine of the driver's, with its arguments.
pub(super) unsafe extern "win64" fn c_specific_handler(
    record: *mut Record,
    frame: u64,
    context: *mut c_void,
    dispatcher: *mut c_void,
) -> i32 {
    let kernel = super::exports::kernel("__C_specific_handler");
    let Some(instance) = kernel.image.instance() else { return CONTINUE_SEARCH };
    // SAFETY: the dispatcher's, by the caller's promise.
    let dispatcher = unsafe { &mut *dispatcher.cast::<Dispatcher>() };
    // SAFETY: as above.
    let unwinding = unsafe { (*record).flags } & UNWINDING != 0;
    // CAST: an image is smaller than 4 GiB.
    let (at, table) =
        ((dispatcher.control - dispatcher.base) as u32, (dispatcher.data - dispatcher.base) as u32);
    let address =
        |rva: u32| std::ptr::with_exposed_provenance::<()>(dispatcher.base as usize + rva as usize);
    while let Some(scope) = scope(instance, table, dispatcher.scope) {
        dispatcher.scope += 1;
        if !(scope.begin..scope.end).contains(&at) {
            continue;
        }
        if unwinding {
            if scope.index == dispatcher.fill {
                break;
            }
            if scope.jump == 0 {
                // SAFETY: the scope table names it as a cleanup.
                let cleanup: unsafe extern "win64" fn(u8, u64) =
                    unsafe { std::mem::transmute(address(scope.routine)) };
                // SAFETY: it is abnormal termination, of this frame.
                unsafe { cleanup(1, frame) };
            }
            continue;
        }
        if scope.jump == 0 {
            continue;
        }
        let answer = if scope.routine == 1 {
            1
        } else {
            let mut pointers = Pointers { record, context: context.cast() };
            // SAFETY: the scope table names it as a filter.
            let filter: unsafe extern "win64" fn(*mut Pointers, u64) -> i32 =
                unsafe { std::mem::transmute(address(scope.routine)) };
            // SAFETY: structures that live until it returns, and its frame.
            unsafe { filter(&raw mut pointers, frame) }
        };
        match answer {
            0 => {}
            1.. => {
                dispatcher.found = Some(scope);
                return CONTINUE_SEARCH;
            }
            _ => return CONTINUE_EXECUTION,
        }
    }
    CONTINUE_SEARCH
}

/// An entry of the scope table at an RVA.
fn scope(instance: &Instance, table: u32, index: u32) -> Option<Scope> {
    let parsed = instance.parsed();
    if index >= parsed.u32(table)? {
        return None;
    }
    let at = table.checked_add(4)?.checked_add(index.checked_mul(16)?)?;
    let word = |number: u32| parsed.u32(at.checked_add(number * 4)?);
    let (begin, end, routine, jump) = (word(0)?, word(1)?, word(2)?, word(3)?);
    Some(Scope { index, begin, end, routine, jump })
}

fn context_of(frame: &Frame) -> Registers {
    let mut integer = frame.registers;
    (integer[RSP], integer[RBP]) = (frame.rsp(), frame.rbp);
    Registers {
        home: [0; 6],
        // CONTEXT_CONTROL and CONTEXT_INTEGER on x64.
        flags: 0x10_0003,
        mxcsr: 0x1F80,
        segments: [0; 6],
        // CAST: the low half.
        eflags: frame.flags as u32,
        debug: [0; 6],
        integer,
        rip: frame.rip,
        rest: [0; 0x4D0 - 0x100],
    }
}

/// The flags that a filter may change: those of arithmetic, and the direction.
const FLAGS: u32 = 0xCD5;

/// The registers with which a filter lets the driver go on; `None` if it changed others than
/// integer registers, RIP and flags.
fn continued(frame: &Frame, context: &Registers) -> Option<Frame> {
    let mut carried = context_of(frame);
    (carried.integer, carried.rip) = (context.integer, context.rip);
    carried.eflags = carried.eflags & !FLAGS | context.eflags & FLAGS;
    let moved = context.integer[RSP] != frame.rsp();
    (carried == *context && !moved).then(|| Frame {
        registers: context.integer,
        rbp: context.integer[RBP],
        rip: context.rip,
        info: frame.info,
        address: frame.rsp(),
        flags: context.eflags.into(),
    })
}

/// The registers with which the code of `__except` begins.
fn resume(
    instance: &Instance,
    frame: &Frame,
    extended: &mut Extended,
    record: &Record,
    state: State,
    scope: Scope,
) -> Outcome {
    if !instance.mapping().range().contains(&(instance.mapping().start() + scope.jump as usize)) {
        return Outcome::Unhandled;
    }
    let mut registers = state.registers.map(|register| register.unwrap_or(0));
    registers[0] = record.code.into();
    for (to, from) in extended.xmm.iter_mut().zip(state.vectors) {
        *to = from.unwrap_or(*to);
    }
    Outcome::Resumed(Frame {
        registers,
        rbp: registers[RBP],
        rip: instance.mapping().start() as u64 + u64::from(scope.jump),
        info: frame.info,
        address: state.rsp,
        flags: frame.flags,
    })
}
