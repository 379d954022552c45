//! Data over every path, length, alignment and machine.

use std::sync::Arc;

use dmaproof_protocol::{DeviceKind, Direction, InterruptKind, Path, PioKind, TransferHeader};
use nthost::{File, Machine, Profile, Scheduling};
use proptest::prelude::*;
use testdev::model::exerciser::Exerciser;
use zerocopy::IntoBytes;

use super::{PATHS, card, reset, round_trip, slow, with_config, with_exerciser};
use crate::common::{bytes, code, open, shut_down, x64};

const MEMORY: u64 = 16 << 20;

#[test]
fn it_is_described_as_what_it_is() {
    with_exerciser(x64(), |bench| {
        let reply = bench.query();
        assert_eq!(DeviceKind::try_from(reply.device_kind), Ok(DeviceKind::Exerciser));
        assert_eq!((reply.pci_vendor, reply.pci_device), (0x1234, 0xda7a));
        assert_eq!(InterruptKind::try_from(reply.interrupt_kind), Ok(InterruptKind::MsiX));
        assert_eq!(reply.interrupt_count, 5);
        assert_eq!((reply.memory_length, reply.transfer_length_max), (MEMORY, MEMORY));
        for adapter in [reply.adapter_v2, reply.adapter_v3] {
            assert_eq!(adapter.address_width_bits, 64);
            assert_eq!(adapter.scatter_gather, 1);
            assert!(adapter.map_registers <= 256, "a list has no more elements");
        }
        let pio = reply.limits().expect("well-formed").pio;
        assert_eq!((pio.kind, pio.length), (PioKind::Memory, 0x1_0000));
    });
}

#[test]
fn every_path_moves_every_size_class() {
    for profile in [Profile::X64, Profile::X64Dmar] {
        with_exerciser(Machine::builder(profile), |bench| {
            for (number, path) in PATHS.into_iter().enumerate() {
                assert!(bench.query().paths.contains(path), "{path} is available");
                for length in [1, 3, 64, 511, 4095, 4096, 4097, 65_536, 100_003, 1 << 20] {
                    round_trip(bench, path, 0, length, number as u8);
                    round_trip(bench, path, MEMORY - length as u64, length, !(number as u8));
                }
            }
        });
    }
}

#[test]
fn a_transfer_can_have_the_length_of_the_memory() {
    with_exerciser(x64(), |bench| {
        for path in [Path::ScatterGather, Path::Packet, Path::Version3] {
            round_trip(bench, path, 0, MEMORY as usize, 0x5A);
        }
    });
}

#[test]
fn the_window_is_reached_by_programmed_io() {
    with_exerciser(x64(), |bench| {
        round_trip(bench, Path::Pio, 0, 4096, 1);
        round_trip(bench, Path::Pio, 0xFFF0, 16, 2);
        for (offset, length) in [(0x8001, 1), (0x8002, 3), (0x8103, 9), (0x8fff, 4097), (0xFFFF, 1)]
        {
            round_trip(bench, Path::Pio, offset, length, 3);
        }
        let mut back = vec![0; 4096];
        bench.transfer(Path::Packet, Direction::FromDevice, 0, &mut back).expect("moves");
        assert!(back == bytes(1, 4096), "PIO writes what DMA reads");
    });
}

#[test]
fn machines_of_all_kinds_do() {
    let builders = [
        x64().message_interrupts(false),
        x64().double_buffer(true),
        x64().map_registers(Some(1)),
        x64().map_registers(Some(3)),
        x64().adapter_versions(2),
        x64().scheduling(Scheduling::Threads { processors: 2 }),
        Machine::builder(Profile::X64Dmar).map_registers(Some(5)),
    ];
    for builder in builders {
        with_exerciser(builder, |bench| {
            let available = bench.query().paths;
            for path in PATHS.into_iter().filter(|path| available.contains(*path)) {
                round_trip(bench, path, 13, 70_001, 0x31);
            }
        });
    }
}

#[test]
fn a_line_is_shared_by_all_queues() {
    with_exerciser(x64().message_interrupts(false), |bench| {
        let reply = bench.query();
        assert_eq!(InterruptKind::try_from(reply.interrupt_kind), Ok(InterruptKind::Line));
        let pending: Vec<_> = (0..32u8)
            .map(|i| {
                let offset = u64::from(i) * 5000;
                bench.submit(Path::ScatterGather, Direction::ToDevice, offset, bytes(i, 5000))
            })
            .collect();
        for (i, pending) in pending.into_iter().enumerate() {
            assert_eq!(pending.wait().0.status.0, 0);
            assert!(card(bench, i as u64 * 5000, 5000) == bytes(i as u8, 5000));
        }
    });
}

#[test]
fn a_scatter_gather_transfer_is_one_command_for_each_list() {
    with_exerciser(x64(), |bench| {
        round_trip(bench, Path::ScatterGather, 0, 1 << 20, 7);

        // Unaligned, a megabyte touches a page more than a list holds.
        let commands = super::model(bench, |exerciser| exerciser.commands());
        assert!(commands <= 4, "{commands} commands");
    });
}

#[test]
fn requests_are_at_work_together_and_interrupts_stand_for_many() {
    for path in [Path::Packet, Path::ScatterGather, Path::Version3] {
        with_exerciser(x64(), move |bench| {
            for round in 0..20u8 {
                let pending: Vec<_> = (0..32u8)
                    .map(|i| {
                        let data = bytes(i ^ round, 4096);
                        bench.submit(path, Direction::ToDevice, u64::from(i) * 4096, data)
                    })
                    .collect();
                for pending in pending {
                    assert_eq!(pending.wait().0.status.0, 0);
                }
                for i in 0..32u8 {
                    assert!(card(bench, u64::from(i) * 4096, 4096) == bytes(i ^ round, 4096));
                }
            }
            let statistics = bench.statistics();
            assert!(
                statistics.interrupts < 20 * 32 / 2,
                "{path}: {} interrupts for {} requests",
                statistics.interrupts,
                20 * 32
            );
        });
    }
}

#[test]
fn a_slow_device_delays_nobody_else() {
    with_config(x64(), slow(), |bench| {
        let long = bench.submit(Path::ScatterGather, Direction::ToDevice, 0, bytes(1, 1 << 20));
        let short = bench.submit(Path::ScatterGather, Direction::ToDevice, 1 << 21, bytes(2, 64));
        assert_eq!(short.wait().0.status.0, 0);
        assert!(!long.is_done(), "another queue has the short one");
        assert_eq!(long.wait().0.status.0, 0);
        assert!(card(bench, 0, 1 << 20) == bytes(1, 1 << 20));
    });
}

#[test]
fn a_reset_on_request_loses_nothing() {
    with_config(x64(), slow(), |bench| {
        let pending: Vec<_> = (0..16u8)
            .map(|i| {
                let offset = u64::from(i) << 16;
                bench.submit(PATHS[usize::from(i) % 5], Direction::ToDevice, offset, bytes(i, 9000))
            })
            .collect();
        bench.machine.sleep(30_000);

        assert_eq!(reset(bench), Ok(0));

        for (i, pending) in pending.into_iter().enumerate() {
            assert_eq!(pending.wait().0.status.0, 0, "request {i}");
            assert!(card(bench, (i as u64) << 16, 9000) == bytes(i as u8, 9000), "request {i}");
        }
        assert_eq!(bench.statistics().resets, 1);
        for _ in 0..10 {
            assert_eq!(reset(bench), Ok(0));
        }
        round_trip(bench, Path::Packet, 0, 5000, 1);
    });
}

#[test]
fn a_chain_of_mdls_is_one_transfer() {
    with_exerciser(x64(), |bench| {
        for path in PATHS {
            let parts: Vec<_> = [1, 4097, 70_000, 64, 2].map(|n| bytes(n as u8, n)).into();
            let whole = parts.concat();
            let (completion, _) =
                bench.submit_chain(path, Direction::ToDevice, 9, parts.clone()).wait();
            assert_eq!((completion.status.0, completion.information), (0, whole.len()), "{path}");
            assert!(card(bench, 9, whole.len()) == whole, "{path}");
        }
    });
}

#[test]
fn threads_keep_their_data_apart() {
    let machine = x64().scheduling(Scheduling::Threads { processors: 4 }).build();
    let handle = machine.clone();
    let bench = machine.run(|m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
        m.plug(Box::new(Exerciser::default())).expect("starts");
        Arc::new(open(m))
    });
    let file = bench.unwrap_or_else(|stopped| panic!("{stopped}"));
    let running: Vec<_> = (0..4u8)
        .map(|thread| {
            let file = Arc::clone(&file);
            handle.spawn(move |_| (0..40u8).for_each(|round| there_and_back(&file, thread, round)))
        })
        .collect();
    for running in running {
        running.join().unwrap_or_else(|stopped| panic!("{stopped}"));
    }
    drop(file);
    shut_down(&handle).unwrap_or_else(|stopped| panic!("{stopped}"));
}

/// A thread's transfer to its own part of the card, and back.
fn there_and_back(file: &File, thread: u8, round: u8) {
    let path = PATHS[usize::from(round) % PATHS.len()];
    let length = 1 + usize::from(round) * 777;
    let source = bytes(thread ^ round, length);
    for direction in Direction::ALL {
        let header = TransferHeader::new(path, u64::from(thread) << 20, length as u64);
        let mut data = match direction {
            Direction::ToDevice => source.clone(),
            Direction::FromDevice => vec![0; length],
        };
        let done = file.device_io_control(code(*direction), header.as_bytes(), &mut data);
        assert_eq!(done, Ok(length), "{path} {direction}");
        assert!(data == source, "{path} {direction} {length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_length_anywhere(
        path in prop::sample::select(PATHS.to_vec()),
        length in 1usize..300_000,
        offset in 0u64..1 << 23,
        registers in prop::option::of(1u32..400),
        seed in any::<u8>(),
        double in any::<bool>(),
    ) {
        with_exerciser(x64().map_registers(registers).double_buffer(double), move |bench| {
            round_trip(bench, path, offset, length, seed);
        });
    }
}
