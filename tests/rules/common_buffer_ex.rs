//! Section C, continued: the common buffers of version 3.

use std::cell::Cell;
use std::ptr;

use dmaproof_tests::lab::ddk::{YES, at_level};
use dmaproof_tests::lab::{Lab, Script};
use dmaproof_tests::{rule_tests, run};
use testdev::edu;
use wdk_lite::*;

use crate::DMA;
use crate::common_buffer::raised;

/// `DMA_COMMON_BUFFER_VECTOR_ERROR`.
const VECTOR: u32 = 0x1DC;

rule_tests! {
    breaks allocate_ex_at_dispatch_level {
        [Dma28], [(DMA, 0x13)],
        broken: run(|lab, _| raised(|| { allocate_ex(lab, 0); })).script(Script::version3()),
        clean: run(|lab, _| { allocate_ex(lab, 0); STATUS_SUCCESS }).script(Script::version3()),
    }
    answer allocate_ex_on_a_node_that_is_not_there_is_null {
        [Dma28],
        run(|lab, _| {
            lab.check(!allocate_ex(lab, 64), "a buffer on node 64");
            lab.check(allocate_ex(lab, 0), "no buffer on node 0");
            STATUS_SUCCESS
        }).script(Script::version3()),
    }
    answer maximum_address_of_allocate_ex {
        [Dma28],
        run(below_an_address).script(Script::version3()),
    }
    breaks allocate_with_bounds_at_dispatch_level {
        [Dma29], [(DMA, 0x13)],
        broken: run(|lab, _| raised(|| { with_bounds(lab, 0, None); })).script(Script::version3()),
        clean: run(|lab, _| { with_bounds(lab, 0, None); STATUS_SUCCESS })
            .script(Script::version3()),
    }
    answer allocate_with_bounds_takes_two_cache_types {
        [Dma29],
        run(|lab, _| {
            let third = _MEMORY_CACHING_TYPE::MmWriteCombined;
            lab.check(!with_bounds(lab, 0, Some(third)), "a write-combined buffer");
            let second = _MEMORY_CACHING_TYPE::MmNonCached;
            lab.check(with_bounds(lab, 0, Some(second)), "no uncached buffer");
            STATUS_SUCCESS
        }).script(Script::version3()),
    }
    breaks create_from_mdl_at_dispatch_level {
        [Dma31], [(DMA, 0x13)],
        broken: run(|lab, _| from_mdl(lab, Broken::Level)).script(Script::version3()),
        clean: run(|lab, _| from_mdl(lab, Broken::Nothing)).script(Script::version3()),
    }
    answer create_from_an_unaligned_mdl_is_refused {
        [Dma31],
        run(|lab, _| from_mdl(lab, Broken::Alignment)).script(Script::version3()),
    }
    breaks vector_above_dispatch_level {
        [Dma32], [(VECTOR, 1), (DMA, 0x13)],
        broken: run(|lab, _| {
            let vector = Vector::new(lab);
            // SAFETY: LAB.
            unsafe { at_level(HIGH_LEVEL, || vector.free_index(0)) };
            STATUS_SUCCESS
        }).script(Script::version3()),
        clean: run(whole_vector).script(Script::version3()),
    }
    breaks vector_not_empty {
        [Dma32], [(VECTOR, 2)],
        broken: run(|lab, _| { Vector::new(lab).free(); STATUS_SUCCESS })
            .script(Script::version3()),
        clean: run(whole_vector).script(Script::version3()),
    }
    breaks vector_index_out_of_range {
        [Dma32], [(VECTOR, 3)],
        broken: run(|lab, _| { Vector::new(lab).free_index(2); STATUS_SUCCESS })
            .script(Script::version3()),
        clean: run(whole_vector).script(Script::version3()),
    }
    breaks vector_index_freed_twice {
        [Dma32], [(VECTOR, 4)],
        broken: run(|lab, _| {
            let vector = Vector::new(lab);
            vector.free_index(0);
            vector.free_index(0);
            STATUS_SUCCESS
        }).script(Script::version3()),
        clean: run(whole_vector).script(Script::version3()),
    }
    breaks vector_leaked {
        [Dma32, Dma18], [(VECTOR, 5), (DMA, 0x07)],
        broken: run(|lab, _| { Vector::new(lab); STATUS_SUCCESS }).script(Script::version3()),
        clean: run(whole_vector).script(Script::version3()),
    }
}

/// AllocateCommonBufferEx and FreeCommonBuffer; whether there was a buffer.
fn allocate_ex(lab: &Lab, node: u32) -> bool {
    let mut logical = PHYSICAL_ADDRESS::default();
    let adapter = lab.adapter.get();
    // SAFETY: LAB.
    unsafe {
        let address =
            adapter.AllocateCommonBufferEx(ptr::null_mut(), 4096, &raw mut logical, YES, node);
        if !address.is_null() {
            adapter.FreeCommonBuffer(4096, logical, address, YES);
        }
        !address.is_null()
    }
}

fn below_an_address(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let mut limit = PHYSICAL_ADDRESS { QuadPart: 0x100_0000 };
    let mut logical = PHYSICAL_ADDRESS::default();
    let adapter = lab.adapter.get();
    // SAFETY: LAB.
    unsafe {
        let address =
            adapter.AllocateCommonBufferEx(&raw mut limit, 4096, &raw mut logical, YES, 0);
        if !address.is_null() {
            let end = logical.QuadPart + 4096;
            lab.check(end <= limit.QuadPart, "the buffer lies below MaximumAddress");
            adapter.FreeCommonBuffer(4096, logical, address, YES);
        }
    }
    STATUS_SUCCESS
}

/// AllocateCommonBufferWithBounds and FreeCommonBuffer; whether there was a buffer.
fn with_bounds(lab: &Lab, flags: u32, cache: Option<MEMORY_CACHING_TYPE>) -> bool {
    let mut logical = PHYSICAL_ADDRESS::default();
    let cache = Cell::new(cache);
    let adapter = lab.adapter.get();
    // SAFETY: LAB.
    unsafe {
        let mut kind = cache.get().unwrap_or_default();
        let kind_pointer = if cache.get().is_some() { &raw mut kind } else { ptr::null_mut() };
        let address = adapter.AllocateCommonBufferWithBounds(
            ptr::null_mut(),
            ptr::null_mut(),
            4096,
            flags,
            kind_pointer,
            0,
            &raw mut logical,
        );
        if !address.is_null() {
            let cached = BOOLEAN::from(cache.get() != Some(_MEMORY_CACHING_TYPE::MmNonCached));
            adapter.FreeCommonBuffer(4096, logical, address, cached);
        }
        !address.is_null()
    }
}

/// What is wrong with CreateCommonBufferFromMdl.
#[derive(PartialEq)]
enum Broken {
    Nothing,
    Level,
    Alignment,
}

/// A common buffer over a page of nonpaged pool.
fn from_mdl(lab: &Lab, broken: Broken) -> NTSTATUS {
    let pool = lab.pool(2 * u64::from(PAGE_SIZE));
    let aligned = pool.wrapping_byte_add(pool.align_offset(1));
    let to_page = aligned.addr().wrapping_neg() % PAGE_SIZE as usize;
    let shift = to_page + if broken == Broken::Alignment { 16 } else { 0 };
    let start = aligned.wrapping_byte_add(shift);
    let mdl = lab.mdl_over(start, PAGE_SIZE);
    let mut logical = PHYSICAL_ADDRESS::default();
    let adapter = lab.adapter.get();
    let level = if broken == Broken::Level { DISPATCH_LEVEL } else { PASSIVE_LEVEL };
    // SAFETY: LAB.
    unsafe {
        let status = at_level(level, || {
            adapter.CreateCommonBufferFromMdl(mdl, ptr::null_mut(), 0, &raw mut logical)
        });
        if broken == Broken::Alignment {
            lab.check(status == STATUS_INVALID_PARAMETER, "an MDL that is not page aligned");
        }
        if NT_SUCCESS(status) {
            adapter.FreeCommonBuffer(PAGE_SIZE, logical, start, YES);
        }
        ntddk::IoFreeMdl(mdl);
    }
    lab.free(pool);
    STATUS_SUCCESS
}

/// A vector of two common buffers of a page.
struct Vector<'a> {
    lab: &'a Lab,
    vector: PVOID,
}

impl<'a> Vector<'a> {
    fn new(lab: &'a Lab) -> Self {
        let mut vector = ptr::null_mut();
        let high = PHYSICAL_ADDRESS { QuadPart: i64::from(u32::MAX) };
        // SAFETY: LAB.
        let status = unsafe {
            lab.adapter.get().AllocateCommonBufferVector(
                PHYSICAL_ADDRESS::default(),
                high,
                _MEMORY_CACHING_TYPE::MmCached,
                0,
                0,
                2,
                PAGE_SIZE.into(),
                &raw mut vector,
            )
        };
        lab.check(NT_SUCCESS(status), "AllocateCommonBufferVector failed");
        Self { lab, vector }
    }

    fn free_index(&self, index: u32) {
        // SAFETY: LAB.
        unsafe { self.lab.adapter.get().FreeCommonBufferFromVector(self.vector, index) }
    }

    fn free(&self) {
        // SAFETY: LAB.
        unsafe { self.lab.adapter.get().FreeCommonBufferVector(self.vector) }
    }
}

fn whole_vector(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let vector = Vector::new(lab);
    vector.free_index(0);
    vector.free_index(1);
    vector.free();
    lab.check(edu::is_edu(lab.read(edu::ID)), "the device is still there");
    STATUS_SUCCESS
}
