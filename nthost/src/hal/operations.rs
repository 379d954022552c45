//! The DMA operations, by topic.

pub(crate) use super::channel::{AllocateAdapterChannel, FreeAdapterChannel, FreeMapRegisters};
pub(crate) use super::common::{
    AllocateCommonBuffer, AllocateCommonBufferEx, AllocateCommonBufferWithBounds,
    AllocateDomainCommonBuffer, CreateCommonBufferFromMdl, FreeCommonBuffer,
};
pub(crate) use super::contexts::{CancelAdapterChannel, InitializeDmaTransferContext};
pub(crate) use super::domains::{
    FlushDmaBuffer, GetDmaAdapterInfo, GetDmaAlignment, GetDmaDomain, JoinDmaDomain,
    LeaveDmaDomain, PutDmaAdapter,
};
pub(crate) use super::extended::{AllocateAdapterChannelEx, FreeAdapterObject, GetDmaTransferInfo};
pub(crate) use super::extended_lists::{BuildScatterGatherListEx, GetScatterGatherListEx};
pub(crate) use super::extended_map::{FlushAdapterBuffersEx, MapTransferEx};
pub(crate) use super::lists::{
    BuildMdlFromScatterGatherList, BuildScatterGatherList, CalculateScatterGatherList,
    GetScatterGatherList, PutScatterGatherList,
};
pub(crate) use super::packet::{FlushAdapterBuffers, MapTransfer};
pub(crate) use super::system::{CancelMappedTransfer, ConfigureAdapterChannel, ReadDmaCounter};
pub(crate) use super::vectors::{
    AllocateCommonBufferVector, FreeCommonBufferFromVector, FreeCommonBufferVector,
    GetCommonBufferFromVectorByIndex,
};
