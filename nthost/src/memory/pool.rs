//! Nonpaged pool with tags, and the list of what was not freed.

// UNSAFETY: pool is raw memory handed to driver code.

use std::alloc::{Layout, alloc, dealloc};

use parking_lot::Mutex;

use super::pages::{NumberMap, PAGE};
use crate::RuleId;
use crate::verifier::{CallStack, Violation, broken};

/// What freed pool, and pool that was not to be zeroed, is filled with.
const POISON: u8 = 0xA5;

#[derive(Debug)]
struct Allocation {
    size: usize,
    layout: Layout,
    tag: u32,
    origin: CallStack,
}

/// The pool of one machine.
#[derive(Debug, Default)]
pub(super) struct Pool {
    allocations: Mutex<NumberMap<usize, Allocation>>,
}

/// How an allocation is to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub zeroed: bool,
    pub cache_aligned: bool,
}

impl Pool {
    /// Allocates; null when there is no memory.
    pub(super) fn allocate(&self, size: usize, tag: u32, wish: Wish, origin: CallStack) -> *mut u8 {
        let align = match size {
            PAGE.. => PAGE,
            _ if wish.cache_aligned => 64,
            _ => 16,
        };
        let Ok(layout) = Layout::from_size_align(size, align) else { return std::ptr::null_mut() };
        // SAFETY: the size is not zero, see ExAllocatePool2.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            return memory;
        }
        let fill = if wish.zeroed { 0 } else { POISON };
        // SAFETY: `size` bytes were just allocated.
        unsafe { memory.write_bytes(fill, size) };
        let allocation = Allocation { size, layout, tag, origin };
        self.allocations.lock().insert(memory.expose_provenance(), allocation);
        memory
    }

    /// Size and origin of the allocation that starts at `address`.
    pub(super) fn size_of(&self, address: usize) -> Option<(usize, CallStack)> {
        self.allocations.lock().get(&address).map(|a| (a.size, a.origin))
    }

    /// Frees; `tag` must be the allocation's.
    pub(super) fn free(&self, memory: *mut u8, tag: u32) -> Result<(), Violation> {
        let Some(allocation) = self.allocations.lock().remove(&memory.addr()) else {
            let address = memory.addr() as u64;
            let message = format!("pool at {address:#x} was freed twice or never allocated");
            return Err(broken(RuleId::Sim11, message).code(0xC4, [0x10, address, 0, 0]));
        };
        if tag != 0 && tag != allocation.tag {
            let (is, was) = (tag_name(tag), tag_name(allocation.tag));
            let message = format!("pool with the tag {was} was freed with the tag {is}");
            return Err(broken(RuleId::Sim11, message).from(allocation.origin));
        }
        let memory: *mut u8 = std::ptr::with_exposed_provenance_mut(memory.addr());
        // SAFETY: the allocation was live until now and has this size.
        unsafe { memory.write_bytes(POISON, allocation.size) };
        // SAFETY: allocated in `allocate` with this layout, and freed once.
        unsafe { dealloc(memory, allocation.layout) };
        Ok(())
    }

    /// Pool that was not freed.
    pub(super) fn leak(&self) -> Option<Violation> {
        let allocations = self.allocations.lock();
        let oldest = allocations.values().next()?;
        let (count, bytes) =
            (allocations.len(), allocations.values().map(|a| a.size).sum::<usize>());
        let message = format!(
            "{count} pool allocation(s) with {bytes} bytes were never freed, one with the tag {}",
            tag_name(oldest.tag)
        );
        let code = [0x62, 0, 0, count as u64];
        Some(broken(RuleId::Sim10, message).code(0xC4, code).from(oldest.origin))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (&address, allocation) in self.allocations.get_mut().iter() {
            let memory: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
            // SAFETY: allocated in `allocate` with this layout and not freed; the machine is gone.
            unsafe { dealloc(memory, allocation.layout) };
        }
    }
}

/// A tag as text.
fn tag_name(tag: u32) -> String {
    tag.to_le_bytes()
        .map(|b| if b.is_ascii_graphic() { char::from(b) } else { '.' })
        .iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish { zeroed: true, cache_aligned: false };

    #[test]
    fn pool_is_zeroed_aligned_and_remembered_until_it_is_freed() {
        let pool = Pool::default();
        let memory = pool.allocate(40, 0x3141_4D44, WISH, CallStack::default());
        assert_eq!(memory.addr() % 16, 0);
        // SAFETY: 40 bytes were allocated and zeroed.
        let bytes = unsafe { std::slice::from_raw_parts(memory, 40) };
        assert!(bytes.iter().all(|&b| b == 0));
        assert!(pool.leak().is_some_and(|v| v.rule == RuleId::Sim10));

        pool.free(memory, 0x3141_4D44).expect("it is live");

        assert!(pool.leak().is_none());
        assert_eq!(pool.free(memory, 0).expect_err("it is gone").rule, RuleId::Sim11);
    }

    #[test]
    fn another_tag_is_an_error() {
        let pool = Pool::default();
        let memory = pool.allocate(5000, 1, WISH, CallStack::default());
        assert_eq!(memory.addr() % PAGE, 0);
        assert_eq!(pool.free(memory, 2).expect_err("not its tag").rule, RuleId::Sim11);
    }
}
