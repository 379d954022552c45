//! Scatter/gather lists.

use super::*;

/// A list's elements.
pub(super) fn elements(list: PSCATTER_GATHER_LIST) -> Vec<(u64, usize)> {
    // SAFETY: a live list.
    let count = unsafe { (*list).NumberOfElements } as usize;
    // SAFETY: as above.
    let first = unsafe { &raw const (*list).Elements }.cast::<SCATTER_GATHER_ELEMENT>();
    let at = |n| {
        // SAFETY: as above; `n` is below the count.
        let element = unsafe { first.wrapping_add(n).read() };
        (number(element.Address), element.Length as usize)
    };
    (0..count).map(at).collect()
}

pub(super) fn get(
    rig: &Rig<'_>,
    adapter: PDMA_ADAPTER,
    buffer: &Buffer,
    to_device: bool,
) -> PSCATTER_GATHER_LIST {
    let mut list: PSCATTER_GATHER_LIST = std::ptr::null_mut();
    let length = buffer.data().len() as u32;
    let (routine, context): (PDRIVER_LIST_CONTROL, PVOID) =
        (Some(keep_list), (&raw mut list).cast());
    // SAFETY: the arguments are a driver's; the context outlives `settle`.
    let status = unsafe {
        op::GetScatterGatherList(
            rig.kernel,
            adapter,
            rig.pdo(),
            buffer.mdl,
            buffer.va(),
            length,
            routine,
            context,
            to_device.into(),
        )
    };
    assert_eq!(status.expect("proper"), STATUS_SUCCESS);
    rig.settle();
    assert!(!list.is_null());
    list
}

fn put(
    rig: &Rig<'_>,
    adapter: PDMA_ADAPTER,
    list: PSCATTER_GATHER_LIST,
    to_device: bool,
) -> Result<(), Violation> {
    // SAFETY: the arguments are a driver's.
    unsafe { op::PutScatterGatherList(rig.kernel, adapter, list, to_device.into()) }
}

#[test]
fn lists_cover_the_buffer_and_move_data_both_ways() {
    on(&Profile::ALL, |rig| {
        for description in [wide(), narrow(), DEVICE_DESCRIPTION { ScatterGather: 1, ..narrow() }] {
            let (adapter, _) = rig.adapter(description);
            let (length, offset) = rig.fit(50_000, 99);
            let buffer = rig.buffer(length, offset, true);
            rig.cache_flush(buffer.mdl, false);
            let list = get(rig, adapter, &buffer, true);
            let found = elements(list);
            assert!(description.ScatterGather != 0 || found.len() == 1);
            let read = found.iter().map(|&(at, length)| rig.read(at, length).expect("mapped"));
            assert_eq!(read.collect::<Vec<_>>().concat(), buffer.data());
            put(rig, adapter, list, true).expect("proper");

            rig.cache_flush(buffer.mdl, true);
            let list = get(rig, adapter, &buffer, false);
            for (at, length) in elements(list) {
                rig.write(at, &vec![0x5A; length]).expect("mapped");
            }
            put(rig, adapter, list, false).expect("proper");
            assert!(buffer.data().iter().all(|&byte| byte == 0x5A));
            assert_eq!(rule(put(rig, adapter, list, false)), (RuleId::Dma75, Some(0x06)));
            rig.put(adapter).expect("nothing is outstanding");
        }
        assert_eq!(rig.notes(), []);
    });
}

#[test]
fn mistakes_with_lists_have_their_rules() {
    everywhere(|rig| {
        let (adapter, _) = rig.adapter(wide());
        let buffer = rig.buffer(5000, 0, true);
        let list = get(rig, adapter, &buffer, true);

        assert_eq!(rule(put(rig, adapter, list, false)), (RuleId::Dma52, None));
        assert_eq!(rule(rig.put(adapter)), (RuleId::Dma18, Some(0x0A)));
        let found = rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl);
        assert_eq!(rule(found).0, RuleId::Dma100);
        // SAFETY: a live list.
        unsafe { (*list).NumberOfElements = 1 };
        let broken = put(rig, adapter, list, true);
        // SAFETY: as above.
        assert!(broken.is_err() || unsafe { (*list).NumberOfElements } == 1);
    });
}

#[test]
fn sizes_are_calculated_as_the_page_says() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, granted) = rig.adapter(wide());
        let calculate = |mdl, va, length| {
            let (mut size, mut registers) = (0, 0);
            // SAFETY: pointers to locals, and a driver's arguments.
            let status = unsafe {
                op::CalculateScatterGatherList(
                    rig.kernel,
                    adapter,
                    mdl,
                    va,
                    length,
                    &raw mut size,
                    &raw mut registers,
                )
            };
            (status.expect("proper"), size, registers)
        };
        let null = std::ptr::null_mut();
        let (status, size, registers) = calculate(null, null.cast(), granted * PAGE_SIZE);
        assert_eq!((status, registers), (STATUS_SUCCESS, granted));
        assert!(size > granted * 24 + 16);
        let more = calculate(null, null.cast(), (granted + 1) * PAGE_SIZE);
        assert_eq!(more.0, STATUS_INSUFFICIENT_RESOURCES);
        let buffer = rig.buffer(100, 0, true);
        assert_eq!(calculate(buffer.mdl, buffer.va(), 101).0, STATUS_BUFFER_TOO_SMALL);
        assert_eq!(calculate(buffer.mdl, buffer.va(), 100).0, STATUS_SUCCESS);
    });
}

#[test]
fn a_chain_is_mapped_as_a_whole_and_each_mdl_needs_its_flush() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, _) = rig.adapter(wide());
        let (first, second) = (rig.buffer(3000, 5, true), rig.buffer(6000, 77, true));
        rig.kernel.memory.chain(first.mdl, second.mdl);
        rig.cache_flush(first.mdl, false);
        let mut list: PSCATTER_GATHER_LIST = std::ptr::null_mut();
        let mut memory = vec![0u64; 200];
        // SAFETY: the arguments are a driver's; the memory is large enough and lives on.
        let status = unsafe {
            op::BuildScatterGatherList(
                rig.kernel,
                adapter,
                rig.pdo(),
                first.mdl,
                first.va(),
                9000,
                Some(keep_list),
                (&raw mut list).cast(),
                1,
                memory.as_mut_ptr().cast(),
                1600,
            )
        };
        assert_eq!(status.expect("proper"), STATUS_SUCCESS);
        rig.settle();
        assert_eq!(list.addr(), memory.as_ptr().addr());
        let read = elements(list).into_iter().map(|(at, n)| rig.read(at, n).expect("mapped"));
        assert_eq!(read.collect::<Vec<_>>().concat(), [first.data(), second.data()].concat());
        put(rig, adapter, list, true).expect("proper");
        assert_eq!(rig.notes(), [RuleId::Dma87]);
    });
}
