//! Plots as inline SVG: logarithmic axes, a mark and a colour for each path, and a title on each
//! point. A table beside them has every value.

use maud::{Markup, html};

use super::report::{digits, mebibytes, size, time};
use super::{Measured, PERCENTILES};
use crate::route::Route;

const WIDTH: f64 = 440.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 12.0;

/// A logarithmic axis from one value to another, in units of the drawing.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis with room for all of the values, which ends at powers of ten.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 1e-6_f64);
        for value in values.filter(|value| *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        let (low, high) = (low.min(high).log10().floor(), high.log10().ceil());
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.max(1e-9).log10() - self.low) / (self.high - self.low);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// The powers of ten on it.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        // CAST: few decades.
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

/// The mark of a path around a point.
pub(super) fn mark(route: Route, x: f64, y: f64) -> Markup {
    let number = number(route);
    let points = |offsets: &[(f64, f64)]| {
        let texts = offsets.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy));
        texts.collect::<Vec<_>>().join(" ")
    };
    let class = format!("mark s{number}");
    html! {
        @match number % 4 {
            0 => { circle class=(class) cx={ (format!("{x:.1}")) } cy={ (format!("{y:.1}")) } r="4" {} }
            1 => { polygon class=(class) points=(points(&[(-4., -4.), (4., -4.), (4., 4.), (-4., 4.)])) {} }
            2 => { polygon class=(class) points=(points(&[(0., -5.), (5., 4.), (-5., 4.)])) {} }
            _ => { polygon class=(class) points=(points(&[(0., -5.5), (5.5, 0.), (0., 5.5), (-5.5, 0.)])) {} }
        }
    }
}

fn place(value: f64) -> String {
    format!("{value:.1}")
}

fn svg(height: f64, label: &str, inner: &Markup) -> Markup {
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(label) { (inner) }
    }
}

/// Throughput by size, at one depth in one direction, with memcpy beside it.
pub(super) fn throughput(rows: &[&Measured], sizes: &[usize], label: &str) -> Markup {
    const HEIGHT: f64 = 260.0;
    let bottom = HEIGHT - 30.0;
    let values = rows.iter().flat_map(|row| [row.throughput(), row.memcpy]).map(mebibytes);
    let axis = Axis::around(values, bottom, TOP);
    // CAST: a few sizes.
    let step = (WIDTH - LEFT - RIGHT) / sizes.len() as f64;
    let x = |bytes: usize| {
        let at = sizes.iter().position(|size| *size == bytes).unwrap_or_default();
        LEFT + step * (at as f64 + 0.5)
    };
    let line = |points: Vec<(f64, f64)>| {
        let texts = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        texts.collect::<Vec<_>>().join(" ")
    };
    let mut copies: Vec<(f64, f64)> =
        rows.iter().map(|row| (x(row.cell.size), axis.at(mebibytes(row.memcpy)))).collect();
    copies.sort_by(|a, b| a.0.total_cmp(&b.0));
    copies.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    let inner = html! {
        @for tick in axis.ticks() {
            line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(place(axis.at(tick))) y2=(place(axis.at(tick))) {}
            text.tick x=(LEFT - 6.0) y=(place(axis.at(tick) + 4.0)) text-anchor="end" { (tick) }
        }
        @for bytes in sizes {
            text.tick x=(place(x(*bytes))) y=(HEIGHT - 10.0) text-anchor="middle" { (size(*bytes)) }
        }
        polyline.memcpy points=(line(copies)) { title { "memcpy" } }
        @for route in Route::ALL {
            @let own: Vec<_> = rows.iter().filter(|row| row.cell.route == route).collect();
            @let points = own.iter().map(|row| (x(row.cell.size), axis.at(mebibytes(row.throughput()))));
            @let points: Vec<(f64, f64)> = points.collect();
            @if !own.is_empty() {
                polyline class={ "line s" (number(route)) } points=(line(points.clone())) {}
                @for (row, (x, y)) in own.iter().zip(points) {
                    g {
                        title { (route.option()) ", " (size(row.cell.size)) ": "
                            (digits(mebibytes(row.throughput()))) " MiB/s" }
                        (mark(route, x, y))
                    }
                }
            }
        }
    };
    svg(HEIGHT, label, &inner)
}

fn number(route: Route) -> usize {
    Route::ALL.iter().position(|other| *other == route).unwrap_or_default()
}

/// Latency of one size in one direction: a line for each path and depth.
pub(super) fn latency(rows: &[&Measured], label: &str) -> Markup {
    const ROW: f64 = 19.0;
    const NAMES: f64 = 160.0;
    // CAST: a few rows.
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 28.0;
    let values = rows.iter().flat_map(|row| [50.0, 100.0].map(|at| row.percentile(at) as f64));
    let axis = Axis::around(values, NAMES, WIDTH - RIGHT);
    let inner = html! {
        @for tick in axis.ticks() {
            line.grid x1=(place(axis.at(tick))) x2=(place(axis.at(tick))) y1=(TOP) y2=(bottom) {}
            // CAST: positive.
            text.tick x=(place(axis.at(tick))) y=(bottom + 16.0) text-anchor="middle" { (ten(tick as u64)) }
        }
        @for (at, row) in rows.iter().enumerate() {
            @let y = TOP + ROW * (at as f64 + 0.5);
            @let values = PERCENTILES.map(|(_, percent)| row.percentile(percent));
            @let [p50, p99, p99_9, max] = values.map(|value| axis.at(value as f64));
            g {
                title { (row.cell.route.option()) ", depth " (row.cell.depth) ": p50 " (time(values[0]))
                    ", p99 " (time(values[1])) ", p99.9 " (time(values[2])) ", max " (time(values[3])) }
                text.tick x=(NAMES - 8.0) y=(place(y + 4.0)) text-anchor="end" {
                    (row.cell.route.option()) " · " (row.cell.depth)
                }
                line class={ "line s" (number(row.cell.route)) } x1=(place(p50)) x2=(place(max)) y1=(place(y)) y2=(place(y)) {}
                @for (x, reach) in [(p99, 4.0), (p99_9, 4.0), (max, 6.0)] {
                    line class={ "line s" (number(row.cell.route)) } x1=(place(x)) x2=(place(x)) y1=(place(y - reach)) y2=(place(y + reach)) {}
                }
                (mark(row.cell.route, p50, y))
            }
        }
    };
    svg(height, label, &inner)
}

/// A power of ten nanoseconds.
fn ten(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{} µs", nanoseconds / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        _ => format!("{} s", nanoseconds / 1_000_000_000),
    }
}
