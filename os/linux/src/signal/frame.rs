//! The signal frame: what a handler finds on its stack, laid out as Linux does on x86_64 (`struct rt_sigframe` in
//! `arch/x86/include/asm/sigframe.h`, `struct ucontext` and `struct sigcontext` in its uapi headers).
//!
//! From the stack pointer upwards: return address (the restorer), `ucontext`, `siginfo`, and, 64-byte aligned, the
//! floating-point state in the form of `xsave` or `fxsave`.

use kernel::arch::current::fpu;
use kernel::arch::current::vectors::TrapFrame;
use kernel::sched::thread::{AltStack, SignalInfo};
use kernel::uaccess;

use crate::errno::{EFAULT, Errno};

/// Octets below the stack pointer that the program may use without moving it (SysV AMD64 § 3.2.2).
const RED_ZONE: u64 = 128;
/// Words of `struct ucontext`: flags, link, stack (3), sigcontext (32), mask.
const UCONTEXT_WORDS: usize = 2 + 3 + 32 + 1;
const SIGINFO_WORDS: usize = 16;
const FRAME_WORDS: usize = 1 + UCONTEXT_WORDS + SIGINFO_WORDS;
/// First word of the registers in the frame.
const REGISTERS: usize = 1 + 2 + 3;
const MASK: usize = REGISTERS + 32;

/// `UC_FP_XSTATE`, `UC_SIGCONTEXT_SS`, `UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 0b111;
/// Flags that a handler may change (`FIX_EFLAGS`).
const RFLAGS_MASK: u64 = 0x5_0dd5;
/// Interrupts on, and the bit that is always set.
const RFLAGS_FIXED: u64 = 0x202;
/// [`TrapFrame::vector`] after a return from a handler: every register counts, so the short way back does not do.
const SIGRETURN_VECTOR: u64 = 0x101;

/// Where a signal goes.
pub(super) struct Handler {
    pub entry: u64,
    pub restorer: u64,
    pub old_mask: u64,
    pub alt_stack: AltStack,
    pub use_alt: bool,
}

/// What a frame has besides registers.
pub(super) struct Popped {
    pub mask: u64,
    pub alt_stack: AltStack,
    /// The CPU took its floating-point state. Otherwise that is as at the program's start.
    pub is_whole: bool,
}

/// Whether an address may be in `rip`: bits 47 to 63 are the same.
pub(super) fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

/// A signal as `siginfo_t`.
pub(super) fn siginfo(info: &SignalInfo) -> [u64; SIGINFO_WORDS] {
    let mut words = [0; SIGINFO_WORDS];
    // si_signo, si_errno; si_code and padding.
    words[0] = u64::from(info.signal);
    words[1] = u64::from(info.code as u32);
    words[2..5].copy_from_slice(&info.words);
    words
}

/// `struct sigaltstack`: pointer, flags with padding, size.
pub(super) fn alt_stack_words(stack: &AltStack, on_it: bool) -> [u64; 3] {
    const ONSTACK: u64 = 1;
    const DISABLE: u64 = 2;
    const AUTODISARM: u64 = 1 << 31;
    let state = match (stack.size, on_it) {
        (0, _) => DISABLE,
        (_, true) => ONSTACK,
        _ => 0,
    };
    [stack.address, state | if stack.autodisarm { AUTODISARM } else { 0 }, stack.size]
}

/// The registers in the order of `struct sigcontext`.
fn registers(frame: &mut TrapFrame) -> [&mut u64; 17] {
    let f = frame;
    [
        &mut f.r8, &mut f.r9, &mut f.r10, &mut f.r11, &mut f.r12, &mut f.r13, &mut f.r14, &mut f.r15,
        &mut f.rdi, &mut f.rsi, &mut f.rbp, &mut f.rbx, &mut f.rdx, &mut f.rax, &mut f.rcx, &mut f.rsp,
        &mut f.rip,
    ]
}

/// Puts a frame on the program's stack and has it go on in the handler.
pub(super) fn push(frame: &mut TrapFrame, info: &SignalInfo, handler: &Handler) -> Result<(), Errno> {
    if !is_canonical(handler.entry) {
        return Err(EFAULT);
    }
    let on_alt = handler.alt_stack.contains(frame.rsp);
    let top = if handler.use_alt && handler.alt_stack.size > 0 && !on_alt {
        handler.alt_stack.address.checked_add(handler.alt_stack.size).ok_or(EFAULT)?
    } else {
        frame.rsp.wrapping_sub(RED_ZONE)
    };
    let fp_at = top.checked_sub(fpu::frame_size() as u64).ok_or(EFAULT)? & !63;
    // At the handler's first instruction the stack is as after a call: 8 short of a multiple of 16.
    let at = (fp_at.checked_sub(8 * FRAME_WORDS as u64).ok_or(EFAULT)? & !15).wrapping_sub(8);

    let mut words = [0; FRAME_WORDS];
    words[0] = handler.restorer;
    words[1] = UC_FLAGS;
    words[3..6].copy_from_slice(&alt_stack_words(&handler.alt_stack, on_alt));
    for (word, register) in words[REGISTERS..].iter_mut().zip(registers(frame)) {
        *word = *register;
    }
    words[REGISTERS + 17] = frame.rflags;
    // cs, gs, fs, ss: 16 bits each.
    words[REGISTERS + 18] = frame.cs & 0xffff | (frame.ss & 0xffff) << 48;
    words[REGISTERS + 19] = frame.error;
    words[REGISTERS + 20] = frame.vector;
    words[REGISTERS + 21] = handler.old_mask;
    words[REGISTERS + 22] = info.words[0];
    words[REGISTERS + 23] = fp_at;
    words[MASK] = handler.old_mask;
    words[MASK + 1..].copy_from_slice(&siginfo(info));
    fpu::write_program_state(frame, fp_at)?;
    uaccess::write(at, words)?;

    frame.rdi = u64::from(info.signal);
    frame.rsi = at + 8 * (MASK as u64 + 1);
    frame.rdx = at + 8;
    frame.rax = 0;
    frame.rsp = at;
    frame.rip = handler.entry;
    // TF, DF, RF
    frame.rflags &= !(1 << 8 | 1 << 10 | 1 << 16);
    frame.vector = SIGRETURN_VECTOR;
    Ok(())
}

/// Takes a frame off the program's stack. `None`: there is none.
///
/// Everything in it is the program's claim: selectors stay ours, flags are masked, the CPU refuses a wrong floating-point state. The
/// caller checks that the CPU takes the address at which the program goes on; a wrong one otherwise, of the kernel's for instance,
/// faults there.
pub(super) fn pop(frame: &mut TrapFrame) -> Option<Popped> {
    const DISABLE: u64 = 2;
    const AUTODISARM: u64 = 1 << 31;
    // The handler's return took the restorer's address off.
    let at = frame.rsp.wrapping_sub(8);
    let words = uaccess::read::<[u64; FRAME_WORDS]>(at).ok()?;
    for (register, word) in registers(frame).into_iter().zip(&words[REGISTERS..]) {
        *register = *word;
    }
    frame.rflags = words[REGISTERS + 17] & RFLAGS_MASK | RFLAGS_FIXED;
    frame.vector = SIGRETURN_VECTOR;
    let fp_at = words[REGISTERS + 23];
    let is_whole = fp_at == 0 || fpu::read_program_state(frame, fp_at).is_ok();
    if fp_at == 0 || !is_whole {
        fpu::reset_program_state(frame);
    }
    let [address, flags, size] = [words[3], words[4], words[5]];
    let alt_stack = match flags & DISABLE {
        0 if size > 0 => AltStack { address, size, autodisarm: flags & AUTODISARM != 0 },
        _ => AltStack::default(),
    };
    Some(Popped { mask: words[MASK], alt_stack, is_whole })
}
