//! The interrupt request level as a value.
//!
//! A token says at which level the code that holds it runs. It has no size, cannot be copied and
//! stays on its thread. Tokens are made, unsafely, where the kernel calls the driver and promises
//! a level; from there on the level is checked by the compiler.

use core::marker::PhantomData;

use crate::ddk;
use crate::sys::{DISPATCH_LEVEL, KIRQL, ntddk};

type OnThisThread = PhantomData<*mut ()>;

/// The code runs at PASSIVE_LEVEL.
#[derive(Debug)]
pub struct Passive(OnThisThread);

/// The code runs at exactly DISPATCH_LEVEL.
#[derive(Debug)]
pub struct Dispatch(OnThisThread);

/// The code runs at DISPATCH_LEVEL or below; which one is not known.
#[derive(Debug)]
pub struct UpToDispatch(OnThisThread);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Passive {}
    impl Sealed for super::Dispatch {}
    impl Sealed for super::UpToDispatch {}
}

/// A token of a level that is at most DISPATCH_LEVEL.
pub trait AtMostDispatch: sealed::Sealed {
    /// Whether it is DISPATCH_LEVEL for sure.
    #[doc(hidden)]
    const IS_DISPATCH: bool = false;
}
impl AtMostDispatch for Passive {}
impl AtMostDispatch for Dispatch {
    const IS_DISPATCH: bool = true;
}
impl AtMostDispatch for UpToDispatch {}

impl Passive {
    /// # Safety
    /// The caller runs at PASSIVE_LEVEL for as long as the token lives, but for calls that raise
    /// the level with [`raise`].
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

impl Dispatch {
    /// # Safety
    /// The caller runs at DISPATCH_LEVEL for as long as the token lives.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

impl UpToDispatch {
    /// # Safety
    /// The caller runs at DISPATCH_LEVEL or below for as long as the token lives.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

struct Raised {
    previous: KIRQL,
}

impl Drop for Raised {
    fn drop(&mut self) {
        // SAFETY: `previous` is what the matching raise returned (DMA-33).
        unsafe { ddk::lower_irql(self.previous) };
    }
}

/// Runs `work` at DISPATCH_LEVEL and returns to the level before.
///
/// The token is borrowed exclusively, so `work` cannot use it for calls that need its level.
pub fn raise<L: AtMostDispatch, R>(_level: &mut L, work: impl FnOnce(&Dispatch) -> R) -> R {
    if L::IS_DISPATCH {
        return work(&Dispatch(PhantomData));
    }
    // CAST: DISPATCH_LEVEL is 2.
    // SAFETY: the token shows that the current level is not above DISPATCH_LEVEL (DMA-33).
    let previous = unsafe { ntddk::KfRaiseIrql(DISPATCH_LEVEL as KIRQL) };
    let _raised = Raised { previous };
    work(&Dispatch(PhantomData))
}

/// The current level. Any IRQL.
#[must_use]
pub fn current() -> KIRQL {
    // SAFETY: callable at any level.
    unsafe { ntddk::KeGetCurrentIrql() }
}
