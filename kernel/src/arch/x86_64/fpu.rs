//! Floating-point and vector state: `xsave` where the CPU has it, `fxsave` where it does not.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::arch::asm;
use core::ptr::NonNull;

use sync::Once;

use super::cpuid::{self, CpuFeatures};
use super::uaccess::Restored;
use super::vectors::TrapFrame;
use crate::mm::Access;
use crate::uaccess::{self, Fault};

/// How state is kept on this machine; the same on all its CPUs.
struct Mode {
    /// `xsave` with this mask; `None`: `fxsave`.
    mask: Option<u64>,
    /// Octets that `xsave` writes.
    size: usize,
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
        let size = cpuid::xsave_size();
        Mode { mask: Some(features.xcr0), size, layout: layout(size) }
    } else {
        Mode { mask: None, size: LEGACY_SIZE, layout: layout(LEGACY_SIZE) }
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

/// Octets that `fxsave` writes, and of the header behind it that `xsave` adds (SDM vol. 1 § 13.4).
const LEGACY_SIZE: usize = 512;
const HEADER_SIZE: usize = 64;
/// Linux keeps a description of the extended state in the legacy area's unused end, so that a handler can tell its size
/// (`struct _fpx_sw_bytes`), and a second magic number behind the state.
const SOFTWARE: usize = 464;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// Octets of the program's floating-point state as a signal frame holds it.
pub fn frame_size() -> usize {
    mode().size + size_of::<u32>()
}

/// Writes the program's floating-point state to program memory, as a signal frame holds it: xmm registers from its trap frame,
/// everything else from the CPU. `to` is a multiple of 64, with room for [`frame_size`] octets.
///
/// # Errors
/// [`Fault`].
pub fn write_program_state(frame: &TrapFrame, to: u64) -> Result<(), Fault> {
    let Mode { mask, size, .. } = *mode();
    if mask.is_some() {
        // `xsave` writes a part of it.
        uaccess::write(to + LEGACY_SIZE as u64, [0u64; HEADER_SIZE / 8])?;
    }
    uaccess::touch(to, size, Access::Write, || {
        // SAFETY: `touch` has checked the range, and the caller answers for the alignment.
        let done = unsafe { super::uaccess::save_fpu(to, &frame.xmm, mask) };
        done.then_some(())
    })?;
    if let Some(mask) = mask {
        let mut software = [0u32; (LEGACY_SIZE - SOFTWARE) / 4];
        software[..5].copy_from_slice(&[
            MAGIC1,
            frame_size() as u32,
            mask as u32,
            (mask >> 32) as u32,
            size as u32,
        ]);
        uaccess::write(to + SOFTWARE as u64, software)?;
        uaccess::write(to + size as u64, MAGIC2)?;
    }
    Ok(())
}

/// The state is not there, or none that the CPU would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadState;

impl From<Fault> for BadState {
    fn from(_: Fault) -> Self {
        Self
    }
}

/// Makes what is in program memory, in a signal frame, the program's floating-point state.
///
/// # Errors
/// [`BadState`]; the program's state is lost.
pub fn read_program_state(frame: &mut TrapFrame, from: u64) -> Result<(), BadState> {
    let Mode { mask, size, .. } = *mode();
    let restored = uaccess::touch(from, size, Access::Read, || {
        // SAFETY: `touch` has checked the range.
        let restored = unsafe { super::uaccess::restore_fpu(from, &mut frame.xmm, mask) };
        (restored != Restored::Missing).then_some(restored)
    })?;
    if restored == Restored::Done { Ok(()) } else { Err(BadState) }
}

/// Gives the program the state it started with.
pub fn reset_program_state(frame: &mut TrapFrame) {
    if let Some(state) = FpuState::new() {
        state.make_program_state(frame);
    }
}

impl FpuState {
    /// Loads the state and copies the xmm registers to the frame.
    fn make_program_state(&self, frame: &mut TrapFrame) {
        // SAFETY: the area holds a state that the CPU takes; the registers go to the frame, and calls may change them.
        unsafe {
            asm!(
                "test {full:e}, {full:e}",
                "jz 2f",
                "xrstor64 [{area}]",
                "jmp 3f",
                "2: fxrstor64 [{area}]",
                "3:",
                ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "movups [{xmm} + 16 * \\i], xmm\\i",
                ".endr",
                xmm = in(reg) frame.xmm.as_mut_ptr(),
                area = in(reg) self.area.as_ptr(),
                full = in(reg) u32::from(mode().mask.is_some()),
                in("eax") mode().mask.unwrap_or(0) as u32,
                in("edx") (mode().mask.unwrap_or(0) >> 32) as u32,
                clobber_abi("sysv64"),
            );
        }
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.area.as_ptr(), mode().layout) }
    }
}
