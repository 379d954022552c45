//! PrepareHardware and ReleaseHardware: registers, adapters, common buffers, memory for lists.

use core::ffi::c_void;
use core::ptr;

use dmaproof_protocol as protocol;
use protocol::{Limits, QueryReply};
use wdk_dma::irql::Passive;
use wdk_dma::scatter_gather::ListBuffer;
use wdk_dma::v3::{TRANSFER_CONTEXT_LENGTH, TransferContext};
use wdk_dma::{Adapter, CommonBuffer, DmaError, PieceLimits, System, V2, V3};

use super::bus_master::Model;
use super::{DeviceContext, bus_master, slave};
use crate::POOL_TAG;
use crate::engine::exerciser::Memory;
use crate::engine::{self, Abilities, edu, exerciser};
use crate::sys::{
    CM_PARTIAL_RESOURCE_DESCRIPTOR, CmResourceTypeMemory, NTSTATUS, PAGE_NOCACHE, PAGE_READWRITE,
    PAGE_SIZE, PDEVICE_OBJECT, PHYSICAL_ADDRESS, POOL_FLAG_NON_PAGED, SIZE_T,
    STATUS_DEVICE_CONFIGURATION_ERROR, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED,
    WDFCMRESLIST, call_unsafe_wdf_function_binding, ntddk,
};
use crate::transfer::slot::SLOT_COUNT;

/// What the device has while it is started. Common buffers are in the state, behind the lock.
#[derive(Debug)]
pub(crate) struct Hardware {
    pub(crate) v2: Option<Adapter<V2>>,
    pub(crate) v3: Option<Adapter<V3>>,
    pub(crate) system: Option<Adapter<System>>,
    /// What driver and exerciser share.
    pub(crate) shared: Option<Memory>,
    registers: Window,
    /// The exerciser's memory.
    memory: Window,
    lists: *mut c_void,
}

/// A mapped window; null if it is not.
#[derive(Clone, Copy, Debug)]
struct Window {
    base: *mut c_void,
    length: SIZE_T,
}

impl Window {
    const NONE: Self = Self { base: ptr::null_mut(), length: 0 };

    /// Maps a translated memory resource whole, uncached (KMDF-04).
    fn map(range: Range) -> Result<Self, NTSTATUS> {
        let (start, length) = (range.start, SIZE_T::from(range.length));
        // SAFETY: a translated memory resource of this device, whole, uncached (KMDF-04).
        let base = unsafe { ntddk::MmMapIoSpaceEx(start, length, PAGE_READWRITE | PAGE_NOCACHE) };
        if base.is_null() { Err(STATUS_INSUFFICIENT_RESOURCES) } else { Ok(Self { base, length }) }
    }

    fn unmap(self) {
        if !self.base.is_null() {
            // SAFETY: mapped by `map` with this length; nobody uses it any more (KMDF-04).
            unsafe { ntddk::MmUnmapIoSpace(self.base, self.length) };
        }
    }
}

impl Hardware {
    pub(crate) const NONE: Self = Self {
        v2: None,
        v3: None,
        system: None,
        shared: None,
        registers: Window::NONE,
        memory: Window::NONE,
        lists: ptr::null_mut(),
    };
}

/// Acquires everything, in an order that [`release`] undoes however far it got (KMDF-02).
pub(crate) fn prepare(
    context: &DeviceContext,
    resources: WDFCMRESLIST,
    passive: &Passive,
) -> Result<(), NTSTATUS> {
    reset_state(context, passive);
    // SAFETY: PrepareHardware: nothing is present, so nobody looks at the hardware.
    let hardware = unsafe { context.hardware_mut() };
    match find_device(resources).ok_or(STATUS_DEVICE_CONFIGURATION_ERROR)? {
        Found::Slave(channel, registers) => {
            hardware.registers = Window::map(registers)?;
            // SAFETY: mapped until `release`, which forgets it first; long enough by the search.
            unsafe { context.registers.slave.bar.map(hardware.registers.base.cast()) };
            slave::open_adapter(context, hardware, channel, passive).map_err(start_status)?;
            let adapter = hardware.system.as_ref().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            let alignment = context.state.lock(passive).pieces.alignment;
            publish(context, slave::describe(adapter, alignment), Abilities::SLAVE, passive);
        }
        Found::Edu(registers) => {
            hardware.registers = Window::map(registers)?;
            // SAFETY: as above.
            unsafe { context.registers.edu.bar.map(hardware.registers.base.cast()) };
            start_bus_master(context, hardware, &bus_master::EDU, passive)?;
        }
        Found::Exerciser(registers, memory) => {
            hardware.registers = Window::map(registers)?;
            hardware.memory = Window::map(memory)?;
            let exerciser = &context.registers.exerciser;
            // SAFETY: as above.
            unsafe { exerciser.window.map(hardware.memory.base.cast()) };
            // SAFETY: as above.
            unsafe { exerciser.bar.map(hardware.registers.base.cast()) };
            start_bus_master(context, hardware, &bus_master::EXERCISER, passive)?;
        }
    }
    Ok(())
}

/// Adapters, memory and limits of a bus-master device.
fn start_bus_master(
    context: &DeviceContext,
    hardware: &mut Hardware,
    model: &Model,
    passive: &Passive,
) -> Result<(), NTSTATUS> {
    open_adapters(context, hardware, model, passive).map_err(start_status)?;
    allocate_lists(context, hardware, model.pages_max, passive)?;
    if let Some(v2) = hardware.v2.as_ref()
        && context.registers.exerciser.bar.is_mapped()
    {
        let shared = hardware.shared.insert(Memory::NONE);
        shared.allocate(v2, passive).map_err(start_status)?;
    }
    let description = model.describe(hardware, &context.state.lock(passive));
    publish(context, description, model.abilities, passive);
    Ok(())
}

/// The status of a failed start: PrepareHardware may not return STATUS_NOT_SUPPORTED (KMDF-03).
fn start_status(error: DmaError) -> NTSTATUS {
    match error.status() {
        STATUS_NOT_SUPPORTED => STATUS_INSUFFICIENT_RESOURCES,
        status => status,
    }
}

fn reset_state(context: &DeviceContext, passive: &Passive) {
    context.statistics.reset();
    let mut state = context.state.lock(passive);
    state.gone = false;
    state.surprise_removed = false;
    state.failed = false;
    state.releasing = false;
}

/// The descriptors of a list of resources.
pub(super) fn descriptors(
    resources: WDFCMRESLIST,
) -> impl Iterator<Item = CM_PARTIAL_RESOURCE_DESCRIPTOR> {
    // SAFETY: the framework's list, valid during PrepareHardware.
    let count = unsafe { call_unsafe_wdf_function_binding!(WdfCmResourceListGetCount, resources) };
    (0..count).filter_map(move |index| {
        // SAFETY: as above.
        let descriptor = unsafe {
            call_unsafe_wdf_function_binding!(WdfCmResourceListGetDescriptor, resources, index)
        };
        if descriptor.is_null() {
            return None;
        }
        // SAFETY: the framework's copy of a descriptor, valid until the next call for it.
        Some(unsafe { *descriptor })
    })
}

/// A memory resource.
#[derive(Clone, Copy)]
struct Range {
    start: PHYSICAL_ADDRESS,
    length: u32,
}

/// The memory resources, in the order of the BARs.
fn ranges(resources: WDFCMRESLIST) -> impl Iterator<Item = Range> {
    descriptors(resources).filter_map(|descriptor| {
        if u32::from(descriptor.Type) != CmResourceTypeMemory {
            return None;
        }
        // SAFETY: the type says which member of the union is there.
        let memory = unsafe { descriptor.u.Memory };
        Some(Range { start: memory.Start, length: memory.Length })
    })
}

/// Which of the devices that the INF names this is, with what it was given.
enum Found {
    /// Its channel and registers.
    Slave(u32, Range),
    /// Its registers.
    Edu(Range),
    /// Its registers, and its window to device memory.
    Exerciser(Range, Range),
}

/// Tells the devices apart by type and length of their resources (KMDF-01): a channel only the
/// slave has, a register BAR of the exerciser's length and a window behind it only the exerciser.
/// EvtDeviceD0Entry compares the identification.
fn find_device(resources: WDFCMRESLIST) -> Option<Found> {
    let mut memory = ranges(resources);
    let registers = memory.next()?;
    let has = |range: &Range, needed: u64| u64::from(range.length) >= needed;
    if let Some(channel) = slave::find_channel(resources) {
        let fits = has(&registers, engine::slave::REGISTERS_LENGTH);
        return fits.then_some(Found::Slave(channel, registers));
    }
    if u64::from(registers.length) == exerciser::REGISTERS_LENGTH {
        let window = memory.find(|range| has(range, exerciser::WINDOW_LENGTH))?;
        return Some(Found::Exerciser(registers, window));
    }
    has(&registers, edu::REGISTERS_LENGTH).then_some(Found::Edu(registers))
}

/// The device's PDO.
pub(super) fn physical_device(context: &DeviceContext) -> PDEVICE_OBJECT {
    // SAFETY: the live device.
    unsafe { call_unsafe_wdf_function_binding!(WdfDeviceWdmGetPhysicalDevice, context.device()) }
}

fn open_adapters(
    context: &DeviceContext,
    hardware: &mut Hardware,
    model: &Model,
    passive: &Passive,
) -> Result<(), DmaError> {
    let physical = physical_device(context);
    // SAFETY: the PDO, during device start (DMA-02).
    let v2 = unsafe { Adapter::<V2>::open(physical, &model.v2, passive) }?;
    let v2 = hardware.v2.insert(v2);
    // SAFETY: as above. Without version 3 its paths are not available (DMA-04).
    hardware.v3 = unsafe { Adapter::<V3>::open(physical, &model.v3, passive) }.ok();
    let pieces = PieceLimits {
        map_registers: v2.map_registers(),
        maximum_length: model.v2.maximum_length,
        alignment: v2.alignment(passive),
    };
    let pieces_v3 = hardware.v3.as_ref().map(|v3| PieceLimits {
        map_registers: v3.map_registers(),
        maximum_length: model.v3.maximum_length,
        alignment: v3.alignment(passive),
    });
    {
        let mut state = context.state.lock(passive);
        state.pieces_v3 = pieces_v3.unwrap_or(pieces);
        state.pieces = pieces;
    }
    allocate_buffers(context, hardware, model, passive)
}

/// The common buffers that transfers go through. Of a kind there may be fewer than the model asks
/// for, and without version 3 there is no uncached one; one cached buffer there must be.
fn allocate_buffers(
    context: &DeviceContext,
    hardware: &Hardware,
    model: &Model,
    passive: &Passive,
) -> Result<(), DmaError> {
    let Some(v2) = hardware.v2.as_ref() else { return Err(DmaError::NoAdapter) };
    for number in 0..model.common_buffers {
        // A buffer has no more pages than there are map registers (DMA-26).
        let room = v2.map_registers().saturating_mul(PAGE_SIZE);
        match CommonBuffer::allocate(v2, model.common_buffer_length.min(room), passive) {
            Ok(mut buffer) => {
                buffer.clear();
                context.state.lock(passive).cached.give(buffer);
            }
            Err(error) if number == 0 => return Err(error),
            Err(_) => break,
        }
    }
    let Some(v3) = hardware.v3.as_ref() else { return Ok(()) };
    for _ in 0..model.common_buffers {
        let room = v3.map_registers().saturating_mul(PAGE_SIZE);
        let length = model.common_buffer_length.min(room);
        let Ok(mut buffer) = CommonBuffer::allocate_uncached(v3, length, passive) else { break };
        buffer.clear();
        context.state.lock(passive).uncached.give(buffer);
    }
    Ok(())
}

/// Memory for the slots' lists and transfer contexts, so that no transfer allocates any.
fn allocate_lists(
    context: &DeviceContext,
    hardware: &mut Hardware,
    pages_max: u32,
    passive: &Passive,
) -> Result<(), NTSTATUS> {
    let Some(v2) = hardware.v2.as_ref() else { return Ok(()) };
    let length = v2.list_length(pages_max).map_err(DmaError::status)?;
    let length_v3 = hardware.v3.as_ref().and_then(|v3| v3.list_length(pages_max).ok());
    let length = length.max(length_v3.unwrap_or(0));
    let stride = length
        .checked_add(TRANSFER_CONTEXT_LENGTH)
        .and_then(|sum| sum.checked_next_multiple_of(16))
        .ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    // CAST: a small constant.
    let total = SIZE_T::from(stride).saturating_mul(SLOT_COUNT as u64);
    // SAFETY: nonpaged memory, freed in `release`.
    let lists = unsafe { ntddk::ExAllocatePool2(POOL_FLAG_NON_PAGED, total, POOL_TAG) };
    if lists.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    hardware.lists = lists;
    let mut state = context.state.lock(passive);
    let mut at = lists;
    for slot in &mut state.slots {
        // SAFETY: a part of the block for this slot alone, which has one transfer at a time; pool
        // is 16-aligned and so is each part (DMA-59).
        slot.transfer_context = unsafe { TransferContext::new(at) };
        // CAST: a small constant.
        let list = at.wrapping_byte_add(TRANSFER_CONTEXT_LENGTH as usize);
        // SAFETY: as above; lists are put before the block is freed (DMA-80).
        slot.list_buffer = unsafe { ListBuffer::new(list, length) };
        // CAST: 32 bits fit a 64-bit usize.
        at = at.wrapping_byte_add(stride as usize);
    }
    Ok(())
}

/// Completes what clients are told, and opens the hardware for transfers.
fn publish(
    context: &DeviceContext,
    (limits, mut reply): (Limits, QueryReply),
    abilities: Abilities,
    passive: &Passive,
) {
    let interrupt = crate::interrupt::connection(context);
    context.registers.exerciser.connect(interrupt.messages());
    let mut state = context.state.lock(passive);
    reply.driver_major = version(env!("CARGO_PKG_VERSION_MAJOR"));
    reply.driver_minor = version(env!("CARGO_PKG_VERSION_MINOR"));
    reply.driver_patch = version(env!("CARGO_PKG_VERSION_PATCH"));
    reply.interrupt_kind = interrupt.kind.code();
    reply.interrupt_count = interrupt.count;
    crate::trace::trace(crate::trace::Event::HardwarePrepared {
        map_registers_v2: reply.adapter_v2.map_registers,
        map_registers_v3: reply.adapter_v3.map_registers,
    });
    // After a rebalance a path can be gone for which a request has waited all the while.
    for slot in &mut state.slots {
        if slot.asked.as_ref().is_some_and(|asked| !limits.is_available(asked.path())) {
            slot.end(protocol::status::DEVICE_FEATURE_NOT_SUPPORTED);
        }
    }
    state.engine.told_to_end = true;
    state.engine.abilities = abilities;
    state.limits = limits;
    state.reply = reply;
    state.present = true;
}

/// A number of the package's version.
fn version(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

/// Gives everything back, each thing once, whatever [`prepare`] acquired (KMDF-02). If the device
/// never stopped, what it may still use is abandoned: never freed, never put.
pub(crate) fn release(context: &DeviceContext, never_stopped: bool, passive: &Passive) {
    context.registers.unmap();
    {
        let mut state = context.state.lock(passive);
        state.present = false;
        for slot in &mut state.slots {
            slot.list_buffer = ListBuffer::NONE;
            slot.transfer_context = TransferContext::NONE;
        }
    }
    // SAFETY: `present` is cleared, and the caller has seen the pump rest with nothing pending; if
    // something never ended, the hardware stays in place for it.
    let hardware = unsafe { context.hardware_mut() };
    let (v2, v3) = (hardware.v2.take(), hardware.v3.take());
    put(hardware.system.take(), never_stopped, passive);
    release_shared(hardware.shared.take(), v2.as_ref(), never_stopped, passive);
    while let Some(buffer) = { context.state.lock(passive).cached.take() } {
        match &v2 {
            Some(adapter) if !never_stopped => buffer.release(adapter, passive),
            _ => buffer.abandon(),
        }
    }
    while let Some(buffer) = { context.state.lock(passive).uncached.take() } {
        match &v3 {
            Some(adapter) if !never_stopped => buffer.release(adapter, passive),
            _ => buffer.abandon(),
        }
    }
    put(v2, never_stopped, passive);
    put(v3, never_stopped, passive);
    let lists = core::mem::replace(&mut hardware.lists, ptr::null_mut());
    if !lists.is_null() && !never_stopped {
        // SAFETY: the block of `allocate_lists`; every list was put (DMA-80).
        unsafe { ntddk::ExFreePoolWithTag(lists, POOL_TAG) };
    }
    for window in [&mut hardware.registers, &mut hardware.memory] {
        core::mem::replace(window, Window::NONE).unmap();
    }
}

fn release_shared(
    shared: Option<Memory>,
    v2: Option<&Adapter<V2>>,
    never_stopped: bool,
    passive: &Passive,
) {
    let Some(mut shared) = shared else { return };
    match v2 {
        // SAFETY: the device rests, or is gone, as the caller has seen.
        Some(adapter) if !never_stopped => unsafe { shared.release(adapter, passive) },
        _ => shared.abandon(),
    }
}

fn put<V: wdk_dma::adapter::Version>(
    adapter: Option<Adapter<V>>,
    never_stopped: bool,
    passive: &Passive,
) {
    let Some(adapter) = adapter else { return };
    if never_stopped {
        adapter.abandon();
    } else if let Err(adapter) = adapter.release(passive) {
        crate::trace::trace(crate::trace::Event::AdapterAbandoned);
        adapter.abandon();
    }
}
