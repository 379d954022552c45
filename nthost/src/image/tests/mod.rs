//! Tests on images assembled here, so that they need no other toolchain.

mod build;
mod drivers;
mod exceptions;
mod instructions;
mod loading;
mod running;
mod stacks;
