//! Decoding, reset values, and what a reset does.

use super::*;

#[test]
fn registers_have_their_reset_values() {
    let mut rig = Rig::raw(ExerciserConfig::default());

    assert!(is_exerciser(rig.read(ID)));
    assert_eq!(rig.read(CAPABILITIES), CAPABILITIES_VALUE);
    assert_eq!(rig.read64(MEMORY_SIZE), MEMORY_LENGTH);
    for zero in [CONTROL, STATUS, WINDOW_BASE, IRQ_STATUS, IRQ_ENABLE, ERROR, SCRATCH] {
        assert_eq!(rig.read(zero), 0, "{zero:#x}");
    }
    assert_eq!(rig.read(FIFO_CHUNK), FIFO_RESET);
    assert_eq!(rig.read(ERROR_VECTOR), 4);
    for queue in 0..QUEUES {
        assert_eq!(rig.read(of_queue(queue, QUEUE_VECTOR)), queue as u32);
        assert_eq!(rig.state(queue), QueueState::Disabled as u32);
    }
    for slot in 0..FAULTS {
        assert_eq!(rig.read(of_fault(slot, FAULT_COUNT)), 1);
        assert_eq!(rig.read(of_fault(slot, FAULT_QUEUES)), u32::MAX);
        assert_eq!(rig.read(of_fault(slot, FAULT_KIND)), 0);
    }
}

#[test]
fn registers_take_their_own_width_only() {
    let mut rig = Rig::raw(ExerciserConfig::default());
    rig.write(SCRATCH, 0x1234_5678);

    for size in [1, 2, 8] {
        rig.device.write(&mut rig.bus, BAR, SCRATCH, size, 0);
        let ones = u64::MAX >> (64 - 8 * u32::from(size));
        assert_eq!(rig.device.read(&mut rig.bus, BAR, SCRATCH, size), ones);
    }
    rig.write(of_queue(1, SUBMISSION_BASE), 0x40);

    assert_eq!(rig.read(SCRATCH), 0x1234_5678);
    assert_eq!(rig.read(MEMORY_SIZE), u32::MAX);
    assert_eq!(rig.read64(of_queue(1, SUBMISSION_BASE)), 0);
    for hole in [0x058, 0x0fc, 0x134, 0x280, 0x3ffc, 0x4000, 1 << 40] {
        assert_eq!(rig.read(hole), u32::MAX, "{hole:#x}");
    }
}

#[test]
fn nonsense_is_not_taken() {
    let mut rig = Rig::raw(ExerciserConfig::default());

    for wrong in [0, 32, 96, 0x2_0000] {
        rig.write(FIFO_CHUNK, wrong);
    }
    for wrong in [1, 0x8000, 0x0100_0000] {
        rig.write(WINDOW_BASE, wrong);
    }

    assert_eq!(rig.read(FIFO_CHUNK), FIFO_RESET);
    assert_eq!(rig.read(WINDOW_BASE), 0);
    rig.write(FIFO_CHUNK, 64);
    rig.write(WINDOW_BASE, 0xFF_0000);
    assert_eq!((rig.read(FIFO_CHUNK), rig.read(WINDOW_BASE)), (64, 0xFF_0000));
}

#[test]
fn window_shows_on_card_memory_in_every_width() {
    let mut rig = Rig::raw(ExerciserConfig::default());
    rig.write(WINDOW_BASE, 0x1_0000);
    for (size, offset, value) in [
        (1, 3, 0x11),
        (2, 0x10, 0x2233),
        (4, 0x20, 0x4455_6677),
        (8, 0xFFF8, 0x8899_aabb_ccdd_eeff),
    ] {
        rig.device.write(&mut rig.bus, WINDOW_BAR, offset, size, value);

        assert_eq!(rig.device.read(&mut rig.bus, WINDOW_BAR, offset, size), value);
        let card = rig.card(0x1_0000 + offset, usize::from(size));
        assert_eq!(card, value.to_le_bytes()[..usize::from(size)]);
    }
    assert_eq!(rig.device.read(&mut rig.bus, WINDOW_BAR, 0x1_0000, 4), 0xFFFF_FFFF);
    assert_eq!(rig.device.read(&mut rig.bus, WINDOW_BAR, 2, 4), 0xFFFF_FFFF, "misaligned");
    assert_eq!(rig.device.resident(), 0x1_0000);
}

#[test]
fn enabling_a_queue_checks_its_rings() {
    let cases =
        [(3u32, RINGS), (0, RINGS), (512, RINGS), (1, RINGS), (8, RINGS + 32), (8, u64::MAX - 63)];
    for (size, base) in cases {
        let mut rig = Rig::raw(ExerciserConfig::default());
        rig.write64(of_queue(2, SUBMISSION_BASE), base);
        rig.write64(of_queue(2, COMPLETION_BASE), completions(2));
        rig.write(of_queue(2, RING_SIZE), size);

        rig.write(of_queue(2, QUEUE_CONTROL), QUEUE_ENABLE);

        assert_eq!(rig.state(2), QueueState::Failed as u32, "{size} at {base:#x}");
        assert_eq!(rig.read(ERROR), Error::Setup as u32 | 2 << 8);
        assert_eq!(rig.read(IRQ_STATUS), IRQ_ERROR);
        assert_eq!(rig.bus.messages, [4]);
        rig.write(ERROR, 0);
        assert_eq!(rig.read(ERROR), 0);
    }
}

#[test]
fn rings_are_fixed_while_their_queue_works() {
    let mut rig = Rig::healthy();

    rig.write64(of_queue(0, SUBMISSION_BASE), 0);
    rig.write64(of_queue(0, COMPLETION_BASE), 0);
    rig.write(of_queue(0, RING_SIZE), 2);

    assert_eq!(rig.read64(of_queue(0, SUBMISSION_BASE)), submissions(0));
    assert_eq!(rig.read64(of_queue(0, COMPLETION_BASE)), completions(0));
    assert_eq!(rig.read(of_queue(0, RING_SIZE)), SIZE);
}

#[test]
fn reset_stops_everything_and_keeps_memory_and_faults() {
    let mut rig = Rig::new(ExerciserConfig { time_command_ns: 1_000, ..Default::default() });
    rig.done(on_card(Opcode::Fill, 1, 0, 64));
    let memory = rig.card(0, 64);
    rig.device.inject(3, Some(Fault::new(FaultKind::CorruptByte, 5).after(9)));
    rig.submit(1, command(Opcode::FromDevice, DATA, 0, 64));
    rig.advance(4_000);
    assert_ne!(rig.read(STATUS) & STATUS_BUSY, 0);
    let accesses = rig.bus.accesses.len();

    rig.write(CONTROL, CONTROL_RESET | CONTROL_ENABLE);

    assert_eq!(rig.read(CONTROL), CONTROL_RESET);
    assert_eq!(rig.read(STATUS), STATUS_RESETTING);
    rig.write(SCRATCH, 5);
    rig.advance(RESET_NS);
    assert_eq!((rig.read(CONTROL), rig.read(STATUS), rig.read(SCRATCH)), (0, 0, 0));
    rig.advance(1_000_000);
    assert_eq!(rig.bus.accesses.len(), accesses, "it masters nothing any more");
    assert_eq!(rig.state(1), QueueState::Disabled as u32);
    assert_eq!(rig.card(0, 64), memory);
    assert_eq!(rig.read(of_fault(3, FAULT_KIND)), FaultKind::CorruptByte.code());
    assert_eq!(rig.read64(COMMANDS), 1);
}

#[test]
fn a_reset_device_can_be_set_up_again() {
    let mut rig = Rig::healthy();
    rig.done(on_card(Opcode::Fill, 1, 0, 64));
    rig.write(CONTROL, CONTROL_RESET);
    rig.advance(RESET_NS);
    rig.bus.ram[..0x8000].fill(0);
    rig.sides = [Side { tail: 0, head: 0, phase: 1 }; QUEUES];
    (0..QUEUES).for_each(|queue| rig.enable(queue));
    rig.write(CONTROL, CONTROL_ENABLE);

    rig.done(on_card(Opcode::Check, 1, 0, 64));
}
