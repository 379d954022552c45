//! The rules of a stamped INF: those of InfVerif that this package could break (their numbers are
//! in the messages) and the project's own decisions.

use std::collections::BTreeSet;

use super::install;
use super::parse::{Entry, Inf, Section};

/// The decoration of the one models section, after the architecture: KMDF 1.33 needs this build.
const FLOOR: &str = "10.0...20348";
/// The setup class: one that a vendor may use without installing it.
const CLASS: (&str, &str) = ("System", "{4d36e97d-e325-11ce-bfc1-08002be10318}");

/// What is being checked, and what was found.
pub struct Checker<'a> {
    pub inf: &'a Inf,
    pub faults: Vec<String>,
    used: BTreeSet<String>,
}

/// Checks a stamped INF; returns what is wrong, in words.
pub fn check(inf: &Inf, architecture: &str) -> Vec<String> {
    let mut checker = Checker { inf, faults: Vec::new(), used: BTreeSet::new() };
    checker.placeholders();
    checker.version();
    checker.strings();
    for (install, id) in checker.models(architecture) {
        install::check(&mut checker, &install, &id);
    }
    checker.files();
    checker.unused();
    checker.faults
}

impl<'a> Checker<'a> {
    /// Notes a fault.
    pub fn fault(&mut self, message: impl Into<String>) {
        self.faults.push(message.into());
    }

    /// The section of this name, counted as used; a fault if there is none.
    pub fn section(&mut self, name: &str, wanted_by: &str) -> Option<&'a Section> {
        self.used.insert(name.to_ascii_lowercase());
        let found = self.inf.section(name);
        if found.is_none() {
            self.fault(format!("{wanted_by} names [{name}], which does not exist (1203)"));
        }
        found
    }

    /// A fault for each key of a section that is not in the list.
    pub fn only(&mut self, section: &Section, allowed: &[&str]) {
        for entry in &section.entries {
            let key = entry.key.as_deref().unwrap_or("(no key)");
            if !allowed.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                self.fault(format!(
                    "line {}: {key} has no place in [{}]",
                    entry.line, section.name
                ));
            }
        }
    }

    /// A fault unless a key is there once, with this value.
    pub fn must_be(&mut self, section: &Section, key: &str, wanted: &str) {
        let found: Vec<&Entry> = section.all(key).collect();
        match found.as_slice() {
            [one] if one.values.join(",").eq_ignore_ascii_case(wanted) => {}
            [] => self.fault(format!("[{}] lacks {key} = {wanted}", section.name)),
            [one] => {
                let value = one.values.join(",");
                self.fault(format!("line {}: {key} is {value}, not {wanted}", one.line));
            }
            [_, again, ..] => self.fault(format!("line {}: {key} again", again.line)),
        }
    }

    /// Replaces `%string%` by its text. DIRIDs stay.
    pub fn expanded(&self, text: &str) -> String {
        let strings = self.inf.section("Strings");
        let mut pieces = text.split('%');
        let mut out = pieces.next().unwrap_or_default().to_owned();
        while let (Some(name), rest) = (pieces.next(), pieces.next().unwrap_or_default()) {
            match strings.and_then(|section| section.get(name)) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("%{name}%")),
            }
            out.push_str(rest);
        }
        out
    }

    fn placeholders(&mut self) {
        for section in self.inf.sections() {
            let faults = section.entries.iter().filter(|entry| {
                let signature = entry.value(0) == "$WINDOWS NT$";
                let named = entry.key.as_deref().is_some_and(|key| key.contains('$'));
                named || (!signature && entry.values.iter().any(|value| value.contains('$')))
            });
            for entry in faults {
                self.faults.push(format!("line {}: a placeholder was left (1274)", entry.line));
            }
            if section.name.contains('$') {
                self.faults.push(format!("[{}]: a placeholder was left (1274)", section.name));
            }
        }
    }

    fn version(&mut self) {
        let Some(version) = self.section("Version", "every INF") else { return };
        self.must_be(version, "Signature", "$WINDOWS NT$");
        self.must_be(version, "Class", CLASS.0);
        self.must_be(version, "ClassGuid", CLASS.1);
        self.must_be(version, "CatalogFile", "dmaproof.cat");
        self.must_be(version, "PnpLockdown", "1");
        let provider = self.expanded(version.get("Provider").unwrap_or_default());
        if provider.is_empty() || provider.to_ascii_lowercase().contains("microsoft") {
            self.fault(format!("Provider \"{provider}\" is empty or Microsoft (1204)"));
        }
        let stamped = version.all("DriverVer").next().is_some_and(driver_version_is_well_formed);
        if !stamped {
            self.fault("DriverVer is not mm/dd/yyyy,w.x.y.z (1217)");
        }
        let known = ["Signature", "Class", "ClassGuid", "Provider", "CatalogFile", "DriverVer"];
        self.only(version, &[&known[..], &["PnpLockdown"]].concat());
    }

    /// Each `%name%` is defined once and each definition is used.
    fn strings(&mut self) {
        let Some(strings) = self.section("Strings", "every INF") else { return };
        let mut used = BTreeSet::new();
        for section in self.inf.sections().iter().filter(|section| section.name != "Strings") {
            for entry in &section.entries {
                let texts = entry.key.iter().chain(&entry.values);
                for name in texts.flat_map(|text| text.split('%').skip(1).step_by(2)) {
                    used.insert((name.to_ascii_lowercase(), entry.line));
                }
            }
        }
        for (name, line) in &used {
            let number = name.bytes().all(|byte| byte.is_ascii_digit());
            if number && name != "13" {
                self.fault(format!("line {line}: DIRID {name}; only 13 is allowed (1322)"));
            } else if !number && strings.all(name).count() != 1 {
                self.fault(format!("line {line}: string %{name}% is not defined once (1235)"));
            }
        }
        for entry in &strings.entries {
            let key = entry.key.clone().unwrap_or_default().to_ascii_lowercase();
            if !used.iter().any(|(name, _)| *name == key) {
                self.fault(format!("line {}: string {key} is not used", entry.line));
            }
        }
    }

    /// The install sections and hardware IDs of the one models section.
    pub fn models(&mut self, architecture: &str) -> Vec<(String, String)> {
        let Some(manufacturer) = self.section("Manufacturer", "every INF") else {
            return Vec::new();
        };
        let [entry] = manufacturer.entries.as_slice() else {
            self.fault("[Manufacturer] needs exactly one line");
            return Vec::new();
        };
        let decoration = format!("NT{architecture}.{FLOOR}");
        if entry.values.len() != 2 || entry.value(1) != decoration {
            self.fault(format!("line {}: decoration is not {decoration} (1199)", entry.line));
        }
        let name = entry.values.join(".");
        let Some(models) = self.section(&name, "[Manufacturer]") else { return Vec::new() };
        let mut found: Vec<(String, String)> = Vec::new();
        for entry in &models.entries {
            let (install, id) = (entry.value(0).to_owned(), entry.value(1).to_owned());
            if entry.values.len() != 2 || entry.key.is_none() {
                self.fault(format!("line {}: not a description, section and ID", entry.line));
            } else if found.iter().any(|(_, known)| known.eq_ignore_ascii_case(&id)) {
                self.fault(format!("line {}: {id} again", entry.line));
            }
            found.push((install, id));
        }
        let ids: Vec<String> = found.iter().map(|(_, id)| id.clone()).collect();
        if ids != install::hardware_ids() {
            self.fault(format!("hardware IDs are {ids:?}, not the test devices'"));
        }
        found.dedup_by(|one, other| one.0 == other.0);
        found
    }

    /// The files come from one disk and go to the driver store; the catalog is not among them.
    fn files(&mut self) {
        if let Some(directories) = self.section("DestinationDirs", "every package") {
            self.only(directories, &["DefaultDestDir"]);
            self.must_be(directories, "DefaultDestDir", "13");
        }
        let Some(files) = self.section("SourceDisksFiles", "every package") else { return };
        let Some(disks) = self.section("SourceDisksNames", "[SourceDisksFiles]") else { return };
        for entry in &files.entries {
            let file = entry.key.as_deref().unwrap_or_default();
            if disks.all(entry.value(0)).count() != 1 || entry.values.len() != 1 {
                self.fault(format!("line {}: {file} is on no known disk (1230)", entry.line));
            }
        }
        let listed: Vec<&str> = files.entries.iter().filter_map(|e| e.key.as_deref()).collect();
        if listed != install::FILES {
            self.fault(format!(
                "[SourceDisksFiles] lists {listed:?}, the package {:?}",
                install::FILES
            ));
        }
    }

    fn unused(&mut self) {
        for section in self.inf.sections() {
            if !self.used.contains(&section.name.to_ascii_lowercase()) {
                self.faults.push(format!("[{}] is not used (2083)", section.name));
            }
        }
    }
}

fn driver_version_is_well_formed(entry: &Entry) -> bool {
    let date: Vec<&str> = entry.value(0).split('/').collect();
    let [month, day, year] = date.as_slice() else { return false };
    let within = |text: &str, length: usize, range: std::ops::RangeInclusive<u32>| {
        text.len() == length && text.parse().is_ok_and(|number| range.contains(&number))
    };
    within(month, 2, 1..=12)
        && within(day, 2, 1..=31)
        && within(year, 4, 2000..=9999)
        && entry.value(1).split('.').count() == 4
        && entry.value(1).split('.').all(|part| part.parse::<u16>().is_ok())
}
