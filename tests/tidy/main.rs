//! What a machine can check about the sources: sizes, leftovers, words that must not be there.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, and of a function.
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Every Rust source of the project, relative to its root.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a folder");
    let mut found = Vec::new();
    collect(root, root, &mut found);
    assert!(found.len() > 100, "only {} sources found", found.len());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(folder).expect("a folder of the project is readable");
    for path in entries.map(|entry| entry.expect("an entry is readable").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_build = name == "target" && !folder.ends_with("src");
        if path.is_dir() && !is_build && !name.starts_with('.') {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is readable");
            let relative = path.strip_prefix(root).expect("found below the root");
            found.push((relative.to_owned(), text));
        }
    }
}

/// Name and length of each function, by its indentation.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words = code.split('(').next().unwrap_or_default();
        let Some(name) = words.split("fn ").nth(1) else { continue };
        let starts = ["fn ", "pub", "const ", "async ", "unsafe ", "extern "];
        if !starts.iter().any(|start| code.starts_with(start))
            || code.ends_with(';')
            || code.ends_with("{}")
        {
            continue;
        }
        let indent = line.len() - code.len();
        let end = lines[number..]
            .iter()
            .position(|l| l.trim_end() == format!("{}}}", " ".repeat(indent)));
        found.extend(end.map(|length| (name, length + 1)));
    }
    found
}

#[test]
fn files_and_functions_stay_small() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push(format!("{}: {lines} lines", path.display()));
        }
        for (name, length) in functions(&text) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}: {name} has {length} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not find itself.
    let words = ["to", "un", "FIX", "XX"].iter().zip(["do!", "implemented!", "ME", "X"]);
    let words: Vec<String> = words.map(|(a, b)| format!("{a}{b}")).collect();
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_driver_has_no_panic_path_of_its_own() {
    let calls = [".unwrap()", ".expect(", "panic!(", "unreachable!("];
    let mut found = Vec::new();
    for (path, text) in sources() {
        let kernel = ["driver/src", "dma/src", "protocol/src"].iter().any(|f| path.starts_with(f));
        if !kernel || path.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            if !comment && calls.iter().any(|call| line.contains(call)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
