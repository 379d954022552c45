//! Device interfaces: how applications find a device.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wdk_lite::GUID;

use super::{Node, Pnp};
use crate::wdf::object::Handle;

/// A device interface that a driver registered.
#[derive(Debug)]
pub(super) struct Registered {
    class: GUID,
    reference: Option<String>,
    path: String,
    device: Handle,
    slot: usize,
    enabled: bool,
}

impl Pnp {
    /// The device behind an enabled interface that may be opened.
    pub(crate) fn device_at(&self, path: &str) -> Option<Handle> {
        let found = {
            let interfaces = self.interfaces.lock();
            let matches = |i: &&Registered| i.enabled && i.path.eq_ignore_ascii_case(path);
            interfaces.iter().find(matches).map(|i| (i.device, i.slot))
        };
        let (device, slot) = found?;
        let closed = |node: Arc<Node>| node.removing.load(Ordering::Acquire);
        (!self.node(slot).is_none_or(closed)).then_some(device)
    }

    /// Registers an interface of a device, disabled; each call adds one.
    pub(crate) fn register_interface(
        &self,
        device: (Handle, usize),
        class: GUID,
        reference: Option<String>,
    ) {
        let (device, slot) = device;
        let path = interface_path(slot, &class, reference.as_deref());
        let registered = Registered { class, reference, path, device, slot, enabled: false };
        self.interfaces.lock().push(registered);
    }

    /// Enables or disables the first such interface of a device; nothing if there is none.
    pub(crate) fn set_interface(
        &self,
        device: Handle,
        class: &GUID,
        reference: Option<&str>,
        enabled: bool,
    ) {
        let mut interfaces = self.interfaces.lock();
        let found = interfaces.iter_mut().find(|i| {
            i.device == device && i.class == *class && i.reference.as_deref() == reference
        });
        if let Some(interface) = found {
            interface.enabled = enabled;
        }
    }

    /// Enables or disables all interfaces of a device.
    pub(super) fn set_interfaces(&self, device: Handle, enabled: bool) {
        for interface in self.interfaces.lock().iter_mut().filter(|i| i.device == device) {
            interface.enabled = enabled;
        }
    }

    pub(super) fn forget_interfaces(&self, device: Handle) {
        self.interfaces.lock().retain(|interface| interface.device != device);
    }

    /// Paths of the enabled interfaces of a class.
    pub(super) fn paths(&self, class: &GUID) -> Vec<String> {
        let interfaces = self.interfaces.lock();
        let enabled = interfaces.iter().filter(|i| i.enabled && i.class == *class);
        enabled.map(|interface| interface.path.clone()).collect()
    }
}

/// The symbolic link of an interface of the device in `slot`.
fn interface_path(slot: usize, class: &GUID, reference: Option<&str>) -> String {
    let tail: String = class.Data4[2..].iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, b, c) = (class.Data1, class.Data2, class.Data3);
    let (d, e) = (class.Data4[0], class.Data4[1]);
    let link =
        format!(r"\\?\PCI#SLOT_{slot:02X}#{{{a:08x}-{b:04x}-{c:04x}-{d:02x}{e:02x}-{tail}}}");
    match reference {
        Some(reference) => format!(r"{link}\{reference}"),
        None => link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_slot_class_and_reference() {
        let class =
            GUID { Data1: 0x1234, Data2: 0x56, Data3: 0x78, Data4: [1, 2, 3, 4, 5, 6, 7, 8] };
        let path = interface_path(3, &class, Some("ref"));
        assert_eq!(path, r"\\?\PCI#SLOT_03#{00001234-0056-0078-0102-030405060708}\ref");
    }
}
