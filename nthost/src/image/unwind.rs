//! Walking the stack of image code by its unwind data (.pdata and .xdata), as Windows does on x64
//! (CON: x64 exception handling, UNWIND_INFO).

// UNSAFETY: reads this thread's own stack.

use super::Instance;
use super::tables::Function;
use crate::verifier::CallStack;

/// Unwind operations.
const PUSH_NONVOLATILE: u8 = 0;
const ALLOCATE_LARGE: u8 = 1;
const ALLOCATE_SMALL: u8 = 2;
const SET_FRAME: u8 = 3;
const SAVE_NONVOLATILE: u8 = 4;
const SAVE_NONVOLATILE_FAR: u8 = 5;
const EPILOGUE: u8 = 6;
const SPARE: u8 = 7;
const SAVE_VECTOR: u8 = 8;
const SAVE_VECTOR_FAR: u8 = 9;
const MACHINE_FRAME: u8 = 10;

/// The function has a handler for exceptions, and one for when it is unwound.
const EXCEPTION_HANDLER: u8 = 1;
const UNWIND_HANDLER: u8 = 2;
/// The unwind data is continued by another function's.
const CHAINED: u8 = 4;

/// RBP by number.
const RBP: usize = 5;

/// What is known of a caller's registers. For the walk of a call stack, registers that nobody saved
/// are unknown at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub rip: u64,
    pub rsp: u64,
    pub registers: [Option<u64>; 16],
    pub vectors: [Option<u128>; 16],
}

/// The part of this thread's stack that driver code may have written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    pub low: u64,
    pub high: u64,
}

/// What a function wants to be called with when there is an exception.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handler {
    /// RVAs of the routine and of its data.
    pub routine: u32,
    pub data: u32,
    /// Whether it handles exceptions, and whether it cleans up.
    pub filters: bool,
    pub cleans: bool,
    /// The address by which the function knows its frame.
    pub frame: u64,
    pub function: Function,
}

impl Stack {
    fn word(&self, address: u64) -> Option<u64> {
        let fits = address.is_multiple_of(8) && address >= self.low && address < self.high;
        let place: *const u64 = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: an aligned word between the driver's innermost frame and the host's call into
        // the driver, both on the live part of this thread's stack.
        fits.then(|| unsafe { place.read() })
    }

    fn vector(&self, address: u64) -> Option<u128> {
        let low = self.word(address)?;
        Some(u128::from(low) | u128::from(self.word(address.checked_add(8)?)?) << 64)
    }
}

/// Walks from the pair of frame pointer and return address at `frame` to the host's call into the
/// driver at `bottom`; `None` if the return address is not in the image.
pub(crate) fn walk(instance: &Instance, frame: usize, bottom: usize) -> Option<CallStack> {
    if frame == 0 || !frame.is_multiple_of(8) || frame >= bottom {
        return None;
    }
    let stack = Stack { low: frame as u64, high: bottom as u64 };
    let mut registers = [None; 16];
    registers[RBP] = stack.word(stack.low);
    let (rip, rsp) = (stack.word(stack.low + 8)?, stack.low + 16);
    let mut state = State { rip, rsp, registers, vectors: [None; 16] };
    let mut found = [0; CallStack::DEPTH];
    for slot in &mut found {
        let Some(rva) = instance.mapping().rva(state.rip as usize) else { break };
        *slot = instance.module().address(rva);
        // One less: a call may be a function's last instruction.
        match caller(instance, &stack, state, rva, rva.wrapping_sub(1)) {
            Some(next) if next.rsp > state.rsp => state = next,
            _ => break,
        }
    }
    (found[0] != 0).then(|| CallStack::of(found))
}

/// The function that an RVA lies in.
fn function(instance: &Instance, rva: u32) -> Option<Function> {
    let functions = &instance.parsed().functions;
    let index = functions.partition_point(|function| function.end <= rva);
    functions.get(index).copied().filter(|function| function.begin <= rva)
}

/// The handler of the function that `state` is in, if its prologue has run; `rva` lies in the
/// instruction that it is at.
pub(super) fn handler(instance: &Instance, state: &State, rva: u32) -> Option<Handler> {
    let parsed = instance.parsed();
    let mut function = function(instance, rva)?;
    let mut ran = rva.checked_sub(function.begin)?;
    // Chains are short; a damaged image might make a ring of them.
    for _ in 0..8 {
        let header = parsed.bytes(function.unwind, 4)?;
        let (flags, prologue, count, frame) = (header[0] >> 3, header[1], header[2], header[3]);
        // Damaged data names no handler. The versions that there are: 1 and 2.
        if ran < u32::from(prologue) || !matches!(header[0] & 7, 1 | 2) {
            return None;
        }
        let behind = 4 + u32::from(count).next_multiple_of(2) * 2;
        let at = function.unwind.checked_add(behind)?;
        if flags & CHAINED != 0 {
            function = chained(instance, at)?;
            ran = u32::MAX;
            continue;
        }
        let frame = match frame & 15 {
            0 => state.rsp,
            register => {
                state.registers[usize::from(register)]?.wrapping_sub(u64::from(frame >> 4) * 16)
            }
        };
        if flags & (EXCEPTION_HANDLER | UNWIND_HANDLER) == 0 {
            return None;
        }
        let routine = parsed.u32(at)?;
        parsed.section(routine).filter(|section| section.execute)?;
        return Some(Handler {
            routine,
            data: at.checked_add(4)?,
            filters: flags & EXCEPTION_HANDLER != 0,
            cleans: flags & UNWIND_HANDLER != 0,
            frame,
            function,
        });
    }
    None
}

/// The entry that continues unwind data, at this RVA.
fn chained(instance: &Instance, at: u32) -> Option<Function> {
    let word = |offset: u32| instance.parsed().u32(at.checked_add(offset)?);
    Some(Function { begin: word(0)?, end: word(4)?, unwind: word(8)? })
}

/// The state in the caller of the function that `state` is in, at `rva`; `probe` lies in the
/// instruction that it is at.
pub(super) fn caller(
    instance: &Instance,
    stack: &Stack,
    mut state: State,
    rva: u32,
    probe: u32,
) -> Option<State> {
    let mut function = function(instance, probe);
    // Chains are short; a damaged image might make a ring of them.
    for _ in 0..8 {
        let Some(Function { begin, unwind, .. }) = function else { break };
        function = undo(instance, stack, &mut state, rva.wrapping_sub(begin), unwind)?;
    }
    state.rip = stack.word(state.rsp)?;
    state.rsp = state.rsp.wrapping_add(8);
    Some(state)
}

/// A function's unwind codes, and where its frame pointer points.
struct Codes<'a> {
    pairs: &'a [u8],
    /// The base of the fixed frame, if the frame pointer is set: registers are saved at offsets
    /// from it, wherever RSP is by now.
    base: Option<u64>,
    /// Register and scaled offset of the frame pointer.
    frame: u8,
}

impl Codes<'_> {
    /// Offset in the prologue, operation and its information.
    fn code(&self, index: usize) -> Option<(u8, u8, u8)> {
        let pair = self.pairs.get(index * 2..index * 2 + 2)?;
        Some((pair[0], pair[1] & 15, pair[1] >> 4))
    }

    fn operand(&self, index: usize) -> Option<u64> {
        let pair = self.pairs.get(index * 2..index * 2 + 2)?;
        Some(u64::from(u16::from_le_bytes([pair[0], pair[1]])))
    }

    fn wide(&self, index: usize) -> Option<u64> {
        Some(self.operand(index)? | self.operand(index + 1)? << 16)
    }

    /// Undoes the operation at an index.
    fn undo(&self, stack: &Stack, state: &mut State, index: usize) -> Option<()> {
        let (_, operation, info) = self.code(index)?;
        let register = usize::from(info);
        let saved =
            |offset: u64, state: &State| self.base.unwrap_or(state.rsp).wrapping_add(offset);
        match operation {
            PUSH_NONVOLATILE => {
                state.registers[register] = Some(stack.word(state.rsp)?);
                state.rsp = state.rsp.wrapping_add(8);
            }
            ALLOCATE_LARGE if info == 0 => {
                state.rsp = state.rsp.wrapping_add(self.operand(index + 1)? * 8);
            }
            ALLOCATE_LARGE => state.rsp = state.rsp.wrapping_add(self.wide(index + 1)?),
            ALLOCATE_SMALL => state.rsp = state.rsp.wrapping_add(u64::from(info) * 8 + 8),
            SET_FRAME => {
                let pointer = state.registers[usize::from(self.frame & 15)]?;
                state.rsp = pointer.wrapping_sub(u64::from(self.frame >> 4) * 16);
            }
            SAVE_NONVOLATILE => {
                let place = saved(self.operand(index + 1)? * 8, state);
                state.registers[register] = stack.word(place);
            }
            SAVE_NONVOLATILE_FAR => {
                let place = saved(self.wide(index + 1)?, state);
                state.registers[register] = stack.word(place);
            }
            SAVE_VECTOR => {
                let place = saved(self.operand(index + 1)? * 16, state);
                state.vectors[register] = stack.vector(place);
            }
            SAVE_VECTOR_FAR => {
                let place = saved(self.wide(index + 1)?, state);
                state.vectors[register] = stack.vector(place);
            }
            EPILOGUE | SPARE => {}
            // A machine frame, or what no compiler writes.
            MACHINE_FRAME | 11.. => return None,
        }
        Some(())
    }
}

/// Undoes the part of a function's prologue that has run, `offset` bytes into the function;
/// returns the function whose data continues this one's.
fn undo(
    instance: &Instance,
    stack: &Stack,
    state: &mut State,
    offset: u32,
    unwind: u32,
) -> Option<Option<Function>> {
    let parsed = instance.parsed();
    let header = parsed.bytes(unwind, 4)?;
    let (flags, prologue, count, frame) = (header[0] >> 3, header[1], header[2], header[3]);
    let pairs = parsed.bytes(unwind.checked_add(4)?, u32::from(count) * 2)?;
    let framed = frame & 15 != 0 && (flags & CHAINED != 0 || offset >= u32::from(prologue));
    let base = match state.registers[usize::from(frame & 15)] {
        Some(pointer) if framed => Some(pointer.wrapping_sub(u64::from(frame >> 4) * 16)),
        _ => None,
    };
    let codes = Codes { pairs, base, frame };
    let mut index = 0;
    while index < usize::from(count) {
        let (at, operation, info) = codes.code(index)?;
        if u32::from(at) <= offset {
            codes.undo(stack, state, index)?;
        }
        index += match (operation, info) {
            (ALLOCATE_LARGE, 0) | (SAVE_NONVOLATILE | SAVE_VECTOR, _) => 2,
            (ALLOCATE_LARGE, _) | (SAVE_NONVOLATILE_FAR | SAVE_VECTOR_FAR, _) => 3,
            (SPARE, _) => 2,
            _ => 1,
        };
    }
    if flags & CHAINED == 0 {
        return Some(None);
    }
    // The chained entry follows the codes, whose number is rounded up to even.
    let at = unwind.checked_add(4 + u32::from(count).next_multiple_of(2) * 2)?;
    // What is chained to has run its whole prologue.
    Some(Some(chained(instance, at)?))
}
