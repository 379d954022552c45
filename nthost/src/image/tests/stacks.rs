//! Call stacks of image code.

use iced_x86::code_asm::*;

use super::build::{Builder, INIT, PDATA, TEXT, assemble};
use crate::{Machine, Profile};

/// RVAs of the functions.
const OUTER: u32 = TEXT;
const MIDDLE: u32 = TEXT + 0x400;
const CHAINED: u32 = TEXT + 0x600;
const INNER: u32 = TEXT + 0x800;

/// The places of a stack, as RVAs.
fn places(builder: &Builder) -> Vec<u32> {
    let image = builder.image();
    let machine = Machine::builder(Profile::X64).build();
    let stopped = machine.run(move |m| m.load_image("test", &image).map(|_| ()));
    let report = stopped.expect_err("the machine stops").report;
    report.stack.addresses().map(|address| address as u32).collect()
}

/// Offset of the byte behind the first CALL through RAX, which is FF D0.
fn after_call(code: &[u8]) -> u32 {
    let at = code.windows(2).position(|pair| pair == [0xFF, 0xD0]).expect("it calls");
    at as u32 + 2
}

fn call(code: &mut super::build::Code, target: u32) {
    code.address(rax, target);
    code.asm.call(rax).unwrap();
}

/// OUTER pushes and allocates, MIDDLE has a frame pointer and a large frame, the code at CHAINED
/// belongs to MIDDLE's caller by a chained entry, INNER is a leaf.
fn nested(fault: impl FnOnce(&mut CodeAssembler)) -> (Builder, [u32; 3]) {
    let mut builder = Builder::new(|_| {});
    let outer = assemble(OUTER, |code| {
        code.asm.push(rbx).unwrap();
        code.asm.push(rsi).unwrap();
        code.asm.sub(rsp, 0x48).unwrap();
        call(code, MIDDLE);
        code.asm.ud2().unwrap();
    });
    let middle = assemble(MIDDLE, |code| {
        code.asm.push(rbp).unwrap();
        code.asm.sub(rsp, 0x2000).unwrap();
        code.asm.lea(rbp, ptr(rsp + 0x20)).unwrap();
        // What is below the frame pointer may move.
        code.asm.sub(rsp, 0x320).unwrap();
        code.address(rax, CHAINED);
        code.asm.jmp(rax).unwrap();
    });
    let chained = assemble(CHAINED, |code| {
        code.asm.mov(qword_ptr(rsp + 0x10), rdi).unwrap();
        call(code, INNER);
        code.asm.ud2().unwrap();
    });
    let inner = assemble(INNER, |code| fault(&mut code.asm));
    for (rva, code) in [(OUTER, &outer), (MIDDLE, &middle), (CHAINED, &chained), (INNER, &inner)] {
        builder.put(rva, code);
    }
    let [outer_info, middle_info, chained_info] = [0x100, 0x140, 0x180].map(|at| PDATA + at);
    builder.put_u32s(PDATA, &[OUTER, OUTER + outer.len() as u32, outer_info]);
    builder.put_u32s(PDATA + 12, &[MIDDLE, MIDDLE + middle.len() as u32, middle_info]);
    builder.put_u32s(PDATA + 24, &[CHAINED, CHAINED + chained.len() as u32, chained_info]);
    builder.directory(3, PDATA, 36);
    // After the nop: push rbx (2), push rsi (3), sub rsp (7).
    builder.put(outer_info, &[1, 7, 3, 0, 7, 0x82, 3, 0x60, 2, 0x30]);
    // push rbp (2), sub rsp, large (9), lea rbp (14): frame register 5 at 2 * 16.
    let size = (0x2000u16 / 8).to_le_bytes();
    builder.put(middle_info, &[1, 14, 4, 0x25, 14, 0x03, 9, 0x01, size[0], size[1], 2, 0x50]);
    // Saves RDI (6), and continues MIDDLE.
    builder.put(chained_info, &[1 | 4 << 3, 6, 2, 0x25, 6, 0x74, 2, 0]);
    builder.put_u32s(chained_info + 8, &[MIDDLE, MIDDLE + middle.len() as u32, middle_info]);
    let sites = [INNER + 1, CHAINED + after_call(&chained), OUTER + after_call(&outer)];
    (builder, sites)
}

#[test]
fn frames_are_found_by_unwind_data() {
    let (builder, [inner, chained, outer]) = nested(|asm| asm.ud2().unwrap());
    assert_eq!(places(&builder), [inner, chained, outer]);
}

#[test]
fn a_call_of_nothing_is_seen_at_the_call() {
    let (builder, [_, chained, outer]) = nested(|asm| {
        asm.mov(rax, 0x1234u64).unwrap();
        asm.jmp(rax).unwrap();
    });
    assert_eq!(places(&builder), [chained, outer]);
}

#[test]
fn damaged_unwind_data_ends_the_walk() {
    for damage in [[1, 14, 255, 0x25], [1, 14, 4, 0x2B], [0xFF; 4], [1 | 4 << 3, 0, 0, 0]] {
        let (mut builder, [inner, chained, _]) = nested(|asm| asm.ud2().unwrap());
        builder.put(PDATA + 0x140, &damage);

        let found = places(&builder);

        assert_eq!(found[..2], [inner, chained], "{damage:?}");
        assert!(found.len() <= crate::verifier::CallStack::DEPTH);
    }
    let (mut builder, [inner, chained, _]) = nested(|asm| asm.ud2().unwrap());
    builder.put_u32s(PDATA + 24 + 8, &[INIT + 0xFFE]);
    assert_eq!(places(&builder)[..2], [inner, chained]);
}
