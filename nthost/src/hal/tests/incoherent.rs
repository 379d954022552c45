//! Where caches are not coherent: flushes of common buffers, FIFOs, and memory that is freed early.

use super::*;
use crate::cache::{Loss, Lost};
use crate::memory::ddi::{
    ExAllocatePool2, ExFreePoolWithTag, IoAllocateMdl, IoFreeMdl, MmBuildMdlForNonPagedPool,
};

/// Bytes of the common buffers.
const LENGTH: u32 = 4096;
const TAG: u32 = 0x3141_4D44;

/// A common buffer that was asked for with CacheEnabled TRUE, and an MDL over it.
pub(super) struct Common {
    pub(super) memory: PVOID,
    logical: PHYSICAL_ADDRESS,
    pub(super) mdl: PMDL,
}

impl Common {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is live, and the tests are alone.
        unsafe { std::slice::from_raw_parts(self.memory.cast(), LENGTH as usize) }
    }
}

impl Rig<'_> {
    pub(super) fn common(&self, adapter: PDMA_ADAPTER) -> Common {
        let mut logical = PHYSICAL_ADDRESS::default();
        // SAFETY: the arguments are a driver's.
        let memory =
            unsafe { op::AllocateCommonBuffer(self.kernel, adapter, LENGTH, &raw mut logical, 1) };
        let memory = memory.expect("it is a proper call");
        Common { memory, logical, mdl: self.mdl_over(memory, 0, LENGTH) }
    }

    pub(super) fn free_common(&self, adapter: PDMA_ADAPTER, common: &Common) {
        let Common { memory, logical, .. } = *common;
        // SAFETY: the arguments are a driver's.
        let freed =
            unsafe { op::FreeCommonBuffer(self.kernel, adapter, LENGTH, logical, memory, 1) };
        freed.expect("it is a proper call");
    }

    fn mdl_over(&self, memory: PVOID, offset: usize, length: u32) -> PMDL {
        let va = memory.wrapping_byte_add(offset);
        // SAFETY: the arguments are a driver's.
        let mdl = unsafe { IoAllocateMdl(self.kernel, va, length, 0, 0, std::ptr::null_mut()) };
        let mdl = mdl.expect("it is a proper call");
        // SAFETY: as above.
        unsafe { MmBuildMdlForNonPagedPool(self.kernel, mdl) }.expect("it is a proper call");
        mdl
    }

    pub(super) fn free_mdl(&self, mdl: PMDL) {
        // SAFETY: the arguments are a driver's.
        unsafe { IoFreeMdl(self.kernel, mdl) }.expect("it is a proper call");
    }

    fn losses(&self) -> Vec<Loss> {
        self.kernel.caches().expect("caches are not coherent").take_losses()
    }

    /// Moves that caches and FIFOs can make by themselves: none if nothing is tracked.
    fn moves(&self) -> u32 {
        self.kernel.caches().expect("caches are not coherent").moves()
    }
}

/// What was lost, and how many bytes.
fn lost(losses: &[Loss]) -> Vec<(Lost, u32)> {
    losses.iter().map(|loss| (loss.how, loss.bytes.count_ones())).collect()
}

#[test]
fn what_a_device_writes_after_a_flush_for_the_other_direction_stays_stale() {
    on(&[Profile::Nt], |rig| {
        let (adapter, _) = rig.adapter(wide());
        let common = rig.common(adapter);
        // What is stored is in the cache.
        // SAFETY: within the buffer.
        unsafe { common.memory.cast::<u8>().write_bytes(0x66, 200) };
        rig.cache_flush(common.mdl, false);
        let before = common.bytes()[..200].to_vec();
        rig.write(number(common.logical), &[0x77; 200]).expect("it is the device's too");
        assert_eq!(rig.fault(), Some(RuleId::Dma84));
        let bytes: u32 = lost(&rig.losses())
            .into_iter()
            .map(|(how, bytes)| {
                assert_eq!(how, Lost::KeptStale);
                bytes
            })
            .sum();
        assert_eq!((bytes, common.bytes()[..200].to_vec()), (200, before), "clean lines stay");

        rig.cache_flush(common.mdl, true);
        rig.write(number(common.logical), &[0x78; 200]).expect("it is the device's too");
        assert_eq!(rig.fault(), None);
        assert_eq!((lost(&rig.losses()), &common.bytes()[..200]), (vec![], &[0x78; 200][..]));
        rig.free_mdl(common.mdl);
        rig.free_common(adapter, &common);
    });
}

#[test]
fn a_flush_of_a_part_serves_that_part() {
    on(&[Profile::Nt], |rig| {
        let (adapter, _) = rig.adapter(wide());
        let common = rig.common(adapter);
        let entry = rig.mdl_over(common.memory, 128, 64);
        let at = number(common.logical);
        rig.cache_flush(entry, true);
        rig.write(at + 128, &[1; 64]).expect("it is the device's too");
        assert_eq!(rig.fault(), None);
        rig.write(at + 192, &[1; 64]).expect("it is the device's too");
        assert_eq!(rig.fault(), Some(RuleId::Dma90));
        let _ = rig.losses();
        rig.free_mdl(entry);
        rig.free_mdl(common.mdl);
        rig.free_common(adapter, &common);
    });
}

/// One flush, and a device that writes two halves of a common buffer with a register write to it or
/// to another device between them.
fn two_halves(own: bool) -> Option<RuleId> {
    let mut found = None;
    at_dispatch(Machine::builder(Profile::Nt), |rig| {
        let kernel = rig.kernel;
        let other = kernel.bus.plug(kernel, Box::new(Still));
        let (adapter, _) = rig.adapter(wide());
        let common = rig.common(adapter);
        let at = number(common.logical);
        let command = |slot| {
            let function = kernel.bus.function(slot).expect("it was plugged");
            function.config.start(true);
            function.command(kernel, 0, 0, 4, 1);
        };
        rig.cache_flush(common.mdl, true);
        command(rig.slot);
        rig.write(at, &[1; 64]).expect("it is the device's too");
        command(if own { rig.slot } else { other });
        rig.write(at + 32, &[1; 64]).expect("it is the device's too");
        found = rig.fault();
        let _ = rig.losses();
        rig.free_mdl(common.mdl);
        rig.free_common(adapter, &common);
    });
    found
}

#[test]
fn a_transfer_is_begun_by_a_register_write_to_the_device_itself() {
    assert_eq!(two_halves(false), None);
    assert_eq!(two_halves(true), Some(RuleId::Dma90));
}

#[test]
fn a_device_that_reads_after_a_flush_for_writing_is_a_note() {
    on(&[Profile::Nt], |rig| {
        let (adapter, _) = rig.adapter(wide());
        let common = rig.common(adapter);
        rig.cache_flush(common.mdl, true);
        let read = rig.read(number(common.logical), 64).expect("it is the device's too");
        assert_eq!(read, common.bytes()[..64]);
        rig.kernel.hal.settle(rig.kernel).expect("both flushes write data back");
        assert_eq!((rig.notes(), lost(&rig.losses())), (vec![RuleId::Dma84], vec![]));
        rig.free_mdl(common.mdl);
        rig.free_common(adapter, &common);
    });
}

#[test]
fn a_common_buffer_is_elsewhere_than_what_waits_in_the_fifo() {
    on(&[Profile::Nt], |rig| {
        let (adapter, count) = rig.adapter(wide());
        let base = rig.channel(adapter, count);
        let common = rig.common(adapter);
        let buffer = rig.buffer(128, 0, true);
        rig.cache_flush(buffer.mdl, true);
        rig.cache_flush(common.mdl, true);
        let range = (0, 128);
        let (at, _) = rig.map(adapter, base, &buffer, range, false).expect("it is a proper call");
        for (reads, byte) in [(false, 0x31), (true, 0x32)] {
            rig.write(at, &[byte; 8]).expect("it is mapped");
            assert_ne!(&buffer.data()[..8], &[byte; 8], "it waits");
            if reads {
                rig.read(number(common.logical), 8).expect("it is the device's too");
            } else {
                rig.write(number(common.logical), &[1; 8]).expect("it is the device's too");
            }
            assert_eq!(&buffer.data()[..8], &[byte; 8], "the device went on elsewhere");
        }
        let _ = (rig.fault(), rig.kernel.hal.settle(rig.kernel));
        assert!(rig.flush(adapter, base, &buffer, range, false).expect("it is a proper call"));
        rig.free(adapter, base, count).expect("it is a proper call");
        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("nothing is mapped");
        rig.free_mdl(common.mdl);
        rig.free_common(adapter, &common);
    });
}

/// Two mappings, and the device has written the second one last. The first flush fails.
fn one_flush_fails(own: bool) -> Vec<(Lost, u32)> {
    let mut seen = Vec::new();
    at_dispatch(Machine::builder(Profile::Nt).fail_flush(1), |rig| {
        let (adapter, _) = rig.adapter(wide());
        let buffers = [rig.buffer(64, 0, true), rig.buffer(64, 0, true)];
        let bases = [rig.channel(adapter, 2), rig.channel(adapter, 2)];
        let mut at = [0; 2];
        for n in 0..2 {
            rig.cache_flush(buffers[n].mdl, true);
            let mapped = rig.map(adapter, bases[n], &buffers[n], (0, 64), false);
            at[n] = mapped.expect("it is a proper call").0;
        }
        for n in if own { [1, 0] } else { [0, 1] } {
            rig.write(at[n], &[0x40 + n as u8; 40]).expect("it is mapped");
        }
        let flush = |n: usize| rig.flush(adapter, bases[n], &buffers[n], (0, 64), false);
        assert!(!flush(0).expect("it is a proper call"), "as the machine was asked to");
        assert!(flush(1).expect("it is a proper call"));
        assert_eq!(&buffers[1].data()[..40], &[0x41; 40], "what the other mapping was given");
        seen = lost(&rig.losses());
        for n in 0..2 {
            rig.free(adapter, bases[n], 2).expect("it is a proper call");
            rig.kernel.memory.release_mdl(rig.kernel, buffers[n].mdl).expect("nothing is mapped");
        }
    });
    seen.retain(|(how, _)| *how == Lost::LeftInFifo);
    seen
}

#[test]
fn a_failed_flush_loses_its_own_bytes_in_the_fifo() {
    assert_eq!(one_flush_fails(true), [(Lost::LeftInFifo, 8)]);
}

#[test]
fn a_failed_flush_loses_nothing_of_another_mapping() {
    assert_eq!(one_flush_fails(false), []);
}

#[test]
fn a_common_buffer_may_be_freed_before_its_mdl() {
    on(&[Profile::Nt], |rig| {
        let (adapter, _) = rig.adapter(wide());
        for mdl_first in [true, false] {
            let common = rig.common(adapter);
            // Dirty lines, which somebody might write back.
            // SAFETY: within the buffer.
            unsafe { common.memory.cast::<u8>().write_bytes(0x66, 100) };
            if mdl_first {
                rig.free_mdl(common.mdl);
            }
            rig.free_common(adapter, &common);
            assert_eq!(rig.moves(), 0, "nothing of freed memory is tracked");
            if !mdl_first {
                rig.free_mdl(common.mdl);
            }
            assert_eq!((rig.moves(), lost(&rig.losses())), (0, vec![]));
        }
    });
}

#[test]
fn pool_may_be_freed_before_its_mdl() {
    on(&[Profile::Nt, Profile::Arm64], |rig| {
        for mdl_first in [true, false] {
            let flags = POOL_FLAG_NON_PAGED;
            // SAFETY: the arguments are a driver's.
            let pool = unsafe { ExAllocatePool2(rig.kernel, flags, 300, TAG) };
            let pool = pool.expect("it is a proper call");
            let mdl = rig.mdl_over(pool, 40, 200);
            // SAFETY: within the pool.
            unsafe { pool.cast::<u8>().write_bytes(0x66, 300) };
            if mdl_first {
                rig.free_mdl(mdl);
            }
            // SAFETY: as above.
            unsafe { ExFreePoolWithTag(rig.kernel, pool, TAG) }.expect("it is a proper call");
            assert_eq!(rig.moves(), 0, "nothing of freed memory is tracked");
            if !mdl_first {
                rig.free_mdl(mdl);
            }
        }
    });
}

#[test]
fn what_is_locked_beside_freed_memory_stays_so() {
    on(&[Profile::Nt], |rig| {
        let flags = POOL_FLAG_NON_PAGED;
        // SAFETY: the arguments are a driver's.
        let pool = unsafe { ExAllocatePool2(rig.kernel, flags, 8192, TAG) };
        let pool = pool.expect("it is a proper call");
        let (one, two) = (rig.mdl_over(pool, 0, 4096), rig.mdl_over(pool, 64, 64));
        // The first MDL's lock alone is gone.
        rig.free_mdl(one);
        // SAFETY: within the pool.
        unsafe { pool.cast::<u8>().write_bytes(0x66, 4096) };
        // The model sees what was stored when it looks at the line the next time.
        rig.cache_flush(two, false);
        assert_eq!(rig.moves(), 1, "the line of the other one");
        rig.free_mdl(two);
        // SAFETY: as above.
        unsafe { ExFreePoolWithTag(rig.kernel, pool, TAG) }.expect("it is a proper call");
        assert_eq!(rig.moves(), 0);
    });
}
