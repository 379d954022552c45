//! Traffic against the device in memory: intact when it is, and each defect found.

use dmaproof_protocol::{Direction, Path, status};

use super::*;
use crate::explain::Class;
use crate::target::memory::{DefectKind, MemoryTarget};
use crate::target::with_target;

/// Runs traffic for a while; the first thing that is wrong, and the counts.
fn run(target: &MemoryTarget, lanes: usize, seed: u64) -> (Option<Found>, Tally) {
    let result = with_target(target, move |session| {
        let limits = session.query().unwrap().limits().unwrap();
        let memory = 0..limits.memory_length;
        let mut traffic = Traffic::new(&limits, &memory, lanes, seed, Rough::default());
        let mut found = (0..600).find_map(|_| traffic.step(session));
        found = found.or_else(|| traffic.settle(session));
        found = found.or_else(|| traffic.verify(session));
        let rest = traffic.settle(session);
        (found.or(rest), traffic.tally().clone())
    });
    result.unwrap()
}

#[test]
fn a_sound_device_is_intact_at_every_depth() {
    for lanes in [1, 2, 7, 40] {
        for seed in 0..4 {
            let (found, tally) = run(&MemoryTarget::new(), lanes, seed);
            assert!(found.is_none(), "{found:?}");
            assert_eq!((tally.open(), tally.failed), (0, 0));
            assert_eq!(tally.asked, tally.intact);
            assert!(tally.paths().iter().filter(|path| path.from_device > 0).count() >= 6);
        }
    }
}

#[test]
fn each_defect_is_found() {
    for (direction, kind) in [
        (Direction::ToDevice, DefectKind::Lost),
        (Direction::FromDevice, DefectKind::Lost),
        (Direction::FromDevice, DefectKind::TailMissing(3)),
        (Direction::ToDevice, DefectKind::TailMissing(3)),
        (Direction::ToDevice, DefectKind::Shifted(2)),
        (Direction::FromDevice, DefectKind::StaleLine),
        (Direction::FromDevice, DefectKind::BitFlip),
        (Direction::ToDevice, DefectKind::BitFlip),
        (Direction::ToDevice, DefectKind::SourceChanged),
        (Direction::ToDevice, DefectKind::DeviceNeighbour),
        (Direction::FromDevice, DefectKind::Short),
    ] {
        let target = MemoryTarget::new().with_defect(Path::ScatterGather, direction, kind);
        let (found, tally) = run(&target, 3, 5);
        let found = found.unwrap_or_else(|| panic!("{direction} {kind:?} was not found"));
        assert!(!found.explanation.text.is_empty());
        assert_eq!(tally.open(), 0, "{direction} {kind:?}");
    }
}

#[test]
fn what_is_lost_on_the_way_back_is_blamed_on_it() {
    let (path, direction) = (Path::Packet, Direction::FromDevice);
    let target = MemoryTarget::new().with_defect(path, direction, DefectKind::BitFlip);
    let (found, _) = run(&target, 2, 1);
    let found = found.unwrap();
    assert_eq!((found.route.path(), found.direction), (path, direction));
    assert_eq!(found.explanation.class, Class::BitFlips);
    assert!(found.blame.contains("the way back"), "{}", found.blame);
}

#[test]
fn a_status_that_nobody_asked_for_is_wrong() {
    for status in [status::CANCELLED, status::DEVICE_REMOVED, status::IO_TIMEOUT] {
        let (path, direction) = (Path::Packet, Direction::ToDevice);
        let target = MemoryTarget::new().with_defect(path, direction, DefectKind::Fails(status));
        let (found, tally) = run(&target, 2, 1);
        assert_eq!(found.unwrap().explanation.class, Class::RequestFailed);
        assert_eq!((tally.cancelled, tally.gone), (0, 0));
    }
}

#[test]
fn shares_do_not_overlap_and_a_small_device_has_fewer_lanes() {
    for count in 1..9 {
        let shares: Vec<_> = (0..count).map(|number| share(&(10..1000), number, count)).collect();
        assert!(shares.windows(2).all(|two| two[0].end <= two[1].start), "{shares:?}");
        assert!(shares.iter().all(|part| part.start >= 10 && part.end <= 1000 && !part.is_empty()));
    }
    let edu = MemoryTarget::edu();
    let (found, tally) = run(&edu, 10_000, 1);
    assert!(found.is_none() && tally.intact > 0, "{found:?}");
}
