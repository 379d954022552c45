//! Instructions that are carried out do what the processor does: the same instruction runs on the
//! processor, on memory, and here, on a word; registers, flags and memory must come out equal.

use std::sync::atomic::{AtomicU64, Ordering};

use iced_x86::code_asm::*;
use iced_x86::{Decoder, DecoderOptions};
use proptest::prelude::*;

use crate::image::fault::{Extended, Frame};
use crate::image::instruction::{Processor, is_memory};
use crate::image::port::Port;
use crate::image::region::{Pages, Protection};
use crate::{Machine, Profile};

/// Flags that arithmetic sets.
const STATUS: u64 = 0x8D5;

/// What an instruction can see and change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    rax: u64,
    rdx: u64,
    flags: u64,
    word: u64,
    vector: u128,
}

type Write = fn(&mut CodeAssembler);

/// The instructions; RCX holds the word's address.
macro_rules! instructions {
    ($($body:expr;)*) => { vec![$((stringify!($body), (|a: &mut CodeAssembler| {
        let result: Result<(), iced_x86::IcedError> = $body(a);
        result.unwrap();
    }) as Write)),*] };
}

fn moves() -> Vec<(&'static str, Write)> {
    instructions! {
        |a: &mut CodeAssembler| a.mov(rax, qword_ptr(rcx));
        |a: &mut CodeAssembler| a.mov(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.mov(ax, word_ptr(rcx));
        |a: &mut CodeAssembler| a.mov(al, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.mov(ah, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.mov(qword_ptr(rcx), rdx);
        |a: &mut CodeAssembler| a.mov(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.mov(word_ptr(rcx), dx);
        |a: &mut CodeAssembler| a.mov(byte_ptr(rcx), dl);
        |a: &mut CodeAssembler| a.mov(byte_ptr(rcx), dh);
        |a: &mut CodeAssembler| a.mov(dword_ptr(rcx), 0x8765_4321u32);
        |a: &mut CodeAssembler| a.mov(qword_ptr(rcx), -2);
        |a: &mut CodeAssembler| a.mov(word_ptr(rcx), 0x1234);
        |a: &mut CodeAssembler| a.mov(byte_ptr(rcx), 0x7F);
        |a: &mut CodeAssembler| a.movnti(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.movzx(eax, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.movzx(eax, word_ptr(rcx));
        |a: &mut CodeAssembler| a.movzx(rax, word_ptr(rcx));
        |a: &mut CodeAssembler| a.movzx(ax, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.movsx(eax, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.movsx(rax, word_ptr(rcx));
        |a: &mut CodeAssembler| a.movsx(ax, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.movsxd(rax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.movd(xmm0, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.movq(xmm0, qword_ptr(rcx));
        |a: &mut CodeAssembler| a.movd(dword_ptr(rcx), xmm0);
        |a: &mut CodeAssembler| a.movq(qword_ptr(rcx), xmm0);
    }
}

fn arithmetic() -> Vec<(&'static str, Write)> {
    instructions! {
        |a: &mut CodeAssembler| a.add(rax, qword_ptr(rcx));
        |a: &mut CodeAssembler| a.add(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.add(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.add(byte_ptr(rcx), dl);
        |a: &mut CodeAssembler| a.add(dword_ptr(rcx), -1);
        |a: &mut CodeAssembler| a.adc(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.adc(dword_ptr(rcx), 3);
        |a: &mut CodeAssembler| a.sub(rax, qword_ptr(rcx));
        |a: &mut CodeAssembler| a.sub(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.sbb(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.sbb(word_ptr(rcx), dx);
        |a: &mut CodeAssembler| a.and(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.and(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.and(qword_ptr(rcx), -16);
        |a: &mut CodeAssembler| a.or(rax, qword_ptr(rcx));
        |a: &mut CodeAssembler| a.or(dword_ptr(rcx), 0x100);
        |a: &mut CodeAssembler| a.or(byte_ptr(rcx), 1);
        |a: &mut CodeAssembler| a.xor(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.xor(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.lock().xor(qword_ptr(rcx), rdx);
        |a: &mut CodeAssembler| a.cmp(eax, dword_ptr(rcx));
        |a: &mut CodeAssembler| a.cmp(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.cmp(dword_ptr(rcx), -1);
        |a: &mut CodeAssembler| a.cmp(byte_ptr(rcx), 5);
        |a: &mut CodeAssembler| a.cmp(rax, qword_ptr(rcx));
        |a: &mut CodeAssembler| a.test(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.test(dword_ptr(rcx), 0x80);
        |a: &mut CodeAssembler| a.test(byte_ptr(rcx), 1);
        |a: &mut CodeAssembler| a.test(qword_ptr(rcx), rdx);
        |a: &mut CodeAssembler| a.inc(dword_ptr(rcx));
        |a: &mut CodeAssembler| a.inc(byte_ptr(rcx));
        |a: &mut CodeAssembler| a.dec(dword_ptr(rcx));
        |a: &mut CodeAssembler| a.dec(qword_ptr(rcx));
        |a: &mut CodeAssembler| a.not(dword_ptr(rcx));
        |a: &mut CodeAssembler| a.not(qword_ptr(rcx));
        |a: &mut CodeAssembler| a.neg(dword_ptr(rcx));
        |a: &mut CodeAssembler| a.neg(byte_ptr(rcx));
        |a: &mut CodeAssembler| a.xchg(dword_ptr(rcx), edx);
        |a: &mut CodeAssembler| a.xchg(qword_ptr(rcx), rax);
        |a: &mut CodeAssembler| a.xchg(byte_ptr(rcx), ah);
        |a: &mut CodeAssembler| a.bt(dword_ptr(rcx), 0);
        |a: &mut CodeAssembler| a.bt(dword_ptr(rcx), 31);
        |a: &mut CodeAssembler| a.bt(qword_ptr(rcx), 63);
        |a: &mut CodeAssembler| a.add(rax, qword_ptr(rcx + rsi * 8));
        |a: &mut CodeAssembler| a.mov(eax, dword_ptr(rcx + rsi));
        |a: &mut CodeAssembler| a.mov(dword_ptr(rcx + rsi * 4), eax);
        |a: &mut CodeAssembler| a.add(ax, word_ptr(rcx));
        |a: &mut CodeAssembler| a.sub(al, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.or(ah, byte_ptr(rcx));
        |a: &mut CodeAssembler| a.xor(dword_ptr(rcx), -1);
        |a: &mut CodeAssembler| a.and(byte_ptr(rcx), dh);
    }
}

fn encoded(write: Write) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    write(&mut assembler);
    assembler.assemble(0x1000).unwrap()
}

/// Runs the instruction on the processor.
fn native(pages: &Pages, instruction: &[u8], state: &mut State) {
    let mut before = CodeAssembler::new(64).unwrap();
    before.lea(rcx, ptr(rdi + 24)).unwrap();
    before.xor(esi, esi).unwrap();
    before.movups(xmm0, xmmword_ptr(rdi + 32)).unwrap();
    before.push(qword_ptr(rdi + 16)).unwrap();
    before.mov(rax, qword_ptr(rdi)).unwrap();
    before.mov(rdx, qword_ptr(rdi + 8)).unwrap();
    before.popfq().unwrap();
    let mut after = CodeAssembler::new(64).unwrap();
    after.pushfq().unwrap();
    after.mov(qword_ptr(rdi), rax).unwrap();
    after.mov(qword_ptr(rdi + 8), rdx).unwrap();
    after.pop(qword_ptr(rdi + 16)).unwrap();
    after.movups(xmmword_ptr(rdi + 32), xmm0).unwrap();
    after.ret().unwrap();
    let code = [&before.assemble(0).unwrap(), instruction, &after.assemble(0).unwrap()].concat();
    pages.protect(0, 4096, Protection::READ_WRITE).expect("own pages");
    let start: *mut u8 = std::ptr::with_exposed_provenance_mut(pages.start());
    // SAFETY: a writable page of this test's own.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), start, code.len()) };
    let execute = Protection { read: true, write: false, execute: true };
    pages.protect(0, 4096, execute).expect("own pages");
    // SAFETY: the code just written is a function of this type: it changes registers that a
    // callee may change, and the state.
    let run: unsafe extern "sysv64" fn(*mut State) = unsafe { std::mem::transmute(start) };
    // SAFETY: a valid pointer.
    unsafe { run(state) };
}

/// Carries the instruction out.
fn carried_out(machine: &Machine, instruction: &[u8], state: &mut State) {
    static WORD: AtomicU64 = AtomicU64::new(0);
    WORD.store(state.word, Ordering::Relaxed);
    let decoded = Decoder::with_ip(64, instruction, 0x1000, DecoderOptions::NONE).decode();
    let memory = (0..decoded.op_count()).find(|&index| is_memory(decoded.op_kind(index)));
    let memory = memory.expect("each instruction here has one");
    let mut frame = Frame {
        registers: [0; 16],
        info: 0,
        address: 0,
        flags: state.flags,
        rbp: 0,
        rip: decoded.next_ip(),
    };
    frame.registers[0] = state.rax;
    frame.registers[2] = state.rdx;
    let mut extended = Extended::default();
    extended.xmm[0] = state.vector;
    let mut processor =
        Processor { kernel: &machine.kernel, frame: &mut frame, extended: &mut extended };
    let done = processor.execute(&decoded, memory, Port::Word(&WORD));
    assert!(done.is_ok(), "{decoded} is carried out");
    *state = State {
        rax: frame.registers[0],
        rdx: frame.registers[2],
        flags: frame.flags,
        word: WORD.load(Ordering::Relaxed),
        vector: extended.xmm[0],
    };
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(1 << 31), Just(0x8080_8080), 0..300u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn instructions_do_what_the_processor_does(
        first in number(),
        second in number(),
        word in number(),
        vector in any::<u128>(),
        flags in any::<u64>(),
    ) {
        let machine = Machine::builder(Profile::X64).build();
        let pages = Pages::take(4096).expect("there is memory");
        // The processor adds a flag that is always set, and the interrupt flag.
        let state = State {
            rax: first,
            rdx: second,
            flags: flags & STATUS | 0x202,
            word,
            vector,
        };
        for (text, write) in moves().into_iter().chain(arithmetic()) {
            let instruction = encoded(write);
            let (mut expected, mut actual) = (state, state);

            native(&pages, &instruction, &mut expected);
            carried_out(&machine, &instruction, &mut actual);

            prop_assert_eq!(actual, expected, "{} on {:x?}", text, state);
        }
    }
}
