use super::*;
use std::time::Instant;

#[test]
fn perf() {
    for (name, d, db) in [("wide", wide(), false), ("wide bounce", wide(), true), ("nonsg", DEVICE_DESCRIPTION{Dma64BitAddresses:1, ..narrow()}, false)] {
    let d = DEVICE_DESCRIPTION { MaximumLength: 1 << 20, ..d };
    at_dispatch(Machine::builder(Profile::X64).double_buffer(db), |rig| {
        let (adapter, count) = rig.adapter(d);
        let mut src = vec![1u8; 1 << 20];
        let mut dst = vec![2u8; 1 << 20];
        let t = Instant::now();
        for _ in 0..100 { for i in 0..256 { dst[i*4096..(i+1)*4096].copy_from_slice(&src[i*4096..(i+1)*4096]); } std::hint::black_box(&mut dst); std::hint::black_box(&mut src);}
        println!("memcpy {:?}", t.elapsed() / 100);
        let buffer = rig.buffer(1 << 20, 0, true);
        let t = Instant::now();
        for _ in 0..100 {
            let m = rig.kernel.memory.lock_user_buffer(buffer.va().cast(), 1<<20, true);
            rig.kernel.memory.release_mdl(rig.kernel, m).unwrap();
        }
        println!("{name}: lock+release {:?}", t.elapsed() / 100);
        let mut card = vec![0u8; 1 << 20];
        for copies in [false, true] { for to_device in [true, false] {
        let t = Instant::now();
        for _ in 0..100 {
            rig.cache_flush(buffer.mdl, !to_device);
            let base = rig.channel(adapter, count.min(257));
            let mut done = 0;
            while done < 1 << 20 {
                let (a, n) = rig.map(adapter, base, &buffer, (done, (1 << 20) - done), to_device).unwrap();
                if copies { 
                    let acc = if to_device { BusMaster::Read(&mut card[done..done+n]) } else { BusMaster::Write(&card[done..done+n]) };
                    rig.kernel.hal.access(rig.kernel, rig.slot, a, acc).unwrap();
                }
                done += n;
            }
            rig.flush(adapter, base, &buffer, (0, 1 << 20), to_device).unwrap();
            rig.free(adapter, base, count.min(257)).unwrap();
        }
        println!("{name}: packet copies={copies} to_device={to_device} {:?}", t.elapsed() / 100);
        }}
        let t = Instant::now();
        for _ in 0..100 {
            rig.cache_flush(buffer.mdl, false);
            let list = super::lists::get(rig, adapter, &buffer, true);
            for (a, n) in super::lists::elements(list) {
                rig.kernel.hal.access(rig.kernel, rig.slot, a, BusMaster::Read(&mut card[..n])).unwrap();
            }
            super::lists::put(rig, adapter, list, true).unwrap();
        }
        println!("{name}: list with copies {:?}", t.elapsed() / 100);
    });
    }
}
