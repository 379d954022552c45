//! Small drivers with a race each, written from the public documentation, and what the policies
//! need to find it. The races need one task to be overtaken at one place.

mod drivers;

use std::sync::Arc;

use dmaproof_tests::lab::{self, INTERFACE, Routine};
use drivers::{completes_once, completes_twice, loses_a_wake_up, wakes};
use nthost::explore::{Exhaustive, Explored};
use nthost::{Access, Builder, Machine, Operation, Policy, Profile, Request, RuleId, Scheduling};
use testdev::model::edu::{Edu, EduConfig};
use wdk_lite::METHOD_BUFFERED;

/// What happens at the same time: one thread sends requests with these routines one after the
/// other, the other one sends a request or cancels.
#[derive(Clone, Copy)]
struct Race {
    first: Routine,
    /// The first routine runs in the queue's handler, not in the work item.
    inline: bool,
    second: Option<Routine>,
}

const LOST: Race = Race { first: loses_a_wake_up, inline: false, second: Some(wakes) };

const TWICE: Race = Race { first: completes_twice, inline: true, second: None };

const ONCE: Race = Race { first: completes_once, inline: true, second: None };

fn request(routine: Routine, inline: bool) -> Request {
    let operation = Operation::Ioctl {
        code: lab::control_code(METHOD_BUFFERED, inline),
        input: lab::encode(routine).to_ne_bytes().to_vec(),
    };
    Request::chain(operation, vec![Vec::<u8>::new()])
}

fn application(m: &Machine, race: Race) {
    lab::SCRIPT.set(drivers::SCRIPT);
    m.load("lab", lab::driver_entry).expect("DriverEntry succeeds");
    m.plug(Box::new(Edu::new(EduConfig::default()))).expect("the device starts");
    let path = m.interfaces(&INTERFACE).pop().expect("the device has its interface");
    let file = Arc::new(m.open(&path, Access::READ_WRITE).expect("it opens"));
    let pending = Arc::new(file.submit(request(race.first, race.inline)));
    let other = {
        let (file, pending) = (Arc::clone(&file), Arc::clone(&pending));
        m.spawn(move |_| match race.second {
            Some(routine) => drop(file.submit(request(routine, true)).wait()),
            None => pending.cancel(),
        })
    };
    // A machine that stops does not come back.
    let _ = other.join();
    m.sleep(1_000_000);
    let pending = Arc::into_inner(pending).expect("the other thread has ended");
    let _ = pending.wait();
    drop(file);
    m.shut_down();
}

/// The rule that a run of the race breaks, if it does.
fn run(builder: Builder, race: Race) -> Option<RuleId> {
    let ended = builder.build().run(move |m| application(m, race));
    ended.err().map(|stopped| stopped.report.rule)
}

fn machine(policy: Policy, seed: u64) -> Builder {
    let scheduling = Scheduling::Deterministic { processors: 2, policy };
    Machine::builder(Profile::X64).scheduling(scheduling).seed(seed)
}

fn explore(race: Race, preemptions: u32) -> Explored<Option<RuleId>> {
    let how = Exhaustive { preemptions: Some(preemptions), ..Exhaustive::default() };
    how.machines(&machine(Policy::Random, 1), |builder| run(builder, race))
}

/// How many of `seeds` runs break a rule.
fn hits(race: Race, policy: &Policy, seeds: u64) -> usize {
    (0..seeds).filter(|&seed| run(machine(policy.clone(), seed), race).is_some()).count()
}

/// PCT for a bug that needs one task to be overtaken: two orderings.
const PCT: Policy = Policy::Pct { depth: 2, steps: 60 };

/// One task overtaken at one place is enough.
fn is_found_by_everything(race: Race, rules: &[RuleId]) {
    let explored = explore(race, 1);

    assert!(explored.complete && explored.runs < 1000, "{} runs", explored.runs);
    let found: Vec<_> = explored.outcomes.keys().flatten().copied().collect();
    assert_eq!(found, rules);
    assert!(explored.outcomes.contains_key(&None), "and some orders are fine");
    for (rule, found) in &explored.outcomes {
        let (list, _) = &found.first;
        let replayed = run(machine(Policy::Replay(list.clone()), list.seed()), race);
        assert_eq!(replayed, *rule, "{list} does it again");
    }
    let straight = explore(race, 0);
    assert!(straight.runs < explored.runs);
}

#[test]
fn a_lost_wake_up_is_found() {
    is_found_by_everything(LOST, &[RuleId::Sim04]);
}

#[test]
fn a_request_completed_by_its_cancel_routine_and_its_dpc_is_found() {
    is_found_by_everything(TWICE, &[RuleId::Kmdf21, RuleId::Kmdf22]);
}

#[test]
fn the_careful_driver_is_right_in_all_orders_with_two_overtakings() {
    let explored = explore(ONCE, 2);
    assert!(explored.complete && explored.runs > 500, "{} runs", explored.runs);
    assert_eq!(explored.outcomes.keys().collect::<Vec<_>>(), [&None]);
}

#[test]
fn random_orders_find_the_lost_wake_up_rarely() {
    let found = hits(LOST, &Policy::Random, 400);
    assert!((1..60).contains(&found), "{found} of 400");
}

#[test]
fn pct_finds_both_within_its_bound() {
    // Two orderings among about 60 decisions of at most 5 actors: one run of 300 at worst.
    for race in [LOST, TWICE] {
        let first = (0..).find(|&seed| run(machine(PCT, seed), race).is_some());
        assert!(first.is_some_and(|seed| seed < 1500), "{first:?}");
    }
}
