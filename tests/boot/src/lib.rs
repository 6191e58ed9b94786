//! Helpers of the boot tests: the tool, programs built with it, machines that boot them, Linux that runs them.
//!
//! The programs are in `tests/programs`. They are built once for each test program, by the tool as users have it.
//! Nothing is skipped: what is missing on this machine fails, with the command that mends it.

#![forbid(unsafe_code)]

pub mod boot;
pub mod compatibility;
pub mod image;
pub mod linux;
pub mod report;
pub mod tool;

pub use boot::{Boot, Machine};
pub use image::Image;
