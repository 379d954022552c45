//! Handles on a simulated machine, and what can be done to its device.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dmaproof_protocol::{
    Direction, Ioctl, Path, QueryReply, QueryRequest, ResetRequest, Statistics, StatisticsRequest,
    TransferHeader, status as known,
};
use nthost::{Access, Buffer, File, Machine, Request, Slot};
use testdev::model::exerciser::Exerciser;
use zerocopy::{FromBytes, IntoBytes};

use super::provoked::Hits;
use super::{control_code, failed, plug};
use crate::guard::Arena;
use crate::route::Route;
use crate::target::{
    Body, BrokenRule, Disturbance, NtStatus, Observed, Pending, Session, Simulation, TargetError,
    Transfer,
};

/// How long a device sleeps or is stopped, in nanoseconds of machine time.
const NAP: u64 = 50_000;

/// How often a device that is not there is looked for.
const ATTEMPTS: usize = 100;

const OBJECT_NAME_NOT_FOUND: i32 = 0xC000_0034_u32.cast_signed();

/// Where the device is now, for all threads.
pub(super) struct Site {
    simulation: Simulation,
    now: Mutex<(Slot, String)>,
    hits: Arc<Hits>,
}

impl Site {
    /// Plugs the device in; when it has started, it does wrong what it is told to.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    pub(super) fn new(
        machine: &Machine,
        simulation: Simulation,
        hits: Arc<Hits>,
    ) -> Result<Self, TargetError> {
        let now = Mutex::new(plug(machine, simulation.device)?);
        let site = Self { simulation, now, hits };
        site.arm(machine, true);
        Ok(site)
    }

    /// Tells the device, or no longer, what to do wrong.
    fn arm(&self, machine: &Machine, armed: bool) {
        if self.simulation.injection.is_none() {
            return;
        }
        let slot = self.now().0;
        self.hits.look(machine, slot);
        let faults = self.simulation.injection.slots();
        let set = |device: &mut Exerciser| {
            for (at, fault) in faults.into_iter().enumerate() {
                device.inject(at, fault.filter(|_| armed));
            }
        };
        // A slot that is armed counts its hits anew.
        if machine.device_model(slot, set).is_some() {
            self.hits.keep();
        }
    }

    /// Looks how often the device has done what it was told to do wrong.
    pub(super) fn count_hits(&self, machine: &Machine) {
        if !self.simulation.injection.is_none() {
            self.hits.look(machine, self.now().0);
        }
    }

    fn now(&self) -> (Slot, String) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device vanishes, and another one is plugged in.
    fn replace(&self, machine: &Machine) -> Result<(), NtStatus> {
        self.count_hits(machine);
        machine.surprise_remove(self.now().0);
        self.hits.keep();
        let placed = plug(machine, self.simulation.device).map_err(|error| match error {
            TargetError::Start { status, .. } => status,
            _ => NtStatus(known::DEVICE_NOT_READY),
        })?;
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = placed;
        self.arm(machine, true);
        Ok(())
    }
}

/// An open handle on the simulated machine.
pub(super) struct SimulatedSession<'a> {
    machine: Machine,
    site: &'a Site,
    /// None after a device that went away could not be opened again.
    file: Option<File>,
    /// Whether the machine has something to tell besides the data.
    observes: bool,
    /// How often each note had happened when somebody looked last.
    counts: Vec<u64>,
    /// How often the device had done each thing that it was told to do wrong.
    hits: Vec<u64>,
}

impl<'a> SimulatedSession<'a> {
    /// Opens the device and runs the body with it.
    pub(super) fn run(
        machine: &Machine,
        site: &'a Site,
        observes: bool,
        body: Body,
    ) -> Result<(), TargetError> {
        let machine = machine.clone();
        let mut session =
            Self { machine, site, file: None, observes, counts: Vec::new(), hits: Vec::new() };
        let mut opened = session.reopen();
        for _ in 0..ATTEMPTS {
            // Another body may have removed the device and not plugged in the next one yet.
            if !opened.is_err_and(|status| status.0 == OBJECT_NAME_NOT_FOUND) {
                break;
            }
            session.pause(Duration::from_nanos(NAP));
            opened = session.reopen();
        }
        opened.map_err(|status| failed("opening the device")(nthost::NtStatus(status.0)))?;
        body(&mut session);
        Ok(())
    }

    fn file(&self) -> Result<&File, NtStatus> {
        self.file.as_ref().ok_or(NtStatus(known::DEVICE_REMOVED))
    }

    /// Sends a buffered request, and returns its output.
    fn ask<Asked: IntoBytes + zerocopy::Immutable, Reply: FromBytes + IntoBytes>(
        &self,
        code: Ioctl,
        request: &Asked,
    ) -> Result<Reply, NtStatus> {
        let mut reply = Reply::new_zeroed();
        self.file()?
            .device_io_control(code.code(), request.as_bytes(), reply.as_mut_bytes())
            .map_err(status)?;
        Ok(reply)
    }

    /// The options by which the device did something wrong since the last call.
    fn injected(&mut self) -> Vec<String> {
        let injection = &self.site.simulation.injection;
        if injection.is_none() {
            return Vec::new();
        }
        self.site.count_hits(&self.machine);
        let now = self.site.hits.counts();
        self.hits.resize(now.len(), 0);
        let news = injection.options().zip(now.iter().zip(&self.hits));
        let news = news.filter(|(_, (now, before))| now > before).map(|(option, _)| option);
        let news = news.collect();
        self.hits = now;
        news
    }

    /// Does one thing to the device and, after a while, another that takes it back.
    fn and_back(
        &self,
        step: impl Fn(Slot, bool) -> Result<(), nthost::NtStatus>,
    ) -> Result<(), NtStatus> {
        let (slot, _) = self.site.now();
        step(slot, true).map_err(status)?;
        self.machine.sleep(NAP);
        step(slot, false).map_err(status)
    }
}

fn status(status: nthost::NtStatus) -> NtStatus {
    NtStatus(status.0)
}

impl Session for SimulatedSession<'_> {
    fn query(&mut self) -> Result<QueryReply, NtStatus> {
        self.ask(Ioctl::Query, &QueryRequest::new())
    }

    fn transfer(
        &mut self,
        path: Path,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus> {
        // CAST: the length of a buffer fits in 64 bits.
        let header = TransferHeader::new(path, offset, buffer.len() as u64);
        self.file()?
            .device_io_control(control_code(direction), header.as_bytes(), buffer)
            .map_err(status)
    }

    fn read_file(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, NtStatus> {
        self.file()?.read_at(offset, buffer).map_err(status)
    }

    fn write_file(&mut self, offset: u64, buffer: &[u8]) -> Result<usize, NtStatus> {
        self.file()?.write_at(offset, buffer).map_err(status)
    }

    fn statistics(&mut self) -> Result<Statistics, NtStatus> {
        self.ask(Ioctl::Statistics, &StatisticsRequest::new())
    }

    fn reset(&mut self) -> Result<(), NtStatus> {
        let request = ResetRequest::new();
        self.file()?
            .device_io_control(Ioctl::Reset.code(), request.as_bytes(), &mut [])
            .map(|_| ())
            .map_err(status)
    }

    fn submit(&mut self, transfer: Transfer, arena: Arena) -> Box<dyn Pending> {
        let Some(file) = &self.file else { return Box::new(Under::Refused(arena)) };
        let (place, length) = (transfer.offset, arena.buffer().len() as u64);
        let (shape, memory, part) = arena.into_parts();
        let buffer = Buffer::within(memory, part);
        let request = match (transfer.route, transfer.direction) {
            (Route::Path(path), direction) => {
                let header = TransferHeader::new(path, place, length).as_bytes().to_vec();
                Request::ioctl(control_code(direction), header, buffer)
            }
            (Route::File, Direction::ToDevice) => Request::write(place, buffer),
            (Route::File, Direction::FromDevice) => Request::read(place, buffer),
        };
        Box::new(Under::Way(file.submit(request), shape))
    }

    fn pause(&mut self, time: Duration) {
        self.machine.sleep(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn reopen(&mut self) -> Result<(), NtStatus> {
        self.file = None;
        let (_, path) = self.site.now();
        self.file = Some(self.machine.open(&path, Access::READ_WRITE).map_err(status)?);
        Ok(())
    }

    fn disturb(&mut self, disturbance: Disturbance) -> Result<(), NtStatus> {
        let machine = &self.machine;
        match disturbance {
            Disturbance::Reset => self.reset(),
            Disturbance::PowerCycle => {
                self.and_back(|slot, sleeping| machine.set_power(slot, sleeping))
            }
            Disturbance::Rebalance => {
                self.and_back(
                    |slot, stop| {
                        if stop { machine.stop_device(slot) } else { machine.restart(slot) }
                    },
                )
            }
            Disturbance::Removal => self.site.replace(machine),
        }
    }

    fn arm(&mut self, armed: bool) {
        self.site.arm(&self.machine, armed);
    }

    fn observe(&mut self) -> Observed {
        let injected = self.injected();
        if !self.observes {
            return Observed { injected, ..Observed::default() };
        }
        let notes = self.machine.notes();
        self.counts.resize(notes.len(), 0);
        let news = notes
            .iter()
            .zip(&mut self.counts)
            .filter(|(note, known)| !note.harmless && note.count > **known);
        let breaches = news.map(|(note, known)| {
            *known = note.count;
            let call_site = note.call_site();
            BrokenRule { rule: note.rule.name(), text: note.message.clone(), call_site }
        });
        let breaches = breaches.collect();
        Observed { losses: self.machine.take_cache_losses(), breaches, injected }
    }
}

/// A request that was sent, or could not be.
enum Under {
    Way(nthost::Pending, crate::guard::Shape),
    Refused(Arena),
}

impl Pending for Under {
    fn cancel(&mut self) {
        if let Self::Way(pending, _) = self {
            pending.cancel();
        }
    }

    fn wait(self: Box<Self>) -> (Result<usize, NtStatus>, Arena) {
        let (pending, shape) = match *self {
            Self::Way(pending, shape) => (pending, shape),
            Self::Refused(arena) => return (Err(NtStatus(known::DEVICE_REMOVED)), arena),
        };
        let (completion, request) = pending.wait();
        let result = match completion.status.0 {
            0 => Ok(completion.information),
            other => Err(NtStatus(other)),
        };
        // A request has one buffer.
        let memory = request.into_buffers().pop().map(Buffer::into_backing).unwrap_or_default();
        (result, Arena::from_parts(shape, memory))
    }
}
