//! Transfers to be counted in instructions: `benches/instructions.sh` runs this under valgrind with
//! two numbers of transfers, so that the difference is the transfers' alone.
//!
//! Arguments: profile, path, direction, number of transfers. Without them, as `cargo bench` calls
//! it, it says how to run it.

use dmaproof_benches::with_straight_device;
use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader};
use nthost::Profile;
use zerocopy::IntoBytes;

/// Bytes of each transfer.
const LENGTH: usize = 4095;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [profile, path, direction, count] = arguments.as_slice() else {
        println!("instructions: counted by benches/instructions.sh, which needs valgrind");
        return;
    };
    let profile = Profile::ALL.into_iter().find(|p| p.name() == profile).expect("a profile");
    let path = match path.as_str() {
        "packet" => Path::Packet,
        "sg" => Path::ScatterGather,
        "v3" => Path::Version3,
        "common" => Path::CommonBufferCached,
        _ => panic!("packet, sg, v3 or common"),
    };
    let (code, direction) = match direction.as_str() {
        "to" => (Ioctl::ToDevice, Direction::ToDevice),
        "from" => (Ioctl::FromDevice, Direction::FromDevice),
        _ => panic!("to or from"),
    };
    let count: u32 = count.parse().expect("a number");
    with_straight_device(profile, move |file| {
        let mut data = vec![0x5A; LENGTH];
        let header = TransferHeader::new(path, 0, LENGTH as u64);
        for _ in 0..count {
            let moved = file.device_io_control(code.code(), header.as_bytes(), &mut data);
            assert_eq!(moved, Ok(LENGTH), "{path} {direction}");
        }
    });
}
