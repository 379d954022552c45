//! Random transitions, compared with an oracle that knows bytes only: what the processor reads,
//! what devices read, and for each line whether it is in the cache and whether it is dirty.

// UNSAFETY: the tests' memory is reached as the model reaches it.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use proptest::prelude::*;

use super::log::{LINE, LineState, POISON};
use super::{Cache, Cause, Given, LINES, Spoiler};
use crate::memory::PAGE;
use crate::{Machine, Profile};

const PAGES: usize = 2;
const SIZE: usize = PAGES * PAGE;

/// Memory that the model tracks parts of.
struct Memory(*mut u8);

impl Memory {
    fn layout() -> Layout {
        Layout::from_size_align(SIZE, PAGE).expect("it is a layout")
    }

    fn new() -> Self {
        // SAFETY: the layout has a size.
        let memory = Self(unsafe { alloc_zeroed(Self::layout()) });
        (0..SIZE).for_each(|at| memory.store(at, (at * 7 + at / 251) as u8));
        memory.0.expose_provenance();
        memory
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < SIZE);
        // SAFETY: within the allocation.
        unsafe { self.0.add(offset) }
    }

    fn load(&self, offset: usize) -> u8 {
        let at = self.at(offset);
        // SAFETY: within the allocation.
        unsafe { at.read() }
    }

    fn store(&self, offset: usize, byte: u8) {
        let at = self.at(offset);
        // SAFETY: within the allocation.
        unsafe { at.write(byte) };
    }

    fn address(&self) -> usize {
        self.0.addr()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.0, Self::layout()) };
    }
}

/// What a line is to the oracle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Copy {
    cached: bool,
    dirty: bool,
}

/// The oracle.
struct Oracle {
    cpu: Vec<u8>,
    ram: Vec<u8>,
    locks: Vec<u32>,
    lines: Vec<Copy>,
}

impl Oracle {
    fn bytes(line: usize) -> std::ops::Range<usize> {
        line * LINE..(line + 1) * LINE
    }

    fn write_back(&mut self, line: usize) {
        for at in Self::bytes(line).filter(|&at| self.locks[at] > 0) {
            self.ram[at] = self.cpu[at];
        }
        self.lines[line].dirty = false;
    }

    fn drop_copy(&mut self, line: usize) {
        for at in Self::bytes(line).filter(|&at| self.locks[at] > 0) {
            self.cpu[at] = self.ram[at];
        }
        self.lines[line] = Copy::default();
    }

    fn clean(&mut self, line: usize, and_drop: bool) {
        if self.lines[line].dirty {
            self.write_back(line);
        }
        if and_drop {
            self.drop_copy(line);
        }
    }

    fn store(&mut self, at: usize, byte: u8) {
        if self.locks[at] > 0 && self.cpu[at] != byte {
            self.lines[at / LINE] = Copy { cached: true, dirty: true };
        }
        self.cpu[at] = byte;
    }

    fn device_writes(&mut self, at: usize, byte: u8) {
        self.ram[at] = byte;
        if !self.lines[at / LINE].cached {
            self.cpu[at] = byte;
        }
    }

    fn is_tracked(&self, line: usize) -> bool {
        Self::bytes(line).any(|at| self.locks[at] > 0)
    }
}

/// A run: model, oracle and the ranges that are locked or given.
struct Run {
    machine: Machine,
    cache: Cache,
    memory: Memory,
    oracle: Oracle,
    locked: Vec<(usize, usize)>,
    /// Whole lines that a device has, and whether it reads them.
    given: Option<(usize, usize, bool)>,
    prefetches: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Lock(usize, usize),
    Unlock(prop::sample::Index),
    Store(usize, u8),
    Flush(prop::sample::Index, bool),
    Give(prop::sample::Index, bool),
    TakeBack,
    DeviceWrites(prop::sample::Index, u8),
    DeviceReads(prop::sample::Index),
    Fifo(prop::sample::Index, u8),
    Move(prop::sample::Index),
    Turn,
}

fn operations() -> impl Strategy<Value = Vec<Op>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        2 => (0..SIZE - 1, 1usize..700).prop_map(|(at, n)| Op::Lock(at, n.min(SIZE - at))),
        1 => index().prop_map(Op::Unlock),
        4 => (0..SIZE, any::<u8>()).prop_map(|(at, byte)| Op::Store(at, byte)),
        2 => (index(), any::<bool>()).prop_map(|(at, read)| Op::Flush(at, read)),
        2 => (index(), any::<bool>()).prop_map(|(at, to)| Op::Give(at, to)),
        2 => Just(Op::TakeBack),
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Op::DeviceWrites(at, byte)),
        2 => index().prop_map(Op::DeviceReads),
        2 => (index(), any::<u8>()).prop_map(|(at, byte)| Op::Fifo(at, byte)),
        4 => index().prop_map(Op::Move),
        4 => Just(Op::Turn),
    ];
    prop::collection::vec(one, 1..120)
}

impl Run {
    fn new(profile: Profile, seed: u64) -> Self {
        let memory = Memory::new();
        let bytes: Vec<u8> = (0..SIZE).map(|at| memory.load(at)).collect();
        let oracle = Oracle {
            cpu: bytes.clone(),
            ram: bytes,
            locks: vec![0; SIZE],
            lines: vec![Copy::default(); PAGES * LINES],
        };
        Self {
            machine: Machine::builder(profile).seed(seed).build(),
            cache: Cache::new(profile, true).expect("it is not coherent"),
            memory,
            oracle,
            locked: Vec::new(),
            given: None,
            prefetches: profile == Profile::Arm64,
        }
    }

    /// Line, state and RAM of a tracked byte, as the model has them.
    fn model(&self, at: usize) -> (LineState, u8) {
        let slot = self.cache.pages.find(self.memory.address() + at).expect("its page is tracked");
        let line = &self.cache.pages.page(slot).lines[at % PAGE / LINE];
        (line.state, line.ram[at % LINE])
    }

    fn lock(&mut self, at: usize, length: usize) {
        let before = self.oracle.lines.clone();
        let tracked: Vec<bool> =
            (0..PAGES * LINES).map(|line| self.oracle.is_tracked(line)).collect();
        let start = self.memory.address() + at;
        self.cache.lock(&self.machine.kernel.choices, start, length, |page| {
            (at / PAGE + page) as u64 + 0x10_0000
        });
        for byte in at..at + length {
            let line = byte / LINE;
            let (state, ram) = self.model(byte);
            if self.oracle.locks[byte] == 0 {
                let poisoned = ram == POISON[byte % POISON.len()];
                let fresh = ram == self.oracle.cpu[byte];
                assert!(fresh || (poisoned && state == LineState::Dirty), "poison under a mark");
                self.oracle.ram[byte] = ram;
            }
            self.oracle.locks[byte] += 1;
            let copy =
                Copy { cached: state != LineState::Absent, dirty: state == LineState::Dirty };
            assert!(!tracked[line] || copy == before[line] || self.stored_unseen(line));
            if !tracked[line] {
                self.oracle.lines[line] = copy;
            }
        }
        self.locked.push((at, length));
    }

    /// Whether the model has not looked at a line since the processor stored into it.
    fn stored_unseen(&self, line: usize) -> bool {
        self.oracle.lines[line].dirty
    }

    fn unlock_first(&mut self) {
        self.unlock(self.locked[0]);
    }

    fn unlock(&mut self, (at, length): (usize, usize)) {
        // Nobody unlocks what a device has (DMA-100).
        if self.given.is_some_and(|(from, to, _)| at < to && from < at + length) {
            return;
        }
        let position = self.locked.iter().position(|&range| range == (at, length));
        self.locked.swap_remove(position.expect("it was just found"));
        let start = self.memory.address() + at;
        self.cache.unlock(&self.machine.kernel.choices, start, length);
        for line in at / LINE..(at + length).div_ceil(LINE) {
            let mut bytes = Oracle::bytes(line).filter(|byte| (at..at + length).contains(byte));
            let leaves = bytes.any(|byte| self.oracle.locks[byte] == 1);
            if leaves {
                self.settle(line);
            }
        }
        for byte in at..at + length {
            self.oracle.locks[byte] -= 1;
        }
        for line in at / LINE..(at + length).div_ceil(LINE) {
            if !self.oracle.is_tracked(line) {
                self.oracle.lines[line] = Copy::default();
            }
        }
    }

    /// A line that is let go: written back, then fresh or stale as a whole.
    fn settle(&mut self, line: usize) {
        if self.oracle.lines[line].dirty {
            self.oracle.write_back(line);
        }
        let locked: Vec<usize> =
            Oracle::bytes(line).filter(|&at| self.oracle.locks[at] > 0).collect();
        let fresh = locked.iter().all(|&at| self.memory.load(at) == self.oracle.ram[at]);
        let stale = locked.iter().all(|&at| self.memory.load(at) == self.oracle.cpu[at]);
        assert!(fresh || stale, "a stale line becomes fresh or stays as it is");
        if !stale {
            self.oracle.drop_copy(line);
        }
    }

    fn flush(&mut self, which: &prop::sample::Index, read: bool) {
        let (at, length) = self.locked[which.index(self.locked.len())];
        let cause = Cause::Call("KeFlushIoBuffers");
        self.cache.flush(self.memory.address() + at, length, read, cause);
        for line in at / LINE..(at + length).div_ceil(LINE) {
            self.oracle.clean(line, read);
        }
    }

    fn give(&mut self, which: &prop::sample::Index, to_device: bool) {
        let (at, length) = self.locked[which.index(self.locked.len())];
        let (from, to) = (at.next_multiple_of(LINE), (at + length) / LINE * LINE);
        // One page at a time, as the HAL does.
        let to = to.min(from / PAGE * PAGE + PAGE);
        if self.given.is_some() || from >= to {
            return;
        }
        self.cache.give(self.given_as(from, to, to_device), false, Cause::Call("MapTransfer"));
        self.given = Some((from, to, to_device));
    }

    fn given_as(&self, from: usize, to: usize, to_device: bool) -> Given {
        let page = from / PAGE * PAGE;
        Given {
            page: self.memory.address() + page,
            from: from - page,
            to: to - page,
            bounced: 0,
            to_device,
        }
    }

    fn take_back(&mut self) {
        let Some((from, to, to_device)) = self.given.take() else { return };
        let given = self.given_as(from, to, to_device);
        let cause = Cause::Call("FlushAdapterBuffers");
        self.drain();
        self.cache.take_back(&self.machine.kernel.choices, given, true, cause);
        if to_device {
            return;
        }
        for line in from / LINE..to / LINE {
            let Copy { cached, dirty } = self.oracle.lines[line];
            if dirty {
                // One of the two loses.
                let kept =
                    Oracle::bytes(line).all(|at| self.memory.load(at) == self.oracle.cpu[at]);
                if kept {
                    self.oracle.write_back(line);
                }
                self.oracle.drop_copy(line);
            } else if cached {
                self.oracle.drop_copy(line);
            }
        }
    }

    fn device_writes(&mut self, which: &prop::sample::Index, byte: u8) {
        let Some((from, to, false)) = self.given else { return };
        let at = from + which.index(to - from);
        let data: Vec<u8> = (0..(to - at).min(100)).map(|n| byte.wrapping_add(n as u8)).collect();
        assert!(self.cache.device_writes(self.memory.address() + at, &data, Cause::DeviceWrite));
        for (n, &byte) in data.iter().enumerate() {
            self.oracle.device_writes(at + n, byte);
        }
    }

    fn device_reads(&mut self, which: &prop::sample::Index) {
        let Some((from, to, _)) = self.given else { return };
        let at = from + which.index(to - from);
        let mut data = vec![0; (to - at).min(100)];
        assert!(self.cache.device_reads(self.memory.address() + at, &mut data));
        assert_eq!(data, self.oracle.ram[at..at + data.len()]);
    }

    /// What goes through a FIFO arrives when it is drained, in order.
    fn fifo(&mut self, which: &prop::sample::Index, byte: u8) {
        let Some((from, to, false)) = self.given else { return };
        let at = from + which.index(to - from);
        let data: Vec<u8> = (0..(to - at).min(45)).map(|n| byte.wrapping_sub(n as u8)).collect();
        self.cache.fifo_takes((3, 1), self.memory.address() + at, &data);
        let waiting = self.cache.fifos.get(3).expect("the last bytes wait");
        assert!(waiting.length <= super::log::FIFO);
        assert_eq!(waiting.address + waiting.length, self.memory.address() + at + data.len());
        self.drain();
        for (n, &byte) in data.iter().enumerate() {
            self.oracle.device_writes(at + n, byte);
        }
    }

    fn drain(&mut self) {
        self.cache.drain(3, Cause::FifoDrained);
    }

    fn make_move(&mut self, which: &prop::sample::Index) {
        let moves = self.moves();
        assert_eq!(self.cache.moves() as usize, moves.len());
        if moves.is_empty() {
            return;
        }
        let chosen = which.index(moves.len());
        self.cache.make_move(chosen as u32);
        let (line, evict) = moves[chosen];
        if evict {
            self.oracle.clean(line, true);
        } else {
            self.oracle.lines[line].cached = true;
        }
    }

    /// The adversary's turn makes moves that are possible, whichever they are.
    fn turn(&mut self) {
        let before = self.cache.steps().len();
        self.cache.turn(&self.machine.kernel.choices);
        for step in self.cache.steps()[before..].iter() {
            let line = (step.place.address - self.memory.address()) / LINE;
            let cached = self.oracle.lines[line].cached;
            match step.cause {
                Cause::Store => {}
                Cause::Evict => {
                    assert!(cached, "an eviction of what is not there");
                    self.oracle.clean(line, true);
                }
                Cause::Prefetch => {
                    assert!(!cached && self.prefetches && self.is_given(line));
                    self.oracle.lines[line].cached = true;
                }
                other => panic!("the adversary does not {other}"),
            }
        }
    }

    /// Line, and whether it is evicted or prefetched: by page in the order of the first lock.
    fn moves(&self) -> Vec<(usize, bool)> {
        let pages =
            self.cache.pages.iter().map(|(_, page)| (page.address - self.memory.address()) / PAGE);
        let lines = pages.flat_map(|page| page * LINES..(page + 1) * LINES);
        lines
            .filter(|&line| self.oracle.is_tracked(line))
            .filter(|&line| self.is_seen(line) || (self.prefetches && self.is_given(line)))
            .map(|line| (line, self.oracle.lines[line].cached))
            .collect()
    }

    fn is_given(&self, line: usize) -> bool {
        self.given.is_some_and(|(from, to, _)| (from / LINE..to / LINE).contains(&line))
    }

    /// Whether the model knows that a line is in the cache: not by a store since its last step.
    fn is_seen(&self, line: usize) -> bool {
        let locked = Oracle::bytes(line).find(|&at| self.oracle.locks[at] > 0);
        locked.is_some_and(|at| self.model(at).0 != LineState::Absent)
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Lock(at, length) => self.lock(*at, *length),
            Op::Store(at, byte) => {
                self.memory.store(*at, *byte);
                self.oracle.store(*at, *byte);
            }
            Op::TakeBack => self.take_back(),
            _ if self.locked.is_empty() => {}
            Op::Unlock(which) => self.unlock(self.locked[which.index(self.locked.len())]),
            Op::Flush(which, read) => self.flush(which, *read),
            Op::Give(which, to_device) => self.give(which, *to_device),
            Op::DeviceWrites(which, byte) => self.device_writes(which, *byte),
            Op::DeviceReads(which) => self.device_reads(which),
            Op::Fifo(which, byte) => self.fifo(which, *byte),
            Op::Move(which) => self.make_move(which),
            Op::Turn => self.turn(),
        }
    }

    /// Model and oracle agree about every byte and line.
    fn compare(&self) {
        for at in 0..SIZE {
            assert_eq!(self.memory.load(at), self.oracle.cpu[at], "the processor reads {at:#x}");
            if self.oracle.locks[at] > 0 {
                assert_eq!(self.model(at).1, self.oracle.ram[at], "devices read {at:#x}");
            }
        }
        for (line, copy) in self.oracle.lines.iter().enumerate() {
            let Some(at) = Oracle::bytes(line).find(|&at| self.oracle.locks[at] > 0) else {
                continue;
            };
            let state = self.model(at).0;
            let seen =
                Copy { cached: state != LineState::Absent, dirty: state == LineState::Dirty };
            // A store shows only when the model looks at the line again.
            assert!(seen == *copy || copy.dirty, "line {line}: {seen:?} is not {copy:?}");
        }
    }
}

/// A line that two adapters have at the same time, both for devices that write: what the first one
/// to end finds, and a third mapping when they are over. All are flushed, but not the first one if
/// it is `unflushed`; if the processor `stores`, it does before the second one.
fn two_adapters(unflushed: bool, stores: bool) -> [Option<Spoiler>; 2] {
    let machine = Machine::builder(Profile::Nt).build();
    let (choices, cause) = (&machine.kernel.choices, Cause::Call("MapTransfer"));
    let (memory, mut cache) = (Memory::new(), Cache::new(Profile::Nt, true).expect("not coherent"));
    let page = memory.address();
    cache.lock(choices, page, LINE, |_| 0x10_0000);
    let given = Given { page, from: 0, to: LINE, bounced: 0, to_device: false };
    if unflushed {
        memory.store(0, !memory.load(0));
    } else {
        cache.flush(page, LINE, true, cause);
    }
    cache.give(given, false, cause);
    if stores {
        memory.store(5, !memory.load(5));
    }
    cache.flush(page, LINE, true, cause);
    cache.give(given, false, cause);
    let mut take = || cache.take_back(choices, given, true, cause).map(|spoiled| spoiled.who);
    let first = take();
    take();
    cache.flush(page, LINE, true, cause);
    cache.give(given, false, cause);
    let next = cache.take_back(choices, given, true, cause).map(|spoiled| spoiled.who);
    [first, next]
}

#[test]
fn a_second_adapter_makes_nothing_good_that_was_done_to_the_first() {
    assert_eq!(two_adapters(true, false), [Some(Spoiler::Unflushed), None]);
    assert_eq!(two_adapters(false, true), [Some(Spoiler::Store), None]);
    assert_eq!(two_adapters(false, false), [None, None]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    #[cfg_attr(miri, ignore = "it needs files")]
    fn every_transition_does_what_the_oracle_says(
        operations in operations(),
        seed in any::<u64>(),
        prefetches in any::<bool>(),
    ) {
        let profile = if prefetches { Profile::Arm64 } else { Profile::Nt };
        let mut run = Run::new(profile, seed);
        for operation in &operations {
            run.step(operation);
            run.compare();
        }
        run.take_back();
        while !run.locked.is_empty() {
            run.unlock_first();
            run.compare();
        }
        prop_assert_eq!(run.cache.moves(), 0);
        prop_assert_eq!(run.cache.pages.iter().count(), 0);
    }
}
