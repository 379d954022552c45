//! System DMA: transfers of a device without bus mastering, by a channel of the system's DMA
//! controller (RULES section K).
//!
//! ```text
//! Transfer --make_ready--> Ready --on_channel--> OnChannel --program--> Programmed
//!     ^                                            |   ^                    |
//!     '------------------release-------------------'   '-------flush--------'
//! ```
//!
//! The channel is kept for the whole transfer (DMA-107). What MapTransfer returns is no address for
//! anybody and is dropped here (DMA-108). The controller keeps bytes that are less than one of its
//! chunks until the flush, so a transfer gets out of [`Programmed`] by [`Programmed::flush`] only.

use core::mem::{self, ManuallyDrop};

use crate::adapter::{Adapter, Handle, System, operation};
use crate::error::DmaError;
use crate::irql::{self, AtMostDispatch, Dispatch, Passive};
use crate::leak;
use crate::mdl::Mdl;
use crate::packet::ChannelRequest;
use crate::sys::{
    _DMA_WIDTH, _INTERFACE_TYPE, _IO_ALLOCATION_ACTION, BOOLEAN, DEVICE_DESCRIPTION,
    DEVICE_DESCRIPTION_VERSION2, DISPATCH_LEVEL, IO_ALLOCATION_ACTION, PDEVICE_OBJECT, PVOID, TRUE,
    ULONG,
};
use crate::transfer::{NextPiece, PieceLimits, Ready, Transfer};

/// What an AdapterControl routine of system DMA returns: the channel stays (DMA-107).
pub const KEEP_CHANNEL: IO_ALLOCATION_ACTION = _IO_ALLOCATION_ACTION::KeepObject;

/// What a slave device says about itself, for `IoGetDmaAdapter`: a data port of 8 bits that is
/// served as long as the device requests (demand mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemDescription {
    /// The channel, from the device's resources.
    pub channel: u32,
    /// The longest single operation, bytes (DMA-09).
    pub maximum_length: u32,
}

impl SystemDescription {
    #[allow(clippy::field_reassign_with_default, reason = "zeroed first, as DMA-03 asks")]
    fn to_raw(self) -> DEVICE_DESCRIPTION {
        // Zeroed first; what does not apply to a slave stays zero (DMA-03). So does ScatterGather:
        // the controller's own counts (DMA-108).
        let mut raw = DEVICE_DESCRIPTION::default();
        raw.Version = DEVICE_DESCRIPTION_VERSION2;
        // CAST: TRUE is 1.
        raw.DemandMode = TRUE as BOOLEAN;
        raw.InterfaceType = _INTERFACE_TYPE::Isa;
        raw.DmaChannel = self.channel;
        raw.DmaWidth = _DMA_WIDTH::Width8Bits;
        raw.MaximumLength = self.maximum_length;
        raw
    }
}

impl Adapter<System> {
    /// Asks for the adapter of the device's channel. IRQL: PASSIVE_LEVEL (DMA-01).
    ///
    /// # Errors
    /// [`DmaError::NoAdapter`] if the system has no such channel (DMA-12);
    /// [`DmaError::NoMapRegisters`] if it comes without a map register.
    ///
    /// # Safety
    /// `physical_device` is the PDO of the device, and the device is being started (DMA-02).
    pub unsafe fn open_channel(
        physical_device: PDEVICE_OBJECT,
        description: &SystemDescription,
        passive: &Passive,
    ) -> Result<Self, DmaError> {
        // SAFETY: the PDO, by the caller's promise; the description is complete.
        unsafe { Self::get(physical_device, description.to_raw(), passive) }
    }
}

/// The channel with its map registers, held until it is released.
#[derive(Debug)]
#[must_use]
pub struct Channel {
    adapter: Handle,
    base: PVOID,
    limits: PieceLimits,
}

impl Channel {
    /// Takes the channel in an AdapterControl routine, which then returns [`KEEP_CHANNEL`].
    ///
    /// # Safety
    /// Called once, in the routine of a [`ChannelRequest`] of this adapter, with its
    /// MapRegisterBase (DMA-39) and the number asked for.
    pub unsafe fn from_adapter_control(adapter: &Adapter<System>, base: PVOID, count: u32) -> Self {
        adapter.add_outstanding();
        let limits = PieceLimits {
            map_registers: count,
            maximum_length: adapter.maximum_length(),
            alignment: 1,
        };
        Self { adapter: adapter.handle(), base, limits }
    }

    /// Frees the channel, and its map registers with it (DMA-41, DMA-43); its `adapter` counts it
    /// no more, if that is still at hand. IRQL: DISPATCH_LEVEL.
    pub fn release(self, adapter: Option<&Adapter<System>>, _dispatch: &Dispatch) {
        if let Some(adapter) = adapter {
            adapter.remove_outstanding(self.adapter);
        }
        self.free();
        mem::forget(self);
    }

    fn free(&self) {
        if let Ok(free) = operation!(self.adapter, FreeAdapterChannel) {
            // SAFETY: DISPATCH_LEVEL by the callers; the channel is this value's, which ends here;
            // nothing is mapped, since a programmed channel owns it (DMA-43, DMA-54).
            unsafe { free(self.adapter.as_ptr()) };
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if u32::from(irql::current()) == DISPATCH_LEVEL {
            self.free();
        }
        // Either way the adapter still counts it, and refuses to be released.
        leak::report();
    }
}

impl<R> Ready<R> {
    /// A request for the channel with as many map registers as one piece can use (DMA-34).
    pub fn system_request(&self, adapter: &Adapter<System>) -> ChannelRequest {
        let wanted = self.transfer.registers_wanted(adapter.maximum_length());
        ChannelRequest::new(adapter.handle(), wanted.min(adapter.map_registers()))
    }

    /// Joins the transfer with the channel it was granted.
    pub fn on_channel(self, channel: Channel) -> OnChannel<R> {
        OnChannel { transfer: self.transfer, channel }
    }
}

/// A transfer that holds the channel, which is not set up at the moment.
#[derive(Debug)]
#[must_use]
pub struct OnChannel<R> {
    transfer: Transfer<R>,
    channel: Channel,
}

impl<R> OnChannel<R> {
    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }

    /// The next piece on this channel.
    pub fn next_piece(&self) -> NextPiece {
        self.transfer.next_piece(&self.channel.limits)
    }

    /// Sets the controller up for the next piece: MapTransfer, which does not shorten it
    /// (DMA-108). The device is started afterwards. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The transfer back: over, or marked as failed.
    pub fn program(self, _level: &impl AtMostDispatch) -> Result<Programmed<R>, Self> {
        let NextPiece::Mapped(wanted) = self.next_piece() else { return Err(self) };
        let Ok(map) = operation!(self.channel.adapter, MapTransfer) else {
            return Err(self.failed(DmaError::MissingOperation));
        };
        let mdl = self.transfer.mdl();
        let current_va = self.transfer.current_va();
        let mut length: ULONG = wanted;
        // SAFETY: the channel of this adapter is held with its map registers; the piece lies inside
        // one locked MDL, spans no more pages than there are registers, is not empty, and nothing
        // is mapped (DMA-45, DMA-46, DMA-49, DMA-50, DMA-51, DMA-107).
        let _no_address = unsafe {
            map(
                self.channel.adapter.as_ptr(),
                mdl.as_ptr(),
                self.channel.base,
                current_va,
                &mut length,
                self.transfer.direction().write_to_device(),
            )
        };
        Ok(Programmed { held: ManuallyDrop::new(self), mdl, current_va, length: wanted })
    }

    /// The same, marked as failed.
    pub fn failed(self, error: DmaError) -> Self {
        Self { transfer: self.transfer.failed(error), channel: self.channel }
    }

    /// Frees the channel and gives the transfer back. IRQL: DISPATCH_LEVEL (DMA-43, DMA-44).
    pub fn release(self, adapter: Option<&Adapter<System>>, dispatch: &Dispatch) -> Transfer<R> {
        self.channel.release(adapter, dispatch);
        self.transfer
    }
}

/// A piece that the controller is set up for: request and channel are inside, and only
/// [`flush`](Programmed::flush) gives them back.
///
/// While it lives, the processor leaves the buffer alone (DMA-94).
#[derive(Debug)]
#[must_use]
pub struct Programmed<R> {
    held: ManuallyDrop<OnChannel<R>>,
    mdl: Mdl,
    current_va: PVOID,
    length: u32,
}

impl<R> Programmed<R> {
    /// Length of the piece, bytes: what the device is told to move.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.held.transfer
    }

    /// Bytes that the controller has not counted yet: ReadDmaCounter. IRQL: at most
    /// DISPATCH_LEVEL.
    #[must_use]
    pub fn remaining(&self, _level: &impl AtMostDispatch) -> u32 {
        let Ok(read) = operation!(self.held.channel.adapter, ReadDmaCounter) else {
            return self.length;
        };
        // SAFETY: the adapter of a system DMA channel that is in use (DMA-70).
        unsafe { read(self.held.channel.adapter.as_ptr()) }.min(self.length)
    }

    /// Ends the piece: FlushAdapterBuffers with what MapTransfer was called with (DMA-53). It brings
    /// what the controller's FIFO still holds. Then the device is asked how many bytes passed its
    /// port: the counter alone also counts bytes that a device that was stopped never took. The
    /// transfer goes on behind those that both confirm (DMA-96); FALSE marks it as failed (DMA-55).
    /// IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The device is done with the piece or was stopped, was never started on it, or is gone
    /// (DMA-54, DMA-109).
    pub unsafe fn flush(
        mut self,
        passed: impl FnOnce() -> u32,
        level: &impl AtMostDispatch,
    ) -> OnChannel<R> {
        let counted = self.length.saturating_sub(self.remaining(level));
        // SAFETY: taken once, since the value is forgotten below.
        let mut held = unsafe { ManuallyDrop::take(&mut self.held) };
        let flushed = self.flush_adapter_buffers(&held);
        if flushed {
            held.transfer.moved(counted.min(passed()), self.length);
        }
        mem::forget(self);
        if flushed { held } else { held.failed(DmaError::FlushFailed) }
    }

    fn flush_adapter_buffers(&self, held: &OnChannel<R>) -> bool {
        let channel = &held.channel;
        let Ok(flush) = operation!(channel.adapter, FlushAdapterBuffers) else { return false };
        // SAFETY: the arguments of the mapping, which is still there; the device is done with it by
        // the caller's promise (DMA-53, DMA-54, DMA-109).
        let flushed = unsafe {
            flush(
                channel.adapter.as_ptr(),
                self.mdl.as_ptr(),
                channel.base,
                self.current_va,
                self.length,
                held.transfer.direction().write_to_device(),
            )
        };
        flushed != 0
    }

    /// Gives everything up for good: the device never stopped, so request, mapping and channel may
    /// not be completed, flushed or freed any more (DMA-100).
    pub fn abandon(self) {
        mem::forget(self);
    }
}

impl<R> Drop for Programmed<R> {
    fn drop(&mut self) {
        // The controller may still use the pages: neither flush nor free.
        leak::report();
    }
}
