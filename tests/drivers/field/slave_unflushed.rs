//! DMA by the system's controller, by a driver that frees its channel when the device says that it is
//! done: FlushAdapterBuffers, its author thought, is for bus masters.

use std::cell::Cell;

use dmaproof_tests::lab::ddk::{ContextType, YES};
use testdev::slave;
use wdk_lite::*;

use super::frame::transfer::{Device, Transfer};
use super::frame::{Registers, context_type};

/// The driver, wrong or right.
pub type Field<const WRONG: bool> = Device<Own<WRONG>>;

static CONTEXT: ContextType = context_type::<Field<true>>(&raw const CONTEXT);

/// What the driver keeps of its own.
pub struct Own<const WRONG: bool> {
    /// The channel that PnP gave.
    channel: Cell<u32>,
}

// SAFETY: zeros are a valid value of every member; the context is a `Field`, whichever it is.
unsafe impl<const WRONG: bool> Transfer for Own<WRONG> {
    const CONTEXT: &'static ContextType = &CONTEXT;
    const INTERFACE: GUID = super::interface(9);
    const LONGEST: u64 = PAGE_SIZE as u64;
    const BLOCK: u64 = 1;
    const IRQ_STATUS: u64 = slave::IRQ_STATUS;
    const IRQ_ACK: u64 = slave::IRQ_ACK;

    /// Eight bits wide, on the channel that PnP gave.
    fn description(&self) -> DEVICE_DESCRIPTION {
        DEVICE_DESCRIPTION {
            Version: DEVICE_DESCRIPTION_VERSION2,
            DemandMode: YES,
            InterfaceType: _INTERFACE_TYPE::Isa,
            DmaChannel: self.channel.get(),
            DmaWidth: _DMA_WIDTH::Width8Bits,
            MaximumLength: PAGE_SIZE,
            ..DEVICE_DESCRIPTION::default()
        }
    }

    fn take(&self, descriptor: &CM_PARTIAL_RESOURCE_DESCRIPTOR) {
        if u32::from(descriptor.Type) == CmResourceTypeDma {
            let third = u32::from(descriptor.Flags) & CM_RESOURCE_DMA_V3 != 0;
            // SAFETY: the members of the union that the type says are valid; both are integers.
            let (old, new) = unsafe { (descriptor.u.Dma.Channel, descriptor.u.DmaV3.Channel) };
            self.channel.set(if third { new } else { old });
        }
    }

    unsafe fn begin(device: &Device<Self>) -> NTSTATUS {
        // SAFETY: the request's MDL.
        unsafe {
            let read_operation = !device.to_device.get();
            ntddk::KeFlushIoBuffers(device.mdl.get(), read_operation.into(), YES);
            device.allocate_channel()
        }
    }

    /// The whole request is one operation, on the channel that the driver keeps.
    unsafe fn control(device: &Device<Self>) -> IO_ALLOCATION_ACTION {
        // The controller knows the address; the driver has no use for it.
        // SAFETY: the map registers are the request's.
        let (_, length) = unsafe { device.map() };
        let direction = if device.to_device.get() { 0 } else { slave::COMMAND_FROM_DEVICE };
        let command = slave::COMMAND_START | slave::COMMAND_IRQ | direction;
        device.registers.write(slave::OFFSET, 0);
        device.registers.write(slave::COUNT, length);
        device.registers.write(slave::COMMAND, command);
        _IO_ALLOCATION_ACTION::KeepObject
    }

    fn is_running(registers: &Registers) -> bool {
        registers.read(slave::STATUS) & slave::STATUS_BUSY != 0
    }

    unsafe fn done(device: &Device<Self>) {
        // SAFETY: the device is done with the request, which is the driver's.
        unsafe {
            let flushed = WRONG || device.flush_adapter();
            device.adapter.get().FreeAdapterChannel();
            device.complete(flushed);
        }
    }
}
