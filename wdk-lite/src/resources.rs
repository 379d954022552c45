//! Resources of a device (wdm.h): packed to 4, unlike everything else.

use crate::types::*;

/// One hardware resource; packed to 4, 20 bytes.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR {
    /// `CmResourceType*`.
    pub Type: UCHAR,
    /// `CmResourceShare*`.
    pub ShareDisposition: UCHAR,
    /// Depends on the type.
    pub Flags: USHORT,
    /// The resource.
    pub u: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1,
}

impl Default for _CM_PARTIAL_RESOURCE_DESCRIPTOR {
    fn default() -> Self {
        Self {
            Type: 0,
            ShareDisposition: 0,
            Flags: 0,
            u: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1 { Private: [0; 4] },
        }
    }
}

/// The kinds of [`_CM_PARTIAL_RESOURCE_DESCRIPTOR`].
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub union _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1 {
    /// Any range.
    pub Generic: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_1,
    /// A line-based interrupt.
    pub Interrupt: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_3,
    /// A message-signalled interrupt.
    pub MessageInterrupt: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4,
    /// A memory range.
    pub Memory: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_5,
    /// A system DMA channel, without CM_RESOURCE_DMA_V3.
    pub Dma: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_6,
    /// A system DMA channel, with CM_RESOURCE_DMA_V3.
    pub DmaV3: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_7,
    /// The raw words.
    pub Private: [ULONG; 4],
}

/// A range of bus addresses.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_1 {
    /// First address.
    pub Start: PHYSICAL_ADDRESS,
    /// Length, bytes.
    pub Length: ULONG,
}

/// A line-based interrupt.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_3 {
    /// DIRQL (translated) or bus level (raw).
    pub Level: ULONG,
    /// Vector.
    pub Vector: ULONG,
    /// Target processors.
    pub Affinity: KAFFINITY,
}

/// A message-signalled interrupt.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4 {
    /// Raw or translated view.
    pub __bindgen_anon_1: _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1,
}

/// The views of a message-signalled interrupt.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub union _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1 {
    /// In the raw list.
    pub Raw:
        _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1,
    /// In the translated list.
    pub Translated:
        _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2,
}

/// Raw view: how many messages.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1 {
    /// Processor group.
    pub Group: USHORT,
    /// Messages granted.
    pub MessageCount: USHORT,
    /// First vector.
    pub Vector: ULONG,
    /// Target processors.
    pub Affinity: KAFFINITY,
}

/// Translated view: level and vector.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2 {
    /// DIRQL.
    pub Level: ULONG,
    /// Vector.
    pub Vector: ULONG,
    /// Target processors.
    pub Affinity: KAFFINITY,
}

/// A memory range.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_5 {
    /// First address.
    pub Start: PHYSICAL_ADDRESS,
    /// Length, bytes.
    pub Length: ULONG,
}

/// A channel of the system's DMA controller.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_6 {
    /// The channel.
    pub Channel: ULONG,
    /// The port of an MCA device.
    pub Port: ULONG,
    /// Not used.
    pub Reserved1: ULONG,
}

/// A channel and request line of a system DMA controller, since Windows 8.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_7 {
    /// The channel.
    pub Channel: ULONG,
    /// The request line.
    pub RequestLine: ULONG,
    /// `DMAV3_TRANFER_WIDTH_*`.
    pub TransferWidth: UCHAR,
    /// Not used.
    pub Reserved1: UCHAR,
    /// Not used.
    pub Reserved2: UCHAR,
    /// Not used.
    pub Reserved3: UCHAR,
}
