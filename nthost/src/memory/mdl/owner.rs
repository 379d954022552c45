//! Whose memory an MDL describes: nobody's once it was freed, the requester's alone as long as the
//! driver has no address of it.

use super::{Content, Kind, Mdl};

impl Mdl {
    /// The memory that it describes is about to be freed, before the MDL. `false` if that is known,
    /// or if it locks none of its own.
    pub(in crate::memory) fn lose_memory(self) -> bool {
        let mut state = self.state();
        let own = matches!(state.content, Content::Locked { .. } | Content::Nonpaged);
        own && !std::mem::replace(&mut state.freed, true)
    }

    /// Whether the memory was not freed.
    pub(in crate::memory) fn memory_exists(self) -> bool {
        !self.state().freed
    }

    /// The driver gets a system address of it.
    pub(super) fn reach(self) {
        if let Content::Partial { source, .. } = self.content() {
            source.reach();
        }
        self.state().reached = true;
    }

    /// Whether a mapping or a pending build names it.
    pub(in crate::memory) fn is_busy(self) -> bool {
        let state = self.state();
        state.mappings != 0 || state.builds != 0
    }

    /// Whether the driver has, or had, a system address of it.
    pub(super) fn is_reached(self) -> bool {
        self.state().reached
    }

    /// Whether the requester alone can store into it: its pages were locked for a request, and the
    /// driver never had a system address of them.
    pub(crate) fn is_requesters_alone(self) -> bool {
        let (kind, content, reached) = {
            let state = self.state();
            (state.kind, state.content, state.reached)
        };
        !reached
            && match content {
                Content::Partial { source, .. } => source.is_requesters_alone(),
                Content::Locked { .. } => kind == Kind::Request,
                Content::Nonpaged | Content::Empty => false,
            }
    }
}
