//! Sections A to C: the adapter object, its release, and common buffers.

use super::Home::{Check, Review, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 32] = [
    Rule {
        id: RuleId::Dma01,
        title: "IoGetDmaAdapter: IRQL and context",
        text: "Call it only at PASSIVE_LEVEL, and never while servicing a set-power IRP.",
        verifier: "0xC4/0x2000E, 0xE6/0x13",
        sources: &[
            "DDI/wdm/nf-wdm-iogetdmaadapter.md",
            "CON/devtest/wdm-irqliopassive5.md",
            "CON/devtest/wdm-powerirpddis.md",
        ],
        homes: &[Type("irql::Passive"), Check],
    },
    Rule {
        id: RuleId::Dma02,
        title: "IoGetDmaAdapter: device object and moment",
        text: "The first argument is the physical device object (WdfDeviceWdmGetPhysicalDevice); a \
               PnP driver may not pass NULL. Call it during device add or start \
               (EvtDriverDeviceAdd or EvtDevicePrepareHardware), once per start, not per transfer.",
        verifier: "",
        sources: &[
            "DDI/wdm/nf-wdm-iogetdmaadapter.md",
            "CON/kernel/setting-up-adaptercontrol-routines.md",
            "WDF/kmdf/src/dma/base/fxdmaenabler.cpp",
            "SMP/general/SystemDma/wdm/sys/sdma.c",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma03,
        title: "DEVICE_DESCRIPTION: zero first",
        text: "Zero the whole structure before setting members; members that do not apply stay \
               zero and Reserved1 is FALSE.",
        verifier: "",
        sources: &[
            "DDI/wdm/ns-wdm-_device_description.md",
            "CON/kernel/getting-an-adapter-object.md",
        ],
        homes: &[Type("adapter::Description"), Check],
    },
    Rule {
        id: RuleId::Dma04,
        title: "DEVICE_DESCRIPTION.Version selects the operations table",
        text: "Version 0 or 1 gives the v1 table (0 also ignores IgnoreCount), 2 adds \
               CalculateScatterGatherList, BuildScatterGatherList and \
               BuildMdlFromScatterGatherList, 3 adds the Ex routines. An unsupported version \
               returns NULL, and that is the only test: DMA_ADAPTER.Version is always 1. Entries \
               of later Windows releases are guarded by DMA_OPERATIONS.Size.",
        verifier: "0xE6/0x25",
        sources: &[
            "DDI/wdm/nf-wdm-iogetdmaadapter.md",
            "DDI/wdm/ns-wdm-_dma_adapter.md",
            "DDI/wdm/ns-wdm-_dma_operations.md",
        ],
        homes: &[Type("adapter::Adapter"), Check],
    },
    Rule {
        id: RuleId::Dma05,
        title: "Address reach of a v1/v2 adapter",
        text: "Dma64BitAddresses TRUE makes Dma32BitAddresses irrelevant. ScatterGather TRUE with \
               InterfaceType PCIBus implies 32 bits. With none of these the reach is 24 bits. \
               Claim no reach that the device lacks: the HAL bounces only above the claimed limit.",
        verifier: "",
        sources: &[
            "DDI/wdm/ns-wdm-_device_description.md",
            "CON/kernel/performing-dma-in-64-bit-windows.md",
            "WDF/kmdf/src/dma/base/fxdmaenabler.cpp",
        ],
        homes: &[Type("adapter::Description"), Check],
    },
    Rule {
        id: RuleId::Dma06,
        title: "Address reach of a v3 adapter",
        text: "For a bus master only DmaAddressWidth counts: nonzero and at most 64. The 32-bit \
               and 64-bit flags and DmaSpeed are ignored. Width 0 fails; KMDF notes that the HAL \
               refuses widths under 24.",
        verifier: "",
        sources: &[
            "DDI/wdm/ns-wdm-_device_description.md",
            "WDF/kmdf/src/dma/base/fxdmaenabler.cpp",
        ],
        homes: &[Type("adapter::Description"), Check],
    },
    Rule {
        id: RuleId::Dma07,
        title: "ScatterGather flag",
        text: "TRUE states that a bus master takes a list of discontiguous fragments: MapTransfer \
               may return less than asked and lists may have many elements. FALSE: each mapping is \
               one contiguous logical range, bounced if the pages are not contiguous. \
               Get/PutScatterGatherList may be called either way.",
        verifier: "",
        sources: &[
            "DDI/wdm/ns-wdm-_device_description.md",
            "DDI/wdm/nc-wdm-pmap_transfer.md",
            "CON/kernel/using-scatter-gather-dma.md",
            "CON/devtest/dma-verification.md",
        ],
        homes: &[Review(
            "only the device's manual says whether it takes fragments; nthost acts as the flag \
             tells it to",
        )],
    },
    Rule {
        id: RuleId::Dma08,
        title: "Members with no meaning for a bus master",
        text: "Master is TRUE. DemandMode, AutoInitialize, DmaChannel, DmaWidth, DmaSpeed, \
               DmaRequestLine, DeviceAddress, BusNumber, DmaPort and DmaControllerInstance are \
               unused. InterfaceType is PCIBus, or InterfaceTypeUndefined to let the system ask \
               the PDO.",
        verifier: "",
        sources: &["DDI/wdm/ns-wdm-_device_description.md"],
        homes: &[Type("adapter::Description"), Check],
    },
    Rule {
        id: RuleId::Dma09,
        title: "MaximumLength",
        text: "The largest byte count of one DMA operation through this adapter, not of one \
               request; it sizes the map-register grant, and no single operation may exceed it.",
        verifier: "0xE6/0x0C, 0xE6/0x15",
        sources: &[
            "DDI/wdm/ns-wdm-_device_description.md",
            "DDI/wdm/nf-wdm-iogetdmaadapter.md",
            "WDF/kmdf/src/dma/base/fxdmaenabler.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma10,
        title: "NumberOfMapRegisters is an output to obey",
        text: "The HAL tries to grant pages(MaximumLength) + 1 and may grant fewer at any time. \
               Store the number, split work to fit it, and keep working when it is small; do not \
               fail the start because it is smaller than wished (code analysis: C28173).",
        verifier: "0xE6/0x0C, 0xE6/0x15",
        sources: &[
            "CON/kernel/getting-an-adapter-object.md",
            "CON/devtest/28173-function-incorrectly-adapts-to-memory-above-4gb.md",
            "CON/devtest/-kernel-iogetdmaadapter--annotation-for-drivers.md",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma11,
        title: "Map-register accounting in v3",
        text: "v1/v2: one register for each page that each MDL spans. v3: GetDmaTransferInfo \
               reports the count needed for a chain, offset, length and direction, possibly below \
               the page count; AllocateAdapterChannelEx takes at most that and at most the grant. \
               MapTransferEx may still map less than asked, so loop.",
        verifier: "0xE6/0x0C, 0xE6/0x15",
        sources: &[
            "DDI/wdfdmatransaction/nf-wdfdmatransaction-wdfdmatransactiongettransferinfo.md",
            "DDI/wdm/ns-wdm-_dma_transfer_info_v1.md",
            "DDI/wdm/nc-wdm-pallocate_adapter_channel_ex.md",
            "CON/kernel/using-the-maptransferex-routine.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionbase.cpp",
        ],
        homes: &[Type("v3::GrantedV3"), Check],
    },
    Rule {
        id: RuleId::Dma12,
        title: "NULL adapter",
        text: "Handle a NULL return: fail the start path (customarily \
               STATUS_INSUFFICIENT_RESOURCES) or retry with an older Version. Fetch no operation \
               from it.",
        verifier: "0xE6/0x19",
        sources: &[
            "DDI/wdm/nf-wdm-iogetdmaadapter.md",
            "CON/kernel/using-packet-based-bus-master-dma.md",
        ],
        homes: &[Type("adapter::Adapter"), Check],
    },
    Rule {
        id: RuleId::Dma13,
        title: "Resident storage",
        text: "Adapter pointer, grant, MapRegisterBase handles, list pointers and per-transfer \
               context lie in nonpaged memory, because they are used at DISPATCH_LEVEL.",
        verifier: "",
        sources: &[
            "CON/kernel/getting-an-adapter-object.md",
            "CON/kernel/storage-requirements-for-adaptercontrol-routines.md",
        ],
        homes: &[Review(
            "nthost does not look up which pool a driver's memory came from, and plain loads of \
             paged data are invisible to it",
        )],
    },
    Rule {
        id: RuleId::Dma14,
        title: "Only through the adapter's own table",
        text: "Every operation goes through Adapter->DmaOperations of the same adapter. \
               HalGetAdapter and the Hal* DMA calls are obsolete; the adapter argument is never \
               NULL.",
        verifier: "0xE6/0x19, 0xE6/0x1E",
        sources: &[
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
            "CON/kernel/using-packet-based-bus-master-dma.md",
        ],
        homes: &[Type("adapter::Adapter"), Check],
    },
    Rule {
        id: RuleId::Dma15,
        title: "GetDmaAlignment",
        text: "PASSIVE_LEVEL. Start and length of a buffer are multiples of the returned bytes; \
               the device's alignment requirement (a mask) is at least that value minus 1, more if \
               the hardware demands it.",
        verifier: "0xE6/0x1F",
        sources: &[
            "DDI/wdm/nc-wdm-pget_dma_alignment.md",
            "DDI/wdfdevice/nf-wdfdevice-wdfdevicesetalignmentrequirement.md",
            "WDF/kmdf/src/dma/base/fxdmaenabler.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma16,
        title: "GetDmaAdapterInfo (v3)",
        text: "Version is DMA_ADAPTER_INFO_VERSION1 on entry, else STATUS_NOT_SUPPORTED. Element \
               lengths are multiples of the returned MinimumTransferUnit; ScatterGatherLimit and \
               DmaAddressWidth are to be obeyed.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pget_dma_adapter_info.md",
            "DDI/wdm/ns-wdm-_dma_adapter_info_v1.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma17,
        title: "One adapter, one channel at a time",
        text: "An adapter holds at most one allocated channel. Independent read and write engines \
               need two adapters, or scatter/gather calls, which queue freely.",
        verifier: "0xE6/0x0B",
        sources: &[
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
            "DDI/wdfdmaenabler/nf-wdfdmaenabler-wdfdmaenablergetfragmentlength.md",
            "WDF/shared/inc/private/km/fxdmaenabler.hpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma18,
        title: "PutDmaAdapter comes last",
        text: "At or below DISPATCH_LEVEL, after every operation has finished and every channel, \
               map-register set, scatter/gather list and common buffer of the adapter has been \
               given back.",
        verifier: "0xE6/0x07-0x0A",
        sources: &[
            "DDI/wdm/nc-wdm-pput_dma_adapter.md",
            "CON/kernel/basic-calling-pattern-for-version-3-dma-routines.md",
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
        ],
        homes: &[Type("adapter::Adapter"), Check],
    },
    Rule {
        id: RuleId::Dma19,
        title: "Exactly one put, no use after",
        text: "One PutDmaAdapter for each successful IoGetDmaAdapter; afterwards nothing uses the \
               adapter or its table.",
        verifier: "0xE6/0x18, 0xE6/0x11",
        sources: &[
            "CON/devtest/dma-verification.md",
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
        ],
        homes: &[Type("adapter::Adapter"), Check],
    },
    Rule {
        id: RuleId::Dma20,
        title: "Put on stop and on removal",
        text: "Release the adapter whenever the device is stopped or removed \
               (EvtDeviceReleaseHardware, or object cleanup if taken in device add) and take it \
               again at the next start. It is no WDF object; the framework never frees it.",
        verifier: "0xE6/0x11",
        sources: &[
            "DDI/wdm/nc-wdm-pput_dma_adapter.md",
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_release_hardware.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma21,
        title: "FreeAdapterObject is not PutDmaAdapter (v3)",
        text: "At or below DISPATCH_LEVEL. It ends one allocation, normally a synchronous one \
               without a routine, and leaves the adapter valid. DeallocateObject releases channel \
               and map registers, DeallocateObjectKeepRegisters the channel only (then \
               FreeMapRegisters), KeepObject nothing.",
        verifier: "0xE6/0x04, 0xE6/0x05",
        sources: &[
            "DDI/wdm/nc-wdm-pfree_adapter_object.md",
            "CON/kernel/basic-calling-pattern-for-version-3-dma-routines.md",
        ],
        homes: &[Type("v3::Allocating"), Check],
    },
    Rule {
        id: RuleId::Dma22,
        title: "AllocateCommonBuffer: context",
        text: "PASSIVE_LEVEL, at device start; later only single-page requests can be expected to \
               succeed. Prefer few buffers in page multiples, or several one-page buffers where \
               contiguity is not needed.",
        verifier: "0xE6/0x13",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_common_buffer.md",
            "CON/kernel/using-common-buffer-bus-master-dma.md",
            "WDF/kmdf/src/dma/base/fxcommonbuffer.cpp",
        ],
        homes: &[Type("irql::Passive"), Check],
    },
    Rule {
        id: RuleId::Dma23,
        title: "AllocateCommonBuffer: NULL result",
        text: "NULL is failure, and the logical address is then meaningless: undo what was \
               acquired and fail the start with STATUS_INSUFFICIENT_RESOURCES, or fall back to \
               packet DMA.",
        verifier: "",
        sources: &["CON/kernel/using-common-buffer-bus-master-dma.md"],
        homes: &[Type("common_buffer::CommonBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma24,
        title: "The device gets the whole logical address",
        text: "Program the returned logical address with every bit the device takes, never \
               MmGetPhysicalAddress of the virtual address and never without its high half. The \
               CPU uses only the returned virtual address.",
        verifier: "0xE6/0x26",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_common_buffer.md",
            "CON/kernel/performing-dma-in-64-bit-windows.md",
        ],
        homes: &[Type("LogicalAddress"), Check],
    },
    Rule {
        id: RuleId::Dma25,
        title: "Length is the accessible range",
        text: "The allocation is rounded up to pages, but only the requested Length belongs to \
               driver and device.",
        verifier: "0xE6/0x0F",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_common_buffer.md",
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
        ],
        homes: &[Type("common_buffer::CommonBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma26,
        title: "Common buffers use up the register budget",
        text: "A common buffer is contiguous to the device. Its pages may not exceed the granted \
               map registers, and while it lives it reduces those left for packet DMA.",
        verifier: "0xE6/0x00",
        sources: &["CON/kernel/using-common-buffer-bus-master-dma.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma27,
        title: "CacheEnabled",
        text: "AllocateCommonBuffer ignores it (x86/x64: cached; Arm: as ACPI _CCA says); \
               AllocateCommonBufferEx honours it unless _CCA says non-coherent. Uncached buffers \
               on Arm are Device memory: naturally aligned accesses only, not to be passed to most \
               kernel routines. FreeCommonBuffer gets the value given at allocation.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_common_buffer.md",
            "DDI/wdm/nc-wdm-pallocate_common_buffer_ex.md",
        ],
        homes: &[Type("common_buffer::CommonBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma28,
        title: "AllocateCommonBufferEx (v3)",
        text: "PASSIVE_LEVEL. MaximumAddress is optional; the buffer lies below it. PreferredNode \
               is an existing node, 0 without NUMA. NULL on failure.",
        verifier: "0xE6/0x13",
        sources: &["DDI/wdm/nc-wdm-pallocate_common_buffer_ex.md"],
        homes: &[Type("common_buffer::CommonBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma29,
        title: "AllocateCommonBufferWithBounds (v3, Windows 10 1803)",
        text: "PASSIVE_LEVEL. Optional inclusive minimum and a maximum that the buffer lies below. \
               Flags: DOMAIN_COMMON_BUFFER_LARGE_PAGE only. CacheType: NULL, MmNonCached or \
               MmCached, honoured on every platform. NULL on failure.",
        verifier: "0xE6/0x13",
        sources: &["DDI/wdm/nc-wdm-pallocate_common_buffer_with_bounds.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma30,
        title: "FreeCommonBuffer",
        text: "PASSIVE_LEVEL, so not from a DPC or under a spin lock. Adapter, length, logical \
               address, virtual address and CacheEnabled are those of the allocation; whole and \
               once. The device must have stopped using the buffer.",
        verifier: "0xE6/0x03, 0xE6/0x07, 0xE6/0x13, 0xE6/0x26",
        sources: &["DDI/wdm/nc-wdm-pfree_common_buffer.md"],
        homes: &[Type("common_buffer::CommonBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma31,
        title: "CreateCommonBufferFromMdl (v3, Server 2022)",
        text: "PASSIVE_LEVEL. The MDL is resident for the buffer's life, mapped in system space, \
               page aligned, a multiple of PAGE_SIZE and not chained; without remapping also \
               physically contiguous and within reach. No extended configuration twice. Remove \
               with FreeCommonBuffer and the system address; unlocking and freeing the MDL stays \
               with the driver.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pcreate-common-buffer-from-mdl.md",
            "DDI/wdm/ns-wdm-dma_common_buffer_extended_configuration.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma32,
        title: "Common-buffer vectors",
        text: "Index in range and not freed already; the vector empty before it is freed; none \
               leaked; the right IRQL.",
        verifier: "0x1DC",
        sources: &["CON/debugger/bug-check-0x1dc--dma-common-buffer-vector-error.md"],
        homes: &[Check],
    },
];
