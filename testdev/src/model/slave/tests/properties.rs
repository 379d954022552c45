//! Whatever software does to the registers, the model neither panics nor leaves its range.

use proptest::option;
use proptest::prelude::*;

use super::*;

/// One thing that software or time can do.
#[derive(Clone, Debug)]
enum Step {
    Read { bar: u8, offset: u64, size: u8 },
    Write { bar: u8, offset: u64, size: u8, value: u64 },
    Start { offset: u32, count: u32, command: u32 },
    Advance(u64),
    Timer,
}

fn step() -> impl Strategy<Value = Step> {
    let bar = || prop_oneof![9 => Just(BAR), 1 => any::<u8>()];
    let offset = || prop_oneof![8 => (0u64..10).prop_map(|n| n * 4), 1 => any::<u64>()];
    let size = || prop_oneof![6 => Just(4u8), 3 => Just(1u8), 1 => any::<u8>()];
    let value = prop_oneof![0u64..16, 0u64..0x5000, any::<u64>()];
    let range = || prop_oneof![9 => 0u32..0x200, 1 => any::<u32>()];
    prop_oneof![
        3 => (bar(), offset(), size())
            .prop_map(|(bar, offset, size)| Step::Read { bar, offset, size }),
        6 => (bar(), offset(), size(), value)
            .prop_map(|(bar, offset, size, value)| Step::Write { bar, offset, size, value }),
        2 => (range(), range(), any::<u32>())
            .prop_map(|(offset, count, command)| Step::Start { offset, count, command }),
        3 => prop_oneof![0u64..5_000, 0..2 * RETRY_NS].prop_map(Step::Advance),
        1 => Just(Step::Timer),
    ]
}

fn faults() -> impl Strategy<Value = SlaveFaults> {
    let command = || option::of(1u64..4);
    (option::of((1u64..4, 0u32..300)), command(), command()).prop_map(
        |(short_at, hang_at, lost_interrupt_at)| SlaveFaults {
            short_at,
            hang_at,
            lost_interrupt_at,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_no_command_passes_more_than_its_bytes(
        faults in faults(),
        channel in 0usize..600,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut rig = Rig::new(faults, channel);
        for step in steps {
            match step {
                Step::Read { bar, offset, size } => {
                    rig.slave.read(&mut rig.bus, bar, offset, size);
                }
                Step::Write { bar, offset, size, value } => {
                    rig.slave.write(&mut rig.bus, bar, offset, size, value);
                }
                Step::Start { offset, count, command } => rig.start(offset, count, command),
                Step::Advance(nanoseconds) => rig.advance(nanoseconds),
                Step::Timer => rig.slave.on_timer(&mut rig.bus),
            }
            let passed = u64::from(rig.read(PASSED));
            prop_assert!(passed <= MEMORY_LENGTH);
            if rig.read(STATUS) == STATUS_BUSY {
                prop_assert!(passed <= rig.read(COUNT).into());
            }
        }
    }

    /// The channel takes the bytes of the command in their order, however many it has room for.
    #[test]
    fn bytes_pass_in_order(
        offset in 0usize..300,
        count in 1usize..600,
        channel in 0usize..600,
        burst in 0usize..300,
    ) {
        let mut rig = Rig::new(SlaveFaults::default(), channel);
        rig.slave.config.burst = burst;
        rig.start(offset as u32, count as u32, COMMAND_FROM_DEVICE);
        rig.advance(1_000_000);
        let passed = rig.read(PASSED) as usize;
        prop_assert_eq!(passed, count.min(channel));
        prop_assert_eq!(&rig.bus.memory[..passed], &rig.slave.memory()[offset..offset + passed]);
        prop_assert!(rig.bus.memory[passed..].iter().all(|&byte| byte == 0xEE));
    }
}
