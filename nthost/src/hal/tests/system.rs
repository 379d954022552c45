//! The system's DMA controller: every byte arrives once, whatever the chunks and bursts are.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use proptest::prelude::*;
use testdev::bus::{Acknowledge, SystemDevice};

use super::*;
use crate::SystemDma;
use crate::cache::{Loss, Lost};

/// A device with a data port that remembers what is put into it.
#[derive(Default)]
struct Wired {
    got: Vec<u8>,
    /// Its bursts begin when somebody waits for them here, and take a while; a register read asks
    /// for one.
    burst: Option<Arc<Barrier>>,
}

const PORT: u64 = 0x20;
const CHANNEL: u32 = 3;
const LINE: u32 = 9;

impl Device for Wired {
    fn identity(&self) -> Identity {
        let bar = testdev::bus::BarInfo { size: 4096, bits64: false, prefetchable: false };
        Identity { bars: [Some(bar), None, None, None, None, None], ..Still.identity() }
    }

    fn system(&self) -> Option<SystemDevice> {
        Some(SystemDevice {
            acpi_id: "TEST0001",
            channel: CHANNEL,
            request_line: LINE,
            width_bits: 8,
            data_port: PORT,
        })
    }

    fn read(&mut self, bus: &mut dyn Bus, _: u8, _: u64, _: u8) -> u64 {
        bus.set_timer(self.burst.is_some().then_some(0));
        0
    }

    fn write(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, size: u8, value: u64) {
        assert_eq!((bar, offset, size), (0, PORT, 1));
        self.got.push(value as u8);
    }

    fn on_timer(&mut self, bus: &mut dyn Bus) {
        let Some(burst) = &self.burst else { return };
        burst.wait();
        std::thread::sleep(Duration::from_millis(50));
        bus.set_timer(Some(u64::MAX - 1));
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// What a run of the property is like.
#[derive(Clone, Copy, Debug)]
struct Plan {
    chunk: usize,
    length: usize,
    offset: usize,
    burst: usize,
    demand: bool,
}

fn plans() -> impl Strategy<Value = Plan> {
    (1usize..=64, 1usize..9000, 0usize..4096, 1usize..200, any::<bool>()).prop_map(
        |(chunk, length, offset, burst, demand)| Plan { chunk, length, offset, burst, demand },
    )
}

fn description(demand: bool) -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        Version: 2,
        DemandMode: demand.into(),
        DmaChannel: CHANNEL,
        InterfaceType: _INTERFACE_TYPE::Isa,
        MaximumLength: 0x4000,
        ..Default::default()
    }
}

/// Version 3 of it.
fn third_description(rig: &Rig<'_>) -> DEVICE_DESCRIPTION {
    let function = rig.kernel.bus.function(rig.slot).expect("it was plugged");
    let window = function.config.windows[0].expect("it has one").base + PORT;
    DEVICE_DESCRIPTION {
        Version: 3,
        DmaRequestLine: LINE,
        InterfaceType: _INTERFACE_TYPE::ACPIBus,
        DeviceAddress: PHYSICAL_ADDRESS { QuadPart: window as i64 },
        DemandMode: 0,
        ..description(true)
    }
}

/// Kernel-mode code on a machine with such a controller and device.
fn with_controller(chunk: usize, body: impl FnOnce(&Rig<'_>)) {
    with_device(Profile::X64, chunk, Wired::default(), body);
}

/// The same with a device of one's own.
fn with_device(profile: Profile, chunk: usize, device: Wired, body: impl FnOnce(&Rig<'_>)) {
    let controller = Some(SystemDma { chunk, interrupts: false });
    let machine = Machine::builder(profile).system_dma(controller).build();
    let slot = machine.plug(Box::new(device)).expect("there is room").0;
    let kernel = &*machine.kernel;
    let function = kernel.bus.function(slot).expect("it was plugged");
    function.config.start(false);
    kernel.kernel_mode(|| kernel.at_irql(2, || body(&Rig { kernel, slot })));
}

impl Rig<'_> {
    /// The channel, kept.
    fn held(&self, adapter: PDMA_ADAPTER, count: u32) -> PVOID {
        let mut base: PVOID = std::ptr::null_mut();
        let routine: PDRIVER_CONTROL = Some(keep_object);
        let (pdo, context) = (self.pdo(), (&raw mut base).cast());
        // SAFETY: the context outlives the call of the routine, which `settle` waits for.
        let status = unsafe {
            op::AllocateAdapterChannel(self.kernel, adapter, pdo, count, routine, context)
        };
        assert_eq!(status.expect("no rule is broken"), STATUS_SUCCESS);
        self.settle();
        base
    }

    fn counter(&self, adapter: PDMA_ADAPTER) -> usize {
        // SAFETY: the arguments are a driver's.
        unsafe { op::ReadDmaCounter(self.kernel, adapter) }.expect("it is a slave's") as usize
    }

    fn end(&self, adapter: PDMA_ADAPTER) {
        // SAFETY: the arguments are a driver's.
        unsafe { op::FreeAdapterChannel(self.kernel, adapter) }.expect("nothing is mapped");
        self.put(adapter).expect("nothing is outstanding");
    }
}

/// Requests of the device until the terminal count; each moves at least a byte.
fn request_all(length: usize, mut request: impl FnMut(usize) -> Acknowledge) -> usize {
    let mut moved = 0;
    for _ in 0..=length {
        let Acknowledge { bytes, terminal_count } = request(moved);
        moved += bytes;
        if terminal_count {
            return moved;
        }
        assert!(bytes != 0, "the channel is set up");
    }
    panic!("the counter never runs out");
}

fn from_device(plan: Plan) {
    with_controller(plan.chunk, |rig| {
        let controller = &rig.kernel.hal.controller;
        let (adapter, count) = rig.adapter(description(plan.demand));
        let buffer = rig.buffer(plan.length, plan.offset, true);
        let data: Vec<u8> = (0..plan.length).map(|n| (n * 31 + 7) as u8).collect();
        rig.cache_flush(buffer.mdl, true);
        let base = rig.held(adapter, count);
        assert_eq!(controller.collect(rig.kernel, CHANNEL, &data).bytes, 0, "not set up yet");
        rig.map(adapter, base, &buffer, (0, plan.length), false).expect("it is a proper call");
        assert_eq!(rig.counter(adapter), plan.length);

        let moved = request_all(plan.length, |at| {
            let end = plan.length.min(at + plan.burst);
            controller.collect(rig.kernel, CHANNEL, &data[at..end])
        });

        assert_eq!((moved, rig.counter(adapter)), (plan.length, 0));
        let flushed = rig.flush(adapter, base, &buffer, (0, plan.length), false);
        assert!(flushed.expect("it is a proper call"));
        assert_eq!(buffer.data(), data);
        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("nothing is mapped");
        rig.end(adapter);
        assert_eq!(rig.notes(), []);
    });
}

fn to_device(plan: Plan) {
    with_controller(plan.chunk, |rig| {
        let controller = &rig.kernel.hal.controller;
        let (adapter, count) = rig.adapter(description(plan.demand));
        let buffer = rig.buffer(plan.length, plan.offset, false);
        rig.cache_flush(buffer.mdl, false);
        let base = rig.held(adapter, count);
        rig.map(adapter, base, &buffer, (0, plan.length), true).expect("it is a proper call");

        let mut seen = Vec::new();
        let moved = request_all(plan.length, |_| {
            let mut data = vec![0; plan.burst];
            let answer = controller.deliver(rig.kernel, CHANNEL, &mut data);
            seen.extend(&data[..answer.bytes]);
            answer
        });

        assert_eq!(moved, plan.length / plan.chunk * plan.chunk, "whole chunks");
        let flushed = rig.flush(adapter, base, &buffer, (0, plan.length), true);
        assert!(flushed.expect("it is a proper call"));
        let function = rig.kernel.bus.function(rig.slot).expect("it was plugged");
        function.inspect(|device| {
            let device = device.as_any().downcast_mut::<Wired>().expect("it is this device");
            seen.append(&mut device.got);
        });
        assert_eq!(seen, buffer.data());
        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("nothing is mapped");
        rig.end(adapter);
        assert_eq!(rig.notes(), []);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    #[cfg_attr(miri, ignore = "it needs files")]
    fn every_byte_arrives_from_the_device(plan in plans()) {
        from_device(plan);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it needs files")]
    fn every_byte_arrives_at_the_device(plan in plans()) {
        to_device(plan);
    }
}

#[test]
fn lists_are_refused() {
    with_controller(8, |rig| {
        let (adapter, _) = rig.adapter(description(true));
        let buffer = rig.buffer(100, 0, false);
        let mut list: PSCATTER_GATHER_LIST = std::ptr::null_mut();
        let (context, routine) = ((&raw mut list).cast(), Some(keep_list as _));
        // SAFETY: the arguments are a driver's.
        let status = unsafe {
            op::GetScatterGatherList(
                rig.kernel,
                adapter,
                rig.pdo(),
                buffer.mdl,
                buffer.va(),
                100,
                routine,
                context,
                1,
            )
        };
        assert_eq!(status.expect("no rule is broken"), STATUS_INSUFFICIENT_RESOURCES);
        assert!(list.is_null());
        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("nothing is mapped");
        rig.put(adapter).expect("nothing is outstanding");
    });
}

#[test]
fn a_failed_flush_loses_the_tail() {
    let controller = Some(SystemDma { chunk: 16, interrupts: false });
    let machine = Machine::builder(Profile::X64).system_dma(controller).fail_flush(1).build();
    let slot = machine.plug(Box::new(Wired::default())).expect("there is room").0;
    let kernel = &*machine.kernel;
    kernel.kernel_mode(|| {
        kernel.at_irql(2, || {
            let rig = Rig { kernel, slot };
            let (adapter, count) = rig.adapter(description(true));
            let buffer = rig.buffer(20, 0, false);
            let base = rig.held(adapter, count);
            rig.map(adapter, base, &buffer, (0, 20), true).expect("it is a proper call");
            let answer = kernel.hal.controller.deliver(kernel, CHANNEL, &mut [0; 32]);
            assert_eq!(answer, Acknowledge { bytes: 16, terminal_count: true });
            let flushed = rig.flush(adapter, base, &buffer, (0, 20), true);
            assert!(!flushed.expect("it is a proper call"), "FALSE: it did not arrive");
            let function = kernel.bus.function(slot).expect("it was plugged");
            function.inspect(|device| {
                let device = device.as_any().downcast_mut::<Wired>().expect("it is this device");
                assert!(device.got.is_empty());
            });
            kernel.memory.release_mdl(kernel, buffer.mdl).expect("nothing is mapped");
            rig.end(adapter);
        });
    });
}

#[test]
fn one_operation_is_what_the_counter_counts() {
    with_controller(16, |rig| {
        let large = DEVICE_DESCRIPTION { MaximumLength: 1 << 20, ..description(true) };
        let (adapter, count) = rig.adapter(large);
        assert_eq!(count, 16, "64 KiB");
        let base = rig.held(adapter, count);
        // However they begin in a page: 16 pages at most, and 17 at least.
        let (within, beyond) = (15 << 12, 17 << 12);
        let buffer = rig.buffer(beyond, 0, true);
        rig.cache_flush(buffer.mdl, true);
        rig.map(adapter, base, &buffer, (0, within), false).expect("it is a proper call");
        assert_eq!(rig.counter(adapter), within);
        rig.kernel.hal.controller.end(rig.kernel, CHANNEL);
        rig.flush(adapter, base, &buffer, (0, within), false).expect("it is a proper call");

        let refused = rig.map(adapter, base, &buffer, (0, beyond), false);
        let violation = refused.expect_err("it needs 17 registers");
        assert_eq!(violation.rule, crate::RuleId::Dma49, "{}", violation.message);

        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("nothing is mapped");
        rig.end(adapter);
    });
}

#[test]
fn a_channel_repeats_memory_that_is_shorter_than_a_chunk() {
    with_controller(16, |rig| {
        let repeats = DEVICE_DESCRIPTION { AutoInitialize: 1, ..description(true) };
        let (adapter, count) = rig.adapter(repeats);
        let buffer = rig.buffer(6, 0, false);
        let base = rig.held(adapter, count);
        rig.map(adapter, base, &buffer, (0, 6), true).expect("it is a proper call");
        let mut data = [0; 32];
        let answer = rig.kernel.hal.controller.deliver(rig.kernel, CHANNEL, &mut data);
        assert_eq!(answer, Acknowledge { bytes: 32, terminal_count: false });
        assert!(data.iter().zip(buffer.data().iter().cycle()).all(|(got, sent)| got == sent));
        rig.flush(adapter, base, &buffer, (0, 6), true).expect("it is a proper call");
        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("nothing is mapped");
        rig.end(adapter);
    });
}

#[test]
fn a_channel_freed_without_a_flush_serves_nobody() {
    let controller = Some(SystemDma { chunk: 16, interrupts: false });
    let machine = Machine::builder(Profile::X64).system_dma(controller).go_on(true).build();
    let slot = machine.plug(Box::new(Wired::default())).expect("there is room").0;
    let kernel = &*machine.kernel;
    kernel.kernel_mode(|| {
        kernel.at_irql(2, || {
            let rig = Rig { kernel, slot };
            let (adapter, count) = rig.adapter(description(true));
            let buffer = rig.buffer(64, 0, true);
            let base = rig.held(adapter, count);
            rig.map(adapter, base, &buffer, (0, 64), false).expect("it is a proper call");
            let answer = kernel.hal.controller.collect(kernel, CHANNEL, &[1; 20]);
            assert_eq!(answer, Acknowledge { bytes: 20, terminal_count: false });
            // SAFETY: the arguments are a driver's.
            let freed = unsafe { op::FreeAdapterChannel(kernel, adapter) };
            freed.expect("the breach is recorded, and the machine goes on");
            let answer = kernel.hal.controller.collect(kernel, CHANNEL, &[1; 20]);
            assert_eq!(answer, Acknowledge::NONE, "nothing is set up");
            kernel.memory.release_mdl(kernel, buffer.mdl).expect("nothing is mapped");
            rig.put(adapter).expect("nothing is outstanding");
        });
    });
}

/// How a transfer of the controller's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Flushed,
    FlushFails,
    /// Its channel is freed without a flush, on a machine that goes on.
    Freed,
}

#[test]
fn the_controllers_fifo_is_among_the_losses() {
    for ending in [Ending::Flushed, Ending::FlushFails, Ending::Freed] {
        let controller = Some(SystemDma { chunk: 16, interrupts: false });
        let builder = Machine::builder(Profile::Nt).system_dma(controller).go_on(true);
        let fails = ending == Ending::FlushFails;
        let builder = if fails { builder.fail_flush(1) } else { builder };
        let machine = builder.build();
        let slot = machine.plug(Box::new(Wired::default())).expect("there is room").0;
        let kernel = &*machine.kernel;
        kernel.kernel_mode(|| kernel.at_irql(2, || end_with_a_tail(&Rig { kernel, slot }, ending)));
    }
}

/// 16 bytes of 21 have gone to memory when the transfer ends.
fn end_with_a_tail(rig: &Rig<'_>, ending: Ending) {
    let Rig { kernel, .. } = *rig;
    let (adapter, count) = rig.adapter(description(true));
    let buffer = rig.buffer(128, 0, true);
    let base = rig.held(adapter, count);
    rig.cache_flush(buffer.mdl, true);
    rig.map(adapter, base, &buffer, (0, 128), false).expect("it is a proper call");
    kernel.hal.controller.collect(kernel, CHANNEL, &[9; 21]);
    kernel.hal.controller.end(kernel, CHANNEL);
    if ending != Ending::Freed {
        let flushed = rig.flush(adapter, base, &buffer, (0, 128), false);
        assert_eq!(flushed.expect("it is a proper call"), ending == Ending::Flushed);
    }
    // SAFETY: the arguments are a driver's.
    unsafe { op::FreeAdapterChannel(kernel, adapter) }.expect("the machine goes on");
    let losses = kernel.caches().expect("caches are not coherent").take_losses();
    if ending == Ending::Flushed {
        assert_eq!(losses, []);
        assert_eq!(&buffer.data()[..21], &[9; 21]);
    } else {
        let start = buffer.va().addr();
        let left = losses.iter().filter(|loss| loss.how == Lost::LeftInFifo);
        let at: Vec<_> = left.flat_map(Loss::addresses).collect();
        assert_eq!(at, (start + 16..start + 21).collect::<Vec<_>>(), "{ending:?}");
    }
    kernel.memory.release_mdl(kernel, buffer.mdl).expect("nothing is mapped");
    rig.put(adapter).expect("nothing is outstanding");
}

#[test]
fn versions_1_and_2_flush_no_channel_whose_device_is_in_the_middle_of_a_burst() {
    let burst = Arc::new(Barrier::new(2));
    let device = Wired { burst: Some(Arc::clone(&burst)), ..Wired::default() };
    with_device(Profile::X64, 16, device, |rig| {
        let (adapter, count) = rig.adapter(description(true));
        let buffer = rig.buffer(64, 0, true);
        let base = rig.held(adapter, count);
        rig.map(adapter, base, &buffer, (0, 64), false).expect("it is a proper call");
        let function = rig.kernel.bus.function(rig.slot).expect("it was plugged");
        function.read(rig.kernel, 0, 0, 4);
        std::thread::scope(|threads| {
            let kernel = rig.kernel;
            threads.spawn(|| kernel.bus.run_slot(kernel, rig.slot));
            burst.wait();
            let refused = rig.flush(adapter, base, &buffer, (0, 64), false);
            assert_eq!(rule(refused), (RuleId::Dma109, Some(0x23)));
        });
    });
}

/// MapTransfer for a common buffer that was asked for with CacheEnabled TRUE, and what was noted.
fn map_common(profile: Profile, version: u32, flush: bool) -> (Option<RuleId>, Vec<RuleId>) {
    let mut seen = (None, Vec::new());
    with_device(profile, 16, Wired::default(), |rig| {
        let second = version == 2;
        let (adapter, count) =
            rig.adapter(if second { description(true) } else { third_description(rig) });
        let common = rig.common(adapter);
        let base = rig.held(adapter, count);
        if flush {
            rig.cache_flush(common.mdl, true);
        }
        let (mut length, mdl, va) = (32, common.mdl, common.memory);
        // SAFETY: the arguments are a driver's.
        let mapped =
            unsafe { op::MapTransfer(rig.kernel, adapter, mdl, base, va, &raw mut length, 0) };
        seen = (mapped.as_ref().err().map(|found| found.rule), rig.notes());
        if mapped.is_err() {
            return;
        }
        rig.kernel.hal.controller.collect(rig.kernel, CHANNEL, &[7; 32]);
        // SAFETY: as above.
        let flushed =
            unsafe { op::FlushAdapterBuffers(rig.kernel, adapter, mdl, base, va, length, 0) };
        assert_eq!(flushed.expect("it is a proper call"), 1);
        assert_eq!(common.bytes()[..32], [7; 32]);
        // SAFETY: as above.
        unsafe { op::FreeAdapterChannel(rig.kernel, adapter) }.expect("nothing is mapped");
        rig.free_mdl(mdl);
        rig.free_common(adapter, &common);
        rig.put(adapter).expect("nothing is outstanding");
    });
    seen
}

#[test]
fn a_cached_common_buffer_is_flushed_before_system_dma() {
    for (profile, version) in
        [(Profile::Nt, 2), (Profile::Nt, 3), (Profile::X64, 2), (Profile::X64, 3)]
    {
        assert_eq!(map_common(profile, version, true), (None, vec![]), "{profile:?} {version}");
    }
    // Nobody else flushes it, whatever the version.
    assert_eq!(map_common(Profile::Nt, 2, false).0, Some(RuleId::Dma90));
    assert_eq!(map_common(Profile::Nt, 3, false).0, Some(RuleId::Dma90));
    // Nothing is lost, and versions 1 and 2 alone are told to.
    assert_eq!(map_common(Profile::X64, 2, false), (None, vec![RuleId::Dma90]));
    assert_eq!(map_common(Profile::X64, 3, false), (None, vec![]));
}
