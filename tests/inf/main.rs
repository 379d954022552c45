//! `inf/dmaproof.inx`, stamped in memory for both architectures, follows the rules that can be
//! checked without InfVerif; and the checker notices each of a list of seeded mistakes.

mod check;
mod install;
mod parse;
mod stamp;

use parse::Inf;
use stamp::stamp;

const TEMPLATE: &str = include_str!("../../inf/dmaproof.inx");

/// The processor architectures that the driver is built for, as decorations write them.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
/// Date and version, as stampinf writes them.
const VERSION: &str = "11/21/2026,0.1.0.0";

/// What is wrong with a template, stamped for an architecture.
fn faults(template: &str, architecture: &str) -> Vec<String> {
    match Inf::parse(&stamp(template, architecture, VERSION)) {
        Ok(inf) => check::check(&inf, architecture),
        Err(fault) => vec![fault],
    }
}

#[test]
fn the_inf_follows_the_rules() {
    for architecture in ARCHITECTURES {
        let faults = faults(TEMPLATE, architecture);
        assert!(faults.is_empty(), "{architecture}: {faults:#?}");
    }
}

#[test]
fn stamping_is_what_makes_it_valid() {
    // ARRANGE
    let inf = Inf::parse(TEMPLATE).expect("the template parses");

    // ACT
    let faults = check::check(&inf, "amd64");

    // ASSERT
    for wanted in ["a placeholder was left (1274)", "DriverVer is not mm/dd/yyyy,w.x.y.z (1217)"] {
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted}: {faults:#?}");
    }
}

/// A mistake: what is replaced by what, and what the checker then says.
struct Mistake(&'static str, &'static str, &'static str);

const MISTAKES: [Mistake; 28] = [
    Mistake("PnpLockdown = 1\r\n", "", "[Version] lacks PnpLockdown = 1"),
    Mistake("%ProviderName%\r\nCatalog", "\"Microsoft\"\r\nCatalog", "empty or Microsoft (1204)"),
    Mistake("4d36e97d", "4d36e97e", "ClassGuid is {4d36e97e"),
    Mistake("DefaultDestDir = 13", "DefaultDestDir = 12", "DefaultDestDir is 12, not 13"),
    Mistake(r"%13%\dmaproof.sys", r"%12%\dmaproof.sys", "DIRID 12; only 13 is allowed (1322)"),
    Mistake("NT$ARCH$.10.0...20348\r\n\r\n;", "NT$ARCH$\r\n\r\n;", "decoration is not NT"),
    Mistake("[Dmaproof.NT$ARCH$.10.0...20348]", "[Dmaproof.NT$ARCH$]", "names [Dmaproof.NT"),
    Mistake("DEV_DA7A", "DEV_11E7", "not the test devices'"),
    Mistake(
        "CopyFiles = Dmaproof_Files",
        "CopyFiles = Dmaproof_File",
        "CopyFiles names [Dmaproof_File], which does not exist (1203)",
    ),
    Mistake(
        "dmaproof.sys = 1",
        "dmaproof.sys = 1\r\ndmaproof.cat = 1",
        "[SourceDisksFiles] lists [\"dmaproof.sys\", \"dmaproof.cat\"]",
    ),
    Mistake("dmaproof.sys = 1", "dmaproof.sys = 2", "dmaproof.sys is on no known disk (1230)"),
    Mistake(
        "SPSVCINST_ASSOCSERVICE = 0x00000002",
        "SPSVCINST_ASSOCSERVICE = 0x0",
        "with flags 0x0",
    ),
    Mistake("EduName       =", "EduNames      =", "string %eduname% is not defined once (1235)"),
    Mistake("HKR, Parameters", "HKLM, Parameters", "root HKLM; only HKR (1320)"),
    Mistake("HKR, Parameters,", "HKR, Start,", "Start,DmaRemappingCompatible = 1 is not expected"),
    Mistake("MSISupported, 0x00010001, 1", "MSISupported, 0x00010001, 0", "MSISupported to 1"),
    Mistake(
        "(A;;GA;;;BA)",
        "(A;;GA;;;WD)",
        "does not set ,Security to D:P(A;;GA;;;SY)(A;;GA;;;BA)",
    ),
    Mistake("StartType     = 3", "StartType     = 0", "StartType is 0, not 3"),
    Mistake("= $KMDFVERSION$", "= 1.31", "KmdfLibraryVersion is 1.31, not 1.33"),
    Mistake(
        "%SPSVCINST_ASSOCSERVICE%, Dmaproof_Service",
        "%SPSVCINST_ASSOCSERVICE%, Dmaproof_Service, Dmaproof_Service",
        "an event source without events",
    ),
    Mistake("KmdfService = dmaproof", "KmdfService = dma", "KmdfService is dma, not dmaproof"),
    Mistake(
        "[Dmaproof_Install.NT.Wdf]",
        "[Dmaproof_Install.NT.CoInstallers]\r\nAddReg = X\r\n[Dmaproof_Install.NT.Wdf]",
        "is a legacy section (1307)",
    ),
    Mistake(
        "CopyFiles = Dmaproof_Files",
        "CopyFiles = Dmaproof_Files\r\nDelFiles = X",
        "DelFiles has no place in [Dmaproof_Install.NT]",
    ),
    Mistake(r"ACPI\DMPF0001", r"PCI\VEN_1234&DEV_11EA", "not the test devices'"),
    Mistake("Dmaproof_Slave, ACPI", "Dmaproof_Install, ACPI", "[Dmaproof_Slave.NT] is not used"),
    Mistake(
        "[Dmaproof_Slave.NT.HW]\r\nAddReg = Dmaproof_Security",
        "[Dmaproof_Slave.NT.HW]\r\nAddReg = Dmaproof_Security, Dmaproof_BusMaster",
        "RemappingSupported = 1 is not expected here",
    ),
    Mistake("[Dmaproof_Wdf]", "[Dmaproof_Files]", "section [Dmaproof_Files] appears twice"),
    Mistake("\"dmaproof DMA test driver\"", "\"dmaproof DMA test driver", "a quote is not closed"),
];

#[test]
fn each_mistake_is_noticed() {
    for Mistake(good, bad, said) in MISTAKES {
        // ARRANGE
        assert!(TEMPLATE.contains(good), "the mistake does not apply: {good}");
        let template = TEMPLATE.replacen(good, bad, 1);
        for architecture in ARCHITECTURES {
            // ACT
            let faults = faults(&template, architecture);

            // ASSERT
            let noticed = faults.iter().any(|fault| fault.contains(said));
            assert!(noticed, "{architecture}: {good} -> {bad}: wanted {said}, got {faults:#?}");
        }
    }
}

#[test]
fn a_line_feed_alone_is_no_line_end() {
    let fault = faults(&TEMPLATE.replacen("\r\n", "\n", 1), "amd64").remove(0);
    assert!(fault.contains("not plain ASCII"), "{fault}");
}
