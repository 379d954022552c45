//! The operations, called as a driver would call them, against a device without a model.

// UNSAFETY: the operations take raw pointers.

mod discard;
mod incoherent;
mod lists;
mod packet;
mod system;
mod third;

use std::any::Any;

use testdev::bus::{Bus, BusError, Device, Identity};
use wdk_lite::*;

use super::ddi::{IoGetDmaAdapter, KeFlushIoBuffers};
use super::{BusMaster, number, operations as op};
use crate::machine::{Builder, Kernel, context};
use crate::pnp::physical_object;
use crate::verifier::Violation;
use crate::{Machine, Profile, RuleId};

/// A device that does nothing by itself.
struct Still;

impl Device for Still {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 1,
            device: 2,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 0,
            class: 0,
            interrupt_pin: 1,
            bars: [None; 6],
            msi_messages: 0,
            msi64: false,
            msix_messages: 0,
        }
    }

    fn read(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: u8) -> u64 {
        0
    }

    fn write(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: u8, _: u64) {}

    fn on_timer(&mut self, _: &mut dyn Bus) {}

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Kernel-mode code at DISPATCH_LEVEL on a machine with one device.
fn at_dispatch(builder: Builder, body: impl FnOnce(&Rig<'_>)) {
    let machine = builder.build();
    let slot = machine.plug(Box::new(Still)).expect("there is room").0;
    let kernel = &*machine.kernel;
    kernel.kernel_mode(|| kernel.at_irql(2, || body(&Rig { kernel, slot })));
}

/// On every coherent profile, with a number of seeds.
fn everywhere(body: impl Fn(&Rig<'_>)) {
    on(&Profile::COHERENT, body);
}

/// On these profiles, with a number of seeds.
fn on(profiles: &[Profile], body: impl Fn(&Rig<'_>)) {
    let seeds = if cfg!(miri) { 1 } else { 8 };
    for &profile in profiles {
        for seed in 0..seeds {
            at_dispatch(Machine::builder(profile).seed(seed), &body);
        }
    }
}

struct Rig<'k> {
    kernel: &'k Kernel,
    slot: usize,
}

/// A buffer of the requester's with its MDL.
struct Buffer {
    bytes: Vec<u8>,
    offset: usize,
    mdl: PMDL,
}

impl Buffer {
    fn va(&self) -> PVOID {
        std::ptr::with_exposed_provenance_mut(self.bytes.as_ptr().addr() + self.offset)
    }

    fn data(&self) -> &[u8] {
        &self.bytes[self.offset..]
    }
}

/// What a mistake is reported as.
fn rule<T: std::fmt::Debug>(result: Result<T, Violation>) -> (RuleId, Option<u64>) {
    let found = result.expect_err("it breaks a rule");
    (found.rule, found.bug_check.map(|code| code.parameters[0]))
}

/// A version 2 description: 24 bits without flags.
fn narrow() -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        Version: 2,
        Master: 1,
        InterfaceType: _INTERFACE_TYPE::PCIBus,
        MaximumLength: 0x2_0000,
        ..Default::default()
    }
}

/// A version 2 description: 64 bits, scatter/gather.
fn wide() -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION { ScatterGather: 1, Dma64BitAddresses: 1, ..narrow() }
}

/// A version 3 description.
fn third(bits: u32, scatter_gather: bool) -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        Version: 3,
        DmaAddressWidth: bits,
        ScatterGather: scatter_gather.into(),
        ..narrow()
    }
}

/// Writes its MapRegisterBase where the context points.
unsafe extern "C" fn keep_registers(
    _: *mut _DEVICE_OBJECT,
    _: *mut _IRP,
    base: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: the tests pass the address of a pointer.
    unsafe { context.cast::<PVOID>().write(base) };
    _IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters
}

/// As [`keep_registers`], and keeps the channel too.
unsafe extern "C" fn keep_object(
    device: *mut _DEVICE_OBJECT,
    irp: *mut _IRP,
    base: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: as above.
    unsafe { keep_registers(device, irp, base, context) };
    _IO_ALLOCATION_ACTION::KeepObject
}

/// Writes the list's address where the context points.
unsafe extern "C" fn keep_list(
    _: *mut _DEVICE_OBJECT,
    _: *mut _IRP,
    list: PSCATTER_GATHER_LIST,
    context: PVOID,
) {
    // SAFETY: the tests pass the address of a pointer.
    unsafe { context.cast::<PSCATTER_GATHER_LIST>().write(list) };
}

impl Rig<'_> {
    fn pdo(&self) -> PDEVICE_OBJECT {
        physical_object(self.slot)
    }

    fn adapter(&self, mut description: DEVICE_DESCRIPTION) -> (PDMA_ADAPTER, u32) {
        let mut count = 0;
        let pdo = self.pdo();
        // As in EvtDevicePrepareHardware, where drivers take adapters (DMA-02).
        let outer = context::with(|c| c.callback.replace("PFN_WDF_DEVICE_PREPARE_HARDWARE"));
        // SAFETY: pointers to locals.
        let adapter =
            unsafe { IoGetDmaAdapter(self.kernel, pdo, &raw mut description, &raw mut count) };
        context::with(|c| c.callback.set(outer));
        (adapter.expect("the description is right"), count)
    }

    /// What buffers have to be multiples of.
    fn unit(&self) -> usize {
        if self.kernel.options.profile == Profile::Nt { crate::cache::LINE } else { 1 }
    }

    fn buffer(&self, length: usize, offset: usize, writable: bool) -> Buffer {
        let unit = self.unit();
        let room = length + offset + unit;
        let mut bytes: Vec<u8> = (0..room).map(|n| (n * 7 + n / 251) as u8).collect();
        let offset = offset + bytes.as_ptr().align_offset(unit);
        bytes.truncate(length + offset);
        let address = bytes.as_mut_ptr().wrapping_add(offset);
        let mdl = self.kernel.memory.lock_user_buffer(self.kernel, address, length, writable);
        Buffer { bytes, offset, mdl }
    }

    /// A buffer's length and offset, made whole where the machine asks for whole lines.
    fn fit(&self, length: usize, offset: usize) -> (usize, usize) {
        let unit = self.unit();
        (length.next_multiple_of(unit), offset.next_multiple_of(unit))
    }

    fn cache_flush(&self, mdl: PMDL, read: bool) {
        // SAFETY: a live MDL.
        unsafe { KeFlushIoBuffers(self.kernel, mdl, read.into(), 1) }.expect("the MDL is live");
    }

    /// Lets what was put off run.
    fn settle(&self) {
        self.kernel.processor().set_irql(0);
        self.kernel.service();
        self.kernel.processor().set_irql(2);
    }

    fn channel(&self, adapter: PDMA_ADAPTER, count: u32) -> PVOID {
        let mut base: PVOID = std::ptr::null_mut();
        let context = (&raw mut base).cast();
        let pdo = self.pdo();
        let routine: PDRIVER_CONTROL = Some(keep_registers);
        // SAFETY: the context outlives the call of the routine, which `settle` waits for.
        let status = unsafe {
            op::AllocateAdapterChannel(self.kernel, adapter, pdo, count, routine, context)
        };
        assert_eq!(status.expect("no rule is broken"), STATUS_SUCCESS);
        self.settle();
        assert!(!base.is_null());
        base
    }

    fn map(
        &self,
        adapter: PDMA_ADAPTER,
        base: PVOID,
        buffer: &Buffer,
        range: (usize, usize),
        to_device: bool,
    ) -> Result<(u64, usize), Violation> {
        // CAST: test lengths.
        let mut length = range.1 as u32;
        let va = buffer.va().wrapping_byte_add(range.0);
        // SAFETY: the arguments are a driver's.
        let address = unsafe {
            op::MapTransfer(
                self.kernel,
                adapter,
                buffer.mdl,
                base,
                va,
                &raw mut length,
                to_device.into(),
            )
        }?;
        Ok((number(address), length as usize))
    }

    fn flush(
        &self,
        adapter: PDMA_ADAPTER,
        base: PVOID,
        buffer: &Buffer,
        range: (usize, usize),
        to_device: bool,
    ) -> Result<bool, Violation> {
        let va = buffer.va().wrapping_byte_add(range.0);
        let (length, direction) = (range.1 as u32, to_device.into());
        // SAFETY: the arguments are a driver's.
        let flushed = unsafe {
            op::FlushAdapterBuffers(self.kernel, adapter, buffer.mdl, base, va, length, direction)
        };
        flushed.map(|flushed| flushed != 0)
    }

    fn free(&self, adapter: PDMA_ADAPTER, base: PVOID, count: u32) -> Result<(), Violation> {
        // SAFETY: the arguments are a driver's.
        unsafe { op::FreeMapRegisters(self.kernel, adapter, base, count) }
    }

    fn put(&self, adapter: PDMA_ADAPTER) -> Result<(), Violation> {
        // SAFETY: the arguments are a driver's.
        unsafe { op::PutDmaAdapter(self.kernel, adapter) }
    }

    fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, BusError> {
        let mut data = vec![0; length];
        let access = BusMaster::Read(&mut data);
        self.kernel.hal.access(self.kernel, self.slot, address, access).map(|()| data)
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        self.kernel.hal.access(self.kernel, self.slot, address, BusMaster::Write(data))
    }

    fn fault(&self) -> Option<RuleId> {
        self.kernel.hal.take_fault().map(|fault| fault.rule)
    }

    fn notes(&self) -> Vec<RuleId> {
        self.kernel.verifier.notes().iter().map(|note| note.rule).collect()
    }
}
