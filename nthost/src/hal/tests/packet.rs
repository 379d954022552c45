//! Adapters, common buffers and the packet loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::Scheduling;

/// Moves a buffer through the packet loop and the device; what the device read or will write.
fn transfer(rig: &Rig<'_>, adapter: PDMA_ADAPTER, count: u32, buffer: &Buffer, to_device: bool) {
    let length = buffer.data().len();
    let pages = crate::memory::pages::span(buffer.va().addr(), length) as u32;
    assert!(pages <= count);
    rig.cache_flush(buffer.mdl, !to_device);
    let base = rig.channel(adapter, pages);
    let (mut done, mut seen) = (0, Vec::new());
    while done < length {
        let rest = (done, length - done);
        let (address, mapped) =
            rig.map(adapter, base, buffer, rest, to_device).expect("it is a proper call");
        assert!(mapped > 0 && mapped <= rest.1);
        if to_device {
            seen.extend(rig.read(address, mapped).expect("it is mapped"));
        } else {
            rig.write(address, &vec![0xAB; mapped]).expect("it is mapped");
        }
        done += mapped;
    }
    let flushed = rig.flush(adapter, base, buffer, (0, length), to_device);
    assert!(flushed.expect("it is a proper call"));
    rig.free(adapter, base, pages).expect("nothing is mapped");
    if to_device {
        assert_eq!(seen, buffer.data());
    } else {
        assert!(buffer.data().iter().all(|&byte| byte == 0xAB));
    }
}

#[test]
#[cfg_attr(miri, ignore = "it moves megabytes")]
fn data_arrives_both_ways_and_a_clean_driver_gets_no_note() {
    on(&Profile::ALL, |rig| {
        for description in
            [narrow(), wide(), DEVICE_DESCRIPTION { Dma32BitAddresses: 1, ..narrow() }]
        {
            let (adapter, count) = rig.adapter(description);
            let shapes = [(1, 0), (4096, 0), (4096, 17), (100_000, 333), (65_537, 4000)];
            let shapes = shapes.map(|(length, offset)| rig.fit(length, offset));
            // CAST: a count of pages.
            let fits = |length: usize| length.div_ceil(4096) + 1 < count as usize;
            for (length, offset) in shapes.into_iter().filter(|shape| fits(shape.0)) {
                for to_device in [true, false] {
                    let buffer = rig.buffer(length, offset, !to_device);
                    transfer(rig, adapter, count, &buffer, to_device);
                    let released = rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl);
                    released.expect("nothing is mapped");
                }
            }
            rig.put(adapter).expect("nothing is outstanding");
        }
        assert_eq!(rig.notes(), []);
        assert_eq!(rig.fault(), None);
        assert!(rig.kernel.caches().is_none_or(|cache| cache.losses().is_empty()));
        assert!(rig.kernel.hal.check_released(None).is_empty());
    });
}

#[test]
fn an_adapter_without_scatter_gather_gets_one_range() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(narrow());
        let buffer = rig.buffer(20_000, 5, false);
        let base = rig.channel(adapter, 6);
        let (address, mapped) = rig.map(adapter, base, &buffer, (0, 20_000), true).expect("proper");
        assert_eq!(mapped, 20_000);
        assert!(address + 20_000 <= 1 << 24);
        assert_eq!(rig.read(address, 20_000).expect("mapped"), buffer.data());
    });
}

#[test]
fn a_transfer_without_keflushiobuffers_is_noted() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, _) = rig.adapter(wide());
        let buffer = rig.buffer(100, 0, true);
        let base = rig.channel(adapter, 2);
        rig.map(adapter, base, &buffer, (0, 50), true).expect("harmless here");
        rig.flush(adapter, base, &buffer, (0, 50), true).expect("proper");
        rig.cache_flush(buffer.mdl, true);
        rig.map(adapter, base, &buffer, (50, 50), true).expect("harmless here");
        assert_eq!(rig.notes(), [RuleId::Dma85, RuleId::Dma84]);
    });
}

#[test]
fn mistakes_in_the_packet_loop_have_their_rules() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(narrow());
        let buffer = rig.buffer(8192, 0, false);
        let base = rig.channel(adapter, 4);
        let map = |range, to_device| rig.map(adapter, base, &buffer, range, to_device);
        let flush = |range, to_device| rig.flush(adapter, base, &buffer, range, to_device);

        assert_eq!(rule(map((0, 0), true)), (RuleId::Dma50, Some(0x21)));
        assert_eq!(rule(map((8192, 1), true)), (RuleId::Dma46, Some(0x1B)));
        assert_eq!(rule(map((4096, 4097), true)), (RuleId::Dma46, Some(0x1F)));
        assert_eq!(rule(map((0, 10), false)), (RuleId::Dma104, None));
        assert_eq!(rule(flush((0, 10), true)), (RuleId::Dma53, Some(0x20)));
        map((100, 1000), true).expect("proper");
        assert_eq!(rule(map((600, 10), true)), (RuleId::Dma51, Some(0x1D)));
        assert_eq!(rule(rig.free(adapter, base, 4)), (RuleId::Dma42, Some(0x10)));
        assert_eq!(rule(flush((100, 999), true)), (RuleId::Dma53, Some(0x0D)));
        assert_eq!(rule(flush((100, 1001), true)), (RuleId::Dma53, Some(0x00)));
        assert_eq!(rule(flush((0, 1000), true)), (RuleId::Dma53, Some(0x16)));
        assert_eq!(rule(flush((100, 1000), false)), (RuleId::Dma52, None));
        flush((100, 1000), true).expect("proper");
        assert_eq!(rule(rig.free(adapter, base, 5)), (RuleId::Dma42, Some(0x05)));
        assert_eq!(rule(rig.put(adapter)), (RuleId::Dma18, Some(0x09)));
        rig.free(adapter, base, 4).expect("proper");
        assert_eq!(rule(rig.free(adapter, base, 4)), (RuleId::Dma42, Some(0x05)));
        rig.put(adapter).expect("proper");
        assert_eq!(rule(rig.put(adapter)), (RuleId::Dma19, Some(0x18)));
        assert_eq!(rule(rig.put(std::ptr::null_mut())), (RuleId::Dma14, Some(0x19)));
    });
}

#[test]
fn more_pages_than_registers_is_over_budget() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(narrow());
        let buffer = rig.buffer(8192 + 4096, 0, false);
        let base = rig.channel(adapter, 2);
        let found = rig.map(adapter, base, &buffer, (0, 3 * 4096), true);
        assert_eq!(rule(found), (RuleId::Dma49, Some(0x0C)));
    });
}

#[test]
fn advancing_by_what_was_asked_leaves_a_hole() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(wide());
        let buffer = rig.buffer(20_000, 0, false);
        let base = rig.channel(adapter, 6);
        let (_, mapped) = rig.map(adapter, base, &buffer, (0, 10_000), true).expect("proper");
        assert!(mapped < 10_000);
        let found = rig.map(adapter, base, &buffer, (10_000, 10_000), true);
        assert_eq!(rule(found), (RuleId::Dma48, None));
    });
}

#[test]
fn one_channel_at_a_time_and_the_right_release() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, _) = rig.adapter(narrow());
        let mut base: PVOID = std::ptr::null_mut();
        let context: PVOID = (&raw mut base).cast();
        let allocate = |count, routine: PDRIVER_CONTROL| {
            // SAFETY: the arguments are a driver's, and the context lives on.
            unsafe {
                op::AllocateAdapterChannel(rig.kernel, adapter, rig.pdo(), count, routine, context)
            }
        };
        let many = allocate(1000, Some(keep_object));
        assert_eq!(rule(many), (RuleId::Dma34, Some(0x0C)));
        allocate(2, Some(keep_object)).expect("proper");
        rig.settle();
        let again = allocate(2, Some(keep_object));
        assert_eq!(rule(again), (RuleId::Dma17, Some(0x0B)));
        assert_eq!(rule(rig.free(adapter, base, 2)), (RuleId::Dma41, Some(0x05)));
        // SAFETY: the arguments are a driver's.
        let free = || unsafe { op::FreeAdapterChannel(rig.kernel, adapter) };
        free().expect("it is held");
        assert_eq!(rule(free()), (RuleId::Dma43, Some(0x04)));
    });
}

#[test]
fn allocations_wait_for_registers_in_order() {
    everywhere(|rig| {
        let (adapter, count) = rig.adapter(narrow());
        assert!(count > 2);
        let mut held = vec![rig.channel(adapter, count)];
        let mut base: PVOID = std::ptr::null_mut();
        let context: PVOID = (&raw mut base).cast();
        let routine: PDRIVER_CONTROL = Some(keep_registers);
        while held.len() < 4 {
            held.push(rig.channel(adapter, count));
        }
        let allocate = || {
            // SAFETY: the arguments are a driver's, and the context lives on.
            unsafe {
                op::AllocateAdapterChannel(rig.kernel, adapter, rig.pdo(), count, routine, context)
            }
        };
        allocate().expect("proper");
        rig.settle();
        // SAFETY: a local; the routine writes it through the pointer made above.
        assert!(unsafe { context.cast::<PVOID>().read() }.is_null(), "no register is free");
        assert_eq!(rule(allocate()), (RuleId::Dma35, Some(0x0B)));
        rig.free(adapter, held[2], count).expect("nothing is mapped");
        rig.settle();
        // SAFETY: as above.
        assert!(!unsafe { context.cast::<PVOID>().read() }.is_null());
    });
}

#[test]
fn a_failing_flush_copies_nothing() {
    at_dispatch(Machine::builder(Profile::X64).fail_flush(1), |rig| {
        let (adapter, _) = rig.adapter(narrow());
        let buffer = rig.buffer(100, 0, true);
        let before = buffer.data().to_vec();
        let base = rig.channel(adapter, 1);
        let (address, _) = rig.map(adapter, base, &buffer, (0, 100), false).expect("proper");
        rig.write(address, &[1; 100]).expect("mapped");
        assert!(!rig.flush(adapter, base, &buffer, (0, 100), false).expect("proper"));
        assert_eq!(buffer.data(), before);
    });
}

#[test]
fn late_and_stray_accesses_are_blamed() {
    for profile in Profile::COHERENT {
        at_dispatch(Machine::builder(profile), |rig| {
            for description in [narrow(), wide()] {
                let (adapter, _) = rig.adapter(description);
                let buffer = rig.buffer(4096, 0, false);
                let base = rig.channel(adapter, 2);
                let (address, mapped) =
                    rig.map(adapter, base, &buffer, (0, 100), true).expect("ok");
                assert!(
                    rig.write(address, &[0]).is_err()
                        != (description.Dma64BitAddresses == 0 && !profile.remaps())
                );
                assert_eq!(rig.fault(), Some(RuleId::Dma52));
                rig.flush(adapter, base, &buffer, (0, mapped), true).expect("proper");
                let _ = rig.read(address, 4);
                assert_eq!(rig.fault(), Some(RuleId::Dma57));
            }
            // SAFETY: the address of a local.
            let physical = unsafe {
                crate::memory::ddi::MmGetPhysicalAddress(
                    rig.kernel,
                    (&raw const profile).cast_mut().cast(),
                )
            };
            assert_eq!(rig.read(number(physical.expect("harmless")), 4), Err(BusError::Miss));
            assert_eq!(rig.fault(), Some(RuleId::Sim01));
            assert_eq!(rig.read(0x10, 4), Err(BusError::Miss));
            let never = if profile.remaps() { RuleId::Dma114 } else { RuleId::Sim02 };
            assert_eq!(rig.fault(), Some(never));
        });
    }
}

#[test]
fn the_iommu_tells_a_miss_from_a_permission_failure() {
    at_dispatch(Machine::builder(Profile::X64Dmar), |rig| {
        for description in [narrow(), wide()] {
            let (adapter, _) = rig.adapter(description);
            let buffer = rig.buffer(4096, 0, false);
            let base = rig.channel(adapter, 2);
            let (address, mapped) = rig.map(adapter, base, &buffer, (0, 100), true).expect("ok");
            assert!(
                rig.read(address, 4).is_ok(),
                "the positive control: what is mapped is reached"
            );
            assert_eq!(rig.fault(), None);
            assert_eq!(rig.write(address, &[0]), Err(BusError::Permission));
            assert_eq!(rig.fault(), Some(RuleId::Dma52));
            rig.flush(adapter, base, &buffer, (0, mapped), true).expect("proper");
            assert_eq!(rig.read(address, 4), Err(BusError::Miss));
            assert_eq!(rig.fault(), Some(RuleId::Dma57));
        }
    });
}

#[test]
fn a_write_beside_a_bounced_buffer_is_found_at_the_flush() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(narrow());
        let buffer = rig.buffer(100, 0, true);
        let base = rig.channel(adapter, 2);
        let pages = crate::memory::pages::span(buffer.va().addr(), 100);
        let (address, _) = rig.map(adapter, base, &buffer, (0, 100), false).expect("proper");
        if pages == 1 && address % 4096 + 100 < 4096 {
            rig.write(address, &[7; 101]).expect("the page is mapped");
            let found = rig.flush(adapter, base, &buffer, (0, 100), false);
            assert_eq!(rule(found), (RuleId::Dma77, Some(0x0F)));
        }
    });
}

#[test]
fn common_buffers_are_shared_and_their_edges_watched() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(wide());
        let mut at = PHYSICAL_ADDRESS::default();
        // SAFETY: the arguments are a driver's.
        let allocate = |at: &mut PHYSICAL_ADDRESS| unsafe {
            op::AllocateCommonBuffer(rig.kernel, adapter, 5000, at, 0).expect("proper")
        };
        // SAFETY: as above.
        let free = |memory, length, at| unsafe {
            op::FreeCommonBuffer(rig.kernel, adapter, length, at, memory, 0)
        };
        let memory = allocate(&mut at);
        rig.write(number(at) + 10, &[1, 2, 3]).expect("it is the device's too");
        // SAFETY: within the buffer.
        assert_eq!(unsafe { memory.cast::<u8>().wrapping_add(11).read() }, 2);
        assert_eq!(rule(rig.put(adapter)), (RuleId::Dma18, Some(0x07)));
        assert_eq!(rule(free(memory, 4999, at)), (RuleId::Dma30, None));
        free(memory, 5000, at).expect("proper");
        assert_eq!(rule(free(memory, 5000, at)), (RuleId::Dma30, Some(0x03)));
        assert!(rig.read(number(at), 1).is_err());
        assert_eq!(rig.fault(), Some(RuleId::Dma115));

        let memory = allocate(&mut at);
        rig.write(number(at) + 4999, &[1, 2]).expect("the page is the device's");
        assert_eq!(rule(free(memory, 5000, at)), (RuleId::Dma25, Some(0x0F)));
        assert_eq!(rig.notes(), []);
    });
}

#[test]
fn a_cached_common_buffer_without_keflushiobuffers_is_noted() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, _) = rig.adapter(wide());
        let mut at = PHYSICAL_ADDRESS::default();
        // SAFETY: the arguments are a driver's.
        let memory = unsafe {
            op::AllocateCommonBuffer(rig.kernel, adapter, 4096, &raw mut at, 1).expect("proper")
        };
        rig.read(number(at), 8).expect("mapped");
        rig.kernel.hal.settle(rig.kernel).expect("a note only");
        assert_eq!(rig.notes(), [RuleId::Dma90]);
        // SAFETY: as above.
        unsafe { op::FreeCommonBuffer(rig.kernel, adapter, 4096, at, memory, 1) }.expect("proper");
    });
}

#[test]
fn the_device_object_must_be_the_physical_one() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (mut description, mut count) = (narrow(), 0);
        for object in [std::ptr::null_mut(), crate::pnp::function_object(rig.slot)] {
            // SAFETY: pointers to locals.
            let found = unsafe {
                IoGetDmaAdapter(rig.kernel, object, &raw mut description, &raw mut count)
            };
            assert_eq!(rule(found).0, RuleId::Dma02);
        }
    });
}

/// An AdapterControl during which another processor ends what it was started for.
struct Overtaken {
    stage: AtomicUsize,
    answer: IO_ALLOCATION_ACTION,
}

impl Overtaken {
    /// The routine runs, and what it was started for is over.
    const RUNS: usize = 1;
    const OVER: usize = 2;

    fn wait(&self, stage: usize) {
        let start = Instant::now();
        while self.stage.load(Ordering::SeqCst) < stage && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

/// Long enough for two threads to meet on any computer; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

unsafe extern "C" fn overtaken(
    _: *mut _DEVICE_OBJECT,
    _: *mut _IRP,
    _: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: what `overtake` passes, which lives on.
    let story = unsafe { &*context.cast::<Overtaken>() };
    story.stage.store(Overtaken::RUNS, Ordering::SeqCst);
    story.wait(Overtaken::OVER);
    story.answer
}

/// One processor is in AdapterControl while another one frees the channel. The first rule that is
/// broken, and whether the channel is there again afterwards.
fn overtake(seed: u64, answer: IO_ALLOCATION_ACTION) -> Result<bool, RuleId> {
    let builder = Machine::builder(Profile::X64).scheduling(Scheduling::Threads { processors: 2 });
    let machine = builder.seed(seed).build();
    let slot = machine.plug(Box::new(Still)).expect("there is room").0;
    let story = Arc::new(Overtaken { stage: AtomicUsize::new(0), answer });
    let kernel = &*machine.kernel;
    let adapter =
        kernel.kernel_mode(|| Rig { kernel, slot }.adapter(narrow()).0).expose_provenance();
    let adapter = move || std::ptr::with_exposed_provenance_mut(adapter);
    let told = Arc::clone(&story);
    let running = machine.spawn(move |m| {
        let kernel = &*m.kernel;
        let rig = Rig { kernel, slot };
        let context = Arc::as_ptr(&told).cast_mut().cast();
        kernel.kernel_mode(|| {
            kernel.at_irql(2, || {
                // SAFETY: the arguments are a driver's, and the context lives on.
                let status = unsafe {
                    let routine: PDRIVER_CONTROL = Some(overtaken);
                    op::AllocateAdapterChannel(kernel, adapter(), rig.pdo(), 2, routine, context)
                };
                crate::io::must(kernel, status);
                rig.settle();
            });
        });
    });
    let overtaking = machine.spawn(move |m| {
        story.wait(Overtaken::RUNS);
        let kernel = &*m.kernel;
        kernel.kernel_mode(|| {
            // SAFETY: the arguments are a driver's.
            let free = || unsafe { op::FreeAdapterChannel(kernel, adapter()) };
            crate::io::must(kernel, kernel.at_irql(2, free));
        });
        story.stage.store(Overtaken::OVER, Ordering::SeqCst);
    });
    for thread in [running, overtaking] {
        thread.join().map_err(|stopped| stopped.report.rule)?;
    }
    let rig = Rig { kernel, slot };
    Ok(kernel.kernel_mode(|| kernel.at_irql(2, || !rig.channel(adapter(), 16).is_null())))
}

#[test]
fn a_channel_may_be_freed_on_another_processor_before_its_routine_has_returned() {
    use _IO_ALLOCATION_ACTION::{DeallocateObject, DeallocateObjectKeepRegisters, KeepObject};

    let seeds = if cfg!(miri) { 1 } else { 4 };
    for seed in 0..seeds {
        assert_eq!(overtake(seed, KeepObject), Ok(true));
        // What the routine answers has to be what was done.
        assert_eq!(overtake(seed, DeallocateObject), Err(RuleId::Dma41));
        assert_eq!(overtake(seed, DeallocateObjectKeepRegisters), Err(RuleId::Dma41));
    }
}
