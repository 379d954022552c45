//! Drivers, devices, and their starting, stopping and removal (KMDF.md 3).
//!
//! Each device has a [`Node`]. One plug and play or power operation runs on a node at a time; an
//! event that arrives meanwhile (a surprise removal, a device that a driver gave up) is kept and
//! carried out by whoever runs the operation, at its end, or else by a work item.

mod api;
mod end;
mod interfaces;
mod load;
mod power;
mod remove;
mod resources;
mod start;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use wdk_lite::PDEVICE_OBJECT;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use load::unload_framework;
pub use load::{Driver, DriverEntry};
pub(crate) use resources::{descriptors, interrupt_resource, interrupts_of, uses_messages};

use crate::RuleId;
use crate::bus::Function;
use crate::machine::Kernel;
use crate::machine::clock::Deferred;
use crate::verifier::{Report, Violation, broken};
use crate::wdf::device::{Device, HandleCell, PnpCallbacks};
use crate::wdf::object::{Handle, Kind};

/// A PCI slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) usize);

/// Something that happens to a device by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// It is gone, or counts as gone: SURPRISE_REMOVAL, later REMOVE.
    Surprise,
    /// The last handle to a surprise-removed device was closed.
    Remove,
    /// Stop and start it again.
    Restart,
}

/// One device as the PnP manager sees it.
#[derive(Debug)]
struct Node {
    function: Arc<Function>,
    /// The function device object, from WdfDeviceCreate to its end.
    device: HandleCell,
    /// The WDFDRIVER it belongs to.
    driver: HandleCell,
    /// Open handles, and files whose requests are not all complete.
    handles: AtomicU32,
    /// An operation is under way.
    busy: AtomicBool,
    events: Mutex<VecDeque<Event>>,
    /// In D0.
    powered: AtomicBool,
    /// PrepareHardware was called, and ReleaseHardware not yet.
    prepared: AtomicBool,
    /// Inside ReleaseHardware.
    releasing: AtomicBool,
    /// Query-remove succeeded: no new handles.
    removing: AtomicBool,
    /// The driver called WdfDeviceSetFailed.
    given_up: AtomicBool,
    /// Restarts so far that the driver asked for.
    restarts: AtomicU32,
}

/// The PnP manager's state in one machine.
#[derive(Debug, Default)]
pub(crate) struct Pnp {
    drivers: Mutex<Vec<load::Loaded>>,
    /// By slot.
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    interfaces: Mutex<Vec<interfaces::Registered>>,
    outcomes: Mutex<Vec<Report>>,
    /// Devices inside EvtDeviceReleaseHardware.
    releasing: AtomicU32,
}

/// First values of the pointers that stand for device objects; nothing is behind them.
const PHYSICAL: usize = 0x00FF_2000_0000_0000;
const FUNCTION: usize = 0x00FF_3000_0000_0000;

/// The physical device object of a slot.
pub(crate) fn physical_object(slot: usize) -> PDEVICE_OBJECT {
    std::ptr::without_provenance_mut(PHYSICAL + (slot << 12))
}

/// The function device object of a slot.
pub(crate) fn function_object(slot: usize) -> PDEVICE_OBJECT {
    std::ptr::without_provenance_mut(FUNCTION + (slot << 12))
}

impl Pnp {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn node(&self, slot: usize) -> Option<Arc<Node>> {
        self.nodes.lock().get(slot)?.clone()
    }

    fn node_of(&self, device: Handle) -> Option<Arc<Node>> {
        let nodes = self.nodes.lock();
        nodes.iter().flatten().find(|node| node.device.get() == Some(device)).cloned()
    }

    /// Whether the hardware of this device has vanished.
    pub(crate) fn is_gone(&self, device: Handle) -> bool {
        self.node_of(device).is_some_and(|node| !node.function.is_present())
    }

    /// The slot of the device that a framework object belongs to.
    pub(crate) fn slot_of_object(&self, kernel: &Kernel, object: Handle) -> Option<usize> {
        let device = kernel.wdf.ancestor(object, Kind::Device)?;
        Some(self.node_of(device)?.function.index)
    }

    /// A device's slot, and whether its driver gave it up because it never stopped.
    pub(crate) fn slot_and_state(&self, kernel: &Kernel, device: Handle) -> Option<(usize, bool)> {
        let node = self.node_of(device)?;
        Some((node.function.index, end::never_stopped(kernel, &node)))
    }

    /// The slot of a device object; `None` for any other pointer.
    pub(crate) fn slot_of(&self, object: PDEVICE_OBJECT) -> Option<usize> {
        let nodes = self.nodes.lock();
        let exists = |slot: &usize| nodes.get(*slot).is_some_and(Option::is_some);
        let address = object.addr();
        let base = if address >= FUNCTION { FUNCTION } else { PHYSICAL };
        let offset = address.checked_sub(base)?;
        Some(offset >> 12).filter(|slot| offset.is_multiple_of(4096) && exists(slot))
    }

    /// A handle to a device is opened; `false` if it goes meanwhile, and none may be.
    pub(crate) fn handle_opened(&self, kernel: &Kernel, device: Handle) -> bool {
        let Some(node) = self.node_of(device) else { return false };
        node.handles.fetch_add(1, Ordering::SeqCst);
        // Whoever removes it says so first and counts the handles then: one of the two sees the other.
        let opened = !node.removing.load(Ordering::SeqCst);
        if !opened {
            node.handle_closed(kernel);
        }
        opened
    }

    /// A handle was closed and its file is gone. The last one lets a removal go on.
    pub(crate) fn last_handle_closed(&self, kernel: &Kernel, device: Handle) {
        if let Some(node) = self.node_of(device) {
            node.handle_closed(kernel);
        }
    }

    /// A driver accesses a register of the device in `slot`: not in EvtDeviceReleaseHardware,
    /// where the hardware counts as off (KMDF-02). A driver that gave the device up because it
    /// would not stop may look whether it has stopped since; a device that is gone is no matter.
    #[inline]
    pub(crate) fn check_register_access(&self, slot: usize) -> Result<(), Violation> {
        if self.releasing.load(Ordering::Relaxed) != 0 {
            self.check_released(slot)?;
        }
        self.check_powered(slot)
    }

    /// Outside the callbacks of the power sequence registers are for D0 only (KMDF-31, KMDF-46).
    fn check_powered(&self, slot: usize) -> Result<(), Violation> {
        let callback = crate::machine::context::with(|c| c.callback.get());
        let rule = if callback.starts_with("PFN_WDF_FILE_") {
            RuleId::Kmdf46
        } else if callback.starts_with("PFN_WDF_IO_") {
            RuleId::Kmdf31
        } else {
            return Ok(());
        };
        let Some(node) = self.node(slot) else { return Ok(()) };
        let asleep = node.prepared.load(Ordering::Acquire) && !node.powered.load(Ordering::Acquire);
        if !asleep || !node.function.is_present() {
            return Ok(());
        }
        Err(broken(
            rule,
            format!("a register was accessed in {callback} while the device was not in D0"),
        ))
    }

    #[cold]
    fn check_released(&self, slot: usize) -> Result<(), Violation> {
        let Some(node) = self.node(slot) else { return Ok(()) };
        let exempt = node.given_up.load(Ordering::Acquire) || !node.function.is_present();
        if !node.releasing.load(Ordering::Acquire) || exempt {
            return Ok(());
        }
        let message =
            "a register was accessed in EvtDeviceReleaseHardware, where the device is off";
        Err(broken(RuleId::Kmdf02, message))
    }

    /// The device in `slot` tried to master the bus although the bus driver has turned that off:
    /// what the driver did wrong, if it is its fault (KMDF-08). Not if it gave the device up.
    pub(crate) fn mastered_while_off(&self, slot: usize) -> Option<Violation> {
        let node = self.node(slot)?;
        let asleep = node.device.get().is_some()
            && !node.powered.load(Ordering::Acquire)
            && node.prepared.load(Ordering::Acquire);
        let exempt = node.given_up.load(Ordering::Acquire) || !node.function.is_present();
        let message = "the device still mastered the bus after EvtDeviceD0Exit had returned";
        (asleep && !exempt).then(|| broken(RuleId::Kmdf08, message))
    }

    /// WdfDeviceCreate made the device of a slot.
    pub(crate) fn device_created(&self, slot: usize, device: Handle) {
        if let Some(node) = self.node(slot) {
            node.device.set(Some(device));
        }
    }
}

/// WdfDeviceSetFailed: PnP removes the device, or restarts it, later and from another thread.
pub(crate) fn fail_device(kernel: &Kernel, device: Handle, restart: bool) {
    /// Restarts a device may ask for.
    const RESTARTS: u32 = 5;
    let Some(node) = kernel.pnp.node_of(device) else { return };
    if restart && node.restarts.fetch_add(1, Ordering::AcqRel) < RESTARTS {
        node.post(kernel, Event::Restart);
    } else {
        node.given_up.store(true, Ordering::Release);
        node.post(kernel, Event::Surprise);
    }
}

impl Node {
    fn new(function: Arc<Function>) -> Self {
        Self {
            function,
            device: HandleCell::default(),
            driver: HandleCell::default(),
            handles: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            events: Mutex::new(VecDeque::with_capacity(8)),
            powered: AtomicBool::new(false),
            prepared: AtomicBool::new(false),
            releasing: AtomicBool::new(false),
            removing: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            restarts: AtomicU32::new(0),
        }
    }

    fn handle_closed(&self, kernel: &Kernel) {
        if self.handles.fetch_sub(1, Ordering::SeqCst) == 1 {
            kernel.poke();
            self.post(kernel, Event::Remove);
        }
    }

    /// From here on no handle can be opened; `false`, and they can be, if some are open.
    fn refuse_handles(&self) -> bool {
        let before = self.removing.swap(true, Ordering::SeqCst);
        let none = self.handles.load(Ordering::SeqCst) == 0;
        if !none {
            self.removing.store(before, Ordering::SeqCst);
        }
        none
    }

    fn try_begin(&self) -> bool {
        !self.busy.swap(true, Ordering::AcqRel)
    }

    /// Begins an operation, waiting for the one under way.
    fn begin(&self, kernel: &Kernel) {
        let begun = Cell::new(false);
        kernel.wait(patience(kernel), || {
            begun.set(self.try_begin());
            begun.get()
        });
        if !begun.get() {
            let message = "a plug and play operation waits for one that never ends";
            kernel.stop(broken(RuleId::Sim09, message));
        }
    }

    /// Ends an operation; carries out what was posted meanwhile.
    fn end(&self, kernel: &Kernel) {
        loop {
            loop {
                let event = self.events.lock().pop_front();
                let Some(event) = event else { break };
                self.handle(kernel, event);
            }
            self.busy.store(false, Ordering::Release);
            kernel.poke();
            if self.events.lock().is_empty() || !self.try_begin() {
                return;
            }
        }
    }

    /// Whether no operation is under way or waits.
    fn is_quiet(&self) -> bool {
        !self.busy.load(Ordering::Acquire) && self.events.lock().is_empty()
    }

    /// Posts an event: carried out at PASSIVE_LEVEL, later. At any level up to DISPATCH_LEVEL.
    fn post(&self, kernel: &Kernel, event: Event) {
        self.events.lock().push_back(event);
        kernel.queue_work(Deferred { run: carry_out, argument: self.function.index });
    }

    fn handle(&self, kernel: &Kernel, event: Event) {
        match event {
            Event::Surprise => self.surprise(kernel),
            Event::Remove => self.remove_after_surprise(kernel),
            Event::Restart => self.restart_failed(kernel),
        }
    }
}

/// When a wait that should end, and may be kept alive by periodic timers, gives up.
fn patience(kernel: &Kernel) -> Option<u64> {
    /// A minute, after which KMDF's own waits speak up.
    const NANOSECONDS: u64 = 60_000_000_000;
    Some(kernel.clock.now() + NANOSECONDS)
}

fn carry_out(kernel: &Kernel, slot: usize) {
    let Some(node) = kernel.pnp.node(slot) else { return };
    // Whoever is busy with the device looks at the events at the end.
    if node.try_begin() {
        node.end(kernel);
    }
}

/// A node's device while an operation runs.
struct Target<'k> {
    kernel: &'k Kernel,
    node: &'k Node,
    handle: Handle,
    device: &'k Device,
    callbacks: PnpCallbacks,
}

impl Node {
    fn target<'k>(&'k self, kernel: &'k Kernel) -> Option<Target<'k>> {
        let handle = self.device.get()?;
        let device = kernel.wdf.payload::<Device>(handle)?;
        let callbacks = device.settings().callbacks;
        Some(Target { kernel, node: self, handle, device, callbacks })
    }
}
