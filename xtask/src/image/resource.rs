//! The version resource: what the file's properties show.

use super::link::Image;

/// Resource types and flags (winver.h, winuser.h).
const RT_VERSION: u16 = 16;
const LANGUAGE: u16 = 0x409;
const CODE_PAGE: u16 = 1200;
/// Moveable and pure, as resource compilers write it.
const MEMORY_FLAGS: u16 = 0x30;
const FIXED_SIGNATURE: u32 = 0xFEEF_04BD;
const FILE_OS_NT: u32 = 0x4_0004;
const FILE_TYPE_DRIVER: u32 = 3;
const DRIVER_SYSTEM: u32 = 7;

/// The resource file (`.res`) with the version of `image`.
pub fn version(image: &Image) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let file = format!("{}.sys", image.binary);
    let strings = [
        ("CompanyName", "dmaproof"),
        ("FileDescription", image.description),
        ("FileVersion", version),
        ("InternalName", &file),
        ("LegalCopyright", "MIT or Apache-2.0"),
        ("OriginalFilename", &file),
        ("ProductName", "dmaproof"),
        ("ProductVersion", version),
    ];
    let mut res = header(0, 0, 0, 0, 0);
    let data = info(&strings);
    // CAST: a small resource.
    res.extend(header(data.len() as u32, RT_VERSION, 1, MEMORY_FLAGS, LANGUAGE));
    res.extend(data);
    res
}

/// A resource header of 32 bytes: type and name are numbers.
fn header(size: u32, kind: u16, name: u16, flags: u16, language: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.extend(size.to_le_bytes());
    out.extend(32u32.to_le_bytes());
    for id in [kind, name] {
        out.extend(0xFFFFu16.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    // Data version, flags, language, version, characteristics.
    out.extend(0u32.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(language.to_le_bytes());
    out.extend([0; 8]);
    out
}

/// VS_VERSIONINFO with the fixed part, the strings and the translation.
fn info(strings: &[(&str, &str)]) -> Vec<u8> {
    let entries = strings.iter().map(|(key, value)| {
        let value: Vec<u8> = utf16(value);
        // CAST: short texts; a text's length counts characters.
        block(key, (value.len() / 2) as u16, true, &value, &[])
    });
    let entries: Vec<_> = entries.collect();
    let table = block(&format!("{LANGUAGE:04X}{CODE_PAGE:04X}"), 0, true, &[], &entries);
    let translation = [LANGUAGE.to_le_bytes(), CODE_PAGE.to_le_bytes()].concat();
    let translation = block("Translation", 4, false, &translation, &[]);
    let children = [
        block("StringFileInfo", 0, true, &[], &[table]),
        block("VarFileInfo", 0, true, &[], &[translation]),
    ];
    let fixed = fixed();
    // CAST: 52.
    block("VS_VERSION_INFO", fixed.len() as u16, false, &fixed, &children)
}

/// VS_FIXEDFILEINFO.
fn fixed() -> Vec<u8> {
    let mut numbers = env!("CARGO_PKG_VERSION").split('.').map(|n| n.parse().unwrap_or(0u32));
    let mut next = || numbers.next().unwrap_or(0);
    let (major, minor, patch) = (next(), next(), next());
    let version = [major << 16 | minor, patch << 16];
    let words = [
        FIXED_SIGNATURE,
        0x1_0000,
        version[0],
        version[1],
        version[0],
        version[1],
        0x3F,
        0,
        FILE_OS_NT,
        FILE_TYPE_DRIVER,
        DRIVER_SYSTEM,
        0,
        0,
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// One node: length, value's length, whether it is text, key, value, children; all aligned to 4.
fn block(key: &str, value_length: u16, text: bool, value: &[u8], children: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend(value_length.to_le_bytes());
    out.extend(u16::from(text).to_le_bytes());
    out.extend(utf16(key));
    align(&mut out);
    out.extend(value);
    for child in children {
        align(&mut out);
        out.extend(child);
    }
    // CAST: a small resource.
    let length = out.len() as u16;
    out[..2].copy_from_slice(&length.to_le_bytes());
    // The padding belongs to the next node, but the last one must end aligned as well.
    if key == "VS_VERSION_INFO" {
        align(&mut out);
    }
    out
}

fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// NUL-terminated UTF-16.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
