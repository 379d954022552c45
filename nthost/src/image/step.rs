//! What a fault of image code means: an access to be carried out, or the end of the machine.

// UNSAFETY: entered from assembly with pointers to the saved state; reads the driver's code.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use super::exception::{self, Outcome, Record};
use super::fault::{Extended, Frame};
use super::instruction::{Processor, Refused, is_memory};
use super::port::Port;
use super::report::{fault, not_covered};
use super::{Instance, raise, trap, watchdog};
use crate::ddi::win64;
use crate::machine::{Kernel, context};
use crate::verifier::Violation;

/// The longest instruction, bytes.
const LONGEST: usize = 15;

/// CR8's register, the level.
const LEVELS: u64 = 15;

/// Called by the trampoline on the task's own stack; returns the frame with which the driver can go
/// on, at its RIP.
///
/// # Safety
/// `frame` and `extended` are the state that the trampoline saved; nobody else uses them.
pub(super) unsafe extern "C" fn step(frame: *mut Frame, extended: *mut Extended) -> *mut Frame {
    let next = {
        // SAFETY: the trampoline's, by the caller's promise.
        let frame = unsafe { &mut *frame };
        // SAFETY: as above.
        let extended = unsafe { &mut *extended };
        let Some(kernel) = context::current() else { outside("a fault in driver code") };
        let Some(instance) = kernel.image.instance() else { outside("a fault in driver code") };
        let pair = frame.pair();
        match carry_out(kernel, instance, frame, extended) {
            Ok(next) => next,
            Err(violation) => stop(kernel, pair, violation),
        }
    };
    let Some(next) = next else { return frame };
    // The stack pointer to go on with is not below the one of the fault, so what lies there now is
    // of frames that are gone, or the frame of the fault itself. CAST: a 64-bit machine.
    let place: *mut Frame =
        std::ptr::with_exposed_provenance_mut(next.address as usize - size_of::<Frame>());
    // SAFETY: the task's own stack, above everything that still runs.
    unsafe { place.write(next) };
    place
}

/// Stops the machine at a place in the driver.
pub(super) fn stop(kernel: &Kernel, pair: usize, violation: Violation) -> ! {
    context::with(|c| c.ddi_frame.set(pair));
    kernel.stop(violation)
}

/// Image code runs on a thread that is not in kernel mode of any machine.
#[cold]
pub(super) fn outside(what: &str) -> ! {
    eprintln!("{what} happened outside kernel mode of any machine; nthost cannot go on");
    std::process::abort()
}

fn carry_out(
    kernel: &Kernel,
    instance: &Instance,
    frame: &mut Frame,
    extended: &mut Extended,
) -> Result<Option<Frame>, Violation> {
    if frame.signal() == watchdog::SIGNAL {
        return Err(watchdog::violation(kernel));
    }
    if frame.is_breakpoint() {
        // Windows has it at the instruction, the processor behind it.
        frame.rip -= 1;
    }
    let at = frame.rip as usize;
    if frame.is_fetch()
        && let Some(index) = trap::raises(frame.address)
    {
        let Some(record) = raise::call(kernel, index, frame)? else { return Ok(None) };
        let unhandled = |record: &Record| unhandled(record, "the driver raised");
        return except(kernel, instance, frame, extended, record, true, unhandled);
    }
    if !instance.mapping().range().contains(&at) || frame.is_fetch() {
        return Err(wild_call(instance, frame));
    }
    let Some(instruction) = decode(instance, at) else { return Err(crash(instance, frame, None)) };
    if frame.signal() != libc::SIGSEGV && frame.signal() != libc::SIGBUS {
        return end(kernel, instance, frame, extended, &instruction);
    }
    frame.rip = instruction.next_ip();
    if let Some(result) = level(frame, extended, kernel, &instruction) {
        return result.map(|()| None);
    }
    let mut processor = Processor { kernel, frame, extended };
    for operand in 0..instruction.op_count() {
        if !is_memory(instruction.op_kind(operand)) || instruction.mnemonic() == Mnemonic::Lea {
            continue;
        }
        let Some(address) = processor.address(&instruction, operand) else { continue };
        let port = match instruction.memory_segment() {
            Register::GS => Some(Port::ControlRegion(address)),
            _ => Port::at(address),
        };
        let Some(port) = port else { continue };
        return match processor.execute(&instruction, operand, port) {
            Ok(()) => Ok(None),
            Err(Refused::Violation(violation)) => Err(violation),
            Err(Refused::Unknown) => Err(not_covered(format!(
                "the instruction `{}` accesses {}, which nthost does not carry out",
                text(&instruction),
                what(port)
            ))),
        };
    }
    frame.rip = instruction.ip();
    end(kernel, instance, frame, extended, &instruction)
}

/// An instruction cannot be carried out: the driver handles that, or it is its end.
fn end(
    kernel: &Kernel,
    instance: &Instance,
    frame: &Frame,
    extended: &mut Extended,
    instruction: &Instruction,
) -> Result<Option<Frame>, Violation> {
    let crash = || crash(instance, frame, Some(instruction));
    match exception_of(instance, frame, instruction) {
        Some(record) => except(kernel, instance, frame, extended, record, false, |_| crash()),
        None => Err(crash()),
    }
}

/// Lets the driver handle an exception.
fn except(
    kernel: &Kernel,
    instance: &Instance,
    frame: &Frame,
    extended: &mut Extended,
    mut record: Record,
    called: bool,
    unhandled: impl FnOnce(&Record) -> Violation,
) -> Result<Option<Frame>, Violation> {
    let bottom = context::with(|c| c.driver_frame.get());
    match exception::dispatch(instance, bottom, frame, extended, &mut record, called) {
        Outcome::Unhandled => Err(unhandled(&record)),
        Outcome::Unknown => Err(not_covered(
            "a filter of the driver's goes on with a CONTEXT in which it changed more than integer \
             registers, RIP and arithmetic flags, which nthost does not carry out",
        )),
        Outcome::Resumed(_) if watchdog::goes_on() => Err(watchdog::violation(kernel)),
        Outcome::Resumed(next) => Ok(Some(next)),
    }
}

/// The exception that a fault is; `None` where Windows stops at once: at system addresses that are
/// not valid, and at what this host does not have.
fn exception_of(instance: &Instance, frame: &Frame, instruction: &Instruction) -> Option<Record> {
    let record = |code, parameters: &[u64]| Some(Record::fault(code, frame.rip, parameters));
    if instruction.mnemonic() == Mnemonic::Int {
        return if instruction.immediate8() == 0x2C { record(0xC000_0420, &[]) } else { None };
    }
    match frame.signal() {
        libc::SIGTRAP => record(0x8000_0003, &[]),
        libc::SIGFPE => record(0xC000_0094, &[]),
        libc::SIGILL => record(0xC000_001D, &[]),
        _ if instruction.is_privileged() => None,
        _ if !frame.is_page_fault() => record(ACCESS_VIOLATION, &[0, u64::MAX]),
        _ => {
            let address = frame.address;
            // CAST: a 64-bit machine.
            let user = address >> 47 == 0 && instance.mapping().rva(address as usize).is_none();
            let write = u64::from(frame.is_write());
            if user { record(ACCESS_VIOLATION, &[write, address]) } else { None }
        }
    }
}

const ACCESS_VIOLATION: u32 = 0xC000_0005;

/// The end of a driver that does not handle what was raised in it.
fn unhandled(record: &Record, who: &str) -> Violation {
    let code = record.code;
    let message = format!("{who} the exception {code:#010X}, and no __except of it takes it");
    fault(message).code(0x1E, [code.into(), 0, 0, 0])
}

fn what(port: Port) -> String {
    match port {
        Port::Registers(address) => format!("the device register at {address:#x}"),
        Port::ControlRegion(offset) => format!("gs:[{offset:#x}]"),
        Port::SharedData(offset) => format!("KUSER_SHARED_DATA at offset {offset:#x}"),
        #[cfg(test)]
        Port::Word(_) => "a test's word".to_owned(),
    }
}

/// The instruction at an address of the image, if there is code.
fn decode(instance: &Instance, at: usize) -> Option<Instruction> {
    let rva = instance.mapping().rva(at)?;
    let section = instance.parsed().section(rva)?;
    if section.discardable && instance.is_discarded() {
        return None;
    }
    // CAST: widening.
    let length = LONGEST.min((section.start + section.length - rva) as usize);
    let code: *const u8 = std::ptr::with_exposed_provenance(at);
    // SAFETY: `length` readable bytes of a mapped section that only the driver could write.
    let bytes = unsafe { std::slice::from_raw_parts(code, length) };
    let instruction = Decoder::with_ip(64, bytes, at as u64, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// CR8, which is the interrupt request level: `KeGetCurrentIrql`, `KfRaiseIrql` and `KeLowerIrql`
/// are such instructions in C drivers.
fn level(
    frame: &mut Frame,
    extended: &mut Extended,
    kernel: &Kernel,
    instruction: &Instruction,
) -> Option<Result<(), Violation>> {
    let pair = frame.pair();
    let mut processor = Processor { kernel, frame, extended };
    let result = match instruction.code() {
        Code::Mov_r64_cr if instruction.op1_register() == Register::CR8 => {
            let level = win64::current_level(pair);
            processor.set_register(instruction.op0_register(), level.into())
        }
        Code::Mov_cr_r64 if instruction.op0_register() == Register::CR8 => {
            let new = processor.register(instruction.op1_register()).unwrap_or(u64::MAX);
            if new > LEVELS {
                let message = format!("the driver writes {new:#x} to CR8, which takes 0 to 15");
                return Some(Err(fault(message).code(0x1E, [0xC000_0005, 0, 0, 0])));
            }
            // CAST: at most 15.
            win64::set_level(pair, new as u8);
            Ok(())
        }
        _ => return None,
    };
    Some(match result {
        Ok(()) => Ok(()),
        Err(Refused::Violation(violation)) => Err(violation),
        Err(Refused::Unknown) => Err(not_covered(text(instruction))),
    })
}

/// Something was called that is no code.
fn wild_call(instance: &Instance, frame: &Frame) -> Violation {
    let target = frame.address;
    if let Some(name) = trap::name(instance, target) {
        return not_covered(format!("the driver called {name}, which nthost does not have"));
    }
    if let Some(rva) = instance.mapping().rva(target as usize) {
        let section = instance.parsed().section(rva);
        let name = section.map_or("its headers", |section| section.name.as_str());
        let gone = section.is_some_and(|s| s.discardable) && instance.is_discarded();
        let why = if gone {
            "which is gone once the entry point has returned"
        } else {
            "which holds no code"
        };
        let message = format!("the driver ran into section {name} at {rva:#x}, {why}");
        return fault(message).code(0xFC, [target, 0, 0, 0]);
    }
    fault(format!("the driver went to {target:#x}, where no code is")).code(0x50, [target, 8, 0, 2])
}

/// A fault that ends the driver.
fn crash(instance: &Instance, frame: &Frame, instruction: Option<&Instruction>) -> Violation {
    const UNHANDLED: u32 = 0x1E;
    let Some(instruction) = instruction else {
        let message = "the driver ran into bytes that are no instruction";
        return fault(message).code(UNHANDLED, [0xC000_001D, 0, 0, 0]);
    };
    let code = text(instruction);
    if instruction.mnemonic() == Mnemonic::Int {
        return interrupt(frame, instruction);
    }
    match frame.signal() {
        libc::SIGTRAP => fault("the driver ran into a breakpoint (int 3)")
            .code(UNHANDLED, [0x8000_0003, 0, 0, 0]),
        libc::SIGFPE => {
            let message = format!("`{code}` divides by zero, or its result does not fit");
            fault(message).code(UNHANDLED, [0xC000_0094, 0, 0, 0])
        }
        libc::SIGILL => {
            let message = format!("`{code}` is an invalid instruction here");
            fault(message).code(UNHANDLED, [0xC000_001D, 0, 0, 0])
        }
        _ if instruction.is_privileged() => not_covered(format!(
            "the driver executed the privileged instruction `{code}`, which nthost does not have"
        )),
        _ => memory_fault(instance, frame, &code),
    }
}

fn memory_fault(instance: &Instance, frame: &Frame, code: &str) -> Violation {
    if !frame.is_page_fault() {
        let message = format!("`{code}` uses an address that cannot exist (not canonical)");
        return fault(message).code(0x1E, [0xC000_0005, 0, 0, 0]);
    }
    let address = frame.address;
    if let Some(name) = trap::name(instance, address) {
        return not_covered(format!(
            "the driver uses the variable {name}, which nthost does not have"
        ));
    }
    let verb = if frame.is_write() { "writes" } else { "reads" };
    let message = match instance.mapping().rva(address as usize) {
        Some(rva) => {
            let section = instance.parsed().section(rva);
            let name = section.map_or("its headers", |section| section.name.as_str());
            format!("`{code}` {verb} {rva:#x} of the image, in {name}, which does not allow that")
        }
        None => format!("`{code}` {verb} {address:#x}, where nothing is mapped"),
    };
    fault(message).code(0x50, [address, u64::from(frame.is_write()) * 2, 0, 2])
}

/// A software interrupt: the compiler's ways to give up.
fn interrupt(frame: &Frame, instruction: &Instruction) -> Violation {
    match instruction.immediate8() {
        0x29 => {
            // CAST: the code is passed in ECX.
            let code = frame.registers[1] as u32;
            let name = fast_fail(code).map_or(String::new(), |name| format!(" ({name})"));
            fault(format!("the driver gave up with fast-fail code {code}{name}"))
                .code(0x139, [code.into(), 0, 0, 0])
        }
        0x2C => {
            fault("an assertion of the driver failed (int 2Ch)").code(0x1E, [0xC000_0420, 0, 0, 0])
        }
        other => not_covered(format!("the driver executed int {other:X}h")),
    }
}

/// Names of winnt.h, FAST_FAIL_*.
fn fast_fail(code: u32) -> Option<&'static str> {
    Some(match code {
        0 => "FAST_FAIL_LEGACY_GS_VIOLATION",
        2 => "FAST_FAIL_STACK_COOKIE_CHECK_FAILURE: a buffer on the stack overflowed",
        3 => "FAST_FAIL_CORRUPT_LIST_ENTRY: a LIST_ENTRY is damaged",
        5 => "FAST_FAIL_INVALID_ARG",
        6 => "FAST_FAIL_GS_COOKIE_INIT",
        7 => "FAST_FAIL_FATAL_APP_EXIT",
        8 => "FAST_FAIL_RANGE_CHECK_FAILURE",
        10 => "FAST_FAIL_GUARD_ICALL_CHECK_FAILURE: an indirect call of something else",
        _ => return None,
    })
}

/// An instruction as a disassembler shows it.
fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    iced_x86::FastFormatter::new().format(instruction, &mut text);
    text
}
