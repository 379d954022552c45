//! The interrupt request level of every DMA operation, and of the kernel functions that matter
//! here, against the levels that their pages state.
//!
//! Each is called once at a level that its page forbids and must be reported as that, before
//! anything else; what the other arguments are worth is never looked at.

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{Adapter, Lab, Routine, Script};
use dmaproof_tests::{Case, run};
use wdk_lite::*;

/// What a page says about the level.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Passive,
    Dispatch,
    AtMostDispatch,
    /// Any level, or none stated.
    Free,
}

use Level::{AtMostDispatch, Dispatch, Free, Passive};

/// The levels as the pages of the operations state them (`req.irql`). Where the page of
/// GetScatterGatherListEx allows less than DISPATCH_LEVEL, so does this table.
const PAGES: &[(&str, Level)] = &[
    ("PutDmaAdapter", AtMostDispatch),
    ("AllocateCommonBuffer", Passive),
    ("FreeCommonBuffer", Passive),
    ("AllocateAdapterChannel", Dispatch),
    ("FlushAdapterBuffers", AtMostDispatch),
    ("FreeAdapterChannel", Dispatch),
    ("FreeMapRegisters", Dispatch),
    ("MapTransfer", AtMostDispatch),
    ("GetDmaAlignment", Passive),
    ("ReadDmaCounter", AtMostDispatch),
    ("GetScatterGatherList", Dispatch),
    ("PutScatterGatherList", Dispatch),
    ("CalculateScatterGatherList", Free),
    ("BuildScatterGatherList", Dispatch),
    ("BuildMdlFromScatterGatherList", AtMostDispatch),
    ("GetDmaAdapterInfo", AtMostDispatch),
    ("GetDmaTransferInfo", AtMostDispatch),
    ("InitializeDmaTransferContext", AtMostDispatch),
    ("AllocateCommonBufferEx", Passive),
    ("AllocateAdapterChannelEx", Dispatch),
    ("ConfigureAdapterChannel", AtMostDispatch),
    ("CancelAdapterChannel", AtMostDispatch),
    ("MapTransferEx", AtMostDispatch),
    ("GetScatterGatherListEx", AtMostDispatch),
    ("BuildScatterGatherListEx", Dispatch),
    ("FlushAdapterBuffersEx", AtMostDispatch),
    ("FreeAdapterObject", AtMostDispatch),
    ("CancelMappedTransfer", AtMostDispatch),
    ("AllocateDomainCommonBuffer", Passive),
    ("FlushDmaBuffer", Free),
    ("JoinDmaDomain", Passive),
    ("LeaveDmaDomain", Passive),
    ("GetDmaDomain", Passive),
    ("AllocateCommonBufferWithBounds", Passive),
    ("AllocateCommonBufferVector", Free),
    ("GetCommonBufferFromVectorByIndex", Free),
    ("FreeCommonBufferFromVector", Free),
    ("FreeCommonBufferVector", Free),
    ("CreateCommonBufferFromMdl", Passive),
];

/// Calls an operation at the level in the lab's first scratch word, with zeroes for arguments.
macro_rules! calls {
    ($($name:ident: $ty:ident = fn(DmaAdapter: PDMA_ADAPTER $(, $arg:ident: $argty:ty)*) -> $ret:ty,
       $version:literal;)*) => {
        /// For each operation: its name, and a routine that calls it at PASSIVE_LEVEL,
        /// DISPATCH_LEVEL and HIGH_LEVEL.
        const CALLS: &[(&str, [Routine; 3])] = &[$((
            stringify!($name),
            [
                |lab, _| call(lab, PASSIVE_LEVEL, |adapter| {
                    // SAFETY: LAB: the level is wrong, so nothing is looked at.
                    unsafe { adapter.$name($(std::mem::zeroed::<$argty>()),*) };
                }),
                |lab, _| call(lab, DISPATCH_LEVEL, |adapter| {
                    // SAFETY: as above.
                    unsafe { adapter.$name($(std::mem::zeroed::<$argty>()),*) };
                }),
                |lab, _| call(lab, HIGH_LEVEL, |adapter| {
                    // SAFETY: as above.
                    unsafe { adapter.$name($(std::mem::zeroed::<$argty>()),*) };
                }),
            ],
        ),)*];
    };
}
dma_operations!(calls);

fn call(lab: &Lab, level: u32, operation: fn(Adapter)) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { at_level(level, || operation(lab.adapter.get())) };
    STATUS_SUCCESS
}

/// The stated level of an operation.
fn stated(name: &str) -> Level {
    let row = PAGES.iter().find(|(page, _)| *page == name);
    row.unwrap_or_else(|| panic!("{name} is missing from the table of levels")).1
}

/// Parameters 1 to 4 of 0xE6 for a call at `actual`.
fn parameters(level: Level, actual: u32) -> [u64; 4] {
    let (kind, expected) = match level {
        Passive => (1, PASSIVE_LEVEL),
        Dispatch => (1, DISPATCH_LEVEL),
        AtMostDispatch | Free => (2, DISPATCH_LEVEL),
    };
    [0x13, kind, expected.into(), actual.into()]
}

#[test]
fn every_operation_is_refused_at_a_level_that_its_page_forbids() {
    let mut wrong = Vec::new();
    for (name, routines) in CALLS {
        let level = stated(name);
        let forbidden: &[(u32, usize)] = match level {
            Passive => &[(DISPATCH_LEVEL, 1), (HIGH_LEVEL, 2)],
            Dispatch => &[(PASSIVE_LEVEL, 0), (HIGH_LEVEL, 2)],
            AtMostDispatch => &[(HIGH_LEVEL, 2)],
            Free => &[],
        };
        for &(actual, index) in forbidden {
            let verdict = verdict(run(routines[index]).script(Script::version3()));
            if verdict != Some((0xE6, parameters(level, actual))) {
                wrong.push(format!("{name} ({level:?}) at level {actual}: {verdict:#x?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The bug check that stops the case's machine.
fn verdict(case: Case) -> Option<(u32, [u64; 4])> {
    let stopped = dmaproof_tests::verdict(case).err()?;
    let check = stopped.report.bug_check?;
    Some((check.code, check.parameters))
}

#[test]
fn the_table_knows_no_operation_that_does_not_exist() {
    for (name, _) in PAGES {
        assert!(CALLS.iter().any(|(call, _)| call == name), "{name}");
    }
    assert_eq!(PAGES.len(), CALLS.len());
}
