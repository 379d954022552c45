//! Transfers of a handle of which several are under way.

use dmaproof_protocol::{Direction, Ioctl, TransferHeader};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{DeviceIoControl, OVERLAPPED};
use zerocopy::IntoBytes;

use super::{OpenDevice, Running, length};
use crate::guard::Arena;
use crate::route::Route;
use crate::target::{NtStatus, Pending, Transfer};

/// A transfer that was asked for.
///
/// # Invariants
///
/// As long as `running` lives nobody touches the arena's memory or the header. Fields are dropped
/// in this order, and dropping `running` waits for the kernel.
pub(super) struct Submitted {
    running: Result<Running, NtStatus>,
    arena: Arena,
    _header: Box<TransferHeader>,
}

impl Submitted {
    pub(super) fn start(device: &mut OpenDevice, transfer: Transfer, mut arena: Arena) -> Self {
        let Transfer { route, direction, offset } = transfer;
        // CAST: the length of a buffer fits in 64 bits.
        let bytes = arena.buffer().len() as u64;
        let header = Box::new(TransferHeader::new(route.path(), offset, bytes));
        let input = header.as_bytes().as_ptr();
        // CAST: 32 bytes.
        let input_length = size_of::<TransferHeader>() as u32;
        let buffer = arena.buffer_mut().as_mut_ptr();
        let running = length(arena.buffer()).and_then(|count| {
            let start = |handle: HANDLE, overlapped: *mut OVERLAPPED| {
                let none = std::ptr::null_mut();
                let code = match (route, direction) {
                    (Route::File, Direction::ToDevice) => {
                        // SAFETY: by the invariant; the kernel only reads the buffer.
                        return unsafe { WriteFile(handle, buffer, count, none, overlapped) };
                    }
                    (Route::File, Direction::FromDevice) => {
                        // SAFETY: by the invariant.
                        return unsafe { ReadFile(handle, buffer, count, none, overlapped) };
                    }
                    (Route::Path(_), Direction::ToDevice) => Ioctl::ToDevice.code(),
                    (Route::Path(_), Direction::FromDevice) => Ioctl::FromDevice.code(),
                };
                // SAFETY: by the invariant.
                unsafe {
                    DeviceIoControl(
                        handle,
                        code,
                        input.cast(),
                        input_length,
                        buffer.cast(),
                        count,
                        none,
                        overlapped,
                    )
                }
            };
            let place = if route == Route::File { offset } else { 0 };
            // SAFETY: `start` does what is asked of it; by the invariant the buffers stay as they
            // are until `running` is dropped. Both are on the heap and do not move.
            unsafe { Running::start(device, place, start) }
        });
        Self { running, arena, _header: header }
    }
}

impl Pending for Submitted {
    fn cancel(&mut self) {
        if let Ok(running) = &self.running {
            running.cancel();
        }
    }

    fn wait(self: Box<Self>) -> (Result<usize, NtStatus>, Arena) {
        let Self { running, arena, _header } = *self;
        let result = running.and_then(|mut running| running.end());
        (result, arena)
    }
}
