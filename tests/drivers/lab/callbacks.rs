//! The lab's callbacks: each finds its lab and runs the script's routine.

use std::ptr;

use wdk_lite::*;

use super::ddk::size;
use super::{Lab, Routine, Script, complete, ddk};

/// The PnP and power callbacks.
pub(super) fn pnp() -> WDF_PNPPOWER_EVENT_CALLBACKS {
    WDF_PNPPOWER_EVENT_CALLBACKS {
        Size: size::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
        EvtDevicePrepareHardware: Some(prepare_hardware),
        EvtDeviceReleaseHardware: Some(release_hardware),
        EvtDeviceD0Entry: Some(d0_entry),
        EvtDeviceD0Exit: Some(d0_exit),
        EvtDeviceSurpriseRemoval: Some(surprise_removal),
        ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
    }
}

/// The file callbacks.
pub(super) fn files() -> WDF_FILEOBJECT_CONFIG {
    WDF_FILEOBJECT_CONFIG {
        Size: size::<WDF_FILEOBJECT_CONFIG>(),
        EvtDeviceFileCreate: Some(file_create),
        EvtFileCleanup: Some(file_cleanup),
        EvtFileClose: Some(file_close),
        AutoForwardCleanupClose: _WDF_TRI_STATE::WdfUseDefault,
        FileObjectClass: _WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts,
    }
}

/// The interrupt's routines.
pub(super) fn interrupt() -> WDF_INTERRUPT_CONFIG {
    WDF_INTERRUPT_CONFIG {
        EvtInterruptEnable: Some(interrupt_enable),
        EvtInterruptDisable: Some(interrupt_disable),
        ..ddk::interrupt_config(Some(isr), Some(dpc))
    }
}

/// The default queue's handlers.
pub(super) fn fill_queue(config: &mut WDF_IO_QUEUE_CONFIG, script: &Script) {
    config.EvtIoDeviceControl = Some(device_control);
    if script.io_stop.is_some() {
        config.EvtIoStop = Some(io_stop);
    }
    if script.io_resume.is_some() {
        config.EvtIoResume = Some(io_resume);
    }
}

/// Declares callbacks that find the lab of their device and pass it to a body.
macro_rules! device_callbacks {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:expr;)*) => {
        $(unsafe extern "C" fn $name(device: WDFDEVICE $(, $arg: $ty)*) $(-> $ret)? {
            // SAFETY: the framework calls with a live device of this driver.
            let lab = unsafe { Lab::of(device) };
            let body: fn(&Lab $(, $ty)*) $(-> $ret)? = $body;
            body(lab $(, $arg)*)
        })*
    };
}

device_callbacks! {
    prepare_hardware(raw: WDFCMRESLIST, translated: WDFCMRESLIST) -> NTSTATUS
        = |lab, raw, translated| lab.prepare(raw, translated);
    release_hardware(_translated: WDFCMRESLIST) -> NTSTATUS = |lab, _| lab.release();
    d0_entry(_previous: WDF_POWER_DEVICE_STATE) -> NTSTATUS = |lab, _| (lab.script.d0_entry)(lab);
    d0_exit(_target: WDF_POWER_DEVICE_STATE) -> NTSTATUS = |lab, _| (lab.script.d0_exit)(lab);
    surprise_removal() = |lab| (lab.script.surprise)(lab);
    file_create(request: WDFREQUEST, _file: WDFFILEOBJECT)
        = |lab, request, _| match lab.script.create {
            Some(create) => create(lab, request),
            None => complete(request, STATUS_SUCCESS),
        };
}

impl Lab {
    /// Maps the first memory range, remembers the interrupt's descriptors, runs the script.
    fn prepare(&self, raw: WDFCMRESLIST, translated: WDFCMRESLIST) -> NTSTATUS {
        // SAFETY: the framework's lists, valid in EvtDevicePrepareHardware; an index below the
        // count has a descriptor, whose type says which member of the union is valid.
        unsafe {
            for index in 0..wdf::WdfCmResourceListGetCount(translated) {
                let descriptor = wdf::WdfCmResourceListGetDescriptor(translated, index);
                #[expect(non_upper_case_globals, reason = "the WDK's names")]
                match u32::from((*descriptor).Type) {
                    CmResourceTypeMemory if self.registers.get().is_null() => {
                        let memory = (*descriptor).u.Memory;
                        let length = u64::from(memory.Length);
                        let base = ntddk::MmMapIoSpaceEx(
                            memory.Start,
                            length,
                            PAGE_READWRITE | PAGE_NOCACHE,
                        );
                        if base.is_null() {
                            return STATUS_INSUFFICIENT_RESOURCES;
                        }
                        // CAST: an address is unsigned.
                        self.window.set({ memory.Start }.QuadPart as u64);
                        self.registers.set(base.cast());
                        self.register_bytes.set(length);
                    }
                    CmResourceTypeInterrupt => {
                        let raw = wdf::WdfCmResourceListGetDescriptor(raw, index);
                        self.descriptors.set([raw, descriptor]);
                    }
                    CmResourceTypeDma => {
                        let third = u32::from((*descriptor).Flags) & CM_RESOURCE_DMA_V3 != 0;
                        let channel = if third {
                            let dma = (*descriptor).u.DmaV3;
                            (dma.Channel, dma.RequestLine)
                        } else {
                            ((*descriptor).u.Dma.Channel, 0)
                        };
                        self.channel.set(Some(channel));
                    }
                    _ => {}
                }
            }
        }
        if self.registers.get().is_null() {
            return STATUS_DEVICE_CONFIGURATION_ERROR;
        }
        (self.script.prepare)(self)
    }

    fn release(&self) -> NTSTATUS {
        let status = (self.script.release)(self);
        self.descriptors.set([ptr::null_mut(); 2]);
        (self.script.unmap)(self);
        status
    }
}

/// The lab of an interrupt.
unsafe fn lab_of_interrupt<'a>(interrupt: WDFINTERRUPT) -> &'a Lab {
    // SAFETY: the framework calls with a live interrupt of a device of this driver.
    unsafe { Lab::of(wdf::WdfInterruptGetDevice(interrupt)) }
}

unsafe extern "C" fn isr(interrupt: WDFINTERRUPT, _message: ULONG) -> BOOLEAN {
    // SAFETY: called by the framework.
    let lab = unsafe { lab_of_interrupt(interrupt) };
    (lab.script.isr)(lab)
}

unsafe extern "C" fn dpc(interrupt: WDFINTERRUPT, _device: WDFOBJECT) {
    // SAFETY: called by the framework.
    let lab = unsafe { lab_of_interrupt(interrupt) };
    (lab.script.dpc)(lab);
}

unsafe extern "C" fn interrupt_enable(_interrupt: WDFINTERRUPT, device: WDFDEVICE) -> NTSTATUS {
    // SAFETY: called by the framework.
    let lab = unsafe { Lab::of(device) };
    (lab.script.enable)(lab)
}

unsafe extern "C" fn interrupt_disable(_interrupt: WDFINTERRUPT, device: WDFDEVICE) -> NTSTATUS {
    // SAFETY: called by the framework.
    let lab = unsafe { Lab::of(device) };
    (lab.script.disable)(lab)
}

/// The lab of a queue.
unsafe fn lab_of_queue<'a>(queue: WDFQUEUE) -> &'a Lab {
    // SAFETY: the framework calls with a live queue of a device of this driver.
    unsafe { Lab::of(wdf::WdfIoQueueGetDevice(queue)) }
}

unsafe extern "C" fn io_stop(queue: WDFQUEUE, request: WDFREQUEST, flags: ULONG) {
    // SAFETY: called by the framework.
    let lab = unsafe { lab_of_queue(queue) };
    if let Some(stop) = lab.script.io_stop {
        stop(lab, request, flags);
    }
}

unsafe extern "C" fn io_resume(queue: WDFQUEUE, request: WDFREQUEST) {
    // SAFETY: called by the framework.
    let lab = unsafe { lab_of_queue(queue) };
    if let Some(resume) = lab.script.io_resume {
        resume(lab, request);
    }
}

/// EvtRequestCancel, for the routines that mark their request.
///
/// # Safety
/// Called by the framework.
pub unsafe extern "C" fn request_cancel(request: WDFREQUEST) {
    // SAFETY: called by the framework with a live request that a queue of the lab delivered.
    let lab = unsafe { lab_of_queue(wdf::WdfRequestGetIoQueue(request)) };
    (lab.script.cancel)(lab, request);
}

/// EvtIoDeviceControl: the routine runs here, or is put off to the work item.
unsafe extern "C" fn device_control(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    _output: usize,
    _input: usize,
    code: ULONG,
) {
    // SAFETY: called by the framework.
    let lab = unsafe { lab_of_queue(queue) };
    let mut input = ptr::null_mut();
    // SAFETY: the request is the driver's; the pointer lives on this stack.
    let status =
        unsafe { wdf::WdfRequestRetrieveInputBuffer(request, 8, &raw mut input, ptr::null_mut()) };
    if !NT_SUCCESS(status) {
        complete(request, status);
        return;
    }
    // SAFETY: the lab's application sends the address of a routine of this process.
    let routine = unsafe { decode(input.cast::<u64>().read_unaligned()) };
    if code >> 2 & 0xfff == 0x801 {
        lab.run(routine, request);
    } else {
        lab.jobs.borrow_mut().push_back((routine, request));
        // SAFETY: made in EvtDriverDeviceAdd.
        unsafe { wdf::WdfWorkItemEnqueue(lab.work.get()) };
    }
}

/// The number that a request carries for a routine.
#[must_use]
pub fn encode(routine: Routine) -> u64 {
    (routine as *const ()).expose_provenance() as u64
}

unsafe fn decode(number: u64) -> Routine {
    // CAST: addresses have 64 bits.
    let address: *const () = ptr::with_exposed_provenance(number as usize);
    // SAFETY: the caller promises that `encode` made the number.
    unsafe { std::mem::transmute::<*const (), Routine>(address) }
}

/// The work item: runs what has come since it ran last.
pub(super) unsafe extern "C" fn work(item: WDFWORKITEM) {
    // SAFETY: called by the framework; the item's parent is the device.
    let lab = unsafe { Lab::of(wdf::WdfWorkItemGetParentObject(item).cast()) };
    loop {
        let job = lab.jobs.borrow_mut().pop_front();
        let Some((routine, request)) = job else { return };
        lab.run(routine, request);
    }
}

impl Lab {
    /// Runs a routine and completes its request unless the routine keeps it.
    fn run(&self, routine: Routine, request: WDFREQUEST) {
        self.information.set(0);
        let status = routine(self, request);
        if status != STATUS_PENDING {
            // SAFETY: the request is the driver's.
            unsafe {
                wdf::WdfRequestCompleteWithInformation(request, status, self.information.get());
            }
        }
    }
}

unsafe extern "C" fn file_cleanup(file: WDFFILEOBJECT) {
    // SAFETY: called by the framework.
    let lab = unsafe { Lab::of(wdf::WdfFileObjectGetDevice(file)) };
    (lab.script.cleanup)(lab);
}

unsafe extern "C" fn file_close(file: WDFFILEOBJECT) {
    // SAFETY: called by the framework.
    let lab = unsafe { Lab::of(wdf::WdfFileObjectGetDevice(file)) };
    (lab.script.close)(lab);
}
