//! The kernel functions, as `wdk_sys::ntddk` has them.

use crate::*;

#[cfg(not(feature = "image"))]
macro_rules! declare {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(#[doc = concat!("`", stringify!($name), "` of the installed host.")]
          ///
          /// # Safety
          /// As the page of the function says; the host checks what can be checked.
          #[inline]
          pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
              let call = crate::host::host().exports.$name;
              // SAFETY: the table is complete by construction; the caller vouches for the
              // arguments as it would towards the kernel.
              unsafe { call($($arg),*) }
          })*
    };
}

#[cfg(feature = "image")]
macro_rules! declare {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        #[cfg_attr(
            windows,
            link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
        )]
        unsafe extern "C" {
            $(#[doc = concat!("`", stringify!($name), "` of ntoskrnl.exe.")]
              pub fn $name($($arg: $ty),*) -> $ret;)*
        }
    };
}

kernel_exports!(declare);
