//! Sabotage leaves no trace: a driver whose calls are spoiled and one that was written wrong get the
//! same verdict, at the same crossing.
//!
//! The whole log of what crosses the border is the same, values and all, except for addresses. Each
//! test has the lab driver make a mistake twice: once by itself, and once as a correct driver
//! with a plan that makes the mistake for it.

use dmaproof_tests::lab::ddk::at_level;
use dmaproof_tests::lab::{Lab, Script, Transfer};
use dmaproof_tests::{Case, play_once, run};
use nthost::{Builder, Deed, Forgery, Profile, Sabotage};
use wdk_lite::*;

/// How the lab driver itself is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    Nothing,
    NoCacheFlush,
    CacheFlushForTheOtherDirection,
    CacheFlushAfterMap,
    NoAdapterFlush,
    TwoAdapterFlushes,
    ShortAdapterFlush,
    AdapterFlushBeforeTheDevice,
    FailedFlushIsSuccess,
    ShortMap,
    TwoMaps,
    RegistersKept,
    OneRegisterMoreFreed,
}

/// A packet transfer of one piece.
fn packet(lab: &Lab, request: WDFREQUEST, slip: Slip) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    if slip == Slip::CacheFlushForTheOtherDirection {
        // SAFETY: a live MDL.
        unsafe { ntddk::KeFlushIoBuffers(transfer.mdl, transfer.to_device.into(), 1) };
    } else if !matches!(slip, Slip::NoCacheFlush | Slip::CacheFlushAfterMap) {
        transfer.flush_caches();
    }
    if !transfer.allocate() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let length = transfer.length;
    let less = if slip == Slip::ShortMap { 64 } else { 0 };
    let (logical, _) = transfer.map(0, length - less);
    if slip == Slip::TwoMaps {
        let _ = transfer.map(0, length);
    }
    if slip == Slip::CacheFlushAfterMap {
        transfer.flush_caches();
    }
    if slip == Slip::AdapterFlushBeforeTheDevice {
        transfer.flush(0, length);
    }
    transfer.run_device(logical, length);
    let flushed = match slip {
        Slip::NoAdapterFlush | Slip::AdapterFlushBeforeTheDevice => true,
        Slip::ShortAdapterFlush => transfer.flush(0, length - 64),
        _ => transfer.flush(0, length),
    };
    if slip == Slip::TwoAdapterFlushes {
        transfer.flush(0, length);
    }
    if !flushed && slip != Slip::FailedFlushIsSuccess {
        transfer.free();
        return STATUS_UNSUCCESSFUL;
    }
    match slip {
        Slip::RegistersKept => at_dispatch(|| ()),
        Slip::OneRegisterMoreFreed => free(&transfer, transfer.registers + 1),
        _ => transfer.free(),
    }
    lab.information.set(length.into());
    STATUS_SUCCESS
}

fn free(transfer: &Transfer<'_>, count: u32) {
    at_dispatch(|| {
        // SAFETY: the registers are this transfer's; the number is the mistake.
        unsafe { transfer.adapter.FreeMapRegisters(transfer.base.get(), count) }
    });
}

fn at_dispatch(body: impl FnOnce()) {
    // SAFETY: the routines run at PASSIVE_LEVEL.
    unsafe { at_level(DISPATCH_LEVEL, body) }
}

/// The same case without the mistake.
fn correct(case: Case) -> Case {
    let right = whole_lines(run(|lab, request| packet(lab, request, Slip::Nothing))).machine(plain);
    if case.is_from_device() { right.from_device() } else { right }
}

/// Both drivers do the same and end in the same way, and not as a correct one does.
fn same(slipping: Case, spoiled: Case) {
    for profile in Profile::ALL {
        for case in [slipping, slipping.from_device()] {
            let other = if case.is_from_device() { spoiled.from_device() } else { spoiled };
            let (own, made) = (play_once(case.profile(profile)), play_once(other.profile(profile)));
            let other = own.crossings.iter().zip(&made.crossings).enumerate();
            let differs = other.into_iter().find(|(_, (one, other))| one != other);
            assert_eq!(differs, None, "{profile:?}: the first crossing that differs");
            assert_eq!(own, made, "{profile:?}");
            assert!(own.crossings.len() > 50, "{profile:?}: the log was kept");
            assert!(own != play_once(correct(case).profile(profile)), "{profile:?}: no mistake");
        }
    }
}

/// A driver that slips, and one whose calls are spoiled, on machines set up alike.
macro_rules! slips {
    ($($name:ident: $slip:ident, $machine:expr, $plan:expr;)+) => {
        $(#[test]
        fn $name() {
            let slipping = run(|lab, request| packet(lab, request, Slip::$slip)).machine($machine);
            let correct = run(|lab, request| packet(lab, request, Slip::Nothing));
            let spoiled = correct.machine(|builder| $machine(builder).sabotage($plan));
            same(whole_lines(slipping), whole_lines(spoiled));
        })+
    };
}

/// Keeps a log of everything that crosses the border.
fn plain(builder: Builder) -> Builder {
    builder.log_crossings(true)
}

/// The first flush of adapter buffers fails.
fn failing(builder: Builder) -> Builder {
    plain(builder).fail_flush(1)
}

/// A buffer of whole cache lines on one page, as every machine takes it.
fn whole_lines(case: Case) -> Case {
    case.buffer(1024, 0x400)
}

slips! {
    a_cache_flush_left_out: NoCacheFlush, plain,
        Sabotage::of("KeFlushIoBuffers", Deed::LeaveOut);
    a_cache_flush_for_the_other_direction: CacheFlushForTheOtherDirection, plain,
        Sabotage::of("KeFlushIoBuffers", Deed::Falsify("ReadOperation", Forgery::Invert));
    a_cache_flush_after_mapping: CacheFlushAfterMap, plain,
        Sabotage::of("KeFlushIoBuffers", Deed::PutOff("MapTransfer"));
    an_adapter_flush_left_out: NoAdapterFlush, plain,
        Sabotage::of("FlushAdapterBuffers", Deed::LeaveOut);
    two_adapter_flushes: TwoAdapterFlushes, plain,
        Sabotage::of("FlushAdapterBuffers", Deed::Repeat);
    a_short_adapter_flush: ShortAdapterFlush, plain,
        Sabotage::of("FlushAdapterBuffers", Deed::Falsify("Length", Forgery::Add(-64)));
    an_adapter_flush_before_the_device_works: AdapterFlushBeforeTheDevice, plain,
        Sabotage::of("FlushAdapterBuffers", Deed::Hasten("MapTransfer"));
    a_failed_flush_taken_for_success: FailedFlushIsSuccess, failing,
        Sabotage::of("FlushAdapterBuffers", Deed::Misreport(Forgery::Set(1)));
    a_short_mapping: ShortMap, plain,
        Sabotage::of("MapTransfer", Deed::Falsify("Length", Forgery::AddToTarget(-64)));
    two_mappings: TwoMaps, plain,
        Sabotage::of("MapTransfer", Deed::Repeat);
    map_registers_kept: RegistersKept, plain,
        Sabotage::of("FreeMapRegisters", Deed::LeaveOut);
    one_map_register_more_freed: OneRegisterMoreFreed, plain,
        Sabotage::of(
            "FreeMapRegisters",
            Deed::Falsify("NumberOfMapRegisters", Forgery::Add(1)),
        );
}

#[test]
fn a_list_that_is_never_put() {
    fn list(lab: &Lab, request: WDFREQUEST, puts: bool) -> NTSTATUS {
        let transfer = Transfer::new(lab, request);
        transfer.flush_caches();
        if !transfer.get_list() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        for (logical, length) in transfer.elements() {
            transfer.run_device(logical, length);
        }
        if puts {
            transfer.put_list();
        } else {
            at_dispatch(|| ());
        }
        lab.information.set(transfer.length.into());
        STATUS_SUCCESS
    }
    let slipping =
        run(|lab, request| list(lab, request, false)).script(Script::lists()).machine(plain);
    let spoiled = run(|lab, request| list(lab, request, true))
        .script(Script::lists())
        .machine(|builder| plain(builder).leave_out("PutScatterGatherList"));
    same(whole_lines(slipping), whole_lines(spoiled));
}

#[test]
fn an_empty_plan_does_nothing() {
    for profile in Profile::ALL {
        let case = whole_lines(run(|lab, request| packet(lab, request, Slip::Nothing)));
        assert!(play_once(case.profile(profile)).is_clean(), "{profile:?}");
    }
}

#[test]
#[should_panic(expected = "no function is called KeFlushAll")]
fn a_plan_for_no_function_is_refused() {
    let _ = nthost::Machine::builder(Profile::X64).leave_out("KeFlushAll").build();
}

#[test]
#[should_panic(expected = "has no argument Direction")]
fn a_plan_for_no_argument_is_refused() {
    let plan = Sabotage::of("MapTransfer", Deed::Falsify("Direction", Forgery::Invert));
    let _ = nthost::Machine::builder(Profile::X64).sabotage(plan).build();
}

#[test]
#[should_panic(expected = "cannot go on without")]
fn a_call_whose_answer_is_an_address_cannot_be_left_out() {
    let _ = nthost::Machine::builder(Profile::X64).leave_out("MmMapIoSpaceEx").build();
}
