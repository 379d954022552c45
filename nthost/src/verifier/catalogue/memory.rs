//! Sections H to L: caches, map registers, MDLs, system DMA and remapping.

use super::Home::{Check, Inf, Note, Review, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 34] = [
    Rule {
        id: RuleId::Dma84,
        title: "KeFlushIoBuffers: arguments",
        text: "At or below DISPATCH_LEVEL. ReadOperation TRUE is device to memory (the opposite \
               sense of WriteToDevice); DmaOperation TRUE for DMA, FALSE for PIO.",
        verifier: "0xC4/0x20011",
        sources: &["DDI/wdm/nf-wdm-keflushiobuffers.md"],
        homes: &[Type("Ready"), Check, Note],
    },
    Rule {
        id: RuleId::Dma85,
        title: "KeFlushIoBuffers before DMA",
        text: "v1/v2 drivers call it just before the transfer, before the channel is allocated, in \
               both directions: on a read a later write-back would overwrite the device's data, on \
               a write the device would read stale memory. No operation on x86 and x64.",
        verifier: "",
        sources: &[
            "CON/kernel/flushing-cached-data-during-dma-operations.md",
            "CON/kernel/using-packet-based-bus-master-dma.md",
        ],
        homes: &[Type("Ready"), Check, Note],
    },
    Rule {
        id: RuleId::Dma86,
        title: "KeFlushIoBuffers after a PIO read",
        text: "Once at the end of a programmed read into memory, with ReadOperation TRUE and \
               DmaOperation FALSE.",
        verifier: "",
        sources: &[
            "CON/kernel/flushing-cached-data-during-pio-operations.md",
            "CON/kernel/writing-dpc-routines.md",
        ],
        homes: &[Type("Transfer::read_registers"), Check, Note],
    },
    Rule {
        id: RuleId::Dma87,
        title: "KeFlushIoBuffers: one MDL per call",
        text: "It handles only the MDL given; a chain needs a call for each MDL.",
        verifier: "",
        sources: &["DDI/wdm/nf-wdm-keflushiobuffers.md"],
        homes: &[Type("Ready"), Check, Note],
    },
    Rule {
        id: RuleId::Dma88,
        title: "Version 3 needs no KeFlushIoBuffers",
        text: "MapTransferEx cleans for writes, FlushAdapterBuffersEx invalidates for reads. An \
               additional KeFlushIoBuffers is harmless on x86 and x64 and wasteful on Arm.",
        verifier: "",
        sources: &[
            "CON/kernel/version-3-of-the-dma-operations-interface.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionpacket.cpp",
        ],
        homes: &[Note],
    },
    Rule {
        id: RuleId::Dma89,
        title: "The two flushes do not replace each other",
        text: "v1/v2: KeFlushIoBuffers (processor caches, before) does not replace \
               FlushAdapterBuffers (adapter buffers and bounced data, after), nor the reverse.",
        verifier: "0xE6/0x0D",
        sources: &["CON/kernel/flushing-cached-data-during-dma-operations.md"],
        homes: &[Type("packet::Mapping"), Check, Note],
    },
    Rule {
        id: RuleId::Dma90,
        title: "Cached common buffers (v1/v2)",
        text: "A buffer allocated with CacheEnabled TRUE also needs KeFlushIoBuffers before \
               transfers to or from it, and so an MDL of its own. Ordering of descriptor writes \
               before the doorbell needs the register-write routines or a barrier (inferred).",
        verifier: "",
        sources: &["CON/kernel/flushing-cached-data-during-dma-operations.md"],
        homes: &[Type("common_buffer::Cached"), Check, Note],
    },
    Rule {
        id: RuleId::Dma91,
        title: "What a map register is",
        text: "It covers at most one page and at least one byte; a transfer needs one for each \
               page touched. Software only on most PCs; the handle is opaque.",
        verifier: "",
        sources: &["CON/kernel/map-registers.md"],
        homes: &[Review(
            "a definition; drivers that count differently break DMA-34, DMA-49 or DMA-78",
        )],
    },
    Rule {
        id: RuleId::Dma92,
        title: "When data is bounced",
        text: "When a page lies above the adapter's reach, or an adapter without scatter/gather \
               needs discontiguous pages as one range; otherwise, or under remapping, the buffer \
               itself is exposed. The driver is correct in both cases.",
        verifier: "",
        sources: &[
            "CON/kernel/performing-dma-in-64-bit-windows.md",
            "DDI/wdm/ns-wdm-_device_description.md",
            "DDI/wdm/nc-wdm-pbuild_mdl_from_scatter_gather_list.md",
        ],
        homes: &[Review(
            "it describes the HAL; nthost does both, and a driver that relies on one breaks \
             DMA-54, DMA-76 or DMA-94",
        )],
    },
    Rule {
        id: RuleId::Dma93,
        title: "When bounced data is copied",
        text: "To device: during MapTransfer or the building of the list. From device: during \
               FlushAdapterBuffers or PutScatterGatherList, for the Length given. Nothing is \
               copied the other way at either point. (ReactOS's behaviour; the pages agree with \
               it.)",
        verifier: "",
        sources: &[
            "reactos/reactos hal/halx86/generic/dma.c",
            "DDI/wdm/nc-wdm-pflush_adapter_buffers_ex.md",
            "SMP/general/SystemDma/wdm/sys/sdma.c",
        ],
        homes: &[Review(
            "it describes the HAL; nthost copies at these points, and a driver that relies on \
             others breaks DMA-54 or DMA-94",
        )],
    },
    Rule {
        id: RuleId::Dma94,
        title: "No CPU access while mapped",
        text: "Between map and flush the CPU neither reads nor writes the buffer: writes may not \
               reach the device, its data is not there yet, and the copy back overwrites what the \
               CPU wrote. To poll for status use a common buffer.",
        verifier: "",
        sources: &["CON/kernel/using-scatter-gather-dma.md", "CON/kernel/using-bus-master-dma.md"],
        homes: &[
            Type("packet::Mapping"),
            Check,
            Review(
                "where caches are not coherent a store into a line that the device was given is \
                 found when the mapping ends; loads, and stores elsewhere, are invisible to nthost \
                 and show as wrong data where a transfer is bounced",
            ),
        ],
    },
    Rule {
        id: RuleId::Dma95,
        title: "A logical address is not a physical address",
        text: "Never assume that it equals the physical address, is stable, or is ordered like the \
               virtual address.",
        verifier: "",
        sources: &["CON/kernel/map-registers.md"],
        homes: &[Type("LogicalAddress"), Check],
    },
    Rule {
        id: RuleId::Dma96,
        title: "Short transfers",
        text: "If the device moved fewer bytes than were mapped, the flush still copies its whole \
               Length; report only the bytes that the device confirmed, or stale memory reaches \
               the caller. Inferred.",
        verifier: "",
        sources: &["CON/driversecurity/driver-security-checklist.md"],
        homes: &[Review(
            "which bytes a device really wrote is not tracked; bounce pages of transfers up to \
             64 KiB are filled before, so that a test that looks at the data sees the others",
        )],
    },
    Rule {
        id: RuleId::Dma97,
        title: "Driver Verifier always double-buffers",
        text: "With DMA checking each channel gets a register file with its own double buffer and \
               guard pages, for the first 64 map registers of a driver; beyond that nothing is \
               hooked.",
        verifier: "0xE6/0x0F",
        sources: &[
            "CON/debuggercmds/-dma.md",
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
        ],
        homes: &[Review(
            "it describes Driver Verifier; nthost's x64 profile has the same as an option, \
             without the limit",
        )],
    },
    Rule {
        id: RuleId::Dma98,
        title: "Map registers are a shared pool",
        text: "An allocation may be queued for long. Free promptly, and never hold registers while \
               waiting for more from the same pool (inferred).",
        verifier: "0xE6/0x00",
        sources: &[
            "CON/kernel/using-common-buffer-bus-master-dma.md",
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma99,
        title: "Locked or nonpageable memory",
        text: "A mapped MDL describes locked pages (MmProbeAndLockPages, any direct I/O request) \
               or nonpaged memory (MmBuildMdlForNonPagedPool), and its flags are intact.",
        verifier: "0xE6/0x0E, 0xE6/0x22, 0xC4/0x140",
        sources: &[
            "CON/kernel/using-mdls.md",
            "DDI/wdm/nc-wdm-pmap_transfer_ex.md",
            "CON/devtest/dma-verification.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma100,
        title: "The request outlives its mapping",
        text: "Completion unlocks and frees the MDLs. So strictly: device stopped, flush or put, \
               map registers freed, request completed; also on cancel, time-out, reset, power-down \
               and removal.",
        verifier: "0xE6/0x0D, 0xE6/0x0A, 0xE6/0x16, 0xE6/0x26",
        sources: &[
            "CON/kernel/using-direct-i-o-with-dma.md",
            "CON/kernel/using-mdls.md",
            "DDI/wdm/nc-wdm-pflush_adapter_buffers.md",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Dma101,
        title: "No MDL after completion",
        text: "No MmGetMdl*, KeFlushIoBuffers, IoBuildPartialMdl, map or flush with the MDL of a \
               completed request.",
        verifier: "",
        sources: &[
            "CON/devtest/kmdf-mdlafterreqcompletedreada.md",
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestretrieveoutputwdmmdl.md",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Dma102,
        title: "MDLs are opaque and chains stable",
        text: "Only Next and MdlFlags may be read directly, the rest through macros. No relinking \
               between map and flush.",
        verifier: "0xC4/0xB0-0xB8",
        sources: &["CON/kernel/using-mdls.md", "CON/kernel/using-the-maptransferex-routine.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma103,
        title: "Partial MDLs",
        text: "IoBuildPartialMdl takes a locked source, a true sub-range and a target large \
               enough. Partial and nonpaged-pool MDLs are never locked or unlocked. \
               MmPrepareMdlForReuse before reuse, IoFreeMdl at the end; the source lives longer.",
        verifier: "0xC4/0xB4, 0xC4/0x7D, 0xC4/0x7C",
        sources: &[
            "DDI/wdm/nf-wdm-iobuildpartialmdl.md",
            "DDI/wdm/nf-wdm-mmbuildmdlfornonpagedpool.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma104,
        title: "Access mode matches direction",
        text: "Pages probed with IoReadAccess (METHOD_IN_DIRECT, write requests) are sources only; \
               device-to-memory DMA needs IoWriteAccess or IoModifyAccess (METHOD_OUT_DIRECT, read \
               requests).",
        verifier: "0xC4/0x1010",
        sources: &[
            "CON/kernel/errors-in-direct-i-o.md",
            "CON/kernel/buffer-descriptions-for-i-o-control-codes.md",
            "DDI/wdm/nf-wdm-mmprobeandlockpages.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma105,
        title: "Buffers locked by the driver",
        text: "MmProbeAndLockPages inside an exception handler, at or below APC_LEVEL \
               (DISPATCH_LEVEL if nonpageable), in the owner's process; one unlock per lock, no \
               second lock on an MDL, and the unlock only after the mapping is gone.",
        verifier: "0xC4/0x70, 0xC4/0x78, 0xC4/0x7C, 0xC4/0xB0",
        sources: &["DDI/wdm/nf-wdm-mmprobeandlockpages.md", "DDI/wdm/nf-wdm-mmunlockpages.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma106,
        title: "System mapping of an MDL",
        text: "MmGetSystemAddressForMdlSafe can return NULL: check it; pass MdlMappingNoExecute; \
               serialise calls for one MDL. Pure DMA does not need it.",
        verifier: "0xC4/0x2002",
        sources: &[
            "DDI/wdm/nf-wdm-mmgetsystemaddressformdlsafe.md",
            "CON/kernel/security-issues-for-i-o-control-codes.md",
        ],
        homes: &[Type("MdlChain"), Check],
    },
    Rule {
        id: RuleId::Dma107,
        title: "System DMA: sequence",
        text: "KeFlushIoBuffers (v1/v2), channel, map (which programs the controller), start the \
               device, wait, flush, FreeAdapterChannel; AdapterControl returns KeepObject. As many \
               flushes as maps.",
        verifier: "",
        sources: &[
            "CON/kernel/using-packet-based-system-dma.md",
            "CON/kernel/allocating-an-adapter-channel-for-packet-based-dma.md",
        ],
        homes: &[Type("system::Channel"), Check],
    },
    Rule {
        id: RuleId::Dma108,
        title: "System DMA: address and length",
        text: "MapTransfer's return value is ignored and *Length does not shrink. Auto-initialise \
               mode maps its common buffer once and watches ReadDmaCounter. ScatterGather TRUE \
               only if the device can pause while the controller is reprogrammed.",
        verifier: "",
        sources: &[
            "CON/kernel/setting-up-the-system-dma-controller-for-packet-based-dma.md",
            "CON/kernel/using-common-buffer-system-dma.md",
            "CON/kernel/getting-an-adapter-object.md",
        ],
        homes: &[Type("system::Channel"), Check],
    },
    Rule {
        id: RuleId::Dma109,
        title: "System DMA: completion and cancellation",
        text: "The v3 completion routine runs at DISPATCH_LEVEL, and only if the controller \
               interrupts; *Length is written before it can run. A channel is flushed only once \
               completed or cancelled.",
        verifier: "0xE6/0x23",
        sources: &[
            "DDI/wdm/nc-wdm-dma_completion_routine.md",
            "DDI/wdm/nc-wdm-pmap_transfer_ex.md",
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma110,
        title: "Remapping: when a driver may opt in",
        text: "All of the device's memory access goes through the WDF, WDM or NDIS DMA interfaces; \
               programming MmGetPhysicalAddress is incompatible.",
        verifier: "",
        sources: &["CON/pci/enabling-dma-remapping-for-device-drivers.md"],
        homes: &[Type("LogicalAddress"), Check],
    },
    Rule {
        id: RuleId::Dma111,
        title: "Remapping: opt-in per device (Windows 11 24H2)",
        text: "INF DDInstall.HW AddReg: HKR,\"DMA Management\",\"RemappingSupported\",REG_DWORD, 0 \
               out, 1 in, absent system policy; \"RemappingFlags\" 0 or absent always, 1 only for \
               external devices or under DMA verification. It overrides the per-driver value.",
        verifier: "",
        sources: &["CON/pci/enabling-dma-remapping-for-device-drivers.md"],
        homes: &[Inf],
    },
    Rule {
        id: RuleId::Dma112,
        title: "Remapping: opt-in per driver (to 23H2)",
        text: "INF service AddReg: HKR,Parameters,DmaRemappingCompatible,REG_DWORD, 0 out, 1 in, 2 \
               in if external or under DMA verification, 3 in (2 on Windows 10), absent system \
               policy. Ignored if RemappingSupported exists; not for graphics drivers.",
        verifier: "",
        sources: &["CON/pci/enabling-dma-remapping-for-device-drivers.md"],
        homes: &[Inf],
    },
    Rule {
        id: RuleId::Dma113,
        title: "Remapping: Driver Verifier promotes it",
        text: "Under DMA verification the conditional values act like 1, so the device runs behind \
               the IOMMU if there is one. DEVPKEY_Device_DmaRemappingPolicy shows the effective \
               policy, in a numbering of its own (2 capable, 1 a driver opted out, 0 unspecified).",
        verifier: "",
        sources: &[
            "CON/pci/enabling-dma-remapping-for-device-drivers.md",
            "CON/install/devpkey-device-dmaremappingpolicy.md",
        ],
        homes: &[Review("it is the policy of a Windows machine, where `dmaproof info` prints it")],
    },
    Rule {
        id: RuleId::Dma114,
        title: "The device accesses only what is mapped",
        text: "Each access hits a logical range now mapped for that device in that direction. The \
               bug check can appear with Driver Verifier off.",
        verifier: "0xE6/0x26",
        sources: &["CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma115,
        title: "Quiesce before unmapping",
        text: "Flush, put or free removes the translation; before it the device has no access in \
               flight or prefetched (read back a status register, wait for idle).",
        verifier: "0xE6/0x26, 0x159",
        sources: &["CON/debugger/bug-check-0x159--hal-illegal-iommu-page-fault.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma116,
        title: "Remapped lists look odd",
        text: "Scattered pages may come back as one run, at addresses below or above any RAM; do \
               not validate element counts or addresses against the physical layout. Inferred.",
        verifier: "",
        sources: &[
            "CON/kernel/map-registers.md",
            "DDI/wdm/nc-wdm-pcreate-common-buffer-from-mdl.md",
        ],
        homes: &[Review(
            "the comparison happens inside the driver; nthost hands out such lists, and a driver \
             that refuses them fails its requests",
        )],
    },
    Rule {
        id: RuleId::Dma117,
        title: "Remapping: policy consequences",
        text: "An incompatible driver on an external PCIe port may be refused its start while \
               nobody is logged on or the screen is locked (code 55, CM_PROB_CONSOLE_LOCKED). \
               Hardware ReadOnly and WriteOnly permissions of common buffers exist only with \
               remapping.",
        verifier: "",
        sources: &[
            "CON/install/cm-prob-console-locked.md",
            "DDI/wdm/ns-wdm-dma_common_buffer_extended_configuration.md",
        ],
        homes: &[Review(
            "it is the policy of Windows for a physical port and a logged-on user; no driver code \
             takes part",
        )],
    },
];
