//! The injection block: which commands get which faults.

use crate::exerciser::FaultKind;
use crate::exerciser::registers::FAULTS;

/// What a fault slot is armed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// What the kind makes of it.
    pub argument: u64,
    /// Which queues it looks at: bit n for queue n.
    pub queues: u32,
    /// Commands it lets pass first.
    pub skip: u32,
    /// Commands it hits then; `u32::MAX`: no end.
    pub count: u32,
}

impl Fault {
    /// Hits the next command of any queue.
    pub const fn new(kind: FaultKind, argument: u64) -> Self {
        Self { kind, argument, queues: u32::MAX, skip: 0, count: 1 }
    }

    /// The same, after `skip` commands.
    pub const fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// The same, for `count` commands; `u32::MAX`: no end.
    pub const fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }
}

/// A slot's registers.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub kind: Option<FaultKind>,
    pub queues: u32,
    pub skip: u32,
    pub count: u32,
    pub argument: u64,
    pub fired: u32,
}

impl Slot {
    const RESET: Self =
        Self { kind: None, queues: u32::MAX, skip: 0, count: 1, argument: 0, fired: 0 };

    /// Whether it hits this time; `queue` is the queue of a command.
    fn hits(&mut self, queue: usize) -> bool {
        if self.queues & (1 << queue) == 0 || self.count == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.count != u32::MAX {
            self.count -= 1;
        }
        self.fired = self.fired.saturating_add(1);
        true
    }
}

/// The faults of one command.
#[derive(Clone, Copy, Default)]
pub(super) struct Hit([Option<(FaultKind, u64)>; FAULTS]);

impl Hit {
    /// The argument of a fault that the command has.
    pub(super) fn argument(&self, kind: FaultKind) -> Option<u64> {
        self.0.iter().flatten().find(|(found, _)| *found == kind).map(|&(_, argument)| argument)
    }

    pub(super) fn has(&self, kind: FaultKind) -> bool {
        self.argument(kind).is_some()
    }
}

/// All slots.
pub(super) struct Faults {
    pub slots: [Slot; FAULTS],
    /// Some slot is armed.
    armed: bool,
}

impl Faults {
    pub(super) fn new(faults: &[Option<Fault>; FAULTS]) -> Self {
        let mut this = Self { slots: [Slot::RESET; FAULTS], armed: false };
        for (slot, fault) in faults.iter().enumerate() {
            this.arm(slot, *fault);
        }
        this
    }

    pub(super) fn arm(&mut self, slot: usize, fault: Option<Fault>) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        *place = match fault {
            Some(Fault { kind, argument, queues, skip, count }) => {
                Slot { kind: Some(kind), queues, skip, count, argument, fired: 0 }
            }
            None => Slot::RESET,
        };
        self.refresh();
    }

    /// A write to a slot's kind register: arms it with what its other registers hold.
    pub(super) fn set_kind(&mut self, slot: usize, code: u32) {
        if let Some(place) = self.slots.get_mut(slot) {
            place.kind = FaultKind::from_code(code);
            place.fired = 0;
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.armed = self.slots.iter().any(|slot| slot.kind.is_some());
    }

    pub(super) fn fired(&self, slot: usize) -> u32 {
        self.slots.get(slot).map_or(0, |slot| slot.fired)
    }

    /// The faults of the next command of a queue.
    pub(super) fn of_command(&mut self, queue: usize) -> Hit {
        let mut hit = Hit::default();
        if !self.armed {
            return hit;
        }
        for (slot, place) in self.slots.iter_mut().zip(&mut hit.0) {
            if let Some(kind) = slot.kind
                && kind != FaultKind::IgnoredReset
                && slot.hits(queue)
            {
                *place = Some((kind, slot.argument));
            }
        }
        hit
    }

    /// Whether the next reset is ignored.
    pub(super) fn ignore_reset(&mut self) -> bool {
        let mut slots = self.slots.iter_mut();
        slots.any(|slot| slot.kind == Some(FaultKind::IgnoredReset) && slot.hits(0))
    }
}
