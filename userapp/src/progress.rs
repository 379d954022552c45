//! Progress bars: on standard error, and only if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const CASES: &str = "{bar:40} {pos}/{len} cases, {eta} left";
const SEEDS: &str = "{bar:40} {pos}/{len} seeds, {eta} left";
const MESSAGE: &str = "{spinner} {wide_msg}";
const BYTES: &str = "{bar:40} {bytes}/{total_bytes}, {eta} left";

fn bar(length: u64, template: &str) -> ProgressBar {
    // Nothing is drawn if standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    // The templates are constants, and the tests below try them.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Counts cases; the length is set when it is known.
#[must_use]
pub fn cases() -> ProgressBar {
    bar(0, CASES)
}

/// Counts seeds.
#[must_use]
pub fn seeds(count: u64) -> ProgressBar {
    bar(count, SEEDS)
}

/// Counts bytes.
#[must_use]
pub fn bytes(length: u64) -> ProgressBar {
    bar(length, BYTES)
}

/// A line that says what is going on, for as long as it takes.
#[must_use]
pub fn spinner() -> ProgressBar {
    let bar = bar(0, MESSAGE);
    bar.unset_length();
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in [CASES, SEEDS, MESSAGE, BYTES] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
