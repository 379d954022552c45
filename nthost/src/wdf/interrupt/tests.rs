//! Where interrupts and their DPCs run, and that processors run driver code at the same time.

// UNSAFETY: a driver calls the framework through raw pointers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use testdev::bus::{BarInfo, Bus, Device, Identity};
use wdk_lite::*;

use crate::{
    Access, Builder, Machine, Policy, Profile, RuleId, Running, Scheduling, Slot, Stopped,
};

const MESSAGES: usize = 4;
const CLASS: GUID = GUID { Data1: 9, Data2: 0, Data3: 0, Data4: [0; 8] };

/// Long enough for two threads to meet on any computer; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place where two callbacks that run at the same time meet.
struct Meeting(Mutex<usize>, Condvar);

impl Meeting {
    const fn new() -> Self {
        Self(Mutex::new(0), Condvar::new())
    }

    /// Waits for the other one, if there is to be one.
    fn meet(&self) {
        if !MEET.load(Ordering::SeqCst) {
            return;
        }
        let mut here = self.0.lock();
        *here += 1;
        self.1.notify_all();
        self.1.wait_while_for(&mut here, |here| *here < 2, PATIENCE);
    }

    /// How many have come.
    fn came(&self) -> usize {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A story that several threads tell, each the stages that are its own.
struct Stage(Mutex<usize>, Condvar);

impl Stage {
    /// No story.
    const NONE: usize = 0;
    /// Two requests are to be told of it.
    const BEGUN: usize = 1;
    /// The processor that is to be interrupted is in a handler.
    const HELD: usize = 2;
    /// The service routine runs.
    const SERVED: usize = 3;
    /// The device is gone.
    const GONE: usize = 4;
    /// Another processor has read it.
    const READ: usize = 5;

    fn set(&self, stage: usize) {
        *self.0.lock() = stage;
        self.1.notify_all();
    }

    fn reached(&self, stage: usize) -> bool {
        *self.0.lock() >= stage
    }

    fn wait(&self, stage: usize) {
        self.1.wait_while_for(&mut self.0.lock(), |now| *now < stage, PATIENCE);
    }
}

/// The driver's state is the process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());
static POLICIES: Mutex<[u64; MESSAGES]> = Mutex::new([0; MESSAGES]);
static INTERRUPTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static REGISTERS: AtomicUsize = AtomicUsize::new(0);
/// Callbacks of different processors wait for each other.
static MEET: AtomicBool = AtomicBool::new(false);
static HANDLERS: Meeting = Meeting::new();
static ROUTINES: Meeting = Meeting::new();
static DPCS: Meeting = Meeting::new();
/// How far the story of a device that vanishes during its service routine is.
static VANISHING: Stage = Stage(Mutex::new(0), Condvar::new());
/// Whether service routines read their device at once, and after it has vanished.
static ASKS: Mutex<[bool; 2]> = Mutex::new([false; 2]);
/// The processors on which each message's DPC has run.
static DONE: [AtomicUsize; MESSAGES] = [const { AtomicUsize::new(0) }; MESSAGES];
static RAN: Mutex<Vec<Ran>> = Mutex::new(Vec::new());
static TOLD: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// A callback of an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ran {
    dpc: bool,
    message: usize,
    processor: usize,
}

/// A device that sends the messages whose bits are written to it, or has its line up as long as the
/// last word was not 0.
struct Board;

impl Device for Board {
    fn identity(&self) -> Identity {
        let bar = BarInfo { size: 4096, bits64: false, prefetchable: false };
        Identity {
            vendor: 1,
            device: 3,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 0,
            class: 0,
            interrupt_pin: 1,
            bars: [Some(bar), None, None, None, None, None],
            msi_messages: 0,
            msi64: false,
            // CAST: a few.
            msix_messages: MESSAGES as u16,
        }
    }

    fn read(&mut self, _bus: &mut dyn Bus, _bar: u8, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&mut self, bus: &mut dyn Bus, _bar: u8, _offset: u64, _size: u8, value: u64) {
        if !bus.msi_enabled() {
            return bus.set_line(value != 0);
        }
        // CAST: a few.
        (0..MESSAGES as u16)
            .filter(|message| value >> message & 1 != 0)
            .for_each(|message| bus.send_msi(message));
    }

    fn on_timer(&mut self, _bus: &mut dyn Bus) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

fn size<T>() -> ULONG {
    // CAST: small structures.
    size_of::<T>() as ULONG
}

fn here() -> usize {
    // SAFETY: the group is not asked for.
    let number = unsafe { ntddk::KeGetCurrentProcessorNumberEx(std::ptr::null_mut()) };
    // CAST: a few.
    number as usize
}

fn write(value: u32) {
    let registers = REGISTERS.load(Ordering::SeqCst);
    let register: *mut ULONG = std::ptr::with_exposed_provenance_mut(registers);
    // SAFETY: the driver's mapped register.
    unsafe { host::WRITE_REGISTER_ULONG(register, value) };
}

fn read_register() -> u32 {
    let registers = REGISTERS.load(Ordering::SeqCst);
    let register: *mut ULONG = std::ptr::with_exposed_provenance_mut(registers);
    // SAFETY: the driver's mapped register.
    unsafe { host::READ_REGISTER_ULONG(register) }
}

fn ran(dpc: bool, message: usize) {
    let processor = here();
    RAN.lock().push(Ran { dpc, message, processor });
}

unsafe extern "C" fn isr(interrupt: WDFINTERRUPT, message: ULONG) -> BOOLEAN {
    // CAST: a few.
    ran(false, message as usize);
    let [before, after] = ASKS.lock().to_owned();
    assert!(!before || read_register() == 0);
    if VANISHING.reached(Stage::HELD) {
        VANISHING.set(Stage::SERVED);
        VANISHING.wait(Stage::READ);
        assert!(!after || read_register() == u32::MAX);
    }
    // Lets a line fall; with messages nothing.
    write(0);
    ROUTINES.meet();
    // SAFETY: the interrupt of this call.
    unsafe { wdf::WdfInterruptQueueDpcForIsr(interrupt) };
    1
}

unsafe extern "C" fn dpc(interrupt: WDFINTERRUPT, _: WDFOBJECT) {
    // CAST: a few.
    let message = info(interrupt).MessageNumber as usize;
    ran(true, message);
    DPCS.meet();
    DONE[message].fetch_add(1, Ordering::SeqCst);
}

fn info(interrupt: WDFINTERRUPT) -> WDF_INTERRUPT_INFO {
    let mut info =
        WDF_INTERRUPT_INFO { Size: size::<WDF_INTERRUPT_INFO>(), ..WDF_INTERRUPT_INFO::default() };
    // SAFETY: the driver's interrupt and a live structure.
    unsafe { wdf::WdfInterruptGetInfo(interrupt, &raw mut info) };
    info
}

/// The handlers' part: processor 1 calls the host until it was interrupted, and while its service
/// routine runs processor 0 reads the device that is gone by then.
fn vanish(here: usize) {
    if here == 0 {
        VANISHING.wait(Stage::HELD);
        write(0b10);
        VANISHING.wait(Stage::GONE);
        assert_eq!(read_register(), u32::MAX);
        return VANISHING.set(Stage::READ);
    }
    VANISHING.set(Stage::HELD);
    call_until(|| VANISHING.reached(Stage::READ));
}

/// Calls the host, where interrupts come, until something is so.
fn call_until(so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() && start.elapsed() < PATIENCE {
        // SAFETY: callable at any level.
        unsafe { ntddk::KeGetCurrentIrql() };
    }
}

/// Has every message sent, or those of two processors that are both in this handler; and waits,
/// calling the host all the while, until its own has been served.
unsafe extern "C" fn read(_queue: WDFQUEUE, request: WDFREQUEST, _length: usize) {
    if VANISHING.reached(Stage::BEGUN) {
        vanish(here());
    } else if MEET.load(Ordering::SeqCst) {
        let here = here();
        HANDLERS.meet();
        if here == 0 {
            write(0b11);
        }
        call_until(|| DONE[here].load(Ordering::SeqCst) != 0);
    } else {
        write(0b1111);
    }
    // SAFETY: the request is the driver's.
    unsafe { wdf::WdfRequestComplete(request, STATUS_SUCCESS) };
}

unsafe extern "C" fn prepare(_: WDFDEVICE, _: WDFCMRESLIST, list: WDFCMRESLIST) -> NTSTATUS {
    // SAFETY: the list of this call.
    let descriptor = unsafe { wdf::WdfCmResourceListGetDescriptor(list, 0) };
    // SAFETY: not past the end, so a descriptor.
    let descriptor = unsafe { *descriptor };
    // SAFETY: the first one is the device's memory.
    let memory = unsafe { descriptor.u.Memory };
    let protection = PAGE_READWRITE | PAGE_NOCACHE;
    // SAFETY: the device's memory resource.
    let base = unsafe { ntddk::MmMapIoSpaceEx(memory.Start, 4096, protection) };
    REGISTERS.store(base.expose_provenance(), Ordering::SeqCst);
    for interrupt in INTERRUPTS.lock().iter() {
        let info = info(std::ptr::with_exposed_provenance_mut(*interrupt));
        if info.Vector != 0 {
            assert_eq!(info.Group, 0);
            TOLD.lock().push(info.TargetProcessorSet);
        }
    }
    STATUS_SUCCESS
}

unsafe extern "C" fn release(_: WDFDEVICE, _: WDFCMRESLIST) -> NTSTATUS {
    let registers = REGISTERS.load(Ordering::SeqCst);
    // SAFETY: mapped by `prepare`.
    unsafe { ntddk::MmUnmapIoSpace(std::ptr::with_exposed_provenance_mut(registers), 4096) };
    STATUS_SUCCESS
}

fn make_interrupt(device: WDFDEVICE, mask: u64) {
    let mut config = WDF_INTERRUPT_CONFIG {
        Size: size::<WDF_INTERRUPT_CONFIG>(),
        EvtInterruptIsr: Some(isr),
        EvtInterruptDpc: Some(dpc),
        ShareVector: _WDF_TRI_STATE::WdfUseDefault,
        ReportInactiveOnPowerDown: _WDF_TRI_STATE::WdfUseDefault,
        ..WDF_INTERRUPT_CONFIG::default()
    };
    let (mut interrupt, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the driver's device, live structures.
    let status =
        unsafe { wdf::WdfInterruptCreate(device, &raw mut config, none, &raw mut interrupt) };
    assert_eq!(status, STATUS_SUCCESS);
    INTERRUPTS.lock().push(interrupt.expose_provenance());
    if mask != 0 {
        let mut policy = WDF_INTERRUPT_EXTENDED_POLICY {
            Size: size::<WDF_INTERRUPT_EXTENDED_POLICY>(),
            Policy: _WDF_INTERRUPT_POLICY::WdfIrqPolicySpecifiedProcessors,
            Priority: _WDF_INTERRUPT_PRIORITY::WdfIrqPriorityNormal,
            TargetProcessorSetAndGroup: GROUP_AFFINITY { Mask: mask, ..Default::default() },
        };
        // SAFETY: the interrupt just made, a live structure.
        unsafe { wdf::WdfInterruptSetExtendedPolicy(interrupt, &raw mut policy) };
    }
}

unsafe extern "C" fn device_add(_: WDFDRIVER, mut init: PWDFDEVICE_INIT) -> NTSTATUS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS {
        Size: size::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
        EvtDevicePrepareHardware: Some(prepare),
        EvtDeviceReleaseHardware: Some(release),
        ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
    };
    // SAFETY: this call's init and a live structure.
    unsafe { wdf::WdfDeviceInitSetPnpPowerEventCallbacks(init, &raw mut callbacks) };
    let (mut device, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as above.
    let status = unsafe { wdf::WdfDeviceCreate(&raw mut init, none, &raw mut device) };
    assert_eq!(status, STATUS_SUCCESS);
    POLICIES.lock().iter().for_each(|mask| make_interrupt(device, *mask));
    let mut config = WDF_IO_QUEUE_CONFIG {
        Size: size::<WDF_IO_QUEUE_CONFIG>(),
        DispatchType: _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel,
        PowerManaged: _WDF_TRI_STATE::WdfUseDefault,
        DefaultQueue: 1,
        EvtIoRead: Some(read),
        ..WDF_IO_QUEUE_CONFIG::default()
    };
    config.Settings.Parallel.NumberOfPresentedRequests = u32::MAX;
    let mut queue = std::ptr::null_mut();
    // SAFETY: the device just made, live structures.
    let status = unsafe { wdf::WdfIoQueueCreate(device, &raw mut config, none, &raw mut queue) };
    assert_eq!(status, STATUS_SUCCESS);
    // SAFETY: the device just made.
    unsafe { wdf::WdfDeviceCreateDeviceInterface(device, &CLASS, std::ptr::null()) }
}

unsafe extern "C" fn entry(object: PDRIVER_OBJECT, path: PCUNICODE_STRING) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(device_add),
        ..WDF_DRIVER_CONFIG::default()
    };
    let none = std::ptr::null_mut();
    // SAFETY: this call's arguments and a live structure.
    unsafe { wdf::WdfDriverCreate(object, path, none, &raw mut config, none.cast()) }
}

/// What interrupts were told of their processors, and where they ran.
struct Seen {
    told: Vec<u64>,
    ran: Vec<Ran>,
}

/// A machine with a started device with these policies, its slot and its interface.
fn start(builder: Builder, policies: [u64; MESSAGES]) -> (Machine, Slot, String) {
    *POLICIES.lock() = policies;
    VANISHING.set(Stage::NONE);
    *ASKS.lock() = [false; 2];
    DONE.iter().for_each(|done| done.store(0, Ordering::SeqCst));
    RAN.lock().clear();
    INTERRUPTS.lock().clear();
    TOLD.lock().clear();
    let machine = builder.build();
    let started = machine.run(|m| {
        m.load("board", entry).expect("the driver loads");
        let slot = m.plug(Box::new(Board)).expect("the device starts");
        (slot, m.interfaces(&CLASS).pop().expect("it has its interface"))
    });
    let (slot, path) = started.unwrap_or_else(|stopped| panic!("{stopped}"));
    (machine, slot, path)
}

/// Lets `threads` threads read `times` times each.
fn spawn(machine: &Machine, path: &str, threads: usize, times: usize) -> Vec<Running<()>> {
    (0..threads)
        .map(|_| {
            let path = path.to_owned();
            machine.spawn(move |m| {
                let file = m.open(&path, Access::READ).expect("it opens");
                let mut data = [0; 8];
                (0..times).for_each(|_| assert_eq!(file.read_at(0, &mut data), Ok(0)));
            })
        })
        .collect()
}

/// Lets `threads` threads read `times` times from a device with these policies.
fn run(builder: Builder, policies: [u64; MESSAGES], threads: usize, times: usize) -> Seen {
    let (machine, _, path) = start(builder, policies);
    let ended = end(&machine, spawn(&machine, &path, threads, times));
    ended.unwrap_or_else(|stopped| panic!("{stopped}"))
}

/// Waits for the threads, and shuts the machine down.
fn end(machine: &Machine, running: Vec<Running<()>>) -> Result<Seen, Stopped> {
    running.into_iter().try_for_each(Running::join)?;
    machine.run(Machine::shut_down)?;
    let mut told = TOLD.lock().clone();
    told.sort_unstable();
    Ok(Seen { told, ran: RAN.lock().clone() })
}

fn x64(scheduling: Scheduling) -> Builder {
    Machine::builder(Profile::X64).scheduling(scheduling)
}

fn deterministic(seed: u64) -> Builder {
    let policy = Policy::Random;
    x64(Scheduling::Deterministic { processors: 4, policy }).seed(seed)
}

fn threads(processors: usize) -> Builder {
    x64(Scheduling::Threads { processors })
}

/// The processors on which the callbacks of a message ran.
fn processors(seen: &Seen, message: usize) -> Vec<usize> {
    let own = seen.ran.iter().filter(|ran| ran.message == message);
    let mut all: Vec<_> = own.map(|ran| ran.processor).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn each_message_and_its_dpc_come_where_the_policy_says() {
    let _turn = TURN.lock();
    let directed = [0b1000, 0b0100, 0b0010, 0b0001];
    let mut builders: Vec<_> = (0..10).map(deterministic).collect();
    builders.extend((0..3).map(|_| threads(4)));
    for builder in builders {
        let seen = run(builder, directed, 3, 20);

        assert_eq!(seen.told, [1, 2, 4, 8]);
        for message in 0..MESSAGES {
            assert_eq!(processors(&seen, message), [3 - message], "message {message}");
        }
        assert!(seen.ran.iter().any(|ran| ran.dpc));
    }
}

#[test]
fn one_of_several_processors_takes_it() {
    let _turn = TURN.lock();
    let mut taken = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let seen = run(deterministic(seed), [0b0110, 0, 0b0110, 0], 3, 4);

        assert_eq!(seen.told, [0b0110, 0b0110, 0b1111, 0b1111]);
        taken.extend([0, 2].into_iter().flat_map(|message| processors(&seen, message)));
    }
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn without_a_policy_any_processor_takes_it() {
    let _turn = TURN.lock();
    let mut taken = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let seen = run(deterministic(seed), [0; MESSAGES], 3, 4);

        assert_eq!(seen.told, [0b1111; MESSAGES]);
        taken.extend((0..MESSAGES).flat_map(|message| processors(&seen, message)));
    }
    assert!(taken.len() > 1, "{taken:?}");
}

#[test]
fn the_first_policy_is_a_lines_too() {
    let _turn = TURN.lock();
    for builder in [deterministic(1), deterministic(2), threads(4)] {
        let builder = builder.message_interrupts(false);

        let seen = run(builder, [0b0100, 0b0001, 0, 0], 3, 10);

        assert_eq!(seen.told, [0b0100], "only one interrupt has a resource");
        assert_eq!(processors(&seen, 0), [2]);
        assert_eq!(seen.ran.iter().filter(|ran| ran.message != 0).count(), 0);
    }
}

#[test]
fn the_straight_scheduler_stands_in_for_the_other_processor() {
    let _turn = TURN.lock();
    let seen = run(x64(Scheduling::Straight), [0b01, 0b10, 0, 0b11], 1, 3);

    assert_eq!(seen.told, [1, 2, 3, 3]);
    // The thread is on the second one.
    assert_eq!([0, 1, 2, 3].map(|message| processors(&seen, message)), [[0], [1], [1], [1]]);
    assert_eq!(seen.ran.iter().filter(|ran| ran.dpc && ran.processor == 0).count(), 3);
}

#[test]
fn handlers_service_routines_and_dpcs_run_at_the_same_time() {
    let _turn = TURN.lock();
    MEET.store(true, Ordering::SeqCst);

    let seen = run(threads(2), [0b01, 0b10, 0, 0], 2, 1);

    MEET.store(false, Ordering::SeqCst);
    let met = [&HANDLERS, &ROUTINES, &DPCS].map(Meeting::came);
    assert_eq!(met, [2, 2, 2]);
    let done = [0, 1].map(|message| DONE[message].load(Ordering::SeqCst));
    assert_eq!(done, [1, 1]);
    assert_eq!([processors(&seen, 0), processors(&seen, 1)], [[0], [1]]);
}

/// The device vanishes during its service routine, which claims the message; another processor
/// reads it after that, and the routine before and after that as told.
fn vanish_during_isr(asks: [bool; 2]) -> Result<Seen, Stopped> {
    let (machine, slot, path) = start(threads(2), [0b01, 0b10, 0, 0]);
    *ASKS.lock() = asks;
    VANISHING.set(Stage::BEGUN);
    let running = spawn(&machine, &path, 2, 1);
    VANISHING.wait(Stage::SERVED);
    machine.unplug_later(slot);
    VANISHING.set(Stage::GONE);
    let ended = end(&machine, running);
    assert!(VANISHING.reached(Stage::READ));
    ended
}

#[test]
fn a_claim_is_judged_by_what_the_routine_itself_was_answered() {
    let _turn = TURN.lock();
    for asks in [[false, false], [true, false]] {
        let seen = vanish_during_isr(asks).unwrap_or_else(|stopped| panic!("{asks:?}: {stopped}"));

        assert_eq!(seen.ran.iter().filter(|ran| !ran.dpc && ran.message == 1).count(), 1);
    }
    for asks in [[false, true], [true, true]] {
        let stopped = vanish_during_isr(asks).err().expect("it was told that the device is gone");

        assert_eq!(stopped.report.rule, RuleId::Sur01, "{asks:?}");
    }
}

#[test]
fn no_service_routine_runs_once_the_device_is_stopped() {
    let _turn = TURN.lock();
    let mut served = 0;
    for seed in 0..200 {
        let (machine, slot, path) = start(deterministic(seed), [0; MESSAGES]);
        *ASKS.lock() = [true, false];
        let mut running = spawn(&machine, &path, 1, 3);
        running.push(machine.spawn(move |m| {
            m.stop_device(slot).expect("nobody refuses");
            m.restart(slot).expect("it starts again");
        }));

        // The registers are unmapped then: who reads them breaks a rule.
        let ended = running.into_iter().try_for_each(Running::join);

        ended.unwrap_or_else(|stopped| panic!("seed {seed}: {stopped}"));
        served += RAN.lock().iter().filter(|ran| !ran.dpc).count();
    }
    assert!(served > 0);
}
