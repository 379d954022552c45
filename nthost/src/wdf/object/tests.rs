//! The object table: generations, contexts, disposal.

use std::cell::RefCell;

use wdk_lite::*;

use super::attributes::ContextType;
use super::context::type_info;
use super::*;
use crate::{Machine, Profile};

#[derive(Debug, Default)]
struct Thing {
    value: std::sync::atomic::AtomicU32,
}

impl Payload for Thing {
    const KIND: Kind = Kind::SpinLock;

    fn reset(&self) {
        self.value.store(0, std::sync::atomic::Ordering::Relaxed);
    }
}

thread_local! {
    static LOG: RefCell<Vec<(char, u64)>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn cleaned_up(object: WDFOBJECT) {
    LOG.with_borrow_mut(|log| log.push(('c', object.addr() as u64)));
}

unsafe extern "C" fn destroyed(object: WDFOBJECT) {
    LOG.with_borrow_mut(|log| log.push(('d', object.addr() as u64)));
}

/// Attributes with both callbacks and a context of this type.
fn attributes(context: Option<&'static WDF_OBJECT_CONTEXT_TYPE_INFO>) -> Attributes {
    Attributes {
        cleanup: crate::ddi::callback::routine(Some(cleaned_up as unsafe extern "C" fn(WDFOBJECT))),
        destroy: crate::ddi::callback::routine(Some(destroyed as unsafe extern "C" fn(WDFOBJECT))),
        context: context.map(|info| ContextType { key: info, size: info.ContextSize }),
        ..Attributes::default()
    }
}

/// Runs `body` in kernel mode of a fresh machine; returns what the callbacks logged.
fn in_kernel(body: impl FnOnce(&Kernel) + Send + 'static) -> Vec<(char, u64)> {
    let machine = Machine::builder(Profile::X64).build();
    let log = machine.run(|machine| {
        machine.kernel.kernel_mode(|| body(&machine.kernel));
        LOG.with_borrow_mut(std::mem::take)
    });
    log.expect("no rule is broken")
}

#[test]
fn a_handle_is_stale_once_its_object_is_gone() {
    in_kernel(|kernel| {
        let none = Attributes::default();
        let (first, thing) = kernel.wdf.create::<Thing>(kernel, None, &none).expect("room");
        thing.value.store(7, std::sync::atomic::Ordering::Relaxed);
        kernel.wdf.delete(kernel, first);

        let (second, thing) = kernel.wdf.create::<Thing>(kernel, None, &none).expect("room");

        assert_eq!(first.slot(), second.slot());
        assert_ne!(first, second);
        assert_eq!(thing.value.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(kernel.wdf.get::<Thing>(first.raw::<u8>()).is_err());
        assert!(kernel.wdf.get::<Thing>(second.raw::<u8>()).is_ok());
    });
}

#[test]
fn a_null_foreign_or_wrong_handle_is_bug_check_10d_5() {
    in_kernel(|kernel| {
        let (plain, _) =
            kernel.wdf.create::<Plain>(kernel, None, &Attributes::default()).expect("room");
        let foreign = 0u64;
        for raw in [std::ptr::null_mut(), (&raw const foreign).cast_mut().cast(), plain.raw::<u8>()]
        {
            let violation = kernel.wdf.get::<Thing>(raw).expect_err("not a thing");
            let code = violation.bug_check.expect("has a code");
            assert_eq!((code.code, code.parameters[0]), (0x10D, 5));
        }
    });
}

#[test]
fn cleanups_run_children_first_and_destructions_after_all_cleanups() {
    let log = in_kernel(|kernel| {
        let with = attributes(None);
        let (parent, _) = kernel.wdf.create::<Plain>(kernel, None, &with).expect("room");
        let (one, _) = kernel.wdf.create::<Plain>(kernel, Some(parent), &with).expect("room");
        let (two, _) = kernel.wdf.create::<Plain>(kernel, Some(parent), &with).expect("room");
        let (below, _) = kernel.wdf.create::<Plain>(kernel, Some(one), &with).expect("room");
        let names = [(parent, 0), (one, 1), (two, 2), (below, 3)];

        kernel.wdf.delete(kernel, parent);

        let log = LOG.with_borrow_mut(std::mem::take);
        let name = |bits| names.iter().find(|(h, _)| h.bits() == bits).map_or(9, |(_, n)| *n);
        let named = log.into_iter().map(|(call, bits)| (call, name(bits)));
        LOG.with_borrow_mut(|log| log.extend(named));
    });
    let expected = [('c', 3), ('c', 1), ('c', 2), ('c', 0), ('d', 3), ('d', 1), ('d', 2), ('d', 0)];
    assert_eq!(log, expected);
}

#[test]
fn a_reference_delays_destruction_but_not_cleanup() {
    let log = in_kernel(|kernel| {
        let (object, _) =
            kernel.wdf.create::<Plain>(kernel, None, &attributes(None)).expect("room");
        kernel.wdf.reference(object);
        kernel.wdf.delete(kernel, object);
        assert!(kernel.wdf.kind(object).is_some());
        LOG.with_borrow_mut(|log| log.push(('-', 0)));
        kernel.wdf.dereference(kernel, object);
        assert!(kernel.wdf.kind(object).is_none());
    });
    assert_eq!(log.iter().map(|(call, _)| *call).collect::<String>(), "c-d");
}

#[test]
fn the_last_reference_of_an_object_nobody_deleted_is_bug_check_10d_7() {
    in_kernel(|kernel| {
        let (object, _) =
            kernel.wdf.create::<Plain>(kernel, None, &Attributes::default()).expect("room");
        let violation = kernel.wdf.try_dereference(kernel, object).expect_err("not deleted");
        assert_eq!(violation.rule, RuleId::Kmdf42);
        assert_eq!(violation.bug_check.expect("has a code").parameters[0], 7);
    });
}

#[test]
fn a_passive_object_deleted_at_dispatch_level_is_cleaned_up_by_a_worker() {
    let log = in_kernel(|kernel| {
        let with = Attributes {
            level: _WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive,
            ..attributes(None)
        };
        let (object, _) = kernel.wdf.create::<Plain>(kernel, None, &with).expect("room");
        kernel.at_irql(2, || kernel.wdf.delete(kernel, object));
        LOG.with_borrow_mut(|log| log.push(('-', 0)));
        kernel.wait(None, || kernel.wdf.deferred_disposals() == 0);
    });
    assert_eq!(log.iter().map(|(call, _)| *call).collect::<String>(), "-cd");
}

#[test]
fn no_callback_runs_for_an_object_whose_creation_failed() {
    let log = in_kernel(|kernel| {
        let (object, _) =
            kernel.wdf.create::<Plain>(kernel, None, &attributes(None)).expect("room");
        kernel.wdf.discard(kernel, object);
    });
    assert_eq!(log, []);
}

#[test]
fn a_context_is_zeroed_aligned_found_by_type_and_leads_back() {
    in_kernel(|kernel| {
        let (info, other) = (type_info(40), type_info(8));
        let with = attributes(Some(info));
        let (first, _) = kernel.wdf.create::<Plain>(kernel, None, &with).expect("room");
        // SAFETY: both type infos are static.
        let find = |handle, info| unsafe { kernel.wdf.context_of(handle, info) };
        let context = find(first, info).expect("has that context");
        assert_eq!(find(first, other), None);
        assert!(context.addr().is_multiple_of(16));
        assert_eq!(kernel.wdf.owner_of_context(context.addr()), Some(first));
        // SAFETY: forty bytes of context.
        unsafe { context.write_bytes(1, 40) };
        kernel.wdf.delete(kernel, first);

        let (second, _) = kernel.wdf.create::<Plain>(kernel, None, &with).expect("room");

        let again = find(second, info).expect("has that context");
        assert_eq!(again, context, "the slot keeps its block");
        // SAFETY: forty bytes of context.
        let bytes = unsafe { std::slice::from_raw_parts(again, 40) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        assert_eq!(kernel.wdf.owner_of_context(again.addr()), Some(second));
    });
}

#[test]
fn a_context_type_is_added_once() {
    in_kernel(|kernel| {
        let info = type_info(8);
        let (object, _) =
            kernel.wdf.create::<Plain>(kernel, None, &Attributes::default()).expect("room");
        let with = attributes(Some(info));
        let (context, existed) = kernel.wdf.add_context(object, &with).expect("live");
        let (again, exists) = kernel.wdf.add_context(object, &with).expect("live");
        assert_eq!((context, existed, exists), (again, false, true));
        kernel.wdf.delete(kernel, object);
        assert_eq!(kernel.wdf.owner_of_context(context.addr()), None);
    });
}

#[test]
fn attributes_are_checked_in_the_frameworks_order() {
    in_kernel(|kernel| {
        let rules = AttributeRules { parent: ParentRule::Forbidden, level: false, scope: false };
        let read = |given: &mut WDF_OBJECT_ATTRIBUTES| {
            // SAFETY: a live structure.
            let read = unsafe { Attributes::read(kernel, given, rules) };
            read.expect("no violation").map(|_| ())
        };
        let size = size_of::<WDF_OBJECT_ATTRIBUTES>() as u32;
        let mut given = WDF_OBJECT_ATTRIBUTES::default();
        assert_eq!(read(&mut given), Err(STATUS_INFO_LENGTH_MISMATCH));
        given.Size = size;
        // Zero is no level: Inherit is one.
        assert_eq!(read(&mut given), Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID));
        (given.ExecutionLevel, given.SynchronizationScope) = (2, 1);
        assert_eq!(read(&mut given), Err(STATUS_WDF_EXECUTION_LEVEL_INVALID));
        given.SynchronizationScope = 2;
        assert_eq!(read(&mut given), Err(STATUS_WDF_SYNCHRONIZATION_SCOPE_INVALID));
        given.ParentObject = std::ptr::without_provenance_mut(8);
        assert_eq!(read(&mut given), Err(STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED));
    });
}
