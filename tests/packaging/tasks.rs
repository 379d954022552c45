//! The cargo-make tasks.

use toml::{Table, Value};

use crate::{at, read, toml};

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn tasks(makefile: &Table) -> &Table {
    at(makefile, &["tasks"]).as_table().expect("a table")
}

#[test]
fn the_root_has_every_task_and_says_what_it_does() {
    let makefile = toml("Makefile.toml");
    let wanted = [
        "build",
        "certificate",
        "driver-package",
        "sign",
        "imports",
        "app",
        "package",
        "install",
        "uninstall",
        "verifier-on",
        "verifier-off",
        "trace-start",
        "trace-stop",
    ];
    for name in wanted {
        let description = at(&makefile, &["tasks", name, "description"]).as_str();
        assert!(description.is_some_and(|text| text.ends_with('.')), "{name}");
    }
    assert_eq!(at(&makefile, &["config", "default_to_workspace"]).as_bool(), Some(false));
    assert_eq!(at(&makefile, &["config", "skip_core_tasks"]).as_bool(), Some(true));
}

#[test]
fn forwarded_and_needed_tasks_exist() {
    let (root, driver) = (toml("Makefile.toml"), toml("driver/sys/Makefile.toml"));
    let mut forwarded = 0;
    for (name, task) in tasks(&root) {
        for needed in task.get("dependencies").map(words).unwrap_or_default() {
            assert!(tasks(&root).contains_key(needed), "{name} needs {needed}");
        }
        if let Some(["make", "--cwd", "driver/sys", target, ..]) =
            task.get("args").map(words).as_deref()
        {
            // `build` is cargo-make's own.
            assert!(*target == "build" || tasks(&driver).contains_key(*target), "{name}: {target}");
            forwarded += 1;
        }
    }
    assert_eq!(forwarded, 4);
}

#[test]
fn the_driver_takes_the_template_from_inf() {
    let makefile = toml("driver/sys/Makefile.toml");
    assert_eq!(at(&makefile, &["extend"]).as_str(), Some("target/rust-driver-makefile.toml"));
    assert_eq!(at(&makefile, &["config", "default_to_workspace"]).as_bool(), Some(false));
    let load = at(&makefile, &["config", "load_script"]).as_str().expect("a script");
    assert!(load.contains("wdk-build = \"=0.6.0\""), "as the manifest");
    let copy = at(&makefile, &["tasks", "copy-inx-to-output"]);
    assert_eq!(copy.get("clear").and_then(Value::as_bool), Some(true));
    let script = copy.get("script").and_then(Value::as_str).expect("a script");
    assert!(script.contains("/../../inf/dmaproof.inx"));
}

#[test]
fn the_catalog_names_the_oldest_system_of_both_architectures() {
    let makefile = toml("driver/sys/Makefile.toml");
    let path = ["tasks", "inf2cat", "env", "WDK_BUILD_INF2CAT_OS", "mapping"];
    for (target, system) in
        [("x86_64-pc-windows-msvc", "10_CO_X64"), ("aarch64-pc-windows-msvc", "10_CO_ARM64")]
    {
        let systems = at(&makefile, &[&path[..], &[target]].concat()).as_str().expect("a list");
        assert!(systems.split(',').any(|one| one == system), "{target}: {systems}");
    }
}

#[test]
fn the_verifier_watches_what_the_guide_says() {
    let makefile = toml("Makefile.toml");
    let script = at(&makefile, &["tasks", "verifier-on", "script"]).as_str().expect("a script");
    let commands: Vec<&str> =
        script.lines().filter_map(|line| line.strip_prefix("verifier.exe ")).collect();
    assert_eq!(
        commands,
        ["/rc 1 2 4 5 6 8 9 12 18 34 /driver dmaproof.sys", "/bootmode resetonbootfail"]
    );
    for command in commands {
        assert!(read("docs/windows.md").contains(&format!("verifier {command}")), "{command}");
    }
}

#[test]
fn what_the_package_takes_from_the_project_is_there() {
    let makefile = toml("Makefile.toml");
    let script = at(&makefile, &["tasks", "package", "script"]).as_str().expect("a script");
    let files = script.split_whitespace().filter(|word| {
        ["windows/", "docs/", "LICENSE-"].iter().any(|start| word.starts_with(start))
    });
    let mut count = 0;
    for file in files {
        assert!(!read(file).is_empty(), "{file}");
        count += 1;
    }
    assert_eq!(count, 8);
}
