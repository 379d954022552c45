//! KMDF: files (KMDF.md 8).

// UNSAFETY: calls the driver's file callbacks.

pub(crate) mod ddi;

use std::sync::Arc;

use wdk_lite::*;

use super::device::{Device, FileConfig, HandleCell};
use super::object::{Handle, Kind, Payload};
use super::request::Request;
use super::{Wdf, queue};
use crate::ddi::callback::{self, Routine};
use crate::io::{FileState, IrpRef, Major};
use crate::machine::Kernel;
use crate::verifier::Violation;

/// A WDFFILEOBJECT.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(super) device: HandleCell,
}

impl Payload for File {
    const KIND: Kind = Kind::File;

    fn reset(&self) {
        self.device.set(None);
    }
}

impl Wdf {
    fn file_config(&self, device: Handle) -> Option<FileConfig> {
        self.payload::<Device>(device)?.settings().file
    }

    /// Runs a file callback, under the device's lock if the driver asked for that.
    fn serialised(&self, kernel: &Kernel, device: Handle, on: bool, body: impl FnOnce()) {
        match self.payload::<Device>(device).filter(|_| on) {
            Some(device) => device.lock.with(kernel, body),
            None => body(),
        }
    }

    /// IRP_MJ_CREATE: exclusivity, the file object, then EvtDeviceFileCreate or a configured
    /// queue; without either it succeeds.
    pub(crate) fn create_file(
        &self,
        kernel: &Kernel,
        irp: IrpRef,
        file: &Arc<FileState>,
    ) -> Result<(), Violation> {
        let Some(device) = self.payload::<Device>(file.device) else {
            return irp.complete(kernel, STATUS_NO_SUCH_DEVICE);
        };
        let settings = &file.settings;
        let alone = kernel.io.open(file.device);
        if settings.exclusive && !alone {
            self.forget_file(kernel, file);
            return irp.complete(kernel, STATUS_ACCESS_DENIED);
        }
        if let Err(status) = self.make_file(kernel, file, settings.file.as_ref()) {
            self.forget_file(kernel, file);
            return irp.complete(kernel, status);
        }
        let routine = settings.file.map_or(Routine::default(), |config| config.create);
        if device.queue_for(super::device::Dispatch::Create).is_some() {
            return self.deliver(kernel, file, irp, Major::Create);
        }
        if !routine.is_some() {
            return irp.complete(kernel, STATUS_SUCCESS);
        }
        let (handle, request) = match Request::create(kernel, file, irp) {
            Ok(made) => made,
            Err(_) => {
                self.forget_file(kernel, file);
                return irp.complete(kernel, STATUS_INSUFFICIENT_RESOURCES);
            }
        };
        request.give_to_caller(irp);
        irp.step("delivered to EvtDeviceFileCreate");
        let serialised = settings.file.is_some_and(|config| config.serialised);
        let object = file.object().map_or(std::ptr::null_mut(), Handle::raw);
        self.serialised(kernel, file.device, serialised, || {
            let (device, request) = (file.device.raw(), handle.raw());
            // SAFETY: the configuration's EvtDeviceFileCreate, with a new request and file.
            unsafe {
                callback::PFN_WDF_DEVICE_FILE_CREATE(kernel, routine, device, request, object);
            }
        });
        Ok(())
    }

    fn make_file(
        &self,
        kernel: &Kernel,
        file: &FileState,
        config: Option<&FileConfig>,
    ) -> Result<(), NTSTATUS> {
        let Some(config) = config else { return Ok(()) };
        if config.class == _WDF_FILEOBJECT_CLASS::WdfFileObjectNotRequired {
            return Ok(());
        }
        let parent = Some(file.device);
        let (handle, object) = self.create::<File>(kernel, parent, &config.attributes)?;
        object.device.set(Some(file.device));
        file.set_object(Some(handle));
        Ok(())
    }

    /// A file is closed or was never opened: the file object goes; its own cleanup and destroy
    /// callbacks run.
    pub(crate) fn forget_file(&self, kernel: &Kernel, file: &FileState) {
        kernel.io.forget(file.device);
        if let Some(object) = file.object() {
            file.set_object(None);
            self.delete(kernel, object);
        }
    }

    /// IRP_MJ_CLEANUP: EvtFileCleanup, then the file's waiting requests are cancelled.
    pub(crate) fn cleanup_file(
        &self,
        kernel: &Kernel,
        file: &Arc<FileState>,
    ) -> Result<(), Violation> {
        let config = self.file_config(file.device);
        if let (Some(config), Some(object)) = (config, file.object())
            && config.cleanup.is_some()
        {
            self.serialised(kernel, file.device, config.serialised, || {
                // SAFETY: the configuration's EvtFileCleanup, with its file object.
                unsafe { callback::PFN_WDF_FILE_CLEANUP(kernel, config.cleanup, object.raw()) };
            });
        }
        queue::cancel_file(kernel, file.device, file)
    }

    /// IRP_MJ_CLOSE: EvtFileClose, then the file object goes.
    pub(crate) fn close_file(
        &self,
        kernel: &Kernel,
        file: &Arc<FileState>,
    ) -> Result<(), Violation> {
        let config = self.file_config(file.device);
        if let (Some(config), Some(object)) = (config, file.object())
            && config.close.is_some()
        {
            self.serialised(kernel, file.device, config.serialised, || {
                // SAFETY: the configuration's EvtFileClose, with its file object.
                unsafe { callback::PFN_WDF_FILE_CLOSE(kernel, config.close, object.raw()) };
            });
        }
        self.forget_file(kernel, file);
        Ok(())
    }
}
