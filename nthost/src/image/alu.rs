//! Arithmetic as an x86 processor does it, with its flags, for instructions whose memory operand
//! is not memory.

/// Bits of RFLAGS.
pub(super) const CARRY: u64 = 1;
pub(super) const PARITY: u64 = 1 << 2;
pub(super) const ADJUST: u64 = 1 << 4;
pub(super) const ZERO: u64 = 1 << 6;
pub(super) const SIGN: u64 = 1 << 7;
pub(super) const OVERFLOW: u64 = 1 << 11;

const ALL: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

/// An operation of two operands, the first of which is also the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    AddCarry,
    Subtract,
    SubtractBorrow,
    And,
    Or,
    Xor,
}

/// The bits of an operand of `size` bytes.
pub(super) const fn mask(size: usize) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (size * 8)) - 1 }
}

/// The value of the low `size` bytes with their sign.
pub(super) const fn sign_extended(value: u64, size: usize) -> u64 {
    // CAST: at most 8 bytes; the shifts move the sign.
    let shift = 64 - 8 * if size < 8 { size as u32 } else { 8 };
    (((value << shift) as i64) >> shift) as u64
}

/// Result and flags of `a` op `b`, operands of `size` bytes.
pub(super) fn compute(operation: Operation, size: usize, a: u64, b: u64, flags: u64) -> (u64, u64) {
    let (a, b) = (a & mask(size), b & mask(size));
    let carry_in = flags & CARRY;
    let sign = 1 << (size * 8 - 1);
    let (result, carry, overflow) = match operation {
        Operation::Add | Operation::AddCarry => {
            let extra = if operation == Operation::AddCarry { carry_in } else { 0 };
            let sum = u128::from(a) + u128::from(b) + u128::from(extra);
            // CAST: the carry is looked at before it is cut off.
            let result = sum as u64 & mask(size);
            (result, sum > u128::from(mask(size)), (a ^ result) & (b ^ result) & sign != 0)
        }
        Operation::Subtract | Operation::SubtractBorrow => {
            let extra = if operation == Operation::SubtractBorrow { carry_in } else { 0 };
            let result = a.wrapping_sub(b).wrapping_sub(extra) & mask(size);
            let borrow = u128::from(a) < u128::from(b) + u128::from(extra);
            (result, borrow, (a ^ b) & (a ^ result) & sign != 0)
        }
        Operation::And => (a & b, false, false),
        Operation::Or => (a | b, false, false),
        Operation::Xor => (a ^ b, false, false),
    };
    let logic = matches!(operation, Operation::And | Operation::Or | Operation::Xor);
    // Undefined after a logic operation; zero as on every processor there is.
    let adjust = if logic { 0 } else { (a ^ b ^ result) & ADJUST };
    let set = |on: bool, flag: u64| if on { flag } else { 0 };
    let status = set(carry, CARRY)
        | set(overflow, OVERFLOW)
        | adjust
        | set(result == 0, ZERO)
        | set(result & sign != 0, SIGN)
        | set((result & 0xFF).count_ones() % 2 == 0, PARITY);
    (result, flags & !ALL | status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The processor itself.
    macro_rules! hardware {
        ($op:literal, $a:expr, $b:expr, $carry:expr, $ty:ty, $class:ident, $form:literal) => {{
            let (mut a, b, carry): ($ty, $ty, u64) = ($a as $ty, $b as $ty, $carry);
            let flags: u64;
            // SAFETY: arithmetic on registers; the pushed flags are popped again.
            unsafe {
                std::arch::asm!(
                    "bt {carry}, 0",
                    concat!($op, " {a", $form, "}, {b", $form, "}"),
                    "pushfq",
                    "pop {flags}",
                    carry = in(reg) carry,
                    a = inout($class) a,
                    b = in($class) b,
                    flags = lateout(reg) flags,
                );
            }
            (u64::from(a), flags & ALL)
        }};
    }

    macro_rules! each_size {
        ($op:literal, $size:expr, $a:expr, $b:expr, $carry:expr) => {
            match $size {
                1 => hardware!($op, $a, $b, $carry, u8, reg_byte, ""),
                2 => hardware!($op, $a, $b, $carry, u16, reg, ":x"),
                4 => hardware!($op, $a, $b, $carry, u32, reg, ":e"),
                _ => hardware!($op, $a, $b, $carry, u64, reg, ""),
            }
        };
    }

    proptest! {
        #[test]
        fn results_and_flags_are_the_processors(
            a in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(1 << 31), Just(0x80)],
            b in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(1 << 31), Just(1)],
            size in prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
            carry in 0u64..2,
        ) {
            use Operation::*;

            for operation in [Add, AddCarry, Subtract, SubtractBorrow, And, Or, Xor] {
                let real = match operation {
                    Add => each_size!("add", size, a, b, carry),
                    AddCarry => each_size!("adc", size, a, b, carry),
                    Subtract => each_size!("sub", size, a, b, carry),
                    SubtractBorrow => each_size!("sbb", size, a, b, carry),
                    And => each_size!("and", size, a, b, carry),
                    Or => each_size!("or", size, a, b, carry),
                    Xor => each_size!("xor", size, a, b, carry),
                };

                let (result, flags) = compute(operation, size, a, b, carry);

                prop_assert_eq!((result, flags & ALL), real, "{:?} of {} bytes", operation, size);
            }
        }

        #[test]
        fn signs_are_extended_as_casts_do(value in any::<u64>()) {
            prop_assert_eq!(sign_extended(value, 1), value as i8 as u64);
            prop_assert_eq!(sign_extended(value, 2), value as i16 as u64);
            prop_assert_eq!(sign_extended(value, 4), value as i32 as u64);
            prop_assert_eq!(sign_extended(value, 8), value);
        }
    }
}
