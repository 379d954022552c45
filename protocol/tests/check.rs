//! Each refusal provoked, and the nearest request that is not refused.

use dmaproof_protocol::Direction::{FromDevice, ToDevice};
use dmaproof_protocol::{
    Direction, Limits, Path, Paths, PioKind, PioWindow, Refusal, Transfer, TransferHeader, VERSION,
    check_read_write,
};

/// A device like edu: 4095 usable bytes, an identification and one writable register for PIO.
const DEVICE: Limits = Limits {
    memory_length: 4095,
    transfer_length_max: 4000,
    paths: Paths::ALL.without(Path::SystemDma),
    pio: PioWindow {
        kind: PioKind::Registers,
        alignment: 4,
        length: 8,
        writable_offset: 4,
        writable_length: 4,
    },
};

fn check(direction: Direction, path: Path, offset: u64, length: u64) -> Result<Transfer, Refusal> {
    TransferHeader::new(path, offset, length).check(direction, length, &DEVICE)
}

/// A good header with one thing changed.
fn changed(change: impl FnOnce(&mut TransferHeader)) -> Result<Transfer, Refusal> {
    let mut header = TransferHeader::new(Path::Packet, 0, 64);
    change(&mut header);
    header.check(ToDevice, 64, &DEVICE)
}

#[test]
fn an_accepted_transfer_is_the_requested_one() {
    let transfer = check(FromDevice, Path::ScatterGather, 95, 4000).unwrap();
    assert_eq!(transfer.path(), Path::ScatterGather);
    assert_eq!(transfer.direction(), FromDevice);
    assert_eq!((transfer.offset(), transfer.length(), transfer.end()), (95, 4000, 4095));
}

#[test]
fn wrong_version() {
    assert!(changed(|_| ()).is_ok());
    for version in [0, VERSION - 1, VERSION + 1, u32::MAX] {
        assert_eq!(changed(|header| header.version = version), Err(Refusal::WrongVersion));
    }
}

#[test]
fn unknown_path() {
    for path in [0, 8, u32::MAX] {
        assert_eq!(changed(|header| header.path = path), Err(Refusal::UnknownPath));
    }
}

#[test]
fn unknown_flags_and_reserved_bits() {
    for bit in 0..32 {
        assert_eq!(changed(|header| header.flags = 1 << bit), Err(Refusal::UnknownFlags));
        assert_eq!(changed(|header| header.reserved = 1 << bit), Err(Refusal::ReservedSet));
    }
}

#[test]
fn zero_length() {
    assert_eq!(check(ToDevice, Path::Packet, 0, 0), Err(Refusal::ZeroLength));
    // Even at the very end, and even if the buffer is not empty.
    assert_eq!(check(ToDevice, Path::Packet, 4095, 0), Err(Refusal::ZeroLength));
    assert_eq!(changed(|header| header.length = 0), Err(Refusal::ZeroLength));
    assert!(check(ToDevice, Path::Packet, 0, 1).is_ok());
}

#[test]
fn length_mismatch() {
    for length in [63, 65, u64::MAX] {
        assert_eq!(changed(|header| header.length = length), Err(Refusal::LengthMismatch));
    }
    let header = TransferHeader::new(Path::Packet, 0, 64);
    assert_eq!(header.check(ToDevice, 0, &DEVICE), Err(Refusal::LengthMismatch));
    // The same in the lower 32 bits.
    let header = TransferHeader::new(Path::Packet, 0, 64 + (1 << 32));
    assert_eq!(header.check(ToDevice, 64, &DEVICE), Err(Refusal::LengthMismatch));
}

#[test]
fn path_not_available() {
    assert_eq!(check(ToDevice, Path::SystemDma, 0, 64), Err(Refusal::PathNotAvailable));
    for path in Path::ALL {
        let header = TransferHeader::new(*path, 4, 4);
        let without = Limits { paths: DEVICE.paths.without(*path), ..DEVICE };
        assert_eq!(header.check(ToDevice, 4, &without), Err(Refusal::PathNotAvailable));
        let with = Limits { paths: DEVICE.paths.with(*path), ..DEVICE };
        assert!(header.check(ToDevice, 4, &with).is_ok(), "{path}");
    }
    // A window of no kind is no window.
    let pio = PioWindow { kind: PioKind::None, ..DEVICE.pio };
    let header = TransferHeader::new(Path::Pio, 4, 4);
    let refusal = header.check(ToDevice, 4, &Limits { pio, ..DEVICE });
    assert_eq!(refusal, Err(Refusal::PathNotAvailable));
}

#[test]
fn too_long() {
    assert!(check(ToDevice, Path::Packet, 0, 4000).is_ok());
    assert_eq!(check(ToDevice, Path::Packet, 0, 4001), Err(Refusal::TooLong));
    assert_eq!(check(ToDevice, Path::Packet, 0, u64::MAX), Err(Refusal::TooLong));
}

#[test]
fn out_of_range() {
    assert!(check(ToDevice, Path::Packet, 4094, 1).is_ok());
    assert_eq!(check(ToDevice, Path::Packet, 4095, 1), Err(Refusal::OutOfRange));
    assert_eq!(check(ToDevice, Path::Packet, 96, 4000), Err(Refusal::OutOfRange));
    // Sums that wrap around to something small.
    assert_eq!(check(ToDevice, Path::Packet, u64::MAX, 1), Err(Refusal::OutOfRange));
    assert_eq!(check(ToDevice, Path::Packet, u64::MAX - 15, 64), Err(Refusal::OutOfRange));
    // PIO counts in its own window.
    assert!(check(FromDevice, Path::Pio, 0, 8).is_ok());
    assert_eq!(check(FromDevice, Path::Pio, 4, 8), Err(Refusal::OutOfRange));
}

#[test]
fn the_whole_64_bit_range_is_a_window() {
    let device = Limits { memory_length: u64::MAX, transfer_length_max: u64::MAX, ..DEVICE };
    let header = TransferHeader::new(Path::Packet, u64::MAX - 64, 64);
    assert_eq!(header.check(ToDevice, 64, &device).map(|transfer| transfer.end()), Ok(u64::MAX));
    let header = TransferHeader::new(Path::Packet, u64::MAX - 63, 64);
    assert_eq!(header.check(ToDevice, 64, &device), Err(Refusal::OutOfRange));
}

#[test]
fn misaligned() {
    for (offset, length) in [(1, 4), (2, 4), (0, 3), (4, 1), (3, 5)] {
        assert_eq!(check(FromDevice, Path::Pio, offset, length), Err(Refusal::Misaligned));
    }
    assert!(check(FromDevice, Path::Pio, 4, 4).is_ok());
    // The DMA paths take any offset and length.
    assert!(check(FromDevice, Path::Packet, 1, 3).is_ok());
    // Widths of 0 and 1 ask nothing.
    for alignment in [0, 1] {
        let pio = PioWindow { alignment, ..DEVICE.pio };
        let header = TransferHeader::new(Path::Pio, 1, 3);
        assert!(header.check(FromDevice, 3, &Limits { pio, ..DEVICE }).is_ok());
    }
}

#[test]
fn direction_not_available() {
    assert!(check(ToDevice, Path::Pio, 4, 4).is_ok());
    assert!(check(FromDevice, Path::Pio, 0, 4).is_ok());
    assert_eq!(check(ToDevice, Path::Pio, 0, 4), Err(Refusal::DirectionNotAvailable));
    assert_eq!(check(ToDevice, Path::Pio, 0, 8), Err(Refusal::DirectionNotAvailable));
    // Past the end of the writable part, still inside the window.
    let pio = PioWindow { length: 16, ..DEVICE.pio };
    let header = TransferHeader::new(Path::Pio, 4, 8);
    let refusal = header.check(ToDevice, 8, &Limits { pio, ..DEVICE });
    assert_eq!(refusal, Err(Refusal::DirectionNotAvailable));
}

/// A request that is wrong in every way, repaired one step at a time.
#[test]
fn refusals_come_in_the_documented_order() {
    let mut header =
        TransferHeader { version: 9, path: 9, offset: 9, length: 0, flags: 9, reserved: 9 };
    let mut device = Limits::default();
    let mut buffer_length = 1;
    let mut steps = Vec::new();
    while let Err(refusal) = header.check(ToDevice, buffer_length, &device) {
        assert!(!steps.contains(&refusal), "{refusal:?} was repaired before");
        steps.push(refusal);
        match refusal {
            Refusal::WrongVersion => header.version = VERSION,
            Refusal::UnknownPath => header.path = Path::Pio.code(),
            Refusal::UnknownFlags => header.flags = 0,
            Refusal::ReservedSet => header.reserved = 0,
            Refusal::ZeroLength => header.length = 5,
            Refusal::LengthMismatch => buffer_length = header.length,
            Refusal::PathNotAvailable => {
                device.paths = Paths::ALL;
                device.pio = PioWindow { length: 8, ..DEVICE.pio };
            }
            Refusal::TooLong => device.transfer_length_max = 5,
            Refusal::OutOfRange => header.offset = 2,
            Refusal::Misaligned => {
                (header.offset, header.length, buffer_length) = (0, 4, 4);
            }
            Refusal::DirectionNotAvailable => device.pio.writable_offset = 0,
            Refusal::HeaderTooShort | Refusal::HeaderTooLong => unreachable!("not of this check"),
        }
    }
    let documented: Vec<_> = Refusal::ALL
        .iter()
        .copied()
        .filter(|refusal| !matches!(refusal, Refusal::HeaderTooShort | Refusal::HeaderTooLong))
        .collect();
    assert_eq!(steps, documented);
}

#[test]
fn read_and_write_take_the_packet_path() {
    let transfer = check_read_write(FromDevice, 95, 4000, &DEVICE).unwrap();
    assert_eq!(transfer, check(FromDevice, Path::Packet, 95, 4000).unwrap());

    let refused = |offset, length| check_read_write(ToDevice, offset, length, &DEVICE).unwrap_err();
    assert_eq!(refused(0, 0), Refusal::ZeroLength);
    assert_eq!(refused(0, 4001), Refusal::TooLong);
    assert_eq!(refused(4095, 1), Refusal::OutOfRange);
    assert_eq!(refused(-1, 1), Refusal::OutOfRange);
    assert_eq!(refused(i64::MIN, 4000), Refusal::OutOfRange);
    assert_eq!(refused(i64::MAX, 4000), Refusal::OutOfRange);

    let device = Limits { paths: DEVICE.paths.without(Path::Packet), ..DEVICE };
    let refusal = check_read_write(ToDevice, 0, 1, &device);
    assert_eq!(refusal, Err(Refusal::PathNotAvailable));
}
