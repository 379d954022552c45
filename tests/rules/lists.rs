//! Section G: scatter/gather lists.
//!
//! | not tested here | why |
//! |---|---|
//! | DMA-83 | it says what the HAL returns; a driver cannot break it |

use std::ptr;

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{Lab, Routine, Script, Transfer, Transfer3, list_control, whole_list};
use dmaproof_tests::{Bench, Case, rule_tests, run};
use nthost::{Buffer, Operation, Request};
use wdk_lite::*;

use crate::{DMA, VERIFIER};

rule_tests! {
    breaks get_list_at_passive_level {
        [Dma72], [(DMA, 0x13), (VERIFIER, 0x20003)],
        broken: sg(|lab, request| listed(lab, request, |get| get.level = PASSIVE_LEVEL)),
        clean: sg(|lab, request| listed(lab, request, |_| ())),
    }
    breaks get_list_of_nothing {
        [Dma72, Dma50], [(DMA, 0x21)],
        broken: sg(|lab, request| listed(lab, request, |get| get.length = 0)),
        clean: sg(|lab, request| listed(lab, request, |get| get.length = 1)),
    }
    breaks get_list_from_behind_the_buffer {
        [Dma72, Dma46], [(DMA, 0x1B), (DMA, 0x1F)],
        broken: sg(|lab, request| listed(lab, request, |get| get.shift = 3000)),
        clean: sg(|lab, request| listed(lab, request, |get| get.shift = 1000)),
    }
    breaks map_inside_list_control {
        [Dma73, Dma39, Dma45], [],
        broken: sg(|lab, request| granted(lab, request, |t| { let _ = t.map(0, 16); })),
        clean: sg(whole_list),
    }
    breaks allocate_inside_list_control {
        [Dma73, Dma35], [],
        broken: sg(|lab, request| granted(lab, request, |t| { let _ = t.ask(); })),
        clean: sg(whole_list),
    }
    breaks flush_on_the_list_path {
        [Dma74, Dma39, Dma53], [],
        broken: sg(|lab, request| holding(lab, request, |t| { t.flush(0, t.length); })),
        clean: sg(whole_list),
    }
    breaks free_registers_on_the_list_path {
        [Dma74, Dma39, Dma42], [],
        broken: sg(|lab, request| holding(lab, request, |t| t.free())),
        clean: sg(whole_list),
    }
    breaks free_channel_on_the_list_path {
        [Dma74, Dma43], [(DMA, 0x04)],
        broken: sg(|lab, request| holding(lab, request, |t| t.free_channel())),
        clean: sg(whole_list),
    }
    breaks put_list_twice {
        [Dma75], [(DMA, 0x06)],
        broken: sg(|lab, request| holding(lab, request, |t| t.put_list())),
        clean: sg(whole_list),
    }
    breaks put_list_at_passive_level {
        [Dma75], [(DMA, 0x13), (VERIFIER, 0x20003)],
        broken: sg(|lab, request| holding(lab, request, |t| {
            // SAFETY: LAB.
            unsafe { t.adapter.PutScatterGatherList(t.list.get(), t.write()) }
        })),
        clean: sg(whole_list),
    }
    breaks put_list_in_the_other_direction {
        [Dma75, Dma52], [],
        broken: sg(|lab, request| holding(lab, request, |t| t.to_device = false)),
        clean: sg(whole_list),
    }
    breaks put_list_altered {
        [Dma75, Dma77], [],
        broken: sg(|lab, request| holding(lab, request, |t| {
            // SAFETY: LAB.
            unsafe { (*t.list.get()).NumberOfElements += 1 }
        })),
        clean: sg(whole_list),
    }
    breaks put_list_while_the_device_runs {
        [Dma75, Dma114, Dma115, Sim02], [],
        broken: sg(|lab, request| {
            let transfer = Transfer::new(lab, request);
            transfer.flush_caches();
            transfer.get_list();
            let (logical, length) = transfer.elements()[0];
            lab.start_device(logical, length, true, false);
            transfer.put_list();
            lab.wait_for_device();
            STATUS_SUCCESS
        }),
        clean: sg(whole_list),
    }
    breaks request_completed_before_the_put {
        [Dma76, Dma75, Dma100, Sim12], [],
        broken: sg(|lab, request| {
            let transfer = Transfer::new(lab, request);
            transfer.flush_caches();
            transfer.get_list();
            dmaproof_tests::lab::complete(request, STATUS_SUCCESS);
            transfer.put_list();
            STATUS_PENDING
        }),
        clean: sg(|lab, request| {
            let transfer = Transfer::new(lab, request);
            transfer.flush_caches();
            transfer.get_list();
            transfer.put_list();
            dmaproof_tests::lab::complete(request, STATUS_SUCCESS);
            STATUS_PENDING
        }),
    }
    breaks first_element_taken_for_the_whole {
        [Dma77, Dma114, Sim02], [],
        broken: sg(|lab, request| elements(lab, request, true))
            .scenario(|bench| chain(bench, &[512, 512])),
        clean: sg(|lab, request| elements(lab, request, false))
            .scenario(|bench| chain(bench, &[512, 512])),
    }
    answer chain_beyond_the_grant_is_refused {
        [Dma78],
        sg(refused_list).machine(|builder| builder.map_registers(Some(3)))
            .scenario(|bench| chain(bench, &[16, 16, 16, 16])),
    }
    answer chain_within_the_grant {
        [Dma78],
        sg(taken_list).machine(|builder| builder.map_registers(Some(4)))
            .scenario(|bench| chain(bench, &[16, 16, 16, 16])),
    }
    answer size_of_a_list {
        [Dma79],
        sg(calculate),
    }
    breaks build_at_passive_level {
        [Dma80], [(DMA, 0x13)],
        broken: sg(|lab, request| built(lab, request, |build| build.level = PASSIVE_LEVEL)),
        clean: sg(|lab, request| built(lab, request, |_| ())),
    }
    answer build_into_too_little_space_is_refused {
        [Dma80],
        sg(too_little_space),
    }
    breaks list_buffer_freed_before_the_put {
        [Dma80, Sim11], [],
        broken: sg(|lab, request| built(lab, request, |build| build.early = true)),
        clean: sg(|lab, request| built(lab, request, |_| ())),
    }
    breaks build_ex_at_passive_level {
        [Dma81], [(DMA, 0x13)],
        broken: sg3(|lab, request| built_ex(lab, request, PASSIVE_LEVEL, None)),
        clean: sg3(|lab, request| built_ex(lab, request, DISPATCH_LEVEL, None)),
    }
    breaks build_ex_with_a_completion_routine {
        [Dma81, Dma70], [],
        broken: sg3(|lab, request| built_ex(lab, request, DISPATCH_LEVEL, Some(completed))),
        clean: sg3(|lab, request| built_ex(lab, request, DISPATCH_LEVEL, None)),
    }
    answer build_mdl_from_a_list {
        [Dma82],
        sg(build_mdl),
    }
}

/// A case with an adapter that takes lists.
const fn sg(routine: Routine) -> Case {
    run(routine).script(Script::lists())
}

/// The same in version 3.
const fn sg3(routine: Routine) -> Case {
    run(routine).script(Script::lists3())
}

/// The arguments of GetScatterGatherList that a test alters.
struct Get {
    level: u32,
    length: u32,
    shift: u32,
}

/// Gets a list of 1000 bytes, or of what the test makes of it, and puts it.
fn listed(lab: &Lab, request: WDFREQUEST, alter: fn(&mut Get)) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let mut get = Get { level: DISPATCH_LEVEL, length: 1000, shift: 0 };
    alter(&mut get);
    transfer.flush_caches();
    // SAFETY: LAB.
    let status = unsafe {
        at_level(get.level, || {
            transfer.adapter.GetScatterGatherList(
                lab.fdo,
                transfer.mdl,
                transfer.at(get.shift),
                get.length,
                Some(list_control),
                transfer.context(),
                transfer.write(),
            )
        })
    };
    if NT_SUCCESS(status) {
        transfer.wait_for_grant();
        transfer.put_list();
    }
    STATUS_SUCCESS
}

/// A list whose control routine does something.
fn granted(lab: &Lab, request: WDFREQUEST, on_grant: fn(&Transfer<'_>)) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.on_grant.set(on_grant);
    transfer.flush_caches();
    transfer.get_list();
    transfer.put_list();
    STATUS_SUCCESS
}

/// Does something between getting and putting a list.
fn holding<'l>(
    lab: &'l Lab,
    request: WDFREQUEST,
    body: impl FnOnce(&mut Transfer<'l>),
) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.get_list();
    body(&mut transfer);
    transfer.put_list();
    STATUS_SUCCESS
}

/// Runs the device on each element, or takes the first address for that of the whole buffer.
fn elements(lab: &Lab, request: WDFREQUEST, merge: bool) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 1024;
    flush_chain(transfer.mdl);
    transfer.get_list();
    let list = transfer.elements();
    let total = list.iter().map(|(_, length)| length).sum();
    lab.check(total == 1024, "the elements cover the buffer");
    if merge {
        transfer.run_device(list[0].0, total);
    } else {
        for (logical, length) in list {
            transfer.run_device(logical, length);
        }
    }
    transfer.put_list();
    STATUS_SUCCESS
}

/// KeFlushIoBuffers of each MDL of a chain, to the device.
fn flush_chain(mut mdl: PMDL) {
    while !mdl.is_null() {
        // SAFETY: LAB.
        unsafe {
            ntddk::KeFlushIoBuffers(mdl, 0, 1);
            mdl = (*mdl).Next;
        }
    }
}

/// Sends a request whose buffer is a chain with segments of these lengths, none of them adjacent.
fn chain(bench: &mut Bench, lengths: &[usize]) {
    let buffers: Vec<Buffer> =
        lengths.iter().map(|&length| Buffer::at_page_offset(length, 0x100)).collect();
    let code = dmaproof_tests::lab::control_code(METHOD_IN_DIRECT, false);
    let input = dmaproof_tests::lab::encode(bench.routine()).to_ne_bytes().to_vec();
    let request = Request::chain(Operation::Ioctl { code, input }, buffers);
    let (completion, _) = bench.file().submit(request).wait();
    assert_eq!(completion.status.0, STATUS_SUCCESS, "the chain: {}", completion.status);
}

/// Four pages, counted per MDL, for three registers: 64 bytes in all, yet refused.
fn refused_list(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 64;
    flush_chain(transfer.mdl);
    let status = get(&transfer);
    lab.check(status == STATUS_INSUFFICIENT_RESOURCES, "four pages for three registers");
    lab.check(transfer.calls.get() == 0, "a refused list calls nobody");
    STATUS_SUCCESS
}

fn taken_list(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 64;
    flush_chain(transfer.mdl);
    lab.check(get(&transfer) == STATUS_SUCCESS, "four pages for four registers");
    transfer.wait_for_grant();
    transfer.put_list();
    STATUS_SUCCESS
}

fn get(transfer: &Transfer<'_>) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe {
        at_level(DISPATCH_LEVEL, || {
            transfer.adapter.GetScatterGatherList(
                transfer.lab.fdo,
                transfer.mdl,
                transfer.va,
                transfer.length,
                Some(list_control),
                transfer.context(),
                transfer.write(),
            )
        })
    }
}

/// CalculateScatterGatherList: status, size, registers.
fn calculated(transfer: &Transfer<'_>, mdl: PMDL, length: u32) -> (NTSTATUS, u32, u32) {
    let (mut size, mut registers) = (0, 0);
    let va = if mdl.is_null() { ptr::null_mut() } else { transfer.va };
    // SAFETY: LAB.
    let status = unsafe {
        transfer.adapter.CalculateScatterGatherList(
            mdl,
            va,
            length,
            &raw mut size,
            &raw mut registers,
        )
    };
    (status, size, registers)
}

fn calculate(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let all = lab.granted.get() * PAGE_SIZE;
    let (status, size, registers) = calculated(&transfer, ptr::null_mut(), all);
    lab.check(status == STATUS_SUCCESS, "the worst case of the whole grant");
    lab.check(registers == lab.granted.get(), "a register for each page");
    // CAST: 32 bits fit a 64-bit usize.
    let least = 16 + registers as usize * size_of::<SCATTER_GATHER_ELEMENT>();
    lab.check(size as usize >= least, "the list has its elements");
    let (status, _, registers) = calculated(&transfer, transfer.mdl, transfer.length);
    lab.check(status == STATUS_SUCCESS && registers == 2, "the buffer spans two pages");
    let (status, ..) = calculated(&transfer, transfer.mdl, transfer.length + 1);
    lab.check(status == STATUS_BUFFER_TOO_SMALL, "more than the MDL has");
    let (status, ..) = calculated(&transfer, ptr::null_mut(), all + 2 * PAGE_SIZE);
    lab.check(status == STATUS_INSUFFICIENT_RESOURCES, "more registers than there are");
    STATUS_SUCCESS
}

/// How a list is built.
struct Build {
    level: u32,
    early: bool,
}

/// Builds a list into pool and puts it; the pool is freed afterwards, or too early.
fn built(lab: &Lab, request: WDFREQUEST, alter: fn(&mut Build)) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let mut build = Build { level: DISPATCH_LEVEL, early: false };
    alter(&mut build);
    let (_, size, _) = calculated(&transfer, transfer.mdl, transfer.length);
    let buffer = lab.pool(size.into());
    transfer.flush_caches();
    let status = build_into(&transfer, build.level, buffer, size);
    lab.check(NT_SUCCESS(status), "BuildScatterGatherList failed");
    transfer.wait_for_grant();
    lab.check(transfer.list.get().addr() == buffer.addr(), "the list lies in the buffer");
    if build.early {
        lab.free(buffer);
    }
    transfer.put_list();
    if !build.early {
        lab.free(buffer);
    }
    STATUS_SUCCESS
}

fn build_into(transfer: &Transfer<'_>, level: u32, buffer: PVOID, size: u32) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe {
        at_level(level, || {
            transfer.adapter.BuildScatterGatherList(
                transfer.lab.fdo,
                transfer.mdl,
                transfer.va,
                transfer.length,
                Some(list_control),
                transfer.context(),
                transfer.write(),
                buffer,
                size,
            )
        })
    }
}

fn too_little_space(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let buffer = lab.pool(16);
    transfer.flush_caches();
    let status = build_into(&transfer, DISPATCH_LEVEL, buffer, 16);
    lab.check(status == STATUS_BUFFER_TOO_SMALL, "sixteen bytes hold no list");
    lab.check(transfer.calls.get() == 0, "a refused list calls nobody");
    lab.free(buffer);
    STATUS_SUCCESS
}

unsafe extern "C" fn completed(
    _adapter: PDMA_ADAPTER,
    _device: PDEVICE_OBJECT,
    _context: PVOID,
    _status: DMA_COMPLETION_STATUS,
) {
}

/// BuildScatterGatherListEx, synchronously without a routine, and PutScatterGatherList.
fn built_ex(
    lab: &Lab,
    request: WDFREQUEST,
    level: u32,
    completion: PDMA_COMPLETION_ROUTINE,
) -> NTSTATUS {
    let transfer = Transfer3::new(lab, request);
    transfer.begin();
    let mut list: PVOID = ptr::null_mut();
    // SAFETY: LAB.
    unsafe {
        let status = at_level(level, || {
            transfer.adapter.BuildScatterGatherListEx(
                lab.fdo,
                transfer.context,
                transfer.mdl,
                0,
                transfer.length,
                DMA_SYNCHRONOUS_CALLBACK,
                None,
                ptr::null_mut(),
                transfer.write(),
                transfer.buffer.cast(),
                transfer.buffer_bytes,
                completion,
                ptr::null_mut(),
                (&raw mut list).cast(),
            )
        });
        lab.check(NT_SUCCESS(status), "BuildScatterGatherListEx failed");
        lab.check(list.addr() == transfer.buffer.addr(), "the list lies in the caller's buffer");
        at_level(DISPATCH_LEVEL, || {
            transfer.adapter.PutScatterGatherList(transfer.buffer, transfer.write());
        });
    }
    STATUS_SUCCESS
}

fn build_mdl(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.get_list();
    let mut target = ptr::null_mut();
    // SAFETY: LAB.
    unsafe {
        let status = transfer.adapter.BuildMdlFromScatterGatherList(
            transfer.list.get(),
            ptr::null_mut(),
            &raw mut target,
        );
        lab.check(status == STATUS_INVALID_PARAMETER, "without an original MDL");
    }
    transfer.put_list();
    STATUS_SUCCESS
}
