//! The driver under the deterministic scheduler: every order of events the policies come upon.

use nthost::{Builder, Policy, Scheduling};

use crate::common::{PATHS, with_driver, x64};

/// A machine with two processors on which `policy` decides.
fn decided_by(policy: Policy, seed: u64) -> Builder {
    x64().seed(seed).scheduling(Scheduling::Deterministic { processors: 2, policy })
}

#[test]
fn every_path_moves_data_in_random_orders() {
    for seed in 0..20 {
        with_driver(decided_by(Policy::Random, seed), |bench| {
            for path in PATHS {
                bench.round_trip(path, 3, 3001, 9);
            }
        });
    }
}
