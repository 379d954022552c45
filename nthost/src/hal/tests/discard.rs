//! Mappings that end without their flush.

use super::lists::{elements, get};
use super::*;

#[test]
fn a_stray_write_keeps_no_register_of_a_discarded_list_mapped() {
    let builder = Machine::builder(Profile::X64).double_buffer(true).go_on(true);
    at_dispatch(builder, |rig| {
        let (adapter, _) = rig.adapter(wide());
        // Two pages: a stray write before the mapped bytes of the first.
        let buffer = rig.buffer(5000, 100, true);
        rig.cache_flush(buffer.mdl, true);
        let list = get(rig, adapter, &buffer, false);
        let (first, _) = elements(list)[0];
        rig.write(first - 1, &[1]).expect("it is a page of the adapter's");
        // The request is completed under the list.
        rig.kernel.memory.release_mdl(rig.kernel, buffer.mdl).expect("the machine goes on");

        let Buffer { bytes, offset, .. } = buffer;
        let length = bytes.len() - offset;
        let address = std::ptr::with_exposed_provenance_mut(bytes.as_ptr().addr() + offset);
        let mdl = rig.kernel.memory.lock_user_buffer(rig.kernel, address, length, true);
        let again = Buffer { bytes, offset, mdl };
        rig.cache_flush(again.mdl, true);
        // DMA-51 if a register still mapped the pages.
        let list = get(rig, adapter, &again, false);
        for (at, length) in elements(list) {
            rig.write(at, &vec![0x5A; length]).expect("mapped");
        }
        // SAFETY: the arguments are a driver's.
        let put = unsafe { op::PutScatterGatherList(rig.kernel, adapter, list, 0) };
        put.expect("nothing strayed this time");
        assert!(again.data().iter().all(|&byte| byte == 0x5A));
        rig.kernel.memory.release_mdl(rig.kernel, again.mdl).expect("nothing is mapped");
    });
}
