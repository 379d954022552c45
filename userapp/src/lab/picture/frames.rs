//! From recorded steps to frames: what each place holds of each cache line, and what just happened.

use dmaproof_protocol::{Direction, Path};
use nthost::cache::{Cause, FIFO, LINE, LineState, Loss, Step};

use super::deeds::{deeds, describe, sentence};
use super::marks::{Mark, marks};
use crate::lab::run::{Run, Transfer};
use crate::lab::table::Cell;

/// Bytes drawn as one cell.
const WORD: usize = 8;
/// Cells of a line.
pub const WORDS: usize = LINE / WORD;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The data of this transfer.
    New,
    /// What was at the destination, or in memory, before.
    Old,
    /// What memory holds under a line that was never written back.
    Poison,
    /// Zeros.
    Zero,
    /// Something else, or a mixture.
    Other,
    /// Nothing: no copy here, or bytes that are not the transfer's.
    Empty,
}

/// The cells of one line in one place.
pub type Words = [Content; WORDS];

/// One cache line, everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its first byte, from the start of the buffer.
    pub offset: usize,
    /// What the processor's cache has of it.
    pub state: LineState,
    /// What the processor reads.
    pub processor: Words,
    /// What devices read.
    pub ram: Words,
    /// What waits in the adapter's FIFO for it.
    pub fifo: Words,
    /// What the device holds of it.
    pub device: Words,
    /// The cells whose data is lost for good.
    pub lost: [bool; WORDS],
}

/// A moment of the run.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What happened.
    pub title: String,
    /// What that does, in a sentence or two.
    pub text: String,
    /// Where data moved: the names of two places, or of one.
    pub moved: &'static [&'static str],
    /// The lines after it.
    pub lines: Vec<Line>,
    /// How data was lost, if it was.
    pub loss: Option<String>,
    /// Whether this is where the driver's call was spoiled.
    pub spoiled: bool,
    /// Crossings between driver and host so far.
    pub event: u64,
}

/// The frames of the last transfer of a run, also of one that was cut short. Without lines, if the
/// machine stopped before there was one.
#[must_use]
pub fn frames(cell: &Cell, run: &Run) -> Vec<Frame> {
    Scene::of(cell, run).play(run)
}

/// What the picture is of.
struct Scene<'r> {
    cell: &'r Cell,
    /// Address in the process of the first line drawn.
    start: usize,
    length: usize,
    expected: &'r [u8],
    before: &'r [u8],
    actual: &'r [u8],
    steps: Vec<&'r Step>,
    losses: Vec<&'r Loss>,
}

impl<'r> Scene<'r> {
    fn of(cell: &'r Cell, run: &'r Run) -> Self {
        let Some(transfer) = run.cut_short.as_ref().or(run.transfers.last()) else {
            let (steps, losses) = (Vec::new(), Vec::new());
            return Self {
                cell,
                start: 0,
                length: 0,
                expected: &[],
                before: &[],
                actual: &[],
                steps,
                losses,
            };
        };
        let Transfer { shape, address, data: [expected, before, actual], .. } = transfer;
        // The lines that the device used: those of the buffer, or of a common buffer.
        let used = |step: &&Step| {
            matches!(step.cause, Cause::DeviceRead | Cause::DeviceWrite | Cause::FifoFilled)
        };
        let first = run.steps.iter().filter(used).map(|step| step.place.address).min();
        let start = first.unwrap_or(*address) / LINE * LINE;
        let inside = |address: usize| (start..start + shape.length).contains(&address);
        let mut steps: Vec<_> =
            run.steps.iter().filter(|step| inside(step.place.address)).collect();
        // Stores are seen line by line, when each line has its next step; they were made before.
        steps.sort_by_key(|step| (step.moment.event, step.cause != Cause::Store));
        let losses = run.losses.iter().filter(|loss| inside(loss.place.address)).collect();
        let length = shape.length;
        Self { cell, start, length, expected, before, actual, steps, losses }
    }

    fn play(&self, run: &Run) -> Vec<Frame> {
        let mut lines = self.first_lines();
        let mut frames: Vec<Frame> = Vec::new();
        let mut marks = marks(run).into_iter().peekable();
        let mut told = 0;
        for group in deeds(self.cell, &self.steps) {
            let event = group[0].moment.event;
            while let Some(mark) = marks.next_if(|mark| mark.event() < event) {
                frames.push(self.marked_frame(&lines, mark));
            }
            let before = lines.clone();
            for step in group {
                self.apply(&mut lines, step);
            }
            let last = group.last().map_or(event, |step| step.moment.event);
            let loss = self.lose(&mut lines, &mut told, group, last);
            let quiet = matches!(group[0].cause, Cause::Evict | Cause::Prefetch | Cause::Forgotten);
            if quiet && lines == before && loss.is_none() {
                continue;
            }
            let (title, text, moved) = describe(self.cell, group);
            let lines = lines.clone();
            frames.push(Frame { title, text, moved, lines, loss, spoiled: false, event });
        }
        frames.extend(marks.map(|mark| self.marked_frame(&lines, mark)));
        let told = frames.iter().any(|frame| frame.loss.is_some());
        frames.extend(run.wrong().filter(|_| !told).map(|(_, found)| {
            let event = frames.last().map_or(0, |frame| frame.event);
            self.last_frame(lines, &found.text, event)
        }));
        frames
    }

    /// What was lost where the caches have no part in it shows at the end only.
    fn last_frame(&self, mut lines: Vec<Line>, found: &str, event: u64) -> Frame {
        let pairs = self.expected.chunks(WORD).zip(self.actual.chunks(WORD));
        for (at, (expected, actual)) in pairs.enumerate() {
            if let Some(line) = lines.get_mut(at / WORDS) {
                line.lost[at % WORDS] = expected != actual;
            }
        }
        let (title, moved): (_, &'static [&'static str]) = match self.cell.direction {
            Direction::ToDevice => ("The device has this", &["device"]),
            Direction::FromDevice => ("The app reads this", &["processor"]),
        };
        Frame {
            title: title.to_owned(),
            text: "The request is complete.".to_owned(),
            moved,
            lines,
            loss: Some(format!("Data is lost: {found}.")),
            spoiled: false,
            event,
        }
    }

    fn first_lines(&self) -> Vec<Line> {
        let device = match self.cell.direction {
            Direction::ToDevice => Content::Old,
            Direction::FromDevice => Content::New,
        };
        (0..self.length.div_ceil(LINE))
            .map(|number| Line {
                offset: number * LINE,
                state: LineState::Absent,
                processor: [Content::Empty; WORDS],
                ram: [Content::Empty; WORDS],
                fifo: [Content::Empty; WORDS],
                device: self.clip(number * LINE, [device; WORDS]),
                lost: [false; WORDS],
            })
            .collect()
    }

    /// Cells behind the end of the transfer are empty.
    fn clip(&self, offset: usize, mut words: Words) -> Words {
        for (at, word) in words.iter_mut().enumerate() {
            if offset + at * WORD >= self.length {
                *word = Content::Empty;
            }
        }
        words
    }

    fn apply(&self, lines: &mut [Line], step: &Step) {
        let offset = step.place.address - self.start;
        let Some(line) = lines.get_mut(offset / LINE) else { return };
        line.state = step.new;
        line.processor = self.clip(offset, self.contents(offset, &step.cpu));
        line.ram = self.clip(offset, self.contents(offset, &step.ram));
        let (first, count) = (usize::from(step.bytes.0), usize::from(step.bytes.1));
        let concerned = first / WORD..(first + count).div_ceil(WORD);
        match step.cause {
            // It goes through the controller's FIFO.
            Cause::DeviceRead if self.cell.path == Path::SystemDma => {}
            Cause::DeviceRead => {
                for word in concerned {
                    line.device[word] = line.ram[word];
                }
            }
            Cause::FifoFilled => {
                if self.cell.path != Path::SystemDma {
                    line.fifo = [Content::Empty; WORDS];
                }
                self.copy_fifo(&mut line.fifo, offset, step);
            }
            Cause::FifoDrained if self.cell.path == Path::SystemDma => {
                line.fifo[concerned].fill(Content::Empty);
                if self.cell.direction == Direction::ToDevice {
                    self.copy_fifo(&mut line.device, offset, step);
                }
            }
            Cause::FifoDrained | Cause::Call(_) | Cause::Forgotten => {
                line.fifo = [Content::Empty; WORDS];
            }
            _ => {}
        }
    }

    /// What a FIFO holds of a line, or has passed on, comes to a place.
    fn copy_fifo(&self, place: &mut Words, offset: usize, step: &Step) {
        let (first, count) = (usize::from(step.bytes.0), usize::from(step.bytes.1));
        for (at, bytes) in step.fifo[..count.min(FIFO)].chunks(WORD).enumerate() {
            let word = first / WORD + at;
            if let Some(place) = place.get_mut(word) {
                *place = self.content(offset + word * WORD, bytes);
            }
        }
    }

    fn contents(&self, offset: usize, bytes: &[u8; LINE]) -> Words {
        let mut words = [Content::Empty; WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            *word = self.content(offset + at * WORD, &bytes[at * WORD..][..WORD]);
        }
        words
    }

    /// What some bytes are, at this place of the transfer.
    fn content(&self, offset: usize, bytes: &[u8]) -> Content {
        let here = |data: &[u8]| data.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
        let poison = nthost::cache::POISON;
        if here(self.expected) {
            Content::New
        } else if here(self.before) {
            Content::Old
        } else if bytes.iter().zip(poison).all(|(byte, poison)| *byte == poison) {
            Content::Poison
        } else if bytes.iter().all(|&byte| byte == 0) {
            Content::Zero
        } else {
            Content::Other
        }
    }

    /// Marks what was lost in these steps, and says how.
    fn lose(
        &self,
        lines: &mut [Line],
        told: &mut usize,
        group: &[&Step],
        last: u64,
    ) -> Option<String> {
        let (mut bytes, mut how) = (0, None);
        while let Some(loss) = self.losses.get(*told) {
            let here =
                loss.moment.event <= last && group.iter().any(|step| step.cause == loss.cause);
            let known = group.iter().any(|step| step.place.address == loss.place.address);
            if !here || !known {
                break;
            }
            *told += 1;
            let offset = loss.place.address - self.start;
            if let Some(line) = lines.get_mut(offset / LINE) {
                for (word, lost) in line.lost.iter_mut().enumerate() {
                    *lost |= loss.bytes >> (word * WORD) & 0xFF != 0;
                }
            }
            bytes += loss.bytes.count_ones();
            how.get_or_insert(loss.how);
        }
        how.map(|how| format!("{} ({bytes} bytes).", sentence(how, self.cell.direction)))
    }

    /// What the driver or the verifier did between two steps.
    fn marked_frame(&self, lines: &[Line], mark: Mark<'_>) -> Frame {
        let (title, text) = mark.describe(self.cell.row);
        Frame {
            title,
            text,
            moved: &[],
            lines: lines.to_vec(),
            loss: None,
            spoiled: mark.is_mistake(),
            event: mark.event(),
        }
    }
}
