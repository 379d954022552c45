//! Register windows that a driver mapped, and its accesses to them.
//!
//! A mapped window is an address range with nothing behind it: only the register access functions
//! lead to the device, and a plain load or store faults.

#![allow(non_snake_case, reason = "names are the WDK's")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::{Function, all_ones};
use crate::RuleId;
use crate::machine::footprint::Thing;
use crate::machine::{DISPATCH, Kernel};
use crate::memory::Activity;
use crate::verifier::{Violation, broken};

/// System address of the first mapping; each mapping has its own 4 GiB. In the system half, so that
/// a plain access faults at once; an image's is carried out then.
const BASE: u64 = 0xFFFF_A000_0000_0000;
/// Addresses that mappings may have.
const LENGTH: u64 = 1 << 44;

/// Whether an address may be a mapped register's.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) const fn is_window(address: u64) -> bool {
    address.wrapping_sub(BASE) < LENGTH
}

#[derive(Clone, Debug)]
struct Mapping {
    function: Arc<Function>,
    bar: u8,
    offset: u64,
    length: u64,
}

/// The windows mapped at present; an index is never used twice.
#[derive(Debug, Default)]
pub(super) struct Mappings(RwLock<Vec<Option<Mapping>>>);

impl Mappings {
    pub(super) fn live(&self) -> usize {
        self.0.read().iter().flatten().count()
    }
}

/// Nanoseconds that a register access takes.
const ACCESS_NS: u64 = 100;

impl Kernel {
    /// Maps `length` bytes of physical address space that belong to a device; `None` if they do
    /// not.
    pub(super) fn map_registers(&self, physical: u64, length: u64) -> Option<u64> {
        let (function, bar, offset) = self.bus.decode(physical)?;
        let window = function.config.windows[usize::from(bar)]?;
        if length > window.size - offset {
            return None;
        }
        let mut mappings = self.bus.mappings.0.write();
        // CAST: a count of mappings.
        let address = BASE + ((mappings.len() as u64) << 32) + (offset & 0xFFF);
        mappings.push(Some(Mapping { function, bar, offset, length }));
        Some(address)
    }

    /// Unmaps; the base and length must be those of the mapping (KMDF-04).
    pub(super) fn unmap_registers(&self, address: u64, length: u64) -> Result<(), Violation> {
        let mut mappings = self.bus.mappings.0.write();
        let index = index_of(address).filter(|&i| i < mappings.len());
        let slot = index.and_then(|i| mappings[i].take());
        match slot {
            Some(mapping) if mapping.length == length => Ok(()),
            Some(mapping) => Err(broken(
                RuleId::Kmdf04,
                format!("{length} bytes were unmapped of a window of {} bytes", mapping.length),
            )
            .code(0xC4, [0x83, address, length, 0])),
            None => Err(broken(
                RuleId::Kmdf04,
                format!("{address:#x} is not the base of a mapped register window"),
            )
            .code(0xC4, [0x83, address, length, 0])),
        }
    }

    fn register(&self, address: u64, size: u8) -> Result<(Mapping, u64), Violation> {
        let bad = |what: &str| {
            broken(RuleId::Sim06, format!("a {size}-byte register access at {address:#x} {what}"))
        };
        let index = index_of(address).ok_or_else(|| bad("is not to mapped registers"))?;
        let mapping = self.bus.mappings.0.read().get(index).cloned().flatten();
        let mapping = mapping.ok_or_else(|| bad("is to a window that is not mapped (any more)"))?;
        let offset = (address & 0xFFFF_FFFF) - (mapping.offset & 0xFFF);
        if offset + u64::from(size) > mapping.length {
            return Err(bad(&format!("is outside the window's {} bytes", mapping.length)));
        }
        if !offset.is_multiple_of(u64::from(size)) {
            return Err(bad("is not naturally aligned"));
        }
        self.touch(Thing::Device(mapping.function.index));
        self.pnp.check_register_access(mapping.function.index)?;
        let offset = mapping.offset + offset;
        Ok((mapping, offset))
    }

    fn read_register(&self, address: u64, size: u8) -> Result<u64, Violation> {
        let (mapping, offset) = self.register(address, size)?;
        self.clock.pass(ACCESS_NS);
        if self.irql() <= DISPATCH {
            mapping.function.bytes_read.fetch_add(u64::from(size), Ordering::Relaxed);
        }
        let value = mapping.function.read(self, mapping.bar, offset, size) & all_ones(size);
        let (answered, present) = (value != all_ones(size), mapping.function.is_present());
        mapping.function.silence.check(self.clock.now(), answered, present)?;
        Ok(value)
    }

    /// What was done so far with the device in a slot, and what all devices did, for telling
    /// programmed reads from DMA (DMA-86).
    pub(crate) fn device_activity(&self, slot: Option<usize>) -> Activity {
        Activity {
            read: slot.map_or(0, |slot| self.bus.bytes_read(slot)),
            mastered: self.hal.mastered(),
        }
    }

    fn write_register(&self, address: u64, size: u8, value: u64) -> Result<(), Violation> {
        let (mapping, offset) = self.register(address, size)?;
        self.clock.pass(ACCESS_NS);
        mapping.function.command(self, mapping.bar, offset, size, value);
        Ok(())
    }
}

fn index_of(address: u64) -> Option<usize> {
    let above = address.checked_sub(BASE).filter(|&above| above < LENGTH)?;
    usize::try_from(above >> 32).ok()
}

macro_rules! accessors {
    ($($read:ident, $write:ident, $ty:ty;)*) => {
        $(pub(crate) fn $read(kernel: &Kernel, address: u64) -> Result<$ty, Violation> {
            // CAST: masked to the register's width.
            kernel.read_register(address, size_of::<$ty>() as u8).map(|value| value as $ty)
        }

        pub(crate) fn $write(kernel: &Kernel, address: u64, value: $ty) -> Result<(), Violation> {
            // CAST: widening.
            kernel.write_register(address, size_of::<$ty>() as u8, value as u64)
        })*
    };
}
accessors! {
    READ_REGISTER_UCHAR, WRITE_REGISTER_UCHAR, u8;
    READ_REGISTER_USHORT, WRITE_REGISTER_USHORT, u16;
    READ_REGISTER_ULONG, WRITE_REGISTER_ULONG, u32;
    READ_REGISTER_ULONG64, WRITE_REGISTER_ULONG64, u64;
}
