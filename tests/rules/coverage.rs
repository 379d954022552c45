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
    crate::lists::COVERED,
    crate::build_lists::COVERED,
    crate::coherency::COVERED,
    crate::map_registers::COVERED,
    crate::mdl::COVERED,
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
    (RuleId::Dma107, "system DMA needs a slave device and a controller, which are not there yet"),
    (RuleId::Dma108, "as DMA-107"),
    (RuleId::Dma109, "as DMA-107"),
    (RuleId::Kmdf09, "edu keeps its registers in Dx, so none is missing that was not reprogrammed"),
    (RuleId::Kmdf15, "SUR-01's test is the same ISR; no other device shares edu's line"),
    (RuleId::Kmdf19, "a duty of the DPC's own logic: no call breaks it"),
    (RuleId::Kmdf25, "the declarations have no function that gives a request's WDFMEMORY"),
    (RuleId::Sec10, "SUR-02 is the same mistake; its test takes either name"),
    (RuleId::Sec12, "DMA-106 is the same mistake; its test takes either name"),
    (RuleId::Sim03, "the declarations have no access to configuration space"),
    (RuleId::Sim05, "no violation: the end of a run whose device never stopped"),
];

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
