//! What is done with the drivers.

use std::time::Instant;

use conformance::{IOCTL_DIRECT, IOCTL_RUN, Report, TEXT};
use windows_sys::Win32::Foundation::{ERROR_NO_MORE_ITEMS, ERROR_OPERATION_ABORTED};

use crate::Failure;
use crate::device::Device;

const WDM: &str = r"\\.\DmaproofWdm";
const CONFORMANCE: &str = r"\\.\DmaproofConformance";

/// Sends requests one after the other, checks each answer, and prints how many it were a second.
pub fn next(count: u64) -> Result<(), Failure> {
    let device = Device::open(WDM, false)?;
    let start = Instant::now();
    for number in 0..count {
        let mut answer = [0; 8];
        let returned = device.control(wdm::IOCTL_NEXT, &number.to_le_bytes(), &mut answer);
        let answer = u64::from_le_bytes(answer);
        if returned != Ok(8) || answer != number + 1 {
            return Err(format!("{number} was answered with {answer}, {returned:?}").into());
        }
    }
    // CAST: a count that a double holds.
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{count} requests, every answer right: {rate:.0} a second");
    Ok(())
}

/// A request that waits until it is cancelled.
pub fn cancel() -> Result<(), Failure> {
    let device = Device::open(WDM, true)?;
    let error = device.cancelled(wdm::IOCTL_WAIT)?;
    // CAST: a small number.
    if error != ERROR_OPERATION_ABORTED as i32 {
        return Err(format!("the cancelled request ended with {error}").into());
    }
    println!("the request was cancelled");
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut word = [0; N];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    word
}

/// Runs every test and prints what became of it.
pub fn conformance() -> Result<(), Failure> {
    let device = Device::open(CONFORMANCE, false)?;
    let mut failures = 0;
    for number in 0u32.. {
        let mut report = [0; size_of::<Report>()];
        match device.control(IOCTL_RUN, &number.to_le_bytes(), &mut report) {
            // CAST: a small number.
            Err(error) if error == ERROR_NO_MORE_ITEMS as i32 => break,
            Err(error) => return Err(format!("test {number} ended with error {error}").into()),
            Ok(_) => {}
        }
        let name = std::mem::offset_of!(Report, name);
        let page = std::mem::offset_of!(Report, page);
        let (name, page) = (text(&report[name..name + TEXT]), text(&report[page..page + TEXT]));
        let failed = u32::from_le_bytes(word(&report, 4));
        if failed == 0 {
            println!("ok      {name} ({page})");
            continue;
        }
        failures += 1;
        let at = std::mem::offset_of!(Report, found);
        let (found, expected) =
            (u64::from_le_bytes(word(&report, at)), u64::from_le_bytes(word(&report, at + 8)));
        println!("FAILED  {name} ({page}): check {failed}: {found:#x}, expected {expected:#x}");
    }
    let mut output = [0; 9];
    let moved = device.control(IOCTL_DIRECT, b"12345", &mut output);
    if moved == Ok(5) && &output == b"12345\0\0\0\0" {
        println!("ok      a direct request reaches both buffers");
    } else {
        failures += 1;
        println!("FAILED  a direct request reaches both buffers: {moved:?}, {output:?}");
    }
    if failures != 0 {
        return Err(format!("{failures} tests failed").into());
    }
    Ok(())
}
