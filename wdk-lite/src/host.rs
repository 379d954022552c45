//! The hosted build's side of the border: one table of functions, installed once.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::*;

macro_rules! table {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        /// The kernel functions of a host, one field for each entry of [`kernel_exports!`].
        #[derive(Debug)]
        pub struct KernelExports {
            $(#[doc = concat!("The host's `", stringify!($name), "`.")]
              pub $name: unsafe extern "C" fn($($ty),*) -> $ret,)*
        }
    };
}
kernel_exports!(table);

macro_rules! register_table {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        /// The register accesses of a host, one field for each entry of
        /// [`register_accessors!`].
        #[derive(Debug)]
        pub struct RegisterAccess {
            $(#[doc = concat!("The host's `", stringify!($name), "`.")]
              pub $name: unsafe extern "C" fn($($ty),*) -> $ret,)*
        }

        $(#[doc = concat!("`", stringify!($name), "` of the installed host.")]
          ///
          /// # Safety
          /// `Register` lies in a range that `MmMapIoSpaceEx` returned and that is still mapped
          /// (KMDF-04).
          #[inline]
          pub unsafe fn $name($($arg: $ty),*) -> $ret {
              let call = host().registers.$name;
              // SAFETY: the table is complete by construction; the caller vouches for the
              // arguments (KMDF-04).
              unsafe { call($($arg),*) }
          })*
    };
}
register_accessors!(register_table);

/// What a host installs: everything a hosted driver can call.
#[derive(Debug)]
pub struct HostTable {
    /// The kernel functions.
    pub exports: KernelExports,
    /// The DMA routines by NT's names.
    pub legacy: crate::legacy::LegacyExports,
    /// The register accesses.
    pub registers: RegisterAccess,
    /// The KMDF function table of version 1.33, indexed as [`wdf_functions!`] says. Each entry
    /// takes the driver globals first.
    pub wdf: [*const (); WDF_FUNCTION_COUNT],
    /// The driver globals of the driver that is running on this thread.
    pub driver_globals: fn() -> PWDF_DRIVER_GLOBALS,
}

// SAFETY: the table is immutable and holds addresses of functions only.
unsafe impl Sync for HostTable {}
// SAFETY: as above.
unsafe impl Send for HostTable {}

static HOST: AtomicPtr<HostTable> = AtomicPtr::new(ptr::null_mut());

/// Installs the host's table. The first call wins; installing the same table again is harmless.
///
/// # Errors
/// `Err` with the table that is already installed, if it is another one.
pub fn install(table: &'static HostTable) -> Result<(), &'static HostTable> {
    let new = ptr::from_ref(table).cast_mut();
    match HOST.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(current) if current == new => Ok(()),
        // SAFETY: only `install` stores here, always a `&'static HostTable`.
        Err(current) => Err(unsafe { &*current }),
    }
}

/// The installed table.
///
/// # Panics
/// When no host is installed; inside a driver call this ends the process with that sentence.
#[inline]
pub(crate) fn host() -> &'static HostTable {
    let table = HOST.load(Ordering::Acquire);
    if table.is_null() {
        missing_host();
    }
    // SAFETY: only `install` stores here, always a `&'static HostTable`.
    unsafe { &*table }
}

#[cold]
fn missing_host() -> ! {
    panic!(
        "a kernel function was called, but no NT host is installed: build an nthost machine first"
    )
}
