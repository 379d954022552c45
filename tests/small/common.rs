//! How these drivers are run.

use std::path::Path;
use std::sync::Arc;

use nthost::verifier::Report;
use nthost::{Driver, DriverEntry, Image, Machine, Profile};

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

    /// Runs `body` with the driver loaded, linked and as an image, and then looks for leaks.
    pub fn run(self, body: impl Fn(&Machine, Driver) + Send + Sync + 'static) {
        let body = Arc::new(body);
        let image = self.image();
        for image in [None].into_iter().chain(image.map(Some)) {
            let body = Arc::clone(&body);
            let result = self.once(image, move |machine, driver| body(machine, driver));
            result.unwrap_or_else(|report| panic!("{report}"));
        }
    }

    /// Runs `body` with the linked driver; the rule that is broken.
    pub fn breaks(self, body: impl FnOnce(&Machine, Driver) + Send + 'static) -> Box<Report> {
        self.once(None, body).expect_err("a rule is broken")
    }

    fn once(
        self,
        image: Option<Image>,
        body: impl FnOnce(&Machine, Driver) + Send + 'static,
    ) -> Result<(), Box<Report>> {
        let machine = Machine::builder(Profile::X64).build();
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
