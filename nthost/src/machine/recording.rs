//! Recorded choices and their text.

use std::fmt;
use std::str::FromStr;

/// The choices of one run: the machine's seed, from which all draws come, and the scheduler's
/// decisions. Zero means that what was running goes on; zeros at the end are left out.
///
/// Its text is short and needs no quoting in a shell: the seed, a dot, and then for each decision
/// that is not zero the number of zeros before it (left out if there is none) and the decision as
/// a letter, `a` for 1 to `y` for 25; a greater one is `z` for 25 followed by the rest.
/// `7.12a3bc` is seed 7 and the decisions 0 (12 times), 1, 0, 0, 0, 2, 3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChoiceList {
    seed: u64,
    made: Vec<u32>,
}

/// What one letter can add to a decision.
const LETTERS: u32 = 25;

impl ChoiceList {
    pub(crate) fn new(seed: u64, made: &[u32]) -> Self {
        let length = made.iter().rposition(|&one| one != 0).map_or(0, |last| last + 1);
        Self { seed, made: made[..length].to_vec() }
    }

    /// The machine's seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The decisions, without zeros at the end.
    #[must_use]
    pub fn decisions(&self) -> &[u32] {
        &self.made
    }
}

impl fmt::Display for ChoiceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.seed)?;
        let mut zeros = 0u32;
        for &one in &self.made {
            if one == 0 {
                zeros += 1;
                continue;
            }
            if zeros > 0 {
                write!(f, "{zeros}")?;
            }
            zeros = 0;
            write_decision(f, one)?;
        }
        Ok(())
    }
}

fn write_decision(f: &mut fmt::Formatter<'_>, mut decision: u32) -> fmt::Result {
    while decision > LETTERS {
        f.write_str("z")?;
        decision -= LETTERS;
    }
    // CAST: 1 to 25.
    write!(f, "{}", char::from(b'a' + (decision - 1) as u8))
}

/// The text is no choice list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no choice list; it is a seed, a dot and letters and numbers, such as 7.12a3bc")]
pub struct NotAChoiceList(String);

impl FromStr for ChoiceList {
    type Err = NotAChoiceList;

    fn from_str(text: &str) -> Result<Self, NotAChoiceList> {
        /// More decisions than any run has.
        const LONGEST: usize = 100_000_000;
        let bad = || NotAChoiceList(text.chars().take(80).collect());
        let (seed, rest) = text.split_once('.').ok_or_else(bad)?;
        let seed = seed.parse().map_err(|_| bad())?;
        let (mut made, mut zeros, mut carried) = (Vec::new(), 0usize, 0u32);
        for letter in rest.bytes() {
            match letter {
                b'0'..=b'9' if carried == 0 => {
                    zeros = zeros * 10 + usize::from(letter - b'0');
                    if zeros + made.len() > LONGEST {
                        return Err(bad());
                    }
                }
                b'a'..=b'y' => {
                    made.resize(made.len() + std::mem::take(&mut zeros), 0);
                    let decision = u32::from(letter - b'a') + 1;
                    made.push(std::mem::take(&mut carried) + decision);
                }
                b'z' => carried = carried.checked_add(LETTERS).ok_or_else(bad)?,
                _ => return Err(bad()),
            }
        }
        if carried != 0 || zeros != 0 {
            return Err(bad());
        }
        Ok(Self { seed, made })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_as_documented() {
        let mut made = vec![0; 12];
        made.extend([1, 0, 0, 0, 2, 3, 0, 0]);
        let list = ChoiceList::new(7, &made);
        assert_eq!(list.to_string(), "7.12a3bc");
        assert_eq!("7.12a3bc".parse(), Ok(list));
        assert_eq!(ChoiceList::new(1, &[0, 0]).to_string(), "1.");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "7", ".a", "7.a1", "7.A", "7.z", "7.z1a", "x.a", "7.99999999999999a"] {
            assert!(text.parse::<ChoiceList>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_gives_back_what_was_written(seed: u64, made in prop::collection::vec(0u32..90, 0..60)) {
            let list = ChoiceList::new(seed, &made);
            prop_assert_eq!(list.to_string().parse(), Ok(list));
        }
    }
}
