//! The scheduler with models: what exploration finds, and what it leaves out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use crate::explore::{Body, Exhaustive, Explored, Model, Tasks};
use crate::machine::Policy;

fn everything(sleep_sets: bool) -> Exhaustive {
    Exhaustive { sleep_sets, ..Exhaustive::default() }
}

/// The order in which `tasks` tasks, each with objects of its own or all with the same, took
/// `steps` steps: per object, which is what can be told apart.
fn orders(how: Exhaustive, tasks: usize, steps: usize, shared: bool) -> Explored<Vec<Vec<usize>>> {
    Model::new().explore(how, |model| {
        let seen = RefCell::new(vec![Vec::new(); tasks]);
        let bodies: Vec<_> = (0..tasks)
            .map(|task| {
                let seen = &seen;
                move |tasks: &Tasks<'_>| {
                    let object = if shared { 0 } else { task };
                    for _ in 0..steps {
                        tasks.step(object as u64);
                        seen.borrow_mut()[object].push(task);
                    }
                }
            })
            .collect();
        let bodies: Vec<_> = bodies.iter().map(|body| body as &dyn Fn(&Tasks<'_>)).collect();
        model(&bodies);
        seen.into_inner()
    })
}

#[test]
fn without_sleep_sets_every_order_is_run() {
    // Each task has a first part up to its first step: 3 + 1 moves of two tasks, 8 over 4.
    let explored = orders(everything(false), 2, 3, true);
    assert!(explored.complete && explored.pruned == 0);
    assert_eq!(explored.outcomes.len(), 20, "6 over 3 orders of the steps");
    assert_eq!(explored.runs, 70, "8 over 4 orders of the moves");
}

#[test]
fn sleep_sets_find_the_same_outcomes_in_fewer_runs() {
    for (tasks, steps, shared) in [(2, 3, true), (2, 3, false), (3, 2, true), (3, 2, false)] {
        let all = orders(everything(false), tasks, steps, shared);
        let some = orders(everything(true), tasks, steps, shared);

        assert!(all.complete && some.complete);
        let outcomes = |explored: &Explored<Vec<Vec<usize>>>| -> BTreeSet<_> {
            explored.outcomes.keys().cloned().collect()
        };
        assert_eq!(outcomes(&all), outcomes(&some));
        assert!(some.runs < all.runs, "{} of {} runs", some.runs, all.runs);
        assert_eq!(some.runs, some.outcomes.len() as u64, "one run for each outcome");
    }
}

/// A wake-up that is lost if it comes between the look and the wait.
fn lost_wake_up(model: &mut dyn FnMut(&[&Body<'_>])) -> bool {
    let (ready, signal, lost) = (Cell::new(false), Cell::new(false), Cell::new(false));
    let waits = |tasks: &Tasks<'_>| {
        tasks.step(1);
        if !ready.get() {
            tasks.step(1);
            signal.set(false);
            lost.set(!tasks.wait(1, || signal.get()));
        }
    };
    let wakes = |tasks: &Tasks<'_>| {
        (0..20).for_each(|_| tasks.step(2));
        tasks.step(1);
        ready.set(true);
        signal.set(true);
    };
    model(&[&waits, &wakes]);
    lost.get()
}

#[test]
fn exploring_everything_finds_a_lost_wake_up_and_its_choices_repeat_it() {
    let explored = Model::new().explore(everything(true), lost_wake_up);
    assert!(explored.complete);
    let found = explored.outcomes.get(&true).expect("the wake-up can be lost");

    let model = Model::new().policy(Policy::Replay(found.first.0.clone()), 1);
    let again = lost_wake_up(&mut |tasks| {
        model.run(tasks);
    });

    assert!(again);
}

#[test]
fn pct_finds_it_within_its_bound() {
    // Two orderings, two tasks, about 25 decisions: at worst one run in 2 * 25.
    let found = |policy: &Policy, seed| {
        let model = Model::new().policy(policy.clone(), seed);
        lost_wake_up(&mut |tasks| {
            model.run(tasks);
        })
    };
    let pct = Policy::Pct { depth: 2, steps: 25 };
    let first = (1..).find(|&seed| found(&pct, seed)).expect("some seed finds it");
    assert!(first <= 200, "PCT needed {first} runs");
    let of_random = (1..=2000).filter(|&seed| found(&Policy::Random, seed)).count();
    let of_pct = (1..=2000).filter(|&seed| found(&pct, seed)).count();
    assert!(of_pct > of_random, "PCT {of_pct}, random {of_random} of 2000");
}

#[test]
fn a_bound_on_preemptions_runs_less() {
    let bounded = |preemptions| {
        let how = Exhaustive { preemptions: Some(preemptions), ..Exhaustive::default() };
        orders(how, 2, 3, true)
    };
    let (none, one, two) = (bounded(0), bounded(1), bounded(2));
    assert_eq!(none.outcomes.len(), 2, "one task after the other");
    assert!(none.runs < one.runs && one.runs < two.runs && two.runs < 70);
}

#[test]
fn the_number_of_runs_is_limited() {
    let explored = orders(Exhaustive { runs_max: 5, ..everything(false) }, 3, 3, true);
    assert!(!explored.complete);
    assert_eq!(explored.runs, 5);
}

#[test]
fn a_panic_in_a_task_reaches_the_harness() {
    let caught = std::panic::catch_unwind(|| {
        let fails = |_: &Tasks<'_>| std::panic::resume_unwind(Box::new(7u8));
        let waits = |tasks: &Tasks<'_>| {
            tasks.wait(1, || false);
        };
        Model::new().run(&[&waits, &fails]);
    });
    assert_eq!(caught.expect_err("it panics").downcast_ref::<u8>(), Some(&7));
}
