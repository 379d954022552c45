//! The buffers of adapters: a device's data waits there until the buffer is full, the device goes
//! on elsewhere, or somebody flushes it ("internal buffers", as the documents call them).

use super::log::FIFO;

/// What waits in one adapter's FIFO.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fifo {
    /// Address in the process of the first byte.
    pub address: usize,
    pub length: usize,
    bytes: [u8; FIFO],
}

impl Fifo {
    const EMPTY: Self = Self { address: 0, length: 0, bytes: [0; FIFO] };

    /// What waits.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The place of all bytes, for records.
    pub(super) fn all(&self) -> [u8; FIFO] {
        self.bytes
    }
}

/// The FIFOs of all adapters, by number.
#[derive(Debug, Default)]
pub(super) struct Fifos(Vec<Fifo>);

impl Fifos {
    /// What waits in an adapter's FIFO.
    pub(super) fn get(&self, adapter: usize) -> Option<Fifo> {
        self.0.get(adapter).copied().filter(|fifo| fifo.length != 0)
    }

    /// Takes what waits in an adapter's FIFO.
    pub(super) fn take(&mut self, adapter: usize) -> Option<Fifo> {
        let waiting = self.get(adapter)?;
        self.0[adapter].length = 0;
        Some(waiting)
    }

    /// Adds bytes for `address` as far as there is room; returns how many. What waits must end
    /// there.
    pub(super) fn fill(&mut self, adapter: usize, address: usize, data: &[u8]) -> usize {
        if self.0.len() <= adapter {
            self.0.resize(adapter + 1, Fifo::EMPTY);
        }
        let fifo = &mut self.0[adapter];
        if fifo.length == 0 {
            fifo.address = address;
        }
        debug_assert_eq!(fifo.address + fifo.length, address, "a FIFO holds one run of bytes");
        let count = data.len().min(FIFO - fifo.length);
        fifo.bytes[fifo.length..fifo.length + count].copy_from_slice(&data[..count]);
        fifo.length += count;
        count
    }

    /// The adapters whose FIFOs hold something, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, fifo)| fifo.length != 0).map(|(at, _)| at)
    }
}
