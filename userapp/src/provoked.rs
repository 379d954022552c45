//! Failures that the user asked for, and whether they happened: calls that fail, and what a device
//! is told to do wrong. A run in which one never happened shows nothing about it.

use std::io::{self, Write};

use maud::{Markup, html};
use serde::Serialize;

use crate::describe::count;

/// How many places of one are kept.
const PLACES_KEPT: usize = 8;

/// A failure that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provoked {
    /// The option that asks for it, such as `fail=12` or `inject=short-transfer:3`.
    pub option: String,
    /// What it happens to, such as `call` or `command`.
    pub what: &'static str,
    /// How often it happened.
    pub happened: u64,
    /// Where in the driver, if it happens to calls: the first places.
    pub places: Vec<String>,
    /// Whether chance decides if it happens: then it need not.
    pub by_chance: bool,
    /// What to do if it never happened.
    pub hint: String,
}

/// Adds those of another run of the same machine.
pub fn add(all: &mut Vec<Provoked>, more: impl IntoIterator<Item = Provoked>) {
    for one in more {
        match all.iter_mut().find(|known| known.option == one.option) {
            Some(known) => {
                known.happened += one.happened;
                let news: Vec<_> =
                    one.places.into_iter().filter(|new| !known.places.contains(new)).collect();
                known.places.extend(news);
                known.places.truncate(PLACES_KEPT);
            }
            None => all.push(one),
        }
    }
}

/// That one never happened, in words, if so; chance may have decided it.
#[must_use]
pub fn missed(all: &[Provoked]) -> Option<String> {
    let one = all.iter().find(|one| one.happened == 0 && !one.by_chance)?;
    Some(format!("{} never happened: {}", one.option, one.hint))
}

impl Provoked {
    /// What became of it, in words.
    fn outcome(&self) -> String {
        match (self.happened, self.by_chance) {
            (0, true) => return format!("never happened: {}", self.hint),
            (0, false) => return "never happened".to_owned(),
            _ => {}
        }
        let mut text = count(self.happened, self.what);
        if !self.places.is_empty() {
            text = format!("{text}: {}", self.places.join("; "));
        }
        text
    }
}

/// Writes them for people.
///
/// # Errors
///
/// Those of the output.
pub fn write(out: &mut dyn Write, all: &[Provoked]) -> io::Result<()> {
    if !all.is_empty() {
        writeln!(out, "\nfailures that were asked for")?;
    }
    for one in all {
        writeln!(out, "  {}: {}", one.option, one.outcome())?;
    }
    Ok(())
}

/// A panel of them for a page; nothing if there are none.
#[must_use]
pub fn panel(all: &[Provoked]) -> Markup {
    html! {
        @if !all.is_empty() {
            section.panel {
                h2 { "Failures that were asked for" }
                ul { @for one in all { li { code { (one.option) } ": " (one.outcome()) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provoked(option: &str, happened: u64, by_chance: bool) -> Provoked {
        Provoked {
            option: option.to_owned(),
            what: "call",
            happened,
            places: vec![format!("place {happened}")],
            by_chance,
            hint: "try another".to_owned(),
        }
    }

    #[test]
    fn what_never_happened_is_missed_unless_chance_decides() {
        assert_eq!(missed(&[]), None);
        assert_eq!(
            missed(&[provoked("fail=1", 1, false), provoked("fail=random:9", 0, true)]),
            None
        );
        let text = missed(&[provoked("fail=1", 1, false), provoked("fail=2", 0, false)]).unwrap();
        assert_eq!(text, "fail=2 never happened: try another");
    }

    #[test]
    fn runs_of_the_same_machine_are_counted_together() {
        let mut all = Vec::new();
        add(&mut all, [provoked("fail=1", 0, false)]);
        assert!(missed(&all).is_some());
        add(&mut all, [provoked("fail=1", 3, false), provoked("fail=2", 1, false)]);
        assert_eq!(missed(&all), None);
        assert_eq!((all[0].happened, all[0].places.len(), all.len()), (3, 2, 2));
    }
}
