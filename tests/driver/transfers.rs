//! Data over every path, length and alignment.

use dmaproof_protocol::{Direction, Ioctl, Path, PioKind};
use nthost::{Machine, Profile, Scheduling};
use proptest::prelude::*;

use crate::common::{PATHS, WINDOW, bytes, with_driver, x64};

#[test]
fn every_path_moves_every_size_class() {
    for profile in Profile::ALL {
        with_driver(Machine::builder(profile), |bench| {
            let reply = bench.query();
            for (number, path) in PATHS.into_iter().enumerate() {
                assert!(reply.paths.contains(path), "{path} is available");
                for length in [1, 2, 3, 63, 64, 65, 511, 512, 4000, WINDOW] {
                    bench.round_trip(path, 0, length, number as u8);
                    bench.round_trip(path, (WINDOW - length) as u64, length, !(number as u8));
                }
            }
        });
    }
}

#[test]
fn what_one_path_writes_every_other_path_reads() {
    with_driver(x64(), |bench| {
        for to in PATHS {
            let source = bytes(to.code() as u8, 3001);
            let mut sent = source.clone();
            bench.transfer(to, Direction::ToDevice, 7, &mut sent).expect("moves");
            assert_eq!(bench.device_memory()[7..3008], source[..]);
            for from in PATHS {
                let mut back = vec![0; 3001];
                bench.transfer(from, Direction::FromDevice, 7, &mut back).expect("moves");
                assert!(back == source, "{to} to the device, {from} back");
            }
        }
    });
}

#[test]
fn line_based_interrupts_do_as_well() {
    with_driver(x64().message_interrupts(false), |bench| {
        assert_eq!(bench.query().interrupt_kind, 1, "line-based");
        for path in PATHS {
            bench.round_trip(path, 3, 2000, 9);
        }
        let statistics = bench.statistics();
        assert!(statistics.interrupts > 0 && statistics.dpcs > 0);
    });
}

#[test]
fn double_buffering_everything_changes_nothing() {
    with_driver(x64().double_buffer(true), |bench| {
        for path in PATHS {
            bench.round_trip(path, 0, WINDOW, 0x31);
        }
    });
}

#[test]
fn threads_scheduler_moves_data_too() {
    with_driver(x64().scheduling(Scheduling::Threads { processors: 2 }), |bench| {
        for path in PATHS {
            bench.round_trip(path, 1, 3333, 0x13);
        }
    });
}

#[test]
fn read_file_and_write_file_use_the_file_offset() {
    with_driver(x64(), |bench| {
        let source = bytes(5, 777);
        assert_eq!(bench.file.write_at(11, &source), Ok(777));
        assert_eq!(bench.device_memory()[11..788], source[..]);
        let mut back = vec![0; 777];
        assert_eq!(bench.file.read_at(11, &mut back), Ok(777));
        assert_eq!(back, source);
    });
}

#[test]
fn a_chain_of_mdls_is_one_transfer() {
    for registers in [None, Some(2)] {
        with_driver(x64().map_registers(registers), |bench| {
            for path in PATHS {
                let parts: Vec<_> = [1, 63, 700, 64, 2].map(|n| bytes(n as u8, n)).into();
                let whole = parts.concat();
                let sent = bench.submit_chain(path, Direction::ToDevice, 9, parts.clone());
                let (completion, _) = sent.wait();
                assert_eq!(
                    (completion.status.0, completion.information),
                    (0, whole.len()),
                    "{path}"
                );
                assert_eq!(bench.device_memory()[9..9 + whole.len()], whole[..], "{path}");
                let empty = parts.iter().map(|part| vec![0xEE; part.len()]).collect();
                let back = bench.submit_chain(path, Direction::FromDevice, 9, empty);
                let (completion, request) = back.wait();
                assert_eq!(
                    (completion.status.0, completion.information),
                    (0, whole.len()),
                    "{path}"
                );
                let got: Vec<u8> =
                    request.segments().iter().flat_map(|segment| segment.to_vec()).collect();
                assert!(got == whole, "{path} back");
            }
        });
    }
}

#[test]
fn registers_are_read_and_written_by_programmed_io() {
    with_driver(x64(), |bench| {
        let reply = bench.query();
        let window = reply.limits().expect("the limits are well-formed").pio;
        assert_eq!(window.kind, PioKind::Registers);
        let mut value = 0x1234_5678u32.to_ne_bytes();
        let at = window.writable_offset;
        bench.transfer(Path::Pio, Direction::ToDevice, at, &mut value).expect("writes");
        let mut back = [0; 4];
        bench.transfer(Path::Pio, Direction::FromDevice, at, &mut back).expect("reads");
        assert_eq!(u32::from_ne_bytes(back), !0x1234_5678, "LIVENESS inverts");
        let mut id = [0; 4];
        bench.transfer(Path::Pio, Direction::FromDevice, 0, &mut id).expect("reads");
        assert_eq!(u32::from_ne_bytes(id), 0x0100_00ED);
    });
}

#[test]
fn statistics_count_what_was_moved() {
    with_driver(x64(), |bench| {
        let before = bench.statistics();
        for path in PATHS {
            bench.round_trip(path, 0, 100, 1);
        }
        let after = bench.statistics();
        for path in PATHS {
            for direction in Direction::ALL {
                let (old, new) = (before.count(path, *direction), after.count(path, *direction));
                assert_eq!((new.transfers - old.transfers, new.bytes - old.bytes), (1, 100));
            }
        }
        assert_eq!(after.pieces_mapped, after.pieces_flushed);
        assert_eq!(after.errors, 0);
    });
}

#[test]
fn many_requests_in_flight_all_arrive() {
    with_driver(x64(), |bench| {
        let pending: Vec<_> = (0u8..40)
            .map(|i| {
                let path = PATHS[usize::from(i) % PATHS.len()];
                let offset = u64::from(i) * 100;
                (i, bench.submit(path, Direction::ToDevice, offset, bytes(i, 100)))
            })
            .collect();
        for (i, pending) in pending {
            let (completion, _) = pending.wait();
            assert_eq!((completion.status.0, completion.information), (0, 100), "request {i}");
        }
        let memory = bench.device_memory();
        for i in 0..40usize {
            assert_eq!(memory[i * 100..][..100], bytes(i as u8, 100), "request {i}");
        }
    });
}

#[test]
fn a_failed_flush_becomes_the_requests_status() {
    for path in [Path::Packet, Path::Version3] {
        with_driver(x64().fail_flush(1), move |bench| {
            let mut data = vec![0; 64];
            let done = bench.transfer(path, Direction::FromDevice, 0, &mut data);
            let status = done.expect_err("the flush failed");
            assert_eq!(status.0, dmaproof_protocol::status::DEVICE_DATA_ERROR, "{path}");
            assert_eq!(bench.statistics().flush_failures, 1);
            bench.works();
        });
    }
}

#[test]
fn reset_is_not_supported_on_edu() {
    with_driver(x64(), |bench| {
        let request = dmaproof_protocol::VersionRequest::new();
        let done = bench.file.device_io_control(
            Ioctl::Reset.code(),
            zerocopy::IntoBytes::as_bytes(&request),
            &mut [],
        );
        assert_eq!(done.map_err(|s| s.0), Err(dmaproof_protocol::status::NOT_SUPPORTED));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any offset, length, buffer alignment, path and number of map registers.
    #[test]
    fn any_piece_of_the_device_round_trips(
        offset in 0..WINDOW,
        length in 1..=WINDOW,
        shift in 0usize..4096,
        path in 0..PATHS.len(),
        registers in prop_oneof![Just(None), (1u32..4).prop_map(Some)],
        seed in any::<u64>(),
    ) {
        let length = length.min(WINDOW - offset);
        with_driver(x64().map_registers(registers).seed(seed), move |bench| {
            let mut area = vec![0u8; shift + length + 64];
            let source = bytes(seed as u8, length);
            area[shift..shift + length].copy_from_slice(&source);
            let (path, at) = (PATHS[path], offset as u64);
            let data = &mut area[shift..shift + length];
            assert_eq!(bench.transfer(path, Direction::ToDevice, at, data), Ok(length));
            data.fill(0xA7);
            assert_eq!(bench.transfer(path, Direction::FromDevice, at, data), Ok(length));
            assert!(*data == source[..], "data differ");
            assert!(area[..shift].iter().all(|&b| b == 0), "bytes before the buffer changed");
            assert!(area[shift + length..].iter().all(|&b| b == 0), "bytes behind it changed");
        });
    }
}
