//! The border of a driver image: the same crossings as for a hosted driver, with the Windows
//! calling convention.

// UNSAFETY: these are the functions a driver calls with raw pointers.
#![allow(non_snake_case, reason = "names are the WDK's")]

use wdk_lite::*;

use super::{Argument, enter, enter_from, exports, framework, functions, legacy, operations};
use crate::image::trap;
use crate::machine::context;

/// A kernel function that images import.
pub(crate) struct Export {
    pub name: &'static str,
    pub address: *const (),
}

// SAFETY: a name and the address of a function.
unsafe impl Sync for Export {}

macro_rules! win64_exports {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        mod calls {
            use super::*;
            $(pub(super) unsafe extern "win64" fn $name($($arg: $ty),*) -> $ret {
                enter(
                    &functions::exports::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { exports::$name(kernel, $($arg),*) },
                )
            })*
        }
        /// The kernel functions by name.
        pub(crate) static EXPORTS: &[Export] =
            &[$(Export { name: stringify!($name), address: calls::$name as *const () }),*];
    };
}
wdk_lite::kernel_exports!(win64_exports);

macro_rules! win64_legacy {
    ($($name:ident => $today:ident: fn($($arg:ident: $ty:ty),*) -> $ret:ty, $module:literal;)*) => {
        mod legacy_calls {
            use super::*;
            $(pub(super) unsafe extern "win64" fn $name($($arg: $ty),*) -> $ret {
                enter(
                    &functions::legacy::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { legacy::$name(kernel, $($arg),*) },
                )
            })*
        }
        /// The DMA routines by the names they had in NT.
        pub(crate) static LEGACY: &[Export] =
            &[$(Export { name: stringify!($name), address: legacy_calls::$name as *const () }),*];
    };
}
wdk_lite::legacy_exports!(win64_legacy);

/// The KMDF function table.
pub(crate) struct Framework([*const (); WDF_FUNCTION_COUNT]);

// SAFETY: addresses of functions.
unsafe impl Sync for Framework {}

impl Framework {
    pub(crate) const fn as_ptr(&self) -> *const *const () {
        self.0.as_ptr()
    }
}

macro_rules! win64_framework {
    ($($index:literal => fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        mod framework_calls {
            use super::*;
            $(pub(super) unsafe extern "win64" fn $name(
                _globals: PWDF_DRIVER_GLOBALS, $($arg: $ty),*
            ) -> $ret {
                enter(
                    &functions::framework::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { framework::$name(kernel, $($arg),*) },
                )
            })*
        }
        /// The KMDF function table; an entry that this host does not have faults when it is
        /// called, and its address tells which it is.
        pub(crate) static FRAMEWORK: Framework = {
            let mut table = [std::ptr::null(); WDF_FUNCTION_COUNT];
            let mut index = 0;
            while index < WDF_FUNCTION_COUNT {
                table[index] = std::ptr::without_provenance(trap::framework(index));
                index += 1;
            }
            $(table[$index] = framework_calls::$name as *const ();)*
            Framework(table)
        };
    };
}
wdk_lite::wdf_functions!(win64_framework);

macro_rules! win64_operations {
    ($($name:ident: $pty:ident = fn($($arg:ident: $ty:ty),*) -> $ret:ty, $version:literal;)*) => {
        mod operation_calls {
            use super::*;
            $(pub(super) unsafe extern "win64" fn $name($($arg: $ty),*) -> $ret {
                enter(
                    &functions::operations::$name,
                    || [$(Argument::of($arg)),*],
                    // SAFETY: the driver's arguments, passed on; the implementation checks them.
                    |kernel| unsafe { operations::$name(kernel, $($arg),*) },
                )
            })*
        }
        /// Replaces the members of a table by those that an image calls; what is absent stays so.
        pub(crate) fn operations_for_image(table: &mut DMA_OPERATIONS) {
            $(if table.$name.is_some() {
                type Call = unsafe extern "win64" fn($($ty),*) -> $ret;
                let call: Call = operation_calls::$name;
                type Field = unsafe extern "C" fn($($ty),*) -> $ret;
                // SAFETY: an address for an address. The field's type has the C convention of
                // this system, but nothing here calls through it.
                let field: Field = unsafe { std::mem::transmute(call) };
                table.$name = Some(field);
            })*
        }
    };
}
wdk_lite::dma_operations!(win64_operations);

macro_rules! register_accesses {
    ($($size:literal => $read:ident, $write:ident, $ty:ty;)*) => {
        /// A load of `size` bytes (1, 2, 4 or 8) from a mapped register, by an instruction whose
        /// frame is `frame`.
        pub(crate) fn read_register(frame: usize, address: u64, size: usize) -> u64 {
            use crate::bus::registers;

            match size {
                $($size => {
                    enter_from(
                        &functions::registers::$read,
                        frame,
                        || [Argument::register(register::<$ty>(address))],
                        |kernel| registers::$read(kernel, address),
                    ).into()
                })*
                _ => 0,
            }
        }

        /// A store to a mapped register, as [`read_register`].
        pub(crate) fn write_register(frame: usize, address: u64, size: usize, value: u64) {
            use crate::bus::registers;

            match size {
                $($size => {
                    // CAST: the register's width.
                    let value = value as $ty;
                    enter_from(
                        &functions::registers::$write,
                        frame,
                        || [Argument::register(register::<$ty>(address)), Argument::of(value)],
                        |kernel| registers::$write(kernel, address, value),
                    );
                })*
                _ => {}
            }
        }
    };
}
register_accesses! {
    1 => READ_REGISTER_UCHAR, WRITE_REGISTER_UCHAR, u8;
    2 => READ_REGISTER_USHORT, WRITE_REGISTER_USHORT, u16;
    4 => READ_REGISTER_ULONG, WRITE_REGISTER_ULONG, u32;
    8 => READ_REGISTER_ULONG64, WRITE_REGISTER_ULONG64, u64;
}

/// The address of a register, as a hosted driver would pass it.
fn register<T>(address: u64) -> *mut T {
    std::ptr::without_provenance_mut(address as usize)
}

/// A read of CR8 by an instruction whose frame is `frame`: KeGetCurrentIrql.
pub(crate) fn current_level(frame: usize) -> u8 {
    let function = &functions::exports::KeGetCurrentIrql;
    // SAFETY: no pointers involved.
    enter_from(function, frame, || [], |kernel| unsafe { exports::KeGetCurrentIrql(kernel) })
}

/// A write of CR8: KfRaiseIrql or KeLowerIrql.
pub(crate) fn set_level(frame: usize, level: u8) {
    let current = context::current().map_or(0, crate::machine::Kernel::irql);
    if level >= current {
        // SAFETY: no pointers involved.
        enter_from(
            &functions::exports::KfRaiseIrql,
            frame,
            || [Argument::of(level)],
            |kernel| unsafe { exports::KfRaiseIrql(kernel, level) },
        );
    } else {
        // SAFETY: no pointers involved.
        enter_from(
            &functions::exports::KeLowerIrql,
            frame,
            || [Argument::of(level)],
            |kernel| unsafe { exports::KeLowerIrql(kernel, level) },
        );
    }
}
