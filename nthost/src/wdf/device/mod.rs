//! KMDF: drivers and devices.

mod create;
pub(crate) mod ddi;
pub(crate) mod driver;
pub(crate) mod init;

pub(crate) use driver::Driver;
pub(crate) use init::{FileConfig, Settings};

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use parking_lot::{Mutex, RwLock};
use wdk_lite::*;

use super::helpers::lock::CallbackLock;
use super::object::{Handle, Kind, Payload};
use crate::ddi::callback::Routine;

/// A handle that may change, or none.
#[derive(Debug, Default)]
pub(crate) struct HandleCell(AtomicU64);

impl HandleCell {
    #[inline]
    pub(crate) fn get(&self) -> Option<Handle> {
        Handle::from_bits(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn set(&self, handle: Option<Handle>) {
        self.0.store(handle.map_or(0, Handle::bits), Ordering::Release);
    }
}

/// Where a device is in plug and play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PnpState {
    /// Created, never started.
    Init,
    /// Between START and its completion.
    Starting,
    Started,
    /// Stopped for a rebalance.
    Stopped,
    /// A start or a later step failed; removal follows.
    Failed,
    /// Gone; the last handle is awaited.
    SurpriseRemoved,
    Removed,
}

/// Request types with a queue of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Dispatch {
    Create,
    Read,
    Write,
    DeviceControl,
    InternalDeviceControl,
}

impl Dispatch {
    /// From WDF_REQUEST_TYPE; `None` for types that cannot be dispatched.
    pub(crate) fn from_type(request: WDF_REQUEST_TYPE) -> Option<Self> {
        match request {
            _WDF_REQUEST_TYPE::WdfRequestTypeCreate => Some(Self::Create),
            _WDF_REQUEST_TYPE::WdfRequestTypeRead => Some(Self::Read),
            _WDF_REQUEST_TYPE::WdfRequestTypeWrite => Some(Self::Write),
            _WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl => Some(Self::DeviceControl),
            _WDF_REQUEST_TYPE::WdfRequestTypeDeviceControlInternal => {
                Some(Self::InternalDeviceControl)
            }
            _ => None,
        }
    }
}

/// A WDFDEVICE: the function device object of one PCI function.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// What the device was created with; constant while it lives.
    pub settings: RwLock<Arc<Settings>>,
    /// Its slot on the bus.
    pub slot: AtomicUsize,
    /// The WDFDRIVER.
    pub driver: HandleCell,
    /// Effective execution level and scope (a `WDF_EXECUTION_LEVEL`, a
    /// `WDF_SYNCHRONIZATION_SCOPE`).
    pub level: AtomicI32,
    pub scope: AtomicI32,
    /// The callback lock, for scope Device and automatic serialisation.
    pub lock: CallbackLock,
    /// The default queue; set by WdfIoQueueCreate.
    pub default_queue: HandleCell,
    /// Queues set by WdfDeviceConfigureRequestDispatching, by [`Dispatch`].
    pub dispatch: [HandleCell; 5],
    /// All queues in order of creation; kept by WdfIoQueueCreate.
    pub queues: Mutex<Vec<Handle>>,
    /// Interrupts and DMA enablers in order of creation.
    pub interrupts: Mutex<Vec<Handle>>,
    pub enablers: Mutex<Vec<Handle>>,
    /// The resource lists given to PrepareHardware.
    pub raw: HandleCell,
    pub translated: HandleCell,
    /// In D0, power-managed queues run.
    powered: AtomicBool,
    /// Power-managed queues are shut down for good.
    shut_down: AtomicBool,
    pnp: AtomicU8,
    /// Inside EvtDevicePrepareHardware.
    pub preparing: AtomicBool,
    /// WdfDeviceSetStaticStopRemove's veto count.
    pub vetoes: AtomicI32,
    /// Files that are open, for exclusive devices; kept by the file functions.
    pub handles: AtomicU32,
    /// Self-managed I/O: has Init been attempted, is it suspended after a failure.
    pub self_managed: Mutex<SelfManaged>,
}

/// State of self-managed I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SelfManaged {
    /// Init has not been called.
    #[default]
    Created,
    Started,
    Suspended,
    /// Init, Suspend or Restart failed: only Flush and Cleanup follow.
    Failed,
    Flushed,
}

impl Payload for Device {
    const KIND: Kind = Kind::Device;

    fn reset(&self) {
        *self.settings.write() = Arc::default();
        self.default_queue.set(None);
        for cell in &self.dispatch {
            cell.set(None);
        }
        self.queues.lock().clear();
        self.interrupts.lock().clear();
        self.enablers.lock().clear();
        self.raw.set(None);
        self.translated.set(None);
        self.set_powered(false);
        self.shut_down.store(false, Ordering::Release);
        self.set_pnp(PnpState::Init);
        self.preparing.store(false, Ordering::Release);
        self.vetoes.store(0, Ordering::Release);
        self.handles.store(0, Ordering::Release);
        *self.self_managed.lock() = SelfManaged::default();
    }
}

impl Device {
    /// What the device was created with.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// Whether the device is in D0 as far as its power-managed queues are concerned. Set before
    /// `queue::resume_all`, cleared before `queue::hold_all`.
    pub(crate) fn is_powered(&self) -> bool {
        self.powered.load(Ordering::Acquire)
    }

    pub(crate) fn set_powered(&self, powered: bool) {
        self.powered.store(powered, Ordering::Release);
    }

    /// Whether queues of this device refuse requests for good: failed, surprise-removed, removed.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }

    pub(crate) fn set_shut_down(&self) {
        self.shut_down.store(true, Ordering::Release);
    }

    pub(crate) fn pnp(&self) -> PnpState {
        match self.pnp.load(Ordering::Acquire) {
            0 => PnpState::Init,
            1 => PnpState::Starting,
            2 => PnpState::Started,
            3 => PnpState::Stopped,
            4 => PnpState::Failed,
            5 => PnpState::SurpriseRemoved,
            _ => PnpState::Removed,
        }
    }

    pub(crate) fn set_pnp(&self, state: PnpState) {
        self.pnp.store(state as u8, Ordering::Release);
    }

    /// The queue for requests of a type: its own, else the default queue.
    pub(crate) fn queue_for(&self, kind: Dispatch) -> Option<Handle> {
        let own = self.dispatch[kind as usize].get();
        let default = || (kind != Dispatch::Create).then(|| self.default_queue.get()).flatten();
        own.or_else(default)
    }

    /// Whether the driver may not delete this queue.
    pub(crate) fn is_pinned(&self, queue: Handle) -> bool {
        self.default_queue.get() == Some(queue)
            || self.dispatch.iter().any(|cell| cell.get() == Some(queue))
    }

    /// Effective execution level.
    pub(crate) fn level(&self) -> WDF_EXECUTION_LEVEL {
        self.level.load(Ordering::Relaxed)
    }

    /// Effective synchronisation scope.
    pub(crate) fn scope(&self) -> WDF_SYNCHRONIZATION_SCOPE {
        self.scope.load(Ordering::Relaxed)
    }

    /// The slot on the bus.
    pub(crate) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }
}

/// The PnP and power callbacks of a device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PnpCallbacks {
    pub d0_entry: Routine,
    pub d0_entry_post: Routine,
    pub d0_exit: Routine,
    pub d0_exit_pre: Routine,
    pub prepare: Routine,
    pub release: Routine,
    pub self_managed_cleanup: Routine,
    pub self_managed_flush: Routine,
    pub self_managed_init: Routine,
    pub self_managed_suspend: Routine,
    pub self_managed_restart: Routine,
    pub surprise_removal: Routine,
    pub query_remove: Routine,
    pub query_stop: Routine,
}
