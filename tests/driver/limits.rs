//! Small machines: few map registers, none to spare.

use dmaproof_protocol::Direction;

use crate::common::{PATHS, WINDOW, bytes, with_driver, x64};

#[test]
fn two_map_registers_are_enough_for_every_path() {
    with_driver(x64().map_registers(Some(2)), |bench| {
        assert_eq!(bench.query().adapter_v2.map_registers, 2);
        for path in PATHS {
            for shift in [0usize, 1, 2000, 4095] {
                let mut area = vec![0u8; 3 * 4096 + WINDOW];
                let base = area.as_ptr().align_offset(4096);
                let source = bytes(shift as u8, WINDOW);
                let data = &mut area[base + shift..][..WINDOW];
                data.copy_from_slice(&source);
                assert_eq!(
                    bench.transfer(path, Direction::ToDevice, 0, data),
                    Ok(WINDOW),
                    "{path}"
                );
                data.fill(0);
                assert_eq!(
                    bench.transfer(path, Direction::FromDevice, 0, data),
                    Ok(WINDOW),
                    "{path}"
                );
                assert!(*data == source[..], "{path} shifted by {shift}");
            }
        }
    });
}

#[test]
fn one_map_register_splits_at_pages() {
    with_driver(x64().map_registers(Some(1)), |bench| {
        let before = bench.statistics();
        let mut area = vec![0u8; 4096 * 4];
        let base = area.as_ptr().align_offset(4096);
        let source = bytes(9, 3000);
        let data = &mut area[base + 2000..][..3000];
        data.copy_from_slice(&source);
        let path = dmaproof_protocol::Path::Packet;
        assert_eq!(bench.transfer(path, Direction::ToDevice, 0, data), Ok(3000));
        assert_eq!(bench.device_memory()[..3000], source[..]);
        let after = bench.statistics();
        assert_eq!(after.pieces_mapped - before.pieces_mapped, 2, "a page crossing is a split");
        assert_eq!(after.pieces_flushed - before.pieces_flushed, 2);
    });
}

#[test]
fn concurrent_requests_share_two_registers() {
    with_driver(x64().map_registers(Some(2)), |bench| {
        let pending: Vec<_> = (0..24u8)
            .map(|i| {
                let path = PATHS[usize::from(i) % PATHS.len()];
                bench.submit(path, Direction::ToDevice, u64::from(i) * 150, bytes(i, 150))
            })
            .collect();
        for (i, pending) in pending.into_iter().enumerate() {
            assert_eq!(pending.wait().0.status.0, 0, "request {i}");
        }
        let memory = bench.device_memory();
        for i in 0..24usize {
            assert_eq!(memory[i * 150..][..150], bytes(i as u8, 150), "request {i}");
        }
    });
}
