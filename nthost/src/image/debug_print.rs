//! What an image says to a debugger: DbgPrint and DbgPrintEx, whose messages go to the trace.
//!
//! They are variadic in C. Here they take a fixed number of arguments, of which the format tells
//! how many there are; a message with more is cut off there.

// UNSAFETY: reads the driver's strings.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::ffi::{CStr, c_char};
use std::fmt::Write as _;

use wdk_lite::{NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

use super::exports::{kernel, text};

/// Arguments of one message.
const ARGUMENTS: usize = 8;

/// The longest string taken from a driver, characters.
const LONGEST: usize = 4096;

pub(super) unsafe extern "win64" fn DbgPrint(
    format: *const c_char,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
) -> NTSTATUS {
    // SAFETY: the driver's format and the arguments that it names.
    unsafe { print(format, [a, b, c, d, e, f, g, h]) }
}

pub(super) unsafe extern "win64" fn DbgPrintEx(
    _component: u32,
    _level: u32,
    format: *const c_char,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { print(format, [a, b, c, d, e, f, g, h]) }
}

unsafe fn print(format: *const c_char, arguments: [u64; ARGUMENTS]) -> NTSTATUS {
    let kernel = kernel("DbgPrint");
    if kernel.options.trace && !format.is_null() {
        // SAFETY: the driver's NUL-terminated format.
        let format = unsafe { CStr::from_ptr(format) };
        // SAFETY: the arguments that the driver passed for it.
        kernel.image.trace().print(unsafe { message(format.to_bytes(), &arguments) });
    }
    STATUS_SUCCESS
}

/// A conversion of a format.
struct Conversion {
    /// Least characters of the result.
    width: usize,
    zeros: bool,
    left: bool,
    /// Hexadecimal numbers begin with 0x.
    prefix: bool,
    /// Bytes of an integer, from the length modifier.
    size: usize,
    wide: bool,
    kind: u8,
    /// Bytes of the format behind it.
    rest: usize,
}

/// Reads a conversion, behind its percent sign.
fn conversion(format: &[u8]) -> Option<Conversion> {
    let mut at = 0;
    let mut found = Conversion {
        width: 0,
        zeros: false,
        left: false,
        prefix: false,
        size: 4,
        wide: false,
        kind: b'%',
        rest: 0,
    };
    while let Some(&flag) = format.get(at).filter(|byte| b"-+ #0".contains(byte)) {
        found.zeros |= flag == b'0';
        found.left |= flag == b'-';
        found.prefix |= flag == b'#';
        at += 1;
    }
    let mut precision = false;
    while let Some(&byte) = format.get(at).filter(|b| b.is_ascii_digit() || **b == b'.') {
        precision |= byte == b'.';
        if !precision {
            // A hostile width must not fill memory.
            found.width = (found.width * 10 + usize::from(byte - b'0')).min(200);
        }
        at += 1;
    }
    for (modifier, size) in [
        (&b"I64"[..], 8),
        (b"I32", 4),
        (b"ll", 8),
        (b"hh", 1),
        (b"I", 8),
        (b"z", 8),
        (b"l", 4),
        (b"h", 2),
        (b"w", 4),
    ] {
        if format.get(at..).is_some_and(|rest| rest.starts_with(modifier)) {
            found.size = size;
            found.wide = modifier == b"w" || modifier == b"l";
            at += modifier.len();
            break;
        }
    }
    found.kind = *format.get(at)?;
    found.rest = at + 1;
    Some(found)
}

/// The message of a format and its arguments.
///
/// # Safety
/// Arguments that the format calls strings are strings, or NULL.
unsafe fn message(format: &[u8], arguments: &[u64]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter().copied();
    let mut rest = format;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        text += &String::from_utf8_lossy(&rest[..at]);
        let Some(found) = conversion(&rest[at + 1..]) else { return text };
        rest = &rest[at + 1 + found.rest..];
        if found.kind == b'%' {
            text.push('%');
            continue;
        }
        let Some(argument) = arguments.next() else { return text };
        // SAFETY: the caller's promise.
        let value = unsafe { value(&found, argument) };
        let width = found.width;
        // Writing to a string cannot fail.
        let _ = match (found.left, found.zeros) {
            (true, _) => write!(text, "{value:<width$}"),
            (false, true) => write!(text, "{value:0>width$}"),
            (false, false) => write!(text, "{value:>width$}"),
        };
    }
    text + &String::from_utf8_lossy(rest)
}

/// One argument in words.
///
/// # Safety
/// If the conversion is a string's, the argument is such a string, or NULL.
unsafe fn value(conversion: &Conversion, argument: u64) -> String {
    let mask = super::alu::mask(conversion.size);
    match conversion.kind {
        // CAST: a signed view of the number.
        b'd' | b'i' => {
            (super::alu::sign_extended(argument & mask, conversion.size) as i64).to_string()
        }
        b'u' => (argument & mask).to_string(),
        b'x' if conversion.prefix => format!("{:#x}", argument & mask),
        b'x' => format!("{:x}", argument & mask),
        b'X' if conversion.prefix => format!("0X{:X}", argument & mask),
        b'X' => format!("{:X}", argument & mask),
        b'p' => format!("{argument:016X}"),
        // CAST: one character.
        b'c' => char::from(argument as u8).to_string(),
        b's' | b'S' | b'Z' if argument == 0 => "(null)".to_owned(),
        b'Z' => {
            let string: PCUNICODE_STRING = std::ptr::with_exposed_provenance(argument as usize);
            // SAFETY: a counted string by the caller's promise.
            unsafe { text(string) }
        }
        b'S' => {
            // SAFETY: a string by the caller's promise.
            unsafe { wide(argument) }
        }
        b's' if conversion.wide => {
            // SAFETY: as above.
            unsafe { wide(argument) }
        }
        b's' => {
            let string: *const c_char = std::ptr::with_exposed_provenance(argument as usize);
            // SAFETY: as above.
            unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
        }
        other => format!("%{}", char::from(other)),
    }
}

/// A NUL-terminated string of UTF-16.
///
/// # Safety
/// It is one.
unsafe fn wide(address: u64) -> String {
    let start: *const u16 = std::ptr::with_exposed_provenance(address as usize);
    let unit = |index| {
        // SAFETY: up to the NUL the string is readable, and nothing behind it is looked at.
        let unit = unsafe { start.wrapping_add(index).read() };
        (unit != 0).then_some(unit)
    };
    let units: Vec<u16> = (0..LONGEST).map_while(unit).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_formatted_as_c_does() {
        let narrow = c"abc".as_ptr().expose_provenance() as u64;
        let units: Vec<u16> = "wide\0".encode_utf16().collect();
        let wide = units.as_ptr().expose_provenance() as u64;
        let counted = wdk_lite::UNICODE_STRING {
            Length: 4,
            MaximumLength: 10,
            Buffer: units.as_ptr().cast_mut(),
        };
        let counted = (&raw const counted).expose_provenance() as u64;
        let minus = -5i64 as u64;
        let cases: [(&[u8], &[u64], &str); 14] = [
            (b"plain", &[], "plain"),
            (b"%d %i %u", &[minus, 7, 8], "-5 7 8"),
            (b"%x %X %08x", &[0xAB, 0xAB, 0x1F], "ab AB 0000001f"),
            (b"%I64x %llx", &[1 << 40, 1 << 41], "10000000000 20000000000"),
            (b"%lx %hx %hhx", &[0xFFFF_0000_1111, 0x12345, 0x123], "1111 2345 23"),
            (b"%p", &[0x1234], "0000000000001234"),
            (b"%s|%5s|%-5s|", &[narrow, narrow, narrow], "abc|  abc|abc  |"),
            (b"%ws %S %wZ", &[wide, wide, counted], "wide wide wi"),
            (b"%s %wZ", &[0, 0], "(null) (null)"),
            (b"100%% %c", &[65], "100% A"),
            (b"%d", &[], ""),
            (b"end %", &[1], "end "),
            (b"%99999d", &[1], &" ".repeat(199)),
            (b"%q", &[1], "%q"),
        ];
        for (format, arguments, expected) in cases {
            // SAFETY: the strings above.
            let message = unsafe { message(format, arguments) };
            assert!(message.starts_with(expected), "{message:?} is not {expected:?}");
            assert!(message.len() <= expected.len() + 1, "{message:?} is not {expected:?}");
        }
    }
}
