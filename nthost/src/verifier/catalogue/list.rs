//! Sections F and G: the version 3 routines and scatter/gather lists.

use super::Home::{Check, Review, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 26] = [
    Rule {
        id: RuleId::Dma58,
        title: "Version 3: order of calls",
        text: "IoGetDmaAdapter, InitializeDmaTransferContext, GetDmaTransferInfo, \
               AllocateAdapterChannelEx, then MapTransferEx, device, FlushAdapterBuffersEx as \
               often as needed, then FreeAdapterChannel (or FreeMapRegisters or FreeAdapterObject, \
               by ownership), then PutDmaAdapter.",
        verifier: "0xE6/0x08, 0xE6/0x09, 0xE6/0x0D, 0xE6/0x10",
        sources: &[
            "CON/kernel/basic-calling-pattern-for-version-3-dma-routines.md",
            "CON/kernel/version-3-of-the-dma-operations-interface.md",
        ],
        homes: &[Type("v3::GrantedV3"), Check],
    },
    Rule {
        id: RuleId::Dma59,
        title: "DMA transfer context",
        text: "DMA_TRANSFER_CONTEXT_SIZE_V1 bytes of nonpaged memory, initialised by \
               InitializeDmaTransferContext before each allocation attempt, unique among \
               outstanding allocations, alive until the transfer is finished or cancelled.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pinitialize_dma_transfer_context.md",
            "DDI/wdm/nc-wdm-pallocate_adapter_channel_ex.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionpacket.cpp",
        ],
        homes: &[Type("v3::TransferContext"), Check],
    },
    Rule {
        id: RuleId::Dma60,
        title: "GetDmaTransferInfo",
        text: "At or below DISPATCH_LEVEL. The caller sets Version (1, or 2 from Windows 10 1809), \
               else STATUS_NOT_SUPPORTED. Offset lies inside the chain, Length is 1 to the rest. \
               Results for WriteOnly TRUE are not reused for a read. Size the list buffer by \
               ScatterGatherListSize, which includes private space.",
        verifier: "0xE6/0x24",
        sources: &[
            "DDI/wdm/nc-wdm-pget_dma_transfer_info.md",
            "DDI/wdm/ns-wdm-_dma_transfer_info_v1.md",
            "DDI/wdm/ns-wdm-_dma_transfer_info_v2.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma61,
        title: "AllocateAdapterChannelEx: arguments",
        text: "DISPATCH_LEVEL; registers at most GetDmaTransferInfo's count and the grant. Without \
               a flag: ExecutionRoutine required, MapRegisterBase NULL. With \
               DMA_SYNCHRONOUS_CALLBACK: the routine is optional, and MapRegisterBase required if \
               it is absent. The device object is the one later given to CancelAdapterChannel.",
        verifier: "0xE6/0x0B, 0xE6/0x0C, 0xE6/0x13, 0xE6/0x15",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_adapter_channel_ex.md",
            "CON/kernel/basic-calling-pattern-for-version-3-dma-routines.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Type("v3::GrantedV3"), Check],
    },
    Rule {
        id: RuleId::Dma62,
        title: "DMA_SYNCHRONOUS_CALLBACK",
        text: "If resources are not free now: STATUS_INSUFFICIENT_RESOURCES, nothing queued, no \
               callback. If free: the routine runs in the caller's thread before the return. \
               Without the flag, STATUS_SUCCESS may mean pending.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_adapter_channel_ex.md",
            "CON/kernel/basic-calling-pattern-for-version-3-dma-routines.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma63,
        title: "Synchronous allocation without a routine",
        text: "The caller owns the result and ends it with FreeAdapterObject after the transfer.",
        verifier: "0xE6/0x08, 0xE6/0x09",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_adapter_channel_ex.md",
            "DDI/wdm/nc-wdm-pfree_adapter_object.md",
        ],
        homes: &[Type("v3::Allocating"), Check],
    },
    Rule {
        id: RuleId::Dma64,
        title: "MapTransferEx: arguments of a bus master",
        text: "At or below DISPATCH_LEVEL. Offset inside the chain, *Length up to the rest and not \
               0, DeviceOffset 0, completion routine and context NULL, a nonpaged list buffer of \
               the calculated size. The same unmodified chain on every call; only Offset and \
               *Length change.",
        verifier: "0xE6/0x21, 0xE6/0x1B, 0xE6/0x1F, 0xE6/0x24, 0xE6/0x0E, 0xE6/0x22",
        sources: &["DDI/wdm/nc-wdm-pmap_transfer_ex.md"],
        homes: &[Type("v3::GrantedV3"), Check],
    },
    Rule {
        id: RuleId::Dma65,
        title: "MapTransferEx: results",
        text: "Success with a smaller *Length is normal and must be handled. Failures: \
               STATUS_INVALID_PARAMETER, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, \
               and STATUS_CANCELLED after the context was cancelled. A failed call maps nothing, \
               so it owes no flush.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pmap_transfer_ex.md",
            "CON/kernel/using-the-maptransferex-routine.md",
        ],
        homes: &[Type("v3::MappingV3"), Check],
    },
    Rule {
        id: RuleId::Dma66,
        title: "Version 3: each map has its flush",
        text: "Each successful MapTransferEx is followed by exactly one FlushAdapterBuffersEx \
               before the next map on that allocation and before its release, even when cancelled. \
               The next call has Offset advanced by the bytes mapped.",
        verifier: "0xE6/0x0D, 0xE6/0x10, 0xE6/0x1D",
        sources: &[
            "DDI/wdm/nc-wdm-pmap_transfer_ex.md",
            "CON/kernel/using-the-maptransferex-routine.md",
        ],
        homes: &[Type("v3::MappingV3"), Check],
    },
    Rule {
        id: RuleId::Dma67,
        title: "FlushAdapterBuffersEx",
        text: "MDL, base, Offset, Length (bytes mapped) and direction are those of the mapping. \
               Not before the device is done; before the request is completed and the registers \
               are freed. A failure fails the request.",
        verifier: "0xE6/0x16, 0xE6/0x20, 0xE6/0x00, 0xE6/0x23",
        sources: &["DDI/wdm/nc-wdm-pflush_adapter_buffers_ex.md"],
        homes: &[Type("v3::MappingV3"), Check],
    },
    Rule {
        id: RuleId::Dma68,
        title: "CancelAdapterChannel",
        text: "At or below DISPATCH_LEVEL, with the adapter, device object and context of the \
               pending request. TRUE: the routine never runs, and the canceller cleans up and \
               completes. FALSE: the routine ran or will run, and completes. Exactly one side \
               finishes the request. Cancelling an unused context cancels its later allocation.",
        verifier: "",
        sources: &["DDI/wdm/nc-wdm-pcancel_adapter_channel.md"],
        homes: &[Type("v3::PendingV3"), Check],
    },
    Rule {
        id: RuleId::Dma69,
        title: "CancelMappedTransfer",
        text: "System DMA only: it marks the context cancelled, and the flush is still owed. A bus \
               master's driver stops its own hardware instead.",
        verifier: "0xE6/0x23",
        sources: &["DDI/wdm/nc-wdm-pcancel_mapped_transfer.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma70,
        title: "Calls that a bus master does not make",
        text: "ReadDmaCounter (slaves only), ConfigureAdapterChannel and CancelMappedTransfer \
               (system DMA only), a DmaCompletionRoutine. Progress is asked of the device.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pread_dma_counter.md",
            "DDI/wdm/nc-wdm-pconfigure_adapter_channel.md",
            "DDI/wdm/nc-wdm-dma_completion_routine.md",
        ],
        homes: &[Type("adapter::Adapter"), Check],
    },
    Rule {
        id: RuleId::Dma71,
        title: "DMA domains",
        text: "GetDmaDomain and JoinDmaDomain at PASSIVE_LEVEL, with a handle from GetDmaDomain; a \
               join needs a leave.",
        verifier: "0x1D9",
        sources: &[
            "DDI/wdm/nc-wdm-pjoin_dma_domain.md",
            "DDI/wdm/nc-wdm-pget_dma_domain.md",
            "CON/debugger/bug-check-0x1d9--hal-iommu-internal-error.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma72,
        title: "GetScatterGatherList",
        text: "DISPATCH_LEVEL; CurrentVa inside the first MDL, Length at least 1. \
               STATUS_INSUFFICIENT_RESOURCES (memory, or more registers than granted) and \
               STATUS_BUFFER_TOO_SMALL (Length beyond the MDLs) mean that no callback comes.",
        verifier: "0xE6/0x13, 0xE6/0x0C, 0xE6/0x15, 0xE6/0x1B, 0xE6/0x1F, 0xE6/0x21, 0xE6/0x24, \
                   0xC4/0x20003",
        sources: &["DDI/wdm/nc-wdm-pget_scatter_gather_list.md"],
        homes: &[Type("irql::Dispatch"), Check],
    },
    Rule {
        id: RuleId::Dma73,
        title: "AdapterListControl",
        text: "Runs at DISPATCH_LEVEL in arbitrary context, possibly before the call returns. It \
               saves the list, programs the device and returns; no AllocateAdapterChannel or \
               MapTransfer for that transfer; the Irp argument is unusable without StartIo. \
               Several calls may be outstanding on one device object.",
        verifier: "",
        sources: &[
            "CON/kernel/using-scatter-gather-dma.md",
            "DDI/wdm/nc-wdm-driver_list_control.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma74,
        title: "What a list holds",
        text: "After the callback the adapter is free again, but registers and list stay until \
               PutScatterGatherList. No FreeMapRegisters, FreeAdapterChannel or \
               FlushAdapterBuffers on this path.",
        verifier: "0xE6/0x0A",
        sources: &["DDI/wdm/nc-wdm-pget_scatter_gather_list.md"],
        homes: &[Type("ScatterGatherList"), Check],
    },
    Rule {
        id: RuleId::Dma75,
        title: "PutScatterGatherList",
        text: "DISPATCH_LEVEL, exactly once per list on every path, with the same adapter, list \
               pointer and direction and unmodified contents, after the device is done or halted. \
               It flushes, frees the registers, and frees a list that the system allocated.",
        verifier: "0xE6/0x06, 0xE6/0x0A, 0xC4/0x20003",
        sources: &["DDI/wdm/nc-wdm-pput_scatter_gather_list.md"],
        homes: &[Type("ScatterGatherList"), Check],
    },
    Rule {
        id: RuleId::Dma76,
        title: "When the data is visible",
        text: "The CPU touches the data, and the request is completed, only after \
               PutScatterGatherList (or the flush).",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pget_scatter_gather_list.md",
            "CON/kernel/using-scatter-gather-dma.md",
        ],
        homes: &[Type("ScatterGatherList"), Check],
    },
    Rule {
        id: RuleId::Dma77,
        title: "Using the list",
        text: "Program NumberOfElements elements, each with its whole Length; do not merge, \
               reorder or derive addresses from the MDL. The count can reach the pages spanned: \
               meet a device limit by MaximumLength or by splitting. The pointer is invalid after \
               the put.",
        verifier: "",
        sources: &[
            "DDI/wdm/ns-wdm-_scatter_gather_list.md",
            "CON/kernel/using-scatter-gather-dma.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionscattergather.cpp",
        ],
        homes: &[Type("ScatterGatherList"), Check],
    },
    Rule {
        id: RuleId::Dma78,
        title: "MDL chains",
        text: "Get and Build take a chain if all pages of all MDLs fit the grant. Pages are \
               counted per MDL with its own byte offset, not over the total length.",
        verifier: "0xE6/0x0C, 0xE6/0x15",
        sources: &[
            "DDI/wdm/nc-wdm-pget_scatter_gather_list.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionbase.cpp",
        ],
        homes: &[Type("ScatterGatherList"), Check],
    },
    Rule {
        id: RuleId::Dma79,
        title: "CalculateScatterGatherList (v2)",
        text: "Any IRQL. Mdl NULL: worst case for Length; Mdl given: its real size. \
               STATUS_INSUFFICIENT_RESOURCES for too many registers, STATUS_BUFFER_TOO_SMALL for \
               Length beyond the MDL. The size includes HAL scratch: header plus elements is not \
               enough.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pcalculate_scatter_gather_list_size.md",
            "WDF/kmdf/src/dma/base/fxdmaenabler.cpp",
        ],
        homes: &[Type("scatter_gather::ListBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma80,
        title: "BuildScatterGatherList (v2)",
        text: "DISPATCH_LEVEL. The caller's buffer has at least the calculated size, is nonpaged, \
               untouched and alive until after PutScatterGatherList, which does not free it. \
               Callback and put as for GetScatterGatherList.",
        verifier: "0xE6/0x06, 0xE6/0x0A, 0xE6/0x13",
        sources: &["DDI/wdm/nc-wdm-pbuild_scatter_gather_list.md"],
        homes: &[Type("scatter_gather::ListBuffer"), Check],
    },
    Rule {
        id: RuleId::Dma81,
        title: "Get/BuildScatterGatherListEx (v3)",
        text: "Bus masters only; call at DISPATCH_LEVEL. Contexts as in DMA-59. Offset inside the \
               chain, Length 1 to the rest, DmaCompletionRoutine NULL. Asynchronous calls need a \
               routine; a synchronous one without it needs the list out-pointer. Build returns the \
               caller's buffer as the list. Both end with PutScatterGatherList, as in KMDF.",
        verifier: "0xE6/0x06, 0xE6/0x0A, 0xE6/0x0B, 0xE6/0x13",
        sources: &[
            "DDI/wdm/nc-wdm-pget_scatter_gather_list_ex.md",
            "DDI/wdm/nc-wdm-pbuild_scatter_gather_list_ex.md",
            "WDF/kmdf/inc/private/fxdmatransactionscattergather.hpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma82,
        title: "BuildMdlFromScatterGatherList",
        text: "Documented as reserved for system use. STATUS_INVALID_PARAMETER without \
               OriginalMdl, STATUS_NONE_MAPPED on a second call for a list. The list's memory may \
               be a copy of the buffer.",
        verifier: "",
        sources: &["DDI/wdm/nc-wdm-pbuild_mdl_from_scatter_gather_list.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma83,
        title: "Lists without scatter/gather",
        text: "For an adapter with ScatterGather FALSE a list has one element. v3 packet mode \
               yields one element per MDL of a chain; KMDF always offers it a one-element buffer.",
        verifier: "",
        sources: &[
            "CON/kernel/using-scatter-gather-dma.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionpacket.cpp",
        ],
        homes: &[Review(
            "it says what the HAL returns; nthost returns that, and a driver cannot break it",
        )],
    },
];
