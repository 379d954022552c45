//! Section F and G, continued: version 3's lists and synchronous allocations, through the types of
//! wdk-dma. None of these transfers calls KeFlushIoBuffers, and a strict machine does not mind
//! (DMA-88).

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use dmaproof_tests::lab::ddk::{at_level, wait};
use dmaproof_tests::lab::{Lab, MAXIMUM_LENGTH, Routine, Transfer as Raw};
use dmaproof_tests::{Bench, Case, rule_tests};
use testdev::model::edu::Edu;
use wdk_dma::scatter_gather::ListBuffer;
use wdk_dma::v3::{BuildingV3, ListMemory, ListRequestV3, PendingV3, TransferContext};
use wdk_dma::{Adapter, Direction, Dispatch, DmaError, MdlChain, ScatterGatherList, Transfer, V3};
use wdk_lite::*;

use crate::lists::sg3;

/// Bytes of a list's memory.
const LIST: u32 = 4096;

rule_tests! {
    answer a_list_in_the_systems_memory {
        [Dma81, Dma88],
        both_ways(|lab, request| listed(lab, request, Whose::System, When::Later)),
    }
    answer a_list_in_the_drivers_memory {
        [Dma81, Dma88],
        both_ways(|lab, request| listed(lab, request, Whose::Driver, When::Later)),
    }
    answer a_list_in_the_systems_memory_at_once {
        [Dma81, Dma62],
        both_ways(|lab, request| listed(lab, request, Whose::System, When::Now)),
    }
    answer a_list_in_the_drivers_memory_at_once {
        [Dma81, Dma62],
        both_ways(|lab, request| listed(lab, request, Whose::Driver, When::Now)),
    }
    answer a_pending_list_can_be_cancelled {
        [Dma68, Dma81],
        sg3(cancel_pending).machine(|builder| builder.map_registers(Some(2))).seeds(4),
    }
    answer a_list_that_was_built_cannot_be_cancelled {
        [Dma68],
        sg3(cancel_too_late).seeds(4),
    }
    answer a_synchronous_allocation_with_its_object {
        [Dma63, Dma21, Dma88],
        both_ways(synchronous),
    }
    answer a_synchronous_allocation_of_what_is_taken {
        [Dma62],
        sg3(nothing_free).machine(|builder| builder.map_registers(Some(2))),
    }
}

/// A case that moves data to the device and back with this routine.
const fn both_ways(routine: Routine) -> Case {
    sg3(routine).scenario(there_and_back).seeds(6)
}

fn there_and_back(bench: &mut Bench) {
    let data: Vec<u8> = (0..3000).map(|n: u32| (n * 17 + 9) as u8).collect();
    assert_eq!(bench.transfer(METHOD_IN_DIRECT, &data), data, "the source is intact");
    let memory = bench.machine.device_model(bench.slot(), |edu: &mut Edu| edu.memory().to_vec());
    assert_eq!(memory.expect("it is an edu")[..3000], data);
    assert_eq!(bench.transfer(METHOD_OUT_DIRECT, &[0; 3000]), data);
}

#[derive(Clone, Copy)]
enum Whose {
    System,
    Driver,
}

#[derive(Clone, Copy)]
enum When {
    Now,
    Later,
}

/// What AdapterListControl was given.
#[derive(Default)]
struct Got(Cell<usize>);

unsafe extern "C" fn list_control(
    _device: *mut _DEVICE_OBJECT,
    _irp: *mut _IRP,
    list: PSCATTER_GATHER_LIST,
    context: *mut c_void,
) {
    // SAFETY: the routine that asked waits for this call.
    let got = unsafe { &*context.cast::<Got>() };
    got.0.set(list.expose_provenance());
}

/// A transfer with its memory, freed at the end.
struct Memory<'l> {
    lab: &'l Lab,
    context: PVOID,
    list: PVOID,
}

impl<'l> Memory<'l> {
    fn new(lab: &'l Lab) -> Self {
        let context = lab.pool(DMA_TRANSFER_CONTEXT_SIZE_V1.into());
        Self { lab, context, list: lab.pool(LIST.into()) }
    }

    fn context(&self) -> TransferContext {
        // SAFETY: pool of the right size, used for one transfer at a time.
        unsafe { TransferContext::new(self.context) }
    }

    fn of(&self, whose: Whose) -> ListMemory {
        match whose {
            Whose::System => ListMemory::System,
            // SAFETY: pool of this size, used for one list at a time.
            Whose::Driver => ListMemory::Driver(unsafe { ListBuffer::new(self.list, LIST) }),
        }
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.lab.free(self.context);
        self.lab.free(self.list);
    }
}

/// The lab's adapter, for wdk-dma; the lab keeps it.
fn adapter(lab: &Lab) -> Adapter<V3> {
    let pointer = NonNull::new(lab.adapter.get().0).expect("the lab has an adapter");
    // SAFETY: LAB: the lab's adapter is of version 3 and outlives the request.
    unsafe { Adapter::from_enabler(pointer, lab.granted.get(), MAXIMUM_LENGTH) }
}

/// The request's transfer, without an owner: the lab completes the request.
fn transfer(lab: &Lab, request: WDFREQUEST) -> Transfer<()> {
    let raw = Raw::new(lab, request);
    let direction = if raw.to_device { Direction::ToDevice } else { Direction::FromDevice };
    // SAFETY: LAB: the request's MDL lives until the lab completes it.
    unsafe {
        let chain = MdlChain::new(raw.mdl).expect("the request has an MDL");
        Transfer::new((), chain, direction, raw.length.into()).expect("it has bytes")
    }
}

/// At DISPATCH_LEVEL.
fn dispatch<R>(body: impl FnOnce(&Dispatch) -> R) -> R {
    // SAFETY: LAB; the level is raised around the token's life.
    unsafe { at_level(DISPATCH_LEVEL, || body(&Dispatch::assume())) }
}

/// Runs the device over a list and puts it.
fn work_off(lab: &Lab, adapter: &Adapter<V3>, mut list: ScatterGatherList<()>) -> Transfer<()> {
    let to_device = list.transfer().direction() == Direction::ToDevice;
    while let Some((element, before)) = list.current() {
        start_at(lab, element.address.bits(), element.length, before, to_device);
        list.elements_done(1);
    }
    lab.check(list.is_complete(), "every element was worked on");
    // SAFETY: LAB: the device is idle.
    dispatch(|level| unsafe { list.put(adapter, level) })
}

/// Runs edu between a logical address and byte `before` of its buffer.
fn start_at(lab: &Lab, logical: u64, length: u32, before: u32, to_device: bool) {
    use testdev::edu;

    let device = edu::BUFFER_ADDRESS + u64::from(before);
    let (from, to) = if to_device { (logical, device) } else { (device, logical) };
    let direction = if to_device { edu::Direction::ToDevice } else { edu::Direction::FromDevice };
    lab.write64(edu::DMA_SOURCE, from);
    lab.write64(edu::DMA_DESTINATION, to);
    lab.write64(edu::DMA_COUNT, length.into());
    lab.write64(edu::DMA_COMMAND, edu::Command::start(direction).bits());
    lab.check(lab.wait_for_device(), "the device did not finish");
}

fn end(lab: &Lab, transfer: Transfer<()>) -> NTSTATUS {
    let finished = transfer.finish();
    lab.check(finished.outcome.is_ok(), "a step failed");
    lab.information.set(finished.bytes);
    STATUS_SUCCESS
}

fn ask(
    lab: &Lab,
    adapter: &Adapter<V3>,
    memory: &Memory<'_>,
    request: WDFREQUEST,
    whose: Whose,
) -> (BuildingV3<()>, ListRequestV3) {
    let prepared = dispatch(|level| {
        let (context, list) = (memory.context(), memory.of(whose));
        transfer(lab, request).build_list_v3(adapter, context, list, 1, level)
    });
    prepared.expect("the whole buffer can be mapped")
}

/// A whole transfer by a list.
fn listed(lab: &Lab, request: WDFREQUEST, whose: Whose, when: When) -> NTSTATUS {
    let (adapter, memory) = (adapter(lab), Memory::new(lab));
    let (building, list) = ask(lab, &adapter, &memory, request, whose);
    let address = match when {
        When::Now => {
            // SAFETY: LAB.
            let built = dispatch(|level| unsafe { list.build_now(lab.fdo, level) });
            built.expect("registers are free")
        }
        When::Later => {
            let got = Got::default();
            issue(lab, list, &got).expect("the build is accepted");
            // SAFETY: LAB.
            let came = unsafe { wait(1000, || got.0.get() != 0) };
            lab.check(came, "AdapterListControl never ran");
            ptr::with_exposed_provenance_mut(got.0.get())
        }
    };
    // SAFETY: LAB: the list of this very request.
    let list = unsafe { building.listed(&adapter, address) };
    end(lab, work_off(lab, &adapter, list))
}

fn issue(lab: &Lab, list: ListRequestV3, got: &Got) -> Result<(), DmaError> {
    let context = ptr::from_ref(got).cast_mut().cast();
    // SAFETY: LAB: `got` outlives the call of the routine.
    dispatch(|level| unsafe { list.issue(lab.fdo, Some(list_control), context, level) })
}

fn cancel(lab: &Lab, adapter: &Adapter<V3>, memory: &Memory<'_>) -> bool {
    let pending = PendingV3::new(adapter, memory.context());
    // SAFETY: LAB.
    dispatch(|level| unsafe { pending.cancel(lab.fdo, level) })
}

/// While all registers are taken a build waits, and whoever cancels it has the transfer (DMA-68).
fn cancel_pending(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let (adapter, first, second) = (adapter(lab), Memory::new(lab), Memory::new(lab));
    let (building, list) = ask(lab, &adapter, &first, request, Whose::System);
    // SAFETY: LAB.
    let taken = dispatch(|level| unsafe { list.build_now(lab.fdo, level) });
    let taken = taken.expect("registers are free");
    // SAFETY: LAB: the list of this very request.
    let held = unsafe { building.listed(&adapter, taken) };

    let (waiting, list) = ask(lab, &adapter, &second, request, Whose::Driver);
    let got = Got::default();
    issue(lab, list, &got).expect("the build waits");
    lab.check(cancel(lab, &adapter, &second), "it was waiting");
    // SAFETY: LAB: it was cancelled.
    let transfer = unsafe { waiting.withdrawn() };
    // SAFETY: LAB: the device was never started.
    let _unused = dispatch(|level| unsafe { held.put(&adapter, level) });
    // SAFETY: LAB.
    let came = unsafe { wait(10, || got.0.get() != 0) };
    lab.check(!came, "the routine of a cancelled build ran");
    lab.check(transfer.done() == 0, "nothing of it moved");
    STATUS_SUCCESS
}

/// A build that is done belongs to its routine.
fn cancel_too_late(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let (adapter, memory) = (adapter(lab), Memory::new(lab));
    let (building, list) = ask(lab, &adapter, &memory, request, Whose::System);
    let got = Got::default();
    issue(lab, list, &got).expect("the build is accepted");
    // SAFETY: LAB.
    unsafe { wait(1000, || got.0.get() != 0) };
    lab.check(!cancel(lab, &adapter, &memory), "the list was built, so nothing is withdrawn");
    // SAFETY: LAB: the list of this very request, which the device never got.
    unsafe {
        let list = building.listed(&adapter, ptr::with_exposed_provenance_mut(got.0.get()));
        let _unused = dispatch(|level| list.put(&adapter, level));
    }
    STATUS_SUCCESS
}

/// AllocateAdapterChannelEx without a routine, MapTransferEx, FlushAdapterBuffersEx and
/// FreeAdapterObject.
fn synchronous(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let (adapter, memory) = (adapter(lab), Memory::new(lab));
    let ListMemory::Driver(list) = memory.of(Whose::Driver) else { unreachable!() };
    let prepared = dispatch(|level| {
        transfer(lab, request).allocate_v3(&adapter, memory.context(), list, level)
    });
    let (allocating, channel) = prepared.expect("the context is fresh");
    // SAFETY: LAB: the only allocation.
    let registers = dispatch(|level| unsafe { channel.take(&adapter, lab.fdo, 1, level) });
    let mut granted = allocating.granted(registers.expect("the channel is free"));
    loop {
        granted = match dispatch(|level| granted.map(level)) {
            Ok(mut mapping) => {
                let done = mapping.transfer().done();
                while let Some((element, before)) = mapping.current() {
                    let to_device = mapping.direction() == Direction::ToDevice;
                    // CAST: inside the device's buffer.
                    let at = before + done as u32;
                    start_at(lab, element.address.bits(), element.length, at, to_device);
                    mapping.elements_done(1);
                }
                // SAFETY: LAB: the device is idle.
                dispatch(|level| unsafe { mapping.flush(level) })
            }
            Err(granted) => {
                return end(lab, dispatch(|level| granted.release(&adapter, level)));
            }
        };
    }
}

/// A synchronous allocation fails at once while the registers are taken.
fn nothing_free(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let (adapter, first, second) = (adapter(lab), Memory::new(lab), Memory::new(lab));
    let (building, list) = ask(lab, &adapter, &first, request, Whose::System);
    // SAFETY: LAB.
    let taken = dispatch(|level| unsafe { list.build_now(lab.fdo, level) });
    // SAFETY: LAB: the list of this very request.
    let held = unsafe { building.listed(&adapter, taken.expect("registers are free")) };
    let (other, list) = ask(lab, &adapter, &second, request, Whose::System);
    // SAFETY: LAB.
    let refused = dispatch(|level| unsafe { list.build_now(lab.fdo, level) });
    let expected = Err(DmaError::Refused(STATUS_INSUFFICIENT_RESOURCES));
    lab.check(refused == expected, "now or never");
    // SAFETY: LAB: it was refused.
    let _unused = unsafe { other.withdrawn() };
    // SAFETY: LAB: the device was never started.
    let _unused = dispatch(|level| unsafe { held.put(&adapter, level) });
    STATUS_SUCCESS
}
