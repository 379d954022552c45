//! What kind of machine to build.

use std::sync::Arc;

use super::deterministic::Scheduler;
use super::deterministic::coroutine::AVAILABLE;
use super::faults::Faults;
use super::policy::{Policy, Strategy};
use super::{Kernel, Machine};

/// A kind of machine, see the design's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Coherent caches; transfers beyond an adapter's reach, or not contiguous for an adapter
    /// without scatter/gather, are bounced.
    X64,
    /// As [`Profile::X64`], behind an IOMMU that lets a device reach mapped ranges only.
    X64Dmar,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 2] = [Self::X64, Self::X64Dmar];

    /// The name on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::X64Dmar => "x64-dmar",
        }
    }

    /// Whether device accesses go through an IOMMU.
    #[must_use]
    pub const fn remaps(self) -> bool {
        matches!(self, Self::X64Dmar)
    }
}

/// Who decides what runs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// Real threads on this many virtual processors.
    Threads {
        /// At least one.
        processors: usize,
    },
    /// One application thread; everything runs to completion on it.
    Straight,
    /// One task at a time, and a policy that decides at every crossing which one: any order of
    /// events that the machine can have, and each can be had again.
    Deterministic {
        /// At least one. A thread keeps its processor while it is in kernel mode and does not
        /// wait, so threads interleave there up to this number.
        processors: usize,
        /// Who decides.
        policy: Policy,
    },
}

impl Scheduling {
    /// Whether there is the deterministic scheduler in this build: not on Windows for ARM64, and
    /// not under Miri.
    pub const DETERMINISTIC: bool = AVAILABLE;
}

/// The options of a machine, as [`Builder`] collected them.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub profile: Profile,
    pub scheduling: Scheduling,
    pub seed: u64,
    pub strict: bool,
    pub map_registers: Option<u32>,
    pub double_buffer: bool,
    pub versions: u32,
    pub messages: bool,
    pub flush_failure: Option<u64>,
    pub left_out: Option<&'static str>,
    pub log: bool,
    pub faults: Faults,
    pub stack_limit: u64,
}

impl Options {
    pub(crate) fn processors(&self) -> usize {
        match self.scheduling {
            Scheduling::Threads { processors } | Scheduling::Deterministic { processors, .. } => {
                processors.max(1)
            }
            // One for the driver, one for what a test injects as if from another processor.
            Scheduling::Straight => 2,
        }
    }

    pub(super) fn scheduler(&self) -> Option<Scheduler> {
        matches!(self.scheduling, Scheduling::Deterministic { .. })
            .then(|| Scheduler::new(self.processors()))
    }

    pub(super) fn strategy(&self) -> Box<dyn Strategy> {
        match &self.scheduling {
            Scheduling::Deterministic { policy, .. } => policy.strategy(self.seed),
            Scheduling::Threads { .. } | Scheduling::Straight => Policy::Random.strategy(self.seed),
        }
    }
}

/// Kernel stack that one call into a driver may use, bytes (SIM-07): half of what an x64 thread
/// has. Frames of a build without optimisation say nothing about a driver.
const STACK_LIMIT: u64 = if cfg!(debug_assertions) { u64::MAX } else { 12 << 10 };

/// Builds a [`Machine`].
#[derive(Debug)]
pub struct Builder(Options, Option<Box<dyn Strategy>>);

impl Clone for Builder {
    fn clone(&self) -> Self {
        Self(self.0.clone(), None)
    }
}

impl Builder {
    pub(super) fn new(profile: Profile) -> Self {
        let options = Options {
            profile,
            scheduling: Scheduling::Straight,
            seed: 1,
            strict: false,
            map_registers: None,
            double_buffer: false,
            versions: 3,
            messages: true,
            flush_failure: None,
            left_out: None,
            log: false,
            faults: Faults::Off,
            stack_limit: STACK_LIMIT,
        };
        Self(options, None)
    }

    /// Who decides what runs next; [`Scheduling::Straight`] unless set.
    #[must_use]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.0.scheduling = scheduling;
        self
    }

    /// Seed of every choice the machine makes; 1 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Notes become violations.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.0.strict = strict;
        self
    }

    /// At most this many map registers for each adapter (DMA-10); no limit but the demand if
    /// `None`.
    #[must_use]
    pub fn map_registers(mut self, limit: Option<u32>) -> Self {
        self.0.map_registers = limit;
        self
    }

    /// Bounce every transfer, as Driver Verifier does (DMA-97).
    #[must_use]
    pub fn double_buffer(mut self, always: bool) -> Self {
        self.0.double_buffer = always;
        self
    }

    /// The newest `DEVICE_DESCRIPTION.Version` this system offers, 1 to 3; 3 unless set (DMA-04).
    #[must_use]
    pub fn adapter_versions(mut self, newest: u32) -> Self {
        self.0.versions = newest;
        self
    }

    /// Whether devices that can send messages (MSI) get them; line-based interrupts otherwise.
    #[must_use]
    pub fn message_interrupts(mut self, messages: bool) -> Self {
        self.0.messages = messages;
        self
    }

    /// The `n`-th flush of adapter buffers (counted from 1) fails: FlushAdapterBuffers returns
    /// FALSE (DMA-55).
    #[must_use]
    pub fn fail_flush(mut self, n: u64) -> Self {
        self.0.flush_failure = Some(n);
        self
    }

    /// Sabotage: calls of this function by the driver do nothing, as if its author had forgotten
    /// them. Takes effect for functions that return nothing or a BOOLEAN, which is then TRUE.
    #[must_use]
    pub fn leave_out(mut self, function: &'static str) -> Self {
        self.0.left_out = Some(function);
        self
    }

    /// Lets calls fail; none unless set.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.0.faults = faults;
        self
    }

    /// Keeps a log of all crossings, see [`Machine::log`]; not kept unless set.
    #[must_use]
    pub fn log(mut self, kept: bool) -> Self {
        self.0.log = kept;
        self
    }

    /// Kernel stack that one call into the driver may use, bytes (SIM-07); 12 KiB unless set, and
    /// without a limit where nthost was built without optimisation.
    #[must_use]
    pub fn stack_limit(mut self, bytes: u64) -> Self {
        self.0.stack_limit = bytes;
        self
    }

    /// Lets this strategy decide instead of the policy.
    pub(crate) fn decided_by(mut self, strategy: Box<dyn Strategy>) -> Self {
        self.1 = Some(strategy);
        self
    }

    pub(crate) fn seed_of(&self) -> u64 {
        self.0.seed
    }

    /// Builds the machine.
    ///
    /// # Panics
    /// When the deterministic scheduler is asked for where there is none, see
    /// [`Scheduling::DETERMINISTIC`].
    #[must_use]
    pub fn build(self) -> Machine {
        crate::ddi::install();
        let Self(options, strategy) = self;
        let deterministic = matches!(options.scheduling, Scheduling::Deterministic { .. });
        assert!(
            AVAILABLE || !deterministic,
            "there is no deterministic scheduler on this system; use Straight or Threads"
        );
        let strategy = strategy.unwrap_or_else(|| options.strategy());
        Machine { kernel: Arc::new_cyclic(|this| Kernel::new(options, strategy, this.clone())) }
    }
}
