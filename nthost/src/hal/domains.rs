//! The adapter itself: facts about it, DMA domains, and PutDmaAdapter.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::adapter::{Adapter, Channel, State};
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::verifier::{CallStack, Violation, broken};

impl State {
    /// What the driver has to end before the put, with its number in Driver Verifier's code.
    fn left(&self) -> Vec<(u64, usize, &'static str, Option<CallStack>)> {
        let lists: Vec<_> = self.lists.iter().filter(|list| list.live).collect();
        let listed = |grant: usize| lists.iter().any(|list| list.grant == grant);
        let held = match self.channel {
            Channel::Held { grant } | Channel::Running { grant, .. } => Some(grant),
            Channel::Free => None,
        };
        let grants: Vec<_> = self
            .grants
            .iter()
            .enumerate()
            .filter(|&(at, grant)| grant.live && !listed(at) && held != Some(at))
            .map(|(_, grant)| grant)
            .collect();
        // CAST: counts of registers.
        let registers = grants.iter().map(|grant| grant.count as usize).sum();
        let waiting = self.waiting.front().map(|w| w.origin);
        let channel = held.map(|at| self.grants[at].origin).or(waiting);
        let built = lists.len() + self.waiting.iter().filter(|w| w.build.is_some()).count();
        let commons = self.commons.iter().map(|common| common.origin()).next();
        [
            (0x07, self.commons.len() + self.vectors.len(), "common buffer(s)", commons),
            (0x0A, built, "scatter/gather list(s)", lists.first().map(|l| l.origin).or(waiting)),
            (0x08, self.channels(), "adapter channel(s)", channel),
            (0x09, registers, "map register(s)", grants.first().map(|grant| grant.origin)),
        ]
        .into_iter()
        .filter(|&(_, count, ..)| count != 0)
        .collect()
    }

    /// What is outstanding, in words.
    pub(super) fn outstanding(&self) -> String {
        let words = self.left().into_iter().map(|(_, count, what, _)| format!("{count} {what}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Ends an adapter (wdm, PPUT_DMA_ADAPTER): once (DMA-19), with nothing outstanding (DMA-18).
pub(crate) unsafe fn PutDmaAdapter(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mut state = adapter.state.lock();
    if let Some((code, count, what, origin)) = state.left().into_iter().next() {
        let message = format!("PutDmaAdapter was called with {count} {what} outstanding");
        // CAST: an address and a count.
        let code = [code, DmaAdapter.addr() as u64, count as u64, 0];
        let origin = origin.unwrap_or(adapter.origin);
        return Err(broken(RuleId::Dma18, message).code(0xE6, code).from(origin));
    }
    state.released = Some(context::stack());
    adapter.is_put.store(true, Ordering::Release);
    state.file.free_bounce_pages();
    state.buffers.clear();
    Ok(())
}

/// Tells the alignment of DMA buffers (DMA-15; wdm, PGET_DMA_ALIGNMENT): whole cache lines where
/// the HAL does not bounce the lines that a transfer shares with its neighbours, else any.
pub(crate) unsafe fn GetDmaAlignment(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
) -> Result<ULONG, Violation> {
    kernel.hal.adapter(kernel, DmaAdapter).map(|adapter| adapter.alignment)
}

/// Tells facts about the adapter (DMA-16; wdm, PGET_DMA_ADAPTER_INFO). STATUS_NOT_SUPPORTED for
/// another version of the structure.
pub(crate) unsafe fn GetDmaAdapterInfo(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    AdapterInfo: PDMA_ADAPTER_INFO,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    if AdapterInfo.is_null() {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: not null, and the page promises a valid structure.
    let version = unsafe { (*AdapterInfo).Version };
    if version != DMA_ADAPTER_INFO_VERSION1 {
        return Ok(STATUS_NOT_SUPPORTED);
    }
    let facts = DMA_ADAPTER_INFO_V1 {
        ReadDmaCounterAvailable: adapter.traits.slave.is_some().into(),
        ScatterGatherLimit: if adapter.traits.scatter_gather { adapter.granted } else { 1 },
        DmaAddressWidth: adapter.traits.bits,
        Flags: 0,
        MinimumTransferUnit: 1,
    };
    // SAFETY: as above.
    unsafe { (*AdapterInfo).V1 = facts };
    Ok(STATUS_SUCCESS)
}

/// The domain of an adapter's device.
pub(super) fn domain_of(adapter: &Adapter) -> HANDLE {
    std::ptr::without_provenance_mut(0xD0_0000 + adapter.slot * 16)
}

/// Tells the device's DMA domain (DMA-71; wdm, PGET_DMA_DOMAIN).
pub(crate) unsafe fn GetDmaDomain(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
) -> Result<HANDLE, Violation> {
    kernel.hal.adapter(kernel, DmaAdapter).map(domain_of)
}

/// Joins a DMA domain (DMA-71; wdm, PJOIN_DMA_DOMAIN). Each device has one of its own here and
/// joins no other: STATUS_NOT_SUPPORTED, or STATUS_SUCCESS for its own.
pub(crate) unsafe fn JoinDmaDomain(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DomainHandle: HANDLE,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let own = domain_of(adapter) == DomainHandle;
    let known = own || kernel.hal.any_adapter(|other| domain_of(other) == DomainHandle);
    if !known {
        let message = "JoinDmaDomain was given a handle that GetDmaDomain did not return";
        return Err(broken(RuleId::Dma71, message));
    }
    let joined = adapter.joined.swap(own, Ordering::Relaxed) || own;
    Ok(if joined && own { STATUS_SUCCESS } else { STATUS_NOT_SUPPORTED })
}

/// Leaves the DMA domain that was joined (DMA-71; wdm, PLEAVE_DMA_DOMAIN).
pub(crate) unsafe fn LeaveDmaDomain(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let joined = adapter.joined.swap(false, Ordering::Relaxed);
    Ok(if joined { STATUS_SUCCESS } else { STATUS_INVALID_DEVICE_STATE })
}

/// Flushes what an MDL describes (wdm, PFLUSH_DMA_BUFFER): nothing to do on coherent machines.
pub(crate) unsafe fn FlushDmaBuffer(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    _ReadOperation: BOOLEAN,
) -> Result<NTSTATUS, Violation> {
    kernel.hal.adapter(kernel, DmaAdapter)?;
    kernel.memory.usable(Mdl, "FlushDmaBuffer").map(|_| STATUS_SUCCESS)
}
