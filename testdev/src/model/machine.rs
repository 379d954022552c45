//! A machine of a few kilobytes, for testing the models.

use std::sync::OnceLock;
use std::vec;
use std::vec::Vec;

use crate::bus::{Bus, BusError, Device};

/// Where the fake machine's memory starts.
pub const RAM: u64 = 0x10_0000;

/// The longest memory, in bytes.
const LENGTH_MAX: usize = 0x10_0000;

/// What memory holds at first, made once.
static FIRST: OnceLock<Vec<u8>> = OnceLock::new();

/// One bus-master access, failed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub write: bool,
    pub address: u64,
    pub length: usize,
}

/// The machine: some memory, a clock, and a record of what the device did.
pub struct FakeBus {
    pub now: u64,
    pub timer: Option<u64>,
    pub ram: Vec<u8>,
    /// Every access fails with this.
    pub error: Option<BusError>,
    pub msi: bool,
    pub messages: Vec<u16>,
    pub line: bool,
    pub accesses: Vec<Access>,
    /// The transfer that the register write under way begins.
    pub transfer: u64,
    /// The transfer that each access belongs to.
    pub owners: Vec<u64>,
    /// What the device said about that in the call under way.
    owner: Option<u64>,
}

impl FakeBus {
    /// A machine with `length` bytes of memory that hold something.
    pub fn new(length: usize) -> Self {
        let first = FIRST.get_or_init(|| (0..LENGTH_MAX).map(pattern).collect());
        Self {
            now: 5_000,
            timer: None,
            ram: first[..length].to_vec(),
            error: None,
            msi: false,
            messages: vec![],
            line: false,
            accesses: vec![],
            transfer: 0,
            owners: vec![],
            owner: None,
        }
    }

    /// Lets time pass, as a machine does: the clock stops at each deadline on the way.
    pub fn advance(&mut self, device: &mut impl Device, nanoseconds: u64) {
        let end = self.now.saturating_add(nanoseconds);
        while let Some(at) = self.timer.filter(|&at| at <= end) {
            self.timer = None;
            self.now = self.now.max(at);
            self.owner = None;
            device.on_timer(self);
        }
        self.now = end;
    }

    fn note(&mut self, access: Access) {
        self.accesses.push(access);
        self.owners.push(self.owner.unwrap_or(self.transfer));
    }

    fn range(&self, address: u64, length: usize) -> Result<core::ops::Range<usize>, BusError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let start = address.checked_sub(RAM).ok_or(BusError::Miss)?;
        let start = usize::try_from(start).map_err(|_| BusError::Miss)?;
        let end = start.checked_add(length).filter(|&end| end <= self.ram.len());
        Ok(start..end.ok_or(BusError::Miss)?)
    }
}

impl Bus for FakeBus {
    fn now(&self) -> u64 {
        self.now
    }

    fn set_timer(&mut self, at: Option<u64>) {
        self.timer = at;
    }

    fn read(&mut self, address: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.note(Access { write: false, address, length: data.len() });
        let range = self.range(address, data.len())?;
        data.copy_from_slice(&self.ram[range]);
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), BusError> {
        self.note(Access { write: true, address, length: data.len() });
        let range = self.range(address, data.len())?;
        self.ram[range].copy_from_slice(data);
        Ok(())
    }

    fn msi_enabled(&self) -> bool {
        self.msi
    }

    fn send_msi(&mut self, message: u16) {
        self.messages.push(message);
    }

    fn set_line(&mut self, asserted: bool) {
        self.line = asserted;
    }

    fn transfer(&self) -> u64 {
        self.transfer
    }

    fn on_behalf_of(&mut self, transfer: u64) {
        self.owner = Some(transfer);
    }
}

/// What the memory holds at first.
pub fn pattern(index: usize) -> u8 {
    ((index * 7) ^ (index >> 8)) as u8 | 1
}
