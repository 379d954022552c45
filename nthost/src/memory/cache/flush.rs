//! What KeFlushIoBuffers did for an MDL (RULES section H).

/// What KeFlushIoBuffers last did for an MDL, and which bytes were transferred since.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::memory) struct CacheFlush {
    /// ReadOperation and DmaOperation of the last call.
    last: Option<(bool, bool)>,
    /// Requests sent before it, if all were complete: it was for none of them, nor for a later one.
    idle: Option<u64>,
    /// The range mapped since; unknown (and nothing is reported) once pieces left gaps.
    used: Option<(usize, usize)>,
    gaps: bool,
}

/// What the last KeFlushIoBuffers is worth for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// It was called as the page demands.
    Properly,
    /// It was not called for this MDL.
    Never,
    /// It was, but these bytes were transferred since.
    UsedUp,
    /// It was called with other arguments: ReadOperation, DmaOperation.
    Otherwise(bool, bool),
    /// It was too, and before anybody asked for this transfer.
    Early(bool, bool),
}

impl CacheFlush {
    /// KeFlushIoBuffers was called; `idle` tells how many requests had been sent, if all were
    /// complete.
    pub(in crate::memory) fn called(read: bool, dma: bool, idle: Option<u64>) -> Self {
        Self { last: Some((read, dma)), idle, used: None, gaps: false }
    }

    /// Bytes `from..to` are mapped after so many requests: what is the last call worth for them?
    pub(in crate::memory) fn consume(
        &mut self,
        (from, to): (usize, usize),
        to_device: bool,
        requests: u64,
    ) -> Flushed {
        let Some((read, dma)) = self.last else { return Flushed::Never };
        match self.used {
            None => self.used = Some((from, to)),
            Some(_) if self.gaps => {}
            Some((low, high)) if to <= low || high <= from => {
                self.gaps = to != low && from != high;
                self.used = Some((low.min(from), high.max(to)));
            }
            Some(_) => return Flushed::UsedUp,
        }
        if (read, dma) == (!to_device, true) {
            Flushed::Properly
        } else if self.idle.is_some_and(|idle| idle != requests) {
            Flushed::Early(read, dma)
        } else {
            Flushed::Otherwise(read, dma)
        }
    }

    /// Whether it was called for DMA and nothing was transferred since; counts as used then.
    pub(in crate::memory) fn take_unused(&mut self) -> bool {
        let unused = matches!(self.last, Some((_, true))) && self.used.is_none();
        if unused {
            self.used = Some((0, usize::MAX));
        }
        unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_serves_each_byte_once() {
        let mut flush = CacheFlush { last: Some((false, true)), ..CacheFlush::default() };

        assert_eq!(flush.consume((0, 100), true, 1), Flushed::Properly);
        assert_eq!(flush.consume((100, 200), true, 1), Flushed::Properly);
        assert_eq!(flush.consume((150, 160), true, 1), Flushed::UsedUp);
        assert_eq!(flush.consume((150, 160), false, 1), Flushed::UsedUp);
        assert_eq!(flush.consume((200, 300), false, 1), Flushed::Otherwise(false, true));
    }

    #[test]
    fn a_flush_for_the_other_direction_is_early_if_nobody_had_asked() {
        let asked = CacheFlush::called(true, true, None);
        assert_eq!({ asked }.consume((0, 10), true, 1), Flushed::Otherwise(true, true));
        let idle = CacheFlush::called(true, true, Some(1));
        assert_eq!({ idle }.consume((0, 10), true, 1), Flushed::Otherwise(true, true));
        assert_eq!({ idle }.consume((0, 10), true, 2), Flushed::Early(true, true));
        // Nothing else was done to the bytes since, as far as anybody knows.
        assert_eq!({ idle }.consume((0, 10), false, 2), Flushed::Properly);
    }

    #[test]
    fn a_flush_that_nothing_used_is_found_once() {
        assert!(!CacheFlush::default().take_unused());
        assert!(!CacheFlush::called(true, false, None).take_unused());
        let mut flush = CacheFlush::called(true, true, None);

        assert!(flush.take_unused());
        assert!(!flush.take_unused());
        assert_eq!(flush.consume((0, 10), false, 1), Flushed::UsedUp);
    }

    #[test]
    fn pieces_out_of_order_are_never_reported() {
        let mut flush = CacheFlush { last: Some((true, true)), ..CacheFlush::default() };

        for (from, to) in [(0, 10), (20, 30), (10, 20)] {
            assert_eq!(flush.consume((from, to), false, 1), Flushed::Properly);
        }
    }
}
