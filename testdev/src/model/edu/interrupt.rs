//! Interrupt causes, the INTx pin and MSI.

use super::Edu;
use crate::bus::Bus;

/// The device's only MSI message.
const MESSAGE: u16 = 0;

impl Edu {
    /// Adds causes. If any is pending then, old or new, an interrupt follows: a message each time
    /// with MSI, the pin's level otherwise.
    pub(super) fn raise(&mut self, bus: &mut dyn Bus, causes: u32) {
        self.irq_status |= causes;
        if self.irq_status != 0 {
            self.signal(bus);
        }
    }

    /// Removes causes. The pin stays up until none is left.
    pub(super) fn acknowledge(&mut self, bus: &mut dyn Bus, causes: u32) {
        self.irq_status &= !causes;
        self.release(bus);
    }

    /// Interrupts without a cause, where the faults say so.
    pub(super) fn raise_spurious(&mut self, bus: &mut dyn Bus) {
        if self.config.faults.spurious_interrupts {
            self.glitch = !bus.msi_enabled();
            self.signal(bus);
        }
    }

    /// `IRQ_STATUS`. The read that finds nothing ends a spurious INTx interrupt.
    pub(super) fn read_causes(&mut self, bus: &mut dyn Bus) -> u32 {
        if self.irq_status == 0 && self.glitch {
            self.glitch = false;
            self.release(bus);
        }
        self.irq_status
    }

    fn signal(&mut self, bus: &mut dyn Bus) {
        if bus.msi_enabled() {
            bus.send_msi(MESSAGE);
        } else {
            bus.set_line(true);
        }
    }

    /// Lowers the pin when nothing holds it up. In MSI mode too, where it is down already: the mode
    /// may have changed since it rose.
    fn release(&mut self, bus: &mut dyn Bus) {
        if self.irq_status == 0 && !self.glitch {
            bus.set_line(false);
        }
    }
}
