//! Interrupt lines of the machine: edges (messages) and levels (INTx), and who is connected.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Kernel;

/// What runs on an interrupt: returns whether it claimed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    pub run: fn(&Kernel, usize) -> bool,
    pub argument: usize,
}

/// Interrupts of one line nobody claimed in a row after which the line is masked, as a system
/// does in an interrupt storm.
const STORM: u32 = 1000;

/// Claimed interrupts of a line that stays asserted all the while: its handler does not stop the
/// cause.
const ENDLESS: u32 = 10_000;

#[derive(Debug, Default)]
struct Line {
    irql: u8,
    level: bool,
    asserted: AtomicBool,
    unclaimed: AtomicU32,
    /// Services since the line last fell.
    endless: AtomicU32,
    handler: Mutex<Option<Handler>>,
}

/// Names a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineId(usize);

impl LineId {
    /// Its number.
    pub(crate) const fn number(self) -> usize {
        self.0
    }
}

/// All lines; their number is fixed.
#[derive(Debug)]
pub(crate) struct Interrupts {
    lines: Vec<Line>,
    used: AtomicU32,
    /// One bit per line that wants service and is connected.
    pending: AtomicU64,
}

impl Interrupts {
    /// Lines of a machine. Even numbers are edges, odd ones levels; DIRQLs rise from 5 to 12.
    const LINES: usize = 64;

    pub(crate) fn new() -> Self {
        let line = |index: usize| Line {
            // CAST: 5..=12.
            irql: 5 + (index / 2 % 8) as u8,
            level: index % 2 == 1,
            ..Line::default()
        };
        Self {
            lines: (0..Self::LINES).map(line).collect(),
            used: AtomicU32::new(0),
            pending: AtomicU64::new(0),
        }
    }

    /// A line nobody has: for messages (edges) or for an INTx pin (a level).
    pub(crate) fn allocate(&self, level: bool) -> LineId {
        let pair = self.used.fetch_add(1, Ordering::Relaxed) as usize % (Self::LINES / 2);
        LineId(pair * 2 + usize::from(level))
    }

    /// The device interrupt level of a line.
    pub(crate) fn irql(&self, line: LineId) -> u8 {
        self.lines[line.0].irql
    }

    /// A vector number for the resource lists.
    pub(crate) fn vector(&self, line: LineId) -> u32 {
        // CAST: below 64.
        0x30 + line.0 as u32
    }

    /// Connects a handler.
    pub(crate) fn connect(&self, line: LineId, handler: Handler) {
        *self.lines[line.0].handler.lock() = Some(handler);
        self.lines[line.0].unclaimed.store(0, Ordering::Relaxed);
        if self.lines[line.0].asserted.load(Ordering::Acquire) {
            self.pending.fetch_or(1 << line.0, Ordering::Release);
        }
    }

    /// Disconnects; nothing is delivered afterwards.
    pub(crate) fn disconnect(&self, line: LineId) {
        *self.lines[line.0].handler.lock() = None;
        self.pending.fetch_and(!(1 << line.0), Ordering::Release);
        if !self.lines[line.0].level {
            self.lines[line.0].asserted.store(false, Ordering::Release);
        }
    }

    /// An edge, or a level that rises.
    pub(crate) fn raise(&self, line: LineId) {
        let this = &self.lines[line.0];
        this.asserted.store(true, Ordering::Release);
        if this.handler.lock().is_some() {
            self.pending.fetch_or(1 << line.0, Ordering::Release);
        }
    }

    /// A level that falls.
    pub(crate) fn lower(&self, line: LineId) {
        self.lines[line.0].asserted.store(false, Ordering::Release);
        self.lines[line.0].endless.store(0, Ordering::Relaxed);
        self.pending.fetch_and(!(1 << line.0), Ordering::Release);
    }

    /// Whether any line wants service.
    #[inline]
    pub(crate) fn any_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) != 0
    }

    /// The highest pending line and its level.
    #[inline]
    pub(super) fn most_urgent(&self) -> Option<(usize, u8)> {
        let pending = self.pending.load(Ordering::Acquire);
        if pending == 0 {
            return None;
        }
        let lines = (0..Self::LINES).filter(|&i| pending & (1 << i) != 0);
        lines.map(|i| (i, self.lines[i].irql)).max_by_key(|&(_, irql)| irql)
    }

    /// The highest pending line above `irql`: its level and handler. An edge is consumed.
    pub(super) fn take_above(&self, irql: u8) -> Option<(LineId, u8, Handler)> {
        let (best, _) = self.most_urgent().filter(|&(_, level)| level > irql)?;
        let line = &self.lines[best];
        let bit = 1 << best;
        if self.pending.fetch_and(!bit, Ordering::AcqRel) & bit == 0 {
            return None;
        }
        if !line.level {
            line.asserted.store(false, Ordering::Release);
        }
        let handler = (*line.handler.lock())?;
        Some((LineId(best), line.irql, handler))
    }

    /// After service: a level that is still asserted stays pending, unless it is a storm. `false`
    /// if the handler claims the interrupt again and again and never stops its cause (KMDF-14).
    pub(super) fn serviced(&self, line: LineId, claimed: bool) -> bool {
        let this = &self.lines[line.0];
        if claimed {
            this.unclaimed.store(0, Ordering::Relaxed);
        } else {
            this.unclaimed.fetch_add(1, Ordering::Relaxed);
        }
        let masked = this.unclaimed.load(Ordering::Relaxed) >= STORM;
        if this.level && this.asserted.load(Ordering::Acquire) && !masked {
            self.pending.fetch_or(1 << line.0, Ordering::Release);
        }
        !this.level || this.endless.fetch_add(1, Ordering::Relaxed) < ENDLESS
    }
}
