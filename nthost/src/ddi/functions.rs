//! Every function that a driver can call, as a value: what its page demands, and how to call it
//! with arguments that somebody has kept or changed.

// UNSAFETY: the implementations take the driver's pointers.
#![allow(non_snake_case, non_upper_case_globals, reason = "names are the WDK's")]

use wdk_lite::*;

use super::sabotage::Word;
use super::{Argument, Ddi, contract, logged};
use crate::machine::Kernel;
use crate::verifier::Violation;

/// A function that a driver can call, in a form that does not depend on its type.
#[derive(Debug)]
pub(crate) struct Function {
    pub ddi: Ddi,
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// What a driver is told if the call is not made; `None` if it could not go on.
    pub unmade: Option<u64>,
    /// Makes the call from the frame of the driver's call that is under way, with these arguments.
    pub call: fn(&Kernel, usize, &[Word]) -> Word,
}

impl Function {
    /// The place of an argument.
    pub(super) fn argument(&self, name: &str) -> Option<usize> {
        self.arguments.iter().position(|&argument| argument == name)
    }
}

/// The answers that a driver can go on with if a call is not made.
trait Unmade {
    const UNMADE: Option<u64> = None;
}
impl Unmade for () {
    const UNMADE: Option<u64> = Some(0);
}
/// TRUE.
impl Unmade for u8 {
    const UNMADE: Option<u64> = Some(1);
}
/// STATUS_SUCCESS.
impl Unmade for i32 {
    const UNMADE: Option<u64> = Some(0);
}
impl Unmade for i8 {}
impl Unmade for u16 {}
impl Unmade for u32 {}
impl Unmade for u64 {}
impl Unmade for LARGE_INTEGER {}
impl<T> Unmade for *mut T {}

/// Declares a [`Function`] for each function of a list, under its name. Beside each argument stands
/// how [`Argument`] takes it.
macro_rules! declare {
    ($($name:ident($($arg:ident $take:ident: $ty:ty),*) -> $ret:ty = $ddi:expr, $body:expr;)*) => {
        $(pub(in crate::ddi) static $name: Function = Function {
            ddi: $ddi,
            arguments: &[$(stringify!($arg)),*],
            unmade: <$ret as Unmade>::UNMADE,
            call: |kernel, frame, words| {
                let [$($arg),*] = *words else { unreachable!("a call has all its arguments") };
                let arguments = || [$(Argument::$take($arg.get::<$ty>())),*];
                let body: fn(&Kernel, $($ty),*) -> Result<$ret, Violation> = $body;
                let call = |kernel: &Kernel| body(kernel, $($arg.get()),*);
                Word::of(logged(kernel, frame, &$name.ddi, arguments, call))
            },
        };)*
        /// All of the list.
        pub(super) static ALL: &[&Function] = &[$(&$name),*];
    };
}

macro_rules! declare_exports {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        /// The kernel exports.
        pub(super) mod exports {
            use super::*;
            use crate::ddi::exports;
            declare! { $($name($($arg of: $ty),*) -> $ret =
                contract::export(stringify!($name)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { exports::$name(kernel, $($arg),*) };)* }
        }
    };
}
kernel_exports!(declare_exports);

macro_rules! declare_legacy {
    ($($name:ident => $today:ident: fn($($arg:ident: $ty:ty),*) -> $ret:ty, $module:literal;)*) => {
        /// The DMA routines by the names they had in NT.
        pub(super) mod legacy {
            use super::*;
            use crate::hal::legacy;
            declare! { $($name($($arg of: $ty),*) -> $ret =
                contract::legacy(stringify!($name), stringify!($today)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { legacy::$name(kernel, $($arg),*) };)* }
        }
    };
}
legacy_exports!(declare_legacy);

macro_rules! declare_registers {
    ($(fn $name:ident($register:ident: *mut $unit:ty $(, $value:ident: $ty:ty)?) -> $ret:ty;)*) => {
        /// The register accesses.
        pub(super) mod registers {
            use super::*;
            use crate::bus::registers;
            declare! { $($name($register register: *mut $unit $(, $value of: $ty)?) -> $ret =
                contract::register(stringify!($name)),
                |kernel, $register $(, $value)?| {
                    registers::$name(kernel, $register as u64 $(, $value)?)
                };)* }
        }
    };
}
register_accessors!(declare_registers);

macro_rules! declare_framework {
    ($($index:literal => fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        /// The KMDF functions.
        pub(super) mod framework {
            use super::*;
            use crate::ddi::framework;
            declare! { $($name($($arg of: $ty),*) -> $ret =
                contract::framework(stringify!($name)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { framework::$name(kernel, $($arg),*) };)* }
        }
    };
}
wdf_functions!(declare_framework);

macro_rules! declare_operations {
    ($($name:ident: $pty:ident = fn($($arg:ident: $ty:ty),*) -> $ret:ty, $version:literal;)*) => {
        /// The DMA operations.
        pub(super) mod operations {
            use super::*;
            use crate::ddi::operations;
            declare! { $($name($($arg of: $ty),*) -> $ret =
                contract::operation(stringify!($name)),
                // SAFETY: the driver's arguments, spoilt or not; the implementation checks them.
                |kernel, $($arg),*| unsafe { operations::$name(kernel, $($arg),*) };)* }
        }
    };
}
dma_operations!(declare_operations);

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Function> {
    let lists = [exports::ALL, legacy::ALL, registers::ALL, framework::ALL, operations::ALL];
    lists.into_iter().flatten().copied()
}
