//! What the image writes to event traces. The hosted driver has no provider.

use dmaproof_protocol::{Direction, Path};
use dmaproof_tests::ways::{self, Way};
use nthost::TraceEvent;
use testdev::model::edu::Edu;

use crate::common::{Bench, open, shut_down, x64};

/// The events of a run with one transfer.
fn events(record: bool) -> Vec<TraceEvent> {
    ways::each(&[Way::Image], |run| {
        let machine = run.machine(x64().record_trace(record));
        let (handle, run) = (machine.clone(), run.clone());
        let result = machine.run(move |m| {
            run.load(m);
            let slot = m.plug(Box::new(Edu::default())).expect("starts");
            let bench = Bench { machine: m, slot, file: open(m).into() };
            let mut data = vec![1; 100];
            let moved = bench.transfer(Path::Packet, Direction::ToDevice, 0, &mut data);
            assert_eq!(moved, Ok(100));
        });
        let result = result.and_then(|()| shut_down(&handle));
        result.unwrap_or_else(|stopped| panic!("{stopped}"));
        handle.trace_events()
    })
}

#[test]
fn a_recorded_trace_tells_of_each_request() {
    let events = events(true);
    assert!(events.iter().all(|event| event.provider == "Dmaproof"), "{events:#?}");
    let piece: Vec<&TraceEvent> = events.iter().filter(|e| e.name == "PieceStarted").collect();
    assert_eq!(piece.len(), 1, "{events:#?}");
    assert_eq!((piece[0].level, &piece[0].data[..]), (5, &100u32.to_le_bytes()[..]));
    let completed = events.iter().filter(|event| event.name == "RequestCompleted").count();
    assert_eq!(completed, 1, "{events:#?}");
}

#[test]
fn nothing_is_recorded_unless_it_is_asked_for() {
    assert_eq!(events(false), []);
}
