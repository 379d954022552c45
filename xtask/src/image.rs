//! Driver images: built with the Rust toolchain alone, then inspected.

mod check;
mod imports;
mod libraries;
mod link;
mod resource;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

pub use check::checksum;
#[cfg(test)]
pub use check::findings;

/// A processor architecture that Windows drivers are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Architecture {
    /// x64.
    #[value(name = "x86_64")]
    X86_64,
    /// ARM64.
    #[value(name = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// The name of its folder below target/image.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The toolchain's name for Windows on it.
    pub fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-pc-windows-msvc",
            Self::Aarch64 => "aarch64-pc-windows-msvc",
        }
    }
}

/// What to build.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// For which processors; both unless given.
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Architecture>,
    /// Inspect an existing image instead of building one.
    #[arg(long, value_name = "FILE.sys")]
    check: Option<PathBuf>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started.
    #[error("{program} could not be started")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{0} failed; what it printed is above")]
    Failed(&'static str),
    /// The toolchain has no standard library for a target.
    #[error(
        "the toolchain has no `core` library for {0}, and `rustup target add {0}` did not bring \
         it; install it and try again"
    )]
    Target(&'static str),
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The image is not as a driver image must be.
    #[error("{} is no sound driver image:\n{}", path.display(), findings.join("\n"))]
    Unsound {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, a line each.
        findings: Vec<String>,
    },
}

/// Gives an error of the file system the name of its file.
pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::File { path, source }
}

/// The project's folder.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Builds and inspects, as `options` say.
pub fn run(options: &Options) -> Result<(), Error> {
    if let Some(path) = &options.check {
        check::file(path)?;
        println!("{}: sound", path.display());
        return Ok(());
    }
    let all = [Architecture::X86_64, Architecture::Aarch64];
    let wanted = if options.arch.is_empty() { &all[..] } else { &options.arch };
    for &architecture in wanted {
        for image in link::IMAGES {
            let built = build(image, architecture)?;
            println!("{}", built.display());
        }
    }
    Ok(())
}

/// Builds the dmaproof driver; the path of the image.
pub fn driver(architecture: Architecture) -> Result<PathBuf, Error> {
    build(&link::DRIVER, architecture)
}

/// Builds the kernel's tests; the path of the image.
pub fn conformance(architecture: Architecture) -> Result<PathBuf, Error> {
    build(&link::CONFORMANCE, architecture)
}

/// Builds one image with its symbols and inspects it; the path of the image.
fn build(image: &link::Image, architecture: Architecture) -> Result<PathBuf, Error> {
    ensure_target(architecture.target())?;
    let root = root();
    let out = root.join("target/image").join(architecture.name());
    std::fs::create_dir_all(&out).map_err(at(&out))?;
    let folder = root.join(image.folder);
    let target = root.join("target/image/build");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&folder)
        .args(["build", "--release", "--quiet", "--locked", "--bin", image.binary])
        .args(["--features", &image.features.join(","), "--target", architecture.target()])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", link::flags(image, architecture, &root, &out)?)
        .env_remove("RUSTFLAGS")
        .status()
        .map_err(|source| Error::Start { program: "cargo", source })?;
    if !status.success() {
        return Err(Error::Failed("cargo build"));
    }
    let built = target.join(architecture.target()).join("release");
    let copy = |from: String, to: String| {
        let (from, to) = (built.join(from), out.join(to));
        std::fs::copy(&from, &to).map_err(at(&from)).map(|_| to)
    };
    let name = image.binary;
    let driver = copy(format!("{name}.exe"), format!("{name}.sys"))?;
    copy(format!("{name}.pdb"), format!("{name}.pdb"))?;
    check::file(&driver)?;
    Ok(driver)
}

/// Sees to it that the toolchain can compile for `target`.
pub fn ensure_target(target: &'static str) -> Result<(), Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|source| Error::Start { program: "rustc", source })?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", target]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::Target(target)),
    }
}
