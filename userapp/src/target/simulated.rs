//! A simulated machine: nthost runs the driver against a model of the device, the driver that is
//! built in or one that is loaded from a file.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use dmaproof_protocol::{Direction, GUID_FIELDS, Ioctl};
use nthost::verifier::Report;
use nthost::verifier::catalogue::{self, Counterpart, Home};
use nthost::{Access, File, LoadError, Machine, RuleId, Slot, SystemDma};
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::exerciser::{Exerciser, ExerciserConfig};
use testdev::model::slave::{Slave, SlaveConfig};

use super::{
    Body, Device, Ended, Note, NtStatus, Profile, Scheduling, Simulation, Target, TargetError,
    Violation,
};
use crate::catalogue::{DmaDebug, Rule};
use crate::describe::quoted;
use provoked::Hits;
use session::{SimulatedSession, Site};

mod provoked;
mod session;

/// The driver's name, as a service is named.
const DRIVER: &str = "dmaproof";

/// A driver image, read and checked.
#[derive(Clone, Debug)]
pub(super) struct Image {
    path: PathBuf,
    image: nthost::Image,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    ///
    /// [`TargetError::Usage`] with what is wrong with the file.
    pub(super) fn open(path: &FilePath) -> Result<Self, TargetError> {
        match nthost::Image::open(path) {
            Ok(image) => Ok(Self { path: path.to_owned(), image }),
            Err(error) => Err(TargetError::Usage(error.to_string())),
        }
    }
}

/// A machine as the command line describes it, not built yet.
#[derive(Clone, Debug)]
pub(super) struct SimulatedTarget {
    simulation: Simulation,
    image: Option<Image>,
}

impl SimulatedTarget {
    /// The machine to build, for the driver that is built in.
    pub(super) const fn new(simulation: Simulation) -> Self {
        Self { simulation, image: None }
    }

    /// The machine to build, for a driver image.
    pub(super) const fn with_image(simulation: Simulation, image: Image) -> Self {
        Self { simulation, image: Some(image) }
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
            faults,
            leave_out,
            go_on,
            system_dma: _,
            injection: _,
        } = self.simulation.clone();
        let profile = match profile {
            Profile::X64 => nthost::Profile::X64,
            Profile::X64Dmar => nthost::Profile::X64Dmar,
            Profile::Arm64 => nthost::Profile::Arm64,
            Profile::Nt => nthost::Profile::Nt,
        };
        let scheduling = match scheduling.unwrap_or_default() {
            Scheduling::Straight => nthost::Scheduling::Straight,
            Scheduling::Threads { processors } => nthost::Scheduling::Threads { processors },
            Scheduling::Deterministic { processors, policy } => {
                nthost::Scheduling::Deterministic { processors, policy }
            }
        };
        let builder = Machine::builder(profile)
            .scheduling(scheduling)
            .seed(seed)
            .map_registers(map_registers)
            .double_buffer(double_buffer)
            .adapter_versions(adapter_versions)
            .message_interrupts(messages)
            .faults(faults)
            .system_dma(self.simulation.has_system_dma().then(SystemDma::default));
        let builder = match leave_out {
            Some(function) => builder.leave_out(function),
            None => builder,
        };
        builder.go_on(go_on).build()
    }
}

impl Target for SimulatedTarget {
    fn describe(&self) -> String {
        let Some(Image { image, .. }) = &self.image else { return self.simulation.to_string() };
        let mut text = format!("{}, driver image {}", self.simulation, image.name());
        let missing = image.missing_imports();
        if !missing.is_empty() {
            text += &format!(", without {}", missing.join(", "));
        }
        text
    }

    fn options(&self) -> String {
        let simulation = format!("--sim {}", self.simulation.option());
        match &self.image {
            Some(image) => {
                format!("--image {} {simulation}", quoted(&image.path.display().to_string()))
            }
            None => simulation,
        }
    }

    fn varies(&self) -> Option<&'static str> {
        matches!(self.simulation.scheduling, Some(Scheduling::Threads { .. }))
            .then_some("real threads permit")
    }

    fn run_together(&self, bodies: Vec<Body>) -> Ended {
        if let Some(refusal) = self.refusal(bodies.len()) {
            return Ended::from(Err(TargetError::Usage(refusal.to_owned())));
        }
        let machine = self.build();
        let hits = Arc::new(Hits::default());
        let mut result = self.run_on(&machine, bodies, &hits);
        let provoked = provoked::all(&self.simulation, &machine, &hits);
        if let Err(TargetError::Start { reason, .. }) = &mut result {
            *reason = provoked::reason(&self.simulation, &provoked);
        }
        // Whatever was noticed until the very end, also when the machine stopped on the way. A line
        // of the driver's is one place, however it was reached.
        let mut notes = Vec::new();
        crate::notes::add(&mut notes, machine.notes().into_iter().map(note));
        Ended {
            result,
            notes,
            never_stopped: machine.outcomes().iter().map(violation).collect(),
            fallible: machine.fallible_calls(),
            provoked,
        }
    }
}

impl SimulatedTarget {
    /// Why this machine cannot run so many bodies at a time, if it cannot.
    const fn refusal(&self, bodies: usize) -> Option<&'static str> {
        match self.simulation.scheduling {
            Some(Scheduling::Deterministic { .. }) if !nthost::Scheduling::DETERMINISTIC => Some(
                "there is no deterministic scheduler on this system; use \
                 --sim PROFILE,scheduling=straight",
            ),
            _ => self.simulation.refusal(bodies),
        }
    }

    fn run_on(
        &self,
        machine: &Machine,
        bodies: Vec<Body>,
        hits: &Arc<Hits>,
    ) -> Result<(), TargetError> {
        let stopped = |end: nthost::Stopped| match end.report.rule {
            // Whoever waits for such a device waits for ever; its driver broke no rule.
            RuleId::Sim05 => TargetError::NeverStopped(violation(&end.report)),
            _ => TargetError::Stopped(violation(&end.report)),
        };
        let (simulation, image) = (self.simulation.clone(), self.image.clone());
        let site_hits = Arc::clone(hits);
        let observes = !self.simulation.profile.is_coherent();
        let started = machine
            .run(move |machine| {
                load(machine, image.as_ref())?;
                Site::new(machine, simulation, site_hits).map(Arc::new)
            })
            .map_err(stopped)?;
        let site = started.as_ref().ok().cloned();
        let ended = match started {
            Err(error) => Err(error),
            Ok(site) => {
                let start = |body: Body| {
                    let site = Arc::clone(&site);
                    machine
                        .spawn(move |machine| SimulatedSession::run(machine, &site, observes, body))
                };
                let running: Vec<_> = bodies.into_iter().map(start).collect();
                running.into_iter().try_for_each(|thread| thread.join().map_err(stopped)?)
            }
        };
        let count = || site.as_ref().map(|site| site.count_hits(machine));
        count();
        if matches!(ended, Err(TargetError::Stopped(_) | TargetError::NeverStopped(_))) {
            return ended;
        }
        // What the driver leaves behind is a violation like any other.
        machine.run(Machine::shut_down).map_err(stopped)?;
        count();
        ended
    }
}

fn failed(step: &'static str) -> impl Fn(nthost::NtStatus) -> TargetError {
    move |status| TargetError::Start { step, status: NtStatus(status.0), reason: None }
}

/// Loads the image, or the driver that is built in.
fn load(machine: &Machine, image: Option<&Image>) -> Result<(), TargetError> {
    let step = failed("loading the driver");
    let Some(Image { image, .. }) = image else {
        return machine.load(DRIVER, dmaproof_driver::driver_entry).map(|_| ()).map_err(step);
    };
    machine.load_image(DRIVER, image).map(|_| ()).map_err(|error| match error {
        LoadError::Entry(status) => step(status),
        other => TargetError::Unavailable(format!("cannot load {}: {other}", image.name())),
    })
}

/// Plugs the device in; where it is, and the path to open it by.
fn plug(machine: &Machine, device: Device) -> Result<(Slot, String), TargetError> {
    let model: Box<dyn testdev::bus::Device> = match device {
        Device::Edu => Box::new(Edu::new(EduConfig::default())),
        Device::Exerciser => Box::new(Exerciser::new(ExerciserConfig::default())),
        Device::Slave => Box::new(Slave::new(SlaveConfig::default())),
    };
    let slot = machine.plug(model).map_err(failed("starting the device"))?;
    let (data1, data2, data3, data4) = GUID_FIELDS;
    let interface = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
    let path = machine.interfaces(&interface).pop().ok_or_else(|| {
        TargetError::Unavailable(
            "the driver started the device but offers no interface to open".to_owned(),
        )
    })?;
    Ok((slot, path))
}

/// Plugs the device in and opens it.
pub(crate) fn start(machine: &Machine, device: Device) -> Result<(Slot, File), TargetError> {
    let (slot, path) = plug(machine, device)?;
    let file = machine.open(&path, Access::READ_WRITE).map_err(failed("opening the device"))?;
    Ok((slot, file))
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
        harmless: report.harmless,
    }
}

/// The control code of a transfer.
pub(crate) const fn control_code(direction: Direction) -> u32 {
    match direction {
        Direction::ToDevice => Ioctl::ToDevice.code(),
        Direction::FromDevice => Ioctl::FromDevice.code(),
    }
}

/// nthost's catalogue, as the app shows it.
pub(super) fn rules() -> Vec<Rule> {
    let rule = |rule: &catalogue::Rule| {
        Rule {
        id: rule.id.to_string(),
        title: rule.title.to_owned(),
        text: rule.text.to_owned(),
        verifier: rule.verifier.to_owned(),
        homes: rule.homes.iter().map(home).collect(),
        enforced: rule.homes.iter().map(kind).collect::<Vec<_>>().join(", "),
        sources: rule.sources.iter().map(|source| (*source).to_owned()).collect(),
        dma_debug: catalogue::DMA_DEBUG
            .iter()
            .filter(|error| matches!(error.counterpart, Counterpart::Rules(ids) if ids.contains(&rule.id)))
            .map(|error| format!("{}: {}", error.number, error.message))
            .collect(),
    }
    };
    catalogue::all().iter().map(rule).collect()
}

/// The errors of Linux's dma-debug, with what corresponds.
pub(super) fn dma_debug() -> Vec<DmaDebug> {
    let counterpart = |counterpart: Counterpart| match counterpart {
        Counterpart::Rules(ids) => ids.iter().map(|id| id.name()).collect::<Vec<_>>().join(", "),
        Counterpart::None(reason) => format!("none: {reason}"),
    };
    let errors = catalogue::DMA_DEBUG.iter().map(|error| DmaDebug {
        error: format!("{:>2}: {}", error.number, error.message),
        counterpart: counterpart(error.counterpart),
    });
    errors.collect()
}

/// A home in a word.
const fn kind(home: &Home) -> &'static str {
    match home {
        Home::Type(_) => "type",
        Home::Check => "check",
        Home::Note => "note",
        Home::Inf => "inf",
        Home::Review(_) => "review",
    }
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
