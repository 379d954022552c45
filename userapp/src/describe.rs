//! The driver's answer to a query, in words.

use std::fmt;

use dmaproof_protocol::{AdapterInfo, DeviceKind, InterruptKind, PioKind, QueryReply, Statistics};
use serde::Serialize;
use serde_json::{Value, json};

/// The device's name.
#[must_use]
pub fn device(reply: &QueryReply) -> String {
    match DeviceKind::try_from(reply.device_kind) {
        Ok(DeviceKind::Edu) => "edu".to_owned(),
        Ok(DeviceKind::Exerciser) => "exerciser".to_owned(),
        Ok(DeviceKind::Slave) => "slave".to_owned(),
        Err(unknown) => format!("device of unknown kind {}", unknown.0),
    }
}

/// How the device interrupts.
#[must_use]
pub fn interrupt(reply: &QueryReply) -> String {
    let kind = match InterruptKind::try_from(reply.interrupt_kind) {
        Ok(InterruptKind::None) => return "no interrupt".to_owned(),
        Ok(InterruptKind::Line) => return "line-based interrupt".to_owned(),
        Ok(InterruptKind::Msi) => "MSI",
        Ok(InterruptKind::MsiX) => "MSI-X",
        Err(_) => "interrupts of unknown kind",
    };
    format!("{} {kind}", reply.interrupt_count)
}

/// The driver's version.
#[must_use]
pub fn driver_version(reply: &QueryReply) -> String {
    format!("{}.{}.{}", reply.driver_major, reply.driver_minor, reply.driver_patch)
}

/// One line about driver and device.
#[must_use]
pub fn summary(reply: &QueryReply) -> String {
    // A device that is no PCI function has no numbers.
    let function = match (reply.pci_vendor, reply.pci_device) {
        (0, 0) => String::new(),
        (vendor, device) => {
            format!(" {vendor:04x}:{device:04x} revision {:#04x}", reply.pci_revision)
        }
    };
    format!(
        "driver {}, {}{function}, {} bytes of memory, transfers up to {} bytes, {}",
        driver_version(reply),
        device(reply),
        reply.memory_length,
        reply.transfer_length_max,
        interrupt(reply)
    )
}

/// One line about an adapter.
#[must_use]
pub fn adapter(info: &AdapterInfo) -> String {
    if info.present == 0 {
        return "none".to_owned();
    }
    let lists = if info.scatter_gather == 0 { "no scatter/gather" } else { "scatter/gather" };
    format!(
        "description version {}, {} map registers, {} address bits, alignment {} bytes, {lists}, \
         transfers up to {} bytes",
        info.description_version,
        info.map_registers,
        info.address_width_bits,
        info.alignment,
        info.maximum_length
    )
}

/// One line about the PIO window.
#[must_use]
pub fn pio(reply: &QueryReply) -> String {
    let pio = &reply.pio;
    let what = match PioKind::try_from(pio.kind) {
        Ok(PioKind::None) => return "none".to_owned(),
        Ok(PioKind::Registers) => "registers",
        Ok(PioKind::Memory) => "memory",
        Err(_) => "unknown kind",
    };
    format!(
        "{what}, {} bytes, multiples of {} bytes, writable {} bytes at {:#x}",
        pio.length, pio.alignment, pio.writable_length, pio.writable_offset
    )
}

/// Everything for programs.
#[must_use]
pub fn to_json(reply: &QueryReply) -> Value {
    let adapter = |info: &AdapterInfo| {
        (info.present != 0).then(|| {
            json!({
                "description_version": info.description_version,
                "map_registers": info.map_registers,
                "address_width_bits": info.address_width_bits,
                "alignment_bytes": info.alignment,
                "scatter_gather": info.scatter_gather != 0,
                "maximum_length_bytes": info.maximum_length,
            })
        })
    };
    json!({
        "protocol_version": reply.version,
        "driver_version": driver_version(reply),
        "kind": device(reply),
        "pci_vendor": reply.pci_vendor,
        "pci_device": reply.pci_device,
        "pci_revision": reply.pci_revision,
        "interrupt": interrupt(reply),
        "paths": reply.paths.iter().map(dmaproof_protocol::Path::option).collect::<Vec<_>>(),
        "memory_bytes": reply.memory_length,
        "transfer_max_bytes": reply.transfer_length_max,
        "pio": {
            "kind": reply.pio.kind,
            "alignment_bytes": reply.pio.alignment,
            "length_bytes": reply.pio.length,
            "writable_offset": reply.pio.writable_offset,
            "writable_bytes": reply.pio.writable_length,
        },
        "adapter_v2": adapter(&reply.adapter_v2),
        "adapter_v3": adapter(&reply.adapter_v3),
    })
}

/// The driver's counters that belong to no path, with their names for programs.
#[must_use]
pub const fn counters(statistics: &Statistics) -> [(&'static str, u64); 15] {
    [
        ("errors", statistics.errors),
        ("cancelled", statistics.cancelled),
        ("timed_out", statistics.timed_out),
        ("interrupts", statistics.interrupts),
        ("interrupts_spurious", statistics.interrupts_spurious),
        ("dpcs", statistics.dpcs),
        ("pieces_mapped", statistics.pieces_mapped),
        ("pieces_flushed", statistics.pieces_flushed),
        ("flush_failures", statistics.flush_failures),
        ("refused", statistics.refused),
        ("slots_abandoned", statistics.slots_abandoned),
        ("interrupts_lost", statistics.interrupts_lost),
        ("completions_unknown", statistics.completions_unknown),
        ("aborts", statistics.aborts),
        ("resets", statistics.resets),
    ]
}

/// Something that the driver counts and that happens to no transfer where all is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// The counter's name for programs.
    pub counter: &'static str,
    /// By how much it grew.
    pub count: u64,
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.counter.replace('_', " "), self.count)
    }
}

/// What happened between two looks at the driver's counters besides what always does.
#[must_use]
pub fn incidents(before: &Statistics, after: &Statistics) -> Vec<Incident> {
    const USUAL: [&str; 4] = ["interrupts", "dpcs", "pieces_mapped", "pieces_flushed"];
    let counters = counters(after).into_iter().zip(counters(before));
    counters
        .map(|((counter, after), (_, before))| Incident {
            counter,
            count: after.wrapping_sub(before),
        })
        .filter(|incident| incident.count > 0 && !USUAL.contains(&incident.counter))
        .collect()
}

/// A word as the shell of this system takes it: in quotes unless it needs none.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Names of files have no double quotes on Windows.
    if cfg!(windows) { format!("\"{word}\"") } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// A number of things, such as `1 byte` and `2 bytes`.
#[must_use]
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_happens_is_no_incident() {
        let (before, mut after) = (Statistics::new(), Statistics::new());
        (after.interrupts, after.interrupts_lost) = (7, 1);
        let expected = Incident { counter: "interrupts_lost", count: 1 };
        assert_eq!(incidents(&before, &after), [expected]);
    }

    #[test]
    #[cfg(not(windows))]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("a/b-1.sys"), "a/b-1.sys");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn what_this_version_does_not_know_is_said_and_not_hidden() {
        let reply = QueryReply { device_kind: 77, interrupt_kind: 9, ..QueryReply::default() };
        assert!(summary(&reply).contains("unknown kind 77"));
        assert!(interrupt(&reply).contains("unknown"));
        assert_eq!(adapter(&reply.adapter_v3), "none");
        assert_eq!(to_json(&reply)["adapter_v2"], Value::Null);
    }
}
