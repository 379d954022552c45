//! The documents that the rows rest on.

use std::fmt;

/// A public document of Microsoft's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The repository below github.com/MicrosoftDocs, and the folder in it.
    root: Root,
    /// The file in that folder.
    file: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// The reference of the kernel's DDIs.
    Reference,
    /// The reference of the framework's requests.
    Requests,
    /// The guides.
    Guide,
}

impl fmt::Display for Page {
    /// As the catalogue of rules writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.root {
            Root::Reference => "DDI/wdm",
            Root::Requests => "DDI/wdfrequest",
            Root::Guide => "CON",
        };
        write!(f, "{root}/{}.md", self.file)
    }
}

impl Page {
    /// Where it can be read.
    #[must_use]
    pub fn address(self) -> String {
        let Self { root, file } = self;
        match root {
            Root::Reference => {
                format!("https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/{file}")
            }
            Root::Requests => {
                let requests =
                    "https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfrequest";
                format!("{requests}/{file}")
            }
            Root::Guide => format!("https://learn.microsoft.com/windows-hardware/drivers/{file}"),
        }
    }
}

const fn reference(file: &'static str) -> Page {
    Page { root: Root::Reference, file }
}

const fn guide(file: &'static str) -> Page {
    Page { root: Root::Guide, file }
}

/// Flushing Cached Data during DMA Operations.
pub const FLUSHING_DMA: Page = guide("kernel/flushing-cached-data-during-dma-operations");
/// Flushing Cached Data during PIO Operations.
pub const FLUSHING_PIO: Page = guide("kernel/flushing-cached-data-during-pio-operations");
/// Version 3 of the DMA Operations Interface.
pub const VERSION_3: Page = guide("kernel/version-3-of-the-dma-operations-interface");
/// Using the MapTransferEx Routine.
pub const USING_MAP_TRANSFER_EX: Page = guide("kernel/using-the-maptransferex-routine");
/// Using Scatter/Gather DMA.
pub const USING_LISTS: Page = guide("kernel/using-scatter-gather-dma");
/// Using Packet-Based System DMA.
pub const USING_SYSTEM_DMA: Page = guide("kernel/using-packet-based-system-dma");
/// Setting Up a Transfer Operation.
pub const SETTING_UP: Page = guide("kernel/setting-up-a-transfer-operation");
/// Splitting DMA Transfer Requests.
pub const SPLITTING: Page = guide("kernel/splitting-dma-transfer-requests");
/// Using MDLs.
pub const USING_MDLS: Page = guide("kernel/using-mdls");
/// Map Registers.
pub const MAP_REGISTERS: Page = guide("kernel/map-registers");
/// Bug Check 0xE6: DRIVER_VERIFIER_DMA_VIOLATION.
pub const BUG_CHECK_E6: Page = guide("debugger/bug-check-0xe6--driver-verifier-dma-violation");
/// Bug Check 0xC4: DRIVER_VERIFIER_DETECTED_VIOLATION.
pub const BUG_CHECK_C4: Page = guide("debugger/bug-check-0xc4--driver-verifier-detected-violation");
/// Errors in Direct I/O.
pub const DIRECT_ERRORS: Page = guide("kernel/errors-in-direct-i-o");

/// KeFlushIoBuffers.
pub const KE_FLUSH_IO_BUFFERS: Page = reference("nf-wdm-keflushiobuffers");
/// FlushAdapterBuffers.
pub const FLUSH_ADAPTER_BUFFERS: Page = reference("nc-wdm-pflush_adapter_buffers");
/// FlushAdapterBuffersEx.
pub const FLUSH_ADAPTER_BUFFERS_EX: Page = reference("nc-wdm-pflush_adapter_buffers_ex");
/// MapTransfer.
pub const MAP_TRANSFER: Page = reference("nc-wdm-pmap_transfer");
/// MapTransferEx.
pub const MAP_TRANSFER_EX: Page = reference("nc-wdm-pmap_transfer_ex");
/// AllocateAdapterChannel.
pub const ALLOCATE_CHANNEL: Page = reference("nc-wdm-pallocate_adapter_channel");
/// AllocateAdapterChannelEx.
pub const ALLOCATE_CHANNEL_EX: Page = reference("nc-wdm-pallocate_adapter_channel_ex");
/// FreeMapRegisters.
pub const FREE_MAP_REGISTERS: Page = reference("nc-wdm-pfree_map_registers");
/// FreeAdapterChannel.
pub const FREE_CHANNEL: Page = reference("nc-wdm-pfree_adapter_channel");
/// BuildScatterGatherList.
pub const BUILD_LIST: Page = reference("nc-wdm-pbuild_scatter_gather_list");
/// PutScatterGatherList.
pub const PUT_LIST: Page = reference("nc-wdm-pput_scatter_gather_list");
/// GetScatterGatherList.
pub const GET_LIST: Page = reference("nc-wdm-pget_scatter_gather_list");
/// InitializeDmaTransferContext.
pub const INITIALIZE_CONTEXT: Page = reference("nc-wdm-pinitialize_dma_transfer_context");
/// GetDmaTransferInfo.
pub const TRANSFER_INFO: Page = reference("nc-wdm-pget_dma_transfer_info");
/// AllocateCommonBuffer.
pub const ALLOCATE_COMMON: Page = reference("nc-wdm-pallocate_common_buffer");
/// AllocateCommonBufferEx.
pub const ALLOCATE_COMMON_EX: Page = reference("nc-wdm-pallocate_common_buffer_ex");
/// FreeCommonBuffer.
pub const FREE_COMMON: Page = reference("nc-wdm-pfree_common_buffer");
/// PutDmaAdapter.
pub const PUT_ADAPTER: Page = reference("nc-wdm-pput_dma_adapter");
/// IoGetDmaAdapter.
pub const GET_ADAPTER: Page = reference("nf-wdm-iogetdmaadapter");
/// MmUnmapIoSpace.
pub const UNMAP_IO_SPACE: Page = reference("nf-wdm-mmunmapiospace");
/// ExFreePoolWithTag.
pub const FREE_POOL: Page = reference("nf-wdm-exfreepoolwithtag");
/// IoFreeMdl.
pub const FREE_MDL: Page = reference("nf-wdm-iofreemdl");
/// GetDmaAlignment.
pub const DMA_ALIGNMENT: Page = reference("nc-wdm-pget_dma_alignment");
/// KeLowerIrql.
pub const KE_LOWER_IRQL: Page = reference("nf-wdm-kelowerirql");
/// WdfRequestCompleteWithInformation.
pub const COMPLETE_REQUEST: Page =
    Page { root: Root::Requests, file: "nf-wdfrequest-wdfrequestcompletewithinformation" };
