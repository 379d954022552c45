//! Stop, removal, surprise removal and sleep (KMDF.md 3.3 to 3.6, 3.8).

// UNSAFETY: calls the driver's callbacks.

use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::resources::uses_messages;
use super::{Event, Node, Target};
use crate::ddi::callback;
use crate::io::must;
use crate::machine::Kernel;
use crate::wdf::device::{PnpState, SelfManaged};
use crate::wdf::queue;

use _WDF_POWER_DEVICE_STATE::{WdfPowerDeviceD3, WdfPowerDeviceD3Final};

/// Nanoseconds of sleep at least.
const SLEEP: u64 = 1_000_000_000;

impl Node {
    pub(super) fn is_powered(&self) -> bool {
        self.powered.load(Ordering::Acquire)
    }

    /// QUERY_STOP and STOP: the device is held without resources.
    pub(super) fn stop(&self, kernel: &Kernel) -> Result<(), NTSTATUS> {
        let target = self.target(kernel).ok_or(STATUS_NO_SUCH_DEVICE)?;
        if target.device.pnp() != PnpState::Started {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        target.query(true)?;
        let powered = self.is_powered() || target.wake();
        let down = powered && target.power_down(WdfPowerDeviceD3Final);
        let released = target.release_hardware();
        if !down || !NT_SUCCESS(released) {
            target.fail();
            return Ok(());
        }
        target.device.set_pnp(PnpState::Stopped);
        Ok(())
    }

    /// START after a STOP; a failure ends in removal.
    pub(super) fn start_again(&self, kernel: &Kernel) -> Result<(), NTSTATUS> {
        let target = self.target(kernel).ok_or(STATUS_NO_SUCH_DEVICE)?;
        if target.device.pnp() != PnpState::Stopped {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        let status = target.start();
        if status.is_err() {
            self.post(kernel, Event::Surprise);
        }
        status
    }

    /// QUERY_REMOVE.
    pub(super) fn query_remove(&self, kernel: &Kernel) -> Result<(), NTSTATUS> {
        let slot = self.function.index;
        if kernel.wdm.has_stack(slot) {
            let status = must(kernel, kernel.wdm.query_remove(kernel, slot));
            self.removing.store(NT_SUCCESS(status), Ordering::Release);
            return if NT_SUCCESS(status) { Ok(()) } else { Err(status) };
        }
        let Some(target) = self.target(kernel) else { return Ok(()) };
        if target.device.pnp() == PnpState::Started {
            target.query(false)?;
        }
        if !self.refuse_handles() {
            // The drivers agreed; the PnP manager itself then finds the open handles, sends
            // CANCEL_REMOVE and reports the veto PNP_VetoOutstandingOpen.
            return Err(STATUS_DEVICE_BUSY);
        }
        Ok(())
    }

    /// REMOVE, whatever state the device is in; nothing for a slot without a device object.
    pub(super) fn remove_device(&self, kernel: &Kernel) {
        if kernel.wdm.has_stack(self.function.index) {
            return must(kernel, kernel.wdm.remove(kernel, self.function.index));
        }
        let Some(target) = self.target(kernel) else { return };
        self.removing.store(true, Ordering::Release);
        match target.device.pnp() {
            PnpState::Started | PnpState::Starting => target.orderly_stop(),
            PnpState::Stopped => target.clean_up_for_remove(),
            PnpState::Init | PnpState::Failed | PnpState::SurpriseRemoved | PnpState::Removed => {}
        }
        target.finish_removal();
    }

    /// SURPRISE_REMOVAL, and REMOVE at once if no handle is open.
    pub(super) fn surprise(&self, kernel: &Kernel) {
        if kernel.wdm.has_stack(self.function.index) {
            return must(kernel, kernel.wdm.surprise(kernel, self.function.index));
        }
        let Some(target) = self.target(kernel) else { return };
        if matches!(target.device.pnp(), PnpState::SurpriseRemoved | PnpState::Removed) {
            return;
        }
        self.removing.store(true, Ordering::Release);
        target.surprise();
        target.device.set_pnp(PnpState::SurpriseRemoved);
        self.remove_after_surprise(kernel);
    }

    /// REMOVE of a surprise-removed device whose last handle is closed.
    pub(super) fn remove_after_surprise(&self, kernel: &Kernel) {
        let Some(target) = self.target(kernel) else { return };
        let gone = target.device.pnp() == PnpState::SurpriseRemoved;
        if gone && self.handles.load(Ordering::Acquire) == 0 {
            target.finish_removal();
        }
    }

    /// The restart a driver asked for with WdfDeviceSetFailed: the bus re-enumerates the device,
    /// so that its stack goes and a new one comes.
    pub(super) fn restart_failed(&self, kernel: &Kernel) {
        self.surprise(kernel);
        if self.device.get().is_none() && self.function.is_present() {
            self.removing.store(false, Ordering::Release);
            super::start::add_again(kernel, self);
        }
    }

    /// D0 to D3 or back, as a system that goes to sleep and wakes.
    pub(super) fn set_power(&self, kernel: &Kernel, sleeping: bool) -> Result<(), NTSTATUS> {
        let target = self.target(kernel).ok_or(STATUS_NO_SUCH_DEVICE)?;
        if target.device.pnp() != PnpState::Started {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        if sleeping != self.is_powered() {
            return Ok(());
        }
        let good = if sleeping {
            let good = target.power_down(WdfPowerDeviceD3);
            self.function.config.stop();
            good
        } else {
            // A system is away for a while: what the device still does shows meanwhile (KMDF-08).
            kernel.wait(Some(kernel.clock.now() + SLEEP), || false);
            target.wake()
        };
        if !good {
            // The power IRP succeeds; the device is invalidated and then surprise-removed.
            target.fail();
        }
        Ok(())
    }
}

impl Target<'_> {
    /// From Dx to D0.
    fn wake(&self) -> bool {
        let function = &self.node.function;
        function.config.start(uses_messages(self.kernel, function));
        self.power_up(WdfPowerDeviceD3)
    }

    /// The device has failed; PnP hears of it and surprise-removes it.
    fn fail(&self) {
        self.device.set_pnp(PnpState::Failed);
        self.node.post(self.kernel, Event::Surprise);
    }

    /// Steps 1 to 11 of an orderly removal.
    fn orderly_stop(&self) {
        if self.node.is_powered() || self.wake() {
            self.power_down(WdfPowerDeviceD3Final);
        }
        self.release_hardware();
        self.clean_up_for_remove();
    }

    fn surprise(&self) {
        let state = self.device.pnp();
        if state == PnpState::Init {
            return;
        }
        let routine = self.callbacks.surprise_removal;
        if routine.is_some() {
            // SAFETY: the driver's EvtDeviceSurpriseRemoval with its device.
            unsafe {
                callback::PFN_WDF_DEVICE_SURPRISE_REMOVAL(self.kernel, routine, self.handle.raw());
            }
        }
        if self.node.is_powered() {
            self.power_down(WdfPowerDeviceD3Final);
        }
        // A stopped device has no hardware to release; a failed one may have released it.
        let holds = self.device.translated.get().is_some() && self.holds_hardware();
        if holds {
            self.release_hardware();
        }
        self.clean_up_for_remove();
    }

    fn holds_hardware(&self) -> bool {
        self.node.prepared.load(Ordering::Acquire)
    }

    /// Steps 12 to 16 of a removal: what is left of queues and self-managed I/O, then the device
    /// object.
    fn finish_removal(&self) {
        let kernel = self.kernel;
        self.device.set_shut_down();
        queue::purge_all(kernel, self.handle, false);
        let attempted = *self.device.self_managed.lock() != SelfManaged::Created;
        let cleanup = self.callbacks.self_managed_cleanup;
        if attempted && cleanup.is_some() {
            // SAFETY: the driver's EvtDeviceSelfManagedIoCleanup with its device.
            unsafe {
                callback::PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP(
                    kernel,
                    cleanup,
                    self.handle.raw(),
                );
            }
        }
        self.device.set_pnp(PnpState::Removed);
        kernel.wdf.dispose_early(kernel, self.handle);
        kernel.wait(None, || kernel.wdf.deferred_disposals() == 0);
        self.node.function.config.stop();
        kernel.pnp.forget_interfaces(self.handle);
        self.node.device.set(None);
        kernel.wdf.finish(kernel, self.handle);
        kernel.poke();
    }
}
