//! The application of a field driver, and the machine that both run on.

use std::sync::{Arc, Mutex};

use nthost::verifier::Report;
use nthost::{
    Access, Buffer, Builder, DriverEntry, File, Machine, Profile, Slot, Stopped, SystemDma,
};
use testdev::bus::Device;
use testdev::model::edu::{Edu, EduConfig};
use testdev::model::slave::Slave;
use wdk_lite::GUID;

/// The device of a driver, and how its application has to see the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `edu`; what is written is read back.
    Edu,
    /// `edu`; a read has its first four bytes in reverse order.
    EduHeader,
    /// `edu`; the first flush of adapter buffers fails, and with it the first request.
    EduFailedFlush,
    /// `edu`; a read gives registers.
    Registers,
    /// The device without bus mastering, in a machine with a system DMA controller.
    Slave,
}

/// A field driver, wrong and right.
#[derive(Clone, Copy)]
pub struct Trial {
    /// Name of its file.
    pub name: &'static str,
    /// Its device.
    pub kind: Kind,
    /// Its device interface.
    pub interface: GUID,
    /// Its entry point, with the mistake and without.
    pub wrong: DriverEntry,
    /// See above.
    pub right: DriverEntry,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct End {
    /// What stopped the machine.
    pub stopped: Option<Report>,
    /// What was noted.
    pub notes: Vec<Report>,
    /// The transfers whose data or status was wrong, as far as the application came.
    pub wrong: Vec<String>,
}

/// Buffers of the application: bytes, and the first byte's offset in its page. All have whole
/// lines; the second crosses a page's end.
const BUFFERS: [(usize, usize); 3] = [(4032, 0), (3072, 2048), (1024, 64)];

/// The same for the slave device: no multiple of any FIFO's chunk.
const SLAVE_BUFFERS: [(usize, usize); 3] = [(4001, 0), (3001, 2048), (77, 64)];

impl Trial {
    /// A machine with what the device needs.
    pub fn machine(&self, profile: Profile, seed: u64) -> Builder {
        let builder = Machine::builder(profile).seed(seed);
        match self.kind {
            Kind::Slave => builder.system_dma(Some(SystemDma::default())),
            Kind::EduFailedFlush => builder.fail_flush(1),
            _ => builder,
        }
    }

    /// `edu` as its property `dma_mask` makes it: with all 64 address bits.
    fn device(&self) -> Box<dyn Device> {
        match self.kind {
            Kind::Slave => Box::new(Slave::default()),
            _ => Box::new(Edu::new(EduConfig { dma_mask: u64::MAX, ..EduConfig::default() })),
        }
    }

    /// Loads the driver, moves data, and removes everything.
    pub fn run(self, builder: Builder, wrong: bool) -> End {
        let machine = builder.build();
        let found = Arc::new(Mutex::new(Vec::new()));
        let stopped = self.play(&machine, wrong, &found).err().map(|stopped| *stopped.report);
        let wrong = found.lock().expect("no run panics with the lock").clone();
        End { stopped, notes: machine.notes(), wrong }
    }

    fn play(
        self,
        machine: &Machine,
        wrong: bool,
        found: &Arc<Mutex<Vec<String>>>,
    ) -> Result<(), Stopped> {
        let found = Arc::clone(found);
        machine.run(move |machine| {
            let entry = if wrong { self.wrong } else { self.right };
            machine.load(self.name, entry).expect("the driver loads");
            let slot = machine.plug(self.device()).expect("the device starts");
            let path = machine.interfaces(&self.interface).pop().expect("it has an interface");
            let file = machine.open(&path, Access::READ_WRITE).expect("the device opens");
            let mut application =
                Application { machine, slot, kind: self.kind, file: &file, found: &found };
            application.works();
            drop(file);
        })?;
        machine.run(Machine::shut_down)
    }
}

struct Application<'a> {
    machine: &'a Machine,
    slot: Slot,
    kind: Kind,
    file: &'a File,
    found: &'a Mutex<Vec<String>>,
}

impl Application<'_> {
    /// Notes what is wrong.
    fn check(&mut self, right: bool, what: String) {
        if !right {
            self.found.lock().expect("no run panics with the lock").push(what);
        }
    }

    fn works(&mut self) {
        if self.kind == Kind::Registers {
            return self.reads_registers();
        }
        if self.kind == Kind::EduFailedFlush {
            let result = self.file.write_at(0, &filled(64, 0, 9));
            self.check(result.is_err(), format!("the flush failed, the request: {result:?}"));
        }
        let buffers = if self.kind == Kind::Slave { SLAVE_BUFFERS } else { BUFFERS };
        for (seed, (length, offset)) in (1..).zip(buffers) {
            self.round_trip(length, offset, seed);
        }
    }

    /// Writes bytes, looks at the device's memory, and reads them back.
    fn round_trip(&mut self, length: usize, offset: usize, seed: u8) {
        let source = filled(length, offset, seed);
        let result = self.file.write_at(0, &source);
        self.check(result == Ok(length), format!("write of {length}: {result:?}"));
        let memory = self.device_memory();
        self.check(memory[..length] == source[..], format!("write of {length}: data"));
        let mut back = Buffer::at_page_offset(length, offset);
        back.fill(0x5A);
        let result = self.file.read_at(0, &mut back);
        self.check(result == Ok(length), format!("read of {length}: {result:?}"));
        let mut held = memory[..length].to_vec();
        if self.kind == Kind::EduHeader {
            held[..4].reverse();
        }
        self.check(back[..] == held[..], format!("read of {length}: data"));
    }

    fn reads_registers(&mut self) {
        for _ in 0..2 {
            let mut dump = Buffer::at_page_offset(16, 0);
            let result = self.file.read_at(0, &mut dump);
            let id = testdev::edu::ID_VALUE.to_le_bytes();
            self.check(result == Ok(16) && dump[..4] == id, format!("registers: {result:?}"));
        }
    }

    fn device_memory(&self) -> Vec<u8> {
        if self.kind == Kind::Slave {
            let look = |slave: &mut Slave| slave.memory().to_vec();
            return self.machine.device_model(self.slot, look).expect("the slave device");
        }
        let look = |edu: &mut Edu| edu.memory().to_vec();
        self.machine.device_model(self.slot, look).expect("an edu device")
    }
}

/// A buffer whose bytes differ for every seed and position.
fn filled(length: usize, offset: usize, seed: u8) -> Buffer {
    let mut buffer = Buffer::at_page_offset(length, offset);
    for (index, byte) in buffer.iter_mut().enumerate() {
        // CAST: the low bits.
        *byte = (index as u8).wrapping_mul(31).wrapping_add((index >> 8) as u8) ^ seed;
    }
    buffer
}
