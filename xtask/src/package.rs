//! The package that is copied to a Windows test machine: driver, INF, catalog, certificate, app,
//! scripts and guide; with the kernel's tests, which hold nthost to account. Made anywhere; what it
//! takes is the toolchain, and a linker for the programs.

mod catalog;
mod embed;
mod encoding;
mod inf;
mod signature;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use der::DateTime;

use crate::image::{self, Architecture, ensure_target, root};
use signature::Signer;

/// The compiler's target of the app: links with mingw, needs nothing of Microsoft's.
const APP_TARGET: &str = "x86_64-pc-windows-gnu";
/// The certificate's file: the name that wdk-build gives its own, for which the scripts look.
const CERTIFICATE: &str = "WDRLocalTestCert.cer";
/// Windows 11, in the words of catalogs.
const SYSTEMS: &str = "_v100_X64_21H2,_v100_X64_22H2,_v100_X64_24H2";
/// What is copied as it is.
const COPIED: &[&str] = &[
    "windows/install.ps1",
    "windows/remove.ps1",
    "windows/dmaproof.wprp",
    "docs/windows.md",
    "docs/why.md",
    "docs/nthost.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver was not built.
    #[error(transparent)]
    Build(#[from] image::Error),
    /// The INF breaks a rule.
    #[error("the INF is not sound:\n{}", .0.join("\n"))]
    Inf(Vec<String>),
    /// An image cannot be digested or signed.
    #[error("the image cannot be signed: {0}")]
    Image(String),
    /// Something cannot be written as DER.
    #[error("a signature cannot be encoded")]
    Encoding(#[from] der::Error),
    /// A key cannot be made.
    #[error("no key could be made")]
    Key(#[from] rsa::Error),
    /// The public key cannot be encoded.
    #[error("the public key cannot be encoded")]
    PublicKey(#[from] cms::cert::x509::spki::Error),
    /// The certificate cannot be made.
    #[error("no certificate could be made")]
    Certificate(#[from] cms::cert::x509::builder::Error),
    /// SOURCE_DATE_EPOCH, or the clock, is out of range.
    #[error("SOURCE_DATE_EPOCH is not a number of seconds since 1970")]
    Time,
}

/// Fills target/package.
pub fn run() -> Result<(), Error> {
    let root = root();
    let driver = image::driver(Architecture::X86_64)?;
    let conformance = image::conformance(Architecture::X86_64)?;
    let app = program(&root, &root.join("target"), "dmaproof")?;
    let client = program(&root.join("tests/images"), &root.join("target/images"), "client")?;
    let package = root.join("target/package");
    if package.exists() {
        std::fs::remove_dir_all(&package).map_err(image::at(&package))?;
    }
    std::fs::create_dir_all(&package).map_err(image::at(&package))?;

    let sources = [app, client, driver.with_extension("pdb")];
    for source in COPIED.iter().map(|path| root.join(path)).chain(sources) {
        let to = package.join(source.file_name().unwrap_or_default());
        std::fs::copy(&source, &to).map_err(image::at(&source))?;
    }
    let template = root.join("inf/dmaproof.inx");
    let template = std::fs::read_to_string(&template).map_err(image::at(&template))?;
    let driver = std::fs::read(&driver).map_err(image::at(&driver))?;
    let conformance = std::fs::read(&conformance).map_err(image::at(&conformance))?;
    for (name, contents) in signed(&driver, &conformance, &template, time()?)? {
        let path = package.join(name);
        std::fs::write(&path, contents).map_err(image::at(&path))?;
    }
    println!("{}", package.display());
    println!("Copy this folder to a Windows 11 test machine and follow its windows.md.");
    Ok(())
}

/// The files that a signature covers, and the certificate: name and contents.
fn signed(
    driver: &[u8],
    conformance: &[u8],
    template: &str,
    time: DateTime,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let signer = Signer::new(time)?;
    let inf = inf::stamp(template, time)?;
    // The driver's own signature first: the catalog's digest leaves it out.
    let driver = embed::sign(driver, &signer)?;
    let files = [
        catalog::File { name: "dmaproof.inf", contents: inf.text.as_bytes() },
        catalog::File { name: "dmaproof.sys", contents: &driver },
    ];
    let facts = catalog::Facts { systems: SYSTEMS, hardware: &inf.hardware, time };
    let list = catalog::list(&files, &facts)?;
    let catalog = signer.sign(encoding::oid::TRUST_LIST, &list)?;
    Ok(vec![
        ("dmaproof.sys", driver),
        // Installed by no INF, so its own signature is all it has.
        ("conformance.sys", embed::sign(conformance, &signer)?),
        ("dmaproof.inf", inf.text.into_bytes()),
        ("dmaproof.cat", catalog),
        (CERTIFICATE, signer.certificate()?),
    ])
}

/// Builds a program of the workspace in `folder` for Windows, below `target`.
fn program(folder: &Path, target: &Path, name: &str) -> Result<PathBuf, image::Error> {
    ensure_target(APP_TARGET)?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(folder)
        .args(["build", "--release", "--quiet", "--locked", "--bin", name])
        .args(["--target", APP_TARGET, "--target-dir"])
        .arg(target)
        .status()
        .map_err(|source| image::Error::Start { program: "cargo", source })?;
    if !status.success() {
        return Err(image::Error::Failed(
            "cargo build of a program for Windows (it links with gcc-mingw-w64-x86-64)",
        ));
    }
    Ok(target.join(APP_TARGET).join("release").join(name).with_extension("exe"))
}

/// The time that the package bears: SOURCE_DATE_EPOCH if it is set, otherwise now.
fn time() -> Result<DateTime, Error> {
    let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return DateTime::from_system_time(SystemTime::now()).map_err(|_| Error::Time);
    };
    let seconds = epoch.to_str().and_then(|text| text.parse().ok()).ok_or(Error::Time)?;
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_err(|_| Error::Time)
}
