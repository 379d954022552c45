//! The package's INF: stamped as the WDK's stampinf does it, and checked by the rules that the
//! tests hold the template to.

// The reader, the stamp and the rules are the tests'; they are used here as they are.
#[path = "../../../tests/inf/check.rs"]
mod check;
#[path = "../../../tests/inf/install.rs"]
mod install;
#[path = "../../../tests/inf/parse.rs"]
mod parse;
#[path = "../../../tests/inf/stamp.rs"]
mod stamp;

use der::DateTime;

use super::Error;
use parse::Inf;

/// The architecture in decorations.
const ARCHITECTURE: &str = "amd64";

/// A stamped INF.
#[derive(Debug)]
pub struct Stamped {
    /// The text of the file.
    pub text: String,
    /// The hardware IDs it matches.
    pub hardware: Vec<String>,
}

/// Stamps the template with the version of this project and the day.
pub fn stamp(template: &str, day: DateTime) -> Result<Stamped, Error> {
    let date = format!("{:02}/{:02}/{}", day.month(), day.day(), day.year());
    let version = format!("{date},{}.0", env!("CARGO_PKG_VERSION"));
    let text = stamp::stamp(template, ARCHITECTURE, &version);
    let inf = Inf::parse(&text).map_err(|fault| Error::Inf(vec![fault]))?;
    let faults = check::check(&inf, ARCHITECTURE);
    if !faults.is_empty() {
        return Err(Error::Inf(faults));
    }
    Ok(Stamped { hardware: hardware(&inf), text })
}

/// The IDs of all models: the second value of each model's line.
fn hardware(inf: &Inf) -> Vec<String> {
    let models = inf.sections().iter().filter(|section| {
        let decoration = format!(".NT{ARCHITECTURE}.");
        section.name.contains(&decoration)
    });
    models.flat_map(|section| &section.entries).map(|entry| entry.value(1).to_owned()).collect()
}
