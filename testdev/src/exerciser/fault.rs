//! The faults that the injection block can be told to have.

/// What goes wrong. The number goes to a slot's
/// [`FAULT_KIND`](super::registers::FAULT_KIND); what is called the argument is its
/// [`FAULT_ARGUMENT`](super::registers::FAULT_ARGUMENT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FaultKind {
    /// The last (argument) bytes are not moved; the completion says so.
    ShortTransfer = 1,
    /// Byte number (argument) of the data arrives XORed with 0x01.
    CorruptByte = 2,
    /// On-card memory is accessed (argument) bytes further on; the sum wraps at the last place
    /// where the whole range has room.
    WrongOffset = 3,
    /// The completion entry is written, but nothing signals it.
    LostInterrupt = 4,
    /// The completion is signalled again, (argument) ns later.
    DuplicateInterrupt = 5,
    /// The completion is signalled (argument) ns late.
    LateInterrupt = 6,
    /// The signal comes at the start of the command, (argument) ns before data and completion; none
    /// comes after them.
    EarlyInterrupt = 7,
    /// A signal without a completion follows, (argument) ns later.
    SpuriousInterrupt = 8,
    /// The signal uses message number (argument), modulo the number of messages; with INTx, the
    /// cause of that number.
    WrongVector = 9,
    /// The completion is written at the start; the data moves (argument) ns later.
    CompletionBeforeData = 10,
    /// The command takes (argument) ns longer; with 0 it never ends by itself.
    Stall = 11,
    /// An abort of the command has no effect.
    IgnoredAbort = 12,
    /// Every host address of the data is accessed (argument) bytes further on, modulo 2^64.
    BadAddress = 13,
    /// Nothing is moved; the command completes with [`DeviceError`](super::Status::DeviceError).
    FailedCommand = 14,
    /// The completion entry is written twice.
    DuplicateCompletion = 15,
    /// Hits resets, not commands: the reset never ends and nothing stops.
    IgnoredReset = 16,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ShortTransfer,
        Self::CorruptByte,
        Self::WrongOffset,
        Self::LostInterrupt,
        Self::DuplicateInterrupt,
        Self::LateInterrupt,
        Self::EarlyInterrupt,
        Self::SpuriousInterrupt,
        Self::WrongVector,
        Self::CompletionBeforeData,
        Self::Stall,
        Self::IgnoredAbort,
        Self::BadAddress,
        Self::FailedCommand,
        Self::DuplicateCompletion,
        Self::IgnoredReset,
    ];

    /// The fault with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Its number.
    pub const fn code(self) -> u32 {
        // CAST: the discriminant is the number.
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_names() {
        for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.code() as usize, index + 1);
            assert_eq!(FaultKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(FaultKind::from_code(0), None);
        assert_eq!(FaultKind::from_code(17), None);
    }
}
