//! Each fault does what the manual says, when its turn comes and not before.

use super::*;

const OTHER: u64 = DATA + 0x1000;

/// From-device, after the memory has been filled with a pattern.
fn rig_with(fault: Fault) -> (Rig, Vec<u8>) {
    let mut rig = Rig::healthy();
    rig.done(on_card(Opcode::Fill, 3, 0, 4096));
    rig.bus.messages.clear();
    let memory = rig.card(0, 256);
    rig.device.inject(0, Some(fault));
    rig.ram(DATA, 256).fill(0x55);
    (rig, memory)
}

fn from_device() -> Command {
    command(Opcode::FromDevice, DATA, 0, 256)
}

/// The next command is as it should be.
fn works_again(rig: &mut Rig, memory: &[u8]) {
    rig.ram(OTHER, 256).fill(0);
    let after = rig.done(command(Opcode::FromDevice, OTHER, 0, 256));
    assert_eq!(after.bytes, 256);
    assert_eq!(rig.ram(OTHER, 256), memory);
    assert_eq!(rig.device.fired(0), 1);
}

#[test]
fn faults_wait_for_their_turn_and_their_queue() {
    let fault = Fault { queues: 0b10, ..Fault::new(FaultKind::FailedCommand, 0).after(1).times(2) };
    let mut rig = Rig::faulty(fault);
    let mut outcomes = vec![];
    for _ in 0..5 {
        for queue in [0, 1] {
            rig.submit(queue, on_card(Opcode::Fill, 1, 0, 8));
            rig.advance(10_000);
            outcomes.push((queue, status(&rig.drain(queue)[0]) == Status::Done));
        }
    }

    assert!(outcomes.iter().all(|&(queue, good)| queue == 1 || good));
    let second: Vec<_> = outcomes.iter().filter(|(q, _)| *q == 1).map(|&(_, good)| good).collect();
    assert_eq!(second, [true, false, false, true, true]);
    assert_eq!(rig.device.fired(0), 2);
}

#[test]
fn the_block_can_be_written_by_registers() {
    let mut rig = Rig::healthy();
    rig.write64(of_fault(2, FAULT_ARGUMENT), 7);
    rig.write(of_fault(2, FAULT_COUNT), 3);
    rig.write(of_fault(2, FAULT_SKIP), 1);
    rig.write(of_fault(2, FAULT_QUEUES), 1);
    rig.write(of_fault(2, FAULT_KIND), FaultKind::ShortTransfer.code());

    let lengths: Vec<_> =
        (0..5).map(|_| rig.done(command(Opcode::ToDevice, DATA, 0, 10)).bytes).collect();

    assert_eq!(lengths, [10, 3, 3, 3, 10]);
    assert_eq!(rig.read(of_fault(2, FAULT_FIRED)), 3);
    assert_eq!(rig.read(of_fault(2, FAULT_COUNT)), 0);
    rig.write(of_fault(2, FAULT_KIND), 99);
    assert_eq!(rig.read(of_fault(2, FAULT_KIND)), 0, "an unknown kind disarms");
}

#[test]
fn short_transfer_says_so() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::ShortTransfer, 10));

    let short = rig.done(from_device());

    assert_eq!(short.bytes, 246);
    assert_eq!(rig.ram(DATA, 246), &memory[..246]);
    assert_eq!(rig.ram(DATA + 246, 10), [0x55; 10]);
    works_again(&mut rig, &memory);
}

#[test]
fn corrupt_byte_arrives_flipped_and_the_source_is_sound() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::CorruptByte, 100));

    rig.done(from_device());

    let mut expected = memory.clone();
    expected[100] ^= 1;
    assert_eq!(rig.ram(DATA, 256), expected);
    works_again(&mut rig, &memory);
    for opcode in [Opcode::ToDevice, Opcode::Copy] {
        rig.device.inject(0, Some(Fault::new(FaultKind::CorruptByte, 3)));
        let mut bad = command(opcode, OTHER, 0x100, 8);
        if opcode == Opcode::Copy {
            bad.target_count = 1;
            bad.elements[1] = Element::new(DATA, 8);
        }
        rig.done(bad);
        let got =
            if opcode == Opcode::Copy { rig.ram(DATA, 8).to_vec() } else { rig.card(0x100, 8) };
        let mut expected = memory[..8].to_vec();
        expected[3] ^= 1;
        assert_eq!(got, expected);
    }
}

#[test]
fn wrong_offset_moves_on_the_card() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::WrongOffset, 64));
    let shifted = rig.card(64, 256);

    rig.done(from_device());

    assert_eq!(rig.ram(DATA, 256), shifted);
    works_again(&mut rig, &memory);
    rig.device.inject(0, Some(Fault::new(FaultKind::WrongOffset, u64::MAX)));
    rig.done(command(Opcode::ToDevice, DATA, 5, 256));
    assert_eq!(rig.card(4, 256), shifted, "one byte back");
}

#[test]
fn lost_interrupt_leaves_the_completion() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::LostInterrupt, 0));

    rig.done(from_device());

    assert!(rig.bus.messages.is_empty());
    assert_eq!(rig.ram(DATA, 256), memory);
    works_again(&mut rig, &memory);
    assert_eq!(rig.bus.messages, [0]);
}

#[test]
fn duplicate_interrupt_comes_twice_with_one_completion() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::DuplicateInterrupt, 1_000));
    rig.submit(0, from_device());
    rig.advance(4_000);
    assert_eq!(rig.bus.messages, [0]);

    rig.advance(1_000);

    assert_eq!(rig.bus.messages, [0, 0]);
    assert_eq!(rig.drain(0).len(), 1);
    works_again(&mut rig, &memory);
}

#[test]
fn late_interrupt_follows_its_completion() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::LateInterrupt, 1_000));
    rig.submit(0, from_device());
    rig.advance(4_999);
    assert_eq!(rig.drain(0).len(), 1);
    assert!(rig.bus.messages.is_empty());

    rig.advance(1);

    assert_eq!(rig.bus.messages, [0]);
    works_again(&mut rig, &memory);
}

#[test]
fn early_interrupt_comes_before_data_and_completion() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::EarlyInterrupt, 1_000));
    rig.submit(0, from_device());
    rig.advance(4_000);
    assert_eq!(rig.bus.messages, [0]);
    assert_eq!(rig.drain(0), []);
    assert_eq!(rig.ram(DATA, 256), [0x55; 256]);

    rig.advance(1_000);

    assert_eq!(rig.drain(0).len(), 1);
    assert_eq!(rig.ram(DATA, 256), memory);
    assert_eq!(rig.bus.messages, [0]);
    works_again(&mut rig, &memory);
}

#[test]
fn spurious_interrupt_has_no_completion() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::SpuriousInterrupt, 1_000));

    rig.done(from_device());

    assert_eq!(rig.bus.messages, [0, 0]);
    works_again(&mut rig, &memory);
}

#[test]
fn wrong_vector_tells_the_wrong_queue() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::WrongVector, 3));

    rig.done(from_device());

    assert_eq!(rig.bus.messages, [3]);
    works_again(&mut rig, &memory);
    rig.bus.msi = false;
    rig.write(IRQ_STATUS, IRQ_ALL);
    rig.device.inject(0, Some(Fault::new(FaultKind::WrongVector, 8)));
    rig.done(from_device());
    assert_eq!(rig.read(IRQ_STATUS), 1 << 3, "a cause with INTx");
}

#[test]
fn completion_before_data_lies() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::CompletionBeforeData, 1_000));
    rig.submit(0, from_device());
    rig.advance(4_000);
    let found = rig.drain(0);
    assert_eq!((status(&found[0]), found[0].bytes), (Status::Done, 256));
    assert_eq!(rig.ram(DATA, 256), [0x55; 256]);
    assert_ne!(rig.read(STATUS) & STATUS_BUSY, 0, "the status register does not lie");

    rig.advance(1_000);

    assert_eq!(rig.ram(DATA, 256), memory);
    assert_eq!(rig.read(STATUS) & STATUS_BUSY, 0);
    works_again(&mut rig, &memory);
}

#[test]
fn data_that_comes_later_belongs_to_its_own_transfer() {
    let (mut rig, _) = rig_with(Fault::new(FaultKind::CompletionBeforeData, 1_000));
    rig.bus.transfer = 5;
    rig.submit(0, from_device());
    rig.advance(4_000);
    rig.bus.transfer = 6;
    rig.drain(0);
    rig.bus.owners.clear();

    rig.advance(1_000);

    assert!(!rig.bus.owners.is_empty());
    assert!(rig.bus.owners.iter().all(|owner| *owner == 5));
}

#[test]
fn data_that_comes_later_dies_with_a_reset() {
    let (mut rig, _) = rig_with(Fault::new(FaultKind::CompletionBeforeData, 100_000));
    rig.submit(0, from_device());
    rig.advance(4_000);

    rig.write(CONTROL, CONTROL_RESET);
    rig.advance(1_000_000);

    assert_eq!(rig.ram(DATA, 256), [0x55; 256]);
}

#[test]
fn stall_ends_when_its_time_is_over() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::Stall, 50_000));
    rig.submit(0, from_device());
    rig.advance(53_999);
    assert_eq!(rig.drain(0), []);

    rig.advance(1);

    assert_eq!(rig.drain(0).len(), 1);
    works_again(&mut rig, &memory);
}

#[test]
fn ignored_abort_leaves_reset_only() {
    let (mut rig, _) = rig_with(Fault::new(FaultKind::Stall, 0));
    rig.device.inject(1, Some(Fault::new(FaultKind::IgnoredAbort, 0)));
    rig.submit(0, from_device());
    rig.advance(10_000);

    rig.write(of_queue(0, ABORT), 77);
    rig.advance(1_000_000_000);
    assert_eq!(rig.drain(0), []);
    assert_eq!(rig.state(0), QueueState::Busy as u32);
    rig.write(CONTROL, CONTROL_RESET);

    rig.advance(RESET_NS);
    assert_eq!(rig.read(STATUS), 0);
}

#[test]
fn ignored_abort_holds_for_waiting_commands_too() {
    let mut rig = Rig::new(ExerciserConfig {
        faults: [
            Some(Fault::new(FaultKind::Stall, 0)),
            Some(Fault::new(FaultKind::IgnoredAbort, 0).after(1)),
            None,
            None,
        ],
        ..Default::default()
    });
    rig.submit(0, Command { tag: 1, ..from_device() });
    rig.submit(0, Command { tag: 2, ..from_device() });

    rig.write(of_queue(0, ABORT), 2);
    assert_eq!(rig.drain(0), []);
    rig.write(of_queue(0, ABORT), 1);

    let found: Vec<_> = rig.drain(0).iter().map(|c| (c.tag, status(c))).collect();
    assert_eq!(found, [(1, Status::Aborted), (2, Status::Done)]);
}

#[test]
fn bad_address_is_a_bus_error_or_hits_a_neighbour() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::BadAddress, 1 << 40));
    let failed = rig.run(from_device());
    assert_eq!((status(&failed), failed.detail), (Status::BusMiss, DATA + (1 << 40)));
    assert_eq!(rig.ram(DATA, 256), [0x55; 256]);
    works_again(&mut rig, &memory);

    rig.device.inject(0, Some(Fault::new(FaultKind::BadAddress, 0x2000)));
    rig.done(from_device());

    assert_eq!(rig.ram(DATA, 256), [0x55; 256]);
    assert_eq!(rig.ram(DATA + 0x2000, 256), memory);
}

#[test]
fn failed_command_moves_nothing() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::FailedCommand, 0));

    let failed = rig.run(from_device());

    assert_eq!((status(&failed), failed.bytes), (Status::DeviceError, 0));
    assert_eq!(rig.ram(DATA, 256), [0x55; 256]);
    works_again(&mut rig, &memory);
}

#[test]
fn duplicate_completion_has_the_same_tag() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::DuplicateCompletion, 0));
    rig.submit(0, from_device());
    rig.advance(10_000);

    let found = rig.drain(0);

    assert_eq!(found.len(), 2);
    assert_eq!((found[0].tag, found[0].bytes), (found[1].tag, found[1].bytes));
    works_again(&mut rig, &memory);
}

#[test]
fn ignored_reset_never_ends_and_nothing_stops() {
    let (mut rig, memory) = rig_with(Fault::new(FaultKind::IgnoredReset, 0));
    rig.submit(0, from_device());

    rig.write(CONTROL, CONTROL_RESET);
    rig.advance(1_000_000_000);

    assert_eq!(rig.read(CONTROL), CONTROL_RESET | CONTROL_ENABLE);
    assert_eq!(rig.drain(0).len(), 1);
    assert_eq!(rig.ram(DATA, 256), memory);
    rig.write(CONTROL, CONTROL_RESET);
    rig.advance(RESET_NS);
    assert_eq!(rig.read(CONTROL), 0, "the next one is not ignored");
}
