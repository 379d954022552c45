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
        $(import! { $name($($arg: $ty),*) -> $ret })*
    };
}

/// Declares a function as an import. ARM64 has the routines for the level in another module, and
/// one of them under another name (IMAGE: imports).
#[cfg(feature = "image")]
macro_rules! import {
    (KeGetCurrentIrql $($rest:tt)*) => {
        import! { "HAL.dll" "KeGetCurrentIrql" KeGetCurrentIrql $($rest)* }
    };
    (KfRaiseIrql $($rest:tt)*) => {
        import! { "HAL.dll" "KfRaiseIrql" KfRaiseIrql $($rest)* }
    };
    (KeLowerIrql $($rest:tt)*) => {
        import! { "HAL.dll" "KfLowerIrql" KeLowerIrql $($rest)* }
    };
    ($name:ident $($rest:tt)*) => {
        import! { "ntoskrnl.exe" "" $name $($rest)* }
    };
    ("ntoskrnl.exe" $_symbol:literal
        $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        #[cfg_attr(
            windows,
            link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
        )]
        unsafe extern "C" {
            #[doc = concat!("`", stringify!($name), "` of the kernel.")]
            pub fn $name($($arg: $ty),*) -> $ret;
        }
    };
    ($arm64:literal $symbol:literal $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        #[cfg_attr(
            all(windows, not(target_arch = "aarch64")),
            link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
        )]
        #[cfg_attr(
            all(windows, target_arch = "aarch64"),
            link(name = $arm64, kind = "raw-dylib", modifiers = "+verbatim")
        )]
        unsafe extern "C" {
            #[cfg_attr(target_arch = "aarch64", link_name = $symbol)]
            #[doc = concat!("`", stringify!($name), "` of the kernel.")]
            pub fn $name($($arg: $ty),*) -> $ret;
        }
    };
}

kernel_exports!(declare);
