//! Every rule that is checked at run time has a test, or a reason why it has none.

use std::collections::BTreeSet;

use nthost::RuleId;
use nthost::verifier::catalogue::{self, Home};

/// The rules that the sections' tests are about.
const SECTIONS: &[&[RuleId]] = &[
    crate::adapter::COVERED,
    crate::release::COVERED,
    crate::common_buffer::COVERED,
    crate::common_buffer_ex::COVERED,
    crate::channel::COVERED,
    crate::transfer::COVERED,
    crate::version3::COVERED,
    crate::version3_map::COVERED,
    crate::version3_lists::COVERED,
    crate::legacy::COVERED,
    crate::lists::COVERED,
    crate::build_lists::COVERED,
    crate::coherency::COVERED,
    crate::incoherent::COVERED,
    crate::common_coherency::COVERED,
    // A neighbour's store is seen beside another breach only; a requester's breaks nothing.
    &[RuleId::Sim13, RuleId::Sim16],
    crate::map_registers::COVERED,
    crate::mdl::COVERED,
    crate::system::COVERED,
    crate::system_version3::COVERED,
    crate::pnp::COVERED,
    crate::interrupts::COVERED,
    crate::requests::COVERED,
    crate::queues::COVERED,
    crate::objects::COVERED,
    crate::removal::COVERED,
    crate::stack::COVERED,
];

/// Rules with a run-time home and without a test here, and why.
const UNTESTED: &[(RuleId, &str)] = &[
    (RuleId::Dma37, "a driver breaks it by loads from the IRP, which no check at run time sees"),
    (RuleId::Kmdf09, "edu keeps its registers in Dx, so none is missing that was not reprogrammed"),
    (RuleId::Kmdf15, "SUR-01's test is the same ISR; no other device shares edu's line"),
    (RuleId::Kmdf19, "a duty of the DPC's own logic: no call breaks it"),
    (RuleId::Kmdf25, "the declarations have no function that gives a request's WDFMEMORY"),
    (RuleId::Sec10, "SUR-02 is the same mistake; its test takes either name"),
    (RuleId::Sec12, "DMA-106 is the same mistake; its test takes either name"),
    (RuleId::Sim03, "the declarations have no access to configuration space"),
    (RuleId::Sim05, "no violation: the end of a run whose device never stopped"),
    (RuleId::Sim14, "needs a driver image: nthost's own tests of images break it"),
    (RuleId::Sim15, "as SIM-14"),
];

/// The sources of wdk-dma, all in one.
fn safe_layer() -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dma/src");
    let files = std::fs::read_dir(folder).expect("the crate has sources");
    let paths = files.map(|file| file.expect("an entry is readable").path());
    let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.map(|path| std::fs::read_to_string(path).expect("a source is readable")).collect()
}

#[test]
fn every_type_that_a_rule_names_exists() {
    let text = safe_layer();
    let exists = |name: &str| {
        ["struct", "enum", "trait", "fn"].iter().any(|kind| {
            ["<", " ", "(", ":", ";"]
                .iter()
                .any(|end| text.contains(&format!("pub {kind} {name}{end}")))
        })
    };

    let unknown: Vec<&str> = catalogue::all()
        .iter()
        .flat_map(|rule| rule.homes)
        .filter_map(|home| match home {
            Home::Type(path) => Some(*path),
            _ => None,
        })
        .filter(|path| !exists(path.rsplit("::").next().unwrap_or(path)))
        .collect();

    assert!(unknown.is_empty(), "wdk-dma has no {unknown:?}");
}

fn covered() -> BTreeSet<RuleId> {
    SECTIONS.iter().flat_map(|section| section.iter().copied()).collect()
}

#[test]
fn every_checked_rule_has_a_test_or_a_reason() {
    let covered = covered();
    let known = |id| covered.contains(&id) || UNTESTED.iter().any(|(rule, _)| *rule == id);
    let is_checked = |home: &Home| matches!(home, Home::Check | Home::Note);

    let missing: Vec<&str> = catalogue::all()
        .iter()
        .filter(|rule| rule.homes.iter().any(is_checked) && !known(rule.id))
        .map(|rule| rule.id.name())
        .collect();

    assert!(missing.is_empty(), "rules without a test: {missing:?}");
}

#[test]
fn no_rule_is_tested_and_excused() {
    let covered = covered();

    let both: Vec<&str> = UNTESTED
        .iter()
        .filter(|(rule, reason)| covered.contains(rule) || reason.is_empty())
        .map(|(rule, _)| rule.name())
        .collect();

    assert!(both.is_empty(), "{both:?}");
}
