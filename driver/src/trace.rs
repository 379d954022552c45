//! What the driver tells about itself.
//!
//! Every event goes through [`trace`], which hands it to the TraceLogging provider "Dmaproof". The
//! provider reaches ETW only in a build that turns on `tracelogging`'s features `etw` and
//! `kernel_mode`, as `driver/sys` does; anywhere else the calls below compile to nothing.

use tracelogging::{define_provider, write_event};

use crate::sys::NTSTATUS;

define_provider!(PROVIDER, "Dmaproof");

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
    /// The device is reset, because a run could not be stopped or the device gave up.
    DeviceReset,
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

/// Connects the provider. IRQL: PASSIVE_LEVEL.
///
/// # Safety
/// [`stop`] is called before the driver leaves memory, and no other call of the two overlaps.
pub(crate) unsafe fn start() {
    // Without a provider the driver works as well: its events go nowhere.
    // SAFETY: a static that never moves; unregistered in time by the caller's promise.
    let _status = unsafe { PROVIDER.register() };
}

/// Disconnects the provider. IRQL: PASSIVE_LEVEL.
pub(crate) fn stop() {
    let _status = PROVIDER.unregister();
}

/// Reports an event. Any IRQL: all data is on the stack or in nonpaged sections of the image.
#[inline]
pub fn trace(event: Event) {
    // What a trace tells is not what a request's outcome depends on: failed writes are ignored.
    let _status = match event {
        Event::HardwarePrepared { map_registers_v2, map_registers_v3 } => write_event!(
            PROVIDER,
            "HardwarePrepared",
            level(Informational),
            u32("MapRegistersV2", &map_registers_v2),
            u32("MapRegistersV3", &map_registers_v3),
        ),
        Event::PrepareFailed(status) => {
            write_event!(PROVIDER, "PrepareFailed", level(Error), win_ntstatus("Status", &status))
        }
        Event::DeviceNotReady => write_event!(PROVIDER, "DeviceNotReady", level(Error)),
        Event::PieceStarted { length } => {
            write_event!(PROVIDER, "PieceStarted", level(Verbose), u32("Length", &length))
        }
        Event::PieceEnded => write_event!(PROVIDER, "PieceEnded", level(Verbose)),
        Event::RequestCompleted(status) => write_event!(
            PROVIDER,
            "RequestCompleted",
            level(Informational),
            win_ntstatus("Status", &status),
        ),
        Event::PieceLate => write_event!(PROVIDER, "PieceLate", level(Warning)),
        Event::DeviceReset => write_event!(PROVIDER, "DeviceReset", level(Warning)),
        Event::DeviceGone => write_event!(PROVIDER, "DeviceGone", level(Warning)),
        Event::DeviceFailed => write_event!(PROVIDER, "DeviceFailed", level(Error)),
        Event::DeviceNeverStopped => write_event!(PROVIDER, "DeviceNeverStopped", level(Error)),
        Event::AdapterAbandoned => write_event!(PROVIDER, "AdapterAbandoned", level(Error)),
    };
}
