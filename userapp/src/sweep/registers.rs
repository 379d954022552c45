//! PIO where it reaches registers and no memory.
//!
//! What registers hold is up to the device, so less can be said than of memory. Each read is made
//! twice, over buffers that differ in every bit: a byte that equals both fills was not copied. The
//! registers whose value is known are compared.

use dmaproof_protocol::{DeviceKind, Direction, Limits, Path, PioKind, QueryReply};

use super::outcome::Failure;
use super::plan::{Case, Selection, is_allowed};
use super::run::Runner;
use crate::explain::{Class, Explanation, missing_call, usual_rule};
use crate::guard::PAGE;
use crate::pattern::Family;
use crate::route::Route;

const PIO: Route = Route::Path(Path::Pio);

/// The buffer offsets tried, one of each alignment class and one across a page.
const PAGE_OFFSETS: [usize; 5] = [0, 64, 8, 3, PAGE - 2];

/// A register whose value is known.
#[derive(Clone, Copy, Debug)]
struct Known {
    name: &'static str,
    offset: u64,
    mask: u32,
    value: u32,
}

/// edu's identification: major version 1, and the letters "edu" in hexadecimal; the minor version
/// is left open.
const EDU_ID: Known = Known { name: "ID", offset: 0x00, mask: 0xFF00_FFFF, value: 0x0100_00ED };
/// edu's liveness register answers with the complement of what was written.
const EDU_LIVENESS: u64 = 0x04;

/// One test of registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    case: Case,
    /// What to write, for transfers to the device.
    written: u32,
    known: Option<Known>,
}

/// The checks that this device allows.
pub(super) fn plan(limits: &Limits, query: &QueryReply, selection: &Selection) -> Vec<Check> {
    if limits.pio.kind != PioKind::Registers || !selection.routes.contains(&PIO) {
        return Vec::new();
    }
    let edu = query.device_kind == DeviceKind::Edu.code();
    let mut checks = Vec::new();
    for (number, page_offset) in (1u32..).zip(PAGE_OFFSETS) {
        if selection.directions.contains(&Direction::FromDevice) {
            for (device_offset, length) in reads(limits) {
                let case = case(Direction::FromDevice, device_offset, length, page_offset);
                let known = edu.then_some(EDU_ID);
                checks.push(Check { case, written: 0, known });
            }
        }
        if edu && selection.directions.contains(&Direction::ToDevice) {
            let case = case(Direction::ToDevice, EDU_LIVENESS, 4, page_offset);
            let written = number.wrapping_mul(0x9E37_79B9);
            let known =
                Some(Known { name: "liveness", offset: EDU_LIVENESS, mask: !0, value: !written });
            checks.push(Check { case, written, known });
        }
    }
    checks.retain(|check| {
        let Case { direction, device_offset, length, .. } = check.case;
        // CAST: a length of memory fits in 64 bits.
        is_allowed(limits, PIO, direction, device_offset, length as u64)
    });
    checks
}

const fn case(direction: Direction, device_offset: u64, length: usize, page_offset: usize) -> Case {
    Case {
        route: PIO,
        direction,
        partner: PIO,
        length,
        page_offset,
        device_offset,
        family: Family::Plain,
    }
}

/// Offsets and lengths to read: each register alone, the first half, the whole window.
fn reads(limits: &Limits) -> Vec<(u64, usize)> {
    let width = u64::from(limits.pio.alignment.max(1));
    let window = limits.pio.length.min(limits.transfer_length_max) / width * width;
    let mut reads: Vec<(u64, usize)> = (0..window / width)
        .take(16)
        // CAST: register widths and windows are small.
        .map(|register| (register * width, width as usize))
        .collect();
    for length in [window / 2 / width * width, window] {
        if length > width {
            reads.push((0, length as usize));
        }
    }
    reads
}

/// What was found wrong.
enum Wrong {
    Request(Box<Explanation>),
    Data(Class, String, Vec<u8>),
}

impl Check {
    /// Runs the check and counts it.
    pub(super) fn run(&self, runner: &mut Runner<'_>, number: u64) {
        let Case { direction, length, page_offset, .. } = self.case;
        let wrong = match direction {
            Direction::FromDevice => self.read(runner),
            Direction::ToDevice => self.write(runner),
        };
        let Err(wrong) = wrong else {
            runner.count(PIO, direction, length, page_offset, true);
            return;
        };
        let explanation = match wrong {
            Wrong::Request(explanation) => *explanation,
            Wrong::Data(class, text, actual) => Explanation {
                class,
                text,
                rule: usual_rule(class, PIO, direction),
                call: usual_rule(class, PIO, direction).and_then(missing_call),
                breach: None,
                first_wrong: 0,
                // CAST: a length of memory fits in 64 bits.
                wrong_bytes: actual.len() as u64,
                segments: vec![format!("read: {actual:02x?}")],
                diff: Vec::new(),
            },
        };
        let blame = "by the registers' values";
        runner.fail(Failure { number, case: self.case, route: PIO, direction, blame, explanation });
    }

    fn read(&self, runner: &mut Runner<'_>) -> Result<(), Wrong> {
        let Case { device_offset, length, page_offset, .. } = self.case;
        let first = runner.read_registers(device_offset, length, page_offset, false)?;
        let second = runner.read_registers(device_offset, length, page_offset, true)?;
        if let Some(at) = (0..length).find(|&at| {
            first[at] == Runner::fill(at, false) && second[at] == Runner::fill(at, true)
        }) {
            let text = format!("the byte at {at:#x} did not arrive: it kept two different fills");
            return Err(Wrong::Data(Class::NotCopied, text, first));
        }
        self.compare(&first)
    }

    fn write(&self, runner: &mut Runner<'_>) -> Result<(), Wrong> {
        let Case { device_offset, length, page_offset, .. } = self.case;
        let bytes = self.written.to_le_bytes();
        runner.write_registers(device_offset, &bytes[..length], page_offset)?;
        let read = runner.read_registers(device_offset, length, 0, false)?;
        self.compare(&read)
    }

    /// Compares the register whose value is known, if it was read.
    fn compare(&self, read: &[u8]) -> Result<(), Wrong> {
        let Some(known) = self.known else { return Ok(()) };
        let word = known
            .offset
            .checked_sub(self.case.device_offset)
            .and_then(|start| read.get(usize::try_from(start).ok()?..))
            .and_then(|rest| rest.first_chunk::<4>());
        let Some(word) = word else { return Ok(()) };
        let value = u32::from_le_bytes(*word);
        if value & known.mask == known.value & known.mask {
            return Ok(());
        }
        let text = format!(
            "register {} at {:#x} reads {value:#010x}, expected is {:#010x} under the mask {:#010x}",
            known.name, known.offset, known.value, known.mask
        );
        Err(Wrong::Data(Class::WrongRegister, text, read.to_vec()))
    }
}

impl Runner<'_> {
    /// What a byte of the buffer holds before a read.
    fn fill(at: usize, complement: bool) -> u8 {
        // CAST: only the low bits are wanted.
        let byte = (at as u8).wrapping_mul(29) ^ 0xA5;
        if complement { !byte } else { byte }
    }

    fn read_registers(
        &mut self,
        offset: u64,
        length: usize,
        page_offset: usize,
        complement: bool,
    ) -> Result<Vec<u8>, Wrong> {
        let buffer = self.place_for_registers(length, page_offset);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = Self::fill(at, complement);
        }
        self.ask_registers(Direction::FromDevice, offset).map_err(Wrong::Request)
    }

    fn write_registers(
        &mut self,
        offset: u64,
        bytes: &[u8],
        page_offset: usize,
    ) -> Result<(), Wrong> {
        self.place_for_registers(bytes.len(), page_offset).copy_from_slice(bytes);
        let after = self.ask_registers(Direction::ToDevice, offset).map_err(Wrong::Request)?;
        if after == bytes {
            return Ok(());
        }
        let text = "the buffer that was sent changed".to_owned();
        Err(Wrong::Data(Class::SourceChanged, text, after))
    }
}
