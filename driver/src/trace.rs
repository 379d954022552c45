//! What the driver tells about itself.
//!
//! Every event goes through [`trace`]. It is the one place to connect a provider to.

use crate::sys::NTSTATUS;

/// Something worth knowing when a run is looked at afterwards. No event carries an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The device's resources are ready.
    HardwarePrepared {
        /// Map registers of the version 2 adapter.
        map_registers_v2: u32,
        /// Map registers of the version 3 adapter; 0 if there is none.
        map_registers_v3: u32,
    },
    /// A step of the start failed.
    PrepareFailed(NTSTATUS),
    /// The device does not answer as it should when it is switched on.
    DeviceNotReady,
    /// A piece was handed to the device.
    PieceStarted {
        /// Length, bytes.
        length: u32,
    },
    /// The device finished a piece, or is gone.
    PieceEnded,
    /// A request was completed.
    RequestCompleted(NTSTATUS),
    /// The device did not finish a piece within its time.
    PieceLate,
    /// The device reads all ones: it was removed.
    DeviceGone,
    /// The driver told the system that the device has failed.
    DeviceFailed,
    /// The device never stopped: request, mapping, map registers, adapters and common buffers are
    /// abandoned, since the device may still use them.
    DeviceNeverStopped,
    /// An adapter could not be put because something of it was outstanding.
    AdapterAbandoned,
}

/// Reports an event. Any IRQL.
#[inline]
pub fn trace(event: Event) {
    // No provider is connected yet.
    let _ = event;
}
