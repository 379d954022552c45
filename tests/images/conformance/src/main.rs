//! The driver as an image.
#![no_std]
#![no_main]

wdk_lite::wdm_image!(conformance::driver_entry);
