//! The device and what belongs to it.

use core::cell::UnsafeCell;
use core::ptr;

use wdk_dma::ddk::{self, ContextType};
use wdk_lite::*;

use crate::{CAPACITY, INTERFACE, requests};

/// What is guarded by the device's lock.
#[derive(Debug)]
pub(crate) struct State {
    data: [u8; CAPACITY],
    length: usize,
    /// The request that waits to be released, or null.
    pub(crate) held: WDFREQUEST,
}

impl State {
    /// Replaces the data; `false` if it is too much.
    pub(crate) fn put(&mut self, data: &[u8]) -> bool {
        let Some(place) = self.data.get_mut(..data.len()) else { return false };
        place.copy_from_slice(data);
        self.length = data.len();
        true
    }

    /// Copies as much as there is and fits; how much that was.
    pub(crate) fn get(&self, buffer: &mut [u8]) -> usize {
        let count = self.length.min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), self.data.get(..count)) {
            to.copy_from_slice(from);
        }
        count
    }
}

/// The context of the device.
#[derive(Debug)]
pub(crate) struct Context {
    lock: WDFSPINLOCK,
    /// Requests that wait for the timer.
    pub(crate) waiting: WDFQUEUE,
    pub(crate) timer: WDFTIMER,
    state: UnsafeCell<State>,
}

pub(crate) static CONTEXT: ContextType<Context> =
    ContextType::new(c"EchoContext", &raw const CONTEXT);

impl Context {
    /// The context of a device.
    ///
    /// # Safety
    /// `device` is a live device of this driver that was added completely.
    pub(crate) unsafe fn of<'d>(device: WDFDEVICE) -> &'d Self {
        // SAFETY: created with this context type; shared, since the state has a lock.
        unsafe { &*CONTEXT.of(device.cast()) }
    }

    /// Runs `body` on the state, under the lock. IRQL: at most DISPATCH_LEVEL.
    pub(crate) fn locked<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        // SAFETY: the device's lock.
        unsafe { call_unsafe_wdf_function_binding!(WdfSpinLockAcquire, self.lock) };
        // SAFETY: under the lock there is no other reference to the state.
        let result = body(unsafe { &mut *self.state.get() });
        // SAFETY: acquired above.
        unsafe { call_unsafe_wdf_function_binding!(WdfSpinLockRelease, self.lock) };
        result
    }
}

/// EvtDriverDeviceAdd. IRQL: PASSIVE_LEVEL.
pub(crate) unsafe extern "C" fn evt_device_add(
    _driver: WDFDRIVER,
    init: PWDFDEVICE_INIT,
) -> NTSTATUS {
    match add(init) {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => status,
    }
}

fn check(status: NTSTATUS) -> Result<(), NTSTATUS> {
    if NT_SUCCESS(status) { Ok(()) } else { Err(status) }
}

fn add(mut init: PWDFDEVICE_INIT) -> Result<(), NTSTATUS> {
    // SAFETY: the framework's structure.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDeviceInitSetIoType,
            init,
            _WDF_DEVICE_IO_TYPE::WdfDeviceIoBuffered
        );
    }
    let mut attributes = ddk::WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&CONTEXT);
    let mut device: WDFDEVICE = ptr::null_mut();
    // SAFETY: the framework's structure and complete attributes.
    check(unsafe {
        call_unsafe_wdf_function_binding!(WdfDeviceCreate, &mut init, &mut attributes, &mut device)
    })?;
    let state = State { data: [0; CAPACITY], length: 0, held: ptr::null_mut() };
    let context = Context {
        lock: lock(device)?,
        waiting: waiting(device)?,
        timer: timer(device)?,
        state: UnsafeCell::new(state),
    };
    // SAFETY: created with this context type.
    let place = unsafe { CONTEXT.of(device.cast()) };
    // SAFETY: memory for a context that nobody uses before there is a default queue.
    unsafe { place.write(context) };
    default_queue(device)?;
    // SAFETY: a live device; the class is read during the call.
    check(unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDeviceCreateDeviceInterface,
            device,
            &INTERFACE,
            ptr::null()
        )
    })
}

fn child_of(device: WDFDEVICE) -> WDF_OBJECT_ATTRIBUTES {
    let mut attributes = ddk::WDF_OBJECT_ATTRIBUTES_INIT();
    attributes.ParentObject = device.cast();
    attributes
}

fn lock(device: WDFDEVICE) -> Result<WDFSPINLOCK, NTSTATUS> {
    let (mut attributes, mut lock) = (child_of(device), ptr::null_mut());
    // SAFETY: complete attributes with a live parent.
    check(unsafe {
        call_unsafe_wdf_function_binding!(WdfSpinLockCreate, &mut attributes, &mut lock)
    })?;
    Ok(lock)
}

fn timer(device: WDFDEVICE) -> Result<WDFTIMER, NTSTATUS> {
    let mut config = ddk::WDF_TIMER_CONFIG_INIT(Some(requests::evt_timer));
    let (mut attributes, mut timer) = (child_of(device), ptr::null_mut());
    // SAFETY: a complete configuration and attributes with a live parent.
    check(unsafe {
        call_unsafe_wdf_function_binding!(WdfTimerCreate, &mut config, &mut attributes, &mut timer)
    })?;
    Ok(timer)
}

/// The queue for requests that wait. It has no hardware behind it, so power does not stop it.
fn waiting(device: WDFDEVICE) -> Result<WDFQUEUE, NTSTATUS> {
    let manual = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual;
    let mut config = ddk::WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(manual);
    config.DefaultQueue = FALSE as BOOLEAN;
    queue(device, config)
}

fn default_queue(device: WDFDEVICE) -> Result<(), NTSTATUS> {
    let parallel = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;
    let mut config = ddk::WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(parallel);
    config.EvtIoRead = Some(requests::evt_read);
    config.EvtIoWrite = Some(requests::evt_write);
    config.EvtIoDeviceControl = Some(requests::evt_control);
    queue(device, config).map(|_| ())
}

fn queue(device: WDFDEVICE, mut config: WDF_IO_QUEUE_CONFIG) -> Result<WDFQUEUE, NTSTATUS> {
    config.PowerManaged = _WDF_TRI_STATE::WdfFalse;
    let mut queue = ptr::null_mut();
    // SAFETY: a live device and a complete configuration.
    check(unsafe {
        call_unsafe_wdf_function_binding!(
            WdfIoQueueCreate,
            device,
            &mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            &mut queue
        )
    })?;
    Ok(queue)
}
