//! Interrupts of WDM drivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdk_lite::*;

use super::{Wdm, foreign};
use crate::ddi::callback::{self, Routine, routine};
use crate::machine::Kernel;
use crate::machine::interrupts::{Handler, LineId, Targets};
use crate::verifier::Violation;
use crate::wdf::interrupt::Resource;

/// First value of the pointers that stand for interrupt objects; nothing is behind them.
const OBJECTS: usize = 0x00FF_5000_0000_0000;

/// A connected interrupt.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) slot: usize,
    line: LineId,
    routine: Routine,
    context: usize,
    irql: u8,
    /// The driver's own lock, or 0.
    lock: usize,
    own: AtomicU64,
    connected: AtomicBool,
}

/// What a driver asks for, in either version.
struct Wanted {
    object: PDEVICE_OBJECT,
    place: *mut PKINTERRUPT,
    routine: PKSERVICE_ROUTINE,
    context: PVOID,
    lock: PKSPIN_LOCK,
    synchronize: u8,
    /// Vector and level of a fully specified interrupt.
    line: Option<(u32, u8)>,
    /// The processors of a fully specified interrupt, a bit for each; 0: any.
    processors: u64,
}

/// # Safety
/// The driver's parameters.
unsafe fn read(parameters: PIO_CONNECT_INTERRUPT_PARAMETERS) -> Option<Wanted> {
    // SAFETY: the driver's structure.
    let given = unsafe { parameters.read() };
    match given.Version {
        CONNECT_FULLY_SPECIFIED | CONNECT_FULLY_SPECIFIED_GROUP => {
            // SAFETY: the member that the version names.
            let full = unsafe { given.__bindgen_anon_1.FullySpecified };
            Some(Wanted {
                object: full.PhysicalDeviceObject,
                place: full.InterruptObject,
                routine: full.ServiceRoutine,
                context: full.ServiceContext,
                lock: full.SpinLock,
                synchronize: full.SynchronizeIrql,
                line: Some((full.Vector, full.Irql)),
                processors: full.ProcessorEnableMask,
            })
        }
        CONNECT_LINE_BASED => {
            // SAFETY: the member that the version names.
            let line = unsafe { given.__bindgen_anon_1.LineBased };
            Some(Wanted {
                object: line.PhysicalDeviceObject,
                place: line.InterruptObject,
                routine: line.ServiceRoutine,
                context: line.ServiceContext,
                lock: line.SpinLock,
                synchronize: line.SynchronizeIrql,
                line: None,
                processors: 0,
            })
        }
        _ => None,
    }
}

/// Connects an interrupt of the device (wdm, IoConnectInterruptEx). Message tables
/// (CONNECT_MESSAGE_BASED) are not offered: STATUS_NOT_SUPPORTED, and the version that is, as the
/// page says.
pub(super) unsafe fn connect(
    kernel: &Kernel,
    parameters: PIO_CONNECT_INTERRUPT_PARAMETERS,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's parameters.
    let Some(wanted) = (unsafe { read(parameters) }) else {
        // SAFETY: as above.
        unsafe { (*parameters).Version = CONNECT_FULLY_SPECIFIED_GROUP };
        return Ok(STATUS_NOT_SUPPORTED);
    };
    let slot = kernel.wdm.physical_slot(wanted.object);
    let Some(slot) = slot else { return Err(foreign("physical device object")) };
    let resources = kernel.bus.function(slot).map(|f| crate::pnp::interrupts_of(kernel, &f));
    let resources: Vec<Resource> = resources.unwrap_or_default();
    let granted = resources.into_iter().find(|resource| match wanted.line {
        Some((vector, irql)) => resource.vector == vector && resource.irql == irql,
        None => !resource.message,
    });
    let Some(granted) = granted else { return Ok(STATUS_INVALID_PARAMETER) };
    if wanted.routine.is_none() || wanted.place.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let connected = Arc::new(Connected {
        slot,
        line: granted.line,
        routine: routine(wanted.routine),
        context: wanted.context.expose_provenance(),
        irql: granted.irql.max(wanted.synchronize),
        lock: wanted.lock.expose_provenance(),
        own: AtomicU64::new(0),
        connected: AtomicBool::new(true),
    });
    let number = {
        let mut all = kernel.wdm.interrupts.lock();
        all.push(Some(connected));
        all.len() - 1
    };
    // SAFETY: the driver's variable. The object is there before the first interrupt.
    unsafe { wanted.place.write(std::ptr::without_provenance_mut(OBJECTS + (number << 8))) };
    let targets = Targets::of(wanted.processors, kernel.all_processors());
    kernel.interrupts.connect(granted.line, Handler { run, argument: number }, targets);
    kernel.service();
    Ok(STATUS_SUCCESS)
}

/// Disconnects an interrupt: its routine is not called afterwards (wdm, IoDisconnectInterruptEx).
pub(super) fn disconnect(kernel: &Kernel, object: PKINTERRUPT) -> Result<(), Violation> {
    let number = object.addr().checked_sub(OBJECTS).map(|offset| offset >> 8);
    let mut all = kernel.wdm.interrupts.lock();
    let entry = number.and_then(|number| all.get_mut(number)).and_then(Option::take);
    drop(all);
    let Some(connected) = entry else { return Err(foreign("interrupt object")) };
    connected.locked(kernel, || connected.connected.store(false, Ordering::Release));
    kernel.interrupts.disconnect(connected.line);
    Ok(())
}

/// The line's interrupt: the driver's routine, under the interrupt's spin lock.
fn run(kernel: &Kernel, number: usize) -> bool {
    let connected = kernel.wdm.interrupts.lock().get(number).cloned().flatten();
    let Some(connected) = connected else { return false };
    let object = std::ptr::without_provenance_mut(OBJECTS + (number << 8));
    let context = std::ptr::with_exposed_provenance_mut(connected.context);
    connected.locked(kernel, || {
        if !connected.connected.load(Ordering::Acquire) {
            return false;
        }
        // SAFETY: the driver's service routine with the object and context it was connected with.
        unsafe { callback::KSERVICE_ROUTINE(kernel, connected.routine, object, context) != 0 }
    })
}

impl Connected {
    /// Runs `body` at the interrupt's level under its spin lock, as the service routine runs.
    fn locked<R>(&self, kernel: &Kernel, body: impl FnOnce() -> R) -> R {
        let lock = match self.lock {
            0 => &self.own,
            // SAFETY: the driver's lock, which it keeps while the interrupt is connected.
            lock => unsafe { AtomicU64::from_ptr(std::ptr::with_exposed_provenance_mut(lock)) },
        };
        kernel.at_irql(self.irql.max(kernel.irql()), || {
            crate::io::must(kernel, kernel.spin_acquire(lock));
            let result = body();
            crate::io::must(kernel, kernel.spin_release(lock));
            result
        })
    }
}

impl Wdm {
    /// Whether an interrupt of this slot, or of any, is still connected.
    pub(super) fn is_connected(&self, slot: Option<usize>) -> bool {
        let all = self.interrupts.lock();
        all.iter().flatten().any(|connected| slot.is_none_or(|slot| connected.slot == slot))
    }
}
