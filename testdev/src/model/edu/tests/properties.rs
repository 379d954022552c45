//! Whatever software does to the registers, the model neither panics nor leaves its range.

use proptest::option;
use proptest::prelude::*;

use super::*;

/// One thing that software or time can do.
#[derive(Clone, Debug)]
enum Step {
    Read { bar: u8, offset: u64, size: u8 },
    Write { bar: u8, offset: u64, size: u8, value: u64 },
    Advance(u64),
    Timer,
    Msi(bool),
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![6 => (0u64..0x14).prop_map(|n| n * 8), 3 => 0u64..0xa8, 1 => any::<u64>()]
}

fn size() -> impl Strategy<Value = u8> {
    prop_oneof![8 => prop::sample::select(vec![1u8, 2, 4, 8]), 1 => any::<u8>()]
}

/// Values around the device buffer, small ones, addresses in memory, and anything.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0x3_ff00u64..0x4_1100, 0u64..0x1100, RAM..RAM + 0x5000, any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    let bar = || prop_oneof![9 => Just(BAR), 1 => any::<u8>()];
    prop_oneof![
        3 => (bar(), offset(), size())
            .prop_map(|(bar, offset, size)| Step::Read { bar, offset, size }),
        6 => (bar(), offset(), size(), value())
            .prop_map(|(bar, offset, size, value)| Step::Write { bar, offset, size, value }),
        2 => prop_oneof![0u64..2_000, 0..2 * DMA_DELAY_NS, any::<u64>()].prop_map(Step::Advance),
        1 => Just(Step::Timer),
        1 => any::<bool>().prop_map(Step::Msi),
    ]
}

fn era() -> impl Strategy<Value = Era> {
    prop::sample::select(vec![Era::A0, Era::A1, Era::B, Era::C])
}

fn faults() -> impl Strategy<Value = EduFaults> {
    let turn = || option::of(0u64..6);
    let later = || option::of(0..2 * DMA_DELAY_NS);
    let first = (turn(), later(), option::weighted(0.1, 0u64..50), option::of(0u64..50));
    let second = (any::<u64>(), turn(), any::<bool>(), option::of((0u64..4, any::<u16>())));
    let third = (option::of((0u64..4, value())), later(), turn());
    (first, second, third).prop_map(|(first, second, third)| EduFaults {
        hang_at: first.0,
        hang_duration_ns: first.1,
        all_ones_at: first.2,
        garbage_at: first.3,
        garbage_seed: second.0,
        lost_interrupt_at: second.1,
        spurious_interrupts: second.2,
        corrupt_byte_at: second.3,
        stray_write: third.0,
        late_write_ns: third.1,
        late_write_at: third.2,
    })
}

fn config() -> impl Strategy<Value = EduConfig> {
    let mask = prop_oneof![Just(DEFAULT_DMA_MASK), Just(u64::MAX), any::<u64>()];
    (era(), mask, 0..2 * DMA_DELAY_NS, 0u64..5_000, faults()).prop_map(
        |(era, dma_mask, dma_delay_ns, factorial_delay_ns, faults)| EduConfig {
            era,
            dma_mask,
            dma_delay_ns,
            factorial_delay_ns,
            faults,
        },
    )
}

fn run(rig: &mut Rig, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Read { bar, offset, size } => {
                let value = rig.edu.read(&mut rig.bus, bar, offset, size);
                assert!(size >= 8 || value < 1 << (8 * size), "{size} bytes hold {value:#x}");
            }
            Step::Write { bar, offset, size, value } => {
                rig.edu.write(&mut rig.bus, bar, offset, size, value);
            }
            Step::Advance(nanoseconds) => rig.advance(nanoseconds),
            Step::Timer => rig.edu.on_timer(&mut rig.bus),
            Step::Msi(on) => rig.bus.msi = on,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(config in config(), steps in prop::collection::vec(step(), 0..120)) {
        let mut rig = Rig::new(config);

        run(&mut rig, &steps);

        prop_assert!(rig.bus.accesses.iter().all(|access| access.length <= BUFFER_LENGTH as usize));
    }

    #[test]
    fn without_bus_mastering_memory_never_changes(
        config in config(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut rig = Rig::new(config);
        rig.bus.error = Some(BusError::NotMaster);
        let before = rig.bus.ram.clone();

        run(&mut rig, &steps);

        prop_assert_eq!(&rig.bus.ram, &before);
        prop_assert_eq!(rig.edu.bus_errors(), rig.bus.accesses.len() as u64);
        prop_assert!(rig.edu.memory().iter().all(|&byte| byte <= 1), "zeros, and flipped bits");
    }

    #[test]
    fn only_a_command_makes_it_master_the_bus(
        config in config(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut rig = Rig::new(config);
        let writes_command = |step: &Step| {
            matches!(step, Step::Write { offset: DMA_COMMAND, value, .. } if value & COMMAND_RUN != 0)
        };
        let steps: Vec<_> = steps.into_iter().filter(|step| !writes_command(step)).collect();

        run(&mut rig, &steps);

        prop_assert!(rig.bus.accesses.is_empty());
        prop_assert_eq!(rig.edu.commands(), 0);
    }

    #[test]
    fn accesses_stay_in_the_range_of_the_command(
        era in era(),
        from in any::<bool>(),
        device in 0x3_f000u64..0x4_2000,
        host in any::<u64>(),
        count in prop_oneof![0u64..0x3000, any::<u64>()],
    ) {
        let mut rig = Rig::of_era(era);

        rig.transfer(if from { from_device() } else { to_device() }, device, host, count);

        let start = host & DEFAULT_DMA_MASK;
        prop_assert!(rig.bus.accesses.len() <= 1);
        for access in &rig.bus.accesses {
            prop_assert_eq!(access.write, from);
            prop_assert!(access.address >= start && access.length > 0);
            prop_assert!(access.address - start + access.length as u64 <= count);
            prop_assert!(device + (access.address - start) >= BUFFER_ADDRESS);
        }
    }

    #[test]
    fn data_survives_the_round_trip(
        era in era(),
        offset in 0u64..SAFE_LENGTH,
        length in 1u64..=SAFE_LENGTH,
        from in 0u64..0x1000,
        to in 0x2000u64..0x3000,
    ) {
        let length = length.min(SAFE_LENGTH - offset);
        let device = device_address(offset, length).expect("a safe range");
        let mut rig = Rig::of_era(era);
        let mut expected = rig.bus.ram.clone();
        expected.copy_within(from as usize..(from + length) as usize, to as usize);

        rig.transfer(to_device(), device, RAM + from, length);
        rig.transfer(from_device(), device, RAM + to, length);

        prop_assert_eq!(&rig.bus.ram, &expected);
        prop_assert_eq!(rig.edu.killed().or(rig.edu.overran()).or(rig.edu.skipped()), None);
    }
}
