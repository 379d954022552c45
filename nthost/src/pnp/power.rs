//! Power-up and power-down of a device (KMDF.md 3.2 steps 6 to 11, 3.5, 3.7, 3.8).

// UNSAFETY: calls the driver's callbacks.

use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::Target;
use crate::ddi::callback::{self, Routine};
use crate::wdf::device::SelfManaged;
use crate::wdf::helpers::enabler::DmaEnabler;
use crate::wdf::interrupt;
use crate::wdf::queue;

use _WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final;

impl Target<'_> {
    /// D0Entry to self-managed I/O. On a failure everything that succeeded is undone in the
    /// framework's order, and the answer is `false`.
    pub(super) fn power_up(&self, previous: WDF_POWER_DEVICE_STATE) -> bool {
        if !self.d0_entry(previous) {
            return false;
        }
        self.node.powered.store(true, Ordering::Release);
        if !self.connect_interrupts() || !self.d0_entry_post(previous) {
            self.disconnect_interrupts();
            self.d0_exit(WdfPowerDeviceD3Final);
            return false;
        }
        if !self.dma_up() {
            self.leave_d0(WdfPowerDeviceD3Final);
            return false;
        }
        self.device.set_powered(true);
        queue::resume_all(self.kernel, self.handle);
        if !self.self_managed_up() {
            self.device.set_powered(false);
            queue::hold_all(self.kernel, self.handle, false);
            self.leave_d0(WdfPowerDeviceD3Final);
            return false;
        }
        true
    }

    /// SelfManagedIoSuspend to D0Exit. A failing callback stops nothing, but the answer is
    /// `false` then.
    pub(super) fn power_down(&self, target: WDF_POWER_DEVICE_STATE) -> bool {
        let suspended = self.self_managed_down();
        self.device.set_powered(false);
        queue::hold_all(self.kernel, self.handle, false);
        let left = self.leave_d0(target);
        suspended && left
    }

    /// The part of power-down below the queues.
    fn leave_d0(&self, target: WDF_POWER_DEVICE_STATE) -> bool {
        let mut good = self.dma_down();
        let pre = self.callbacks.d0_exit_pre;
        if pre.is_some() {
            // SAFETY: the driver's EvtDeviceD0ExitPreInterruptsDisabled with its device.
            good &= NT_SUCCESS(unsafe {
                callback::PFN_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED(
                    self.kernel,
                    pre,
                    self.handle.raw(),
                    target,
                )
            });
        }
        good &= self.disconnect_interrupts();
        good & self.d0_exit(target)
    }

    fn d0_entry(&self, previous: WDF_POWER_DEVICE_STATE) -> bool {
        let entry = self.callbacks.d0_entry;
        // SAFETY: the driver's EvtDeviceD0Entry with its device.
        !entry.is_some()
            || NT_SUCCESS(unsafe {
                callback::PFN_WDF_DEVICE_D0_ENTRY(self.kernel, entry, self.handle.raw(), previous)
            })
    }

    fn d0_entry_post(&self, previous: WDF_POWER_DEVICE_STATE) -> bool {
        let post = self.callbacks.d0_entry_post;
        // SAFETY: the driver's EvtDeviceD0EntryPostInterruptsEnabled with its device.
        !post.is_some()
            || NT_SUCCESS(unsafe {
                callback::PFN_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED(
                    self.kernel,
                    post,
                    self.handle.raw(),
                    previous,
                )
            })
    }

    fn d0_exit(&self, target: WDF_POWER_DEVICE_STATE) -> bool {
        self.node.powered.store(false, Ordering::Release);
        let exit = self.callbacks.d0_exit;
        // SAFETY: the driver's EvtDeviceD0Exit with its device.
        !exit.is_some()
            || NT_SUCCESS(unsafe {
                callback::PFN_WDF_DEVICE_D0_EXIT(self.kernel, exit, self.handle.raw(), target)
            })
    }

    /// Connects and enables the interrupts in order of creation, up to the first failure.
    fn connect_interrupts(&self) -> bool {
        let interrupts = interrupt::of_device(self.kernel, self.device);
        interrupts.iter().all(|(handle, interrupt)| interrupt.connect(self.kernel, *handle))
    }

    /// Disables and disconnects them in reverse order.
    fn disconnect_interrupts(&self) -> bool {
        let interrupts = interrupt::of_device(self.kernel, self.device);
        let disable = |(handle, interrupt): &(_, &interrupt::Interrupt)| {
            interrupt.disable(self.kernel, *handle)
        };
        interrupts.iter().rev().fold(true, |good, interrupt| disable(interrupt) & good)
    }

    fn enablers(&self) -> Vec<(crate::wdf::object::Handle, &DmaEnabler)> {
        let handles = self.device.enablers.lock().clone();
        let payload = |handle| Some((handle, self.kernel.wdf.payload::<DmaEnabler>(handle)?));
        handles.into_iter().filter_map(payload).collect()
    }

    fn dma_up(&self) -> bool {
        self.enablers().iter().all(|(handle, enabler)| enabler.power_up(self.kernel, *handle))
    }

    fn dma_down(&self) -> bool {
        let enablers = self.enablers();
        let down = |(handle, enabler): &(_, &DmaEnabler)| enabler.power_down(self.kernel, *handle);
        enablers.iter().fold(true, |good, enabler| down(enabler) & good)
    }

    /// SelfManagedIoInit at the first start, SelfManagedIoRestart later.
    fn self_managed_up(&self) -> bool {
        if !self.callbacks.has_self_managed() {
            return true;
        }
        let first = *self.device.self_managed.lock() == SelfManaged::Created;
        let init = self.callbacks.self_managed_init;
        let routine = if first { init } else { self.callbacks.self_managed_restart };
        let (kernel, device) = (self.kernel, self.handle.raw());
        let good = !routine.is_some()
            || NT_SUCCESS(if first {
                // SAFETY: the driver's EvtDeviceSelfManagedIoInit with its device.
                unsafe { callback::PFN_WDF_DEVICE_SELF_MANAGED_IO_INIT(kernel, routine, device) }
            } else {
                // SAFETY: the driver's EvtDeviceSelfManagedIoRestart with its device.
                unsafe { callback::PFN_WDF_DEVICE_SELF_MANAGED_IO_RESTART(kernel, routine, device) }
            });
        let state = if good { SelfManaged::Started } else { SelfManaged::Failed };
        *self.device.self_managed.lock() = state;
        good
    }

    fn self_managed_down(&self) -> bool {
        let started = *self.device.self_managed.lock() == SelfManaged::Started;
        if !started {
            return true;
        }
        let suspend = self.callbacks.self_managed_suspend;
        // SAFETY: the driver's EvtDeviceSelfManagedIoSuspend with its device.
        let good = !suspend.is_some()
            || NT_SUCCESS(unsafe {
                callback::PFN_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND(
                    self.kernel,
                    suspend,
                    self.handle.raw(),
                )
            });
        let state = if good { SelfManaged::Suspended } else { SelfManaged::Failed };
        *self.device.self_managed.lock() = state;
        good
    }

    /// EvtDeviceQueryStop or EvtDeviceQueryRemove, after the vetoes.
    pub(super) fn query(&self, stop: bool) -> Result<(), NTSTATUS> {
        if self.device.vetoes.load(Ordering::Acquire) > 0 {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        let callbacks = &self.callbacks;
        let routine: Routine = if stop { callbacks.query_stop } else { callbacks.query_remove };
        if !routine.is_some() {
            return Ok(());
        }
        let (kernel, device) = (self.kernel, self.handle.raw());
        let status = if stop {
            // SAFETY: the driver's EvtDeviceQueryStop with its device.
            unsafe { callback::PFN_WDF_DEVICE_QUERY_STOP(kernel, routine, device) }
        } else {
            // SAFETY: the driver's EvtDeviceQueryRemove with its device.
            unsafe { callback::PFN_WDF_DEVICE_QUERY_REMOVE(kernel, routine, device) }
        };
        let (name, callback) = if stop {
            ("EvtDeviceQueryStop", "PFN_WDF_DEVICE_QUERY_STOP")
        } else {
            ("EvtDeviceQueryRemove", "PFN_WDF_DEVICE_QUERY_REMOVE")
        };
        self.check_supported(status, name, callback);
        if NT_SUCCESS(status) { Ok(()) } else { Err(status) }
    }
}
