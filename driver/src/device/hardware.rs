//! PrepareHardware and ReleaseHardware: registers, adapters, common buffers, memory for lists.

use core::ffi::c_void;
use core::ptr;

use dmaproof_protocol as protocol;
use protocol::{Limits, Path, Paths, PioKind, PioWindow, QueryReply};
use testdev::edu as map;
use wdk_dma::irql::Passive;
use wdk_dma::scatter_gather::ListBuffer;
use wdk_dma::v3::{TRANSFER_CONTEXT_LENGTH, TransferContext};
use wdk_dma::{Adapter, CommonBuffer, Description, DmaError, PieceLimits, System, V2, V3};

use super::{DeviceContext, slave};
use crate::POOL_TAG;
use crate::engine::{self, edu};
use crate::sys::{
    CM_PARTIAL_RESOURCE_DESCRIPTOR, CmResourceTypeMemory, NTSTATUS, PAGE_NOCACHE, PAGE_READWRITE,
    PAGE_SIZE, PDEVICE_OBJECT, PHYSICAL_ADDRESS, POOL_FLAG_NON_PAGED, SIZE_T,
    STATUS_DEVICE_CONFIGURATION_ERROR, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED,
    WDFCMRESLIST, call_unsafe_wdf_function_binding, ntddk,
};
use crate::transfer::slot::SLOT_COUNT;
use crate::transfer::state::State;

/// Longest single operation of the adapters, bytes: the device's whole window.
const MAXIMUM_LENGTH: u32 = 4095;
const _: () = assert!(MAXIMUM_LENGTH as u64 == edu::MEMORY_LENGTH);

/// Length of a common buffer: one page, which holds the device's window (DMA-22).
const COMMON_BUFFER_LENGTH: u32 = PAGE_SIZE;

/// Pages that one operation can touch: its length, unaligned.
const PAGES_MAX: u32 = 2;

/// Neither 32-bit nor 64-bit addresses nor, on PCI, scatter/gather, which implies 32 bits: 24 bits
/// are the widest reach below edu's 28 that version 2 can name (DMA-05).
const VERSION_2: Description =
    Description { address_width: 24, scatter_gather: false, maximum_length: MAXIMUM_LENGTH };

/// Version 3 takes the number of bits as it is (DMA-06).
const VERSION_3: Description = Description {
    address_width: edu::ADDRESS_WIDTH,
    scatter_gather: false,
    maximum_length: MAXIMUM_LENGTH,
};

/// What the device has while it is started. Common buffers are in the state, behind the lock.
#[derive(Debug)]
pub(crate) struct Hardware {
    pub(crate) v2: Option<Adapter<V2>>,
    pub(crate) v3: Option<Adapter<V3>>,
    pub(crate) system: Option<Adapter<System>>,
    registers: *mut c_void,
    registers_length: SIZE_T,
    lists: *mut c_void,
}

impl Hardware {
    pub(crate) const NONE: Self = Self {
        v2: None,
        v3: None,
        system: None,
        registers: ptr::null_mut(),
        registers_length: 0,
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
    let channel = slave::find_channel(resources);
    map_registers(context, hardware, resources, channel.is_some())?;
    if let Some(channel) = channel {
        slave::open_adapter(context, hardware, channel, passive).map_err(start_status)?;
    } else {
        open_adapters(context, hardware, passive).map_err(start_status)?;
        allocate_lists(context, hardware, passive)?;
    }
    publish(context, hardware, passive);
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

/// Finds the registers by type and length among the translated resources (KMDF-01).
fn find_registers(resources: WDFCMRESLIST, needed: u64) -> Option<(PHYSICAL_ADDRESS, u32)> {
    descriptors(resources).find_map(|descriptor| {
        if u32::from(descriptor.Type) != CmResourceTypeMemory {
            return None;
        }
        // SAFETY: the type says which member of the union is there.
        let memory = unsafe { descriptor.u.Memory };
        let (start, length) = (memory.Start, memory.Length);
        (u64::from(length) >= needed).then_some((start, length))
    })
}

fn map_registers(
    context: &DeviceContext,
    hardware: &mut Hardware,
    resources: WDFCMRESLIST,
    is_slave: bool,
) -> Result<(), NTSTATUS> {
    let needed = if is_slave { engine::slave::REGISTERS_LENGTH } else { edu::REGISTERS_LENGTH };
    let (start, length) =
        find_registers(resources, needed).ok_or(STATUS_DEVICE_CONFIGURATION_ERROR)?;
    let length = SIZE_T::from(length);
    // SAFETY: a translated memory resource of this device, whole, uncached (KMDF-04).
    let registers = unsafe { ntddk::MmMapIoSpaceEx(start, length, PAGE_READWRITE | PAGE_NOCACHE) };
    if registers.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    hardware.registers = registers;
    hardware.registers_length = length;
    if is_slave {
        // SAFETY: mapped until `release`, which unmaps it here first; long enough by the search.
        unsafe { context.registers.slave.map(registers.cast()) };
    } else {
        // SAFETY: as above.
        unsafe { context.registers.edu.map(registers.cast()) };
    }
    Ok(())
}

/// The device's PDO.
pub(super) fn physical_device(context: &DeviceContext) -> PDEVICE_OBJECT {
    // SAFETY: the live device.
    unsafe { call_unsafe_wdf_function_binding!(WdfDeviceWdmGetPhysicalDevice, context.device()) }
}

fn open_adapters(
    context: &DeviceContext,
    hardware: &mut Hardware,
    passive: &Passive,
) -> Result<(), DmaError> {
    let physical = physical_device(context);
    // SAFETY: the PDO, during device start (DMA-02).
    let v2 = unsafe { Adapter::<V2>::open(physical, &VERSION_2, passive) }?;
    let v2 = hardware.v2.insert(v2);
    // SAFETY: as above. Without version 3 its paths are not available (DMA-04).
    hardware.v3 = unsafe { Adapter::<V3>::open(physical, &VERSION_3, passive) }.ok();

    let mut cached = CommonBuffer::allocate(v2, COMMON_BUFFER_LENGTH, passive)?;
    cached.clear();
    let uncached = hardware.v3.as_ref().and_then(|v3| {
        let buffer = CommonBuffer::allocate_uncached(v3, COMMON_BUFFER_LENGTH, passive);
        buffer.ok().map(|mut buffer| {
            buffer.clear();
            buffer
        })
    });
    let pieces = PieceLimits {
        map_registers: v2.map_registers(),
        maximum_length: MAXIMUM_LENGTH,
        alignment: v2.alignment(passive),
    };
    let pieces_v3 = hardware.v3.as_ref().map(|v3| PieceLimits {
        map_registers: v3.map_registers(),
        maximum_length: MAXIMUM_LENGTH,
        alignment: v3.alignment(passive),
    });
    let mut state = context.state.lock(passive);
    state.pieces_v3 = pieces_v3.unwrap_or(pieces);
    state.cached = Some(cached);
    state.uncached = uncached;
    state.pieces = pieces;
    Ok(())
}

/// Memory for the slots' lists and transfer contexts, so that no transfer allocates any.
fn allocate_lists(
    context: &DeviceContext,
    hardware: &mut Hardware,
    passive: &Passive,
) -> Result<(), NTSTATUS> {
    let Some(v2) = hardware.v2.as_ref() else { return Ok(()) };
    let length = v2.list_length(PAGES_MAX).map_err(DmaError::status)?;
    let length_v3 = hardware.v3.as_ref().and_then(|v3| v3.list_length(PAGES_MAX).ok());
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

/// Works out what clients are told, and opens the hardware for transfers.
fn publish(context: &DeviceContext, hardware: &Hardware, passive: &Passive) {
    let interrupt = crate::interrupt::kind(context);
    let mut state = context.state.lock(passive);
    let (limits, mut reply) = match &hardware.system {
        Some(adapter) => slave::describe(adapter, state.pieces.alignment),
        None => describe_edu(hardware, &state),
    };
    reply.driver_major = version(env!("CARGO_PKG_VERSION_MAJOR"));
    reply.driver_minor = version(env!("CARGO_PKG_VERSION_MINOR"));
    reply.driver_patch = version(env!("CARGO_PKG_VERSION_PATCH"));
    reply.interrupt_kind = interrupt.code();
    reply.interrupt_count = u32::from(interrupt != protocol::InterruptKind::None);
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
    state.limits = limits;
    state.reply = reply;
    state.present = true;
}

/// What clients are told about edu.
fn describe_edu(hardware: &Hardware, state: &State) -> (Limits, QueryReply) {
    let mut paths = Paths::EMPTY.with(Path::Packet).with(Path::ScatterGather).with(Path::Pio);
    if state.cached.is_some() {
        paths = paths.with(Path::CommonBufferCached);
    }
    if state.uncached.is_some() {
        paths = paths.with(Path::CommonBufferUncached);
    }
    if hardware.v3.is_some() {
        paths = paths.with(Path::Version3);
    }
    let limits = Limits {
        memory_length: edu::MEMORY_LENGTH,
        transfer_length_max: edu::MEMORY_LENGTH,
        paths,
        pio: PioWindow {
            kind: PioKind::Registers,
            alignment: 4,
            length: edu::PIO_LENGTH,
            writable_offset: map::LIVENESS,
            writable_length: 4,
        },
    };
    let mut reply = QueryReply::new(&limits);
    reply.device_kind = protocol::DeviceKind::Edu.code();
    reply.pci_vendor = map::VENDOR_ID;
    reply.pci_device = map::DEVICE_ID;
    reply.pci_revision = u32::from(map::REVISION);
    if let Some(v2) = &hardware.v2 {
        reply.adapter_v2 = describe(v2, &VERSION_2, 2, state.pieces.alignment);
    }
    if let Some(v3) = &hardware.v3 {
        reply.adapter_v3 = describe(v3, &VERSION_3, 3, state.pieces_v3.alignment);
    }
    (limits, reply)
}

fn describe<V: wdk_dma::adapter::Version>(
    adapter: &Adapter<V>,
    description: &Description,
    version: u32,
    alignment: u32,
) -> protocol::AdapterInfo {
    protocol::AdapterInfo {
        present: 1,
        description_version: version,
        map_registers: adapter.map_registers(),
        address_width_bits: description.address_width,
        alignment,
        scatter_gather: u32::from(description.scatter_gather),
        maximum_length: u64::from(description.maximum_length),
    }
}

/// A number of the package's version.
fn version(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

/// Gives everything back, each thing once, whatever [`prepare`] acquired (KMDF-02). If the device
/// never stopped, what it may still use is abandoned: never freed, never put.
pub(crate) fn release(context: &DeviceContext, never_stopped: bool, passive: &Passive) {
    context.registers.unmap();
    let (cached, uncached) = {
        let mut state = context.state.lock(passive);
        state.present = false;
        for slot in &mut state.slots {
            slot.list_buffer = ListBuffer::NONE;
            slot.transfer_context = TransferContext::NONE;
        }
        (state.cached.take(), state.uncached.take())
    };
    // SAFETY: `present` is cleared, and the caller has seen the pump rest with nothing pending; if
    // something never ended, the hardware stays in place for it.
    let hardware = unsafe { context.hardware_mut() };
    let (v2, v3) = (hardware.v2.take(), hardware.v3.take());
    put(hardware.system.take(), never_stopped, passive);
    match (cached, &v2) {
        (Some(buffer), _) if never_stopped => buffer.abandon(),
        (Some(buffer), Some(adapter)) => buffer.release(adapter, passive),
        _ => {}
    }
    match (uncached, &v3) {
        (Some(buffer), _) if never_stopped => buffer.abandon(),
        (Some(buffer), Some(adapter)) => buffer.release(adapter, passive),
        _ => {}
    }
    put(v2, never_stopped, passive);
    put(v3, never_stopped, passive);
    let lists = core::mem::replace(&mut hardware.lists, ptr::null_mut());
    if !lists.is_null() && !never_stopped {
        // SAFETY: the block of `allocate_lists`; every list was put (DMA-80).
        unsafe { ntddk::ExFreePoolWithTag(lists, POOL_TAG) };
    }
    let registers = core::mem::replace(&mut hardware.registers, ptr::null_mut());
    if !registers.is_null() {
        // SAFETY: mapped by `map_registers` with this length; `edu` has forgotten it (KMDF-04).
        unsafe { ntddk::MmUnmapIoSpace(registers, hardware.registers_length) };
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
