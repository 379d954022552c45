//! The driver on the exerciser: many requests at a time, and a device that can be nasty.

mod cancel;
mod faults;
mod many;
mod pnp;
mod queues;
mod transfers;

use dmaproof_protocol::{Direction, Ioctl, Path, VersionRequest};
use nthost::{Builder, NtStatus};
use testdev::model::exerciser::{Exerciser, ExerciserConfig};
use zerocopy::IntoBytes;

use crate::common::{Bench, bytes, with_device};

/// The paths of the exerciser that move data by DMA.
pub use crate::common::PATHS;

/// Runs `body` with the driver on an exerciser, and lets the leak checks speak.
pub fn with_config<T: Send + 'static>(
    builder: Builder,
    config: ExerciserConfig,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    with_device(builder, move || Box::new(Exerciser::new(config)), body)
}

/// The same with a healthy device.
pub fn with_exerciser<T: Send + 'static>(
    builder: Builder,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    with_config(builder, ExerciserConfig::default(), body)
}

/// A device whose commands take their time: 20 microseconds, and one for each chunk of 4 KiB.
pub fn slow() -> ExerciserConfig {
    ExerciserConfig { time_command_ns: 20_000, time_chunk_ns: 1_000, ..ExerciserConfig::default() }
}

/// Looks at the model.
pub fn model<R>(bench: &Bench, look: impl FnOnce(&mut Exerciser) -> R) -> R {
    bench.machine.device_model(bench.slot, look).expect("the device is an exerciser")
}

/// On-card memory.
pub fn card(bench: &Bench, offset: u64, length: usize) -> Vec<u8> {
    model(bench, |exerciser| {
        let mut data = vec![0; length];
        exerciser.read_memory(offset, &mut data);
        data
    })
}

/// Moves data to the device over `path`, looks at the card, and brings it back.
pub fn round_trip(bench: &Bench, path: Path, offset: u64, length: usize, seed: u8) {
    let source = bytes(seed, length);
    let mut sent = source.clone();
    let moved = bench.transfer(path, Direction::ToDevice, offset, &mut sent);
    assert_eq!(moved, Ok(length), "{path} at {offset}, {length} bytes");
    assert!(card(bench, offset, length) == source, "{path} at {offset}, {length} bytes: the card");
    let mut back = vec![!seed; length];
    let moved = bench.transfer(path, Direction::FromDevice, offset, &mut back);
    assert_eq!(moved, Ok(length), "{path} at {offset}, {length} bytes back");
    assert!(back == source, "{path} at {offset}, {length} bytes: data differ");
}

/// Asks for a reset of the device.
pub fn reset(bench: &Bench) -> Result<usize, NtStatus> {
    let request = VersionRequest::new();
    bench.file.device_io_control(Ioctl::Reset.code(), request.as_bytes(), &mut [])
}
