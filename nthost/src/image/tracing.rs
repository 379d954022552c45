//! Event tracing as an image's provider sees it: ETW with one session, which is the machine's user.
//!
//! Without a session a provider is registered and never enabled, and its events cost a test of one
//! byte. With one ([`crate::Builder::record_trace`]) it is enabled for everything when it
//! registers, and what it writes is kept.

// UNSAFETY: reads the driver's descriptors, and calls its enable callback.

use parking_lot::Mutex;
use wdk_lite::{GUID, NTSTATUS, PVOID, STATUS_INVALID_HANDLE, STATUS_SUCCESS};

use crate::ddi::callback::{self, Routine};
use crate::machine::Kernel;
use crate::trace_event::TraceEvent;

/// EVENT_DESCRIPTOR (evntprov.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct EventDescriptor {
    id: u16,
    version: u8,
    channel: u8,
    level: u8,
    opcode: u8,
    task: u16,
    keyword: u64,
}

/// EVENT_DATA_DESCRIPTOR (evntprov.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DataDescriptor {
    address: u64,
    size: u32,
    kind: u8,
    reserved: [u8; 3],
}

const _: () = assert!(size_of::<EventDescriptor>() == 16 && size_of::<DataDescriptor>() == 16);

/// Kinds of data (EVENT_DATA_DESCRIPTOR_TYPE_*).
const EVENT_METADATA: u8 = 1;
const PROVIDER_METADATA: u8 = 2;

/// EVENT_CONTROL_CODE_ENABLE_PROVIDER, and the level that lets everything through.
const ENABLE: u32 = 1;
const VERBOSE: u8 = 5;

/// The first handle.
const FIRST: u64 = 0x1000;

/// The providers and events of one machine.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Whether each provider that ever registered still is.
    providers: Mutex<Vec<bool>>,
    events: Mutex<Vec<TraceEvent>>,
}

impl Trace {
    /// What was written so far.
    pub(super) fn events(&self) -> Vec<TraceEvent> {
        self.events.lock().clone()
    }

    /// A message to the debugger: an event of a provider of its own.
    pub(super) fn print(&self, message: String) {
        let provider = "DbgPrint".to_owned();
        let event =
            TraceEvent { provider, name: message, level: VERBOSE, keyword: 0, data: vec![] };
        self.events.lock().push(event);
    }

    fn is_registered(&self, handle: u64) -> bool {
        let index = handle.checked_sub(FIRST).and_then(|index| usize::try_from(index).ok());
        index.is_some_and(|index| self.providers.lock().get(index) == Some(&true))
    }

    /// EtwRegister. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    /// The arguments are the driver's: valid, and `callback` NULL or a PETWENABLECALLBACK.
    pub(super) unsafe fn register(
        &self,
        kernel: &Kernel,
        provider: *const GUID,
        callback: PVOID,
        context: PVOID,
        handle: *mut u64,
    ) -> NTSTATUS {
        let number = {
            let mut providers = self.providers.lock();
            providers.push(true);
            FIRST + providers.len() as u64 - 1
        };
        // SAFETY: the driver's variable.
        unsafe { handle.write(number) };
        let routine = Routine::at(callback.expose_provenance());
        if kernel.options.trace && routine.is_some() {
            let (any, all) = (u64::MAX, 0);
            let filter = std::ptr::null_mut();
            // SAFETY: the driver's callback with its provider's name and its own context.
            unsafe {
                callback::ETWENABLECALLBACK(
                    kernel, routine, provider, ENABLE, VERBOSE, any, all, filter, context,
                );
            }
        }
        STATUS_SUCCESS
    }

    /// EtwUnregister. IRQL: PASSIVE_LEVEL.
    pub(super) fn unregister(&self, handle: u64) -> NTSTATUS {
        if !self.is_registered(handle) {
            return STATUS_INVALID_HANDLE;
        }
        // CAST: checked to be an index.
        self.providers.lock()[(handle - FIRST) as usize] = false;
        STATUS_SUCCESS
    }

    /// EtwWriteTransfer.
    ///
    /// # Safety
    /// The arguments are the driver's: valid, with `count` descriptors of readable data.
    pub(super) unsafe fn write(
        &self,
        kernel: &Kernel,
        handle: u64,
        event: *const EventDescriptor,
        count: u32,
        data: *const DataDescriptor,
    ) -> NTSTATUS {
        if !self.is_registered(handle) {
            return STATUS_INVALID_HANDLE;
        }
        if !kernel.options.trace {
            return STATUS_SUCCESS;
        }
        // SAFETY: the driver's descriptor.
        let EventDescriptor { level, keyword, .. } = unsafe { event.read() };
        let mut written = TraceEvent {
            provider: String::new(),
            name: String::new(),
            level,
            keyword,
            data: vec![],
        };
        for index in 0..count as usize {
            // SAFETY: one of the driver's descriptors.
            let descriptor = unsafe { data.wrapping_add(index).read() };
            // SAFETY: it describes readable bytes.
            let bytes = unsafe { bytes(descriptor) };
            match descriptor.kind {
                PROVIDER_METADATA => written.provider = text(bytes.get(2..)),
                EVENT_METADATA => written.name = text(event_name(bytes)),
                _ => written.data.extend_from_slice(bytes),
            }
        }
        self.events.lock().push(written);
        STATUS_SUCCESS
    }
}

/// The bytes that a descriptor names.
///
/// # Safety
/// They are readable.
unsafe fn bytes<'d>(descriptor: DataDescriptor) -> &'d [u8] {
    if descriptor.size == 0 {
        return &[];
    }
    let start: *const u8 = std::ptr::with_exposed_provenance(descriptor.address as usize);
    // SAFETY: readable by the caller's promise, and not empty.
    unsafe { std::slice::from_raw_parts(start, descriptor.size as usize) }
}

/// The name in an event's metadata: behind the size and the tag, whose bytes go on while their
/// upper bit is set (TraceLoggingProvider.h).
fn event_name(metadata: &[u8]) -> Option<&[u8]> {
    let tag = metadata.get(2..)?;
    let last = tag.iter().position(|byte| byte & 0x80 == 0)?;
    tag.get(last + 1..)
}

/// The NUL-terminated text at the start of some bytes.
fn text(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
