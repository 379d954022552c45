//! What image code may do, and what ends its machine.

use iced_x86::code_asm::*;
use testdev::model::edu::Edu;

use super::build::{Builder, Code, DATA, INIT, RDATA, assemble};
use crate::verifier::Report;
use crate::{LoadError, Machine, Profile, RuleId};

/// Loads an image on a machine with an edu device in its first slot.
fn load(builder: &Builder) -> Result<Result<(), LoadError>, Box<Report>> {
    let image = builder.image();
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |m| {
        let slot = m.plug(Box::new(Edu::default())).expect("it stays without a driver");
        m.kernel.bus.function(slot.0).expect("just plugged in").config.start(false);
        m.load_image("test", &image).map(|_| ())
    });
    result.map_err(|stopped| stopped.report)
}

/// What the entry point leaves in EAX, 30 bits of it.
fn answer(write: impl FnOnce(&mut Code)) -> u32 {
    let builder = Builder::new(|code| {
        write(code);
        code.fail_with_eax();
    });
    match load(&builder) {
        Ok(Err(LoadError::Entry(status))) => status.0 as u32 & 0x3FFF_FFFF,
        other => panic!("{other:?}"),
    }
}

/// The report of a machine that stopped.
fn report(write: impl FnOnce(&mut Code)) -> Report {
    *load(&Builder::new(write)).expect_err("the machine stops")
}

#[test]
fn the_entry_point_gets_its_driver_object_and_path() {
    let size = answer(|code| code.asm.movzx(eax, word_ptr(rcx + 2)).unwrap());
    assert_eq!(size, 336);

    let first = answer(|code| {
        code.asm.mov(rax, qword_ptr(rdx + 8)).unwrap();
        code.asm.movzx(eax, word_ptr(rax)).unwrap();
    });
    assert_eq!(first, u32::from(b'\\'));
}

#[test]
fn pointers_are_relocated_and_data_is_new_each_time() {
    let builder = Builder::new(|code| {
        // The word points to itself until the first run overwrites it.
        code.address(rdx, DATA);
        code.asm.xor(eax, eax).unwrap();
        code.asm.cmp(qword_ptr(rdx), rdx).unwrap();
        code.asm.sete(al).unwrap();
        code.asm.mov(qword_ptr(rdx), 0).unwrap();
        code.fail_with_eax();
    });
    let image = builder.image();
    for _ in 0..3 {
        let image = image.clone();
        let machine = Machine::builder(Profile::X64).build();
        let result = machine.run(move |m| m.load_image("test", &image)).expect("no rule is broken");
        assert_eq!(result, Err(LoadError::Entry(crate::NtStatus(0xC000_0001u32 as i32))));
    }
}

#[test]
fn cr8_is_the_interrupt_request_level() {
    assert_eq!(answer(|code| code.asm.mov(rax, cr8).unwrap()), 0);
    let seen = answer(|code| {
        code.asm.mov(ecx, 2).unwrap();
        code.asm.mov(cr8, rcx).unwrap();
        code.call("KeGetCurrentIrql");
        code.asm.movzx(r12d, al).unwrap();
        code.asm.mov(rbx, cr8).unwrap();
        code.asm.xor(ecx, ecx).unwrap();
        code.asm.mov(cr8, rcx).unwrap();
        code.asm.lea(eax, dword_ptr(rbx + r12 * 8)).unwrap();
    });
    assert_eq!(seen, 2 + 2 * 8);

    let report = report(|code| {
        code.asm.mov(ecx, 77).unwrap();
        code.asm.mov(cr8, rcx).unwrap();
    });
    assert_eq!(report.rule, RuleId::Sim15);
}

#[test]
fn gs_is_the_processor_control_region() {
    // KPRCB.Number, KPCR.Irql; KPCR.Self leads to the same fields.
    assert_eq!(answer(|code| code.asm.mov(eax, dword_ptr(0x1A4).gs()).unwrap()), 0);
    let level = answer(|code| {
        code.asm.mov(ecx, 2).unwrap();
        code.asm.mov(cr8, rcx).unwrap();
        code.asm.mov(rdx, qword_ptr(0x18).gs()).unwrap();
        code.asm.movzx(eax, byte_ptr(rdx + 0x50)).unwrap();
        code.asm.xor(ecx, ecx).unwrap();
        code.asm.mov(cr8, rcx).unwrap();
    });
    assert_eq!(level, 2);

    let report = report(|code| code.asm.mov(rax, qword_ptr(0x2000).gs()).unwrap());
    assert_eq!(report.rule, RuleId::Sim14);
    assert!(report.message.contains("gs:[0x2000]"), "{report}");
}

#[test]
fn shared_user_data_tells_time_and_version() {
    let major = answer(|code| {
        code.asm.mov(rax, 0xFFFF_F780_0000_026Cu64).unwrap();
        code.asm.mov(eax, dword_ptr(rax)).unwrap();
    });
    assert_eq!(major, 10);
    // Interrupt time moves by reading it.
    let moved = answer(|code| {
        code.asm.mov(r8, 0xFFFF_F780_0000_0008u64).unwrap();
        code.asm.mov(rdx, qword_ptr(r8)).unwrap();
        for _ in 0..10 {
            code.asm.mov(rax, qword_ptr(r8)).unwrap();
        }
        code.asm.sub(rax, rdx).unwrap();
    });
    assert_eq!(moved, 5);

    let report = report(|code| {
        code.asm.mov(rax, 0xFFFF_F780_0000_0008u64).unwrap();
        code.asm.mov(qword_ptr(rax), 0).unwrap();
    });
    assert_eq!(report.rule, RuleId::Sim15);
    assert!(report.message.contains("read-only"), "{report}");
}

#[test]
fn registers_are_read_and_written_by_ordinary_instructions() {
    let id = answer(|code| {
        code.map_registers();
        code.asm.mov(eax, dword_ptr(rax)).unwrap();
    });
    assert_eq!(id, 0x0100_00ED);

    // The liveness register answers with the complement. RBP is a base like any other.
    let inverted = answer(|code| {
        code.map_registers();
        code.asm.push(rbp).unwrap();
        code.asm.mov(rbp, rax).unwrap();
        code.asm.mov(dword_ptr(rbp + 4), 0x0F0F_0F0F).unwrap();
        code.asm.mov(eax, dword_ptr(rbp + 4)).unwrap();
        code.asm.pop(rbp).unwrap();
    });
    assert_eq!(inverted, 0xF0F0_F0F0 & 0x3FFF_FFFF);
}

#[test]
fn an_access_leaves_registers_and_vectors_alone() {
    let sum = answer(|code| {
        code.map_registers();
        for (number, register) in [r8, r9, r10, rcx, rdx, rsi, rdi, rbx].into_iter().enumerate() {
            code.asm.mov(register, 1u64 << number).unwrap();
        }
        code.asm.mov(r12, 0x100u64).unwrap();
        code.asm.movq(xmm7, r12).unwrap();
        code.asm.stc().unwrap();
        code.asm.mov(eax, dword_ptr(rax)).unwrap();
        code.asm.setc(al).unwrap();
        code.asm.movzx(eax, al).unwrap();
        code.asm.shl(eax, 9).unwrap();
        code.asm.movq(r13, xmm7).unwrap();
        for register in [r8, r9, r10, rcx, rdx, rsi, rdi, rbx, r13] {
            code.asm.add(rax, register).unwrap();
        }
    });
    assert_eq!(sum, 0x3FF);
}

#[test]
fn a_repeated_string_instruction_reads_register_after_register() {
    let second = answer(|code| {
        code.map_registers();
        code.asm.mov(rsi, rax).unwrap();
        code.address(rdi, DATA + 0x10);
        code.asm.mov(ecx, 2).unwrap();
        code.asm.mov(dword_ptr(rax + 4), 0x1234).unwrap();
        code.asm.rep().movsd().unwrap();
        code.address(rdx, DATA + 0x14);
        code.asm.mov(eax, dword_ptr(rdx)).unwrap();
        code.asm.not(eax).unwrap();
        code.asm.add(eax, ecx).unwrap();
    });
    assert_eq!(second, 0x1234);
}

#[test]
fn an_instruction_that_is_not_carried_out_is_named() {
    let report = report(|code| {
        code.map_registers();
        code.asm.movups(xmm0, xmmword_ptr(rax)).unwrap();
    });
    assert_eq!(report.rule, RuleId::Sim14);
    assert!(report.message.contains("movups"), "{report}");
}

#[test]
fn register_rules_hold_for_instructions_too() {
    let report = report(|code| {
        code.map_registers();
        code.asm.mov(eax, dword_ptr(rax + 2)).unwrap();
    });
    assert_eq!(report.rule, RuleId::Sim06);
    assert_eq!(report.call, "READ_REGISTER_ULONG");
    assert!(report.call_site().starts_with("test.sys+0x1"), "{report}");

    let report = super::running::report(|code| {
        code.map_registers();
        code.asm.mov(rdx, rax).unwrap();
        code.address(rcx, DATA);
        code.asm.mov(r8d, 4).unwrap();
        code.call("memcpy");
    });
    assert!(report.message.contains("memcpy was called on device registers"), "{report}");
}

#[test]
fn a_missing_import_is_named_when_it_is_called() {
    assert_eq!(answer(|code| code.asm.mov(eax, 5).unwrap()), 5);
    let builder = Builder::new(|code| code.call("NoSuchFunction"));
    assert_eq!(builder.image().missing_imports(), ["ntoskrnl.exe!NoSuchFunction"]);

    let report = load(&builder).expect_err("the machine stops");

    assert_eq!(report.rule, RuleId::Sim14);
    assert!(report.message.contains("ntoskrnl.exe!NoSuchFunction"), "{report}");
    assert!(report.call_site().starts_with("test.sys+0x10"), "{report}");

    // As a variable, too.
    let report = super::running::report(|code| {
        code.address(rax, super::build::slot_of("NoSuchFunction"));
        code.asm.mov(rax, qword_ptr(rax)).unwrap();
        code.asm.mov(rax, qword_ptr(rax)).unwrap();
    });
    assert!(report.message.contains("variable ntoskrnl.exe!NoSuchFunction"), "{report}");
}

type Write = fn(&mut Code);

/// Addresses that are not there or do not allow it.
const MEMORY: [(Write, u32, &str); 6] = [
    (|c| c.asm.mov(eax, dword_ptr(0x10)).unwrap(), 0x50, "reads 0x10"),
    (|c| c.asm.call(0x1_4100_0000u64).unwrap(), 0x50, "no code"),
    (
        |c| {
            c.address(rax, RDATA);
            c.asm.mov(dword_ptr(rax), 1).unwrap();
        },
        0x50,
        "in .rdata, which does not allow that",
    ),
    (
        |c| {
            c.address(rax, DATA);
            c.asm.call(rax).unwrap();
        },
        0xFC,
        "holds no code",
    ),
    (
        |c| {
            c.asm.mov(rax, 0x00FF_2000_0000_0000u64).unwrap();
            c.asm.mov(eax, dword_ptr(rax)).unwrap();
        },
        0x1E,
        "not canonical",
    ),
    (
        |c| {
            c.asm.mov(ecx, 2).unwrap();
            c.asm.int(0x29).unwrap();
        },
        0x139,
        "STACK_COOKIE",
    ),
];

/// Ways to run on where nothing is.
const ASTRAY: [(Write, u32, &str); 2] = [
    (
        |c| {
            c.asm.mov(eax, 0xC).unwrap();
            c.asm.jmp(rax).unwrap();
        },
        0x50,
        "0xc, where no code is",
    ),
    (
        |c| {
            c.asm.mov(eax, 0x5000).unwrap();
            c.asm.push(rax).unwrap();
            c.asm.ret().unwrap();
        },
        0x50,
        "0x5000, where no code is",
    ),
];

/// Instructions that give up.
const ENDS: [(Write, u32, &str); 6] = [
    (|c| c.asm.int(0x2C).unwrap(), 0x1E, "assertion"),
    (|c| c.asm.int3().unwrap(), 0x1E, "breakpoint"),
    (|c| c.asm.ud2().unwrap(), 0x1E, "invalid instruction"),
    (
        |c| {
            c.asm.xor(ecx, ecx).unwrap();
            c.asm.div(ecx).unwrap();
        },
        0x1E,
        "divides by zero",
    ),
    (
        |c| {
            c.asm.mov(ecx, 0xE2).unwrap();
            c.asm.mov(edx, 7).unwrap();
            c.call("KeBugCheckEx");
        },
        0xE2,
        "KeBugCheckEx(0xE2)",
    ),
    (
        |c| {
            c.asm.mov(rbp, 0x00FF_2000_0000_0000u64).unwrap();
            c.asm.mov(eax, dword_ptr(rbp)).unwrap();
        },
        0x1E,
        "not canonical",
    ),
];

#[test]
fn faults_are_reported_with_the_bug_check_they_are_on_windows() {
    for (write, code, words) in MEMORY.into_iter().chain(ENDS).chain(ASTRAY) {
        let report = report(write);
        assert_eq!(report.rule, RuleId::Sim15, "{report}");
        assert_eq!(report.bug_check.map(|check| check.code), Some(code), "{report}");
        assert!(report.message.contains(words), "{words}: {report}");
    }
}

#[test]
fn a_loop_without_an_end_is_ended() {
    let report = report(|code| {
        let mut again = code.asm.create_label();
        code.asm.set_label(&mut again).unwrap();
        code.asm.jmp(again).unwrap();
    });
    assert_eq!(report.rule, RuleId::Sim15);
    assert!(report.message.contains("does not come back"), "{report}");
    assert!(report.call_site().starts_with("test.sys+0x1"), "{report}");
    assert_eq!(report.bug_check, None);

    // One that calls the kernel, at a level where Windows has a watchdog too.
    let report = super::running::report(|code| {
        code.asm.mov(ecx, 2).unwrap();
        code.asm.mov(cr8, rcx).unwrap();
        let mut again = code.asm.create_label();
        code.asm.set_label(&mut again).unwrap();
        code.call("KeGetCurrentIrql");
        code.asm.jmp(again).unwrap();
    });
    assert!(report.message.contains("does not come back"), "{report}");
    assert_eq!(report.bug_check.map(|check| check.code), Some(0x133), "{report}");
}

#[test]
fn a_privileged_instruction_is_named() {
    let report = report(|code| code.asm.wrmsr().unwrap());
    assert_eq!(report.rule, RuleId::Sim14);
    assert!(report.message.contains("wrmsr"), "{report}");
}

#[test]
fn an_image_without_the_framework_is_no_driver() {
    let result = load(&Builder::new(|code| {
        code.asm.xor(eax, eax).unwrap();
        code.asm.ret().unwrap();
    }));
    assert_eq!(result.expect("no rule is broken"), Err(LoadError::NoFramework));
}

#[test]
fn a_framework_of_another_version_is_refused_in_words() {
    let result = load(&Builder::new(|code| {
        // WDF_BIND_INFO: component, version 1.99.
        let info = DATA + 0x100;
        code.address(r8, info);
        code.asm.mov(dword_ptr(r8), 0x30).unwrap();
        code.address(rax, DATA + 0x200);
        code.asm.mov(qword_ptr(r8 + 8), rax).unwrap();
        for (index, unit) in "KmdfLibrary".encode_utf16().enumerate() {
            code.asm.mov(word_ptr(rax + 2 * index as i32), u32::from(unit)).unwrap();
        }
        code.asm.mov(dword_ptr(r8 + 0x10), 1).unwrap();
        code.asm.mov(dword_ptr(r8 + 0x14), 99).unwrap();
        code.address(r9, DATA + 0x300);
        code.call("WdfVersionBind");
        code.asm.ret().unwrap();
    }));
    let Ok(Err(LoadError::Bind(reason))) = result else { panic!("{result:?}") };
    assert!(reason.contains("needs KMDF 1.99"), "{reason}");
}

#[test]
fn a_machine_runs_one_kind_of_driver() {
    unsafe extern "C" fn entry(
        _: wdk_lite::PDRIVER_OBJECT,
        _: wdk_lite::PCUNICODE_STRING,
    ) -> wdk_lite::NTSTATUS {
        wdk_lite::STATUS_SUCCESS
    }
    let image = Builder::new(|code| code.asm.ret().unwrap()).image();
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |m| {
        let before = m.load("hosted", entry);
        let image = m.load_image("test", &image);
        (before, image)
    });
    let (before, image) = result.expect("no rule is broken");
    assert_eq!(before, Err(crate::NtStatus(wdk_lite::STATUS_UNSUCCESSFUL)));
    // The hosted driver did not stay, so the machine was free.
    assert!(matches!(image, Err(LoadError::Entry(_) | LoadError::NoFramework)), "{image:?}");
}

#[test]
fn code_for_the_entry_point_only_is_gone_later() {
    let mut builder = Builder::new(|code| {
        code.address(rax, INIT);
        code.asm.call(rax).unwrap();
        code.fail_with_eax();
    });
    builder.put(
        INIT,
        &assemble(INIT, |code| {
            code.asm.mov(eax, 42).unwrap();
            code.asm.ret().unwrap();
        }),
    );
    let result = load(&builder);
    let status = crate::NtStatus(0xC000_002Au32 as i32);
    assert_eq!(result.expect("no rule is broken"), Err(LoadError::Entry(status)));
}

#[test]
fn messages_to_the_debugger_are_recorded_when_asked_for() {
    let mut builder = Builder::new(|code| {
        code.address(rcx, DATA + 0x100);
        code.asm.mov(edx, 3).unwrap();
        code.asm.mov(r8d, 0x1F).unwrap();
        code.call("DbgPrint");
        code.fail_with_eax();
    });
    builder.put(DATA + 0x100, b"%d pages at %#x\n\0");
    for record in [true, false] {
        let image = builder.image();
        let machine = Machine::builder(Profile::X64).record_trace(record).build();
        let handle = machine.clone();
        let loaded = machine.run(move |m| m.load_image("test", &image).map(|_| ()));
        assert!(loaded.is_ok(), "{loaded:?}");
        let said: Vec<String> = handle.trace_events().into_iter().map(|e| e.name).collect();
        assert_eq!(said, if record { vec!["3 pages at 0x1f\n"] } else { vec![] });
    }
}
