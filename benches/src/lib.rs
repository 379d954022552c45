//! What the benchmarks share: a machine with the driver on a device without artificial delay, and
//! a way to measure ratios.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dmaproof_driver::driver_entry;
use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader};
use nthost::{Access, Builder, File, Machine, Operation, Pending, Profile, Request, Scheduling};
use testdev::bus::Device;
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::exerciser::Exerciser;
use zerocopy::IntoBytes;

/// Rounds of which the median counts.
pub const ROUNDS: usize = 9;

/// Runs `body` on a machine of `profile` whose edu device answers at once.
///
/// # Panics
/// When the driver breaks a rule or does not start: there is nothing to measure then.
pub fn with_device<T: Send + 'static>(
    profile: Profile,
    body: impl FnOnce(&File) -> T + Send + 'static,
) -> T {
    let builder = Machine::builder(profile).scheduling(Scheduling::Threads { processors: 1 });
    with_model(builder, edu(), body)
}

/// The same on the straight scheduler, where one run is like the other to the instruction.
///
/// # Panics
/// As [`with_device`].
pub fn with_straight_device<T: Send + 'static>(
    profile: Profile,
    body: impl FnOnce(&File) -> T + Send + 'static,
) -> T {
    with_model(Machine::builder(profile), edu(), body)
}

/// The same with an exerciser.
///
/// # Panics
/// As [`with_device`].
pub fn with_straight_exerciser<T: Send + 'static>(
    profile: Profile,
    body: impl FnOnce(&File) -> T + Send + 'static,
) -> T {
    with_model(Machine::builder(profile), Box::new(Exerciser::default()), body)
}

/// An edu device that answers at once.
fn edu() -> Box<dyn Device> {
    Box::new(Edu::new(EduConfig { dma_delay_ns: 0, ..EduConfig::default() }))
}

/// Runs `body` on a machine with this device.
///
/// # Panics
/// As [`with_device`].
pub fn with_model<T: Send + 'static>(
    builder: Builder,
    model: Box<dyn Device>,
    body: impl FnOnce(&File) -> T + Send + 'static,
) -> T {
    let result = builder.build().run(move |m: &Machine| {
        m.load("dmaproof", driver_entry).expect("the driver loads");
        m.plug(model).expect("the device starts");
        let path = m.interfaces(&interface()).pop().expect("the device has an interface");
        let file = m.open(&path, Access::READ_WRITE).expect("the device opens");
        body(&file)
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"))
}

/// The driver's device interface.
#[must_use]
pub fn interface() -> wdk_lite::GUID {
    let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
    wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 }
}

/// Median time of one call of `body`, over [`ROUNDS`] rounds of `calls` calls each.
pub fn median(calls: u32, mut body: impl FnMut()) -> Duration {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                body();
            }
            start.elapsed() / calls
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

/// Requests under way, the oldest first, each with a buffer of its own.
#[derive(Debug)]
pub struct Pipe<'a> {
    file: &'a File,
    operation: Operation,
    pending: VecDeque<Pending>,
    length: usize,
}

impl<'a> Pipe<'a> {
    /// Sends `depth` requests of `length` bytes to or from the start of the device's memory.
    #[must_use]
    pub fn new(
        file: &'a File,
        path: Path,
        direction: Direction,
        length: usize,
        depth: usize,
    ) -> Self {
        let header = TransferHeader::new(path, 0, length as u64);
        let code = match direction {
            Direction::ToDevice => Ioctl::ToDevice.code(),
            Direction::FromDevice => Ioctl::FromDevice.code(),
        };
        let operation = Operation::Ioctl { code, input: header.as_bytes().to_vec() };
        let submit =
            || file.submit(Request::ioctl(code, header.as_bytes().to_vec(), vec![0x5A; length]));
        Self { file, operation, pending: (0..depth).map(|_| submit()).collect(), length }
    }

    /// Takes the oldest request back and sends it again.
    ///
    /// # Panics
    /// When it failed: there is nothing to measure then.
    pub fn turn(&mut self) {
        let oldest = self.pending.pop_front().expect("the pipe is full");
        let (completion, request) = oldest.wait();
        assert_eq!((completion.status.0, completion.information), (0, self.length));
        self.pending.push_back(self.file.submit(request.again(self.operation.clone())));
    }
}
