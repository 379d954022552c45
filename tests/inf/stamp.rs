//! What stampinf does to the template, in memory.

/// Fills the template in: architecture, KMDF version, date and driver version, and catalog.
pub fn stamp(template: &str, architecture: &str, version: &str) -> String {
    let mut lines = Vec::new();
    let mut in_version = false;
    for line in template.split("\r\n") {
        if line.starts_with('[') {
            in_version = line.eq_ignore_ascii_case("[Version]");
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        lines.push(match key {
            "DriverVer" if in_version => format!("DriverVer = {version}"),
            "CatalogFile" if in_version => "CatalogFile = dmaproof.cat".to_owned(),
            _ => line.replace("$ARCH$", architecture).replace("$KMDFVERSION$", "1.33"),
        });
    }
    lines.join("\r\n")
}
