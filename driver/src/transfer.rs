//! Transfers: the slots they live in and the steps they take.
//!
//! ```text
//! Waiting --channel--> ChannelPending --AdapterControl--> Granted --map--> Mapped
//!   | ^                     '-- cancelled --> Abandoned      ^ |              |
//!   | '------------------------release------------------------|<----flush----'
//!   |--list--> ListPending --AdapterListControl--> Listed --put--> Waiting
//!   |--copy--> Carrying (through a common buffer) --copy back--> Waiting
//!   '--channel--> ChannelPending --AdapterControl--> OnChannel <--program, flush--> Programmed
//! ```
//!
//! A transfer starts and ends in `Waiting`: it is completed there, when all its bytes have moved, a
//! step failed, or it was told to end. Nothing of it is mapped then and it holds no map registers.

pub(crate) mod common_buffer;
pub(crate) mod packet;
pub(crate) mod pio;
pub(crate) mod pump;
pub(crate) mod scatter_gather;
pub(crate) mod schedule;
pub(crate) mod slot;
pub(crate) mod state;
pub(crate) mod system;
pub(crate) mod v3;
pub(crate) mod watch;

pub use pump::pump;
pub(crate) use pump::pump_after;
