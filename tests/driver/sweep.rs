//! Many seeds of a short plan where caches are not coherent: no wrong byte, no report, no loss,
//! nothing left behind.
//!
//! `DMAPROOF_SEEDS=1000 cargo test --release -p dmaproof-tests --test driver sweep` runs more;
//! `DMAPROOF_SEEDS=17..18` runs one again.

use dmaproof_protocol::{Direction, Path};
use nthost::{Buffer, Machine, Pending, Profile, SystemDma};
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::slave::{Slave, SlaveConfig};
use zerocopy::IntoBytes;

use crate::common::{Bench, PATHS, WINDOW, bytes, code, with_device};

/// Seeds of a run without a wish.
const SEEDS: u64 = 25;
/// Steps of a plan.
const STEPS: u32 = 12;

/// Numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        ((self.0 >> 33) as usize) % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(wish) = std::env::var("DMAPROOF_SEEDS") else { return 0..SEEDS };
    let number = |text: &str| text.parse().expect("DMAPROOF_SEEDS is a number or a range");
    match wish.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&wish),
    }
}

/// A request on its way, and what it has to bring.
struct Step {
    pending: Pending,
    name: String,
    /// On the device.
    range: std::ops::Range<usize>,
    expected: Option<Vec<u8>>,
}

/// The state of a run.
struct Run<'a> {
    bench: &'a Bench<'a>,
    draw: Draw,
    paths: &'a [Path],
    /// What the device's memory should hold.
    held: Vec<u8>,
    steps: Vec<Step>,
}

impl Run<'_> {
    fn submit(&mut self, number: u32) {
        let path = self.draw.one(self.paths);
        let direction = self.draw.one(&[Direction::ToDevice, Direction::FromDevice]);
        let longest = self.held.len();
        let length = match self.draw.below(4) {
            0 => 1 + self.draw.below(130),
            1 => 64 * (1 + self.draw.below(60)),
            _ => 1 + self.draw.below(4095),
        };
        let length = length.min(longest);
        let offset = self.draw.below(longest - length + 1);
        // Requests that overlap on the device have no order of their own.
        if self.steps.iter().any(|s| s.range.start < offset + length && offset < s.range.end) {
            self.settle();
        }
        let at = self.draw.one(&[0, 0, 64, 1, 63, 1000, 4090]);
        let mut buffer = Buffer::at_page_offset(length, at);
        let range = offset..offset + length;
        let expected = match direction {
            Direction::ToDevice => {
                buffer.copy_from_slice(&bytes(number as u8 ^ 0x5C, length));
                self.held[range.clone()].copy_from_slice(&buffer);
                None
            }
            Direction::FromDevice => {
                let held = self.held[range.clone()].to_vec();
                buffer.iter_mut().zip(&held).for_each(|(byte, held)| *byte = !held);
                Some(held)
            }
        };
        let header = dmaproof_protocol::TransferHeader::new(path, offset as u64, length as u64);
        let request = nthost::Request::ioctl(code(direction), header.as_bytes().to_vec(), buffer);
        let pending = self.bench.file.submit(request);
        let name = format!("step {number}: {path} {direction}, {length} bytes at page + {at}");
        self.steps.push(Step { pending, name, range, expected });
    }

    fn settle(&mut self) {
        for step in self.steps.drain(..) {
            let (completion, request) = step.pending.wait();
            assert_eq!(completion.status.0, 0, "{}", step.name);
            if let Some(expected) = step.expected {
                let wrong = request.buffer().iter().zip(&expected).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{}: the first wrong byte", step.name);
            }
        }
    }

    fn all(&mut self) {
        for number in 0..STEPS {
            self.submit(number);
            if self.draw.below(3) != 0 || self.steps.len() >= 3 {
                self.settle();
            }
        }
        self.settle();
    }
}

/// Plays the plan of a seed.
fn play(profile: Profile, seed: u64) {
    let builder = Machine::builder(profile).seed(seed).system_dma(Some(SystemDma::default()));
    let slave = seed % 5 == 4;
    let device = move || -> Box<dyn testdev::bus::Device> {
        match slave {
            true => Box::new(Slave::new(SlaveConfig::default())),
            false => Box::new(Edu::new(EduConfig::default())),
        }
    };
    with_device(builder, device, move |bench| {
        let (paths, length): (&[Path], usize) =
            if slave { (&[Path::SystemDma], 16 << 10) } else { (&PATHS, WINDOW) };
        let mut run =
            Run { bench, draw: Draw(seed), paths, held: vec![0; length], steps: Vec::new() };
        run.fill(length);
        run.all();
        assert_eq!(bench.machine.cache_losses(), [], "a correct driver loses nothing");
    });
}

impl Run<'_> {
    /// Gives the device's memory a known content.
    fn fill(&mut self, length: usize) {
        self.held = bytes(9, length);
        let mut data = self.held.clone();
        let sent = self.bench.transfer(self.paths[0], Direction::ToDevice, 0, &mut data);
        assert_eq!(sent, Ok(length));
    }
}

fn sweep(profile: Profile) {
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| play(profile, seed));
        assert!(run.is_ok(), "again: DMAPROOF_SEEDS={seed}..{} on {profile:?}", seed + 1);
    }
}

#[test]
fn a_sweep_of_arm64_is_clean() {
    sweep(Profile::Arm64);
}

#[test]
fn a_sweep_of_nt_is_clean() {
    sweep(Profile::Nt);
}
