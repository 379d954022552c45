//! Each command, with the widths, lists and errors it can have.

use super::*;
use crate::exerciser::pattern;

/// The CRC-32C of `data`, a bit at a time.
fn crc_32c(data: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 };
    !data.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// A list in host memory, as an element that names it.
fn list(rig: &mut Rig, at: u64, elements: &[Element]) -> Element {
    let bytes = elements.as_bytes();
    rig.ram(at, bytes.len()).copy_from_slice(bytes);
    Element::new(at, bytes.len() as u32)
}

#[test]
fn data_goes_to_the_device_and_back() {
    for length in [1u32, 2, 3, 4, 7, 8, 63, 64, 65, 4095, 4096, 4097, 0x2_0001] {
        let mut rig = Rig::healthy();
        let source = rig.ram(DATA + 3, length as usize).to_vec();
        let offset = MEMORY_LENGTH - u64::from(length);

        let there = rig.done(command(Opcode::ToDevice, DATA + 3, offset, length));
        let back = rig.done(command(Opcode::FromDevice, DATA + 0x5_0001, offset, length));

        assert_eq!((there.bytes, back.bytes), (length.into(), length.into()));
        assert_eq!(rig.card(offset, length as usize), source);
        assert_eq!(rig.ram(DATA + 0x5_0001, length as usize), source);
        assert_eq!(rig.bus.messages, [0, 0]);
    }
}

#[test]
fn data_is_moved_in_bulk() {
    let mut rig = Rig::healthy();

    rig.done(command(Opcode::ToDevice, DATA, 0, 0x1_0000));

    let data: Vec<_> = rig.bus.accesses.iter().filter(|access| access.length > 64).collect();
    assert_eq!(data.len(), 1);
    assert_eq!(data[0].length, 0x1_0000);
}

#[test]
fn inline_lists_have_two_elements() {
    let mut rig = Rig::healthy();
    let mut both = command(Opcode::ToDevice, DATA, 0, 10);
    both.count = 2;
    both.elements = [Element::new(DATA + 100, 4), Element::new(DATA, 6)];

    rig.done(both);

    let expected = [rig.ram(DATA + 100, 4).to_vec(), rig.ram(DATA, 6).to_vec()].concat();
    assert_eq!(rig.card(0, 10), expected);
}

#[test]
fn lists_elsewhere_have_up_to_256_elements() {
    for count in [1u16, 2, 3, 255, 256] {
        let mut rig = Rig::healthy();
        let elements: Vec<_> =
            (0..u64::from(count)).map(|i| Element::new(DATA + i * 512 + i % 7, 100)).collect();
        let mut expected = vec![];
        for element in &elements {
            expected.extend_from_slice(rig.ram(element.address, 100));
        }
        let mut scattered = command(Opcode::ToDevice, 0, 0, 100 * u32::from(count));
        scattered.flags = FLAG_INDIRECT;
        scattered.count = count;
        scattered.elements[0] = list(&mut rig, LISTS, &elements);

        rig.done(scattered);

        assert_eq!(rig.card(0, expected.len()), expected);
    }
}

#[test]
fn copy_goes_from_list_to_list() {
    let mut rig = Rig::healthy();
    let source = rig.ram(DATA, 200_000).to_vec();
    let parts = [Element::new(DATA + 0x8_0001, 70_000), Element::new(DATA + 0x6_0000, 130_000)];
    let mut copy = command(Opcode::Copy, DATA, 0, 200_000);
    copy.flags = FLAG_INDIRECT;
    copy.target_count = 2;
    copy.elements[0] = list(&mut rig, LISTS, &[Element::new(DATA, 200_000)]);
    copy.elements[1] = list(&mut rig, LISTS + 64, &parts);

    rig.done(copy);

    assert_eq!(rig.ram(DATA + 0x8_0001, 70_000), &source[..70_000]);
    assert_eq!(rig.ram(DATA + 0x6_0000, 130_000), &source[70_000..]);
    assert_eq!(rig.device.resident(), 0, "on-card memory is not touched");
}

#[test]
fn inline_copy_has_one_element_each() {
    let mut rig = Rig::healthy();
    let mut copy = command(Opcode::Copy, DATA, 0, 33);
    copy.target_count = 1;
    copy.elements[1] = Element::new(DATA + 500, 33);

    rig.done(copy);

    let source = rig.ram(DATA, 33).to_vec();
    assert_eq!(rig.ram(DATA + 500, 33), source);
}

#[test]
fn fill_and_check_agree_on_the_pattern() {
    for (offset, length) in [(0, 1u32), (5, 13), (0xFFFE, 4), (0, 0x3_0000)] {
        let mut rig = Rig::healthy();
        let mut expected = vec![0; length as usize];
        pattern::fill(9, 0, &mut expected);

        rig.done(on_card(Opcode::Fill, 9, offset, length));
        let checked = rig.done(on_card(Opcode::Check, 9, offset, length));

        assert_eq!(rig.card(offset, length as usize), expected);
        assert_eq!(checked.detail, NO_POSITION);
        assert_eq!(checked.crc, crc_32c(&expected));
        assert_eq!(checked.bytes, length.into());
    }
}

#[test]
fn check_finds_the_first_bad_byte() {
    let mut rig = Rig::healthy();
    rig.done(on_card(Opcode::Fill, 9, 100, 0x2_0000));
    for at in [100, 0x1_0000, 0x2_0063] {
        rig.device.write(&mut rig.bus, WINDOW_BAR, at & 0xFFFF, 1, 0);
        rig.write(WINDOW_BASE, 0);
    }
    // The byte at 100 is the first of the pattern.
    let mut expected = rig.card(100, 0x2_0000);

    let checked = rig.run(on_card(Opcode::Check, 9, 100, 0x2_0000));

    assert_eq!(status(&checked), Status::Mismatch);
    assert_eq!(checked.crc, crc_32c(&expected));
    let mut right = vec![0; expected.len()];
    pattern::fill(9, 0, &mut right);
    let first = expected.iter().zip(&right).position(|(a, b)| a != b).expect("a byte differs");
    assert_eq!(checked.detail, first as u64);
    expected.clear();
}

#[test]
fn fill_and_check_work_on_host_memory() {
    let mut rig = Rig::healthy();
    let mut fill = command(Opcode::Fill, DATA + 1, 0, 100_000);
    fill.flags = FLAG_HOST;
    fill.seed = 4;
    let check = Command { opcode: Opcode::Check.code(), ..fill };

    rig.done(fill);
    rig.done(check);
    rig.ram(DATA + 1, 100_000)[66_000] ^= 4;
    let bad = rig.run(check);

    assert_eq!((status(&bad), bad.detail), (Status::Mismatch, 66_000));
    assert_eq!(bad.crc, crc_32c(rig.ram(DATA + 1, 100_000)));
    assert_eq!(rig.device.resident(), 0);
}

#[test]
fn nothing_completes() {
    let mut rig = Rig::healthy();
    let nothing = Command { opcode: Opcode::Nothing.code(), tag: 5, ..Command::default() };

    assert_eq!(rig.done(nothing).bytes, 0);
}

#[test]
fn bad_commands_are_refused_by_name() {
    let good = command(Opcode::ToDevice, DATA, 0, 64);
    let fill = on_card(Opcode::Fill, 1, 0, 64);
    let indirect = |address, length, count| Command {
        flags: FLAG_INDIRECT,
        count,
        elements: [Element::new(address, length), Element::default()],
        ..good
    };
    let cases = [
        (Command { opcode: 0, ..good }, Status::BadOpcode),
        (Command { opcode: 7, ..good }, Status::BadOpcode),
        (Command { flags: 4, ..good }, Status::BadField),
        (Command { flags: FLAG_HOST, ..good }, Status::BadField),
        (Command { reserved: 1, ..good }, Status::BadField),
        (Command { length: 0, ..good }, Status::BadField),
        (Command { target_count: 1, ..good }, Status::BadField),
        (Command { count: 1, ..fill }, Status::BadField),
        (Command { flags: FLAG_INDIRECT, ..fill }, Status::BadField),
        (Command { opcode: Opcode::Nothing.code(), ..fill }, Status::BadField),
        (Command { card_offset: MEMORY_LENGTH - 63, ..good }, Status::BadRange),
        (Command { card_offset: u64::MAX, ..good }, Status::BadRange),
        (Command { count: 0, ..good }, Status::BadList),
        (Command { count: 3, ..good }, Status::BadList),
        (Command { length: 65, ..good }, Status::BadList),
        (Command { opcode: Opcode::Copy.code(), ..good }, Status::BadList),
        (indirect(LISTS, 16 * 257, 257), Status::BadList),
        (indirect(LISTS, 17, 1), Status::BadList),
        (indirect(LISTS + 8, 16, 1), Status::BadList),
        (indirect(LISTS, 0, 0), Status::BadList),
        (indirect(0x40, 16, 1), Status::BusMiss),
    ];
    for (bad, expected) in cases {
        let mut rig = Rig::healthy();

        let refused = rig.run(bad);

        assert_eq!(status(&refused), expected, "{bad:?}");
        assert_eq!(refused.bytes, 0);
        assert_eq!(rig.device.resident(), 0, "a refused command changes nothing");
        rig.done(good);
    }
}

#[test]
fn elements_with_nonsense_are_refused() {
    for element in [
        Element::new(DATA, 0),
        Element { reserved: 1, ..Element::new(DATA, 32) },
        Element::new(u64::MAX - 8, 32),
    ] {
        let mut rig = Rig::healthy();
        let mut bad = command(Opcode::ToDevice, DATA, 0, 32 + element.length);
        bad.count = 2;
        bad.elements = [Element::new(DATA, 32), element];

        assert_eq!(status(&rig.run(bad)), Status::BadList, "{element:?}");
    }
}

#[test]
fn bus_errors_name_the_address_and_what_was_moved() {
    let mut rig = Rig::healthy();
    let end = RAM + RAM_LENGTH as u64;
    for opcode in [Opcode::ToDevice, Opcode::FromDevice] {
        let mut bad = command(opcode, DATA, 0, 100);
        bad.count = 2;
        bad.elements = [Element::new(DATA, 60), Element::new(end - 10, 40)];

        let failed = rig.run(bad);

        assert_eq!(status(&failed), Status::BusMiss);
        assert_eq!((failed.bytes, failed.detail), (60, end - 10));
        assert_eq!(rig.read64(FAULT_ADDRESS), end - 10);
    }
    assert_eq!(rig.read64(BUS_ERRORS), 2);
    rig.done(command(Opcode::ToDevice, DATA, 0, 100));
}
