//! Policies: who decides what the deterministic scheduler does next.

use std::fmt;
use std::str::FromStr;

use super::recording::ChoiceList;
use crate::memory::pages::mix;

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
            Self::Replay(list) => Box::new(Replay { list: list.clone(), at: 0 }),
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

/// What a move touched: a set of things, some of which share a member. Two moves that have a
/// member in common depend on each other: their order may matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint(u64);

impl Footprint {
    /// Depends on everything.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// A thing with a number of its own: a device, a processor, a line. Half of the members are
    /// for devices, so that driver code of different devices is told apart exactly.
    pub(crate) const fn of(thing: Thing) -> Self {
        match thing {
            Thing::Device(slot) => Self(1 << (slot % 32)),
            Thing::Application => Self(1 << 32),
            Thing::Processor(number) => Self(1 << (34 + number % 8)),
            Thing::Line(number) => Self(1 << (42 + number % 8)),
            Thing::Object(number) => Self(1 << (50 + number % 14)),
        }
    }

    /// Adds what another footprint has.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the order of two moves may matter.
    pub(crate) const fn depends_on(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a move can touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A device: its registers, its driver's code and data, its engine.
    Device(usize),
    /// What application threads share with each other, and see of their requests.
    Application,
    /// What runs on a processor, and its DPC queue.
    Processor(usize),
    /// An interrupt line.
    Line(usize),
    /// Any other object, by a number that is the same in every run.
    Object(u64),
}

impl Thing {
    /// The system's work items.
    pub(crate) const WORK_QUEUE: Self = Self::Object(1);
    /// The timers.
    pub(crate) const TIMERS: Self = Self::Object(2);
    /// The caches.
    pub(crate) const CACHES: Self = Self::Object(3);
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

/// A stream of random numbers that shares nothing with the machine's draws.
#[derive(Debug)]
struct Stream(u64);

impl Stream {
    fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x7363_6865_6475_6C65))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    fn below(&mut self, bound: u32) -> u32 {
        // CAST: below `bound`.
        ((u64::from((self.next() >> 32) as u32) * u64::from(bound)) >> 32) as u32
    }
}

/// [`Policy::Random`].
#[derive(Debug)]
struct Random(Stream);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Stream::new(seed))
    }
}

impl Strategy for Random {
    fn pick(&mut self, point: &Point<'_>) -> Option<usize> {
        // CAST: a count of moves.
        Some(self.0.below(point.moves.len() as u32) as usize)
    }

    fn number(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }
}

/// [`Policy::Pct`].
#[derive(Debug)]
struct Pct {
    stream: Stream,
    /// The decisions at which the leader falls behind, the first one last.
    changes: Vec<u32>,
    /// Priorities of the actors seen so far.
    priorities: Vec<(Actor, u64)>,
    /// The lowest priority given away.
    lowest: u64,
    step: u32,
    /// Who was picked last, and how often in a row.
    leader: Option<(Actor, u32)>,
}

/// Decisions for the same actor in a row after which it falls behind: it may poll for what another
/// has to do, and a priority alone would never let that one do it.
const PATIENCE: u32 = 500;

impl Pct {
    fn new(seed: u64, depth: u32, steps: u32) -> Self {
        let mut stream = Stream::new(seed);
        let mut changes: Vec<_> =
            (1..depth.max(1)).map(|_| stream.below(steps.max(1)) + 1).collect();
        changes.sort_unstable_by(|a, b| b.cmp(a));
        let lowest = u64::MAX / 2;
        Self { stream, changes, priorities: Vec::new(), lowest, step: 0, leader: None }
    }

    fn priority(&mut self, actor: Actor) -> u64 {
        if let Some((_, priority)) = self.priorities.iter().find(|(known, _)| *known == actor) {
            return *priority;
        }
        // Above all that have fallen behind.
        let priority = self.stream.next() | (1 << 63);
        self.priorities.push((actor, priority));
        priority
    }

    fn falls_behind(&mut self, actor: Actor) {
        self.lowest -= 1;
        let lowest = self.lowest;
        if let Some(known) = self.priorities.iter_mut().find(|(known, _)| *known == actor) {
            known.1 = lowest;
        }
    }

    fn leader(&mut self, moves: &[Actor]) -> usize {
        let highest = (0..moves.len()).max_by_key(|&index| self.priority(moves[index]));
        highest.unwrap_or(0)
    }
}

impl Strategy for Pct {
    fn pick(&mut self, point: &Point<'_>) -> Option<usize> {
        self.step += 1;
        while self.changes.last().is_some_and(|&at| at <= self.step) {
            self.changes.pop();
            let leader = self.leader(point.moves);
            self.falls_behind(point.moves[leader]);
        }
        let picked = self.leader(point.moves);
        let actor = point.moves[picked];
        let row = self.leader.filter(|(before, _)| *before == actor).map_or(1, |(_, row)| row + 1);
        self.leader = Some((actor, row));
        if row >= PATIENCE {
            self.leader = None;
            self.falls_behind(actor);
        }
        Some(picked)
    }

    fn number(&mut self, bound: u32) -> u32 {
        self.stream.below(bound)
    }
}

/// [`Policy::Replay`].
#[derive(Debug)]
struct Replay {
    list: ChoiceList,
    at: usize,
}

impl Replay {
    fn next(&mut self) -> u32 {
        let next = self.list.decisions().get(self.at).copied().unwrap_or(0);
        self.at += 1;
        next
    }
}

impl Strategy for Replay {
    fn pick(&mut self, _point: &Point<'_>) -> Option<usize> {
        // CAST: recorded as an index.
        Some(self.next() as usize)
    }

    fn number(&mut self, _bound: u32) -> u32 {
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTORS: [Actor; 3] = [
        Actor::new(Kind::Application, 0),
        Actor::new(Kind::Application, 1),
        Actor::new(Kind::Dpc, 0),
    ];

    fn picks(policy: &Policy, seed: u64, count: usize) -> Vec<usize> {
        let mut strategy = policy.strategy(seed);
        let point = Point { moves: &ACTORS, goes_on: true };
        (0..count).filter_map(|_| strategy.pick(&point)).collect()
    }

    #[test]
    fn the_same_seed_decides_alike_and_another_one_differently() {
        for policy in [Policy::Random, Policy::Pct { depth: 3, steps: 50 }] {
            assert_eq!(picks(&policy, 5, 200), picks(&policy, 5, 200));
            assert_ne!(picks(&policy, 5, 200), picks(&policy, 6, 200));
        }
    }

    #[test]
    fn random_takes_every_move_about_as_often() {
        let picked = picks(&Policy::Random, 1, 3000);
        for index in 0..3 {
            let times = picked.iter().filter(|&&one| one == index).count();
            assert!((900..1100).contains(&times), "{index}: {times}");
        }
    }

    #[test]
    fn pct_changes_its_leader_depth_minus_one_times() {
        for seed in 0..50 {
            let picked = picks(&Policy::Pct { depth: 3, steps: 100 }, seed, 150);
            let changes = picked.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 2, "{changes} changes");
        }
    }

    #[test]
    fn pct_lets_a_poller_fall_behind() {
        let picked = picks(&Policy::Pct { depth: 1, steps: 10 }, 1, 2 * PATIENCE as usize);
        assert_ne!(picked[0], picked[PATIENCE as usize + 1]);
    }

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

    #[test]
    fn footprints_of_different_devices_do_not_meet() {
        let device = |slot| Footprint::of(Thing::Device(slot));
        assert!(!device(0).depends_on(device(1)));
        assert!(device(0).and(device(1)).depends_on(device(1)));
        assert!(Footprint::ALL.depends_on(device(3)));
        assert!(!Footprint::default().depends_on(Footprint::ALL));
        assert!(!device(2).depends_on(Footprint::of(Thing::Object(7))));
    }
}
