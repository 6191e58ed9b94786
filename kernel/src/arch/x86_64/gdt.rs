//! Segments and the task state segment (SDM vol. 3 § 3.4.5, § 8.7).

use core::arch::asm;
use core::cell::UnsafeCell;

use super::percpu::PerCpu;

/// Kernel code; also the program's, while both share ring 0.
pub const KERNEL_CODE: u16 = 0x08;
/// Kernel data, and the program's.
pub const KERNEL_DATA: u16 = 0x10;
/// The program's data at ring 3, with the privilege level that a selector carries.
pub const USER_DATA: u16 = 0x18 | 3;
/// The program's code at ring 3.
pub const USER_CODE: u16 = 0x20 | 3;
const TSS: u16 = 0x28;
/// A segment that nobody uses: its limit is the CPU's number, which `lsl` reads at any ring.
pub const CPU_NUMBER: u16 = 0x38 | 3;

/// Interrupt stacks: which of the seven entries of the TSS a vector uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ist {
    /// #DF.
    DoubleFault = 1,
    /// NMI.
    Nmi = 2,
    /// #MC.
    MachineCheck = 3,
    /// #DB.
    Debug = 4,
    /// #PF.
    PageFault = 5,
    /// All devices and IPIs.
    Device = 6,
    /// All other exceptions.
    Exception = 7,
}

/// Descriptors: null, kernel code and data, user data and code (in the order `sysret` wants), TSS (two words), CPU number.
#[repr(C, align(16))]
pub(super) struct Gdt(UnsafeCell<[u64; Self::LEN]>);

/// The 64-bit TSS, as words: of interest are only the interrupt stacks, seven pairs from word 9 on.
#[repr(C, align(8))]
pub(super) struct Tss(UnsafeCell<[u32; 26]>);

// SAFETY: both are written by their own CPU during its bring-up and only read (by the CPU itself) afterwards.
unsafe impl Sync for Gdt {}
// SAFETY: as for `Gdt`.
unsafe impl Sync for Tss {}

impl Gdt {
    const LEN: usize = 8;

    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new([
            0,
            0x00af_9b00_0000_ffff, // kernel code: present, DPL 0, long
            0x00cf_9300_0000_ffff, // kernel data
            0x00cf_f300_0000_ffff, // user data
            0x00af_fb00_0000_ffff, // user code
            0,
            0,
            0x0040_f100_0000_0000, // data, DPL 3, limit 0 in octets
        ]))
    }
}

impl Tss {
    /// Bytes that the CPU reads.
    const SIZE: u64 = 104;
    const IST_WORD: usize = 9;

    pub(super) const fn new() -> Self {
        let mut words = [0; 26];
        // Upper half: offset of the I/O permission map. Behind the end: there is none.
        words[25] = (Self::SIZE as u32) << 16;
        Self(UnsafeCell::new(words))
    }
}

/// Fills in a CPU's interrupt stacks and loads its segments; `stacks[i]` is the top of [`Ist`] entry `i + 1`.
///
/// # Safety
/// Called once per CPU, by itself; the stacks are mapped for ever and used by nothing else.
pub unsafe fn load(cpu: &'static PerCpu, stacks: [u64; 7]) {
    let tss = (&raw const cpu.tss) as u64;
    // SAFETY: this CPU is in its bring-up; the task register is not loaded yet, so nothing reads these.
    unsafe {
        let words = &mut *cpu.tss.0.get();
        for (pair, stack) in words[Tss::IST_WORD..].chunks_exact_mut(2).zip(stacks) {
            pair.copy_from_slice(&[stack as u32, (stack >> 32) as u32]);
        }
        let gdt = &mut *cpu.gdt.0.get();
        gdt[5] =
            0x0000_8900_0000_0000 | (Tss::SIZE - 1) | (tss & 0x00ff_ffff) << 16 | (tss >> 24 & 0xff) << 56;
        gdt[6] = tss >> 32;
        // A machine has at most as many CPUs as fit in the limit's low 16 bits.
        gdt[7] |= u64::from(cpu.id() & 0xffff);
    }
    #[repr(C, packed(2))]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: (Gdt::LEN * 8 - 1) as u16, base: (&raw const cpu.gdt) as u64 };
    // SAFETY: the table just filled holds flat segments at the same selectors as the boot table, so reloading them
    // changes nothing but where they are read from; the far return goes to the next line.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {code}",
            "lea {t}, [rip + 2f]",
            "push {t}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "ltr {tss:x}",
            // No local table: otherwise what the CPU started with, descriptors at address 0, might count.
            "lldt {none:x}",
            pointer = in(reg) &pointer,
            code = const KERNEL_CODE,
            data = in(reg) u32::from(KERNEL_DATA),
            tss = in(reg) TSS,
            none = in(reg) 0u16,
            t = out(reg) _,
        );
    }
}
