//! Automatic serialisation: which lock a timer, DPC, work item or interrupt DPC runs under.

use wdk_lite::*;

use crate::machine::Kernel;
use crate::wdf::device::Device;
use crate::wdf::object::{Handle, Kind};
use crate::wdf::queue::{Queue, Scope};

/// The object whose callback lock is held, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serialised(Option<Handle>);

impl Serialised {
    /// Finds the lock for a callback of an object below `parent`. `passive` says how it runs.
    ///
    /// # Errors
    /// The chain leads to no device, or the parent's callbacks run at another level.
    pub(crate) fn resolve(
        kernel: &Kernel,
        parent: Handle,
        automatic: bool,
        passive: bool,
    ) -> Result<Self, NTSTATUS> {
        use _WDF_SYNCHRONIZATION_SCOPE::{
            WdfSynchronizationScopeDevice, WdfSynchronizationScopeQueue,
        };

        let device = kernel.wdf.ancestor(parent, Kind::Device);
        let device = device.ok_or(STATUS_INVALID_DEVICE_REQUEST)?;
        if !automatic {
            return Ok(Self(None));
        }
        let payload = kernel.wdf.payload::<Device>(device);
        let of_device = payload.ok_or(STATUS_INVALID_DEVICE_REQUEST)?.scope();
        let by_device = if of_device == WdfSynchronizationScopeDevice
            || of_device == WdfSynchronizationScopeQueue
        {
            Some(device)
        } else {
            None
        };
        let queue = kernel.wdf.ancestor(parent, Kind::Queue);
        let owner = match queue.and_then(|queue| Some((queue, kernel.wdf.payload::<Queue>(queue)?)))
        {
            Some((handle, queue)) => match queue.lock().config.scope {
                Scope::None => None,
                Scope::Device => Some(device),
                Scope::Queue => Some(handle),
            },
            None => by_device,
        };
        let Some(owner) = owner else { return Ok(Self(None)) };
        if kernel.wdf.has_passive_callbacks(parent) != passive {
            return Err(STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL);
        }
        Ok(Self(Some(owner)))
    }

    /// Runs a callback of the driver, under the lock if there is one.
    pub(crate) fn run(self, kernel: &Kernel, body: impl FnOnce()) {
        let Some(owner) = self.0 else { return body() };
        if let Some(device) = kernel.wdf.payload::<Device>(owner) {
            device.lock.with(kernel, body);
        } else if let Some(queue) = kernel.wdf.payload::<Queue>(owner) {
            queue.lock.with(kernel, body);
        } else {
            body();
        }
    }
}
