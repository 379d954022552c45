//! The figures as a table and as JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Measured, PERCENTILES, Trouble, Verdict};
use crate::notes;
use crate::provoked::{self, Provoked};
use crate::report::write_violation;
use crate::target::Note;

/// The version of the object's layout.
pub const SCHEMA_VERSION: u32 = 1;

/// A bench as it stands.
#[derive(Clone, Debug)]
pub struct Bench {
    /// What was measured, in words.
    pub tested: String,
    /// What the driver says about itself and its device.
    pub device: Option<dmaproof_protocol::QueryReply>,
    /// Threads, each with a handle of its own.
    pub threads: usize,
    /// How long each cell was measured, in seconds.
    pub seconds: f64,
    /// The cells in the plan.
    pub planned: usize,
    /// Those that were measured.
    pub measured: Vec<Measured>,
    /// Rules that were not followed meanwhile.
    pub notes: Vec<Note>,
    /// The failures that were asked for, in all cells.
    pub provoked: Vec<Provoked>,
    /// What ended it early.
    pub trouble: Option<Trouble>,
}

impl Bench {
    /// What it ends with.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.trouble {
            Some(trouble) => trouble.verdict,
            None if notes::broken(&self.notes).is_some() => Verdict::RuleBroken,
            None if self.measured.len() < self.planned => Verdict::Interrupted,
            None if provoked::missed(&self.provoked).is_some() => Verdict::NotProvoked,
            None => Verdict::Intact,
        }
    }

    /// The verdict in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let verdict = self.verdict();
        let (word, done, planned) = (verdict.word(), self.measured.len(), self.planned);
        match (verdict, &self.trouble, notes::broken(&self.notes)) {
            (_, Some(trouble), _) => {
                let rule = trouble.violation.as_ref().map(|violation| violation.rule.as_str());
                let what = rule.unwrap_or_else(|| trouble.text.lines().next().unwrap_or_default());
                match planned {
                    0 => format!("{word} before the first line: {what}"),
                    _ => format!("{word} after {done} of {planned} lines: {what}"),
                }
            }
            (Verdict::RuleBroken, _, Some(note)) => {
                format!("{word}: {}; the machine went on, {done} of {planned} lines", note.rule)
            }
            (Verdict::NotProvoked, ..) => {
                format!("{word}: {}", provoked::missed(&self.provoked).unwrap_or_default())
            }
            (Verdict::Interrupted, ..) => format!("{word} after {done} of {planned} lines"),
            _ => format!("{word}: all data of {planned} lines is right"),
        }
    }
}

/// Writes what follows the table: what was not followed, what went wrong, and the verdict.
///
/// # Errors
///
/// Those of the output.
pub fn write_end(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    notes::write(out, &bench.notes)?;
    provoked::write(out, &bench.provoked)?;
    if let Some(trouble) = &bench.trouble {
        match &trouble.violation {
            Some(violation) => write_violation(out, violation)?,
            None => writeln!(out, "\n{}", trouble.text)?,
        }
        writeln!(out, "  again: {}", trouble.replay)?;
    }
    writeln!(out, "\n{}", bench.sentence())
}

/// A time in nanoseconds for people: three digits.
#[must_use]
pub fn time(nanoseconds: u64) -> String {
    // CAST: a time for people.
    let mut value = nanoseconds as f64;
    for unit in ["ns", "µs", "ms"] {
        if value < 999.5 {
            return format!("{} {unit}", digits(value));
        }
        value /= 1000.0;
    }
    format!("{} s", digits(value))
}

/// A rate for people: three digits, and thousands as k, M or G.
#[must_use]
pub fn rate(mut value: f64) -> String {
    for unit in ["", "k", "M"] {
        if value < 999.5 {
            return format!("{}{unit}", digits(value));
        }
        value /= 1000.0;
    }
    format!("{}G", digits(value))
}

/// Three digits.
#[must_use]
pub fn digits(value: f64) -> String {
    let decimals = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// A number of bytes for people.
#[must_use]
pub fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// Mebibytes.
#[must_use]
pub fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Writes what is known before the first cell.
///
/// # Errors
///
/// Those of the output.
pub fn write_head(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    writeln!(out, "{}", bench.tested)?;
    if let Some(device) = &bench.device {
        writeln!(out, "{}", crate::describe::summary(device))?;
    }
    // CAST: a small number.
    let threads = crate::describe::count(bench.threads as u64, "thread");
    writeln!(
        out,
        "{threads}, {} s for each line; memcpy by one thread in the same run",
        bench.seconds
    )?;
    out.flush()
}

/// Writes one cell; before the first of a path and direction, a heading.
///
/// # Errors
///
/// Those of the output.
pub fn write_row(out: &mut dyn Write, before: Option<&Measured>, row: &Measured) -> io::Result<()> {
    let cell = &row.cell;
    let group = |row: &Measured| (row.cell.route, row.cell.direction);
    if before.map(group) != Some(group(row)) {
        writeln!(out, "\n{}, {}", cell.route, cell.direction)?;
        writeln!(
            out,
            "{:>9} {:>5} {:>9} {:>9} {:>9} {:>6} {:>8} {:>8} {:>8} {:>8}",
            "size", "depth", "a second", "MiB/s", "memcpy", "ratio", "p50", "p99", "p99.9", "max"
        )?;
    }
    write!(
        out,
        "{:>9} {:>5} {:>9} {:>9} {:>9} {:>6.3}",
        size(cell.size),
        cell.depth,
        rate(row.rate),
        digits(mebibytes(row.throughput())),
        digits(mebibytes(row.memcpy)),
        row.ratio()
    )?;
    for (_, percent) in PERCENTILES {
        write!(out, " {:>8}", time(row.percentile(percent)))?;
    }
    writeln!(out)?;
    out.flush()
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    schema_version: u32,
    tested: &'a str,
    app_version: &'static str,
    device: Option<Value>,
    threads: usize,
    seconds: f64,
    cells_planned: usize,
    cells: Vec<Value>,
    notes: &'a [Note],
    provoked: &'a [Provoked],
    verdict: Verdict,
    summary: String,
    trouble: Option<Value>,
    exit_status: u8,
}

/// Writes one JSON object.
///
/// # Errors
///
/// Those of the output.
pub fn write_json(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    let document = Document {
        schema: "dmaproof.bench",
        schema_version: SCHEMA_VERSION,
        tested: &bench.tested,
        app_version: env!("CARGO_PKG_VERSION"),
        device: bench.device.as_ref().map(crate::describe::to_json),
        threads: bench.threads,
        seconds: bench.seconds,
        cells_planned: bench.planned,
        cells: bench.measured.iter().map(cell).collect(),
        notes: &bench.notes,
        provoked: &bench.provoked,
        verdict: bench.verdict(),
        summary: bench.sentence(),
        trouble: bench.trouble.as_ref().map(trouble),
        exit_status: bench.verdict().exit().into(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn trouble(trouble: &Trouble) -> Value {
    let cell = trouble.cell.as_ref();
    json!({
        "path": cell.map(|cell| cell.route.option()),
        "direction": cell.map(|cell| cell.direction.title()),
        "size_bytes": cell.map(|cell| cell.size),
        "depth": cell.map(|cell| cell.depth),
        "text": trouble.text,
        "violation": trouble.violation,
        "replay": trouble.replay,
    })
}

fn cell(row: &Measured) -> Value {
    let latency: Map<String, Value> = PERCENTILES
        .iter()
        .map(|(name, percent)| ((*name).to_owned(), json!(row.percentile(*percent))))
        .collect();
    json!({
        "path": row.cell.route.option(),
        "direction": row.cell.direction.title(),
        "size_bytes": row.cell.size,
        "depth": row.cell.depth,
        "transfers": row.transfers,
        "seconds": row.elapsed.as_secs_f64(),
        "transfers_per_second": row.rate,
        "bytes_per_second": row.throughput(),
        "memcpy_bytes_per_second": row.memcpy,
        "ratio": row.ratio(),
        "latency_nanoseconds": latency,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people_have_three_digits() {
        for (nanoseconds, text) in [
            (7, "7.00 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(time(nanoseconds), text);
        }
        assert_eq!((rate(314_159.0).as_str(), rate(2.5e6).as_str()), ("314k", "2.50M"));
        assert_eq!(
            (size(4095), size(4096), size(3 << 20)),
            ("4095 B".into(), "4 KiB".into(), "3 MiB".into())
        );
    }
}
