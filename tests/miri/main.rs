//! The real driver on the straight scheduler, small enough for Miri: load, start, one transfer
//! each way over each path, cancel, remove, unload.

use dmaproof_protocol::{Ioctl, Path, TransferHeader};
use nthost::{Access, Builder, Machine, Profile, Request, SystemDma};
use testdev::bus::Device;
use testdev::model::edu::Edu;
use testdev::model::slave::Slave;
use zerocopy::IntoBytes;

#[test]
fn a_transfer_each_way_over_each_path() {
    each_way(
        Machine::builder(Profile::X64),
        Box::new(Edu::default()),
        &[
            Path::Packet,
            Path::ScatterGather,
            Path::CommonBufferCached,
            Path::CommonBufferUncached,
            Path::Version3,
        ],
    );
}

#[test]
fn a_transfer_each_way_by_system_dma() {
    let builder = Machine::builder(Profile::X64).system_dma(Some(SystemDma::default()));
    each_way(builder, Box::new(Slave::default()), &[Path::SystemDma]);
}

fn each_way(builder: Builder, device: Box<dyn Device>, paths: &'static [Path]) {
    let machine = builder.build();
    let handle = machine.clone();
    let result = machine.run(move |m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("the driver loads");
        m.plug(device).expect("the device starts");
        let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
        let guid = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
        let path = m.interfaces(&guid).pop().expect("the device has an interface");
        let file = m.open(&path, Access::READ_WRITE).expect("the device opens");
        for &path in paths {
            let header = TransferHeader::new(path, 5, 40);
            let mut data = *b"forty bytes that travel there and back!!";
            let sent = file.device_io_control(Ioctl::ToDevice.code(), header.as_bytes(), &mut data);
            assert_eq!(sent, Ok(40));
            let mut back = [0; 40];
            let code = Ioctl::FromDevice.code();
            assert_eq!(file.device_io_control(code, header.as_bytes(), &mut back), Ok(40));
            assert_eq!(back, data, "{path}");
            let pending =
                file.submit(Request::ioctl(code, header.as_bytes().to_vec(), vec![0; 40]));
            pending.cancel();
            let _ = pending.wait();
        }
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"));
    handle.run(Machine::shut_down).unwrap_or_else(|stopped| panic!("{stopped}"));
}
