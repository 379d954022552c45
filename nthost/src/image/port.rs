//! What lies behind an address without memory: a device's registers, the processor control region,
//! or the shared user data. Each access goes to its model.

use super::fault::Frame;
use super::{control_region, shared_data};
use crate::bus::registers;
use crate::ddi::win64;
use crate::machine::Kernel;
use crate::verifier::Violation;

/// Where an access goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Port {
    /// A mapped register window, by address.
    Registers(u64),
    /// The current processor's control region, by offset.
    ControlRegion(u64),
    /// KUSER_SHARED_DATA, by offset.
    SharedData(u64),
    /// A word of a test's.
    #[cfg(test)]
    Word(&'static std::sync::atomic::AtomicU64),
}

impl Port {
    /// What lies at an address; `None` if it is none of these.
    pub(super) fn at(address: u64) -> Option<Self> {
        if registers::is_window(address) {
            return Some(Self::Registers(address));
        }
        control_region::offset(address)
            .map(Self::ControlRegion)
            .or_else(|| shared_data::offset(address).map(Self::SharedData))
    }

    /// Reads `size` bytes: 1, 2, 4 or 8.
    pub(super) fn read(
        self,
        kernel: &Kernel,
        frame: &Frame,
        size: usize,
    ) -> Result<u64, Violation> {
        match self {
            Self::Registers(address) => Ok(win64::read_register(frame.pair(), address, size)),
            Self::ControlRegion(offset) => control_region::read(kernel, offset, size),
            Self::SharedData(offset) => shared_data::read(kernel, offset, size),
            #[cfg(test)]
            Self::Word(word) => Ok(word.load(std::sync::atomic::Ordering::Relaxed)),
        }
    }

    /// Writes `size` bytes.
    pub(super) fn write(
        self,
        _kernel: &Kernel,
        frame: &Frame,
        size: usize,
        value: u64,
    ) -> Result<(), Violation> {
        match self {
            Self::Registers(address) => {
                win64::write_register(frame.pair(), address, size, value);
                Ok(())
            }
            Self::ControlRegion(offset) => Err(super::report::not_covered(format!(
                "the driver writes offset {offset:#x} of the processor control region"
            ))),
            #[cfg(test)]
            Self::Word(word) => {
                let kept =
                    word.load(std::sync::atomic::Ordering::Relaxed) & !super::alu::mask(size);
                word.store(kept | value, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            Self::SharedData(offset) => Err(super::report::fault(format!(
                "the driver writes offset {offset:#x} of KUSER_SHARED_DATA, which is read-only"
            ))
            .code(0xBE, [0, 0, 0, 0xA])),
        }
    }
}
