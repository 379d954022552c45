//! The image of one machine: its copy, and the objects that the kernel and the framework's loader
//! give to its driver.

// UNSAFETY: objects that the driver reads and writes through their addresses.

use std::cell::UnsafeCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use parking_lot::Mutex;
use wdk_lite::{
    DMA_OPERATIONS, DRIVER_OBJECT, PDRIVER_INITIALIZE, PDRIVER_OBJECT, PDRIVER_UNLOAD,
    PWDF_DRIVER_GLOBALS, WDF_DRIVER_GLOBALS, WDFDRIVER,
};

use super::mapping::Mapping;
use super::pe::Parsed;
use super::symbols::Module;
use super::tracing::Trace;
use super::{Image, exports};
use crate::ddi::callback::{Routine, routine};
use crate::trace_event::TraceEvent;
use crate::wdf::object::Handle;

/// The type in a DRIVER_OBJECT (wdm.h).
const IO_TYPE_DRIVER: i16 = 4;

/// An image that a machine has loaded.
pub(crate) struct Instance {
    image: Image,
    /// Present until the instance is dropped.
    mapping: Option<Mapping>,
    object: Rc<UnsafeCell<DRIVER_OBJECT>>,
    globals: Rc<UnsafeCell<WDF_DRIVER_GLOBALS>>,
    discarded: AtomicBool,
    bound: AtomicBool,
    refusal: Mutex<Option<String>>,
    /// The WDFDRIVER, until the framework's unload routine runs.
    framework: Mutex<Option<Handle>>,
}

// SAFETY: the cells are written before the driver runs and by the driver's own calls, which come
// one after the other.
unsafe impl Sync for Instance {}
// SAFETY: as above.
unsafe impl Send for Instance {}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("image", &self.image.name()).finish_non_exhaustive()
    }
}

impl Instance {
    fn new(image: &Image) -> io::Result<Self> {
        let mapping = image.copy()?;
        // SAFETY: plain data, pointers and optional functions; zero is a value of each.
        let mut object: DRIVER_OBJECT = unsafe { std::mem::zeroed() };
        object.Type = IO_TYPE_DRIVER;
        // CAST: 336 bytes; an image is smaller than 4 GiB.
        object.Size = size_of::<DRIVER_OBJECT>() as i16;
        object.DriverStart = std::ptr::with_exposed_provenance_mut(mapping.start());
        object.DriverSize = image.shared.parsed.layout.len() as u32;
        let entry = mapping.start() + image.shared.parsed.entry as usize;
        // SAFETY: the entry point's address for an optional function; nothing calls through it.
        object.DriverInit = unsafe { std::mem::transmute::<usize, PDRIVER_INITIALIZE>(entry) };
        Ok(Self {
            image: image.clone(),
            mapping: Some(mapping),
            object: Rc::new(UnsafeCell::new(object)),
            globals: Rc::new(UnsafeCell::new(WDF_DRIVER_GLOBALS::default())),
            discarded: AtomicBool::new(false),
            bound: AtomicBool::new(false),
            refusal: Mutex::default(),
            framework: Mutex::default(),
        })
    }

    pub(super) fn parsed(&self) -> &Parsed {
        &self.image.shared.parsed
    }

    pub(super) fn module(&self) -> &Arc<Module> {
        &self.image.shared.module
    }

    pub(super) fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("present until the instance is dropped")
    }

    /// The entry point.
    pub(crate) fn entry(&self) -> Routine {
        // CAST: widening.
        Routine::at(self.mapping().start() + self.parsed().entry as usize)
    }

    /// The driver object.
    pub(crate) fn object(&self) -> PDRIVER_OBJECT {
        self.object.get()
    }

    /// The unload routine that the driver or its framework put into the driver object.
    pub(crate) fn unload_routine(&self) -> Routine {
        // SAFETY: the driver has returned from whatever wrote it.
        routine(unsafe { (*self.object()).DriverUnload })
    }

    /// The globals that the framework's loader hands to the driver.
    pub(super) fn globals(&self) -> PWDF_DRIVER_GLOBALS {
        self.globals.get()
    }

    /// WdfDriverCreate made the driver's WDFDRIVER: the framework takes over unloading, and the
    /// driver's stub is asked to displace it.
    fn driver_created(&self, framework: Handle) {
        *self.framework.lock() = Some(framework);
        let driver: WDFDRIVER = framework.raw();
        // SAFETY: the driver is in its entry point, in a call of the framework.
        unsafe { (*self.globals()).Driver = driver };
        // SAFETY: as above.
        unsafe { (*self.globals()).DisplaceDriverUnload = 1 };
        let unload = exports::framework_unload();
        // SAFETY: an address for an optional function; a call of it goes through `Routine`.
        let unload = unsafe { std::mem::transmute::<usize, PDRIVER_UNLOAD>(unload) };
        // SAFETY: as above.
        unsafe { (*self.object()).DriverUnload = unload };
    }

    /// The WDFDRIVER, for the framework's unload routine: once.
    pub(super) fn take_framework(&self) -> Option<Handle> {
        self.framework.lock().take()
    }

    /// The entry point has returned: what only it needs goes away.
    pub(crate) fn discard(&self) -> Result<(), String> {
        self.discarded.store(true, Ordering::Release);
        self.mapping().discard().map_err(|error| error.to_string())
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.discarded.load(Ordering::Acquire)
    }

    pub(super) fn set_bound(&self, bound: bool) -> bool {
        self.bound.swap(bound, Ordering::AcqRel)
    }

    pub(super) fn refuse(&self, reason: String) {
        *self.refusal.lock() = Some(reason);
    }

    /// Why WdfVersionBind refused the driver.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            self.image.give_back(mapping);
        }
    }
}

/// A machine's place for an image.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    current: AtomicPtr<Instance>,
    /// Every image that this machine ever loaded; reports may still look at them.
    all: Mutex<Vec<Arc<Instance>>>,
    trace: Trace,
}

impl Slot {
    /// Whether the machine's driver is an image, so that calls follow the Windows convention.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        !self.current.load(Ordering::Relaxed).is_null()
    }

    /// The image.
    #[inline]
    pub(crate) fn instance(&self) -> Option<&Instance> {
        // SAFETY: set by `load` from one in `all`, which lives as long as this value.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// What the driver wrote to traces.
    pub(crate) fn trace_events(&self) -> Vec<TraceEvent> {
        self.trace.events()
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Puts a copy of an image in.
    ///
    /// # Errors
    /// What the system says if it has no memory to give.
    pub(crate) fn load(&self, image: &Image) -> Result<&Instance, String> {
        let instance = Arc::new(Instance::new(image).map_err(|error| error.to_string())?);
        let place = Arc::as_ptr(&instance);
        self.all.lock().push(instance);
        self.current.store(place.cast_mut(), Ordering::Release);
        // SAFETY: kept in `all` as long as this value lives.
        Ok(unsafe { &*place })
    }

    /// WdfDriverCreate made the driver's WDFDRIVER.
    pub(crate) fn driver_created(&self, framework: Handle) {
        if let Some(instance) = self.instance() {
            instance.driver_created(framework);
        }
    }

    /// Makes an adapter's table what the machine's driver calls.
    pub(crate) fn adapt(&self, table: &mut DMA_OPERATIONS) {
        if self.is_loaded() {
            crate::ddi::win64::operations_for_image(table);
        }
    }

    /// The image is no driver any more, or did not become a driver: its calls are over.
    pub(crate) fn clear(&self) {
        self.current.store(std::ptr::null_mut(), Ordering::Release);
    }
}
