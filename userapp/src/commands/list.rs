//! `dmaproof list`

use std::io::Write;

use serde_json::json;

use crate::cli::ListArgs;
use crate::exit::{AppError, Exit};
use crate::target::{Device, Profile};

/// Why no real device is listed.
const NO_REAL_DEVICES: &str = "none: real devices are available on Windows only";

pub(super) fn run(arguments: &ListArgs, out: &mut dyn Write) -> Result<Exit, AppError> {
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
            "real_devices": [],
            "real_devices_note": NO_REAL_DEVICES,
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
    writeln!(out, "  {NO_REAL_DEVICES}")?;
    Ok(Exit::Intact)
}
