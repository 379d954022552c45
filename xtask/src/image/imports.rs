//! What an image may import: the export's module and the first Windows that has it.
//!
//! Taken from the front matter (`req.dll`, `req.target-min-winverclnt`) of the pages in
//! MicrosoftDocs/windows-driver-docs-ddi at commit 6dcd4d9f2a, folder wdk-ddi-src/content. Where a
//! page has no module, the note says what the row rests on.

use super::Architecture;

/// The kernel.
const KERNEL: &str = "ntoskrnl.exe";
/// On ARM64 the routines for the level are the HAL's.
const HAL: &str = "HAL.dll";
/// The framework's loader; its functions have no pages. WDK-built drivers import them from here.
pub const LOADER: &str = "WDFLDR.SYS";

/// The oldest Windows build that has a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Build(pub u32);

/// Windows 2000 to 7 and whatever pages say nothing about.
const EVER: Build = Build(0);
/// Windows Vista.
const VISTA: Build = Build(6000);
/// Windows 8.1.
const WINDOWS_8_1: Build = Build(9600);
/// Windows 10.
const WINDOWS_10: Build = Build(10240);
/// Windows 10, version 2004.
const VERSION_2004: Build = Build(19041);

/// The oldest build that the driver supports: Windows Server 2022, the first with KMDF 1.33.
pub const SUPPORTED: Build = Build(20348);

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// Its name in the import table.
    pub name: &'static str,
    /// The module on x64.
    pub x64: Option<&'static str>,
    /// The module on ARM64.
    pub arm64: Option<&'static str>,
    /// The oldest Windows that has it.
    pub since: Build,
}

impl Import {
    /// The module that exports it on `architecture`.
    pub fn module(&self, architecture: Architecture) -> Option<&'static str> {
        match architecture {
            Architecture::X86_64 => self.x64,
            Architecture::Aarch64 => self.arm64,
        }
    }
}

/// Exported by one module on both architectures.
const fn both(module: &'static str, name: &'static str, since: Build) -> Import {
    Import { name, x64: Some(module), arm64: Some(module), since }
}

/// Everything that an image may import.
pub const ALLOWED: &[Import] = &[
    both(KERNEL, "EtwActivityIdControl", EVER),
    both(KERNEL, "EtwRegister", VISTA),
    // The page names no module; the import libraries of the kernel have it.
    both(KERNEL, "EtwSetInformation", WINDOWS_10),
    both(KERNEL, "EtwUnregister", VISTA),
    both(KERNEL, "EtwWriteTransfer", VISTA),
    both(KERNEL, "ExAllocatePool2", VERSION_2004),
    both(KERNEL, "ExFreePoolWithTag", EVER),
    both(KERNEL, "IoAcquireCancelSpinLock", EVER),
    both(KERNEL, "IoAllocateMdl", EVER),
    both(KERNEL, "IoAttachDeviceToDeviceStack", EVER),
    both(KERNEL, "IoBuildPartialMdl", EVER),
    both(KERNEL, "IoConnectInterruptEx", VISTA),
    both(KERNEL, "IoCreateDevice", EVER),
    both(KERNEL, "IoCreateSymbolicLink", EVER),
    both(KERNEL, "IoDeleteDevice", EVER),
    both(KERNEL, "IoDeleteSymbolicLink", EVER),
    both(KERNEL, "IoDetachDevice", EVER),
    both(KERNEL, "IoDisconnectInterruptEx", VISTA),
    both(KERNEL, "IoFreeMdl", EVER),
    both(KERNEL, "IoGetDmaAdapter", EVER),
    both(KERNEL, "IoReleaseCancelSpinLock", EVER),
    both(KERNEL, "IofCallDriver", EVER),
    // What the macro IoCompleteRequest calls; no page of its own.
    both(KERNEL, "IofCompleteRequest", EVER),
    both(KERNEL, "KeAcquireSpinLockAtDpcLevel", EVER),
    // The page names no module: a macro of 32 bits, an export of 64.
    both(KERNEL, "KeAcquireSpinLockRaiseToDpc", EVER),
    both(KERNEL, "KeBugCheckEx", EVER),
    both(KERNEL, "KeClearEvent", EVER),
    both(KERNEL, "KeDelayExecutionThread", EVER),
    both(KERNEL, "KeFlushIoBuffers", EVER),
    both(KERNEL, "KeFlushQueuedDpcs", EVER),
    Import { name: "KeGetCurrentIrql", x64: Some(KERNEL), arm64: Some(HAL), since: WINDOWS_10 },
    both(KERNEL, "KeGetCurrentProcessorNumberEx", EVER),
    both(KERNEL, "KeInitializeDpc", EVER),
    both(KERNEL, "KeInitializeEvent", EVER),
    both(KERNEL, "KeInsertQueueDpc", EVER),
    Import { name: "KeLowerIrql", x64: Some(KERNEL), arm64: None, since: EVER },
    both(KERNEL, "KeQueryActiveProcessorCountEx", EVER),
    both(KERNEL, "KeQueryInterruptTimePrecise", WINDOWS_8_1),
    // The page names no module; an export on every 64-bit system.
    both(KERNEL, "KeReleaseSpinLock", EVER),
    both(KERNEL, "KeReleaseSpinLockFromDpcLevel", EVER),
    both(KERNEL, "KeSetEvent", EVER),
    both(KERNEL, "KeWaitForSingleObject", EVER),
    // What the macro KeLowerIrql calls on ARM64; no page.
    Import { name: "KfLowerIrql", x64: None, arm64: Some(HAL), since: EVER },
    // What the macro KeRaiseIrql calls; no page of its own.
    Import { name: "KfRaiseIrql", x64: Some(KERNEL), arm64: Some(HAL), since: EVER },
    both(KERNEL, "MmBuildMdlForNonPagedPool", EVER),
    both(KERNEL, "MmGetPhysicalAddress", EVER),
    both(KERNEL, "MmMapIoSpaceEx", WINDOWS_10),
    both(KERNEL, "MmMapLockedPagesSpecifyCache", EVER),
    both(KERNEL, "MmProbeAndLockPages", EVER),
    both(KERNEL, "MmUnlockPages", EVER),
    both(KERNEL, "MmUnmapIoSpace", EVER),
    both(KERNEL, "MmUnmapLockedPages", EVER),
    both(LOADER, "WdfVersionBind", EVER),
    both(LOADER, "WdfVersionUnbind", EVER),
];
