//! What a device under test can do, whatever system it is on.
//!
//! A [`Target`] is chosen on the command line and can be started; while it runs, it is a
//! [`Session`]: one open handle of the driver.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dmaproof_protocol::{Direction, Path, QueryReply, Statistics};

use crate::catalogue::{DmaDebug, Rule};
use crate::guard::Arena;
use crate::route::Route;

mod end;
mod machine;
#[cfg(test)]
pub mod memory;
mod options;
mod simulated;
mod simulation;
mod status;
#[cfg(any(windows, test))]
mod win32;
#[cfg(windows)]
#[expect(unsafe_code, reason = "overlapped requests are calls into Windows; see `UNSAFETY` there")]
mod windows;

pub use end::{Ended, Note, TargetError, Violation};
pub use machine::Machine;
pub use nthost::cache::{Loss, Lost};
pub use options::{Choice, TargetOptions};
pub(crate) use simulated::{control_code, start};
pub use simulation::{Device, Injection, Profile, Scheduling, Simulation};
pub use status::NtStatus;

/// An open handle of the driver.
pub trait Session {
    /// Asks the driver what it and its device are.
    ///
    /// # Errors
    ///
    /// The status of the request.
    fn query(&mut self) -> Result<QueryReply, NtStatus>;

    /// Moves the buffer to or from the device at `offset` in the window of the path, and returns
    /// how many bytes the driver says it moved.
    ///
    /// The buffer goes to the driver as it is, at its own address: nothing is copied on the way.
    ///
    /// # Errors
    ///
    /// The status of the request.
    fn transfer(
        &mut self,
        path: Path,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus>;

    /// `ReadFile` at `offset`.
    ///
    /// # Errors
    ///
    /// The status of the request.
    fn read_file(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, NtStatus>;

    /// `WriteFile` at `offset`.
    ///
    /// # Errors
    ///
    /// The status of the request.
    fn write_file(&mut self, offset: u64, buffer: &[u8]) -> Result<usize, NtStatus>;

    /// The driver's counters.
    ///
    /// # Errors
    ///
    /// The status of the request.
    fn statistics(&mut self) -> Result<Statistics, NtStatus>;

    /// Resets the device.
    ///
    /// # Errors
    ///
    /// The status of the request; `STATUS_NOT_SUPPORTED` for a device without a reset.
    fn reset(&mut self) -> Result<(), NtStatus>;

    /// Starts moving the arena's buffer, and returns at once: several transfers of a handle can be
    /// under way.
    fn submit(&mut self, transfer: Transfer, arena: Arena) -> Box<dyn Pending>;

    /// Lets time pass, the machine's own where it is simulated.
    fn pause(&mut self, time: Duration);

    /// Gives the handle up and opens the device again, which may have been removed and come back.
    ///
    /// # Errors
    ///
    /// The status of opening it; the next request then ends with `STATUS_DEVICE_REMOVED`.
    fn reopen(&mut self) -> Result<(), NtStatus>;

    /// Does something to the device that its requests have to survive.
    ///
    /// # Errors
    ///
    /// `STATUS_NOT_SUPPORTED` if it cannot be done here; else why it failed.
    fn disturb(&mut self, disturbance: Disturbance) -> Result<(), NtStatus> {
        match disturbance {
            Disturbance::Reset => self.reset(),
            _ => Err(NtStatus(dmaproof_protocol::status::NOT_SUPPORTED)),
        }
    }

    /// Whether the device does what it was told to do wrong; it does at first. Nothing where it was
    /// told nothing.
    fn arm(&mut self, _armed: bool) {}

    /// What the machine itself saw since the last call: only a simulated machine can tell, one
    /// whose caches are not coherent or whose device is told to do something wrong.
    fn observe(&mut self) -> Observed {
        Observed::default()
    }
}

/// A transfer to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How.
    pub route: Route,
    /// Where the data goes.
    pub direction: Direction,
    /// The first byte on the device, in the window of the path.
    pub offset: u64,
}

/// A transfer that was asked for and may be under way.
pub trait Pending {
    /// Asks for its cancellation, as `CancelIoEx` does; it may be over already.
    fn cancel(&mut self);

    /// Waits for its end; how many bytes the driver says it moved, and the arena.
    fn wait(self: Box<Self>) -> (Result<usize, NtStatus>, Arena);
}

/// What can happen to a device while requests are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disturbance {
    /// It is reset by request; what is under way begins again.
    Reset,
    /// It goes to sleep and wakes; requests wait.
    PowerCycle,
    /// It is stopped for a rebalance of resources, and started again; requests wait.
    Rebalance,
    /// It vanishes, and another one is plugged in.
    Removal,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reset, Self::PowerCycle, Self::Rebalance, Self::Removal];

    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::PowerCycle => "power-cycle",
            Self::Rebalance => "rebalance",
            Self::Removal => "removal",
        }
    }
}

/// What a simulated machine saw besides the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Data that was lost.
    pub losses: Vec<Loss>,
    /// Rules that were broken, on a machine that goes on.
    pub breaches: Vec<BrokenRule>,
    /// The options by which the device was told to do something wrong, and did.
    pub injected: Vec<String>,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRule {
    /// The rule, such as `DMA-85`.
    pub rule: &'static str,
    /// What was seen.
    pub text: String,
    /// Where in the driver.
    pub call_site: String,
}

impl dyn Session + '_ {
    /// Moves the buffer by this route.
    ///
    /// # Errors
    ///
    /// The status of the request.
    pub fn move_by(
        &mut self,
        route: Route,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus> {
        match (route, direction) {
            (Route::Path(path), _) => self.transfer(path, direction, offset, buffer),
            (Route::File, Direction::ToDevice) => self.write_file(offset, buffer),
            (Route::File, Direction::FromDevice) => self.read_file(offset, buffer),
        }
    }
}

/// What runs on a target: it may run on another thread, and it may never return when the driver
/// breaks a rule, so what it must not lose it keeps in shared places.
pub type Body = Box<dyn FnOnce(&mut dyn Session) + Send>;

/// A device under test that is not open yet.
pub trait Target {
    /// What is tested, as the first line of every report says it.
    fn describe(&self) -> String;

    /// The options that choose this target on the command line, as a shell takes them.
    fn options(&self) -> String;

    /// Who decides the order of what happens together here, if the same command can make another
    /// one; nobody does where it repeats a run exactly.
    fn varies(&self) -> Option<&'static str>;

    /// What the system around a real device says about it; a simulated machine has nothing to
    /// add to what [`describe`](Self::describe) says.
    fn machine(&self) -> Option<Machine> {
        None
    }

    /// Starts the target, runs the body with a handle of the driver, and takes everything down.
    ///
    /// After [`TargetError::Stopped`] the body may not have run to its end.
    fn run(&self, body: Body) -> Ended {
        self.run_together(vec![body])
    }

    /// The same with several bodies at a time, each with a thread and a handle of its own.
    fn run_together(&self, bodies: Vec<Body>) -> Ended;
}

/// Runs the body on a target and returns what it returns.
///
/// # Errors
///
/// [`TargetError`], also when the body ran to its end but the device never stopped.
pub fn with_target<R: Send + 'static>(
    target: &dyn Target,
    body: impl FnOnce(&mut dyn Session) -> R + Send + 'static,
) -> Result<R, TargetError> {
    with_end(target, body).map(|(result, _)| result)
}

/// The same, with what was seen until everything was taken down.
///
/// # Errors
///
/// As [`with_target`].
pub fn with_end<R: Send + 'static>(
    target: &dyn Target,
    body: impl FnOnce(&mut dyn Session) -> R + Send + 'static,
) -> Result<(R, Ended), TargetError> {
    let slot = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&slot);
    let mut ended = target.run(Box::new(move |session| {
        let result = body(session);
        *inner.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }));
    std::mem::replace(&mut ended.result, Ok(()))?;
    if let Some(device) = ended.never_stopped.first() {
        return Err(TargetError::NeverStopped(device.clone()));
    }
    let result =
        slot.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(|| {
            TargetError::Unavailable("the target ended without a result".to_owned())
        })?;
    Ok((result, ended))
}

/// Finds the target that the command line names.
///
/// # Errors
///
/// [`TargetError::Usage`] or [`TargetError::Unavailable`].
pub fn open(options: &TargetOptions) -> Result<Box<dyn Target>, TargetError> {
    open_as(options, &Ok)
}

/// Changes a simulated machine to what a command needs, or says why it cannot.
pub type Change<'a> = dyn Fn(Simulation) -> Result<Simulation, TargetError> + 'a;

/// As [`open`], where a simulated machine is changed first.
///
/// # Errors
///
/// As [`open`], and those of `change`.
pub fn open_as(
    options: &TargetOptions,
    change: &Change<'_>,
) -> Result<Box<dyn Target>, TargetError> {
    match options.choice() {
        Choice::Default => match real_devices().unwrap_or_default().into_iter().next() {
            Some(path) => real_device(path),
            None => Ok(simulated_machine(change(Simulation::default())?)),
        },
        Choice::Simulation(simulation) => Ok(simulated_machine(change(simulation)?)),
        Choice::Image(path, simulation) => {
            let image = simulated::Image::open(&path)?;
            Ok(image_machine(&image, change(simulation.unwrap_or_default())?))
        }
        Choice::Device(path) => real_device(path),
    }
}

/// Finds the targets that the command line names for a test: one, or a machine of every profile
/// for an image without a machine. Simulated machines are changed first.
///
/// # Errors
///
/// As [`open_as`].
pub fn open_all(
    options: &TargetOptions,
    change: &Change<'_>,
) -> Result<Vec<Box<dyn Target>>, TargetError> {
    let Choice::Image(path, None) = options.choice() else {
        return Ok(vec![open_as(options, change)?]);
    };
    let image = simulated::Image::open(&path)?;
    let machines = Profile::ALL.into_iter().map(Simulation::of);
    machines.map(|simulation| Ok(image_machine(&image, change(simulation)?))).collect()
}

fn image_machine(image: &simulated::Image, simulation: Simulation) -> Box<dyn Target> {
    Box::new(simulated::SimulatedTarget::with_image(simulation, image.clone()))
}

fn simulated_machine(simulation: Simulation) -> Box<dyn Target> {
    Box::new(simulated::SimulatedTarget::new(simulation))
}

/// The interface paths of the real devices that run the driver.
///
/// # Errors
///
/// Why they cannot be found out, in words.
#[cfg(windows)]
pub fn real_devices() -> Result<Vec<String>, String> {
    windows::devices()
}

/// The interface paths of the real devices that run the driver.
///
/// # Errors
///
/// Why they cannot be found out, in words.
#[cfg(not(windows))]
pub fn real_devices() -> Result<Vec<String>, String> {
    Err("real devices are available on Windows only".to_owned())
}

#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "it is an error on other systems")]
fn real_device(path: String) -> Result<Box<dyn Target>, TargetError> {
    Ok(Box::new(windows::WindowsTarget::new(path)))
}

#[cfg(not(windows))]
fn real_device(path: String) -> Result<Box<dyn Target>, TargetError> {
    Err(TargetError::Unavailable(format!(
        "cannot open {path}: real devices are available on Windows only; use --sim to test on a \
         simulated machine"
    )))
}

/// What corresponds in the catalogue to the errors of Linux's dma-debug.
#[must_use]
pub fn dma_debug() -> Vec<DmaDebug> {
    simulated::dma_debug()
}

/// The catalogue of rules.
#[must_use]
pub fn rules() -> Vec<Rule> {
    simulated::rules()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: TargetOptions) -> TargetError {
        open(&options).err().unwrap()
    }

    #[test]
    #[cfg(not(windows))]
    fn a_device_path_says_that_it_needs_windows() {
        let error =
            error(TargetOptions { device: Some("x".to_owned()), ..TargetOptions::default() });
        assert!(matches!(&error, TargetError::Unavailable(text) if text.contains("Windows")));
    }

    #[test]
    fn an_image_that_is_not_there_is_named() {
        let error =
            error(TargetOptions { image: Some("x.sys".into()), ..TargetOptions::default() });
        let named = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            "x.sys"
        } else {
            "64-bit x86 Linux only"
        };
        assert!(matches!(&error, TargetError::Usage(text) if text.contains(named)), "{error}");
    }

    #[test]
    fn a_device_that_never_stops_is_an_error_after_all() {
        let target = memory::MemoryTarget::new().that_never_stops();
        let error = with_target(&target, |session| session.query()).unwrap_err();
        assert!(error.to_string().contains("never stopped"), "{error}");
    }

    #[test]
    fn the_result_of_the_body_comes_back() {
        let target = memory::MemoryTarget::new();
        let reply = with_target(&target, |session| session.query()).unwrap().unwrap();
        assert_eq!(reply.memory_length, 16_384);
    }
}
