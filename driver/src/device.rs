//! The device: its context and how it is added.

mod add;
mod bus_master;
mod hardware;
mod power;
mod slave;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use add::evt_driver_device_add;
pub(crate) use hardware::Hardware;

use wdk_dma::ddk::ContextType;
use wdk_dma::irql::{AtMostDispatch, Dispatch};

use crate::engine::Registers;
use crate::interrupt::{self, MESSAGES_MAX};
use crate::statistics::Counters;
use crate::sync::SpinLock;
use crate::sys::{
    PDEVICE_OBJECT, WDFDEVICE, WDFDPC, WDFINTERRUPT, WDFOBJECT, WDFTIMER,
    call_unsafe_wdf_function_binding,
};
use crate::transfer::slot::{SLOT_COUNT, Token};
use crate::transfer::state::State;

/// The context type of the framework's device object.
pub(crate) static DEVICE_CONTEXT: ContextType<DeviceContext> =
    ContextType::new(c"DeviceContext", &raw const DEVICE_CONTEXT);

/// What the driver keeps for a device: in the framework's context space, which is nonpaged
/// (DMA-13) and lives as long as the device object.
#[derive(Debug)]
pub struct DeviceContext {
    device: WDFDEVICE,
    device_object: PDEVICE_OBJECT,
    interrupts: [WDFINTERRUPT; MESSAGES_MAX],
    watchdog: WDFTIMER,
    pump_dpc: WDFDPC,
    channel_dpc: WDFDPC,
    pub(crate) state: SpinLock<State>,
    hardware: UnsafeCell<Hardware>,
    pub(crate) registers: Registers,
    pub(crate) statistics: Counters,
    tokens: [Token; SLOT_COUNT],
    /// Written before a slot's transfer waits, so that the pump needs no lock for them.
    origins: [Origin; SLOT_COUNT],
}

/// Where a slot's request comes from and goes to.
#[derive(Debug)]
struct Origin {
    /// Where on the device its data begins.
    offset: AtomicU64,
    /// On which processor it was begun.
    processor: AtomicU32,
}

impl Origin {
    const fn new() -> Self {
        Self { offset: AtomicU64::new(u64::MAX), processor: AtomicU32::new(0) }
    }
}

impl DeviceContext {
    /// The context of a device; `None` if the device is not one of this driver's.
    ///
    /// # Safety
    /// `device` is live and its context has been initialised, as it is before any callback but
    /// EvtDriverDeviceAdd.
    pub(crate) unsafe fn of<'a>(device: WDFDEVICE) -> Option<&'a Self> {
        // SAFETY: live by the caller's promise.
        let context = unsafe { DEVICE_CONTEXT.of(device as WDFOBJECT) };
        // SAFETY: null or an initialised context, shared from then on; interior mutability guards
        // what changes.
        unsafe { context.as_ref() }
    }

    pub(crate) fn device(&self) -> WDFDEVICE {
        self.device
    }

    /// The interrupt objects: one for the line or the only message, one more for each further
    /// message.
    pub(crate) fn interrupts(&self) -> &[WDFINTERRUPT] {
        &self.interrupts
    }

    pub(crate) fn watchdog(&self) -> WDFTIMER {
        self.watchdog
    }

    /// The WDM device object, for the DMA operations. Any IRQL up to DISPATCH_LEVEL.
    pub(crate) fn device_object(&self) -> PDEVICE_OBJECT {
        self.device_object
    }

    /// What a callback of the system gets to find a slot by.
    pub(crate) fn token(&self, index: usize) -> *mut c_void {
        match self.tokens.get(index) {
            Some(token) => core::ptr::from_ref(token).cast_mut().cast(),
            None => core::ptr::null_mut(),
        }
    }

    /// The adapters and what comes with them.
    ///
    /// Steps of transfers and callbacks of pending allocations use it; they come to an end before
    /// [`hardware_mut`](Self::hardware_mut) is used.
    pub(crate) fn hardware(&self) -> &Hardware {
        // SAFETY: nobody holds the exclusive reference, as its contract says.
        unsafe { &*self.hardware.get() }
    }

    /// The same for the PnP callbacks that acquire and release it.
    ///
    /// # Safety
    /// `present` is not set in the state, the pump rests or completes requests only, and no
    /// allocation or build is pending: then nobody else looks at the hardware.
    #[expect(clippy::mut_from_ref, reason = "the contract above makes it exclusive")]
    pub(crate) unsafe fn hardware_mut(&self) -> &mut Hardware {
        // SAFETY: exclusive by the caller's promise.
        unsafe { &mut *self.hardware.get() }
    }

    /// Where on the device byte `done` of a slot's transfer lies.
    pub(crate) fn device_offset(&self, index: usize, done: u64) -> Option<u64> {
        self.origins.get(index)?.offset.load(Ordering::Relaxed).checked_add(done)
    }

    /// On which processor a slot's request was begun.
    pub(crate) fn processor(&self, index: usize) -> u32 {
        self.origins.get(index).map_or(0, |origin| origin.processor.load(Ordering::Relaxed))
    }

    /// Notes where a slot's data begins on the device, and that its request is begun on this
    /// processor. Under the lock, before its transfer waits.
    pub(crate) fn set_origin(&self, index: usize, offset: u64) {
        if let Some(origin) = self.origins.get(index) {
            origin.offset.store(offset, Ordering::Relaxed);
            origin.processor.store(interrupt::current_processor(), Ordering::Relaxed);
        }
    }

    /// Tells that AdapterControl has run, once it has returned: for AdapterControl itself, with
    /// `channel_taken` set in the state. IRQL: DISPATCH_LEVEL.
    pub(crate) fn queue_channel(&self, _dispatch: &Dispatch) {
        // SAFETY: the device's live DPC object; it is queued once for each allocation.
        let _was_idle =
            unsafe { call_unsafe_wdf_function_binding!(WdfDpcEnqueue, self.channel_dpc) };
    }

    /// Has the pump run in a DPC of its own. IRQL: at most DISPATCH_LEVEL.
    pub(crate) fn queue_pump(&self, _level: &impl AtMostDispatch) {
        // SAFETY: the device's live DPC object; queueing it twice has no effect.
        let _was_idle = unsafe { call_unsafe_wdf_function_binding!(WdfDpcEnqueue, self.pump_dpc) };
    }
}
