//! The files that build, package, trace and try the driver on Windows say what they must. They
//! cannot be run here; what can be known by reading them is.

mod manifests;
mod tasks;
mod trace;
mod workflow;

use std::fs;
use std::path::Path;

/// A file of the project.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A TOML file of the project.
fn toml(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value at a path of keys.
fn at<'a>(table: &'a toml::Table, path: &[&str]) -> &'a toml::Value {
    let (first, rest) = path.split_first().expect("a path has keys");
    let mut value = table.get(*first).unwrap_or_else(|| panic!("{first} is missing"));
    for key in rest {
        value = value.get(key).unwrap_or_else(|| panic!("{path:?}: {key} is missing"));
    }
    value
}
