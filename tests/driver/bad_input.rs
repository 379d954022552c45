//! Bad input: a specific status, nothing moved, nothing leaked, driver still usable.

use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader, VersionRequest, status};
use nthost::{Access, Caller};
use zerocopy::IntoBytes;

use crate::common::{Bench, code, interface, with_driver, x64};

/// Sends a header with a data buffer; expects a refusal and untouched data on both sides.
fn refused(bench: &Bench, direction: Direction, header: &[u8], length: usize, expected: i32) {
    let memory = bench.device_memory();
    let mut data = vec![0x42; length];
    let done = bench.file.device_io_control(code(direction), header, &mut data);
    assert_eq!(done.map_err(|s| s.0), Err(expected), "header {header:02x?}");
    assert!(data.iter().all(|&b| b == 0x42), "a refused request moved data");
    assert!(bench.device_memory() == memory, "a refused request changed the device");
}

fn header(path: Path, offset: u64, length: u64) -> TransferHeader {
    TransferHeader::new(path, offset, length)
}

#[test]
fn every_refusal_has_its_status_and_changes_nothing() {
    with_driver(x64(), |bench| {
        for direction in Direction::ALL {
            let good = header(Path::Packet, 0, 64);
            let with = |change: fn(&mut TransferHeader)| {
                let mut header = good;
                change(&mut header);
                header
            };
            let cases: [(TransferHeader, usize, i32); 11] = [
                (with(|h| h.version += 1), 64, status::REVISION_MISMATCH),
                (with(|h| h.path = 0), 64, status::INVALID_PARAMETER_2),
                (with(|h| h.path = 99), 64, status::INVALID_PARAMETER_2),
                (with(|h| h.flags = 1), 64, status::INVALID_PARAMETER_5),
                (with(|h| h.reserved = 1), 64, status::INVALID_PARAMETER),
                (with(|h| h.length = 0), 0, status::INVALID_PARAMETER_4),
                (with(|h| h.length = 65), 64, status::INVALID_BUFFER_SIZE),
                (with(|h| h.length = 63), 64, status::INVALID_BUFFER_SIZE),
                (with(|h| h.offset = 4032), 64, status::NONEXISTENT_SECTOR),
                (with(|h| h.offset = u64::MAX - 10), 64, status::NONEXISTENT_SECTOR),
                (with(|h| h.path = 7), 64, status::DEVICE_FEATURE_NOT_SUPPORTED),
            ];
            for (header, length, expected) in cases {
                refused(bench, *direction, header.as_bytes(), length, expected);
            }
            refused(bench, *direction, &good.as_bytes()[..31], 64, status::BUFFER_TOO_SMALL);
            refused(bench, *direction, &[], 64, status::BUFFER_TOO_SMALL);
            let mut long = good.as_bytes().to_vec();
            long.push(0);
            refused(bench, *direction, &long, 64, status::INFO_LENGTH_MISMATCH);
        }
        assert_eq!(bench.statistics().refused, 2 * 14);
        bench.works();
    });
}

#[test]
fn unknown_codes_are_refused() {
    with_driver(x64(), |bench| {
        for code in [0, 0xDA7A_7FFC, 0xDA7A_6004, !3] {
            let done = bench.file.device_io_control(code, &[0; 40], &mut [0; 40]);
            assert_eq!(done.map_err(|s| s.0), Err(status::INVALID_DEVICE_REQUEST), "{code:#x}");
        }
        bench.works();
    });
}

#[test]
fn query_refuses_another_version_and_short_buffers() {
    with_driver(x64(), |bench| {
        let mut request = VersionRequest::new();
        let mut reply = [0; 400];
        let short = bench.file.device_io_control(
            Ioctl::Query.code(),
            request.as_bytes(),
            &mut reply[..151],
        );
        assert_eq!(short.map_err(|s| s.0), Err(status::BUFFER_TOO_SMALL));
        request.version = 9;
        let done =
            bench.file.device_io_control(Ioctl::Query.code(), request.as_bytes(), &mut reply);
        assert_eq!(done.map_err(|s| s.0), Err(status::REVISION_MISMATCH));
        assert!(reply.iter().all(|&b| b == 0), "a refused query returns nothing");
        bench.works();
    });
}

#[test]
fn a_handle_without_the_right_access_is_refused() {
    with_driver(x64(), |bench| {
        let path = interface(bench.machine).expect("has an interface");
        let reader = bench.machine.open(&path, Access::READ).expect("opens for reading");
        let writer = bench.machine.open(&path, Access::WRITE).expect("opens for writing");
        let nothing = bench.machine.open(&path, Access::NONE).expect("opens without access");
        let header = header(Path::Packet, 0, 16);
        let mut data = [1; 16];
        let (to, from) = (Ioctl::ToDevice.code(), Ioctl::FromDevice.code());
        let denied = Err(status::ACCESS_DENIED);
        for (file, code) in [(&reader, to), (&writer, from), (&nothing, to), (&nothing, from)] {
            let done = file.device_io_control(code, header.as_bytes(), &mut data);
            assert_eq!(done.map_err(|s| s.0), denied);
        }
        assert_eq!(reader.device_io_control(from, header.as_bytes(), &mut data), Ok(16));
        assert_eq!(writer.device_io_control(to, header.as_bytes(), &mut data), Ok(16));
        assert_eq!(reader.write_at(0, &data).map_err(|s| s.0), denied);
        assert_eq!(writer.read_at(0, &mut data).map_err(|s| s.0), denied);
    });
}

#[test]
fn only_administrators_open_the_device() {
    with_driver(x64(), |bench| {
        let path = interface(bench.machine).expect("has an interface");
        let opened = bench.machine.open_as(&path, Access::READ, Caller::User);
        assert_eq!(opened.err().map(|s| s.0), Some(status::ACCESS_DENIED));
    });
}

#[test]
fn reads_and_writes_outside_the_device_are_refused() {
    with_driver(x64(), |bench| {
        let mut data = [3; 64];
        for offset in [4032, 4095, 1 << 40, i64::MAX as u64] {
            assert!(bench.file.read_at(offset, &mut data).is_err(), "read at {offset}");
            assert!(bench.file.write_at(offset, &data).is_err(), "write at {offset}");
        }
        assert_eq!(bench.file.read_at(0, &mut []), Ok(0), "zero-length reads succeed (KMDF-36)");
        assert_eq!(bench.file.write_at(0, &[]), Ok(0));
        assert_eq!(data, [3; 64]);
        bench.works();
    });
}

/// A second owner of the same bytes, as user mode can hand one buffer to several requests.
///
/// The result must be forgotten, never dropped.
fn alias(memory: &mut [u8]) -> Vec<u8> {
    let length = memory.len();
    // SAFETY: bytes of a leaked allocation, which nobody frees; the test touches them only when
    // no request has them (DMA-94), and forgets the vector.
    unsafe { Vec::from_raw_parts(memory.as_mut_ptr(), length, length) }
}

/// DMA-51: a page mapped twice would stop the machine. User mode must not be able to cause that.
#[test]
fn overlapping_buffers_in_flight_are_served_one_after_the_other() {
    with_driver(x64(), |bench| {
        for path in crate::common::PATHS {
            for (first, second) in [(0..2000, 0..2000), (0..2000, 1000..3000), (500..600, 0..4000)]
            {
                for direction in Direction::ALL {
                    let memory = vec![0x3C; 4000].leak();
                    let pending = [first.clone(), second.clone()]
                        .map(|range| bench.submit(path, *direction, 0, alias(&mut memory[range])));
                    for pending in pending {
                        let (completion, request) = pending.wait();
                        assert_eq!(completion.status.0, 0, "{path} {direction}");
                        request.into_buffers().into_iter().for_each(std::mem::forget);
                    }
                }
            }
        }
        bench.works();
    });
}

#[test]
fn requests_for_the_same_part_of_the_device_are_served_in_order() {
    with_driver(x64(), |bench| {
        for path in crate::common::PATHS {
            let first = bench.submit(path, Direction::ToDevice, 0, vec![1; 2048]);
            let second = bench.submit(path, Direction::ToDevice, 0, vec![2; 2048]);
            assert_eq!(first.wait().0.status.0, 0);
            assert_eq!(second.wait().0.status.0, 0);
            assert!(bench.device_memory()[..2048].iter().all(|&b| b == 2), "{path}: in order");
        }
    });
}
