//! The smallest KMDF driver as an image: bound, created, unloaded.

use iced_x86::code_asm::*;
use wdk_lite::{STATUS_NOT_SUPPORTED, STATUS_SUCCESS};

use super::build::{Builder, Code, DATA, INIT, PDATA, TEXT, assemble, slot_of};
use crate::verifier::Report;
use crate::{LoadError, Machine, NtStatus, Profile, RuleId};

/// Where its data lie.
const INFO: u32 = DATA + 0x100;
const TABLE: u32 = DATA + 0x180;
const GLOBALS: u32 = DATA + 0x188;
const COMPONENT: u32 = DATA + 0x200;
const CONFIG: u32 = DATA + 0x300;
/// And its routines.
const DEVICE_ADD: u32 = TEXT + 0x800;
const UNLOAD: u32 = TEXT + 0xA00;

/// A driver whose EvtDriverUnload is `unload`, for a function table of `count` entries.
fn driver(count: u32, unload: impl FnOnce(&mut Code)) -> Builder {
    let mut builder = Builder::new(|code| {
        code.asm.push(rsi).unwrap();
        code.asm.push(rdi).unwrap();
        code.asm.sub(rsp, 0x38).unwrap();
        code.asm.mov(rsi, rcx).unwrap();
        code.asm.mov(rdi, rdx).unwrap();
        code.address(r8, INFO);
        for (offset, target) in [(8, COMPONENT), (0x20, TABLE)] {
            code.address(rax, target);
            code.asm.mov(qword_ptr(r8 + offset), rax).unwrap();
        }
        code.address(r9, GLOBALS);
        // The frame has room for the callee and is aligned for a call.
        code.address(r11, slot_of("WdfVersionBind"));
        code.asm.call(qword_ptr(r11)).unwrap();
        code.address(rax, CONFIG);
        for (offset, routine) in [(8, DEVICE_ADD), (0x10, UNLOAD)] {
            code.address(rcx, routine);
            code.asm.mov(qword_ptr(rax + offset), rcx).unwrap();
        }
        code.asm.mov(qword_ptr(rsp + 0x20), rax).unwrap();
        code.asm.mov(qword_ptr(rsp + 0x28), 0).unwrap();
        code.asm.mov(rdx, rsi).unwrap();
        code.asm.mov(r8, rdi).unwrap();
        code.asm.xor(r9d, r9d).unwrap();
        framework(code, 116);
        code.asm.add(rsp, 0x38).unwrap();
        code.asm.pop(rdi).unwrap();
        code.asm.pop(rsi).unwrap();
        code.asm.ret().unwrap();
    });
    builder.put_u32s(INFO, &[0x30]);
    builder.put_u32s(INFO + 0x10, &[1, 33, 0, count]);
    let name: Vec<u8> = "KmdfLibrary".encode_utf16().flat_map(u16::to_le_bytes).collect();
    builder.put(COMPONENT, &name);
    builder.put_u32s(CONFIG, &[32]);
    builder.put(DEVICE_ADD, &assemble(DEVICE_ADD, |code| code.asm.ret().unwrap()));
    builder.put(UNLOAD, &assemble(UNLOAD, unload));
    // A frame of 0x38 bytes below two saved registers; the other routines have none.
    builder.put_u32s(
        PDATA,
        &[TEXT, TEXT + 0x800, PDATA + 0x140, DEVICE_ADD, TEXT + 0x1000, PDATA + 0x100],
    );
    builder.put(PDATA + 0x140, &[1, 7, 3, 0, 7, 0x62, 3, 0x70, 2, 0x60]);
    builder.directory(3, PDATA, 24);
    builder
}

/// Calls an entry of the function table whose address the framework wrote.
fn framework(code: &mut Code, index: i32) {
    code.address(r10, TABLE);
    code.asm.mov(r10, qword_ptr(r10)).unwrap();
    code.address(rcx, GLOBALS);
    code.asm.mov(rcx, qword_ptr(rcx)).unwrap();
    code.asm.call(qword_ptr(r10 + index * 8)).unwrap();
}

/// Loads and unloads a driver; what the machine then says.
fn lifetime(builder: &Builder) -> Result<Result<(), LoadError>, Box<Report>> {
    let image = builder.image();
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |m| {
        let driver = m.load_image("test", &image)?;
        m.unload(driver);
        Ok(())
    });
    result.map_err(|stopped| stopped.report)
}

#[test]
fn it_is_bound_created_and_unloaded() {
    let result = lifetime(&driver(458, |code| code.asm.ret().unwrap()));
    assert_eq!(result.expect("no rule is broken"), Ok(()));
}

#[test]
fn a_table_of_an_older_version_is_copied() {
    // 438 entries and fewer are copied into the driver's own table, which is not a pointer then.
    let mut builder = Builder::new(|code| {
        code.address(r8, INFO);
        for (offset, target) in [(8, COMPONENT), (0x20, DATA + 0x200)] {
            code.address(rax, target);
            code.asm.mov(qword_ptr(r8 + offset), rax).unwrap();
        }
        code.address(r9, GLOBALS);
        code.call("WdfVersionBind");
        // Entry 116 is WdfDriverCreate's: neither NULL nor an address that stands for nothing.
        code.address(rdx, DATA + 0x200 + 116 * 8);
        code.asm.mov(rdx, qword_ptr(rdx)).unwrap();
        code.asm.shr(rdx, 40).unwrap();
        code.asm.xor(eax, eax).unwrap();
        code.asm.cmp(edx, 0x7F).unwrap();
        code.asm.setbe(al).unwrap();
        code.fail_with_eax();
    });
    builder.put_u32s(INFO, &[0x30]);
    builder.put_u32s(INFO + 0x10, &[1, 9, 7600, 396]);
    let name: Vec<u8> = "KmdfLibrary".encode_utf16().flat_map(u16::to_le_bytes).collect();
    builder.put(COMPONENT, &name);

    let result = lifetime(&builder).expect("no rule is broken");

    assert_eq!(result, Err(LoadError::Entry(NtStatus(0xC000_0001u32 as i32))));
}

#[test]
fn a_table_of_no_version_is_refused() {
    let result = lifetime(&driver(457, |code| code.asm.ret().unwrap()));
    // The driver goes on as if it were bound, and calls through a NULL table.
    let report = result.expect_err("the machine stops");
    assert_eq!(report.rule, RuleId::Sim15, "{report}");
}

#[test]
fn code_for_the_entry_point_only_is_gone_afterwards() {
    let mut builder = driver(458, |code| {
        code.address(rax, INIT);
        code.asm.call(rax).unwrap();
        code.asm.ret().unwrap();
    });
    builder.put(INIT, &assemble(INIT, |code| code.asm.ret().unwrap()));

    let report = lifetime(&builder).expect_err("the machine stops");

    assert_eq!(report.rule, RuleId::Sim15);
    assert!(report.message.contains("section INIT"), "{report}");
    assert!(report.message.contains("gone once the entry point has returned"), "{report}");
    assert_eq!(report.call, "PFN_WDF_DRIVER_UNLOAD");
}

#[test]
fn a_framework_function_that_is_not_there_is_named() {
    let builder = driver(458, |code| {
        code.asm.sub(rsp, 0x28).unwrap();
        framework(code, 186);
        code.asm.add(rsp, 0x28).unwrap();
        code.asm.ret().unwrap();
    });

    let report = lifetime(&builder).expect_err("the machine stops");

    assert_eq!(report.rule, RuleId::Sim14);
    let named = crate::image::framework_names::NAMES[186];
    assert!(report.message.contains(named) && report.message.contains("186"), "{report}");
    assert!(report.call_site().starts_with("test.sys+0x1a"), "{report}");
}

#[test]
fn a_machine_with_an_image_takes_no_other_driver() {
    unsafe extern "C" fn entry(
        _: wdk_lite::PDRIVER_OBJECT,
        _: wdk_lite::PCUNICODE_STRING,
    ) -> wdk_lite::NTSTATUS {
        STATUS_SUCCESS
    }
    let image = driver(458, |code| code.asm.ret().unwrap()).image();
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |m| {
        let loaded = m.load_image("test", &image)?;
        let hosted = m.load("hosted", entry);
        let second = m.load_image("test", &image);
        m.unload(loaded);
        // Once it is gone the machine is free for the next one.
        m.load_image("test", &image).map(|driver| m.unload(driver))?;
        Ok::<_, LoadError>((hosted.err(), second.err()))
    });
    let refused = result.expect("no rule is broken").expect("the image loads");
    assert_eq!(refused, (Some(NtStatus(STATUS_NOT_SUPPORTED)), Some(LoadError::Occupied)));
}
