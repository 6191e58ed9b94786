//! Starts images under QEMU.
