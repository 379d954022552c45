//! A transfer: one request's data movement, before and after anything is mapped.

#[cfg(test)]
mod tests;

use crate::common_buffer::{CommonBuffer, Kind};
use crate::ddk;
use crate::error::DmaError;
use crate::irql::AtMostDispatch;
use crate::mdl::{DMA, Mdl, MdlChain};
use crate::sys::{BOOLEAN, PAGE_SIZE, PVOID};

/// Where the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From memory to the device.
    ToDevice,
    /// From the device to memory.
    FromDevice,
}

impl Direction {
    /// WriteToDevice of the DMA operations; the same value in map, flush and put (DMA-52).
    pub(crate) const fn write_to_device(self) -> BOOLEAN {
        match self {
            Self::ToDevice => 1,
            Self::FromDevice => 0,
        }
    }
}

/// What bounds a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceLimits {
    /// Map registers at hand (DMA-49).
    pub map_registers: u32,
    /// The adapter's longest operation, bytes (DMA-09).
    pub maximum_length: u32,
    /// What start and length of a mapped piece must be multiples of, bytes (DMA-15).
    pub alignment: u32,
}

/// How the next bytes of a transfer can travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextPiece {
    /// No byte is left.
    None,
    /// This many bytes can be mapped.
    Mapped(u32),
    /// This many bytes share a cache line with foreign data and have to be copied through a common
    /// buffer.
    Copied(u32),
}

/// The place in a chain that a transfer has reached.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    mdl: Mdl,
    in_mdl: u32,
    done: u64,
}

/// A transfer with its request `R`, which nobody else has meanwhile.
///
/// The life of a transfer that is mapped by packets:
///
/// ```text
/// Transfer --make_ready--> Ready --granted--> Granted --map--> Mapping
///     ^                                        |   ^              |
///     '---------------release------------------'   '----flush-----'
/// ```
///
/// The request comes back from [`Transfer::finish`] only, together with the status it has to be
/// completed with.
#[derive(Debug)]
#[must_use]
pub struct Transfer<R> {
    owner: R,
    chain: MdlChain,
    direction: Direction,
    length: u64,
    cursor: Cursor,
    /// The bytes done when the transfer was made ready last; `None` if it is to be flushed again.
    ready_at: Option<u64>,
    outcome: Result<(), DmaError>,
}

/// What is left when a transfer is over.
#[derive(Debug)]
#[must_use]
pub struct Finished<R> {
    /// The request.
    pub owner: R,
    /// Whether every step went well; whether every byte moved says `bytes`.
    pub outcome: Result<(), DmaError>,
    /// The bytes that reached their destination.
    pub bytes: u64,
}

impl<R> Transfer<R> {
    /// A transfer of the first `length` bytes of `chain`.
    ///
    /// # Errors
    /// The owner back with [`DmaError::Empty`] or [`DmaError::TooShort`] (DMA-50, DMA-46).
    ///
    /// # Safety
    /// `owner` keeps the chain alive (DMA-100), and pages that are written were probed for writing
    /// (DMA-104).
    pub unsafe fn new(
        owner: R,
        chain: MdlChain,
        direction: Direction,
        length: u64,
    ) -> Result<Self, (R, DmaError)> {
        if length == 0 {
            return Err((owner, DmaError::Empty));
        }
        if chain.byte_count() < length {
            return Err((owner, DmaError::TooShort));
        }
        let cursor = Cursor { mdl: chain.first(), in_mdl: 0, done: 0 };
        let ready_at = None;
        let mut transfer =
            Self { owner, chain, direction, length, cursor, ready_at, outcome: Ok(()) };
        transfer.advance(0);
        Ok(transfer)
    }

    /// The request.
    pub fn owner(&self) -> &R {
        &self.owner
    }

    /// The buffer.
    pub fn chain(&self) -> MdlChain {
        self.chain
    }

    /// Where the data goes.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Bytes that have reached their destination.
    pub fn done(&self) -> u64 {
        self.cursor.done
    }

    /// Bytes still to move.
    pub fn remaining(&self) -> u64 {
        self.length.saturating_sub(self.cursor.done)
    }

    /// What went wrong, if anything did.
    ///
    /// # Errors
    /// The first failure.
    pub fn outcome(&self) -> Result<(), DmaError> {
        self.outcome
    }

    /// Whether there is nothing more to do: all bytes moved, or a step failed.
    pub fn is_over(&self) -> bool {
        self.outcome.is_err() || self.remaining() == 0
    }

    /// The transfer, marked as failed; the first failure stays.
    pub fn failed(mut self, error: DmaError) -> Self {
        self.outcome = self.outcome.and(Err(error));
        self
    }

    /// Ends the transfer and gives the request back, to be completed.
    pub fn finish(self) -> Finished<R> {
        Finished { owner: self.owner, outcome: self.outcome, bytes: self.cursor.done }
    }

    /// How the next bytes travel, and how many of them: the one place where a transfer is split.
    ///
    /// A piece stays inside one MDL (DMA-46), within the map registers (DMA-49) and the adapter's
    /// longest operation (DMA-09); start and length of a mapped one are aligned (DMA-15).
    pub fn next_piece(&self, limits: &PieceLimits) -> NextPiece {
        let in_mdl = self.cursor.mdl.byte_count().saturating_sub(self.cursor.in_mdl);
        let here = u32::try_from(self.remaining()).unwrap_or(u32::MAX).min(in_mdl);
        if self.is_over() || here == 0 {
            return NextPiece::None;
        }
        let in_page = self.in_page();
        let unit = limits.alignment.max(1);
        let past = in_page.checked_rem(unit).unwrap_or(0);
        if past != 0 {
            return NextPiece::Copied(unit.saturating_sub(past).min(here));
        }
        if here < unit {
            return NextPiece::Copied(here);
        }
        let room = limits.map_registers.saturating_mul(PAGE_SIZE).saturating_sub(in_page);
        let most = here.min(room).min(limits.maximum_length);
        match most.saturating_sub(most.checked_rem(unit).unwrap_or(0)) {
            // Neither registers nor the longest operation hold one unit.
            0 => NextPiece::Copied(here.min(unit)),
            length => NextPiece::Mapped(length),
        }
    }

    /// How many map registers the rest of the transfer can make use of at a time.
    pub fn registers_wanted(&self, maximum_length: u32) -> u32 {
        self.chain
            .iter()
            .map(|mdl| {
                let length = mdl.byte_count().min(maximum_length);
                // A later piece may start anywhere in a page.
                let offset = if mdl.byte_count() > maximum_length {
                    PAGE_SIZE.saturating_sub(1)
                } else {
                    ddk::page_offset(u64::from(mdl.byte_offset()))
                };
                ddk::span_pages(offset, length)
            })
            .max()
            .unwrap_or(1)
            .max(1)
    }

    /// Flushes the processor's caches for every MDL of the chain, right before the transfer:
    /// KeFlushIoBuffers (DMA-85, DMA-87). The value it returns is the only way to start.
    ///
    /// One flush serves every piece, as it is for whole MDLs: with one for each, the time of a
    /// transfer would grow with the square of its pieces. After a piece that moved nothing, or
    /// less than was mapped, there is another: a mapping uses the flush of its bytes up.
    pub fn make_ready(mut self, _level: &impl AtMostDispatch) -> Ready<R> {
        let done = self.cursor.done;
        if self.ready_at.replace(done).is_none_or(|before| before >= done) {
            self.chain.flush_io_buffers(self.direction, DMA);
        }
        Ready { transfer: self }
    }

    /// Copies the next `length` bytes of the caller's buffer to the start of a common buffer.
    ///
    /// # Errors
    /// [`DmaError::NoSystemAddress`], [`DmaError::TooShort`].
    pub fn copy_to<K: Kind>(
        &self,
        buffer: &mut CommonBuffer<K>,
        length: u32,
        level: &impl AtMostDispatch,
    ) -> Result<(), DmaError> {
        if length > buffer.length() {
            return Err(DmaError::TooShort);
        }
        self.chain.visit(self.cursor.done, length, level, |from, count, at| {
            buffer.write(at, from, count);
        })
    }

    /// Takes note of `length` bytes that went through a common buffer; from-device, copies them to
    /// the caller's buffer first.
    pub fn carried<K: Kind>(
        mut self,
        buffer: &CommonBuffer<K>,
        length: u32,
        level: &impl AtMostDispatch,
    ) -> Self {
        if length > buffer.length() {
            return self.failed(DmaError::TooShort);
        }
        if self.direction == Direction::FromDevice {
            let copied = self.chain.visit(self.cursor.done, length, level, |to, count, at| {
                buffer.read(at, to, count);
            });
            if let Err(error) = copied {
                return self.failed(error);
            }
        }
        self.advance(length);
        self
    }

    pub(crate) fn mdl(&self) -> Mdl {
        self.cursor.mdl
    }

    pub(crate) fn current_va(&self) -> PVOID {
        self.cursor.mdl.current_va(self.cursor.in_mdl)
    }

    fn in_page(&self) -> u32 {
        let start = u64::from(self.cursor.mdl.byte_offset());
        ddk::page_offset(start.saturating_add(u64::from(self.cursor.in_mdl)))
    }

    /// Of a piece of `mapped` bytes, `bytes` were moved; the rest is flushed again before it is
    /// mapped again.
    pub(crate) fn moved(&mut self, bytes: u32, mapped: u32) {
        if bytes < mapped {
            self.ready_at = None;
        }
        self.advance(bytes);
    }

    /// Moves on by what was really transferred, into the next MDL where one ends (DMA-48).
    pub(crate) fn advance(&mut self, bytes: u32) {
        self.cursor.done = self.cursor.done.saturating_add(u64::from(bytes));
        self.cursor.in_mdl = self.cursor.in_mdl.saturating_add(bytes);
        loop {
            let count = self.cursor.mdl.byte_count();
            if self.remaining() == 0 || self.cursor.in_mdl < count {
                return;
            }
            // INVARIANT: `new` compared the length with the whole chain, so bytes remain only if
            // another MDL follows.
            let mut rest = self.chain.iter().skip_while(|mdl| *mdl != self.cursor.mdl);
            let Some(next) = rest.nth(1) else { return };
            self.cursor.mdl = next;
            self.cursor.in_mdl = self.cursor.in_mdl.saturating_sub(count);
        }
    }
}

/// A transfer whose buffer the processor's caches no longer cover: what [`Transfer::make_ready`]
/// returned.
#[derive(Debug)]
#[must_use]
pub struct Ready<R> {
    pub(crate) transfer: Transfer<R>,
}

impl<R> Ready<R> {
    /// The transfer, without having started it.
    pub fn cancel(self) -> Transfer<R> {
        self.transfer
    }

    /// The transfer, to look at.
    pub fn transfer(&self) -> &Transfer<R> {
        &self.transfer
    }
}
