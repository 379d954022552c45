//! Many devices on one machine: each has interrupts, windows and memory of its own.

use std::sync::Arc;

use dmaproof_protocol::{Direction, Path};
use nthost::{Access, Machine, Scheduling};
use testdev::model::exerciser::Exerciser;

use crate::common::{Bench, bytes, interfaces, shut_down, x64};

/// Bytes of each request.
const LENGTH: usize = 6000;

/// Plugs one more device in and opens it.
fn plug(machine: &Machine) -> Bench<'_> {
    let others = interfaces(machine);
    let slot = machine.plug(Box::new(Exerciser::default())).expect("the device starts");
    let path = interfaces(machine).into_iter().find(|path| !others.contains(path));
    let path = path.expect("the device has an interface");
    let file = machine.open(&path, Access::READ_WRITE).expect("the device opens");
    Bench { machine, slot, file: Arc::new(file) }
}

/// All devices at work at once, in both directions: each gives back what it got.
fn all_at_once(devices: &[Bench], path: Path) {
    // CAST: a few devices.
    let data = |index: usize| bytes(index as u8, LENGTH);
    let to_device =
        |(index, device): (usize, &Bench)| device.submit(path, Direction::ToDevice, 0, data(index));
    let written: Vec<_> = devices.iter().enumerate().map(to_device).collect();
    for pending in written {
        assert_eq!(pending.wait().0.status.0, 0, "{path}: a write");
    }
    let from_device =
        |device: &Bench| device.submit(path, Direction::FromDevice, 0, vec![0; LENGTH]);
    let read: Vec<_> = devices.iter().map(from_device).collect();
    for (index, pending) in read.into_iter().enumerate() {
        let (completion, request) = pending.wait();
        assert_eq!(completion.status.0, 0, "{path}: a read of device {index}");
        assert!(request.buffer() == data(index), "{path}: the data of device {index} differ");
    }
}

fn many(count: usize, scheduling: Scheduling) {
    let machine = x64().scheduling(scheduling).build();
    let handle = machine.clone();
    let result = machine.run(move |m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        let mut devices: Vec<_> = (0..count).map(|_| plug(m)).collect();
        for path in [Path::ScatterGather, Path::Packet, Path::Version3, Path::CommonBufferCached] {
            all_at_once(&devices, path);
        }
        for (index, device) in devices.iter().enumerate() {
            let counters = device.statistics();
            let lost = (counters.interrupts_lost, counters.interrupts_spurious);
            assert_eq!(lost, (0, 0), "device {index}: {counters:?}");
            assert!(counters.interrupts >= 8, "device {index} interrupts by itself: {counters:?}");
        }
        // One goes; the others do not notice.
        let Bench { slot, file, .. } = devices.remove(count / 2);
        drop(file);
        m.remove(slot).expect("the device goes");
        all_at_once(&devices, Path::ScatterGather);
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"));
    shut_down(&handle).unwrap_or_else(|stopped| panic!("at shut-down: {stopped}"));
    assert_eq!(handle.notes().len(), 0, "{:#?}", handle.notes());
}

#[test]
fn sixteen_devices() {
    many(16, Scheduling::Straight);
}

#[test]
fn sixty_four_devices() {
    many(64, Scheduling::Straight);
}

#[test]
fn sixty_four_devices_on_two_processors() {
    many(64, Scheduling::Threads { processors: 2 });
}
