//! Transfer contexts of version 3, and the cancelling of allocations by them (DMA-59, DMA-68).

// UNSAFETY: transfer contexts are memory of the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::waiting::Device;
use crate::RuleId;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// First word of an initialised transfer context: not used yet, used, or cancelled before use.
const FRESH: u64 = 0x4358_5446_5245_5348;
const USED: u64 = 0x4358_5455_5345_4421;
const CANCELLED: u64 = 0x4358_5443_414E_434C;
/// The words of a context behind the first.
const CONTEXT_FILL: u64 = 0x4358_5458_4358_5458;

/// Where a transfer context's first word is.
fn first_word(context: PVOID) -> *mut u64 {
    context.cast()
}

/// Initialises a transfer context (DMA-59; wdm, PINITIALIZE_DMA_TRANSFER_CONTEXT): 128 bytes of
/// the driver's, not those of an outstanding allocation.
pub(crate) unsafe fn InitializeDmaTransferContext(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DmaTransferContext: PVOID,
) -> Result<NTSTATUS, Violation> {
    kernel.hal.adapter(kernel, DmaAdapter)?;
    if DmaTransferContext.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    kernel.hal.check_context_unused(DmaTransferContext, "InitializeDmaTransferContext")?;
    let words = DMA_TRANSFER_CONTEXT_SIZE_V1 as usize / 8;
    for word in 0..words {
        let value = if word == 0 { FRESH } else { CONTEXT_FILL };
        let place = first_word(DmaTransferContext).wrapping_add(word);
        // SAFETY: the page promises a buffer of DMA_TRANSFER_CONTEXT_SIZE_V1 bytes.
        unsafe { place.write_unaligned(value) };
    }
    Ok(STATUS_SUCCESS)
}

impl super::Hal {
    /// DMA-59: no outstanding allocation uses this context.
    fn check_context_unused(&self, context: PVOID, call: &str) -> Result<(), Violation> {
        if !self.any_adapter(|adapter| adapter.state.lock().uses_context(context.addr())) {
            return Ok(());
        }
        let message = format!("{call} was given the transfer context of an outstanding allocation");
        Err(broken(RuleId::Dma59, message))
    }

    /// Begins the use of a transfer context; `false` if it was cancelled before.
    pub(super) fn use_context(&self, context: PVOID, call: &str) -> Result<bool, Violation> {
        self.check_context_unused(context, call)?;
        // SAFETY: the page promises an initialised context of 128 bytes.
        let state = unsafe { first_word(context).read_unaligned() };
        match state {
            FRESH => {}
            CANCELLED => return Ok(false),
            _ => {
                let what = if state == USED { "not initialised anew" } else { "not initialised" };
                let message = format!("{call} was given a transfer context that was {what}");
                return Err(broken(RuleId::Dma59, message));
            }
        }
        // SAFETY: as above.
        unsafe { first_word(context).write_unaligned(USED) };
        Ok(true)
    }
}

/// Withdraws an allocation that waits (DMA-68; wdm, PCANCEL_ADAPTER_CHANNEL): TRUE, and its routine
/// never runs; FALSE if it ran or will. A context that was not used yet cancels the allocation it
/// will be used for.
pub(crate) unsafe fn CancelAdapterChannel(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    DmaTransferContext: PVOID,
) -> Result<BOOLEAN, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if DmaTransferContext.is_null() {
        return Err(broken(RuleId::Dma68, "CancelAdapterChannel was given no transfer context"));
    }
    let mut state = adapter.state.lock();
    let found = state.waiting.iter().position(|w| w.transfer == DmaTransferContext.addr());
    if let Some(at) = found {
        if state.waiting[at].device != Device(DeviceObject) {
            let message =
                "CancelAdapterChannel was given another device object than the allocation";
            return Err(broken(RuleId::Dma68, message).from(state.waiting[at].origin));
        }
        let withdrawn = state.waiting.remove(at);
        if let Some(build) = withdrawn.and_then(|w| w.build) {
            build.mdl.end_build();
        }
        state.kick(kernel, adapter);
        return Ok(1);
    }
    // SAFETY: the page promises an initialised context of 128 bytes.
    if unsafe { first_word(DmaTransferContext).read_unaligned() } == FRESH {
        // SAFETY: as above.
        unsafe { first_word(DmaTransferContext).write_unaligned(CANCELLED) };
        return Ok(1);
    }
    Ok(0)
}
