//! A transfer by system DMA, in single, correct steps, and what the lab says about the slave device.

use std::ptr;

use testdev::slave;
use wdk_lite::*;

use super::ddk::{self, YES};
use super::{Lab, Script, Transfer};

/// Largest operation of the lab's slave adapters, bytes.
pub const SLAVE_MAXIMUM: u32 = 0x4000;

/// What the lab says about the slave device in this version of the description.
#[must_use]
pub fn slave_description(lab: &Lab, version: u32) -> DEVICE_DESCRIPTION {
    let (channel, line) = lab.channel.get().unwrap_or((u32::MAX, u32::MAX));
    let third = version == DEVICE_DESCRIPTION_VERSION3;
    // CAST: the signed view of an address.
    let port = (lab.window.get() + slave::DATA) as i64;
    DEVICE_DESCRIPTION {
        Version: version,
        InterfaceType: if third { _INTERFACE_TYPE::ACPIBus } else { _INTERFACE_TYPE::Isa },
        DemandMode: (version == DEVICE_DESCRIPTION_VERSION2).into(),
        DmaChannel: channel,
        DmaRequestLine: if third { line } else { 0 },
        DeviceAddress: PHYSICAL_ADDRESS { QuadPart: if third { port } else { 0 } },
        DmaWidth: _DMA_WIDTH::Width8Bits,
        MaximumLength: SLAVE_MAXIMUM,
        ..DEVICE_DESCRIPTION::default()
    }
}

impl Script {
    /// A driver of the slave device that breaks no rule, with an adapter of version 2.
    #[must_use]
    pub const fn slave() -> Self {
        Self {
            prepare: |lab| lab.take(&slave_description(lab, 2)),
            d0_entry: |lab| {
                lab.write(slave::IRQ_ACK, u32::MAX);
                STATUS_SUCCESS
            },
            isr: |lab| {
                let causes = lab.read(slave::IRQ_STATUS);
                if causes == 0 || causes == u32::MAX {
                    return ddk::NO;
                }
                lab.write(slave::IRQ_ACK, causes);
                lab.interrupts.set(lab.interrupts.get() + 1);
                YES
            },
            ..Self::correct()
        }
    }

    /// As [`Script::slave`], with an adapter of version 3.
    #[must_use]
    pub const fn slave3() -> Self {
        Self { prepare: |lab| lab.take(&slave_description(lab, 3)), ..Self::slave() }
    }
}

impl Lab {
    /// Starts the slave device: `length` bytes from `offset` of its memory on.
    pub fn start_slave(&self, offset: u32, length: u32, to_device: bool) {
        let direction = if to_device { 0 } else { slave::COMMAND_FROM_DEVICE };
        self.write(slave::OFFSET, offset);
        self.write(slave::COUNT, length);
        self.write(slave::COMMAND, slave::COMMAND_START | slave::COMMAND_IRQ | direction);
    }

    /// Whether a command of the slave device runs.
    #[must_use]
    pub fn slave_runs(&self) -> bool {
        self.read(slave::STATUS) == slave::STATUS_BUSY
    }

    /// Waits, bounded, until the slave device is idle. PASSIVE_LEVEL.
    pub fn wait_for_slave(&self) -> bool {
        // SAFETY: at PASSIVE_LEVEL by contract.
        let idle = unsafe { ddk::wait(1000, || !self.slave_runs()) };
        self.check(idle, "the slave device did not finish")
    }
}

/// A transfer by system DMA: a [`Transfer`] whose channel is kept.
#[derive(Debug)]
pub struct SlaveTransfer<'a>(pub Transfer<'a>);

impl<'a> SlaveTransfer<'a> {
    /// The transfer of a METHOD_IN_DIRECT (to-device) or METHOD_OUT_DIRECT request.
    #[must_use]
    pub fn new(lab: &'a Lab, request: WDFREQUEST) -> Self {
        let transfer = Transfer::new(lab, request);
        transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
        Self(transfer)
    }

    /// KeFlushIoBuffers and the channel.
    pub fn begin(&self) -> bool {
        self.0.flush_caches();
        self.0.allocate()
    }

    /// MapTransfer, which sets the controller up; whether all was mapped, as it has to be.
    pub fn program(&self, offset: u32, length: u32) -> bool {
        let (_, mapped) = self.0.map(offset, length);
        self.0.lab.check(mapped == length, "MapTransfer for system DMA shortened its length")
    }

    /// Runs the device on this part of the buffer and waits for it.
    pub fn run(&self, offset: u32, length: u32) -> bool {
        self.0.lab.start_slave(offset, length, self.0.to_device);
        self.0.lab.wait_for_slave()
    }

    /// ReadDmaCounter.
    #[must_use]
    pub fn counter(&self) -> u32 {
        // SAFETY: the channel is this transfer's.
        unsafe { self.0.adapter.ReadDmaCounter() }
    }

    /// A byte of the buffer, through its system address.
    #[must_use]
    pub fn byte(&self, offset: usize) -> u8 {
        // SAFETY: a locked buffer, mapped into system space, and an offset inside.
        unsafe {
            let priority = _MM_PAGE_PRIORITY::NormalPagePriority as ULONG | MdlMappingNoExecute;
            let address = ddk::MmGetSystemAddressForMdlSafe(self.0.mdl, priority);
            address.cast::<u8>().wrapping_add(offset).read()
        }
    }
}

/// A whole transfer by system DMA, in pieces, without a mistake.
#[must_use]
pub fn whole_slave(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    const PIECE: u32 = 1001;
    let transfer = SlaveTransfer::new(lab, request);
    if !transfer.begin() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut status = STATUS_SUCCESS;
    let mut done = 0;
    while done < transfer.0.length && NT_SUCCESS(status) {
        let length = PIECE.min(transfer.0.length - done);
        transfer.program(done, length);
        lab.check(transfer.counter() == length, "the counter does not begin with the length");
        transfer.run(done, length);
        lab.check(transfer.counter() == 0, "the counter does not end with 0");
        if !transfer.0.flush(done, length) {
            status = STATUS_UNSUCCESSFUL;
        }
        done += length;
    }
    transfer.0.free_channel();
    if NT_SUCCESS(status) {
        lab.information.set(done.into());
    }
    status
}

/// A whole transfer by system DMA with version 3, told of its end by the controller.
#[must_use]
pub fn whole_slave3(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = super::Transfer3::new(lab, request);
    transfer.action.set(_IO_ALLOCATION_ACTION::KeepObject);
    transfer.begin();
    if !transfer.allocate() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    lab.scratch[0].set(0);
    let mut mapped = transfer.length;
    let status = map_slave3(&transfer, &mut mapped, ptr::null_mut(), 0);
    if NT_SUCCESS(status) {
        lab.start_slave(0, mapped, transfer.to_device);
        // SAFETY: at PASSIVE_LEVEL.
        let told = unsafe { ddk::wait(1000, || lab.scratch[0].get() != 0) };
        lab.check(told, "the completion routine never ran");
        lab.check(lab.scratch[1].get() == 0, "the transfer did not complete");
        lab.check(NT_SUCCESS(transfer.flush(0, mapped)), "FlushAdapterBuffersEx failed");
    }
    // SAFETY: the channel is this transfer's.
    unsafe { ddk::at_level(DISPATCH_LEVEL, || transfer.adapter.FreeAdapterChannel()) };
    lab.information.set(mapped.into());
    status
}

/// MapTransferEx of the whole buffer with [`completed`] as completion routine, and this list buffer.
#[must_use]
pub fn map_slave3(
    transfer: &super::Transfer3<'_>,
    length: &mut u32,
    list: PSCATTER_GATHER_LIST,
    bytes: u32,
) -> NTSTATUS {
    // SAFETY: the registers are this transfer's, the range lies in the chain; the lab outlives the
    // transfer.
    unsafe {
        transfer.adapter.MapTransferEx(
            transfer.mdl,
            transfer.base.get(),
            0,
            0,
            length,
            transfer.write(),
            list,
            bytes,
            Some(completed),
            ptr::from_ref(transfer.lab).cast_mut().cast(),
        )
    }
}

/// DmaCompletionRoutine: counts its calls and keeps the status.
///
/// # Safety
/// Called by the system with the lab as context.
pub unsafe extern "C" fn completed(
    _adapter: PDMA_ADAPTER,
    device: PDEVICE_OBJECT,
    context: PVOID,
    status: DMA_COMPLETION_STATUS,
) {
    // SAFETY: the lab, by the caller's promise.
    let lab = unsafe { &*context.cast::<Lab>() };
    // SAFETY: callable at any level.
    let level = unsafe { ntddk::KeGetCurrentIrql() };
    lab.check(u32::from(level) == DISPATCH_LEVEL, "DmaCompletionRoutine runs at DISPATCH_LEVEL");
    lab.check(device == lab.fdo, "DmaCompletionRoutine was given another device object");
    lab.scratch[0].set(lab.scratch[0].get() + 1);
    // CAST: a small enumeration.
    lab.scratch[1].set(status as u64);
}
