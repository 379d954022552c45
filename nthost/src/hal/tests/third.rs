//! Version 3 of the operations.

use super::*;

/// A transfer context.
#[repr(align(16))]
struct Context([u8; 128]);

impl Context {
    fn new() -> Self {
        Self([0xEE; 128])
    }

    fn pointer(&mut self) -> PVOID {
        (&raw mut self.0).cast()
    }
}

fn initialise(rig: &Rig<'_>, adapter: PDMA_ADAPTER, context: PVOID) {
    // SAFETY: 128 bytes of the test's.
    let status = unsafe { op::InitializeDmaTransferContext(rig.kernel, adapter, context) };
    assert_eq!(status.expect("proper"), STATUS_SUCCESS);
}

fn allocate(
    rig: &Rig<'_>,
    adapter: PDMA_ADAPTER,
    context: PVOID,
    count: u32,
    base: *mut PVOID,
    synchronous: bool,
) -> Result<NTSTATUS, Violation> {
    let routine: PDRIVER_CONTROL = if synchronous { None } else { Some(keep_registers) };
    let place = if synchronous { base } else { std::ptr::null_mut() };
    // SAFETY: the arguments are a driver's; what they point to outlives `settle`.
    unsafe {
        op::AllocateAdapterChannelEx(
            rig.kernel,
            adapter,
            rig.pdo(),
            context,
            count,
            synchronous.into(),
            routine,
            base.cast(),
            place,
        )
    }
}

/// Status, bytes mapped, and the elements.
type Mapped = (NTSTATUS, usize, Vec<(u64, usize)>);

/// Maps from `offset` on: what was mapped, and the elements.
fn map(
    rig: &Rig<'_>,
    adapter: PDMA_ADAPTER,
    base: PVOID,
    buffer: &Buffer,
    range: (usize, usize),
    to_device: bool,
) -> Result<Mapped, Violation> {
    let mut memory = vec![0u64; 1000];
    let list: PSCATTER_GATHER_LIST = memory.as_mut_ptr().cast();
    let mut length = range.1 as u32;
    // SAFETY: the arguments are a driver's; the memory is large enough.
    let status = unsafe {
        op::MapTransferEx(
            rig.kernel,
            adapter,
            buffer.mdl,
            base,
            range.0 as u64,
            0,
            &raw mut length,
            to_device.into(),
            list,
            8000,
            None,
            std::ptr::null_mut(),
        )
    }?;
    // SAFETY: the list was just written.
    let count = unsafe { (*list).NumberOfElements } as usize;
    // SAFETY: as above.
    let first = unsafe { &raw const (*list).Elements }.cast::<SCATTER_GATHER_ELEMENT>();
    let element = |n: usize| {
        // SAFETY: as above; `n` is below the count.
        let element = unsafe { first.wrapping_add(n).read() };
        (number(element.Address), element.Length as usize)
    };
    Ok((status, length as usize, (0..count).map(element).collect()))
}

fn flush(
    rig: &Rig<'_>,
    adapter: PDMA_ADAPTER,
    base: PVOID,
    buffer: &Buffer,
    range: (usize, usize),
    to_device: bool,
) -> Result<NTSTATUS, Violation> {
    let (offset, length) = (range.0 as u64, range.1 as u32);
    // SAFETY: the arguments are a driver's.
    unsafe {
        op::FlushAdapterBuffersEx(
            rig.kernel,
            adapter,
            buffer.mdl,
            base,
            offset,
            length,
            to_device.into(),
        )
    }
}

#[test]
fn data_arrives_in_pieces_without_keflushiobuffers() {
    on(&Profile::ALL, |rig| {
        for (bits, scatter_gather) in [(28, false), (28, true), (64, true), (64, false)] {
            let (adapter, _) = rig.adapter(third(bits, scatter_gather));
            let [first, second] = [rig.fit(9000, 1), rig.fit(30_000, 9)]
                .map(|(length, offset)| rig.buffer(length, offset, true));
            let total = first.data().len() + second.data().len();
            rig.kernel.memory.chain(first.mdl, second.mdl);
            let mut context = Context::new();
            initialise(rig, adapter, context.pointer());
            let mut base: PVOID = std::ptr::null_mut();
            let place = &raw mut base;
            let status = allocate(rig, adapter, context.pointer(), 4, place, false);
            assert_eq!(status.expect("proper"), STATUS_SUCCESS);
            rig.settle();
            // SAFETY: a local that the routine wrote.
            let base = unsafe { place.read() };
            let (mut done, mut seen) = (0, Vec::new());
            while done < total {
                let rest = (done, total - done);
                let (status, mapped, elements) =
                    map(rig, adapter, base, &first, rest, true).expect("proper");
                assert_eq!(status, STATUS_SUCCESS);
                assert!(scatter_gather || elements.len() == 1);
                for (at, length) in elements {
                    assert!(bits == 64 || at + length as u64 <= 1 << bits);
                    seen.extend(rig.read(at, length).expect("mapped"));
                }
                let again = map(rig, adapter, base, &first, rest, true);
                assert_eq!(rule(again), (RuleId::Dma66, Some(0x0D)));
                flush(rig, adapter, base, &first, (done, mapped), true).expect("proper");
                done += mapped;
            }
            rig.free(adapter, base, 4).expect("nothing is mapped");
            assert_eq!(seen, [first.data(), second.data()].concat());
            rig.put(adapter).expect("nothing is outstanding");
        }
        assert_eq!(rig.notes(), []);
    });
}

#[test]
fn a_context_is_used_once_and_cancels_what_waits() {
    everywhere(|rig| {
        let (adapter, count) = rig.adapter(third(28, true));
        let mut context = Context::new();
        let mut base: PVOID = std::ptr::null_mut();
        let place = &raw mut base;
        let fresh = allocate(rig, adapter, context.pointer(), 1, place, false);
        assert_eq!(rule(fresh).0, RuleId::Dma59);
        initialise(rig, adapter, context.pointer());
        let held = allocate(rig, adapter, context.pointer(), count, place, true);
        assert_eq!(held.expect("proper"), STATUS_SUCCESS);

        let mut other = Context::new();
        initialise(rig, adapter, other.pointer());
        let mut never: PVOID = std::ptr::null_mut();
        let waits = allocate(rig, adapter, other.pointer(), 1, &raw mut never, false);
        assert_eq!(waits.expect("proper"), STATUS_SUCCESS);
        rig.settle();
        let cancel = |context| {
            // SAFETY: the arguments are a driver's.
            unsafe { op::CancelAdapterChannel(rig.kernel, adapter, rig.pdo(), context) }
        };
        assert_eq!(cancel(other.pointer()).expect("proper"), 1);
        assert_eq!(cancel(other.pointer()).expect("proper"), 0);
        assert_eq!(cancel(context.pointer()).expect("proper"), 0);
        let free = |action| {
            // SAFETY: the arguments are a driver's.
            unsafe { op::FreeAdapterObject(rig.kernel, adapter, action) }
        };
        assert_eq!(rule(rig.put(adapter)), (RuleId::Dma18, Some(0x08)));
        free(_IO_ALLOCATION_ACTION::DeallocateObject).expect("it is held");
        let again = free(_IO_ALLOCATION_ACTION::DeallocateObject);
        assert_eq!(rule(again), (RuleId::Dma21, Some(0x04)));
        rig.settle();
        assert!(never.is_null());
        rig.put(adapter).expect("nothing is outstanding");
    });
}

#[test]
fn what_only_slaves_call_is_refused() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, _) = rig.adapter(third(64, true));
        // SAFETY: the arguments are a driver's.
        let found = unsafe { op::ReadDmaCounter(rig.kernel, adapter) };
        assert_eq!(rule(found).0, RuleId::Dma70);
        let mut info = DMA_ADAPTER_INFO { Version: 1, ..Default::default() };
        // SAFETY: as above.
        let status = unsafe { op::GetDmaAdapterInfo(rig.kernel, adapter, &raw mut info) };
        assert_eq!((status.expect("proper"), info.V1.DmaAddressWidth), (STATUS_SUCCESS, 64));
    });
}

#[test]
fn a_version_that_is_not_offered_is_null() {
    at_dispatch(Machine::builder(Profile::X64).adapter_versions(2), |rig| {
        assert!(rig.adapter(third(28, true)).0.is_null());
        assert!(!rig.adapter(narrow()).0.is_null());
    });
}

#[test]
fn vectors_report_their_mistakes() {
    at_dispatch(Machine::builder(Profile::X64), |rig| {
        let (adapter, _) = rig.adapter(third(64, true));
        let mut vector: PVOID = std::ptr::null_mut();
        let (low, high) =
            (PHYSICAL_ADDRESS { QuadPart: 0 }, PHYSICAL_ADDRESS { QuadPart: i64::MAX });
        let place = &raw mut vector;
        // SAFETY: the arguments are a driver's.
        let status = unsafe {
            op::AllocateCommonBufferVector(rig.kernel, adapter, low, high, 1, 0, 0, 2, 4096, place)
        };
        assert_eq!(status.expect("proper"), STATUS_SUCCESS);
        let free = |index| {
            // SAFETY: the arguments are a driver's.
            unsafe { op::FreeCommonBufferFromVector(rig.kernel, adapter, vector, index) }
        };
        // SAFETY: the arguments are a driver's.
        let free_all = || unsafe { op::FreeCommonBufferVector(rig.kernel, adapter, vector) };
        assert_eq!(rule(free(2)), (RuleId::Dma32, Some(3)));
        free(0).expect("it is live");
        assert_eq!(rule(free(0)), (RuleId::Dma32, Some(4)));
        assert_eq!(rule(free_all()), (RuleId::Dma32, Some(2)));
        free(1).expect("it is live");
        free_all().expect("it is empty");
        rig.put(adapter).expect("nothing is outstanding");
    });
}
