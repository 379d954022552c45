//! Device names and symbolic links.

use std::collections::BTreeMap;

/// The names of one machine, in the form in which they are compared.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Device objects by name.
    devices: BTreeMap<String, usize>,
    /// Device names by link.
    links: BTreeMap<String, String>,
}

/// Names do not differ by case, and `\??\`, `\DosDevices\` and, for programs, `\\.\` are the same.
fn form(name: &str) -> String {
    let name = name.to_lowercase();
    let local = [r"\dosdevices\", r"\??\", r"\\.\"];
    match local.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        Some(rest) => format!(r"\??\{rest}"),
        None => name,
    }
}

impl Names {
    /// Names a device; `false` if the name is taken.
    pub(super) fn add_device(&mut self, name: &str, device: usize) -> bool {
        if self.is_taken(name) {
            return false;
        }
        self.devices.insert(form(name), device);
        true
    }

    fn is_taken(&self, name: &str) -> bool {
        let name = form(name);
        self.devices.contains_key(&name) || self.links.contains_key(&name)
    }

    /// A device is no more.
    pub(super) fn remove_device(&mut self, device: usize) {
        self.devices.retain(|_, known| *known != device);
    }

    /// Makes a link; `false` if its name is taken.
    pub(super) fn add_link(&mut self, link: &str, device: &str) -> bool {
        if self.is_taken(link) {
            return false;
        }
        self.links.insert(form(link), form(device));
        true
    }

    /// Removes a link; `false` if there is none of this name.
    pub(super) fn remove_link(&mut self, link: &str) -> bool {
        self.links.remove(&form(link)).is_some()
    }

    /// The device at a path.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let path = form(path);
        let name = self.links.get(&path).unwrap_or(&path);
        self.devices.get(name).copied()
    }

    /// A link that its driver left behind.
    pub(super) fn any_link(&self) -> Option<&str> {
        self.links.keys().next().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_by_each_of_its_names() {
        let mut names = Names::default();
        assert!(names.add_device(r"\Device\One", 1));
        assert!(names.add_link(r"\DosDevices\Uno", r"\Device\ONE"));
        for path in [r"\\.\Uno", r"\??\uno", r"\DOSDEVICES\uno", r"\device\one"] {
            assert_eq!(names.find(path), Some(1), "{path}");
        }
        assert_eq!(names.find(r"\\.\One"), None);
    }

    #[test]
    fn a_name_is_given_once() {
        let mut names = Names::default();
        assert!(names.add_device(r"\Device\One", 1));
        assert!(!names.add_device(r"\device\one", 2));
        assert!(names.add_link(r"\??\Uno", r"\Device\One"));
        assert!(!names.add_link(r"\DosDevices\Uno", r"\Device\Two"));
        assert!(names.remove_link(r"\??\UNO"));
        assert!(!names.remove_link(r"\??\Uno"));
    }
}
