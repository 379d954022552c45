//! A transfer of a direct request on a version 1 or 2 adapter, in single, correct steps.
//!
//! A routine that is to be wrong leaves a step out, takes one twice, or makes the call itself
//! with another argument; whatever it does not touch stays right.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use testdev::edu;
use wdk_lite::*;

use super::ddk::{self, MmGetMdlByteCount, MmGetMdlVirtualAddress, at_level};
use super::{Adapter, Lab};

/// A transfer; it stays where it is while the adapter knows it.
#[derive(Debug)]
pub struct Transfer<'a> {
    /// The device's lab.
    pub lab: &'a Lab,
    /// The adapter it goes through.
    pub adapter: Adapter,
    /// The first MDL of the buffer.
    pub mdl: PMDL,
    /// Index of the buffer's first byte.
    pub va: PVOID,
    /// Bytes.
    pub length: u32,
    /// Direction.
    pub to_device: bool,
    /// Map registers to ask for: what the buffer needs, but at most the grant.
    pub registers: u32,
    /// What AdapterControl was given.
    pub base: Cell<PVOID>,
    /// How often AdapterControl or AdapterListControl ran.
    pub calls: Cell<u32>,
    /// What AdapterControl returns.
    pub action: Cell<IO_ALLOCATION_ACTION>,
    /// Runs in AdapterControl and in AdapterListControl.
    pub on_grant: Cell<fn(&Transfer<'_>)>,
    /// The Irp argument of the control routine.
    pub irp: Cell<PIRP>,
    /// What AdapterListControl was given.
    pub list: Cell<PSCATTER_GATHER_LIST>,
}

/// AdapterControl of every transfer.
///
/// # Safety
/// Called by the adapter; `context` is the transfer.
pub unsafe extern "C" fn control(
    _device: *mut _DEVICE_OBJECT,
    irp: *mut _IRP,
    base: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: the transfer that asked waits for this call.
    let transfer = unsafe { &*context.cast::<Transfer<'_>>() };
    transfer.irp.set(irp);
    transfer.base.set(base);
    transfer.calls.set(transfer.calls.get() + 1);
    (transfer.on_grant.get())(transfer);
    transfer.action.get()
}

/// AdapterListControl of every transfer.
///
/// # Safety
/// Called by the adapter; `context` is the transfer.
pub unsafe extern "C" fn list_control(
    _device: *mut _DEVICE_OBJECT,
    irp: *mut _IRP,
    list: PSCATTER_GATHER_LIST,
    context: PVOID,
) {
    // SAFETY: the transfer that asked waits for this call.
    let transfer = unsafe { &*context.cast::<Transfer<'_>>() };
    transfer.irp.set(irp);
    transfer.list.set(list);
    transfer.calls.set(transfer.calls.get() + 1);
    (transfer.on_grant.get())(transfer);
}

impl<'a> Transfer<'a> {
    /// The transfer of a METHOD_IN_DIRECT (to-device) or METHOD_OUT_DIRECT request.
    #[must_use]
    pub fn new(lab: &'a Lab, request: WDFREQUEST) -> Self {
        let to_device = lab.code_of(request) & 3 == METHOD_IN_DIRECT;
        Self::over(lab, lab.mdl_of(request), to_device)
    }

    /// The transfer of all of `mdl` (not its chain).
    #[must_use]
    pub fn over(lab: &'a Lab, mdl: PMDL, to_device: bool) -> Self {
        // SAFETY: a live MDL of the caller.
        let (va, length) = unsafe { (MmGetMdlVirtualAddress(mdl), MmGetMdlByteCount(mdl)) };
        Self {
            lab,
            adapter: lab.adapter.get(),
            mdl,
            va,
            length,
            to_device,
            registers: ddk::pages(va, length).min(lab.granted.get()),
            base: Cell::new(ptr::null_mut()),
            calls: Cell::new(0),
            action: Cell::new(_IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters),
            on_grant: Cell::new(|_| ()),
            irp: Cell::new(ptr::null_mut()),
            list: Cell::new(ptr::null_mut()),
        }
    }

    /// For the adapter's `Context`.
    #[must_use]
    pub fn context(&self) -> PVOID {
        ptr::from_ref(self).cast_mut().cast::<c_void>()
    }

    /// For the adapter's `WriteToDevice`.
    #[must_use]
    pub fn write(&self) -> BOOLEAN {
        self.to_device.into()
    }

    /// Address of a byte of the buffer, as an index.
    #[must_use]
    pub fn at(&self, offset: u32) -> PVOID {
        // CAST: 32 bits fit a 64-bit usize.
        self.va.wrapping_byte_add(offset as usize)
    }

    /// KeFlushIoBuffers of the MDL, before the transfer.
    pub fn flush_caches(&self) {
        // SAFETY: a live MDL.
        unsafe { ntddk::KeFlushIoBuffers(self.mdl, (!self.to_device).into(), ddk::YES) }
    }

    /// AllocateAdapterChannel at DISPATCH_LEVEL, without waiting.
    #[must_use]
    pub fn ask(&self) -> NTSTATUS {
        // SAFETY: the level is right, and this transfer outlives the allocation.
        unsafe {
            at_level(DISPATCH_LEVEL, || {
                self.adapter.AllocateAdapterChannel(
                    self.lab.fdo,
                    self.registers,
                    Some(control),
                    self.context(),
                )
            })
        }
    }

    /// Waits until the control routine has run.
    pub fn wait_for_grant(&self) -> bool {
        // SAFETY: at PASSIVE_LEVEL.
        let granted = unsafe { ddk::wait(1000, || self.calls.get() != 0) };
        self.lab.check(granted, "the control routine never ran")
    }

    /// AllocateAdapterChannel, and waits for AdapterControl.
    pub fn allocate(&self) -> bool {
        let status = self.ask();
        self.lab.check(NT_SUCCESS(status), "AllocateAdapterChannel failed") && self.wait_for_grant()
    }

    /// One MapTransfer: the logical address and the bytes mapped.
    #[must_use]
    pub fn map(&self, offset: u32, length: u32) -> (u64, u32) {
        let mut mapped = length;
        // SAFETY: the registers are this transfer's, the range lies in the MDL; the address is a
        // plain number in either view of the union.
        unsafe {
            let logical = self.adapter.MapTransfer(
                self.mdl,
                self.base.get(),
                self.at(offset),
                &raw mut mapped,
                self.write(),
            );
            // CAST: an address is unsigned.
            (logical.QuadPart as u64, mapped)
        }
    }

    /// FlushAdapterBuffers.
    pub fn flush(&self, offset: u32, length: u32) -> bool {
        // SAFETY: what was mapped, once.
        let flushed = unsafe {
            self.adapter.FlushAdapterBuffers(
                self.mdl,
                self.base.get(),
                self.at(offset),
                length,
                self.write(),
            )
        };
        flushed != 0
    }

    /// FreeMapRegisters at DISPATCH_LEVEL.
    pub fn free(&self) {
        // SAFETY: the registers are this transfer's, and nothing is mapped.
        unsafe {
            at_level(DISPATCH_LEVEL, || {
                self.adapter.FreeMapRegisters(self.base.get(), self.registers);
            });
        }
    }

    /// FreeAdapterChannel at DISPATCH_LEVEL, for a transfer whose control routine kept all.
    pub fn free_channel(&self) {
        // SAFETY: the channel is this transfer's, and nothing is mapped.
        unsafe { at_level(DISPATCH_LEVEL, || self.adapter.FreeAdapterChannel()) }
    }

    /// Runs the device on a logical range and waits until it is idle again.
    pub fn run_device(&self, logical: u64, length: u32) -> bool {
        self.lab.start_device(logical, length, self.to_device, false);
        self.lab.check(self.lab.wait_for_device(), "the device did not finish")
    }

    /// GetScatterGatherList at DISPATCH_LEVEL, without waiting.
    #[must_use]
    pub fn ask_for_list(&self) -> NTSTATUS {
        // SAFETY: the level is right, and this transfer outlives the call back.
        unsafe {
            at_level(DISPATCH_LEVEL, || {
                self.adapter.GetScatterGatherList(
                    self.lab.fdo,
                    self.mdl,
                    self.va,
                    self.length,
                    Some(list_control),
                    self.context(),
                    self.write(),
                )
            })
        }
    }

    /// GetScatterGatherList, and waits for AdapterListControl.
    pub fn get_list(&self) -> bool {
        let status = self.ask_for_list();
        self.lab.check(NT_SUCCESS(status), "GetScatterGatherList failed") && self.wait_for_grant()
    }

    /// PutScatterGatherList at DISPATCH_LEVEL.
    pub fn put_list(&self) {
        // SAFETY: the list is this transfer's, and the device is idle.
        unsafe {
            at_level(DISPATCH_LEVEL, || {
                self.adapter.PutScatterGatherList(self.list.get(), self.write());
            });
        }
    }

    /// The elements of the list: logical address and length.
    #[must_use]
    pub fn elements(&self) -> Vec<(u64, u32)> {
        // SAFETY: the list is live; it has as many elements as it says.
        unsafe {
            let list = self.list.get();
            // CAST: 32 bits fit a 64-bit usize.
            let count = (*list).NumberOfElements as usize;
            let first = (&raw const (*list).Elements).cast::<SCATTER_GATHER_ELEMENT>();
            // CAST: an address is unsigned.
            (0..count)
                .map(|index| first.add(index).read())
                .map(|element| (element.Address.QuadPart as u64, element.Length))
                .collect()
        }
    }

    /// Bytes that one operation may have at `offset`: what the registers cover, what `edu` takes,
    /// and no more than is left.
    fn piece(&self, offset: u32) -> u32 {
        // CAST: an offset in a page; the device's buffer is small.
        let into_page = (self.at(offset).addr() % PAGE_SIZE as usize) as u32;
        let covered = self.registers * PAGE_SIZE - into_page;
        (self.length - offset).min(covered).min(edu::SAFE_LENGTH as u32)
    }
}

/// A whole packet transfer, without a mistake.
#[must_use]
pub fn whole_packet(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    if !transfer.allocate() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut status = STATUS_SUCCESS;
    let mut done = 0;
    while done < transfer.length && NT_SUCCESS(status) {
        let (logical, mapped) = transfer.map(done, transfer.piece(done));
        transfer.run_device(logical, mapped);
        if !transfer.flush(done, mapped) {
            status = STATUS_UNSUCCESSFUL;
        }
        done += mapped;
    }
    transfer.free();
    if NT_SUCCESS(status) {
        lab.information.set(done.into());
    }
    status
}

/// A whole transfer by scatter/gather list, without a mistake.
#[must_use]
pub fn whole_list(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    if !transfer.get_list() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (logical, length) in transfer.elements() {
        // CAST: the device's buffer is small.
        transfer.run_device(logical, length.min(edu::SAFE_LENGTH as u32));
    }
    transfer.put_list();
    lab.information.set(transfer.length.into());
    STATUS_SUCCESS
}
