//! WdfIoQueueCreate (KMDF.md 4.1).

use wdk_lite::*;

use super::{Config, Handle, Power, Queue, Scope, Type};
use crate::ddi::callback::{Routine, routine};
use crate::machine::Kernel;
use crate::wdf::device::{Device, PnpState};
use crate::wdf::object::{Attributes, Kind};

/// Makes a queue from a configuration of the current size.
///
/// # Errors
/// The statuses of KMDF.md 4.1 from step 3 on.
pub(super) fn create(
    kernel: &Kernel,
    (of, device): (Handle, &Device),
    given: &WDF_IO_QUEUE_CONFIG,
    attributes: &Attributes,
) -> Result<Handle, NTSTATUS> {
    let default = given.DefaultQueue != 0;
    if default && device.pnp() != PnpState::Init {
        return Err(STATUS_INVALID_DEVICE_STATE);
    }
    if attributes.parent.is_some_and(|parent| kernel.wdf.ancestor(parent, Kind::Device) != Some(of))
    {
        return Err(STATUS_INVALID_DEVICE_REQUEST);
    }
    let config = read(device, given, attributes)?;
    if default && device.default_queue.get().is_some() {
        return Err(STATUS_UNSUCCESSFUL);
    }
    let (handle, queue) = kernel.wdf.create::<Queue>(kernel, Some(of), attributes)?;
    queue.device.set(Some(of));
    queue.lock.set_passive(config.passive);
    if config.passive {
        kernel.wdf.set_passive_callbacks(handle);
    }
    {
        let mut state = queue.lock();
        state.config = config;
        if device.is_shut_down() {
            state.shut_down();
        } else {
            state.start();
        }
        let off = config.power_managed && !device.is_powered();
        state.power = if off { Power::Off } else { Power::On };
    }
    device.queues.lock().push(handle);
    if default {
        device.default_queue.set(Some(handle));
    }
    Ok(handle)
}

/// The queue's execution level and scope: its own, else the device's.
fn constraints(device: &Device, attributes: &Attributes) -> Result<(bool, Scope), NTSTATUS> {
    use _WDF_EXECUTION_LEVEL as Level;
    use _WDF_SYNCHRONIZATION_SCOPE as Synchronised;

    let inherits = attributes.level == Level::WdfExecutionLevelInheritFromParent;
    let level = if inherits { device.level() } else { attributes.level };
    let scope = match attributes.scope {
        Synchronised::WdfSynchronizationScopeInheritFromParent => device.scope(),
        own => own,
    };
    let scope = match scope {
        Synchronised::WdfSynchronizationScopeDevice if level != device.level() => {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Synchronised::WdfSynchronizationScopeDevice => Scope::Device,
        Synchronised::WdfSynchronizationScopeQueue => Scope::Queue,
        _ => Scope::None,
    };
    Ok((level == Level::WdfExecutionLevelPassive, scope))
}

/// Steps 4 to 6: scope, dispatch type, handlers, number of presented requests.
fn read(
    device: &Device,
    given: &WDF_IO_QUEUE_CONFIG,
    attributes: &Attributes,
) -> Result<Config, NTSTATUS> {
    let (passive, scope) = constraints(device, attributes)?;
    let kind = match given.DispatchType {
        _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential => Type::Sequential,
        _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel => Type::Parallel,
        _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual => Type::Manual,
        _ => return Err(STATUS_INVALID_PARAMETER),
    };
    // SAFETY: the union's only member is an integer.
    let limit = unsafe { given.Settings.Parallel }.NumberOfPresentedRequests;
    let config = Config {
        kind,
        // A function device's queues are power-managed unless told otherwise (KMDF-31).
        power_managed: given.PowerManaged != _WDF_TRI_STATE::WdfFalse,
        zero_length: given.AllowZeroLengthRequests != 0,
        limit,
        passive,
        scope,
        default: routine(given.EvtIoDefault),
        read: routine(given.EvtIoRead),
        write: routine(given.EvtIoWrite),
        control: routine(given.EvtIoDeviceControl),
        internal: routine(given.EvtIoInternalDeviceControl),
        stop: routine(given.EvtIoStop),
        resume: routine(given.EvtIoResume),
        cancelled: routine(given.EvtIoCanceledOnQueue),
    };
    match (kind, config.has_handler()) {
        (Type::Manual, true) => Err(STATUS_INVALID_PARAMETER),
        (Type::Sequential | Type::Parallel, false) => Err(STATUS_WDF_NO_CALLBACK),
        (Type::Sequential | Type::Manual, _) if limit != 0 => Err(STATUS_INVALID_PARAMETER),
        _ => Ok(config),
    }
}

impl Config {
    fn has_handler(&self) -> bool {
        [self.default, self.read, self.write, self.control, self.internal]
            .into_iter()
            .any(Routine::is_some)
    }

    /// Whether requests of this type find a handler (WdfDeviceConfigureRequestDispatching).
    pub(super) fn handles(&self, request: WDF_REQUEST_TYPE) -> bool {
        let own = match request {
            _WDF_REQUEST_TYPE::WdfRequestTypeRead => self.read,
            _WDF_REQUEST_TYPE::WdfRequestTypeWrite => self.write,
            _WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl => self.control,
            _WDF_REQUEST_TYPE::WdfRequestTypeDeviceControlInternal => self.internal,
            _ => Routine::default(),
        };
        self.kind == Type::Manual || own.is_some() || self.default.is_some()
    }
}
