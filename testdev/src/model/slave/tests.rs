//! The model against a DMA controller of a few lines.

mod properties;

use std::vec;
use std::vec::Vec;

use super::{RETRY_NS, Slave, SlaveConfig, SlaveFaults};
use crate::bus::{Acknowledge, Bus, BusError, Device};
use crate::slave::*;

/// A controller with one channel and no FIFO.
#[derive(Default)]
struct FakeBus {
    now: u64,
    timer: Option<u64>,
    line: bool,
    /// Memory that the channel reads or writes, and how far it is.
    memory: Vec<u8>,
    at: usize,
    ended: bool,
}

impl FakeBus {
    fn answer(&mut self, bytes: usize) -> Acknowledge {
        self.at += bytes;
        Acknowledge { bytes, terminal_count: bytes != 0 && self.at == self.memory.len() }
    }
}

impl Bus for FakeBus {
    fn now(&self) -> u64 {
        self.now
    }

    fn set_timer(&mut self, at: Option<u64>) {
        self.timer = at;
    }

    fn read(&mut self, _address: u64, _data: &mut [u8]) -> Result<(), BusError> {
        panic!("a slave masters nothing")
    }

    fn write(&mut self, _address: u64, _data: &[u8]) -> Result<(), BusError> {
        panic!("a slave masters nothing")
    }

    fn msi_enabled(&self) -> bool {
        false
    }

    fn send_msi(&mut self, _message: u16) {
        panic!("a slave has no messages")
    }

    fn set_line(&mut self, asserted: bool) {
        self.line = asserted;
    }

    fn dma_from_device(&mut self, data: &[u8]) -> Acknowledge {
        let bytes = data.len().min(self.memory.len() - self.at);
        self.memory[self.at..self.at + bytes].copy_from_slice(&data[..bytes]);
        self.answer(bytes)
    }

    fn dma_to_device(&mut self, data: &mut [u8]) -> Acknowledge {
        let bytes = data.len().min(self.memory.len() - self.at);
        data[..bytes].copy_from_slice(&self.memory[self.at..self.at + bytes]);
        self.answer(bytes)
    }

    fn end_dma(&mut self) {
        self.ended = true;
    }
}

struct Rig {
    slave: Slave,
    bus: FakeBus,
}

impl Rig {
    /// A device whose channel covers `channel` bytes of memory.
    fn new(faults: SlaveFaults, channel: usize) -> Self {
        let mut slave = Slave::new(SlaveConfig { faults, ..SlaveConfig::default() });
        for (index, byte) in slave.memory_mut().iter_mut().enumerate() {
            *byte = (index * 5 + 1) as u8;
        }
        let bus = FakeBus { memory: vec![0xEE; channel], ..FakeBus::default() };
        Self { slave, bus }
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.slave.read(&mut self.bus, BAR, offset, 4) as u32
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.slave.write(&mut self.bus, BAR, offset, 4, value.into());
    }

    fn start(&mut self, offset: u32, count: u32, command: u32) {
        self.write(OFFSET, offset);
        self.write(COUNT, count);
        self.write(COMMAND, COMMAND_START | COMMAND_IRQ | command);
    }

    fn advance(&mut self, nanoseconds: u64) {
        let end = self.bus.now + nanoseconds;
        while let Some(at) = self.bus.timer.filter(|&at| at <= end) {
            self.bus.timer = None;
            self.bus.now = at;
            self.slave.on_timer(&mut self.bus);
        }
        self.bus.now = end;
    }
}

#[test]
fn bytes_come_out_in_bursts_and_the_end_interrupts() {
    let mut rig = Rig::new(SlaveFaults::default(), 200);
    rig.start(10, 200, COMMAND_FROM_DEVICE);
    assert_eq!(rig.read(STATUS), STATUS_BUSY);
    assert!(!rig.bus.line);

    rig.advance(3_000);
    assert_eq!(rig.read(PASSED), 192);
    rig.advance(1_000);

    assert_eq!(rig.read(STATUS), 0);
    assert_eq!(rig.bus.memory, rig.slave.memory()[10..210]);
    assert!(rig.bus.line && !rig.bus.ended, "terminal count is an end of its own");
    rig.write(IRQ_ACK, IRQ_DONE);
    assert!(!rig.bus.line);
}

#[test]
fn bytes_go_in() {
    let mut rig = Rig::new(SlaveFaults::default(), 100);
    rig.bus.memory = (0..100).collect();
    rig.start(5, 100, 0);
    rig.advance(10_000);
    assert_eq!(rig.slave.memory()[5..105], rig.bus.memory);
    assert_eq!(rig.slave.memory()[4], 21);
}

#[test]
fn a_command_that_is_shorter_than_the_channel_ends_it() {
    let mut rig = Rig::new(SlaveFaults { short_at: Some((1, 30)), ..Default::default() }, 100);
    rig.start(0, 100, COMMAND_FROM_DEVICE);
    rig.advance(10_000);
    assert_eq!((rig.read(PASSED), rig.read(STATUS)), (30, 0));
    assert!(rig.bus.ended);
}

#[test]
fn what_is_owed_after_the_terminal_count_goes_through_the_port() {
    let mut rig = Rig::new(SlaveFaults::default(), 96);
    rig.bus.memory = vec![7; 96];
    rig.start(0, 100, 0);
    rig.advance(10_000);
    assert_eq!(rig.read(STATUS), 0, "the controller said that it was the end");

    for byte in [1, 2, 3, 4, 5] {
        rig.slave.write(&mut rig.bus, BAR, DATA, 1, byte);
    }

    assert_eq!(rig.slave.memory()[95..101], [7, 1, 2, 3, 4, 245], "the fifth is one too many");
}

#[test]
fn stop_ends_a_command_that_hangs() {
    let mut rig = Rig::new(SlaveFaults { hang_at: Some(1), ..Default::default() }, 100);
    rig.start(0, 100, COMMAND_FROM_DEVICE);
    rig.advance(1_000_000_000);
    assert_eq!(rig.read(STATUS), STATUS_BUSY);

    rig.write(COMMAND, COMMAND_STOP);

    assert_eq!((rig.read(STATUS), rig.read(PASSED)), (0, 0));
    assert!(rig.bus.ended && !rig.bus.line);
}

#[test]
fn ranges_outside_are_refused() {
    let mut rig = Rig::new(SlaveFaults::default(), 100);
    for (offset, count) in [(0, 0), (0x4000, 1), (0x3FFF, 2), (u32::MAX, u32::MAX)] {
        rig.start(offset, count, COMMAND_FROM_DEVICE);
        assert_eq!(rig.read(STATUS), STATUS_REFUSED, "{offset:#x} {count:#x}");
        rig.advance(10_000);
        assert_eq!(rig.bus.at, 0);
    }
}

#[test]
fn a_busy_device_takes_no_other_command() {
    let mut rig = Rig::new(SlaveFaults::default(), 100);
    rig.start(0, 100, COMMAND_FROM_DEVICE);
    rig.start(50, 1, 0);
    rig.advance(10_000);
    assert_eq!(rig.slave.commands(), 1);
    assert_eq!(rig.bus.memory, rig.slave.memory()[..100]);
}

#[test]
fn accesses_of_other_widths_do_nothing() {
    let mut rig = Rig::new(SlaveFaults::default(), 100);
    for size in [1, 2, 8] {
        assert_eq!(rig.slave.read(&mut rig.bus, BAR, ID, size), u64::MAX);
        rig.slave.write(&mut rig.bus, BAR, COMMAND, size, COMMAND_START.into());
    }
    assert_eq!(rig.slave.commands(), 0);
    assert_eq!(rig.read(DATA), u32::MAX);
}
