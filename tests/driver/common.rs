//! A machine with the driver and one edu device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmaproof_protocol::{
    Direction, Ioctl, Path, QueryReply, Statistics, TransferHeader, VersionRequest,
};
use dmaproof_tests::ways::{self, Run};
use nthost::{
    Access, Builder, File, Machine, NtStatus, Operation, Pending, Profile, Request, Slot, Stopped,
};
use testdev::bus::Device;
use testdev::model::edu::{Edu, EduConfig, EduFaults};
use zerocopy::{FromZeros, IntoBytes};

/// Bytes of the device that the driver uses.
pub const WINDOW: usize = 4095;

/// The paths that edu has and that move bulk data.
pub const PATHS: [Path; 5] = [
    Path::CommonBufferCached,
    Path::CommonBufferUncached,
    Path::Packet,
    Path::ScatterGather,
    Path::Version3,
];

/// Where a test runs: the machine, the device's slot and an open file.
pub struct Bench<'m> {
    pub machine: &'m Machine,
    pub slot: Slot,
    pub file: Arc<File>,
}

/// A straight x64 machine.
pub fn x64() -> Builder {
    Machine::builder(Profile::X64)
}

/// Runs `body` with the driver on an edu device, then removes everything and lets the leak checks
/// speak. A clean run has no note.
pub fn with_edu<T: Send + 'static>(
    builder: Builder,
    config: EduConfig,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    with_device(builder, move || Box::new(Edu::new(config)), body)
}

/// The same with any device.
pub fn with_device<T: Send + 'static>(
    builder: Builder,
    device: impl Fn() -> Box<dyn Device>,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    let body = Arc::new(body);
    ways::each(crate::WAYS, |run| once(run, builder.clone(), device(), Arc::clone(&body)))
}

fn once<T: Send + 'static>(
    run: &Run,
    builder: Builder,
    device: Box<dyn Device>,
    body: Arc<impl Fn(&Bench) -> T + Send + Sync + 'static>,
) -> T {
    let machine = run.machine(builder);
    let (handle, run) = (machine.clone(), run.clone());
    let result = machine.run(move |m| {
        run.load(m);
        let slot = m.plug(device).expect("the device starts");
        let bench = Bench { machine: m, slot, file: Arc::new(open(m)) };
        let result = body(&bench);
        drop(bench);
        result
    });
    let result = result.unwrap_or_else(|stopped| panic!("{stopped}"));
    shut_down(&handle).unwrap_or_else(|stopped| panic!("at shut-down: {stopped}"));
    assert_eq!(handle.notes().len(), 0, "{:#?}", handle.notes());
    result
}

/// The same with QEMU's defaults.
pub fn with_driver<T: Send + 'static>(
    builder: Builder,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    with_edu(builder, EduConfig::default(), body)
}

/// A device with these faults.
pub fn faulty(faults: EduFaults) -> EduConfig {
    EduConfig { faults, ..EduConfig::default() }
}

/// Opens the device with all access.
pub fn open(machine: &Machine) -> File {
    let path = interface(machine).expect("the device has an interface");
    machine.open(&path, Access::READ_WRITE).expect("the device opens")
}

/// The device's interface, if there is one.
pub fn interface(machine: &Machine) -> Option<String> {
    interfaces(machine).pop()
}

/// The interfaces of all devices.
pub fn interfaces(machine: &Machine) -> Vec<String> {
    let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
    let guid = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
    machine.interfaces(&guid)
}

/// The control code that moves data in this direction.
pub fn code(direction: Direction) -> u32 {
    match direction {
        Direction::ToDevice => Ioctl::ToDevice.code(),
        Direction::FromDevice => Ioctl::FromDevice.code(),
    }
}

/// Different bytes for every seed and position.
pub fn bytes(seed: u8, length: usize) -> Vec<u8> {
    let byte = |i: usize| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed;
    (0..length).map(byte).collect()
}

impl Bench<'_> {
    /// Moves `data` and waits.
    pub fn transfer(
        &self,
        path: Path,
        direction: Direction,
        offset: u64,
        data: &mut [u8],
    ) -> Result<usize, NtStatus> {
        let header = TransferHeader::new(path, offset, data.len() as u64);
        self.file.device_io_control(code(direction), header.as_bytes(), data)
    }

    /// Starts a transfer.
    pub fn submit(&self, path: Path, direction: Direction, offset: u64, data: Vec<u8>) -> Pending {
        let header = TransferHeader::new(path, offset, data.len() as u64);
        self.file.submit(Request::ioctl(code(direction), header.as_bytes().to_vec(), data))
    }

    /// Sends a buffer of several parts, as a kernel-mode requester does: an MDL chain.
    pub fn submit_chain(
        &self,
        path: Path,
        direction: Direction,
        offset: u64,
        parts: Vec<Vec<u8>>,
    ) -> Pending {
        let length: usize = parts.iter().map(Vec::len).sum();
        let header = TransferHeader::new(path, offset, length as u64);
        let operation =
            Operation::Ioctl { code: code(direction), input: header.as_bytes().to_vec() };
        self.file.submit(Request::chain(operation, parts))
    }

    /// What the driver says of itself.
    pub fn query(&self) -> QueryReply {
        let mut reply = QueryReply::new_zeroed();
        let request = VersionRequest::new();
        let length = reply.as_bytes().len();
        let done = self.file.device_io_control(
            Ioctl::Query.code(),
            request.as_bytes(),
            reply.as_mut_bytes(),
        );
        assert_eq!(done, Ok(length));
        reply
    }

    /// The driver's counts.
    pub fn statistics(&self) -> Statistics {
        let mut reply = Statistics::new_zeroed();
        let request = VersionRequest::new();
        let length = reply.as_bytes().len();
        let done = self.file.device_io_control(
            Ioctl::Statistics.code(),
            request.as_bytes(),
            reply.as_mut_bytes(),
        );
        assert_eq!(done, Ok(length));
        reply
    }

    /// Sends a transfer and, `after` crossings later, has all requests of the file cancelled, unless
    /// the transfer is over by then. Returns its status.
    pub fn cancelled_after(
        &self,
        path: Path,
        direction: Direction,
        data: Vec<u8>,
        after: u64,
    ) -> i32 {
        let over = Arc::new(AtomicBool::new(false));
        let (file, ended) = (Arc::clone(&self.file), Arc::clone(&over));
        self.machine.inject(self.machine.events() + after, move |_: &Machine| {
            // A later request is not meant.
            if !ended.load(Ordering::SeqCst) {
                file.cancel_all();
            }
        });
        let (completion, _) = self.submit(path, direction, 0, data).wait();
        over.store(true, Ordering::SeqCst);
        completion.status.0
    }

    /// Whether the driver still moves data correctly.
    pub fn works(&self) {
        self.round_trip(Path::Packet, 100, 1234, 0x77);
    }

    /// To the device and back over `path`, compared.
    pub fn round_trip(&self, path: Path, offset: u64, length: usize, seed: u8) {
        let source = bytes(seed, length);
        let mut sent = source.clone();
        assert_eq!(self.transfer(path, Direction::ToDevice, offset, &mut sent), Ok(length));
        assert_eq!(sent, source, "a transfer to the device leaves its source alone");
        let mut back = vec![!seed; length];
        assert_eq!(self.transfer(path, Direction::FromDevice, offset, &mut back), Ok(length));
        assert!(back == source, "{path} at {offset}, {length} bytes: data differ");
    }

    /// The device's own memory.
    pub fn device_memory(&self) -> Vec<u8> {
        let look = |edu: &mut Edu| edu.memory().to_vec();
        self.machine.device_model(self.slot, look).expect("the device is an edu")
    }
}

/// Removes the devices, unloads the driver and lets the leak checks speak.
pub fn shut_down(machine: &Machine) -> Result<(), Stopped> {
    machine.run(Machine::shut_down)
}
