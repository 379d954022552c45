//! Speed of the deterministic scheduler: how many runs and switches a second on one core.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use dmaproof_benches::{interface, median};
use dmaproof_driver::driver_entry;
use dmaproof_protocol::{Ioctl, VersionRequest};
use nthost::explore::{Body, Exhaustive, Model, Tasks};
use nthost::{Access, Machine, Policy, Profile, Scheduling};
use testdev::model::edu::{Edu, EduConfig};
use zerocopy::IntoBytes;

fn main() {
    println!("median of {} rounds each, one core", dmaproof_benches::ROUNDS);
    models();
    switches();
    machines();
}

/// A request, its DPC and its cancel, as tasks: each takes the lock and looks at the request.
fn three_tasks(run: impl FnOnce(&[&Body<'_>])) -> (u32, bool) {
    let (locked, started, completions) = (Cell::new(false), Cell::new(false), Cell::new(0));
    let cancelled = Cell::new(false);
    let lock = |tasks: &Tasks<'_>| {
        tasks.step(1);
        tasks.wait(1, || !locked.get());
        locked.set(true);
    };
    let unlock = |tasks: &Tasks<'_>| {
        locked.set(false);
        tasks.step(1);
    };
    let request = |tasks: &Tasks<'_>| {
        lock(tasks);
        started.set(true);
        unlock(tasks);
    };
    let complete = || {
        if completions.get() == 0 {
            completions.set(1);
        }
    };
    let dpc = |tasks: &Tasks<'_>| {
        tasks.wait(1, || started.get());
        lock(tasks);
        complete();
        unlock(tasks);
    };
    let cancel = |tasks: &Tasks<'_>| {
        lock(tasks);
        if started.get() {
            cancelled.set(true);
            complete();
        }
        unlock(tasks);
    };
    run(&[&request, &dpc, &cancel]);
    (completions.get(), cancelled.get())
}

fn per_second(time: Duration) -> f64 {
    1.0 / time.as_secs_f64()
}

fn models() {
    println!("\nthree-task model (goal: a million runs a second)");
    for (name, policy) in
        [("random", Policy::Random), ("pct:3", Policy::Pct { depth: 3, steps: 20 })]
    {
        let seed = Cell::new(0);
        let time = median(50_000, || {
            seed.set(seed.get() + 1);
            let model = Model::new().policy(policy.clone(), seed.get());
            black_box(three_tasks(|tasks| {
                model.run(tasks);
            }));
        });
        println!("{name:>10}: {time:?} a run, {:.0} runs a second", per_second(time));
    }
    for sleep_sets in [false, true] {
        let how = Exhaustive { sleep_sets, ..Exhaustive::default() };
        let begin = Instant::now();
        let explored = Model::new().explore(how, |run| three_tasks(|tasks| run(tasks)));
        let (runs, took) = (explored.runs + explored.pruned, begin.elapsed());
        println!(
            "exhaustive, sleep sets {sleep_sets}: {} runs and {} given up in {took:?}, {:.0} a \
             second, {} outcomes",
            explored.runs,
            explored.pruned,
            // CAST: a count for people.
            runs as f64 / took.as_secs_f64(),
            explored.outcomes.len()
        );
    }
}

/// Two tasks that wait for each other in turn.
fn switches() {
    const TURNS: u32 = 100_000;
    let turn = Cell::new(0u32);
    let player = |me: u32| {
        let turn = &turn;
        move |tasks: &Tasks<'_>| {
            for _ in 0..TURNS / 2 {
                tasks.wait(1, || turn.get() % 2 == me);
                turn.set(turn.get() + 1);
            }
        }
    };
    let time = median(1, || {
        turn.set(0);
        Model::new().run(&[&player(0), &player(1)]);
    });
    println!("\nwait and switch to the task waited for: {:?}", time / TURNS);
}

fn query(machine: &Machine) {
    machine.load("dmaproof", driver_entry).expect("the driver loads");
    machine.plug(Box::new(Edu::new(EduConfig::default()))).expect("the device starts");
    let path = machine.interfaces(&interface()).pop().expect("the device has an interface");
    let file = machine.open(&path, Access::READ_WRITE).expect("the device opens");
    let request = VersionRequest::new();
    let mut reply = [0; 512];
    let code = Ioctl::Query.code();
    black_box(file.device_io_control(code, request.as_bytes(), &mut reply).expect("query"));
}

fn machines() {
    println!("\nmachine, driver, device, one request");
    let deterministic = Scheduling::Deterministic { processors: 2, policy: Policy::Random };
    for (name, scheduling) in [("deterministic", deterministic), ("straight", Scheduling::Straight)]
    {
        let builder = Machine::builder(Profile::X64).scheduling(scheduling);
        let empty = median(500, || {
            black_box(builder.clone().build());
        });
        let time = median(500, || {
            let machine = builder.clone().build();
            machine.run(query).expect("no rule is broken");
        });
        println!("{name:>14}: {time:?}, of which {empty:?} build the empty machine");
    }
}
