//! Verifies transfers, and finds out which one is to blame.

use std::ops::Range;

use dmaproof_protocol::Direction;

use super::plan::{Case, is_allowed, reaches_memory};
use super::run::{Runner, SINK_BASE, complement};
use crate::explain::{Class, Evidence, Explanation, explain, explain_breach, usual_rule};
use crate::guard::Side;
use crate::history::Record;
use crate::pattern::Tag;
use crate::route::Route;

/// Who is to blame, how that was found out, and what it looks like.
pub(super) type Finding = (Route, Direction, &'static str, Explanation);

const BY_ANSWER: &str = "by the driver's own answer";
const BY_SOURCE: &str = "the buffer was looked at right after the transfer";
const BY_REREAD_RIGHT: &str =
    "read again by another path, the device holds the right data: it was lost on the way back";
const BY_REREAD_WRONG: &str =
    "read again by another path, the device holds wrong data: it was lost on the way there";
const BY_DELIVERY: &str =
    "the device was found to hold the right data before: it was lost on the way back";
const BY_GUARDS: &str = "the bytes around the buffer were looked at right after the transfer";
const BY_MACHINE: &str =
    "the machine saw data being lost on the way back, and none on the way there";
const UNSURE: &str = "no other path could be asked, so it may be the transfer the other way";

impl Runner<'_> {
    pub(super) fn test_sending(
        &mut self,
        case: &Case,
        tag: Tag,
        range: &Range<u64>,
    ) -> Option<Finding> {
        self.deliver((case.route, case.page_offset), tag, range, case.partner)
    }

    /// Sends a pattern and verifies, by another transfer, that the device holds it and that nothing
    /// around it changed.
    fn deliver(
        &mut self,
        (route, page_offset): (Route, usize),
        tag: Tag,
        range: &Range<u64>,
        reader: Route,
    ) -> Option<Finding> {
        let (there, back) = (Direction::ToDevice, Direction::FromDevice);
        let before = self.shadow.bytes(range.clone()).to_vec();
        if let Err(problem) = self.send(route, tag, range, page_offset) {
            let found = self.answer(problem, route, there);
            self.resynchronise(range);
            return Some((route, there, BY_ANSWER, found));
        }
        if let Some(explanation) = self.check_source(route, tag) {
            self.resynchronise(range);
            return Some((route, there, BY_SOURCE, explanation));
        }
        let mut wide = self.shadow.widen(range);
        if !is_allowed(&self.limits, reader, back, wide.start, wide.end - wide.start) {
            wide = range.clone();
        }
        if let Err(problem) = self.fetch(reader, &wide, 0) {
            return Some((reader, back, BY_ANSWER, self.answer(problem, reader, back)));
        }
        if self.sink.buffer() == self.shadow.bytes(wide.clone()) {
            return self.check_guards(reader, back, &wide);
        }
        self.find_culprit((route, tag, &before), range, reader, &wide)
    }

    /// What was read is not what was sent: asks a third route which transfer lost it.
    fn find_culprit(
        &mut self,
        (route, tag, before): (Route, Tag, &[u8]),
        range: &Range<u64>,
        reader: Route,
        wide: &Range<u64>,
    ) -> Option<Finding> {
        let (there, back) = (Direction::ToDevice, Direction::FromDevice);
        let actual = self.sink.buffer().to_vec();
        let sink_position = SINK_BASE + self.sink.position();
        let seen = self.seen_back.clone();
        let other = self.reread(reader, wide);
        let right = self.shadow.bytes(wide.clone());
        let lost_back = match &other {
            Some(held) if held == right => Some(BY_REREAD_RIGHT),
            None if seen.lost() && !self.seen_there.lost() => Some(BY_MACHINE),
            _ => None,
        };
        if let Some(blame) = lost_back {
            let prefill = complement(right);
            let blamed = (reader, back);
            let evidence = Evidence {
                seen: &seen,
                ..self.evidence(wide, &actual, &prefill, None, blamed, sink_position)
            };
            let finding = explain(&evidence).map(|found| (reader, back, blame, found));
            if other.is_none() {
                self.begin_anew(wide);
            }
            return finding;
        }
        let known = other.is_some();
        let blame = if known { BY_REREAD_WRONG } else { UNSURE };
        // The reader may have lost other bytes on the way back.
        let held = other.unwrap_or(actual);
        // CAST: both are ranges of the sink's buffer.
        let inner = (range.start - wide.start) as usize..(range.end - wide.start) as usize;
        let position = self.source.position();
        let part = &held[inner];
        let evidence = self.evidence(range, part, before, Some(tag), (route, there), position);
        let finding = explain(&evidence)
            .or_else(|| self.explain_margin(route, wide, range, &held))
            .map(|found| (route, there, blame, found));
        self.shadow.bytes_mut(wide.clone()).copy_from_slice(&held);
        if !known {
            self.begin_anew(wide);
        }
        finding
    }

    /// Nobody knows what the device holds there: it is given something, so that no later transfer
    /// is blamed for it.
    fn begin_anew(&mut self, range: &Range<u64>) {
        let fits = |route: &Route| {
            reaches_memory(&self.limits, *route)
                && Direction::ALL.iter().all(|&direction| {
                    let length = range.end - range.start;
                    is_allowed(&self.limits, *route, direction, range.start, length)
                })
        };
        let routes: Vec<Route> = Route::ALL.into_iter().filter(fits).collect();
        self.fill_range(&routes, range);
    }

    pub(super) fn test_receiving(
        &mut self,
        case: &Case,
        tag: Tag,
        range: &Range<u64>,
    ) -> Option<Finding> {
        let (route, direction) = (case.route, Direction::FromDevice);
        let reader = self.other_routes(route, range).first().copied().unwrap_or(route);
        if let Some(finding) = self.deliver((case.partner, 0), tag, range, reader) {
            return Some(finding);
        }
        if let Err(problem) = self.fetch(route, range, case.page_offset) {
            return Some((route, direction, BY_ANSWER, self.answer(problem, route, direction)));
        }
        if self.codec.first_mismatch(tag, 0, self.sink.buffer()).is_none() {
            let finding = self.check_guards(route, direction, range);
            self.remember_received(route, tag, range);
            return finding;
        }
        let actual = self.sink.buffer().to_vec();
        let prefill = complement(self.shadow.bytes(range.clone()));
        let position = SINK_BASE + self.sink.position();
        let blamed = (route, direction);
        let evidence = self.evidence(range, &actual, &prefill, Some(tag), blamed, position);
        explain(&evidence).map(|found| (route, direction, BY_DELIVERY, found))
    }

    fn evidence<'e>(
        &'e self,
        range: &Range<u64>,
        actual: &'e [u8],
        before: &'e [u8],
        tag: Option<Tag>,
        blamed: (Route, Direction),
        position: usize,
    ) -> Evidence<'e> {
        Evidence {
            expected: self.shadow.bytes(range.clone()),
            actual,
            before,
            tag,
            route: blamed.0,
            direction: blamed.1,
            position,
            device_offset: range.start,
            codec: &self.codec,
            history: &self.history,
            seen: match blamed.1 {
                Direction::ToDevice => &self.seen_there,
                Direction::FromDevice => &self.seen_back,
            },
        }
    }

    fn remember_received(&mut self, route: Route, tag: Tag, range: &Range<u64>) {
        self.history.remember(Record {
            tag,
            route,
            direction: Direction::FromDevice,
            device_offset: range.start,
            length: range.end - range.start,
            position: SINK_BASE + self.sink.position(),
        });
    }

    /// The source must not change, nor anything around it.
    fn check_source(&self, route: Route, tag: Tag) -> Option<Explanation> {
        let direction = Direction::ToDevice;
        let buffer = self.source.buffer();
        if self.codec.first_mismatch(tag, 0, buffer).is_some() {
            let mut expected = vec![0; buffer.len()];
            self.codec.fill(tag, 0, &mut expected);
            let range = 0..0;
            let evidence = Evidence {
                expected: &expected,
                before: &expected,
                ..self.evidence(&range, buffer, &[], Some(tag), (route, direction), 0)
            };
            return explain(&evidence).map(|found| Explanation {
                class: Class::SourceChanged,
                text: format!("the buffer that was sent changed: {}", found.text),
                rule: usual_rule(Class::SourceChanged, route, direction),
                ..found
            });
        }
        let start = self.source.position();
        let breach = self.source.breaches().into_iter().next()?;
        Some(explain_breach(&breach, start..start + buffer.len(), &[], route, direction))
    }

    /// Nothing around the buffer that was received into may change.
    fn check_guards(
        &self,
        route: Route,
        direction: Direction,
        range: &Range<u64>,
    ) -> Option<Finding> {
        let breach = self.sink.breaches().into_iter().next()?;
        let wide = self.shadow.widen(range);
        let continued = match breach.side {
            Side::Before => self.shadow.bytes(wide.start..range.start),
            Side::After => self.shadow.bytes(range.end..wide.end),
        };
        let start = self.sink.position();
        let buffer = start..start + self.sink.buffer().len();
        let found = explain_breach(&breach, buffer, continued, route, direction);
        Some((route, direction, BY_GUARDS, found))
    }

    /// Wrong bytes on the device next to the range.
    fn explain_margin(
        &self,
        route: Route,
        wide: &Range<u64>,
        range: &Range<u64>,
        actual: &[u8],
    ) -> Option<Explanation> {
        let direction = Direction::ToDevice;
        let expected = self.shadow.bytes(wide.clone());
        let evidence = self.evidence(wide, actual, expected, None, (route, direction), 0);
        explain(&evidence).map(|found| {
            let first = wide.start + found.first_wrong;
            let text = format!(
                "device memory outside the transfer changed: the first wrong byte is at device \
                 offset {first:#x}, the transfer is {:#x}..{:#x}",
                range.start, range.end
            );
            let usual = usual_rule(Class::Overrun, route, direction);
            let rule = if found.breach.is_some() { found.rule } else { usual };
            Explanation { class: Class::Overrun, text, rule, ..found }
        })
    }

    /// The routes to read a range by that do not share this one's path.
    fn other_routes(&self, route: Route, range: &Range<u64>) -> Vec<Route> {
        let length = range.end - range.start;
        let fits = |other: &Route| {
            other.path() != route.path()
                && reaches_memory(&self.limits, *other)
                && is_allowed(&self.limits, *other, Direction::FromDevice, range.start, length)
        };
        Route::ALL.into_iter().filter(fits).collect()
    }

    /// What the device holds, read by another route than this one: the first that loses nothing, as
    /// far as the machine can tell. Each is asked twice: what the machine saw being lost may be an
    /// earlier transfer's.
    fn reread(&mut self, route: Route, range: &Range<u64>) -> Option<Vec<u8>> {
        let others = self.other_routes(route, range);
        let read = |&other: &Route| self.fetch(other, range, 0).is_ok() && !self.seen_back.lost();
        others.iter().chain(&others).any(read).then(|| self.sink.buffer().to_vec())
    }

    /// After a failed request: nobody knows what the device holds, so it is asked.
    fn resynchronise(&mut self, range: &Range<u64>) {
        for route in Route::ALL {
            if reaches_memory(&self.limits, route) && self.fetch(route, range, 0).is_ok() {
                let held = self.sink.buffer().to_vec();
                self.shadow.bytes_mut(range.clone()).copy_from_slice(&held);
                return;
            }
        }
    }
}
