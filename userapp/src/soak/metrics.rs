//! A soak's counts in the text format of Prometheus, for the textfile collector of its node
//! exporter.

use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use super::Reading;
use super::meter::resident;
use super::report::disturbances;

/// Metrics on their way into the text.
struct Metrics(Registry);

impl Metrics {
    fn count(&self, name: &str, help: &str, number: u64) -> Result<(), prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(number);
        self.0.register(Box::new(counter))
    }

    /// Counts by the values of some labels.
    fn counts<const N: usize>(
        &self,
        (name, help): (&str, &str),
        labels: [&str; N],
        numbers: impl IntoIterator<Item = ([&'static str; N], u64)>,
    ) -> Result<(), prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for (values, number) in numbers {
            counters.with_label_values(&values).inc_by(number);
        }
        self.0.register(Box::new(counters))
    }

    fn gauge(&self, name: &str, help: &str, value: f64) -> Result<(), prometheus::Error> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }
}

/// The text. Names of samples are those that `# HELP` and `# TYPE` tell.
///
/// # Errors
///
/// A name that is not one, or is there twice.
pub fn text(reading: &Reading) -> Result<String, prometheus::Error> {
    let tally = &reading.tally;
    let metrics = Metrics(Registry::new_custom(Some("dmaproof_soak".to_owned()), None)?);
    let results = [
        (["intact"], tally.intact),
        (["failed"], tally.failed),
        (["cancelled"], tally.cancelled),
        (["removed"], tally.gone),
    ];
    let what = ("transfers_total", "Transfers that ended, by what came of them");
    metrics.counts(what, ["result"], results)?;
    let paths = tally.paths().into_iter().flat_map(|count| {
        [
            ([count.path, "to-device"], count.to_device),
            ([count.path, "from-device"], count.from_device),
        ]
    });
    let what = ("completed_transfers_total", "Transfers that completed, by path");
    metrics.counts(what, ["path", "direction"], paths)?;
    let kinds = disturbances(reading).map(|(kind, count)| ([kind], count));
    metrics.counts(("disturbances_total", "What was done to the device"), ["kind"], kinds)?;
    metrics.count("bytes_total", "Bytes that completed transfers moved", tally.bytes)?;
    metrics.count("rounds_total", "Rounds that are over", reading.rounds)?;
    metrics.count("failures_total", "Things that were wrong", reading.failures)?;
    metrics.gauge("under_way", "Transfers under way", tally.open() as f64)?;
    let elapsed = reading.elapsed.as_secs_f64();
    metrics.gauge("elapsed_seconds", "Time since the beginning", elapsed)?;
    if let Some(bytes) = resident() {
        // CAST: far below 2^53.
        metrics.gauge("resident_bytes", "Memory that the process has in RAM", bytes as f64)?;
    }
    TextEncoder::new().encode_to_string(&metrics.0.gather())
}
