//! Floating-point and vector state: `xsave` where the CPU has it, `fxsave` where it does not.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::arch::asm;
use core::ptr::NonNull;

use sync::Once;

use super::cpuid::{self, CpuFeatures};

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

impl FpuState {
    /// The area's octets.
    fn octets(&mut self) -> &mut [u8] {
        // SAFETY: the area is this state's alone, of this size, and was zeroed when it was allocated.
        unsafe { core::slice::from_raw_parts_mut(self.area.as_ptr(), state_size()) }
    }
}

/// Octets of the state as a signal frame holds it.
fn state_size() -> usize {
    match mode().mask {
        Some(_) => mode().size,
        None => LEGACY_SIZE,
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

/// The state is none that the CPU would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadState;

/// The program's floating-point state as a signal frame holds it: xmm registers from its trap frame, everything else from
/// the CPU. `None`: no memory.
pub fn program_state(frame: &super::vectors::TrapFrame) -> Option<Vec<u8>> {
    let mut state = FpuState::new()?;
    let xmm = frame.xmm.as_ptr();
    // SAFETY: loads xmm registers, which calls may change anyway, from the frame; `save` then reads the CPU's state.
    unsafe {
        asm!(
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "movups xmm\\i, [{xmm} + 16 * \\i]",
            ".endr",
            "test {full:e}, {full:e}",
            "jz 2f",
            "xsave64 [{area}]",
            "jmp 3f",
            "2: fxsave64 [{area}]",
            "3:",
            xmm = in(reg) xmm,
            area = in(reg) state.area.as_ptr(),
            full = in(reg) u32::from(mode().mask.is_some()),
            in("eax") mode().mask.unwrap_or(0) as u32,
            in("edx") (mode().mask.unwrap_or(0) >> 32) as u32,
            clobber_abi("sysv64"),
        );
    }
    let mut octets = Vec::new();
    octets.try_reserve_exact(state_size() + size_of::<u32>()).ok()?;
    octets.extend_from_slice(state.octets());
    if let Some(mask) = mode().mask {
        let size = octets.len() as u32;
        octets[SOFTWARE..SOFTWARE + 4].copy_from_slice(&MAGIC1.to_le_bytes());
        octets[SOFTWARE + 4..SOFTWARE + 8].copy_from_slice(&(size + 4).to_le_bytes());
        octets[SOFTWARE + 8..SOFTWARE + 16].copy_from_slice(&mask.to_le_bytes());
        octets[SOFTWARE + 16..SOFTWARE + 20].copy_from_slice(&size.to_le_bytes());
        octets.extend_from_slice(&MAGIC2.to_le_bytes());
    }
    Some(octets)
}

/// A buffer for what [`set_program_state`] takes.
pub fn state_buffer() -> Vec<u8> {
    alloc::vec![0; state_size()]
}

/// Makes `octets`, from a signal frame, the program's floating-point state. What the CPU would refuse is refused or
/// masked here.
///
/// # Errors
/// [`BadState`].
pub fn set_program_state(frame: &mut super::vectors::TrapFrame, octets: &mut [u8]) -> Result<(), BadState> {
    let mut state = FpuState::new().ok_or(BadState)?;
    if octets.len() != state.octets().len() {
        return Err(BadState);
    }
    // Bits of MXCSR that this CPU does not have would fault (SDM vol. 1 § 11.6.6); those every x86_64 CPU has are 16.
    octets[26..28].fill(0);
    if let Some(mask) = mode().mask {
        let header = &mut octets[LEGACY_SIZE..LEGACY_SIZE + HEADER_SIZE];
        let (features, rest) = header.split_at_mut(8);
        for (octet, allowed) in features.iter_mut().zip(mask.to_le_bytes()) {
            *octet &= allowed;
        }
        rest.fill(0);
    }
    state.octets().copy_from_slice(octets);
    state.make_program_state(frame);
    Ok(())
}

/// Gives the program the state it started with.
pub fn reset_program_state(frame: &mut super::vectors::TrapFrame) {
    if let Some(state) = FpuState::new() {
        state.make_program_state(frame);
    }
}

impl FpuState {
    /// Loads the state and copies the xmm registers to the frame.
    fn make_program_state(&self, frame: &mut super::vectors::TrapFrame) {
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
