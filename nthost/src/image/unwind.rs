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

/// The unwind data is continued by another function's.
const CHAINED: u8 = 4;

/// RBP by number.
const RBP: usize = 5;

/// What is known of a caller's registers; registers nobody saved are unknown at the start.
#[derive(Clone, Copy, Debug)]
struct State {
    rip: u64,
    rsp: u64,
    registers: [Option<u64>; 16],
}

/// The part of this thread's stack that driver code may have written.
struct Stack {
    low: u64,
    high: u64,
}

impl Stack {
    fn word(&self, address: u64) -> Option<u64> {
        let fits = address.is_multiple_of(8) && address >= self.low && address < self.high;
        let place: *const u64 = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: an aligned word between the driver's innermost frame and the host's call into
        // the driver, both on the live part of this thread's stack.
        fits.then(|| unsafe { place.read() })
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
    let mut state = State { rip: stack.word(stack.low + 8)?, rsp: stack.low + 16, registers };
    let mut found = [0; CallStack::DEPTH];
    for slot in &mut found {
        let Some(rva) = instance.mapping().rva(state.rip as usize) else { break };
        *slot = instance.module().address(rva);
        match caller(instance, &stack, state, rva) {
            Some(next) if next.rsp > state.rsp => state = next,
            _ => break,
        }
    }
    (found[0] != 0).then(|| CallStack::of(found))
}

/// The state in the caller of the function that `state` is in.
fn caller(instance: &Instance, stack: &Stack, mut state: State, rva: u32) -> Option<State> {
    let functions = &instance.parsed().functions;
    // One less: a call may be a function's last instruction.
    let probe = rva.wrapping_sub(1);
    let index = functions.partition_point(|function| function.end <= probe);
    let mut function = functions.get(index).copied().filter(|f| f.begin <= probe);
    // Chains are short; a damaged image might make a ring of them.
    for _ in 0..8 {
        let Some(Function { begin, unwind, .. }) = function else { break };
        function = undo(instance, stack, &mut state, rva.wrapping_sub(begin), unwind)?;
    }
    state.rip = stack.word(state.rsp)?;
    state.rsp += 8;
    Some(state)
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
    let (flags, count, frame) = (header[0] >> 3, header[2], header[3]);
    let codes = parsed.bytes(unwind.checked_add(4)?, u32::from(count) * 2)?;
    let code = |index: usize| {
        let pair = codes.get(index * 2..index * 2 + 2)?;
        Some((pair[0], pair[1] & 15, pair[1] >> 4))
    };
    let operand = |index: usize| {
        let pair = codes.get(index * 2..index * 2 + 2)?;
        Some(u64::from(u16::from_le_bytes([pair[0], pair[1]])))
    };
    let wide = |index: usize| Some(operand(index)? | operand(index + 1)? << 16);
    let mut index = 0;
    while index < usize::from(count) {
        let (at, operation, info) = code(index)?;
        let ran = u32::from(at) <= offset;
        let register = usize::from(info);
        let length = match (operation, info) {
            (ALLOCATE_LARGE, 0) | (SAVE_NONVOLATILE | SAVE_VECTOR, _) => 2,
            (ALLOCATE_LARGE, _) | (SAVE_NONVOLATILE_FAR | SAVE_VECTOR_FAR, _) => 3,
            (EPILOGUE, _) => 1,
            (SPARE, _) => 2,
            _ => 1,
        };
        if ran {
            match operation {
                PUSH_NONVOLATILE => {
                    state.registers[register] = Some(stack.word(state.rsp)?);
                    state.rsp += 8;
                }
                ALLOCATE_LARGE if info == 0 => state.rsp += operand(index + 1)? * 8,
                ALLOCATE_LARGE => state.rsp += wide(index + 1)?,
                ALLOCATE_SMALL => state.rsp += u64::from(info) * 8 + 8,
                SET_FRAME => {
                    let base = state.registers[usize::from(frame & 15)]?;
                    state.rsp = base.wrapping_sub(u64::from(frame >> 4) * 16);
                }
                SAVE_NONVOLATILE => {
                    let place = state.rsp + operand(index + 1)? * 8;
                    state.registers[register] = stack.word(place);
                }
                SAVE_NONVOLATILE_FAR => {
                    let place = state.rsp + wide(index + 1)?;
                    state.registers[register] = stack.word(place);
                }
                EPILOGUE | SPARE | SAVE_VECTOR | SAVE_VECTOR_FAR => {}
                // A machine frame, or what no compiler writes.
                MACHINE_FRAME | 11.. => return None,
            }
        }
        index += length;
    }
    if flags & CHAINED == 0 {
        return Some(None);
    }
    // The chained entry follows the codes, whose number is rounded up to even.
    let at = unwind.checked_add(4 + u32::from(count.next_multiple_of(2)) * 2)?;
    let word = |offset: u32| parsed.u32(at.checked_add(offset)?);
    // What is chained to has run its whole prologue.
    Some(Some(Function { begin: word(0)?, end: word(4)?, unwind: word(8)? }))
}
