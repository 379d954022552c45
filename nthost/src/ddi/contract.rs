//! The interrupt request level each function's page demands.

use crate::RuleId;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// The level a function may be called at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Irql {
    /// This level or below.
    AtMost(u8),
    /// This level exactly.
    Exactly(u8),
    /// Any level.
    Any,
}

/// What belongs to a function besides its code.
#[derive(Debug)]
pub(crate) struct Ddi {
    pub name: &'static str,
    pub irql: Irql,
    /// The rule a wrong level breaks.
    pub rule: RuleId,
    /// The bug check a wrong level raises.
    pub code: u32,
    /// Whether its page lets it fail for lack of resources.
    pub fallible: bool,
}

const PASSIVE: Irql = Irql::Exactly(0);
const APC: Irql = Irql::AtMost(1);
const DISPATCH: Irql = Irql::AtMost(2);

type Row = (&'static str, Irql, RuleId);

/// Kernel exports whose bound is not DISPATCH_LEVEL, or whose level has a rule of its own.
const EXPORTS: &[Row] = &[
    ("IoConnectInterruptEx", PASSIVE, RuleId::Sim09),
    ("IoCreateDevice", APC, RuleId::Sim09),
    ("IoCreateSymbolicLink", PASSIVE, RuleId::Sim09),
    ("IoDeleteDevice", APC, RuleId::Sim09),
    ("IoDeleteSymbolicLink", PASSIVE, RuleId::Sim09),
    ("IoDetachDevice", PASSIVE, RuleId::Sim09),
    ("IoDisconnectInterruptEx", PASSIVE, RuleId::Sim09),
    ("IoGetDmaAdapter", PASSIVE, RuleId::Dma01),
    ("IoReleaseCancelSpinLock", Irql::Exactly(2), RuleId::Sim08),
    ("KeFlushIoBuffers", DISPATCH, RuleId::Dma84),
    ("KeAcquireSpinLockAtDpcLevel", Irql::Any, RuleId::Sim08),
    ("KeDelayExecutionThread", APC, RuleId::Sim09),
    ("KeFlushQueuedDpcs", PASSIVE, RuleId::Sim09),
    ("KeGetCurrentIrql", Irql::Any, RuleId::Sim09),
    ("KeGetCurrentProcessorNumberEx", Irql::Any, RuleId::Sim09),
    ("KeInitializeDpc", Irql::Any, RuleId::Sim09),
    ("KeInitializeEvent", Irql::Any, RuleId::Sim09),
    ("KeInitializeSpinLock", Irql::Any, RuleId::Sim09),
    ("KeInsertQueueDpc", Irql::Any, RuleId::Sim09),
    ("KeLowerIrql", Irql::Any, RuleId::Sim09),
    ("KeQueryActiveProcessorCountEx", Irql::Any, RuleId::Sim09),
    ("KeQueryInterruptTimePrecise", Irql::Any, RuleId::Sim09),
    ("KeReleaseSpinLock", Irql::Exactly(2), RuleId::Sim08),
    ("KeReleaseSpinLockFromDpcLevel", Irql::Any, RuleId::Sim08),
    ("KeStallExecutionProcessor", Irql::Any, RuleId::Sim09),
    ("KfRaiseIrql", Irql::Any, RuleId::Sim09),
    ("MmGetPhysicalAddress", Irql::Any, RuleId::Dma24),
    ("MmMapIoSpaceEx", DISPATCH, RuleId::Kmdf04),
    ("MmProbeAndLockPages", DISPATCH, RuleId::Dma105),
    ("MmUnmapIoSpace", APC, RuleId::Kmdf04),
];

/// KMDF functions whose bound is not DISPATCH_LEVEL.
const FRAMEWORK: &[Row] = &[
    ("WdfDeviceInitAssignName", PASSIVE, RuleId::Kmdf35),
    ("WdfDeviceInitAssignSDDLString", PASSIVE, RuleId::Kmdf35),
    ("WdfDeviceCreate", PASSIVE, RuleId::Kmdf35),
    ("WdfDeviceCreateDeviceInterface", PASSIVE, RuleId::Kmdf35),
    ("WdfDeviceSetDeviceInterfaceState", PASSIVE, RuleId::Kmdf35),
    ("WdfDmaEnablerCreate", PASSIVE, RuleId::Dma01),
    ("WdfRequestComplete", DISPATCH, RuleId::Kmdf23),
    ("WdfRequestCompleteWithInformation", DISPATCH, RuleId::Kmdf23),
    ("WdfRequestCompleteWithPriorityBoost", DISPATCH, RuleId::Kmdf23),
    ("WdfDpcEnqueue", Irql::Any, RuleId::Kmdf35),
    ("WdfDpcCancel", Irql::Any, RuleId::Kmdf35),
    ("WdfDriverCreate", PASSIVE, RuleId::Kmdf35),
    ("WdfInterruptQueueDpcForIsr", Irql::Any, RuleId::Kmdf14),
    ("WdfInterruptSynchronize", Irql::Any, RuleId::Kmdf18),
    ("WdfInterruptAcquireLock", Irql::Any, RuleId::Kmdf18),
    ("WdfInterruptReleaseLock", Irql::Any, RuleId::Kmdf18),
    ("WdfInterruptGetDevice", Irql::Any, RuleId::Kmdf14),
    ("WdfObjectGetTypedContextWorker", Irql::Any, RuleId::Kmdf42),
    ("WdfObjectContextGetObject", Irql::Any, RuleId::Kmdf42),
    ("WdfWorkItemFlush", PASSIVE, RuleId::Kmdf35),
];

/// DMA operations whose bound is not DISPATCH_LEVEL (RULES, IRQL quick table).
const OPERATIONS: &[Row] = &[
    ("AllocateCommonBuffer", PASSIVE, RuleId::Dma22),
    ("AllocateCommonBufferEx", PASSIVE, RuleId::Dma28),
    ("AllocateCommonBufferWithBounds", PASSIVE, RuleId::Dma29),
    ("AllocateDomainCommonBuffer", PASSIVE, RuleId::Dma28),
    ("FreeCommonBuffer", PASSIVE, RuleId::Dma30),
    ("CreateCommonBufferFromMdl", PASSIVE, RuleId::Dma31),
    ("AllocateCommonBufferVector", DISPATCH, RuleId::Dma32),
    ("GetCommonBufferFromVectorByIndex", DISPATCH, RuleId::Dma32),
    ("FreeCommonBufferFromVector", DISPATCH, RuleId::Dma32),
    ("FreeCommonBufferVector", DISPATCH, RuleId::Dma32),
    ("GetDmaAlignment", PASSIVE, RuleId::Dma15),
    ("JoinDmaDomain", PASSIVE, RuleId::Dma71),
    ("GetDmaDomain", PASSIVE, RuleId::Dma71),
    ("LeaveDmaDomain", PASSIVE, RuleId::Dma71),
    ("AllocateAdapterChannel", Irql::Exactly(2), RuleId::Dma33),
    ("AllocateAdapterChannelEx", Irql::Exactly(2), RuleId::Dma61),
    ("FreeAdapterChannel", Irql::Exactly(2), RuleId::Dma43),
    ("FreeMapRegisters", Irql::Exactly(2), RuleId::Dma42),
    ("GetScatterGatherList", Irql::Exactly(2), RuleId::Dma72),
    ("PutScatterGatherList", Irql::Exactly(2), RuleId::Dma75),
    ("BuildScatterGatherList", Irql::Exactly(2), RuleId::Dma80),
    ("BuildScatterGatherListEx", Irql::Exactly(2), RuleId::Dma81),
    ("CalculateScatterGatherList", Irql::Any, RuleId::Dma79),
    ("MapTransfer", DISPATCH, RuleId::Dma45),
    ("FlushAdapterBuffers", DISPATCH, RuleId::Dma53),
    ("MapTransferEx", DISPATCH, RuleId::Dma64),
    ("FlushAdapterBuffersEx", DISPATCH, RuleId::Dma67),
    ("PutDmaAdapter", DISPATCH, RuleId::Dma18),
    ("GetScatterGatherListEx", DISPATCH, RuleId::Dma81),
];

/// Functions that may fail for lack of resources, by returning NULL or
/// STATUS_INSUFFICIENT_RESOURCES (their pages; DMA-12, DMA-23, DMA-34, DMA-61, DMA-65, DMA-72,
/// DMA-79 to DMA-81, KMDF-39).
const FALLIBLE: &[&str] = &[
    "ExAllocatePool2",
    "IoAllocateMdl",
    "IoGetDmaAdapter",
    "MmMapIoSpaceEx",
    "MmMapLockedPagesSpecifyCache",
    "WdfDeviceInitAssignName",
    "WdfDeviceInitAssignSDDLString",
    "WdfDeviceCreate",
    "WdfDeviceCreateDeviceInterface",
    "WdfDeviceConfigureRequestDispatching",
    "WdfDmaEnablerCreate",
    "WdfDpcCreate",
    "WdfDriverCreate",
    "WdfInterruptCreate",
    "WdfIoQueueCreate",
    "WdfObjectAllocateContext",
    "WdfObjectCreate",
    "WdfRequestRetrieveInputBuffer",
    "WdfRequestRetrieveOutputBuffer",
    "WdfRequestRetrieveInputWdmMdl",
    "WdfRequestRetrieveOutputWdmMdl",
    "WdfSpinLockCreate",
    "WdfTimerCreate",
    "WdfWorkItemCreate",
    "AllocateCommonBuffer",
    "AllocateCommonBufferEx",
    "AllocateCommonBufferWithBounds",
    "AllocateAdapterChannel",
    "AllocateAdapterChannelEx",
    "GetScatterGatherList",
    "GetScatterGatherListEx",
    "CalculateScatterGatherList",
    "BuildScatterGatherList",
    "BuildScatterGatherListEx",
    "MapTransferEx",
];

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn is_fallible(name: &str) -> bool {
    let mut i = 0;
    while i < FALLIBLE.len() {
        if same(FALLIBLE[i], name) {
            return true;
        }
        i += 1;
    }
    false
}

const fn find(rows: &[Row], name: &'static str, rule: RuleId, code: u32) -> Ddi {
    let fallible = is_fallible(name);
    let mut i = 0;
    while i < rows.len() {
        if same(rows[i].0, name) {
            return Ddi { name, irql: rows[i].1, rule: rows[i].2, code, fallible };
        }
        i += 1;
    }
    Ddi { name, irql: DISPATCH, rule, code, fallible }
}

/// A kernel export.
pub(super) const fn export(name: &'static str) -> Ddi {
    find(EXPORTS, name, RuleId::Sim09, 0xC4)
}

/// A KMDF function.
pub(super) const fn framework(name: &'static str) -> Ddi {
    // KMDF Verifier breaks into the debugger and fails the call; no bug check is documented.
    find(FRAMEWORK, name, RuleId::Kmdf35, 0)
}

/// A DMA operation.
pub(super) const fn operation(name: &'static str) -> Ddi {
    find(OPERATIONS, name, RuleId::Dma45, 0xE6)
}

/// A DMA routine by NT's name, at the level of today's.
pub(super) const fn legacy(name: &'static str, today: &'static str) -> Ddi {
    let Ddi { irql, rule, code, .. } = find(OPERATIONS, today, RuleId::Dma45, 0xE6);
    Ddi { name, irql, rule, code, fallible: is_fallible(today) }
}

/// A register access.
pub(super) const fn register(name: &'static str) -> Ddi {
    Ddi { name, irql: Irql::Any, rule: RuleId::Kmdf04, code: 0, fallible: false }
}

/// Checks the calling thread's level.
#[inline]
pub(super) fn check(kernel: &Kernel, ddi: &Ddi) -> Result<(), Violation> {
    let irql = kernel.irql();
    match ddi.irql {
        Irql::Any => Ok(()),
        Irql::AtMost(bound) if irql <= bound => Ok(()),
        Irql::Exactly(level) if irql == level => Ok(()),
        _ => Err(wrong(ddi, irql)),
    }
}

/// Parameter 1 of 0xC4 for this function at a wrong level, where its page or rule states one.
fn verifier_parameter(name: &str) -> Option<u64> {
    Some(match name {
        "IoGetDmaAdapter" => 0x2000E,
        "KeFlushIoBuffers" => 0x20011,
        "MmProbeAndLockPages" => 0x70,
        "MmMapIoSpaceEx" => 0x73,
        "MmUnlockPages" => 0x78,
        "MmUnmapIoSpace" => 0x7B,
        "KeWaitForSingleObject" | "KeDelayExecutionThread" => 0x121,
        _ => return None,
    })
}

#[cold]
fn wrong(ddi: &Ddi, irql: u8) -> Violation {
    let (kind, expected, words) = match ddi.irql {
        Irql::Exactly(level) => (1, level, "must be called at"),
        Irql::AtMost(level) => (2, level, "may be called at most at"),
        Irql::Any => (0, 0, "may be called at"),
    };
    let (is, must) = (level_name(irql), level_name(expected));
    let violation = broken(ddi.rule, format!("{} was called at {is}; it {words} {must}", ddi.name));
    match ddi.code {
        0xE6 => violation.code(0xE6, [0x13, kind, expected.into(), irql.into()]),
        0 => violation,
        code => match verifier_parameter(ddi.name) {
            Some(first) => violation.code(code, [first, irql.into(), expected.into(), 0]),
            None => violation,
        },
    }
}

/// A level's name.
fn level_name(irql: u8) -> String {
    match irql {
        0 => "PASSIVE_LEVEL".to_owned(),
        1 => "APC_LEVEL".to_owned(),
        2 => "DISPATCH_LEVEL".to_owned(),
        other => format!("IRQL {other} (a device's)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_level_names_the_verifiers_code() {
        let ddi = operation("AllocateAdapterChannel");
        let report = wrong(&ddi, 0);
        assert_eq!(report.rule, RuleId::Dma33);
        let code = report.bug_check.expect("DMA operations have a code");
        assert_eq!((code.code, code.parameters), (0xE6, [0x13, 1, 2, 0]));
    }

    #[test]
    fn functions_without_a_row_may_be_called_up_to_dispatch_level() {
        assert_eq!(framework("WdfRequestComplete").irql, Irql::AtMost(2));
        assert_eq!(operation("MapTransfer").irql, Irql::AtMost(2));
    }
}
