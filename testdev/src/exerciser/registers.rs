//! The registers in BAR 0: byte offsets, bits and reset values.
//!
//! A register of 32 bits takes 4-byte accesses only, one of 64 bits 8-byte accesses only. Any other
//! access, and one where there is no register, reads all ones and writes nothing.

use super::QUEUES;

/// Identification, 32 bits, read-only. See [`is_exerciser`].
pub const ID: u64 = 0x000;
/// What it can do, 32 bits, read-only. See [`CAPABILITIES_VALUE`].
pub const CAPABILITIES: u64 = 0x004;
/// Device control, 32 bits: [`CONTROL_ENABLE`], [`CONTROL_RESET`]. Reset value 0.
pub const CONTROL: u64 = 0x008;
/// Device status, 32 bits, read-only: [`STATUS_ENABLED`], [`STATUS_RESETTING`], [`STATUS_BUSY`].
pub const STATUS: u64 = 0x00c;
/// Length of the on-card memory in bytes, 64 bits, read-only.
pub const MEMORY_SIZE: u64 = 0x010;
/// Where in the on-card memory the window of BAR 2 begins, 32 bits, a multiple of its size; other
/// values are ignored. Reset value 0.
pub const WINDOW_BASE: u64 = 0x018;
/// Bytes of a FIFO chunk, 32 bits: a power of two from [`FIFO_MIN`] to [`FIFO_MAX`]; other values
/// are ignored. Reset value [`FIFO_RESET`].
pub const FIFO_CHUNK: u64 = 0x01c;
/// Interrupt causes, 32 bits: bit n for queue n, [`IRQ_ERROR`]. Writing 1 clears a bit.
pub const IRQ_STATUS: u64 = 0x020;
/// Which causes hold the INTx pin up, 32 bits. Messages do not look at it. Reset value 0.
pub const IRQ_ENABLE: u64 = 0x024;
/// The first asynchronous error since it was cleared, 32 bits: an [`Error`] in bits 7:0, the queue
/// in bits 15:8. Any write clears it.
pub const ERROR: u64 = 0x028;
/// Message number for errors, 32 bits. Reset value [`QUEUES`].
pub const ERROR_VECTOR: u64 = 0x02c;
/// Time from a doorbell to the fetch, ns, 32 bits: what is submitted meanwhile comes along.
pub const TIME_FETCH: u64 = 0x030;
/// Time from the start of a command to its first chunk, ns, 32 bits.
pub const TIME_COMMAND: u64 = 0x034;
/// Time from one chunk to the next, ns, 32 bits; with 0 a command moves its data at once.
pub const TIME_CHUNK: u64 = 0x038;
/// Keeps what was written, 32 bits; changes nothing. Reset value 0.
pub const SCRATCH: u64 = 0x03c;
/// Logical address of the last bus-master access that failed, 64 bits, read-only.
pub const FAULT_ADDRESS: u64 = 0x040;
/// Commands completed since power-on, 64 bits, read-only.
pub const COMMANDS: u64 = 0x048;
/// Bus-master accesses that failed since power-on, 64 bits, read-only.
pub const BUS_ERRORS: u64 = 0x050;

/// Where the registers of queue 0 begin.
pub const QUEUE_FIRST: u64 = 0x100;
/// Bytes from one queue's registers to the next one's.
pub const QUEUE_STRIDE: u64 = 0x40;
/// Queue: logical address of the submission ring, 64 bits; written while the queue is disabled.
pub const SUBMISSION_BASE: u64 = 0x00;
/// Queue: logical address of the completion ring, 64 bits; written while the queue is disabled.
pub const COMPLETION_BASE: u64 = 0x08;
/// Queue: entries of each ring, 32 bits: a power of two from [`RING_MIN`](super::RING_MIN) to
/// [`RING_MAX`](super::RING_MAX); written while the queue is disabled.
pub const RING_SIZE: u64 = 0x10;
/// Queue: [`QUEUE_ENABLE`], 32 bits. Reset value 0.
pub const QUEUE_CONTROL: u64 = 0x14;
/// Queue doorbell: index of the submission entry that is written next, 32 bits.
pub const SUBMISSION_TAIL: u64 = 0x18;
/// Queue doorbell: index of the completion entry that is read next, 32 bits.
pub const COMPLETION_HEAD: u64 = 0x1c;
/// Queue: index of the submission entry that the device fetches next, 32 bits, read-only.
pub const SUBMISSION_HEAD: u64 = 0x20;
/// Queue: index of the completion entry that the device writes next, 32 bits, read-only.
pub const COMPLETION_TAIL: u64 = 0x24;
/// Queue: message number, 32 bits. Reset value: the queue's number.
pub const QUEUE_VECTOR: u64 = 0x28;
/// Queue: writing a tag aborts the command with it, 32 bits, write-only.
pub const ABORT: u64 = 0x2c;
/// Queue: what it is doing, 32 bits, read-only: a [`QueueState`].
pub const QUEUE_STATE: u64 = 0x30;

/// Where the registers of fault slot 0 begin.
pub const FAULT_FIRST: u64 = 0x200;
/// Bytes from one fault slot's registers to the next one's.
pub const FAULT_STRIDE: u64 = 0x20;
/// Fault slots.
pub const FAULTS: usize = 4;
/// Fault slot: a [`FaultKind`](super::FaultKind), 32 bits. A write arms the slot, 0 disarms it.
pub const FAULT_KIND: u64 = 0x00;
/// Fault slot: which queues it looks at, 32 bits: bit n for queue n. Reset value: all.
pub const FAULT_QUEUES: u64 = 0x04;
/// Fault slot: commands it still lets pass, 32 bits.
pub const FAULT_SKIP: u64 = 0x08;
/// Fault slot: commands it still hits, 32 bits; all ones: no end. Reset value 1.
pub const FAULT_COUNT: u64 = 0x0c;
/// Fault slot: what the kind makes of it, 64 bits.
pub const FAULT_ARGUMENT: u64 = 0x10;
/// Fault slot: commands it has hit since it was armed, 32 bits, read-only.
pub const FAULT_FIRED: u64 = 0x18;

/// What [`ID`] reads: the mark in bits 31:16, major and minor version.
pub const ID_VALUE: u32 = 0x4458_0100;
/// The bits of [`ID`] that [`is_exerciser`] compares: all but the minor version.
pub const ID_MASK: u32 = 0xffff_ff00;
/// What [`CAPABILITIES`] reads: queues in bits 7:0, binary logarithms of the longest ring in 15:8,
/// of the longest list in 23:16 and of the on-card memory in 31:24.
pub const CAPABILITIES_VALUE: u32 = 0x1808_0804;
/// [`CONTROL`]: queues work.
pub const CONTROL_ENABLE: u32 = 1 << 0;
/// [`CONTROL`]: a write of 1 resets the device; reads 1 until that is over.
pub const CONTROL_RESET: u32 = 1 << 1;
/// [`STATUS`]: [`CONTROL_ENABLE`] is set.
pub const STATUS_ENABLED: u32 = 1 << 0;
/// [`STATUS`]: a reset is under way; writes are dropped but for the fault slots'.
pub const STATUS_RESETTING: u32 = 1 << 1;
/// [`STATUS`]: some command is under way, or something of it is.
pub const STATUS_BUSY: u32 = 1 << 2;
/// [`QUEUE_CONTROL`]: the queue works.
pub const QUEUE_ENABLE: u32 = 1 << 0;
/// [`IRQ_STATUS`]: [`ERROR`] holds one.
pub const IRQ_ERROR: u32 = 1 << QUEUES;
/// All bits that [`IRQ_STATUS`] can have.
pub const IRQ_ALL: u32 = (1 << (QUEUES + 1)) - 1;
/// The smallest FIFO chunk in bytes.
pub const FIFO_MIN: u32 = 64;
/// The largest FIFO chunk in bytes.
pub const FIFO_MAX: u32 = 0x1_0000;
/// The FIFO chunk after a reset, bytes.
pub const FIFO_RESET: u32 = 4096;
/// Time a reset takes, ns.
pub const RESET_NS: u64 = 10_000;

/// What goes wrong without a command to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Error {
    /// A submission entry could not be read.
    Fetch = 1,
    /// A completion entry could not be written.
    Post = 2,
    /// A doorbell named an entry that the ring does not have, or has not filled.
    Doorbell = 3,
    /// A queue was enabled with a ring that cannot be one.
    Setup = 4,
}

/// What a queue is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum QueueState {
    /// Not enabled.
    #[default]
    Disabled = 0,
    /// It has nothing to do.
    Idle = 1,
    /// Commands are under way.
    Busy = 2,
    /// An error stopped it for good: only a reset of the device helps.
    Failed = 3,
}

/// Whether a value of [`ID`] belongs to an exerciser of the major version described here. All ones,
/// which an absent device gives, does not.
pub const fn is_exerciser(id: u32) -> bool {
    id & ID_MASK == ID_VALUE & ID_MASK
}

/// Offset of a register of queue number `queue`.
pub const fn of_queue(queue: usize, register: u64) -> u64 {
    // CAST: `usize` to `u64` keeps every value.
    QUEUE_FIRST + QUEUE_STRIDE * queue as u64 + register
}

/// Offset of a register of fault slot number `slot`.
pub const fn of_fault(slot: usize, register: u64) -> u64 {
    // CAST: `usize` to `u64` keeps every value.
    FAULT_FIRST + FAULT_STRIDE * slot as u64 + register
}

#[cfg(test)]
mod tests {
    use super::super::{ELEMENTS_MAX, MEMORY_LENGTH, RING_MAX};
    use super::*;

    #[test]
    fn id_check_ignores_the_minor_version_only() {
        assert!(is_exerciser(ID_VALUE));
        assert!(is_exerciser(ID_VALUE | 0x42));
        assert!(!is_exerciser(ID_VALUE + 0x100));
        assert!(!is_exerciser(u32::MAX));
        assert!(!is_exerciser(crate::edu::ID_VALUE));
        assert!(!crate::edu::is_edu(ID_VALUE));
    }

    #[test]
    fn capabilities_say_what_the_constants_say() {
        let [queues, ring, list, memory] = CAPABILITIES_VALUE.to_le_bytes();

        assert_eq!(usize::from(queues), QUEUES);
        assert_eq!(1 << ring, RING_MAX);
        assert_eq!(1 << list, ELEMENTS_MAX);
        assert_eq!(1u64 << memory, MEMORY_LENGTH);
    }

    #[test]
    fn blocks_do_not_overlap() {
        assert_eq!(of_queue(3, QUEUE_STATE), 0x1f0);
        assert!(of_queue(QUEUES, 0) <= FAULT_FIRST);
        assert_eq!(of_fault(3, FAULT_FIRED), 0x278);
    }
}
