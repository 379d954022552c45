//! Transfers to be counted in instructions: `benches/instructions.sh` runs this under valgrind with
//! two numbers of transfers, so that the difference is the transfers' alone.
//!
//! Arguments: profile, device, path, direction, number of transfers. edu moves one after the other,
//! of 4095 bytes; the exerciser has 32 under way, of 4096 bytes. Without arguments, as `cargo bench`
//! calls it, it says how to run it.

use dmaproof_benches::{Pipe, with_straight_device, with_straight_exerciser};
use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader};
use nthost::Profile;
use zerocopy::IntoBytes;

/// Bytes of each of edu's transfers.
const LENGTH: usize = 4095;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [profile, device, path, direction, count] = arguments.as_slice() else {
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
    if device == "exerciser" {
        return with_straight_exerciser(profile, move |file| {
            let mut pipe = Pipe::new(file, path, direction, 4096, 32);
            (0..count).for_each(|_| pipe.turn());
        });
    }
    with_straight_device(profile, move |file| {
        let mut data = vec![0x5A; LENGTH];
        let header = TransferHeader::new(path, 0, LENGTH as u64);
        for _ in 0..count {
            let moved = file.device_io_control(code.code(), header.as_bytes(), &mut data);
            assert_eq!(moved, Ok(LENGTH), "{path} {direction}");
        }
    });
}
