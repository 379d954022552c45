//! Whether a machine's verdict is the one that the documents demand.

use nthost::verifier::Report;
use nthost::{Crossing, Policy, RuleId, Scheduling, Stopped};

use crate::lab::FINDINGS;
use crate::{Bench, Case};

/// What a broken case has to be reported as.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The rule that is broken, then those that forbid the same mistake in other words: which
    /// of them a report names is not laid down by the documents.
    pub rules: &'static [RuleId],
    /// Bug check code and first parameter, any of these; empty where no page gives one.
    pub codes: &'static [(u32, u64)],
}

/// The schedulers under which every case has the same verdict.
fn schedulers() -> [Scheduling; 2] {
    let policy = Policy::Random;
    [Scheduling::Straight, Scheduling::Deterministic { processors: 2, policy }]
}

/// Plays the case to the end of the machine.
fn play(case: Case, scheduling: &Scheduling, strict: bool) -> Result<Vec<Report>, Stopped> {
    let mut notes = Vec::new();
    // What a driver before this one found; the deterministic scheduler runs on this thread.
    FINDINGS.take();
    for seed in 1..=case.seeds {
        let mut scheduling = scheduling.clone();
        if let Scheduling::Deterministic { processors, .. } = &mut scheduling {
            // Now one, now two.
            *processors = if seed % 2 == 0 { 1 } else { 2 };
        }
        let machine = case.build(strict, seed).scheduling(scheduling).build();
        machine.run(move |machine| Bench::play(machine, case))?;
        notes.extend(machine.notes());
    }
    Ok(notes)
}

/// How one machine ended, without what may differ between equal runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// What stopped it.
    pub stopped: Option<Named>,
    /// What it noted, in order.
    pub notes: Vec<Named>,
    /// What crossed the border between driver and host, if the machine keeps a log.
    pub crossings: Vec<Crossing>,
}

/// A rule that was named: the rule, the call, the crossing, the bug check.
pub type Named = (RuleId, &'static str, u64, Option<u32>);

impl Played {
    /// Whether nothing was named.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.stopped.is_none() && self.notes.is_empty()
    }
}

fn named(report: &Report) -> Named {
    (report.rule, report.call, report.event, report.bug_check.map(|check| check.code))
}

/// Plays the case with its first seed.
///
/// # Panics
/// When driver or application see something that the documents do not allow.
#[must_use]
pub fn play_once(case: Case) -> Played {
    let machine = case.build(false, 1).build();
    let ended = machine.run(move |machine| Bench::play(machine, case));
    let stopped = ended.as_ref().err().map(|stopped| named(&stopped.report));
    let notes = machine.notes().iter().map(named).collect();
    Played { stopped, notes, crossings: machine.crossings() }
}

/// How the case ends: the notes, or what stopped the machine.
///
/// # Errors
/// What stopped the machine.
///
/// # Panics
/// When driver or application see something that the documents do not allow.
pub fn verdict(case: Case) -> Result<Vec<Report>, Stopped> {
    play(case, &Scheduling::Straight, false)
}

/// The case breaks the rule, and nothing else before it.
///
/// # Panics
/// When the machine says anything else.
pub fn breaks(case: Case, expected: Expected) {
    for scheduling in schedulers() {
        // In some orders of events a mistake does not come to light.
        let seeds = if scheduling == Scheduling::Straight { case.seeds } else { 20 };
        breaks_under(&scheduling, case.seeds(seeds.max(case.seeds)), expected);
    }
}

fn breaks_under(scheduling: &Scheduling, case: Case, expected: Expected) {
    let report = match play(case, scheduling, false) {
        Err(stopped) => stopped.report,
        Ok(notes) => {
            panic!("nobody noticed that {:?} was broken; notes: {notes:#?}", expected.rules)
        }
    };
    assert!(expected.rules.contains(&report.rule), "expected {:?}, got {report}", expected.rules);
    if !expected.codes.is_empty() {
        let check = report.bug_check.map(|check| (check.code, check.parameters[0]));
        let matches = check.is_some_and(|check| expected.codes.contains(&check));
        assert!(matches, "expected one of {:#x?}, got {report}", expected.codes);
    }
    assert_site(&report);
}

/// A report about a call names a line of the lab: that of the call, or of what it is about. One
/// about a callback that has returned, or about a request that nobody will complete, cannot.
fn assert_site(report: &Report) {
    if report.call.is_empty() || report.call.starts_with("PFN_") {
        return;
    }
    let origin = report.origin.map(|origin| origin.call_site());
    let sites = [Some(report.call_site()), origin];
    let named = sites.iter().flatten().any(|site| site.contains("tests/"));
    assert!(named, "no line of the driver in {sites:?}: {report}");
}

/// The case breaks nothing, on a strict machine either.
///
/// # Panics
/// When a rule is reported as broken, or noted as not followed.
pub fn is_clean(case: Case) {
    for (scheduling, strict) in schedulers().iter().flat_map(|s| [(s, false), (s, true)]) {
        match play(case, scheduling, strict) {
            Ok(notes) => assert!(notes.is_empty(), "strict: {strict}: {notes:#?}"),
            Err(stopped) => panic!("strict: {strict}: a correct driver was stopped: {stopped}"),
        }
    }
}

/// The driver's own checks of what the system answers hold, and nothing is broken.
///
/// # Panics
/// When an answer is not the documented one.
pub fn answers(case: Case) {
    is_clean(case);
}

/// The case does not follow the rule, which is harmless here and a violation if strict.
///
/// # Panics
/// When the machine says anything else.
pub fn is_noted(case: Case, rules: &[RuleId]) {
    for scheduling in schedulers() {
        is_noted_under(&scheduling, case, rules);
    }
}

fn is_noted_under(scheduling: &Scheduling, case: Case, rules: &[RuleId]) {
    match play(case, scheduling, false) {
        Ok(notes) => {
            let noted: Vec<RuleId> = notes.iter().map(|note| note.rule).collect();
            let expected = noted.len() == 1 && rules.contains(&noted[0]);
            assert!(expected, "expected one note of {rules:?}, got {notes:#?}");
            assert_site(&notes[0]);
        }
        Err(stopped) => panic!("harmless here, yet stopped: {stopped}"),
    }
    match play(case, scheduling, true) {
        Ok(notes) => panic!("a strict machine noticed nothing; notes: {notes:#?}"),
        Err(stopped) => {
            let rule = stopped.report.rule;
            assert!(rules.contains(&rule), "strict: expected {rules:?}, got {}", stopped.report);
        }
    }
}

/// Declares tests of rules, and `COVERED`, the rules they are about.
///
/// * `breaks name { [rules], [codes], broken: case, clean: case }`: two tests. The first case
///   breaks the first rule (a report may name any of them), with one of these bug checks; the
///   second does the same thing right.
/// * `note name { [rules], broken: case, clean: case }`: the same for what is harmless on this
///   machine.
/// * `answer name { [rules], case }`: one test of what the system has to answer, as the driver's
///   routine checks it.
#[macro_export]
macro_rules! rule_tests {
    ($($kind:ident $name:ident $body:tt)+) => {
        /// The rules that the tests of this section are about.
        pub const COVERED: &[nthost::RuleId] = &[$($crate::rule_tests!(@rule $body)),+];
        $(mod $name {
            use super::*;
            $crate::rule_tests!(@$kind $body);
        })+
    };
    (@rule { [$rule:ident $($rest:tt)*] $($body:tt)* }) => { nthost::RuleId::$rule };
    (@breaks { [$($rule:ident),+], [$($code:expr),* $(,)?],
               broken: $broken:expr, clean: $clean:expr $(,)? }) => {
        #[test]
        fn is_noticed_when_broken() {
            let rules = &[$(nthost::RuleId::$rule),+];
            $crate::breaks($broken, $crate::Expected { rules, codes: &[$($code),*] });
        }

        #[test]
        fn is_quiet_when_kept() {
            $crate::is_clean($clean);
        }
    };
    (@note { [$($rule:ident),+], broken: $broken:expr, clean: $clean:expr $(,)? }) => {
        #[test]
        fn is_noted_when_not_followed() {
            $crate::is_noted($broken, &[$(nthost::RuleId::$rule),+]);
        }

        #[test]
        fn is_quiet_when_kept() {
            $crate::is_clean($clean);
        }
    };
    (@answer { [$($rule:ident),+], $case:expr $(,)? }) => {
        #[test]
        fn is_answered_as_documented() {
            $crate::answers($case);
        }
    };
}
