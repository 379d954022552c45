//! Sections D and E: the adapter channel and the MapTransfer loop of v1 and v2.

use super::Home::{Check, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 25] = [
    Rule {
        id: RuleId::Dma33,
        title: "AllocateAdapterChannel: IRQL",
        text: "Exactly DISPATCH_LEVEL; a caller at PASSIVE_LEVEL raises around the call.",
        verifier: "0xE6/0x13",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_adapter_channel.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Type("irql::Dispatch"), Check],
    },
    Rule {
        id: RuleId::Dma34,
        title: "Map registers asked for",
        text: "The smaller of what this operation needs and the adapter's grant. More gives \
               STATUS_INSUFFICIENT_RESOURCES; AdapterControl then never runs, and the request is \
               completed with that error.",
        verifier: "0xE6/0x0C, 0xE6/0x15",
        sources: &["DDI/wdm/nc-wdm-pallocate_adapter_channel.md"],
        homes: &[Type("packet::MapRegisters"), Check],
    },
    Rule {
        id: RuleId::Dma35,
        title: "One pending allocation per device object",
        text: "No second AllocateAdapterChannel for the same device object until AdapterControl \
               has run, and none from inside AdapterControl.",
        verifier: "0xE6/0x0B",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_adapter_channel.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma36,
        title: "AdapterControl runs now or later",
        text: "Success means that it ran already or is queued: it may execute before the call \
               returns, or later on any processor in arbitrary context. Finish the set-up before \
               the call, hold no lock that AdapterControl takes, and touch no per-transfer state \
               afterwards without synchronisation of your own.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pallocate_adapter_channel.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionpacket.cpp",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma37,
        title: "AdapterControl's Irp argument",
        text: "It is DeviceObject->CurrentIrp, valid only in drivers with StartIo; a KMDF driver \
               ignores it and uses Context.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-driver_control.md",
            "WDF/kmdf/src/dma/base/fxdmatransactionpacket.cpp",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma38,
        title: "AdapterControl's return value",
        text: "DeallocateObjectKeepRegisters: normal for a packet bus master; the channel is \
               released, the map registers stay. DeallocateObject releases both, legal only if \
               nothing stays mapped. KeepObject: system DMA, or a bus master without command \
               queuing; both stay until FreeAdapterChannel. No other value.",
        verifier: "0xE6/0x10",
        sources: &[
            "DDI/wdm/nc-wdm-driver_control.md",
            "DDI/wdm/ne-wdm-_io_allocation_action.md",
            "CON/kernel/allocating-the-bus-master-adapter-object.md",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma39,
        title: "MapRegisterBase",
        text: "Opaque: save it and pass it unchanged to MapTransfer, FlushAdapterBuffers and \
               FreeMapRegisters. NULL is a legitimate value for map and flush. Valid until its \
               registers are freed.",
        verifier: "0xE6/0x20",
        sources: &[
            "CON/kernel/adaptercontrol-routine-requirements.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Type("packet::MapRegisters"), Check],
    },
    Rule {
        id: RuleId::Dma40,
        title: "AdapterControl does not wait",
        text: "It maps, programs the device and returns; it cannot block for the transfer. It runs \
               once per allocation; later pieces are driven from the DPC.",
        verifier: "0xC4/0x121, 0xC4/0x122",
        sources: &[
            "CON/kernel/allocating-the-bus-master-adapter-object.md",
            "CON/kernel/adaptercontrol-routine-requirements.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma41,
        title: "The release routine matches the return value",
        text: "After KeepObject: FreeAdapterChannel, which frees the map registers too. After \
               DeallocateObjectKeepRegisters: FreeMapRegisters. After DeallocateObject: neither.",
        verifier: "0xE6/0x04, 0xE6/0x05",
        sources: &[
            "DDI/wdm/nc-wdm-pfree_adapter_channel.md",
            "DDI/wdm/nc-wdm-pfree_map_registers.md",
            "CON/kernel/guidelines-for-writing-dpc-routines.md",
        ],
        homes: &[Type("packet::MapRegisters"), Check],
    },
    Rule {
        id: RuleId::Dma42,
        title: "FreeMapRegisters",
        text: "DISPATCH_LEVEL; with the count allocated, not the count used; after the last \
               FlushAdapterBuffers; once; never with a NULL base.",
        verifier: "0xE6/0x05, 0xE6/0x10, 0xE6/0x09, 0xC4/0x20003",
        sources: &[
            "DDI/wdm/nc-wdm-pfree_map_registers.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Type("packet::MapRegisters"), Check],
    },
    Rule {
        id: RuleId::Dma43,
        title: "FreeAdapterChannel",
        text: "DISPATCH_LEVEL; only while the channel is held (KeepObject or the v3 flow); after \
               the final flush; once.",
        verifier: "0xE6/0x04, 0xE6/0x08, 0xC4/0x20003",
        sources: &["DDI/wdm/nc-wdm-pfree_adapter_channel.md"],
        homes: &[Type("packet::ChannelRequest"), Check],
    },
    Rule {
        id: RuleId::Dma44,
        title: "Release before finishing the request",
        text: "Whoever completes the request first frees channel and map registers, on success, \
               error and cancel paths alike, and promptly: others may be waiting.",
        verifier: "0xE6/0x08, 0xE6/0x09",
        sources: &[
            "CON/kernel/writing-adaptercontrol-routines.md",
            "CON/kernel/guidelines-for-writing-dpc-routines.md",
            "CON/kernel/setting-up-a-transfer-operation.md",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Dma45,
        title: "MapTransfer: preconditions",
        text: "At or below DISPATCH_LEVEL, with map registers owned through AllocateAdapterChannel \
               on the same adapter. Every call for one request uses the same adapter, MDL, \
               MapRegisterBase and direction.",
        verifier: "0xE6/0x13, 0xE6/0x18",
        sources: &[
            "DDI/wdm/nc-wdm-pmap_transfer.md",
            "CON/kernel/setting-up-a-transfer-operation.md",
        ],
        homes: &[Type("packet::MapRegisters"), Check],
    },
    Rule {
        id: RuleId::Dma46,
        title: "CurrentVa is an index",
        text: "It starts as MmGetMdlVirtualAddress(Mdl), advances, and is never dereferenced. \
               CurrentVa and CurrentVa + Length stay inside that one MDL; MapTransfer does not \
               walk a chain.",
        verifier: "0xE6/0x1B, 0xE6/0x1F, 0xE6/0x24",
        sources: &[
            "DDI/wdm/nc-wdm-pmap_transfer.md",
            "DDI/wdm/nf-wdm-mmgetmdlvirtualaddress.md",
            "CON/kernel/using-the-maptransferex-routine.md",
        ],
        homes: &[Type("NextPiece"), Check],
    },
    Rule {
        id: RuleId::Dma47,
        title: "Length in and out",
        text: "Without scatter/gather the whole range comes back contiguous. With it, *Length may \
               shrink, and the returned logical address covers exactly that many bytes. The \
               pointer must not alias the request's own length field.",
        verifier: "",
        sources: &[
            "DDI/wdm/nc-wdm-pmap_transfer.md",
            "CON/kernel/setting-up-a-transfer-operation.md",
        ],
        homes: &[Type("NextPiece"), Check],
    },
    Rule {
        id: RuleId::Dma48,
        title: "The MapTransfer loop",
        text: "With scatter/gather: advance CurrentVa and the rest by the bytes returned, not the \
               bytes requested, and keep (address, length) of each piece, until the operation is \
               covered or the registers are used up; then start the device once.",
        verifier: "0xE6/0x1D",
        sources: &[
            "CON/kernel/setting-up-a-transfer-operation.md",
            "CON/kernel/allocating-the-bus-master-adapter-object.md",
        ],
        homes: &[Type("NextPiece"), Check],
    },
    Rule {
        id: RuleId::Dma49,
        title: "Page budget of one operation",
        text: "The pages that the operation spans do not exceed the map registers allocated: as \
               many full pages as registers that start unaligned need one register more.",
        verifier: "0xE6/0x0C, 0xE6/0x15, 0xE6/0x00",
        sources: &[
            "CON/kernel/setting-up-a-transfer-operation.md",
            "CON/kernel/splitting-dma-transfer-requests.md",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma50,
        title: "No zero-length mapping",
        text: "Length is at least 1; zero-length requests are finished without DMA.",
        verifier: "0xE6/0x21",
        sources: &[
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
            "CON/kernel/using-direct-i-o-with-dma.md",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma51,
        title: "No double mapping",
        text: "A range mapped through an adapter is not mapped again before it is flushed; two \
               outstanding operations do not overlap in one buffer.",
        verifier: "0xE6/0x1D",
        sources: &[
            "CON/debugger/bug-check-0xe6--driver-verifier-dma-violation.md",
            "CON/devtest/dma-verification.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Dma52,
        title: "Direction",
        text: "WriteToDevice TRUE is memory to device, FALSE device to memory; the same value in \
               map, flush and put. With the wrong one a bounced copy goes the wrong way or is not \
               made.",
        verifier: "",
        sources: &["DDI/wdm/nc-wdm-pmap_transfer.md", "DDI/wdm/nc-wdm-pflush_adapter_buffers.md"],
        homes: &[Type("Direction"), Check],
    },
    Rule {
        id: RuleId::Dma53,
        title: "FlushAdapterBuffers: arguments",
        text: "One flush per operation, with the MDL, base and direction of the mapping, CurrentVa \
               the first one of the operation, Length its total bytes.",
        verifier: "0xE6/0x0D, 0xE6/0x16, 0xE6/0x20, 0xE6/0x00",
        sources: &[
            "DDI/wdm/nc-wdm-pflush_adapter_buffers.md",
            "CON/kernel/setting-up-a-transfer-operation.md",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Dma54,
        title: "FlushAdapterBuffers: moment",
        text: "After the device is done or halted, and before the CPU reads the data, the \
               registers are mapped again or freed, the channel is freed or the request completed. \
               Bus masters need it as much as slaves.",
        verifier: "0xE6/0x10, 0xE6/0x0D",
        sources: &[
            "DDI/wdm/nc-wdm-pflush_adapter_buffers.md",
            "CON/kernel/flushing-cached-data-during-dma-operations.md",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Dma55,
        title: "FlushAdapterBuffers: result",
        text: "FALSE means that the data did not arrive: complete the request with an error.",
        verifier: "",
        sources: &[
            "CON/kernel/flushing-cached-data-during-dma-operations.md",
            "WDF/kmdf/inc/private/fxdmatransactionpacket.hpp",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Dma56,
        title: "Splitting",
        text: "If a request needs more than the registers or the device allow, run several \
               operations: map, start, interrupt, flush, advance, map again. Registers may be kept \
               between them; each operation has its own flush.",
        verifier: "0xE6/0x0C, 0xE6/0x15, 0xE6/0x0D",
        sources: &[
            "CON/kernel/splitting-dma-transfer-requests.md",
            "CON/kernel/writing-dpc-routines.md",
        ],
        homes: &[Type("Transfer"), Check],
    },
    Rule {
        id: RuleId::Dma57,
        title: "Life of a logical address",
        text: "Good from MapTransfer to the matching flush; never cached across requests.",
        verifier: "0xE6/0x26",
        sources: &["CON/kernel/setting-up-a-transfer-operation.md"],
        homes: &[Check],
    },
];
