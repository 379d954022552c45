//! What drivers write to traces, on systems that run images and on those that do not.

/// An event that a driver wrote to a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The provider's name; empty if the event carries none.
    pub provider: String,
    /// The event's name; empty if the event carries none. A message to the debugger is an event of
    /// the provider `DbgPrint`, and its name is the text.
    pub name: String,
    /// Severity: 1 critical to 5 verbose.
    pub level: u8,
    /// Category bits.
    pub keyword: u64,
    /// The fields' bytes, one after the other.
    pub data: Vec<u8>,
}
