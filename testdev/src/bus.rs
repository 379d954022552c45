//! The contract between a PCI device model and the machine it is plugged in.
//!
//! The machine owns configuration space, address decoding, time and memory; it calls the
//! [`Device`]. During each call the device sees its machine as a [`Bus`]. Addresses a device
//! masters are logical: what lies behind them, an IOMMU for instance, is the machine's affair.

use core::any::Any;
use core::fmt;

/// Why a bus-master access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusError {
    /// Bus mastering is off in the command register.
    NotMaster,
    /// Nothing answers at that address: an IOMMU miss, or a hole.
    Miss,
    /// The address is mapped, but not for this direction.
    Permission,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMaster => "bus mastering is off",
            Self::Miss => "nothing answers at the address",
            Self::Permission => "the address is not mapped for this direction",
        })
    }
}

impl core::error::Error for BusError {}

/// What a device model sees of its machine.
pub trait Bus {
    /// Machine time in nanoseconds. It never goes back.
    fn now(&self) -> u64;

    /// Sets the device's one deadline, in nanoseconds of machine time, in place of the one before;
    /// `None` clears it. A deadline in the past is due at once. The machine calls
    /// [`Device::on_timer`] once for it, never from within this call.
    fn set_timer(&mut self, at: Option<u64>);

    /// Bus-master read of a contiguous range of logical addresses. The machine splits it at pages.
    ///
    /// # Errors
    ///
    /// Some part of the range could not be read; then nothing in `data` may be relied on.
    fn read(&mut self, address: u64, data: &mut [u8]) -> Result<(), BusError>;

    /// Bus-master write of a contiguous range of logical addresses. The machine splits it at pages.
    ///
    /// # Errors
    ///
    /// Some part of the range could not be written.
    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), BusError>;

    /// Whether MSI, or MSI-X, is enabled in the device's configuration space.
    fn msi_enabled(&self) -> bool;

    /// Sends message number `message`, counted from 0. The machine drops it while bus mastering is
    /// off, since a message is a write by the device.
    fn send_msi(&mut self, message: u16);

    /// Sets the level of the INTx pin. Enabling MSI drops the pin without the device's doing.
    fn set_line(&mut self, asserted: bool);

    /// Names the transfer that the register write under way begins, for
    /// [`on_behalf_of`](Bus::on_behalf_of).
    fn transfer(&self) -> u64 {
        0
    }

    /// The bus-master accesses that follow in this call belong to the transfer with this name. Of a
    /// device that does not say so they belong to the register write before.
    fn on_behalf_of(&mut self, _transfer: u64) {}

    /// A DMA request of a device that has a channel of the system's DMA controller, with the bytes
    /// it offers: the controller takes some of them, from the first on, or none while the channel
    /// is not set up.
    fn dma_from_device(&mut self, _data: &[u8]) -> Acknowledge {
        Acknowledge::NONE
    }

    /// A DMA request the other way: the controller fills in some bytes, from the first on.
    fn dma_to_device(&mut self, _data: &mut [u8]) -> Acknowledge {
        Acknowledge::NONE
    }

    /// The device tells the controller that its transfer is over before the terminal count.
    fn end_dma(&mut self) {
        // Without a request line nobody listens.
    }
}

/// How the system's DMA controller answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Acknowledge {
    /// Bytes that moved.
    pub bytes: usize,
    /// The channel's counter has run out: no request is answered any more.
    pub terminal_count: bool,
}

impl Acknowledge {
    /// No answer.
    pub const NONE: Self = Self { bytes: 0, terminal_count: false };
}

/// What firmware says about a device that is no PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemDevice {
    /// Its ACPI hardware ID.
    pub acpi_id: &'static str,
    /// Its channel of the system's DMA controller.
    pub channel: u32,
    /// Its request line at the controller.
    pub request_line: u32,
    /// Width of its data port in bits.
    pub width_bits: u8,
    /// Offset of its data port in BAR 0.
    pub data_port: u64,
}

/// A memory BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BarInfo {
    /// Size in bytes, a power of two.
    pub size: u64,
    /// Whether it takes a 64-bit address, and with it the next BAR's register.
    pub bits64: bool,
    /// Whether reads have no side effects.
    pub prefetchable: bool,
}

/// What the machine builds the device's configuration space from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class code in 24 bits: base class, subclass, programming interface.
    pub class: u32,
    /// Interrupt pin: 0 none, 1 INTA.
    pub interrupt_pin: u8,
    /// The BARs, by number. After a 64-bit one comes `None`.
    pub bars: [Option<BarInfo>; 6],
    /// MSI messages it can send; 0 without that capability.
    pub msi_messages: u16,
    /// Whether its MSI capability has a 64-bit address.
    pub msi64: bool,
    /// Entries of its MSI-X table; 0 without that capability.
    pub msix_messages: u16,
}

/// A device model: of a PCI function, or of a device that firmware describes.
///
/// A device does nothing by itself: it acts inside these calls only.
pub trait Device: Send {
    /// What its configuration space says. Constant over the life of the device.
    fn identity(&self) -> Identity;

    /// What firmware says about it, if it is no PCI function but has a channel of the system's DMA
    /// controller. Its [`Identity`] then counts for windows and interrupt only. Constant over the
    /// life of the device.
    fn system(&self) -> Option<SystemDevice> {
        None
    }

    /// Reads `size` bytes (1, 2, 4 or 8) at byte `offset` of BAR number `bar`. An access that
    /// nothing in the device claims gives all ones of that width.
    fn read(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, size: u8) -> u64;

    /// Writes the low `size` bytes (1, 2, 4 or 8) of `value` at byte `offset` of BAR number `bar`.
    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, size: u8, value: u64);

    /// Called at or after the deadline that the device set. A device tolerates it without need.
    fn on_timer(&mut self, bus: &mut dyn Bus);

    /// `Any` access, so that a test can look at the model.
    fn as_any(&mut self) -> &mut dyn Any;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn each_error_says_what_happened() {
        let errors = [BusError::NotMaster, BusError::Miss, BusError::Permission];

        let texts = errors.map(|error| error.to_string());

        assert!(texts[0].contains("mastering"));
        assert!(texts[1].contains("answers"));
        assert!(texts[2].contains("direction"));
    }
}
