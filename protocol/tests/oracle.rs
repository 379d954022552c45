//! The check against a second opinion that computes in 128 bits, where nothing can overflow.

use dmaproof_protocol::{
    Direction, Limits, Path, Paths, PioKind, PioWindow, TransferHeader, VersionRequest,
    check_read_write,
};
use proptest::prelude::*;

/// Whether the offset, length and path fit the device, in mathematics' integers.
fn fits(path: Path, direction: Direction, offset: i128, length: u64, device: &Limits) -> bool {
    let length = i128::from(length);
    let pio = &device.pio;
    let window = if path == Path::Pio { pio.length } else { device.memory_length };
    let inside = |start: i128, size: i128| offset >= start && offset + length <= start + size;

    let basics = device.paths.iter().any(|available| available == path)
        && length > 0
        && length <= i128::from(device.transfer_length_max)
        && inside(0, i128::from(window));
    if path != Path::Pio {
        return basics;
    }
    let unit = i128::from(pio.alignment.max(1));
    let writable = inside(i128::from(pio.writable_offset), i128::from(pio.writable_length));
    basics
        && pio.kind != PioKind::None
        && offset % unit == 0
        && length % unit == 0
        && (direction == Direction::FromDevice || writable)
}

fn header_fits(
    header: &TransferHeader,
    direction: Direction,
    buffer_length: u64,
    device: &Limits,
) -> bool {
    header.version == 2
        && (1..=7).contains(&header.path)
        && header.flags == 0
        && header.reserved == 0
        && header.length == buffer_length
        && Path::ALL.iter().any(|path| {
            path.code() == header.path
                && fits(*path, direction, i128::from(header.offset), header.length, device)
        })
}

/// Numbers from where decisions are made: small, around the ends of the types, anywhere.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0..40u64,
        1 => (0..40u64).prop_map(|distance| u64::MAX - distance),
        1 => (0..40u64).prop_map(|distance| (1 << 32) - 20 + distance),
        1 => (0..40u64).prop_map(|distance| (1 << 63) - 20 + distance),
        1 => any::<u64>(),
    ]
}

/// Mostly the right value.
fn mostly(value: u32) -> impl Strategy<Value = u32> {
    prop_oneof![12 => Just(value), 1 => any::<u32>()]
}

fn limits() -> impl Strategy<Value = Limits> {
    let pio = (
        proptest::sample::select(PioKind::ALL),
        prop_oneof![Just(0), Just(1), Just(2), Just(4), Just(3), any::<u32>()],
        number(),
        number(),
        number(),
    );
    let pio = pio.prop_map(|(kind, alignment, length, writable_offset, writable_length)| {
        PioWindow { kind, alignment, length, writable_offset, writable_length }
    });
    (number(), number(), prop_oneof![4 => Just(0xFE), 1 => any::<u32>()], pio).prop_map(
        |(memory_length, transfer_length_max, paths, pio)| Limits {
            memory_length,
            transfer_length_max,
            paths: Paths::from_bits(paths),
            pio,
        },
    )
}

fn header() -> impl Strategy<Value = TransferHeader> {
    let path = prop_oneof![4 => 0..9u32, 3 => Just(6), 1 => any::<u32>()];
    (mostly(2), path, number(), number(), mostly(0), mostly(0)).prop_map(
        |(version, path, offset, length, flags, reserved)| TransferHeader {
            version,
            path,
            offset,
            length,
            flags,
            reserved,
        },
    )
}

fn direction() -> impl Strategy<Value = Direction> {
    proptest::sample::select(Direction::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn check_accepts_what_the_oracle_accepts(
        header in header(),
        direction in direction(),
        device in limits(),
        other_length in prop_oneof![12 => Just(None), 1 => number().prop_map(Some)],
    ) {
        let buffer_length = other_length.unwrap_or(header.length);
        let outcome = header.check(direction, buffer_length, &device);
        let expected = header_fits(&header, direction, buffer_length, &device);
        prop_assert_eq!(outcome.is_ok(), expected, "{:?}", outcome);
        if let Ok(transfer) = outcome {
            prop_assert_eq!(transfer.path().code(), header.path);
            prop_assert_eq!(transfer.direction(), direction);
            prop_assert_eq!(transfer.offset(), header.offset);
            prop_assert_eq!(transfer.length(), header.length);
            let end = u128::from(header.offset) + u128::from(header.length);
            prop_assert_eq!(u128::from(transfer.end()), end);
        }
    }

    #[test]
    fn check_read_write_accepts_what_the_oracle_accepts(
        offset in number(),
        length in number(),
        direction in direction(),
        device in limits(),
    ) {
        let offset = offset.cast_signed();
        let outcome = check_read_write(direction, offset, length, &device);
        let expected = fits(Path::Packet, direction, i128::from(offset), length, &device);
        prop_assert_eq!(outcome.is_ok(), expected, "{:?}", outcome);
    }

    #[test]
    fn any_bytes_can_be_read(
        version in prop_oneof![Just(vec![]), Just(vec![2, 0, 0, 0])],
        rest in proptest::collection::vec(prop_oneof![7 => Just(0), 1 => any::<u8>()], 0..36),
    ) {
        let bytes = [version, rest].concat();
        let starts_right = bytes.starts_with(&[2, 0, 0, 0]);
        let header = TransferHeader::read(&bytes);
        prop_assert_eq!(header.is_ok(), starts_right && bytes.len() == 32);
        let request = VersionRequest::read(&bytes);
        prop_assert_eq!(request.is_ok(), bytes == [2, 0, 0, 0, 0, 0, 0, 0]);
    }
}

/// The strategies above reach both answers often enough to mean something.
#[test]
fn the_generated_requests_are_neither_all_good_nor_all_bad() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (header(), direction(), limits());
    let mut accepted = [0u32; 2];
    for _ in 0..20_000 {
        let tree = strategy.new_tree(&mut runner).unwrap();
        let (header, direction, device) = proptest::strategy::ValueTree::current(&tree);
        if header.check(direction, header.length, &device).is_ok() {
            accepted[usize::from(header.path == Path::Pio.code())] += 1;
        }
    }
    assert!(accepted[0] > 500, "DMA requests accepted: {}", accepted[0]);
    assert!(accepted[1] > 50, "PIO requests accepted: {}", accepted[1]);
}
