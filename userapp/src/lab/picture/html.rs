//! Frames as one HTML file: readable without scripts, and a picture to step through with them.

use dmaproof_protocol::{Direction, Path};
use maud::{Markup, html};
use nthost::cache::LineState;

use super::Drawn;
use super::frames::{Content, Frame, Line, WORDS, Words};
use crate::describe::count;
use crate::html::{Page, facts};
use crate::lab::run::{Run, SMALL, Shape, shapes};
use crate::lab::table::{Cell, Expected};
use crate::lab::verdict::{Outcome, Verdict, names};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The places, in the order of the documents' figure: class, heading, what it is.
const fn places(path: Path) -> [(&'static str, &'static str, &'static str); 5] {
    let (fifo, way) = match path {
        Path::SystemDma => ("Controller FIFO", "on its way"),
        _ => ("Adapter FIFO", "on its way to RAM"),
    };
    [
        ("processor", "Processor", "what it reads"),
        ("cache", "Cache", "its copy of the line"),
        ("ram", "RAM", "what devices read"),
        ("fifo", fifo, way),
        ("device", "Device", "what it holds"),
    ]
}

/// The page: what the row says, and the run that is drawn for it.
#[must_use]
pub fn page(outcome: &Outcome, drawn: &Drawn, frames: &[Frame]) -> String {
    let cell = &outcome.cell;
    let what = cell.row.sabotage.to_string();
    let lost = frames.iter().position(|frame| frame.loss.is_some());
    let head = html! {
        p { (cell.row.gist) " " a href=(cell.row.page.address()) { "The document" } }
        (facts(&[
            ("Machine", cell.machine.to_string()),
            ("Path", cell.path.to_string()),
            ("Direction", cell.direction.to_string()),
            ("Verdict", verdict(outcome)),
            ("Rules named", names(outcome.named.iter().copied())),
            ("The data", outcome.data()),
            ("Judged by", count(outcome.runs, "run")),
        ]))
        (about(outcome, drawn))
    };
    let body = html! {
        (toolbar(frames.len(), lost))
        main {
            @for (number, frame) in frames.iter().enumerate() {
                @let before = number.checked_sub(1).map(|earlier| &frames[earlier]);
                (section(number, frames.len(), frame, before, cell))
            }
        }
        (legend())
        footer { p { "The same row and picture again: "
            code { (outcome.replay()) " --html picture.html" } } }
    };
    let kicker = "dmaproof lab: read and write operations using DMA";
    Page { kicker, heading: &what, style: STYLE, script: Some(SCRIPT) }.render(&head, &body)
}

/// Whether the row came out as its document says.
fn verdict(outcome: &Outcome) -> String {
    let expected = outcome.cell.expected.name();
    match &outcome.verdict {
        Verdict::AsExpected => format!("{expected}, as the document says"),
        Verdict::Differs(how) => format!("differs from the document, which says {expected}: {how}"),
        Verdict::NotRun => "not run".to_owned(),
    }
}

/// What the run that is drawn has to do with those that the row was judged by.
fn about(outcome: &Outcome, drawn: &Drawn) -> Markup {
    let lengths = |shapes: &[Shape]| {
        let lengths: Vec<_> = shapes.iter().map(|shape| shape.length.to_string()).collect();
        lengths.join(" + ")
    };
    let judged = lengths(shapes(&outcome.cell));
    let [elsewhere, here] = drawn.disagreement(outcome);
    html! {
        p.about {
            "The picture is of a run of its own, with seed " (drawn.seed) ": a transfer of "
            (lengths(&SMALL[..1])) " bytes, few enough to be drawn, where the runs of the row move "
            (judged) " bytes. "
            @if matches!(outcome.cell.expected, Expected::Harmful(..)) {
                "A run of the row stops where the rule is broken; this one goes on if nothing but \
                 data can be lost, so that this is seen. "
            }
            "Named in it: " b { (names(drawn.run.named().into_iter())) } "; "
            (data(&drawn.run).trim_end_matches('.')) "."
            @if !elsewhere.is_empty() {
                " Not in this run, but in those of the row: " (names(elsewhere.into_iter())) "."
            }
            @if !here.is_empty() {
                " In this run only: " (names(here.into_iter())) "."
            }
        }
    }
}

fn data(run: &Run) -> String {
    let failed = run.transfers.iter().find_map(|done| done.result.err());
    match (run.wrong(), failed) {
        (Some((by, found)), _) => format!("{} saw {}: {}", by.name(), found.class, found.text),
        (None, _) if run.stopped.is_some() => "the machine stopped then".to_owned(),
        (None, Some(status)) => format!("the request ended with {status}"),
        (None, None) => "the data is intact".to_owned(),
    }
}

/// Shown by the script only: it does nothing without one.
fn toolbar(count: usize, lost: Option<usize>) -> Markup {
    html! {
        nav.toolbar aria-label="Steps" hidden {
            button type="button" data-go="first" aria-label="First step" { "First" }
            button type="button" data-go="back" aria-label="Step back" { "Back" }
            input #slider type="range" min="1" max=(count) value="1" aria-label="Step";
            button type="button" data-go="on" aria-label="Step on" { "Next" }
            button type="button" data-go="last" aria-label="Last step" { "Last" }
            @if let Some(lost) = lost {
                button.lost type="button" data-go=(lost + 1) { "✗ data lost" }
            }
            p #where role="status" aria-live="polite" {}
        }
    }
}

fn section(
    number: usize,
    count: usize,
    frame: &Frame,
    before: Option<&Frame>,
    cell: &Cell,
) -> Markup {
    let class = match (&frame.loss, frame.spoiled) {
        (Some(_), _) => "step loss",
        (None, true) => "step mistake",
        (None, false) => "step",
    };
    html! {
        section id={ "step-" (number + 1) } class=(class) aria-labelledby={ "title-" (number + 1) } {
            h2 id={ "title-" (number + 1) } {
                span.number { (number + 1) "/" (count) } " " (frame.title)
            }
            p { (frame.text) }
            @if let Some(loss) = &frame.loss { p.alarm { "✗ " (loss) } }
            @if !frame.lines.is_empty() { div.figure {
                div.row.heads aria-hidden="true" {
                    span.offset {}
                    @for (class, name, about) in places(cell.path) {
                        span.head.(class).moved[frame.moved.contains(&class)] {
                            (name) small { (about) }
                        }
                    }
                }
                @for (at, line) in frame.lines.iter().enumerate() {
                    @let before = before.and_then(|frame| frame.lines.get(at));
                    (row(line, before, frame.moved, cell))
                }
            } }
        }
    }
}

/// What a place has of a line.
fn words(line: &Line, place: &str) -> Words {
    match place {
        "processor" => line.processor,
        "cache" if line.state == LineState::Absent => [Content::Empty; WORDS],
        "cache" => line.processor,
        "ram" => line.ram,
        "fifo" => line.fifo,
        _ => line.device,
    }
}

fn row(line: &Line, before: Option<&Line>, moved: &[&str], cell: &Cell) -> Markup {
    html! {
        div.row {
            span.offset { "line at " (format!("{:#x}", line.offset)) }
            @for (class, name, _) in places(cell.path) {
                @let now = words(line, class);
                @let old = before.map(|before| words(before, class));
                div.place.(class).moved[moved.contains(&class)] {
                    span.label aria-hidden="true" { (name) }
                    @if class == "cache" { span.state.(line.state.name()) { (line.state) } }
                    span.words role="img" aria-label={ (name) ": " (say(&now)) } {
                        @for (at, word) in now.iter().enumerate() {
                            @let changed = old.is_some_and(|old| old[at] != *word);
                            @let lost = line.lost[at] && is_missed(class, *word, cell.direction);
                            span.word.(kind(*word)).changed[changed].lost[lost] {
                                (if lost { "✗" } else { letter(*word) })
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Lost data is marked where it should have come to.
fn is_missed(place: &str, word: Content, direction: Direction) -> bool {
    let there = match direction {
        Direction::ToDevice => place == "device",
        Direction::FromDevice => matches!(place, "processor" | "cache" | "ram"),
    };
    there && !matches!(word, Content::New | Content::Empty)
}

const fn kind(content: Content) -> &'static str {
    match content {
        Content::New => "new",
        Content::Old => "old",
        Content::Poison => "poison",
        Content::Zero => "zero",
        Content::Other => "other",
        Content::Empty => "empty",
    }
}

const fn letter(content: Content) -> &'static str {
    match content {
        Content::New => "N",
        Content::Old => "o",
        Content::Poison => "!",
        Content::Zero => "0",
        Content::Other => "?",
        Content::Empty => "",
    }
}

/// A line's cells for those who do not see them.
fn say(words: &Words) -> String {
    let parts = words.chunk_by(|a, b| a == b).map(|run| format!("{} {}", run.len(), kind(run[0])));
    parts.collect::<Vec<_>>().join(", ")
}

fn legend() -> Markup {
    let entries = [
        (Content::New, "the data of this transfer"),
        (Content::Old, "what was there before"),
        (Content::Poison, "memory that never had the data (poison)"),
        (Content::Zero, "zeros"),
        (Content::Other, "something else"),
        (Content::Empty, "no copy here"),
    ];
    html! {
        section.legend aria-label="Legend" {
            h2 { "Legend" }
            ul {
                @for (content, text) in entries {
                    li { span.word.(kind(content)) aria-hidden="true" { (letter(content)) } " " (text) }
                }
                li { span.word.old.changed aria-hidden="true" { "o" } " changed in this step" }
                li { span.word.old.lost aria-hidden="true" { "✗" } " lost" }
            }
            p { "Each cell is 8 bytes, each row a cache line of 64. A line is absent from the cache, \
                 clean (a copy), or dirty (newer than memory)." }
            p.keys hidden { "Keys: ← → step, Home and End jump." }
        }
    }
}
