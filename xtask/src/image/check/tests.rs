//! Mistakes seeded into images that were built, each of which must be found. Images need the
//! compiler's Windows targets, so without one there is nothing to test.

use std::path::PathBuf;

use super::*;

/// The images that were built, by architecture.
fn images() -> Vec<Vec<u8>> {
    let folder = |arch: &str| super::super::root().join("target/image").join(arch);
    let paths = ["x86_64", "aarch64"].map(|arch| folder(arch).join("dmaproof.sys"));
    let found: Vec<_> =
        paths.iter().filter_map(|path: &PathBuf| std::fs::read(path).ok()).collect();
    if found.is_empty() {
        println!("SKIPPED: no image in target/image; `cargo xtask image` builds them");
    }
    found
}

fn headers(data: &[u8]) -> usize {
    u32::from_le_bytes(data[0x3C..0x40].try_into().expect("four bytes")) as usize
}

/// Sets the checksum right, so that it is not what a mistake is found by.
fn seal(data: &mut [u8]) {
    let field = headers(data) + 4 + 20 + 64;
    let sum = checksum(data, field);
    data[field..field + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Applies a mistake to each image; what is found must mention `words`.
fn finds(words: &str, mistake: impl Fn(&mut Vec<u8>)) {
    for mut image in images() {
        mistake(&mut image);
        seal(&mut image);
        let found = findings(&image);
        assert!(found.iter().any(|f| f.contains(words)), "expected {words:?} in {found:#?}");
    }
}

/// The offset of the header of the section with this name.
fn section(data: &[u8], name: &str) -> usize {
    let start = headers(data);
    let size = usize::from(u16::from_le_bytes([data[start + 20], data[start + 21]]));
    let count = usize::from(u16::from_le_bytes([data[start + 6], data[start + 7]]));
    let table = start + 24 + size;
    let found =
        (0..count).map(|n| table + 40 * n).find(|&at| data[at..].starts_with(name.as_bytes()));
    found.expect("every image has this section")
}

fn set_bits(data: &mut [u8], name: &str, change: impl Fn(u32) -> u32) {
    let at = section(data, name) + 36;
    let bits = u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
    data[at..at + 4].copy_from_slice(&change(bits).to_le_bytes());
}

fn replace(data: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = data.windows(from.len()).position(|window| window == from);
    let at = at.expect("every image has these bytes");
    data[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn the_images_are_sound() {
    for image in images() {
        assert_eq!(findings(&image), Vec::<String>::new());
    }
}

#[test]
fn a_wrong_checksum_is_found() {
    for mut image in images() {
        *image.last_mut().expect("it is not empty") ^= 1;
        assert!(findings(&image)[0].contains("checksum"));
    }
}

#[test]
fn a_library_is_found() {
    finds("file characteristics", |image| {
        let at = headers(image) + 22;
        image[at + 1] |= 0x20;
    });
}

#[test]
fn a_fixed_image_is_found() {
    finds("image characteristics", |image| {
        let at = headers(image) + 24 + 70;
        image[at] &= !0x40;
    });
}

#[test]
fn a_console_program_is_found() {
    finds("subsystem 3", |image| {
        let at = headers(image) + 24 + 68;
        image[at] = 3;
    });
}

#[test]
fn an_older_system_version_is_found() {
    finds("operating system version 6", |image| {
        let at = headers(image) + 24 + 40;
        image[at] = 6;
    });
}

#[test]
fn a_section_without_rights_is_found() {
    finds("not readable", |image| set_bits(image, ".rdata", |bits| bits & !READ));
}

#[test]
fn a_writable_and_executable_section_is_found() {
    finds("writable and executable", |image| set_bits(image, ".data", |bits| bits | EXECUTE));
}

#[test]
fn paged_code_is_found() {
    finds("section .text", |image| set_bits(image, ".text", |bits| bits & !NOT_PAGED));
}

#[test]
fn code_that_is_kept_although_it_runs_once_is_found() {
    finds("section INIT", |image| set_bits(image, "INIT", |bits| bits & !DISCARDABLE));
}

#[test]
fn import_addresses_in_an_executable_section_are_found() {
    finds("import addresses", |image| set_bits(image, ".rdata", |bits| bits | EXECUTE));
}

#[test]
fn an_unknown_import_is_found() {
    finds("ntoskrnl.exe!KeFlushIoBufferz", |image| {
        replace(image, b"KeFlushIoBuffers\0", b"KeFlushIoBufferz\0");
    });
}

#[test]
fn an_import_from_the_wrong_module_is_found() {
    finds("WDFLDR.SYZ", |image| replace(image, b"WDFLDR.SYS\0", b"WDFLDR.SYZ\0"));
}

#[test]
fn missing_relocations_are_found() {
    finds("no relocations", |image| {
        let at = headers(image) + 24 + 112 + 8 * 5;
        image[at..at + 8].fill(0);
    });
}

#[test]
fn exports_are_found() {
    finds("exports", |image| {
        let from = headers(image) + 24 + 112 + 8;
        let import: [u8; 8] = image[from..from + 8].try_into().expect("eight bytes");
        image[from - 8..from].copy_from_slice(&import);
    });
}

#[test]
fn damaged_files_are_refused_and_never_a_panic() {
    for image in images() {
        for length in (0..image.len()).step_by(97) {
            assert!(!findings(&image[..length]).is_empty());
        }
        for at in 0..1024 {
            let mut damaged = image.clone();
            damaged[at] ^= 0xFF;
            let _any = findings(&damaged);
        }
    }
}
