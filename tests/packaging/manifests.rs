//! The manifests of `driver/sys` and what it builds on.

use crate::{at, read, toml};

#[test]
fn the_driver_package_has_the_settings_that_the_wdk_asks_for() {
    let manifest = toml("driver/sys/Cargo.toml");
    let expected = [
        (&["package", "name"][..], "dmaproof"),
        (&["package", "build"], "../../build.rs"),
        (&["package", "metadata", "wdk", "driver-model", "driver-type"], "KMDF"),
        (&["profile", "dev", "panic"], "abort"),
        (&["profile", "release", "panic"], "abort"),
        (&["dependencies", "wdk"], "=0.5.0"),
        (&["dependencies", "wdk-panic"], "=0.5.0"),
        (&["dependencies", "wdk-sys"], "=0.5.2"),
        (&["build-dependencies", "wdk-build"], "=0.6.0"),
    ];
    for (path, value) in expected {
        assert_eq!(at(&manifest, path).as_str(), Some(value), "{path:?}");
    }
    let model = ["package", "metadata", "wdk", "driver-model"];
    let version = ["kmdf-version-major", "target-kmdf-version-minor"]
        .map(|key| at(&manifest, &[&model[..], &[key]].concat()).as_integer());
    assert_eq!(version, [Some(1), Some(33)]);
    assert_eq!(at(&manifest, &["profile", "release", "lto"]).as_bool(), Some(true));
    let kinds = at(&manifest, &["lib", "crate-type"]).as_array().expect("a list");
    assert!(matches!(kinds.as_slice(), [kind] if kind.as_str() == Some("cdylib")));
    let features = at(&manifest, &["dependencies", "dmaproof-driver", "features"]);
    assert_eq!(
        features.as_array().map(|f| f.iter().filter_map(|v| v.as_str()).collect()),
        Some(vec!["wdk"])
    );
    assert!(manifest.contains_key("workspace"), "a workspace of its own");
}

#[test]
fn all_crates_take_the_same_bindings() {
    for path in ["driver/Cargo.toml", "dma/Cargo.toml"] {
        let version = at(&toml(path), &["dependencies", "wdk-sys", "version"]).clone();
        assert_eq!(version.as_str(), Some("=0.5.2"), "{path}");
    }
}

#[test]
fn the_c_runtime_is_static_and_the_target_directory_below_the_package() {
    let config = toml("driver/sys/.cargo/config.toml");
    let flags = at(&config, &["build", "rustflags"]).as_array().expect("a list").clone();
    assert!(flags.iter().any(|flag| flag.as_str() == Some("-Ctarget-feature=+crt-static")));
    assert_eq!(at(&config, &["build", "target-dir"]).as_str(), Some("target"));
}

#[test]
fn the_root_workspace_leaves_the_driver_package_out() {
    let workspace = toml("Cargo.toml");
    let excluded = at(&workspace, &["workspace", "exclude"]).as_array().expect("a list").clone();
    assert!(excluded.iter().any(|folder| folder.as_str() == Some("driver/sys")));
    assert!(read("build.rs").contains("wdk_build::configure_wdk_binary_build()"));
    assert!(read("driver/sys/src/lib.rs").contains("#[unsafe(export_name = \"DriverEntry\")]"));
}
