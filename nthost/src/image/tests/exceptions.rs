//! `__try`, `__except` and `__finally`, as a compiler lays them out.

use iced_x86::code_asm::*;

use super::build::{Builder, Code, DATA, PDATA, TEXT, assemble, slot_of};
use crate::verifier::Report;
use crate::{LoadError, Machine, Profile, RuleId};

/// RVAs of the code.
const OUTER: u32 = TEXT;
const EXCEPT: u32 = TEXT + 0x200;
const FILTER: u32 = TEXT + 0x400;
const CLEANUP: u32 = TEXT + 0x500;
const INNER: u32 = TEXT + 0x600;
const THUNK: u32 = TEXT + 0x800;
/// How often the cleanup ran.
const COUNT: u32 = DATA + 0x40;

/// OUTER calls INNER within a `__try` whose filter takes `code`; INNER has a `__finally` around
/// `body`. What `__except` returns: RBX, which INNER changes, and how often the cleanup ran.
fn guarded(code: u32, body: impl FnOnce(&mut Code)) -> Builder {
    let mut builder = Builder::new(|code| {
        code.asm.push(rbx).unwrap();
        code.asm.sub(rsp, 0x20).unwrap();
        code.asm.mov(ebx, 0x1234).unwrap();
        code.address(rax, INNER);
        code.asm.call(rax).unwrap();
        code.asm.mov(eax, 0x77).unwrap();
        code.asm.add(rsp, 0x20).unwrap();
        code.asm.pop(rbx).unwrap();
        code.fail_with_eax();
    });
    let except = assemble(EXCEPT, |asm| {
        asm.address(rdx, COUNT);
        asm.asm.mov(edx, dword_ptr(rdx)).unwrap();
        asm.asm.shl(edx, 16).unwrap();
        asm.asm.sub(eax, code as i32).unwrap();
        asm.asm.add(eax, edx).unwrap();
        asm.asm.add(eax, ebx).unwrap();
        asm.asm.add(rsp, 0x20).unwrap();
        asm.asm.pop(rbx).unwrap();
        asm.fail_with_eax();
    });
    let filter = assemble(FILTER, |asm| {
        asm.asm.mov(rcx, qword_ptr(rcx)).unwrap();
        asm.asm.xor(eax, eax).unwrap();
        asm.asm.cmp(dword_ptr(rcx), code as i32).unwrap();
        asm.asm.sete(al).unwrap();
        asm.asm.ret().unwrap();
    });
    let cleanup = assemble(CLEANUP, |asm| {
        asm.address(rdx, COUNT);
        // The termination is abnormal: RCX is 1.
        asm.asm.movzx(ecx, cl).unwrap();
        asm.asm.add(dword_ptr(rdx), ecx).unwrap();
        asm.asm.ret().unwrap();
    });
    let inner = assemble(INNER, |asm| {
        asm.asm.push(rbx).unwrap();
        asm.asm.sub(rsp, 0x20).unwrap();
        asm.asm.mov(ebx, 0xBAD).unwrap();
        body(asm);
        asm.asm.add(rsp, 0x20).unwrap();
        asm.asm.pop(rbx).unwrap();
        asm.asm.ret().unwrap();
    });
    let thunk = assemble(THUNK, |asm| {
        asm.address(rax, slot_of("__C_specific_handler"));
        asm.asm.jmp(qword_ptr(rax)).unwrap();
    });
    for (rva, code) in
        [(EXCEPT, except), (FILTER, filter), (CLEANUP, cleanup), (INNER, inner), (THUNK, thunk)]
    {
        builder.put(rva, &code);
    }
    unwind(&mut builder, 0, [OUTER, OUTER + 0x400], [OUTER, OUTER + 0x200, FILTER, EXCEPT]);
    unwind(&mut builder, 1, [INNER, INNER + 0x200], [INNER, INNER + 0x200, CLEANUP, 0]);
    builder.directory(3, PDATA, 24);
    builder
}

/// Unwind data of a function that pushes RBX (at 2) and allocates 0x20 (at 6), with one scope.
fn unwind(builder: &mut Builder, index: u32, [begin, end]: [u32; 2], scope: [u32; 4]) {
    let info = PDATA + 0x100 + index * 0x40;
    builder.put_u32s(PDATA + 12 * index, &[begin, end, info]);
    builder.put(info, &[1 | 3 << 3, 6, 2, 0, 6, 0x32, 2, 0x30]);
    builder.put_u32s(info + 8, &[THUNK, 1]);
    builder.put_u32s(info + 16, &scope);
}

fn load(builder: &Builder) -> Result<Result<(), LoadError>, Box<Report>> {
    let image = builder.image();
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |m| m.load_image("test", &image).map(|_| ()));
    result.map_err(|stopped| stopped.report)
}

/// The entry point's failure, 30 bits of it.
fn answer(builder: &Builder) -> u32 {
    match load(builder) {
        Ok(Err(LoadError::Entry(status))) => status.0 as u32 & 0x3FFF_FFFF,
        other => panic!("{other:?}"),
    }
}

fn call(code: &mut Code, name: &str) {
    code.address(r11, slot_of(name));
    code.asm.call(qword_ptr(r11)).unwrap();
}

type Body = fn(&mut Code);

/// What happens, and the exception that it is.
const EXCEPTIONS: [(Body, u32); 6] = [
    (|c| c.asm.mov(eax, dword_ptr(0x10)).unwrap(), 0xC000_0005),
    (
        |c| {
            c.asm.xor(ecx, ecx).unwrap();
            c.asm.div(ecx).unwrap();
        },
        0xC000_0094,
    ),
    (|c| c.asm.ud2().unwrap(), 0xC000_001D),
    (
        |c| {
            c.asm.mov(ecx, 0xC000_0022u32).unwrap();
            call(c, "ExRaiseStatus");
        },
        0xC000_0022,
    ),
    (
        |c| {
            c.asm.mov(rcx, 0xFFFF_8000_0000_0000u64).unwrap();
            c.asm.mov(edx, 8).unwrap();
            c.asm.mov(r8d, 1).unwrap();
            call(c, "ProbeForRead");
        },
        0xC000_0005,
    ),
    (
        |c| {
            c.asm.mov(ecx, 0x1001).unwrap();
            c.asm.mov(edx, 8).unwrap();
            c.asm.mov(r8d, 4).unwrap();
            call(c, "ProbeForRead");
        },
        0x8000_0002,
    ),
];

#[test]
fn an_exception_is_handled_where_its_filter_is_after_the_cleanup_below() {
    for (body, code) in EXCEPTIONS {
        let builder = guarded(code, body);
        for _ in 0..2 {
            assert_eq!(answer(&builder), 0x1_1234, "{code:#x}");
        }
    }
}

#[test]
fn without_an_exception_nothing_is_handled() {
    let builder = guarded(0xC000_0005, |c| {
        c.asm.mov(ecx, 0x1000).unwrap();
        c.asm.mov(edx, 8).unwrap();
        c.asm.mov(r8d, 4).unwrap();
        call(c, "ProbeForRead");
    });
    assert_eq!(answer(&builder), 0x77);
}

#[test]
fn an_exception_that_no_filter_takes_ends_the_machine() {
    for (body, code) in EXCEPTIONS {
        let report = load(&guarded(code ^ 0x100, body)).expect_err("nobody takes it");
        assert_eq!(report.rule, RuleId::Sim15, "{report}");
        assert!(report.call_site().starts_with("test.sys+0x16"), "{report}");
    }
    let report = load(&guarded(0, EXCEPTIONS[3].0)).expect_err("nobody takes it");
    assert!(report.message.contains("raised the exception 0xC0000022"), "{report}");
    assert_eq!(report.bug_check.map(|check| check.code), Some(0x1E), "{report}");
}

/// The registers' places in CONTEXT: EFlags, Rax, Rsp, Rip, Xmm6.
const FLAGS: i32 = 0x44;
const RAX: i32 = 0x78;
const RSP: i32 = 0x98;
const RIP: i32 = 0xF8;
const XMM6: i32 = 0x200;

/// As [`guarded`], with a filter that changes the CONTEXT, whose address is in RCX, and goes on
/// where the exception happened.
fn repaired(filter: impl FnOnce(&mut Code), body: impl FnOnce(&mut Code)) -> Builder {
    let mut builder = guarded(0, body);
    let filter = assemble(FILTER, |code| {
        code.asm.mov(rcx, qword_ptr(rcx + 8)).unwrap();
        filter(code);
        code.asm.mov(eax, -1).unwrap();
        code.asm.ret().unwrap();
    });
    builder.put(FILTER, &filter);
    builder
}

#[test]
fn a_filter_changes_the_registers_with_which_the_driver_goes_on() {
    let repairs: [(Body, Body); 3] = [
        (
            |c| {
                c.address(rax, DATA);
                c.asm.mov(qword_ptr(rcx + RAX), rax).unwrap();
            },
            |c| {
                c.asm.mov(eax, 0x10).unwrap();
                c.asm.mov(rax, qword_ptr(rax)).unwrap();
                // The word at DATA points to itself.
                c.asm.mov(rax, qword_ptr(rax)).unwrap();
            },
        ),
        // It is at the INT 3, not behind it.
        (|c| c.asm.inc(qword_ptr(rcx + RIP)).unwrap(), |c| c.asm.int3().unwrap()),
        (
            |c| {
                c.asm.add(qword_ptr(rcx + RIP), 2).unwrap();
                c.asm.or(dword_ptr(rcx + FLAGS), 1).unwrap();
            },
            |c| {
                let mut carry = c.asm.create_label();
                c.asm.clc().unwrap();
                c.asm.ud2().unwrap();
                c.asm.jc(carry).unwrap();
                c.asm.int(0x29).unwrap();
                c.asm.set_label(&mut carry).unwrap();
                c.asm.nop().unwrap();
            },
        ),
    ];
    for (filter, body) in repairs {
        assert_eq!(answer(&repaired(filter, body)), 0x77);
    }
}

#[test]
fn a_filter_that_changes_more_is_named() {
    let changes: [Body; 3] = [
        |c| c.asm.sub(qword_ptr(rcx + RSP), 8).unwrap(),
        |c| c.asm.mov(dword_ptr(rcx + XMM6), 1).unwrap(),
        // Alignment checks.
        |c| c.asm.or(dword_ptr(rcx + FLAGS), 1 << 18).unwrap(),
    ];
    for filter in changes {
        let report = load(&repaired(filter, EXCEPTIONS[0].0)).expect_err("not carried out");
        assert_eq!(report.rule, RuleId::Sim14, "{report}");
        assert!(report.message.contains("CONTEXT"), "{report}");
    }
}

#[test]
fn a_filter_does_not_go_on_behind_what_was_raised() {
    let report = load(&repaired(|_| (), EXCEPTIONS[3].0)).expect_err("not continuable");
    assert_eq!(report.rule, RuleId::Sim15, "{report}");
}

#[test]
fn a_filter_that_goes_on_with_what_it_did_not_repair_is_a_loop() {
    let report = load(&repaired(|_| (), EXCEPTIONS[0].0)).expect_err("it never ends");
    assert!(report.message.contains("does not come back"), "{report}");
}

#[test]
fn a_system_address_that_is_not_valid_is_no_exception() {
    let report = load(&guarded(0xC000_0005, |c| {
        c.asm.mov(rax, 0xFFFF_9000_0000_0000u64).unwrap();
        c.asm.mov(eax, dword_ptr(rax)).unwrap();
    }));
    let report = report.expect_err("Windows stops, too");
    assert_eq!(report.bug_check.map(|check| check.code), Some(0x50), "{report}");
}

#[test]
fn damaged_scopes_and_handlers_end_the_machine_and_not_the_host() {
    let (body, code) = EXCEPTIONS[0];
    // The table's length, the routine, and the handler itself are elsewhere; the first two leave
    // nobody to handle it.
    for (at, value) in [(12, 0), (8, DATA), (24, DATA), (28, 0x00FF_FFFF)] {
        let mut builder = guarded(code, body);
        builder.put_u32s(PDATA + 0x100 + at, &[value]);
        let report = load(&builder).expect_err("nobody takes it");
        assert_eq!(report.rule, RuleId::Sim15, "{at}: {report}");
    }
}
