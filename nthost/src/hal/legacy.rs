//! The DMA routines by NT's names, for old images: each is today's routine.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

pub(crate) use super::operations::{
    AllocateAdapterChannel as IoAllocateAdapterChannel,
    AllocateCommonBuffer as HalAllocateCommonBuffer, FlushAdapterBuffers as IoFlushAdapterBuffers,
    FreeAdapterChannel as IoFreeAdapterChannel, FreeCommonBuffer as HalFreeCommonBuffer,
    FreeMapRegisters as IoFreeMapRegisters, MapTransfer as IoMapTransfer,
    ReadDmaCounter as HalReadDmaCounter,
};

use wdk_lite::*;

use crate::RuleId;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// Made adapters before there was plug and play; it names no device. Obsolete (DMA-14).
pub(crate) unsafe fn HalGetAdapter(
    _kernel: &Kernel,
    _DeviceDescription: PDEVICE_DESCRIPTION,
    _NumberOfMapRegisters: PULONG,
) -> Result<PDMA_ADAPTER, Violation> {
    let message = "HalGetAdapter is obsolete; IoGetDmaAdapter takes its place";
    Err(broken(RuleId::Dma14, message).code(0xE6, [0x1E, 0, 0, 0]))
}
