//! Access to device registers.
//!
//! Hosted, an access is a call into the host's bus. On Windows it is a volatile access with the
//! barrier of the headers: on x64 a full fence after a write, on ARM64 a `dsb` before each access,
//! so that everything written before (a ring, a common buffer) is visible to the device first.

#[cfg(not(any(feature = "image", feature = "wdk")))]
pub use crate::sys::host::{
    READ_REGISTER_ULONG, READ_REGISTER_ULONG64, WRITE_REGISTER_ULONG, WRITE_REGISTER_ULONG64,
};

#[cfg(any(feature = "image", feature = "wdk"))]
pub use volatile::{
    READ_REGISTER_ULONG, READ_REGISTER_ULONG64, WRITE_REGISTER_ULONG, WRITE_REGISTER_ULONG64,
};

#[cfg(any(feature = "image", feature = "wdk"))]
mod volatile {
    use core::sync::atomic::{Ordering, compiler_fence};

    use crate::sys::{ULONG, ULONG64};

    #[inline(always)]
    fn before() {
        compiler_fence(Ordering::SeqCst);
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a barrier; it changes no register and no memory.
        unsafe {
            core::arch::asm!("dsb sy", options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn after_write() {
        #[cfg(not(target_arch = "aarch64"))]
        core::sync::atomic::fence(Ordering::SeqCst);
    }

    macro_rules! accessors {
        ($($read:ident, $write:ident: $ty:ty;)*) => {$(
            #[doc = concat!("Reads a register as `", stringify!($read), "` does. Any IRQL.")]
            ///
            /// # Safety
            /// `register` is aligned and lies in a mapped register range (KMDF-04).
            #[inline]
            #[allow(non_snake_case, reason = "the WDK's name")]
            pub unsafe fn $read(register: *mut $ty) -> $ty {
                before();
                // SAFETY: the caller vouches for the register (KMDF-04).
                unsafe { register.read_volatile() }
            }

            #[doc = concat!("Writes a register as `", stringify!($write), "` does. Any IRQL.")]
            ///
            /// # Safety
            /// `register` is aligned and lies in a mapped register range (KMDF-04).
            #[inline]
            #[allow(non_snake_case, reason = "the WDK's name")]
            pub unsafe fn $write(register: *mut $ty, value: $ty) {
                before();
                // SAFETY: the caller vouches for the register (KMDF-04).
                unsafe { register.write_volatile(value) };
                after_write();
            }
        )*};
    }

    accessors! {
        READ_REGISTER_ULONG, WRITE_REGISTER_ULONG: ULONG;
        READ_REGISTER_ULONG64, WRITE_REGISTER_ULONG64: ULONG64;
    }
}
