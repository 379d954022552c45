//! Access to device registers.
//!
//! Hosted, an access is a call into the host's bus. On Windows it is a volatile access with the
//! barriers of the headers: on x64 a full fence after a write, on ARM64 a `dsb` before each access,
//! so that everything written before (a ring, a common buffer) is visible to the device first.
//!
//! The pages promise more than that: what stands before the call completes before what stands after
//! it. Two things make it so here. The compiler may move nothing across an access: to LLVM, unlike
//! to MSVC, `volatile` alone does not order the accesses around it. And on ARM64 a read is followed
//! by a load barrier, since a load from device memory does not order later loads from normal memory
//! (a status register, then the buffer that it speaks of).

#[cfg(not(any(feature = "image", feature = "wdk")))]
pub use crate::sys::host::{
    READ_REGISTER_UCHAR, READ_REGISTER_ULONG, READ_REGISTER_ULONG64, WRITE_REGISTER_UCHAR,
    WRITE_REGISTER_ULONG, WRITE_REGISTER_ULONG64,
};

#[cfg(any(feature = "image", feature = "wdk"))]
pub use volatile::{
    READ_REGISTER_UCHAR, READ_REGISTER_ULONG, READ_REGISTER_ULONG64, WRITE_REGISTER_UCHAR,
    WRITE_REGISTER_ULONG, WRITE_REGISTER_ULONG64,
};

#[cfg(any(feature = "image", feature = "wdk"))]
mod volatile {
    use core::sync::atomic::{Ordering, compiler_fence};

    use crate::sys::{UCHAR, ULONG, ULONG64};

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
    fn after_read() {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a barrier; it changes no register and no memory.
        unsafe {
            core::arch::asm!("dmb oshld", options(nostack, preserves_flags));
        }
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn after_write() {
        #[cfg(not(target_arch = "aarch64"))]
        core::sync::atomic::fence(Ordering::SeqCst);
        compiler_fence(Ordering::SeqCst);
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
                let value = unsafe { register.read_volatile() };
                after_read();
                value
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
        READ_REGISTER_UCHAR, WRITE_REGISTER_UCHAR: UCHAR;
        READ_REGISTER_ULONG, WRITE_REGISTER_ULONG: ULONG;
        READ_REGISTER_ULONG64, WRITE_REGISTER_ULONG64: ULONG64;
    }
}
