//! The KMDF functions of timers, DPCs and work items.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

use wdk_lite::*;

use super::{make, read_config};
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};
use crate::wdf::helpers::dpc::{self, deferred};
use crate::wdf::helpers::serial::Serialised;
use crate::wdf::helpers::timer;
use crate::wdf::object::{AttributeRules, Attributes, ParentRule, null_parameter};

const WITH_PARENT: AttributeRules =
    AttributeRules { parent: ParentRule::Required, level: false, scope: false };

/// Makes a DPC.
pub(crate) unsafe fn WdfDpcCreate(
    kernel: &Kernel,
    Config: PWDF_DPC_CONFIG,
    Attributes: PWDF_OBJECT_ATTRIBUTES,
    Dpc: *mut WDFDPC,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { self::Attributes::read(kernel, Attributes, WITH_PARENT) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    // SAFETY: the driver's configuration.
    let config = match unsafe { read_config(Config, "WdfDpcCreate's Config") }? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    if Dpc.is_null() {
        return Err(null_parameter("Dpc"));
    }
    let Some(parent) = attributes.parent else { return Ok(STATUS_WDF_PARENT_NOT_SPECIFIED) };
    let automatic = config.AutomaticSerialization != 0;
    match Serialised::resolve(kernel, parent, automatic, false) {
        Ok(serialised) => Ok(make(kernel, None, &attributes, Dpc, |_, dpc: &dpc::Dpc| {
            *dpc.config.lock() = (routine(config.EvtDpcFunc), serialised);
        })),
        Err(status) => Ok(status),
    }
}

/// Queues a DPC; FALSE if it is queued already.
pub(crate) unsafe fn WdfDpcEnqueue(kernel: &Kernel, Dpc: WDFDPC) -> Result<BOOLEAN, Violation> {
    let (handle, dpc) = kernel.wdf.get::<dpc::Dpc>(Dpc)?;
    let first = dpc.once.enqueue();
    if first {
        kernel.queue_dpc(deferred(handle, dpc::run_dpc));
    }
    Ok(first.into())
}

/// Takes a DPC off the queue, and with `Wait` waits for it if it was not there.
pub(crate) unsafe fn WdfDpcCancel(
    kernel: &Kernel,
    Dpc: WDFDPC,
    Wait: BOOLEAN,
) -> Result<BOOLEAN, Violation> {
    let (handle, dpc) = kernel.wdf.get::<dpc::Dpc>(Dpc)?;
    let removed = kernel.remove_dpc(deferred(handle, dpc::run_dpc));
    if removed {
        dpc.once.removed();
    } else if Wait != 0 {
        dpc.once.flush(kernel, "WdfDpcCancel")?;
    }
    Ok(removed.into())
}

/// The DPC's parent.
pub(crate) unsafe fn WdfDpcGetParentObject(
    kernel: &Kernel,
    Dpc: WDFDPC,
) -> Result<WDFOBJECT, Violation> {
    let (handle, _) = kernel.wdf.get::<dpc::Dpc>(Dpc)?;
    Ok(dpc::parent_of(kernel, handle))
}

/// Makes a timer.
pub(crate) unsafe fn WdfTimerCreate(
    kernel: &Kernel,
    Config: PWDF_TIMER_CONFIG,
    Attributes: PWDF_OBJECT_ATTRIBUTES,
    Timer: *mut WDFTIMER,
) -> Result<NTSTATUS, Violation> {
    let rules = AttributeRules { parent: ParentRule::Required, level: true, scope: false };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { self::Attributes::read(kernel, Attributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    // SAFETY: the driver's configuration.
    let config = match unsafe { read_config(Config, "WdfTimerCreate's Config") }? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    if Timer.is_null() {
        return Err(null_parameter("Timer"));
    }
    if i32::try_from(config.Period).is_err()
        || (config.TolerableDelay != 0 && config.UseHighResolutionTimer != 0)
    {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let passive = attributes.is_explicitly_passive();
    if passive && config.Period != 0 {
        return Ok(STATUS_NOT_SUPPORTED);
    }
    let Some(parent) = attributes.parent else { return Ok(STATUS_WDF_PARENT_NOT_SPECIFIED) };
    let automatic = config.AutomaticSerialization != 0;
    match Serialised::resolve(kernel, parent, automatic, passive) {
        Ok(serialised) => Ok(make(kernel, None, &attributes, Timer, |_, timer: &timer::Timer| {
            *timer.config.lock() = timer::Config {
                routine: routine(config.EvtTimerFunc),
                serialised,
                period: u64::from(config.Period) * 1_000_000,
                passive,
            };
        })),
        Err(status) => Ok(status),
    }
}

/// Starts a timer; TRUE if it was in the queue.
pub(crate) unsafe fn WdfTimerStart(
    kernel: &Kernel,
    Timer: WDFTIMER,
    DueTime: LONGLONG,
) -> Result<BOOLEAN, Violation> {
    let (handle, timer) = kernel.wdf.get::<timer::Timer>(Timer)?;
    if kernel.wdf.is_deleted(handle) {
        return Err(broken(RuleId::Kmdf42, "WdfTimerStart on a timer that is being deleted"));
    }
    let units = DueTime.unsigned_abs().saturating_mul(100);
    let due = if DueTime < 0 { kernel.clock.now().saturating_add(units) } else { units };
    Ok(timer.start(kernel, handle, due).into())
}

/// Stops a timer; TRUE if it was in the queue. With `Wait` its callback is over on return.
pub(crate) unsafe fn WdfTimerStop(
    kernel: &Kernel,
    Timer: WDFTIMER,
    Wait: BOOLEAN,
) -> Result<BOOLEAN, Violation> {
    let (_, timer) = kernel.wdf.get::<timer::Timer>(Timer)?;
    if Wait == 0 {
        return Ok(timer.cancel(kernel).into());
    }
    if timer.is_inside() {
        let message = "WdfTimerStop waits for the timer's callback inside that callback";
        return Err(broken(RuleId::Sim09, message));
    }
    if kernel.irql() > 0 {
        let message = "WdfTimerStop with Wait was called above PASSIVE_LEVEL";
        return Err(broken(RuleId::Kmdf35, message).code(0xC4, [0x121, 0, 0, 0]));
    }
    timer.stop_and_wait(kernel).map(Into::into)
}

/// The timer's parent.
pub(crate) unsafe fn WdfTimerGetParentObject(
    kernel: &Kernel,
    Timer: WDFTIMER,
) -> Result<WDFOBJECT, Violation> {
    let (handle, _) = kernel.wdf.get::<timer::Timer>(Timer)?;
    Ok(dpc::parent_of(kernel, handle))
}

/// Makes a work item.
pub(crate) unsafe fn WdfWorkItemCreate(
    kernel: &Kernel,
    Config: PWDF_WORKITEM_CONFIG,
    Attributes: PWDF_OBJECT_ATTRIBUTES,
    WorkItem: *mut WDFWORKITEM,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { self::Attributes::read(kernel, Attributes, WITH_PARENT) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    // SAFETY: the driver's configuration.
    let config = match unsafe { read_config(Config, "WdfWorkItemCreate's Config") }? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    if WorkItem.is_null() {
        return Err(null_parameter("WorkItem"));
    }
    if config.EvtWorkItemFunc.is_none() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let Some(parent) = attributes.parent else { return Ok(STATUS_WDF_PARENT_NOT_SPECIFIED) };
    let automatic = config.AutomaticSerialization != 0;
    match Serialised::resolve(kernel, parent, automatic, true) {
        Ok(serialised) => {
            Ok(make(kernel, None, &attributes, WorkItem, |_, item: &dpc::WorkItem| {
                *item.config.lock() = (routine(config.EvtWorkItemFunc), serialised);
            }))
        }
        Err(status) => Ok(status),
    }
}

/// Queues a work item, unless it is queued.
pub(crate) unsafe fn WdfWorkItemEnqueue(
    kernel: &Kernel,
    WorkItem: WDFWORKITEM,
) -> Result<(), Violation> {
    let (handle, item) = kernel.wdf.get::<dpc::WorkItem>(WorkItem)?;
    if item.once.enqueue() {
        kernel.queue_work(deferred(handle, dpc::run_work));
    }
    Ok(())
}

/// The work item's parent.
pub(crate) unsafe fn WdfWorkItemGetParentObject(
    kernel: &Kernel,
    WorkItem: WDFWORKITEM,
) -> Result<WDFOBJECT, Violation> {
    let (handle, _) = kernel.wdf.get::<dpc::WorkItem>(WorkItem)?;
    Ok(dpc::parent_of(kernel, handle))
}

/// Waits until a work item is neither queued nor running.
pub(crate) unsafe fn WdfWorkItemFlush(
    kernel: &Kernel,
    WorkItem: WDFWORKITEM,
) -> Result<(), Violation> {
    let (_, item) = kernel.wdf.get::<dpc::WorkItem>(WorkItem)?;
    if item.once.is_inside() {
        let message = "WdfWorkItemFlush waits for the work item inside its own callback";
        return Err(broken(RuleId::Sim09, message));
    }
    item.once.flush(kernel, "WdfWorkItemFlush")
}
