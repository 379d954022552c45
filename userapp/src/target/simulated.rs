//! A simulated machine: nthost runs the driver against a model of the device.

use dmaproof_protocol::{
    Direction, GUID_FIELDS, Ioctl, Path, QueryReply, QueryRequest, ResetRequest, Statistics,
    StatisticsRequest, TransferHeader,
};
use nthost::verifier::Report;
use nthost::verifier::catalogue::{self, Home};
use nthost::{Access, File, Machine};
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::exerciser::{Exerciser, ExerciserConfig};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Body, Device, Ended, Note, NtStatus, Profile, Scheduling, Session, Simulation, Target,
    TargetError, Violation,
};
use crate::catalogue::Rule;

/// The driver's name, as a service is named.
const DRIVER: &str = "dmaproof";

/// A machine as the command line describes it, not built yet.
#[derive(Clone, Debug)]
pub(super) struct SimulatedTarget {
    simulation: Simulation,
}

impl SimulatedTarget {
    /// The machine to build.
    pub(super) const fn new(simulation: Simulation) -> Self {
        Self { simulation }
    }

    fn build(&self) -> Machine {
        let Simulation {
            profile,
            device: _,
            scheduling,
            seed,
            map_registers,
            double_buffer,
            adapter_versions,
            messages,
        } = self.simulation;
        let profile = match profile {
            Profile::X64 => nthost::Profile::X64,
            Profile::X64Dmar => nthost::Profile::X64Dmar,
        };
        let scheduling = match scheduling {
            Scheduling::Straight => nthost::Scheduling::Straight,
            Scheduling::Threads { processors } => nthost::Scheduling::Threads { processors },
        };
        Machine::builder(profile)
            .scheduling(scheduling)
            .seed(seed)
            .map_registers(map_registers)
            .double_buffer(double_buffer)
            .adapter_versions(adapter_versions)
            .message_interrupts(messages)
            .build()
    }
}

impl Target for SimulatedTarget {
    fn describe(&self) -> String {
        self.simulation.to_string()
    }

    fn options(&self) -> String {
        format!("--sim {}", self.simulation.option())
    }

    fn run(&self, body: Body) -> Ended {
        let machine = self.build();
        let device = self.simulation.device;
        let result = machine.run(move |machine| -> Result<(), TargetError> {
            let file = start(machine, device)?;
            let mut session = SimulatedSession { file };
            body(&mut session);
            drop(session);
            // What the driver leaves behind is a violation like any other.
            machine.shut_down();
            Ok(())
        });
        // Whatever was noticed until the very end, also when the machine stopped on the way.
        Ended {
            result: result.map_err(|end| TargetError::Stopped(violation(&end.report))).flatten(),
            notes: machine.notes().into_iter().map(note).collect(),
            never_stopped: machine.outcomes().iter().map(violation).collect(),
        }
    }
}

/// Loads the driver, plugs the device in and opens it.
fn start(machine: &Machine, device: Device) -> Result<File, TargetError> {
    let failed = |step| {
        move |status: nthost::NtStatus| TargetError::Start { step, status: NtStatus(status.0) }
    };
    machine.load(DRIVER, dmaproof_driver::driver_entry).map_err(failed("loading the driver"))?;
    let model: Box<dyn testdev::bus::Device> = match device {
        Device::Edu => Box::new(Edu::new(EduConfig::default())),
        Device::Exerciser => Box::new(Exerciser::new(ExerciserConfig::default())),
    };
    machine.plug(model).map_err(failed("starting the device"))?;
    let (data1, data2, data3, data4) = GUID_FIELDS;
    let interface = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
    let path = machine.interfaces(&interface).into_iter().next().ok_or_else(|| {
        TargetError::Unavailable(
            "the driver started the device but offers no interface to open".to_owned(),
        )
    })?;
    machine.open(&path, Access::READ_WRITE).map_err(failed("opening the device"))
}

fn violation(report: &Report) -> Violation {
    Violation {
        rule: report.rule.to_string(),
        text: report.message.clone(),
        call_site: report.call_site(),
        details: report.to_string(),
    }
}

fn note(report: Report) -> Note {
    Note {
        rule: report.rule.to_string(),
        call_site: report.call_site(),
        text: report.message,
        count: report.count,
    }
}

/// An open handle on the simulated machine.
struct SimulatedSession {
    file: File,
}

impl SimulatedSession {
    /// Sends a buffered request, and returns its output.
    fn ask<Request: IntoBytes + zerocopy::Immutable, Reply: FromBytes + IntoBytes>(
        &self,
        code: Ioctl,
        request: &Request,
    ) -> Result<Reply, NtStatus> {
        let mut reply = Reply::new_zeroed();
        self.file
            .device_io_control(code.code(), request.as_bytes(), reply.as_mut_bytes())
            .map_err(status)?;
        Ok(reply)
    }
}

fn status(status: nthost::NtStatus) -> NtStatus {
    NtStatus(status.0)
}

impl Session for SimulatedSession {
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
        let code = match direction {
            Direction::ToDevice => Ioctl::ToDevice,
            Direction::FromDevice => Ioctl::FromDevice,
        };
        // CAST: the length of a buffer fits in 64 bits.
        let header = TransferHeader::new(path, offset, buffer.len() as u64);
        self.file.device_io_control(code.code(), header.as_bytes(), buffer).map_err(status)
    }

    fn read_file(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, NtStatus> {
        self.file.read_at(offset, buffer).map_err(status)
    }

    fn write_file(&mut self, offset: u64, buffer: &[u8]) -> Result<usize, NtStatus> {
        self.file.write_at(offset, buffer).map_err(status)
    }

    fn statistics(&mut self) -> Result<Statistics, NtStatus> {
        self.ask(Ioctl::Statistics, &StatisticsRequest::new())
    }

    fn reset(&mut self) -> Result<(), NtStatus> {
        let request = ResetRequest::new();
        self.file
            .device_io_control(Ioctl::Reset.code(), request.as_bytes(), &mut [])
            .map(|_| ())
            .map_err(status)
    }
}

/// nthost's catalogue, as the app shows it.
pub(super) fn rules() -> Vec<Rule> {
    let rule = |rule: &catalogue::Rule| Rule {
        id: rule.id.to_string(),
        title: rule.title.to_owned(),
        text: rule.text.to_owned(),
        verifier: rule.verifier.to_owned(),
        homes: rule.homes.iter().map(home).collect(),
        sources: rule.sources.iter().map(|source| (*source).to_owned()).collect(),
    };
    catalogue::all().iter().map(rule).collect()
}

fn home(home: &Home) -> String {
    match home {
        Home::Type(name) => format!("the type wdk_dma::{name}"),
        Home::Check => "a check of the simulated machine".to_owned(),
        Home::Note => "a note of the simulated machine, where it cannot lose data".to_owned(),
        Home::Inf => "a test of the INF".to_owned(),
        Home::Review(reason) => format!("review: {reason}"),
    }
}
