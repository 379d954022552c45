//! The device's lock.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::sys::{WDFSPINLOCK, call_unsafe_wdf_function_binding};
use wdk_dma::AtMostDispatch;

/// Data behind a WDFSPINLOCK.
///
/// While a guard lives no request is completed and nothing is called that may call back
/// (KMDF-23, DMA-36).
#[derive(Debug)]
pub(crate) struct SpinLock<T> {
    handle: WDFSPINLOCK,
    data: UnsafeCell<T>,
}

impl<T> SpinLock<T> {
    /// Writes the lock's handle into its place; the data is written separately.
    ///
    /// # Safety
    /// `this` is valid for writes and not shared yet; `handle` is a live spin lock that nothing
    /// else uses and that outlives the place.
    pub(crate) unsafe fn init(this: *mut Self, handle: WDFSPINLOCK) {
        // SAFETY: a field of a place that is valid for writes, by the caller's promise.
        let place = unsafe { &raw mut (*this).handle };
        // SAFETY: as above.
        unsafe { place.write(handle) };
    }

    /// The place of the data, for initialisation.
    ///
    /// # Safety
    /// `this` points into an allocation that is large enough.
    pub(crate) unsafe fn data(this: *mut Self) -> *mut T {
        // SAFETY: only an address is computed, inside the allocation.
        let cell = unsafe { &raw mut (*this).data };
        cell.cast()
    }

    /// Takes the lock. IRQL: at most DISPATCH_LEVEL.
    pub(crate) fn lock(&self, _level: &impl AtMostDispatch) -> Guard<'_, T> {
        // SAFETY: a live lock by `init`; the level is at most DISPATCH_LEVEL by the token.
        unsafe { call_unsafe_wdf_function_binding!(WdfSpinLockAcquire, self.handle) };
        Guard { lock: self, _not_send: PhantomData }
    }
}

/// Access to the data of a held lock.
#[must_use]
pub(crate) struct Guard<'a, T> {
    lock: &'a SpinLock<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so no other reference to the data exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, so no other reference to the data exists.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: acquired by this thread when the guard was made.
        unsafe { call_unsafe_wdf_function_binding!(WdfSpinLockRelease, self.lock.handle) };
    }
}
