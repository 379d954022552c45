//! The sabotage table: what was done to which call, and what the documents say comes of it.
//!
//! Rows are written from the public documents, never from what the simulator does: where the two
//! differ, the simulator is wrong, or the row misreads its page. A row covers paths, directions and
//! machines; [`cells`] spreads it.

use std::fmt;

use dmaproof_protocol::{Direction, Path};
use nthost::{Deed, Forgery, RuleId, Sabotage};

mod around;
mod cache_flush;
mod common_buffer;
mod lists;
mod packet;
pub mod pages;
mod release;
mod system;
mod version3;

pub use pages::Page;

/// One mistake.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is done to the driver's calls.
    pub sabotage: Sabotage,
    /// The paths that transfers take.
    pub paths: &'static [Path],
    /// The directions that they take.
    pub directions: &'static [Direction],
    /// The number of the flush of adapter buffers that fails, if one does (DMA-55).
    pub failing_flush: Option<u64>,
    /// Whether transfers share cache lines with their neighbours on machines where the driver has to
    /// carry such lines another way. Rows about one path keep to it without.
    pub shares_lines: bool,
    /// Whether the driver makes the call at all on these paths. If not, the row says that it need
    /// not.
    pub made: bool,
    /// What comes of it: the first clause that fits counts.
    pub expected: &'static [(When, Expected)],
    /// The document.
    pub page: Page,
    /// What the document says about it, in our words.
    pub gist: &'static str,
}

/// A row to start from: both directions, a call that the driver makes.
const ROW: Row = Row {
    sabotage: Sabotage::of("", Deed::LeaveOut),
    paths: &[],
    directions: Direction::ALL,
    failing_flush: None,
    shares_lines: false,
    made: true,
    expected: &[],
    page: pages::FLUSHING_DMA,
    gist: "",
};

/// When a clause of a row holds.
#[derive(Clone, Copy, Debug)]
pub struct When {
    machines: &'static [MachineKind],
    direction: Option<Direction>,
}

impl When {
    const ALWAYS: Self = Self { machines: &MachineKind::ALL, direction: None };

    const fn on(machines: &'static [MachineKind]) -> Self {
        Self { machines, direction: None }
    }

    const fn to_device(machines: &'static [MachineKind]) -> Self {
        Self { machines, direction: Some(Direction::ToDevice) }
    }

    const fn from_device(machines: &'static [MachineKind]) -> Self {
        Self { machines, direction: Some(Direction::FromDevice) }
    }

    fn fits(self, machine: MachineKind, direction: Direction) -> bool {
        self.machines.contains(&machine) && self.direction.is_none_or(|own| own == direction)
    }
}

/// The machines of the table, by the names of their profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineKind {
    /// Coherent; bounces what the adapter cannot reach.
    X64,
    /// Coherent, behind an IOMMU.
    X64Dmar,
    /// Not coherent, prefetches; common buffers are never cached.
    Arm64,
    /// Not coherent, honours CacheEnabled; system DMA.
    Nt,
}

use MachineKind::{Arm64, Nt, X64, X64Dmar};

/// Machines whose caches and DMA are coherent: KeFlushIoBuffers does nothing.
const COHERENT: &[MachineKind] = &[X64, X64Dmar];
/// Machines on which a cache line can be stale.
const INCOHERENT: &[MachineKind] = &[Arm64, Nt];

impl MachineKind {
    /// All of them.
    pub const ALL: [Self; 4] = [X64, X64Dmar, Arm64, Nt];

    /// The name of the profile.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            X64 => "x64",
            X64Dmar => "x64-dmar",
            Arm64 => "arm64",
            Nt => "nt",
        }
    }
}

impl fmt::Display for MachineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the documents say comes of a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Data can be lost, or the system be damaged: one of these rules is broken, and the observer
    /// sees it in the data.
    Harmful(&'static [RuleId], Seen),
    /// A rule was not followed where that loses no data: exactly these rules are noted, and all
    /// data is intact.
    Noted(&'static [RuleId]),
    /// Nothing was wrong: nothing is named, and all data is intact.
    Harmless,
    /// The call fails as its page says, and so does the request; nothing is broken.
    Refused,
}

impl Expected {
    /// The verdict in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Harmful(..) => "harmful",
            Self::Noted(_) => "note",
            Self::Harmless => "harmless",
            Self::Refused => "refused",
        }
    }

    /// The rules that may name the mistake.
    #[must_use]
    pub const fn rules(self) -> &'static [RuleId] {
        match self {
            Self::Harmful(rules, _) | Self::Noted(rules) => rules,
            Self::Harmless | Self::Refused => &[],
        }
    }

    /// Who sees it in the data.
    #[must_use]
    pub const fn seen(self) -> Seen {
        match self {
            Self::Harmful(_, seen) => seen,
            _ => Seen::Nobody,
        }
    }
}

/// Who is sure to see a mistake in the data, at the end of a run or when the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nobody: no data is lost, or not on every machine of this kind.
    Nobody,
    /// The app: the bytes in the caller's buffer.
    App,
    /// The memory of the device, looked at without the driver.
    Device,
    /// Whoever fetches instructions from the buffer, which reads RAM and not the data cache.
    Fetch,
}

impl Seen {
    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::App => "app",
            Self::Device => "device memory",
            Self::Fetch => "instruction fetch",
        }
    }
}

/// A row on one path, in one direction, on one machine.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The row.
    pub row: &'static Row,
    /// The path of its transfers.
    pub path: Path,
    /// Their direction.
    pub direction: Direction,
    /// The machine.
    pub machine: MachineKind,
    /// What comes of it there.
    pub expected: Expected,
}

impl fmt::Display for Cell {
    /// The name on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, path, direction, machine, .. } = self;
        write!(f, "{machine}/{}/{direction}/{}", path.option(), Slug(row))
    }
}

/// A row's name without spaces.
struct Slug<'a>(&'a Row);

impl fmt::Display for Slug<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sabotage { function, calls, deed } = self.0.sabotage;
        write!(f, "{function}/")?;
        let forged = |forgery| match forgery {
            Forgery::Add(more) | Forgery::AddToTarget(more) => format!("{more:+}"),
            Forgery::Invert => "-inverted".to_owned(),
            Forgery::Set(value) => format!("={value}"),
            Forgery::Of(function, _) => format!("-of-{function}"),
        };
        match deed {
            Deed::LeaveOut => f.write_str("left-out"),
            Deed::Falsify(argument, forgery) => write!(f, "{argument}{}", forged(forgery)),
            Deed::Misreport(forgery) => write!(f, "answer{}", forged(forgery)),
            Deed::Repeat => f.write_str("twice"),
            Deed::PutOff(until) => write!(f, "after-{until}"),
            Deed::Hasten(_) => f.write_str("too-early"),
        }?;
        match calls {
            nthost::Calls::Every => Ok(()),
            nthost::Calls::Nth(number) => write!(f, "@{number}"),
        }
    }
}

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [
        cache_flush::ROWS,
        packet::ROWS,
        lists::ROWS,
        version3::ROWS,
        common_buffer::ROWS,
        release::ROWS,
        system::ROWS,
        around::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// Every cell of the table.
pub fn cells() -> impl Iterator<Item = Cell> {
    rows().flat_map(|row| {
        MachineKind::ALL.into_iter().flat_map(move |machine| {
            row.paths.iter().flat_map(move |&path| {
                row.directions.iter().filter_map(move |&direction| {
                    let clause =
                        row.expected.iter().find(|(when, _)| when.fits(machine, direction));
                    let &(_, expected) = clause?;
                    Some(Cell { row, path, direction, machine, expected })
                })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cell_has_a_name_of_its_own() {
        let names: Vec<String> = cells().map(|cell| cell.to_string()).collect();
        let different: BTreeSet<&String> = names.iter().collect();
        assert_eq!(names.len(), different.len());
        assert!(names.len() > 300, "{}", names.len());
    }

    #[test]
    fn every_row_says_where_it_comes_from_and_holds_somewhere() {
        for row in rows() {
            assert!(row.gist.ends_with('.') && row.gist.len() > 15, "{}", row.sabotage);
            assert!(cells().any(|cell| std::ptr::eq(cell.row, row)), "{}", row.sabotage);
        }
    }

    #[test]
    fn what_names_something_has_rules_to_name_and_only_harm_is_seen_in_the_data() {
        for cell in cells() {
            let names = matches!(cell.expected, Expected::Harmful(..) | Expected::Noted(_));
            assert_eq!(names, !cell.expected.rules().is_empty(), "{cell}");
            let mismatch = match cell.expected.seen() {
                Seen::App => cell.direction != Direction::FromDevice,
                Seen::Device => cell.direction != Direction::ToDevice,
                Seen::Fetch => cell.path != Path::Pio,
                Seen::Nobody => false,
            };
            assert!(!mismatch, "{cell}: this observer sees nothing in this direction");
        }
    }
}
