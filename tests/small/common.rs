//! How these drivers are run.

use std::path::Path;
use std::sync::Arc;

use nthost::verifier::Report;
use nthost::{Builder, Driver, DriverEntry, Image, Machine, Policy, Profile, Scheduling};

/// Seeds of the orders that are tried.
const SEEDS: u64 = 8;

/// The straight machine, and others that decide at random what happens next.
fn builders() -> impl Iterator<Item = Builder> {
    let scheduling = Scheduling::Deterministic { processors: 2, policy: Policy::Random };
    let seeds = if Scheduling::DETERMINISTIC { SEEDS } else { 0 };
    let orders = (1..=seeds)
        .map(move |seed| Machine::builder(Profile::X64).seed(seed).scheduling(scheduling.clone()));
    std::iter::once(Machine::builder(Profile::X64)).chain(orders)
}

/// A small driver.
#[derive(Clone, Copy)]
pub struct Small {
    /// Its name and its image's.
    pub name: &'static str,
    /// Its entry point, when it is linked into the test.
    pub entry: DriverEntry,
}

impl Small {
    /// The image, if it was built.
    fn image(self) -> Option<Image> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            println!("SKIPPED: {}.sys: images run on 64-bit x86 Linux only", self.name);
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let path = root.join(format!("target/image/x86_64/{}.sys", self.name));
        if !path.exists() {
            println!("SKIPPED: {}.sys: `cargo xtask image` builds it", self.name);
            return None;
        }
        Some(Image::open(&path).expect("xtask makes sound images"))
    }

    /// Runs `body` with the driver loaded, linked and as an image, straight and in some of the
    /// orders that events may have, and then looks for leaks.
    pub fn run(self, body: impl Fn(&Machine, Driver) + Send + Sync + 'static) {
        let body = Arc::new(body);
        let image = self.image();
        for image in [None].into_iter().chain(image.map(Some)) {
            for builder in builders() {
                let (body, image) = (Arc::clone(&body), image.clone());
                let machine = builder.build();
                let result = self.once(machine, image, move |m, driver| body(m, driver));
                result.unwrap_or_else(|report| panic!("{report}"));
            }
        }
    }

    /// Runs `body` with the linked driver; the rule that is broken.
    pub fn breaks(self, body: impl FnOnce(&Machine, Driver) + Send + 'static) -> Box<Report> {
        let machine = Machine::builder(Profile::X64).build();
        self.once(machine, None, body).expect_err("a rule is broken")
    }

    fn once(
        self,
        machine: Machine,
        image: Option<Image>,
        body: impl FnOnce(&Machine, Driver) + Send + 'static,
    ) -> Result<(), Box<Report>> {
        let handle = machine.clone();
        let result = machine.run(move |machine| {
            let driver = match image {
                Some(image) => machine.load_image(self.name, &image).expect("the image loads"),
                None => machine.load(self.name, self.entry).expect("the driver loads"),
            };
            body(machine, driver);
        });
        let result = result.and_then(|()| handle.run(Machine::shut_down));
        result.map_err(|stopped| stopped.report)
    }
}
