//! Vectors of common buffers (DMA-32; bug check 0x1DC).

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use wdk_lite::*;

use super::adapter::State;
use super::common::allocate_element;
use super::{logical, number};
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::verifier::{CallStack, Violation, broken};

/// A vector: the CPU address of each element, zero once it is freed.
#[derive(Debug)]
pub(super) struct Vector {
    pub serial: u64,
    elements: Vec<usize>,
    origin: CallStack,
}

/// The vector as the driver names it.
fn handle_of(serial: u64) -> PVOID {
    // CAST: a small number.
    std::ptr::without_provenance_mut(0x56EC_0000_0000_0000 | serial as usize)
}

impl State {
    fn find_vector(&self, vector: PVOID) -> Result<usize, Violation> {
        let at = self.vectors.iter().position(|v| handle_of(v.serial) == vector);
        at.ok_or_else(|| {
            broken(RuleId::Dma32, "a common buffer vector was named that does not exist")
        })
    }

    /// Address of a live element.
    fn element(&self, vector: usize, index: ULONG) -> Result<usize, Violation> {
        let vector = &self.vectors[vector];
        // CAST: an index.
        let (kind, what) = match vector.elements.get(index as usize) {
            None => (3, "out of bounds"),
            Some(0) => (4, "freed"),
            Some(&host) => return Ok(host),
        };
        let message = format!("index {index} of a common buffer vector is {what}");
        let violation = broken(RuleId::Dma32, message).from(vector.origin);
        Err(violation.code(0x1DC, [kind, 0, index.into(), 0]))
    }
}

/// Allocates a vector of common buffers of one size (wdm, PALLOCATE_COMMON_BUFFER_VECTOR).
pub(crate) unsafe fn AllocateCommonBufferVector(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    LowAddress: PHYSICAL_ADDRESS,
    HighAddress: PHYSICAL_ADDRESS,
    CacheType: MEMORY_CACHING_TYPE,
    _IdealNode: ULONG,
    _Flags: ULONG,
    NumberOfElements: ULONG,
    SizeOfElements: ULONGLONG,
    VectorOut: *mut PVOID,
) -> Result<NTSTATUS, Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let size = u32::try_from(SizeOfElements).unwrap_or(0);
    if VectorOut.is_null() || NumberOfElements == 0 || size == 0 {
        return Ok(STATUS_INVALID_PARAMETER);
    }
    let cached = CacheType == _MEMORY_CACHING_TYPE::MmCached;
    let bounds = (number(LowAddress), number(HighAddress));
    let mut elements = Vec::new();
    for _ in 0..NumberOfElements {
        // CAST: 32 bits.
        let made = allocate_element(kernel, adapter, size as usize, cached, bounds);
        let Some((memory, _)) = made else {
            let mut state = adapter.state.lock();
            elements.into_iter().try_for_each(|host| state.free_element(kernel, host))?;
            return Ok(STATUS_INSUFFICIENT_RESOURCES);
        };
        elements.push(memory.addr());
    }
    let serial = kernel.hal.next_serial();
    let vector = Vector { serial, elements, origin: context::stack() };
    adapter.state.lock().vectors.push(vector);
    // SAFETY: not null, and the page promises a valid pointer.
    unsafe { VectorOut.write(handle_of(serial)) };
    Ok(STATUS_SUCCESS)
}

impl State {
    fn free_element(&mut self, kernel: &Kernel, host: usize) -> Result<(), Violation> {
        match self.commons.iter().position(|common| common.host == host) {
            Some(at) => self.free_common(kernel, at, context::stack()),
            None => Ok(()),
        }
    }
}

/// Tells an element's addresses (wdm, PGET_COMMON_BUFFER_FROM_VECTOR_BY_INDEX): one that exists
/// and was not freed.
pub(crate) unsafe fn GetCommonBufferFromVectorByIndex(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Vector: PVOID,
    Index: ULONG,
    VirtualAddressOut: *mut PVOID,
    LogicalAddressOut: PPHYSICAL_ADDRESS,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let state = adapter.state.lock();
    let vector = state.find_vector(Vector)?;
    let host = state.element(vector, Index)?;
    let Some(common) = state.commons.iter().find(|common| common.host == host) else {
        let message = "an element of a common buffer vector was freed with FreeCommonBuffer";
        return Err(broken(RuleId::Dma32, message).code(0x1DC, [4, 0, Index.into(), 0]));
    };
    if VirtualAddressOut.is_null() || LogicalAddressOut.is_null() {
        let message = "GetCommonBufferFromVectorByIndex was given no place for the addresses";
        return Err(broken(RuleId::Dma32, message));
    }
    // SAFETY: not null, and the page promises a valid pointer.
    unsafe { VirtualAddressOut.write(std::ptr::with_exposed_provenance_mut(host)) };
    // SAFETY: as above.
    unsafe { LogicalAddressOut.write(logical(common.address)) };
    Ok(())
}

/// Frees one element (wdm, PFREE_COMMON_BUFFER_FROM_VECTOR): once.
pub(crate) unsafe fn FreeCommonBufferFromVector(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Vector: PVOID,
    Index: ULONG,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mut state = adapter.state.lock();
    let vector = state.find_vector(Vector)?;
    let host = state.element(vector, Index)?;
    // CAST: an index.
    state.vectors[vector].elements[Index as usize] = 0;
    state.free_element(kernel, host)
}

/// Frees a vector (wdm, PFREE_COMMON_BUFFER_VECTOR): when it is empty.
pub(crate) unsafe fn FreeCommonBufferVector(
    kernel: &Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Vector: PVOID,
) -> Result<(), Violation> {
    let adapter = kernel.hal.adapter(kernel, DmaAdapter)?;
    let mut state = adapter.state.lock();
    let at = state.find_vector(Vector)?;
    let live = state.vectors[at].elements.iter().filter(|&&host| host != 0).count();
    if live != 0 {
        let message = format!("a common buffer vector was freed with {live} buffers in it");
        let violation = broken(RuleId::Dma32, message).from(state.vectors[at].origin);
        // CAST: a count.
        return Err(violation.code(0x1DC, [2, 0, live as u64, 0]));
    }
    state.vectors.swap_remove(at);
    Ok(())
}
