//! One run of the driver with one mistake made for it, and what its data was like afterwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dmaproof_protocol::{Direction, Path, TransferHeader};
use nthost::cache::{Loss, Step};
use nthost::verifier::Report;
use nthost::{Buffer, File, Machine, Profile, RuleId, Slot, SystemDma};
use testdev::model::edu::Edu;
use testdev::model::slave::Slave;
use zerocopy::IntoBytes;

use super::table::{Cell, MachineKind, Seen};
use crate::explain::{self, Class, Evidence, Explanation, explain};
use crate::history::{History, Record};
use crate::pattern::{Codec, Family, Tag};
use crate::route::Route;
use crate::target::{self, Device, NtStatus, Observed};

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The seed of the machine's choices and of the data.
    pub seed: u64,
    /// Whether the machine goes on after a breach that loses nothing but data, so that the data
    /// shows it.
    pub go_on: bool,
    /// Whether each step of caches, memory and device is recorded.
    pub record: bool,
}

/// How a run went.
#[derive(Debug)]
pub struct Run {
    /// The violation that stopped the machine.
    pub stopped: Option<Report>,
    /// What was noted.
    pub notes: Vec<Report>,
    /// What the cache model saw being lost.
    pub losses: Vec<Loss>,
    /// The steps of caches, memory and device, if they were to be recorded.
    pub steps: Vec<Step>,
    /// The transfers that ended.
    pub transfers: Vec<Transfer>,
    /// The transfer that was under way when the machine stopped.
    pub cut_short: Option<Transfer>,
    /// For each of the driver's calls that was spoiled, the crossings before it.
    pub spoiled: Vec<u64>,
}

/// One transfer of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes.
    pub length: usize,
    /// Where the buffer begins in a page.
    pub page_offset: usize,
    /// The first byte on the device.
    pub device_offset: usize,
}

/// The transfers of a run: whole cache lines on one page, the same across a page boundary, and
/// one that shares its first and last line with its neighbours.
const BULK: [Shape; 3] = [
    Shape { length: 640, page_offset: 0xC0, device_offset: 0 },
    Shape { length: 3008, page_offset: 0x7C0, device_offset: 640 },
    Shape { length: 600, page_offset: 0x105, device_offset: 128 },
];

/// Transfers of four cache lines, few enough to be drawn: on one page, and across two.
pub const SMALL: [Shape; 2] = [
    Shape { length: 256, page_offset: 0x100, device_offset: 64 },
    Shape { length: 256, page_offset: 0xF80, device_offset: 64 },
];

/// The DMA controller's FIFO, bytes: no transfer here ends with a full one.
const CHUNK: usize = 24;

/// Programmed transfers reach registers: the liveness register.
const REGISTER: [Shape; 1] = [Shape { length: 4, page_offset: 0x100, device_offset: 4 }];

/// How a transfer ended.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// What it was.
    pub shape: Shape,
    /// Where the app's buffer was in the memory of this process.
    pub address: usize,
    /// What should be where it went, what was there before, and what is there.
    pub data: [Vec<u8>; 3],
    /// What the cache model saw being lost meanwhile.
    pub losses: Vec<Loss>,
    /// Its status and the bytes that the driver says it moved.
    pub result: Result<usize, NtStatus>,
    /// What is wrong with its data, and who sees that.
    pub wrong: Option<(Seen, Explanation)>,
}

impl Run {
    /// Whether every transfer succeeded with all its data intact.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.wrong().is_none() && self.transfers.iter().all(|done| done.result.is_ok())
    }

    /// What the verifier said: first the violation that stopped the machine, then the notes.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.stopped.iter().chain(&self.notes)
    }

    /// The rules that were named, once each, in this order.
    #[must_use]
    pub fn named(&self) -> Vec<RuleId> {
        let mut named = Vec::new();
        for report in self.reports() {
            if !named.contains(&report.rule) {
                named.push(report.rule);
            }
        }
        named
    }

    /// The first transfer whose data is wrong.
    #[must_use]
    pub fn wrong(&self) -> Option<&(Seen, Explanation)> {
        self.transfers.iter().find_map(|done| done.wrong.as_ref())
    }
}

/// The machine of this build that a table's machine is, if there is one.
#[must_use]
pub fn profile(machine: MachineKind) -> Option<Profile> {
    Profile::ALL.into_iter().find(|profile| profile.name() == machine.name())
}

/// Runs a cell once; `None` if this build has no such machine or device.
#[must_use]
pub fn run(cell: &Cell, settings: Settings, shapes: &'static [Shape]) -> Option<Run> {
    let profile = profile(cell.machine)?;
    let mut builder = Machine::builder(profile)
        .seed(settings.seed)
        .go_on(settings.go_on)
        .record_caches(settings.record)
        .sabotage(cell.row.sabotage);
    if cell.path == Path::SystemDma {
        builder = builder.system_dma(Some(SystemDma { chunk: CHUNK, ..SystemDma::default() }));
    }
    if let Some(number) = cell.row.failing_flush {
        builder = builder.fail_flush(number);
    }
    let machine = builder.build();
    // Whatever was seen until a machine stops counts.
    let seen = Arc::new(Mutex::new(Progress::default()));
    let (inner, path, direction) = (Arc::clone(&seen), cell.path, cell.direction);
    let ended = machine.run(move |machine| {
        machine.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        let (slot, file) = target::start(machine, device(path)).expect("the driver starts");
        let codec = Codec::new(settings.seed);
        let history = History::default();
        let mut bench = Bench { machine, slot, file, codec, history, progress: inner };
        for &shape in shapes {
            let done = bench.transfer(path, direction, shape);
            let mut progress = bench.progress();
            progress.under_way = None;
            progress.done.push(done);
        }
        drop(bench);
        machine.shut_down();
    });
    let stopped = ended.err().map(|stopped| *stopped.report);
    let progress = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let Progress { done: transfers, under_way } = progress;
    let losses = transfers.iter().flat_map(|done: &Transfer| &done.losses).copied();
    Some(Run {
        losses: losses.chain(machine.cache_losses()).collect(),
        stopped: stopped.or_else(|| machine.outcomes().into_iter().next()),
        notes: machine.notes(),
        steps: machine.cache_steps(),
        transfers,
        cut_short: under_way,
        spoiled: machine.spoiled_calls(),
    })
}

/// The transfers that a cell's runs make.
#[must_use]
pub fn shapes(cell: &Cell) -> &'static [Shape] {
    let through_buffer = matches!(cell.path, Path::CommonBufferCached | Path::CommonBufferUncached);
    match cell.path {
        Path::Pio => &REGISTER,
        // What does not fill its lines would go through the common buffer, another path, or be
        // bounced.
        _ if !cell.row.shares_lines && !through_buffer && cell.machine == MachineKind::Nt => {
            &BULK[..2]
        }
        _ => &BULK,
    }
}

/// The transfers of a run so far.
#[derive(Default)]
struct Progress {
    done: Vec<Transfer>,
    under_way: Option<Transfer>,
}

/// An open device, and what was moved through it.
struct Bench<'m> {
    machine: &'m Machine,
    slot: Slot,
    file: File,
    codec: Codec,
    history: History,
    progress: Arc<Mutex<Progress>>,
}

impl Bench<'_> {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a pattern where it is to come from, and its complement where it is to go to. Returns the
    /// two and the application's buffer.
    fn prepare(
        &mut self,
        tag: Tag,
        path: Path,
        direction: Direction,
        shape: Shape,
    ) -> (Vec<u8>, Vec<u8>, Buffer) {
        let mut expected = vec![0; shape.length];
        self.codec.fill(tag, 0, &mut expected);
        let mut buffer = Buffer::at_page_offset(shape.length, shape.page_offset);
        let before = complement(&expected);
        match direction {
            Direction::ToDevice => {
                buffer.copy_from_slice(&expected);
                self.set_device(path, shape, &before);
            }
            Direction::FromDevice => {
                buffer.copy_from_slice(&before);
                if path == Path::Pio {
                    // Registers hold what they hold.
                    expected = self.device(path, shape);
                } else {
                    self.set_device(path, shape, &expected);
                }
            }
        }
        (expected, before, buffer)
    }

    /// Moves a pattern, and looks where it went without asking the driver.
    fn transfer(&mut self, path: Path, direction: Direction, shape: Shape) -> Transfer {
        let tag = Tag { transfer: self.history.next_number(), family: Family::Plain };
        let (expected, before, mut buffer) = self.prepare(tag, path, direction, shape);
        // CAST: lengths.
        let header = TransferHeader::new(path, shape.device_offset as u64, shape.length as u64);
        let code = target::control_code(direction);
        let address = buffer.as_ptr().addr();
        self.progress().under_way = Some(Transfer {
            shape,
            address,
            data: [expected.clone(), before.clone(), before.clone()],
            losses: Vec::new(),
            result: Ok(0),
            wrong: None,
        });
        let result = self.file.device_io_control(code, header.as_bytes(), &mut buffer);
        let result = result.map_err(|status| NtStatus(status.0));
        let actual = match direction {
            // The register answers with the complement of what was written.
            Direction::ToDevice if path == Path::Pio => complement(&self.device(path, shape)),
            Direction::ToDevice => self.device(path, shape),
            Direction::FromDevice => buffer.to_vec(),
        };
        let losses = self.machine.take_cache_losses();
        let observed = Observed { losses: losses.clone(), ..Observed::default() };
        let evidence = Evidence {
            expected: &expected,
            actual: &actual,
            before: &before,
            tag: (path != Path::Pio).then_some(tag),
            route: Route::Path(path),
            direction,
            position: shape.page_offset,
            device_offset: shape.device_offset as u64,
            codec: &self.codec,
            history: &self.history,
            seen: &explain::Seen::of(observed, direction, &(address..address + shape.length)),
        };
        let seer = match direction {
            Direction::ToDevice => Seen::Device,
            Direction::FromDevice => Seen::App,
        };
        let wrong = result.is_ok().then(|| explain(&evidence)).flatten();
        let wrong = wrong
            .map(|found| (seer, found))
            .or_else(|| self.fetched(path, direction, &buffer).map(|found| (Seen::Fetch, found)));
        self.history.remember(Record {
            tag,
            route: Route::Path(path),
            direction,
            device_offset: shape.device_offset as u64,
            length: shape.length as u64,
            position: shape.page_offset,
        });
        Transfer { shape, address, data: [expected, before, actual], losses, result, wrong }
    }

    /// What an instruction fetch from the buffer sees and the data cache does not. The documents
    /// ask for it after programmed reads only.
    fn fetched(&self, path: Path, direction: Direction, buffer: &[u8]) -> Option<Explanation> {
        if (path, direction) != (Path::Pio, Direction::FromDevice) {
            return None;
        }
        let fetched = self.machine.instruction_view(buffer);
        let wrong = buffer.iter().zip(&fetched).filter(|(cached, ram)| cached != ram).count();
        let first = buffer.iter().zip(&fetched).position(|(cached, ram)| cached != ram)?;
        Some(Explanation {
            class: Class::StaleLine,
            text: "memory has not what the processor's data cache has: an instruction fetch from \
                   the buffer sees what was there before"
                .to_owned(),
            rule: Some(RuleId::Dma86.name()),
            call: Some("KeFlushIoBuffers"),
            breach: None,
            first_wrong: first as u64,
            wrong_bytes: wrong as u64,
            segments: Vec::new(),
            diff: Vec::new(),
        })
    }

    /// What the device holds.
    fn device(&self, path: Path, shape: Shape) -> Vec<u8> {
        let Shape { length, device_offset: at, .. } = shape;
        let held = match path {
            Path::SystemDma => {
                self.look(|slave: &mut Slave| slave.memory()[at..][..length].to_vec())
            }
            Path::Pio => self.look(|edu: &mut Edu| edu.liveness().to_le_bytes().to_vec()),
            _ => self.look(|edu: &mut Edu| edu.memory()[at..][..length].to_vec()),
        };
        held.expect("the device of this path")
    }

    fn set_device(&self, path: Path, shape: Shape, bytes: &[u8]) {
        let Shape { length, device_offset: at, .. } = shape;
        let set = match path {
            Path::SystemDma => self.look(|slave: &mut Slave| {
                slave.memory_mut()[at..][..length].copy_from_slice(bytes);
            }),
            Path::Pio => Some(()),
            _ => self.look(|edu: &mut Edu| {
                edu.memory_mut()[at..][..length].copy_from_slice(bytes);
            }),
        };
        set.expect("the device of this path");
    }

    fn look<T: 'static, R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.machine.device_model(self.slot, look)
    }
}

/// The device that has a path.
fn device(path: Path) -> Device {
    if path == Path::SystemDma { Device::Slave } else { Device::Edu }
}

fn complement(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}
