//! BAR 0: decoding of accesses.

use super::Exerciser;
use super::card::Reset;
use crate::bus::Bus;
use crate::exerciser::registers::*;
use crate::exerciser::{MEMORY_LENGTH, QUEUES, WINDOW_SIZE};

/// A block of registers, and the offset in it.
enum Block {
    Device(u64),
    Queue(usize, u64),
    Fault(usize, u64),
}

/// The block that an access of `size` bytes meets, if its register has that width.
fn decode(offset: u64, size: u8) -> Option<Block> {
    let block = if offset < QUEUE_FIRST {
        Block::Device(offset)
    } else if let Some((index, register)) = nth(offset, QUEUE_FIRST, QUEUE_STRIDE, QUEUES) {
        Block::Queue(index, register)
    } else {
        let (index, register) = nth(offset, FAULT_FIRST, FAULT_STRIDE, FAULTS)?;
        Block::Fault(index, register)
    };
    let wide = match block {
        Block::Device(at) => matches!(at, MEMORY_SIZE | FAULT_ADDRESS | COMMANDS | BUS_ERRORS),
        Block::Queue(_, at) => matches!(at, SUBMISSION_BASE | COMPLETION_BASE),
        Block::Fault(_, at) => at == FAULT_ARGUMENT,
    };
    (size == if wide { 8 } else { 4 }).then_some(block)
}

fn nth(offset: u64, first: u64, stride: u64, count: usize) -> Option<(usize, u64)> {
    let within = offset.checked_sub(first)?;
    let index = usize::try_from(within / stride).ok()?;
    (index < count).then_some((index, within % stride))
}

impl Exerciser {
    /// The register's value; `None` where there is none to be read.
    pub(super) fn read_register(&self, offset: u64, size: u8) -> Option<u64> {
        match decode(offset, size)? {
            Block::Device(register) => self.read_device(register),
            Block::Queue(queue, register) => {
                let queue = self.queues.get(queue)?;
                match register {
                    SUBMISSION_BASE => Some(queue.rings.submission_base),
                    COMPLETION_BASE => Some(queue.rings.completion_base),
                    _ => queue.read(register).map(u64::from),
                }
            }
            Block::Fault(slot, register) => {
                let slot = self.card.faults.slots.get(slot)?;
                let narrow = match register {
                    FAULT_KIND => slot.kind.map_or(0, crate::exerciser::FaultKind::code),
                    FAULT_QUEUES => slot.queues,
                    FAULT_SKIP => slot.skip,
                    FAULT_COUNT => slot.count,
                    FAULT_FIRED => slot.fired,
                    FAULT_ARGUMENT => return Some(slot.argument),
                    _ => return None,
                };
                Some(u64::from(narrow))
            }
        }
    }

    fn read_device(&self, register: u64) -> Option<u64> {
        let card = &self.card;
        let device = &card.registers;
        let set = |condition: bool, bit: u32| if condition { bit } else { 0 };
        let resetting = card.reset != Reset::No;
        let narrow = match register {
            ID => ID_VALUE,
            CAPABILITIES => CAPABILITIES_VALUE,
            CONTROL => set(device.enabled, CONTROL_ENABLE) | set(resetting, CONTROL_RESET),
            STATUS => {
                set(device.enabled, STATUS_ENABLED)
                    | set(resetting, STATUS_RESETTING)
                    | set(self.is_busy(), STATUS_BUSY)
            }
            WINDOW_BASE => device.window_base,
            FIFO_CHUNK => device.fifo_chunk,
            IRQ_STATUS => device.irq_status,
            IRQ_ENABLE => device.irq_enable,
            ERROR => device.error,
            ERROR_VECTOR => device.error_vector,
            TIME_FETCH => device.times.fetch,
            TIME_COMMAND => device.times.command,
            TIME_CHUNK => device.times.chunk,
            SCRATCH => device.scratch,
            MEMORY_SIZE => return Some(MEMORY_LENGTH),
            FAULT_ADDRESS => return Some(card.fault_address),
            COMMANDS => return Some(card.commands),
            BUS_ERRORS => return Some(card.bus_errors),
            _ => return None,
        };
        Some(u64::from(narrow))
    }

    /// Writes a register; `value` holds no more than `size` bytes.
    pub(super) fn write_register(&mut self, bus: &mut dyn Bus, offset: u64, size: u8, value: u64) {
        let Some(block) = decode(offset, size) else { return };
        self.card.finish_reset(bus.now());
        let resetting = matches!(self.card.reset, Reset::Until(_));
        // CAST: registers that are not wide take 4 bytes.
        let narrow = value as u32;
        match block {
            Block::Fault(slot, register) => return self.write_fault(slot, register, value),
            _ if resetting => return,
            Block::Device(register) => self.write_device(bus, register, narrow),
            Block::Queue(queue, register) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.write(&mut self.card, bus, register, value);
                }
            }
        }
        self.run(bus);
    }

    fn write_fault(&mut self, slot: usize, register: u64, value: u64) {
        // CAST: all but the argument take 4 bytes.
        let narrow = value as u32;
        if register == FAULT_KIND {
            return self.card.faults.set_kind(slot, narrow);
        }
        let Some(slot) = self.card.faults.slots.get_mut(slot) else { return };
        match register {
            FAULT_QUEUES => slot.queues = narrow,
            FAULT_SKIP => slot.skip = narrow,
            FAULT_COUNT => slot.count = narrow,
            FAULT_ARGUMENT => slot.argument = value,
            _ => {}
        }
    }

    fn write_device(&mut self, bus: &mut dyn Bus, register: u64, value: u32) {
        let device = &mut self.card.registers;
        match register {
            CONTROL if value & CONTROL_RESET != 0 => self.reset(bus),
            CONTROL => device.enabled = value & CONTROL_ENABLE != 0,
            WINDOW_BASE => {
                let base = u64::from(value);
                if base.is_multiple_of(WINDOW_SIZE) && base < MEMORY_LENGTH {
                    device.window_base = value;
                }
            }
            FIFO_CHUNK if value.is_power_of_two() && (FIFO_MIN..=FIFO_MAX).contains(&value) => {
                device.fifo_chunk = value;
            }
            IRQ_STATUS => {
                device.irq_status &= !value;
                self.card.update_line(bus);
            }
            IRQ_ENABLE => {
                device.irq_enable = value & IRQ_ALL;
                self.card.update_line(bus);
            }
            ERROR => device.error = 0,
            ERROR_VECTOR => device.error_vector = value,
            TIME_FETCH => device.times.fetch = value,
            TIME_COMMAND => device.times.command = value,
            TIME_CHUNK => device.times.chunk = value,
            SCRATCH => device.scratch = value,
            _ => {}
        }
    }

    /// Stops everything at once: no bus-master access follows.
    fn reset(&mut self, bus: &mut dyn Bus) {
        if self.card.faults.ignore_reset() {
            self.card.reset = Reset::Ignored;
            return;
        }
        for queue in &mut self.queues {
            queue.reset();
        }
        self.card.start_reset(bus);
    }
}
