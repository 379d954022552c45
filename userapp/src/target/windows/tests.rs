//! Overlapped requests against files and pipes, which behave as devices do. They run on Windows
//! and under Wine.

use std::sync::atomic::AtomicU32;

use windows_sys::Win32::Storage::FileSystem::PIPE_ACCESS_DUPLEX;
use windows_sys::Win32::System::Pipes::CreateNamedPipeW;

use super::*;
use crate::pattern::Codec;
use crate::route::Route;

fn flag(set: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(set))
}

/// A file as a device, in a folder that lives as long as the caller keeps it.
fn file(content: &[u8]) -> (tempfile::TempDir, OpenDevice) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, content).unwrap();
    let device = OpenDevice::open(path.to_str().unwrap(), flag(false)).unwrap();
    (folder, device)
}

/// A pipe as a device, whose other end never says anything.
fn silent_pipe(interrupted: Arc<AtomicBool>) -> (OwnedHandle, OpenDevice) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!(r"\\.\pipe\dmaproof-{}-{number}", std::process::id());
    let name: Vec<u16> = path.encode_utf16().chain([0]).collect();
    // SAFETY: the name ends with a NUL; no security descriptor is given.
    let server = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
            0,
            1,
            4096,
            4096,
            0,
            null(),
        )
    };
    assert!(!server.is_null() && server.addr() != usize::MAX, "{}", io::Error::last_os_error());
    // SAFETY: the handle is new, valid, and nobody else's.
    let server = unsafe { OwnedHandle::from_raw_handle(server) };
    (server, OpenDevice::open(&path, interrupted).unwrap())
}

#[test]
fn what_was_written_is_read_back_at_its_offset() {
    let (_folder, mut device) = file(&[7; 100]);
    assert_eq!(device.write_file(50, b"data"), Ok(4));
    let mut buffer = [0; 6];
    assert_eq!(device.read_file(49, &mut buffer), Ok(6));
    assert_eq!(&buffer, b"\x07data\x07");
}

#[test]
fn a_short_read_says_how_many_bytes_came() {
    let (_folder, mut device) = file(&[7; 100]);
    assert_eq!(device.read_file(90, &mut [0; 20]), Ok(10));
}

#[test]
fn what_is_no_dmaproof_device_is_refused_with_a_status() {
    let (_folder, mut device) = file(&[]);
    let status = device.query().unwrap_err();
    assert!(status.0 < 0, "{status}");
    assert!(matches!(
        win32::check_version(device.query()),
        Err(TargetError::Start { .. } | TargetError::Unavailable(_))
    ));
}

#[test]
fn a_request_that_never_ends_is_cancelled_when_the_user_interrupts() {
    let interrupted = flag(false);
    let (_server, mut device) = silent_pipe(Arc::clone(&interrupted));
    let user = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        interrupted.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let status = device.read_file(0, &mut [0; 16]).unwrap_err();
    assert!(status.is_cancelled(), "{status}");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    user.join().unwrap();
}

/// A read of 16 bytes that is under way, and will be until somebody cancels it.
fn submit(device: &mut OpenDevice) -> Box<dyn Pending> {
    let mut arena = Arena::new(Codec::new(1), 16);
    arena.place(0, 16);
    let (route, direction) = (Route::File, Direction::FromDevice);
    device.submit(Transfer { route, direction, offset: 0 }, arena)
}

#[test]
fn a_request_that_is_dropped_is_cancelled_and_waited_for() {
    let (_server, mut device) = silent_pipe(flag(false));
    drop(submit(&mut device));
    // The handle is free again.
    let mut next = submit(&mut device);
    next.cancel();
    assert!(next.wait().0.unwrap_err().is_cancelled());
}

#[test]
fn of_several_requests_under_way_each_can_be_cancelled_and_gives_its_memory_back() {
    let (_server, mut device) = silent_pipe(flag(false));
    let mut all: Vec<_> = (0..3).map(|_| submit(&mut device)).collect();
    for at in [1, 0, 0] {
        let mut pending = all.remove(at);
        pending.cancel();
        let (result, arena) = pending.wait();
        assert!(result.unwrap_err().is_cancelled());
        assert_eq!((arena.buffer().len(), arena.breaches().len()), (16, 0));
    }
}

#[test]
fn the_handle_works_on_after_a_cancelled_request() {
    let interrupted = flag(true);
    let (server, mut device) = silent_pipe(Arc::clone(&interrupted));
    assert!(device.read_file(0, &mut [0; 4]).unwrap_err().is_cancelled());
    interrupted.store(false, Ordering::Relaxed);
    let path = String::new();
    let other = OpenDevice { path, device: Arc::new(server), interrupted, events: Vec::new() };
    assert_eq!({ other }.write_file(0, b"word"), Ok(4));
    // The other end is closed now; what it sent may be lost with it, but nothing hangs.
    let _ = device.read_file(0, &mut [0; 4]);
}

#[test]
fn a_device_that_is_not_there_is_unavailable() {
    let error = OpenDevice::open(r"\\?\nosuch", flag(false)).unwrap_err();
    assert!(matches!(&error, TargetError::Unavailable(text) if text.contains("nosuch")), "{error}");
}

#[test]
fn devices_can_be_listed() {
    // Wine may not know how; whatever it says, it says it in words.
    if let Err(reason) = devices() {
        assert!(reason.contains("CONFIGRET"), "{reason}");
    }
}
