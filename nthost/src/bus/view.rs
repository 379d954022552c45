//! What a device model sees of the machine.

use testdev::bus::{Acknowledge, Bus, BusError};

use super::Function;
use crate::hal::BusMaster;
use crate::machine::Kernel;
use crate::machine::footprint::Thing;

/// The machine as one function's model sees it during one call.
pub(super) struct View<'a> {
    kernel: &'a Kernel,
    function: &'a Function,
    /// The transfer that accesses belong to, if the device said so.
    transfer: Option<u64>,
}

impl<'a> View<'a> {
    pub(super) fn new(kernel: &'a Kernel, function: &'a Function) -> Self {
        Self { kernel, function, transfer: None }
    }

    fn master(&self, address: u64, access: BusMaster<'_>) -> Result<(), BusError> {
        if self.function.system.is_some() {
            // It has no way to.
            return Err(BusError::NotMaster);
        }
        if !self.function.config.bus_master() {
            let slot = self.function.index;
            if let Some(violation) = self.kernel.pnp.mastered_while_off(slot) {
                self.kernel.hal.blame(violation);
            }
            return Err(BusError::NotMaster);
        }
        let transfer = self.transfer.unwrap_or_else(|| self.function.last_write());
        self.kernel.hal.access_for(self.kernel, self.function.index, address, access, transfer)
    }
}

impl Bus for View<'_> {
    fn now(&self) -> u64 {
        self.kernel.clock.now()
    }

    fn set_timer(&mut self, at: Option<u64>) {
        self.kernel.bus.set_deadline(self.function, at);
    }

    fn read(&mut self, address: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.master(address, BusMaster::Read(data))
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), BusError> {
        self.master(address, BusMaster::Write(data))
    }

    fn msi_enabled(&self) -> bool {
        self.function.config.messages_enabled()
    }

    fn send_msi(&mut self, message: u16) {
        // A message is a memory write by the device: without bus mastering it goes nowhere.
        if !self.function.config.bus_master() {
            return;
        }
        if let Some(&line) = self.function.messages.get(usize::from(message)) {
            self.kernel.touch(Thing::Line(line.number()));
            self.kernel.interrupts.raise(line);
            self.kernel.poke();
        }
    }

    fn set_line(&mut self, asserted: bool) {
        self.kernel.touch(Thing::Line(self.function.line.number()));
        if asserted {
            self.kernel.interrupts.raise(self.function.line);
            // It may have vanished while its model was at work, and let the line fall before.
            if !self.function.is_present() {
                self.kernel.interrupts.lower(self.function.line);
            }
            self.kernel.poke();
        } else {
            self.kernel.interrupts.lower(self.function.line);
        }
    }

    fn transfer(&self) -> u64 {
        self.function.last_write()
    }

    fn on_behalf_of(&mut self, transfer: u64) {
        self.transfer = Some(transfer);
    }

    fn dma_from_device(&mut self, data: &[u8]) -> Acknowledge {
        let Some(system) = self.function.system else { return Acknowledge::NONE };
        self.kernel.hal.controller.collect(self.kernel, system.channel, data)
    }

    fn dma_to_device(&mut self, data: &mut [u8]) -> Acknowledge {
        let Some(system) = self.function.system else { return Acknowledge::NONE };
        self.kernel.hal.controller.deliver(self.kernel, system.channel, data)
    }

    fn end_dma(&mut self) {
        if let Some(system) = self.function.system {
            self.kernel.hal.controller.end(self.kernel, system.channel);
        }
    }
}
