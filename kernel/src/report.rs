//! Reports of faults and panics: what happened, registers, backtrace. The host tool names the addresses.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use abi::exit::{STATUS_KERNEL, STATUS_SIGNAL_BASE};
use abi::report::{Frame, PREFIX};

use crate::arch::current::vectors::TrapFrame;
use crate::arch::current::{percpu, power, uaccess, vectors};
use crate::console::Writer;
use crate::exit;
use crate::mm::{self, Access, PageInError};
use crate::{sched, time};

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Cause {
    /// A page fault that could not be mended.
    Page {
        /// The address that was touched.
        address: u64,
        /// How.
        access: Access,
        /// Why it was refused.
        reason: PageInError,
    },
    /// Another exception; the frame tells which.
    Exception,
}

/// Most frames of a backtrace.
const MAX_FRAMES: u32 = 64;

/// Names of the exceptions (SDM vol. 3 § 7.15) and the signals that Linux makes of them.
const EXCEPTIONS: [(&str, u8); 32] = {
    const RESERVED: (&str, u8) = ("reserved exception", 11);
    let mut table = [RESERVED; 32];
    table[0] = ("divide error", 8);
    table[1] = ("debug exception", 5);
    table[2] = ("non-maskable interrupt", 7);
    table[3] = ("breakpoint", 5);
    table[4] = ("overflow", 11);
    table[5] = ("bound range exceeded", 11);
    table[6] = ("invalid instruction", 4);
    table[7] = ("device not available", 11);
    table[8] = ("double fault", 11);
    table[10] = ("invalid TSS", 11);
    table[11] = ("segment not present", 7);
    table[12] = ("stack-segment fault", 7);
    table[13] = ("general protection fault", 11);
    table[14] = ("page fault", 11);
    table[16] = ("floating-point error", 8);
    table[17] = ("alignment check", 7);
    table[18] = ("machine check", 7);
    table[19] = ("SIMD floating-point error", 8);
    table[20] = ("virtualization exception", 11);
    table[21] = ("control protection exception", 11);
    table
};

fn exception(vector: u64) -> (&'static str, u8) {
    EXCEPTIONS.get(vector as usize).copied().unwrap_or(("interrupt", 11))
}

/// The signal that Linux makes of a fault with this vector.
pub fn signal_of(vector: u64, cause: Cause) -> u8 {
    const SIGBUS: u8 = 7;
    match cause {
        Cause::Page { reason: PageInError::BehindEnd | PageInError::NoSpace, .. } => SIGBUS,
        _ => exception(vector).1,
    }
}

struct What<'a>(&'a TrapFrame, Cause);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = exception(self.0.vector);
        f.write_str(name)?;
        let Cause::Page { address, access, reason } = self.1 else { return Ok(()) };
        let access = match access {
            Access::Read => "read of",
            Access::Write => "write to",
            Access::Execute => "execution of",
        };
        let reason = match reason {
            PageInError::NotMapped if address < 4096 => "a null pointer",
            PageInError::NotMapped if mm::is_below_stack(address) => {
                "below the main thread's stack: stack overflow"
            }
            PageInError::NotMapped => "where nothing is mapped",
            PageInError::Protected => "which its mapping does not allow",
            PageInError::NoMemory => {
                "whose memory was promised, but no frame is free: give the machine more memory (-m)"
            }
            PageInError::Kernel if mm::kstack::is_guard(address) => "a guard page: kernel stack overflow",
            PageInError::Kernel => "which is not the program's",
            PageInError::BehindEnd => "behind the end of the file that is mapped there",
            PageInError::NoSpace => "where a page of a file is to be, and there is no space for it",
        };
        write!(f, ": {access} {address:#018x}, {reason}")
    }
}

/// A thread's name as text.
pub(crate) fn text(name: &[u8; 16]) -> &str {
    let name = name.split(|&octet| octet == 0).next().unwrap_or(&[]);
    core::str::from_utf8(name).unwrap_or("?")
}

/// Reports a fault of the program and ends the image with 128 plus the signal's number.
pub fn program_fault(frame: &TrapFrame, cause: Cause) -> ! {
    begin();
    let thread = sched::current();
    let name = thread.name();
    let name = text(&name);
    let what = What(frame, cause);
    let mut out = Writer;
    let _ = writeln!(out, "\n{PREFIX}program fault: {what} (thread {} \"{name}\")", thread.tid);
    registers(&mut out, frame);
    backtrace(&mut out, frame.rip, frame.rbp, Some(frame.rsp));
    power::exit(STATUS_SIGNAL_BASE + signal_of(frame.vector, cause))
}

/// Reports a fault of the kernel and ends the image.
pub fn kernel_fault(frame: &TrapFrame, cause: Cause) -> ! {
    begin();
    let mut out = Writer;
    let _ = writeln!(out, "\n{PREFIX}kernel fault: {}", What(frame, cause));
    registers(&mut out, frame);
    backtrace(&mut out, frame.rip, frame.rbp, Some(frame.rsp));
    power::exit(STATUS_KERNEL)
}

/// Reports a panic of the kernel and ends the image.
pub fn kernel_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    let mut out = Writer;
    let _ = write!(out, "\n{PREFIX}kernel panic: {}", info.message());
    if let Some(location) = info.location() {
        let _ = write!(out, ", {location}");
    }
    let _ = writeln!(out);
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    backtrace(&mut out, kernel_panic as *const () as u64, rbp, None);
    power::exit(STATUS_KERNEL)
}

/// How long the report waits for the other CPUs to come from the program, in nanoseconds.
const ARRIVAL_NS: u64 = 100_000_000;

/// Non-maskable interrupts that have arrived.
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// A CPU has come to the handler of non-maskable interrupts, and stays there.
pub fn note_arrival() {
    ARRIVED.fetch_add(1, Ordering::AcqRel);
}

/// The host sent a non-maskable interrupt, to all CPUs: it wants to know what everybody does. Reports the stacks of all threads and
/// ends the image; every CPU calls it, the first one reports.
pub fn at_hosts_wish(frame: &TrapFrame, in_kernel: bool) -> ! {
    begin();
    // As they come, they leave their registers where `for_each_stopped` finds them.
    let end = time::now_ns() + ARRIVAL_NS;
    while ARRIVED.load(Ordering::Acquire) < sched::cpu_count() as usize && time::now_ns() < end {
        core::hint::spin_loop();
    }
    let mut out = Writer;
    let _ = writeln!(out, "\n{PREFIX}stopped by the host; what the threads do:");
    if in_kernel && !percpu::this().current_thread().is_idle() {
        let _ = writeln!(out, "{PREFIX}the kernel, on CPU {}", percpu::this().id());
        backtrace(&mut out, frame.rip, frame.rbp, None);
    }
    let complete = sched::for_each_stopped(|thread, frame| {
        let name = thread.name();
        let _ = write!(out, "{PREFIX}thread {} \"{}\"", thread.tid, text(&name));
        let _ = match frame.vector {
            vectors::SYSCALL_VECTOR => writeln!(out, ", in system call {}", frame.error),
            _ => writeln!(out),
        };
        program_backtrace(&mut out, frame);
    });
    if !complete {
        let _ = writeln!(out, "{PREFIX}the table of threads is locked");
    }
    power::exit(STATUS_KERNEL)
}

/// The frames of a thread that is in the kernel or would come back to `frame`. The functions of libc that make system calls have no
/// frame of their own, so that their caller's address lies at the stack pointer.
fn program_backtrace(out: &mut Writer, frame: &TrapFrame) {
    let caller =
        read_pair(frame.rsp).map(|[address, _]| address).filter(|address| mm::image::is_code(*address));
    match caller {
        Some(caller) if frame.vector == vectors::SYSCALL_VECTOR => {
            let _ = writeln!(out, "{}", Frame { index: 0, address: frame.rip });
            frames(out, 1, caller, frame.rbp);
        }
        _ => frames(out, 0, frame.rip, frame.rbp),
    }
}

/// A second fault while a report is written ends the machine.
fn begin() {
    if !exit::stop_others() {
        let _ = writeln!(Writer, "{PREFIX}another fault during the report");
        power::exit(STATUS_KERNEL);
    }
    // The backtrace may fault again: on this stack, not at the top of the interrupt stack that we may be on.
    vectors::stay_on_stack();
}

fn registers(out: &mut Writer, frame: &TrapFrame) {
    let f = frame;
    let rows = [
        [("rax", f.rax), ("rbx", f.rbx), ("rcx", f.rcx), ("rdx", f.rdx)],
        [("rsi", f.rsi), ("rdi", f.rdi), ("rbp", f.rbp), ("rsp", f.rsp)],
        [("r8 ", f.r8), ("r9 ", f.r9), ("r10", f.r10), ("r11", f.r11)],
        [("r12", f.r12), ("r13", f.r13), ("r14", f.r14), ("r15", f.r15)],
        [("rip", f.rip), ("flg", f.rflags), ("cs ", f.cs), ("err", f.error)],
    ];
    for row in rows {
        for (name, value) in row {
            let _ = write!(out, "  {name} {value:016x}");
        }
        let _ = writeln!(out);
    }
}

/// Walks frame pointers from `rbp`. Stops where the chain leads nowhere, backwards or out of code.
///
/// A call of what is no code faults before anything is done with the stack: then the caller's address lies at `rsp`.
fn backtrace(out: &mut Writer, rip: u64, rbp: u64, rsp: Option<u64>) {
    if !mm::image::is_code(rip)
        && let Some([address, _]) = rsp.and_then(read_pair)
        && mm::image::is_code(address)
    {
        let _ = writeln!(out, "{}", Frame { index: 0, address: rip });
        return frames(out, 1, address, rbp);
    }
    frames(out, 0, rip, rbp);
}

/// The frame `first`, at `rip`, and those that the chain of frame pointers from `rbp` on leads to.
fn frames(out: &mut Writer, first: u32, rip: u64, mut rbp: u64) {
    let _ = writeln!(out, "{}", Frame { index: first, address: rip });
    for index in first + 1..MAX_FRAMES {
        let Some([next, address]) = read_pair(rbp) else { return };
        if !mm::image::is_code(address) {
            return;
        }
        let _ = writeln!(out, "{}", Frame { index, address });
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}

/// Two words at an address that may be anything.
fn read_pair(address: u64) -> Option<[u64; 2]> {
    // Neither null nor non-canonical: the copy mends page faults only.
    let canonical = !(0x0000_7fff_ffff_fff0..=0xffff_8000_0000_0000).contains(&address);
    if address < 4096 || !canonical || !address.is_multiple_of(8) {
        return None;
    }
    let mut pair = [0u64; 2];
    // SAFETY: `pair` is ours; the other side may be missing, which the copy survives.
    let left = unsafe { uaccess::copy(pair.as_mut_ptr().cast(), address as *const u8, 16) };
    (left == 0).then_some(pair)
}
