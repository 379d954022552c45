//! The continuous integration workflow.

use yaml_rust2::{Yaml, YamlLoader};

use crate::read;

fn workflow() -> Yaml {
    let text = read(".github/workflows/ci.yml");
    YamlLoader::load_from_str(&text).expect("well-formed YAML").remove(0)
}

/// All commands of a job.
fn commands(workflow: &Yaml, job: &str) -> String {
    let steps = workflow["jobs"][job]["steps"].as_vec().unwrap_or_else(|| panic!("job {job}"));
    steps.iter().filter_map(|step| step["run"].as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_job_does_its_part() {
    let workflow = workflow();
    for (job, system, command) in [
        ("linux", "ubuntu", ".ci/run"),
        ("windows-tests", "windows", "cargo test"),
        ("windows-driver", "windows", "cargo make package"),
    ] {
        let runner = workflow["jobs"][job]["runs-on"].as_str().expect("a runner");
        assert!(runner.starts_with(system), "{job}: {runner}");
        assert!(commands(&workflow, job).contains(command), "{job}");
        assert!(workflow["jobs"][job]["timeout-minutes"].as_i64().is_some(), "{job}");
    }
}

#[test]
fn the_package_is_verified_and_uploaded() {
    let workflow = workflow();
    let commands = commands(&workflow, "windows-driver");
    assert!(commands.contains("& $signtool verify /v /pa /c \"$package\\dmaproof.cat\""));
    let steps = workflow["jobs"]["windows-driver"]["steps"].as_vec().expect("a list");
    let actions = steps.iter().filter_map(|step| step["uses"].as_str());
    assert_eq!(actions.filter(|action| action.starts_with("actions/upload-artifact")).count(), 1);
    // RPCRT4.dll above all: the task lets the kernel's own libraries through and nothing else.
    let makefile = crate::toml("Makefile.toml");
    let imports = crate::at(&makefile, &["tasks", "imports", "script"]).as_str().expect("a script");
    assert!(imports.contains("$allowed = 'ntoskrnl.exe', 'hal.dll', 'WDFLDR.SYS'"));
    let needed = crate::at(&makefile, &["tasks", "package", "dependencies"]).as_array();
    assert!(needed.is_some_and(|all| all.iter().any(|one| one.as_str() == Some("imports"))));
}

#[test]
fn the_driver_is_built_for_both_architectures() {
    let workflow = workflow();
    let matrix = &workflow["jobs"]["windows-driver"]["strategy"]["matrix"]["include"];
    let targets: Vec<_> =
        matrix.as_vec().expect("a list").iter().filter_map(|one| one["target"].as_str()).collect();
    assert_eq!(targets, ["x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"]);
}
