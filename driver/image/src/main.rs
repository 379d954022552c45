//! `dmaproof.sys`, built without the Windows Driver Kit: the driver library behind a KMDF stub
//! entry point. The behaviour is the library's, the same that runs in the simulated machine.
//!
//! There is no global allocator: a heap allocation is a link error.
#![no_std]
#![no_main]

// Turns on the features that connect the driver's trace provider to ETW.
extern crate tracelogging;

wdk_lite::kmdf_image!(dmaproof_driver::driver_entry);
