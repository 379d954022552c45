//! A soak's counts in the text format of Prometheus, for the textfile collector of its node
//! exporter.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::Reading;
use super::meter::resident;
use super::report::disturbances;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByPath {
    path: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

/// A counter whose samples have the name that `# TYPE` tells, as the collector's format wants it.
/// The library's own writes OpenMetrics, where `_total` belongs to the samples alone.
#[derive(Debug, Default)]
struct Total(Counter);

impl TypedMetric for Total {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Total {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // As a number without a suffix; the type is told by `metric_type`.
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// The text.
///
/// # Errors
///
/// Never: writing to a string does not fail.
pub fn text(reading: &Reading) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("dmaproof_soak");
    let tally = &reading.tally;
    let results = Family::<ByResult, Total>::default();
    for (result, count) in [
        ("intact", tally.intact),
        ("failed", tally.failed),
        ("cancelled", tally.cancelled),
        ("removed", tally.gone),
    ] {
        results.get_or_create(&ByResult { result }).0.inc_by(count);
    }
    registry.register("transfers_total", "Transfers that ended, by what came of them", results);
    let paths = Family::<ByPath, Total>::default();
    for count in tally.paths() {
        for (direction, number) in
            [("to-device", count.to_device), ("from-device", count.from_device)]
        {
            paths.get_or_create(&ByPath { path: count.path, direction }).0.inc_by(number);
        }
    }
    registry.register("completed_transfers_total", "Transfers that completed, by path", paths);
    let kinds = Family::<ByKind, Total>::default();
    for (kind, count) in disturbances(reading) {
        kinds.get_or_create(&ByKind { kind }).0.inc_by(count);
    }
    registry.register("disturbances_total", "What was done to the device", kinds);
    for (name, help, number) in [
        ("bytes_total", "Bytes that completed transfers moved", tally.bytes),
        ("rounds_total", "Rounds that are over", reading.rounds),
        ("failures_total", "Things that were wrong", reading.failures),
    ] {
        let total = Total::default();
        total.0.inc_by(number);
        registry.register(name, help, total);
    }
    gauge(&mut registry, "under_way", "Transfers under way", tally.open() as f64);
    let elapsed = reading.elapsed.as_secs_f64();
    gauge(&mut registry, "elapsed_seconds", "Time since the beginning", elapsed);
    if let Some(bytes) = resident() {
        // CAST: far below 2^53.
        gauge(&mut registry, "resident_bytes", "Memory that the process has in RAM", bytes as f64);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
