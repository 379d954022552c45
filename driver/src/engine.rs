//! The devices' DMA engines, one file for each device, and what the rest of the driver sees of
//! them: runs that are prepared, started, stopped, and end.

mod bar;
pub mod edu;
pub mod exerciser;
pub mod slave;

use wdk_dma::irql::Dispatch;
use wdk_dma::{Direction, Element};

use edu::Edu;
use exerciser::{Exerciser, Memory};
use slave::Slave;

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// Not running.
    Idle,
    /// Running, or its register reads something that makes no sense: it cannot be ruled out that
    /// the device moves data.
    Running,
    /// The device is not there any more (SUR-01).
    Gone,
}

/// What an engine can do. The default is an engine that nothing was started on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Runs at a time.
    pub(crate) capacity: u32,
    /// A run can be stopped.
    pub(crate) stoppable: bool,
    /// The device can be reset, and runs that were under way begun again.
    pub(crate) resettable: bool,
}

impl Abilities {
    /// One run at a time, which goes on until it ends.
    pub(crate) const EDU: Self = Self { capacity: 1, stoppable: false, resettable: false };
    /// One run at a time, which can be stopped.
    pub(crate) const SLAVE: Self = Self { capacity: 1, stoppable: true, resettable: false };
    /// A run for every slot.
    pub(crate) const EXERCISER: Self =
        // CAST: a small constant.
        Self { capacity: exerciser::SLOTS as u32, stoppable: true, resettable: true };
}

/// What a run is to move.
pub(crate) struct Work<'a> {
    /// The slot it is for.
    pub(crate) slot: usize,
    /// The processor on which its request was begun.
    pub(crate) processor: u32,
    /// Where the data goes.
    pub(crate) direction: Direction,
    /// Where on the device it lies.
    pub(crate) device: u64,
    /// Where in memory, piece by piece; the engine takes as many as it can.
    pub(crate) elements: &'a mut dyn Iterator<Item = Element>,
}

/// A run that is ready to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    order: Order,
    /// Elements of the work that it covers.
    pub(crate) elements: u32,
    /// Bytes of the work that it covers.
    pub(crate) length: u32,
}

/// What the device is told.
#[derive(Clone, Copy, Debug)]
enum Order {
    Edu(edu::Run),
    Exerciser(exerciser::Order),
    Slave(slave::Command),
}

impl Run {
    /// Whether starting it only writes to memory: the device learns of it from
    /// [`Registers::ring`].
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.order, Order::Exerciser(_))
    }

    /// The queue of the device that it is in; 0 on a device without queues.
    pub(crate) fn queue(&self) -> usize {
        match &self.order {
            Order::Exerciser(order) => order.queue(),
            Order::Edu(_) | Order::Slave(_) => 0,
        }
    }

    /// A run of the slave device.
    pub(crate) fn of_slave(command: slave::Command, length: u32) -> Self {
        Self { order: Order::Slave(command), elements: 1, length }
    }
}

/// What a look at the engine has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Single runs may have ended; the batch says which. There may be more.
    More,
    /// The same, and that is all.
    Some,
    /// Every run has ended.
    Idle,
    /// A run has not ended.
    Running,
    /// The device has given up by itself: only a reset helps.
    Broken,
    /// The device is not there any more.
    Gone,
}

/// A run that the device says is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The tag it was started with.
    pub(crate) tag: u32,
    /// The device's word for how it ended.
    pub(crate) status: u16,
    /// Bytes that it moved.
    pub(crate) bytes: u64,
}

/// Runs that ended, as many as are looked at together.
#[derive(Debug)]
pub(crate) struct Batch {
    entries: [Ended; Self::LENGTH],
    count: usize,
}

impl Batch {
    const LENGTH: usize = 32;

    pub(crate) const fn new() -> Self {
        Self { entries: [Ended { tag: 0, status: 0, bytes: 0 }; Self::LENGTH], count: 0 }
    }

    fn is_full(&self) -> bool {
        self.count >= Self::LENGTH
    }

    fn push(&mut self, ended: Ended) {
        if let Some(place) = self.entries.get_mut(self.count) {
            *place = ended;
            self.count = self.count.saturating_add(1);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Ended> {
        self.entries.iter().take(self.count)
    }
}

/// The registers of the device, whichever it is: those of one are mapped while it is started.
#[derive(Debug)]
pub struct Registers {
    /// QEMU's edu.
    pub edu: Edu,
    /// The exerciser.
    pub exerciser: Exerciser,
    /// The slave device.
    pub slave: Slave,
}

/// Asks the device that is there.
macro_rules! ask {
    ($this:ident.$method:ident($($argument:expr),*)) => {
        if $this.exerciser.bar.is_mapped() {
            $this.exerciser.$method($($argument),*)
        } else if $this.slave.bar.is_mapped() {
            $this.slave.$method($($argument),*)
        } else {
            $this.edu.$method($($argument),*)
        }
    };
}

impl Registers {
    /// Of no device.
    #[must_use]
    pub const fn new() -> Self {
        Self { edu: Edu::new(), exerciser: Exerciser::new(), slave: Slave::new() }
    }

    /// Forgets the registers. Reads give all ones from now on.
    pub fn unmap(&self) {
        self.edu.bar.unmap();
        self.exerciser.bar.unmap();
        self.exerciser.window.unmap();
        self.slave.bar.unmap();
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        ask!(self.is_present())
    }

    /// Whether the interrupt is the device's, for its service routine: the causes to acknowledge.
    /// `None` if the device is not there or has none (SUR-01). Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        ask!(self.causes())
    }

    /// Acknowledges interrupt causes. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        ask!(self.acknowledge(causes));
    }

    /// Where it is worth looking after an interrupt with this message number.
    pub(crate) fn mask_of(&self, message: u32) -> u32 {
        if self.exerciser.bar.is_mapped() { self.exerciser.mask_of(message) } else { u32::MAX }
    }

    /// What the engine is doing.
    #[must_use]
    pub fn state(&self) -> EngineState {
        ask!(self.state())
    }

    /// Brings a device that is switched on to rest, where it can be told to; it rests when
    /// [`state`](Self::state) says so.
    pub(crate) fn calm(&self) {
        if self.exerciser.bar.is_mapped() {
            self.exerciser.reset();
        } else {
            self.slave.stop();
        }
    }

    /// Makes a device that rests ready to work. IRQL: at most DISPATCH_LEVEL.
    pub(crate) fn set_up(&self, memory: Option<&Memory>) {
        if let Some(memory) = memory {
            self.exerciser.set_up(memory);
        }
    }

    /// Makes a device that rests stay so.
    pub(crate) fn shut_down(&self) {
        self.exerciser.shut_down();
    }

    /// Works out a run for the first elements of some work; `None` if the device cannot do it.
    pub(crate) fn prepare(
        &self,
        memory: Option<&Memory>,
        work: Work<'_>,
        dispatch: &Dispatch,
    ) -> Option<Run> {
        if let Some(memory) = memory {
            let (order, elements, length) = exerciser::prepare(memory, work, dispatch)?;
            return Some(Run { order: Order::Exerciser(order), elements, length });
        }
        let element = work.elements.next()?;
        let run = edu::Run::new(element.address, work.device, element.length, work.direction)?;
        Some(Run { order: Order::Edu(run), elements: 1, length: element.length })
    }

    /// Starts a run. An engine with rings learns of it from [`ring`](Self::ring).
    pub(crate) fn start(&self, memory: Option<&Memory>, run: &Run, tag: u32) {
        match (&run.order, memory) {
            (Order::Edu(run), _) => self.edu.start(run),
            (Order::Slave(command), _) => self.slave.start(command),
            (Order::Exerciser(order), Some(memory)) => self.exerciser.submit(memory, order, tag),
            (Order::Exerciser(_), None) => {}
        }
    }

    /// Whether something was started that the device was not told of.
    pub(crate) fn is_untold(&self) -> bool {
        self.exerciser.is_untold()
    }

    /// Tells the device of what was started.
    pub(crate) fn ring(&self, memory: Option<&Memory>, dispatch: &Dispatch) {
        if let Some(memory) = memory {
            self.exerciser.ring(memory, dispatch);
        }
    }

    /// Looks which runs have ended. `mask` says where it is worth looking. Only the device's own
    /// word decides, never an interrupt alone.
    pub(crate) fn look(
        &self,
        memory: Option<&Memory>,
        mask: u32,
        batch: &mut Batch,
        dispatch: &Dispatch,
    ) -> Seen {
        match memory {
            Some(memory) => self.exerciser.look(memory, mask, batch, dispatch),
            None => match self.state() {
                EngineState::Idle => Seen::Idle,
                EngineState::Running => Seen::Running,
                EngineState::Gone => Seen::Gone,
            },
        }
    }

    /// Stops a run, where the device can, whose request was begun on this processor.
    pub(crate) fn stop(&self, processor: u32, tag: u32) {
        if self.exerciser.bar.is_mapped() {
            self.exerciser.abort(processor, tag);
        } else {
            self.slave.stop();
        }
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}
