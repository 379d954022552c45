//! The figures as a page with plots.

use dmaproof_protocol::Direction;
use maud::{Markup, html};

use super::report::{Bench, digits, mebibytes, rate, size, time};
use super::{Measured, PERCENTILES, plot};
use crate::html::{Page, facts, scroll};
use crate::notes;
use crate::provoked;
use crate::report::page::{verdict_class, violation};
use crate::route::Route;

const STYLE: &str = include_str!("style.css");

/// The page.
#[must_use]
pub fn page(bench: &Bench) -> String {
    let device = bench.device.as_ref().map(crate::describe::summary).unwrap_or_default();
    let head = html! {
        p class=(verdict_class(bench.verdict().exit())) { (bench.sentence()) }
        (facts(&[
            ("Driver and device", device),
            ("Threads", bench.threads.to_string()),
            ("Each line measured for", format!("{} s", bench.seconds)),
            ("Lines", format!("{} of {}", bench.measured.len(), bench.planned)),
            ("App", env!("CARGO_PKG_VERSION").to_owned()),
        ]))
        p.soft {
            "memcpy: one thread of the same run, over the same buffers in the same order. Latency: \
             from asking for a transfer to having its answer, in the order of asking. The data of \
             each line was verified outside the timed part."
        }
    };
    let sizes = distinct(bench, |row| row.cell.size);
    let depths = distinct(bench, |row| row.cell.depth);
    let body = html! {
        main {
            (trouble(bench))
            (key(bench))
            details open {
                summary { "Throughput by size" }
                div.plots { @for direction in Direction::ALL { @for depth in &depths {
                    (throughput(bench, *direction, *depth, &sizes))
                } } }
            }
            details open {
                summary { "Latency by path and depth" }
                p.soft { "From the mark at p50 by bars at p99 and p99.9 to the longest one." }
                div.plots { @for direction in Direction::ALL { @for bytes in &sizes {
                    (latency(bench, *direction, *bytes))
                } } }
            }
            section.panel aria-label="All values" { h2 { "All values" } (table(bench)) }
            (notes::panel(&bench.notes))
            (provoked::panel(&bench.provoked))
        }
    };
    let kicker = "dmaproof bench: throughput and latency";
    Page { kicker, heading: &bench.tested, style: STYLE, script: None }.render(&head, &body)
}

/// What ended the bench early.
fn trouble(bench: &Bench) -> Markup {
    html! {
        @if let Some(trouble) = &bench.trouble {
            @if let Some(found) = &trouble.violation { (violation(found, &trouble.replay)) }
            @else {
                section.panel {
                    h2 { "The bench ended early" }
                    p.alarm { (trouble.text) }
                    p { "Again: " code { (trouble.replay) } }
                }
            }
        }
    }
}

fn distinct(bench: &Bench, of: impl Fn(&Measured) -> usize) -> Vec<usize> {
    let mut values: Vec<usize> = bench.measured.iter().map(of).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The marks of the paths.
fn key(bench: &Bench) -> Markup {
    let seen = |route: &Route| bench.measured.iter().any(|row| row.cell.route == *route);
    html! {
        ul.key aria-label="Marks" {
            @for route in Route::ALL.into_iter().filter(seen) {
                li { svg viewBox="0 0 28 16" aria-hidden="true" { (plot::mark(route, 14.0, 8.0)) }
                    (route.option()) }
            }
            li { svg viewBox="0 0 28 16" aria-hidden="true" {
                polyline.memcpy points="2,8 26,8" {}
            } "memcpy" }
        }
    }
}

fn throughput(bench: &Bench, direction: Direction, depth: usize, sizes: &[usize]) -> Markup {
    let fits = |row: &&Measured| (row.cell.direction, row.cell.depth) == (direction, depth);
    let rows: Vec<_> = bench.measured.iter().filter(fits).collect();
    let label = format!("Throughput {}, {depth} under way, MiB/s by size", direction.title());
    html! {
        @if !rows.is_empty() {
            figure {
                figcaption { (direction) ", " (depth) " under way" span.soft { " (MiB/s)" } }
                (plot::throughput(&rows, sizes, &label))
            }
        }
    }
}

fn latency(bench: &Bench, direction: Direction, bytes: usize) -> Markup {
    let fits = |row: &&Measured| (row.cell.direction, row.cell.size) == (direction, bytes);
    let rows: Vec<_> = bench.measured.iter().filter(fits).collect();
    let label = format!("Latency {}, {}, by path and depth", direction.title(), size(bytes));
    html! {
        @if !rows.is_empty() {
            figure {
                figcaption { (direction) ", " (size(bytes)) }
                (plot::latency(&rows, &label))
            }
        }
    }
}

/// The columns of numbers.
const COLUMNS: [&str; 11] = [
    "size",
    "depth",
    "transfers/s",
    "MiB/s",
    "memcpy MiB/s",
    "ratio",
    "p50",
    "p99",
    "p99.9",
    "max",
    "transfers",
];

/// The values in them.
fn values(row: &Measured) -> impl Iterator<Item = String> {
    let figures = [
        size(row.cell.size),
        row.cell.depth.to_string(),
        rate(row.rate),
        digits(mebibytes(row.throughput())),
        digits(mebibytes(row.memcpy)),
        format!("{:.3}", row.ratio()),
    ];
    let times = PERCENTILES.map(|(_, percent)| time(row.percentile(percent)));
    figures.into_iter().chain(times).chain([row.transfers.to_string()])
}

fn table(bench: &Bench) -> Markup {
    let before = |at: usize| at.checked_sub(1).and_then(|at| bench.measured.get(at));
    let group = |row: &Measured| (row.cell.route, row.cell.direction);
    let table = html! {
        table.stack {
            thead { tr {
                th.text scope="col" { "path" }
                th.text scope="col" { "direction" }
                @for name in COLUMNS { th scope="col" { (name) } }
            } }
            tbody { @for (at, row) in bench.measured.iter().enumerate() {
                tr.first[before(at).map(group) != Some(group(row))] {
                    th scope="row" { (row.cell.route.option()) }
                    td.text { (row.cell.direction) }
                    @for (name, value) in COLUMNS.iter().zip(values(row)) {
                        td data-label=(name) { (value) }
                    }
                }
            } }
        }
    };
    scroll("All values", &table)
}
