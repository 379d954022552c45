//! Says what kind of mistake wrong data looks like, and which rule it usually breaks.
//!
//! The wrong bytes are first cut into *segments* of one origin each (module `segment`): what was in the
//! destination before, a repeated fill, this transfer's own data from another place, an earlier
//! transfer's data, guard bytes. From the shape of the segments, and from where they lie in cache
//! lines and pages, follows the class.

use dmaproof_protocol::Direction;
use serde::Serialize;

use crate::guard::{Breach, LINE, Side};
use crate::history::History;
use crate::pattern::{Codec, Tag};
use crate::route::Route;

mod class;
mod classify;
mod diff;
mod loss;
mod rule;
mod segment;
#[cfg(test)]
mod tests;

pub use class::Class;
pub use loss::{Missing, Seen};
pub use rule::{missing_call, usual_rule};
pub use segment::{Kind, Segment};

/// How many segments a report lists.
const SEGMENTS_MAX: usize = 8;

/// What is known about wrong data.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What should be in the destination.
    pub expected: &'a [u8],
    /// What is there.
    pub actual: &'a [u8],
    /// What was there before the transfer.
    pub before: &'a [u8],
    /// Whose data is expected; `None` if it is no pattern but a file's.
    pub tag: Option<Tag>,
    /// How the transfer was asked for.
    pub route: Route,
    /// Where the data went.
    pub direction: Direction,
    /// Where the tested buffer is in its arena, which starts at a page boundary.
    pub position: usize,
    /// The first byte on the device.
    pub device_offset: u64,
    /// Decodes the run's patterns.
    pub codec: &'a Codec,
    /// What happened before.
    pub history: &'a History,
    /// What the machine saw of the transfer besides its data.
    pub seen: &'a Seen,
}

/// What wrong data looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The kind of mistake.
    pub class: Class,
    /// What is wrong, in a sentence.
    pub text: String,
    /// The rule that is usually broken when data looks like this.
    pub rule: Option<&'static str>,
    /// The call that is usually missing or misplaced then.
    pub call: Option<&'static str>,
    /// How and where the rule was broken in this transfer, if the machine saw it.
    pub breach: Option<String>,
    /// The first wrong byte, counted from the start of the transfer.
    pub first_wrong: u64,
    /// How many bytes are wrong.
    pub wrong_bytes: u64,
    /// Where the wrong bytes come from, piece by piece.
    pub segments: Vec<String>,
    /// Expected and actual bytes around the first wrong one.
    pub diff: Vec<String>,
}

impl Explanation {
    /// The same, where the device did by the options `now` what it was told to do wrong: then that
    /// is the cause, and no rule that the driver follows or breaks. What it did `before` to other
    /// transfers may have left something.
    #[must_use]
    pub fn of_injected(self, now: &[String], before: &[String]) -> Self {
        if self.breach.is_some() || (now.is_empty() && before.is_empty()) {
            return self;
        }
        let text = self.text.trim_end_matches('.');
        let text = match (now, before) {
            ([], before) => format!(
                "{text}; it may come of what the device was told to do to an earlier transfer: {}",
                before.join(", ")
            ),
            (now, _) => format!("{text}; the device did what it was told to: {}", now.join(", ")),
        };
        Self { text, rule: None, call: None, ..self }
    }
}

/// Explains wrong data; `None` if nothing is wrong.
#[must_use]
pub fn explain(evidence: &Evidence<'_>) -> Option<Explanation> {
    let segments = segment::cut(evidence);
    let first = segments.first()?;
    let seen = evidence.seen.class(&segments);
    let class = seen.unwrap_or_else(|| classify::classify(evidence, &segments));
    let mut described: Vec<String> =
        segments.iter().take(SEGMENTS_MAX).map(|segment| segment.describe(evidence)).collect();
    if segments.len() > SEGMENTS_MAX {
        described.push(format!("and {} more", segments.len() - SEGMENTS_MAX));
    }
    let wrong = evidence.expected.iter().zip(evidence.actual).filter(|(e, a)| e != a).count();
    let text = match seen {
        Some(class) => loss::sentence(class, evidence, first),
        None => classify::sentence(class, evidence, &segments),
    };
    let broken = evidence.seen.breaches.first();
    let rule = broken.map_or_else(
        || usual_rule(class, evidence.route, evidence.direction),
        |breach| Some(breach.rule),
    );
    Some(Explanation {
        class,
        text,
        rule,
        call: rule.and_then(missing_call),
        breach: broken.map(|breach| format!("{}, at {}", breach.text, breach.call_site)),
        first_wrong: first.start as u64,
        wrong_bytes: wrong as u64,
        segments: described,
        diff: diff::lines(evidence.expected, evidence.actual, first.start),
    })
}

/// Explains changed bytes next to a buffer.
///
/// `continued` is what the device would have written there if it had gone on: what it holds past
/// that side of the transfer, the byte next to the transfer being nearest to the buffer.
#[must_use]
pub fn explain_breach(
    breach: &Breach,
    buffer: std::ops::Range<usize>,
    continued: &[u8],
    route: Route,
    direction: Direction,
) -> Explanation {
    let line_rest = match breach.side {
        Side::Before => buffer.start % LINE,
        Side::After => buffer.end.next_multiple_of(LINE) - buffer.end,
    };
    let continues = breach.nearest == 0
        && match breach.side {
            Side::Before => continued.ends_with(&breach.actual),
            Side::After => continued.starts_with(&breach.actual),
        };
    let class = if breach.farthest < line_rest && !continues {
        Class::NeighbourStore
    } else {
        Class::Overrun
    };
    let side = match breach.side {
        Side::Before => "before",
        Side::After => "after",
    };
    let place =
        format!("{} to {} bytes {side} the buffer", breach.nearest + 1, breach.farthest + 1);
    let text = match class {
        Class::NeighbourStore => format!(
            "bytes {place} changed, within the cache line that they share with the buffer: a store \
             to a neighbour was lost"
        ),
        _ if continues => format!(
            "bytes {place} changed: the device's data goes on there, past the end of the transfer"
        ),
        _ => format!("bytes {place} changed, where the transfer has no business"),
    };
    let wrong = breach.expected.iter().zip(&breach.actual).filter(|(e, a)| e != a).count();
    let rule = usual_rule(class, route, direction);
    Explanation {
        class,
        text,
        rule,
        call: rule.and_then(missing_call),
        breach: None,
        first_wrong: breach.nearest as u64,
        wrong_bytes: wrong as u64,
        segments: Vec::new(),
        diff: diff::lines(&breach.expected, &breach.actual, 0),
    }
}
