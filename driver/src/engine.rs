//! The devices' DMA engines, one file for each device.

pub mod edu;
pub mod slave;

use edu::{Edu, EngineState};
use slave::Slave;

/// The registers of the device, whichever it is: those of one are mapped while it is started.
#[derive(Debug)]
pub struct Registers {
    /// QEMU's edu.
    pub edu: Edu,
    /// The slave device.
    pub slave: Slave,
}

/// Asks the device that is there.
macro_rules! ask {
    ($this:ident.$method:ident($($argument:expr),*)) => {
        if $this.slave.is_mapped() {
            $this.slave.$method($($argument),*)
        } else {
            $this.edu.$method($($argument),*)
        }
    };
}

impl Registers {
    /// Of no device.
    #[must_use]
    pub const fn new() -> Self {
        Self { edu: Edu::new(), slave: Slave::new() }
    }

    /// Forgets the registers. Reads give all ones from now on.
    pub fn unmap(&self) {
        self.edu.unmap();
        self.slave.unmap();
    }

    /// Whether the device answers with its identification.
    #[must_use]
    pub fn is_present(&self) -> bool {
        ask!(self.is_present())
    }

    /// Pending interrupt causes; `None` if the device is not there or has none (SUR-01). Any IRQL.
    #[must_use]
    pub fn causes(&self) -> Option<u32> {
        ask!(self.causes())
    }

    /// Acknowledges interrupt causes. Any IRQL.
    pub fn acknowledge(&self, causes: u32) {
        ask!(self.acknowledge(causes));
    }

    /// What the engine is doing.
    #[must_use]
    pub fn state(&self) -> EngineState {
        ask!(self.state())
    }

    /// Stops what runs, where the device can be stopped, and tells whether it can; edu cannot.
    pub fn stop(&self) -> bool {
        let can = self.slave.is_mapped();
        if can {
            self.slave.stop();
        }
        can
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}
