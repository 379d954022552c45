//! No heap allocation on the transfer path, by driver or host: a counting allocator watches
//! requests after the machine has warmed up.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader, VersionRequest};
use nthost::{Access, File, Machine, Operation, Pending, Profile, Request, SystemDma};
use testdev::bus::Device;
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::exerciser::Exerciser;
use testdev::model::slave::Slave;
use zerocopy::IntoBytes;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of 64 calls of `body`, after 64 that warm everything up: the fewest of three
/// measurements. The test harness has a thread of its own, and a thread that waits for a lock for
/// the first time in its life sets something up, whenever that is.
fn allocations(mut body: impl FnMut()) -> u64 {
    let mut calls = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..64).for_each(|_| body());
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    calls();
    [calls(), calls(), calls()].into_iter().min().unwrap_or_default()
}

fn measure(file: &File, paths: &[Path]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let request = VersionRequest::new();
    let mut reply = [0; 512];
    let query = Ioctl::Query.code();
    let count = allocations(|| {
        file.device_io_control(query, request.as_bytes(), &mut reply).expect("query");
    });
    found.push(("query".to_owned(), count));
    let mut data = vec![7; 3000];
    for &path in paths {
        let header = TransferHeader::new(path, 0, data.len() as u64);
        for (direction, code) in [
            (Direction::ToDevice, Ioctl::ToDevice.code()),
            (Direction::FromDevice, Ioctl::FromDevice.code()),
        ] {
            let count = allocations(|| {
                file.device_io_control(code, header.as_bytes(), &mut data).expect("transfer");
            });
            found.push((format!("{path}, {direction}"), count));
        }
    }
    found
}

/// Plugs a device in and opens it.
fn open_new(m: &Machine, device: Box<dyn Device>) -> File {
    let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
    let guid = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
    let others = m.interfaces(&guid);
    m.plug(device).expect("the device starts");
    let mut interfaces = m.interfaces(&guid);
    interfaces.retain(|interface| !others.contains(interface));
    let path = interfaces.pop().expect("the device has an interface");
    m.open(&path, Access::READ_WRITE).expect("the device opens")
}

/// What allocates on the paths of a device that is plugged into the machine.
fn found(m: &Machine, device: Box<dyn Device>, paths: &[Path]) -> Vec<(String, u64)> {
    measure(&open_new(m, device), paths)
}

/// What allocates while as many requests as a device takes are under way.
fn many(m: &Machine, paths: &[Path]) -> Vec<(String, u64)> {
    /// Requests under way.
    const DEPTH: usize = 32;
    let file = open_new(m, Box::new(Exerciser::default()));
    let mut found = Vec::new();
    for &path in paths {
        for (direction, code) in [
            (Direction::ToDevice, Ioctl::ToDevice.code()),
            (Direction::FromDevice, Ioctl::FromDevice.code()),
        ] {
            let header = TransferHeader::new(path, 0, 4096).as_bytes().to_vec();
            // What the requester brings along is its own: header, buffer and operation.
            let operation = |header: &[u8]| Operation::Ioctl { code, input: header.to_vec() };
            let mut spare: Vec<_> = (0..64 * 4).map(|_| operation(&header)).collect();
            let mut pending: VecDeque<Pending> = (0..DEPTH)
                .map(|_| file.submit(Request::new(operation(&header), vec![7; 4096])))
                .collect();
            let count = allocations(|| {
                let (completion, request) = pending.pop_front().expect("under way").wait();
                assert_eq!(completion.status.0, 0, "{path}, {direction}");
                let again = request.again(spare.pop().expect("as many as calls"));
                pending.push_back(file.submit(again));
            });
            pending.into_iter().for_each(|pending| drop(pending.wait()));
            found.push((format!("{path}, {direction}, {DEPTH} under way"), count));
        }
    }
    found
}

// One test and one machine only: others in the same process would be counted too.
#[test]
fn the_transfer_path_does_not_allocate() {
    let machine = Machine::builder(Profile::X64).system_dma(Some(SystemDma::default())).build();
    let counts = machine.run(|m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        let config = EduConfig { dma_delay_ns: 1000, ..EduConfig::default() };
        let paths = [
            Path::Packet,
            Path::ScatterGather,
            Path::CommonBufferCached,
            Path::CommonBufferUncached,
            Path::Version3,
        ];
        let mut counts = found(m, Box::new(Edu::new(config)), &paths);
        counts.extend(found(m, Box::new(Slave::default()), &[Path::SystemDma]));
        counts.extend(found(m, Box::new(Exerciser::default()), &paths));
        counts.extend(many(m, &paths));
        counts
    });
    for (what, count) in counts.unwrap_or_else(|stopped| panic!("{stopped}")) {
        assert_eq!(count, 0, "{what} allocates on the transfer path");
    }
}
