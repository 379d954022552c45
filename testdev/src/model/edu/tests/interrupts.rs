//! Causes, INTx level and MSI messages.

use super::*;

#[test]
fn line_is_up_while_any_cause_is_pending() {
    let mut rig = Rig::healthy();

    rig.write(IRQ_RAISE, 4, 0x3);
    assert!(rig.bus.line);
    rig.write(IRQ_ACK, 4, 0x1);
    assert!(rig.bus.line);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x2);
    rig.write(IRQ_ACK, 4, 0x2);

    assert!(!rig.bus.line);
    assert!(rig.bus.messages.is_empty());
}

#[test]
fn reading_the_causes_acknowledges_nothing() {
    let mut rig = Rig::healthy();
    rig.write(IRQ_RAISE, 4, 0x8000_0000);

    assert_eq!(rig.read(IRQ_STATUS, 4), 0x8000_0000);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x8000_0000);

    assert!(rig.bus.line);
}

#[test]
fn each_raise_sends_one_message() {
    let mut rig = Rig::healthy();
    rig.bus.msi = true;

    rig.write(IRQ_RAISE, 4, 0);
    assert_eq!(rig.bus.messages.len(), 0, "nothing pending, nothing sent");
    rig.write(IRQ_RAISE, 4, 1);
    rig.write(IRQ_RAISE, 4, 1);
    rig.write(IRQ_RAISE, 4, 0);

    assert_eq!(rig.bus.messages, [0, 0, 0]);
    assert!(!rig.bus.line);
}

#[test]
fn causes_stay_until_acknowledged_with_msi_too() {
    let mut rig = Rig::healthy();
    rig.bus.msi = true;
    rig.transfer(to_device(), BUFFER_ADDRESS, RAM, 4);
    assert_eq!(rig.bus.messages, [0]);
    assert_eq!(rig.read(IRQ_STATUS, 4), u64::from(IRQ_DMA));

    rig.write(IRQ_ACK, 4, u64::from(IRQ_DMA));

    assert_eq!(rig.read(IRQ_STATUS, 4), 0);
    assert_eq!(rig.bus.messages, [0], "an acknowledge sends nothing");
}

#[test]
fn two_causes_share_the_line() {
    let mut rig = Rig::healthy();
    rig.write(STATUS, 4, u64::from(STATUS_FACTORIAL_IRQ));
    rig.write(FACTORIAL, 4, 3);
    rig.transfer(to_device(), BUFFER_ADDRESS, RAM, 4);
    assert_eq!(rig.read(IRQ_STATUS, 4), 0x101);

    rig.write(IRQ_ACK, 4, u64::from(IRQ_DMA));

    assert!(rig.bus.line);
    assert_eq!(rig.edu.irq_status(), IRQ_FACTORIAL);
}

#[test]
fn acknowledge_after_a_change_of_mode_lowers_the_line() {
    let mut rig = Rig::healthy();
    rig.write(IRQ_RAISE, 4, 1);
    rig.bus.msi = true;

    rig.write(IRQ_ACK, 4, 1);

    assert!(!rig.bus.line);
}
