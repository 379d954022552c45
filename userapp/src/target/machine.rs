//! What the system around a real device says about it: whether its memory accesses are remapped,
//! and whether Driver Verifier watches its driver. Nothing here calls Windows, so that it is tested
//! on every system.

use serde_json::{Value, json};

/// The driver's file, as Driver Verifier names it.
const DRIVER: &str = "dmaproof.sys";

/// What Windows says about a real device and its driver. Each answer may be missing, with the
/// reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `DEVPKEY_Device_DmaRemappingPolicy` of the device; `None`: it has no such property.
    pub dma_remapping_policy: Result<Option<u32>, String>,
    /// Whether Driver Verifier watches the driver now.
    pub verifier: Result<bool, String>,
    /// Whether it will after the next restart.
    pub verifier_after_restart: Result<bool, String>,
}

impl Machine {
    /// One line about DMA remapping. The values are those of the property's page
    /// (install/devpkey-device-dmaremappingpolicy).
    #[must_use]
    pub fn dma_remapping(&self) -> String {
        match &self.dma_remapping_policy {
            Ok(Some(2)) => "policy 2: the device's drivers can be remapped".to_owned(),
            Ok(Some(1)) => "policy 1: a driver of the device opted out".to_owned(),
            Ok(Some(0)) => "policy 0: no driver said anything; not enforced".to_owned(),
            Ok(Some(other)) => format!("policy {other}, which this version does not know"),
            Ok(None) => "no policy: no driver said anything; not enforced".to_owned(),
            Err(reason) => not_available(reason),
        }
    }

    /// One line about Driver Verifier.
    #[must_use]
    pub fn driver_verifier(&self) -> String {
        let now = match &self.verifier {
            Ok(true) => format!("watches {DRIVER}"),
            Ok(false) => format!("does not watch {DRIVER}"),
            Err(reason) => return not_available(reason),
        };
        match (&self.verifier, &self.verifier_after_restart) {
            (Ok(false), Ok(true)) => format!("{now}; it will after a restart"),
            (Ok(true), Ok(false)) => format!("{now}; it will not after a restart"),
            _ => now,
        }
    }

    /// Everything for programs; what is not available is null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "dma_remapping_policy": self.dma_remapping_policy.as_ref().ok().copied().flatten(),
            "dma_remapping": self.dma_remapping(),
            "driver_verifier_watches": self.verifier.as_ref().ok(),
            "driver_verifier_watches_after_restart": self.verifier_after_restart.as_ref().ok(),
            "driver_verifier": self.driver_verifier(),
        })
    }
}

fn not_available(reason: &str) -> String {
    format!("not available: {reason}")
}

/// Whether what `verifier.exe` printed names the driver. The text around the name is in the
/// system's language, in a code page or in UTF-16; the name is the same in all of them.
#[cfg(any(windows, test))]
pub(super) fn names_the_driver(printed: &[u8]) -> bool {
    let text: Vec<u8> = printed.iter().filter(|byte| **byte != 0).copied().collect();
    let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
    text.match_indices(DRIVER).any(|(start, name)| {
        let before = text[..start].chars().next_back();
        let after = text[start + name.len()..].chars().next();
        let of_a_name = |next: Option<char>| {
            next.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        !of_a_name(before) && !of_a_name(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(policy: Option<u32>, now: bool, later: bool) -> Machine {
        Machine {
            dma_remapping_policy: Ok(policy),
            verifier: Ok(now),
            verifier_after_restart: Ok(later),
        }
    }

    #[test]
    fn the_policy_is_said_in_words() {
        for (policy, words) in [
            (Some(2), "can be remapped"),
            (Some(1), "opted out"),
            (Some(0), "not enforced"),
            (None, "no policy"),
            (Some(7), "policy 7, which this version does not know"),
        ] {
            let machine = machine(policy, false, false);
            let said = machine.dma_remapping();
            assert!(said.contains(words), "{said}");
            assert_eq!(machine.to_json()["dma_remapping_policy"], json!(policy));
        }
    }

    #[test]
    fn what_changes_with_a_restart_is_said() {
        let said = |now, later| machine(None, now, later).driver_verifier();
        assert_eq!(said(true, true), "watches dmaproof.sys");
        assert_eq!(said(false, false), "does not watch dmaproof.sys");
        assert_eq!(said(false, true), "does not watch dmaproof.sys; it will after a restart");
        assert_eq!(said(true, false), "watches dmaproof.sys; it will not after a restart");
    }

    #[test]
    fn what_is_missing_says_why() {
        let missing = Machine {
            dma_remapping_policy: Err("one".to_owned()),
            verifier: Err("two".to_owned()),
            verifier_after_restart: Err("three".to_owned()),
        };
        assert_eq!(missing.dma_remapping(), "not available: one");
        assert_eq!(missing.driver_verifier(), "not available: two");
        for name in ["dma_remapping_policy", "driver_verifier_watches"] {
            assert_eq!(missing.to_json()[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn the_driver_is_found_in_any_language_and_encoding() {
        assert!(names_the_driver(b"Name: dmaproof.sys, loads: 1, unloads: 0\r\n"));
        assert!(names_the_driver(b"\xDCberpr\xFCft: DMAPROOF.SYS\r\n"));
        let wide: Vec<u8> =
            "Name: dmaproof.sys".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(names_the_driver(&wide));
        assert!(names_the_driver(b"dmaproof.sys"));
    }

    #[test]
    fn other_drivers_are_not_taken_for_it() {
        for other in ["", "Name: beep.sys", "xdmaproof.sys", "dmaproof.sys.old", "dmaproof.syst"] {
            assert!(!names_the_driver(other.as_bytes()), "{other}");
        }
    }
}
