//! The driver as an image.
#![no_std]
#![no_main]

wdk_lite::kmdf_image!(echo::driver_entry);
