//! The table as a page of the documentation.

use std::io::{self, Write};

use dmaproof_protocol::Direction;

use super::table::{Cell, Expected, MachineKind, Row, Seen, cells, rows};
use super::verdict::names;

const HEAD: &str = "\
# The sabotage table

<!-- Made by `dmaproof lab --page`; a test checks that it is up to date. -->

Each row spoils a call of the real driver: leaves it out, falsifies an argument, makes it twice, too
late or too early. The verdict is what the documents say comes of it, written before the code that
produces it. `dmaproof lab` runs every row on every machine and fails if one comes out differently.

- **harmful**: one of the rules stops the machine. Where an observer is named, a machine that goes on
  loses data, and that observer sees it: the *app* in the caller's buffer, the *device memory*
  without the driver, an *instruction fetch* in RAM.
- **note**: exactly these rules are noted, and every byte is intact.
- **harmless**: nothing is named, and every byte is intact.
- **refused**: the call fails as its page says, and so does the request; nothing is broken.

The machines: `x64` and `x64-dmar` are coherent; `arm64` and `nt` are not ([nthost.md](nthost.md)).
`dmaproof rules ID` says what a rule demands.
";

/// Writes the page, in Markdown.
///
/// # Errors
///
/// Those of the output.
pub fn write(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{HEAD}")?;
    let mut function = "";
    for row in rows() {
        if row.sabotage.function != function {
            function = row.sabotage.function;
            writeln!(out, "\n## {function}")?;
        }
        writeln!(out, "\n**{}**\n", row.sabotage)?;
        writeln!(out, "{} ([page]({}))\n", row.gist, row.page.address())?;
        writeln!(out, "| path | direction | machines | verdict | rules | seen by |")?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
        for line in lines(row) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// What comes of a row in each direction.
type Verdicts = Vec<(Direction, Expected)>;

/// The cells of a row, those that differ in the machine or the direction only together.
fn lines(row: &'static Row) -> Vec<String> {
    let own: Vec<Cell> = cells().filter(|cell| std::ptr::eq(cell.row, row)).collect();
    let mut lines = Vec::new();
    for &path in row.paths {
        // Machines with the same verdicts in each direction share their lines.
        let mut groups: Vec<(Vec<MachineKind>, Verdicts)> = Vec::new();
        for machine in MachineKind::ALL {
            let here = own.iter().filter(|cell| (cell.path, cell.machine) == (path, machine));
            let verdicts: Verdicts = here.map(|cell| (cell.direction, cell.expected)).collect();
            match groups.iter_mut().find(|(_, same)| *same == verdicts) {
                _ if verdicts.is_empty() => {}
                Some((machines, _)) => machines.push(machine),
                None => groups.push((vec![machine], verdicts)),
            }
        }
        for (machines, verdicts) in groups {
            let machines: Vec<_> = machines.iter().map(|machine| machine.name()).collect();
            for (directions, expected) in by_verdict(&verdicts) {
                lines.push(format!(
                    "| {} | {directions} | {} | {} | {} | {} |",
                    path.option(),
                    machines.join(", "),
                    expected.name(),
                    rules(expected),
                    seer(expected)
                ));
            }
        }
    }
    lines
}

/// Directions with the same verdict together.
fn by_verdict(verdicts: &[(Direction, Expected)]) -> Vec<(String, Expected)> {
    match verdicts {
        [(_, one), (_, other)] if one == other => vec![("both".to_owned(), *one)],
        _ => verdicts.iter().map(|&(d, expected)| (d.title().to_owned(), expected)).collect(),
    }
}

fn rules(expected: Expected) -> String {
    match expected.rules() {
        [] => String::new(),
        rules => names(rules.iter().copied()),
    }
}

fn seer(expected: Expected) -> &'static str {
    match expected.seen() {
        Seen::Nobody => "",
        seen => seen.name(),
    }
}
