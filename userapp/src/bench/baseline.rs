//! What memcpy does.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How often the time is taken; the median counts.
const ROUNDS: usize = 9;
/// How long a round lasts at least.
const ROUND: Duration = Duration::from_millis(2);

/// Bytes a second that one thread copies between this many buffers of this size and a window of
/// as many places: in the order and in the pieces of transfers at this depth.
#[must_use]
pub fn memcpy(size: usize, depth: usize) -> f64 {
    let sources: Vec<Vec<u8>> = (0..depth).map(|number| vec![number as u8; size]).collect();
    let mut window = vec![0; size * depth];
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| round(&sources, &mut window)).collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}

fn round(sources: &[Vec<u8>], window: &mut [u8]) -> f64 {
    let size = sources[0].len();
    let (mut copies, begin) = (0_u64, Instant::now());
    loop {
        for (source, place) in sources.iter().zip(window.chunks_exact_mut(size)) {
            place.copy_from_slice(black_box(source));
            black_box(place);
        }
        copies += sources.len() as u64;
        let elapsed = begin.elapsed();
        if elapsed >= ROUND {
            // CAST: far below 2^53.
            return (copies * size as u64) as f64 / elapsed.as_secs_f64();
        }
    }
}
