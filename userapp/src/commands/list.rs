//! `dmaproof list`

use std::io::Write;

use serde_json::json;

use crate::cli::ListArgs;
use crate::exit::{AppError, Exit};
use crate::target::{Device, Profile};

/// What is said when Windows has none.
const NO_REAL_DEVICES: &str = "no started device uses the dmaproof driver";

/// `found` is what [`real_devices`](crate::target::real_devices) returned.
pub(super) fn run(
    arguments: &ListArgs,
    found: &Result<Vec<String>, String>,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let (paths, note) = match found {
        Ok(paths) if paths.is_empty() => (&[][..], Some(NO_REAL_DEVICES)),
        Ok(paths) => (&paths[..], None),
        Err(reason) => (&[][..], Some(reason.as_str())),
    };
    if arguments.json {
        let profiles = Profile::ALL
            .map(|profile| json!({ "profile": profile.name(), "about": profile.about() }));
        let devices =
            Device::ALL.map(|device| json!({ "device": device.name(), "about": device.about() }));
        let document = json!({
            "schema": "dmaproof.list",
            "schema_version": 1,
            "simulated_machines": profiles,
            "simulated_devices": devices,
            "real_devices": paths.iter().map(|path| json!({ "path": path })).collect::<Vec<_>>(),
            "real_devices_note": note.map(|note| format!("none: {note}")),
        });
        writeln!(out, "{document:#}")?;
        return Ok(Exit::Intact);
    }
    writeln!(out, "simulated machines (--sim PROFILE,device=DEVICE)")?;
    for profile in Profile::ALL {
        writeln!(out, "  {:<10} {}", profile.name(), profile.about())?;
    }
    writeln!(out, "devices for them")?;
    for device in Device::ALL {
        writeln!(out, "  {:<10} {}", device.name(), device.about())?;
    }
    writeln!(out, "real devices (--device PATH)")?;
    for path in paths {
        writeln!(out, "  \"{path}\"")?;
    }
    if let Some(note) = note {
        writeln!(out, "  none: {note}")?;
    }
    Ok(Exit::Intact)
}
