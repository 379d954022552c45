//! A function's configuration space, as far as the machine keeps it.

use std::sync::atomic::{AtomicBool, Ordering};

use testdev::bus::Identity;

/// An address window assigned to a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub base: u64,
    pub size: u64,
    pub bits64: bool,
}

/// The parts of configuration space with an effect: the command register's bits, the windows and
/// whether messages are enabled. They belong to the bus driver: the machine changes them on
/// starting, stopping and power changes, and a driver has no way to (SIM-03).
#[derive(Debug)]
pub(crate) struct Config {
    pub windows: [Option<Window>; 6],
    can_message: bool,
    bus_master: AtomicBool,
    memory: AtomicBool,
    messages: AtomicBool,
}

impl Config {
    pub(super) fn new(identity: &Identity, windows: [Option<Window>; 6]) -> Self {
        Self {
            windows,
            can_message: identity.msi_messages != 0 || identity.msix_messages != 0,
            bus_master: AtomicBool::new(false),
            memory: AtomicBool::new(false),
            messages: AtomicBool::new(false),
        }
    }

    /// The bus driver starts the function: windows decode, it may master the bus, and messages
    /// are on if wanted and possible.
    pub(crate) fn start(&self, messages: bool) {
        self.memory.store(true, Ordering::Release);
        self.bus_master.store(true, Ordering::Release);
        self.messages.store(messages && self.can_message, Ordering::Release);
    }

    /// The bus driver stops the function, or takes it out of D0.
    pub(crate) fn stop(&self) {
        self.bus_master.store(false, Ordering::Release);
        self.memory.store(false, Ordering::Release);
    }

    pub(crate) fn can_message(&self) -> bool {
        self.can_message
    }

    pub(crate) fn bus_master(&self) -> bool {
        self.bus_master.load(Ordering::Acquire)
    }

    pub(crate) fn memory_enabled(&self) -> bool {
        self.memory.load(Ordering::Acquire)
    }

    pub(crate) fn messages_enabled(&self) -> bool {
        self.messages.load(Ordering::Acquire)
    }

    /// The BAR whose window holds `address`, and the offset in it.
    pub(super) fn decode(&self, address: u64) -> Option<(u8, u64)> {
        self.windows.iter().zip(0u8..).find_map(|(window, bar)| {
            let window = (*window)?;
            let offset = address.checked_sub(window.base)?;
            (offset < window.size).then_some((bar, offset))
        })
    }
}
