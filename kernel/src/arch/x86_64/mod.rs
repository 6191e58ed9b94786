//! x86_64. Sources: Intel SDM (volume and section named where used) and AMD APM.

#[cfg(includeos_metal)]
mod boot;
pub mod context;
pub mod cpu;
pub mod cpuid;
pub mod fpu;
pub mod gdt;
pub mod ioapic;
pub mod irq;
pub mod isolation;
pub mod lapic;
#[cfg(includeos_metal)]
mod mem;
pub mod paging;
pub mod percpu;
pub mod port;
pub mod power;
pub mod syscall;
pub mod tlb;
#[cfg(includeos_metal)]
pub mod trampoline;
pub mod tsc;
pub mod uaccess;
pub mod vdso;
pub mod vectors;
