//! The command line.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dmaproof_protocol::{Direction, Path};

use crate::lab::select::Skipped;
use crate::lab::table::MachineKind;
use crate::route::Route;
use crate::target::TargetOptions;

mod skipped;

use skipped::SkippedParser;
pub(crate) use skipped::nearest;

const AFTER_HELP: &str = "\
Exit status:
  0    all data that was verified is intact; rules not followed are listed as notes
  1    data was corrupted, or a rule was broken
  2    wrong usage, a file cannot be used, nothing of what was selected is available, or a failure
       that was asked for never happened
  3    no device, driver or permission (run as administrator), or the device does not start
  130  interrupted (Ctrl-C, SIGTERM, SIGHUP)

Without a target option the first real device is used on Windows, and where there is none the
simulated machine x64 with the exerciser. The first line of the output says which.";

/// Proves that data survives DMA: moves it through a test device, checks every byte, and explains
/// what went wrong.
#[derive(Debug, Parser)]
#[command(name = "dmaproof", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the devices that can be tested, real and simulated.
    List(ListArgs),
    /// Show the driver, the device, its DMA adapters and the driver's counters.
    Info(InfoArgs),
    /// Sweep paths, directions, lengths, offsets and patterns, and verify every byte.
    ///
    /// Ends with a ledger of what ran, what failed and what did not run.
    Test(TestArgs),
    /// Measure throughput and latency by path, size and depth, beside memcpy in the same run.
    ///
    /// The data is verified too, outside the timed part. On a simulated machine this measures the
    /// driver, the machine's model and the device's, on the processors of this computer.
    Bench(BenchArgs),
    /// Keep the device busy for hours, and verify every byte.
    ///
    /// Several threads move data by every path, with cancels, resets and, on simulated machines,
    /// sleeps, rebalances and removals under way. Ends at the first thing that is wrong. Simulated
    /// machines have a scheduler with threads unless --sim names another.
    Soak(SoakArgs),
    /// Write a file into the device's memory.
    ///
    /// A simulated device's memory ends with the command.
    Write(WriteArgs),
    /// Read the device's memory into a file.
    Read(ReadArgs),
    /// Copy a file through the device, piece by piece, and compare.
    ///
    /// The copy appears under its name only when all of it is intact.
    Copy(CopyArgs),
    /// Show what breaks when the driver makes a mistake, and that it is noticed.
    ///
    /// Runs the real driver on simulated machines with one call left out, falsified, repeated or
    /// moved, and compares what comes of it with what the documents say (docs/sabotage.md).
    Lab(LabArgs),
    /// Show the rules that a DMA driver must follow, and who enforces them.
    Rules(RulesArgs),
}

/// `list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `info`
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// `test`
#[derive(Clone, Debug, Args)]
#[command(after_help = "Paths: common-cached, common-uncached, packet, sg, v3, pio, system, file \
                        (ReadFile and WriteFile).\n\nA real edu device takes 0.1 s for each \
                        transfer, so that a quick test of it takes minutes; choose --paths or \
                        --cases to make it shorter.")]
pub struct TestArgs {
    /// A few thousand transfers, each cell of the ledger at least once (the default).
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Every length up to two pages, and boundary lengths at every offset.
    #[arg(long)]
    pub full: bool,
    /// Test only these paths.
    #[arg(long, value_delimiter = ',', value_name = "PATH,...")]
    pub paths: Vec<Route>,
    /// Test only these directions: to-device, from-device.
    #[arg(long, value_delimiter = ',', value_name = "DIRECTION,...", value_parser = direction)]
    pub directions: Vec<Direction>,
    /// Seed of plan and patterns: the same seed makes the same test.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number)]
    pub seed: u64,
    /// Run only these cases of the plan, such as 41 or 0-41.
    #[arg(long, value_name = "N[-M]")]
    pub cases: Option<CaseRange>,
    /// Sweep: a short run with each of N seeds from --seed on, in parallel, up to the first that
    /// fails.
    ///
    /// On a simulated machine, whose scheduler is the deterministic one unless --sim names another.
    /// Each seed makes its own plan, of which cases 0 to 47 run unless --cases says otherwise, and
    /// its own machine. The first failure is run twice more, and the command that repeats it is
    /// printed in one line.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub seeds: Option<u64>,
    /// Let the driver's calls fail: each that may fail for lack of resources, once from each of
    /// its call stacks, in a run of its own; with --seeds at random instead.
    ///
    /// Requests may fail then. No rule may be broken, nothing may leak or hang, and no byte that
    /// is said to have been moved may be wrong. Where --sim names the calls (fail=), there is one
    /// run with them, judged so.
    #[arg(long)]
    pub faults: bool,
    /// Threads, each with a handle of its own: the first one runs the plan, the others keep the
    /// device busy meanwhile. The plan then has one half of the device's memory.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = threads)]
    pub threads: usize,
    /// Transfers under way on each handle: the tested one and others beside it, all verified.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = depth)]
    pub depth: usize,
    /// Give up after this many failures.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = positive)]
    pub stop_after: u64,
    /// Let notes and unexplained counts fail the test too.
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON object instead of the report; one for each machine that is tested.
    #[arg(long)]
    pub json: bool,
    /// Write the report as a page to this file too.
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["seeds", "faults"])]
    pub html: Option<PathBuf>,
    /// Write the report as JUnit XML to this file too, for continuous integration.
    #[arg(long, value_name = "FILE.xml", conflicts_with_all = ["seeds", "faults"])]
    pub junit: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// `bench`
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Measure only these paths.
    #[arg(long, value_delimiter = ',', value_name = "PATH,...")]
    pub paths: Vec<Route>,
    /// Measure only these directions: to-device, from-device.
    #[arg(long, value_delimiter = ',', value_name = "DIRECTION,...", value_parser = direction)]
    pub directions: Vec<Direction>,
    /// Bytes of a transfer, such as 4K or 1M; what is longer than the device takes is cut.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "BYTES,...",
        default_value = "4K,64K,1M",
        value_parser = size
    )]
    pub sizes: Vec<usize>,
    /// How many transfers each thread keeps under way.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,...",
        default_value = "1,4,32",
        value_parser = depth
    )]
    pub depths: Vec<usize>,
    /// Threads, each with a handle of its own.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = threads)]
    pub threads: usize,
    /// How long each line is measured.
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = duration)]
    pub time: Duration,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots to this file too.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// `soak`
#[derive(Clone, Debug, Args)]
pub struct SoakArgs {
    /// How long, such as 10s, 90m or 2h.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = duration)]
    pub duration: Duration,
    /// End after this many rounds: each starts the target anew, with the next seed.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rounds: Option<u64>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub load: SoakLoad,
    /// Seed of the first round.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number)]
    pub seed: u64,
    /// How often a line is printed, and the metrics are written.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub interval: Duration,
    /// Print a JSON object in each line instead.
    #[arg(long)]
    pub json: bool,
    /// Keep this file up to date with metrics in the text format of Prometheus, for the textfile
    /// collector of its node exporter; its name must end in .prom there.
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// How busy a soak keeps the device.
#[derive(Clone, Copy, Debug, Args)]
pub struct SoakLoad {
    /// Threads, each with a handle of its own.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = threads)]
    pub threads: usize,
    /// Transfers that each thread keeps under way.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = depth)]
    pub depth: usize,
}

/// `write`
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The file to write to the device.
    pub file: PathBuf,
    /// Where in the device's memory to begin, in bytes.
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = number)]
    pub offset: u64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub path: PathOption,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// `read`
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The file to write what was read to.
    pub out: PathBuf,
    /// Where in the device's memory to begin, in bytes.
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = number)]
    pub offset: u64,
    /// How many bytes to read [default: up to the end of the memory].
    #[arg(long, value_name = "BYTES", value_parser = number)]
    pub length: Option<u64>,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub path: PathOption,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// `copy`
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The file to copy.
    pub file: PathBuf,
    /// The copy.
    pub out: PathBuf,
    /// Replace the copy if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub path: PathOption,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its documentation would become help text")]
    pub target: TargetOptions,
}

/// The path that data takes outside of tests.
#[derive(Clone, Debug, Default, Args)]
pub struct PathOption {
    /// The path to take: common-cached, common-uncached, packet, sg, v3, pio, system or file
    /// [default: packet, or the first one that the device has].
    #[arg(long, value_name = "PATH")]
    pub path: Option<Route>,
}

/// `lab`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status 0: every row came out as the documents say. 1: a row differs. 130: interrupted; the rows so far are printed."
)]
pub struct LabArgs {
    /// Only rows that leave this out: a call, FLUSH for every flush, or a rule such as DMA-85 for
    /// the calls that it demands.
    #[arg(long, value_name = "CALL|RULE", value_parser = SkippedParser, ignore_case = true)]
    pub skip: Option<Skipped>,
    /// Only rows on these paths.
    #[arg(long, value_delimiter = ',', value_name = "PATH,...", value_parser = path)]
    pub path: Vec<Path>,
    /// Only rows in these directions: to-device, from-device.
    #[arg(long, value_delimiter = ',', value_name = "DIRECTION,...", value_parser = direction)]
    pub direction: Vec<Direction>,
    /// Only rows on these machines: x64, x64-dmar, arm64, nt.
    #[arg(long, value_delimiter = ',', value_name = "PROFILE,...", value_parser = machine)]
    pub profile: Vec<MachineKind>,
    /// Only this row, by the name that the report prints.
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// The first seed; each row takes the next ones too until its mistake is caught.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number)]
    pub seed: u64,
    /// Print one JSON object instead of the report.
    #[arg(long)]
    pub json: bool,
    /// Draw a small run of one row, if there is one in which data is lost: caches, memory and
    /// device, step by step (on arm64 and nt).
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Print the names of the rows that fit the other options, for --case, and run nothing.
    #[arg(long, conflicts_with_all = ["json", "html"])]
    pub list: bool,
    /// Print the whole table in Markdown, and run nothing.
    #[arg(
        long,
        conflicts_with_all = ["json", "html", "skip", "path", "direction", "profile", "case", "list"]
    )]
    pub page: bool,
}

/// `rules`
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Show everything about this rule, such as DMA-54.
    pub id: Option<String>,
    /// Print JSON: an array of rules, or one rule.
    #[arg(long)]
    pub json: bool,
}

/// A number, decimal or hexadecimal.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let parsed = match hexadecimal {
        // The parser would take a second sign.
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| "not a number from 0 to 2^64-1, such as 4096 or 0x1000".to_owned())
}

fn positive(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("at least 1".to_owned()),
        number => Ok(number),
    }
}

fn within(text: &str, most: u64) -> Result<usize, String> {
    let refused = || format!("a number from 1 to {most}");
    let number = number(text).map_err(|_| refused())?;
    // CAST: at most `most`, which is small.
    if (1..=most).contains(&number) { Ok(number as usize) } else { Err(refused()) }
}

fn threads(text: &str) -> Result<usize, String> {
    within(text, 64)
}

fn depth(text: &str) -> Result<usize, String> {
    within(text, 1024)
}

/// A length of transfers, which may end in K or M.
fn size(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 0), |digits| (digits, 20)),
    };
    let most = crate::pattern::LENGTH_MAX;
    let bytes = number(digits).ok().and_then(|number| number.checked_mul(1 << shift));
    match bytes {
        // CAST: at most `most`, which fits.
        Some(bytes) if (1..=most).contains(&bytes) => Ok(bytes as usize),
        _ => Err(format!("a number of bytes from 1 to {}M, such as 4096, 64K or 1M", most >> 20)),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("longer than nothing, such as 10s or 90m".to_owned()),
        // A year: the end of it can be told.
        Ok(time) => Ok(time.min(Duration::from_secs(366 * 24 * 3600))),
        Err(error) => Err(format!("{error}; try 10s, 90m or 2h")),
    }
}

fn path(text: &str) -> Result<Path, String> {
    text.parse().map_err(|unknown: dmaproof_protocol::UnknownName| unknown.to_string())
}

fn machine(text: &str) -> Result<MachineKind, String> {
    MachineKind::ALL
        .into_iter()
        .find(|machine| machine.name() == text)
        .ok_or_else(|| "the machines are x64, x64-dmar, arm64 and nt".to_owned())
}

fn direction(text: &str) -> Result<Direction, String> {
    Direction::ALL
        .iter()
        .copied()
        .find(|direction| direction.title() == text)
        .ok_or_else(|| "the directions are to-device and from-device".to_owned())
}

/// Numbers of cases: one, or from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseRange(pub Range<u64>);

impl FromStr for CaseRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let case = |text: &str| {
            number(text).map_err(|_| format!("`{text}` is no case number; try 41 or 0-41"))
        };
        let (first, last) = (case(first)?, case(last)?);
        match last.checked_add(1) {
            Some(end) if first <= last => Ok(Self(first..end)),
            _ => Err(format!("{first} to {last} is no range of cases")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ranges_of_cases() {
        assert_eq!("41".parse(), Ok(CaseRange(41..42)));
        assert_eq!("0-41".parse(), Ok(CaseRange(0..42)));
        assert_eq!("0x10-0x1F".parse(), Ok(CaseRange(16..32)));
        assert!(number("0x").is_err() && number("0x+1").is_err() && positive("0x0").is_err());
        for text in ["", "-", "5-4", "a", "1-", "0-18446744073709551615"] {
            assert!(text.parse::<CaseRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_help_of_test_names_every_path() {
        let help = Cli::command().find_subcommand_mut("test").unwrap().render_help().to_string();
        for route in Route::ALL {
            assert!(help.contains(route.option()), "{route}");
        }
    }

    #[test]
    fn quick_and_full_exclude_each_other() {
        assert!(Cli::try_parse_from(["dmaproof", "test", "--quick", "--full"]).is_err());
        assert!(
            Cli::try_parse_from(["dmaproof", "test", "--sim", "x64", "--device", "a"]).is_err()
        );
    }
}
