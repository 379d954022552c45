//! One test: what the driver does, on which machine, and what the application does.

use nthost::{Builder, Machine, Profile};
use testdev::bus::Device;
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::slave::{Slave, SlaveConfig};
use wdk_lite::{METHOD_IN_DIRECT, METHOD_OUT_DIRECT};

use crate::Bench;
use crate::lab::{Routine, Script};

/// Machine time that a transfer of the device takes, nanoseconds: short, so that the lab's waits
/// are.
const DMA_DELAY_NS: u64 = 50_000;

/// A test of the lab driver.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub(crate) script: Script,
    pub(crate) routine: Routine,
    pub(crate) method: u32,
    pub(crate) inline: bool,
    pub(crate) length: usize,
    pub(crate) offset: usize,
    pub(crate) profile: Profile,
    pub(crate) machine: fn(Builder) -> Builder,
    pub(crate) device: fn(&mut EduConfig),
    pub(crate) slave: Option<fn(&mut SlaveConfig)>,
    pub(crate) scenario: fn(&mut Bench),
    pub(crate) starts: bool,
    pub(crate) seeds: u64,
}

/// A case that sends one METHOD_IN_DIRECT request, which runs `routine`; its buffer has 3000
/// bytes on two pages.
#[must_use]
pub const fn run(routine: Routine) -> Case {
    Case {
        script: Script::correct(),
        routine,
        method: METHOD_IN_DIRECT,
        inline: false,
        length: 3000,
        offset: 0x800,
        profile: Profile::X64,
        machine: |builder| builder,
        device: |_| (),
        slave: None,
        scenario: Bench::run,
        starts: true,
        seeds: 1,
    }
}

impl Case {
    /// With these callbacks.
    #[must_use]
    pub const fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// A METHOD_OUT_DIRECT request: the device writes the buffer.
    #[must_use]
    pub const fn from_device(self) -> Self {
        self.method(METHOD_OUT_DIRECT)
    }

    /// Whether the device writes the buffer.
    #[must_use]
    pub const fn is_from_device(&self) -> bool {
        self.method == METHOD_OUT_DIRECT
    }

    /// Another transfer method.
    #[must_use]
    pub const fn method(mut self, method: u32) -> Self {
        self.method = method;
        self
    }

    /// The routine runs in the queue's handler instead of a work item.
    #[must_use]
    pub const fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// The buffer: bytes, and where in a page it begins.
    #[must_use]
    pub const fn buffer(mut self, length: usize, offset: usize) -> Self {
        self.length = length;
        self.offset = offset;
        self
    }

    /// On a machine of this profile.
    #[must_use]
    pub const fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// On a machine with these options.
    #[must_use]
    pub const fn machine(mut self, options: fn(Builder) -> Builder) -> Self {
        self.machine = options;
        self
    }

    /// With a device set up like this.
    #[must_use]
    pub const fn device(mut self, set_up: fn(&mut EduConfig)) -> Self {
        self.device = set_up;
        self
    }

    /// With the slave device, set up like this, instead of `edu`. The machine needs a controller,
    /// see [`Case::machine`].
    #[must_use]
    pub const fn slave(mut self, set_up: fn(&mut SlaveConfig)) -> Self {
        self.slave = Some(set_up);
        self
    }

    /// The application does this instead of sending one request.
    #[must_use]
    pub const fn scenario(mut self, scenario: fn(&mut Bench)) -> Self {
        self.scenario = scenario;
        self
    }

    /// The device is not expected to start; there is nothing to open.
    #[must_use]
    pub const fn start_fails(mut self) -> Self {
        self.starts = false;
        self.scenario = |_| ();
        self
    }

    /// For a mistake that shows only if the machine chooses so: tries seeds 1 to `seeds`.
    #[must_use]
    pub const fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// The machine of this case, to be built.
    pub(crate) fn build(&self, strict: bool, seed: u64) -> Builder {
        (self.machine)(Machine::builder(self.profile).strict(strict).seed(seed))
    }

    /// The device of this case.
    pub(crate) fn model(&self) -> Box<dyn Device> {
        let Some(set_up) = self.slave else { return Box::new(Edu::new(self.edu())) };
        let mut config = SlaveConfig::default();
        set_up(&mut config);
        Box::new(Slave::new(config))
    }

    /// `edu`, but quick, and with all 64 address bits.
    fn edu(&self) -> EduConfig {
        let mut config = EduConfig {
            dma_delay_ns: DMA_DELAY_NS,
            // A device that decodes whatever it is given: adapters of every reach are honest.
            dma_mask: u64::MAX,
            ..EduConfig::default()
        };
        (self.device)(&mut config);
        config
    }
}
