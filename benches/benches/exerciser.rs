//! Many requests at a time on the exerciser: requests a second, and the share of memcpy's speed.
//!
//! `cargo bench --bench exerciser` prints the figures beside their goals and judges none.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use dmaproof_benches::{ROUNDS, median, with_model};
use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader};
use nthost::{Builder, File, Machine, Operation, Pending, Profile, Request, Scheduling};
use testdev::model::exerciser::Exerciser;
use zerocopy::IntoBytes;

const MIB: usize = 1 << 20;

fn main() {
    println!("median of {ROUNDS} rounds each, within this run; one processor");
    small();
    large();
    lengths();
}

fn machine() -> Builder {
    Machine::builder(Profile::X64).scheduling(Scheduling::Threads { processors: 1 })
}

/// Time of one request of `length` bytes with `depth` of them under way.
fn time(
    builder: Builder,
    path: Path,
    direction: Direction,
    length: usize,
    depth: usize,
    calls: u32,
) -> Duration {
    with_model(builder, Box::new(Exerciser::default()), move |file| {
        let mut pipe = Pipe::new(file, path, direction, length, depth);
        median(calls, || pipe.turn())
    })
}

/// Requests under way, the oldest first, each with a buffer of its own.
struct Pipe<'a> {
    file: &'a File,
    operation: Operation,
    pending: VecDeque<Pending>,
    length: usize,
}

impl<'a> Pipe<'a> {
    fn new(file: &'a File, path: Path, direction: Direction, length: usize, depth: usize) -> Self {
        let header = TransferHeader::new(path, 0, length as u64);
        let code = match direction {
            Direction::ToDevice => Ioctl::ToDevice.code(),
            Direction::FromDevice => Ioctl::FromDevice.code(),
        };
        let operation = Operation::Ioctl { code, input: header.as_bytes().to_vec() };
        let submit =
            || file.submit(Request::ioctl(code, header.as_bytes().to_vec(), vec![0x5A; length]));
        Self { file, operation, pending: (0..depth).map(|_| submit()).collect(), length }
    }

    /// Takes the oldest request back and sends it again.
    fn turn(&mut self) {
        let oldest = self.pending.pop_front().expect("the pipe is full");
        let (completion, request) = oldest.wait();
        assert_eq!((completion.status.0, completion.information), (0, self.length));
        self.pending.push_back(self.file.submit(request.again(self.operation.clone())));
    }
}

fn small() {
    println!("\nrequests of 4096 bytes, 32 under way (goal: 300000 a second)");
    for path in [Path::ScatterGather, Path::Packet, Path::Version3, Path::CommonBufferCached] {
        for direction in Direction::ALL {
            let one = time(machine(), path, *direction, 4096, 32, 20_000);
            println!(
                "{:<16} {:<12} {:>12} {:>10.0} a second",
                path.option(),
                direction.title(),
                format!("{one:?}"),
                1.0 / one.as_secs_f64()
            );
        }
    }
}

/// Time of memcpy over as many buffers in turn as the requests use.
fn time_memcpy(length: usize, depth: usize, calls: u32) -> Duration {
    let sources: Vec<_> = (0..depth).map(|_| vec![1u8; length]).collect();
    let mut target = vec![0u8; length];
    let mut turn = 0;
    median(calls, || {
        turn = (turn + 1) % depth;
        target.copy_from_slice(black_box(&sources[turn]));
        black_box(&mut target);
    })
}

fn large() {
    println!("\nrequests of 1 MiB, 4 under way, beside memcpy of one thread");
    let copy = time_memcpy(MIB, 4, 500);
    let rows = [
        ("scatter/gather", machine(), Path::ScatterGather, 0.8),
        ("packet", machine(), Path::Packet, 0.5),
        ("bounced", machine().double_buffer(true), Path::Packet, 0.4),
    ];
    for (name, builder, path, goal) in rows {
        for direction in Direction::ALL {
            let one = time(builder.clone(), path, *direction, MIB, 4, 200);
            println!(
                "{name:<16} {:<12} {:>12} memcpy {:>12} ratio {:>6.3} (goal {goal})",
                direction.title(),
                format!("{one:?}"),
                format!("{copy:?}"),
                copy.as_secs_f64() / one.as_secs_f64()
            );
        }
    }
}

fn lengths() {
    println!(
        "\nscatter/gather to the device by length, 4 under way: the ratio stays (goal: within 15%)"
    );
    for length in [64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB] {
        let calls = u32::try_from((64 * MIB / length).max(4)).expect("small");
        let copy = time_memcpy(length, 4, calls);
        let one = time(machine(), Path::ScatterGather, Direction::ToDevice, length, 4, calls);
        println!(
            "{:>6} KiB {:>12} memcpy {:>12} ratio {:>6.3}",
            length >> 10,
            format!("{one:?}"),
            format!("{copy:?}"),
            copy.as_secs_f64() / one.as_secs_f64()
        );
    }
}
