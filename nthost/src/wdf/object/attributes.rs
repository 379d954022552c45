//! WDF_OBJECT_ATTRIBUTES, validated.

// UNSAFETY: reads the driver's structures.

use wdk_lite::*;

use super::Handle;
use crate::RuleId;
use crate::ddi::callback::{Routine, routine};
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// What a call does with the attributes' ParentObject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentRule {
    Allowed,
    Forbidden,
    Required,
}

/// Which attributes a call takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributeRules {
    pub parent: ParentRule,
    /// An execution level other than Inherit.
    pub level: bool,
    /// A synchronisation scope other than Inherit and None.
    pub scope: bool,
}

/// An object's context: its type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextType {
    /// Address of the type info that the driver's look-ups name.
    pub key: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
    /// Bytes.
    pub size: usize,
}

// SAFETY: an address that is compared, and bytes counted; nothing is reached through it.
unsafe impl Send for ContextType {}
// SAFETY: as above.
unsafe impl Sync for ContextType {}

/// Attributes after validation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    /// Whether the driver gave any.
    pub given: bool,
    pub level: WDF_EXECUTION_LEVEL,
    pub scope: WDF_SYNCHRONIZATION_SCOPE,
    pub parent: Option<Handle>,
    pub(super) cleanup: Routine,
    pub(super) destroy: Routine,
    pub(super) context: Option<ContextType>,
}

impl Default for Attributes {
    /// What a driver gets that passes WDF_NO_OBJECT_ATTRIBUTES.
    fn default() -> Self {
        Self {
            given: false,
            level: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
            scope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
            parent: None,
            cleanup: Routine::default(),
            destroy: Routine::default(),
            context: None,
        }
    }
}

/// The violation of passing NULL where the framework needs a pointer.
#[cold]
pub(crate) fn null_parameter(what: &str) -> Violation {
    broken(RuleId::Sim11, format!("{what} is NULL; a pointer is needed")).code(0x10D, [4, 0, 0, 0])
}

/// The framework takes a structure of this size.
fn has_size<T>(size: ULONG) -> bool {
    size as usize == size_of::<T>()
}

impl Attributes {
    /// Reads and checks the driver's attributes, in the framework's order. The inner result is
    /// the status the call fails with.
    ///
    /// # Errors
    /// A violation when the parent is no live object.
    ///
    /// # Safety
    /// `attributes` is NULL or valid for reading, as is the type info it names.
    pub(crate) unsafe fn read(
        kernel: &Kernel,
        attributes: PWDF_OBJECT_ATTRIBUTES,
        rules: AttributeRules,
    ) -> Result<Result<Self, NTSTATUS>, Violation> {
        if attributes.is_null() {
            let missing = rules.parent == ParentRule::Required;
            let none =
                if missing { Err(STATUS_WDF_PARENT_NOT_SPECIFIED) } else { Ok(Self::default()) };
            return Ok(none);
        }
        // SAFETY: not NULL, so valid for reading.
        let size = unsafe { (*attributes).Size };
        if !has_size::<WDF_OBJECT_ATTRIBUTES>(size) {
            return Ok(Err(STATUS_INFO_LENGTH_MISMATCH));
        }
        // SAFETY: as above, and of this structure's size.
        let given = unsafe { attributes.read() };
        // SAFETY: the type info is valid for reading.
        let context = match unsafe { context_type(&given) } {
            Ok(context) => context,
            Err(status) => return Ok(Err(status)),
        };
        if let Err(status) = check(&given, rules) {
            return Ok(Err(status));
        }
        let parent = if given.ParentObject.is_null() {
            None
        } else {
            Some(kernel.wdf.any(given.ParentObject)?.0)
        };
        Ok(Ok(Self {
            given: true,
            level: given.ExecutionLevel,
            scope: given.SynchronizationScope,
            parent,
            cleanup: routine(given.EvtCleanupCallback),
            destroy: routine(given.EvtDestroyCallback),
            context,
        }))
    }

    /// Whether the driver asked for PASSIVE_LEVEL itself.
    pub(crate) fn is_explicitly_passive(&self) -> bool {
        self.level == _WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive
    }
}

/// Steps 2 and 3 of the validation.
///
/// # Safety
/// The type info is NULL or valid for reading.
unsafe fn context_type(given: &WDF_OBJECT_ATTRIBUTES) -> Result<Option<ContextType>, NTSTATUS> {
    if given.ContextTypeInfo.is_null() {
        let alone = given.ContextSizeOverride != 0;
        return if alone { Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID) } else { Ok(None) };
    }
    // SAFETY: not NULL, so valid for reading.
    let size = unsafe { (*given.ContextTypeInfo).Size };
    if !has_size::<WDF_OBJECT_CONTEXT_TYPE_INFO>(size) {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    // SAFETY: as above, and of this structure's size.
    let info = unsafe { given.ContextTypeInfo.read() };
    let bigger = given.ContextSizeOverride;
    if info.ContextSize > 0 && info.ContextName.is_null() {
        return Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    if bigger != 0 && bigger < info.ContextSize {
        return Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    let unique = info.UniqueType;
    let key = if unique.is_null() { given.ContextTypeInfo } else { unique };
    Ok(Some(ContextType { key, size: info.ContextSize.max(bigger) }))
}

/// Steps 4 to 6 of the validation.
fn check(given: &WDF_OBJECT_ATTRIBUTES, rules: AttributeRules) -> Result<(), NTSTATUS> {
    use _WDF_EXECUTION_LEVEL::{WdfExecutionLevelDispatch, WdfExecutionLevelInheritFromParent};
    use _WDF_SYNCHRONIZATION_SCOPE::{
        WdfSynchronizationScopeInheritFromParent, WdfSynchronizationScopeNone,
    };

    match (rules.parent, given.ParentObject.is_null()) {
        (ParentRule::Forbidden, false) => return Err(STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED),
        (ParentRule::Required, true) => return Err(STATUS_WDF_PARENT_NOT_SPECIFIED),
        _ => {}
    }
    let (level, scope) = (given.ExecutionLevel, given.SynchronizationScope);
    if !(WdfExecutionLevelInheritFromParent..=WdfExecutionLevelDispatch).contains(&level) {
        return Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    let scopes = WdfSynchronizationScopeInheritFromParent..=WdfSynchronizationScopeNone;
    if !scopes.contains(&scope) {
        return Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    let plain = [WdfSynchronizationScopeInheritFromParent, WdfSynchronizationScopeNone];
    if !rules.scope && !plain.contains(&scope) {
        return Err(STATUS_WDF_SYNCHRONIZATION_SCOPE_INVALID);
    }
    if !rules.level && level != WdfExecutionLevelInheritFromParent {
        return Err(STATUS_WDF_EXECUTION_LEVEL_INVALID);
    }
    Ok(())
}
