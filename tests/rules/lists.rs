//! Section G: scatter/gather lists.
//!
//! | not tested here | why |
//! |---|---|
//! | DMA-83 | it says what the HAL returns; a driver cannot break it |

use dmaproof_tests::lab::ddk::{MmGetSystemAddressForMdlSafe, at_level};
use dmaproof_tests::lab::{Lab, Routine, Script, Transfer, list_control, whole_list};
use dmaproof_tests::{Bench, Case, rule_tests, run};
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
        [Dma75, Dma57, Dma114, Dma115, Sim02], [],
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
        broken: sg(|lab, request| elements(lab, request, true)).from_device()
            .scenario(|bench| bench.chain(&[512, 512], 0x100)),
        clean: sg(|lab, request| elements(lab, request, false)).from_device()
            .scenario(|bench| bench.chain(&[512, 512], 0x100)),
    }
    breaks an_element_left_out {
        [Dma77], [],
        broken: sg(|lab, request| in_part(lab, request, 1)).scenario(two_elements),
        clean: sg(|lab, request| in_part(lab, request, 2)).scenario(two_elements),
    }
    breaks an_element_left_out_by_a_read {
        [Dma77], [],
        broken: sg(|lab, request| in_part(lab, request, 1)).from_device().scenario(two_elements),
        clean: sg(|lab, request| in_part(lab, request, 2)).from_device().scenario(two_elements),
    }
    answer a_transfer_that_ended_early_and_says_so {
        [Dma77],
        sg(|lab, request| {
            let status = in_part(lab, request, 1);
            lab.information.set(512);
            status
        }).from_device().scenario(two_elements),
    }
    answer an_element_that_the_driver_filled_itself {
        [Dma77],
        sg(|lab, request| {
            let status = in_part(lab, request, 1);
            let transfer = Transfer::new(lab, request);
            // SAFETY: LAB.
            unsafe {
                let second = (*transfer.mdl).Next;
                let how = MdlMappingNoExecute | 16;
                MmGetSystemAddressForMdlSafe(second, how).cast::<u8>().write_bytes(7, 512);
            }
            status
        }).from_device().scenario(two_elements),
    }
    answer elements_that_a_second_list_moves {
        [Dma77],
        sg(|lab, request| {
            let _ = in_part(lab, request, 1);
            in_part(lab, request, 2)
        }).from_device().scenario(two_elements),
    }
    answer chain_beyond_the_grant_is_refused {
        [Dma78],
        sg(refused_list).machine(|builder| builder.map_registers(Some(3)))
            .scenario(|bench| bench.chain(&[16; 4], 0x100)),
    }
    answer chain_within_the_grant {
        [Dma78],
        sg(taken_list).machine(|builder| builder.map_registers(Some(4)))
            .scenario(|bench| bench.chain(&[16; 4], 0x100)),
    }
}

/// A case with an adapter that takes lists.
pub(crate) const fn sg(routine: Routine) -> Case {
    run(routine).script(Script::lists())
}

/// The same in version 3.
pub(crate) const fn sg3(routine: Routine) -> Case {
    run(routine).script(Script::lists3())
}

/// The application's buffers, each an element of the list at least.
fn two_elements(bench: &mut Bench) {
    bench.chain(&[512, 512], 0x100);
}

/// A transfer of 1024 bytes of which the device moves the first `elements` elements; the request
/// is completed as if it had moved all.
fn in_part(lab: &Lab, request: WDFREQUEST, elements: usize) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 1024;
    flush_chain(transfer.mdl, (!transfer.to_device).into());
    transfer.get_list();
    for (logical, length) in transfer.elements().into_iter().take(elements) {
        transfer.run_device(logical, length);
    }
    transfer.put_list();
    lab.information.set(1024);
    STATUS_SUCCESS
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
    flush_chain(transfer.mdl, 1);
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

/// KeFlushIoBuffers of each MDL of a chain.
fn flush_chain(mut mdl: PMDL, read: BOOLEAN) {
    while !mdl.is_null() {
        // SAFETY: LAB.
        unsafe {
            ntddk::KeFlushIoBuffers(mdl, read, 1);
            mdl = (*mdl).Next;
        }
    }
}

/// Four pages, counted per MDL, for three registers: 64 bytes in all, yet refused.
fn refused_list(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 64;
    flush_chain(transfer.mdl, 0);
    let status = transfer.ask_for_list();
    lab.check(status == STATUS_INSUFFICIENT_RESOURCES, "four pages for three registers");
    lab.check(transfer.calls.get() == 0, "a refused list calls nobody");
    STATUS_SUCCESS
}

fn taken_list(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 64;
    flush_chain(transfer.mdl, 0);
    lab.check(transfer.ask_for_list() == STATUS_SUCCESS, "four pages for four registers");
    transfer.wait_for_grant();
    transfer.put_list();
    STATUS_SUCCESS
}
