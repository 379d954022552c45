//! What a move of the machine touches, for exploration: moves that touch nothing in common may be
//! exchanged without a difference.

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

#[cfg(test)]
mod tests {
    use super::*;

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
