//! Which transfers to try.
//!
//! The plan depends on the device's limits, the selection and the seed, and on nothing else: the
//! same seed makes the same cases with the same numbers.

use dmaproof_protocol::{Direction, Limits, Path, PioKind, TransferHeader, check_read_write};

use crate::guard::PAGE;
use crate::ledger::Alignment;
use crate::pattern::Family;
use crate::random::Random;
use crate::route::Route;

/// Lengths around which drivers and devices go wrong, in bytes.
const LENGTHS: &[u64] = &[
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    32,
    33,
    63,
    64,
    65,
    127,
    128,
    129,
    255,
    256,
    511,
    512,
    513,
    1023,
    1024,
    1025,
    2047,
    2048,
    2049,
    3000,
    4031,
    4032,
    4033,
    4094,
    4095,
    4096,
    4097,
    4160,
    8191,
    8192,
    8193,
    12_289,
    65_535,
    65_536,
    65_537,
    131_073,
    1 << 20,
    (1 << 20) + 1,
];

/// Buffer offsets in a page: aligned to everything, to a line, to a word, to nothing; near the
/// end of the page, so that short transfers cross it too.
const PAGE_OFFSETS: &[usize] = &[
    0, 64, 128, 2048, 4032, 8, 16, 40, 1000, 2056, 4088, 1, 2, 3, 4, 63, 65, 1023, 2047, 4031,
    4033, 4093, 4094, 4095,
];

/// How much to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// A few thousand transfers; every cell of the ledger that can run at least once.
    Quick,
    /// Every length up to two pages, and boundary lengths at every offset.
    Full,
}

impl Depth {
    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// What to try.
#[derive(Clone, Debug)]
pub struct Selection {
    /// These routes, in this order.
    pub routes: Vec<Route>,
    /// These directions.
    pub directions: Vec<Direction>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { routes: Route::ALL.to_vec(), directions: Direction::ALL.to_vec() }
    }
}

/// One transfer to try, and how to verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// How the tested transfer is asked for.
    pub route: Route,
    /// Where its data goes.
    pub direction: Direction,
    /// The route of the transfer the other way: it verifies what was sent, or sends what is
    /// verified.
    pub partner: Route,
    /// The length in bytes.
    pub length: usize,
    /// The offset of the buffer in its page.
    pub page_offset: usize,
    /// The offset on the device.
    pub device_offset: u64,
    /// The pattern.
    pub family: Family,
}

/// What is longer, in bytes, takes most of a quick run's time.
const LONG: u64 = 1 << 20;

/// All cases of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which they run.
    pub cases: Vec<Case>,
}

/// Whether the driver would take such a transfer.
pub(crate) fn is_allowed(
    limits: &Limits,
    route: Route,
    direction: Direction,
    offset: u64,
    length: u64,
) -> bool {
    match route {
        Route::Path(path) => {
            TransferHeader::new(path, offset, length).check(direction, length, limits).is_ok()
        }
        Route::File => i64::try_from(offset)
            .is_ok_and(|offset| check_read_write(direction, offset, length, limits).is_ok()),
    }
}

/// Whether transfers by this route reach the device's memory.
pub(crate) fn reaches_memory(limits: &Limits, route: Route) -> bool {
    let path = route.path();
    limits.is_available(path) && (path != Path::Pio || limits.pio.kind == PioKind::Memory)
}

/// The part of the device that a row may use: the first byte, and one past the last.
fn window(limits: &Limits, route: Route, direction: Direction) -> (u64, u64) {
    let pio = &limits.pio;
    match (route.path(), direction) {
        (Path::Pio, Direction::ToDevice) => {
            let end = pio.writable_offset.saturating_add(pio.writable_length);
            (pio.writable_offset, end.min(pio.length))
        }
        (Path::Pio, Direction::FromDevice) => (0, pio.length),
        _ => (0, limits.memory_length),
    }
}

impl Plan {
    /// Plans the cases.
    #[must_use]
    pub fn new(limits: &Limits, selection: &Selection, depth: Depth, seed: u64) -> Self {
        let mut cases = Vec::new();
        for &route in &selection.routes {
            if !reaches_memory(limits, route) {
                continue;
            }
            for &direction in &selection.directions {
                let mut row = RowPlan::new(limits, route, direction, seed);
                match depth {
                    Depth::Quick => row.quick(),
                    Depth::Full => row.full(),
                }
                cases.extend(row.cases);
            }
        }
        // Rows take turns, so that a driver meets every path in the state another left it in.
        Random::new(seed ^ 0x5EED).shuffle(&mut cases);
        Self { cases }
    }
}

/// Plans the cases of one row.
struct RowPlan<'a> {
    limits: &'a Limits,
    route: Route,
    direction: Direction,
    partners: Vec<Route>,
    window: (u64, u64),
    random: Random,
    cases: Vec<Case>,
}

impl<'a> RowPlan<'a> {
    fn new(limits: &'a Limits, route: Route, direction: Direction, seed: u64) -> Self {
        // CAST: small numbers.
        let row = Route::ALL.iter().position(|other| *other == route).unwrap_or_default() as u64;
        let salt = row * 2 + u64::from(direction == Direction::FromDevice);
        Self {
            limits,
            route,
            direction,
            partners: partners(limits, route),
            window: window(limits, route, direction),
            random: Random::new(seed.wrapping_mul(0x1_0001).wrapping_add(salt)),
            cases: Vec::new(),
        }
    }

    fn length_max(&self) -> u64 {
        (self.window.1 - self.window.0.min(self.window.1)).min(self.limits.transfer_length_max)
    }

    /// Boundary lengths that fit, with the longest ones.
    fn lengths(&self) -> Vec<u64> {
        let longest = self.length_max();
        let mut lengths: Vec<u64> =
            LENGTHS.iter().copied().filter(|length| *length <= longest).collect();
        lengths.extend([longest / 2, longest.saturating_sub(1), longest]);
        lengths.retain(|length| *length > 0);
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    fn quick(&mut self) {
        let mut offsets = PAGE_OFFSETS.to_vec();
        for length in self.lengths() {
            self.random.shuffle(&mut offsets);
            // One buffer of each alignment class, so that no cell stays empty; but of what takes
            // long, one will do.
            let classes = if length > LONG { 1 } else { Alignment::ALL.len() };
            for alignment in Alignment::ALL.into_iter().take(classes) {
                let offset = offsets.iter().find(|offset| Alignment::of(**offset) == alignment);
                if let Some(&offset) = offset {
                    self.add(length, offset, None);
                }
            }
        }
        self.crossings();
    }

    /// Short transfers that cross a page.
    fn crossings(&mut self) {
        for (length, page_offset) in [(2, 4095), (8, 4093), (63, 4094), (64, 4033), (65, 4032)] {
            if length <= self.length_max() {
                self.add(length, page_offset, None);
            }
        }
    }

    fn full(&mut self) {
        // CAST: two pages.
        for length in 1..=self.length_max().min(2 * PAGE as u64 + 1) {
            let offset = PAGE_OFFSETS[self.random.below(PAGE_OFFSETS.len())];
            self.add(length, offset, None);
        }
        for length in self.lengths() {
            let places = self.places(length);
            for &page_offset in PAGE_OFFSETS {
                for &place in &places {
                    self.add(length, page_offset, Some(place));
                }
            }
        }
        self.crossings();
    }

    /// Device offsets for a length: the ends, and places aligned to nothing.
    fn places(&self, length: u64) -> Vec<u64> {
        let (first, end) = self.window;
        let last = end - length;
        let mut places = vec![first, last];
        places.extend(
            [1, 8, 63, 64, 100, 4095]
                .map(|step| first + step)
                .iter()
                .filter(|&&place| place <= last),
        );
        places.sort_unstable();
        places.dedup();
        places
    }

    fn add(&mut self, length: u64, page_offset: usize, place: Option<u64>) {
        let device_offset = place.unwrap_or_else(|| {
            let mut places = self.places(length);
            let (first, last) = (self.window.0, self.window.1 - length);
            // CAST: a device's memory fits in the address space of the app.
            places.push(first + self.random.below((last - first + 1) as usize) as u64);
            places[self.random.below(places.len())]
        });
        if !is_allowed(self.limits, self.route, self.direction, device_offset, length) {
            return;
        }
        // Against itself and against another route, in turn.
        let turn = self.cases.len();
        let partner = self.partners[turn % self.partners.len()];
        let family = Family::ALL[self.random.below(Family::ALL.len())];
        // CAST: a buffer of this length fits in memory, or the plan would not have it.
        let length = length as usize;
        let (route, direction) = (self.route, self.direction);
        let case = Case { route, direction, partner, length, page_offset, device_offset, family };
        if is_allowed(self.limits, partner, opposite(direction), device_offset, length as u64) {
            self.cases.push(case);
        } else if partner != route {
            self.cases.push(Case { partner: route, ..case });
        }
    }
}

/// The other direction.
pub(super) const fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::ToDevice => Direction::FromDevice,
        Direction::FromDevice => Direction::ToDevice,
    }
}

/// The route itself, and another one that does not share its path, if there is one.
fn partners(limits: &Limits, route: Route) -> Vec<Route> {
    let other = Route::ALL
        .into_iter()
        .find(|other| other.path() != route.path() && reaches_memory(limits, *other));
    [Some(route), other].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use dmaproof_protocol::{Paths, PioWindow};

    use super::*;
    use crate::ledger::Size;

    fn sizes(length_max: usize) -> usize {
        Size::ALL.into_iter().filter(|size| size.lengths().0 <= length_max).count()
    }

    fn limits(length: u64) -> Limits {
        Limits {
            memory_length: length,
            transfer_length_max: length,
            paths: Paths::ALL.without(Path::SystemDma).without(Path::Pio),
            pio: PioWindow::NONE,
        }
    }

    fn plan(length: u64, depth: Depth, seed: u64) -> Plan {
        Plan::new(&limits(length), &Selection::default(), depth, seed)
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_one_another() {
        assert_eq!(plan(4095, Depth::Quick, 1).cases, plan(4095, Depth::Quick, 1).cases);
        assert_ne!(plan(4095, Depth::Quick, 1).cases, plan(4095, Depth::Quick, 2).cases);
    }

    #[test]
    fn quick_is_a_few_thousand_and_full_is_more() {
        let quick = plan(4095, Depth::Quick, 1).cases.len();
        assert!((1500..5000).contains(&quick), "{quick}");
        let full = plan(4095, Depth::Full, 1).cases.len();
        assert!(full > 10 * quick, "{full}");
    }

    #[test]
    fn every_cell_of_every_available_row_is_planned() {
        for length in [1, 63, 4095, 1 << 20] {
            let cells: HashSet<_> = plan(length, Depth::Quick, 5)
                .cases
                .iter()
                .map(|case| {
                    let size = Size::of(case.length);
                    (case.route, case.direction, size, Alignment::of(case.page_offset))
                })
                .collect();
            // Five paths and files, two directions, four alignments.
            assert_eq!(cells.len(), 6 * 2 * sizes(length as usize) * 4, "{length}");
        }
    }

    #[test]
    fn every_case_is_one_that_the_driver_takes() {
        for (length, depth) in [(1, Depth::Full), (100, Depth::Full), (4095, Depth::Full)] {
            let limits = limits(length);
            for case in Plan::new(&limits, &Selection::default(), depth, 3).cases {
                let (offset, length) = (case.device_offset, case.length as u64);
                assert!(is_allowed(&limits, case.route, case.direction, offset, length));
                let back = opposite(case.direction);
                assert!(is_allowed(&limits, case.partner, back, offset, length));
            }
        }
    }

    #[test]
    fn each_route_is_verified_by_itself_and_by_another() {
        let plan = plan(4095, Depth::Quick, 1);
        for route in Route::ALL {
            let partners: HashSet<Route> = plan
                .cases
                .iter()
                .filter(|case| case.route == route)
                .map(|case| case.partner)
                .collect();
            assert!(partners.is_empty() || partners.len() == 2, "{route}");
        }
    }

    #[test]
    fn only_what_was_selected_is_planned() {
        let selection = Selection {
            routes: vec![Route::Path(Path::Packet)],
            directions: vec![Direction::ToDevice],
        };
        let plan = Plan::new(&limits(4095), &selection, Depth::Quick, 1);
        assert!(!plan.cases.is_empty());
        assert!(
            plan.cases.iter().all(|case| case.route == Route::Path(Path::Packet)
                && case.direction == Direction::ToDevice)
        );
    }
}
