//! The ways in which a test runs the driver: linked into the test, or as an image that nthost
//! loads. A test that runs both ways must go the same way: the same crossings between driver and
//! host, in the same order, with the same values but for addresses.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::SystemTime;

use nthost::{Builder, Crossing, Image, Machine, Scheduling};

/// Crossings shown before the first that differs.
const CONTEXT: usize = 8;

/// The routine in a driver object, which only a binary has: its stub calls the framework from there.
const BINARY_ONLY: &str = "DRIVER_UNLOAD";

/// How the driver is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Linked into the test.
    Hosted,
    /// An image, see [`image`].
    Image,
}

/// One run of a test in one of its ways.
#[derive(Clone, Debug)]
pub struct Run {
    way: Way,
    /// Whether crossings are kept, to be compared.
    compares: bool,
    machines: Arc<Mutex<Vec<Machine>>>,
}

impl Run {
    /// Builds a machine for this run.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn machine(&self, builder: Builder) -> Machine {
        let machine = builder.log_crossings(self.compares).build();
        if self.compares {
            let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
            machines.push(machine.clone());
        }
        machine
    }

    /// Loads the driver.
    ///
    /// # Panics
    /// When the driver does not load.
    pub fn load(&self, machine: &Machine) {
        match self.way {
            Way::Hosted => {
                let entry = dmaproof_driver::driver_entry;
                machine.load("dmaproof", entry).expect("the driver loads");
            }
            Way::Image => {
                let image = image().expect("no run without an image");
                machine.load_image("dmaproof", image).expect("the image loads");
            }
        }
    }

    /// The crossings of its machines, as far as their order is the machine's own doing.
    fn crossings(&self) -> Vec<Crossing> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let repeat = machines.iter().filter(|m| *m.scheduling() == Scheduling::Straight);
        let crossings = repeat.flat_map(|machine| {
            let crossings = machine.crossings();
            assert!(!crossings.is_empty(), "a machine ran and its driver crossed no border");
            crossings
        });
        crossings.filter(|crossing| crossing.name != BINARY_ONLY).collect()
    }
}

/// Runs a test in each of its ways, and compares how they went.
///
/// # Panics
/// When the test does, or when two ways differ.
pub fn each<T>(ways: &[Way], test: impl Fn(&Run) -> T) -> T {
    if ways.contains(&Way::Image)
        && let Err(reason) = image_path()
    {
        // Without an image none of the binary's tests has anything to say. One thread says so and
        // ends the process; the others wait.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            say_skipped(reason);
            std::process::exit(0)
        });
    }
    let mut last = None;
    let mut first: Option<Vec<Crossing>> = None;
    for &way in ways {
        let run = Run { way, compares: ways.len() > 1, machines: Arc::default() };
        last = Some(test(&run));
        let crossings = run.crossings();
        match &first {
            None => first = Some(crossings),
            Some(expected) => compare(expected, &crossings),
        }
    }
    last.expect("a test has a way to run")
}

fn compare(hosted: &[Crossing], image: &[Crossing]) {
    let differs = hosted.iter().zip(image).position(|(a, b)| a != b);
    let at = differs.unwrap_or(hosted.len().min(image.len()));
    if differs.is_none() && hosted.len() == image.len() {
        return;
    }
    let before = &hosted[at.saturating_sub(CONTEXT)..at];
    panic!(
        "crossing {at} differs between the hosted driver and the image:\nhosted: {:?}\nimage:  \
         {:?}\nbefore it: {before:#?}",
        hosted.get(at),
        image.get(at),
    );
}

/// Folders whose sources become the image.
const SOURCES: [&str; 6] =
    ["driver", "dma/src", "protocol/src", "testdev/src", "wdk-lite/src", "xtask"];

/// Where the driver image is: what `DMAPROOF_IMAGE` names, or what `cargo xtask image` made.
///
/// # Errors
/// Why there is none to be tested, as the end of a sentence.
pub fn image_path() -> Result<PathBuf, &'static str> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("images run on 64-bit x86 Linux only");
    }
    if let Some(named) = std::env::var_os("DMAPROOF_IMAGE") {
        return Ok(named.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let made = root.join("target/image/x86_64/dmaproof.sys");
    let Ok(built) = made.metadata().and_then(|metadata| metadata.modified()) else {
        return Err("there is none; `cargo xtask image` makes one, or DMAPROOF_IMAGE names one");
    };
    if SOURCES.iter().any(|folder| newest(&root.join(folder)).is_some_and(|time| time > built)) {
        return Err("it is older than its sources; `cargo xtask image` makes a new one");
    }
    Ok(made)
}

/// When a source below a folder was last changed.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return if path.ends_with("target") { None } else { newest(&path) };
        }
        let is_source = path.extension().is_some_and(|e| e == "rs" || e == "toml");
        if is_source { entry.metadata().ok()?.modified().ok() } else { None }
    });
    times.max()
}

/// Says that tests of the image do not run, and why; past the test harness, which would keep it to
/// itself.
pub fn say_skipped(reason: &str) {
    let line = format!("SKIPPED: tests of the driver image: {reason}\n");
    // Nothing more can be done if nobody reads it.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The driver image, if there is one.
///
/// # Panics
/// When the file is there and is no driver image.
pub fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let path = image_path().ok()?;
        Some(Image::open(&path).unwrap_or_else(|error| panic!("{error}")))
    });
    image.as_ref()
}
