//! Several processors: who waits for whom, and who takes what is for a processor that waits.

// UNSAFETY: kernel functions are called as drivers call them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wdk_lite::*;

use super::clock::Deferred;
use super::ddi::{KeFlushQueuedDpcs, KeInitializeDpc, KeInsertQueueDpc};
use super::interrupts::{Handler, LineId, Targets};
use super::{DISPATCH, Kernel, Wait};
use crate::memory::ddi::{ExAllocatePool2, ExFreePoolWithTag};
use crate::wdf::helpers::dpc::Once;
use crate::wdf::helpers::lock::CallbackLock;
use crate::{Builder, Machine, Policy, Profile, Running, Scheduling};

/// What the tests' routines share is the process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());
/// DPC routines under way, and how many have ended.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

fn x64(scheduling: Scheduling) -> Builder {
    Machine::builder(Profile::X64).scheduling(scheduling)
}

fn deterministic(processors: usize, seed: u64) -> Machine {
    x64(Scheduling::Deterministic { processors, policy: Policy::Random }).seed(seed).build()
}

fn threads(processors: usize) -> Machine {
    x64(Scheduling::Threads { processors }).build()
}

/// Kernel-mode code on a thread of its own.
fn spawn(machine: &Machine, body: impl FnOnce(&Kernel) + Send + 'static) -> Running<()> {
    machine.spawn(move |m| m.kernel.kernel_mode(|| body(&m.kernel)))
}

fn join(running: impl IntoIterator<Item = Running<()>>) {
    for thread in running {
        thread.join().unwrap_or_else(|stopped| panic!("{stopped}"));
    }
}

/// A call into the host.
fn call() {
    // SAFETY: callable at any level.
    unsafe { ntddk::KeGetCurrentIrql() };
}

unsafe extern "C" fn routine(_: PRKDPC, _: PVOID, _: PVOID, _: PVOID) {
    UNDER_WAY.fetch_add(1, Ordering::SeqCst);
    (0..4).for_each(|_| call());
    UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    ENDED.fetch_add(1, Ordering::SeqCst);
}

fn expired(_: &Kernel, _: usize) {
    let none: PVOID = std::ptr::null_mut();
    // SAFETY: the routine looks at none of its arguments.
    unsafe { routine(none.cast(), none, none, none) };
}

/// Flushes the DPCs while another processor begins one as `begin` says; how often it was under way.
fn flush_while(begin: fn(&Kernel)) -> usize {
    let seen = Arc::new(AtomicUsize::new(0));
    for seed in 0..300 {
        // The last machine may have ended before its DPC.
        UNDER_WAY.store(0, Ordering::SeqCst);
        ENDED.store(0, Ordering::SeqCst);
        let machine = deterministic(2, seed);
        let begins = spawn(&machine, move |kernel| {
            begin(kernel);
            (0..4).for_each(|_| call());
        });
        let count = Arc::clone(&seen);
        let flushes = spawn(&machine, move |kernel| {
            (0..3).for_each(|_| call());
            let runs = UNDER_WAY.load(Ordering::SeqCst) != 0;
            // SAFETY: at PASSIVE_LEVEL.
            unsafe { KeFlushQueuedDpcs(kernel) }.expect("it is a proper call");
            let ended = ENDED.load(Ordering::SeqCst);
            assert!(!runs || ended == 1, "seed {seed}");
            count.fetch_add(usize::from(runs), Ordering::SeqCst);
        });
        join([begins, flushes]);
    }
    seen.load(Ordering::SeqCst)
}

#[test]
fn a_flush_of_the_dpcs_waits_for_those_that_run() {
    let _turn = TURN.lock();
    let dpcs = flush_while(|kernel| {
        let object: PRKDPC = Box::leak(Box::new(KDPC::default()));
        let none = std::ptr::null_mut();
        // SAFETY: a DPC object that is never freed, and a routine of the right type.
        unsafe { KeInitializeDpc(kernel, object, Some(routine), none) }.expect("it is one");
        // SAFETY: as above.
        unsafe { KeInsertQueueDpc(kernel, object, none, none) }.expect("it is one");
    });
    let timers = flush_while(|kernel| {
        kernel.clock.start(kernel.clock.now(), Deferred { run: expired, argument: 0 });
        kernel.poke();
    });
    assert!(dpcs > 0 && timers > 0, "{dpcs} and {timers} were under way");
}

#[test]
fn a_callback_that_waits_is_still_its_own_threads() {
    let _turn = TURN.lock();
    for seed in 0..100 {
        // CAST: 1 or 2.
        let machine = deterministic(1 + seed as usize % 2, seed);
        let once = Arc::new(Once::default());
        let (other, ends) = (Arc::clone(&once), Arc::new(AtomicUsize::new(0)));
        let let_end = Arc::clone(&ends);
        let callback = spawn(&machine, move |kernel| {
            once.run(kernel, || {
                ends.store(1, Ordering::SeqCst);
                kernel.poke();
                kernel.wait(None, || ends.load(Ordering::SeqCst) == 2);
                assert!(once.is_inside(), "seed {seed}");
            });
        });
        let looks = spawn(&machine, move |kernel| {
            kernel.wait(None, || let_end.load(Ordering::SeqCst) == 1);
            for _ in 0..4 {
                assert!(!other.is_inside(), "seed {seed}");
                call();
            }
            let_end.store(2, Ordering::SeqCst);
            kernel.poke();
        });
        join([callback, looks]);
    }
}

/// Connects a line for one processor; `taken` counts its interrupts, whose handler is here.
fn line(machine: &Machine, processor: usize) -> LineId {
    let kernel = &machine.kernel;
    let line = kernel.interrupts.allocate(false);
    let run = |_: &Kernel, _: usize| ENDED.fetch_add(1, Ordering::SeqCst) != usize::MAX;
    let targets = Targets::of(1 << processor, kernel.all_processors());
    kernel.interrupts.connect(line, Handler { run, argument: 0 }, targets);
    line
}

/// Long enough for two threads to meet on any computer; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_processor_that_spins_takes_its_interrupts() {
    let _turn = TURN.lock();
    ENDED.store(0, Ordering::SeqCst);
    let machine = threads(2);
    let line = line(&machine, 1);
    // Held, and nearly waited for.
    let (lock, stage) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let (same, tell) = (Arc::clone(&lock), Arc::clone(&stage));
    let holds = spawn(&machine, move |kernel| {
        let old = kernel.processor().set_irql(DISPATCH);
        kernel.spin_acquire(&lock).expect("it is free");
        stage.store(1, Ordering::SeqCst);
        let start = Instant::now();
        while stage.load(Ordering::SeqCst) < 2 && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        kernel.interrupts.raise(line);
        while ENDED.load(Ordering::SeqCst) == 0 && start.elapsed() < PATIENCE {
            call();
        }
        assert_eq!(ENDED.load(Ordering::SeqCst), 1, "the other processor was interrupted");
        kernel.spin_release(&lock).expect("it is this thread's");
        kernel.processor().set_irql(old);
    });
    let spins = spawn(&machine, move |kernel| {
        while tell.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let old = kernel.processor().set_irql(DISPATCH);
        tell.store(2, Ordering::SeqCst);
        kernel.spin_acquire(&same).expect("it comes free");
        kernel.spin_release(&same).expect("it is this thread's");
        kernel.processor().set_irql(old);
    });
    join([holds, spins]);
}

/// Runs `action` as another processor during a call of processor 0's at this level.
fn during_a_call(machine: &Machine, irql: u8, action: impl FnOnce(&Kernel) + Send + 'static) {
    machine.inject(1, move |m| action(&m.kernel));
    join([spawn(machine, move |kernel| kernel.at_irql(irql, call))]);
}

/// Waits a little for the first interrupt or DPC of these tests.
fn wait_for_it(kernel: &Kernel) -> Wait {
    let due = kernel.clock.now() + 1_000_000;
    kernel.wait(Some(due), || ENDED.load(Ordering::SeqCst) != 0)
}

#[test]
fn a_processor_whose_thread_acts_for_another_one_is_interrupted_all_the_same() {
    let _turn = TURN.lock();
    for (irql, seen) in [(0, Wait::Satisfied), (DISPATCH, Wait::Satisfied), (12, Wait::TimedOut)] {
        ENDED.store(0, Ordering::SeqCst);
        let machine = threads(2);
        let line = line(&machine, 0);
        during_a_call(&machine, irql, move |kernel| {
            kernel.interrupts.raise(line);
            assert_eq!(wait_for_it(kernel), seen, "at {irql}");
        });
        assert_eq!(ENDED.load(Ordering::SeqCst), 1, "later, at {irql}");
    }
}

#[test]
fn a_processor_whose_thread_acts_for_another_one_runs_its_dpcs() {
    let _turn = TURN.lock();
    for (irql, seen) in [(0, Wait::Satisfied), (DISPATCH, Wait::TimedOut)] {
        ENDED.store(0, Ordering::SeqCst);
        let machine = threads(2);
        during_a_call(&machine, irql, move |kernel| {
            let run = |_: &Kernel, _: usize| {
                ENDED.fetch_add(1, Ordering::SeqCst);
            };
            kernel.processors[0].queue_dpc(Deferred { run, argument: 0 });
            assert_eq!(wait_for_it(kernel), seen, "at {irql}");
        });
        assert_eq!(ENDED.load(Ordering::SeqCst), 1, "later, at {irql}");
    }
}

#[test]
fn nobody_waits_for_a_processor_whose_thread_waits_for_him() {
    let _turn = TURN.lock();
    let machine = threads(2);
    let (stage, tell) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (comes, told) = (Arc::clone(&stage), Arc::clone(&tell));
    machine.inject(1, move |m| {
        // Both processors are this thread's.
        stage.store(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        let kernel = &m.kernel;
        assert_eq!(kernel.wait(None, || tell.load(Ordering::SeqCst) == 1), Wait::Satisfied);
    });
    let acts = spawn(&machine, |_| call());
    let idles = machine.spawn(|_| ());
    // Like the first one it would rather have processor 0.
    let late = machine.spawn(move |m| {
        while comes.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        m.kernel.kernel_mode(|| told.store(1, Ordering::SeqCst));
        m.kernel.poke();
    });
    let (over, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        join([acts, idles, late]);
        over.send(())
    });
    ended.recv_timeout(PATIENCE).expect("all of them go on");
}

/// A work item of the host's that has something for a while.
fn holds_memory(kernel: &Kernel, _: usize) {
    // SAFETY: the arguments are a driver's.
    let block = unsafe { ExAllocatePool2(kernel, POOL_FLAG_NON_PAGED, 100, 0x7473_6554) };
    let block = block.expect("it is a proper call");
    UNDER_WAY.store(1, Ordering::SeqCst);
    (0..20).for_each(|_| call());
    // SAFETY: as above.
    unsafe { ExFreePoolWithTag(kernel, block, 0x7473_6554) }.expect("it is a proper call");
    UNDER_WAY.store(0, Ordering::SeqCst);
}

#[test]
fn what_a_work_item_has_when_a_machine_is_shut_down_is_no_leak() {
    let _turn = TURN.lock();
    for seed in 0..100 {
        UNDER_WAY.store(0, Ordering::SeqCst);
        let machine = deterministic(2, seed);
        let ends = machine.run(|m| {
            m.kernel.queue_work(Deferred { run: holds_memory, argument: 0 });
            m.shut_down();
        });
        ends.unwrap_or_else(|stopped| panic!("seed {seed}: {stopped}"));
        assert_eq!(UNDER_WAY.load(Ordering::SeqCst), 0);
    }
}

/// The callback lock of a device with execution level Passive.
static LOCK: LazyLock<CallbackLock> = LazyLock::new(|| {
    let lock = CallbackLock::default();
    lock.set_passive(true);
    lock
});

fn serialised(kernel: &Kernel, _: usize) {
    LOCK.with(kernel, || {
        ENDED.fetch_add(1, Ordering::SeqCst);
    });
}

#[test]
fn a_work_item_waits_for_a_callback_that_waits() {
    let _turn = TURN.lock();
    for machine in [threads(2), deterministic(2, 0)] {
        ENDED.store(0, Ordering::SeqCst);
        join([spawn(&machine, |kernel| {
            LOCK.with(kernel, || {
                kernel.queue_work(Deferred { run: serialised, argument: 0 });
                let due = kernel.clock.now() + 1_000_000;
                assert_eq!(kernel.wait(Some(due), || false), Wait::TimedOut);
                assert_eq!(ENDED.load(Ordering::SeqCst), 0, "the lock is held");
            });
            let ended = || ENDED.load(Ordering::SeqCst) == 1;
            assert_eq!(kernel.wait(None, ended), Wait::Satisfied);
        })]);
    }
}
