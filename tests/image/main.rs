use dmaproof_protocol::{Ioctl, Path, TransferHeader};
use nthost::{Access, Machine, Profile, Request};
use std::path::PathBuf;
use testdev::model::edu::Edu;
use zerocopy::IntoBytes;

#[test]
fn smoke() {
    let Some(path) = std::env::var_os("DMAPROOF_IMAGE").map(PathBuf::from) else { return };
    let image = nthost::Image::open(&path).unwrap();
    println!("missing: {:?}", image.missing_imports());
    for _ in 0..3 {
        let image = image.clone();
        let t = std::time::Instant::now();
        let machine = Machine::builder(Profile::X64).build();
        let handle = machine.clone();
        let result = machine.run(move |m| {
            m.load_image("dmaproof", &image).expect("the driver loads");
            m.plug(Box::new(Edu::default())).expect("the device starts");
            println!("started {:?}", t.elapsed());
            let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
            let guid = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
            let path = m.interfaces(&guid).pop().expect("the device has an interface");
            let file = m.open(&path, Access::READ_WRITE).expect("the device opens");
            for path in [
                Path::Packet,
                Path::ScatterGather,
                Path::CommonBufferCached,
                Path::CommonBufferUncached,
                Path::Version3,
            ] {
                let header = TransferHeader::new(path, 5, 40);
                let mut data = *b"forty bytes that travel there and back!!";
                let sent =
                    file.device_io_control(Ioctl::ToDevice.code(), header.as_bytes(), &mut data);
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
}

#[test]
fn sites() {
    let Some(path) = std::env::var_os("DMAPROOF_IMAGE").map(PathBuf::from) else { return };
    for (hosted, left) in [
        (true, "KeFlushIoBuffers"),
        (false, "KeFlushIoBuffers"),
        (true, "FlushAdapterBuffers"),
        (false, "FlushAdapterBuffers"),
        (false, "ExFreePoolWithTag"),
        (true, "ExFreePoolWithTag"),
    ] {
        let path = path.clone();
        let machine = Machine::builder(Profile::X64).leave_out(left).build();
        let handle = machine.clone();
        let result = machine.run(move |m| {
            if hosted {
                m.load("dmaproof", dmaproof_driver::driver_entry).unwrap();
            } else {
                m.load_image("dmaproof", &nthost::Image::open(&path).unwrap())
                    .expect("the driver loads");
            }
            m.plug(Box::new(Edu::default())).expect("the device starts");
            let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
            let guid = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
            let path = m.interfaces(&guid).pop().expect("the device has an interface");
            let file = m.open(&path, Access::READ_WRITE).expect("the device opens");
            for path in [Path::Packet, Path::ScatterGather, Path::CommonBufferCached] {
                let header = TransferHeader::new(path, 5, 40);
                let mut data = *b"forty bytes that travel there and back!!";
                let _ =
                    file.device_io_control(Ioctl::ToDevice.code(), header.as_bytes(), &mut data);
            }
        });
        println!("======== hosted {hosted} {left}");
        if let Err(s) = result.or_else(|e| Err(e)).and_then(|()| handle.run(Machine::shut_down)) {
            println!("{s}");
        }
        for n in handle.notes() {
            println!("NOTE at {}\n{n}", n.call_site());
        }
    }
}
