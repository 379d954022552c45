//! The build script of `driver/sys`: configures the link of the kernel-mode binary for the
//! Windows Driver Kit. It runs on Windows only; no crate of this workspace uses it.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()
}
