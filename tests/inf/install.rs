//! The rules of a DDInstall section and what hangs on it: files, registry, service, framework.

use super::check::Checker;
use super::parse::{Entry, Section};

/// What the package carries besides the INF and the catalog.
pub const FILES: [&str; 1] = ["dmaproof.sys"];
const SERVICE: &str = "dmaproof";
/// The descriptor that the driver assigns as well.
const SECURITY: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";
const MSI: &str = r"Interrupt Management\MessageSignaledInterruptProperties";
const REMAPPING: &str = "DMA Management";
const DWORD: &str = "0x00010001";

/// The registry values of a device that masters the bus: key, name, type, value.
const BUS_MASTER_VALUES: [[&str; 4]; 4] = [
    ["", "Security", "", SECURITY],
    [MSI, "MSISupported", DWORD, "1"],
    [REMAPPING, "RemappingSupported", DWORD, "1"],
    [REMAPPING, "RemappingFlags", DWORD, "0"],
];
/// Those of a device that does not.
const SLAVE_VALUES: [[&str; 4]; 1] = [["", "Security", "", SECURITY]];
/// The service's.
const SERVICE_VALUES: [[&str; 4]; 1] = [["Parameters", "DmaRemappingCompatible", DWORD, "1"]];

/// The hardware IDs of the test devices, in the order of the INF.
pub fn hardware_ids() -> Vec<String> {
    use testdev::{edu, exerciser, slave};
    let devices = [(edu::VENDOR_ID, edu::DEVICE_ID), (exerciser::VENDOR_ID, exerciser::DEVICE_ID)];
    let functions = devices.iter().map(|(v, d)| format!(r"PCI\VEN_{v:04X}&DEV_{d:04X}"));
    functions.chain([format!(r"ACPI\{}", slave::ACPI_ID)]).collect()
}

/// Checks the install section of a device with this hardware ID.
pub fn check(checker: &mut Checker, install: &str, id: &str) {
    for legacy in ["CoInstallers", "LogConfigOverride", "FactDef"] {
        if checker.inf.section(&format!("{install}.NT.{legacy}")).is_some() {
            checker.fault(format!("[{install}.NT.{legacy}] is a legacy section (1307)"));
        }
    }
    if checker.inf.section(&format!("{install}.NT.Events")).is_some() {
        checker.fault(format!("[{install}.NT.Events]: the image has no manifest to name"));
    }
    if let Some(section) = checker.section(&format!("{install}.NT"), "the models section") {
        checker.only(section, &["CopyFiles"]);
        copied_files(checker, section);
    }
    if let Some(section) = checker.section(&format!("{install}.NT.HW"), "the device") {
        checker.only(section, &["AddReg"]);
        let masters = id.starts_with("PCI");
        let wanted = if masters { &BUS_MASTER_VALUES[..] } else { &SLAVE_VALUES[..] };
        registry(checker, section, wanted);
    }
    if let Some(section) = checker.section(&format!("{install}.NT.Services"), "the device") {
        checker.only(section, &["AddService"]);
        service(checker, section);
    }
    if let Some(section) = checker.section(&format!("{install}.NT.Wdf"), "the device") {
        checker.only(section, &["KmdfService"]);
        framework(checker, section);
    }
}

fn copied_files(checker: &mut Checker, section: &Section) {
    let mut copied = Vec::new();
    for name in section.all("CopyFiles").flat_map(|entry| &entry.values) {
        if let Some(list) = checker.section(name, "CopyFiles") {
            copied.extend(list.entries.iter().map(|entry| entry.value(0)));
            if list.entries.iter().any(|entry| entry.key.is_some() || entry.values.len() != 1) {
                checker.fault(format!("[{name}] is not a list of file names"));
            }
        }
    }
    if copied != FILES {
        checker.fault(format!("[{}] copies {copied:?}, the package has {FILES:?}", section.name));
    }
}

/// Each AddReg section that a section names: rooted at HKR, exactly the wanted values.
fn registry(checker: &mut Checker, section: &Section, wanted: &[[&str; 4]]) {
    let mut found = Vec::new();
    for name in section.all("AddReg").flat_map(|entry| &entry.values) {
        let Some(values) = checker.section(name, "AddReg") else { continue };
        for entry in &values.entries {
            if !entry.value(0).eq_ignore_ascii_case("HKR") {
                let root = entry.value(0);
                checker.fault(format!("line {}: root {root}; only HKR (1320)", entry.line));
            }
            match line(entry) {
                Some(value) if wanted.contains(&value) => found.push(value),
                Some([key, name, _, value]) => {
                    let what = format!("{key},{name} = {value}");
                    checker.fault(format!("line {}: {what} is not expected here", entry.line));
                }
                None => checker.fault(format!("line {}: not five registry fields", entry.line)),
            }
        }
    }
    for [key, name, _, value] in wanted.iter().filter(|value| !found.contains(value)) {
        checker.fault(format!("[{}] does not set {key},{name} to {value}", section.name));
    }
}

/// Key, name, type and value of an AddReg line.
fn line(entry: &Entry) -> Option<[&str; 4]> {
    let whole = entry.values.len() == 5 && entry.key.is_none();
    whole.then(|| [1, 2, 3, 4].map(|field| entry.value(field)))
}

fn service(checker: &mut Checker, section: &Section) {
    let [entry] = section.entries.as_slice() else {
        checker.fault(format!("[{}] needs exactly one AddService (1211)", section.name));
        return;
    };
    let flags = checker.expanded(entry.value(1));
    let number = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
    if entry.value(0) != SERVICE || number != Ok(2) {
        checker.fault(format!(
            "line {}: service {} with flags {flags}; {SERVICE} with 2 is the device's (1211)",
            entry.line,
            entry.value(0)
        ));
    }
    if entry.values.len() != 3 {
        // docs/why.md: the driver writes nothing to the event log.
        checker.fault(format!("line {}: an event source without events", entry.line));
    }
    let Some(service) = checker.section(entry.value(2), "AddService") else { return };
    checker.must_be(service, "ServiceType", "1");
    checker.must_be(service, "StartType", "3");
    checker.must_be(service, "ErrorControl", "1");
    checker.must_be(service, "ServiceBinary", &format!(r"%13%\{}", FILES[0]));
    let known = ["DisplayName", "ServiceType", "StartType", "ErrorControl", "ServiceBinary"];
    checker.only(service, &[&known[..], &["AddReg"]].concat());
    registry(checker, service, &SERVICE_VALUES);
}

fn framework(checker: &mut Checker, section: &Section) {
    let [entry] = section.entries.as_slice() else {
        checker.fault(format!("[{}] needs exactly one KmdfService", section.name));
        return;
    };
    if entry.value(0) != SERVICE {
        let name = entry.value(0);
        checker.fault(format!("line {}: KmdfService is {name}, not {SERVICE}", entry.line));
    }
    if let Some(wdf) = checker.section(entry.value(1), "KmdfService") {
        checker.only(wdf, &["KmdfLibraryVersion"]);
        checker.must_be(wdf, "KmdfLibraryVersion", "1.33");
    }
}
