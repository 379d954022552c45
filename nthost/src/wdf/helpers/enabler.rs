//! WDFDMAENABLER: the adapter of a profile, and its power callbacks.

// UNSAFETY: gets and puts the HAL's adapter through the functions drivers call.

use parking_lot::Mutex;
use wdk_lite::*;

use crate::ddi::callback::{self, Routine};
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::wdf::object::{Handle, Kind, Payload};

/// The adapter, as the HAL gave it.
#[derive(Clone, Copy, Debug)]
struct Adapter(*mut _DMA_ADAPTER);

// SAFETY: adapters may be used from any thread (they are the HAL's); this is only the address.
unsafe impl Send for Adapter {}

/// The power callbacks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Callbacks {
    pub fill: Routine,
    pub enable: Routine,
    pub start: Routine,
    pub stop: Routine,
    pub disable: Routine,
    pub flush: Routine,
}

/// How far power-up came, which decides what power-down calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reached {
    #[default]
    Nothing,
    /// Fill failed.
    Tried,
    /// Enable failed.
    Filled,
    Enabled,
}

/// A WDFDMAENABLER.
#[derive(Debug, Default)]
pub(crate) struct DmaEnabler {
    adapter: Mutex<Option<Adapter>>,
    pub callbacks: Mutex<Callbacks>,
    reached: Mutex<Reached>,
}

impl Payload for DmaEnabler {
    const KIND: Kind = Kind::DmaEnabler;

    fn reset(&self) {
        *self.adapter.lock() = None;
        *self.reached.lock() = Reached::Nothing;
    }

    fn dispose(&self, kernel: &Kernel, _handle: Handle) {
        let adapter = self.adapter.lock().take();
        if let Some(Adapter(adapter)) = adapter {
            // SAFETY: the adapter from IoGetDmaAdapter, put once.
            let put = unsafe { crate::hal::operations::PutDmaAdapter(kernel, adapter) };
            if let Err(violation) = put {
                kernel.stop(violation);
            }
        }
    }
}

/// The description of a profile; `None` for one that is no bus master's.
fn describe(config: &WDF_DMA_ENABLER_CONFIG) -> Option<DEVICE_DESCRIPTION> {
    use _WDF_DMA_PROFILE as Profile;

    let (list, wide) = match config.Profile {
        Profile::WdfDmaProfilePacket => (false, false),
        Profile::WdfDmaProfileScatterGather | Profile::WdfDmaProfileScatterGatherDuplex => {
            (true, false)
        }
        Profile::WdfDmaProfilePacket64 => (false, true),
        Profile::WdfDmaProfileScatterGather64 | Profile::WdfDmaProfileScatterGather64Duplex => {
            (true, true)
        }
        _ => return None,
    };
    let version = match config.WdmDmaVersionOverride {
        0 if config.AddressWidthOverride != 0 => DEVICE_DESCRIPTION_VERSION3,
        0 => DEVICE_DESCRIPTION_VERSION,
        other => other,
    };
    Some(DEVICE_DESCRIPTION {
        Version: version,
        Master: 1,
        ScatterGather: list.into(),
        Dma32BitAddresses: 1,
        Dma64BitAddresses: wide.into(),
        InterfaceType: _INTERFACE_TYPE::PCIBus,
        // CAST: the framework passes the length on in 32 bits, too.
        MaximumLength: config.MaximumLength as u32,
        DmaAddressWidth: config.AddressWidthOverride,
        ..DEVICE_DESCRIPTION::default()
    })
}

impl DmaEnabler {
    /// Gets the adapter of the profile for the device in `slot`.
    pub(crate) fn set_up(
        &self,
        kernel: &Kernel,
        slot: usize,
        config: &WDF_DMA_ENABLER_CONFIG,
    ) -> Result<Result<(), NTSTATUS>, Violation> {
        let Some(mut description) = describe(config) else {
            return Ok(Err(STATUS_INVALID_PARAMETER));
        };
        let mut registers = 0;
        let object = crate::pnp::physical_object(slot);
        // SAFETY: a valid device object, description and out pointer, at PASSIVE_LEVEL.
        let adapter = unsafe {
            crate::hal::ddi::IoGetDmaAdapter(
                kernel,
                object,
                &raw mut description,
                &raw mut registers,
            )
        }?;
        if adapter.is_null() {
            return Ok(Err(STATUS_INSUFFICIENT_RESOURCES));
        }
        *self.adapter.lock() = Some(Adapter(adapter));
        Ok(Ok(()))
    }

    /// The adapter; NULL after the enabler's disposal.
    pub(crate) fn adapter(&self) -> PDMA_ADAPTER {
        (*self.adapter.lock()).map_or(std::ptr::null_mut(), |Adapter(adapter)| adapter)
    }

    /// Calls one of the power callbacks; `true` on success.
    fn call(kernel: &Kernel, routine: Routine, handle: Handle) -> bool {
        if !routine.is_some() {
            return true;
        }
        // SAFETY: the driver's enabler callback with its enabler, at PASSIVE_LEVEL.
        NT_SUCCESS(unsafe { callback::PFN_WDF_DMA_ENABLER_CALLBACK(kernel, routine, handle.raw()) })
    }

    /// Fill, Enable, SelfManagedIoStart, up to the first failure.
    pub(crate) fn power_up(&self, kernel: &Kernel, handle: Handle) -> bool {
        let callbacks = *self.callbacks.lock();
        *self.reached.lock() = Reached::Tried;
        if !Self::call(kernel, callbacks.fill, handle) {
            return false;
        }
        *self.reached.lock() = Reached::Filled;
        if !Self::call(kernel, callbacks.enable, handle) {
            return false;
        }
        *self.reached.lock() = Reached::Enabled;
        Self::call(kernel, callbacks.start, handle)
    }

    /// SelfManagedIoStop, Disable, Flush: all of them whatever they return, except what follows a
    /// failed Fill or Enable.
    pub(crate) fn power_down(&self, kernel: &Kernel, handle: Handle) -> bool {
        let callbacks = *self.callbacks.lock();
        let reached = std::mem::take(&mut *self.reached.lock());
        if reached == Reached::Nothing {
            return true;
        }
        let mut good = Self::call(kernel, callbacks.stop, handle);
        if matches!(reached, Reached::Filled | Reached::Enabled) {
            good &= Self::call(kernel, callbacks.disable, handle);
        }
        if reached == Reached::Enabled {
            good &= Self::call(kernel, callbacks.flush, handle);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(profile: WDF_DMA_PROFILE) -> WDF_DMA_ENABLER_CONFIG {
        WDF_DMA_ENABLER_CONFIG { Profile: profile, MaximumLength: 4096, ..Default::default() }
    }

    #[test]
    fn a_profile_says_list_and_width() {
        let packet = describe(&config(_WDF_DMA_PROFILE::WdfDmaProfilePacket)).expect("a master's");
        let list64 = describe(&config(_WDF_DMA_PROFILE::WdfDmaProfileScatterGather64Duplex));
        let list64 = list64.expect("a master's");

        assert_eq!((packet.ScatterGather, packet.Dma64BitAddresses), (0, 0));
        assert_eq!((list64.ScatterGather, list64.Dma64BitAddresses), (1, 1));
        assert_eq!(packet.MaximumLength, 4096);
    }

    #[test]
    fn a_system_profile_is_no_bus_masters() {
        assert!(describe(&config(_WDF_DMA_PROFILE::WdfDmaProfileSystem)).is_none());
    }
}
