//! Speed as ratios within one run: requests beside memcpy, patterns beside memset and memcmp.
//!
//! `cargo bench` prints the figures and judges none: a timed test would fail on a busy machine.

use std::hint::black_box;
use std::time::Duration;

use dmaproof::pattern::{Codec, Family, Tag};
use dmaproof_benches::{median, with_device};
use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader, VersionRequest};
use nthost::Profile;
use zerocopy::IntoBytes;

/// Bytes of one request: what edu's buffer takes on every QEMU.
const LENGTH: usize = 4095;

fn main() {
    println!("median of {} rounds each, within this run", dmaproof_benches::ROUNDS);
    null_request();
    for profile in Profile::COHERENT {
        transfers(profile);
    }
    patterns();
}

fn null_request() {
    let time = with_device(Profile::X64, |file| {
        let request = VersionRequest::new();
        let mut reply = [0; 512];
        median(200_000, || {
            let code = Ioctl::Query.code();
            black_box(file.device_io_control(code, request.as_bytes(), &mut reply).expect("query"));
        })
    });
    println!("\nnull IOCTL round trip: {time:?} (goal: under 1 microsecond)");
}

fn transfers(profile: Profile) {
    println!(
        "\n{} requests of {LENGTH} bytes on edu without delay, baseline memcpy",
        profile.name()
    );
    println!(
        "{:<16} {:<12} {:>12} {:>12} {:>8}",
        "path", "direction", "request", "memcpy", "ratio"
    );
    for path in [Path::Packet, Path::ScatterGather, Path::CommonBufferCached] {
        for direction in Direction::ALL {
            let direction = *direction;
            let (request, copy) = with_device(profile, move |file| {
                (time_requests(file, path, direction), time_memcpy())
            });
            let ratio = copy.as_secs_f64() / request.as_secs_f64();
            println!(
                "{:<16} {:<12} {:>12} {:>12} {ratio:>8.3}",
                path.option(),
                direction.title(),
                format!("{request:?}"),
                format!("{copy:?}"),
            );
        }
    }
}

fn time_requests(file: &nthost::File, path: Path, direction: Direction) -> Duration {
    let header = TransferHeader::new(path, 0, LENGTH as u64);
    let code = match direction {
        Direction::ToDevice => Ioctl::ToDevice.code(),
        Direction::FromDevice => Ioctl::FromDevice.code(),
    };
    let mut data = vec![0x5A; LENGTH];
    median(20_000, || {
        let done = file.device_io_control(code, header.as_bytes(), &mut data);
        assert_eq!(black_box(done), Ok(LENGTH));
    })
}

fn time_memcpy() -> Duration {
    let (source, mut target) = (vec![1u8; LENGTH], vec![0u8; LENGTH]);
    median(200_000, || {
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
    })
}

fn patterns() {
    println!("\npattern fill beside memset, generate-and-check beside memcmp");
    println!(
        "{:>8} {:>12} {:>12} {:>7} {:>12} {:>12} {:>7}",
        "MiB", "fill", "memset", "ratio", "check", "memcmp", "ratio"
    );
    for mib in [1usize, 16, 64] {
        let length = mib << 20;
        let (mut data, other) = (vec![0u8; length], vec![0u8; length]);
        let calls = u32::try_from((64 / mib).max(1)).expect("small");
        let set = median(calls, || {
            data.fill(black_box(0));
            black_box(&mut data);
        });
        let compare = median(calls, || {
            black_box(black_box(&data) == black_box(&other));
        });
        let codec = Codec::new(1);
        let tag = Tag { transfer: 1, family: Family::Plain };
        let fill = median(calls, || codec.fill(tag, 0, black_box(&mut data)));
        let check = median(calls, || {
            assert_eq!(black_box(codec.first_mismatch(tag, 0, black_box(&data))), None);
        });
        println!(
            "{mib:>8} {:>12} {:>12} {:>7.3} {:>12} {:>12} {:>7.3}",
            format!("{fill:?}"),
            format!("{set:?}"),
            set.as_secs_f64() / fill.as_secs_f64(),
            format!("{check:?}"),
            format!("{compare:?}"),
            compare.as_secs_f64() / check.as_secs_f64(),
        );
    }
}
