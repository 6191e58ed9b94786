//! The seed for the random generator that the host hands to machines whose CPU has no randomness.

/// Name of the `fw_cfg` file (QEMU `docs/specs/fw_cfg.rst`: names of users' files begin with `opt/`).
pub const FILE: &str = "opt/org.includeos/seed";
/// Octets of the seed, new at each start of the machine.
pub const LEN: usize = 32;
