//! Which cells to measure.

use dmaproof_protocol::{Direction, Limits};

use super::Cell;
use crate::route::Route;
use crate::sweep::{is_allowed, reaches_memory};

/// What the user wants to know.
#[derive(Clone, Debug)]
pub struct Selection {
    /// These routes.
    pub routes: Vec<Route>,
    /// These directions.
    pub directions: Vec<Direction>,
    /// These sizes, in bytes; longer ones than the device takes become as long as it does.
    pub sizes: Vec<usize>,
    /// These depths.
    pub depths: Vec<usize>,
}

/// The cells that a device with these limits has.
#[must_use]
pub fn cells(limits: &Limits, selection: &Selection) -> Vec<Cell> {
    let longest = usize::try_from(limits.transfer_length_max).unwrap_or(usize::MAX);
    let mut sizes: Vec<usize> = selection.sizes.iter().map(|size| (*size).min(longest)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut depths = selection.depths.clone();
    depths.sort_unstable();
    depths.dedup();
    let mut cells = Vec::new();
    for route in Route::ALL.into_iter().filter(|route| selection.routes.contains(route)) {
        for &direction in Direction::ALL {
            if !selection.directions.contains(&direction) || !reaches_memory(limits, route) {
                continue;
            }
            for &size in &sizes {
                // CAST: a length of memory fits in 64 bits.
                if is_allowed(limits, route, direction, 0, size as u64) {
                    let cell = |&depth| Cell { route, direction, size, depth };
                    cells.extend(depths.iter().map(cell));
                }
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use dmaproof_protocol::{Path, Paths, PioWindow};

    use super::*;

    #[test]
    fn sizes_are_cut_to_what_the_device_takes_and_paths_to_what_it_has() {
        let limits = Limits {
            memory_length: 4095,
            transfer_length_max: 4095,
            paths: Paths::ALL.without(Path::SystemDma).without(Path::Pio),
            pio: PioWindow::NONE,
        };
        let selection = Selection {
            routes: Route::ALL.to_vec(),
            directions: vec![Direction::ToDevice],
            sizes: vec![1 << 20, 512, 4096],
            depths: vec![4, 1, 4],
        };
        let cells = cells(&limits, &selection);
        // Five paths and files; two sizes, two depths.
        assert_eq!(cells.len(), 6 * 2 * 2);
        assert!(cells.iter().all(|cell| cell.size == 512 || cell.size == 4095));
        assert!(cells.iter().all(|cell| cell.direction == Direction::ToDevice));
    }
}
