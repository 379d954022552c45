//! Drivers as services.

use std::io::Error;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_EXISTS,
    ERROR_SERVICE_NOT_ACTIVE, GetLastError,
};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, CreateServiceW, DeleteService, OpenSCManagerW,
    OpenServiceW, SC_HANDLE, SC_MANAGER_ALL_ACCESS, SERVICE_ALL_ACCESS, SERVICE_CONTROL_STOP,
    SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, SERVICE_KERNEL_DRIVER, SERVICE_STATUS,
    StartServiceW,
};

use crate::Failure;

/// A handle of the service control manager, closed when dropped.
struct Handle(SC_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: an open handle.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// NUL-terminated UTF-16.
pub fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

fn failed(what: &str) -> Failure {
    format!("{what}: {}", Error::last_os_error()).into()
}

fn manager() -> Result<Handle, Failure> {
    // SAFETY: this machine, the default database.
    let manager = unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_ALL_ACCESS) };
    if manager.is_null() {
        return Err(failed("the service control manager cannot be opened; run as administrator"));
    }
    Ok(Handle(manager))
}

fn open(manager: &Handle, name: &str) -> Result<Option<Handle>, Failure> {
    let name = wide(name);
    // SAFETY: an open manager and a terminated name.
    let service = unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_ALL_ACCESS) };
    if !service.is_null() {
        return Ok(Some(Handle(service)));
    }
    // SAFETY: no arguments.
    match unsafe { GetLastError() } {
        ERROR_SERVICE_DOES_NOT_EXIST => Ok(None),
        _ => Err(failed("the service cannot be opened")),
    }
}

/// Registers a driver and starts it.
pub fn load(name: &str, file: &str) -> Result<(), Failure> {
    let manager = manager()?;
    // The system looks for the file later, and not from this folder.
    let file = std::path::absolute(file)?;
    let (wide_name, wide_file) = (wide(name), wide(&file.to_string_lossy()));
    // SAFETY: an open manager, terminated strings, nothing optional.
    let made = unsafe {
        CreateServiceW(
            manager.0,
            wide_name.as_ptr(),
            wide_name.as_ptr(),
            SERVICE_ALL_ACCESS,
            SERVICE_KERNEL_DRIVER,
            SERVICE_DEMAND_START,
            SERVICE_ERROR_NORMAL,
            wide_file.as_ptr(),
            ptr::null(),
            ptr::null_mut(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
        )
    };
    let service = if made.is_null() {
        // SAFETY: no arguments.
        if unsafe { GetLastError() } != ERROR_SERVICE_EXISTS {
            return Err(failed("the service cannot be made"));
        }
        open(&manager, name)?.ok_or("the service is gone")?
    } else {
        Handle(made)
    };
    // SAFETY: an open service without arguments.
    if unsafe { StartServiceW(service.0, 0, ptr::null()) } == 0 {
        // SAFETY: no arguments.
        if unsafe { GetLastError() } != ERROR_SERVICE_ALREADY_RUNNING {
            return Err(failed("the driver cannot be started"));
        }
    }
    println!("{name} is loaded");
    Ok(())
}

/// Stops a driver and removes its service.
pub fn unload(name: &str) -> Result<(), Failure> {
    let manager = manager()?;
    let Some(service) = open(&manager, name)? else {
        println!("{name} is not there");
        return Ok(());
    };
    let mut status = SERVICE_STATUS::default();
    // SAFETY: an open service and a variable for its status.
    if unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &mut status) } == 0 {
        // SAFETY: no arguments.
        if unsafe { GetLastError() } != ERROR_SERVICE_NOT_ACTIVE {
            return Err(failed("the driver cannot be stopped"));
        }
    }
    // SAFETY: an open service.
    if unsafe { DeleteService(service.0) } == 0 {
        return Err(failed("the service cannot be removed"));
    }
    println!("{name} is unloaded");
    Ok(())
}
