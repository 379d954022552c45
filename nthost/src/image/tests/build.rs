//! A small driver image: sections at fixed places, so that the file is the image itself.

use iced_x86::code_asm::*;

use crate::image::Image;

/// Where things lie, by RVA; the offset in the file is the same.
pub(super) const TEXT: u32 = 0x1000;
pub(super) const RDATA: u32 = 0x2000;
pub(super) const DATA: u32 = 0x3000;
pub(super) const PDATA: u32 = 0x4000;
pub(super) const RELOC: u32 = 0x5000;
pub(super) const INIT: u32 = 0x6000;
pub(super) const SIZE: u32 = 0x7000;
pub(super) const BASE: u64 = 0x1_4000_0000;

/// Offsets of headers in the file.
pub(super) const PE: usize = 0x80;
pub(super) const OPTIONAL: usize = PE + 24;
pub(super) const CHECKSUM: usize = OPTIONAL + 64;
pub(super) const SECTIONS: usize = OPTIONAL + 240;

/// The names that images here may import, in the order of their slots.
const IMPORTS: [(&str, &[&str]); 2] = [
    (
        "ntoskrnl.exe",
        &[
            "MmMapIoSpaceEx",
            "KeBugCheckEx",
            "NoSuchFunction",
            "KeGetCurrentIrql",
            "memcpy",
            "DbgPrint",
            "__C_specific_handler",
            "ExRaiseStatus",
            "ProbeForRead",
        ],
    ),
    ("WDFLDR.SYS", &["WdfVersionBind", "WdfVersionUnbind"]),
];

/// An image that is being made.
pub(super) struct Builder {
    pub bytes: Vec<u8>,
}

impl Builder {
    /// An image whose entry point is the code that `write` assembles.
    pub(super) fn new(write: impl FnOnce(&mut Code)) -> Self {
        let mut builder = Self { bytes: vec![0; SIZE as usize] };
        builder.headers();
        builder.imports();
        let code = assemble(TEXT, write);
        builder.put(TEXT, &code);
        // One function without a prologue covers the code.
        builder.put_u32s(PDATA, &[TEXT, TEXT + 0x1000, PDATA + 0x100]);
        builder.put(PDATA + 0x100, &[1, 0, 0, 0]);
        // The word at DATA points to itself.
        builder.put(DATA, &(BASE + u64::from(DATA)).to_le_bytes());
        builder.put_u32s(RELOC, &[DATA, 12]);
        builder.put(RELOC + 8, &[0x00, 0xA0, 0, 0]);
        builder
    }

    /// Puts bytes at an RVA.
    pub(super) fn put(&mut self, rva: u32, bytes: &[u8]) {
        let at = rva as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn put_u32s(&mut self, rva: u32, words: &[u32]) {
        for (index, word) in words.iter().enumerate() {
            self.put(rva + 4 * index as u32, &word.to_le_bytes());
        }
    }

    /// Sets a data directory.
    pub(super) fn directory(&mut self, index: u32, address: u32, size: u32) {
        self.put_u32s((OPTIONAL + 112) as u32 + index * 8, &[address, size]);
    }

    /// Fills the checksum in, as a linker does.
    pub(super) fn seal(&mut self) {
        self.put_u32s(CHECKSUM as u32, &[0]);
        let words = self.bytes.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 8);
        let mut sum: u64 = words.sum();
        while sum > 0xFFFF {
            sum = (sum >> 16) + (sum & 0xFFFF);
        }
        self.put_u32s(CHECKSUM as u32, &[sum as u32 + self.bytes.len() as u32]);
    }

    /// Reads it back.
    pub(super) fn image(&self) -> Image {
        Image::from_bytes("test.sys", &self.bytes).expect("the image is sound")
    }

    fn headers(&mut self) {
        self.put(0, b"MZ");
        self.put_u32s(0x3C, &[PE as u32]);
        self.put(PE as u32, b"PE\0\0");
        let sections = [
            (".text", TEXT, 0x6800_0020),
            (".rdata", RDATA, 0x4800_0040),
            (".data", DATA, 0xC800_0040),
            (".pdata", PDATA, 0x4800_0040),
            (".reloc", RELOC, 0x4200_0040),
            ("INIT", INIT, 0x6200_0020),
        ];
        let at = PE as u32 + 4;
        self.put(at, &0x8664u16.to_le_bytes());
        self.put(at + 2, &(sections.len() as u16).to_le_bytes());
        self.put(at + 16, &240u16.to_le_bytes());
        self.put(at + 18, &0x22u16.to_le_bytes());
        let at = OPTIONAL as u32;
        self.put(at, &0x20Bu16.to_le_bytes());
        self.put_u32s(at + 16, &[TEXT]);
        self.put(at + 24, &BASE.to_le_bytes());
        self.put_u32s(at + 32, &[0x1000, 0x1000]);
        self.put_u32s(at + 56, &[SIZE, 0x1000]);
        self.put(at + 68, &1u16.to_le_bytes());
        self.put_u32s(at + 108, &[16]);
        self.directory(1, RDATA + 0x100, 60);
        self.directory(3, PDATA, 12);
        self.directory(5, RELOC, 12);
        for (index, (name, start, flags)) in sections.into_iter().enumerate() {
            let at = (SECTIONS + 40 * index) as u32;
            self.put(at, name.as_bytes());
            self.put_u32s(at + 8, &[0x1000, start, 0x1000, start]);
            self.put_u32s(at + 36, &[flags]);
        }
    }

    fn imports(&mut self) {
        let mut name_at = RDATA + 0x400;
        for (index, (module, names)) in IMPORTS.iter().enumerate() {
            let first = slot_of(names[0]);
            let descriptor = RDATA + 0x100 + 20 * index as u32;
            self.put(name_at, module.as_bytes());
            self.put_u32s(descriptor, &[first + 0x200, 0, 0, name_at, first]);
            name_at += 0x20;
            for (number, name) in names.iter().enumerate() {
                let thunk = first + 0x200 + 8 * number as u32;
                self.put_u32s(thunk, &[name_at, 0]);
                self.put(name_at + 2, name.as_bytes());
                name_at += 0x20;
            }
        }
    }
}

/// The RVA of the pointer that holds an import's address.
pub(super) fn slot_of(name: &str) -> u32 {
    let mut slot = RDATA;
    for (_, names) in IMPORTS {
        if let Some(index) = names.iter().position(|known| *known == name) {
            return slot + 8 * index as u32;
        }
        slot += 8 * (names.len() as u32 + 1);
    }
    panic!("{name} is not among the imports")
}

/// Code at a known place.
pub(super) struct Code {
    pub asm: CodeAssembler,
    rva: u32,
    start: CodeLabel,
}

impl Code {
    /// Puts the address of an RVA into a register.
    pub(super) fn address(&mut self, register: AsmRegister64, rva: u32) {
        self.asm.lea(register, ptr(self.start)).unwrap();
        self.asm.add(register, rva as i32 - self.rva as i32).unwrap();
    }

    /// Calls an import, with room for what the callee saves.
    pub(super) fn call(&mut self, name: &str) {
        self.address(r11, slot_of(name));
        self.asm.sub(rsp, 0x28).unwrap();
        self.asm.call(qword_ptr(r11)).unwrap();
        self.asm.add(rsp, 0x28).unwrap();
    }

    /// Returns EAX's lower 30 bits as a failure status.
    pub(super) fn fail_with_eax(&mut self) {
        self.asm.and(eax, 0x3FFF_FFFF).unwrap();
        self.asm.or(eax, 0xC000_0000u32 as i32).unwrap();
        self.asm.ret().unwrap();
    }

    /// Maps the registers of the first device and puts their address into RAX.
    pub(super) fn map_registers(&mut self) {
        self.asm.mov(ecx, 0xC000_0000u32).unwrap();
        self.asm.mov(edx, 0x1000).unwrap();
        self.asm.mov(r8d, 0x204).unwrap();
        self.call("MmMapIoSpaceEx");
    }
}

/// Assembles code for an RVA.
pub(super) fn assemble(rva: u32, write: impl FnOnce(&mut Code)) -> Vec<u8> {
    let mut asm = CodeAssembler::new(64).unwrap();
    let mut start = asm.create_label();
    asm.set_label(&mut start).unwrap();
    asm.nop().unwrap();
    let mut code = Code { asm, rva, start };
    write(&mut code);
    code.asm.assemble(BASE + u64::from(rva)).unwrap()
}
