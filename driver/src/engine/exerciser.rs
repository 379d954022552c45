//! The exerciser: rings in common buffers, several runs at a time, aborts and resets.
//!
//! The rings are the pump's: it submits, rings doorbells and reads completions, on one processor at
//! a time. So nothing here takes a lock. The PnP callbacks use them when the pump rests.

mod memory;
mod rings;

use core::sync::atomic::{AtomicU32, Ordering};

use testdev::exerciser::command::FLAG_INDIRECT;
use testdev::exerciser::registers::*;
use testdev::exerciser::{Command, ELEMENTS_MAX, Element, Opcode, QUEUES, Status, is_in_memory};
use wdk_dma::Direction;
use wdk_dma::irql::Dispatch;
use wdk_dma::pio::Window;
use zerocopy::transmute;

pub(crate) use memory::Memory;
use rings::{Indices, RING_ENTRIES};

use super::bar::Bar;
use super::{Batch, Ended, EngineState, Seen, Work};
use crate::transfer::slot::SLOT_COUNT;

/// Length of the register BAR, bytes.
pub const REGISTERS_LENGTH: u64 = testdev::exerciser::BAR_SIZE;

/// Length of the window BAR, bytes: what PIO reaches.
pub const WINDOW_LENGTH: u64 = testdev::exerciser::WINDOW_SIZE;

/// Bytes of device memory.
pub const MEMORY_LENGTH: u64 = testdev::exerciser::MEMORY_LENGTH;

/// Runs at a time: every slot can have one.
pub(crate) const SLOTS: usize = SLOT_COUNT;

/// What the device is told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    command: Command,
    queue: usize,
}

impl Order {
    /// The queue whose ring it goes into.
    pub(super) fn queue(&self) -> usize {
        self.queue
    }
}

/// The queue of the requests that are begun on a processor, so that they interrupt it again. One
/// that waited, or that is begun again after a reset, stays in its queue.
fn queue_of(processor: u32) -> usize {
    // CAST: 32 bits fit a 64-bit usize.
    processor as usize % QUEUES
}

/// Works out a command for as many elements as the device takes: up to two inside the command, more
/// in the slot's own list. Returns it with the number of elements and of bytes.
pub(super) fn prepare(
    memory: &Memory,
    work: Work<'_>,
    dispatch: &Dispatch,
) -> Option<(Order, u32, u32)> {
    let list = memory.list(work.slot)?;
    let mut here = [Element::default(); 2];
    let (mut count, mut length) = (0u16, 0u32);
    for element in work.elements.take(usize::from(ELEMENTS_MAX)) {
        let Some(sum) = length.checked_add(element.length) else { break };
        let entry = Element::new(element.address.bits(), element.length);
        let index = usize::from(count);
        if index == here.len() {
            let first = here;
            first.into_iter().enumerate().for_each(|(index, entry)| list.set(index, entry));
        }
        match here.get_mut(index) {
            Some(place) => *place = entry,
            None => list.set(index, entry),
        }
        length = sum;
        count = count.saturating_add(1);
    }
    if !is_in_memory(work.device, u64::from(length)) {
        return None;
    }
    let mut command = Command {
        opcode: match work.direction {
            Direction::ToDevice => Opcode::ToDevice.code(),
            Direction::FromDevice => Opcode::FromDevice.code(),
        },
        count,
        card_offset: work.device,
        length,
        elements: here,
        ..Command::default()
    };
    if usize::from(count) > here.len() {
        command.flags = FLAG_INDIRECT;
        command.elements = [list.describe(count), Element::default()];
        list.publish(dispatch);
    }
    let order = Order { command, queue: queue_of(work.processor) };
    Some((order, u32::from(count), length))
}

/// The registers of one device, and its window.
#[derive(Debug)]
pub struct Exerciser {
    pub(crate) bar: Bar<REGISTERS_LENGTH>,
    pub(crate) window: Bar<WINDOW_LENGTH>,
    /// Messages that are connected; 0 with a line.
    messages: AtomicU32,
    queues: [Indices; QUEUES],
}

impl Exerciser {
    /// Without registers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bar: Bar::new(),
            window: Bar::new(),
            messages: AtomicU32::new(0),
            queues: [const { Indices::new() }; QUEUES],
        }
    }

    /// Says how many messages are connected; 0: a line.
    pub fn connect(&self, messages: u32) {
        self.messages.store(messages, Ordering::Release);
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        is_exerciser(self.bar.read32(ID))
    }

    /// Whether the interrupt is the device's: with messages it is, and nothing has to be
    /// acknowledged; on a line only the causes tell. Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        if self.messages.load(Ordering::Acquire) != 0 {
            return Some(0);
        }
        match self.bar.read32(IRQ_STATUS) {
            0 | u32::MAX => None,
            causes => Some(causes),
        }
    }

    /// Acknowledges causes; the line falls when none is left. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        if causes != 0 {
            self.bar.write32(IRQ_STATUS, causes);
        }
    }

    /// What the device is doing. Only a status that makes sense counts as idle.
    #[must_use]
    pub fn state(&self) -> EngineState {
        let known = STATUS_ENABLED | STATUS_RESETTING | STATUS_BUSY;
        match self.bar.read32(STATUS) {
            // All ones may be a read gone wrong; a device that is gone has no identification.
            u32::MAX if self.bar.read32(ID) == u32::MAX => EngineState::Gone,
            status if status & !known != 0 => EngineState::Running,
            status if status & (STATUS_RESETTING | STATUS_BUSY) != 0 => EngineState::Running,
            _ => EngineState::Idle,
        }
    }

    /// Begins a reset. Once [`state`](Self::state) says idle nothing is under way any more.
    pub fn reset(&self) {
        self.bar.write32(CONTROL, CONTROL_RESET);
    }

    /// The message of a queue.
    fn vector(&self, queue: usize) -> u32 {
        // CAST: below 4.
        (queue as u32).checked_rem(self.messages.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Where it is worth looking after an interrupt with this message number: a bit for each queue
    /// that has it, or everywhere if none has.
    pub(crate) fn mask_of(&self, message: u32) -> u32 {
        let own = (0..QUEUES)
            .filter(|queue| self.vector(*queue) == message)
            // CAST: below 4.
            .fold(0, |mask, queue| mask | 1u32.wrapping_shl(queue as u32));
        let by_message = self.messages.load(Ordering::Acquire) != 0 && own != 0;
        if by_message { own } else { u32::MAX }
    }

    /// Programs a device that was reset: rings, messages, causes.
    pub(super) fn set_up(&self, memory: &Memory) {
        let messages = self.messages.load(Ordering::Acquire);
        for (number, indices) in self.queues.iter().enumerate() {
            let Some(ring) = memory.ring(number) else { continue };
            ring.clear();
            indices.start();
            self.bar.write64(of_queue(number, SUBMISSION_BASE), ring.submissions.address().bits());
            self.bar.write64(of_queue(number, COMPLETION_BASE), ring.completions.address().bits());
            self.bar.write32(of_queue(number, RING_SIZE), RING_ENTRIES);
            self.bar.write32(of_queue(number, QUEUE_VECTOR), self.vector(number));
            self.bar.write32(of_queue(number, QUEUE_CONTROL), QUEUE_ENABLE);
        }
        self.bar.write32(ERROR_VECTOR, messages.saturating_sub(1));
        self.bar.write32(IRQ_ENABLE, if messages == 0 { IRQ_ALL } else { 0 });
        self.bar.write32(CONTROL, CONTROL_ENABLE);
    }

    /// Takes a device that rests out of service: it does nothing and its line is down.
    pub(super) fn shut_down(&self) {
        if self.bar.is_mapped() {
            self.bar.write32(CONTROL, 0);
            self.bar.write32(IRQ_ENABLE, 0);
            self.bar.write32(IRQ_STATUS, IRQ_ALL);
        }
    }

    /// Writes a command into its queue's ring; the device hears of it from [`ring`](Self::ring).
    pub(super) fn submit(&self, memory: &Memory, order: &Order, tag: u32) {
        let ring = memory.ring(order.queue);
        let (Some(ring), Some(indices)) = (ring, self.queues.get(order.queue)) else { return };
        let words: [u64; 8] = transmute!(Command { tag, ..order.command });
        ring.write_command(indices.next_submission(), &words);
    }

    /// Whether there are commands that the device does not know of.
    pub(super) fn is_untold(&self) -> bool {
        self.queues.iter().any(Indices::is_unrung)
    }

    /// Tells the device of commands that it does not know of.
    pub(super) fn ring(&self, memory: &Memory, dispatch: &Dispatch) {
        for (number, indices) in self.queues.iter().enumerate() {
            let (Some(tail), Some(ring)) = (indices.take_unrung(), memory.ring(number)) else {
                continue;
            };
            // Both rings are part of the transfers that begin here (DMA-90).
            ring.submissions.publish(dispatch);
            ring.completions.observe(dispatch);
            self.bar.write32(of_queue(number, SUBMISSION_TAIL), tail);
        }
    }

    /// Reads completions: first of the queues in `mask`, and if there are none, of all, since an
    /// interrupt may have come by the wrong vector. Without any the device may have an error.
    pub(super) fn look(
        &self,
        memory: &Memory,
        mask: u32,
        batch: &mut Batch,
        dispatch: &Dispatch,
    ) -> Seen {
        for mask in [mask, !mask] {
            for (number, indices) in self.queues.iter().enumerate() {
                // CAST: below 4.
                if mask & 1u32.wrapping_shl(number as u32) != 0 {
                    self.read_completions(memory, number, indices, batch, dispatch);
                }
            }
            if batch.is_full() {
                return Seen::More;
            }
            if batch.count != 0 {
                return Seen::Some;
            }
        }
        match self.bar.read32(ERROR) {
            0 => Seen::Running,
            // All ones may be a read gone wrong; a device that is gone has no identification.
            u32::MAX if self.bar.read32(ID) == u32::MAX => Seen::Gone,
            _ => Seen::Broken,
        }
    }

    fn read_completions(
        &self,
        memory: &Memory,
        number: usize,
        indices: &Indices,
        batch: &mut Batch,
        dispatch: &Dispatch,
    ) {
        let Some(ring) = memory.ring(number) else { return };
        ring.completions.observe(dispatch);
        let before = batch.count;
        // No more than a ring holds, whatever is in it.
        for _ in 0..RING_ENTRIES {
            if batch.is_full() {
                break;
            }
            let Some(ended) = ring.read_completion(indices) else { break };
            batch.push(ended);
        }
        if batch.count != before {
            self.bar.write32(of_queue(number, COMPLETION_HEAD), indices.completion_head());
        }
    }

    /// Aborts a command whose request was begun on this processor.
    pub(super) fn abort(&self, processor: u32, tag: u32) {
        self.bar.write32(of_queue(queue_of(processor), ABORT), tag);
    }
}

/// On-card memory as the processor reaches it.
impl Window for Exerciser {
    fn read_word(&self, offset: u64) -> u32 {
        self.window.read32(offset)
    }

    fn read_byte(&self, offset: u64) -> u8 {
        self.window.read8(offset)
    }

    fn write_word(&self, offset: u64, value: u32) {
        self.window.write32(offset, value);
    }

    fn write_byte(&self, offset: u64, value: u8) {
        self.window.write8(offset, value);
    }
}

impl Default for Exerciser {
    fn default() -> Self {
        Self::new()
    }
}

/// How a completion is meant.
pub(crate) fn status_of(ended: &Ended) -> Option<Status> {
    Status::from_code(ended.status)
}
