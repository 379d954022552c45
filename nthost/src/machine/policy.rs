//! Policies: who decides what the deterministic scheduler does next.

use std::fmt;
use std::str::FromStr;

use super::footprint::Footprint;
use super::recording::ChoiceList;
use super::strategies::{Pct, Random, Replay};

/// How the deterministic scheduler decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every move is as likely as any other, at every scheduling point.
    #[default]
    Random,
    /// Probabilistic concurrency testing: each actor has a random priority, the one with the
    /// highest goes on, and at `depth` - 1 random points of the run it falls behind all others. A
    /// bug that needs `depth` orderings is found with a probability of at least
    /// 1 / (actors * steps ^ (depth - 1)).
    Pct {
        /// At least 1.
        depth: u32,
        /// Decisions of a run, about; the points lie among so many.
        steps: u32,
    },
    /// The decisions of an earlier run, from which the machine's seed should be too; after the
    /// last one what is running goes on.
    Replay(ChoiceList),
}

impl Policy {
    /// Decisions of a short run, where nobody has counted them.
    pub const STEPS: u32 = 2000;

    pub(crate) fn strategy(&self, seed: u64) -> Box<dyn Strategy> {
        match self {
            Self::Random => Box::new(Random::new(seed)),
            Self::Pct { depth, steps } => Box::new(Pct::new(seed, *depth, *steps)),
            Self::Replay(list) => Box::new(Replay::new(list.clone())),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Pct { depth, steps: Self::STEPS } => write!(f, "pct:{depth}"),
            Self::Pct { depth, steps } => write!(f, "pct:{depth}:{steps}"),
            Self::Replay(list) => write!(f, "replay:{list}"),
        }
    }
}

/// The text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no policy; there is random, pct:DEPTH[:STEPS] and replay:CHOICES")]
pub struct NotAPolicy(String);

impl FromStr for Policy {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<Self, NotAPolicy> {
        let bad = || NotAPolicy(text.to_owned());
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "random" if rest.is_empty() => Ok(Self::Random),
            "pct" => {
                let steps = Self::STEPS.to_string();
                let (depth, steps) = rest.split_once(':').unwrap_or((rest, &steps));
                let number = |text: &str| text.parse().ok().filter(|&n| n > 0).ok_or_else(bad);
                Ok(Self::Pct { depth: number(depth)?, steps: number(steps)? })
            }
            "replay" => Ok(Self::Replay(rest.parse().map_err(|_| bad())?)),
            _ => Err(bad()),
        }
    }
}

/// Who moves: the same number in every run of the same machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Actor(u32);

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Application,
    Worker,
    Interrupt,
    Dpc,
    Timer,
    Device,
    Adversary,
}

impl Actor {
    /// The actor of this kind with this number.
    pub(crate) const fn new(kind: Kind, number: usize) -> Self {
        // CAST: small numbers.
        Self(((kind as u32) << 24) | (number as u32 & 0x00FF_FFFF))
    }
}

/// A scheduling point.
#[derive(Debug)]
pub(crate) struct Point<'a> {
    /// Who may move, in an order that is the same in every run; never empty. If the first one is
    /// what has just moved, it goes on.
    pub moves: &'a [Actor],
    /// Whether the first move is going on.
    pub goes_on: bool,
}

/// A policy at work on one run.
pub(crate) trait Strategy: Send + fmt::Debug {
    /// Picks one of the point's moves; `None` gives the run up. Asked at every point if
    /// [`Strategy::watches`], otherwise only where there is a choice.
    fn pick(&mut self, point: &Point<'_>) -> Option<usize>;

    /// Picks a number below `bound`.
    fn number(&mut self, bound: u32) -> u32;

    /// Whether it wants to know of points without a choice, and what each move touched.
    fn watches(&self) -> bool {
        false
    }

    /// The last move has touched this.
    fn moved(&mut self, footprint: Footprint) {
        let _ = footprint;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_policy_is_read_back() {
        for text in ["random", "pct:3", "pct:3:77", "replay:7.12a3bc"] {
            assert_eq!(
                text.parse::<Policy>().map(|policy| policy.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "pct", "pct:0", "pct:1:0", "random:1", "replay:x"] {
            assert!(text.parse::<Policy>().is_err(), "{text}");
        }
    }
}
