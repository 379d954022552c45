//! Machines that are abandoned in the middle of whatever they do leave nothing behind: neither
//! memory of the heap nor stacks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dmaproof_protocol::{Ioctl, Path, TransferHeader};
use nthost::{Access, File, Machine, Policy, Profile, Request, Scheduling};
use testdev::model::edu::{Edu, EduConfig};
use zerocopy::IntoBytes;

struct Counting;

/// Bytes allocated and not freed.
static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // CAST: an allocation is smaller than half of the address space.
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // CAST: as above.
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Resident pages of this process, where the system tells; zero elsewhere.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

fn open(m: &Machine) -> File {
    let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
    let guid = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
    let path = m.interfaces(&guid).pop().expect("the device has an interface");
    m.open(&path, Access::READ_WRITE).expect("the device opens")
}

fn request(path: Path) -> Request {
    let header = TransferHeader::new(path, 0, 600);
    Request::ioctl(Ioctl::ToDevice.code(), header.as_bytes().to_vec(), vec![1; 600])
}

/// Three threads on one machine, which is abandoned at crossing `end`; whether it came that far.
fn abandoned_at(end: u64, seed: u64) -> bool {
    let scheduling = Scheduling::Deterministic { processors: 2, policy: Policy::Random };
    let machine = Machine::builder(Profile::X64).scheduling(scheduling).seed(seed).build();
    // No message is printed, and no rule is broken: the action just never returns.
    machine.inject(end, |_| resume_unwind(Box::new("abandoned")));
    let run = AssertUnwindSafe(|| {
        machine.run(|m| {
            m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
            let slot = m.plug(Box::new(Edu::new(EduConfig::default()))).expect("it starts");
            let file = Arc::new(open(m));
            let threads = [Path::Packet, Path::ScatterGather].map(|path| {
                let file = Arc::clone(&file);
                m.spawn(move |_| file.submit(request(path)).wait().0.status)
            });
            let pending = file.submit(request(Path::Version3));
            pending.cancel();
            let _ = pending.wait();
            let _ = threads.map(|thread| thread.join().is_ok());
            m.set_power(slot, true).expect("it sleeps");
            drop(file);
            m.shut_down();
        })
    });
    catch_unwind(run).is_err()
}

// One test only: another one in the same process would be counted too.
#[test]
fn ten_thousand_abandoned_machines_leave_nothing_behind() {
    let crossings = (1..).find(|&end| !abandoned_at(end, end)).expect("a run ends");
    assert!(crossings > 300, "{crossings} crossings");
    let before = (LIVE.load(Ordering::Relaxed), resident());
    let mut abandoned = 0;
    for number in 0..10_000 {
        abandoned += u64::from(abandoned_at(1 + number % crossings, number));
    }
    let after = (LIVE.load(Ordering::Relaxed), resident());
    assert!(abandoned > 9_000, "{abandoned} of 10000 came to their end");
    let grown = after.0 - before.0;
    assert!(grown < 1000, "{grown} bytes more are allocated than before");
    let pages = after.1.saturating_sub(before.1);
    assert!(pages < 500, "{pages} pages more are resident than before");
}
