//! Interrupt lines of the machine: edges (messages) and levels (INTx), and who is connected.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Kernel;

/// What runs on an interrupt: returns whether it claimed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    pub run: fn(&Kernel, usize) -> bool,
    pub argument: usize,
}

/// An interrupt that a processor has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub line: LineId,
    pub irql: u8,
    pub handler: Handler,
}

/// Interrupts of one line nobody claimed in a row after which the line is masked, as a system
/// does in an interrupt storm.
const STORM: u32 = 1000;

/// Claimed interrupts of a line that stays asserted all the while: its handler does not stop the
/// cause.
const ENDLESS: u32 = 10_000;

/// The processors of group 0 that may take an interrupt, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Targets(u64);

impl Targets {
    /// Any processor, whatever its number.
    pub(crate) const ANY: Self = Self(u64::MAX);

    /// Those of a mask that `all`, the mask of the processors that there are, has; any of them if
    /// that is all or none.
    pub(crate) const fn of(mask: u64, all: u64) -> Self {
        match mask & all {
            0 => Self::ANY,
            some if some == all => Self::ANY,
            some => Self(some),
        }
    }

    /// The mask, on a machine with these processors.
    pub(crate) const fn mask(self, all: u64) -> u64 {
        self.0 & all
    }

    const fn has(self, processor: usize) -> bool {
        self.0 == u64::MAX || (processor < 64 && self.0 >> processor & 1 != 0)
    }
}

#[derive(Debug, Default)]
struct Line {
    irql: u8,
    level: bool,
    /// The [`Targets`] of who is connected.
    targets: AtomicU64,
    asserted: AtomicBool,
    unclaimed: AtomicU32,
    /// Services since the line last fell.
    endless: AtomicU32,
    handler: Mutex<Option<Handler>>,
}

impl Line {
    fn numbered(index: usize) -> Self {
        // CAST: 5..=12.
        let irql = 5 + (index / 2 % 8) as u8;
        Self { irql, level: index % 2 == 1, ..Self::default() }
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        // CAST: below 64.
        (bit < u64::BITS).then_some(bit as usize)
    })
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

/// Lines that come into being together: one for each bit of a word.
type Group = Box<[Line]>;

/// All lines. They come into being in groups, as devices need them.
#[derive(Debug)]
pub(crate) struct Interrupts {
    groups: Box<[OnceLock<Group>]>,
    used: AtomicU32,
    /// Lines that want service and are connected, a bit for each.
    pending: Box<[AtomicU64]>,
    /// Words of `pending` that may not be 0, a bit for each.
    waiting: AtomicU64,
}

impl Interrupts {
    /// Lines of a group. Even numbers are edges, odd ones levels; DIRQLs rise from 5 to 12.
    const GROUP: usize = 64;
    /// Groups.
    const GROUPS: usize = 64;

    pub(crate) fn new() -> Self {
        Self {
            groups: (0..Self::GROUPS).map(|_| OnceLock::new()).collect(),
            used: AtomicU32::new(0),
            pending: (0..Self::GROUPS).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicU64::new(0),
        }
    }

    /// A line nobody has: for messages (edges) or for an INTx pin (a level).
    ///
    /// # Panics
    /// When a machine's devices have more than 2048 pins and messages.
    pub(crate) fn allocate(&self, level: bool) -> LineId {
        let pair = self.used.fetch_add(1, Ordering::Relaxed) as usize;
        let line = pair * 2 + usize::from(level);
        let group = self.groups.get(line / Self::GROUP);
        let group = group.expect("a machine has at most 2048 pins and messages");
        group.get_or_init(|| (0..Self::GROUP).map(Line::numbered).collect());
        LineId(line)
    }

    fn line(&self, line: LineId) -> &Line {
        let group = self.groups[line.0 / Self::GROUP].get();
        &group.expect("a line that was allocated")[line.0 % Self::GROUP]
    }

    /// The device interrupt level of a line.
    pub(crate) fn irql(&self, line: LineId) -> u8 {
        self.line(line).irql
    }

    /// A vector number for the resource lists.
    pub(crate) fn vector(&self, line: LineId) -> u32 {
        // CAST: below 4096.
        0x30 + line.0 as u32
    }

    fn set_pending(&self, line: LineId) {
        let word = line.0 / Self::GROUP;
        self.pending[word].fetch_or(1 << (line.0 % Self::GROUP), Ordering::AcqRel);
        self.waiting.fetch_or(1 << word, Ordering::Release);
    }

    /// Whether the line was pending.
    fn clear_pending(&self, line: LineId) -> bool {
        let (word, bit) = (line.0 / Self::GROUP, 1 << (line.0 % Self::GROUP));
        let before = self.pending[word].fetch_and(!bit, Ordering::AcqRel);
        if before & !bit == 0 {
            self.forget(word);
        }
        before & bit != 0
    }

    /// A word was seen to be 0.
    fn forget(&self, word: usize) {
        if self.waiting.load(Ordering::Relaxed) >> word & 1 == 0 {
            return;
        }
        self.waiting.fetch_and(!(1 << word), Ordering::AcqRel);
        // Another line of the word may have come in between.
        if self.pending[word].load(Ordering::Acquire) != 0 {
            self.waiting.fetch_or(1 << word, Ordering::Release);
        }
    }

    /// Connects a handler, which is called on these processors.
    pub(crate) fn connect(&self, line: LineId, handler: Handler, targets: Targets) {
        let this = self.line(line);
        this.targets.store(targets.0, Ordering::Relaxed);
        *this.handler.lock() = Some(handler);
        this.unclaimed.store(0, Ordering::Relaxed);
        if this.asserted.load(Ordering::Acquire) {
            self.set_pending(line);
        }
    }

    /// Disconnects; nothing is delivered afterwards.
    pub(crate) fn disconnect(&self, line: LineId) {
        let this = self.line(line);
        *this.handler.lock() = None;
        self.clear_pending(line);
        if !this.level {
            this.asserted.store(false, Ordering::Release);
        }
    }

    /// An edge, or a level that rises.
    pub(crate) fn raise(&self, line: LineId) {
        let this = self.line(line);
        this.asserted.store(true, Ordering::Release);
        if this.handler.lock().is_some() {
            self.set_pending(line);
        }
    }

    /// A level that falls.
    pub(crate) fn lower(&self, line: LineId) {
        let this = self.line(line);
        this.asserted.store(false, Ordering::Release);
        this.endless.store(0, Ordering::Relaxed);
        self.clear_pending(line);
    }

    /// Whether any line wants service.
    #[inline]
    pub(crate) fn any_pending(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != 0
    }

    /// The highest pending line that a processor may take, and its level. `others` are processors
    /// that are looked after already, a bit for each: nothing that one of them may take.
    #[inline]
    pub(super) fn most_urgent(&self, processor: usize, others: u64) -> Option<(LineId, u8)> {
        let pending = bits(self.waiting.load(Ordering::Acquire)).flat_map(|word| {
            let pending = self.pending[word].load(Ordering::Acquire);
            if pending == 0 {
                self.forget(word);
            }
            bits(pending).map(move |bit| LineId(word * Self::GROUP + bit))
        });
        let own = pending.filter_map(|id| {
            let line = self.line(id);
            let targets = Targets(line.targets.load(Ordering::Relaxed));
            (targets.has(processor) && targets.0 & others == 0).then_some((id, line.irql))
        });
        own.max_by_key(|&(_, irql)| irql)
    }

    /// The highest pending line above `irql` that a processor may take, taken.
    pub(super) fn take_above(&self, irql: u8, processor: usize) -> Option<Taken> {
        // Another processor may be quicker; the next one then.
        loop {
            let (best, _) = self.most_urgent(processor, 0).filter(|&(_, level)| level > irql)?;
            if let Some(taken) = self.take(best) {
                return Some(taken);
            }
        }
    }

    /// Takes a line that is pending. An edge is consumed.
    pub(super) fn take(&self, id: LineId) -> Option<Taken> {
        let line = self.line(id);
        if !self.clear_pending(id) {
            return None;
        }
        if !line.level {
            line.asserted.store(false, Ordering::Release);
        }
        let handler = (*line.handler.lock())?;
        Some(Taken { line: id, irql: line.irql, handler })
    }

    /// After service: a level that is still asserted stays pending, unless it is a storm. `false`
    /// if the handler claims the interrupt again and again and never stops its cause (KMDF-14).
    pub(super) fn serviced(&self, line: LineId, claimed: bool) -> bool {
        let this = self.line(line);
        if claimed {
            this.unclaimed.store(0, Ordering::Relaxed);
        } else {
            this.unclaimed.fetch_add(1, Ordering::Relaxed);
        }
        let masked = this.unclaimed.load(Ordering::Relaxed) >= STORM;
        if this.level && this.asserted.load(Ordering::Acquire) && !masked {
            self.set_pending(line);
            // Another processor may have let it fall in between.
            if !this.asserted.load(Ordering::Acquire) {
                self.clear_pending(line);
            }
        }
        !this.level || this.endless.fetch_add(1, Ordering::Relaxed) < ENDLESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLER: Handler = Handler { run: |_, _| true, argument: 0 };

    fn connected(interrupts: &Interrupts, level: bool) -> LineId {
        let line = interrupts.allocate(level);
        interrupts.connect(line, HANDLER, Targets::ANY);
        line
    }

    #[test]
    fn a_thousand_lines_are_told_apart() {
        let interrupts = Interrupts::new();
        let lines: Vec<_> = (0..1000).map(|n| connected(&interrupts, n % 6 == 0)).collect();

        lines.iter().for_each(|&line| interrupts.raise(line));
        lines[..999].iter().for_each(|&line| interrupts.lower(line));

        assert_eq!(interrupts.most_urgent(0, 0).map(|(line, _)| line), Some(lines[999]));
        let taken = interrupts.take_above(0, 0).map(|taken| taken.line);
        assert_eq!(taken, Some(lines[999]));
        assert!(!interrupts.any_pending());
    }

    #[test]
    fn the_highest_level_comes_first_and_nothing_below_the_processors() {
        let interrupts = Interrupts::new();
        let lines: Vec<_> = (0..100).map(|_| connected(&interrupts, false)).collect();
        for &line in &lines {
            interrupts.raise(line);
        }

        let levels: Vec<_> = std::iter::from_fn(|| interrupts.take_above(6, 0)).collect();

        assert!(levels.windows(2).all(|pair| pair[0].irql >= pair[1].irql));
        assert!(levels.iter().all(|taken| taken.irql > 6));
        let rest = lines.iter().filter(|&&line| interrupts.irql(line) <= 6).count();
        assert_eq!((levels.len() + rest, interrupts.any_pending()), (lines.len(), rest != 0));
    }

    #[test]
    fn a_processor_takes_only_what_is_directed_to_it() {
        let interrupts = Interrupts::new();
        let directed = |mask| {
            let line = interrupts.allocate(false);
            interrupts.connect(line, HANDLER, Targets::of(mask, 0b1111));
            line
        };
        let (second, any, both) = (directed(0b0010), directed(0b1111), directed(0b0110));
        [second, any, both].into_iter().for_each(|line| interrupts.raise(line));

        let urgent =
            |processor, others| interrupts.most_urgent(processor, others).map(|(line, _)| line);
        assert_eq!(
            [0, 1, 2, 3].map(|processor| urgent(processor, 0)),
            [Some(any), Some(both), Some(both), Some(any)]
        );
        // Earlier processors stand for this one, for what they may take as well.
        assert_eq!((urgent(2, 0b0001), urgent(2, 0b0010)), (Some(both), None));

        let take = |processor| interrupts.take_above(0, processor).map(|taken| taken.line);
        assert_eq!(
            [take(3), take(3), take(2), take(2), take(1)],
            [Some(any), None, Some(both), None, Some(second)]
        );
        assert!(!interrupts.any_pending());
    }

    #[test]
    fn no_processor_or_every_processor_is_any_processor() {
        assert_eq!(Targets::of(0, 0b11), Targets::ANY);
        assert_eq!(Targets::of(0b1100, 0b11), Targets::ANY);
        assert_eq!(Targets::of(0b111, 0b11), Targets::ANY);
        assert_eq!(Targets::of(0b101, 0b11).mask(0b11), 0b01);
        assert!(Targets::ANY.has(70) && !Targets::of(1, 0b11).has(70));
    }
}
