//! What kind of machine to build.

use std::sync::Arc;

use super::deterministic::Scheduler;
use super::deterministic::coroutine::AVAILABLE;
use super::faults::Faults;
use super::policy::{Policy, Strategy};
use super::{Kernel, Machine};
use crate::ddi::{Deed, Sabotage};

/// A kind of machine, see the design's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Coherent caches; transfers beyond an adapter's reach, or not contiguous for an adapter
    /// without scatter/gather, are bounced.
    X64,
    /// As [`Profile::X64`], behind an IOMMU that lets a device reach mapped ranges only.
    X64Dmar,
    /// Caches are not coherent with devices and prefetch; common buffers are never cached; lines
    /// that a transfer shares with its neighbours are bounced. Map registers translate.
    Arm64,
    /// Caches are not coherent with devices; CacheEnabled is honoured; few map registers, which
    /// translate; buffers of whole lines only; adapters have FIFOs. The world of the documents.
    Nt,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 4] = [Self::X64, Self::X64Dmar, Self::Arm64, Self::Nt];
    /// Those on which processor and devices see the same memory.
    pub const COHERENT: [Self; 2] = [Self::X64, Self::X64Dmar];
    /// Those on which they do not.
    pub const NOT_COHERENT: [Self; 2] = [Self::Arm64, Self::Nt];

    /// The name on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::X64Dmar => "x64-dmar",
            Self::Arm64 => "arm64",
            Self::Nt => "nt",
        }
    }

    /// Whether device accesses go through an IOMMU.
    #[must_use]
    pub const fn remaps(self) -> bool {
        matches!(self, Self::X64Dmar)
    }

    /// Whether processor and devices see the same memory.
    #[must_use]
    pub const fn is_coherent(self) -> bool {
        matches!(self, Self::X64 | Self::X64Dmar)
    }

    /// Whether the processor prefetches lines that a device was given.
    pub(crate) const fn prefetches(self) -> bool {
        matches!(self, Self::Arm64)
    }

    /// Whether map registers are hardware: a page is reached through its register, whatever the
    /// adapter decodes, and nothing has to be bounced for reach or contiguity.
    pub(crate) const fn translates(self) -> bool {
        !self.is_coherent()
    }

    /// Whether lines that are mapped in part go through a bounce page.
    pub(crate) const fn bounces_partial_lines(self) -> bool {
        matches!(self, Self::Arm64)
    }

    /// Whether a common buffer that was asked for with this CacheEnabled is in the processor's
    /// cache, incoherently.
    pub(crate) const fn caches_common_buffer(self, cache_enabled: bool) -> bool {
        matches!(self, Self::Nt) && cache_enabled
    }

    /// Whether what devices write waits in the adapter's FIFO.
    pub(crate) const fn has_fifos(self) -> bool {
        matches!(self, Self::Nt)
    }

    /// Most map registers of an adapter, where nothing else was asked for.
    pub(crate) const fn map_registers(self) -> Option<u32> {
        if matches!(self, Self::Nt) { Some(16) } else { None }
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

/// The DMA controller of a system, for devices without bus mastering: eight channels with a reach
/// of 24 bits, a 16-bit counter and a FIFO each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemDma {
    /// Bytes that a FIFO moves at a time, 1 to 64; fewer wait for a flush. The documents say
    /// "usually eight or more".
    pub chunk: usize,
    /// Whether it interrupts at the end of a transfer, so that a DmaCompletionRoutine is called.
    pub interrupts: bool,
}

impl Default for SystemDma {
    /// A FIFO of 16 bytes, with interrupts.
    fn default() -> Self {
        Self { chunk: 16, interrupts: true }
    }
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
    pub faults: Faults,
    pub stack_limit: u64,
    pub sabotage: Vec<Sabotage>,
    pub log: bool,
    pub trace: bool,
    pub record_caches: bool,
    pub go_on: bool,
    pub system_dma: Option<SystemDma>,
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
            faults: Faults::Off,
            stack_limit: STACK_LIMIT,
            sabotage: Vec::new(),
            log: false,
            trace: false,
            record_caches: false,
            go_on: false,
            system_dma: matches!(profile, Profile::Nt).then(SystemDma::default),
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

    /// Spoils the driver's calls, as if its author had written them so.
    ///
    /// [`Builder::build`] panics if the plan names no function, or no argument of it, or leaves
    /// out a call without whose answer a driver could not go on.
    #[must_use]
    pub fn sabotage(mut self, plan: Sabotage) -> Self {
        self.0.sabotage.push(plan);
        self
    }

    /// Sabotage: calls of this function by the driver do nothing, as if its author had forgotten
    /// them.
    #[must_use]
    pub fn leave_out(self, function: &'static str) -> Self {
        self.sabotage(Sabotage::of(function, Deed::LeaveOut))
    }

    /// Keeps a log of all crossings between driver and host, see [`Machine::crossings`].
    #[must_use]
    pub fn log_crossings(mut self, log: bool) -> Self {
        self.0.log = log;
        self
    }

    /// Records what a driver image writes to event traces, see [`Machine::trace_events`].
    #[must_use]
    pub fn record_trace(mut self, record: bool) -> Self {
        self.0.trace = record;
        self
    }

    /// Records every step of the cache model, for [`Machine::cache_steps`]. Nothing is recorded,
    /// and nothing spent on it, unless asked for.
    #[must_use]
    pub fn record_caches(mut self, record: bool) -> Self {
        self.0.record_caches = record;
        self
    }

    /// Breaches that lose nothing but data do not stop the machine: they are recorded among
    /// [`Machine::notes`], and the data shows what they did. These are the rules about caches
    /// (RULES section H, DMA-15, DMA-94, SIM-13), and a mapping that ends without its flush.
    #[must_use]
    pub fn go_on(mut self, go_on: bool) -> Self {
        self.0.go_on = go_on;
        self
    }

    /// The system's DMA controller; none unless set, and then a device that needs a channel of it
    /// does not start.
    ///
    /// # Panics
    /// If the chunk is not 1 to 64 bytes.
    #[must_use]
    pub fn system_dma(mut self, controller: Option<SystemDma>) -> Self {
        assert!(controller.is_none_or(|c| (1..=64).contains(&c.chunk)), "a FIFO has 1 to 64 bytes");
        self.0.system_dma = controller;
        self
    }

    /// Lets calls fail; none unless set.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.0.faults = faults;
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
    /// [`Scheduling::DETERMINISTIC`]. For a profile that is not coherent on real threads: caches
    /// are simulated one step at a time.
    #[must_use]
    pub fn build(self) -> Machine {
        let threads = matches!(self.0.scheduling, Scheduling::Threads { .. });
        assert!(
            self.0.profile.is_coherent() || !threads,
            "profile {} is not coherent and cannot run on the threads scheduler; use the \
             straight or the deterministic one",
            self.0.profile.name()
        );
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
