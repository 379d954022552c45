//! IRPs as WDM drivers see them: the packet, its stack locations, and their way down and up.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wdk_lite::*;

use super::{Wdm, driver, foreign};
use crate::RuleId;
use crate::ddi::callback::{self, routine};
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// The type in an IRP (wdm.h).
const IO_TYPE_IRP: i16 = 6;
/// Stack locations of every packet: the devices of a stack here are few.
const DEPTH: usize = 8;

/// An IRP, its stack locations behind it as drivers expect, and whether it is complete.
#[repr(C)]
pub(super) struct Packet {
    irp: UnsafeCell<IRP>,
    stack: UnsafeCell<[IO_STACK_LOCATION; DEPTH]>,
    done: AtomicBool,
}

const _: () = assert!(std::mem::offset_of!(Packet, stack) == size_of::<IRP>());

/// A packet of a machine, which keeps every packet for as long as it exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketRef(NonNull<Packet>);

// SAFETY: whoever holds the IRP is alone in using it, by the I/O manager's rules; `done` is atomic.
unsafe impl Send for PacketRef {}
// SAFETY: as above.
unsafe impl Sync for PacketRef {}

impl fmt::Debug for PacketRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IRP at {:p}", self.0)
    }
}

impl Deref for PacketRef {
    type Target = Packet;

    fn deref(&self) -> &Packet {
        // SAFETY: a packet of the pool, which lives as long as its machine.
        unsafe { self.0.as_ref() }
    }
}

/// A machine's packets.
#[derive(Default)]
pub(super) struct Pool(Mutex<Packets>);

#[derive(Default)]
struct Packets {
    /// Drivers have their addresses, and a `Box` would be the only way to what it holds.
    all: Vec<Rc<Packet>>,
    free: Vec<PacketRef>,
}

// SAFETY: the packets are reached through `PacketRef`s only.
unsafe impl Send for Packets {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} IRPs", self.0.lock().all.len())
    }
}

impl Packet {
    fn new() -> Self {
        // SAFETY: plain data, pointers and optional functions; zero is a value of each.
        let irp: IRP = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let stack: [IO_STACK_LOCATION; DEPTH] = unsafe { std::mem::zeroed() };
        let done = AtomicBool::new(false);
        Self { irp: UnsafeCell::new(irp), stack: UnsafeCell::new(stack), done }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn pointer(&self) -> PIRP {
        self.irp.get()
    }

    /// The stack location of this number, from 1; the highest one is the first driver's.
    fn location(&self, number: i8) -> *mut IO_STACK_LOCATION {
        let first: *mut IO_STACK_LOCATION = self.stack.get().cast();
        // CAST: between 1 and DEPTH.
        first.wrapping_add((number - 1) as usize)
    }

    /// The first driver's location.
    pub(super) fn first(&self) -> *mut IO_STACK_LOCATION {
        // SAFETY: the caller owns the IRP.
        self.location(unsafe { (*self.pointer()).StackCount })
    }

    /// The result.
    pub(super) fn result(&self) -> (NTSTATUS, u64) {
        // SAFETY: complete, so no driver uses it; the status is always written as such.
        let block = unsafe { (*self.pointer()).IoStatus };
        // SAFETY: a status, by the rule above.
        (unsafe { block.__bindgen_anon_1.Status }, block.Information)
    }
}

impl Wdm {
    /// A packet for a stack of `depth` devices, with what `prepare` puts into the IRP and the
    /// first driver's location.
    pub(super) fn packet(
        &self,
        depth: i8,
        prepare: impl FnOnce(&mut IRP, &mut IO_STACK_LOCATION),
    ) -> PacketRef {
        let packet = {
            let mut packets = self.packets.0.lock();
            packets.free.pop().unwrap_or_else(|| {
                let packet = Rc::new(Packet::new());
                let pointer = PacketRef(NonNull::from(&*packet));
                packets.all.push(packet);
                pointer
            })
        };
        // CAST: DEPTH is 8.
        let depth = depth.clamp(1, DEPTH as i8);
        let fresh = Packet::new();
        let (mut irp, mut stack) = (fresh.irp.into_inner(), fresh.stack.into_inner());
        irp.Type = IO_TYPE_IRP;
        // CAST: below 1 KiB, and below 8.
        irp.Size = (size_of::<IRP>() + depth as usize * size_of::<IO_STACK_LOCATION>()) as u16;
        irp.StackCount = depth;
        irp.CurrentLocation = depth + 1;
        irp.Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation =
            packet.location(depth + 1);
        prepare(&mut irp, &mut stack[depth as usize - 1]);
        // SAFETY: free until now, so nobody else uses it.
        unsafe { packet.irp.get().write(irp) };
        // SAFETY: as above.
        unsafe { packet.stack.get().write(stack) };
        packet.done.store(false, Ordering::Release);
        packet
    }

    /// Takes a packet back.
    pub(super) fn give_back(&self, packet: PacketRef) {
        self.packets.0.lock().free.push(packet);
    }

    /// The packet at a driver's pointer.
    pub(super) fn packet_at(&self, irp: PIRP) -> Result<PacketRef, Violation> {
        let packets = self.packets.0.lock();
        let packet = packets.all.iter().find(|packet| packet.pointer() == irp);
        packet.map(|packet| PacketRef(NonNull::from(&**packet))).ok_or_else(|| foreign("IRP"))
    }

    /// Passes an IRP to the next lower location and its driver (IofCallDriver).
    pub(super) fn call(
        &self,
        kernel: &Kernel,
        device: PDEVICE_OBJECT,
        packet: PacketRef,
    ) -> Result<NTSTATUS, Violation> {
        let device = self.known(device)?;
        let irp = packet.pointer();
        // SAFETY: the caller owns the IRP.
        let location = unsafe { (*irp).CurrentLocation } - 1;
        if location < 1 {
            let message = "an IRP was passed on that has no stack location left";
            // CAST: an address.
            let code = [irp.addr() as u64, 0, 0, 0];
            return Err(broken(RuleId::Sim11, message).code(0x35, code));
        }
        move_to(packet, location);
        let current = packet.location(location);
        // SAFETY: a location of the packet, which the caller owns.
        unsafe { (*current).DeviceObject = device };
        // SAFETY: as above.
        let major = unsafe { (*current).MajorFunction };
        // SAFETY: a device object of this machine.
        let owner = unsafe { (*device).DriverObject };
        if owner.is_null() {
            return self.bus(kernel, packet, current);
        }
        // SAFETY: its driver's object.
        let dispatch = unsafe { driver::dispatch(owner, major) };
        if !dispatch.is_some() {
            return self.answer(kernel, packet, STATUS_INVALID_DEVICE_REQUEST);
        }
        // SAFETY: the driver's dispatch routine with its device and an IRP for it.
        Ok(unsafe { callback::DRIVER_DISPATCH(kernel, dispatch, device, irp) })
    }

    /// Completes an IRP with a status, for a driver that is the machine's own.
    pub(super) fn answer(
        &self,
        kernel: &Kernel,
        packet: PacketRef,
        status: NTSTATUS,
    ) -> Result<NTSTATUS, Violation> {
        // SAFETY: the caller owns the IRP.
        unsafe { (*packet.pointer()).IoStatus.__bindgen_anon_1 = status_union(status) };
        self.complete(kernel, packet)?;
        Ok(status)
    }

    /// The way up: each higher driver's completion routine, then the requester
    /// (IofCompleteRequest).
    pub(super) fn complete(&self, kernel: &Kernel, packet: PacketRef) -> Result<(), Violation> {
        let irp = packet.pointer();
        // CAST: an address.
        let code = [irp.addr() as u64, 0, 0, 0];
        if packet.is_done() {
            return Err(broken(RuleId::Kmdf21, "an IRP was completed twice").code(0x44, code));
        }
        // SAFETY: the caller owns the IRP.
        if unsafe { (*irp).CancelRoutine }.is_some() {
            let message = "an IRP was completed while its cancel routine was still set";
            return Err(broken(RuleId::Kmdf27, message).code(0x48, code));
        }
        let (status, _) = packet.result();
        if status == STATUS_PENDING {
            let message = "an IRP was completed with STATUS_PENDING";
            return Err(broken(RuleId::Kmdf23, message).code(0x44, code));
        }
        loop {
            // SAFETY: the caller owns the IRP.
            let location = unsafe { (*irp).CurrentLocation };
            // SAFETY: as above.
            let count = unsafe { (*irp).StackCount };
            if location > count {
                break;
            }
            move_to(packet, location + 1);
            if self.completion_routine(kernel, packet, location) == STATUS_MORE_PROCESSING_REQUIRED
            {
                return Ok(());
            }
        }
        // SAFETY: as above.
        let mdl = std::mem::replace(unsafe { &mut (*irp).MdlAddress }, std::ptr::null_mut());
        if !mdl.is_null() {
            kernel.memory.release_mdl(kernel, mdl)?;
        }
        packet.done.store(true, Ordering::Release);
        kernel.poke();
        Ok(())
    }

    /// Calls the routine that the driver above left in the location `number`, if it asked for it.
    fn completion_routine(&self, kernel: &Kernel, packet: PacketRef, number: i8) -> NTSTATUS {
        let irp = packet.pointer();
        // SAFETY: a location of a packet that the caller owns.
        let lower = unsafe { packet.location(number).read() };
        // SAFETY: as above.
        let count = unsafe { (*irp).StackCount };
        // SAFETY: as above.
        let cancelled = unsafe { (*irp).Cancel } != 0;
        let pending = u32::from(lower.Control) & SL_PENDING_RETURNED != 0;
        // SAFETY: as above.
        unsafe { (*irp).PendingReturned = pending.into() };
        let is_last = number == count;
        let upper = packet.location(number + 1);
        let (status, _) = packet.result();
        let wanted = if NT_SUCCESS(status) { SL_INVOKE_ON_SUCCESS } else { SL_INVOKE_ON_ERROR }
            | if cancelled { SL_INVOKE_ON_CANCEL } else { 0 };
        let routine = routine(lower.CompletionRoutine);
        if routine.is_some() && u32::from(lower.Control) & wanted != 0 {
            let device = match is_last {
                true => std::ptr::null_mut(),
                // SAFETY: the location above is one of the packet's.
                false => unsafe { (*upper).DeviceObject },
            };
            // SAFETY: the driver's own routine with its device, the IRP and its context.
            return unsafe {
                callback::IO_COMPLETION_ROUTINE(kernel, routine, device, irp, lower.Context)
            };
        }
        if pending && !is_last {
            // Nobody above looked, so the mark goes up.
            // CAST: 1. SAFETY: as above.
            unsafe { (*upper).Control |= SL_PENDING_RETURNED as u8 };
        }
        STATUS_SUCCESS
    }
}

fn status_union(status: NTSTATUS) -> _IO_STATUS_BLOCK__bindgen_ty_1 {
    _IO_STATUS_BLOCK__bindgen_ty_1 { Status: status }
}

/// Makes the location with this number the current one.
fn move_to(packet: PacketRef, number: i8) {
    let irp = packet.pointer();
    // SAFETY: the caller owns the IRP.
    unsafe { (*irp).CurrentLocation = number };
    // SAFETY: a member of the packet's IRP.
    unsafe { current_stack_location(irp).write(packet.location(number)) };
}
