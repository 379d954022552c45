//! Each fault does what its documentation says, and nothing before its turn.

use super::*;

const DEVICE: u64 = BUFFER_ADDRESS;
const SECOND: u64 = 1_000_000_000;

#[test]
fn hung_command_never_finishes() {
    let mut rig = Rig::faulty(EduFaults { hang_at: Some(2), ..EduFaults::default() });
    rig.transfer(to_device(), DEVICE, RAM, 16);
    rig.write(IRQ_ACK, 4, 0x100);

    rig.start(to_device(), DEVICE, RAM + 64, 16);
    rig.advance(3600 * SECOND);

    assert!(rig.is_running());
    assert_eq!(rig.read(IRQ_STATUS, 4), 0);
    assert_eq!(rig.bus.accesses.len(), 1);
    rig.write(FACTORIAL, 4, 3);
    rig.advance(1_000);
    assert_eq!(rig.read(FACTORIAL, 4), 6, "the rest of the device lives");
}

#[test]
fn hung_command_may_finish_late() {
    let faults =
        EduFaults { hang_at: Some(1), hang_duration_ns: Some(SECOND), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);
    rig.start(to_device(), DEVICE, RAM, 16);

    rig.advance(SECOND - 1);
    assert!(rig.is_running());
    rig.advance(1);

    assert!(!rig.is_running());
    assert_eq!(rig.edu.memory()[..16], rig.bus.ram[..16]);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
}

#[test]
fn removed_device_gives_all_ones_and_stops() {
    let faults = EduFaults { all_ones_at: Some(7), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);
    rig.write(IRQ_RAISE, 4, 1);
    rig.start(from_device(), DEVICE, RAM, 16);
    assert!(is_edu(rig.read(ID, 4) as u32), "access 6");
    assert!(rig.bus.line);

    assert_eq!(rig.read(ID, 4), 0xffff_ffff);
    rig.write(IRQ_RAISE, 4, 2);
    rig.advance(SECOND);

    assert_eq!(rig.read(IRQ_STATUS, 4), 0xffff_ffff);
    assert_eq!(rig.edu.irq_status(), 1);
    assert!(!rig.bus.line);
    assert!(rig.bus.accesses.is_empty());
    assert_eq!(rig.bus.timer, None);
    assert_eq!(rig.edu.killed(), None);
}

#[test]
fn write_can_be_the_access_that_finds_the_device_gone() {
    let mut rig = Rig::faulty(EduFaults { all_ones_at: Some(1), ..EduFaults::default() });

    rig.write(IRQ_RAISE, 4, 1);

    assert!(!rig.bus.line);
    assert_eq!(rig.edu.irq_status(), 0);
}

#[test]
fn garbage_is_repeatable_and_leaves_dma_alone() {
    let values = [7, 7, 8].map(|garbage_seed| {
        let faults = EduFaults { garbage_at: Some(2), garbage_seed, ..EduFaults::default() };
        let mut rig = Rig::faulty(faults);
        assert!(is_edu(rig.read(ID, 4) as u32), "read 1");
        let values = [rig.read(ID, 4), rig.read(ID, 4), rig.read(DMA_COUNT, 8)];
        assert!(values[0] <= 0xffff_ffff && values[0] != values[1]);

        rig.transfer(to_device(), DEVICE, RAM, 16);

        assert_eq!(rig.edu.memory()[..16], rig.bus.ram[..16]);
        assert_eq!(rig.edu.irq_status(), IRQ_DMA);
        values
    });
    assert_eq!(values[0], values[1]);
    assert_ne!(values[0], values[2]);
}

#[test]
fn lost_interrupt_leaves_no_cause_either() {
    let mut rig = Rig::faulty(EduFaults { lost_interrupt_at: Some(1), ..EduFaults::default() });

    rig.transfer(to_device(), DEVICE, RAM, 16);
    assert!(!rig.is_running());
    assert_eq!(rig.edu.memory()[..16], rig.bus.ram[..16]);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0);
    assert!(!rig.bus.line);
    rig.transfer(to_device(), DEVICE, RAM, 16);

    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100, "only that one is lost");
}

#[test]
fn spurious_message_follows_each_completion() {
    let mut rig = Rig::faulty(EduFaults { spurious_interrupts: true, ..EduFaults::default() });
    rig.bus.msi = true;

    rig.transfer(to_device(), DEVICE, RAM, 16);

    assert_eq!(rig.bus.messages, [0, 0]);
    assert!(!rig.bus.line);
}

#[test]
fn spurious_level_lasts_until_no_cause_was_read() {
    let mut rig = Rig::faulty(EduFaults { spurious_interrupts: true, ..EduFaults::default() });
    rig.transfer(to_device(), DEVICE, RAM, 16);

    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
    rig.write(IRQ_ACK, 4, 0x100);
    assert!(rig.bus.line, "the ISR is called again");
    assert_eq!(rig.read(IRQ_STATUS, 4), 0, "and finds nothing");

    assert!(!rig.bus.line);
}

#[test]
fn corrupt_byte_arrives_flipped_in_the_device() {
    let faults = EduFaults { corrupt_byte_at: Some((1, 3)), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);

    rig.transfer(to_device(), DEVICE + 8, RAM, 16);

    let mut expected = rig.bus.ram[..16].to_vec();
    expected[3] ^= 1;
    assert_eq!(rig.edu.memory()[8..24], expected);
    rig.transfer(to_device(), DEVICE + 8, RAM, 16);
    assert_eq!(rig.edu.memory()[8..24], rig.bus.ram[..16], "only that one is corrupt");
}

#[test]
fn corrupt_byte_arrives_flipped_in_memory() {
    let faults = EduFaults { corrupt_byte_at: Some((2, 15)), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);
    rig.transfer(to_device(), DEVICE, RAM, 16);

    rig.transfer(from_device(), DEVICE, RAM + 64, 16);

    let mut expected = rig.bus.ram[..16].to_vec();
    assert_eq!(rig.edu.memory()[..16], expected, "the device's own copy is sound");
    expected[15] ^= 1;
    assert_eq!(rig.bus.ram[64..80], expected);
}

#[test]
fn corrupt_byte_beyond_the_transfer_is_nothing() {
    let faults = EduFaults { corrupt_byte_at: Some((1, 16)), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);

    rig.transfer(to_device(), DEVICE, RAM, 16);

    assert_eq!(rig.edu.memory()[..16], rig.bus.ram[..16]);
    assert_eq!(rig.edu.memory()[16], 0);
}

#[test]
fn stray_write_hits_its_address_once() {
    let stray_write = Some((2, RAM + 0x3000));
    let mut rig = Rig::faulty(EduFaults { stray_write, ..EduFaults::default() });
    rig.transfer(to_device(), DEVICE, RAM, 16);
    assert_eq!(rig.bus.accesses.len(), 1);

    rig.transfer(to_device(), DEVICE, RAM, 16);

    assert_eq!(rig.bus.ram[0x3000..0x3004], [0xef, 0xbe, 0xad, 0xde]);
    rig.transfer(to_device(), DEVICE, RAM, 16);
    assert_eq!(rig.bus.accesses.iter().filter(|access| access.write).count(), 1);
}

#[test]
fn stray_write_is_neither_masked_nor_hidden() {
    let stray_write = Some((1, 0xf000_0000_0000));
    let mut rig = Rig::faulty(EduFaults { stray_write, ..EduFaults::default() });

    rig.transfer(to_device(), DEVICE, RAM, 16);

    let expected = Access { write: true, address: 0xf000_0000_0000, length: 4 };
    assert_eq!(rig.bus.accesses.last(), Some(&expected));
    assert_eq!(rig.edu.bus_errors(), 1);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
}

#[test]
fn late_write_repeats_old_data_after_completion() {
    let faults =
        EduFaults { late_write_at: Some(1), late_write_ns: Some(700), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);
    rig.transfer(to_device(), DEVICE, RAM, 16);
    rig.transfer(from_device(), DEVICE, RAM + 64, 16);
    assert!(!rig.is_running());
    assert_eq!(rig.bus.ram[64..80], rig.bus.ram[..16]);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x100);
    rig.bus.ram[64..80].fill(0x55);

    rig.advance(699);
    assert_eq!(rig.bus.ram[64..80], [0x55; 16]);
    rig.advance(1);

    assert_eq!(rig.bus.ram[64..80], rig.bus.ram[..16]);
    assert_eq!(rig.bus.timer, None);
}

#[test]
fn late_write_keeps_its_data_while_the_next_command_runs() {
    let late = DMA_DELAY_NS + 1;
    let faults =
        EduFaults { late_write_at: Some(1), late_write_ns: Some(late), ..EduFaults::default() };
    let mut rig = Rig::faulty(faults);
    rig.transfer(from_device(), DEVICE, RAM, 16);
    rig.bus.ram[..16].fill(0x55);

    rig.transfer(to_device(), DEVICE, RAM + 64, 16);
    rig.advance(1);

    assert_eq!(rig.bus.ram[..16], [0; 16], "what the device held then");
}
