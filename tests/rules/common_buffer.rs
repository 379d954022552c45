//! Section C: common buffers.

use dmaproof_tests::lab::Lab;
use dmaproof_tests::lab::ddk::{NO, YES, at_level};
use dmaproof_tests::{rule_tests, run};
use nthost::Profile;
use wdk_lite::*;

use crate::DMA;

rule_tests! {
    breaks allocate_at_dispatch_level {
        [Dma22], [(DMA, 0x13)],
        broken: run(|lab, _| raised(|| Common::new(lab, 4096).free())),
        clean: run(|lab, _| { Common::new(lab, 4096).free(); STATUS_SUCCESS }),
    }
    breaks null_result_used {
        [Dma23, Dma30], [],
        broken: run(|lab, _| refused(lab, true)),
        clean: run(|lab, _| refused(lab, false)),
    }
    breaks device_gets_the_physical_address {
        [Dma24, Dma95, Dma110, Dma114, Sim01], [],
        broken: run(|lab, _| program(lab, Address::Physical)),
        clean: run(|lab, _| program(lab, Address::Logical)),
    }
    breaks device_gets_half_of_the_address {
        [Dma24, Dma114, Sim01, Sim02], [],
        broken: run(|lab, _| program(lab, Address::LowBits)),
        clean: run(|lab, _| program(lab, Address::Logical)),
    }
    breaks device_behind_an_iommu_gets_the_physical_address {
        [Dma24, Dma95, Dma110, Dma114, Sim01], [(DMA, 0x26)],
        broken: run(|lab, _| program(lab, Address::Physical)).profile(Profile::X64Dmar),
        clean: run(|lab, _| program(lab, Address::Logical)).profile(Profile::X64Dmar),
    }
    breaks device_writes_beyond_the_length {
        [Dma25], [(DMA, 0x0F)],
        broken: run(|lab, _| device_fills(lab, 100, 101)),
        clean: run(|lab, _| device_fills(lab, 100, 100)),
    }
    breaks driver_writes_beyond_the_length {
        [Dma25], [(DMA, 0x0F)],
        broken: run(|lab, _| driver_fills(lab, 100, 101)),
        clean: run(|lab, _| driver_fills(lab, 100, 100)),
    }
    breaks buffer_beyond_the_register_budget {
        [Dma26], [(DMA, 0x00)],
        broken: run(|lab, _| freed_if_any(lab, 3)).machine(|b| b.map_registers(Some(2))),
        clean: run(|lab, _| freed_if_any(lab, 2)).machine(|b| b.map_registers(Some(2))),
    }
    breaks free_with_another_cache_flag {
        [Dma27, Dma30], [],
        broken: run(|lab, _| free_altered(lab, |buffer| buffer.cached = NO)),
        clean: run(|lab, _| free_altered(lab, |_| ())),
    }
    breaks free_twice {
        [Dma30], [(DMA, 0x03)],
        broken: run(|lab, _| freed(lab, 2)),
        clean: run(|lab, _| freed(lab, 1)),
    }
    breaks free_in_part {
        [Dma30], [],
        broken: run(|lab, _| free_altered(lab, |buffer| buffer.length = 4096)),
        clean: run(|lab, _| free_altered(lab, |_| ())),
    }
    breaks free_with_another_logical_address {
        [Dma30], [],
        broken: run(|lab, _| free_altered(lab, Common::move_up)),
        clean: run(|lab, _| free_altered(lab, |_| ())),
    }
    breaks free_at_dispatch_level {
        [Dma30], [(DMA, 0x13)],
        broken: run(|lab, _| {
            let buffer = Common::new(lab, 4096);
            raised(|| buffer.free())
        }),
        clean: run(|lab, _| freed(lab, 1)),
    }
}

/// A common buffer as it was allocated.
struct Common<'a> {
    lab: &'a Lab,
    address: PVOID,
    logical: PHYSICAL_ADDRESS,
    length: u32,
    cached: BOOLEAN,
}

impl<'a> Common<'a> {
    fn new(lab: &'a Lab, length: u32) -> Self {
        let mut logical = PHYSICAL_ADDRESS::default();
        // SAFETY: LAB.
        let address =
            unsafe { lab.adapter.get().AllocateCommonBuffer(length, &raw mut logical, YES) };
        Self { lab, address, logical, length, cached: YES }
    }

    fn free(&self) {
        let Self { address, logical, length, cached, .. } = *self;
        // SAFETY: LAB.
        unsafe { self.lab.adapter.get().FreeCommonBuffer(length, logical, address, cached) }
    }

    /// Pretends that the buffer lies a page higher for the device.
    fn move_up(&mut self) {
        // SAFETY: plain numbers in either view.
        unsafe { self.logical.QuadPart += 4096 };
    }

    fn logical(&self) -> u64 {
        // SAFETY: plain numbers in either view; CAST: an address is unsigned.
        unsafe { self.logical.QuadPart as u64 }
    }

    /// KeFlushIoBuffers of the whole buffer: it was allocated as cached (DMA-90).
    fn flush_caches(&self, read: BOOLEAN) {
        let mdl = self.lab.mdl_over(self.address, self.length);
        // SAFETY: LAB.
        unsafe {
            ntddk::KeFlushIoBuffers(mdl, read, YES);
            ntddk::IoFreeMdl(mdl);
        }
    }
}

/// Runs `body` at DISPATCH_LEVEL.
pub(crate) fn raised(body: impl FnOnce()) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { at_level(DISPATCH_LEVEL, body) };
    STATUS_SUCCESS
}

/// A buffer that no 24-bit device can have, and what the driver does about it.
fn refused(lab: &Lab, use_it: bool) -> NTSTATUS {
    let buffer = Common::new(lab, 0x4000_0000);
    lab.check(buffer.address.is_null(), "a gigabyte within 24 bits");
    if use_it {
        buffer.free();
    }
    STATUS_SUCCESS
}

/// What the driver gives the device.
enum Address {
    Logical,
    Physical,
    LowBits,
}

fn program(lab: &Lab, address: Address) -> NTSTATUS {
    let buffer = Common::new(lab, 4096);
    buffer.flush_caches(NO);
    let logical = match address {
        Address::Logical => buffer.logical(),
        // SAFETY: LAB. CAST: an address is unsigned.
        Address::Physical => unsafe { ntddk::MmGetPhysicalAddress(buffer.address).QuadPart as u64 },
        Address::LowBits => buffer.logical() & 0xffff,
    };
    lab.start_device(logical, 64, true, false);
    lab.wait_for_device();
    buffer.free();
    STATUS_SUCCESS
}

/// The device writes `bytes` to a buffer of `length` bytes.
fn device_fills(lab: &Lab, length: u32, bytes: u32) -> NTSTATUS {
    let buffer = Common::new(lab, length);
    buffer.flush_caches(YES);
    // Something else than the machine's own fill pattern.
    lab.start_device(buffer.logical(), bytes, false, false);
    lab.wait_for_device();
    buffer.free();
    STATUS_SUCCESS
}

/// The driver writes `bytes` to a buffer of `length` bytes, which occupies a page.
fn driver_fills(lab: &Lab, length: u32, bytes: usize) -> NTSTATUS {
    let buffer = Common::new(lab, length);
    // SAFETY: LAB: the page is the buffer's, though only its length is the driver's.
    unsafe { buffer.address.cast::<u8>().write_bytes(0xC7, bytes) };
    buffer.free();
    STATUS_SUCCESS
}

/// A buffer of so many pages.
fn freed_if_any(lab: &Lab, pages: u32) -> NTSTATUS {
    let buffer = Common::new(lab, pages * PAGE_SIZE);
    if !buffer.address.is_null() {
        buffer.free();
    }
    STATUS_SUCCESS
}

fn free_altered<'l>(lab: &'l Lab, alter: impl FnOnce(&mut Common<'l>)) -> NTSTATUS {
    let mut buffer = Common::new(lab, 2 * PAGE_SIZE);
    alter(&mut buffer);
    buffer.free();
    STATUS_SUCCESS
}

fn freed(lab: &Lab, times: u32) -> NTSTATUS {
    let buffer = Common::new(lab, 4096);
    for _ in 0..times {
        buffer.free();
    }
    STATUS_SUCCESS
}
