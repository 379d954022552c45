//! One lane: a part of the device's memory, and the transfer that is under way there.

use std::fmt;
use std::ops::Range;

use dmaproof_protocol::{Direction, Path};

use super::{CANCEL_ONE_IN, Traffic};
use crate::guard::{Arena, LINE, PAGE};
use crate::history::Record;
use crate::pattern::{Codec, Family, Tag};
use crate::random::Random;
use crate::route::Route;
use crate::sweep::is_allowed;
use crate::target::{Pending, Session, Transfer};

/// The longest transfer by PIO, which a processor carries word by word, in bytes.
const PIO_MAX: u64 = 4096;

/// A part of the device's memory.
#[derive(Debug)]
pub(super) struct Lane {
    window: Range<u64>,
    /// What the device should hold there.
    held: Vec<u8>,
    /// The part of the window about which nothing is known; it is sent next.
    pub(super) unknown: Option<Range<u64>>,
    /// Not while a transfer is under way.
    pub(super) arena: Option<Arena>,
    pub(super) under_way: Option<UnderWay>,
}

/// A transfer that is under way.
pub(super) struct UnderWay {
    pub(super) pending: Box<dyn Pending>,
    pub(super) route: Route,
    pub(super) direction: Direction,
    /// On the device.
    pub(super) range: Range<u64>,
    /// Whose data is sent.
    pub(super) tag: Option<Tag>,
    pub(super) page_offset: usize,
    pub(super) cancelled: bool,
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:#x?}", self.route, self.direction, self.range)
    }
}

impl Lane {
    pub(super) fn new(codec: Codec, window: Range<u64>) -> Self {
        // CAST: at most `WINDOW_MAX`.
        let length = (window.end - window.start) as usize;
        Self {
            held: vec![0; length],
            unknown: Some(window.clone()),
            arena: Some(Arena::new(codec, length)),
            under_way: None,
            window,
        }
    }

    pub(super) fn window(&self) -> Range<u64> {
        self.window.clone()
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether all of what is there is known.
    pub(super) const fn known(&self) -> bool {
        self.unknown.is_none()
    }

    pub(super) fn forget(&mut self) {
        self.unknown = Some(self.window());
    }

    /// What the device should hold in a part of the window.
    pub(super) fn held(&self, range: &Range<u64>) -> &[u8] {
        &self.held[self.indices(range)]
    }

    pub(super) fn held_mut(&mut self, range: &Range<u64>) -> &mut [u8] {
        let indices = self.indices(range);
        &mut self.held[indices]
    }

    fn indices(&self, range: &Range<u64>) -> Range<usize> {
        // CAST: within the window.
        (range.start - self.window.start) as usize..(range.end - self.window.start) as usize
    }

    /// A part of the window: short ones as often as long ones.
    fn choose_range(&self, random: &mut Random) -> Range<u64> {
        let window = self.window.end - self.window.start;
        let magnitude = random.below(window.ilog2() as usize + 1);
        // CAST: at most `WINDOW_MAX`.
        let length = (1 + random.below(2 << magnitude) as u64).min(window);
        let start = self.window.start + random.below((window - length + 1) as usize) as u64;
        start..start + length
    }
}

/// An offset in a page: its start, a line, or anywhere.
fn choose_page_offset(random: &mut Random) -> usize {
    match random.below(4) {
        0 | 1 => 0,
        2 => LINE * random.below(PAGE / LINE),
        _ => random.below(PAGE),
    }
}

impl Traffic {
    /// Begins a transfer in a lane that has none.
    pub(super) fn ask(&mut self, session: &mut dyn Session, at: usize) {
        let lane = &self.lanes[at];
        if let Some(range) = lane.unknown.clone() {
            self.send(session, at, range);
            return;
        }
        let range = lane.choose_range(&mut self.random);
        if self.random.below(2) == 0 {
            self.send(session, at, range);
        } else {
            self.receive(session, at, range);
        }
    }

    fn choose_route(&mut self, direction: Direction, range: &Range<u64>) -> Option<Route> {
        let length = range.end - range.start;
        let fits = |route: &Route| {
            let slow = route.path() == Path::Pio && length > PIO_MAX;
            !slow && is_allowed(&self.limits, *route, direction, range.start, length)
        };
        let routes: Vec<Route> = self.routes.iter().copied().filter(fits).collect();
        if routes.is_empty() { None } else { Some(routes[self.random.below(routes.len())]) }
    }

    fn send(&mut self, session: &mut dyn Session, at: usize, range: Range<u64>) {
        let family = Family::ALL[self.random.below(Family::ALL.len())];
        let tag = Tag { transfer: self.history.next_number(), family };
        self.start(session, at, Direction::ToDevice, range, Some(tag));
    }

    /// Reads a part of a lane's window.
    pub(super) fn receive(&mut self, session: &mut dyn Session, at: usize, range: Range<u64>) {
        self.start(session, at, Direction::FromDevice, range, None);
    }

    fn start(
        &mut self,
        session: &mut dyn Session,
        at: usize,
        direction: Direction,
        range: Range<u64>,
        tag: Option<Tag>,
    ) {
        let Some(route) = self.choose_route(direction, &range) else { return };
        let page_offset = choose_page_offset(&mut self.random);
        let cancel = self.rough.cancels && self.random.below(CANCEL_ONE_IN) == 0;
        let lane = &mut self.lanes[at];
        let Some(mut arena) = lane.arena.take() else { return };
        // CAST: within the window.
        arena.place(page_offset, (range.end - range.start) as usize);
        if let Some(tag) = tag {
            self.codec.fill(tag, 0, arena.buffer_mut());
            self.history.remember(Record {
                tag,
                route,
                direction,
                device_offset: range.start,
                length: range.end - range.start,
                position: arena.position(),
            });
            // Until it has arrived nobody knows what is there.
            lane.unknown = Some(match lane.unknown.take() {
                Some(more) => more.start.min(range.start)..more.end.max(range.end),
                None => range.clone(),
            });
        } else {
            let held = lane.held(&range);
            arena.buffer_mut().iter_mut().zip(held).for_each(|(byte, held)| *byte = !held);
        }
        self.tally.asked += 1;
        let transfer = Transfer { route, direction, offset: range.start };
        let mut pending = session.submit(transfer, arena);
        if cancel {
            pending.cancel();
        }
        lane.under_way = Some(UnderWay {
            pending,
            route,
            direction,
            range,
            tag,
            page_offset,
            cancelled: cancel,
        });
    }
}
