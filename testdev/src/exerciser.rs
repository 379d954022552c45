//! The exerciser: the project's own test device. **Experimental**: there is no model of it yet, only
//! the identity that the driver package claims for it (`inf/dmaproof.inx`).

/// PCI vendor ID: QEMU's unofficial one, as [`edu`](crate::edu) uses it.
pub const VENDOR_ID: u16 = 0x1234;

/// PCI device ID: the one after edu's. Nobody else is known to use it.
pub const DEVICE_ID: u16 = 0x11e9;
