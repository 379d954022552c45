//! Request memory (KMDF.md 5.4).

use std::ffi::c_void;

use wdk_lite::*;

use super::Live;
use crate::io::body::{Body, Described};
use crate::io::{Major, Method};
use crate::machine::Kernel;

/// The two ends of a request's data, from the driver's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What the driver reads.
    Input,
    /// What the driver writes, and the second buffer of a direct control request.
    Output,
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// The system buffer, of which this many bytes count.
    System(usize),
    /// The request's MDL.
    Mdl,
    /// At the requester's own address.
    Raw(*mut u8, usize),
    /// Not for this request.
    Invalid,
}

/// The table of KMDF.md 5.4.
fn locate(body: &Body, end: End) -> Where {
    match (body.major, end, body.method) {
        (Major::Read, End::Output, method) | (Major::Write, End::Input, method) => match method {
            Method::Buffered => Where::System(body.length),
            Method::InDirect | Method::OutDirect => Where::Mdl,
            Method::Neither if body.kernel_mode => Where::Raw(body.user.0, body.length),
            Method::Neither => Where::Invalid,
        },
        (Major::Read | Major::Write | Major::Create, ..) => Where::Invalid,
        (Major::DeviceControl, End::Input, Method::Neither) if body.kernel_mode => {
            Where::Raw(body.type3.0, body.input_length)
        }
        (Major::DeviceControl, End::Output, Method::Neither) if body.kernel_mode => {
            Where::Raw(body.user.0, body.length)
        }
        (Major::DeviceControl, _, Method::Neither) => Where::Invalid,
        (Major::DeviceControl, End::Input, _) => Where::System(body.input_length),
        (Major::DeviceControl, End::Output, Method::Buffered) => Where::System(body.length),
        (Major::DeviceControl, End::Output, _) => Where::Mdl,
    }
}

/// WdfRequestRetrieveInput/OutputBuffer: address and length of the whole buffer. A direct request's
/// is mapped into system space, once.
pub(super) fn buffer(
    kernel: &Kernel,
    live: &Live<'_>,
    end: End,
    required: usize,
) -> Result<(*mut c_void, usize), NTSTATUS> {
    let mut body = live.irp.body();
    let place = locate(&body, end);
    let (address, length) = match place {
        Where::Invalid => return Err(STATUS_INVALID_DEVICE_REQUEST),
        Where::System(length) => (body.system_buffer(), length),
        // The system mapping of a requester's pages is where this process has them.
        Where::Mdl => (body.user.0, body.length),
        Where::Raw(address, length) => (address, length),
    };
    if length == 0 || length < required || (place == Where::Mdl && body.mdl.0.is_null()) {
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    if place == Where::Mdl {
        kernel.memory.map_once(kernel, body.mdl.0);
    }
    Ok((address.cast(), length))
}

/// WdfRequestRetrieveInput/OutputWdmMdl: the request's MDL, or one over its system buffer, which
/// is made once: the first caller's length counts for both ends.
pub(super) fn mdl(kernel: &Kernel, live: &Live<'_>, end: End) -> Result<PMDL, NTSTATUS> {
    let mut body = live.irp.body();
    let length = match locate(&body, end) {
        Where::Invalid | Where::Raw(..) => return Err(STATUS_INVALID_DEVICE_REQUEST),
        Where::Mdl if body.mdl.0.is_null() => return Err(STATUS_BUFFER_TOO_SMALL),
        Where::Mdl => return Ok(body.mdl.0),
        Where::System(0) => return Err(STATUS_BUFFER_TOO_SMALL),
        Where::System(length) => length,
    };
    if body.system_mdl.0.is_null() {
        let buffer = body.system_buffer();
        body.system_mdl = Described(kernel.memory.describe_nonpaged(kernel, buffer, length));
    }
    Ok(body.system_mdl.0)
}

/// WdfRequestGetParameters.
pub(super) fn parameters(live: &Live<'_>) -> WDF_REQUEST_PARAMETERS {
    let body = live.irp.body();
    let mut parameters = WDF_REQUEST_PARAMETERS {
        // CAST: the size of a small structure.
        Size: size_of::<WDF_REQUEST_PARAMETERS>() as USHORT,
        Type: body.major.request_type(),
        ..WDF_REQUEST_PARAMETERS::default()
    };
    match body.major {
        Major::Read | Major::Write => {
            let packet = _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_2 {
                Length: body.length,
                Key: 0,
                // CAST: offsets beyond 2^63 do not exist.
                DeviceOffset: body.offset as LONGLONG,
            };
            parameters.Parameters.Read = packet;
        }
        Major::DeviceControl => {
            parameters.Parameters.DeviceIoControl =
                _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_4 {
                    OutputBufferLength: body.length,
                    InputBufferLength: body.input_length,
                    IoControlCode: body.code,
                    // The verifier hides METHOD_NEITHER's pointer (KMDF.md 5.5).
                    Type3InputBuffer: std::ptr::null_mut(),
                };
        }
        Major::Create => {}
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(major: Major, method: Method) -> Body {
        let mut body = Body::default();
        (body.major, body.method) = (major, method);
        (body.length, body.input_length) = (8, 4);
        body
    }

    #[test]
    fn each_end_is_where_the_table_says() {
        let read = body(Major::Read, Method::Buffered);
        assert_eq!(locate(&read, End::Output), Where::System(8));
        assert_eq!(locate(&read, End::Input), Where::Invalid);
        let write = body(Major::Write, Method::InDirect);
        assert_eq!(locate(&write, End::Input), Where::Mdl);
        assert_eq!(locate(&write, End::Output), Where::Invalid);
        for (method, output) in [
            (Method::Buffered, Where::System(8)),
            (Method::InDirect, Where::Mdl),
            (Method::OutDirect, Where::Mdl),
        ] {
            let control = body(Major::DeviceControl, method);
            assert_eq!(locate(&control, End::Input), Where::System(4));
            assert_eq!(locate(&control, End::Output), output);
        }
        let raw = body(Major::DeviceControl, Method::Neither);
        assert_eq!(locate(&raw, End::Input), Where::Invalid);
        assert_eq!(locate(&raw, End::Output), Where::Invalid);
    }
}
