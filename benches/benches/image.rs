//! What it costs to run the driver as an image: loading, a request, a register access; as ratios
//! within one run.
//!
//! `cargo bench --bench image` prints the figures and judges none. Without an image it says so.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dmaproof_benches::{ROUNDS, interface, median};
use dmaproof_driver::driver_entry;
use dmaproof_protocol::{Ioctl, Path, TransferHeader, VersionRequest};
use dmaproof_tests::ways;
use nthost::{Access, File, Image, Machine, Profile, Scheduling, Way};
use testdev::model::edu::{Edu, EduConfig};
use zerocopy::IntoBytes;

fn main() {
    if let Err(reason) = ways::image_path() {
        return ways::say_skipped(reason);
    }
    let image = ways::image().expect("it was there");
    println!("driver image {}, median of {ROUNDS} rounds each, within this run", image.name());
    starting(image);
    let hosted = requests(None);
    let on_image = requests(Some(image));
    let accesses = registers(image);
    println!("\n{:<28} {:>12} {:>12} {:>8}", "request", "hosted", "image", "ratio");
    let names = ["null IOCTL", "programmed read of 8 bytes", "packet, 4095 bytes to device"];
    for (index, name) in names.iter().enumerate() {
        print_ratio(name, hosted[index], on_image[index]);
    }
    let each = |times: [Duration; 3]| times[1].saturating_sub(times[0]) / accesses;
    println!("\nregister accesses of the programmed read: {accesses}");
    print_ratio("one register access", each(hosted), each(on_image));
}

fn print_ratio(name: &str, hosted: Duration, image: Duration) {
    let ratio = image.as_secs_f64() / hosted.as_secs_f64();
    println!("{name:<28} {:>12} {:>12} {ratio:>8.2}", format!("{hosted:?}"), format!("{image:?}"));
}

/// From a file on disk to a started device, and once more with the image read already.
fn starting(image: &Image) {
    let path = ways::image_path().expect("there is an image");
    let mut first = Vec::new();
    let mut again = Vec::new();
    let mut hosted = Vec::new();
    for _ in 0..ROUNDS {
        let path = path.clone();
        first.push(time_start(move || Some(Image::open(&path).expect("read before"))));
        let image = image.clone();
        again.push(time_start(move || Some(image)));
        hosted.push(time_start(|| None));
    }
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[ROUNDS / 2]
    };
    let (first, again, hosted) = (middle(first), middle(again), middle(hosted));
    println!("\nread, loaded and started: {first:?} (goal: under 5 ms)");
    println!("loaded and started again: {again:?}");
    println!("hosted driver, the same:  {hosted:?}");
}

fn time_start(image: impl FnOnce() -> Option<Image> + Send + 'static) -> Duration {
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |m: &Machine| {
        let start = Instant::now();
        load(m, image().as_ref());
        m.plug(Box::new(Edu::default())).expect("the device starts");
        let elapsed = start.elapsed();
        m.shut_down();
        elapsed
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"))
}

fn load(machine: &Machine, image: Option<&Image>) {
    match image {
        Some(image) => drop(machine.load_image("dmaproof", image).expect("the image loads")),
        None => drop(machine.load("dmaproof", driver_entry).expect("the driver loads")),
    }
}

/// Runs `body` on a machine whose edu device answers at once.
fn with_device<T: Send + 'static>(
    image: Option<&Image>,
    log: bool,
    body: impl FnOnce(&Machine, &File) -> T + Send + 'static,
) -> T {
    let image = image.cloned();
    let machine = Machine::builder(Profile::X64)
        .scheduling(Scheduling::Threads { processors: 1 })
        .log_crossings(log)
        .build();
    let result = machine.run(move |m: &Machine| {
        load(m, image.as_ref());
        let config = EduConfig { dma_delay_ns: 0, ..EduConfig::default() };
        m.plug(Box::new(Edu::new(config))).expect("the device starts");
        let path = m.interfaces(&interface()).pop().expect("the device has an interface");
        let file = m.open(&path, Access::READ_WRITE).expect("the device opens");
        body(m, &file)
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"))
}

fn null(file: &File) {
    let mut reply = [0; 512];
    let request = VersionRequest::new();
    let done = file.device_io_control(Ioctl::Query.code(), request.as_bytes(), &mut reply);
    black_box(done.expect("query"));
}

fn programmed(file: &File) {
    let mut data = [0; 8];
    let header = TransferHeader::new(Path::Pio, 0, 8);
    let code = Ioctl::FromDevice.code();
    black_box(file.device_io_control(code, header.as_bytes(), &mut data).expect("PIO"));
}

fn packet(file: &File, data: &mut [u8]) {
    let header = TransferHeader::new(Path::Packet, 0, data.len() as u64);
    let code = Ioctl::ToDevice.code();
    black_box(file.device_io_control(code, header.as_bytes(), data).expect("packet"));
}

fn requests(image: Option<&Image>) -> [Duration; 3] {
    with_device(image, false, |_, file| {
        let mut data = vec![0x5A; 4095];
        [
            median(100_000, || null(file)),
            median(20_000, || programmed(file)),
            median(10_000, || packet(file, &mut data)),
        ]
    })
}

/// How often the programmed read touches registers.
fn registers(image: &Image) -> u32 {
    with_device(Some(image), true, |machine, file| {
        let count = || {
            let crossings = machine.crossings();
            let registers =
                crossings.iter().filter(|c| c.way == Way::Call && c.name.contains("_REGISTER_"));
            u32::try_from(registers.count()).expect("small")
        };
        let before = count();
        programmed(file);
        count() - before
    })
}
