//! The model against a machine of a megabyte.

mod commands;
mod faults;
mod properties;
mod queues;
mod registers;

use std::vec;
use std::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use super::{Exerciser, ExerciserConfig, Fault};
use crate::bus::{BusError, Device};
use crate::exerciser::command::*;
use crate::exerciser::registers::*;
use crate::exerciser::*;
use crate::model::machine::{FakeBus, RAM};

/// How much memory there is, in bytes.
const RAM_LENGTH: usize = 0x10_0000;
/// Where the rings of queue 0 lie; those of the others follow.
const RINGS: u64 = RAM;
/// Bytes of a queue's two rings.
const RINGS_LENGTH: u64 = 0x2000;
/// Where data may lie.
const DATA: u64 = RAM + 0x1_0000;
/// Where lists may lie.
const LISTS: u64 = RAM + 0xF_0000;
/// Entries of each ring.
const SIZE: u32 = 8;

/// A driver's side of a queue.
#[derive(Clone, Copy)]
struct Side {
    tail: u32,
    head: u32,
    phase: u16,
}

/// A device in its machine, with a small driver.
struct Rig {
    device: Exerciser,
    bus: FakeBus,
    sides: [Side; QUEUES],
}

/// Where a queue's submission ring lies.
fn submissions(queue: usize) -> u64 {
    RINGS + RINGS_LENGTH * queue as u64
}

/// Where a queue's completion ring lies.
fn completions(queue: usize) -> u64 {
    submissions(queue) + RINGS_LENGTH / 2
}

impl Rig {
    /// A device whose queues are not set up.
    fn raw(config: ExerciserConfig) -> Self {
        let mut bus = FakeBus::new(RAM_LENGTH);
        bus.msi = true;
        bus.ram[..0x8000].fill(0);
        let side = Side { tail: 0, head: 0, phase: 1 };
        Self { device: Exerciser::new(config), bus, sides: [side; QUEUES] }
    }

    /// A device that is ready to work.
    fn new(config: ExerciserConfig) -> Self {
        let mut rig = Self::raw(config);
        (0..QUEUES).for_each(|queue| rig.enable(queue));
        rig.write(CONTROL, CONTROL_ENABLE);
        rig
    }

    fn healthy() -> Self {
        Self::new(ExerciserConfig::default())
    }

    fn faulty(fault: Fault) -> Self {
        Self::new(ExerciserConfig::with(fault))
    }

    fn enable(&mut self, queue: usize) {
        self.write64(of_queue(queue, SUBMISSION_BASE), submissions(queue));
        self.write64(of_queue(queue, COMPLETION_BASE), completions(queue));
        self.write(of_queue(queue, RING_SIZE), SIZE);
        self.write(of_queue(queue, QUEUE_CONTROL), QUEUE_ENABLE);
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.device.read(&mut self.bus, BAR, offset, 4) as u32
    }

    fn read64(&mut self, offset: u64) -> u64 {
        self.device.read(&mut self.bus, BAR, offset, 8)
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.device.write(&mut self.bus, BAR, offset, 4, value.into());
    }

    fn write64(&mut self, offset: u64, value: u64) {
        self.device.write(&mut self.bus, BAR, offset, 8, value);
    }

    fn state(&mut self, queue: usize) -> u32 {
        self.read(of_queue(queue, QUEUE_STATE))
    }

    fn advance(&mut self, nanoseconds: u64) {
        self.bus.advance(&mut self.device, nanoseconds);
    }

    fn ram(&mut self, address: u64, length: usize) -> &mut [u8] {
        let at = (address - RAM) as usize;
        &mut self.bus.ram[at..at + length]
    }

    fn card(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.device.read_memory(offset, &mut data);
        data
    }

    /// Writes an entry into the ring without telling the device.
    fn push(&mut self, queue: usize, command: Command) {
        let at = submissions(queue) + u64::from(self.sides[queue].tail) * COMMAND_LENGTH as u64;
        self.ram(at, COMMAND_LENGTH).copy_from_slice(command.as_bytes());
        self.sides[queue].tail = (self.sides[queue].tail + 1) % SIZE;
    }

    fn ring(&mut self, queue: usize) {
        let tail = self.sides[queue].tail;
        self.write(of_queue(queue, SUBMISSION_TAIL), tail);
    }

    fn submit(&mut self, queue: usize, command: Command) {
        self.push(queue, command);
        self.ring(queue);
    }

    /// The next completion, if there is one; the device is not told that it was read.
    fn take(&mut self, queue: usize) -> Option<Completion> {
        let side = self.sides[queue];
        let at = completions(queue) + u64::from(side.head) * COMPLETION_LENGTH as u64;
        let entry = Completion::read_from_bytes(self.ram(at, COMPLETION_LENGTH)).expect("its size");
        if entry.phase != side.phase {
            return None;
        }
        let side = &mut self.sides[queue];
        side.head = (side.head + 1) % SIZE;
        if side.head == 0 {
            side.phase ^= 1;
        }
        Some(entry)
    }

    /// All completions that are there, read and acknowledged.
    fn drain(&mut self, queue: usize) -> Vec<Completion> {
        let found: Vec<_> = std::iter::from_fn(|| self.take(queue)).collect();
        let head = self.sides[queue].head;
        self.write(of_queue(queue, COMPLETION_HEAD), head);
        found
    }

    /// Gives a command to queue 0 and waits for its end.
    fn run(&mut self, command: Command) -> Completion {
        self.submit(0, command);
        self.advance(1_000_000);
        let found = self.drain(0);
        assert_eq!(found.len(), 1, "one completion for each command");
        assert_eq!(found[0].tag, command.tag);
        found[0]
    }

    /// The same, and it is done.
    fn done(&mut self, command: Command) -> Completion {
        let completion = self.run(command);
        assert_eq!(status(&completion), Status::Done);
        completion
    }
}

fn status(completion: &Completion) -> Status {
    Status::from_code(completion.status).expect("a status")
}

/// A command with one element.
fn command(opcode: Opcode, address: u64, card_offset: u64, length: u32) -> Command {
    Command {
        opcode: opcode.code(),
        count: 1,
        tag: 77,
        card_offset,
        length,
        elements: [Element::new(address, length), Element::default()],
        ..Command::default()
    }
}

/// A command on on-card memory only.
fn on_card(opcode: Opcode, seed: u64, card_offset: u64, length: u32) -> Command {
    Command { opcode: opcode.code(), tag: 78, card_offset, seed, length, ..Command::default() }
}
