//! Identity, access widths, and every register outside DMA.

use super::*;

#[test]
fn identity_is_what_qemu_shows() {
    let identity = Edu::default().identity();

    assert_eq!((identity.vendor, identity.device), (0x1234, 0x11e8));
    assert_eq!((identity.subsystem_vendor, identity.subsystem), (0x1af4, 0x1100));
    assert_eq!((identity.revision, identity.class), (0x10, 0x00ff00));
    assert_eq!(identity.interrupt_pin, 1);
    let bar = identity.bars[0].expect("BAR 0");
    assert_eq!((bar.size, bar.bits64, bar.prefetchable), (1 << 20, false, false));
    assert!(identity.bars[1..].iter().all(Option::is_none));
    assert_eq!((identity.msi_messages, identity.msi64, identity.msix_messages), (1, true, 0));
}

#[test]
fn low_registers_take_four_bytes_only() {
    let mut rig = Rig::healthy();
    assert_eq!(rig.read(ID, 4), 0x0100_00ed);
    assert_eq!(rig.read(ID, 8), u64::MAX);
    assert_eq!(rig.read(ID, 2), 0xffff);
    assert_eq!(rig.read(ID, 1), 0xff);

    rig.write(LIVENESS, 4, 0x1234_5678);
    for size in [1, 2, 8] {
        rig.write(LIVENESS, size, 0);
        rig.write(IRQ_RAISE, size, 1);
    }

    assert_eq!(rig.read(LIVENESS, 4), u64::from(!0x1234_5678_u32));
    assert_eq!(rig.read(IRQ_STATUS, 4), 0);
}

#[test]
fn dma_registers_take_four_or_eight_bytes() {
    let mut rig = Rig::healthy();
    for offset in [DMA_SOURCE, DMA_DESTINATION, DMA_COUNT] {
        rig.write(offset, 8, 0x1122_3344_5566_7788);

        assert_eq!(rig.read(offset, 8), 0x1122_3344_5566_7788);
        assert_eq!(rig.read(offset, 4), 0x5566_7788);
        assert_eq!(rig.read(offset, 2), 0xffff);
        rig.write(offset, 2, 0);
        rig.write(offset, 1, 0);
        assert_eq!(rig.read(offset, 8), 0x1122_3344_5566_7788);
    }
}

#[test]
fn four_byte_write_clears_the_upper_half() {
    let mut rig = Rig::healthy();
    rig.write(DMA_SOURCE, 8, u64::MAX);

    rig.write(DMA_SOURCE, 4, 0xffff_ffff_0000_1000);

    assert_eq!(rig.read(DMA_SOURCE, 8), 0x1000);
}

#[test]
fn there_are_no_upper_half_registers() {
    let mut rig = Rig::healthy();
    for offset in [0x84, 0x8c, 0x94, 0x9c] {
        rig.write(offset, 4, 7);
        assert_eq!(rig.read(offset, 4), 0xffff_ffff);
        assert_eq!(rig.read(offset, 8), u64::MAX);
    }
    for offset in [DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND] {
        assert_eq!(rig.read(offset, 8), 0);
    }
}

#[test]
fn unclaimed_offsets_read_all_ones() {
    let mut rig = Rig::healthy();
    let offsets =
        [0x0c, 0x21, 0x60, 0x64, 0xa0, BUFFER_ADDRESS, BUFFER_ADDRESS + 8, BAR_SIZE, u64::MAX];
    for offset in offsets {
        rig.write(offset & !7, 4, 0);
        assert_eq!(rig.read(offset, 4), 0xffff_ffff, "{offset:#x}");
    }
    assert_eq!(rig.edu.read(&mut rig.bus, 1, ID, 4), 0xffff_ffff);
    assert_eq!(rig.edu.memory(), &[0; 4096]);
}

#[test]
fn read_only_registers_ignore_writes() {
    let mut rig = Rig::healthy();

    rig.write(ID, 4, 1);
    rig.write(IRQ_STATUS, 4, 0x100);

    assert!(is_edu(rig.read(ID, 4) as u32));
    assert_eq!(rig.read(IRQ_STATUS, 4), 0);
}

#[test]
fn status_lets_only_bit_seven_be_written() {
    let mut rig = Rig::healthy();

    rig.write(STATUS, 4, 0xffff_ffff);
    assert_eq!(rig.read(STATUS, 4), 0x80);
    rig.write(STATUS, 4, 0x01);
    assert_eq!(rig.read(STATUS, 4), 0);
}

#[test]
fn factorial_takes_its_time() {
    let mut rig = Rig::healthy();

    rig.write(FACTORIAL, 4, 10);
    assert_eq!(rig.read(STATUS, 4), 0x01);
    assert_eq!(rig.read(FACTORIAL, 4), 10);
    rig.advance(999);
    assert_eq!(rig.read(STATUS, 4), 0x01);
    rig.advance(1);

    assert_eq!(rig.read(STATUS, 4), 0);
    assert_eq!(rig.read(FACTORIAL, 4), 3_628_800);
    assert!(!rig.bus.line);
}

#[test]
fn factorial_ignores_a_second_number_while_computing() {
    let mut rig = Rig::healthy();
    rig.write(FACTORIAL, 4, 5);
    rig.advance(500);

    rig.write(FACTORIAL, 4, 6);
    rig.advance(500);

    assert_eq!(rig.read(FACTORIAL, 4), 120);
    assert_eq!(rig.bus.timer, None);
}

#[test]
fn factorial_interrupt_may_be_asked_for_while_computing() {
    let mut rig = Rig::healthy();
    rig.write(FACTORIAL, 4, 3);
    rig.write(STATUS, 4, u64::from(STATUS_FACTORIAL_IRQ));
    assert_eq!(rig.read(STATUS, 4), 0x81);

    rig.advance(1_000);

    assert_eq!(rig.read(STATUS, 4), 0x80);
    assert_eq!(rig.read(IRQ_STATUS, 4), u64::from(IRQ_FACTORIAL));
    assert!(rig.bus.line);
}

#[test]
fn one_timer_serves_factorial_and_dma() {
    let mut rig = Rig::healthy();
    rig.start(to_device(), BUFFER_ADDRESS, RAM, 16);
    assert_eq!(rig.bus.timer, Some(5_000 + DMA_DELAY_NS));

    rig.write(FACTORIAL, 4, 4);
    assert_eq!(rig.bus.timer, Some(6_000));
    rig.advance(1_000);
    assert_eq!(rig.read(FACTORIAL, 4), 24);
    assert_eq!(rig.bus.timer, Some(5_000 + DMA_DELAY_NS));
    assert!(rig.is_running());
    rig.advance(DMA_DELAY_NS);

    assert!(!rig.is_running());
    assert_eq!(rig.bus.timer, None);
}

#[test]
fn timer_follows_the_command_when_it_ends_before_the_factorial() {
    let mut rig = Rig::healthy();
    rig.start(to_device(), BUFFER_ADDRESS, RAM, 16);
    rig.advance(DMA_DELAY_NS - 400);

    rig.write(FACTORIAL, 4, 4);
    assert_eq!(rig.bus.timer, Some(5_000 + DMA_DELAY_NS));
    rig.advance(400);

    assert!(!rig.is_running());
    assert_eq!(rig.read(STATUS, 4), u64::from(STATUS_COMPUTING));
    assert_eq!(rig.bus.timer, Some(5_600 + DMA_DELAY_NS));
}

#[test]
fn early_and_late_timer_calls_are_harmless() {
    let mut rig = Rig::healthy();
    rig.start(to_device(), BUFFER_ADDRESS, RAM, 16);
    rig.write(FACTORIAL, 4, 4);

    rig.edu.on_timer(&mut rig.bus);
    assert!(rig.is_running());
    assert_eq!(rig.bus.timer, Some(6_000));
    rig.bus.now += 2 * DMA_DELAY_NS;
    rig.edu.on_timer(&mut rig.bus);

    assert!(!rig.is_running());
    assert_eq!(rig.read(FACTORIAL, 4), 24);
    assert_eq!(rig.bus.timer, None);
}

#[test]
fn a_test_finds_the_model_behind_the_trait() {
    let mut device: std::boxed::Box<dyn Device> = std::boxed::Box::new(Edu::default());

    let edu = device.as_any().downcast_ref::<Edu>();

    assert_eq!(edu.map(Edu::commands), Some(0));
}

#[test]
fn debug_output_leaves_the_memory_out() {
    let text = std::format!("{:?}", Edu::default());

    assert!(text.contains("irq_status: 0"));
    assert!(text.len() < 2_000);
}
