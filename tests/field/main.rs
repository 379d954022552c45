//! Wrong drivers from the field: what nthost says of each has to be what the documents say.
//!
//! The drivers are in tests/drivers/field, what the documents say of them in [`expected`]. Each has
//! a twin without the mistake, which has to be clean everywhere.

mod application;
#[path = "../drivers/field/mod.rs"]
mod drivers;
mod expected;

use std::collections::BTreeSet;

use application::Trial;
use expected::{EXPECTED, Expected, Verdict};
use nthost::verifier::Report;
use nthost::{Profile, RuleId};

/// Runs of each driver that has to be found out, and of each that has to lose data.
const SEEDS: u64 = 4;
const SEEDS_TO_LOSE: u64 = 20;

/// What the documents say of this driver.
fn expected(driver: &str) -> &'static Expected {
    EXPECTED.iter().find(|row| row.driver == driver).expect("the driver has its row")
}

/// Whether the report names one of the rules, with a documented code if it has one, and a line of
/// the driver if it is about a call; what is wrong with it otherwise.
fn fault_of(report: &Report, expected: &Expected) -> Option<String> {
    if !expected.rules.contains(&report.rule) {
        return Some(format!("expected {:?}, got {report}", expected.rules));
    }
    if let Some(check) = report.bug_check
        && !(check.code == 0xE6 && expected.codes.contains(&check.parameters[0]))
    {
        return Some(format!("expected {:#x?}, got {report}", expected.codes));
    }
    let is_about_a_call = !report.call.is_empty() && !report.call.starts_with("PFN_");
    // What a device did is about no call, but a physical address comes from one.
    let is_about_a_call = is_about_a_call || report.rule == RuleId::Sim01;
    let text = report.to_string();
    let names_the_driver = text.contains(&format!("drivers/field/{}.rs", expected.driver));
    (is_about_a_call && !names_the_driver).then(|| format!("no line of the driver: {text}"))
}

/// The wrong driver on each machine: stopped or noted as the documents say, in every run.
fn is_found_out(trial: Trial) {
    let expected = expected(trial.name);
    let mut wrong = Vec::new();
    for (profile, verdict) in Profile::ALL.into_iter().zip(expected.verdicts) {
        let mut seen = BTreeSet::new();
        for seed in 1..=SEEDS {
            let end = trial.run(trial.machine(profile, seed), true);
            let rules: Vec<RuleId> = match &end.stopped {
                Some(report) => vec![report.rule],
                None => end.notes.iter().map(|note| note.rule).collect(),
            };
            for report in end.stopped.iter().chain(&end.notes) {
                seen.extend(fault_of(report, expected));
            }
            let fits = match verdict {
                Verdict::Stops => end.stopped.is_some(),
                Verdict::Noted => {
                    end.stopped.is_none() && !end.notes.is_empty() && end.wrong.is_empty()
                }
                Verdict::Data => end.stopped.is_none() && end.notes.is_empty(),
                Verdict::Spared => end.stopped.is_some() || end.wrong.is_empty(),
            };
            if !fits {
                let stopped = end.stopped.is_some();
                seen.insert(format!("stopped: {stopped}, {rules:?}, wrong data: {:?}", end.wrong));
            }
        }
        if !seen.is_empty() {
            wrong.push(format!("{}: expected {verdict:?}: {seen:?}", profile.name()));
        }
    }
    assert!(wrong.is_empty(), "{}: {}\n{}", expected.driver, expected.page, wrong.join("\n"));
}

/// The wrong driver where the machine goes on: wrong data in at least one run.
fn loses_data(trial: Trial) {
    let expected = expected(trial.name);
    for &profile in expected.loses {
        let runs = (1..=SEEDS_TO_LOSE)
            .map(|seed| trial.run(trial.machine(profile, seed).go_on(true), true));
        let mut outcomes = BTreeSet::new();
        let lost = runs.filter(|end| {
            outcomes.insert(end.stopped.as_ref().map(|report| report.rule));
            end.stopped.is_none() && !end.wrong.is_empty()
        });
        let lost = lost.count();
        assert!(lost != 0, "{} on {}: stopped by {outcomes:?}", trial.name, profile.name());
    }
}

/// The driver without its mistake: silence on strict machines, and the right data.
fn twin_is_clean(trial: Trial) {
    for profile in Profile::ALL {
        for seed in 1..=SEEDS {
            let end = trial.run(trial.machine(profile, seed).strict(true), false);
            if let Some(report) = &end.stopped {
                panic!("{}, seed {seed}: {report}", profile.name());
            }
            assert!(end.notes.is_empty(), "{}, seed {seed}: {:#?}", profile.name(), end.notes);
            assert!(end.wrong.is_empty(), "{}, seed {seed}: {:?}", profile.name(), end.wrong);
        }
    }
}

macro_rules! drivers {
    ($($name:ident: $kind:ident;)*) => {
        $(mod $name {
            use crate::application::{Kind, Trial};
            use crate::drivers::$name::Field;
            use crate::drivers::frame::{Driver, driver_entry};

            const TRIAL: Trial = Trial {
                name: stringify!($name),
                kind: Kind::$kind,
                interface: Field::<true>::INTERFACE,
                wrong: driver_entry::<Field<true>>,
                right: driver_entry::<Field<false>>,
            };

            #[test]
            fn is_found_out() {
                crate::is_found_out(TRIAL);
            }

            #[test]
            fn loses_data_where_the_documents_say_so() {
                crate::loses_data(TRIAL);
            }

            #[test]
            fn twin_is_clean() {
                crate::twin_is_clean(TRIAL);
            }
        })*

        #[test]
        fn every_row_has_its_driver() {
            let mut drivers = [$(stringify!($name)),*];
            drivers.sort_unstable();
            let mut rows = EXPECTED.map(|row| row.driver);
            rows.sort_unstable();
            assert_eq!(drivers[..], rows[..]);
        }
    };
}

drivers! {
    advances_by_request: Edu;
    cached_mailbox: Edu;
    completes_first: Edu;
    edits_while_mapped: EduHeader;
    first_element_only: Edu;
    flush_at_start: Edu;
    flushes_then_fills: Edu;
    frees_while_mapped: Edu;
    ignores_flush_result: EduFailedFlush;
    inverted_flush: Edu;
    physical_address: Edu;
    pio_unflushed: Registers;
    slave_unflushed: Slave;
}
