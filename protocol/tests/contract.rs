//! The contract in literal numbers: what another client has compiled in must never move.

use std::mem::{align_of, offset_of, size_of};

use dmaproof_protocol::{
    Access, AdapterInfo, Count, DEVICE_TYPE, DeviceKind, Direction, DirectionCounts, GUID_FIELDS,
    GUID_TEXT, InterruptKind, Ioctl, Limits, Method, Path, Paths, PioInfo, PioKind, PioWindow,
    QueryReply, QueryRequest, Refusal, Statistics, TransferHeader, UnknownCode, UnknownName,
    VERSION, VersionRequest, access_of, ctl_code, method_of, status,
};
use zerocopy::{FromBytes, IntoBytes};

// Device type 0xDA7A << 16 | access << 14 | function << 2 | method.
const CODES: [(Ioctl, u32, Method, Access); 5] = [
    (Ioctl::Query, 0xDA7A_6000, Method::Buffered, Access::Read),
    (Ioctl::ToDevice, 0xDA7A_A005, Method::InDirect, Access::Write),
    (Ioctl::FromDevice, 0xDA7A_600A, Method::OutDirect, Access::Read),
    (Ioctl::Statistics, 0xDA7A_600C, Method::Buffered, Access::Read),
    (Ioctl::Reset, 0xDA7A_A010, Method::Buffered, Access::Write),
];

/// Asserts the offset of each field, that each field starts where the one before ends, and the size.
macro_rules! assert_layout {
    ($name:ty, $size:literal, $($field:ident @ $offset:literal + $length:literal),+) => {
        let mut end = 0usize;
        $(
            assert_eq!(offset_of!($name, $field), $offset, stringify!($name.$field));
            assert_eq!(end, $offset, "padding before {}", stringify!($name.$field));
            end = $offset + $length;
        )+
        assert_eq!(end, $size, "padding after the last field of {}", stringify!($name));
        assert_eq!(size_of::<$name>(), $size, stringify!($name));
    };
}

#[test]
fn codes_are_the_published_ones() {
    assert_eq!(VERSION, 2);
    assert_eq!(Ioctl::ALL.len(), CODES.len());
    for (ioctl, code, method, access) in CODES {
        assert_eq!(ioctl.code(), code, "{ioctl:?}");
        assert_eq!(Ioctl::try_from(code), Ok(ioctl));
        assert_eq!((ioctl.method(), ioctl.access()), (method, access), "{ioctl:?}");
    }
}

#[test]
fn codes_are_in_the_private_ranges_and_use_neither_any_access_nor_bare_addresses() {
    const { assert!(DEVICE_TYPE >= 0x8000) };
    for ioctl in Ioctl::ALL {
        assert!((ioctl.code() >> 2) & 0xFFF >= 0x800, "{ioctl:?}");
        assert_ne!(ioctl.method(), Method::Neither, "{ioctl:?}");
        assert_ne!(ioctl.access(), Access::Any, "{ioctl:?}");
    }
}

#[test]
fn a_code_with_any_bit_changed_is_unknown() {
    for ioctl in Ioctl::ALL {
        for bit in 0..32 {
            let other = ioctl.code() ^ (1 << bit);
            let known = CODES.iter().any(|(_, code, ..)| *code == other);
            assert_eq!(Ioctl::try_from(other).is_ok(), known, "{other:#x}");
        }
    }
    assert_eq!(Ioctl::try_from(0), Err(UnknownCode(0)));
}

#[test]
fn code_parts_are_taken_apart_as_they_were_put_together() {
    let methods = [Method::Buffered, Method::InDirect, Method::OutDirect, Method::Neither];
    let accesses = [Access::Any, Access::Read, Access::Write, Access::ReadWrite];
    for method in methods {
        for access in accesses {
            let code = ctl_code(0xFFFF, 0xFFFF, method, access);
            assert_eq!((method_of(code), access_of(code)), (method, access));
            assert_eq!(code & 0xFFFF_3FFC, 0xFFFF_3FFC);
        }
    }
    // IOCTL_DISK_GET_DRIVE_GEOMETRY and IOCTL_DISK_FORMAT_TRACKS of the Windows headers.
    assert_eq!(ctl_code(0x7, 0, Method::Buffered, Access::Any), 0x0007_0000);
    assert_eq!(ctl_code(0x7, 6, Method::Buffered, Access::ReadWrite), 0x0007_C018);
}

#[test]
fn only_the_transfers_have_a_direction() {
    assert_eq!(Ioctl::ToDevice.direction(), Some(Direction::ToDevice));
    assert_eq!(Ioctl::FromDevice.direction(), Some(Direction::FromDevice));
    for ioctl in [Ioctl::Query, Ioctl::Statistics, Ioctl::Reset] {
        assert_eq!(ioctl.direction(), None);
    }
}

#[test]
fn guid_and_its_text_agree() {
    let (a, b, c, d) = GUID_FIELDS;
    let tail: String = d[2..].iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{{{a:08x}-{b:04x}-{c:04x}-{:02x}{:02x}-{tail}}}", d[0], d[1]);
    assert_eq!(text, GUID_TEXT);
    assert_eq!(GUID_TEXT, "{f841deda-968c-4d17-9b7c-f14716cc47d1}");
}

#[test]
fn requests_have_the_published_layout() {
    assert_layout!(TransferHeader, 32,
        version @ 0 + 4, path @ 4 + 4, offset @ 8 + 8, length @ 16 + 8, flags @ 24 + 4,
        reserved @ 28 + 4);
    assert_layout!(VersionRequest, 8, version @ 0 + 4, reserved @ 4 + 4);
    assert_eq!(align_of::<TransferHeader>(), 8);
    assert_eq!(align_of::<VersionRequest>(), 4);
}

#[test]
fn the_query_reply_has_the_published_layout() {
    assert_layout!(PioInfo, 32,
        kind @ 0 + 4, alignment @ 4 + 4, length @ 8 + 8, writable_offset @ 16 + 8,
        writable_length @ 24 + 8);
    assert_layout!(AdapterInfo, 32,
        present @ 0 + 4, description_version @ 4 + 4, map_registers @ 8 + 4,
        address_width_bits @ 12 + 4, alignment @ 16 + 4, scatter_gather @ 20 + 4,
        maximum_length @ 24 + 8);
    assert_layout!(QueryReply, 152,
        version @ 0 + 4, driver_major @ 4 + 4, driver_minor @ 8 + 4, driver_patch @ 12 + 4,
        device_kind @ 16 + 4, pci_vendor @ 20 + 2, pci_device @ 22 + 2, pci_revision @ 24 + 4,
        interrupt_kind @ 28 + 4, interrupt_count @ 32 + 4, paths @ 36 + 4, memory_length @ 40 + 8,
        transfer_length_max @ 48 + 8, pio @ 56 + 32, adapter_v2 @ 88 + 32, adapter_v3 @ 120 + 32);
    assert_eq!(align_of::<QueryReply>(), 8);
}

#[test]
fn the_statistics_have_the_published_layout() {
    assert_layout!(Count, 16, transfers @ 0 + 8, bytes @ 8 + 8);
    assert_layout!(DirectionCounts, 32, to_device @ 0 + 16, from_device @ 16 + 16);
    assert_layout!(Statistics, 352,
        version @ 0 + 4, reserved @ 4 + 4, common_buffer_cached @ 8 + 32,
        common_buffer_uncached @ 40 + 32, packet @ 72 + 32, scatter_gather @ 104 + 32,
        version3 @ 136 + 32, pio @ 168 + 32, system_dma @ 200 + 32, errors @ 232 + 8,
        cancelled @ 240 + 8, timed_out @ 248 + 8, interrupts @ 256 + 8,
        interrupts_spurious @ 264 + 8, dpcs @ 272 + 8, pieces_mapped @ 280 + 8,
        pieces_flushed @ 288 + 8, flush_failures @ 296 + 8, refused @ 304 + 8,
        slots_abandoned @ 312 + 8, interrupts_lost @ 320 + 8, completions_unknown @ 328 + 8,
        aborts @ 336 + 8, resets @ 344 + 8);
    assert_eq!(align_of::<Statistics>(), 8);
}

#[test]
fn a_header_is_these_bytes() {
    let header = TransferHeader::new(Path::Version3, 0x0102_0304_0506_0708, 0x1000);
    #[rustfmt::skip]
    let bytes: [u8; 32] = [
        2, 0, 0, 0,             // version
        5, 0, 0, 0,             // path
        8, 7, 6, 5, 4, 3, 2, 1, // offset
        0, 0x10, 0, 0, 0, 0, 0, 0, // length
        0, 0, 0, 0,             // flags
        0, 0, 0, 0,             // reserved
    ];
    assert_eq!(header.as_bytes(), bytes);
    assert_eq!(TransferHeader::read(&bytes), Ok(header));
}

#[test]
fn numbers_and_names_of_paths() {
    let expected = [
        (1, "common buffer, cached", "common-cached"),
        (2, "common buffer, uncached", "common-uncached"),
        (3, "packet", "packet"),
        (4, "scatter/gather", "sg"),
        (5, "version 3", "v3"),
        (6, "PIO", "pio"),
        (7, "system DMA", "system"),
    ];
    let actual: Vec<_> =
        Path::ALL.iter().map(|path| (path.code(), path.title(), path.option())).collect();
    assert_eq!(actual, expected);
    for path in Path::ALL {
        assert_eq!(Path::try_from(path.code()), Ok(*path));
        assert_eq!(path.option().parse(), Ok(*path));
    }
    assert_eq!(Path::try_from(0), Err(UnknownCode(0)));
    assert_eq!(Path::try_from(8), Err(UnknownCode(8)));
    for name in ["", "SG", "pio ", "common"] {
        assert_eq!(name.parse::<Path>(), Err(UnknownName), "{name:?}");
    }
}

#[test]
fn numbers_of_the_other_kinds() {
    let codes: Vec<_> = DeviceKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(codes, [1, 2, 3]);
    let codes: Vec<_> = InterruptKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3]);
    let codes: Vec<_> = PioKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(codes, [0, 1, 2]);
    assert_eq!(
        [DeviceKind::Edu, DeviceKind::Exerciser, DeviceKind::Slave].map(DeviceKind::code),
        [1, 2, 3]
    );
}

#[test]
fn sets_of_paths() {
    let set: Paths = [Path::SystemDma, Path::CommonBufferCached].into_iter().collect();
    assert_eq!(set.bits(), 0b1000_0010);
    assert_eq!(set.iter().collect::<Vec<_>>(), [Path::CommonBufferCached, Path::SystemDma]);
    assert_eq!(set.without(Path::SystemDma).bits(), 0b10);
    assert!(set.contains(Path::SystemDma) && !set.contains(Path::Pio));
    assert_eq!(Path::ALL.iter().copied().collect::<Paths>(), Paths::ALL);
    assert_eq!(Paths::from_bits(0xFFFF_FF01).iter().count(), 0);
}

#[test]
fn requests_are_read_in_the_documented_order() {
    let good = QueryRequest::new();
    let read = |version: u32, reserved: u32, length: usize| {
        let mut bytes = VersionRequest { version, reserved }.as_bytes().to_vec();
        bytes.resize(length, 0);
        VersionRequest::read(&bytes)
    };
    assert_eq!(read(2, 0, 8), Ok(good));
    assert_eq!(read(3, 1, 7), Err(Refusal::HeaderTooShort));
    assert_eq!(read(2, 0, 0), Err(Refusal::HeaderTooShort));
    assert_eq!(read(3, 1, 9), Err(Refusal::WrongVersion));
    assert_eq!(read(0, 0, 8), Err(Refusal::WrongVersion));
    assert_eq!(read(2, 1, 9), Err(Refusal::HeaderTooLong));
    assert_eq!(read(2, 1, 8), Err(Refusal::ReservedSet));

    let header = TransferHeader::new(Path::Pio, 4, 4);
    let mut bytes = header.as_bytes().to_vec();
    assert_eq!(TransferHeader::read(&bytes[..31]), Err(Refusal::HeaderTooShort));
    bytes.push(0);
    assert_eq!(TransferHeader::read(&bytes), Err(Refusal::HeaderTooLong));
    bytes[0] = 3;
    assert_eq!(TransferHeader::read(&bytes), Err(Refusal::WrongVersion));
    // A caller's buffer may start anywhere.
    let mut shifted = vec![0u8];
    shifted.extend_from_slice(header.as_bytes());
    assert_eq!(TransferHeader::read(&shifted[1..]), Ok(header));
}

#[test]
fn limits_survive_the_journey_in_a_reply() {
    let limits = Limits {
        memory_length: 4095,
        transfer_length_max: 2048,
        paths: Paths::EMPTY.with(Path::Packet).with(Path::Pio),
        pio: PioWindow {
            kind: PioKind::Registers,
            alignment: 4,
            length: 8,
            writable_offset: 4,
            writable_length: 4,
        },
    };
    let reply = QueryReply::new(&limits);
    assert_eq!(reply.version, VERSION);
    let arrived = QueryReply::read_from_bytes(reply.as_bytes()).unwrap();
    assert_eq!(arrived, reply);
    assert_eq!(arrived.limits(), Ok(limits));

    let strange = QueryReply { pio: PioInfo { kind: 3, ..reply.pio }, ..reply };
    assert_eq!(strange.limits(), Err(UnknownCode(3)));
}

#[test]
fn each_count_has_its_own_place() {
    let mut statistics = Statistics::new();
    let mut number = 0;
    for path in Path::ALL {
        for direction in Direction::ALL {
            number += 1;
            *statistics.count_mut(*path, *direction) = Count { transfers: number, bytes: 1000 };
        }
    }
    // As 64-bit words: the version, then (transfers, bytes) to the device and from it, path by path.
    let words = <[u64]>::ref_from_bytes(statistics.as_bytes()).unwrap();
    for (index, pair) in words[1..29].chunks(2).enumerate() {
        assert_eq!(pair, [index as u64 + 1, 1000]);
    }
    assert_eq!(statistics.count(Path::Packet, Direction::FromDevice).transfers, 6);
    assert!(words[29..].iter().all(|word| *word == 0));
}

#[test]
fn statuses_are_those_of_windows() {
    let expected: [(u32, &str); 25] = [
        (0x0000_0000, "STATUS_SUCCESS"),
        (0xC000_0004, "STATUS_INFO_LENGTH_MISMATCH"),
        (0xC000_000D, "STATUS_INVALID_PARAMETER"),
        (0xC000_0010, "STATUS_INVALID_DEVICE_REQUEST"),
        (0xC000_0015, "STATUS_NONEXISTENT_SECTOR"),
        (0xC000_0022, "STATUS_ACCESS_DENIED"),
        (0xC000_0023, "STATUS_BUFFER_TOO_SMALL"),
        (0xC000_0059, "STATUS_REVISION_MISMATCH"),
        (0xC000_009A, "STATUS_INSUFFICIENT_RESOURCES"),
        (0xC000_009C, "STATUS_DEVICE_DATA_ERROR"),
        (0xC000_00A2, "STATUS_MEDIA_WRITE_PROTECTED"),
        (0xC000_00A3, "STATUS_DEVICE_NOT_READY"),
        (0xC000_00B5, "STATUS_IO_TIMEOUT"),
        (0xC000_00BB, "STATUS_NOT_SUPPORTED"),
        (0xC000_00C2, "STATUS_ADAPTER_HARDWARE_ERROR"),
        (0xC000_00F0, "STATUS_INVALID_PARAMETER_2"),
        (0xC000_00F2, "STATUS_INVALID_PARAMETER_4"),
        (0xC000_00F3, "STATUS_INVALID_PARAMETER_5"),
        (0xC000_0120, "STATUS_CANCELLED"),
        (0xC000_0184, "STATUS_INVALID_DEVICE_STATE"),
        (0xC000_0185, "STATUS_IO_DEVICE_ERROR"),
        (0xC000_0206, "STATUS_INVALID_BUFFER_SIZE"),
        (0xC000_02B6, "STATUS_DEVICE_REMOVED"),
        (0xC000_02C5, "STATUS_DATATYPE_MISALIGNMENT_ERROR"),
        (0xC000_0463, "STATUS_DEVICE_FEATURE_NOT_SUPPORTED"),
    ];
    let actual: Vec<_> =
        status::ALL.iter().map(|s| (*s as u32, status::describe(*s).unwrap().0)).collect();
    assert_eq!(actual, expected);
    assert_eq!(status::describe(0x103), None);
}

#[test]
fn each_refusal_has_a_described_status_of_its_own() {
    let mut statuses = Vec::new();
    for refusal in Refusal::ALL {
        // Error severity: a warning would let the I/O manager copy output to the caller.
        assert_eq!(refusal.status() as u32 >> 30, 3, "{refusal:?}");
        assert!(status::describe(refusal.status()).is_some(), "{refusal:?}");
        statuses.push(refusal.status());
    }
    statuses.sort_unstable();
    statuses.dedup();
    // The one pair that shares a status: a length unlike the buffer's, a length too long.
    assert_eq!(statuses.len(), Refusal::ALL.len() - 1);
    assert_eq!(Refusal::TooLong.status(), Refusal::LengthMismatch.status());
}
