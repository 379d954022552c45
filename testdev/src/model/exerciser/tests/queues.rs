//! Rings, order, signals, aborts, time.

use super::*;

fn fill(tag: u32) -> Command {
    Command { tag, ..on_card(Opcode::Fill, tag.into(), u64::from(tag) * 64, 64) }
}

fn tags(found: &[Completion]) -> Vec<u32> {
    found.iter().map(|entry| entry.tag).collect()
}

#[test]
fn what_is_submitted_before_the_fetch_comes_along() {
    let mut rig = Rig::healthy();
    for tag in 0..5 {
        rig.submit(0, fill(tag));
        rig.advance(100);
    }

    rig.advance(4_000);

    let found = rig.drain(0);
    assert_eq!(tags(&found), [0, 1, 2, 3, 4]);
    assert_eq!(rig.bus.messages, [0], "one signal for all of them");
    assert_eq!(found[0].submission_head, 5);
}

#[test]
fn rings_go_round_and_the_phase_changes() {
    let mut rig = Rig::healthy();
    for tag in 0..100 {
        let before = rig.sides[0].phase;
        let completion = rig.run(fill(tag));
        assert_eq!(completion.phase, before);
    }
    assert_eq!(rig.sides[0].head, 100 % SIZE);
    assert_eq!(rig.read(of_queue(0, SUBMISSION_HEAD)), 100 % SIZE);
    assert_eq!(rig.read(of_queue(0, COMPLETION_TAIL)), 100 % SIZE);
    assert_eq!(rig.device.commands(), 100);
}

#[test]
fn a_full_completion_ring_holds_the_queue_up() {
    let mut rig = Rig::healthy();
    for tag in 0..7 {
        rig.submit(0, fill(tag));
    }
    rig.advance(10_000);
    for tag in 7..10 {
        rig.submit(0, fill(tag));
    }
    rig.advance(10_000);
    assert_eq!(rig.state(0), QueueState::Busy as u32);
    assert_eq!(rig.device.commands(), 7);
    assert_eq!(rig.bus.timer, None, "only the host can help");

    assert_eq!(tags(&rig.drain(0)), [0, 1, 2, 3, 4, 5, 6]);

    assert_eq!(tags(&rig.drain(0)), [7, 8, 9]);
    assert_eq!(rig.state(0), QueueState::Idle as u32);
}

#[test]
fn a_host_that_never_reads_cannot_make_the_device_grow() {
    let mut rig = Rig::healthy();
    for turn in 0..10_000u32 {
        rig.write(of_queue(0, SUBMISSION_TAIL), (turn * 7) % SIZE);
        rig.advance(4_000);
    }
    assert!(rig.device.queues[0].is_busy());
    assert!(rig.device.commands() <= SIZE.into());
}

#[test]
fn queues_do_not_wait_for_each_other() {
    let mut rig = Rig::faulty(Fault { queues: 1 << 2, ..Fault::new(FaultKind::Stall, 0) });
    for queue in 0..QUEUES {
        rig.submit(queue, fill(queue as u32));
    }

    rig.advance(10_000);

    for queue in [0, 1, 3] {
        assert_eq!(tags(&rig.drain(queue)), [queue as u32]);
    }
    assert_eq!(rig.drain(2), []);
    assert_eq!(rig.bus.messages, [0, 1, 3]);
}

#[test]
fn doorbells_outside_the_ring_fail_the_queue() {
    for (register, value) in
        [(SUBMISSION_TAIL, SIZE), (COMPLETION_HEAD, 1), (COMPLETION_HEAD, u32::MAX)]
    {
        let mut rig = Rig::healthy();

        rig.write(of_queue(1, register), value);

        assert_eq!(rig.state(1), QueueState::Failed as u32);
        assert_eq!(rig.read(ERROR), Error::Doorbell as u32 | 1 << 8);
        rig.done(fill(1));
        rig.write(of_queue(1, QUEUE_CONTROL), 0);
        rig.write(of_queue(1, QUEUE_CONTROL), QUEUE_ENABLE);
        assert_eq!(rig.state(1), QueueState::Failed as u32, "until the device is reset");
    }
}

#[test]
fn without_bus_mastering_the_queue_fails_and_memory_stays() {
    let mut rig = Rig::healthy();
    rig.submit(0, command(Opcode::FromDevice, DATA, 0, 64));
    let before = rig.bus.ram.clone();
    rig.bus.error = Some(BusError::NotMaster);

    rig.advance(10_000);

    assert_eq!(rig.bus.ram, before);
    assert_eq!(rig.read(ERROR), Error::Fetch as u32);
    assert_eq!(rig.read64(FAULT_ADDRESS), submissions(0));
}

#[test]
fn a_completion_that_cannot_be_written_fails_the_queue() {
    let mut rig = Rig::raw(ExerciserConfig::default());
    rig.enable(0);
    rig.write(of_queue(0, QUEUE_CONTROL), 0);
    rig.write64(of_queue(0, COMPLETION_BASE), 0x40);
    rig.write(of_queue(0, QUEUE_CONTROL), QUEUE_ENABLE);
    rig.write(CONTROL, CONTROL_ENABLE);

    rig.submit(0, fill(1));
    rig.advance(10_000);

    assert_eq!(rig.read(ERROR), Error::Post as u32);
    assert_eq!(rig.bus.messages, [4]);
}

#[test]
fn abort_stops_a_command_at_a_chunk() {
    let mut rig = Rig::healthy();
    rig.write(TIME_CHUNK, 1_000);
    rig.write(FIFO_CHUNK, 256);
    rig.submit(0, Command { tag: 9, ..command(Opcode::FromDevice, DATA, 0, 4096) });
    rig.ram(DATA, 4096).fill(0xAA);
    rig.advance(4_000 + 3_500);

    rig.write(of_queue(0, ABORT), 9);

    let found = rig.drain(0);
    assert_eq!((status(&found[0]), found[0].bytes), (Status::Aborted, 1024));
    assert_eq!(rig.ram(DATA, 1024), [0; 1024]);
    assert_eq!(rig.ram(DATA + 1024, 3072), [0xAA; 3072]);
    rig.advance(1_000_000);
    assert_eq!(rig.ram(DATA + 1024, 3072), [0xAA; 3072], "nothing comes after the abort");
    assert_eq!(rig.bus.messages, [0]);
}

#[test]
fn abort_reaches_commands_that_were_not_fetched() {
    let mut rig = Rig::healthy();
    (0..3).for_each(|tag| rig.submit(0, fill(tag)));

    rig.write(of_queue(0, ABORT), 1);
    assert_eq!(tags(&rig.drain(0)), [1, 0, 2]);

    rig.submit(0, fill(4));
    rig.advance(10_000);
    assert_eq!(tags(&rig.drain(0)), [4]);
    rig.write(of_queue(0, ABORT), 4);
    assert_eq!(rig.drain(0), [], "a command that is over cannot be aborted");
}

#[test]
fn abort_frees_a_stalled_queue() {
    let mut rig = Rig::faulty(Fault::new(FaultKind::Stall, 0));
    rig.submit(0, fill(1));
    rig.submit(0, fill(2));
    rig.advance(1_000_000_000);
    assert_eq!(rig.drain(0), []);

    rig.write(of_queue(0, ABORT), 1);

    let found = rig.drain(0);
    assert_eq!(tags(&found), [1, 2]);
    assert_eq!((status(&found[0]), status(&found[1])), (Status::Aborted, Status::Done));
}

#[test]
fn commands_take_the_time_that_the_registers_say() {
    let mut rig = Rig::healthy();
    rig.write(TIME_FETCH, 1_000);
    rig.write(TIME_COMMAND, 500);
    rig.write(TIME_CHUNK, 10);
    rig.write(FIFO_CHUNK, 64);
    (0..2).for_each(|tag| rig.submit(0, Command { length: 128, ..fill(tag) }));

    rig.advance(1_509);
    assert_eq!(rig.drain(0), []);
    rig.advance(1);
    assert_eq!(tags(&rig.drain(0)), [0]);
    rig.advance(509);
    assert_eq!(rig.drain(0), []);
    rig.advance(1);
    assert_eq!(tags(&rig.drain(0)), [1]);
    assert_eq!(rig.bus.messages, [0, 0]);
}

#[test]
fn the_pin_follows_causes_and_mask() {
    let mut rig = Rig::healthy();
    rig.bus.msi = false;
    rig.run(fill(1));
    assert!(!rig.bus.line, "no cause is let through");
    assert_eq!(rig.read(IRQ_STATUS), 1);

    rig.write(IRQ_ENABLE, IRQ_ALL);
    assert!(rig.bus.line);
    rig.submit(2, fill(2));
    rig.advance(10_000);
    rig.write(IRQ_STATUS, 1);
    assert!(rig.bus.line, "another cause holds it");
    rig.write(IRQ_STATUS, 4);

    assert!(!rig.bus.line);
    assert_eq!(rig.read(IRQ_STATUS), 0);
    assert!(rig.bus.messages.is_empty());
}

#[test]
fn each_queue_sends_the_message_it_is_told() {
    let mut rig = Rig::healthy();
    rig.write(of_queue(3, QUEUE_VECTOR), 1);
    rig.submit(3, fill(1));
    rig.write(of_queue(2, QUEUE_VECTOR), u32::MAX);
    rig.submit(2, fill(1));

    rig.advance(10_000);

    assert_eq!(rig.bus.messages, [1], "a number beyond all messages goes nowhere");
    assert_eq!(rig.read(IRQ_STATUS), 0b1100);
}

#[test]
fn a_disabled_device_pauses() {
    let mut rig = Rig::healthy();
    rig.write(CONTROL, 0);
    rig.submit(0, fill(1));
    rig.advance(1_000_000);
    assert_eq!(rig.drain(0), []);
    assert_eq!(rig.bus.timer, None);

    rig.write(CONTROL, CONTROL_ENABLE);

    assert_eq!(tags(&rig.drain(0)), [1]);
}

#[test]
fn a_disabled_queue_forgets_its_commands() {
    let mut rig = Rig::healthy();
    rig.submit(0, fill(1));

    rig.write(of_queue(0, QUEUE_CONTROL), 0);
    rig.advance(1_000_000);

    assert_eq!(rig.drain(0), []);
    assert_eq!(rig.device.commands(), 0);
    rig.write(of_queue(0, QUEUE_CONTROL), QUEUE_ENABLE);
    rig.sides[0] = Side { tail: 0, head: 0, phase: 1 };
    rig.run(fill(3));
}

#[test]
fn entries_are_written_before_their_last_eight_bytes() {
    let mut rig = Rig::healthy();
    (0..3).for_each(|tag| rig.submit(0, fill(tag)));
    rig.bus.accesses.clear();

    rig.advance(10_000);

    let writes: Vec<_> = rig.bus.accesses.iter().filter(|a| a.write).collect();
    let places: Vec<_> = writes.iter().map(|a| (a.address - completions(0), a.length)).collect();
    assert_eq!(places, [(0, 96), (24, 8), (56, 8), (88, 8)]);
}

#[test]
fn sixty_four_devices_are_cheap() {
    let devices: Vec<_> = (0..64).map(|_| Rig::healthy().device).collect();

    assert_eq!(devices.iter().map(Exerciser::resident).sum::<usize>(), 0);
}
