//! Addresses of this process in reports: replaced by numbers that are the same in every run.

use parking_lot::Mutex;

/// Where a process has its memory: above what the simulated machine's physical and logical
/// addresses can be, below its own system addresses.
const HOST: std::ops::Range<u64> = (1 << 40)..(1 << 47);

/// The first alias. It looks like an address of kernel memory, and no machine has one there.
const FIRST: u64 = 0xFFFF_8000_0000_0000;

/// Bytes between two aliases.
const STEP: u64 = 0x1000;

/// The aliases of one machine, in the order in which its reports named the addresses.
#[derive(Debug, Default)]
pub(super) struct Aliases(Mutex<Vec<u64>>);

impl Aliases {
    /// The number that stands for this one: itself, unless it is an address of the process.
    pub(super) fn of(&self, number: u64) -> u64 {
        if !HOST.contains(&number) {
            return number;
        }
        let mut known = self.0.lock();
        let index = known.iter().position(|&one| one == number).unwrap_or_else(|| {
            known.push(number);
            known.len() - 1
        });
        // CAST: a count of addresses.
        FIRST + index as u64 * STEP
    }

    /// The text with its hexadecimal addresses (`0x...`) replaced.
    pub(super) fn within(&self, text: String) -> String {
        if !text.contains("0x") {
            return text;
        }
        let mut parts = text.split("0x");
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
            let (digits, rest) = part.split_at(end);
            let number = u64::from_str_radix(digits, 16).ok().filter(|n| HOST.contains(n));
            result += "0x";
            match number {
                Some(number) => result += &format!("{:x}", self.of(number)),
                None => result += digits,
            }
            result += rest;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_alias_and_other_numbers_stay() {
        let aliases = Aliases::default();

        assert_eq!(aliases.of(0x7FFF_1234_5678), FIRST);
        assert_eq!(aliases.of(0x5555_0000_1000), FIRST + STEP);
        assert_eq!(aliases.of(0x7FFF_1234_5678), FIRST);
        for number in [0, 0x1_2345_6789, 0x00FF_A000_0000_0000, u64::MAX] {
            assert_eq!(aliases.of(number), number);
        }
    }

    #[test]
    fn only_addresses_are_replaced_in_a_text() {
        let aliases = Aliases::default();
        let text = "0x7fff00001000 at 0x1c0, 0x and 0x7fff00001000".to_owned();
        let expected = "0xffff800000000000 at 0x1c0, 0x and 0xffff800000000000";
        assert_eq!(aliases.within(text), expected);
    }
}
