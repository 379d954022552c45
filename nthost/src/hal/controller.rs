//! The system's DMA controller: channels with a counter and a FIFO each.
//!
//! A channel is set up by MapTransfer and answers the requests of the device that is wired to it.
//! Data moves between memory and the FIFO in whole chunks; what is less than one stays in the FIFO
//! until the driver flushes (wdm, PFLUSH_ADAPTER_BUFFERS). The counter counts on the memory's side,
//! so it runs out while bytes for the device are still in the FIFO.
//!
//! Lock order: a device's model, a channel, an adapter's state. A channel's lock is held over its
//! accesses to memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use testdev::bus::Acknowledge;
use wdk_lite::{DMA_COMPLETION_STATUS, DMA_COMPLETION_STATUS_VALUES, PDEVICE_OBJECT};

use super::BusMaster;
use super::waiting::{Device, Opaque};
use crate::cache::Cause;
use crate::ddi::callback::{self, Routine};
use crate::machine::clock::Deferred;
use crate::machine::{DISPATCH, Kernel};
use crate::verifier::CallStack;

/// Channels of the controller.
pub(crate) const CHANNELS: u32 = 8;
/// Its number in Driver Verifier's code.
pub(super) const NUMBER: u64 = 0;
/// Most bytes of a FIFO.
const FIFO: usize = 64;
/// Most bytes that a 16-bit counter counts.
pub(super) const COUNTER: u32 = 1 << 16;
/// No adapter.
const NOBODY: usize = usize::MAX;

/// The controller.
#[derive(Debug)]
pub(crate) struct Controller {
    channels: [Channel; CHANNELS as usize],
}

/// One channel.
#[derive(Debug)]
struct Channel {
    /// The adapter that has it.
    owner: AtomicUsize,
    program: Mutex<Option<Program>>,
    /// What the counter held when the last set-up ended, bytes.
    rest: AtomicU32,
    /// Transfers that are over, whose drivers are still to be told; in order.
    endings: Mutex<VecDeque<Ending>>,
}

/// The end of a transfer, which outlives its set-up: the driver may flush, free the channel and map
/// again before its DmaCompletionRoutine gets its turn.
#[derive(Debug)]
struct Ending {
    adapter: usize,
    completion: Completion,
    status: DMA_COMPLETION_STATUS,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The device's requests are answered.
    Running,
    /// The counter has run out.
    Complete,
    /// The device said that it was over.
    Ended,
    /// The driver cancelled it.
    Cancelled,
    /// Memory did not answer.
    Failed,
}

/// Whom to tell of the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub routine: Routine,
    pub context: Opaque,
    pub device: Device,
}

/// What a channel is set up for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// The adapter's number and its device's slot.
    pub adapter: usize,
    pub slot: usize,
    /// First logical address, and bytes.
    pub address: u64,
    pub length: usize,
    pub to_device: bool,
    /// All that the device offers is taken, not one unit for each request.
    pub demand: bool,
    /// The counter starts again when it has run out.
    pub repeats: bool,
    pub completion: Option<Completion>,
    pub origin: CallStack,
}

#[derive(Debug)]
struct Program {
    setup: Setup,
    progress: Progress,
    /// Bytes counted, in this round.
    counted: usize,
    /// Where the next chunk lies in memory, from the first byte on.
    at: usize,
    fifo: [u8; FIFO],
    /// The FIFO's bytes: `first..held`.
    first: usize,
    held: usize,
}

/// What a flush finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    fifo: [u8; FIFO],
    length: usize,
}

impl Owed {
    const NOTHING: Self = Self { fifo: [0; FIFO], length: 0 };

    /// The bytes that the device still has to get.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.fifo[..self.length]
    }
}

impl Controller {
    pub(super) fn new() -> Self {
        let channel = || Channel {
            owner: AtomicUsize::new(NOBODY),
            program: Mutex::new(None),
            rest: AtomicU32::new(0),
            endings: Mutex::default(),
        };
        Self { channels: std::array::from_fn(|_| channel()) }
    }

    fn channel(&self, channel: u32) -> Option<&Channel> {
        self.channels.get(channel as usize)
    }

    /// Gives the channel to an adapter; `false` if another one has it.
    pub(super) fn take(&self, channel: u32, adapter: usize) -> bool {
        let (order, otherwise) = (Ordering::AcqRel, Ordering::Acquire);
        let taken = |c: &Channel| c.owner.compare_exchange(NOBODY, adapter, order, otherwise);
        self.channel(channel).is_some_and(|c| taken(c).is_ok())
    }

    /// Whether no adapter has the channel.
    pub(super) fn is_free(&self, channel: u32) -> bool {
        self.channel(channel).is_some_and(|c| c.owner.load(Ordering::Acquire) == NOBODY)
    }

    /// Whether an adapter has the channel.
    pub(super) fn is_of(&self, channel: u32, adapter: usize) -> bool {
        self.channel(channel).is_some_and(|c| c.owner.load(Ordering::Acquire) == adapter)
    }

    /// Takes the channel back.
    pub(super) fn give(&self, channel: u32) {
        if let Some(channel) = self.channel(channel) {
            channel.owner.store(NOBODY, Ordering::Release);
        }
    }

    /// Sets a channel up. What an earlier transfer left in the FIFO is lost.
    pub(super) fn program(&self, channel: u32, setup: Setup) {
        let Some(channel) = self.channel(channel) else { return };
        *channel.program.lock() = Some(Program {
            setup,
            progress: Progress::Running,
            counted: 0,
            at: 0,
            fifo: [0; FIFO],
            first: 0,
            held: 0,
        });
    }

    /// A request of the device with bytes for memory.
    pub(crate) fn collect(&self, kernel: &Kernel, channel: u32, data: &[u8]) -> Acknowledge {
        self.answer(kernel, channel, false, |program| program.collect(kernel, data))
    }

    /// A request of the device for bytes from memory.
    pub(crate) fn deliver(&self, kernel: &Kernel, channel: u32, data: &mut [u8]) -> Acknowledge {
        self.answer(kernel, channel, true, |program| program.deliver(kernel, data))
    }

    fn answer(
        &self,
        kernel: &Kernel,
        channel: u32,
        to_device: bool,
        act: impl FnOnce(&mut Program) -> Result<usize, Progress>,
    ) -> Acknowledge {
        let Some(line) = self.channel(channel) else { return Acknowledge::NONE };
        let mut program = line.program.lock();
        let program = program.as_mut().filter(|p| p.progress == Progress::Running);
        let Some(program) = program.filter(|p| p.setup.to_device == to_device) else {
            return Acknowledge::NONE;
        };
        let bytes = match act(program) {
            Ok(bytes) => bytes,
            Err(progress) => {
                program.finish(kernel, channel, progress);
                0
            }
        };
        if program.is_done(Program::chunk(kernel)) {
            program.finish(kernel, channel, Progress::Complete);
        }
        Acknowledge { bytes, terminal_count: program.progress != Progress::Running }
    }

    /// The device ends its transfer.
    pub(crate) fn end(&self, kernel: &Kernel, channel: u32) {
        self.stop(kernel, channel, Progress::Ended);
    }

    /// Ends a channel's transfer, if one runs.
    pub(super) fn stop(&self, kernel: &Kernel, channel: u32, progress: Progress) -> bool {
        let Some(line) = self.channel(channel) else { return false };
        let mut program = line.program.lock();
        let running = program.as_mut().filter(|p| p.progress == Progress::Running);
        let Some(program) = running else { return false };
        program.finish(kernel, channel, progress);
        true
    }

    /// How far the channel's transfer is, and where it was mapped.
    pub(super) fn progress(&self, channel: u32) -> Option<(Progress, CallStack)> {
        let program = self.channel(channel)?.program.lock();
        program.as_ref().map(|program| (program.progress, program.setup.origin))
    }

    /// Bytes that the counter still has to count, also after the flush until the next set-up.
    pub(super) fn remaining(&self, channel: u32) -> u32 {
        let Some(channel) = self.channel(channel) else { return 0 };
        let program = channel.program.lock();
        let rest = || channel.rest.load(Ordering::Relaxed);
        program.as_ref().map_or_else(rest, Program::remaining)
    }

    /// Empties the FIFO and ends the set-up: into memory, or returns what the device is owed. With
    /// `fails` its bytes are lost.
    pub(super) fn drain(&self, kernel: &Kernel, channel: u32, fails: bool) -> Owed {
        let Some(line) = self.channel(channel) else { return Owed::NOTHING };
        let Some(mut program) = line.program.lock().take() else { return Owed::NOTHING };
        line.rest.store(program.remaining(), Ordering::Relaxed);
        if fails {
            let waiting = program.waiting();
            super::system::leave_in_fifo(kernel, program.setup.adapter, waiting);
            return Owed::NOTHING;
        }
        if program.setup.to_device {
            let owed = program.owed();
            program.tell(kernel, program.before(owed.length), owed.bytes(), Cause::FifoDrained);
            return owed;
        }
        // An access that fails has blamed the driver already.
        let _ = program.store(kernel);
        Owed::NOTHING
    }

    /// Tells the driver of the first transfer that is over and of which it does not know.
    fn tell(&self, kernel: &Kernel, channel: u32) {
        let ending = self.channel(channel).and_then(|line| line.endings.lock().pop_front());
        let Some(Ending { adapter, completion, status }) = ending else { return };
        // Of an adapter that was put nothing is told any more: its context may be gone.
        let adapter = kernel.hal.adapter_at(adapter).filter(|a| !a.is_put.load(Ordering::Acquire));
        let Some(adapter) = adapter else { return };
        let (pointer, device): (_, PDEVICE_OBJECT) = (adapter.pointer(), completion.device.0);
        kernel.at_irql(DISPATCH, || {
            // SAFETY: the driver registered this routine as its DmaCompletionRoutine.
            unsafe {
                callback::DMA_COMPLETION_ROUTINE(
                    kernel,
                    completion.routine,
                    pointer,
                    device,
                    completion.context.0,
                    status,
                );
            }
        });
    }
}

/// The DPC behind the controller's interrupt; the argument is a channel.
fn interrupt(kernel: &Kernel, channel: usize) {
    // CAST: one of eight.
    kernel.hal.controller.tell(kernel, channel as u32);
}

impl Program {
    fn finish(&mut self, kernel: &Kernel, channel: u32, progress: Progress) {
        if self.progress != Progress::Running {
            return;
        }
        self.progress = progress;
        if !self.setup.to_device {
            // What is less than a chunk stays.
            self.tell(kernel, self.at, &self.fifo[..self.held], Cause::FifoFilled);
        }
        let status = match progress {
            // It runs on.
            Progress::Running => return,
            Progress::Complete | Progress::Ended => DMA_COMPLETION_STATUS_VALUES::DmaComplete,
            Progress::Cancelled => DMA_COMPLETION_STATUS_VALUES::DmaCancelled,
            Progress::Failed => DMA_COMPLETION_STATUS_VALUES::DmaError,
        };
        let interrupts = kernel.options.system_dma.is_some_and(|dma| dma.interrupts);
        let Some(completion) = self.setup.completion.filter(|_| interrupts) else { return };
        let ending = Ending { adapter: self.setup.adapter, completion, status };
        if let Some(line) = kernel.hal.controller.channel(channel) {
            line.endings.lock().push_back(ending);
            kernel.queue_dpc(Deferred { run: interrupt, argument: channel as usize });
        }
    }

    /// Bytes that one request may move.
    fn budget(&self, asked: usize) -> usize {
        if self.setup.demand { asked } else { asked.min(1) }
    }

    fn chunk(kernel: &Kernel) -> usize {
        kernel.options.system_dma.map_or(1, |dma| dma.chunk)
    }

    /// Counts a byte; a channel that repeats begins anew at the end.
    fn count(&mut self) {
        self.counted += 1;
        if self.counted == self.setup.length && self.setup.repeats {
            self.counted = 0;
        }
    }

    /// Bytes that the counter still has to count.
    fn remaining(&self) -> u32 {
        // CAST: at most 64 KiB.
        (self.setup.length - self.counted) as u32
    }

    fn is_over(&self) -> bool {
        self.counted == self.setup.length
    }

    /// Whether no request will be answered any more: the counter has run out, and no whole chunk is
    /// left for the device.
    fn is_done(&self, chunk: usize) -> bool {
        let left = self.setup.to_device && self.held == chunk && self.first < self.held;
        self.is_over() && !left
    }

    /// Takes bytes of the device into the FIFO, and whole chunks from there to memory.
    fn collect(&mut self, kernel: &Kernel, data: &[u8]) -> Result<usize, Progress> {
        let chunk = Self::chunk(kernel);
        let mut taken = 0;
        for &byte in &data[..self.budget(data.len())] {
            if self.is_over() {
                break;
            }
            self.fifo[self.held] = byte;
            self.held += 1;
            self.count();
            taken += 1;
            if self.held == chunk {
                self.store(kernel)?;
            }
        }
        Ok(taken)
    }

    /// Writes the FIFO's bytes to memory.
    fn store(&mut self, kernel: &Kernel) -> Result<(), Progress> {
        let start = self.at;
        self.tell(kernel, start, &self.fifo[..self.held], Cause::FifoFilled);
        let mut done = 0;
        while done < self.held {
            // A channel that repeats goes on at the first byte.
            let length = (self.held - done).min(self.setup.length - self.at);
            let data = BusMaster::Write(&self.fifo[done..done + length]);
            let address = self.setup.address + self.at as u64;
            let stored = kernel.hal.access(kernel, self.setup.slot, address, data);
            stored.map_err(|_| Progress::Failed)?;
            self.at = (self.at + length) % self.setup.length;
            done += length;
        }
        self.tell(kernel, start, &self.fifo[..self.held], Cause::FifoDrained);
        self.held = 0;
        Ok(())
    }

    /// Says what the FIFO holds, or has passed on, of the memory from the byte `from` on.
    fn tell(&self, kernel: &Kernel, from: usize, bytes: &[u8], cause: Cause) {
        if kernel.options.record_caches && !bytes.is_empty() {
            let places = self.places(from, bytes.len());
            super::system::record_fifo(kernel, self.setup.adapter, places, bytes, cause);
        }
    }

    /// Where so many bytes lie whose last is the one before the next chunk.
    const fn before(&self, count: usize) -> usize {
        let length = self.setup.length;
        (self.at + length - count % length) % length
    }

    /// Logical addresses and lengths of bytes of this memory: several where a channel that repeats
    /// has begun anew, as often as its memory is shorter than they are.
    fn places(&self, from: usize, count: usize) -> impl Iterator<Item = (u64, usize)> + use<> {
        let Setup { address, length, .. } = self.setup;
        let (mut at, mut left) = (from, count);
        std::iter::from_fn(move || {
            let place = (address + at as u64, left.min(length - at));
            (at, left) = (0, left - place.1);
            (place.1 != 0).then_some(place)
        })
    }

    /// The memory that the FIFO's bytes are for, or come from and are still owed to the device.
    fn waiting(&self) -> impl Iterator<Item = (u64, usize)> + use<> {
        if self.setup.to_device {
            let count = self.owed().length;
            return self.places(self.before(count), count);
        }
        self.places(self.at, self.held)
    }

    /// Gives bytes to the device, whole chunks only.
    fn deliver(&mut self, kernel: &Kernel, data: &mut [u8]) -> Result<usize, Progress> {
        let chunk = Self::chunk(kernel);
        let mut given = 0;
        let budget = self.budget(data.len());
        while given < budget {
            if self.first == self.held && !self.load(kernel, chunk)? {
                break;
            }
            if self.held < chunk {
                // Not a whole chunk: it waits for the flush.
                break;
            }
            data[given] = self.fifo[self.first];
            self.first += 1;
            given += 1;
            if self.first == self.held {
                let chunk = &self.fifo[..self.held];
                self.tell(kernel, self.before(chunk.len()), chunk, Cause::FifoDrained);
            }
        }
        Ok(given)
    }

    /// Reads the next chunk from memory; `false` if there is none.
    fn load(&mut self, kernel: &Kernel, chunk: usize) -> Result<bool, Progress> {
        (self.first, self.held) = (0, 0);
        while self.held < chunk && !self.is_over() {
            let length = (chunk - self.held).min(self.setup.length - self.at);
            let data = BusMaster::Read(&mut self.fifo[self.held..self.held + length]);
            let address = self.setup.address + self.at as u64;
            let loaded = kernel.hal.access(kernel, self.setup.slot, address, data);
            loaded.map_err(|_| Progress::Failed)?;
            self.at = (self.at + length) % self.setup.length;
            self.held += length;
            (0..length).for_each(|_| self.count());
        }
        let loaded = &self.fifo[..self.held];
        self.tell(kernel, self.before(loaded.len()), loaded, Cause::FifoFilled);
        Ok(self.held != 0)
    }

    /// What a flush still has to give to the device: nothing if that said it wants no more.
    fn owed(&self) -> Owed {
        if self.progress != Progress::Complete {
            return Owed::NOTHING;
        }
        let mut owed = Owed::NOTHING;
        owed.length = self.held - self.first;
        owed.fifo[..owed.length].copy_from_slice(&self.fifo[self.first..self.held]);
        owed
    }
}
