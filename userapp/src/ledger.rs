//! The coverage ledger: what ran, what failed, what did not run and what cannot run here.
//!
//! Rows are routes and directions; columns are size classes; in each cell four alignment classes
//! of the buffer. A cell that did not run never counts as passed.

use dmaproof_protocol::{Direction, Limits, Path, PioKind};
use serde::Serialize;

use crate::guard::{LINE, PAGE};
use crate::route::Route;

/// Transfers sorted by their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// 1 byte.
    Byte,
    /// 2 bytes up to a cache line.
    BelowLine,
    /// A cache line.
    Line,
    /// More than a line, less than a page.
    BelowPage,
    /// A page.
    Page,
    /// More than a page, up to 16.
    Pages,
    /// More than 16 pages.
    ManyPages,
}

impl Size {
    /// All classes, from short to long.
    pub const ALL: [Self; 7] = [
        Self::Byte,
        Self::BelowLine,
        Self::Line,
        Self::BelowPage,
        Self::Page,
        Self::Pages,
        Self::ManyPages,
    ];

    /// The class of a length in bytes.
    #[must_use]
    pub const fn of(length: usize) -> Self {
        match length {
            0 | 1 => Self::Byte,
            LINE => Self::Line,
            PAGE => Self::Page,
            _ if length < LINE => Self::BelowLine,
            _ if length < PAGE => Self::BelowPage,
            _ if length <= 16 * PAGE => Self::Pages,
            _ => Self::ManyPages,
        }
    }

    /// The shortest and the longest length of the class, in bytes.
    #[must_use]
    pub const fn lengths(self) -> (usize, usize) {
        match self {
            Self::Byte => (1, 1),
            Self::BelowLine => (2, LINE - 1),
            Self::Line => (LINE, LINE),
            Self::BelowPage => (LINE + 1, PAGE - 1),
            Self::Page => (PAGE, PAGE),
            Self::Pages => (PAGE + 1, 16 * PAGE),
            Self::ManyPages => (16 * PAGE + 1, usize::MAX),
        }
    }

    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Byte => "1 byte",
            Self::BelowLine => "<line",
            Self::Line => "line",
            Self::BelowPage => "<page",
            Self::Page => "page",
            Self::Pages => ">page",
            Self::ManyPages => ">16 pages",
        }
    }
}

/// Buffers sorted by where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alignment {
    /// At a page.
    Page,
    /// At a cache line, but not at a page.
    Line,
    /// At a multiple of 8 bytes, but not at a line.
    Word,
    /// Anywhere else.
    Odd,
}

impl Alignment {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Page, Self::Line, Self::Word, Self::Odd];

    /// The class of an offset in a page.
    #[must_use]
    pub const fn of(page_offset: usize) -> Self {
        if page_offset.is_multiple_of(PAGE) {
            Self::Page
        } else if page_offset.is_multiple_of(LINE) {
            Self::Line
        } else if page_offset.is_multiple_of(8) {
            Self::Word
        } else {
            Self::Odd
        }
    }

    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Line => "line",
            Self::Word => "8 bytes",
            Self::Odd => "odd",
        }
    }
}

/// What became of a cell or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It cannot run on this device.
    NotAvailable,
    /// It could, and did not.
    NotRun,
    /// It ran, and all data was intact.
    Run,
    /// It ran and failed at least once.
    Failed,
}

/// One cell: a size class and an alignment class of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    available: bool,
    /// How many transfers were verified and found intact.
    pub intact: u64,
    /// How many failed.
    pub failed: u64,
}

impl Cell {
    /// What became of it.
    #[must_use]
    pub const fn state(&self) -> State {
        if self.failed > 0 {
            State::Failed
        } else if self.intact > 0 {
            State::Run
        } else if self.available {
            State::NotRun
        } else {
            State::NotAvailable
        }
    }
}

/// A route in one direction.
#[derive(Clone, Debug)]
pub struct Row {
    /// How transfers were asked for.
    pub route: Route,
    /// Where the data went.
    pub direction: Direction,
    /// Why the row is not available, if it is not.
    pub unavailable: Option<&'static str>,
    cells: [[Cell; 4]; 7],
}

impl Row {
    fn new(route: Route, direction: Direction, limits: &Limits) -> Self {
        let unavailable = reason(route, direction, limits);
        let (shortest, longest) = lengths(route, direction, limits);
        let cells = Size::ALL.map(|size| {
            Alignment::ALL.map(|_| {
                let (min, max) = size.lengths();
                let available = unavailable.is_none() && min <= longest && max >= shortest;
                Cell { available, intact: 0, failed: 0 }
            })
        });
        Self { route, direction, unavailable, cells }
    }

    /// The cell of these classes.
    #[must_use]
    pub const fn cell(&self, size: Size, alignment: Alignment) -> &Cell {
        &self.cells[size as usize][alignment as usize]
    }

    /// All cells with their classes.
    pub fn cells(&self) -> impl Iterator<Item = (Size, Alignment, &Cell)> {
        Size::ALL.into_iter().flat_map(move |size| {
            Alignment::ALL
                .into_iter()
                .map(move |alignment| (size, alignment, self.cell(size, alignment)))
        })
    }

    /// How many transfers were verified and found intact.
    #[must_use]
    pub fn intact(&self) -> u64 {
        self.cells().map(|(_, _, cell)| cell.intact).sum()
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.cells().map(|(_, _, cell)| cell.failed).sum()
    }

    /// What became of the row.
    #[must_use]
    pub fn state(&self) -> State {
        if self.failed() > 0 {
            State::Failed
        } else if self.intact() > 0 {
            State::Run
        } else if self.unavailable.is_some() {
            State::NotAvailable
        } else {
            State::NotRun
        }
    }
}

/// Why nothing can run in this row.
fn reason(route: Route, direction: Direction, limits: &Limits) -> Option<&'static str> {
    let path = route.path();
    if !limits.is_available(path) {
        return Some("this device or machine does not offer the path");
    }
    if path == Path::Pio {
        if direction == Direction::ToDevice && limits.pio.writable_length == 0 {
            return Some("the window cannot be written");
        }
    } else if limits.memory_length == 0 {
        return Some("the device has no memory");
    }
    None
}

/// The shortest and the longest transfer of a row, in bytes.
fn lengths(route: Route, direction: Direction, limits: &Limits) -> (usize, usize) {
    let path = route.path();
    let pio = &limits.pio;
    let window = match (path, direction) {
        (Path::Pio, Direction::ToDevice) => pio.writable_length.min(pio.length),
        _ => limits.window_length(path),
    };
    let longest = usize::try_from(window.min(limits.transfer_length_max)).unwrap_or(usize::MAX);
    let registers = path == Path::Pio && pio.kind == PioKind::Registers;
    // CAST: an alignment of registers is a few bytes.
    let shortest = if registers { pio.alignment.max(1) as usize } else { 1 };
    (shortest, longest)
}

/// What ran.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// A row for each route and direction.
    pub rows: Vec<Row>,
}

impl Ledger {
    /// The empty ledger of a device with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let rows = Route::ALL
            .into_iter()
            .flat_map(|route| {
                Direction::ALL.iter().map(move |&direction| Row::new(route, direction, limits))
            })
            .collect();
        Self { rows }
    }

    /// The row of this route and direction.
    #[must_use]
    pub fn row(&self, route: Route, direction: Direction) -> Option<&Row> {
        self.rows.iter().find(|row| row.route == route && row.direction == direction)
    }

    /// Counts one verified transfer.
    pub fn count(
        &mut self,
        route: Route,
        direction: Direction,
        length: usize,
        page_offset: usize,
        intact: bool,
    ) {
        let row = self.rows.iter_mut().find(|row| row.route == route && row.direction == direction);
        if let Some(row) = row {
            let size = Size::of(length) as usize;
            let cell = &mut row.cells[size][Alignment::of(page_offset) as usize];
            if intact {
                cell.intact += 1;
            } else {
                cell.failed += 1;
            }
        }
    }

    /// How many rows are in this state.
    #[must_use]
    pub fn rows_in(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.state() == state).count()
    }

    /// How many cells of all rows are in this state.
    #[must_use]
    pub fn cells_in(&self, state: State) -> usize {
        self.rows.iter().flat_map(Row::cells).filter(|(_, _, cell)| cell.state() == state).count()
    }

    /// How many transfers failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.rows.iter().map(Row::failed).sum()
    }

    /// How many transfers were verified and found intact.
    #[must_use]
    pub fn intact(&self) -> u64 {
        self.rows.iter().map(Row::intact).sum()
    }
}

#[cfg(test)]
mod tests {
    use dmaproof_protocol::{Paths, PioWindow};

    use super::*;

    const PACKET: Route = Route::Path(Path::Packet);
    const PIO: Route = Route::Path(Path::Pio);

    fn limits(memory_length: u64) -> Limits {
        let pio = PioWindow {
            kind: PioKind::Registers,
            alignment: 4,
            length: 8,
            writable_offset: 4,
            writable_length: 4,
        };
        Limits {
            memory_length,
            transfer_length_max: memory_length,
            paths: Paths::EMPTY.with(Path::Packet).with(Path::Pio),
            pio,
        }
    }

    #[test]
    fn every_length_is_in_the_class_that_says_so() {
        for length in (1..10_000).chain([65_536, 65_537, 1 << 24]) {
            let (min, max) = Size::of(length).lengths();
            assert!((min..=max).contains(&length), "{length}");
        }
    }

    #[test]
    fn a_cell_that_did_not_run_is_not_a_pass() {
        let ledger = Ledger::new(&limits(4095));
        let row = ledger.row(PACKET, Direction::ToDevice).unwrap();
        assert_eq!(row.state(), State::NotRun);
        assert_eq!(row.cell(Size::Byte, Alignment::Odd).state(), State::NotRun);
        assert_eq!(row.cell(Size::Page, Alignment::Odd).state(), State::NotAvailable);
        assert_eq!(ledger.rows_in(State::Run), 0);
    }

    #[test]
    fn one_failure_marks_the_cell_and_the_row() {
        let mut ledger = Ledger::new(&limits(4096));
        for intact in [true, false, true] {
            ledger.count(PACKET, Direction::ToDevice, 64, 4032, intact);
        }
        let row = ledger.row(PACKET, Direction::ToDevice).unwrap();
        assert_eq!(row.cell(Size::Line, Alignment::Line).state(), State::Failed);
        assert_eq!((row.state(), row.intact(), row.failed()), (State::Failed, 2, 1));
        assert_eq!(row.cell(Size::Line, Alignment::Page).state(), State::NotRun);
    }

    #[test]
    fn paths_that_the_device_lacks_are_not_available() {
        let ledger = Ledger::new(&limits(4096));
        let row = ledger.row(Route::Path(Path::SystemDma), Direction::ToDevice).unwrap();
        assert_eq!(row.state(), State::NotAvailable);
        assert!(row.unavailable.is_some());
        assert_eq!(ledger.row(Route::File, Direction::ToDevice).unwrap().unavailable, None);
    }

    #[test]
    fn registers_have_the_lengths_that_their_width_allows() {
        let ledger = Ledger::new(&limits(4096));
        let row = ledger.row(PIO, Direction::FromDevice).unwrap();
        assert_eq!(row.cell(Size::Byte, Alignment::Page).state(), State::NotAvailable);
        assert_eq!(row.cell(Size::BelowLine, Alignment::Page).state(), State::NotRun);
        assert_eq!(row.cell(Size::Line, Alignment::Page).state(), State::NotAvailable);
    }
}
