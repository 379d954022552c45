//! Files that are refused, and that no file can crash the loader.

use proptest::prelude::*;

use super::build::{
    BASE, Builder, CHECKSUM, DATA, OPTIONAL, PDATA, PE, RDATA, RELOC, SECTIONS, SIZE, TEXT,
};
use crate::image::{Image, ImageError};

fn sound() -> Builder {
    Builder::new(|code| code.asm.ret().unwrap())
}

/// What is said about an image after `change`.
fn refusal(change: impl FnOnce(&mut Builder)) -> ImageError {
    let mut builder = sound();
    change(&mut builder);
    Image::from_bytes("test.sys", &builder.bytes).expect_err("the image is refused")
}

#[test]
fn a_sound_image_is_read() {
    let mut builder = sound();
    builder.seal();
    assert_eq!(builder.image().name(), "test.sys");
}

#[test]
fn flaws_are_named() {
    type Change = fn(&mut Builder);
    let cases: [(Change, &str); 22] = [
        (|b| b.put(0, b"ZM"), "does not begin with"),
        (|b| b.put_u32s(0x3C, &[0xFFFF_FFF0]), "no PE header"),
        (|b| b.put(PE as u32, b"XX"), "PE header"),
        (|b| b.put(PE as u32 + 4, &0xAA64u16.to_le_bytes()), "built for ARM64"),
        (|b| b.put(PE as u32 + 4, &0x14Cu16.to_le_bytes()), "machine type 0x014c"),
        (|b| b.put(PE as u32 + 22, &[0x20]), "not executable"),
        (|b| b.put(PE as u32 + 22, &[0x23]), "relocations are stripped"),
        (|b| b.put(OPTIONAL as u32, &[0x0B, 0x01]), "32-bit"),
        (|b| b.put(OPTIONAL as u32 + 68, &[3]), "subsystem is 3"),
        (|b| b.put_u32s(OPTIONAL as u32 + 32, &[0x200]), "section alignment is 0x200"),
        (|b| b.put_u32s(OPTIONAL as u32 + 56, &[0]), "size in memory is 0x0"),
        (|b| b.put_u32s(OPTIONAL as u32 + 56, &[u32::MAX]), "size in memory"),
        (|b| b.put_u32s(OPTIONAL as u32 + 56, &[0x3000]), "section .data does not fit"),
        (|b| b.put_u32s(OPTIONAL as u32 + 16, &[DATA]), "no executable section"),
        (|b| b.put_u32s(CHECKSUM as u32, &[1]), "header states 0x1"),
        (|b| b.put_u32s(SECTIONS as u32 + 12, &[0x1800]), "overlaps"),
        (|b| b.put_u32s(SECTIONS as u32 + 20, &[SIZE]), "ends within section .text"),
        (|b| b.put_u32s(SECTIONS as u32 + 40 + 36, &[0x40]), "error 998"),
        (|b| b.directory(9, DATA, 40), "thread-local storage"),
        (|b| b.put(RELOC + 9, &[0x30]), "of kind 3"),
        (|b| b.put_u32s(PDATA, &[TEXT + 4, TEXT]), "not sorted"),
        (|b| b.put_u32s(RDATA + 0x100 + 16, &[SIZE - 4]), "has no place"),
    ];
    for (change, words) in cases {
        let error = refusal(change);
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(error.to_string().contains("test.sys"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Image::open("no/such/file.sys".as_ref()).expect_err("it is not there");
    assert!(error.to_string().starts_with("cannot read no/such/file.sys"), "{error}");
    // What could be read for ever is not read at all.
    for path in ["/dev/zero", env!("CARGO_MANIFEST_DIR")] {
        let error = Image::open(path.as_ref()).expect_err("it is no file");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn the_security_cookie_is_seeded() {
    let mut builder = sound();
    let config = RDATA + 0x800;
    builder.directory(10, config, 0x140);
    builder.put_u32s(config, &[0x140]);
    builder.put(config + 0x58, &(BASE + u64::from(DATA) + 8).to_le_bytes());
    builder.put(config + 0x70, &(BASE + u64::from(RDATA) + 0xF00).to_le_bytes());
    let default = 0x2B99_2DDF_A232u64;
    builder.put(DATA + 8, &default.to_le_bytes());

    let image = builder.image();
    let mapping = image.copy().expect("there is memory");

    let word = |rva: u32| {
        let place: *const u64 = std::ptr::with_exposed_provenance(mapping.start() + rva as usize);
        // SAFETY: a word of a readable section.
        unsafe { place.read() }
    };
    let cookie = word(DATA + 8);
    assert!(cookie != default && cookie != 0 && cookie >> 48 == 0, "{cookie:#x}");
    assert_eq!(word(RDATA + 0xF00), crate::image::exports::guard_check() as u64);
    assert_eq!(word(DATA), mapping.start() as u64 + u64::from(DATA));

    builder.put(config + 0x58, &(BASE + u64::from(SIZE)).to_le_bytes());
    let error = Image::from_bytes("test.sys", &builder.bytes).expect_err("outside the image");
    assert!(error.to_string().contains("security cookie"), "{error}");
}

#[test]
fn functions_are_found_by_module_and_name() {
    use crate::image::exports::find;

    for (module, name) in [
        ("ntoskrnl.exe", "IoGetDmaAdapter"),
        ("HAL.dll", "KfRaiseIrql"),
        ("hal.DLL", "HalAllocateCommonBuffer"),
        ("ntoskrnl.exe", "memcpy"),
        ("WDFLDR.SYS", "WdfVersionBind"),
    ] {
        assert!(find(module, name).is_some(), "{module}!{name}");
    }
    for (module, name) in
        [("WDFLDR.SYS", "memcpy"), ("ntoskrnl.exe", "iogetdmaadapter"), ("ndis.sys", "memcpy")]
    {
        assert_eq!(find(module, name), None, "{module}!{name}");
    }
}

/// Reads and, if that goes well, maps: neither may crash whatever the bytes are.
fn survives(bytes: &[u8]) {
    if let Ok(image) = Image::from_bytes("test.sys", bytes) {
        let mapping = image.copy().expect("there is memory");
        mapping.restore().expect("a copy is restored");
        mapping.discard().expect("sections go away");
        image.give_back(mapping);
        let _ = image.missing_imports();
    }
}

proptest! {
    #[test]
    fn truncated_images_are_refused(length in 0..SIZE as usize, sealed: bool) {
        let mut builder = sound();
        if sealed {
            builder.seal();
        }
        builder.bytes.truncate(length);

        prop_assert!(Image::from_bytes("test.sys", &builder.bytes).is_err());
    }

    #[test]
    fn flipped_bits_in_a_sealed_image_are_noticed(at in 0..SIZE as usize, bit in 0..8u32) {
        let mut builder = sound();
        builder.seal();
        builder.bytes[at] ^= 1 << bit;
        // Both halves of the checksum's word must change for the sum to be lost; the signature
        // and the offset to it are looked at first.
        let cleared = (CHECKSUM..CHECKSUM + 4).contains(&at)
            && builder.bytes[CHECKSUM..CHECKSUM + 4] == [0; 4];

        prop_assert!(cleared || Image::from_bytes("test.sys", &builder.bytes).is_err());
    }

    #[test]
    fn damage_never_crashes_the_loader(
        flips in prop::collection::vec((0..SIZE as usize, 0..8u32), 1..20),
        headers in prop::collection::vec((0..SECTIONS + 240, any::<u8>()), 0..8),
        tables in prop::collection::vec((0..0x1000usize, 0..4usize, any::<u32>()), 0..8),
        length in prop_oneof![4 => Just(SIZE as usize), 1 => 0..SIZE as usize],
    ) {
        let mut bytes = sound().bytes;
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        for (at, byte) in headers {
            bytes[at] = byte;
        }
        for (at, table, word) in tables {
            let at = [RDATA, PDATA, RELOC, TEXT][table] as usize + (at & !3);
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        // A wrong sum would hide everything else.
        bytes[CHECKSUM..CHECKSUM + 4].fill(0);
        bytes.truncate(length);

        survives(&bytes);
    }

    #[test]
    fn any_bytes_never_crash_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        survives(&bytes);
    }
}
