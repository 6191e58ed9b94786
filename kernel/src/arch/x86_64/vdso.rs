//! The vDSO: an ELF image of one page by which libc finds clock functions that need no system call.
//!
//! It is laid out when the kernel is assembled and costs nothing at boot. Its functions and its data lie in sections
//! of their own, on pages of their own, so that under isolation exactly these are the program's to execute and read.
//! Source: Linux man-pages vdso(7); System V gABI, chapter 5 (dynamic section, hash table).

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use super::gdt::CPU_NUMBER;
use super::tsc::{Clock, rdtsc};

global_asm!(
    ".section .vdso,\"ax\",@progbits",
    ".balign 4096",
    ".globl includeos_vdso",
    "includeos_vdso:",
    ".byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    ".word 3, 62",              // ET_DYN, EM_X86_64
    ".long 1",
    ".quad 0, 64, 0",           // entry, program headers, section headers
    ".long 0",
    ".word 64, 56, 2, 64, 0, 0",
    ".long 1, 5",               // PT_LOAD, R+X
    ".quad 0, 0, 0, 4096, 4096, 4096",
    ".long 2, 4",               // PT_DYNAMIC, R
    ".quad 3f - includeos_vdso, 3f - includeos_vdso, 3f - includeos_vdso, 4f - 3f, 4f - 3f, 8",
    "3:",
    ".quad 14, 1",                          // DT_SONAME
    ".quad 4, 5f - includeos_vdso",         // DT_HASH
    ".quad 5, 6f - includeos_vdso",         // DT_STRTAB
    ".quad 6, 7f - includeos_vdso",         // DT_SYMTAB
    ".quad 10, 77f - 6f",                   // DT_STRSZ
    ".quad 11, 24",                         // DT_SYMENT
    ".quad 0x6ffffff0, 8f - includeos_vdso",// DT_VERSYM
    ".quad 0x6ffffffc, 9f - includeos_vdso",// DT_VERDEF
    ".quad 0x6ffffffd, 2",                  // DT_VERDEFNUM
    ".quad 0, 0",
    "4:",
    // Hash table: one bucket, all symbols in its chain.
    "5: .long 1, 5, 1, 0, 2, 3, 4, 0",
    "7: .quad 0, 0, 0",
    ".macro VDSO_SYMBOL name, function",
    ".long \\name - 6f",
    ".byte 0x12, 0",            // STB_GLOBAL, STT_FUNC
    ".word 1",
    ".quad \\function - includeos_vdso, 0",
    ".endm",
    "VDSO_SYMBOL 61f, {clock_gettime}",
    "VDSO_SYMBOL 62f, {gettimeofday}",
    "VDSO_SYMBOL 63f, {time}",
    "VDSO_SYMBOL 64f, {getcpu}",
    "8: .word 0, 2, 2, 2, 2",
    ".balign 4",
    // Version definitions: the file's own, then LINUX_2.6 (ELF hashes of the names).
    "9: .word 1, 1, 1, 1",
    ".long 0x0fd6c59b, 20, 28",
    ".long 1, 0",
    ".word 1, 0, 2, 1",
    ".long 0x03ae75f6, 20, 0",
    ".long 65f - 6f, 0",
    "6: .byte 0",
    ".asciz \"linux-vdso.so.1\"",
    "61: .asciz \"__vdso_clock_gettime\"",
    "62: .asciz \"__vdso_gettimeofday\"",
    "63: .asciz \"__vdso_time\"",
    "64: .asciz \"__vdso_getcpu\"",
    "65: .asciz \"LINUX_2.6\"",
    "77:",
    ".text",
    clock_gettime = sym clock_gettime,
    gettimeofday = sym gettimeofday,
    time = sym time,
    getcpu = sym getcpu,
);

unsafe extern "C" {
    static includeos_vdso: [u8; 4096];
}

/// Address of the vDSO's ELF header, for `AT_SYSINFO_EHDR`.
pub fn address() -> u64 {
    (&raw const includeos_vdso) as u64
}

/// What the vDSO's functions read: a page of its own, which under isolation the program can only read.
#[repr(C, align(4096))]
pub struct VdsoData {
    mult: AtomicU64,
    /// Nanoseconds to add for `CLOCK_REALTIME`.
    realtime_offset: AtomicU64,
}

#[unsafe(link_section = ".vdso.bss")]
static DATA: VdsoData = VdsoData { mult: AtomicU64::new(0), realtime_offset: AtomicU64::new(0) };

/// Publishes the clock. Called at boot, before the program runs.
pub fn set_clock(clock: &Clock, realtime_offset: u64) {
    // SAFETY: the alias of a static; through its own address, that of a page of the program, the kernel does not go.
    let data = unsafe { &*crate::mm::direct::of_image(&raw const DATA) };
    data.mult.store(clock.mult(), Ordering::Relaxed);
    data.realtime_offset.store(realtime_offset, Ordering::Relaxed);
}

/// Address of the page that the vDSO's functions read.
pub fn data_address() -> u64 {
    (&raw const DATA) as u64
}

#[repr(C)]
struct Pair {
    seconds: i64,
    fraction: i64,
}

const CLOCK_REALTIME: i32 = 0;
const CLOCK_REALTIME_COARSE: i32 = 5;

#[inline(always)]
fn now(realtime: bool) -> u64 {
    let offset = if realtime { DATA.realtime_offset.load(Ordering::Relaxed) } else { 0 };
    super::tsc::scale(rdtsc(), DATA.mult.load(Ordering::Relaxed)).wrapping_add(offset)
}

#[unsafe(link_section = ".vdso.text")]
extern "C" fn clock_gettime(clock: i32, out: *mut Pair) -> i32 {
    let realtime = match clock {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE => true,
        // MONOTONIC, MONOTONIC_RAW, MONOTONIC_COARSE, BOOTTIME
        1 | 4 | 6 | 7 => false,
        _ => {
            let result: i64;
            // SAFETY: the system call checks its arguments.
            unsafe {
                asm!("syscall", inlateout("rax") 228i64 => result, in("rdi") i64::from(clock), in("rsi") out,
                    lateout("rcx") _, lateout("r11") _, options(nostack));
            }
            return result as i32;
        }
    };
    let ns = now(realtime);
    // SAFETY: the program's pointer, used in the program's context: a wrong one faults there, as on Linux.
    unsafe {
        out.write(Pair { seconds: (ns / 1_000_000_000) as i64, fraction: (ns % 1_000_000_000) as i64 });
    }
    0
}

#[unsafe(link_section = ".vdso.text")]
extern "C" fn gettimeofday(out: *mut Pair, zone: *mut [i32; 2]) -> i32 {
    let ns = now(true);
    // SAFETY: as in `clock_gettime`; null means that the caller does not want it.
    unsafe {
        if !out.is_null() {
            let us = (ns % 1_000_000_000 / 1000) as i64;
            out.write(Pair { seconds: (ns / 1_000_000_000) as i64, fraction: us });
        }
        if !zone.is_null() {
            zone.write([0, 0]);
        }
    }
    0
}

#[unsafe(link_section = ".vdso.text")]
extern "C" fn time(out: *mut i64) -> i64 {
    let seconds = (now(true) / 1_000_000_000) as i64;
    if !out.is_null() {
        // SAFETY: as in `clock_gettime`.
        unsafe { out.write(seconds) };
    }
    seconds
}

#[unsafe(link_section = ".vdso.text")]
extern "C" fn getcpu(cpu: *mut u32, node: *mut u32) -> i32 {
    let number: u32;
    // SAFETY: reads the limit of a segment. At ring 3 `%gs` is not the kernel's.
    unsafe {
        asm!("lsl {:e}, {:e}", out(reg) number, in(reg) u32::from(CPU_NUMBER), options(nomem, nostack));
    }
    // SAFETY: as in `clock_gettime`.
    unsafe {
        if !cpu.is_null() {
            cpu.write(number);
        }
        if !node.is_null() {
            node.write(0);
        }
    }
    0
}
