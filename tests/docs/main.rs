//! What the documents in `docs` name must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nthost::RuleId;
use wdk_lite::legacy_exports;

/// The file below the project's folder.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a folder").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The cells of every row of every table, without the headings.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let lines: Vec<&str> = document.lines().collect();
    let heading = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
    let body = lines.iter().enumerate().filter(|(at, line)| is_row(line) && !heading(*at));
    body.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// One sentence of the documents, and where it is kept.
struct Requirement<'a> {
    id: &'a str,
    sentence: &'a str,
    driver: &'a str,
    types: &'a str,
    rules: Vec<&'a str>,
    sabotage: &'a str,
    tests: &'a str,
}

fn requirements(document: &str) -> Vec<Requirement<'_>> {
    rows(document).iter().map(|cells| requirement(cells)).collect()
}

fn requirement<'a>(cells: &[&'a str]) -> Requirement<'a> {
    let &[id, sentence, driver, types, rules, sabotage, tests] = cells else {
        panic!("{} cells: {cells:?}", cells.len());
    };
    let rules = rules.split(", ").collect();
    Requirement { id, sentence, driver, types, rules, sabotage, tests }
}

/// Whether the source defines the item.
fn defines(source: &str, item: &str) -> bool {
    ["fn", "struct", "enum", "trait"].iter().any(|keyword| {
        source.match_indices(&format!("{keyword} {item}")).any(|(at, found)| {
            let after = source.get(at + found.len()..).and_then(|rest| rest.chars().next());
            after.is_some_and(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

/// What is wrong with a `file.rs::item` or `file.rs::Type::item` below the folder.
fn defect(folder: &str, name: &str) -> Option<String> {
    let (file, items) = name.split_once("::")?;
    let Ok(source) = fs::read_to_string(path(folder).join(file)) else {
        return Some(format!("{folder}/{file} does not exist"));
    };
    let missing = items.split("::").find(|item| {
        // A type may have methods in several files.
        !defines(&source, item) && !source.contains(&format!("> {item}<"))
    })?;
    Some(format!("{folder}/{file} has no {missing}"))
}

/// The rules that a test is about, if it is one of `rules`; `None` if there is no such test.
fn rules_of(test: &str) -> Option<Vec<String>> {
    let (file, name) = test.split_once("::")?;
    if file == "compile_fail" {
        let exists = path("dma/tests/compile_fail").join(format!("{name}.rs")).exists();
        return exists.then(Vec::new);
    }
    let source = read(&format!("tests/{file}"));
    if defines(&source, name) {
        return Some(Vec::new());
    }
    let kinds = ["breaks", "note", "answer"];
    let mut places =
        kinds.iter().filter_map(|kind| source.split_once(&format!("{kind} {name} {{")));
    let (_, rest) = places.next()?;
    let (list, _) = rest.split_once('[')?.1.split_once(']')?;
    Some(list.split(", ").map(str::to_owned).collect())
}

#[test]
fn every_requirement_is_kept_by_something_that_exists() {
    let document = read("docs/requirements.md");
    let mut defects = Vec::new();
    for requirement in requirements(&document) {
        let items = [("driver/src", requirement.driver), ("dma/src", requirement.types)];
        for (folder, cell) in items {
            let found = quoted(cell).filter_map(|name| defect(folder, name));
            defects.extend(found.map(|defect| format!("{}: {defect}", requirement.id)));
        }
        let mut tested = BTreeSet::new();
        for test in quoted(requirement.tests) {
            match rules_of(test) {
                Some(rules) => tested.extend(rules),
                None => defects.push(format!("{}: no test {test}", requirement.id)),
            }
        }
        for name in &requirement.rules {
            let Ok(rule) = name.parse::<RuleId>() else {
                defects.push(format!("{}: no rule {name}", requirement.id));
                continue;
            };
            if !tested.is_empty() && !tested.contains(&format!("{rule:?}")) {
                defects.push(format!("{}: no test of {rule} is named", requirement.id));
            }
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

#[test]
fn every_duty_has_code_a_type_a_rule_a_sabotage_and_a_test() {
    let document = read("docs/requirements.md");
    let all = requirements(&document);
    let ids: BTreeSet<&str> = all.iter().map(|requirement| requirement.id).collect();
    assert_eq!(ids.len(), all.len(), "an ID is given twice");
    let duties: Vec<_> = all
        .iter()
        .filter(|requirement| {
            let words = requirement.sentence.split([' ', ',']);
            words.into_iter().any(|word| word == "must" || word == "should")
        })
        .collect();
    assert!(duties.len() >= 11, "only {} duties", duties.len());
    for duty in duties {
        let cells = [duty.driver, duty.types, duty.sabotage, duty.tests];
        // The sentence that only points to the others.
        let is_heading = duty.sentence.ends_with(": [D2, D3]");
        assert!(is_heading || cells.iter().all(|cell| *cell != "-"), "{}: a gap", duty.id);
    }
}

#[test]
fn what_the_lab_does_is_done_to_calls_that_exist() {
    let document = read("docs/requirements.md");
    let declared = [read("wdk-lite/src/lists.rs"), read("wdk-lite/src/ntddk.rs")].concat();
    for requirement in requirements(&document) {
        for row in quoted(requirement.sabotage) {
            let (function, deed) = row.split_once('/').unwrap_or((row, ""));
            assert!(!deed.is_empty() && declared.contains(function), "{}: {row}", requirement.id);
        }
    }
}

macro_rules! names {
    ($($nt:ident => $today:ident: fn($($arg:ident: $ty:ty),*) -> $ret:ty, $module:literal;)*) => {
        &[$((stringify!($nt), stringify!($today), $module, [$(stringify!($arg)),*].len())),*]
    };
}

#[test]
fn nt_names_are_those_exported() {
    let exported: &[(&str, &str, &str, usize)] = legacy_exports!(names);
    let document = read("docs/nt-names.md");
    let rows = rows(&document);
    let documented: Vec<_> = rows
        .iter()
        .map(|cells| {
            let &[nt, today, module, arguments] = cells.as_slice() else { panic!("{cells:?}") };
            let (nt, today) = (nt.trim_matches('`'), today.trim_matches('`'));
            (nt, today, module, arguments.split(", ").count())
        })
        .collect();
    assert_eq!(documented, exported);
}

/// Links from one document to another, and to sources.
#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for folder in ["", "docs", "dma"] {
        let entries = fs::read_dir(path(folder)).expect("a folder of the project is readable");
        for file in entries.map(|entry| entry.expect("an entry is readable").path()) {
            if file.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a document is readable");
            for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                if !link.is_empty() && !link.contains("://") {
                    assert!(path(folder).join(link).exists(), "{}: {link}", file.display());
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 0);
}
