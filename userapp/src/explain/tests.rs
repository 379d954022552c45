//! Each class is made once, and once just missed.

use dmaproof_protocol::{Direction, Path};

use super::*;
use crate::guard::{GUARD_TAG, PAGE};
use crate::history::Record;
use crate::pattern::Family;
use crate::target::{BrokenRule, Loss, Lost};

/// The transfer under test.
const TAG: Tag = Tag { transfer: 41, family: Family::Plain };
/// An earlier one.
const OLD: Tag = Tag { transfer: 7, family: Family::Swapped };

/// A transfer whose outcome a test can spoil.
struct Scene {
    codec: Codec,
    history: History,
    position: usize,
    expected: Vec<u8>,
    before: Vec<u8>,
    actual: Vec<u8>,
    tag: Option<Tag>,
    seen: Seen,
}

impl Scene {
    /// A transfer of `length` bytes at this offset of a page.
    fn new(page_offset: usize, length: usize) -> Self {
        let codec = Codec::new(3);
        let mut history = History::default();
        while history.next_number() < TAG.transfer {}
        let position = 2 * PAGE + page_offset;
        history.remember(Record {
            tag: OLD,
            route: Route::Path(Path::Packet),
            direction: Direction::FromDevice,
            device_offset: 64,
            length: 1 << 20,
            position: 2 * PAGE,
        });
        let mut expected = vec![0; length];
        codec.fill(TAG, 0, &mut expected);
        let before = expected.iter().map(|byte| !byte).collect();
        let actual = expected.clone();
        let (tag, seen) = (Some(TAG), Seen::default());
        Self { codec, history, position, expected, before, actual, tag, seen }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            expected: &self.expected,
            actual: &self.actual,
            before: &self.before,
            tag: self.tag,
            route: Route::Path(Path::Packet),
            direction: Direction::FromDevice,
            position: self.position,
            device_offset: 0,
            codec: &self.codec,
            history: &self.history,
            seen: &self.seen,
        }
    }

    fn explanation(&self) -> Explanation {
        explain(&self.evidence()).expect("something is wrong")
    }

    fn class(&self) -> Class {
        self.explanation().class
    }

    /// Puts what was there before back into a range.
    fn keep(mut self, range: std::ops::Range<usize>) -> Self {
        self.actual[range.clone()].copy_from_slice(&self.before[range]);
        self
    }

    /// Puts data of an earlier transfer into a range.
    fn stale(mut self, tag: Tag, offset: u64, range: std::ops::Range<usize>) -> Self {
        self.codec.fill(tag, offset, &mut self.actual[range]);
        self
    }

    /// Puts this transfer's own data from `from` at `to`.
    fn own(mut self, from: usize, to: usize, length: usize) -> Self {
        self.actual[to..to + length].copy_from_slice(&self.expected[from..from + length]);
        self
    }

    /// Replaces the pattern by data of a file.
    fn with_file_data(mut self) -> Self {
        let mut random = crate::random::Random::new(5);
        self.expected = (0..self.expected.len()).map(|_| random.next_u64() as u8).collect();
        self.actual = self.expected.clone();
        self.tag = None;
        self
    }
}

#[test]
fn right_data_needs_no_explanation() {
    assert_eq!(explain(&Scene::new(0, 1000).evidence()), None);
}

#[test]
fn stale_line() {
    // A whole line with an earlier transfer's data, one with what was there before, and one with
    // the app's own guard bytes.
    assert_eq!(Scene::new(16, 1000).stale(OLD, 64, 48..112).class(), Class::StaleLine);
    assert_eq!(Scene::new(0, 1000).keep(448..576).class(), Class::StaleLine);
    assert_eq!(Scene::new(0, 1000).stale(GUARD_TAG, 640, 64..128).class(), Class::StaleLine);
    let text = Scene::new(0, 4096).stale(OLD, 0x1c0, 0x1c0..0x200).explanation();
    assert!(text.text.contains("transfer 7"), "{}", text.text);
    assert!(text.text.contains("line at 0x1c0"), "{}", text.text);
    assert_eq!(text.rule, Some("DMA-85"));
}

#[test]
fn not_a_stale_line() {
    // The same bytes off the line boundary, or only part of a line.
    assert_eq!(Scene::new(16, 1000).stale(OLD, 64, 50..114).class(), Class::OldData);
    assert_eq!(Scene::new(0, 1000).stale(OLD, 64, 64..120).class(), Class::OldData);
}

#[test]
fn stale_line_at_an_offset_where_transfers_meet() {
    // The earlier transfer lay elsewhere on the device but at the same memory.
    assert_eq!(Scene::new(0, 100).stale(OLD, 64, 64..100).class(), Class::TornEdge);
    assert_eq!(Scene::new(0, 128).stale(OLD, 64, 64..128).class(), Class::StaleLine);
}

#[test]
fn torn_edge() {
    assert_eq!(Scene::new(40, 1000).keep(0..24).class(), Class::TornEdge);
    assert_eq!(Scene::new(0, 1000).keep(960..1000).class(), Class::TornEdge);
    assert_eq!(Scene::new(40, 1000).keep(0..24).keep(984..1000).class(), Class::TornEdge);
}

#[test]
fn not_a_torn_edge() {
    assert_eq!(Scene::new(40, 1000).keep(0..20).class(), Class::OldData);
    assert_eq!(Scene::new(40, 1000).keep(0..24).keep(88..152).class(), Class::StaleLine);
}

#[test]
fn poison() {
    let mut scene = Scene::new(0, 1000);
    scene.actual[128..192].fill(0x0F);
    assert_eq!(scene.class(), Class::Poison);
    let mut scene = Scene::new(3, 1000);
    for (index, byte) in scene.actual[100..300].iter_mut().enumerate() {
        *byte = [0xDE, 0xAD, 0xBE, 0xEF][index % 4];
    }
    assert_eq!(scene.class(), Class::Poison);
}

#[test]
fn not_poison() {
    let mut scene = Scene::new(0, 1000);
    for (index, byte) in scene.actual[128..192].iter_mut().enumerate() {
        *byte = (index * index * 31 + index * 7) as u8;
    }
    assert_eq!(scene.class(), Class::Unknown);
}

#[test]
fn zero_filled() {
    let mut scene = Scene::new(0, 1000);
    scene.actual.fill(0);
    assert_eq!(scene.class(), Class::ZeroFilled);
    let mut scene = Scene::new(0, 3);
    scene.actual.fill(0);
    assert_eq!(scene.class(), Class::ZeroFilled);
}

#[test]
fn not_zero_filled() {
    // Zeros that were there before are data that did not arrive.
    let mut scene = Scene::new(0, 1000);
    scene.before.fill(0);
    assert_eq!(scene.keep(0..1000).class(), Class::NotCopied);
    let mut scene = Scene::new(0, 1000);
    scene.actual.fill(1);
    assert_eq!(scene.class(), Class::Poison);
}

#[test]
fn not_copied() {
    for length in [1, 2, 7, 64, 1000, 5000] {
        assert_eq!(Scene::new(9, length).keep(0..length).class(), Class::NotCopied, "{length}");
    }
    assert_eq!(Scene::new(9, 500).keep(0..500).explanation().rule, Some("DMA-54"));
}

#[test]
fn not_not_copied() {
    assert_eq!(Scene::new(9, 1000).keep(1..1000).class(), Class::TailMissing);
    assert_eq!(Scene::new(0, 1000).stale(OLD, 0, 0..1000).class(), Class::OldData);
}

#[test]
fn piece_not_copied() {
    assert_eq!(Scene::new(100, 9000).keep(3996..8092).class(), Class::PieceNotCopied);
    assert_eq!(Scene::new(100, 9000).keep(0..3996).class(), Class::PieceNotCopied);
    assert_eq!(Scene::new(100, 9000).keep(8092..9000).class(), Class::PieceNotCopied);
}

#[test]
fn not_a_piece() {
    // A page's length, but not at a page; and a page of another transfer's data.
    assert_eq!(Scene::new(100, 9000).keep(4000..8096).class(), Class::OldData);
    assert_eq!(Scene::new(0, 9000).stale(OLD, 0, 4096..8192).class(), Class::StaleLine);
}

#[test]
fn tail_missing() {
    assert_eq!(Scene::new(0, 1000).keep(984..1000).class(), Class::TailMissing);
    assert_eq!(Scene::new(0, 4096).keep(4080..4096).class(), Class::TailMissing);
    let explanation = Scene::new(0, 4096).keep(4095..4096).explanation();
    assert_eq!(explanation.class, Class::TailMissing);
    assert!(explanation.text.contains("last 1 byte did"), "{}", explanation.text);
}

#[test]
fn not_a_missing_tail() {
    assert_eq!(Scene::new(0, 4096).keep(4079..4095).class(), Class::OldData);
    assert_eq!(Scene::new(0, 1024).keep(960..1024).class(), Class::StaleLine);
}

#[test]
fn old_data_is_named() {
    let explanation = Scene::new(0, 256).stale(OLD, 1000, 0..256).explanation();
    assert_eq!(explanation.class, Class::OldData);
    assert!(explanation.text.contains("transfer 7 (packet, from-device"), "{}", explanation.text);
    assert!(explanation.text.contains("offset 0x3e8"), "{}", explanation.text);
}

#[test]
fn old_data_too_short_to_decode_is_found_by_where_it_was() {
    let scene = Scene::new(64, 5).stale(OLD, 64, 0..5);
    assert_eq!(scene.class(), Class::OldData);
}

#[test]
fn shifted() {
    for by in [1, 3, 8, 64, 100] {
        let scene = Scene::new(0, 1000).own(0, by, 1000 - by);
        let explanation = scene.explanation();
        assert_eq!(explanation.class, Class::Shifted, "{by}");
        let bytes = if by == 1 { "byte" } else { "bytes" };
        assert!(explanation.text.contains(&format!("by {by} {bytes}:")), "{}", explanation.text);
        let early = Scene::new(0, 1000).own(by, 0, 1000 - by).keep(1000 - by..1000);
        assert_eq!(early.class(), Class::Shifted, "-{by}");
    }
}

#[test]
fn data_of_a_file_that_is_shifted_is_found_too() {
    let scene = Scene::new(0, 1000).with_file_data().own(0, 5, 995);
    assert_eq!(scene.class(), Class::Shifted);
}

#[test]
fn shifted_with_something_else_at_the_end_laid_bare() {
    let mut scene = Scene::new(0, 1000).own(0, 100, 900);
    scene.actual[..100].fill(0xA5);
    let explanation = scene.explanation();
    assert_eq!(explanation.class, Class::Shifted);
    assert!(explanation.text.contains("by 100 bytes: 0x64"), "{}", explanation.text);
    let mut scene = Scene::new(0, 1000).own(64, 0, 936);
    scene.codec.fill(GUARD_TAG, 0, &mut scene.actual[936..]);
    assert_eq!(scene.class(), Class::Shifted);
    // More than the shift laid bare.
    let mut scene = Scene::new(0, 1000).own(0, 64, 936);
    scene.actual[..200].fill(0xA5);
    assert_eq!(scene.class(), Class::Unknown);
}

#[test]
fn a_missing_tail_that_differs_in_few_bits_is_no_bit_flip() {
    let mut scene = Scene::new(0, 1000);
    scene.before = scene.expected.iter().map(|byte| byte ^ 1).collect();
    assert_eq!(scene.keep(996..1000).class(), Class::TailMissing);
}

#[test]
fn not_shifted() {
    // Two pieces moved by different distances.
    let scene = Scene::new(0, 2000).own(0, 500, 100).own(1000, 1300, 100);
    assert_eq!(scene.class(), Class::Misplaced);
}

#[test]
fn swapped() {
    let scene = Scene::new(0, 8192).own(0, 4096, 4096).own(4096, 0, 4096);
    assert_eq!(scene.class(), Class::Swapped);
    let scene = Scene::new(0, 900).own(0, 300, 300).own(300, 600, 300).own(600, 0, 300);
    assert_eq!(scene.class(), Class::Swapped);
}

#[test]
fn not_swapped() {
    // One of the two arrived twice.
    let scene = Scene::new(0, 8192).own(0, 4096, 4096);
    assert_eq!(scene.class(), Class::PieceRepeated);
}

#[test]
fn piece_repeated() {
    let scene = Scene::new(0, 12_288).own(0, 4096, 4096).own(0, 8192, 4096);
    assert_eq!(scene.class(), Class::PieceRepeated);
    let scene = Scene::new(96, 9000).own(0, 4000, 4000).own(0, 8096, 904);
    assert_eq!(scene.class(), Class::PieceRepeated);
}

#[test]
fn not_a_repeated_piece() {
    // A shift by a page goes on for longer than a page.
    let scene = Scene::new(0, 12_288).own(0, 4096, 8192);
    assert_eq!(scene.class(), Class::Shifted);
}

#[test]
fn wrapped() {
    let scene = Scene::new(8, 6000).own(4096, 0, 1904).keep(4096..6000);
    assert_eq!(scene.class(), Class::Wrapped);
    let scene = Scene::new(8, 600).own(512, 0, 88).keep(512..600);
    assert_eq!(scene.class(), Class::Wrapped);
}

#[test]
fn not_wrapped() {
    // Not a power of two; and data that arrived twice.
    let scene = Scene::new(8, 6000).own(4000, 0, 2000).keep(4000..6000);
    assert_eq!(scene.class(), Class::Shifted);
    let scene = Scene::new(8, 6000).own(4096, 0, 1904);
    assert_eq!(scene.class(), Class::Shifted);
}

#[test]
fn bit_flips() {
    let mut scene = Scene::new(0, 1000);
    scene.actual[500] ^= 0x10;
    scene.actual[999] ^= 0x81;
    assert_eq!(scene.class(), Class::BitFlips);
    assert!(scene.explanation().text.contains("3 of 8000 bits"));
    assert_eq!(scene.explanation().rule, None);
}

#[test]
fn not_bit_flips() {
    let mut scene = Scene::new(0, 1000);
    scene.actual[500] ^= 0x17;
    assert_eq!(scene.class(), Class::Unknown);
    let mut scene = Scene::new(0, 1000);
    scene.actual.iter_mut().for_each(|byte| *byte ^= 0x01);
    assert_ne!(scene.class(), Class::BitFlips);
}

#[test]
fn what_has_no_pattern_is_unknown_and_still_located() {
    let mut scene = Scene::new(0, 1000);
    let mut random = crate::random::Random::new(8);
    scene.actual[100..200].iter_mut().for_each(|byte| *byte = random.next_u64() as u8);
    let explanation = scene.explanation();
    assert_eq!(explanation.class, Class::Unknown);
    assert!((99..=101).contains(&explanation.first_wrong));
    assert!(explanation.wrong_bytes >= 95 && explanation.wrong_bytes <= 100);
    assert!(!explanation.diff.is_empty());
}

#[test]
fn two_mistakes_at_once_are_not_forced_into_one() {
    let mut scene = Scene::new(0, 4096).keep(100..300);
    scene.actual[1000..1100].fill(0);
    let explanation = scene.explanation();
    assert_eq!(explanation.class, Class::Unknown);
    assert_eq!(explanation.segments.len(), 2, "{:?}", explanation.segments);
}

fn breach(side: Side, nearest: usize, actual: &[u8]) -> Breach {
    Breach {
        side,
        nearest,
        farthest: nearest + actual.len() - 1,
        expected: actual.iter().map(|byte| !byte).collect(),
        actual: actual.to_vec(),
    }
}

fn breach_class(breach: &Breach, continued: &[u8]) -> Class {
    let route = Route::Path(Path::Packet);
    explain_breach(breach, 8192 + 32..8192 + 100, continued, route, Direction::FromDevice).class
}

#[test]
fn neighbour_store() {
    assert_eq!(breach_class(&breach(Side::Before, 0, &[1; 8]), &[9; 64]), Class::NeighbourStore);
    assert_eq!(breach_class(&breach(Side::After, 20, &[1; 8]), &[9; 64]), Class::NeighbourStore);
}

#[test]
fn overrun() {
    // The device's data goes on, if only by a few bytes; and changes beyond the shared line.
    assert_eq!(breach_class(&breach(Side::After, 0, &[9; 3]), &[9; 64]), Class::Overrun);
    assert_eq!(breach_class(&breach(Side::Before, 0, &[9; 3]), &[9; 64]), Class::Overrun);
    assert_eq!(breach_class(&breach(Side::After, 0, &[1; 100]), &[9; 64]), Class::Overrun);
    assert_eq!(breach_class(&breach(Side::After, 28, &[1; 1]), &[9; 64]), Class::Overrun);
}

/// A loss of this many bytes at a place in the buffer.
fn lost(how: Lost, at: std::ops::Range<usize>) -> Missing {
    Missing { how, bytes: at.len(), at: Some(at), step: "evict" }
}

#[test]
fn what_the_machine_saw_decides() {
    for (how, class) in [
        (Lost::ReadPoison, Class::Poison),
        (Lost::ReadOld, Class::StaleLine),
        (Lost::KeptStale, Class::StaleLine),
        (Lost::WrittenOver, Class::LateWriteBack),
        (Lost::StoreDropped, Class::NeighbourStore),
        (Lost::LeftInFifo, Class::TailMissing),
        (Lost::LeftInBounce, Class::PieceNotCopied),
    ] {
        let mut scene = Scene::new(0, 1000).keep(448..512);
        // Without it the shape says stale line.
        assert_eq!(scene.class(), Class::StaleLine);
        scene.seen.missing.push(lost(how, 448..512));
        let explanation = scene.explanation();
        assert_eq!(explanation.class, class, "{how}");
        assert!(explanation.text.contains("64 bytes"), "{}", explanation.text);
        assert!(explanation.text.contains("transfer 41 (packet)"), "{}", explanation.text);
    }
}

#[test]
fn a_loss_elsewhere_explains_nothing_and_one_without_a_place_may() {
    let mut scene = Scene::new(0, 1000).keep(448..512);
    scene.seen.missing.push(lost(Lost::WrittenOver, 0..64));
    assert_eq!(scene.class(), Class::StaleLine);
    scene.seen.missing.push(Missing { at: None, ..lost(Lost::ReadPoison, 0..64) });
    assert_eq!(scene.class(), Class::Poison);
}

#[test]
fn the_broken_rule_replaces_the_usual_one() {
    let mut scene = Scene::new(0, 1000).keep(448..512);
    scene.seen.missing.push(lost(Lost::LeftInFifo, 448..512));
    assert_eq!(scene.explanation().rule, Some("DMA-54"));
    scene.seen.breaches.push(BrokenRule {
        rule: "DMA-42",
        text: "freed while mapped".to_owned(),
        call_site: "packet.rs:1".to_owned(),
    });
    let explanation = scene.explanation();
    assert_eq!(explanation.rule, Some("DMA-42"));
    assert_eq!(explanation.breach.as_deref(), Some("freed while mapped, at packet.rs:1"));
    assert!(explanation.call.is_some_and(|call| call.starts_with("FlushAdapterBuffers")));
}

#[test]
fn a_loss_knows_its_place_in_the_buffer() {
    let place = nthost::cache::Place { page: 0, line: 2, address: 0x1080 };
    let loss = Loss {
        moment: nthost::cache::Moment::default(),
        place,
        how: Lost::KeptStale,
        cause: nthost::cache::Cause::Forgotten,
        bytes: 0xFF00,
    };
    let missing = Missing::of(&loss, &(0x1000..0x1100));
    assert_eq!((missing.at, missing.bytes), (Some(0x88..0x90), 8));
    assert_eq!(Missing::of(&loss, &(0x2000..0x2100)).at, None);
}

#[test]
fn what_the_device_was_told_to_do_is_the_cause_and_no_rule() {
    let found = Scene::new(0, 1000).keep(448..512).explanation();
    assert!(found.rule.is_some());
    assert_eq!(found.clone().of_injected(&[], &[]), found);
    let option = ["inject=wrong-offset:64".to_owned()];
    let told = found.clone().of_injected(&option, &[]);
    assert!(told.text.ends_with("; the device did what it was told to: inject=wrong-offset:64"));
    assert_eq!((told.rule, told.call), (None, None));
    let later = found.of_injected(&[], &option);
    assert!(
        later.text.contains("to an earlier transfer: inject=wrong-offset:64"),
        "{}",
        later.text
    );
}
