//! The order of a device's callbacks, seen by a driver that writes them down.

// UNSAFETY: a driver calls the framework through raw pointers.

use std::cell::{Cell, RefCell};

use testdev::bus::{BarInfo, Bus, Device, Identity};
use wdk_lite::*;

use crate::{Machine, NtStatus, Profile, RuleId, Slot};

/// What the driver does differently.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// This callback fails.
    fails: &'static str,
    /// Fails with this; STATUS_UNSUCCESSFUL if zero.
    status: NTSTATUS,
    /// No default queue.
    leaks_spin_lock: bool,
}

thread_local! {
    static LOG: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    static PLAN: Cell<Plan> =
        const { Cell::new(Plan { fails: "", status: 0, leaks_spin_lock: false }) };
    static INTERRUPT: Cell<WDFINTERRUPT> = const { Cell::new(std::ptr::null_mut()) };
}

const CLASS: GUID = GUID { Data1: 7, Data2: 0, Data3: 0, Data4: [0; 8] };

fn log(name: &'static str) -> NTSTATUS {
    LOG.with_borrow_mut(|log| log.push(name));
    let plan = PLAN.get();
    match (plan.fails == name, plan.status) {
        (false, _) => STATUS_SUCCESS,
        (true, 0) => STATUS_UNSUCCESSFUL,
        (true, status) => status,
    }
}

/// A device with one register and no behaviour.
#[derive(Debug, Default)]
struct Quiet {
    raised: bool,
}

impl Device for Quiet {
    fn identity(&self) -> Identity {
        let bar = BarInfo { size: 4096, bits64: false, prefetchable: false };
        Identity {
            vendor: 1,
            device: 2,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 0,
            class: 0,
            interrupt_pin: 1,
            bars: [Some(bar), None, None, None, None, None],
            msi_messages: 1,
            msi64: true,
            msix_messages: 0,
        }
    }

    fn read(&mut self, _bus: &mut dyn Bus, _bar: u8, _offset: u64, _size: u8) -> u64 {
        u64::from(self.raised)
    }

    fn write(&mut self, bus: &mut dyn Bus, _bar: u8, _offset: u64, _size: u8, _value: u64) {
        self.raised = true;
        bus.send_msi(0);
    }

    fn on_timer(&mut self, _bus: &mut dyn Bus) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

macro_rules! logged {
    ($($name:ident($($arg:ty),*) $text:literal;)*) => {
        $(unsafe extern "C" fn $name($(_: $arg),*) -> NTSTATUS { log($text) })*
    };
}
logged! {
    d0_entry(WDFDEVICE, WDF_POWER_DEVICE_STATE) "D0Entry";
    d0_post(WDFDEVICE, WDF_POWER_DEVICE_STATE) "D0EntryPost";
    d0_exit(WDFDEVICE, WDF_POWER_DEVICE_STATE) "D0Exit";
    d0_pre(WDFDEVICE, WDF_POWER_DEVICE_STATE) "D0ExitPre";
    release(WDFDEVICE, WDFCMRESLIST) "Release";
    self_init(WDFDEVICE) "Init";
    self_suspend(WDFDEVICE) "Suspend";
    self_restart(WDFDEVICE) "Restart";
    query_remove(WDFDEVICE) "QueryRemove";
    query_stop(WDFDEVICE) "QueryStop";
    enable(WDFINTERRUPT, WDFDEVICE) "Enable";
    disable(WDFINTERRUPT, WDFDEVICE) "Disable";
}

macro_rules! noted {
    ($($name:ident($($arg:ty),*) $text:literal;)*) => {
        $(unsafe extern "C" fn $name($(_: $arg),*) { log($text); })*
    };
}
noted! {
    self_flush(WDFDEVICE) "Flush";
    self_cleanup(WDFDEVICE) "Cleanup";
    surprise(WDFDEVICE) "Surprise";
    device_cleanup(WDFOBJECT) "DeviceCleanup";
    unloaded(WDFDRIVER) "Unload";
    dpc(WDFINTERRUPT, WDFOBJECT) "Dpc";
}

unsafe extern "C" fn isr(interrupt: WDFINTERRUPT, message: ULONG) -> BOOLEAN {
    assert_eq!(message, 0);
    log("Isr");
    // SAFETY: the interrupt of this call.
    unsafe { wdf::WdfInterruptQueueDpcForIsr(interrupt) };
    // SAFETY: as above.
    unsafe { wdf::WdfInterruptQueueDpcForIsr(interrupt) };
    1
}

unsafe extern "C" fn prepare(_: WDFDEVICE, _: WDFCMRESLIST, list: WDFCMRESLIST) -> NTSTATUS {
    // SAFETY: the list of this call.
    let count = unsafe { wdf::WdfCmResourceListGetCount(list) };
    assert_eq!(count, 2);
    for (index, kind) in [(0, CmResourceTypeMemory), (1, CmResourceTypeInterrupt)] {
        // SAFETY: as above.
        let descriptor = unsafe { wdf::WdfCmResourceListGetDescriptor(list, index) };
        // SAFETY: not past the end, so a descriptor.
        assert_eq!(u32::from(unsafe { (*descriptor).Type }), kind);
    }
    // SAFETY: past the end is NULL.
    assert!(unsafe { wdf::WdfCmResourceListGetDescriptor(list, 2) }.is_null());
    log("Prepare")
}

fn size_of_config<T>() -> ULONG {
    size_of::<T>() as ULONG
}

fn plain_attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: size_of_config::<WDF_OBJECT_ATTRIBUTES>(),
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

unsafe extern "C" fn device_add(_: WDFDRIVER, mut init: PWDFDEVICE_INIT) -> NTSTATUS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS {
        Size: size_of_config::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
        EvtDeviceD0Entry: Some(d0_entry),
        EvtDeviceD0EntryPostInterruptsEnabled: Some(d0_post),
        EvtDeviceD0Exit: Some(d0_exit),
        EvtDeviceD0ExitPreInterruptsDisabled: Some(d0_pre),
        EvtDevicePrepareHardware: Some(prepare),
        EvtDeviceReleaseHardware: Some(release),
        EvtDeviceSelfManagedIoInit: Some(self_init),
        EvtDeviceSelfManagedIoSuspend: Some(self_suspend),
        EvtDeviceSelfManagedIoRestart: Some(self_restart),
        EvtDeviceSelfManagedIoFlush: Some(self_flush),
        EvtDeviceSelfManagedIoCleanup: Some(self_cleanup),
        EvtDeviceSurpriseRemoval: Some(surprise),
        EvtDeviceQueryRemove: Some(query_remove),
        EvtDeviceQueryStop: Some(query_stop),
        ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
    };
    // SAFETY: this call's init and a live structure.
    unsafe { wdf::WdfDeviceInitSetPnpPowerEventCallbacks(init, &raw mut callbacks) };
    let mut attributes =
        WDF_OBJECT_ATTRIBUTES { EvtCleanupCallback: Some(device_cleanup), ..plain_attributes() };
    let mut device = std::ptr::null_mut();
    // SAFETY: as above.
    let status =
        unsafe { wdf::WdfDeviceCreate(&raw mut init, &raw mut attributes, &raw mut device) };
    assert_eq!((status, init.is_null()), (STATUS_SUCCESS, true));
    let mut config = WDF_INTERRUPT_CONFIG {
        Size: size_of_config::<WDF_INTERRUPT_CONFIG>(),
        EvtInterruptIsr: Some(isr),
        EvtInterruptDpc: Some(dpc),
        EvtInterruptEnable: Some(enable),
        EvtInterruptDisable: Some(disable),
        ShareVector: _WDF_TRI_STATE::WdfUseDefault,
        ReportInactiveOnPowerDown: _WDF_TRI_STATE::WdfUseDefault,
        ..WDF_INTERRUPT_CONFIG::default()
    };
    let mut interrupt = std::ptr::null_mut();
    // SAFETY: the device just made, live structures.
    let status = unsafe {
        wdf::WdfInterruptCreate(device, &raw mut config, std::ptr::null_mut(), &raw mut interrupt)
    };
    assert_eq!(status, STATUS_SUCCESS);
    INTERRUPT.set(interrupt);
    // SAFETY: the device just made.
    let status = unsafe { wdf::WdfDeviceCreateDeviceInterface(device, &CLASS, std::ptr::null()) };
    assert_eq!(status, STATUS_SUCCESS);
    log("Add")
}

unsafe extern "C" fn entry(object: PDRIVER_OBJECT, path: PCUNICODE_STRING) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size_of_config::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(device_add),
        EvtDriverUnload: Some(unloaded),
        ..WDF_DRIVER_CONFIG::default()
    };
    // SAFETY: this call's arguments and a live structure.
    let status = unsafe {
        wdf::WdfDriverCreate(
            object,
            path,
            std::ptr::null_mut(),
            &raw mut config,
            std::ptr::null_mut(),
        )
    };
    if PLAN.get().leaks_spin_lock {
        let mut lock = std::ptr::null_mut();
        // SAFETY: a live out pointer.
        unsafe { wdf::WdfSpinLockCreate(std::ptr::null_mut(), &raw mut lock) };
        // SAFETY: the lock just made; nobody drops this reference.
        unsafe {
            wdf::WdfObjectReferenceActual(lock.cast(), std::ptr::null_mut(), 0, std::ptr::null());
        }
    }
    status
}

/// Runs `body` with a plugged device; the callbacks' names in order.
fn run(
    plan: Plan,
    body: impl FnOnce(&Machine, Result<Slot, NtStatus>) + Send + 'static,
) -> Result<String, RuleId> {
    let machine = Machine::builder(Profile::X64).build();
    let done = machine.run(move |machine| {
        PLAN.set(plan);
        machine.load("test", entry).expect("DriverEntry succeeds");
        let slot = machine.plug(Box::new(Quiet::default()));
        body(machine, slot);
        LOG.with_borrow_mut(std::mem::take).join(" ")
    });
    done.map_err(|stopped| stopped.report.rule)
}

/// What a start that succeeds looks like.
const START: &str = "Add Prepare D0Entry Enable D0EntryPost Init";
const DOWN: &str = "Suspend D0ExitPre Disable D0Exit";

#[test]
fn a_device_starts_and_is_removed_in_order() {
    let log = run(Plan::default(), |machine, slot| {
        let slot = slot.expect("starts");
        assert_eq!(machine.interfaces(&CLASS).len(), 1);
        machine.remove(slot).expect("nobody refuses");
        assert_eq!(machine.interfaces(&CLASS).len(), 0);
        machine.shut_down();
        assert!(!machine.device_never_stopped());
    });
    let expected = format!("{START} QueryRemove {DOWN} Release Flush Cleanup DeviceCleanup Unload");
    assert_eq!(log, Ok(expected));
}

#[test]
fn surprise_removal_comes_first_and_powers_down() {
    let log = run(Plan::default(), |machine, slot| {
        machine.surprise_remove(slot.expect("starts"));
        machine.shut_down();
    });
    let expected = format!("{START} Surprise {DOWN} Release Flush Cleanup DeviceCleanup Unload");
    assert_eq!(log, Ok(expected));
}

#[test]
fn a_vanished_device_is_removed_by_a_worker() {
    let log = run(Plan::default(), |machine, slot| {
        machine.unplug_later(slot.expect("starts"));
        assert!(LOG.with_borrow(|log| !log.contains(&"Surprise")));
        machine.shut_down();
    });
    let expected = format!("{START} Surprise {DOWN} Release Flush Cleanup DeviceCleanup Unload");
    assert_eq!(log, Ok(expected));
}

#[test]
fn a_stopped_device_starts_again_without_a_second_init() {
    let log = run(Plan::default(), |machine, slot| {
        let slot = slot.expect("starts");
        machine.stop_device(slot).expect("nobody refuses");
        assert_eq!(machine.interfaces(&CLASS).len(), 1, "a rebalance leaves interfaces alone");
        machine.restart(slot).expect("starts again");
        machine.shut_down();
    });
    let again = "Prepare D0Entry Enable D0EntryPost Restart";
    let expected = format!(
        "{START} QueryStop {DOWN} Release {again} {DOWN} Release Flush Cleanup DeviceCleanup Unload"
    );
    assert_eq!(log, Ok(expected));
}

#[test]
fn sleep_and_wake_leave_the_hardware_prepared() {
    let log = run(Plan::default(), |machine, slot| {
        let slot = slot.expect("starts");
        machine.set_power(slot, true).expect("started");
        machine.set_power(slot, false).expect("started");
        LOG.with_borrow_mut(|log| log.push("."));
        machine.shut_down();
    });
    let up = "D0Entry Enable D0EntryPost Restart";
    let log = log.expect("no rule is broken");
    assert!(log.starts_with(&format!("{START} {DOWN} {up} .")), "{log}");
}

/// The callbacks of a start in which `fails` fails, after Add, and the status of the start.
fn failed(fails: &'static str) -> (String, NTSTATUS) {
    let status = std::sync::Arc::new(std::sync::atomic::AtomicI32::new(0));
    let out = std::sync::Arc::clone(&status);
    let log = run(Plan { fails, ..Plan::default() }, move |machine, slot| {
        out.store(slot.expect_err("fails").0, std::sync::atomic::Ordering::Relaxed);
        machine.shut_down();
    });
    let log = log.expect("no rule is broken");
    let log = log.strip_prefix("Add ").expect("added").strip_suffix(" DeviceCleanup Unload");
    (log.expect("removed").to_owned(), status.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn a_failed_start_is_undone_as_far_as_it_came() {
    let power = STATUS_DEVICE_POWER_FAILURE;
    assert_eq!(failed("Prepare"), ("Prepare Release".into(), STATUS_UNSUCCESSFUL));
    assert_eq!(failed("D0Entry"), ("Prepare D0Entry Release".into(), power));
    assert_eq!(failed("Enable"), ("Prepare D0Entry Enable D0Exit Release".into(), power));
    let post = "Prepare D0Entry Enable D0EntryPost Disable D0Exit Release";
    assert_eq!(failed("D0EntryPost"), (post.into(), power));
    let init = "Prepare D0Entry Enable D0EntryPost Init D0ExitPre Disable D0Exit Release Flush \
                Cleanup";
    assert_eq!(failed("Init"), (init.into(), power));
}

#[test]
fn a_device_whose_add_fails_is_cleaned_up_without_a_start() {
    let log = run(Plan { fails: "Add", ..Plan::default() }, |machine, slot| {
        assert_eq!(slot.expect_err("fails").0, STATUS_UNSUCCESSFUL);
        machine.shut_down();
    });
    assert_eq!(log, Ok("Add DeviceCleanup Unload".into()));
}

#[test]
fn a_failing_d0_exit_stops_nothing_but_fails_the_device() {
    let log = run(Plan { fails: "D0Exit", ..Plan::default() }, |machine, slot| {
        machine.set_power(slot.expect("starts"), true).expect("the power request succeeds");
        machine.shut_down();
    });
    let expected = format!("{START} {DOWN} Surprise Release Flush Cleanup DeviceCleanup Unload");
    assert_eq!(log, Ok(expected));
}

#[test]
fn a_refused_query_leaves_the_device_started() {
    let log = run(Plan { fails: "QueryStop", ..Plan::default() }, |machine, slot| {
        let slot = slot.expect("starts");
        assert_eq!(machine.stop_device(slot).expect_err("refused").0, STATUS_UNSUCCESSFUL);
    });
    assert_eq!(log, Ok(format!("{START} QueryStop")));
}

#[test]
fn not_supported_from_prepare_hardware_breaks_kmdf_03() {
    let plan = Plan { fails: "Prepare", status: STATUS_NOT_SUPPORTED, ..Plan::default() };
    assert_eq!(run(plan, |_, _| {}), Err(RuleId::Kmdf03));
}

#[test]
fn an_object_that_outlives_its_driver_breaks_kmdf_42() {
    let plan = Plan { leaks_spin_lock: true, ..Plan::default() };
    let log = run(plan, |machine, _| machine.shut_down());
    assert_eq!(log, Err(RuleId::Kmdf42));
}

#[test]
fn interrupts_of_one_dpc_collapse() {
    let log = run(Plan::default(), |machine, slot| {
        let slot = slot.expect("starts");
        let function = machine.kernel.bus.function(slot.0).expect("plugged");
        LOG.with_borrow_mut(Vec::clear);
        machine.kernel.kernel_mode(|| {
            function.command(&machine.kernel, 0, 0, 4, 1);
            machine.kernel.service();
        });
        assert_eq!(machine.device_model(slot, |quiet: &mut Quiet| quiet.raised), Some(true));
    });
    assert_eq!(log, Ok("Isr Dpc".into()));
}

#[test]
fn the_interrupt_lock_of_a_disconnected_interrupt_breaks_kmdf_18() {
    let log = run(Plan::default(), |machine, slot| {
        machine.stop_device(slot.expect("starts")).expect("nobody refuses");
        // SAFETY: the driver's interrupt; it lives as long as its device.
        machine.kernel.kernel_mode(|| unsafe { wdf::WdfInterruptAcquireLock(INTERRUPT.get()) });
    });
    assert_eq!(log, Err(RuleId::Kmdf18));
}

/// A device that wants to run in an hour once a register of it was read.
#[derive(Debug)]
struct Ticking;

impl Device for Ticking {
    fn identity(&self) -> Identity {
        Quiet::default().identity()
    }

    fn read(&mut self, bus: &mut dyn Bus, _: u8, _: u64, _: u8) -> u64 {
        bus.set_timer(Some(3_600_000_000_000));
        0
    }

    fn write(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: u8, _: u64) {}

    fn on_timer(&mut self, _: &mut dyn Bus) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

#[test]
fn whether_a_device_that_was_given_up_runs_is_not_seen_from_another_one() {
    for runs in 0..2 {
        let machine = Machine::builder(Profile::X64).build();
        let kernel = &*machine.kernel;
        let slots = [0, 1].map(|_| machine.plug(Box::new(Ticking)).expect("there is room").0);
        let node = kernel.pnp.node(slots[0]).expect("it was plugged");
        node.given_up.store(true, std::sync::atomic::Ordering::Release);
        let function = kernel.bus.function(slots[runs]).expect("it was plugged");
        function.config.start(false);
        assert_eq!(function.read(kernel, 0, 0, 4), 0);

        assert_eq!(super::end::never_stopped(kernel, &node), runs == 0);
    }
}
