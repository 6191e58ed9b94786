//! Finding out what machine this is: from the monitor's hand-over, tables and CPUID to one [`abi::boot_info::BootInfo`].

pub mod acpi;
pub mod clock;
pub mod cpus;
pub mod fw_cfg;
mod mp_table;
pub mod pvh;
