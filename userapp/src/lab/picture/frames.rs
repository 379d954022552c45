//! From recorded steps to frames: what each place holds of each cache line, and what just happened.

use dmaproof_protocol::Direction;
use nthost::cache::{Cause, FIFO, LINE, LineState, Loss, Lost, Step};
use nthost::verifier::Report;

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
        for group in self.steps.chunk_by(|a, b| are_one_deed(a, b)) {
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
            let (title, text, moved) = self.describe(group[0].cause);
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
            Cause::DeviceRead => {
                for word in concerned {
                    line.device[word] = line.ram[word];
                }
            }
            Cause::FifoFilled => {
                line.fifo = [Content::Empty; WORDS];
                for (at, bytes) in step.fifo[..count.min(FIFO)].chunks(WORD).enumerate() {
                    let word = first / WORD + at;
                    if let Some(place) = line.fifo.get_mut(word) {
                        *place = self.content(offset + word * WORD, bytes);
                    }
                }
            }
            Cause::FifoDrained | Cause::Call(_) | Cause::Forgotten => {
                line.fifo = [Content::Empty; WORDS];
            }
            _ => {}
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
        how.map(|how| format!("{} ({bytes} bytes).", sentence(how)))
    }

    /// What the driver or the verifier did between two steps.
    fn marked_frame(&self, lines: &[Line], mark: Mark<'_>) -> Frame {
        let (title, text) = match mark {
            Mark::Spoiled(_) => {
                (format!("The mistake: {}", self.cell.row.sabotage), self.cell.row.gist.to_owned())
            }
            Mark::Broken(report) => (
                format!("Rule {} is broken", report.rule),
                format!(
                    "{}. A machine that does not go on stops here: the runs of the row do.",
                    capital(&report.message)
                ),
            ),
            Mark::Stopped(report) => (
                format!("Rule {} is broken, and the machine stops", report.rule),
                format!(
                    "{}. More than data can be lost by it, so that no machine goes on.",
                    capital(&report.message)
                ),
            ),
        };
        Frame {
            title,
            text,
            moved: &[],
            lines: lines.to_vec(),
            loss: None,
            spoiled: matches!(mark, Mark::Spoiled(_)),
            event: mark.event(),
        }
    }

    /// Title, explanation, and where data moves.
    fn describe(&self, cause: Cause) -> (String, String, &'static [&'static str]) {
        let title: &str = match cause {
            Cause::Tracked => "The buffer is locked",
            Cause::Forgotten => "The request ends, and the buffer is unlocked",
            Cause::Store => "The processor stores into the buffer",
            Cause::Call(name) => return self.describe_call(name),
            Cause::DeviceRead => "The device reads memory",
            Cause::DeviceWrite => "The device writes memory",
            Cause::Evict => "The cache evicts lines",
            Cause::Prefetch => "The processor prefetches lines",
            Cause::BounceIn => "Shared lines are copied to a bounce page",
            Cause::BounceOut => "Shared lines are copied back from the bounce page",
            Cause::FifoFilled => "The device writes, through the adapter's FIFO",
            Cause::FifoDrained => "The adapter's FIFO goes on to memory",
        };
        let (text, moved): (&str, &'static [&'static str]) = match cause {
            Cause::Tracked => (
                "Its lines may be in the cache, and newer there than in memory: whoever used the \
                 buffer last has left them so.",
                &[],
            ),
            Cause::Forgotten => (
                "Lines that are dirty are written back some time; lines that are stale are read \
                 until they leave the cache.",
                &["cache", "ram"],
            ),
            Cause::Store => {
                ("It writes its cache; memory keeps what it had.", &["processor", "cache"])
            }
            Cause::DeviceRead => {
                ("It reads memory, not the processor's cache.", &["ram", "device"])
            }
            Cause::DeviceWrite => (
                "It writes memory; what the cache holds of these lines stays as it is.",
                &["device", "ram"],
            ),
            Cause::Evict => (
                "At any time, and by no call: a dirty line is written back first, over whatever \
                 memory holds.",
                &["cache", "ram"],
            ),
            Cause::Prefetch => {
                ("At any time, and by no call: it takes what memory holds now.", &["ram", "cache"])
            }
            Cause::FifoFilled => (
                "A full FIFO goes on to memory; the last bytes wait in it until FlushAdapterBuffers \
                 is called. What the cache holds of these lines stays as it is.",
                &["device", "fifo", "ram"],
            ),
            Cause::FifoDrained => ("Now memory has it.", &["fifo", "ram"]),
            Cause::BounceIn | Cause::BounceOut | Cause::Call(_) => {
                ("The processor copies them, so that no neighbour's data is touched.", &[])
            }
        };
        (title.to_owned(), text.to_owned(), moved)
    }

    fn describe_call(&self, name: &str) -> (String, String, &'static [&'static str]) {
        let from_device = self.cell.direction == Direction::FromDevice;
        let (text, moved): (&str, &'static [&'static str]) = match name {
            "KeFlushIoBuffers" if from_device => (
                "What is dirty is written back, and the lines leave the cache: nothing old can be \
                 written over the device's data later.",
                &["cache", "ram"],
            ),
            "KeFlushIoBuffers" => (
                "What is dirty is written back, so that the device reads what the processor wrote.",
                &["cache", "ram"],
            ),
            "MapTransferEx" => (
                "The device is given the buffer; version 3 makes cache and memory agree.",
                &["cache", "ram"],
            ),
            _ if name.starts_with("Map") || name.starts_with("Build") => {
                ("The device is given the buffer. Caches are not touched.", &[])
            }
            _ if from_device && (name.contains("Flush") || name.starts_with("Put")) => (
                "The adapter's buffers go to memory, and clean lines are dropped, so that the \
                 processor reads what the device wrote.",
                &["ram", "processor"],
            ),
            _ if name.contains("Flush") || name.starts_with("Put") => {
                ("The buffer is taken back from the device.", &[])
            }
            _ => ("It flushes nothing: what has not reached memory by now never does.", &[]),
        };
        (format!("The driver calls {name}"), text.to_owned(), moved)
    }
}

/// What happens between the steps of caches, memory and device.
#[derive(Clone, Copy)]
enum Mark<'r> {
    /// A call of the driver's was spoiled, at this event.
    Spoiled(u64),
    /// A rule was broken, and the machine went on.
    Broken(&'r Report),
    /// A rule was broken, and the machine stopped.
    Stopped(&'r Report),
}

impl Mark<'_> {
    const fn event(&self) -> u64 {
        match self {
            Self::Spoiled(event) => *event,
            Self::Broken(report) | Self::Stopped(report) => report.event,
        }
    }
}

/// All of them, in order.
fn marks(run: &Run) -> Vec<Mark<'_>> {
    let mut marks: Vec<_> = run.spoiled.iter().copied().map(Mark::Spoiled).collect();
    marks.extend(run.notes.iter().filter(|note| !note.harmless).map(Mark::Broken));
    // The sort is stable: what stopped the machine comes last.
    marks.extend(run.stopped.iter().map(Mark::Stopped));
    marks.sort_by_key(Mark::event);
    marks
}

/// A sentence's beginning.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Whether two steps belong to one deed: one call, or what a device or a cache does in a row.
fn are_one_deed(one: &Step, other: &Step) -> bool {
    let fifo = |step: &Step| matches!(step.cause, Cause::FifoFilled | Cause::FifoDrained);
    match one.cause {
        Cause::Call(_) => one.cause == other.cause && one.moment.event == other.moment.event,
        _ => one.cause == other.cause || fifo(one) && fifo(other),
    }
}

fn sentence(how: Lost) -> &'static str {
    match how {
        Lost::ReadPoison => {
            "Data is lost: the device has read memory that never had the processor's data"
        }
        Lost::ReadOld => "Data is lost: the device has read memory older than the processor's data",
        Lost::WrittenOver => {
            "Data is lost: an older line was written back over what the device had written"
        }
        Lost::KeptStale => "Data is lost: the processor keeps its older copy",
        Lost::StoreDropped => "Data is lost: what the processor had stored was given up",
        Lost::LeftInFifo => "Data is lost: the FIFO's tail never reached memory",
        Lost::LeftInBounce => "Data is lost: the bounce page was never copied back",
    }
}
