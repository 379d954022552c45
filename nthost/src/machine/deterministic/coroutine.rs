//! Coroutines: those of `corosensei`, where it knows the processor and the system.
//!
//! Elsewhere (Windows on ARM64) the same names are empty, and [`AVAILABLE`] says so; a machine with
//! the deterministic scheduler is not built there.

#[cfg(not(all(windows, target_arch = "aarch64")))]
pub(super) use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};

#[cfg(all(windows, target_arch = "aarch64"))]
pub(super) use absent::{Coroutine, CoroutineResult, DefaultStack, Yielder};

/// Whether machines can have the deterministic scheduler. Miri cannot run coroutines.
pub(in crate::machine) const AVAILABLE: bool =
    cfg!(not(any(miri, all(windows, target_arch = "aarch64"))));

#[cfg(all(windows, target_arch = "aarch64"))]
mod absent {
    use std::marker::PhantomData;

    /// Nothing can be made that has one.
    enum Never {}

    pub(in super::super) struct DefaultStack(Never);

    impl DefaultStack {
        pub(in super::super) fn new(_bytes: usize) -> std::io::Result<Self> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    #[expect(dead_code, reason = "nothing runs that could end so")]
    pub(in super::super) enum CoroutineResult<Yield, Return> {
        Yield(Yield),
        Return(Return),
    }

    pub(in super::super) struct Yielder<Input, Yield>(Never, PhantomData<(Input, Yield)>);

    impl<Input, Yield> Yielder<Input, Yield> {
        pub(in super::super) fn suspend(&self, _value: Yield) -> Input {
            match self.0 {}
        }
    }

    pub(in super::super) struct Coroutine<Input, Yield, Return>(
        DefaultStack,
        PhantomData<(Input, Yield, Return)>,
    );

    impl<Input, Yield, Return> Coroutine<Input, Yield, Return> {
        pub(in super::super) fn with_stack(
            stack: DefaultStack,
            _body: impl FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
        ) -> Self {
            Self(stack, PhantomData)
        }

        pub(in super::super) fn resume(&mut self, _input: Input) -> CoroutineResult<Yield, Return> {
            match self.0.0 {}
        }

        pub(in super::super) fn started(&self) -> bool {
            match self.0.0 {}
        }

        pub(in super::super) fn done(&self) -> bool {
            match self.0.0 {}
        }

        pub(in super::super) unsafe fn force_reset(&mut self) {
            match self.0.0 {}
        }

        pub(in super::super) fn force_unwind(&mut self) {
            match self.0.0 {}
        }

        pub(in super::super) fn into_stack(self) -> DefaultStack {
            self.0
        }
    }
}
