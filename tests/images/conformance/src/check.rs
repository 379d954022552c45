//! Counting checks, and keeping the first that failed.

/// The checks of one test.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) made: u32,
    pub(crate) failed: u32,
    pub(crate) found: u64,
    pub(crate) expected: u64,
}

impl Checks {
    pub(crate) const fn new() -> Self {
        Self { made: 0, failed: 0, found: 0, expected: 0 }
    }

    /// Checks that two numbers are the same.
    pub(crate) fn same(&mut self, found: u64, expected: u64) {
        self.that(found == expected, found, expected);
    }

    /// Checks a status.
    pub(crate) fn status(&mut self, found: i32, expected: i32) {
        // CAST: the bits of a status.
        self.same((found as u32).into(), (expected as u32).into());
    }

    /// Checks that something holds.
    pub(crate) fn holds(&mut self, holds: bool) {
        self.that(holds, holds.into(), 1);
    }

    fn that(&mut self, holds: bool, found: u64, expected: u64) {
        self.made += 1;
        if !holds && self.failed == 0 {
            (self.failed, self.found, self.expected) = (self.made, found, expected);
        }
    }
}
