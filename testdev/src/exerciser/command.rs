//! What lies in host memory: submission entries, lists and completion entries.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a command does. The number is the first byte of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Host memory to on-card memory.
    ToDevice = 1,
    /// On-card memory to host memory.
    FromDevice = 2,
    /// Host memory to host memory, through the FIFO; on-card memory does not change.
    Copy = 3,
    /// Writes the pattern to on-card memory, or with [`FLAG_HOST`] to host memory.
    Fill = 4,
    /// Compares on-card memory, or with [`FLAG_HOST`] host memory, with the pattern.
    Check = 5,
    /// Nothing; it completes.
    Nothing = 6,
}

impl Opcode {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ToDevice, Self::FromDevice, Self::Copy, Self::Fill, Self::Check, Self::Nothing];

    /// The opcode with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::ToDevice),
            2 => Some(Self::FromDevice),
            3 => Some(Self::Copy),
            4 => Some(Self::Fill),
            5 => Some(Self::Check),
            6 => Some(Self::Nothing),
            _ => None,
        }
    }

    /// Its number.
    pub const fn code(self) -> u8 {
        // CAST: the discriminant is the number.
        self as u8
    }
}

/// [`Command::flags`]: an element names a list in host memory instead of data.
pub const FLAG_INDIRECT: u8 = 1 << 0;
/// [`Command::flags`] of [`Opcode::Fill`] and [`Opcode::Check`]: host memory, not on-card memory.
pub const FLAG_HOST: u8 = 1 << 1;

/// A contiguous range of logical addresses, 16 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Element {
    /// Where it begins.
    pub address: u64,
    /// Its length in bytes, not 0.
    pub length: u32,
    /// 0.
    pub reserved: u32,
}

impl Element {
    /// `length` bytes at `address`.
    pub const fn new(address: u64, length: u32) -> Self {
        Self { address, length, reserved: 0 }
    }
}

/// An entry of a submission ring, 64 bytes: written by the host, read by the device.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Command {
    /// An [`Opcode`] by its number.
    pub opcode: u8,
    /// [`FLAG_INDIRECT`], [`FLAG_HOST`]; other bits are 0.
    pub flags: u8,
    /// Elements of the list: at most 2 here, or [`ELEMENTS_MAX`](super::ELEMENTS_MAX) elsewhere.
    pub count: u16,
    /// The host's name for the command, for the completion and for aborting it.
    pub tag: u32,
    /// Where in the on-card memory, bytes.
    pub card_offset: u64,
    /// Seed of the pattern.
    pub seed: u64,
    /// Bytes to move: the lengths of a list's elements add up to it.
    pub length: u32,
    /// [`Opcode::Copy`]: elements of the list that is written.
    pub target_count: u16,
    /// 0.
    pub reserved: u16,
    /// Without [`FLAG_INDIRECT`] the list itself; of a copy the source and the target. With it,
    /// where the list is (16 bytes for each element, 16-aligned), and for a copy the target's.
    pub elements: [Element; 2],
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// It did what it says; [`Completion::bytes`] tells how much.
    Done = 0,
    /// No command has this opcode.
    BadOpcode = 1,
    /// A flag, a reserved field or a length makes no sense.
    BadField = 2,
    /// The range leaves the on-card memory.
    BadRange = 3,
    /// The list is empty, too long, or does not add up to the length.
    BadList = 4,
    /// Nothing answers at [`Completion::detail`].
    BusMiss = 5,
    /// [`Completion::detail`] may not be accessed in this direction.
    BusPermission = 6,
    /// The bytes are not those of the pattern; the first wrong one is at [`Completion::detail`].
    Mismatch = 7,
    /// It was aborted, after [`Completion::bytes`].
    Aborted = 8,
    /// The device could not do it.
    DeviceError = 9,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::BadOpcode,
        Self::BadField,
        Self::BadRange,
        Self::BadList,
        Self::BusMiss,
        Self::BusPermission,
        Self::Mismatch,
        Self::Aborted,
        Self::DeviceError,
    ];

    /// The status with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Its number.
    pub const fn code(self) -> u16 {
        // CAST: the discriminant is the number.
        self as u16
    }
}

/// An entry of a completion ring, 32 bytes: written by the device, read by the host.
///
/// The last eight bytes are written last, and at once.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Completion {
    /// Bytes moved, or compared.
    pub bytes: u64,
    /// A logical address or a position, see [`Status`]; [`NO_POSITION`] when a check found nothing.
    pub detail: u64,
    /// CRC-32C of the bytes that a check has read.
    pub crc: u32,
    /// The queue's submission head, so that the host knows which entries are free.
    pub submission_head: u32,
    /// The command's tag.
    pub tag: u32,
    /// A [`Status`] by its number.
    pub status: u16,
    /// Bit 0: 1 in the first lap of the ring, 0 in the second, and so on. Other bits are 0.
    pub phase: u16,
}

/// [`Completion::detail`]: no byte was wrong.
pub const NO_POSITION: u64 = u64::MAX;
/// Bytes of a submission entry.
pub const COMMAND_LENGTH: usize = size_of::<Command>();
/// Bytes of a completion entry.
pub const COMPLETION_LENGTH: usize = size_of::<Completion>();
/// Bytes of a list's element.
pub const ELEMENT_LENGTH: usize = size_of::<Element>();
/// Bytes of a completion that are written last.
pub const COMPLETION_LAST: usize = 8;

const _: () = assert!(COMMAND_LENGTH == 64 && COMPLETION_LENGTH == 32 && ELEMENT_LENGTH == 16);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn layouts_are_those_of_the_manual() {
        assert_eq!(offset_of!(Command, count), 2);
        assert_eq!(offset_of!(Command, tag), 4);
        assert_eq!(offset_of!(Command, card_offset), 8);
        assert_eq!(offset_of!(Command, seed), 16);
        assert_eq!(offset_of!(Command, length), 24);
        assert_eq!(offset_of!(Command, target_count), 28);
        assert_eq!(offset_of!(Command, elements), 32);
        assert_eq!(offset_of!(Element, length), 8);
        assert_eq!(offset_of!(Completion, detail), 8);
        assert_eq!(offset_of!(Completion, crc), 16);
        assert_eq!(offset_of!(Completion, submission_head), 20);
        assert_eq!(offset_of!(Completion, tag), COMPLETION_LENGTH - COMPLETION_LAST);
        assert_eq!(offset_of!(Completion, status), 28);
        assert_eq!(offset_of!(Completion, phase), 30);
    }

    #[test]
    fn numbers_lead_back_to_their_names() {
        for opcode in Opcode::ALL {
            assert_eq!(Opcode::from_code(opcode.code()), Some(opcode));
        }
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Opcode::from_code(0), None);
        assert_eq!(Opcode::from_code(7), None);
        assert_eq!(Status::from_code(10), None);
    }
}
