//! DMA adapters.

use core::marker::PhantomData;
use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::error::DmaError;
use crate::irql::{self, AtMostDispatch, Passive};
use crate::leak;
use crate::sys::{
    _INTERFACE_TYPE, BOOLEAN, DEVICE_DESCRIPTION, DEVICE_DESCRIPTION_VERSION2,
    DEVICE_DESCRIPTION_VERSION3, DISPATCH_LEVEL, DMA_ADAPTER, PDEVICE_OBJECT, PDMA_ADAPTER, TRUE,
    ULONG, ntddk,
};

/// A version of the operations table.
pub trait Version: sealed::Sealed {
    /// What `DEVICE_DESCRIPTION::Version` asks for (DMA-04).
    const DESCRIPTION_VERSION: u32;
}

/// Version 2: packets, scatter/gather lists into the driver's own memory.
#[derive(Debug)]
pub enum V2 {}

/// Version 3: exact address widths, transfer contexts, cancellable allocations.
#[derive(Debug)]
pub enum V3 {}

/// System DMA: a channel of the system's DMA controller, with the table of version 2.
#[derive(Debug)]
pub enum System {}

/// A version of the table for a device that masters the bus.
pub trait BusMaster: Version {}

impl BusMaster for V2 {}
impl BusMaster for V3 {}

impl Version for System {
    const DESCRIPTION_VERSION: u32 = DEVICE_DESCRIPTION_VERSION2;
}

impl Version for V2 {
    const DESCRIPTION_VERSION: u32 = DEVICE_DESCRIPTION_VERSION2;
}

impl Version for V3 {
    const DESCRIPTION_VERSION: u32 = DEVICE_DESCRIPTION_VERSION3;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::V2 {}
    impl Sealed for super::V3 {}
    impl Sealed for super::System {}
}

/// What a bus master can do, for `IoGetDmaAdapter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Address bits that the device decodes. Version 2 knows 64 and 32; anything else is described
    /// as 24 (DMA-05). Version 3 takes the number as it is (DMA-06).
    pub address_width: u32,
    /// The device takes lists of discontiguous fragments (DMA-07).
    pub scatter_gather: bool,
    /// The longest single operation, bytes (DMA-09).
    pub maximum_length: u32,
    /// The most fragments that the device takes at a time. An operation has no more fragments than
    /// pages, so it then uses no more map registers than that.
    pub fragments_max: u32,
}

impl Description {
    #[allow(clippy::field_reassign_with_default, reason = "zeroed first, as DMA-03 asks")]
    fn to_raw<V: Version>(self) -> DEVICE_DESCRIPTION {
        // Zeroed first; what does not apply to a bus master stays zero (DMA-03, DMA-08).
        let mut raw = DEVICE_DESCRIPTION::default();
        raw.Version = V::DESCRIPTION_VERSION;
        // CAST: TRUE is 1.
        raw.Master = TRUE as BOOLEAN;
        raw.ScatterGather = BOOLEAN::from(self.scatter_gather);
        raw.InterfaceType = _INTERFACE_TYPE::PCIBus;
        raw.MaximumLength = self.maximum_length;
        if V::DESCRIPTION_VERSION == DEVICE_DESCRIPTION_VERSION3 {
            raw.DmaAddressWidth = self.address_width;
        } else {
            raw.Dma32BitAddresses = BOOLEAN::from(self.address_width == 32);
            raw.Dma64BitAddresses = BOOLEAN::from(self.address_width == 64);
        }
        raw
    }
}

/// An adapter of operations table `V`, from `IoGetDmaAdapter` or from a KMDF DMA enabler.
///
/// Common buffers, map registers and lists count as outstanding from the moment they exist until
/// they are released, and an adapter with something outstanding cannot be released (DMA-18).
#[derive(Debug)]
#[must_use]
pub struct Adapter<V: Version> {
    handle: Handle,
    map_registers: u32,
    maximum_length: u32,
    owned: bool,
    outstanding: AtomicU32,
    _version: PhantomData<fn() -> V>,
}

/// The address of an adapter, for the values that live on it.
///
/// # Invariants
/// Returned by `IoGetDmaAdapter` or an enabler and not put while the value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(NonNull<DMA_ADAPTER>);

impl Handle {
    pub(crate) fn as_ptr(self) -> PDMA_ADAPTER {
        self.0.as_ptr()
    }
}

/// Fetches an operation from the adapter's own table (DMA-14), as a `Result`.
macro_rules! operation {
    ($handle:expr, $name:ident) => {{
        let adapter = $crate::adapter::Handle::as_ptr($handle);
        // SAFETY: the adapter is live by the handle's invariant.
        let operations = unsafe { (*adapter).DmaOperations };
        // SAFETY: the table of a live adapter has the members of its version (DMA-04); only those
        // of version 2 are read from an `Adapter<V2>`.
        let operation = unsafe { (*operations).$name };
        operation.ok_or($crate::error::DmaError::MissingOperation)
    }};
}
pub(crate) use operation;

impl<V: BusMaster> Adapter<V> {
    /// Asks for an adapter for the device behind `physical_device`. IRQL: PASSIVE_LEVEL (DMA-01).
    ///
    /// # Errors
    /// [`DmaError::NoAdapter`] if the system offers none (DMA-12); [`DmaError::NoMapRegisters`] if
    /// it comes without a map register.
    ///
    /// # Safety
    /// `physical_device` is the PDO of the device, and the device is being started (DMA-02).
    pub unsafe fn open(
        physical_device: PDEVICE_OBJECT,
        description: &Description,
        passive: &Passive,
    ) -> Result<Self, DmaError> {
        // SAFETY: the PDO, by the caller's promise; the description is complete.
        let adapter = unsafe { Self::get(physical_device, description.to_raw::<V>(), passive) };
        adapter.map(|mut adapter| {
            adapter.map_registers = adapter.map_registers.min(description.fragments_max);
            adapter
        })
    }
}

impl<V: Version> Adapter<V> {
    /// `IoGetDmaAdapter` with a complete description.
    ///
    /// # Safety
    /// As [`open`](Adapter::open).
    pub(crate) unsafe fn get(
        physical_device: PDEVICE_OBJECT,
        mut raw: DEVICE_DESCRIPTION,
        _passive: &Passive,
    ) -> Result<Self, DmaError> {
        let mut map_registers: ULONG = 0;
        // SAFETY: the PDO, by the caller's promise; the description is complete (DMA-02, DMA-03).
        let adapter =
            unsafe { ntddk::IoGetDmaAdapter(physical_device, &mut raw, &mut map_registers) };
        let adapter = NonNull::new(adapter).ok_or(DmaError::NoAdapter)?;
        let adapter = Self::new(adapter, map_registers, raw.MaximumLength, true);
        // DMA-10: however few there are, the driver works with them; with none it cannot.
        if map_registers == 0 { Err(DmaError::NoMapRegisters) } else { Ok(adapter) }
    }

    /// Uses an adapter that a KMDF DMA enabler owns (`WdfDmaEnablerWdmGetDmaAdapter`). Releasing
    /// the value leaves the adapter to the enabler.
    ///
    /// # Safety
    /// The adapter is live for as long as the value and what is made from it; its table is of
    /// version `V` (DMA-04); `map_registers` and `maximum_length` are what the enabler was granted.
    pub unsafe fn from_enabler(
        adapter: NonNull<DMA_ADAPTER>,
        map_registers: u32,
        maximum_length: u32,
    ) -> Self {
        Self::new(adapter, map_registers, maximum_length, false)
    }

    fn new(adapter: NonNull<DMA_ADAPTER>, registers: u32, maximum: u32, owned: bool) -> Self {
        Self {
            handle: Handle(adapter),
            map_registers: registers,
            maximum_length: maximum,
            owned,
            outstanding: AtomicU32::new(0),
            _version: PhantomData,
        }
    }

    /// Map registers that one operation may use: those that were granted, which the driver obeys
    /// (DMA-10), or fewer where the device takes fewer fragments.
    #[must_use]
    pub fn map_registers(&self) -> u32 {
        self.map_registers
    }

    /// The longest single operation, bytes (DMA-09).
    #[must_use]
    pub fn maximum_length(&self) -> u32 {
        self.maximum_length
    }

    /// What start and length of a mapped buffer must be multiples of, bytes (DMA-15). IRQL:
    /// PASSIVE_LEVEL.
    #[must_use]
    pub fn alignment(&self, _passive: &Passive) -> u32 {
        let Ok(get) = operation!(self.handle, GetDmaAlignment) else { return 1 };
        // SAFETY: a live adapter, PASSIVE_LEVEL by the token (DMA-15).
        unsafe { get(self.handle.as_ptr()) }.max(1)
    }

    /// Puts the adapter. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The adapter back, if something of it is still outstanding (DMA-18).
    pub fn release(self, _level: &impl AtMostDispatch) -> Result<(), Self> {
        if self.outstanding() != 0 {
            return Err(self);
        }
        self.put();
        mem::forget(self);
        Ok(())
    }

    /// Gives the adapter up without putting it, because a device that never stopped may still use
    /// what is mapped.
    pub fn abandon(self) {
        mem::forget(self);
    }

    /// Common buffers, sets of map registers and lists that are not released.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Acquire)
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    pub(crate) fn add_outstanding(&self) {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
    }

    /// One value of `handle` was released; counts only if this is its adapter.
    pub(crate) fn remove_outstanding(&self, handle: Handle) {
        if handle == self.handle {
            self.outstanding.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn put(&self) {
        if !self.owned {
            return;
        }
        if let Ok(put) = operation!(self.handle, PutDmaAdapter) {
            // SAFETY: nothing is outstanding, and the value ends here: one put for one get
            // (DMA-18, DMA-19).
            unsafe { put(self.handle.as_ptr()) };
        }
    }
}

impl<V: Version> Drop for Adapter<V> {
    fn drop(&mut self) {
        if self.outstanding() == 0 && u32::from(irql::current()) <= DISPATCH_LEVEL {
            self.put();
        } else {
            leak::report();
        }
    }
}
