//! Loading, adding and removing: where the lab's objects come from.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;

use wdk_lite::*;

use super::ddk::{self, ContextType, YES, size};
use super::{Adapter, INTERFACE, Lab, SCRIPT, Script, callbacks};

/// What the framework keeps for a device: the lab's own object.
static DEVICE: ContextType = ContextType::new(c"Lab", size_of::<*mut Lab>(), &raw const DEVICE);

impl Lab {
    /// The lab of a device.
    ///
    /// # Safety
    /// `device` is a live device of this driver.
    pub(super) unsafe fn of<'a>(device: WDFDEVICE) -> &'a Self {
        // SAFETY: live by the caller's promise, made with this context; EvtDriverDeviceAdd filled
        // it before any other callback could run.
        unsafe {
            let context = wdf::WdfObjectGetTypedContextWorker(device.cast(), &raw const DEVICE.0);
            &**context.cast::<*mut Self>()
        }
    }
}

/// DriverEntry.
///
/// # Safety
/// Called by the machine that loads the driver.
pub unsafe extern "C" fn driver_entry(object: PDRIVER_OBJECT, path: PCUNICODE_STRING) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(device_add),
        EvtDriverUnload: Some(unload),
        ..WDF_DRIVER_CONFIG::default()
    };
    // SAFETY: the loader's arguments, and a structure on this stack.
    unsafe {
        wdf::WdfDriverCreate(
            object,
            path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut config,
            ptr::null_mut(),
        )
    }
}

unsafe extern "C" fn unload(_driver: WDFDRIVER) {
    (SCRIPT.get().unload)();
}

/// The device's context goes: so does the lab.
unsafe extern "C" fn destroy(device: WDFOBJECT) {
    // SAFETY: the context is still valid in this callback; the pointer came from `Box::into_raw`,
    // and nobody calls into a device that is being destroyed.
    unsafe {
        let context = wdf::WdfObjectGetTypedContextWorker(device, &raw const DEVICE.0);
        let lab = context.cast::<*mut Lab>().read();
        if !lab.is_null() {
            drop(Box::from_raw(lab));
        }
    }
}

unsafe extern "C" fn device_add(_driver: WDFDRIVER, mut init: PWDFDEVICE_INIT) -> NTSTATUS {
    let script = SCRIPT.get();
    let mut device = ptr::null_mut();
    // SAFETY: the framework's own `init`, and structures on this stack.
    unsafe {
        let mut pnp = callbacks::pnp();
        wdf::WdfDeviceInitSetPnpPowerEventCallbacks(init, &raw mut pnp);
        wdf::WdfDeviceInitSetIoType(init, _WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect);
        if script.create.is_some() {
            let mut files = callbacks::files();
            wdf::WdfDeviceInitSetFileObjectConfig(init, &raw mut files, WDF_NO_OBJECT_ATTRIBUTES);
        }
        (script.init)(init);
        let mut attributes = ddk::attributes();
        attributes.ContextTypeInfo = &raw const DEVICE.0;
        attributes.EvtDestroyCallback = Some(destroy);
        let status = wdf::WdfDeviceCreate(&raw mut init, &raw mut attributes, &raw mut device);
        if !NT_SUCCESS(status) {
            return status;
        }
        let context = wdf::WdfObjectGetTypedContextWorker(device.cast(), &raw const DEVICE.0);
        context.cast::<*mut Lab>().write(Box::into_raw(Box::new(Lab::new(script, device))));
        furnish(Lab::of(device))
    }
}

/// Makes the queue, the interrupt, the work item and the interface.
///
/// # Safety
/// Called once for a device, in EvtDriverDeviceAdd.
unsafe fn furnish(lab: &Lab) -> NTSTATUS {
    let made = [make_queue, make_interrupt, make_work];
    for make in made {
        // SAFETY: as the caller promises.
        let status = unsafe { make(lab) };
        if !NT_SUCCESS(status) {
            return status;
        }
    }
    // SAFETY: the lab's device and a constant.
    let status =
        unsafe { wdf::WdfDeviceCreateDeviceInterface(lab.device, &INTERFACE, ptr::null()) };
    if !NT_SUCCESS(status) {
        return status;
    }
    (lab.script.added)(lab)
}

unsafe fn make_queue(lab: &Lab) -> NTSTATUS {
    let mut config = ddk::queue_config(_WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel);
    config.DefaultQueue = YES;
    callbacks::fill_queue(&mut config, &lab.script);
    (lab.script.queue)(&mut config);
    // SAFETY: the lab's device, and structures on this stack.
    unsafe {
        wdf::WdfIoQueueCreate(
            lab.device,
            &raw mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            ptr::null_mut(),
        )
    }
}

unsafe fn make_interrupt(lab: &Lab) -> NTSTATUS {
    if !lab.script.interrupt {
        return STATUS_SUCCESS;
    }
    let mut config = callbacks::interrupt();
    (lab.script.interrupt_config)(&mut config);
    let mut interrupt = ptr::null_mut();
    // SAFETY: the lab's device, and structures on this stack.
    let status = unsafe {
        wdf::WdfInterruptCreate(
            lab.device,
            &raw mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut interrupt,
        )
    };
    lab.interrupt.set(interrupt);
    status
}

unsafe fn make_work(lab: &Lab) -> NTSTATUS {
    let mut config = WDF_WORKITEM_CONFIG {
        Size: size::<WDF_WORKITEM_CONFIG>(),
        EvtWorkItemFunc: Some(callbacks::work),
        ..WDF_WORKITEM_CONFIG::default()
    };
    let mut attributes = ddk::attributes();
    attributes.ParentObject = lab.device.cast();
    let mut work = ptr::null_mut();
    // SAFETY: the lab's device, and structures on this stack.
    let status =
        unsafe { wdf::WdfWorkItemCreate(&raw mut config, &raw mut attributes, &raw mut work) };
    lab.work.set(work);
    status
}

impl Lab {
    /// The lab of a device that was just created.
    ///
    /// # Safety
    /// `device` is live.
    unsafe fn new(script: Script, device: WDFDEVICE) -> Self {
        // SAFETY: live by the caller's promise.
        let (pdo, fdo) = unsafe {
            (wdf::WdfDeviceWdmGetPhysicalDevice(device), wdf::WdfDeviceWdmGetDeviceObject(device))
        };
        Self {
            script,
            device,
            pdo,
            fdo,
            interrupt: Cell::new(ptr::null_mut()),
            work: Cell::new(ptr::null_mut()),
            registers: Cell::new(ptr::null_mut()),
            register_bytes: Cell::new(0),
            descriptors: Cell::new([ptr::null_mut(); 2]),
            window: Cell::new(0),
            channel: Cell::new(None),
            adapter: Cell::new(Adapter::NONE),
            granted: Cell::new(0),
            information: Cell::new(0),
            kept: Cell::new(ptr::null_mut()),
            interrupts: Cell::new(0),
            scratch: [const { Cell::new(0) }; 4],
            jobs: RefCell::new(VecDeque::new()),
        }
    }
}
