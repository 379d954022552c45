//! Whatever software writes to registers, rings and lists, the model neither panics nor leaves
//! what it was given.

use proptest::prelude::*;

use super::*;

/// One thing that software or time can do.
#[derive(Clone, Debug)]
enum Step {
    Read { bar: u8, offset: u64, size: u8 },
    Write { bar: u8, offset: u64, size: u8, value: u64 },
    Push(usize, Command),
    Ring(usize),
    Drain(usize),
    Ram { at: usize, bytes: Vec<u8> },
    Advance(u64),
    Timer,
    Msi(bool),
    Error(bool),
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..0x16).prop_map(|n| n * 4),
        6 => (0u64..0x40).prop_map(|n| 0x100 + n * 4),
        2 => (0u64..0x20).prop_map(|n| 0x200 + n * 4),
        1 => any::<u64>(),
    ]
}

/// Ring indices, bits, addresses in memory and anything.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..20,
        2 => (0u64..0x100).prop_map(|n| RAM + n * 0x1000),
        1 => (0u32..32).prop_map(|n| 1 << n),
        1 => any::<u64>(),
    ]
}

fn size() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(vec![4u8, 8]),
        1 => prop::sample::select(vec![1u8, 2]),
        1 => any::<u8>(),
    ]
}

fn element() -> impl Strategy<Value = Element> {
    let address = prop_oneof![
        6 => RAM..RAM + RAM_LENGTH as u64,
        1 => Just(LISTS),
        1 => any::<u64>(),
    ];
    let length = prop_oneof![6 => 1u32..5_000, 1 => 0u32..64, 1 => any::<u32>()];
    (address, length, prop_oneof![9 => Just(0), 1 => any::<u32>()])
        .prop_map(|(address, length, reserved)| Element { address, length, reserved })
}

fn command() -> impl Strategy<Value = Command> {
    let head = (prop_oneof![9 => 1u8..7, 1 => any::<u8>()], 0u8..5, 0u16..4, 0u32..4);
    let offset = prop_oneof![4 => 0..MEMORY_LENGTH, 1 => any::<u64>()];
    let rest = (offset, any::<u64>(), 0u16..3, element(), element(), any::<bool>());
    (head, rest).prop_map(|((opcode, flags, count, tag), rest)| {
        let (card_offset, seed, target_count, first, second, fits) = rest;
        let both = if count == 2 { second.length } else { 0 };
        let length = if fits { first.length.wrapping_add(both) } else { second.length };
        Command {
            opcode,
            flags,
            count,
            tag,
            card_offset,
            seed,
            length,
            target_count,
            reserved: 0,
            elements: [first, second],
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let bar = || prop_oneof![9 => Just(BAR), 2 => Just(WINDOW_BAR), 1 => any::<u8>()];
    prop_oneof![
        2 => (bar(), offset(), size())
            .prop_map(|(bar, offset, size)| Step::Read { bar, offset, size }),
        4 => (bar(), offset(), size(), value())
            .prop_map(|(bar, offset, size, value)| Step::Write { bar, offset, size, value }),
        6 => (0usize..2, command()).prop_map(|(queue, command)| Step::Push(queue, command)),
        4 => (0usize..2).prop_map(Step::Ring),
        2 => (0usize..2).prop_map(Step::Drain),
        1 => (0usize..RAM_LENGTH - 64, prop::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(at, bytes)| Step::Ram { at, bytes }),
        4 => prop_oneof![0u64..5_000, 0u64..1_000_000, any::<u64>()].prop_map(Step::Advance),
        1 => Just(Step::Timer),
        1 => any::<bool>().prop_map(Step::Msi),
        1 => prop::bool::weighted(0.2).prop_map(Step::Error),
    ]
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let argument = prop_oneof![0u64..5_000, any::<u64>()];
    let kind = prop::sample::select(FaultKind::ALL.to_vec());
    prop::option::of((kind, argument, 0u32..4, 0u32..4).prop_map(
        |(kind, argument, skip, count)| Fault::new(kind, argument).after(skip).times(count),
    ))
}

fn config() -> impl Strategy<Value = ExerciserConfig> {
    let time = || prop_oneof![2 => Just(0u32), 2 => 0u32..10_000, 1 => any::<u32>()];
    let faults = (fault(), fault(), fault(), fault());
    (time(), time(), time(), faults).prop_map(|(fetch, command, chunk, faults)| ExerciserConfig {
        time_fetch_ns: fetch,
        time_command_ns: command,
        time_chunk_ns: chunk,
        faults: [faults.0, faults.1, faults.2, faults.3],
    })
}

fn run(rig: &mut Rig, steps: &[Step], error: BusError) {
    for step in steps {
        match step.clone() {
            Step::Read { bar, offset, size } => {
                let value = rig.device.read(&mut rig.bus, bar, offset, size);
                assert!(size >= 8 || value < 1 << (8 * size), "{size} bytes hold {value:#x}");
            }
            Step::Write { bar, offset, size, value } => {
                rig.device.write(&mut rig.bus, bar, offset, size, value);
            }
            Step::Push(queue, command) => rig.push(queue, command),
            Step::Ring(queue) => rig.ring(queue),
            Step::Drain(queue) => drop(rig.drain(queue)),
            Step::Ram { at, bytes } => rig.bus.ram[at..at + bytes.len()].copy_from_slice(&bytes),
            Step::Advance(nanoseconds) => advance(rig, nanoseconds),
            Step::Timer => rig.device.on_timer(&mut rig.bus),
            Step::Msi(on) => rig.bus.msi = on,
            Step::Error(on) => rig.bus.error = on.then_some(error),
        }
    }
}

/// Lets time pass, but only to a bounded number of deadlines: a chunk may take a nanosecond.
fn advance(rig: &mut Rig, nanoseconds: u64) {
    for _ in 0..200 {
        let end = rig.bus.now.saturating_add(nanoseconds);
        let Some(at) = rig.bus.timer.filter(|&at| at <= end) else { break };
        rig.advance(at.saturating_sub(rig.bus.now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(config in config(), steps in prop::collection::vec(step(), 0..80)) {
        let mut rig = Rig::new(config);

        run(&mut rig, &steps, BusError::Miss);

        prop_assert!(rig.device.resident() <= MEMORY_LENGTH as usize);
    }

    #[test]
    fn without_bus_mastering_memory_never_changes(
        config in config(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut rig = Rig::new(config);
        rig.bus.error = Some(BusError::NotMaster);
        let quiet = |step: &Step| {
            !matches!(step, Step::Error(_) | Step::Push(..) | Step::Ram { .. })
        };
        let steps: Vec<_> = steps.into_iter().filter(quiet).collect();
        let before = rig.bus.ram.clone();

        run(&mut rig, &steps, BusError::NotMaster);

        prop_assert!(rig.bus.ram == before);
    }

    /// Every access lies in a ring, in a list that an entry names or in a range that it lists.
    #[test]
    fn accesses_stay_in_what_the_command_grants(command in command()) {
        let mut rig = Rig::healthy();
        rig.bus.accesses.clear();

        rig.submit(0, command);
        rig.advance(1_000_000);

        let rings = submissions(0)..submissions(0) + RINGS_LENGTH;
        let elements: Vec<Element> = if command.flags & FLAG_INDIRECT == 0 {
            command.elements.to_vec()
        } else {
            // Lists that land in memory hold its first contents, which name no valid range but by
            // chance; what they name is read back here.
            let mut all = command.elements.to_vec();
            let named = command.elements.iter().flat_map(|place| {
                let start = place.address.wrapping_sub(RAM) as usize;
                let bytes = start.checked_add(place.length as usize).and_then(|end| rig.bus.ram.get(start..end));
                bytes.unwrap_or(&[]).chunks_exact(16).map(|b| Element::read_from_bytes(b).expect("16")).collect::<Vec<_>>()
            });
            all.extend(named.collect::<Vec<_>>());
            all
        };
        for access in &rig.bus.accesses {
            let end = access.address + access.length as u64;
            let inside = |start: u64, length: u64| access.address >= start && end - start <= length;
            let in_rings = rings.contains(&access.address) && end <= rings.end;
            let listed = elements.iter().any(|e| inside(e.address, e.length.into()));
            prop_assert!(in_rings || listed, "{access:?} of {command:?}");
        }
        prop_assert_eq!(rig.drain(0).len(), usize::from(rig.device.commands() == 1));
    }

    #[test]
    fn every_command_completes_once_whatever_the_times_and_aborts(
        times in (0u32..3_000, 0u32..3_000, 0u32..300),
        orders in prop::collection::vec((0usize..QUEUES, 0u64..3_000, any::<bool>()), 1..40),
    ) {
        let mut rig = Rig::new(ExerciserConfig {
            time_fetch_ns: times.0,
            time_command_ns: times.1,
            time_chunk_ns: times.2,
            ..ExerciserConfig::default()
        });
        let mut expected = vec![];
        let mut found = vec![];
        for (tag, &(queue, pause, abort)) in (0u32..).zip(&orders) {
            let command = Command { tag, ..on_card(Opcode::Fill, 1, 0, 10_000) };
            rig.submit(queue, command);
            expected.push(tag);
            rig.advance(pause);
            if abort {
                rig.write(of_queue(queue, ABORT), tag / 2);
            }
            if tag % 4 == 3 {
                rig.advance(1_000_000);
                for queue in 0..QUEUES {
                    found.extend(rig.drain(queue).iter().map(|completion| completion.tag));
                }
            }
        }
        rig.advance(10_000_000);
        for queue in 0..QUEUES {
            found.extend(rig.drain(queue).iter().map(|completion| completion.tag));
        }
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}
