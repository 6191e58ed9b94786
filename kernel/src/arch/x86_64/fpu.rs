//! Floating-point and vector state: `xsave` where the CPU has it, `fxsave` where it does not.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::arch::asm;
use core::ptr::NonNull;

use sync::Once;

use super::cpuid::{self, CpuFeatures};

/// How state is kept on this machine; the same on all its CPUs.
struct Mode {
    /// `xsave` with this mask; `None`: `fxsave`.
    mask: Option<u64>,
    layout: Layout,
}

static MODE: Once<Mode> = Once::new();

/// Turns on what CPUID offers.
///
/// # Safety
/// Called once per CPU before the program's code runs on it.
pub unsafe fn init(features: &CpuFeatures) {
    let mode = if features.xsave {
        // SAFETY: CPUID offers these.
        unsafe { super::cpu::enable_xsave(features.xcr0) };
        Mode { mask: Some(features.xcr0), layout: layout(cpuid::xsave_size()) }
    } else {
        Mode { mask: None, layout: layout(512) }
    };
    // A second CPU finds it set, to the same.
    let _ = MODE.set(mode);
}

fn layout(size: usize) -> Layout {
    // `xsave` wants 64. CPUID's size is below 16 KiB without AMX.
    Layout::from_size_align(size.max(576), 64).expect("a few KiB, aligned to a power of two")
}

fn mode() -> &'static Mode {
    MODE.get().expect("set at boot, before the first thread")
}

/// One thread's saved state.
pub struct FpuState {
    area: NonNull<u8>,
}

// SAFETY: the area is owned memory, written only through `&mut self`.
unsafe impl Send for FpuState {}

impl FpuState {
    /// The state in which the SysV ABI starts a program: everything zero, exceptions masked. `None`: no memory.
    pub fn new() -> Option<Self> {
        // SAFETY: the layout's size is not zero.
        let area = NonNull::new(unsafe { alloc_zeroed(mode().layout) })?;
        // SAFETY: both fields lie inside the area's first 512 bytes (SDM vol. 1 § 10.5.1).
        unsafe {
            area.cast::<u16>().write(0x37f);
            area.byte_add(24).cast::<u32>().write(0x1f80);
        }
        Some(Self { area })
    }

    /// A copy of the CPU's state as it is now. `None`: no memory.
    pub fn of_this_cpu() -> Option<Self> {
        let mut state = Self::new()?;
        state.save();
        Some(state)
    }

    /// Writes the CPU's state to the area.
    pub fn save(&mut self) {
        let area = self.area.as_ptr();
        // SAFETY: the area has the size and alignment that CPUID asks for, and the instruction was enabled.
        unsafe {
            match mode().mask {
                Some(mask) => asm!("xsave64 [{}]", in(reg) area, in("eax") mask as u32,
                    in("edx") (mask >> 32) as u32, options(nostack, preserves_flags)),
                None => asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags)),
            }
        }
    }

    /// Loads the CPU's state from the area.
    ///
    /// The compiler does not know that xmm registers change; callers keep nothing in them across the call: it is
    /// reached only from the thread switch, whose caller loses all xmm registers anyway (SysV ABI).
    #[inline(never)]
    pub fn restore(&self) {
        let area = self.area.as_ptr();
        // SAFETY: the area was written by `save` or by `new`, so that no reserved bit is set.
        unsafe {
            match mode().mask {
                Some(mask) => asm!("xrstor64 [{}]", in(reg) area, in("eax") mask as u32,
                    in("edx") (mask >> 32) as u32, options(nostack, preserves_flags), clobber_abi("sysv64")),
                None => asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags),
                    clobber_abi("sysv64")),
            }
        }
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.area.as_ptr(), mode().layout) }
    }
}
