//! A queue for each processor: a request goes to the queue of the processor it is begun on, and its
//! interrupt and DPC come back there.

use std::sync::Arc;

use dmaproof_protocol::{Direction, Ioctl, Path, Statistics, TransferHeader, status};
use nthost::{
    Buffer, Builder, Crossing, Machine, Policy, Profile, Request, Scheduling, Stopped, Value, Way,
};
use testdev::exerciser::{FaultKind, QUEUES};
use testdev::model::exerciser::{Exerciser, ExerciserConfig, Fault};
use zerocopy::IntoBytes;

use super::{card, model, slow};
use crate::common::{Bench, bytes, code, open, shut_down, x64};

/// Threads that send requests, how many each, how many of those at a time, and their length: one
/// command each.
const THREADS: usize = 6;
const EACH: usize = 24;
const DEPTH: usize = 4;
const LENGTH: usize = 3072;

/// Numbers of processors: fewer than queues, as many, more.
const PROCESSORS: [usize; 4] = [1, 2, 4, 5];

fn threads(processors: usize) -> Builder {
    x64().scheduling(Scheduling::Threads { processors })
}

/// What a machine did.
struct Seen {
    crossings: Vec<Crossing>,
    /// Commands that each queue completed.
    commands: [u64; QUEUES],
    /// Status of every request.
    ends: Vec<i32>,
    statistics: Statistics,
}

/// Where on the card a request's data lies.
fn place(thread: usize, request: usize) -> u64 {
    // CAST: small numbers.
    ((thread * EACH + request) * 4096) as u64
}

fn data(thread: usize, request: usize) -> Vec<u8> {
    // CAST: any byte will do.
    bytes((thread * EACH + request) as u8, LENGTH)
}

/// One thread's requests to the device, of which it cancels every `cancels`-th.
fn send(bench: &Bench, thread: usize, cancels: Option<usize>) -> Vec<i32> {
    let mut ends = Vec::new();
    for group in (0..EACH).collect::<Vec<_>>().chunks(DEPTH) {
        let submit = |&request: &usize| {
            let to = place(thread, request);
            // CAST: small.
            let header = TransferHeader::new(Path::ScatterGather, to, LENGTH as u64);
            // Wherever it lies in memory it lies in its pages alike.
            let mut buffer = Buffer::at_page_offset(LENGTH, 0x40);
            buffer.copy_from_slice(&data(thread, request));
            let (code, input) = (code(Direction::ToDevice), header.as_bytes().to_vec());
            bench.file.submit(Request::ioctl(code, input, buffer))
        };
        let pending: Vec<_> = group.iter().map(submit).collect();
        for (request, pending) in group.iter().zip(pending) {
            if cancels.is_some_and(|cancels| request % cancels == 0) {
                pending.cancel();
            }
            let end = pending.wait().0.status.0;
            if end == status::SUCCESS {
                let arrived = card(bench, place(thread, *request), LENGTH);
                assert!(arrived == data(thread, *request), "thread {thread}: data differ");
            }
            ends.push(end);
        }
    }
    ends
}

fn ok<T>(result: Result<T, Stopped>) -> T {
    result.unwrap_or_else(|stopped| panic!("{stopped}"))
}

/// Runs all threads, and `meanwhile` beside them.
fn run(
    builder: Builder,
    config: ExerciserConfig,
    cancels: Option<usize>,
    meanwhile: impl FnOnce(&Bench) + Send + 'static,
) -> Seen {
    let machine = builder.log_crossings(true).build();
    let handle = machine.clone();
    let (slot, file) = ok(machine.run(move |m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        let slot = m.plug(Box::new(Exerciser::new(config))).expect("the device starts");
        (slot, Arc::new(open(m)))
    }));
    let begin = |thread| {
        let file = Arc::clone(&file);
        machine.spawn(move |machine| send(&Bench { machine, slot, file }, thread, cancels))
    };
    let running: Vec<_> = (0..THREADS).map(begin).collect();
    let other = Arc::clone(&file);
    ok(machine.spawn(move |machine| meanwhile(&Bench { machine, slot, file: other })).join());
    let ends = running.into_iter().flat_map(|thread| ok(thread.join())).collect();
    let (commands, statistics) = ok(machine.run(move |machine| {
        let bench = Bench { machine, slot, file };
        (model(&bench, |exerciser| exerciser.commands_by_queue()), bench.statistics())
    }));
    ok(shut_down(&handle));
    assert_eq!(handle.notes().len(), 0, "{:#?}", handle.notes());
    Seen { crossings: handle.crossings(), commands, ends, statistics }
}

impl Seen {
    /// The processors of the crossings that `which` names.
    fn processors<'s>(
        &'s self,
        which: impl Fn(&Crossing) -> bool + 's,
    ) -> impl Iterator<Item = usize> + 's {
        let found = self.crossings.iter().filter(move |crossing| which(crossing));
        found.map(|crossing| crossing.processor)
    }

    /// How many transfers were begun for each queue.
    fn begun(&self) -> [u64; QUEUES] {
        let code = Value::Number(Ioctl::ToDevice.code().into());
        let is_transfer = move |crossing: &Crossing| {
            crossing.way == Way::Callback
                && crossing.name == "PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL"
                && crossing.values.last() == Some(&code)
        };
        let mut begun = [0; QUEUES];
        self.processors(is_transfer).for_each(|processor| begun[processor % QUEUES] += 1);
        begun
    }

    /// Service routines run where their message is directed, and DPCs where they were queued.
    /// Returns how many DPCs ran on each processor.
    fn interrupts_come_back(&self, processors: usize, messages: bool) -> Vec<u64> {
        let (mut queued, mut run) = (vec![0; processors], vec![0; processors]);
        for crossing in &self.crossings {
            let here = crossing.processor;
            match (crossing.way, crossing.name) {
                (Way::Callback, "PFN_WDF_INTERRUPT_ISR") => {
                    let [_, Value::Number(message)] = crossing.values[..] else {
                        panic!("a service routine has two arguments: {crossing:?}");
                    };
                    // CAST: a few.
                    let message = message as usize;
                    let directed = message < QUEUES.min(processors);
                    assert!(!directed || here == message, "message {message} on {here}");
                    assert!(messages || message == 0, "a line has no message {message}");
                }
                (Way::Return, "WdfInterruptQueueDpcForIsr") => {
                    queued[here] += u64::from(crossing.values[0] == Value::Number(1));
                }
                (Way::Callback, "PFN_WDF_INTERRUPT_DPC") => run[here] += 1,
                _ => {}
            }
        }
        assert_eq!(run, queued, "a DPC runs where its service routine queued it");
        run
    }

    /// The driver was told the number of the processor it was on.
    fn knows_its_processors(&self) {
        let name = "KeGetCurrentProcessorNumberEx";
        let told = self.crossings.iter().filter(|c| c.way == Way::Return && c.name == name);
        let mut count = 0;
        for crossing in told {
            // CAST: a few.
            assert_eq!(crossing.values[0], Value::Number(crossing.processor as u64));
            count += 1;
        }
        assert_eq!(count, THREADS * EACH, "once for each request");
    }
}

#[test]
fn requests_go_to_the_queue_of_their_processor_and_come_back_there() {
    for processors in PROCESSORS {
        for messages in [true, false] {
            let builder = threads(processors).message_interrupts(messages);
            let seen = run(builder, ExerciserConfig::default(), None, |_| {});

            assert!(seen.ends.iter().all(|end| *end == status::SUCCESS));
            seen.knows_its_processors();
            assert_eq!(seen.commands, seen.begun(), "{processors} processors");
            let used = seen.commands.iter().filter(|commands| **commands != 0).count();
            assert_eq!(used, processors.min(QUEUES), "{:?}", seen.commands);
            let dpcs = seen.interrupts_come_back(processors, messages);
            let elsewhere = dpcs.iter().skip(if messages { QUEUES } else { 1 }).sum::<u64>();
            assert_eq!(elsewhere, 0, "{processors} processors: {dpcs:?}");
        }
    }
}

#[test]
fn a_cancelled_request_is_aborted_in_its_queue() {
    for processors in PROCESSORS {
        let seen = run(threads(processors), slow(), Some(3), |_| {});

        let known = [status::SUCCESS, status::CANCELLED];
        assert!(seen.ends.iter().all(|end| known.contains(end)), "{:x?}", seen.ends);
        // An abort in another queue would be ignored, and its request stay until it is late.
        let late = (seen.statistics.timed_out, seen.statistics.resets);
        assert_eq!(late, (0, 0), "{processors} processors");
        assert!(seen.statistics.aborts > 0, "nothing was aborted in flight");
        let begun = seen.begun();
        for (commands, begun) in seen.commands.iter().zip(begun) {
            assert!(*commands <= begun, "{:?} of {begun:?}", seen.commands);
        }
        seen.interrupts_come_back(processors, true);
    }
}

#[test]
fn what_is_begun_again_after_a_reset_stays_in_its_queue() {
    for processors in PROCESSORS {
        let seen = run(threads(processors), slow(), None, |bench| {
            for _ in 0..3 {
                bench.machine.sleep(30_000);
                super::reset(bench).expect("the exerciser can be reset");
            }
        });

        assert!(seen.ends.iter().all(|end| *end == status::SUCCESS), "{:x?}", seen.ends);
        assert!(seen.statistics.resets >= 1);
        // What was under way may have been done twice, or half.
        for (commands, begun) in seen.commands.iter().zip(seen.begun()) {
            assert_eq!(*commands == 0, begun == 0, "{:?}", seen.commands);
            assert!(*commands >= begun, "{:?}", seen.commands);
        }
        seen.interrupts_come_back(processors, true);
    }
}

#[test]
fn sleep_under_load_on_several_processors_loses_nothing() {
    for processors in PROCESSORS {
        for messages in [true, false] {
            let builder = threads(processors).message_interrupts(messages);
            let seen = run(builder, slow(), None, |bench| {
                for _ in 0..3 {
                    bench.machine.sleep(30_000);
                    bench.machine.set_power(bench.slot, true).expect("sleeps");
                    bench.machine.sleep(10_000);
                    bench.machine.set_power(bench.slot, false).expect("wakes");
                }
            });

            assert!(seen.ends.iter().all(|end| *end == status::SUCCESS), "{:x?}", seen.ends);
            seen.interrupts_come_back(processors, messages);
        }
    }
}

#[test]
fn a_command_that_stalls_costs_no_other_request_its_status() {
    let stall = Fault { queues: 1 << 1, ..Fault::new(FaultKind::Stall, 0).after(2) };
    let seen = run(threads(4), ExerciserConfig::with(stall), None, |_| {});

    let count = |status| seen.ends.iter().filter(|end| **end == status).count();
    // Nor what is behind it in its queue.
    let (late, fine) = (count(status::IO_TIMEOUT), count(status::SUCCESS));
    assert_eq!((late, fine), (1, THREADS * EACH - 1), "{:x?}", seen.ends);
}

/// Commands that take so long that those behind them in a queue wait longer than one may take.
fn lengthy() -> ExerciserConfig {
    ExerciserConfig { time_command_ns: 100_000_000, ..ExerciserConfig::default() }
}

#[test]
fn a_command_that_has_waited_long_is_not_late() {
    let seen = run(threads(1), lengthy(), None, |_| {});

    assert!(seen.ends.iter().all(|end| *end == status::SUCCESS), "{:x?}", seen.ends);
    assert_eq!((seen.statistics.timed_out, seen.statistics.aborts), (0, 0));
}

#[test]
fn a_command_that_has_waited_for_one_that_stalls_has_its_time() {
    let mut config = lengthy();
    config.faults[0] = Some(Fault::new(FaultKind::Stall, 0).after(2));
    let seen = run(threads(1), config, None, |_| {});

    let count = |status| seen.ends.iter().filter(|end| **end == status).count();
    let (late, fine) = (count(status::IO_TIMEOUT), count(status::SUCCESS));
    assert_eq!((late, fine), (1, THREADS * EACH - 1), "{:x?}", seen.ends);
    assert_eq!(seen.statistics.aborts, 1);
}

#[test]
fn in_any_order_on_machines_that_are_not_coherent() {
    for profile in [Profile::Arm64, Profile::Nt] {
        for seed in 0..3 {
            let policy = Policy::Random;
            let scheduling = Scheduling::Deterministic { processors: 4, policy };
            let builder = Machine::builder(profile).seed(seed).scheduling(scheduling);
            let again = builder.clone();
            let seen = run(builder, ExerciserConfig::default(), None, |_| {});

            assert!(seen.ends.iter().all(|end| *end == status::SUCCESS));
            seen.knows_its_processors();
            assert_eq!(seen.commands, seen.begun(), "{profile:?}, seed {seed}");
            assert!(seen.commands.iter().all(|commands| *commands != 0), "{:?}", seen.commands);
            seen.interrupts_come_back(4, true);
            let repeated = run(again, ExerciserConfig::default(), None, |_| {});
            assert!(repeated.crossings == seen.crossings, "seed {seed}: the runs differ");
        }
    }
}
