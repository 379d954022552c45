//! A device in memory, with defects that can be switched on: what the app is tested against.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dmaproof_protocol::{
    DeviceKind, Direction, Limits, Path, Paths, PioKind, PioWindow, QueryReply, Refusal,
    Statistics, TransferHeader, check_read_write, status,
};

use super::{
    Body, Ended, Note, NtStatus, Pending, Session, Target, TargetError, Transfer, Violation,
};
use crate::guard::{Arena, LINE};

/// What is wrong with a [`MemoryTarget`]. A defect shows in transfers by `path` of that direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// In transfers by this path.
    pub path: Path,
    /// In this direction.
    pub direction: Direction,
    /// What happens.
    pub kind: DefectKind,
}

/// What happens in a defective transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefectKind {
    /// No byte arrives.
    Lost,
    /// The last bytes do not arrive, if the transfer is longer than that.
    TailMissing(usize),
    /// Data arrives this many bytes too far along.
    Shifted(usize),
    /// A whole cache line inside the buffer keeps what it held.
    StaleLine,
    /// One bit arrives wrong.
    BitFlip,
    /// A byte in front of the buffer on the device changes too.
    DeviceNeighbour,
    /// The source buffer is changed.
    SourceChanged,
    /// The driver says that it moved one byte less.
    Short,
    /// The request ends with this status.
    Fails(i32),
    /// A rule is broken and the machine stops.
    Stops,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    memory: Vec<u8>,
    registers: Vec<u8>,
    statistics: Statistics,
    defect: Option<Defect>,
    miscounts: bool,
    notes: Vec<Note>,
    stopped: Option<Violation>,
    never_stops: bool,
    /// Set when so many transfers were asked for; the last one is cancelled then.
    interrupt: Option<(u64, Arc<AtomicBool>)>,
    transfers: u64,
}

/// A machine that is nothing but a piece of memory.
#[derive(Clone, Debug)]
pub struct MemoryTarget {
    state: Arc<Mutex<State>>,
}

/// The payload that ends a body when the machine stops.
struct Stop;

impl Default for MemoryTarget {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTarget {
    /// 16 KiB of memory, every path but PIO and system DMA.
    #[must_use]
    pub fn new() -> Self {
        let paths = Paths::ALL.without(Path::Pio).without(Path::SystemDma);
        Self::with_limits(Limits {
            memory_length: 16_384,
            transfer_length_max: 16_384,
            paths,
            pio: PioWindow::NONE,
        })
    }

    /// What edu looks like: 4095 bytes, registers 0x00 to 0x07 by PIO.
    #[must_use]
    pub fn edu() -> Self {
        let paths = Paths::ALL.without(Path::SystemDma);
        let pio = PioWindow {
            kind: PioKind::Registers,
            alignment: 4,
            length: 8,
            writable_offset: 4,
            writable_length: 4,
        };
        Self::with_limits(Limits { memory_length: 4095, transfer_length_max: 4095, paths, pio })
    }

    /// A device with these limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        let registers = [0xED, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF].to_vec();
        Self {
            state: Arc::new(Mutex::new(State {
                limits,
                // CAST: test devices are small.
                memory: vec![0; limits.memory_length as usize],
                registers,
                statistics: Statistics::new(),
                defect: None,
                miscounts: false,
                notes: Vec::new(),
                stopped: None,
                never_stops: false,
                interrupt: None,
                transfers: 0,
            })),
        }
    }

    /// Makes the device defective.
    #[must_use]
    pub fn with_defect(self, path: Path, direction: Direction, kind: DefectKind) -> Self {
        self.state().defect = Some(Defect { path, direction, kind });
        self
    }

    /// Makes the driver take the packet path whatever was asked for, and count it there.
    #[must_use]
    pub fn with_wrong_path(self) -> Self {
        self.state().miscounts = true;
        self
    }

    /// Makes the machine report a note.
    #[must_use]
    pub fn with_note(self, note: Note) -> Self {
        self.state().notes.push(note);
        self
    }

    /// Makes the device go on when everything is taken down.
    #[must_use]
    pub fn that_never_stops(self) -> Self {
        self.state().never_stops = true;
        self
    }

    /// Lets the user interrupt this transfer, counted from 1, which is cancelled then.
    #[must_use]
    pub fn interrupted_at(self, transfer: u64, flag: &Arc<AtomicBool>) -> Self {
        self.state().interrupt = Some((transfer, Arc::clone(flag)));
        self
    }

    /// How many transfers the device was asked for.
    #[must_use]
    pub fn transfers(&self) -> u64 {
        self.state().transfers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(
        &self,
        path: Path,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus> {
        let mut state = self.state();
        let result = state.carry_out(path, direction, offset as usize, buffer);
        let stopped = state.stopped.is_some();
        drop(state);
        if stopped {
            std::panic::resume_unwind(Box::new(Stop));
        }
        result
    }
}

impl State {
    fn carry_out(
        &mut self,
        path: Path,
        direction: Direction,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus> {
        self.transfers += 1;
        if let Some((_, flag)) = self.interrupt.as_ref().filter(|(at, _)| *at == self.transfers) {
            flag.store(true, Ordering::Relaxed);
            return Err(NtStatus(status::CANCELLED));
        }
        let defect = self
            .defect
            .as_ref()
            .filter(|defect| defect.path == path && defect.direction == direction)
            .map(|defect| defect.kind);
        if path == Path::Pio {
            self.access_registers(direction, offset, buffer);
        } else {
            let device = &mut self.memory;
            let length = buffer.len();
            let address = buffer.as_ptr().addr();
            match direction {
                Direction::ToDevice => {
                    if defect == Some(DefectKind::DeviceNeighbour) && offset > 0 {
                        device[offset - 1] ^= 0xFF;
                    }
                    copy(defect, address, buffer, &mut device[offset..offset + length]);
                }
                Direction::FromDevice => {
                    copy(defect, address, &device[offset..offset + length], buffer);
                }
            }
        }
        match defect {
            Some(DefectKind::SourceChanged) => buffer[0] ^= 0xFF,
            Some(DefectKind::Fails(status)) => return Err(NtStatus(status)),
            Some(DefectKind::Short) => return Ok(buffer.len() - 1),
            Some(DefectKind::Stops) => {
                self.stopped = Some(Violation {
                    rule: "DMA-54".to_owned(),
                    text: "completed without a flush".to_owned(),
                    call_site: "packet.rs:1".to_owned(),
                    details: "bug check\nstack".to_owned(),
                });
            }
            _ => {}
        }
        let counted = if self.miscounts { Path::Packet } else { path };
        let count = self.statistics.count_mut(counted, direction);
        count.transfers += 1;
        count.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn access_registers(&mut self, direction: Direction, offset: usize, buffer: &mut [u8]) {
        for (index, byte) in buffer.iter_mut().enumerate() {
            match direction {
                Direction::ToDevice => self.registers[offset + index] = !*byte,
                Direction::FromDevice => *byte = self.registers[offset + index],
            }
        }
    }
}

fn copy(defect: Option<DefectKind>, address: usize, source: &[u8], target: &mut [u8]) {
    let length = source.len();
    match defect {
        Some(DefectKind::Lost) => {}
        Some(DefectKind::TailMissing(tail)) if length > tail => {
            target[..length - tail].copy_from_slice(&source[..length - tail]);
        }
        Some(DefectKind::Shifted(shift)) if length > shift => {
            target[..shift].copy_from_slice(&source[..shift]);
            target[shift..].copy_from_slice(&source[..length - shift]);
        }
        Some(DefectKind::StaleLine) => {
            let line = address.next_multiple_of(LINE) - address;
            for at in 0..length {
                if !(line..line + LINE).contains(&at) || line + LINE > length {
                    target[at] = source[at];
                }
            }
        }
        Some(DefectKind::BitFlip) => {
            target.copy_from_slice(source);
            target[length / 2] ^= 0x04;
        }
        _ => target.copy_from_slice(source),
    }
}

struct MemorySession(MemoryTarget);

impl Session for MemorySession {
    fn query(&mut self) -> Result<QueryReply, NtStatus> {
        let limits = self.0.state().limits;
        let kind =
            if limits.pio.kind == PioKind::Registers { DeviceKind::Edu } else { DeviceKind::Slave };
        Ok(QueryReply { device_kind: kind.code(), ..QueryReply::new(&limits) })
    }

    fn transfer(
        &mut self,
        path: Path,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus> {
        let length = buffer.len() as u64;
        let limits = self.0.state().limits;
        let _ = TransferHeader::new(path, offset, length).check(direction, length, &limits)?;
        self.0.carry_out(path, direction, offset, buffer)
    }

    fn read_file(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, NtStatus> {
        let place = i64::try_from(offset).map_err(|_| Refusal::OutOfRange)?;
        let limits = self.0.state().limits;
        let length = buffer.len() as u64;
        let _ = check_read_write(Direction::FromDevice, place, length, &limits)?;
        self.0.carry_out(Path::Packet, Direction::FromDevice, offset, buffer)
    }

    fn write_file(&mut self, offset: u64, buffer: &[u8]) -> Result<usize, NtStatus> {
        let place = i64::try_from(offset).map_err(|_| Refusal::OutOfRange)?;
        let limits = self.0.state().limits;
        let length = buffer.len() as u64;
        let _ = check_read_write(Direction::ToDevice, place, length, &limits)?;
        let mut copy = buffer.to_vec();
        self.0.carry_out(Path::Packet, Direction::ToDevice, offset, &mut copy)
    }

    fn statistics(&mut self) -> Result<Statistics, NtStatus> {
        Ok(self.0.state().statistics)
    }

    fn reset(&mut self) -> Result<(), NtStatus> {
        Err(NtStatus(status::NOT_SUPPORTED))
    }

    fn submit(&mut self, transfer: Transfer, mut arena: Arena) -> Box<dyn Pending> {
        let Transfer { route, direction, offset } = transfer;
        let session: &mut dyn Session = self;
        let result = session.move_by(route, direction, offset, arena.buffer_mut());
        Box::new(Done(result, arena))
    }

    fn pause(&mut self, _: Duration) {
        std::thread::yield_now();
    }

    fn reopen(&mut self) -> Result<(), NtStatus> {
        Ok(())
    }
}

/// A transfer that was over before anybody could wait for it.
struct Done(Result<usize, NtStatus>, Arena);

impl Pending for Done {
    fn cancel(&mut self) {}

    fn wait(self: Box<Self>) -> (Result<usize, NtStatus>, Arena) {
        (self.0, self.1)
    }
}

impl Target for MemoryTarget {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn options(&self) -> String {
        "--sim memory".to_owned()
    }

    fn varies(&self) -> Option<&'static str> {
        None
    }

    fn run_together(&self, bodies: Vec<Body>) -> Ended {
        let start = |body: Body| {
            let mut session = MemorySession(self.clone());
            std::thread::spawn(move || body(&mut session))
        };
        let threads: Vec<_> = bodies.into_iter().map(start).collect();
        // All of them end before the first that did not end well is looked at.
        let ends: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
        let result: Result<(), _> = ends.into_iter().collect();
        let state = self.state();
        let result = match result {
            Ok(()) => Ok(()),
            Err(payload) if payload.is::<Stop>() => {
                let violation = state.stopped.clone();
                Err(TargetError::Stopped(violation.expect("stops set a violation")))
            }
            Err(payload) => std::panic::resume_unwind(payload),
        };
        let running = Violation {
            rule: "SIM-05".to_owned(),
            text: "the device in slot 0 still runs".to_owned(),
            call_site: "no call of the driver".to_owned(),
            details: String::new(),
        };
        let never_stopped = if state.never_stops { vec![running] } else { Vec::new() };
        Ended { notes: state.notes.clone(), never_stopped, ..Ended::from(result) }
    }
}
