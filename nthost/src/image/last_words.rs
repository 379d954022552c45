//! What is said when a fault ends the process: a driver in this process can damage the host.

// UNSAFETY: writes to standard error in a signal handler, where nothing may allocate or lock.

use crate::machine::context;

/// Where the fault was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the stack pointer.
    Stack,
    /// In code that is not the driver's.
    Host,
}

/// Says what is known, if a machine runs on the calling thread.
pub(super) fn say(place: Place, rip: u64, address: u64, rsp: u64) {
    if context::current().is_none() {
        return;
    }
    let (callback, call) = context::with(|c| (c.callback.get(), c.ddi.get()));
    let mut digits = [0; 16];
    write("nthost: a fault ends this process, at ");
    write(hexadecimal(rip, &mut digits));
    write(" with address ");
    write(hexadecimal(address, &mut digits));
    write(" and stack pointer ");
    write(hexadecimal(rsp, &mut digits));
    write(".\nThe driver was in ");
    write(if callback.is_empty() { "no callback" } else { callback });
    if let Some(call) = call {
        write(" and had called ");
        write(call.name);
    }
    write(match (place, call) {
        (Place::Stack, _) => ". Its stack has overflowed, or it has lost its stack pointer",
        (Place::Host, Some(_)) => ". Perhaps an argument of this call is bad",
        (Place::Host, None) => {
            ". Perhaps it passed a bad pointer, changed a register that it must preserve, or \
             wrote to memory that is not its own"
        }
    });
    write(".\n");
}

fn write(text: &str) {
    // SAFETY: readable bytes. If nobody can read standard error, nothing is lost.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// The digits of a number, without leading zeros.
fn hexadecimal(number: u64, digits: &mut [u8; 16]) -> &str {
    let mut start = digits.len();
    let mut rest = number;
    while rest != 0 || start == digits.len() {
        start -= 1;
        digits[start] = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    std::str::from_utf8(&digits[start..]).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::hexadecimal;

    #[test]
    fn numbers_have_no_leading_zeros() {
        for number in [0, 1, 0x10, 0xFFFF_F780_0000_0008, u64::MAX] {
            assert_eq!(hexadecimal(number, &mut [0; 16]), format!("{number:x}"));
        }
    }
}
