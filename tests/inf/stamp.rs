//! What stampinf does to the template, in memory.

/// The processor architectures that the driver is built for, as decorations write them.
pub const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Fills the template in: architecture, KMDF version, driver version and catalog.
pub fn stamp(template: &str, architecture: &str) -> String {
    let mut lines = Vec::new();
    let mut in_version = false;
    for line in template.split("\r\n") {
        if line.starts_with('[') {
            in_version = line.eq_ignore_ascii_case("[Version]");
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        lines.push(match key {
            "DriverVer" if in_version => "DriverVer = 11/21/2026,0.1.0.0".to_owned(),
            "CatalogFile" if in_version => "CatalogFile = dmaproof.cat".to_owned(),
            _ => line.replace("$ARCH$", architecture).replace("$KMDFVERSION$", "1.33"),
        });
    }
    lines.join("\r\n")
}
