//! The policies at work.

use super::policy::{Actor, Point, Strategy};
use super::recording::ChoiceList;
use crate::memory::pages::mix;

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

/// [`super::Policy::Random`].
#[derive(Debug)]
pub(super) struct Random(Stream);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
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

/// [`super::Policy::Pct`].
#[derive(Debug)]
pub(super) struct Pct {
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
    pub(super) fn new(seed: u64, depth: u32, steps: u32) -> Self {
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

/// [`super::Policy::Replay`].
#[derive(Debug)]
pub(super) struct Replay {
    list: ChoiceList,
    at: usize,
}

impl Replay {
    pub(super) fn new(list: ChoiceList) -> Self {
        Self { list, at: 0 }
    }

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
    use super::super::policy::{Kind, Policy};
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
}
