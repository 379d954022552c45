//! What a soak tells: a line now and then, and a verdict.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::meter::resident;
use super::{Reading, Replay, Trouble, whole_seconds};
use crate::describe::count;
use crate::exit::Exit;
use crate::notes;
use crate::provoked::{self, Provoked};
use crate::target::{Disturbance, Note};
use crate::traffic::PathCount;

/// The version of the lines' layout.
pub const SCHEMA_VERSION: u32 = 1;

/// How much more memory than after the first hundred rounds the process may have at the end, in bytes: what
/// an allocator keeps, and far less than hours of any leak.
pub const GROWTH_MAX: u64 = 96 << 20;

/// How a soak ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every byte was right, every transfer ended once, nothing leaked.
    Intact,
    /// Something was wrong with a transfer, the driver's counters or the device.
    Failed,
    /// A rule was broken.
    RuleBroken,
    /// The process has far more memory than after its first rounds.
    Grew,
    /// The device or the permission is gone.
    Unavailable,
    /// The user ended it; what ran was right.
    Interrupted,
    /// No transfer completed.
    NothingRan,
    /// All is well, but a failure that was asked for never happened.
    NotProvoked,
}

impl Verdict {
    /// The verdict on what the meter shows at the end.
    #[must_use]
    pub fn of(reading: &Reading, resident: Option<u64>, interrupted: bool) -> Self {
        let grown = match (reading.resident_settled, resident) {
            (Some(first), Some(last)) => last.saturating_sub(first),
            _ => 0,
        };
        if reading.broken.is_some() {
            Self::RuleBroken
        } else if reading.failures > 0 {
            Self::Failed
        } else if reading.lost.is_some() {
            Self::Unavailable
        } else if grown > GROWTH_MAX {
            Self::Grew
        } else if interrupted {
            Self::Interrupted
        } else if reading.tally.intact == 0 {
            Self::NothingRan
        } else if provoked::missed(&reading.provoked).is_some() {
            Self::NotProvoked
        } else {
            Self::Intact
        }
    }

    /// The exit status that goes with it.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Intact => Exit::Intact,
            Self::Failed | Self::RuleBroken | Self::Grew => Exit::Failed,
            Self::Unavailable => Exit::Unavailable,
            Self::Interrupted => Exit::Interrupted,
            Self::NothingRan | Self::NotProvoked => Exit::Usage,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Intact => "INTACT",
            Self::Failed => "FAILED",
            Self::RuleBroken => "RULE BROKEN",
            Self::Grew => "MEMORY GREW",
            Self::Unavailable => "UNAVAILABLE",
            Self::Interrupted => "INTERRUPTED",
            Self::NothingRan => "NOTHING RAN",
            Self::NotProvoked => "NOT PROVOKED",
        }
    }
}

/// What does not change in a soak.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// What is tested.
    pub tested: String,
    /// The options that choose the same target again.
    #[serde(skip)]
    pub target_options: String,
    /// Threads.
    pub threads: usize,
    /// Transfers under way on each thread's handle.
    pub depth: usize,
    /// The first round's seed.
    pub seed: u64,
    /// Resident memory when the soak began, in bytes.
    pub resident_begin_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    schema_version: u32,
    event: &'static str,
    app_version: &'static str,
    #[serde(flatten)]
    head: &'a Head,
    elapsed_seconds: f64,
    rounds: u64,
    transfers: u64,
    verified: u64,
    failed: u64,
    cancelled: u64,
    removed: u64,
    under_way: u64,
    bytes: u64,
    transfers_per_second: f64,
    resets: u64,
    power_cycles: u64,
    rebalances: u64,
    removals: u64,
    failures: u64,
    paths: Vec<PathCount>,
    resident_bytes: Option<u64>,
    resident_settled_bytes: Option<u64>,
    open_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End<'a>>,
}

#[derive(Serialize)]
struct End<'a> {
    verdict: Verdict,
    exit_status: u8,
    troubles: &'a [Trouble],
    rule: Option<&'a str>,
    notes: &'a [Note],
    provoked: &'a [Provoked],
    lost: Option<String>,
    replay: Option<&'a str>,
}

/// Files and sockets that the process has open, where the system says it.
#[must_use]
pub fn open_files() -> Option<u64> {
    // CAST: a count of files.
    std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64)
}

fn rate(count: u64, time: Duration) -> f64 {
    // CAST: counts are far below 2^53, and a rate is for people.
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// Writes one JSON object in a line; with a verdict it is the last one.
///
/// # Errors
///
/// Those of the output.
pub fn write_json(
    out: &mut dyn Write,
    head: &Head,
    reading: &Reading,
    verdict: Option<Verdict>,
) -> io::Result<()> {
    let tally = &reading.tally;
    let [resets, power_cycles, rebalances, removals] = reading.disturbances;
    let line = Line {
        schema: "dmaproof.soak",
        schema_version: SCHEMA_VERSION,
        event: if verdict.is_some() { "end" } else { "interval" },
        app_version: env!("CARGO_PKG_VERSION"),
        head,
        elapsed_seconds: reading.elapsed.as_secs_f64(),
        rounds: reading.rounds,
        transfers: tally.asked,
        verified: tally.intact,
        failed: tally.failed,
        cancelled: tally.cancelled,
        removed: tally.gone,
        under_way: tally.open(),
        bytes: tally.bytes,
        transfers_per_second: rate(tally.asked, reading.elapsed),
        resets,
        power_cycles,
        rebalances,
        removals,
        failures: reading.failures,
        paths: tally.paths(),
        resident_bytes: resident(),
        resident_settled_bytes: reading.resident_settled,
        open_files: open_files(),
        end: verdict.map(|verdict| End {
            verdict,
            exit_status: verdict.exit().into(),
            troubles: &reading.troubles,
            rule: reading.broken.as_deref(),
            notes: &reading.notes,
            provoked: &reading.provoked,
            lost: reading.lost.map(|status| status.to_string()),
            replay: reading.replay.as_ref().map(|replay| replay.command.as_str()),
        }),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)?;
    out.flush()
}

/// Writes the first lines for people.
///
/// # Errors
///
/// Those of the output.
pub fn write_head(out: &mut dyn Write, head: &Head, duration: Duration) -> io::Result<()> {
    let Head { tested, threads, depth, seed, .. } = head;
    writeln!(out, "{tested}")?;
    writeln!(
        out,
        "{}, {depth} under way on each, seed {seed}, for {}",
        // CAST: a small number.
        count(*threads as u64, "thread"),
        whole_seconds(duration)
    )?;
    out.flush()
}

/// One line for people.
#[must_use]
pub fn sentence(reading: &Reading) -> String {
    let tally = &reading.tally;
    let [resets, power_cycles, rebalances, removals] = reading.disturbances;
    format!(
        "{}: {}, {} ({:.0} a second), {} cancelled, {}, {}, {}, {}",
        whole_seconds(reading.elapsed),
        count(reading.rounds, "round"),
        count(tally.asked, "transfer"),
        rate(tally.asked, reading.elapsed),
        tally.cancelled,
        count(resets, "reset"),
        count(power_cycles, "sleep"),
        count(rebalances, "rebalance"),
        count(removals, "removal")
    )
}

/// Writes the summary for people.
///
/// # Errors
///
/// Those of the output.
pub fn write_summary(
    out: &mut dyn Write,
    head: &Head,
    reading: &Reading,
    verdict: Verdict,
) -> io::Result<()> {
    for trouble in &reading.troubles {
        writeln!(out, "\n{}", trouble.text)?;
        let Some(explanation) = &trouble.explanation else { continue };
        if let Some(rule) = explanation.rule {
            writeln!(out, "  usual cause: {rule} (`dmaproof rules {rule}`)")?;
        }
        for line in &explanation.diff {
            writeln!(out, "    {line}")?;
        }
    }
    if let Some(Replay { command, varies }) = &reading.replay {
        let limits = varies.map_or(String::new(), |varies| format!(", as far as {varies}"));
        writeln!(out, "again{limits}: {command}")?;
    }
    notes::write(out, &reading.notes)?;
    provoked::write(out, &reading.provoked)?;
    writeln!(out, "\n{}", sentence(reading))?;
    for [to_device, from_device, path] in paths(reading) {
        writeln!(out, "  {path:<16} {to_device:>12} to the device {from_device:>12} from it")?;
    }
    writeln!(out, "  {}", memory(head, reading))?;
    writeln!(out, "{}", verdict_sentence(head, reading, verdict))
}

/// The paths that moved something.
fn paths(reading: &Reading) -> impl Iterator<Item = [String; 3]> {
    let moved = |count: &PathCount| count.to_device + count.from_device > 0;
    reading.tally.paths().into_iter().filter(moved).map(|count| {
        [count.to_device.to_string(), count.from_device.to_string(), count.path.to_owned()]
    })
}

fn memory(head: &Head, reading: &Reading) -> String {
    let mib = |bytes: Option<u64>| match bytes {
        // CAST: megabytes for people.
        Some(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        None => "unknown".to_owned(),
    };
    format!(
        "memory of the process: {} at the start, {} after the first rounds, {} at the end",
        mib(head.resident_begin_bytes),
        mib(reading.resident_settled),
        mib(resident())
    )
}

fn verdict_sentence(head: &Head, reading: &Reading, verdict: Verdict) -> String {
    let word = verdict.word();
    let tally = &reading.tally;
    let verified = count(tally.intact, "verified transfer");
    match verdict {
        Verdict::Intact | Verdict::Interrupted => format!(
            "{word}: every byte of {verified} is right; {} asked for, {} lost",
            tally.asked,
            tally.open()
        ),
        Verdict::Failed => format!("{word}: {}", count(reading.failures, "failure")),
        Verdict::RuleBroken => {
            format!("{word}: {}", reading.broken.as_deref().unwrap_or_default())
        }
        Verdict::Grew => format!(
            "{word}: by more than {} MiB since the first rounds; every byte of {verified} is right",
            GROWTH_MAX >> 20
        ),
        Verdict::Unavailable => match reading.lost {
            Some(status) => format!("{word}: the device does not come back: {status}"),
            None => word.to_owned(),
        },
        Verdict::NothingRan => format!(
            "{word}: time was up before a transfer was verified, or the device has no memory to move \
             data to; give it more time (--duration), or look what it has (`dmaproof info {}`)",
            head.target_options
        ),
        Verdict::NotProvoked => format!(
            "{word}: {}; every byte of {verified} is right",
            provoked::missed(&reading.provoked).unwrap_or_default()
        ),
    }
}

/// The names of the disturbances with their counts.
pub(super) fn disturbances(reading: &Reading) -> impl Iterator<Item = (&'static str, u64)> {
    Disturbance::ALL.into_iter().map(Disturbance::name).zip(reading.disturbances)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::Meter;
    use crate::traffic::Tally;

    fn reading(change: impl FnOnce(&mut Reading)) -> Reading {
        let mut reading = Meter::new(1).read();
        (reading.tally.asked, reading.tally.intact) = (7, 7);
        reading.resident_settled = Some(50 << 20);
        change(&mut reading);
        reading
    }

    #[test]
    fn whatever_is_wrong_is_in_the_verdict() {
        let of = |change: fn(&mut Reading)| Verdict::of(&reading(change), Some(60 << 20), false);
        assert_eq!(of(|_| {}), Verdict::Intact);
        assert_eq!(of(|reading| reading.failures = 1), Verdict::Failed);
        assert_eq!(of(|reading| reading.broken = Some("DMA-54".to_owned())), Verdict::RuleBroken);
        let gone = crate::target::NtStatus(dmaproof_protocol::status::DEVICE_REMOVED);
        let lost = Verdict::of(&reading(|r| r.lost = Some(gone)), None, false);
        assert_eq!((lost, lost.exit()), (Verdict::Unavailable, Exit::Unavailable));
        assert_eq!(of(|reading| reading.tally = Tally::default()), Verdict::NothingRan);
        let grown = Verdict::of(&reading(|_| {}), Some((51 << 20) + GROWTH_MAX), false);
        assert_eq!((grown, grown.exit()), (Verdict::Grew, Exit::Failed));
        let interrupted = Verdict::of(&reading(|_| {}), None, true);
        assert_eq!(interrupted.exit(), Exit::Interrupted);
        // What went wrong before the user ended it is not forgotten.
        assert_eq!(Verdict::of(&reading(|r| r.failures = 1), None, true), Verdict::Failed);
    }
}
