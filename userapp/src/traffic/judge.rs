//! What came of a transfer.

use std::ops::Range;

use dmaproof_protocol::Direction;

use super::lane::UnderWay;
use super::{CANCEL_ONE_IN, Traffic};
use crate::explain::{Evidence, Explanation, Seen, explain, explain_breach};
use crate::guard::Arena;
use crate::interrupt;
use crate::pattern::Tag;
use crate::route::Route;
use crate::sweep::{Problem, complement, is_allowed};
use crate::target::Session;

const BY_ANSWER: &str = "by the driver's own answer";
const BY_SOURCE: &str = "the buffer was looked at right after the transfer";
const BY_GUARDS: &str = "the bytes around the buffer were looked at right after the transfer";
const BY_REREAD_RIGHT: &str =
    "read again by another path, the device holds the right data: it was lost on the way back";
const UNSURE: &str = "read again, the device holds wrong data, or nobody could look: it may have \
                      been lost on the way there, by another path";

/// Nobody looks at what the machine saw: it is not told which of the transfers it belongs to.
const NOTHING: &Seen = &Seen::NOTHING;

/// Something that is wrong with a transfer.
#[derive(Clone, Debug)]
pub struct Found {
    /// How it was asked for.
    pub route: Route,
    /// Where the data went.
    pub direction: Direction,
    /// On the device.
    pub range: Range<u64>,
    /// The offset of the buffer in its page.
    pub page_offset: usize,
    /// How it is known whose fault it is.
    pub blame: &'static str,
    /// What it looks like.
    pub explanation: Explanation,
}

impl Traffic {
    /// Waits for the transfer of a lane, if one is under way, and looks at everything.
    pub(super) fn finish(&mut self, session: &mut dyn Session, at: usize) -> Option<Found> {
        let mut under_way = self.lanes[at].under_way.take()?;
        if self.rough.cancels && self.random.below(CANCEL_ONE_IN) == 0 {
            under_way.pending.cancel();
            under_way.cancelled = true;
        }
        let UnderWay { pending, route, direction, range, tag, page_offset, cancelled } = under_way;
        let (result, arena) = pending.wait();
        let asked = arena.buffer().len();
        let wrong = match result {
            Ok(said) if said == asked => {
                self.tally.complete(route, direction, asked as u64);
                let wrong = self.look(session, at, &arena, (route, direction), &range, tag);
                if wrong.is_none() {
                    self.tally.intact += 1;
                }
                wrong
            }
            Ok(said) => Some((BY_ANSWER, Problem::Short { said, asked }))
                .map(|(blame, problem)| (blame, problem.explanation(route, direction))),
            // What waits in a queue of a device that goes away is cancelled by the framework.
            Err(status)
                if status.is_cancelled()
                    && (cancelled || self.rough.removals || interrupt::happened()) =>
            {
                self.tally.cancelled += 1;
                self.check_guards(&arena, (route, direction), &[])
            }
            Err(status) if status.is_gone() && self.rough.removals => {
                self.tally.gone += 1;
                self.gone = true;
                self.check_guards(&arena, (route, direction), &[])
            }
            Err(status) => Some((BY_ANSWER, Problem::Status(status).explanation(route, direction))),
        };
        self.lanes[at].arena = Some(arena);
        let (blame, explanation) = wrong?;
        self.tally.failed += 1;
        // The lane goes on with data of its own.
        self.lanes[at].forget();
        Some(Found { route, direction, range, page_offset, blame, explanation })
    }

    /// Looks at a transfer that completed.
    fn look(
        &mut self,
        session: &mut dyn Session,
        at: usize,
        arena: &Arena,
        (route, direction): (Route, Direction),
        range: &Range<u64>,
        tag: Option<Tag>,
    ) -> Option<(&'static str, Explanation)> {
        let Some(tag) = tag else {
            return self.look_received(session, at, arena, route, range);
        };
        let lane = &mut self.lanes[at];
        self.codec.fill(tag, 0, lane.held_mut(range));
        if lane.unknown.as_ref() == Some(range) {
            lane.unknown = None;
        }
        if self.codec.first_mismatch(tag, 0, arena.buffer()).is_some() {
            let expected = self.lanes[at].held(range).to_vec();
            let evidence = Case { expected: &expected, before: &expected, range, tag: Some(tag) };
            let found = explain(&self.evidence(arena, (route, direction), &evidence))?;
            return Some((BY_SOURCE, found));
        }
        self.check_guards(arena, (route, direction), &[])
    }

    fn look_received(
        &self,
        session: &mut dyn Session,
        at: usize,
        arena: &Arena,
        route: Route,
        range: &Range<u64>,
    ) -> Option<(&'static str, Explanation)> {
        let direction = Direction::FromDevice;
        let expected = self.lanes[at].held(range);
        if arena.buffer() == expected {
            return self.check_guards(arena, (route, direction), &[]);
        }
        let before = complement(expected);
        let case = Case { expected, before: &before, range, tag: None };
        let found = explain(&self.evidence(arena, (route, direction), &case))?;
        let right = self.reread(session, route, range).is_some_and(|held| held == expected);
        if right {
            return Some((BY_REREAD_RIGHT, found));
        }
        // The rule would be that of this path.
        Some((UNSURE, Explanation { rule: None, call: None, ..found }))
    }

    /// What another path reads.
    fn reread(
        &self,
        session: &mut dyn Session,
        route: Route,
        range: &Range<u64>,
    ) -> Option<Vec<u8>> {
        let length = range.end - range.start;
        let direction = Direction::FromDevice;
        let other = self.routes.iter().find(|other| {
            other.path() != route.path()
                && is_allowed(&self.limits, **other, direction, range.start, length)
        })?;
        // CAST: within a window.
        let mut data = vec![0; length as usize];
        session.move_by(*other, direction, range.start, &mut data).ok()?;
        Some(data)
    }

    fn check_guards(
        &self,
        arena: &Arena,
        (route, direction): (Route, Direction),
        continued: &[u8],
    ) -> Option<(&'static str, Explanation)> {
        let breach = arena.breaches().into_iter().next()?;
        let start = arena.position();
        let buffer = start..start + arena.buffer().len();
        Some((BY_GUARDS, explain_breach(&breach, buffer, continued, route, direction)))
    }

    fn evidence<'e>(
        &'e self,
        arena: &'e Arena,
        (route, direction): (Route, Direction),
        case: &Case<'e>,
    ) -> Evidence<'e> {
        Evidence {
            expected: case.expected,
            actual: arena.buffer(),
            before: case.before,
            tag: case.tag,
            route,
            direction,
            position: arena.position(),
            device_offset: case.range.start,
            codec: &self.codec,
            history: &self.history,
            seen: NOTHING,
        }
    }
}

/// What should have come of a transfer.
struct Case<'e> {
    expected: &'e [u8],
    before: &'e [u8],
    range: &'e Range<u64>,
    tag: Option<Tag>,
}
