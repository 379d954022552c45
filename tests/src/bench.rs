//! The application of a case, and what is around it: loading, plugging, opening, and the orderly
//! end.

use nthost::{Access, Buffer, Driver, File, Machine, NtStatus, Operation, Pending, Request, Slot};

use crate::Case;
use crate::lab::{self, FINDINGS, INTERFACE, Routine, SCRIPT};

/// Bytes of a buffer before a transfer.
const FILL: u8 = 0x5A;

/// A machine with the lab driver, its device, and an open file.
#[derive(Debug)]
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    /// The lab driver.
    pub driver: Driver,
    /// The device's slot; `None` when it did not start or was removed.
    pub slot: Option<Slot>,
    /// The open file.
    pub file: Option<File>,
    case: Case,
}

impl Bench {
    /// Plays the whole case on its machine, in the machine's thread.
    ///
    /// # Panics
    /// When the driver or the application sees something that the documents do not allow.
    pub(crate) fn play(machine: &Machine, case: Case) {
        SCRIPT.set(case.script);
        let driver = machine.load("lab", lab::driver_entry).expect("DriverEntry succeeds");
        let started = machine.plug(case.model());
        assert_eq!(started.is_ok(), case.starts, "starting the device: {started:?}");
        let slot = started.ok();
        let file = slot.map(|_| Self::open(machine));
        let mut bench = Self { machine: machine.clone(), driver, slot, file, case };
        (case.scenario)(&mut bench);
        bench.end();
    }

    /// Opens the device.
    fn open(machine: &Machine) -> File {
        let paths = machine.interfaces(&INTERFACE);
        let path = paths.first().expect("a started device has its interface");
        machine.open(path, Access::READ_WRITE).expect("an administrator may open the device")
    }

    /// Sends the case's request and expects it to succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&mut self) {
        let result = self.send(self.case.routine);
        assert!(result.is_ok(), "the request failed: {result:?}");
    }

    /// Sends a request that runs `routine`; returns its Information.
    ///
    /// # Errors
    /// The status of the request if that is not a success.
    ///
    /// # Panics
    /// When no file is open.
    pub fn send(&self, routine: Routine) -> Result<usize, NtStatus> {
        let (completion, _) = self.submit(routine).wait();
        if completion.status.0 >= 0 { Ok(completion.information) } else { Err(completion.status) }
    }

    /// Sends a request that runs `routine`, without waiting.
    ///
    /// # Panics
    /// When no file is open.
    #[must_use]
    pub fn submit(&self, routine: Routine) -> Pending {
        self.file().submit(self.request(routine))
    }

    /// The case's request, with this routine.
    #[must_use]
    pub fn request(&self, routine: Routine) -> Request {
        let mut buffer = Buffer::at_page_offset(self.case.length, self.case.offset);
        buffer.fill(FILL);
        let code = lab::control_code(self.case.method, self.case.inline);
        Request::ioctl(code, lab::encode(routine).to_ne_bytes().to_vec(), buffer)
    }

    /// Sends `data` as the second buffer of a request with this method, which runs the case's
    /// routine and has to succeed; returns the buffer as it is then.
    ///
    /// # Panics
    /// When the request fails.
    #[must_use]
    pub fn transfer(&self, method: u32, data: &[u8]) -> Vec<u8> {
        let mut buffer = Buffer::at_page_offset(data.len(), self.case.offset);
        buffer.copy_from_slice(data);
        let code = lab::control_code(method, self.case.inline);
        let input = lab::encode(self.case.routine).to_ne_bytes().to_vec();
        let (completion, request) = self.file().submit(Request::ioctl(code, input, buffer)).wait();
        assert!(completion.status.0 >= 0, "the transfer failed: {}", completion.status);
        request.buffer().to_vec()
    }

    /// Sends a request with a chain of buffers, which runs the case's routine and has to succeed.
    /// Each buffer begins `offset` bytes into a page, so none continues another.
    ///
    /// # Panics
    /// When the request fails.
    pub fn chain(&self, lengths: &[usize], offset: usize) {
        let buffers = lengths.iter().map(|&length| {
            let mut buffer = Buffer::at_page_offset(length, offset);
            buffer.fill(FILL);
            buffer
        });
        let code = lab::control_code(self.case.method, self.case.inline);
        let input = lab::encode(self.case.routine).to_ne_bytes().to_vec();
        let request = Request::chain(Operation::Ioctl { code, input }, buffers.collect());
        let (completion, _) = self.file().submit(request).wait();
        assert!(completion.status.0 >= 0, "the chain failed: {}", completion.status);
    }

    /// The case's routine.
    #[must_use]
    pub fn routine(&self) -> Routine {
        self.case.routine
    }

    /// The open file.
    ///
    /// # Panics
    /// When none is open.
    #[must_use]
    pub fn file(&self) -> &File {
        self.file.as_ref().expect("a file is open")
    }

    /// The device's slot.
    ///
    /// # Panics
    /// When there is no device.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot.expect("the device is there")
    }

    /// Closes the file.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// The device is pulled out.
    pub fn pull(&mut self) {
        self.machine.surprise_remove(self.slot());
        self.slot = None;
    }

    /// Puts the device to sleep (D3), or wakes it.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn set_power(&self, sleeping: bool) {
        let done = self.machine.set_power(self.slot(), sleeping);
        assert!(done.is_ok(), "the power change failed: {done:?}");
    }

    /// Closes, removes, unloads, and shuts down, which finds what was left behind.
    fn end(mut self) {
        self.close();
        if let Some(slot) = self.slot {
            let removed = self.machine.remove(slot);
            assert!(removed.is_ok(), "the removal was refused: {removed:?}");
        }
        self.machine.unload(self.driver);
        self.machine.shut_down();
        let findings = FINDINGS.take();
        assert!(findings.is_empty(), "the driver found: {findings:#?}");
    }
}
