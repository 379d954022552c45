//! Section H and its neighbours where caches are not coherent: what is a note elsewhere stops the
//! machine here, and stores that no call shows are found in the lines.

use dmaproof_tests::lab::ddk::{MmGetSystemAddressForMdlSafe, YES};
use dmaproof_tests::lab::{Lab, Script, Transfer, whole_list, whole_packet};
use dmaproof_tests::{rule_tests, run, verdict};
use nthost::{Profile, RuleId};
use wdk_lite::*;

use crate::coherency::{chained, common_buffer, flushed, pio, twice, unflushed, unflushed_list};
use crate::{Case, DMA};

/// A case on `nt` with a buffer of whole lines.
const fn nt(routine: dmaproof_tests::lab::Routine) -> Case {
    run(routine).profile(Profile::Nt).buffer(2048, 0)
}

/// A case on `arm64`, where any buffer will do.
const fn arm64(routine: dmaproof_tests::lab::Routine) -> Case {
    run(routine).profile(Profile::Arm64)
}

rule_tests! {
    breaks packet_to_device_without_flush {
        [Dma85], [],
        broken: nt(unflushed),
        clean: nt(whole_packet),
    }
    breaks packet_from_device_without_flush {
        [Dma85], [],
        broken: arm64(unflushed).from_device(),
        clean: arm64(whole_packet).from_device(),
    }
    breaks list_without_flush {
        [Dma85], [],
        broken: nt(unflushed_list).script(Script::lists()),
        clean: nt(whole_list).script(Script::lists()),
    }
    breaks list_without_flush_where_lines_prefetch {
        [Dma85], [],
        broken: arm64(unflushed_list).script(Script::lists()).from_device(),
        clean: arm64(whole_list).script(Script::lists()).from_device(),
    }
    breaks second_transfer_after_one_flush {
        [Dma85], [],
        broken: nt(|lab, request| twice(lab, request, 1)),
        clean: nt(|lab, request| twice(lab, request, 2)),
    }
    breaks flush_for_the_other_direction {
        [Dma84, Dma85], [],
        broken: arm64(|lab, request| flushed(lab, request, YES, YES)),
        clean: arm64(whole_packet),
    }
    breaks flush_for_pio_instead_of_dma {
        [Dma84, Dma85], [],
        broken: nt(|lab, request| flushed(lab, request, 0, 0)),
        clean: nt(whole_packet),
    }
    breaks first_mdl_of_a_chain_flushed {
        [Dma87, Dma85], [],
        broken: nt(|lab, request| chained(lab, request, 1)).script(Script::lists())
            .scenario(|bench| bench.chain(&[512, 512], 0)),
        clean: nt(|lab, request| chained(lab, request, 2)).script(Script::lists())
            .scenario(|bench| bench.chain(&[512, 512], 0)),
    }
    breaks pio_read_without_flush {
        [Dma86], [],
        broken: arm64(|lab, request| pio(lab, request, false)).from_device(),
        clean: arm64(|lab, request| pio(lab, request, true)).from_device(),
    }
    breaks cached_common_buffer_without_flush {
        [Dma90], [],
        broken: nt(|lab, _| common_buffer(lab, &[true, false])),
        clean: nt(|lab, _| common_buffer(lab, &[true, true])),
    }
    note cached_common_buffer_that_is_not_cached {
        [Dma90],
        broken: arm64(|lab, _| common_buffer(lab, &[true, false])),
        clean: arm64(|lab, _| common_buffer(lab, &[true, true])),
    }
    breaks store_while_the_device_has_the_buffer {
        [Dma94], [],
        broken: nt(|lab, request| storing(lab, request, When::Mapped)).from_device(),
        clean: nt(|lab, request| storing(lab, request, When::Flushed)).from_device(),
    }
    breaks store_while_the_device_has_whole_lines {
        [Dma94], [],
        broken: arm64(|lab, request| storing(lab, request, When::Mapped)).from_device(),
        clean: arm64(|lab, request| storing(lab, request, When::Flushed)).from_device(),
    }
    breaks store_between_flush_and_mapping {
        [Dma85], [],
        broken: nt(|lab, request| storing(lab, request, When::Granted)).from_device(),
        clean: nt(|lab, request| storing(lab, request, When::Before)).from_device(),
    }
    breaks buffer_that_begins_within_a_line {
        [Dma15], [(DMA, 0x1F)],
        broken: nt(whole_packet).buffer(2048, 8),
        clean: nt(whole_packet).buffer(2048, 64),
    }
    breaks buffer_that_ends_within_a_line {
        [Dma15], [(DMA, 0x1F)],
        broken: nt(whole_packet).buffer(1000, 0),
        clean: nt(whole_packet).buffer(1024, 0),
    }
}

/// When the processor stores into the buffer of a transfer from the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the caches are flushed.
    Before,
    /// Between KeFlushIoBuffers and MapTransfer.
    Granted,
    /// Between MapTransfer and FlushAdapterBuffers.
    Mapped,
    /// After FlushAdapterBuffers.
    Flushed,
}

/// Stores a byte at an offset of an MDL's buffer, of a value that it does not have.
fn store(lab: &Lab, mdl: PMDL, offset: usize) {
    // SAFETY: LAB: the buffer has that byte.
    unsafe {
        let address = MmGetSystemAddressForMdlSafe(mdl, MdlMappingNoExecute | 16);
        lab.check(!address.is_null(), "no system address");
        let at = address.cast::<u8>().add(offset);
        at.write_volatile(!at.read_volatile());
    }
}

/// A packet transfer, with a store at some time into a line that lies in the buffer as a whole.
fn storing(lab: &Lab, request: WDFREQUEST, when: When) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let at = |now: When| {
        if when == now {
            store(lab, transfer.mdl, 200);
        }
    };
    at(When::Before);
    transfer.flush_caches();
    transfer.allocate();
    at(When::Granted);
    let (logical, mapped) = transfer.map(0, transfer.length);
    at(When::Mapped);
    transfer.run_device(logical, mapped);
    transfer.flush(0, mapped);
    at(When::Flushed);
    transfer.free();
    STATUS_SUCCESS
}

/// The device writes the first 100 bytes of a buffer; the processor stores into byte 110, in the
/// same line, or into byte 130, in the next.
fn beside(lab: &Lab, request: WDFREQUEST, neighbour: usize) -> NTSTATUS {
    let mut transfer = Transfer::new(lab, request);
    transfer.length = 100;
    transfer.flush_caches();
    transfer.allocate();
    let (logical, mapped) = transfer.map(0, 100);
    store(lab, transfer.mdl, neighbour);
    transfer.run_device(logical, mapped);
    transfer.flush(0, mapped);
    transfer.free();
    STATUS_SUCCESS
}

/// The rules noted by a case on a machine that goes on.
fn noted(case: Case) -> Vec<RuleId> {
    let notes = verdict(case.machine(|builder| builder.go_on(true)).from_device());
    notes.expect("the machine goes on").iter().map(|note| note.rule).collect()
}

/// Beside SIM-13 stands DMA-15: a buffer of whole lines has no neighbours.
#[test]
fn a_neighbours_store_is_reported_as_that() {
    assert_eq!(noted(nt(|lab, r| beside(lab, r, 110))), [RuleId::Dma15, RuleId::Sim13]);
}

#[test]
fn a_store_into_another_line_is_none_of_a_neighbour() {
    assert_eq!(noted(nt(|lab, r| beside(lab, r, 130))), [RuleId::Dma15]);
}

#[test]
fn where_shared_lines_are_bounced_a_neighbour_may_store() {
    assert_eq!(noted(arm64(|lab, r| beside(lab, r, 110))), []);
}

/// The requester stores into its own buffer, of which the driver has no address, while the device
/// has it or between flush and mapping.
fn requester_stores(lab: &Lab, request: WDFREQUEST, when: When) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    let at = |now: When| {
        if when == now {
            // SAFETY: LAB: on Windows another thread of the requester does it; the index into the
            // MDL is its address in the requester's process.
            unsafe {
                let at = transfer.at(200).cast::<u8>();
                at.write_volatile(!at.read_volatile());
            }
        }
    };
    transfer.flush_caches();
    transfer.allocate();
    at(When::Granted);
    let (logical, mapped) = transfer.map(0, transfer.length);
    at(When::Mapped);
    transfer.run_device(logical, mapped);
    transfer.flush(0, mapped);
    at(When::Flushed);
    transfer.free();
    STATUS_SUCCESS
}

/// How many of eight machines note a requester's store, which has to be all that is said.
fn requesters_stores_noted(case: Case) -> usize {
    let notes = verdict(case.seeds(8)).expect("the driver breaks nothing");
    assert!(notes.iter().all(|note| note.harmless && note.rule == RuleId::Sim16), "{notes:#?}");
    notes.len()
}

/// Its note stops no machine, a strict one neither.
#[test]
fn a_requesters_store_into_its_own_buffer_is_not_the_drivers_breach() {
    let strictly = |case: Case| case.machine(|builder| builder.strict(true));
    let mapped = |lab: &Lab, request| requester_stores(lab, request, When::Mapped);
    let granted = |lab: &Lab, request| requester_stores(lab, request, When::Granted);
    let flushed = |lab: &Lab, request| requester_stores(lab, request, When::Flushed);
    let cases = [
        nt(mapped).from_device(),
        arm64(mapped).from_device(),
        nt(granted).from_device(),
        nt(granted),
    ];
    for case in cases {
        // The line may be evicted just then.
        assert!(requesters_stores_noted(case) > 4);
        assert!(requesters_stores_noted(strictly(case)) > 4);
    }
    assert_eq!(requesters_stores_noted(nt(flushed).from_device()), 0);
}
