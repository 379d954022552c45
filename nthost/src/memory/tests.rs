//! The memory functions, called as a driver would call them.

// UNSAFETY: the functions take raw pointers.

use testdev::bus::{BarInfo, Bus, Device, Identity};
use wdk_lite::*;

use super::PAGE;
use super::ddi::*;
use crate::bus::ddi::MmMapIoSpaceEx;
use crate::bus::registers::READ_REGISTER_ULONG;
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::{Machine, Profile, RuleId};

fn machine() -> Machine {
    Machine::builder(Profile::X64).build()
}

fn rule<T: std::fmt::Debug>(result: Result<T, Violation>) -> (RuleId, Option<u64>) {
    let found = result.expect_err("it breaks a rule");
    (found.rule, found.bug_check.map(|code| code.parameters[0]))
}

const TAG: u32 = u32::from_le_bytes(*b"Test");

fn pool(kernel: &Kernel, bytes: u64) -> PVOID {
    // SAFETY: the arguments are a driver's.
    unsafe { ExAllocatePool2(kernel, POOL_FLAG_NON_PAGED, bytes, TAG) }.expect("no rule is broken")
}

fn mdl(kernel: &Kernel, address: PVOID, length: u32) -> PMDL {
    let irp = std::ptr::null_mut();
    // SAFETY: the arguments are a driver's.
    unsafe { IoAllocateMdl(kernel, address, length, 0, 0, irp) }.expect("no rule is broken")
}

fn free_mdl(kernel: &Kernel, mdl: PMDL) -> Result<(), Violation> {
    // SAFETY: the arguments are a driver's.
    unsafe { IoFreeMdl(kernel, mdl) }
}

fn lock(kernel: &Kernel, mdl: PMDL, operation: LOCK_OPERATION) -> Result<(), Violation> {
    // SAFETY: the arguments are a driver's.
    unsafe { MmProbeAndLockPages(kernel, mdl, 0, operation) }
}

fn unlock(kernel: &Kernel, mdl: PMDL) -> Result<(), Violation> {
    // SAFETY: the arguments are a driver's.
    unsafe { MmUnlockPages(kernel, mdl) }
}

fn describe(kernel: &Kernel, mdl: PMDL) -> Result<(), Violation> {
    // SAFETY: the arguments are a driver's.
    unsafe { MmBuildMdlForNonPagedPool(kernel, mdl) }
}

fn partial(
    kernel: &Kernel,
    source: PMDL,
    target: PMDL,
    at: PVOID,
    n: u32,
) -> Result<(), Violation> {
    // SAFETY: the arguments are a driver's.
    unsafe { IoBuildPartialMdl(kernel, source, target, at, n) }
}

#[test]
fn locks_pair_and_an_mdl_is_freed_once_and_unlocked() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let memory = pool(kernel, 10_000);
    let list = mdl(kernel, memory, 10_000);
    assert_eq!(rule(unlock(kernel, list)), (RuleId::Dma105, Some(0x7C)));
    lock(kernel, list, _LOCK_OPERATION::IoWriteAccess).expect("it is empty");
    assert_eq!(rule(lock(kernel, list, 0)), (RuleId::Dma105, Some(0xB0)));
    assert_eq!(rule(describe(kernel, list)).0, RuleId::Dma103);
    assert_eq!(rule(free_mdl(kernel, list)).0, RuleId::Dma105);
    unlock(kernel, list).expect("it is locked");
    assert!(kernel.memory.leaks().is_some_and(|leak| leak.rule == RuleId::Sim10));
    free_mdl(kernel, list).expect("it is unlocked");
    assert_eq!(rule(free_mdl(kernel, list)).0, RuleId::Sim11);
    // SAFETY: the arguments are a driver's.
    unsafe { ExFreePoolWithTag(kernel, memory, TAG) }.expect("it is live");
    assert!(kernel.memory.leaks().is_none());
    assert_eq!(kernel.memory.pages.locked(), 0);
}

#[test]
fn a_partial_mdl_describes_a_part_and_dies_with_its_source() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let memory = pool(kernel, 20_000);
    let (source, target) = (mdl(kernel, memory, 20_000), mdl(kernel, memory, 20_000));
    let part = memory.wrapping_byte_add(5000);
    assert_eq!(rule(partial(kernel, source, target, part, 100)).0, RuleId::Dma103);
    describe(kernel, source).expect("it is empty");
    assert_eq!(rule(partial(kernel, source, target, part, 15_001)).0, RuleId::Dma103);
    partial(kernel, source, target, part, 10_000).expect("it is a part");

    let [whole, piece] = [source, target].map(|m| kernel.memory.usable(m, "a test").expect("live"));
    assert_eq!((piece.start(), piece.byte_count()), (part.addr(), 10_000));
    assert_eq!(piece.frame(1), whole.frame(2));
    assert_eq!(rule(lock(kernel, target, 0)), (RuleId::Dma103, Some(0xB4)));

    free_mdl(kernel, source).expect("nothing is mapped");
    assert_eq!(rule(kernel.memory.usable(target, "a test")).0, RuleId::Dma103);
}

#[test]
fn pool_under_a_mapping_may_not_be_freed() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let memory = pool(kernel, 100);
    let list = mdl(kernel, memory, 100);
    describe(kernel, list).expect("it is empty");
    let handle = kernel.memory.usable(list, "a test").expect("it is live");
    handle.begin_mapping(Default::default());
    // SAFETY: the arguments are a driver's.
    let free = || unsafe { ExFreePoolWithTag(kernel, memory, TAG) };
    assert_eq!(rule(free()).0, RuleId::Dma100);
    assert_eq!(rule(free_mdl(kernel, list)).0, RuleId::Dma100);
    handle.end_mapping();
    free().expect("nothing is mapped");
}

#[test]
fn system_mappings_are_not_executable() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let mut bytes = vec![0u8; 100];
    let list = kernel.memory.lock_user_buffer(kernel, bytes.as_mut_ptr(), bytes.len(), true);
    let map = |priority| {
        // SAFETY: the arguments are a driver's.
        unsafe {
            let null = std::ptr::null_mut();
            MmMapLockedPagesSpecifyCache(kernel, list, 0, 1, null, 0, priority)
        }
    };
    assert_eq!(rule(map(16)).0, RuleId::Sec12);
    let address = map(16 | MdlMappingNoExecute).expect("proper");
    assert_eq!(address.addr(), bytes.as_ptr().addr());
    // SAFETY: the arguments are a driver's.
    unsafe { MmUnmapLockedPages(kernel, address, list) }.expect("it is mapped");
    // SAFETY: as above.
    let again = unsafe { MmUnmapLockedPages(kernel, address, list) };
    assert_eq!(rule(again).0, RuleId::Dma106);
}

#[test]
fn a_locked_buffer_is_described_byte_by_byte() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let mut buffer = vec![0u8; 10_000];
    let address = buffer.as_mut_ptr();

    let mdl = kernel.memory.lock_user_buffer(kernel, address, buffer.len(), true);

    let mdl = kernel.memory.usable(mdl, "a test").expect("it is live");
    assert_eq!(mdl.start(), address.addr());
    assert_eq!(mdl.byte_count(), buffer.len());
    let frame = mdl.frame(0);
    let page = kernel.memory.pages.host_address(frame);
    assert_eq!(page, Some(address.addr() & !(PAGE - 1)));
}

#[test]
fn a_released_chain_is_forgotten_and_still_recognised() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let mut buffers = [vec![0u8; 100], vec![0u8; 9000]];
    let [first, second] = buffers
        .each_mut()
        .map(|b| kernel.memory.lock_user_buffer(kernel, b.as_mut_ptr(), b.len(), false));
    kernel.memory.chain(first, second);

    kernel.memory.release_mdl(kernel, first).expect("nothing is mapped");

    assert_eq!(kernel.memory.pages.locked(), 0);
    let found = kernel.memory.usable(second, "MapTransfer").expect_err("it is released");
    assert_eq!(found.rule, RuleId::Dma101);
}

#[test]
fn completion_under_a_mapping_names_who_mapped() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let mut buffer = vec![0u8; 100];
    let mdl = kernel.memory.lock_user_buffer(kernel, buffer.as_mut_ptr(), buffer.len(), false);
    let handle = kernel.memory.usable(mdl, "a test").expect("it is live");
    handle.begin_mapping(Default::default());

    let found = kernel.memory.release_mdl(kernel, mdl).expect_err("it is mapped");
    assert_eq!(found.rule, RuleId::Dma100);
    handle.end_mapping();
    handle.begin_build(Default::default());

    let found = kernel.memory.release_mdl(kernel, mdl).expect_err("a build is pending");
    assert_eq!(found.rule, RuleId::Sim12);
}

#[test]
fn changed_flags_are_noticed() {
    let machine = machine();
    let kernel = &*machine.kernel;
    let mut buffer = vec![0u8; 100];
    let mdl = kernel.memory.lock_user_buffer(kernel, buffer.as_mut_ptr(), buffer.len(), false);
    // SAFETY: a live MDL made above.
    unsafe { (*mdl).MdlFlags = 0 };

    let found = kernel.memory.usable(mdl, "MapTransfer").expect_err("its flags are gone");

    assert_eq!(found.rule, RuleId::Dma99);
}

/// A device with a window of registers that read as 7.
struct Sevens;

impl Device for Sevens {
    fn identity(&self) -> Identity {
        let bar = BarInfo { size: 4096, bits64: false, prefetchable: false };
        Identity {
            vendor: 1,
            device: 4,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 0,
            class: 0,
            interrupt_pin: 1,
            bars: [Some(bar), None, None, None, None, None],
            msi_messages: 0,
            msi64: false,
            msix_messages: 0,
        }
    }

    fn read(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: u8) -> u64 {
        7
    }

    fn write(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: u8, _: u64) {}

    fn on_timer(&mut self, _: &mut dyn Bus) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

#[test]
fn only_registers_of_its_own_device_fill_a_requests_buffer() {
    let machine = Machine::builder(Profile::X64).strict(true).build();
    let kernel = &*machine.kernel;
    let windows = [0, 1].map(|_| {
        let slot = machine.plug(Box::new(Sevens)).expect("there is room").0;
        let function = kernel.bus.function(slot).expect("it was plugged");
        function.config.start(false);
        let base = function.config.windows[0].expect("it has one").base;
        let start = PHYSICAL_ADDRESS { QuadPart: i64::try_from(base).expect("below 4 GiB") };
        let protection = PAGE_READWRITE | PAGE_NOCACHE;
        // SAFETY: the device's window.
        let window = unsafe { MmMapIoSpaceEx(kernel, start, 4096, protection) };
        (slot, window.expect("it is a device's").addr() as u64)
    });
    for read in 0..2 {
        for owner in 0..2 {
            let mut bytes = [0u8; 64];
            let whole = (bytes.as_mut_ptr(), bytes.len());
            let slot = Some(windows[owner].0);
            let mdl = kernel.memory.lock_request_buffer(kernel, whole, true, slot);
            kernel.memory.map_once(kernel, mdl);
            for _ in 0..16 {
                let value = READ_REGISTER_ULONG(kernel, windows[read].1);
                assert_eq!(value.expect("it is mapped"), 7);
            }

            let checked = kernel.memory.check_pio_flush(kernel, mdl, 64);

            let broken = checked.err().map(|found| found.rule);
            assert_eq!(broken, (read == owner).then_some(RuleId::Dma86));
            kernel.memory.release_mdl(kernel, mdl).expect("nothing names it");
        }
    }
}
