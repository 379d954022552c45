//! What became of the traffic.

use dmaproof_protocol::{Direction, Statistics};
use serde::Serialize;

use crate::route::Route;

/// Counts of transfers. Each one that was asked for is in exactly one of the others in the end.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Asked for.
    pub asked: u64,
    /// Completed, and everything about them was right.
    pub intact: u64,
    /// Something was wrong.
    pub failed: u64,
    /// Cancelled, and said so.
    pub cancelled: u64,
    /// Ended because the device went away.
    pub gone: u64,
    /// Bytes moved by transfers that completed.
    pub bytes: u64,
    /// What the driver should have counted.
    pub expected: Statistics,
    /// Transfers that completed, by route and direction.
    routes: [[u64; 2]; Route::ALL.len()],
}

/// How many transfers a path completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PathCount {
    /// The path, by its option name.
    pub path: &'static str,
    /// To the device.
    pub to_device: u64,
    /// From the device.
    pub from_device: u64,
}

impl Tally {
    /// A transfer completed.
    pub(super) fn complete(&mut self, route: Route, direction: Direction, bytes: u64) {
        self.bytes += bytes;
        let count = self.expected.count_mut(route.path(), direction);
        count.transfers += 1;
        count.bytes += bytes;
        if let Some(row) = Route::ALL.iter().position(|other| *other == route) {
            self.routes[row][usize::from(direction == Direction::FromDevice)] += 1;
        }
    }

    /// Adds the counts of other traffic.
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.intact += other.intact;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.gone += other.gone;
        self.bytes += other.bytes;
        add_counts(&mut self.expected, &other.expected);
        for (row, more) in self.routes.iter_mut().zip(&other.routes) {
            row[0] += more[0];
            row[1] += more[1];
        }
    }

    /// Transfers that were asked for and whose end nobody has seen.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.asked - self.intact - self.failed - self.cancelled - self.gone
    }

    /// What each path completed.
    #[must_use]
    pub fn paths(&self) -> Vec<PathCount> {
        let rows = Route::ALL.iter().zip(&self.routes);
        rows.map(|(route, [to_device, from_device])| PathCount {
            path: route.option(),
            to_device: *to_device,
            from_device: *from_device,
        })
        .collect()
    }
}

/// Adds the transfers that the driver should have counted.
pub fn add_counts(sum: &mut Statistics, more: &Statistics) {
    for &path in dmaproof_protocol::Path::ALL {
        for &direction in Direction::ALL {
            let (count, more) = (sum.count_mut(path, direction), more.count(path, direction));
            count.transfers += more.transfers;
            count.bytes += more.bytes;
        }
    }
}
