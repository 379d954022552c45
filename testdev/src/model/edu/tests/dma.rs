//! Commands: data, time, registers while running, addresses, errors and the eras.

use super::*;

const DEVICE: u64 = BUFFER_ADDRESS;

fn ram_at(rig: &Rig, address: u64, length: usize) -> Vec<u8> {
    let start = (address - RAM) as usize;
    rig.bus.ram[start..start + length].to_vec()
}

#[test]
fn data_goes_both_ways_across_pages() {
    let mut rig = Rig::healthy();
    let original = ram_at(&rig, RAM + 0xf01, 4095);

    rig.transfer(to_device(), DEVICE, RAM + 0xf01, 4095);
    rig.transfer(from_device(), DEVICE, RAM + 0x2103, 4095);

    assert_eq!(rig.edu.memory()[..4095], original);
    assert_eq!(rig.edu.memory()[4095], 0);
    assert_eq!(ram_at(&rig, RAM + 0x2103, 4095), original);
    assert_eq!(rig.bus.ram[0x2102], pattern(0x2102));
    assert_eq!(rig.bus.ram[0x2103 + 4095], pattern(0x2103 + 4095));
    assert_eq!(rig.edu.commands(), 2);
    assert_eq!(rig.bus.accesses.len(), 2, "one bus access for each command");
}

#[test]
fn everything_happens_at_the_end_of_the_delay() {
    let mut rig = Rig::healthy();
    rig.start(to_device(), DEVICE + 5, RAM, 100);

    rig.advance(DMA_DELAY_NS - 1);
    assert!(rig.is_running());
    assert!(rig.bus.accesses.is_empty());
    rig.bus.ram[0] = 0xa5;
    rig.advance(1);

    assert_eq!(rig.read(DMA_COMMAND, 8), 0b100, "the other bits stay readable");
    assert_eq!(rig.edu.memory()[5], 0xa5);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
    assert!(rig.bus.line);
}

#[test]
fn no_interrupt_unless_asked_for() {
    let mut rig = Rig::healthy();

    rig.transfer(Command::start(Direction::FromDevice), DEVICE, RAM, 8);

    assert_eq!(rig.read(IRQ_STATUS, 4), 0);
    assert!(!rig.bus.line);
    assert_eq!(rig.read(DMA_COMMAND, 4), 0b010);
}

#[test]
fn command_without_run_is_ignored() {
    let mut rig = Rig::healthy();

    rig.write(DMA_COMMAND, 8, 0b110);

    assert_eq!(rig.read(DMA_COMMAND, 8), 0);
    assert_eq!(rig.bus.timer, None);
    assert_eq!(rig.edu.commands(), 0);
}

#[test]
fn running_command_cannot_be_changed_or_stopped() {
    let mut rig = Rig::healthy();
    rig.start(to_device(), DEVICE, RAM, 8);

    rig.advance(1_000);
    for offset in [DMA_SOURCE, DMA_DESTINATION, DMA_COUNT] {
        rig.write(offset, 8, 0x777);
    }
    rig.write(DMA_COMMAND, 8, 0);
    rig.write(DMA_COMMAND, 8, from_device().bits());

    assert_eq!(rig.read(DMA_SOURCE, 8), RAM);
    assert_eq!(rig.read(DMA_DESTINATION, 8), DEVICE);
    assert_eq!(rig.read(DMA_COUNT, 8), 8);
    assert_eq!(rig.read(DMA_COMMAND, 8), to_device().bits());
    assert_eq!(rig.edu.commands(), 1);
    assert_eq!(rig.bus.timer, Some(5_000 + DMA_DELAY_NS), "the deadline stays");
}

#[test]
fn host_address_is_masked_without_a_word() {
    let mut rig = Rig::healthy();
    rig.transfer(to_device(), DEVICE, RAM, 4);

    rig.transfer(from_device(), DEVICE, 0xabcd_1000_0000 + RAM + 0x2000, 4);

    assert_eq!(ram_at(&rig, RAM + 0x2000, 4), ram_at(&rig, RAM, 4));
    assert_eq!(rig.edu.bus_errors(), 0);
    assert_eq!(rig.read(DMA_DESTINATION, 8), 0xabcd_1010_2000, "the register keeps all bits");
}

#[test]
fn mask_can_be_changed_while_running() {
    let mut rig = Rig::healthy();
    rig.start(to_device(), DEVICE, 0x1_0000_0000 + RAM, 4);

    rig.edu.set_dma_mask(u64::MAX);
    rig.advance(DMA_DELAY_NS);

    assert_eq!(rig.bus.accesses[0].address, 0x1_0000_0000 + RAM);
    assert_eq!(rig.edu.bus_errors(), 1);
}

#[test]
fn failed_read_leaves_zeros_and_completes() {
    for error in [BusError::NotMaster, BusError::Miss, BusError::Permission] {
        let mut rig = Rig::healthy();
        rig.transfer(to_device(), DEVICE, RAM, 64);
        rig.write(IRQ_ACK, 4, u64::MAX);

        rig.bus.error = Some(error);
        rig.transfer(to_device(), DEVICE + 16, RAM, 16);

        assert_eq!(rig.edu.memory()[..16], rig.bus.ram[..16]);
        assert_eq!(rig.edu.memory()[16..32], [0; 16]);
        assert_eq!(rig.edu.memory()[32..64], rig.bus.ram[32..64]);
        assert_eq!(rig.edu.bus_errors(), 1);
        assert!(!rig.is_running());
        assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
    }
}

#[test]
fn failed_write_changes_nothing_and_completes() {
    let mut rig = Rig::healthy();
    let before = rig.bus.ram.clone();
    rig.bus.error = Some(BusError::NotMaster);

    rig.transfer(from_device(), DEVICE, RAM, 64);

    assert_eq!(rig.bus.ram, before);
    assert_eq!(rig.edu.bus_errors(), 1);
    assert!(!rig.is_running());
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
}

#[test]
fn unmapped_host_address_counts_as_a_failed_read() {
    let mut rig = Rig::new(EduConfig { dma_mask: u64::MAX, ..EduConfig::default() });

    rig.transfer(to_device(), DEVICE, u64::MAX - 3, 4095);

    assert_eq!(rig.edu.bus_errors(), 1);
    assert!(rig.edu.memory().iter().all(|&byte| byte == 0));
}

#[test]
fn old_eras_die_at_the_end_of_the_delay() {
    let fatal = [
        (Era::A0, DEVICE, 4096),
        (Era::A0, DEVICE + 1, 4095),
        (Era::A0, DEVICE + 0xfff, 1),
        (Era::A0, DEVICE, 0),
        (Era::A1, DEVICE, 0),
        (Era::A1, DEVICE, 4097),
        (Era::A1, RAM, 4),
    ];
    for (era, address, count) in fatal {
        let mut rig = Rig::of_era(era);
        rig.start(to_device(), address, RAM, count);
        rig.advance(DMA_DELAY_NS - 1);
        assert_eq!(rig.edu.killed(), None);
        rig.advance(1);

        let reason = rig.edu.killed().expect("dead");
        assert_eq!((reason.command, reason.device_address, reason.count), (1, address, count));
        assert_eq!((reason.direction, reason.era), (Direction::ToDevice, era));
        assert!(rig.bus.accesses.is_empty());
        assert_eq!(rig.read(ID, 4), 0xffff_ffff);
        assert_eq!(rig.read(DMA_COMMAND, 8), u64::MAX);
        rig.start(to_device(), DEVICE, RAM, 4);
        assert_eq!((rig.bus.timer, rig.edu.commands()), (None, 1));
    }
}

#[test]
fn what_old_eras_accept_works() {
    let fine = [
        (Era::A0, 0, 4095),
        (Era::A0, 1, 4094),
        (Era::A0, 0xffe, 1),
        (Era::A1, 0, 4096),
        (Era::A1, 1, 4095),
        (Era::A1, 0xfff, 1),
    ];
    for (era, offset, count) in fine {
        let mut rig = Rig::of_era(era);
        rig.transfer(to_device(), DEVICE + offset, RAM, count);

        assert_eq!(rig.edu.killed(), None);
        let (start, count) = (offset as usize, count as usize);
        assert_eq!(rig.edu.memory()[start..start + count], rig.bus.ram[..count]);
    }
}

#[test]
fn era_b_copies_past_the_end_and_the_model_does_not() {
    let mut rig = Rig::of_era(Era::B);
    rig.transfer(to_device(), DEVICE + 0xff0, RAM, 0x100);

    let reason = rig.edu.overran().expect("overran");
    assert_eq!((reason.command, reason.count), (1, 0x100));
    assert_eq!(rig.edu.memory()[0xff0..], rig.bus.ram[..0x10]);
    assert_eq!(rig.bus.accesses, [Access { write: false, address: RAM, length: 0x10 }]);
    assert!(!rig.is_running());
    assert_eq!(rig.edu.killed(), None);
    assert_eq!(rig.edu.skipped(), None);
}

#[test]
fn era_b_clamps_at_the_front_too() {
    let mut rig = Rig::of_era(Era::B);
    rig.transfer(from_device(), DEVICE - 4, RAM, 8);

    assert!(rig.edu.overran().is_some());
    assert_eq!(rig.bus.accesses, [Access { write: true, address: RAM + 4, length: 4 }]);
}

#[test]
fn nothing_to_copy_is_fine_from_era_b_on() {
    for era in [Era::B, Era::C] {
        let mut rig = Rig::of_era(era);
        rig.transfer(to_device(), DEVICE, RAM, 0);

        assert!(!rig.is_running());
        assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
        assert!(rig.bus.accesses.is_empty());
        assert_eq!(rig.edu.overran(), None);
        assert_eq!(rig.edu.skipped(), None);
    }
}

#[test]
fn era_c_skips_the_copy_and_completes() {
    let mut rig = Rig::healthy();

    rig.transfer(from_device(), DEVICE + 1, RAM, 4096);

    let reason = rig.edu.skipped().expect("skipped");
    assert_eq!((reason.direction, reason.count), (Direction::FromDevice, 4096));
    assert!(rig.bus.accesses.is_empty());
    assert!(!rig.is_running());
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
}

#[test]
fn whole_buffer_works_on_the_newest_era() {
    let mut rig = Rig::healthy();

    rig.transfer(to_device(), DEVICE, RAM, 4096);

    assert_eq!(rig.edu.memory()[..], rig.bus.ram[..4096]);
    assert_eq!(rig.edu.skipped(), None);
}

#[test]
fn only_the_device_side_is_checked() {
    let mut rig = Rig::healthy();

    rig.transfer(to_device(), RAM, DEVICE, 4);

    assert!(rig.edu.skipped().is_some());
    assert!(rig.bus.accesses.is_empty());
}
