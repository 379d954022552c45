//! Context types of framework objects.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::ptr;

use crate::sys::{
    PCWDF_OBJECT_CONTEXT_TYPE_INFO, ULONG, WDF_OBJECT_CONTEXT_TYPE_INFO, WDFOBJECT,
    call_unsafe_wdf_function_binding,
};

/// What `WDF_DECLARE_CONTEXT_TYPE` declares: one `static` for each context type of a driver. The
/// framework knows a type by the address of its `static`.
///
/// ```ignore
/// static DEVICE: ContextType<DeviceContext> = ContextType::new(c"DeviceContext", &DEVICE);
/// ```
#[repr(transparent)]
#[derive(Debug)]
pub struct ContextType<T> {
    info: WDF_OBJECT_CONTEXT_TYPE_INFO,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: immutable; the pointers in it name statics.
unsafe impl<T> Sync for ContextType<T> {}

impl<T> ContextType<T> {
    /// The type information; `this` is the very static that is being defined.
    #[must_use]
    pub const fn new(name: &'static CStr, this: *const Self) -> Self {
        Self {
            info: WDF_OBJECT_CONTEXT_TYPE_INFO {
                // CAST: the size of a small structure.
                Size: size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() as ULONG,
                ContextName: name.as_ptr().cast(),
                ContextSize: size_of::<T>(),
                UniqueType: this.cast(),
                EvtDriverGetUniqueContextType: None,
            },
            _type: PhantomData,
        }
    }

    /// For `WDF_OBJECT_ATTRIBUTES::ContextTypeInfo`.
    #[must_use]
    pub const fn info(&'static self) -> PCWDF_OBJECT_CONTEXT_TYPE_INFO {
        ptr::from_ref(&self.info)
    }

    /// The context of an object; null if it was created without this type. IRQL: any that the
    /// object may be used at.
    ///
    /// # Safety
    /// `object` is a live framework object.
    #[must_use]
    pub unsafe fn of(&'static self, object: WDFOBJECT) -> *mut T {
        // SAFETY: live by the caller's promise; the type information is a static.
        let context = unsafe {
            call_unsafe_wdf_function_binding!(WdfObjectGetTypedContextWorker, object, self.info())
        };
        context.cast()
    }
}
