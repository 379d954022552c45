//! Many requests at a time on the exerciser: requests a second, the share of memcpy's speed, and
//! what a device costs where there are many.
//!
//! `cargo bench --bench exerciser` prints the figures beside their goals and judges none. Memcpy
//! and transfers take turns, so that both see the same machine.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dmaproof_benches::{Pipe, ROUNDS, interface, median, with_model};
use dmaproof_driver::driver_entry;
use dmaproof_protocol::{Direction, Path};
use nthost::{Access, Builder, File, Machine, Profile, Scheduling};
use testdev::model::exerciser::Exerciser;

const MIB: usize = 1 << 20;

/// Counts the bytes that are allocated at present.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    println!("median of {ROUNDS} rounds each, within this run; one processor");
    small();
    large();
    lengths();
    devices();
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

/// Memcpy over as many buffers in turn as the requests use.
struct Copies {
    sources: Vec<Vec<u8>>,
    target: Vec<u8>,
    turn: usize,
}

impl Copies {
    fn new(length: usize, depth: usize) -> Self {
        let sources = (0..depth).map(|_| vec![1u8; length]).collect();
        Self { sources, target: vec![0u8; length], turn: 0 }
    }

    fn turn(&mut self) {
        self.turn = (self.turn + 1) % self.sources.len();
        self.target.copy_from_slice(black_box(&self.sources[self.turn]));
        black_box(&mut self.target);
    }
}

/// Times of one request and of one memcpy of `length` bytes, round by round in turn.
fn time_both(
    builder: Builder,
    path: Path,
    direction: Direction,
    length: usize,
    depth: usize,
    calls: u32,
) -> (Duration, Duration) {
    with_model(builder, Box::new(Exerciser::default()), move |file| {
        let mut pipe = Pipe::new(file, path, direction, length, depth);
        let mut copies = Copies::new(length, depth);
        let round = |body: &mut dyn FnMut()| {
            let start = Instant::now();
            (0..calls).for_each(|_| body());
            start.elapsed() / calls
        };
        let mut times: Vec<_> = (0..ROUNDS)
            .map(|_| (round(&mut || pipe.turn()), round(&mut || copies.turn())))
            .collect();
        times.sort_unstable_by_key(|(one, _)| *one);
        let one = times[ROUNDS / 2].0;
        times.sort_unstable_by_key(|(_, copy)| *copy);
        (one, times[ROUNDS / 2].1)
    })
}

fn large() {
    println!("\nrequests of 1 MiB, 4 under way, beside memcpy of one thread");
    let rows = [
        ("scatter/gather", machine(), Path::ScatterGather, 0.8),
        ("packet", machine(), Path::Packet, 0.5),
        ("bounced", machine().double_buffer(true), Path::Packet, 0.4),
    ];
    for (name, builder, path, goal) in rows {
        for direction in Direction::ALL {
            let (one, copy) = time_both(builder.clone(), path, *direction, MIB, 4, 200);
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
        let (one, copy) =
            time_both(machine(), Path::ScatterGather, Direction::ToDevice, length, 4, calls);
        println!(
            "{:>6} KiB {:>12} memcpy {:>12} ratio {:>6.3}",
            length >> 10,
            format!("{one:?}"),
            format!("{copy:?}"),
            copy.as_secs_f64() / one.as_secs_f64()
        );
    }
}

/// Time of one request while as many devices work, and bytes that each takes.
fn time_devices(count: usize) -> (Duration, usize) {
    /// Requests under way on each device.
    const DEPTH: usize = 8;
    let result = machine().build().run(move |m: &Machine| {
        m.load("dmaproof", driver_entry).expect("the driver loads");
        let before = LIVE.load(Ordering::Relaxed);
        for _ in 0..count {
            m.plug(Box::new(Exerciser::default())).expect("the device starts");
        }
        let bytes = (LIVE.load(Ordering::Relaxed) - before) / count;
        let open = |path: String| m.open(&path, Access::READ_WRITE).expect("the device opens");
        let files: Vec<File> = m.interfaces(&interface()).into_iter().map(open).collect();
        let pipe = |file| Pipe::new(file, Path::ScatterGather, Direction::ToDevice, 4096, DEPTH);
        let mut pipes: Vec<Pipe> = files.iter().map(pipe).collect();
        let mut turn = 0;
        let one = median(8_000, || {
            pipes[turn].turn();
            turn = (turn + 1) % pipes.len();
        });
        (one, bytes)
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"))
}

fn devices() {
    println!("\nrequests of 4096 bytes on many devices, 8 under way on each (goal: neither grows)");
    for count in [1, 4, 16, 64] {
        let (one, bytes) = time_devices(count);
        let one = format!("{one:?}");
        println!("{count:>6} devices {one:>12} a request {:>8} KiB a device", bytes >> 10);
    }
}
