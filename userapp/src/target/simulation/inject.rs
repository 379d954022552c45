//! Faults that the exerciser is told to have (docs/exerciser.md, "Fault injection"), as the command
//! line names them.

use std::fmt;
use std::str::FromStr;

use testdev::exerciser::FaultKind;
use testdev::exerciser::registers::FAULTS;
use testdev::model::exerciser::Fault;

/// The word for commands without end.
const ALL: &str = "all";

/// What the exerciser's fault slots are armed with: none, or up to as many as it has.
///
/// Its text is `KIND[:ARGUMENT[:SKIP[:COUNT]]]`, several joined by `+`; what is left out is 0, 0
/// and 1. COUNT can be `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injection(Vec<Fault>);

impl Injection {
    /// Whether the device is healthy.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults, one for each slot.
    #[must_use]
    pub fn slots(&self) -> [Option<Fault>; FAULTS] {
        std::array::from_fn(|slot| self.0.get(slot).copied())
    }

    /// The option of each fault alone.
    pub fn options(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|fault| format!("inject={}", text(fault)))
    }
}

/// The name of a fault in docs/exerciser.md, with hyphens.
#[must_use]
pub const fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::ShortTransfer => "short-transfer",
        FaultKind::CorruptByte => "corrupt-byte",
        FaultKind::WrongOffset => "wrong-offset",
        FaultKind::LostInterrupt => "lost-interrupt",
        FaultKind::DuplicateInterrupt => "duplicate-interrupt",
        FaultKind::LateInterrupt => "late-interrupt",
        FaultKind::EarlyInterrupt => "early-interrupt",
        FaultKind::SpuriousInterrupt => "spurious-interrupt",
        FaultKind::WrongVector => "wrong-vector",
        FaultKind::CompletionBeforeData => "completion-before-data",
        FaultKind::Stall => "stall",
        FaultKind::IgnoredAbort => "ignored-abort",
        FaultKind::BadAddress => "bad-address",
        FaultKind::FailedCommand => "failed-command",
        FaultKind::DuplicateCompletion => "duplicate-completion",
        FaultKind::IgnoredReset => "ignored-reset",
    }
}

fn text(fault: &Fault) -> String {
    let count = match fault.count {
        u32::MAX => ALL.to_owned(),
        count => count.to_string(),
    };
    let fields = [fault.argument.to_string(), fault.skip.to_string(), count];
    // What is as it would be without being said is not said.
    let said = match (fault.argument, fault.skip, fault.count) {
        (0, 0, 1) => 0,
        (_, 0, 1) => 1,
        (_, _, 1) => 2,
        _ => 3,
    };
    let fields = fields.iter().take(said).map(|field| format!(":{field}"));
    std::iter::once(name(fault.kind).to_owned()).chain(fields).collect()
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(text).collect::<Vec<_>>().join("+"))
    }
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let faults = text.split('+').map(fault).collect::<Result<Vec<_>, _>>()?;
        if faults.len() > FAULTS {
            return Err(format!(
                "the exerciser has {FAULTS} fault slots, and inject names {} faults",
                faults.len()
            ));
        }
        // A command has one fault of a kind: the second slot's would never be seen.
        for (at, fault) in faults.iter().enumerate() {
            if faults[..at].contains(fault) {
                return Err(format!("inject names {} twice in the same way", name(fault.kind)));
            }
        }
        Ok(Self(faults))
    }
}

fn fault(text: &str) -> Result<Fault, String> {
    let mut fields = text.split(':');
    let kind = fields.next().unwrap_or_default();
    let known = FaultKind::ALL.into_iter().find(|known| name(*known) == kind);
    let known = known.ok_or_else(|| super::unknown("fault", kind, &FaultKind::ALL.map(name)))?;
    let mut next = |what: &str, else_: u64, most: u64| match fields.next() {
        None => Ok(else_),
        Some(ALL) if what == "COUNT" => Ok(u64::from(u32::MAX)),
        Some(text) => super::number(&format!("{what} of {kind}"), text, 0, most),
    };
    let most = u64::from(u32::MAX - 1);
    let argument = next("ARGUMENT", 0, u64::MAX)?;
    // CAST: at most `most`, or all ones.
    let (skip, count) = (next("SKIP", 0, most)? as u32, next("COUNT", 1, most)? as u32);
    if fields.next().is_some() || count == 0 {
        return Err(format!(
            "`{text}` is not of the form KIND[:ARGUMENT[:SKIP[:COUNT]]] with a COUNT of at least 1, \
             or {ALL}"
        ));
    }
    if argument == 0 && needs_argument(known) {
        return Err(format!(
            "{kind} by 0 is no fault; give an ARGUMENT of at least 1, such as {kind}:64"
        ));
    }
    Ok(Fault::new(known, argument).after(skip).times(count))
}

/// Whether a command with this fault and the argument 0 is a healthy one.
const fn needs_argument(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::ShortTransfer
            | FaultKind::WrongOffset
            | FaultKind::LateInterrupt
            | FaultKind::BadAddress
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_faults_is_read_back() {
        for text in [
            "short-transfer:3",
            "stall",
            "stall:0:5+ignored-abort:0:5",
            "lost-interrupt:0:0:all",
            "corrupt-byte:17:100:2",
        ] {
            assert_eq!(text.parse::<Injection>().unwrap().to_string(), text);
        }
        let hexadecimal: Injection = "bad-address:0x40000000".parse().unwrap();
        assert_eq!(hexadecimal.to_string(), "bad-address:1073741824");
    }

    #[test]
    fn every_fault_of_the_manual_has_its_name() {
        let manual = include_str!("../../../../docs/exerciser.md");
        for kind in FaultKind::ALL {
            let row = format!("| {} | {} |", kind.code(), name(kind).replace('-', " "));
            assert!(manual.contains(&row), "{row}");
            let alone = name(kind).parse::<Injection>();
            let with_argument = format!("{}:1", name(kind)).parse();
            assert_eq!(with_argument, Ok(Injection(vec![Fault::new(kind, 1)])));
            assert_eq!(alone.is_err(), needs_argument(kind), "{alone:?}");
        }
    }

    #[test]
    fn what_is_no_fault_is_answered_with_those_that_are() {
        let error = "gremlin:3".parse::<Injection>().unwrap_err();
        assert!(error.contains("`gremlin`") && error.contains("short-transfer, corrupt-byte"));
        for text in ["", "stall:", "stall:x", "stall:1:2:0", "stall:1:2:3:4", "stall+stall"] {
            assert!(text.parse::<Injection>().is_err(), "{text}");
        }
        let five = "stall:1+stall:2+stall:3+stall:4+stall:5".parse::<Injection>().unwrap_err();
        assert!(five.contains("4 fault slots"), "{five}");
    }
}
