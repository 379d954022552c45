//! A transfer of a direct request on a version 3 adapter, in single, correct steps.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use testdev::edu;
use wdk_lite::*;

use super::ddk::{self, MmGetMdlByteCount, at_level};
use super::{Adapter, Lab};

/// Bytes of the list buffer of a [`Transfer3`].
const LIST_BYTES: u32 = 4096;

/// A transfer; it stays where it is while the adapter knows it. Context and list buffer are
/// nonpaged pool, freed when it is dropped.
#[derive(Debug)]
pub struct Transfer3<'a> {
    /// The device's lab.
    pub lab: &'a Lab,
    /// The adapter it goes through.
    pub adapter: Adapter,
    /// The first MDL of the buffer.
    pub mdl: PMDL,
    /// Bytes, of the first MDL.
    pub length: u32,
    /// Direction.
    pub to_device: bool,
    /// The DMA transfer context.
    pub context: PVOID,
    /// The buffer for lists, and its length in bytes.
    pub buffer: PSCATTER_GATHER_LIST,
    /// See above.
    pub buffer_bytes: u32,
    /// Map registers to ask for, once [`Transfer3::begin`] has asked for the number.
    pub registers: Cell<u32>,
    /// What the control routine was given.
    pub base: Cell<PVOID>,
    /// How often the control routine ran.
    pub calls: Cell<u32>,
    /// What the control routine returns.
    pub action: Cell<IO_ALLOCATION_ACTION>,
}

/// AdapterControl of every version 3 transfer.
///
/// # Safety
/// Called by the adapter; `context` is the transfer.
pub unsafe extern "C" fn control3(
    _device: *mut _DEVICE_OBJECT,
    _irp: *mut _IRP,
    base: PVOID,
    context: PVOID,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: the transfer that asked waits for this call.
    let transfer = unsafe { &*context.cast::<Transfer3<'_>>() };
    transfer.base.set(base);
    transfer.calls.set(transfer.calls.get() + 1);
    transfer.action.get()
}

impl<'a> Transfer3<'a> {
    /// The transfer of a METHOD_IN_DIRECT (to-device) or METHOD_OUT_DIRECT request.
    #[must_use]
    pub fn new(lab: &'a Lab, request: WDFREQUEST) -> Self {
        let mdl = lab.mdl_of(request);
        Self {
            lab,
            adapter: lab.adapter.get(),
            mdl,
            // SAFETY: the request's MDL is live.
            length: unsafe { MmGetMdlByteCount(mdl) },
            to_device: lab.code_of(request) & 3 == METHOD_IN_DIRECT,
            context: lab.pool(DMA_TRANSFER_CONTEXT_SIZE_V1.into()),
            buffer: lab.pool(LIST_BYTES.into()).cast(),
            buffer_bytes: LIST_BYTES,
            registers: Cell::new(0),
            base: Cell::new(ptr::null_mut()),
            calls: Cell::new(0),
            action: Cell::new(_IO_ALLOCATION_ACTION::DeallocateObjectKeepRegisters),
        }
    }

    /// For the adapter's `ExecutionContext`.
    #[must_use]
    pub fn this(&self) -> PVOID {
        ptr::from_ref(self).cast_mut().cast::<c_void>()
    }

    /// For the adapter's `WriteToDevice`.
    #[must_use]
    pub fn write(&self) -> BOOLEAN {
        self.to_device.into()
    }

    /// InitializeDmaTransferContext.
    #[must_use]
    pub fn initialize(&self) -> NTSTATUS {
        // SAFETY: the context is pool of the right size.
        unsafe { self.adapter.InitializeDmaTransferContext(self.context) }
    }

    /// GetDmaTransferInfo for the whole MDL: the map registers needed.
    #[must_use]
    pub fn needed(&self) -> u32 {
        let mut info = DMA_TRANSFER_INFO {
            Version: DMA_TRANSFER_INFO_VERSION1,
            ..DMA_TRANSFER_INFO::default()
        };
        // SAFETY: the MDL is live, the structure lives here and says which view is valid.
        unsafe {
            let status = self.adapter.GetDmaTransferInfo(
                self.mdl,
                0,
                self.length,
                self.write(),
                &raw mut info,
            );
            self.lab.check(NT_SUCCESS(status), "GetDmaTransferInfo failed");
            info.__bindgen_anon_1.V1.MapRegisterCount
        }
    }

    /// InitializeDmaTransferContext and GetDmaTransferInfo.
    pub fn begin(&self) {
        self.lab.check(NT_SUCCESS(self.initialize()), "InitializeDmaTransferContext failed");
        self.registers.set(self.needed().min(self.lab.granted.get()));
    }

    /// AllocateAdapterChannelEx with these flags, routine and base, at DISPATCH_LEVEL.
    #[must_use]
    pub fn ask(&self, flags: u32, routine: PDRIVER_CONTROL, base: *mut PVOID) -> NTSTATUS {
        // SAFETY: the level is right, and this transfer outlives the allocation.
        unsafe {
            at_level(DISPATCH_LEVEL, || {
                self.adapter.AllocateAdapterChannelEx(
                    self.lab.fdo,
                    self.context,
                    self.registers.get(),
                    flags,
                    routine,
                    self.this(),
                    base,
                )
            })
        }
    }

    /// An asynchronous allocation, and waits for the control routine.
    pub fn allocate(&self) -> bool {
        let status = self.ask(0, Some(control3), ptr::null_mut());
        // SAFETY: at PASSIVE_LEVEL.
        self.lab.check(NT_SUCCESS(status), "AllocateAdapterChannelEx failed")
            && self.lab.check(
                unsafe { ddk::wait(1000, || self.calls.get() != 0) },
                "the control routine never ran",
            )
    }

    /// A synchronous allocation without a routine.
    pub fn allocate_synchronously(&self) -> bool {
        let status = self.ask(DMA_SYNCHRONOUS_CALLBACK, None, self.base.as_ptr());
        self.lab.check(NT_SUCCESS(status), "the synchronous AllocateAdapterChannelEx failed")
    }

    /// MapTransferEx: the status and the bytes mapped.
    #[must_use]
    pub fn map(&self, offset: u32, length: u32) -> (NTSTATUS, u32) {
        let mut mapped = length;
        // SAFETY: the registers are this transfer's, the range lies in the chain.
        let status = unsafe {
            self.adapter.MapTransferEx(
                self.mdl,
                self.base.get(),
                offset.into(),
                0,
                &raw mut mapped,
                self.write(),
                self.buffer,
                self.buffer_bytes,
                None,
                ptr::null_mut(),
            )
        };
        (status, mapped)
    }

    /// The elements of the list buffer.
    #[must_use]
    pub fn elements(&self) -> Vec<(u64, u32)> {
        // SAFETY: a successful MapTransferEx filled the buffer.
        unsafe {
            // CAST: 32 bits fit a 64-bit usize; an address is unsigned.
            let count = (*self.buffer).NumberOfElements as usize;
            let first = (&raw const (*self.buffer).Elements).cast::<SCATTER_GATHER_ELEMENT>();
            (0..count)
                .map(|index| first.add(index).read())
                .map(|element| (element.Address.QuadPart as u64, element.Length))
                .collect()
        }
    }

    /// FlushAdapterBuffersEx.
    pub fn flush(&self, offset: u32, length: u32) -> NTSTATUS {
        // SAFETY: what was mapped, once.
        unsafe {
            self.adapter.FlushAdapterBuffersEx(
                self.mdl,
                self.base.get(),
                offset.into(),
                length,
                self.write(),
            )
        }
    }

    /// FreeMapRegisters at DISPATCH_LEVEL.
    pub fn free(&self) {
        // SAFETY: the registers are this transfer's, and nothing is mapped.
        unsafe {
            at_level(DISPATCH_LEVEL, || {
                self.adapter.FreeMapRegisters(self.base.get(), self.registers.get());
            });
        }
    }

    /// FreeAdapterObject(DeallocateObject), which ends a synchronous allocation.
    pub fn free_object(&self) {
        // SAFETY: the allocation is this transfer's, and nothing is mapped.
        unsafe { self.adapter.FreeAdapterObject(_IO_ALLOCATION_ACTION::DeallocateObject) }
    }
}

impl Drop for Transfer3<'_> {
    fn drop(&mut self) {
        self.lab.free(self.context);
        self.lab.free(self.buffer.cast());
    }
}

/// A whole version 3 transfer, without a mistake.
#[must_use]
pub fn whole_version3(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    if !transfer.allocate() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut status = STATUS_SUCCESS;
    let mut done = 0;
    while done < transfer.length && NT_SUCCESS(status) {
        let (result, mapped) = transfer.map(done, transfer.length - done);
        status = result;
        if !NT_SUCCESS(status) {
            break;
        }
        for (logical, length) in transfer.elements() {
            // CAST: the device's buffer is small.
            lab.start_device(
                logical,
                length.min(edu::SAFE_LENGTH as u32),
                transfer.to_device,
                false,
            );
            lab.check(lab.wait_for_device(), "the device did not finish");
        }
        status = transfer.flush(done, mapped);
        done += mapped;
    }
    transfer.free();
    if NT_SUCCESS(status) {
        lab.information.set(done.into());
    }
    status
}
