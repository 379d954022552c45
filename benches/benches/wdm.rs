//! What a request costs that a WDM driver answers at once: hosted, and as an image.
//!
//! `cargo bench --bench wdm`. With an argument `rate` it prints one number, requests a second on
//! the image, for `.ci/wine` to compare with Wine's.

use std::path::Path;
use std::time::Instant;

use nthost::{Access, Image, Machine, NamedFile, Profile};
use wdm::IOCTL_NEXT;

const COUNT: u64 = 200_000;
const RUNS: usize = 5;

/// The best of several runs, requests a second.
fn rate(image: Option<Image>) -> f64 {
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |machine| {
        match image {
            Some(image) => machine.load_image("wdm", &image).expect("the image loads"),
            None => machine.load("wdm", wdm::driver_entry).expect("the driver loads"),
        };
        let file = machine.open_named(r"\\.\DmaproofWdm", Access::READ_WRITE).expect("opens");
        (0..RUNS).map(|_| once(&file)).fold(0.0, f64::max)
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"))
}

fn once(file: &NamedFile) -> f64 {
    let start = Instant::now();
    for number in 0..COUNT {
        let mut answer = [0; 8];
        let count = file.device_io_control(IOCTL_NEXT, &number.to_le_bytes(), &mut answer);
        assert_eq!((count, u64::from_le_bytes(answer)), (Ok(8), number + 1));
    }
    // CAST: a count that a double holds.
    COUNT as f64 / start.elapsed().as_secs_f64()
}

fn image() -> Option<Image> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let path = root.join("target/image/x86_64/wdm.sys");
    let usable = cfg!(all(target_os = "linux", target_arch = "x86_64")) && path.exists();
    usable.then(|| Image::open(&path).expect("xtask makes sound images"))
}

fn main() {
    let image = image();
    if std::env::args().any(|argument| argument == "rate") {
        println!("{:.0}", image.map_or(0.0, |image| rate(Some(image))));
        return;
    }
    println!("null request, hosted: {:.0} a second", rate(None));
    match image {
        Some(image) => println!("null request, image:  {:.0} a second", rate(Some(image))),
        None => println!("SKIPPED: the image: `cargo xtask image` builds it"),
    }
}
