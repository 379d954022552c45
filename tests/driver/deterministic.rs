//! The driver under the deterministic scheduler: every order of events the policies come upon, and
//! the proof that a run can be had again.

use std::sync::Arc;

use dmaproof_protocol::{Direction, Path, status};
use nthost::explore::Exhaustive;
use nthost::{Builder, ChoiceList, Crossing, Machine, Policy, Scheduling, Stopped};
use testdev::model::edu::{Edu, EduConfig};

use crate::common::{Bench, PATHS, bytes, open, with_driver, x64};

/// A machine on which `policy` decides.
fn decided_by(policy: Policy, seed: u64) -> Builder {
    x64().seed(seed).scheduling(Scheduling::Deterministic { processors: 2, policy })
}

const PCT: Policy = Policy::Pct { depth: 3, steps: 500 };

#[test]
fn every_path_moves_data_in_any_order() {
    for seed in 0..20 {
        for policy in [Policy::Random, PCT] {
            with_driver(decided_by(policy, seed), |bench| {
                for path in PATHS {
                    bench.round_trip(path, 3, 3001, 9);
                }
            });
        }
    }
}

#[test]
fn what_the_system_brings_late_goes_back_before_the_device_is_released() {
    for seed in 0..500 {
        let scheduling = Scheduling::Deterministic { processors: 4, policy: Policy::Random };
        let machine = x64().map_registers(Some(1)).seed(seed).scheduling(scheduling).build();
        let ended = machine.run(|m| {
            m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
            let slot = m.plug(Box::new(Edu::new(EduConfig::default()))).expect("it starts");
            let file = Arc::new(open(m));
            let threads: Vec<_> = [Path::Packet, Path::ScatterGather, Path::ScatterGather]
                .into_iter()
                .enumerate()
                .map(|(number, path)| {
                    let file = Arc::clone(&file);
                    m.spawn(move |_| one_thread(&file, number, path))
                })
                .collect();
            for _ in 0..3 {
                m.stop_device(slot).expect("nobody refuses");
                m.restart(slot).expect("it starts again");
            }
            threads.into_iter().for_each(|thread| drop(thread.join().expect("no rule is broken")));
            drop(file);
            m.shut_down();
        });
        ended.unwrap_or_else(|stopped: Stopped| panic!("seed {seed}: {stopped}"));
    }
}

/// What can be seen of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    log: Vec<Crossing>,
    events: u64,
    now: u64,
    choices: ChoiceList,
    ends: Result<Vec<i32>, String>,
}

/// Three threads, each with its own transfers, one of which cancels, on one machine.
fn three_threads(builder: Builder) -> Seen {
    let machine = builder.log_crossings(true).build();
    let result = machine.run(|m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        m.plug(Box::new(Edu::new(EduConfig::default()))).expect("the device starts");
        let file = Arc::new(open(m));
        let threads: Vec<_> = [Path::Packet, Path::ScatterGather, Path::Version3]
            .into_iter()
            .enumerate()
            .map(|(number, path)| {
                let file = Arc::clone(&file);
                m.spawn(move |_| one_thread(&file, number, path))
            })
            .collect();
        let ends = threads.into_iter().flat_map(|thread| thread.join().expect("no rule is broken"));
        let ends = ends.collect::<Vec<_>>();
        drop(file);
        m.shut_down();
        ends
    });
    Seen {
        log: machine.crossings(),
        events: machine.events(),
        now: machine.now(),
        choices: machine.choices(),
        ends: result.map_err(|stopped: Stopped| stopped.to_string()),
    }
}

fn one_thread(file: &nthost::File, number: usize, path: Path) -> Vec<i32> {
    let request = |direction, offset: u64| {
        let mut buffer = nthost::Buffer::at_page_offset(700, 0x40);
        buffer.copy_from_slice(&bytes(number as u8, 700));
        let header = dmaproof_protocol::TransferHeader::new(path, offset, 700);
        let input = zerocopy::IntoBytes::as_bytes(&header).to_vec();
        nthost::Request::ioctl(crate::common::code(direction), input, buffer)
    };
    let offset = 700 * number as u64;
    let sent = file.submit(request(Direction::ToDevice, offset)).wait();
    let back = file.submit(request(Direction::FromDevice, offset));
    if number == 1 {
        back.cancel();
    }
    let (completion, buffer) = back.wait();
    if completion.status.0 == 0 {
        assert!(buffer.buffer() == bytes(number as u8, 700), "thread {number}: data differ");
    } else {
        assert_eq!((completion.status.0, number), (status::CANCELLED, 1));
    }
    vec![sent.0.status.0, completion.status.0]
}

#[test]
fn the_same_seed_makes_the_same_run_event_by_event() {
    for seed in 0..30 {
        for policy in [Policy::Random, PCT] {
            let first = three_threads(decided_by(policy.clone(), seed));
            let second = three_threads(decided_by(policy, seed));
            assert!(first.ends.is_ok(), "seed {seed}: {:?}", first.ends);
            assert!(first == second, "seed {seed}: the runs differ");
        }
    }
}

#[test]
fn a_choice_list_makes_the_same_run_through_its_text() {
    for seed in 0..30 {
        let first = three_threads(decided_by(Policy::Random, seed));
        let list: ChoiceList = first.choices.to_string().parse().expect("its own text");
        let again = three_threads(decided_by(Policy::Replay(list), seed));
        assert!(first == again, "seed {seed}: the runs differ");
    }
}

#[test]
fn different_seeds_make_different_runs() {
    let logs: Vec<_> =
        (0..10).map(|seed| three_threads(decided_by(Policy::Random, seed)).choices).collect();
    let distinct: std::collections::HashSet<_> = logs.iter().collect();
    assert!(distinct.len() > 8, "{} of 10 are distinct", distinct.len());
}

/// A run that breaks a rule: the host leaves the driver's KeFlushIoBuffers out of a strict machine.
fn broken(policy: Policy, seed: u64) -> (String, u64, u64, ChoiceList) {
    let machine = decided_by(policy, seed).strict(true).leave_out("KeFlushIoBuffers").build();
    let stopped = machine
        .run(|m| {
            m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
            let slot = m.plug(Box::new(Edu::new(EduConfig::default()))).expect("it starts");
            let bench = Bench { machine: m, slot, file: open(m).into() };
            let file = Arc::clone(&bench.file);
            let other = m.spawn(move |_: &Machine| file.write_at(0, &bytes(1, 100)).is_ok());
            bench.round_trip(Path::ScatterGather, 0, 1000, 3);
            let _ = other.join();
        })
        .expect_err("the missing flush is a violation on a strict machine");
    let choices = stopped.report.choices.clone().expect("the scheduler has choices");
    (stopped.to_string(), machine.events(), machine.now(), choices)
}

#[test]
fn a_violation_is_reported_alike_from_its_seed_and_from_its_choices() {
    for seed in 0..10 {
        let first = broken(Policy::Random, seed);
        assert!(first.0.contains("choices: "), "{}", first.0);
        assert_eq!(first, broken(Policy::Random, seed));
        let (report, events, now, _) = broken(Policy::Replay(first.3), seed);
        assert_eq!((report, events, now), (first.0, first.1, first.2));
    }
}

/// Two devices of the driver and a thread for each, whose requests complete in the handler.
fn two_devices(builder: Builder) -> Vec<i32> {
    let machine = builder.build();
    let ends = machine.run(|m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        let open = || {
            m.plug(Box::new(Edu::new(EduConfig::default()))).expect("the device starts");
            open(m)
        };
        let threads = [open(), open()].map(|file| {
            m.spawn(move |_| {
                let request = dmaproof_protocol::VersionRequest::new();
                let input = zerocopy::IntoBytes::as_bytes(&request);
                let mut reply = [0; 512];
                let code = dmaproof_protocol::Ioctl::Query.code();
                let done = file.device_io_control(code, input, &mut reply);
                (file, done.map_or_else(|status| status.0, |_| 0))
            })
        });
        threads.map(|thread| thread.join().expect("no rule is broken"))
    });
    // How the files are closed is not explored.
    machine.power_off();
    ends.expect("no rule is broken").map(|(_file, status)| status).to_vec()
}

#[test]
fn sleep_sets_leave_out_what_independent_devices_only_exchange() {
    let builder = decided_by(Policy::Random, 1);
    let explore = |sleep_sets, runs_max| {
        let how = Exhaustive { sleep_sets, preemptions: None, runs_max };
        how.machines(&builder, two_devices)
    };
    let with = explore(true, 500);
    assert!(with.complete, "{} runs, {} given up", with.runs, with.pruned);
    let without = explore(false, with.runs + with.pruned + 1);
    assert!(!without.complete, "without them there is more to run");
    assert!(with.outcomes.keys().eq(without.outcomes.keys()));
}
