//! Section H for common buffers: KeFlushIoBuffers has a direction and a range, and serves one
//! transfer.

use std::ptr;

use dmaproof_tests::lab::ddk::{NO, YES, at_level};
use dmaproof_tests::lab::{Lab, Routine, Script, SlaveTransfer, Transfer};
use dmaproof_tests::{Bench, Case, rule_tests, run, verdict};
use nthost::cache::Lost;
use nthost::{Profile, RuleId};
use wdk_lite::*;

/// Bytes of an entry of a ring: a line of the cache.
const ENTRY: u32 = 64;

rule_tests! {
    breaks device_writes_after_a_flush_for_reading {
        [Dma84, Dma90], [],
        broken: nt(|lab, _| from_device(lab, NO)),
        clean: nt(|lab, _| from_device(lab, YES)),
    }
    note device_writes_what_is_not_cached_after_a_flush_for_reading {
        [Dma84, Dma90],
        broken: run(|lab, _| from_device(lab, NO)).profile(Profile::Arm64),
        clean: run(|lab, _| from_device(lab, YES)).profile(Profile::Arm64),
    }
    note device_reads_after_a_flush_for_writing {
        [Dma84],
        broken: nt(|lab, _| to_device(lab, YES)),
        clean: nt(|lab, _| to_device(lab, NO)),
    }
    breaks flush_of_other_bytes {
        [Dma90], [],
        broken: nt(|lab, _| two_entries(lab, &[0, 2])),
        clean: nt(|lab, _| two_entries(lab, &[0, 1])),
    }
    breaks entry_used_again_without_a_flush {
        [Dma90], [],
        broken: nt(|lab, _| in_any_order(lab, false)),
        clean: nt(|lab, _| in_any_order(lab, true)),
    }
    answer a_partial_mdl_is_flushed_for_its_part {
        [Dma90],
        nt(|lab, _| partial(lab)),
    }
    breaks system_dma_after_a_flush_for_the_other_direction {
        [Dma84, Dma90], [],
        broken: slave(|lab, _| system_dma(lab, NO)),
        clean: slave(|lab, _| system_dma(lab, YES)),
    }
    answer a_common_buffer_freed_before_its_mdl {
        [Dma30],
        nt(|lab, _| freed_early(lab)).seeds(8),
    }
    answer pool_freed_before_its_mdl {
        [Dma103],
        nt(|lab, _| pool_freed_early(lab)).seeds(8),
    }
}

const fn nt(routine: Routine) -> Case {
    run(routine).profile(Profile::Nt)
}

const fn slave(routine: Routine) -> Case {
    nt(routine).script(Script::slave()).slave(|_| ())
}

/// A page that driver and device share, asked for with CacheEnabled TRUE.
struct Shared<'l> {
    lab: &'l Lab,
    memory: *mut u8,
    logical: PHYSICAL_ADDRESS,
}

impl<'l> Shared<'l> {
    fn new(lab: &'l Lab) -> Self {
        let mut logical = PHYSICAL_ADDRESS { QuadPart: 0 };
        // SAFETY: LAB.
        let memory =
            unsafe { lab.adapter.get().AllocateCommonBuffer(PAGE_SIZE, &raw mut logical, YES) };
        lab.check(!memory.is_null(), "no common buffer");
        Self { lab, memory: memory.cast(), logical }
    }

    /// An MDL over bytes of it.
    fn mdl(&self, offset: u32, length: u32) -> PMDL {
        // CAST: below a page.
        self.lab.mdl_over(self.memory.wrapping_add(offset as usize).cast(), length)
    }

    fn store(&self, byte: u8) {
        // SAFETY: LAB: the page is the lab's.
        unsafe { ptr::write_bytes(self.memory, byte, PAGE_SIZE as usize) };
    }

    fn holds(&self, offset: u32, length: u32, byte: u8) -> bool {
        (offset..offset + length).all(|at| {
            // CAST: below a page.
            // SAFETY: LAB: the page is the lab's.
            unsafe { self.memory.wrapping_add(at as usize).read_volatile() == byte }
        })
    }

    /// The device moves bytes at this offset.
    fn transfer(&self, offset: u32, length: u32, to_device: bool) {
        // CAST: an address is unsigned.
        // SAFETY: LAB: a plain number in either view of the union.
        let at = unsafe { self.logical.QuadPart } as u64 + u64::from(offset);
        self.lab.start_device(at, length, to_device, false);
        self.lab.check(self.lab.wait_for_device(), "the device did not finish");
    }

    fn free(self) {
        // SAFETY: LAB.
        unsafe {
            let adapter = self.lab.adapter.get();
            adapter.FreeCommonBuffer(PAGE_SIZE, self.logical, self.memory.cast(), YES);
        }
    }
}

fn flush(mdl: PMDL, read: BOOLEAN) {
    // SAFETY: LAB.
    unsafe { ntddk::KeFlushIoBuffers(mdl, read, YES) };
}

fn free(mdl: PMDL) {
    // SAFETY: LAB.
    unsafe { ntddk::IoFreeMdl(mdl) };
}

/// The device is given 0x31 and gives it back, after a flush with this ReadOperation.
fn from_device(lab: &Lab, read: BOOLEAN) -> NTSTATUS {
    let shared = Shared::new(lab);
    let mdl = shared.mdl(0, PAGE_SIZE);
    shared.store(0x31);
    flush(mdl, NO);
    shared.transfer(0, 2048, true);
    shared.store(0x32);
    flush(mdl, read);
    shared.transfer(0, 2048, false);
    if read == YES {
        lab.check(shared.holds(0, 2048, 0x31), "what the device wrote");
        lab.check(shared.holds(2048, 2048, 0x32), "and nothing beyond");
    }
    free(mdl);
    shared.free();
    STATUS_SUCCESS
}

/// The device reads after a flush with this ReadOperation.
fn to_device(lab: &Lab, read: BOOLEAN) -> NTSTATUS {
    let shared = Shared::new(lab);
    let mdl = shared.mdl(0, PAGE_SIZE);
    shared.store(0x31);
    flush(mdl, read);
    shared.transfer(0, 2048, true);
    free(mdl);
    shared.free();
    STATUS_SUCCESS
}

/// The device writes two entries after flushes of these, each through an MDL of its own.
fn two_entries(lab: &Lab, flushed: &[u32]) -> NTSTATUS {
    let shared = Shared::new(lab);
    for &entry in flushed {
        let mdl = shared.mdl(entry * ENTRY, ENTRY);
        flush(mdl, YES);
        free(mdl);
    }
    shared.transfer(0, 2 * ENTRY, false);
    shared.free();
    STATUS_SUCCESS
}

/// Three entries are flushed at once, and the device reads them in three transfers, backwards; then
/// the first one again, with or without a flush of it.
fn in_any_order(lab: &Lab, again: bool) -> NTSTATUS {
    let shared = Shared::new(lab);
    let (all, first) = (shared.mdl(0, 3 * ENTRY), shared.mdl(0, ENTRY));
    shared.store(0x44);
    flush(all, NO);
    for entry in [2, 1, 0] {
        shared.transfer(entry * ENTRY, ENTRY, true);
    }
    if again {
        flush(first, NO);
    }
    shared.transfer(0, ENTRY, true);
    free(first);
    free(all);
    shared.free();
    STATUS_SUCCESS
}

/// An entry is flushed through a part of the ring's MDL.
fn partial(lab: &Lab) -> NTSTATUS {
    let shared = Shared::new(lab);
    let all = shared.mdl(0, PAGE_SIZE);
    // SAFETY: LAB.
    unsafe {
        let at: PVOID = shared.memory.wrapping_add(ENTRY as usize).cast();
        let part = ntddk::IoAllocateMdl(at, ENTRY, NO, NO, ptr::null_mut());
        ntddk::IoBuildPartialMdl(all, part, at, ENTRY);
        flush(part, YES);
        shared.transfer(ENTRY, ENTRY, false);
        free(part);
    }
    free(all);
    shared.free();
    STATUS_SUCCESS
}

/// System DMA from the device into a cached common buffer, after a flush with this ReadOperation.
fn system_dma(lab: &Lab, read: BOOLEAN) -> NTSTATUS {
    let shared = Shared::new(lab);
    let mdl = shared.mdl(0, 512);
    let transfer = SlaveTransfer(Transfer::over(lab, mdl, false));
    transfer.0.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    shared.store(0x32);
    flush(mdl, read);
    transfer.0.allocate();
    transfer.program(0, 512);
    transfer.run(0, 512);
    transfer.0.flush(0, 512);
    lab.check(shared.holds(0, 512, 0), "the device's memory after power-on");
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, || lab.adapter.get().FreeAdapterChannel()) };
    free(mdl);
    shared.free();
    STATUS_SUCCESS
}

/// No page orders FreeCommonBuffer and IoFreeMdl. What lies at the same place next is nobody's old
/// memory.
fn freed_early(lab: &Lab) -> NTSTATUS {
    for _ in 0..4 {
        let shared = Shared::new(lab);
        let mdl = shared.mdl(0, PAGE_SIZE);
        shared.store(0x55);
        shared.free();
        from_device(lab, YES);
        free(mdl);
    }
    STATUS_SUCCESS
}

/// The same for pool.
fn pool_freed_early(lab: &Lab) -> NTSTATUS {
    for _ in 0..4 {
        let pool = lab.pool(PAGE_SIZE.into());
        let mdl = lab.mdl_over(pool, PAGE_SIZE);
        // SAFETY: LAB.
        unsafe { ptr::write_bytes(pool.cast::<u8>(), 0x55, PAGE_SIZE as usize) };
        lab.free(pool);
        let next = lab.pool(PAGE_SIZE.into());
        // SAFETY: LAB.
        let zero = |at: usize| unsafe { next.cast::<u8>().wrapping_add(at).read() == 0 };
        lab.check((0..PAGE_SIZE as usize).all(zero), "new pool is zeroed, and stays so");
        free(mdl);
        lab.check((0..PAGE_SIZE as usize).all(zero), "nobody stores old memory into it");
        lab.free(next);
    }
    STATUS_SUCCESS
}

/// The losses of a case on a machine that goes on.
fn losses(routine: Routine, scenario: fn(&mut Bench)) -> Vec<RuleId> {
    let case = nt(routine).scenario(scenario).machine(|builder| builder.go_on(true)).seeds(8);
    let notes = verdict(case).expect("the machine goes on");
    notes.iter().map(|note| note.rule).collect()
}

#[test]
fn the_stale_bytes_of_a_wrong_flush_are_listed() {
    let named = losses(
        |lab, _| from_device(lab, NO),
        |bench| {
            bench.run();
            let losses = bench.machine.cache_losses();
            let stale = losses.iter().filter(|loss| loss.how == Lost::KeptStale);
            let bytes: u32 = stale.map(|loss| loss.bytes.count_ones()).sum();
            assert!(bytes > 1024 && bytes <= 2048, "some lines may be evicted: {bytes}");
        },
    );
    assert_eq!(named, [RuleId::Dma84; 8]);
}

#[test]
fn a_proper_flush_loses_nothing() {
    let named = losses(
        |lab, _| from_device(lab, YES),
        |bench| {
            bench.run();
            assert_eq!(bench.machine.cache_losses(), []);
        },
    );
    assert_eq!(named, []);
}
