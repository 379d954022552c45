//! The PCI bus, with what firmware enumerates beside it: slots, configuration space, address windows, and the device models behind them.

mod config;
pub(crate) mod ddi;
pub(crate) mod registers;
mod silence;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use testdev::bus::{Device, Identity, SystemDevice};

use crate::machine::interrupts::LineId;
use crate::machine::{Kernel, context};
pub(crate) use config::{Config, Window};
use silence::Silence;
use view::View;

/// Physical address of the first window; windows lie in one gigabyte from here on.
const WINDOWS: u64 = 0xC000_0000;

/// One function of the bus with its device model.
pub(crate) struct Function {
    pub index: usize,
    pub config: Config,
    pub identity: Identity,
    /// What firmware says about it, if it is no PCI function.
    pub system: Option<SystemDevice>,
    /// The INTx line and the first message's line.
    pub line: LineId,
    pub messages: Vec<LineId>,
    model: Mutex<Box<dyn Device>>,
    /// False after a surprise removal: registers read all ones, the model does not run.
    present: AtomicBool,
    /// Bytes read from its registers outside of interrupt handlers.
    bytes_read: AtomicU64,
    /// The last register write: what the device does after it belongs to another transfer.
    last_write: AtomicU64,
    silence: Silence,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Function {
    /// Whether the device is there.
    pub(crate) fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }

    /// The device vanishes: no access reaches the model any more, and it masters nothing.
    pub(crate) fn vanish(&self, kernel: &Kernel) {
        self.present.store(false, Ordering::SeqCst);
        self.silence.begin(kernel.clock.now());
        kernel.bus.set_deadline(self, None);
        kernel.interrupts.lower(self.line);
    }

    /// Looks at the model.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&mut dyn Device) -> R) -> R {
        look(self.model.lock().as_mut())
    }

    /// A register read; all ones when the device is gone.
    pub(crate) fn read(&self, kernel: &Kernel, bar: u8, offset: u64, size: u8) -> u64 {
        let present = self.is_present();
        if !present {
            context::with(|c| c.unanswered.set(true));
        }
        if !present || !self.config.memory_enabled() {
            return all_ones(size);
        }
        let mut model = self.model.lock();
        model.read(&mut View::new(kernel, self), bar, offset, size)
    }

    /// The number of the last register write.
    fn last_write(&self) -> u64 {
        self.last_write.load(Ordering::Relaxed)
    }

    /// The driver writes a register, which may begin a transfer.
    pub(crate) fn command(&self, kernel: &Kernel, bar: u8, offset: u64, size: u8, value: u64) {
        self.write(kernel, (bar, offset, size), value, true);
    }

    /// A register write; lost when the device is gone.
    fn write(&self, kernel: &Kernel, at: (u8, u64, u8), value: u64, begins: bool) {
        if !self.is_present() || !self.config.memory_enabled() {
            return;
        }
        let ((bar, offset, size), mut model) = (at, self.model.lock());
        if begins {
            // With the model, so that it takes this number for its own.
            self.last_write.store(kernel.bus.next_number(), Ordering::Relaxed);
        }
        model.write(&mut View::new(kernel, self), bar, offset, size, value);
    }

    /// The system's DMA controller puts bytes into the data port: what its FIFO still owed. No lock
    /// of the HAL's is held.
    pub(crate) fn feed(&self, kernel: &Kernel, port: u64, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write(kernel, (0, port, 1), byte.into(), false));
    }

    /// Whether the model is still to be called, and so may request DMA by itself. While it runs on
    /// another processor it is not known whether it will be: this waits for it, as a register access
    /// does. No lock of the HAL's is held.
    pub(crate) fn is_active(&self, bus: &Bus) -> bool {
        let _model = self.model.lock();
        bus.slots.read().deadlines[self.index].load(Ordering::SeqCst) != u64::MAX
    }

    fn run(&self, kernel: &Kernel) -> bool {
        let mut model = self.model.lock();
        let runs = self.is_present() && kernel.bus.take_due(self.index, kernel.clock.now());
        if runs {
            model.on_timer(&mut View::new(kernel, self));
        }
        runs
    }
}

/// All bits of a `size`-byte register.
pub(crate) const fn all_ones(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (size * 8)) - 1 }
}

/// What is in the slots of a bus.
#[derive(Debug, Default)]
struct Slots {
    functions: Vec<Arc<Function>>,
    /// When each function's model wants to run; `u64::MAX`: never. Apart from the functions, since
    /// all of them are looked at time and again.
    deadlines: Vec<AtomicU64>,
}

impl Slots {
    fn earliest(&self) -> u64 {
        let deadlines = self.deadlines.iter().map(|deadline| deadline.load(Ordering::SeqCst));
        deadlines.min().unwrap_or(u64::MAX)
    }

    /// The slots from `first` on whose models want to run.
    fn due(&self, first: usize, now: u64) -> impl Iterator<Item = usize> {
        let due = move |deadline: &AtomicU64| deadline.load(Ordering::SeqCst) <= now;
        let slots = self.deadlines.iter().enumerate().skip(first);
        slots.filter_map(move |(slot, deadline)| due(deadline).then_some(slot))
    }
}

/// The bus of one machine.
#[derive(Debug)]
pub(crate) struct Bus {
    slots: RwLock<Slots>,
    /// The earliest deadline of all models.
    next: AtomicU64,
    next_window: AtomicU64,
    mappings: registers::Mappings,
    /// Numbers register writes, and flushes of common buffers between them.
    sequence: AtomicU64,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self {
            slots: RwLock::default(),
            next: AtomicU64::new(u64::MAX),
            next_window: AtomicU64::new(WINDOWS),
            mappings: registers::Mappings::default(),
            sequence: AtomicU64::new(0),
        }
    }

    /// Puts a device into the next free slot and assigns its windows; returns the slot.
    pub(crate) fn plug(&self, kernel: &Kernel, model: Box<dyn Device>) -> usize {
        let identity = model.identity();
        let windows = identity.bars.map(|bar| {
            bar.map(|bar| {
                let size = bar.size.next_power_of_two().max(4096);
                let base = self.next_window.fetch_add(size * 2, Ordering::Relaxed);
                Window { base: base.next_multiple_of(size), size: bar.size, bits64: bar.bits64 }
            })
        });
        let mut slots = self.slots.write();
        let index = slots.functions.len();
        let line = kernel.interrupts.allocate(true);
        let messages = identity.msi_messages.max(identity.msix_messages);
        slots.deadlines.push(AtomicU64::new(u64::MAX));
        slots.functions.push(Arc::new(Function {
            index,
            config: Config::new(&identity, windows),
            line,
            messages: (0..messages).map(|_| kernel.interrupts.allocate(false)).collect(),
            identity,
            system: model.system(),
            model: Mutex::new(model),
            present: AtomicBool::new(true),
            bytes_read: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
            silence: Silence::new(),
        }));
        index
    }

    /// The device in a slot.
    pub(crate) fn function(&self, slot: usize) -> Option<Arc<Function>> {
        self.slots.read().functions.get(slot).cloned()
    }

    /// The device and BAR whose window holds a physical address, with the offset in it.
    pub(crate) fn decode(&self, address: u64) -> Option<(Arc<Function>, u8, u64)> {
        let slots = self.slots.read();
        slots.functions.iter().find_map(|f| {
            let (bar, offset) = f.config.decode(address)?;
            Some((Arc::clone(f), bar, offset))
        })
    }

    /// The earliest deadline of any device model; `u64::MAX` if none.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Whether some device model wants to run.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.next.load(Ordering::Acquire) <= now
    }

    /// Calls `each` for every slot whose device model wants to run.
    pub(crate) fn due(&self, now: u64, each: impl FnMut(usize)) {
        self.slots.read().due(0, now).for_each(each);
    }

    /// Runs the device model in a slot, if it is due.
    pub(crate) fn run_slot(&self, kernel: &Kernel, slot: usize) {
        if let Some(function) = self.function(slot) {
            function.run(kernel);
        }
        self.update_next();
    }

    /// Runs the device models that are due; `false` if none was.
    pub(crate) fn run_due(&self, kernel: &Kernel) -> bool {
        let mut ran = false;
        let (now, mut slot) = (kernel.clock.now(), 0);
        while let Some(function) = self.next_due(slot, now) {
            slot = function.index + 1;
            ran |= function.run(kernel);
        }
        self.update_next();
        ran
    }

    /// The first function from `slot` on that is due; the list is not held while it runs.
    fn next_due(&self, slot: usize, now: u64) -> Option<Arc<Function>> {
        let slots = self.slots.read();
        let next = slots.due(slot, now).next()?;
        slots.functions.get(next).cloned()
    }

    /// Looks for the earliest deadline again, which only ever became earlier since the last time.
    pub(crate) fn update_next(&self) {
        let slots = self.slots.read();
        let mut next = slots.earliest();
        loop {
            self.next.store(next, Ordering::SeqCst);
            // A model that another thread runs may have set its deadline meanwhile, and lowered
            // what was overwritten just now.
            let again = slots.earliest();
            if again >= next {
                return;
            }
            next = again;
        }
    }

    /// A model wants to run. One that is gone never does, whatever it wants: it may have been at
    /// work on another processor when it vanished.
    fn set_deadline(&self, function: &Function, at: Option<u64>) {
        let slots = self.slots.read();
        let deadline = &slots.deadlines[function.index];
        deadline.store(at.unwrap_or(u64::MAX), Ordering::SeqCst);
        if !function.present.load(Ordering::SeqCst) {
            deadline.store(u64::MAX, Ordering::SeqCst);
        } else if let Some(at) = at {
            self.next.fetch_min(at, Ordering::SeqCst);
        }
    }

    /// Whether a model is due; then it is no more. Its lock is held.
    fn take_due(&self, slot: usize, now: u64) -> bool {
        let slots = self.slots.read();
        let deadline = &slots.deadlines[slot];
        let due = deadline.load(Ordering::SeqCst) <= now;
        if due {
            deadline.store(u64::MAX, Ordering::SeqCst);
        }
        due
    }

    /// Bytes read so far from the registers of the device in a slot, outside of interrupt handlers.
    fn bytes_read(&self, slot: usize) -> u64 {
        let slots = self.slots.read();
        slots.functions.get(slot).map_or(0, |function| function.bytes_read.load(Ordering::Relaxed))
    }

    /// The number of the last register write to the device in a slot.
    pub(crate) fn last_write(&self, slot: usize) -> u64 {
        self.slots.read().functions.get(slot).map_or(0, |function| function.last_write())
    }

    /// The next number in the order of register writes and flushes.
    pub(crate) fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Register windows that drivers mapped and did not unmap.
    pub(crate) fn mapped(&self) -> usize {
        self.mappings.live()
    }
}
