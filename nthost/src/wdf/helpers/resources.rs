//! WDFCMRESLIST: the resources a device got.

// UNSAFETY: descriptors are handed out as raw pointers.

use parking_lot::Mutex;
use wdk_lite::{CM_PARTIAL_RESOURCE_DESCRIPTOR, PCM_PARTIAL_RESOURCE_DESCRIPTOR};

use crate::wdf::object::{Kind, Payload};

/// A resource list: the framework's originals, and the copies that drivers look at.
#[derive(Default)]
pub(crate) struct ResourceList(Mutex<Vec<Entry>>);

struct Entry {
    original: CM_PARTIAL_RESOURCE_DESCRIPTOR,
    copy: PCM_PARTIAL_RESOURCE_DESCRIPTOR,
}

// SAFETY: the copy is owned by the entry and touched by the driver and under the list's lock.
unsafe impl Send for Entry {}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `fill`, freed once.
        drop(unsafe { Box::from_raw(self.copy) });
    }
}

impl std::fmt::Debug for ResourceList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceList").field("count", &self.count()).finish()
    }
}

impl Payload for ResourceList {
    const KIND: Kind = Kind::ResourceList;

    fn reset(&self) {
        self.0.lock().clear();
    }
}

impl ResourceList {
    /// Replaces the contents. Copies of a list of the same length stay where they are.
    pub(crate) fn fill(&self, descriptors: &[CM_PARTIAL_RESOURCE_DESCRIPTOR]) {
        let mut entries = self.0.lock();
        entries.truncate(descriptors.len());
        for (index, &original) in descriptors.iter().enumerate() {
            match entries.get_mut(index) {
                Some(entry) => entry.original = original,
                None => {
                    let copy = Box::into_raw(Box::new(original));
                    entries.push(Entry { original, copy });
                }
            }
        }
    }

    /// How many descriptors there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// The copy for the driver, refreshed; NULL past the end.
    pub(crate) fn descriptor(&self, index: usize) -> PCM_PARTIAL_RESOURCE_DESCRIPTOR {
        let entries = self.0.lock();
        let Some(entry) = entries.get(index) else { return std::ptr::null_mut() };
        // SAFETY: the copy is live memory of this type.
        unsafe { entry.copy.write(entry.original) };
        entry.copy
    }

    /// The index of a copy that [`ResourceList::descriptor`] gave out.
    pub(crate) fn index_of(&self, copy: PCM_PARTIAL_RESOURCE_DESCRIPTOR) -> Option<usize> {
        self.0.lock().iter().position(|entry| entry.copy == copy)
    }
}
