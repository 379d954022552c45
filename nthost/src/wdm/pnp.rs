//! Plug and play for WDM drivers: AddDevice, START, removal, unloading.

use std::sync::Arc;

use wdk_lite::*;

use super::irp::PacketRef;
use super::{Wdm, device, driver, foreign};
use crate::RuleId;
use crate::bus::Function;
use crate::ddi::callback;
use crate::machine::{Kernel, Wait};
use crate::verifier::{Violation, broken};

/// A device's stack, from the physical device object up.
#[derive(Debug)]
pub(super) struct Stack {
    slot: usize,
    driver: usize,
    physical: usize,
    /// START is under way.
    starting: bool,
    started: bool,
}

fn object<T>(address: usize) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address)
}

/// A resource list as IRP_MN_START_DEVICE brings it: words, so that it is aligned.
fn list(descriptors: &[CM_PARTIAL_RESOURCE_DESCRIPTOR]) -> Vec<u32> {
    // Buses, then the bus's kind and number, version and revision, and how many descriptors.
    // CAST: a bus has a small number of kinds; a device few resources.
    let mut words =
        vec![1, _INTERFACE_TYPE::PCIBus as u32, 0, 1 | 1 << 16, descriptors.len() as u32];
    for descriptor in descriptors {
        const WORDS: usize = size_of::<CM_PARTIAL_RESOURCE_DESCRIPTOR>() / 4;
        let place = std::ptr::from_ref(descriptor).cast::<[u32; WORDS]>();
        // SAFETY: 20 bytes of integers that the machine wrote.
        words.extend(unsafe { place.read_unaligned() });
    }
    words
}

impl Wdm {
    /// Whether the device in `slot` has a WDM driver.
    pub(crate) fn has_stack(&self, slot: usize) -> bool {
        self.stacks.lock().iter().any(|stack| stack.slot == slot)
    }

    /// Whether IRP_MN_START_DEVICE, or AddDevice, is under way for a device.
    pub(crate) fn is_starting(&self, slot: usize) -> bool {
        self.stacks.lock().iter().any(|stack| stack.slot == slot && stack.starting)
    }

    fn update(&self, slot: usize, change: impl FnOnce(&mut Stack)) {
        let mut stacks = self.stacks.lock();
        if let Some(stack) = stacks.iter_mut().find(|stack| stack.slot == slot) {
            change(stack);
        }
    }

    fn physical(&self, slot: usize) -> Option<PDEVICE_OBJECT> {
        let stacks = self.stacks.lock();
        stacks.iter().find(|stack| stack.slot == slot).map(|stack| object(stack.physical))
    }

    /// AddDevice and START of a device that was plugged in.
    pub(crate) fn add(
        &self,
        kernel: &Kernel,
        function: &Arc<Function>,
        driver: PDRIVER_OBJECT,
    ) -> Result<Result<(), NTSTATUS>, Violation> {
        // SAFETY: a loaded driver that is in no call.
        let add = unsafe { driver::add_device(driver) };
        if !add.is_some() {
            return Ok(Err(STATUS_NO_SUCH_DEVICE));
        }
        let slot = function.index;
        let physical = self.new_device(std::ptr::null_mut(), 0, Some(slot), |device| {
            device.Flags = DO_BUS_ENUMERATED_DEVICE;
        });
        self.stacks.lock().push(Stack {
            slot,
            driver: driver.expose_provenance(),
            physical: physical.expose_provenance(),
            starting: true,
            started: false,
        });
        // SAFETY: the driver's AddDevice with its object and the device's.
        let status = unsafe { callback::DRIVER_ADD_DEVICE(kernel, add, driver, physical) };
        if !NT_SUCCESS(status) {
            self.forget(kernel, slot)?;
            return Ok(Err(status));
        }
        let status = self.start(kernel, function)?;
        self.update(slot, |stack| stack.starting = false);
        if !NT_SUCCESS(status) {
            self.remove(kernel, slot)?;
            return Ok(Err(status));
        }
        self.update(slot, |stack| stack.started = true);
        Ok(Ok(()))
    }

    fn start(&self, kernel: &Kernel, function: &Arc<Function>) -> Result<NTSTATUS, Violation> {
        let (raw, translated) = crate::pnp::descriptors(kernel, function);
        let (mut raw, mut translated) = (list(&raw), list(&translated));
        let start = _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_37 {
            AllocatedResources: raw.as_mut_ptr().cast(),
            AllocatedResourcesTranslated: translated.as_mut_ptr().cast(),
        };
        self.send(kernel, function.index, IRP_MN_START_DEVICE, |stack| {
            stack.Parameters.StartDevice = start;
        })
    }

    /// Sends a plug and play IRP down a stack and waits for its end.
    fn send(
        &self,
        kernel: &Kernel,
        slot: usize,
        minor: u32,
        prepare: impl FnOnce(&mut IO_STACK_LOCATION),
    ) -> Result<NTSTATUS, Violation> {
        let Some(physical) = self.physical(slot) else { return Ok(STATUS_NO_SUCH_DEVICE) };
        // SAFETY: the stack's physical device object; plug and play is the only one to change it.
        let top = unsafe { device::top_of(physical) };
        // SAFETY: a device object of the stack.
        let depth = unsafe { (*top).StackSize };
        let packet = self.packet(depth, |irp, stack| {
            // CAST: below 28, and a small number.
            (stack.MajorFunction, stack.MinorFunction) = (IRP_MJ_PNP as u8, minor as u8);
            irp.RequestorMode = _MODE::KernelMode as i8;
            irp.IoStatus.__bindgen_anon_1.Status = STATUS_NOT_SUPPORTED;
            prepare(stack);
        });
        self.call(kernel, top, packet)?;
        if !packet.is_done() && !matches!(kernel.wait(None, || packet.is_done()), Wait::Satisfied) {
            let message = format!("plug and play IRP {minor:#x} was never completed");
            return Err(broken(RuleId::Sim04, message).code(0x9F, [3, 0, 0, 0]));
        }
        let (status, _) = packet.result();
        self.give_back(packet);
        Ok(status)
    }

    /// The bus driver's part of an IRP that reached the physical device object.
    pub(super) fn bus(
        &self,
        kernel: &Kernel,
        packet: PacketRef,
        stack: *mut IO_STACK_LOCATION,
    ) -> Result<NTSTATUS, Violation> {
        // SAFETY: the packet's current location, which is the bus driver's.
        let location = unsafe { stack.read() };
        let (major, minor) = (location.MajorFunction.into(), location.MinorFunction.into());
        let slot = self.physical_slot(location.DeviceObject);
        let function = slot.and_then(|slot| kernel.bus.function(slot));
        let Some(function) = function else { return Err(foreign("physical device object")) };
        let status = match (major, minor) {
            (IRP_MJ_PNP, IRP_MN_START_DEVICE) if !function.is_present() => STATUS_NO_SUCH_DEVICE,
            (IRP_MJ_PNP, IRP_MN_START_DEVICE) => {
                function.config.start(crate::pnp::uses_messages(kernel, &function));
                STATUS_SUCCESS
            }
            (IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE | IRP_MN_SURPRISE_REMOVAL) => {
                function.config.stop();
                STATUS_SUCCESS
            }
            (IRP_MJ_PNP, IRP_MN_QUERY_REMOVE_DEVICE | IRP_MN_CANCEL_REMOVE_DEVICE) => {
                STATUS_SUCCESS
            }
            // What the bus driver does not know keeps its status.
            (IRP_MJ_PNP, _) => packet.result().0,
            _ => STATUS_INVALID_DEVICE_REQUEST,
        };
        self.answer(kernel, packet, status)
    }

    /// Whether the driver lets its device go.
    pub(crate) fn query_remove(&self, kernel: &Kernel, slot: usize) -> Result<NTSTATUS, Violation> {
        self.send(kernel, slot, IRP_MN_QUERY_REMOVE_DEVICE, |_| {})
    }

    /// The device is gone.
    pub(crate) fn surprise(&self, kernel: &Kernel, slot: usize) -> Result<(), Violation> {
        self.send(kernel, slot, IRP_MN_SURPRISE_REMOVAL, |_| {})?;
        self.remove(kernel, slot)
    }

    /// REMOVE; the driver must have taken its device object away afterwards.
    pub(crate) fn remove(&self, kernel: &Kernel, slot: usize) -> Result<(), Violation> {
        self.send(kernel, slot, IRP_MN_REMOVE_DEVICE, |_| {})?;
        if self.is_connected(Some(slot)) {
            let message = "an interrupt is still connected after IRP_MN_REMOVE_DEVICE";
            return Err(broken(RuleId::Sim11, message));
        }
        self.forget(kernel, slot)
    }

    /// The physical device object goes; nothing may be attached to it.
    fn forget(&self, _kernel: &Kernel, slot: usize) -> Result<(), Violation> {
        let Some(physical) = self.physical(slot) else { return Ok(()) };
        // SAFETY: the stack's physical device object.
        if !unsafe { (*physical).AttachedDevice }.is_null() {
            let message = "a device object is still attached after its device was removed";
            return Err(broken(RuleId::Sim11, message));
        }
        self.stacks.lock().retain(|stack| stack.slot != slot);
        self.drop_device(physical);
        Ok(())
    }

    /// Removes a driver's devices, calls its DriverUnload, and looks for what it left behind.
    pub(crate) fn unload(&self, kernel: &Kernel, driver: PDRIVER_OBJECT) -> Result<(), Violation> {
        let slots: Vec<usize> = {
            let stacks = self.stacks.lock();
            let own = stacks.iter().filter(|stack| stack.driver == driver.addr());
            own.map(|stack| stack.slot).collect()
        };
        for slot in slots {
            self.remove(kernel, slot)?;
        }
        // SAFETY: a loaded driver that is in no call.
        let unload = unsafe { driver::unload_routine(driver) };
        if unload.is_some() {
            // SAFETY: the driver's DriverUnload with its object.
            unsafe { callback::DRIVER_UNLOAD(kernel, unload, driver) };
        }
        let left = self.devices_of(driver).len();
        let message = match self.names.lock().any_link() {
            Some(link) => format!("the link {link} still exists after its driver was unloaded"),
            None if left != 0 => {
                format!("{left} device objects still exist after their driver was unloaded")
            }
            None => return Ok(()),
        };
        Err(broken(RuleId::Sim10, message))
    }
}
