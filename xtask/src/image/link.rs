//! How an image is compiled and linked: the linker's options, and why.

use std::path::Path;

use super::{Architecture, Error, at, libraries, resource};

/// An image that can be built.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The folder of its package, from the project's.
    pub folder: &'static str,
    /// The name of its program.
    pub binary: &'static str,
    /// The symbol that the system calls.
    pub entry: &'static str,
    /// Features of the package that its program needs.
    pub features: &'static [&'static str],
    /// What the file's properties say it is.
    pub description: &'static str,
}

/// Every image.
pub const IMAGES: &[Image] = &[
    DRIVER,
    Image {
        folder: "tests/images/wdm",
        binary: "wdm",
        entry: "DriverEntry",
        features: &["image"],
        description: "WDM test driver",
    },
    Image {
        folder: "tests/images/echo",
        binary: "echo",
        entry: "FxDriverEntry",
        features: &["image"],
        description: "KMDF echo test driver",
    },
    CONFORMANCE,
];

/// The dmaproof driver.
pub const DRIVER: Image = Image {
    folder: "driver/image",
    binary: "dmaproof",
    entry: "FxDriverEntry",
    features: &[],
    description: "dmaproof DMA test driver",
};

/// The kernel's tests.
pub const CONFORMANCE: Image = Image {
    folder: "tests/images/conformance",
    binary: "conformance",
    entry: "DriverEntry",
    features: &["image"],
    description: "Kernel conformance tests",
};

/// Separates compiler flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// Options of lld-link for every image.
const OPTIONS: &[&str] = &[
    "/DRIVER",
    "/SUBSYSTEM:NATIVE,10.0",
    "/OSVERSION:10.0",
    "/VERSION:10.0",
    // No C library: what it would supply is the image's own, or must not be needed.
    "/NODEFAULTLIB",
    // A driver is not told apart by this bit; lld sets it for every program.
    "/TSAWARE:NO",
    // The checksum, which the system verifies in drivers.
    "/RELEASE",
    // A hash of the contents instead of the time.
    "/Brepro",
    "/STACK:0x40000,0x1000",
    // What is not paged and what is thrown away after the start; lld's P means NOT_PAGED.
    "/SECTION:INIT,ERD",
    "/SECTION:.text,ERP",
    "/SECTION:.rdata,RP",
    "/SECTION:.data,RWP",
    "/SECTION:.pdata,RP",
    "/SECTION:.rsrc,RD",
    "/GUARD:NO",
];

/// The compiler flags of an image, encoded for cargo; writes what they refer to below `out`.
pub fn flags(
    image: &Image,
    architecture: Architecture,
    root: &Path,
    out: &Path,
) -> Result<String, Error> {
    let inputs = out.join("link");
    std::fs::create_dir_all(&inputs).map_err(at(&inputs))?;
    libraries::write(architecture, &inputs)?;
    let version = inputs.join(format!("{}.res", image.binary));
    std::fs::write(&version, resource::version(image)).map_err(at(&version))?;

    let mut flags = vec!["-Clinker=rust-lld".to_owned()];
    // No path of the building machine in the image: panics name the project's files.
    flags.push(format!("--remap-path-prefix={}=.", root.display()));
    flags.extend(registries().map(|folder| format!("--remap-path-prefix={folder}=crates")));
    let link = |option: String| format!("-Clink-arg={option}");
    flags.extend(OPTIONS.iter().map(|option| link((*option).to_owned())));
    flags.push(link(format!("/ENTRY:{}", image.entry)));
    flags.push(link(format!("/LIBPATH:{}", inputs.display())));
    flags.push(link(libraries::TRACING.to_owned()));
    flags.push(link(version.display().to_string()));
    Ok(flags.join(SEPARATOR))
}

/// The folders where cargo keeps the sources of libraries.
fn registries() -> impl Iterator<Item = String> {
    let named = std::env::var("CARGO_HOME").ok();
    let home = named.or_else(|| std::env::var("HOME").ok().map(|home| format!("{home}/.cargo")));
    let sources =
        home.and_then(|home| std::fs::read_dir(Path::new(&home).join("registry/src")).ok());
    let folders = sources.into_iter().flatten().filter_map(Result::ok);
    folders.map(|folder| folder.path().display().to_string())
}
