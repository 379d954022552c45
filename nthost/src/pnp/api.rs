//! Plug and play as a test drives it.
//!
//! All of these call into the driver and may therefore not return when a rule is broken: they
//! belong into [`Machine::run`].

use std::sync::atomic::Ordering;

use testdev::bus::Device;
use wdk_lite::{GUID, STATUS_NO_SUCH_DEVICE};

use super::{Driver, DriverEntry, Event, Node, Slot, load, start};
use crate::image::Image;
use crate::image_error::LoadError;
use crate::machine::footprint::{Footprint, Thing};
use crate::machine::{Kernel, Machine};
use crate::status::NtStatus;
use crate::verifier::Report;

impl Machine {
    /// Loads a driver: calls its entry point.
    ///
    /// # Errors
    /// What DriverEntry returned; STATUS_UNSUCCESSFUL if it succeeded without making a WDFDRIVER.
    pub fn load(&self, name: &str, entry: DriverEntry) -> Result<Driver, NtStatus> {
        self.kernel.kernel_mode(|| load::load(&self.kernel, name, entry))
    }

    /// Loads a driver image: maps it, binds its imports and calls its entry point. The machine runs
    /// no other driver.
    ///
    /// # Errors
    /// [`LoadError`], for instance what the entry point returned.
    pub fn load_image(&self, name: &str, image: &Image) -> Result<Driver, LoadError> {
        self.kernel.kernel_mode(|| load::load_image(&self.kernel, name, image))
    }

    /// Plugs a device in and starts it with the driver loaded last.
    ///
    /// # Errors
    /// The status that adding or starting the device failed with. The device then stays in its
    /// slot without a driver.
    pub fn plug(&self, model: Box<dyn Device>) -> Result<Slot, NtStatus> {
        self.kernel.kernel_mode(|| start::plug(&self.kernel, model))
    }

    /// Runs a plug and play operation of a device, after any other one.
    fn operate<R>(
        &self,
        slot: Slot,
        body: impl FnOnce(&Kernel, &Node) -> R,
    ) -> Result<R, NtStatus> {
        let kernel = &*self.kernel;
        let node = kernel.pnp.node(slot.0).ok_or(NtStatus(STATUS_NO_SUCH_DEVICE))?;
        let about = Footprint::of(Thing::Device(slot.0));
        Ok(kernel.kernel_mode_about(about, || {
            node.begin(kernel);
            let result = body(kernel, &node);
            node.end(kernel);
            result
        }))
    }

    /// Stops a device as for a rebalance of resources.
    ///
    /// # Errors
    /// The query-stop's status, if the driver refuses; STATUS_INVALID_DEVICE_STATE if the device
    /// is not started.
    pub fn stop_device(&self, slot: Slot) -> Result<(), NtStatus> {
        self.operate(slot, |kernel, node| node.stop(kernel))?.map_err(NtStatus)
    }

    /// Starts a stopped device again.
    ///
    /// # Errors
    /// The status the start failed with; the device is surprise-removed then.
    pub fn restart(&self, slot: Slot) -> Result<(), NtStatus> {
        self.operate(slot, |kernel, node| node.start_again(kernel))?.map_err(NtStatus)
    }

    /// Asks whether a device may be removed; no new handles afterwards.
    ///
    /// # Errors
    /// The query-remove's status if the driver refuses. With handles open, STATUS_DEVICE_BUSY:
    /// the PnP manager itself vetoes (PNP_VetoOutstandingOpen), after the driver agreed.
    pub fn query_remove(&self, slot: Slot) -> Result<(), NtStatus> {
        self.operate(slot, |kernel, node| node.query_remove(kernel))?.map_err(NtStatus)
    }

    /// Takes a query-remove back: the device stays.
    ///
    /// # Errors
    /// STATUS_NO_SUCH_DEVICE if the slot is empty.
    pub fn cancel_remove(&self, slot: Slot) -> Result<(), NtStatus> {
        self.operate(slot, |_, node| node.removing.store(false, Ordering::Release))
    }

    /// Removes a device in order, after asking unless that was done.
    ///
    /// # Errors
    /// As [`Machine::query_remove`].
    pub fn remove(&self, slot: Slot) -> Result<(), NtStatus> {
        let removed = self.operate(slot, |kernel, node| {
            if !node.removing.load(Ordering::Acquire) {
                node.query_remove(kernel)?;
            }
            node.remove_device(kernel);
            Ok(())
        });
        removed?.map_err(NtStatus)
    }

    /// The device vanishes, and PnP hears of it at once. REMOVE follows when the last handle is
    /// closed.
    pub fn surprise_remove(&self, slot: Slot) {
        // An empty slot has nothing to lose.
        let _ = self.operate(slot, |kernel, node| {
            node.function.vanish(kernel);
            node.surprise(kernel);
        });
    }

    /// The device vanishes now, and PnP hears of it later. May be called from an injection.
    pub fn unplug_later(&self, slot: Slot) {
        if let Some(node) = self.kernel.pnp.node(slot.0) {
            node.function.vanish(&self.kernel);
            node.post(&self.kernel, Event::Surprise);
        }
    }

    /// Puts a device to sleep (D3) or wakes it (D0).
    ///
    /// # Errors
    /// STATUS_INVALID_DEVICE_STATE if the device is not started. A failing callback is no error:
    /// the device is surprise-removed then, as on Windows.
    pub fn set_power(&self, slot: Slot, sleeping: bool) -> Result<(), NtStatus> {
        self.operate(slot, |kernel, node| node.set_power(kernel, sleeping))?.map_err(NtStatus)
    }

    /// Paths of the enabled device interfaces of a class.
    #[must_use]
    pub fn interfaces(&self, class: &GUID) -> Vec<String> {
        self.kernel.pnp.paths(class)
    }

    /// Looks at the device model in a slot, if it is a `T`.
    pub fn device_model<T: 'static, R>(
        &self,
        slot: Slot,
        look: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let function = self.kernel.bus.function(slot.0)?;
        function.inspect(|model| model.as_any().downcast_mut::<T>().map(look))
    }

    /// Removes a driver's devices and unloads it.
    pub fn unload(&self, driver: Driver) {
        let kernel = &*self.kernel;
        kernel.kernel_mode(|| super::end::unload(kernel, driver));
    }

    /// The machine shuts down: devices are removed, drivers unloaded, and what they left behind
    /// is looked for. The first leak stops the machine.
    pub fn shut_down(&self) {
        let kernel = &*self.kernel;
        kernel.kernel_mode(|| super::end::shut_down(kernel));
    }

    /// Ends that are neither a pass nor a violation: devices that never stopped (SIM-05).
    #[must_use]
    pub fn outcomes(&self) -> Vec<Report> {
        self.kernel.pnp.outcomes.lock().clone()
    }

    /// Whether some device never stopped, so that its driver rightly abandoned what it uses.
    #[must_use]
    pub fn device_never_stopped(&self) -> bool {
        !self.kernel.pnp.outcomes.lock().is_empty()
    }
}
