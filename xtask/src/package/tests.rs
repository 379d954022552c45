//! The package's signatures: by the digest that somebody else's code computes, by the catalog's
//! own structure, and by osslsigncode, which has nothing in common with what made them. They need
//! an image that was built.

use std::fs;
use std::path::Path;
use std::process::Command;

use authenticode::AttributeCertificateIterator;
use der::{Decode, Encode};
use object_0_39::read::pe::PeFile64;
use sha2::{Digest, Sha256};

use super::encoding::TrustList;
use super::*;

const TEMPLATE: &str = include_str!("../../../inf/dmaproof.inx");
/// 28 November 2026, 12:00.
const NOON: u64 = 1_795_867_200;

fn noon() -> DateTime {
    DateTime::from_unix_duration(Duration::from_secs(NOON)).expect("a time of this century")
}

/// The driver that was built, if it was.
fn driver() -> Option<Vec<u8>> {
    let path = root().join("target/image/x86_64/dmaproof.sys");
    let image = fs::read(path).ok();
    if image.is_none() {
        println!("SKIPPED: no image in target/image; `cargo xtask image` builds it");
    }
    image
}

/// The signed files of a package, by name.
struct Signed(Vec<(&'static str, Vec<u8>)>);

impl Signed {
    fn make(driver: &[u8]) -> Self {
        // Any image can stand for the kernel's tests.
        Self(signed(driver, driver, TEMPLATE, noon()).expect("the package can be made"))
    }

    fn file(&self, name: &str) -> &[u8] {
        &self.0.iter().find(|file| file.0 == name).expect("the package has this file").1
    }
}

/// The content of a catalog's signature.
fn list(catalog: &[u8]) -> TrustList {
    use cms::content_info::ContentInfo;
    use cms::signed_data::SignedData;
    let message = ContentInfo::from_der(catalog).expect("a PKCS #7 message");
    let data = message.content.to_der().expect("it was encoded");
    let data = SignedData::from_der(&data).expect("signed data");
    let list = data.encap_content_info.econtent.expect("it has content");
    TrustList::from_der(&list.to_der().expect("it was encoded")).expect("a list")
}

#[test]
fn the_image_stays_sound_and_carries_its_own_digest() {
    let Some(driver) = driver() else { return };

    let signed = Signed::make(&driver);

    let image = signed.file("dmaproof.sys");
    assert_eq!(image::findings(image), Vec::<String>::new());
    let file = PeFile64::parse(image).expect("an image");
    let certificates: Vec<_> = AttributeCertificateIterator::new(&file)
        .expect("the directory is sound")
        .expect("there is a directory")
        .collect::<Result<_, _>>()
        .expect("the certificates are sound");
    assert_eq!(certificates.len(), 1);
    let signature = certificates[0].get_authenticode_signature().expect("Authenticode's");
    let digest = embed::digest::<Sha256>(&driver).expect("an image");
    assert_eq!(signature.digest(), digest, "the signature is about another image");
    assert_eq!(embed::digest::<Sha256>(image).expect("an image"), digest, "signing changed it");
}

#[test]
fn a_signed_image_is_not_signed_again() {
    let Some(driver) = driver() else { return };
    let signed = Signed::make(&driver);

    let again = super::signed(signed.file("dmaproof.sys"), &driver, TEMPLATE, noon());

    assert!(matches!(again, Err(Error::Image(text)) if text.contains("signed already")));
}

#[test]
fn the_catalog_lists_both_files_twice_in_order() {
    let Some(driver) = driver() else { return };

    let signed = Signed::make(&driver);

    let list = list(signed.file("dmaproof.cat"));
    let tags: Vec<_> = list.members.iter().map(|member| member.tag.as_bytes()).collect();
    assert!(tags.is_sorted(), "members are sorted by their tag");
    assert_eq!(tags.len(), 4);
    let image = embed::digest::<Sha256>(signed.file("dmaproof.sys")).expect("an image");
    let inf = Sha256::digest(signed.file("dmaproof.inf"));
    assert!(tags.contains(&&image[..]) && tags.contains(&&inf[..]));
    // The systems, and a hardware ID for each model of the INF.
    assert_eq!(
        list.extensions.len(),
        1 + inf::stamp(TEMPLATE, noon()).expect("sound").hardware.len()
    );
}

#[test]
fn the_same_files_make_the_same_list_and_other_files_another() {
    let facts =
        catalog::Facts { systems: SYSTEMS, hardware: &["PCI\\VEN_1234".into()], time: noon() };
    let make = |contents: &[u8]| {
        let files = [catalog::File { name: "a.inf", contents }];
        catalog::list(&files, &facts).expect("a list")
    };

    assert_eq!(make(b"one"), make(b"one"));
    assert_ne!(make(b"one"), make(b"two"));
}

#[test]
fn the_stamped_inf_names_day_and_version_and_every_device() {
    let inf = inf::stamp(TEMPLATE, noon()).expect("the template is sound");

    assert!(inf.text.contains(&format!("DriverVer = 11/28/2026,{}.0", env!("CARGO_PKG_VERSION"))));
    let edu = testdev::edu::VENDOR_ID;
    assert!(inf.hardware.iter().any(|id| id.starts_with(&format!(r"PCI\VEN_{edu:04X}&DEV_"))));
    assert!(!inf.text.contains("$ARCH$"));
}

#[test]
fn an_inf_with_a_mistake_makes_no_package() {
    let broken = TEMPLATE.replace("PnpLockdown = 1\r\n", "");

    let error = inf::stamp(&broken, noon()).expect_err("it lacks a directive");

    assert!(error.to_string().contains("PnpLockdown"), "{error}");
}

/// Runs osslsigncode; what it printed and whether it was content. `None` without the program.
fn osslsigncode(arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("osslsigncode").args(arguments).output() else {
        println!("SKIPPED: osslsigncode is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.success(), text + &String::from_utf8_lossy(&output.stderr)))
}

/// Writes the files into `folder` and verifies the driver, by its own signature and by the catalog,
/// and the kernel's tests.
fn verify(folder: &Path, signed: &Signed) -> Option<[(bool, String); 3]> {
    for (name, contents) in &signed.0 {
        fs::write(folder.join(name), contents).expect("the folder is writable");
    }
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let certificate =
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, signed.file(CERTIFICATE));
    let (root, driver, catalog) = (path("root.pem"), path("dmaproof.sys"), path("dmaproof.cat"));
    fs::write(&root, certificate.expect("a certificate")).expect("the folder is writable");
    let own = osslsigncode(&["verify", "-in", &driver, "-CAfile", &root])?;
    let listed = osslsigncode(&["verify", "-catalog", &catalog, "-in", &driver, "-CAfile", &root])?;
    let tests = path("conformance.sys");
    let tests = osslsigncode(&["verify", "-in", &tests, "-CAfile", &root])?;
    Some([own, listed, tests])
}

#[test]
fn osslsigncode_verifies_the_driver_and_the_catalog_and_notices_a_changed_byte() {
    let Some(driver) = driver() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut signed = Signed::make(&driver);

    let Some(intact) = verify(folder.path(), &signed) else { return };
    for (good, text) in intact {
        assert!(good && text.contains("Signature verification: ok"), "{text}");
    }

    // In the middle of the code.
    for file in signed.0.iter_mut().filter(|file| file.0.ends_with(".sys")) {
        file.1[0x1000] ^= 1;
    }
    let Some(changed) = verify(folder.path(), &signed) else { return };
    for (good, text) in changed {
        assert!(!good, "a changed driver was accepted: {text}");
    }
}

/// The package that Windows makes of the project carries the same files, but not the kernel's tests.
#[test]
fn the_makefile_packages_the_same_files() {
    let makefile = fs::read_to_string(root().join("Makefile.toml")).expect("there is a makefile");
    let lists = makefile.lines().filter_map(|line| line.strip_prefix("files = array "));
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut windows: Vec<_> = lists.flat_map(|list| list.split(' ')).map(base).collect();
    let made = ["dmaproof.sys", "dmaproof.inf", "dmaproof.cat", CERTIFICATE, "dmaproof.pdb"];
    let mut ours: Vec<_> = COPIED.iter().copied().map(base).collect();
    ours.extend(made.map(str::to_owned));
    ours.push("dmaproof.exe".into());

    windows.sort();
    ours.sort();
    assert_eq!(ours, windows);
}
