//! Simulated machines, as the command line describes them.

use std::fmt;
use std::str::FromStr;

use nthost::{Faults, NotAPolicy, NotFaults, Policy};

mod inject;
#[cfg(test)]
mod tests;

pub use inject::Injection;

/// A kind of simulated machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Coherent caches.
    #[default]
    X64,
    /// The same behind an IOMMU.
    X64Dmar,
    /// Caches that are not coherent with devices, and prefetch.
    Arm64,
    /// Caches that are not coherent, few map registers, adapters with FIFOs.
    Nt,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 4] = [Self::X64, Self::X64Dmar, Self::Arm64, Self::Nt];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::X64Dmar => "x64-dmar",
            Self::Arm64 => "arm64",
            Self::Nt => "nt",
        }
    }

    /// Whether processor and devices see the same memory.
    #[must_use]
    pub const fn is_coherent(self) -> bool {
        matches!(self, Self::X64 | Self::X64Dmar)
    }

    /// What the machine is like.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::X64 => "coherent caches; bounces what an adapter cannot reach",
            Self::X64Dmar => "as x64, behind an IOMMU that lets devices reach mapped ranges only",
            Self::Arm64 => "caches are not coherent with devices and prefetch",
            Self::Nt => {
                "caches are not coherent; few map registers, buffers of whole lines, adapters with \
                 FIFOs: the world of the documents"
            }
        }
    }
}

/// A device to plug into a simulated machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// QEMU's edu device.
    Edu,
    /// The project's own exerciser.
    #[default]
    Exerciser,
    /// The device without bus mastering.
    Slave,
}

impl Device {
    /// All devices.
    pub const ALL: [Self; 3] = [Self::Exerciser, Self::Edu, Self::Slave];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edu => "edu",
            Self::Exerciser => "exerciser",
            Self::Slave => "slave",
        }
    }

    /// What the device is.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Edu => "QEMU's edu device: 28 address bits, one transfer at a time, up to 4 KiB",
            Self::Exerciser => {
                "the project's own device: 64 address bits, lists, four queues, 16 MiB of memory"
            }
            Self::Slave => "a device without bus mastering, served by a system DMA controller",
        }
    }
}

/// Who decides what runs next on a simulated machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// One thing after the other; runs repeat exactly.
    #[default]
    Straight,
    /// Real threads on this many virtual processors.
    Threads {
        /// At least 1.
        processors: usize,
    },
    /// Any order of events, decided by a policy; runs repeat exactly.
    Deterministic {
        /// At least 1.
        processors: usize,
        /// Who decides.
        policy: Policy,
    },
}

/// A simulated machine, as the command line describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// The kind of machine.
    pub profile: Profile,
    /// The device in it.
    pub device: Device,
    /// Who decides what runs next, if somebody was named: [`Scheduling::Straight`] unless a command
    /// needs another one.
    pub scheduling: Option<Scheduling>,
    /// The seed of the machine's own choices.
    pub seed: u64,
    /// The most map registers that an adapter gets.
    pub map_registers: Option<u32>,
    /// Whether every transfer is bounced.
    pub double_buffer: bool,
    /// The newest adapter version offered.
    pub adapter_versions: u32,
    /// Whether the device gets message interrupts.
    pub messages: bool,
    /// The driver's calls that fail.
    pub faults: Faults,
    /// A function whose calls by the driver do nothing, as if its author had forgotten them.
    pub leave_out: Option<&'static str>,
    /// Whether the machine goes on after a breach that loses nothing but data.
    pub go_on: bool,
    /// Whether the machine has a system DMA controller, if it was said: else only nt has one.
    pub system_dma: Option<bool>,
    /// What the exerciser is told to do wrong.
    pub injection: Injection,
}

/// The functions that can be left out.
const FLUSHES: [&str; 4] =
    ["KeFlushIoBuffers", "FlushAdapterBuffers", "FlushAdapterBuffersEx", "PutScatterGatherList"];

impl Default for Simulation {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            device: Device::default(),
            scheduling: None,
            seed: 1,
            map_registers: None,
            double_buffer: false,
            adapter_versions: 3,
            messages: true,
            faults: Faults::Off,
            leave_out: None,
            go_on: false,
            system_dma: None,
            injection: Injection::default(),
        }
    }
}

impl Simulation {
    /// A machine of this profile, otherwise as it comes.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self { profile, ..Self::default() }
    }

    /// Whether the machine has a system DMA controller.
    #[must_use]
    pub const fn has_system_dma(&self) -> bool {
        match self.system_dma {
            Some(said) => said,
            None => matches!(self.profile, Profile::Nt),
        }
    }

    /// Whether this machine can have this device.
    fn check_device(&self) -> Result<(), String> {
        let profile = self.profile.name();
        if !self.injection.is_none() && self.device != Device::Exerciser {
            return Err(format!(
                "inject is for device=exerciser, which has fault slots; device {} has none",
                self.device.name()
            ));
        }
        if self.device != Device::Slave || self.has_system_dma() {
            return Ok(());
        }
        Err(match self.system_dma {
            Some(_) => "device=slave needs a system DMA controller, and system-dma=off takes it \
                        away; leave system-dma=off out, or choose another device"
                .to_owned(),
            None => format!(
                "device slave is not available on {profile}, which has no system DMA controller; \
                 system-dma=on adds one: --sim {profile},device=slave,system-dma=on"
            ),
        })
    }

    /// The differences from the default machine, in the form that the command line takes.
    fn settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        match &self.scheduling {
            None => {}
            Some(Scheduling::Straight) => settings.push("scheduling=straight".to_owned()),
            Some(Scheduling::Threads { processors }) => {
                settings.push("scheduling=threads".to_owned());
                settings.push(format!("processors={processors}"));
            }
            Some(Scheduling::Deterministic { processors, policy }) => {
                settings.push("scheduling=deterministic".to_owned());
                settings.push(format!("processors={processors}"));
                settings.push(format!("policy={policy}"));
            }
        }
        if self.seed != 1 {
            settings.push(format!("seed={}", self.seed));
        }
        if let Some(limit) = self.map_registers {
            settings.push(format!("map-registers={limit}"));
        }
        if self.double_buffer {
            settings.push("double-buffer=on".to_owned());
        }
        if self.adapter_versions != 3 {
            settings.push(format!("versions={}", self.adapter_versions));
        }
        if !self.messages {
            settings.push("msi=off".to_owned());
        }
        if self.faults != Faults::Off {
            settings.push(format!("fail={}", self.faults));
        }
        if let Some(function) = self.leave_out {
            settings.push(format!("leave-out={function}"));
        }
        if self.go_on {
            settings.push("go-on=on".to_owned());
        }
        if let Some(said) = self.system_dma {
            settings.push(format!("system-dma={}", if said { "on" } else { "off" }));
        }
        if !self.injection.is_none() {
            settings.push(format!("inject={}", self.injection));
        }
        settings
    }

    /// The value for `--sim` that makes this machine again.
    #[must_use]
    pub fn option(&self) -> String {
        let mut parts =
            vec![self.profile.name().to_owned(), format!("device={}", self.device.name())];
        parts.extend(self.settings());
        parts.join(",")
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "device" => {
                self.device = Device::ALL
                    .into_iter()
                    .find(|device| device.name() == value)
                    .ok_or_else(|| unknown("device", value, &Device::ALL.map(Device::name)))?;
            }
            "scheduling" => {
                self.scheduling = Some(match value {
                    "straight" => Scheduling::Straight,
                    "threads" => Scheduling::Threads { processors: self.processors().unwrap_or(2) },
                    "deterministic" => self.deterministic(None),
                    _ => return Err(unknown("scheduling", value, SCHEDULERS)),
                });
            }
            "processors" => {
                // CAST: at most 64.
                let count = number(name, value, 1, 64)? as usize;
                match &mut self.scheduling {
                    Some(Scheduling::Deterministic { processors, .. }) => *processors = count,
                    other => *other = Some(Scheduling::Threads { processors: count }),
                }
            }
            "policy" => {
                let policy: Policy = value.parse().map_err(|e: NotAPolicy| e.to_string())?;
                if let Policy::Replay(list) = &policy {
                    self.seed = list.seed();
                }
                self.scheduling = Some(self.deterministic(Some(policy)));
            }
            "seed" => self.seed = number(name, value, 0, u64::MAX)?,
            // CAST: the bounds below are those of `u32`, or less.
            "map-registers" => {
                self.map_registers = Some(number(name, value, 1, u64::from(u32::MAX))? as u32);
            }
            "double-buffer" => self.double_buffer = switch(name, value)?,
            "versions" => self.adapter_versions = number(name, value, 1, 3)? as u32,
            "msi" => self.messages = switch(name, value)?,
            "fail" => {
                self.faults = value.parse().map_err(|error: NotFaults| error.to_string())?;
            }
            "leave-out" => {
                let known = FLUSHES.into_iter().find(|function| *function == value);
                self.leave_out = Some(known.ok_or_else(|| unknown("flush", value, &FLUSHES))?);
            }
            "go-on" => self.go_on = switch(name, value)?,
            "system-dma" => self.system_dma = Some(switch(name, value)?),
            "inject" => self.injection = value.parse()?,
            _ => return Err(unknown("option", name, OPTIONS)),
        }
        Ok(())
    }

    /// Caches that are not coherent are simulated one step at a time.
    fn check(&self) -> Result<(), String> {
        if self.profile.is_coherent()
            || !matches!(self.scheduling, Some(Scheduling::Threads { .. }))
        {
            return Ok(());
        }
        Err(format!(
            "the caches of profile {} are not coherent, which scheduling=threads cannot simulate; \
             use scheduling=straight or scheduling=deterministic",
            self.profile.name()
        ))
    }

    /// Why this machine cannot run so many threads, if it cannot.
    #[must_use]
    pub const fn refusal(&self, threads: usize) -> Option<&'static str> {
        match self.scheduling {
            Some(Scheduling::Straight) | None if threads > 1 => Some(
                "scheduling=straight has one thread; leave it out, and a scheduler with several \
                 is chosen",
            ),
            _ => None,
        }
    }

    fn processors(&self) -> Option<usize> {
        match self.scheduling {
            Some(
                Scheduling::Threads { processors } | Scheduling::Deterministic { processors, .. },
            ) => Some(processors),
            Some(Scheduling::Straight) | None => None,
        }
    }

    /// The deterministic scheduler, with what is set already.
    fn deterministic(&self, policy: Option<Policy>) -> Scheduling {
        let before = match &self.scheduling {
            Some(Scheduling::Deterministic { policy, .. }) => Some(policy.clone()),
            Some(Scheduling::Threads { .. } | Scheduling::Straight) | None => None,
        };
        let policy = policy.or(before).unwrap_or_default();
        Scheduling::Deterministic { processors: self.processors().unwrap_or(2), policy }
    }
}

const SCHEDULERS: &[&str] = &["straight", "threads", "deterministic"];

const OPTIONS: &[&str] = &[
    "device",
    "scheduling",
    "processors",
    "policy",
    "seed",
    "map-registers",
    "double-buffer",
    "versions",
    "msi",
    "fail",
    "leave-out",
    "go-on",
    "system-dma",
    "inject",
];

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated machine {}, device {}", self.profile.name(), self.device.name())?;
        for setting in self.settings() {
            write!(f, ", {setting}")?;
        }
        Ok(())
    }
}

impl FromStr for Simulation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let profile = Profile::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| unknown("profile", name, &Profile::ALL.map(Profile::name)))?;
        let mut simulation = Self::of(profile);
        let mut said: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not of the form OPTION=VALUE"))?;
            simulation.set(name, value)?;
            if let Some((_, before)) = said.iter().find(|(known, _)| *known == name) {
                return Err(format!(
                    "{name} is given twice, as `{before}` and as `{value}`; give it once"
                ));
            }
            said.push((name, value));
        }
        check_scheduling(&said)?;
        simulation.check()?;
        simulation.check_device()?;
        Ok(simulation)
    }
}

/// What contradicts the scheduler that was named is refused, in any order.
fn check_scheduling(said: &[(&str, &str)]) -> Result<(), String> {
    let value = |name: &str| said.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let Some(scheduling) = value("scheduling") else { return Ok(()) };
    let meaningless: &[&str] = match scheduling {
        "straight" => &["processors", "policy"],
        "threads" => &["policy"],
        _ => &[],
    };
    match meaningless.iter().find(|name| value(name).is_some()) {
        None => Ok(()),
        Some(name) => {
            Err(format!("{name} means nothing with scheduling={scheduling}; leave one of them out"))
        }
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("there is no {what} `{name}` here; there is {}", known.join(", "))
}

fn number(name: &str, value: &str, min: u64, max: u64) -> Result<u64, String> {
    crate::cli::number(value)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("{name} is a number from {min} to {max}, not `{value}`"))
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{name} is on or off, not `{value}`")),
    }
}
