//! Compares what the app asked for with what the driver counted.
//!
//! Data can arrive intact by another path than the one asked for; then the test proves less than
//! it says. The driver's counters tell.

use dmaproof_protocol::{Direction, Path, Statistics};
use serde::Serialize;

/// A path and direction whose counts disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The path, by its option name.
    pub path: &'static str,
    /// The direction.
    pub direction: &'static str,
    /// Successful transfers that the app asked for.
    pub asked: u64,
    /// Transfers that the driver counted meanwhile.
    pub counted: u64,
    /// Bytes that the app asked for in them.
    pub asked_bytes: u64,
    /// Bytes that the driver counted.
    pub counted_bytes: u64,
}

impl Account {
    /// Whether the driver counted less than the app got: data came by another path. More than that
    /// can be another program's.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.counted < self.asked || self.counted_bytes < self.asked_bytes
    }
}

/// Where the driver's counters grew by anything else than the app's.
#[must_use]
pub fn disagreements(asked: &Statistics, before: &Statistics, after: &Statistics) -> Vec<Account> {
    let mut accounts = Vec::new();
    for &path in Path::ALL {
        for &direction in Direction::ALL {
            let asked = asked.count(path, direction);
            let (before, after) = (before.count(path, direction), after.count(path, direction));
            let account = Account {
                path: path.option(),
                direction: direction.title(),
                asked: asked.transfers,
                counted: after.transfers.wrapping_sub(before.transfers),
                asked_bytes: asked.bytes,
                counted_bytes: after.bytes.wrapping_sub(before.bytes),
            };
            if account.asked != account.counted || account.asked_bytes != account.counted_bytes {
                accounts.push(account);
            }
        }
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_growth_is_no_disagreement() {
        let mut asked = Statistics::new();
        asked.packet.to_device.transfers = 3;
        let mut before = Statistics::new();
        before.packet.to_device.transfers = 10;
        let mut after = before;
        after.packet.to_device.transfers = 13;
        assert_eq!(disagreements(&asked, &before, &after), []);
        after.pio.from_device.transfers = 1;
        let found = disagreements(&asked, &before, &after);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path, found[0].asked, found[0].counted), ("pio", 0, 1));
    }
}
