//! From a plugged device to a started one (KMDF.md 1.2, 3.2, 3.7).

// UNSAFETY: calls the driver's callbacks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use testdev::bus;
use wdk_lite::*;

use super::resources::uses_messages;
use super::{Node, Slot, Target};
use crate::RuleId;
use crate::ddi::callback;
use crate::io::must;
use crate::machine::Kernel;
use crate::status::NtStatus;
use crate::verifier::broken;
use crate::wdf::device::{Driver, PnpState, SelfManaged};
use crate::wdf::interrupt;
use crate::wdf::object::Handle;
use crate::wdf::queue;

/// Plugs a device in and starts it with the driver loaded last. Without a driver it stays as it
/// is: no driver is no error.
pub(super) fn plug(kernel: &Kernel, model: Box<dyn bus::Device>) -> Result<Slot, NtStatus> {
    let slot = kernel.bus.plug(kernel, model);
    let Some(function) = kernel.bus.function(slot) else {
        return Err(NtStatus(STATUS_NO_SUCH_DEVICE));
    };
    let node = Arc::new(Node::new(function));
    {
        let mut nodes = kernel.pnp.nodes.lock();
        let slots = nodes.len().max(slot + 1);
        nodes.resize(slots, None);
        nodes[slot] = Some(Arc::clone(&node));
    }
    if let Some(driver) = kernel.pnp.newest_wdm() {
        node.begin(kernel);
        let status = must(kernel, kernel.wdm.add(kernel, &node.function, driver));
        node.end(kernel);
        return status.map(|()| Slot(slot)).map_err(NtStatus);
    }
    let Some(driver) = kernel.pnp.newest() else { return Ok(Slot(slot)) };
    node.begin(kernel);
    let status = add(kernel, &node, driver).and_then(|()| first_start(kernel, &node));
    node.end(kernel);
    status.map(|()| Slot(slot)).map_err(NtStatus)
}

/// AddDevice: EvtDriverDeviceAdd.
fn add(kernel: &Kernel, node: &Node, driver: Handle) -> Result<(), NTSTATUS> {
    let Some(payload) = kernel.wdf.payload::<Driver>(driver) else {
        return Err(STATUS_NO_SUCH_DEVICE);
    };
    let add = payload.routines().device_add;
    if !add.is_some() {
        return Err(STATUS_NO_SUCH_DEVICE);
    }
    node.driver.set(Some(driver));
    let init = kernel.wdf.begin_init(node.function.index, driver);
    // SAFETY: the driver's EvtDriverDeviceAdd with its driver and an init of its own.
    let call = || unsafe { callback::PFN_WDF_DRIVER_DEVICE_ADD(kernel, add, driver.raw(), init) };
    let status = if payload.is_serialised() { payload.lock.with(kernel, call) } else { call() };
    let made = kernel.wdf.end_init(init);
    if NT_SUCCESS(status) {
        return Ok(());
    }
    if made.is_some() {
        // The framework's synthetic remove: nothing was started.
        node.remove_device(kernel);
    }
    Err(status)
}

/// START for a device that was just added; removes it again if that fails.
fn first_start(kernel: &Kernel, node: &Node) -> Result<(), NTSTATUS> {
    let Some(target) = node.target(kernel) else { return Ok(()) };
    if node.function.system.is_some() && kernel.options.system_dma.is_none() {
        // No START for a device that cannot have its resources (Code 12).
        node.remove_device(kernel);
        return Err(STATUS_CONFLICTING_ADDRESSES);
    }
    let status = target.start();
    if status.is_err() {
        node.remove_device(kernel);
    }
    status
}

/// The bus found the device again: a new device object, started.
pub(super) fn add_again(kernel: &Kernel, node: &Node) {
    if let Some(driver) = node.driver.get() {
        // Whatever it says, there is nobody to tell.
        let _ = add(kernel, node, driver).and_then(|()| first_start(kernel, node));
    }
}

impl Target<'_> {
    /// START, at first and after a stop.
    pub(super) fn start(&self) -> Result<(), NTSTATUS> {
        let (kernel, device) = (self.kernel, self.device);
        let first = device.pnp() == PnpState::Init;
        device.set_pnp(PnpState::Starting);
        let function = &self.node.function;
        if !function.is_present() {
            // The bus fails START of a device that is gone.
            device.set_pnp(PnpState::Init);
            return Err(STATUS_NO_SUCH_DEVICE);
        }
        function.config.start(uses_messages(kernel, function));
        self.give_resources();
        self.node.prepared.store(true, Ordering::Release);
        let status = self.prepare_hardware();
        if !NT_SUCCESS(status) {
            self.fail_start();
            return Err(status);
        }
        interrupt::settle_levels(kernel, device);
        if !self.power_up(_WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final) {
            self.fail_start();
            return Err(STATUS_DEVICE_POWER_FAILURE);
        }
        device.set_pnp(PnpState::Started);
        if first {
            kernel.pnp.set_interfaces(self.handle, true);
        }
        kernel.poke();
        Ok(())
    }

    fn prepare_hardware(&self) -> NTSTATUS {
        let (kernel, device) = (self.kernel, self.device);
        let prepare = self.callbacks.prepare;
        if !prepare.is_some() {
            return STATUS_SUCCESS;
        }
        let (raw, translated) = (device.raw.get(), device.translated.get());
        device.preparing.store(true, Ordering::Release);
        let list = |list: Option<Handle>| list.map_or(std::ptr::null_mut(), Handle::raw);
        // SAFETY: the driver's EvtDevicePrepareHardware with its device and resource lists.
        let status = unsafe {
            callback::PFN_WDF_DEVICE_PREPARE_HARDWARE(
                kernel,
                prepare,
                self.handle.raw(),
                list(raw),
                list(translated),
            )
        };
        device.preparing.store(false, Ordering::Release);
        self.check_supported(status, "EvtDevicePrepareHardware", "PFN_WDF_DEVICE_PREPARE_HARDWARE");
        status
    }

    /// STATUS_NOT_SUPPORTED would mean that the driver has no such callback (KMDF-03).
    pub(super) fn check_supported(&self, status: NTSTATUS, name: &str, callback: &'static str) {
        if status == STATUS_NOT_SUPPORTED {
            let message = format!("{name} returned STATUS_NOT_SUPPORTED");
            self.kernel.stop(broken(RuleId::Kmdf03, message).returned_from(callback));
        }
    }

    /// After a failed start from PrepareHardware on: ReleaseHardware, interfaces off, the
    /// power-managed queues purged.
    fn fail_start(&self) {
        self.release_hardware();
        self.clean_up_for_remove();
        self.device.set_pnp(PnpState::Failed);
    }

    /// EvtDeviceReleaseHardware; interrupts made in PrepareHardware go. Its status.
    pub(super) fn release_hardware(&self) -> NTSTATUS {
        let kernel = self.kernel;
        let release = self.callbacks.release;
        self.node.prepared.store(false, Ordering::Release);
        let mut status = STATUS_SUCCESS;
        if release.is_some() {
            let list = self.device.translated.get().map_or(std::ptr::null_mut(), Handle::raw);
            self.node.releasing.store(true, Ordering::Release);
            kernel.pnp.releasing.fetch_add(1, Ordering::AcqRel);
            // SAFETY: the driver's EvtDeviceReleaseHardware with its device and resource list.
            status = unsafe {
                callback::PFN_WDF_DEVICE_RELEASE_HARDWARE(kernel, release, self.handle.raw(), list)
            };
            kernel.pnp.releasing.fetch_sub(1, Ordering::AcqRel);
            self.node.releasing.store(false, Ordering::Release);
            self.check_supported(
                status,
                "EvtDeviceReleaseHardware",
                "PFN_WDF_DEVICE_RELEASE_HARDWARE",
            );
        }
        self.take_resources();
        // The bus hears of it afterwards: until here the device may master the bus.
        self.node.function.config.stop();
        status
    }

    /// Interfaces off, power-managed queues purged, SelfManagedIoFlush.
    pub(super) fn clean_up_for_remove(&self) {
        let kernel = self.kernel;
        kernel.pnp.set_interfaces(self.handle, false);
        self.device.set_shut_down();
        queue::purge_all(kernel, self.handle, true);
        let mut state = self.device.self_managed.lock();
        if matches!(*state, SelfManaged::Created | SelfManaged::Flushed) {
            return;
        }
        *state = SelfManaged::Flushed;
        drop(state);
        let flush = self.callbacks.self_managed_flush;
        if flush.is_some() {
            // SAFETY: the driver's EvtDeviceSelfManagedIoFlush with its device.
            unsafe {
                callback::PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH(kernel, flush, self.handle.raw());
            }
        }
    }
}
