//! What the cache model tells: each step of a line or of an adapter's FIFO, and each loss of data.
//!
//! Steps are recorded only if [`Builder::record_caches`](crate::Builder::record_caches) asks for
//! it; losses always, on machines that are not coherent. Both are plain data.

use std::fmt;

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// What RAM holds under a line that the processor has written and nobody has written back: never
/// what anybody stored. Repeated through the line.
pub const POISON: [u8; 8] = [0xBA, 0xDC, 0xAC, 0x4E, 0xD1, 0x27, 0x71, 0x3E];

/// What the processor's cache has of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineState {
    /// Nothing: processor and devices see RAM.
    Absent,
    /// A copy that the processor has not written; RAM may have moved on (the line is *stale*).
    Clean,
    /// A copy that the processor has written; RAM is older.
    Dirty,
}

impl LineState {
    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Clean => "clean",
            Self::Dirty => "dirty",
        }
    }
}

impl fmt::Display for LineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a step was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The page was locked, or the common buffer allocated: the line is tracked from now on.
    Tracked,
    /// The last lock of these bytes ended: the line is tracked no more.
    Forgotten,
    /// The processor stored into the line, some time since the line's last step: stores are not
    /// seen when they happen, but before the next step of the line.
    Store,
    /// A call of the driver's, by the name of the function: KeFlushIoBuffers, MapTransfer(Ex), a
    /// scatter/gather list, FlushAdapterBuffers(Ex), PutScatterGatherList.
    Call(&'static str),
    /// The device read RAM.
    DeviceRead,
    /// The device wrote RAM.
    DeviceWrite,
    /// The line was evicted: by no call, at any time. A dirty line is written back first.
    Evict,
    /// The processor prefetched the line: by no call, at any time.
    Prefetch,
    /// The HAL copied these bytes to a bounce page, for the device to read.
    BounceIn,
    /// The HAL copied these bytes back from a bounce page, as the processor's store.
    BounceOut,
    /// The device's data went into the adapter's FIFO and waits there.
    FifoFilled,
    /// The adapter's FIFO went on to RAM.
    FifoDrained,
}

impl Cause {
    /// The name for people and programs: that of the function for a call.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracked => "tracked",
            Self::Forgotten => "forgotten",
            Self::Store => "store",
            Self::Call(name) => name,
            Self::DeviceRead => "device read",
            Self::DeviceWrite => "device write",
            Self::Evict => "evict",
            Self::Prefetch => "prefetch",
            Self::BounceIn => "bounce in",
            Self::BounceOut => "bounce out",
            Self::FifoFilled => "FIFO filled",
            Self::FifoDrained => "FIFO drained",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When and where something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Crossings between driver and host so far.
    pub event: u64,
    /// Machine time, nanoseconds.
    pub time: u64,
    /// The driver's callback that was running; empty outside of the driver.
    pub callback: &'static str,
    /// The function that the driver was calling; empty if none.
    pub call: &'static str,
}

/// A line of a physical page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Physical address of the page.
    pub page: u64,
    /// Number of the line in the page, 0 to 63.
    pub line: u8,
    /// Address of the line's first byte in this process: the CPU copy.
    pub address: usize,
}

/// One step of a line, or of the data of a line on its way through an adapter's FIFO.
///
/// The bytes are those after the step, so the previous step of the same line has those before it.
/// Bytes of the line that belong to no lock are not looked at and read 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub moment: Moment,
    /// Which line.
    pub place: Place,
    /// Its state before.
    pub old: LineState,
    /// Its state after.
    pub new: LineState,
    /// Why.
    pub cause: Cause,
    /// First byte of the line that is concerned, and how many.
    pub bytes: (u8, u8),
    /// What the processor reads: the CPU copy.
    pub cpu: [u8; LINE],
    /// What devices read: the RAM copy.
    pub ram: [u8; LINE],
    /// What waits in the adapter's FIFO for this line, for the steps about the FIFO; the bytes
    /// are those of [`Step::bytes`], in front.
    pub fifo: [u8; FIFO],
}

/// Bytes that an adapter's FIFO holds at most.
pub const FIFO: usize = 32;

/// How data was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The device read RAM that never had the data: the poison under a dirty line.
    ReadPoison,
    /// The device read RAM that was older than the processor's copy.
    ReadOld,
    /// The processor's older copy was written back over what the device had written.
    WrittenOver,
    /// The processor kept its older copy of what the device had written.
    KeptStale,
    /// What the processor had stored was given up for what the device wrote.
    StoreDropped,
    /// What waited in the adapter's FIFO never reached RAM.
    LeftInFifo,
    /// What the device had written to a bounce page was never copied back.
    LeftInBounce,
}

impl Lost {
    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadPoison => "read-poison",
            Self::ReadOld => "read-old",
            Self::WrittenOver => "written-over",
            Self::KeptStale => "kept-stale",
            Self::StoreDropped => "store-dropped",
            Self::LeftInFifo => "left-in-fifo",
            Self::LeftInBounce => "left-in-bounce",
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A loss of data that the model saw: the CPU copy and what the device moved differ in these bytes
/// for good, or the device has read what is not in the CPU copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When.
    pub moment: Moment,
    /// Which line.
    pub place: Place,
    /// How.
    pub how: Lost,
    /// At what step.
    pub cause: Cause,
    /// The bytes of the line: bit n is byte n.
    pub bytes: u64,
}

impl Loss {
    /// Addresses in this process of the bytes lost, in order.
    pub fn addresses(&self) -> impl Iterator<Item = usize> + use<> {
        let Self { place, bytes, .. } = *self;
        (0..LINE).filter(move |byte| bytes >> byte & 1 == 1).map(move |byte| place.address + byte)
    }
}

/// What was recorded.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Whether steps are recorded.
    pub recording: bool,
    pub steps: Vec<Step>,
    pub losses: Vec<Loss>,
    /// Filled in by whoever is about to take steps.
    pub now: Moment,
}

/// Losses kept: the first ones say what went wrong.
const LOSSES_MAX: usize = 1 << 14;

impl Log {
    /// Keeps a loss, if it is one.
    pub(super) fn lose(&mut self, place: Place, how: Lost, cause: Cause, bytes: u64) {
        if bytes != 0 && self.losses.len() < LOSSES_MAX {
            self.losses.push(Loss { moment: self.now, place, how, cause, bytes });
        }
    }
}
