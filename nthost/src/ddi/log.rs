//! The log of crossings: what went over the border between driver and host, in order.

use parking_lot::Mutex;
use wdk_lite::LARGE_INTEGER;

use crate::machine::{Kernel, context};

/// A value that crossed, as far as it is the same wherever things lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number below 4 GiB.
    Number(u64),
    /// An address, a handle, or another large number.
    Large,
}

/// Which way a crossing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The driver called the host.
    Call,
    /// The host returned from that.
    Return,
    /// The host called the driver.
    Callback,
    /// The driver returned from that.
    CallbackReturn,
}

/// One crossing between driver and host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Which way.
    pub way: Way,
    /// The function or callback.
    pub name: &'static str,
    /// The virtual processor.
    pub processor: usize,
    /// The interrupt request level.
    pub irql: u8,
    /// Machine time, nanoseconds.
    pub now: u64,
    /// The arguments, or the result.
    pub values: Vec<Value>,
}

/// What can cross.
pub(crate) trait Loggable {
    fn log(&self) -> Value;
}

fn number(number: u64) -> Value {
    if number >> 32 == 0 { Value::Number(number) } else { Value::Large }
}

macro_rules! loggable {
    ($($ty:ty),*) => {
        $(impl Loggable for $ty {
            fn log(&self) -> Value {
                // CAST: a small number, or the view of one without its sign.
                number(*self as u64)
            }
        })*
    };
}
loggable!(u8, u16, u32, u64, usize, i64);

/// Signed numbers by their own width: a status is no large number.
macro_rules! loggable_signed {
    ($($ty:ty as $unsigned:ty),*) => {
        $(impl Loggable for $ty {
            fn log(&self) -> Value {
                // CAST: the same width.
                number(u64::from(*self as $unsigned))
            }
        })*
    };
}
loggable_signed!(i8 as u8, i32 as u32);

impl Loggable for () {
    fn log(&self) -> Value {
        Value::Number(0)
    }
}

impl<T> Loggable for *mut T {
    fn log(&self) -> Value {
        number(self.addr() as u64)
    }
}

impl<T> Loggable for *const T {
    fn log(&self) -> Value {
        number(self.addr() as u64)
    }
}

impl<F> Loggable for Option<F> {
    fn log(&self) -> Value {
        if self.is_some() { Value::Large } else { Value::Number(0) }
    }
}

impl Loggable for LARGE_INTEGER {
    fn log(&self) -> Value {
        // SAFETY: both views are integers.
        number(unsafe { self.QuadPart } as u64)
    }
}

/// The crossings of one machine, if it keeps them.
#[derive(Debug)]
pub(crate) struct Log {
    on: bool,
    crossings: Mutex<Vec<Crossing>>,
}

impl Log {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, crossings: Mutex::default() }
    }

    /// Whether crossings are kept.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Keeps a crossing.
    #[cold]
    pub(crate) fn keep(&self, kernel: &Kernel, way: Way, name: &'static str, values: &[Value]) {
        let crossing = Crossing {
            way,
            name,
            processor: context::with(|c| c.processor.get()),
            irql: kernel.irql(),
            now: kernel.clock.now(),
            values: values.to_vec(),
        };
        self.crossings.lock().push(crossing);
    }

    /// A callback, if crossings are kept.
    #[inline]
    pub(super) fn callback<const N: usize>(
        &self,
        kernel: &Kernel,
        name: &'static str,
        arguments: impl FnOnce() -> [Value; N],
    ) {
        if self.on {
            self.keep(kernel, Way::Callback, name, &arguments());
        }
    }

    /// The end of a callback, if crossings are kept.
    #[inline]
    pub(super) fn callback_return(&self, kernel: &Kernel, name: &'static str, result: Value) {
        if self.on {
            self.keep(kernel, Way::CallbackReturn, name, &[result]);
        }
    }

    pub(crate) fn crossings(&self) -> Vec<Crossing> {
        self.crossings.lock().clone()
    }
}
