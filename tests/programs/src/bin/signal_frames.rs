//! The floating-point state in a signal frame: what a handler writes there arrives; what the CPU would refuse is a SIGSEGV, for
//! which std has a handler that goes away when it is called.

use std::arch::asm;

fn main() {
    let name = std::env::args().nth(1).expect("usage: signal_frames NAME");
    let (_, handler) = HANDLERS.iter().find(|(known, _)| *known == name).expect("a handler of that name");
    // SAFETY: zero is a value; the handlers have the type that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = *handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    println!("{name}:");
    if name != "registers" {
        println!("the state is a new one: {}", at_depth(0) == 0);
        println!("survived the second time: {}", at_depth(0));
    }
    // Often: where the frame lies within its page changes, and pages of the stack are touched for the first time.
    for depth in 0..200 {
        assert_eq!(at_depth(depth), 2 * CAME);
    }
    println!("every time");
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::ucontext_t);
const HANDLERS: [(&str, Handler); 4] =
    [("registers", registers), ("header", header), ("unaligned", unaligned), ("nowhere", nowhere)];

const CAME: u64 = 0x1234_5678_9abc;

/// Uses some stack, then has the handler called; returns what is in a vector register after that.
#[inline(never)]
fn at_depth(depth: u64) -> u64 {
    if depth > 0 {
        let room = std::hint::black_box([depth; 40]);
        return at_depth(depth - 1) + room[7] - depth;
    }
    let number: u64;
    // SAFETY: tgkill(2) of this thread; what the handler changes is named.
    unsafe {
        let (pid, tid) = (libc::getpid(), libc::syscall(libc::SYS_gettid));
        asm!("movq xmm9, {before}", "movq xmm12, {before}", "syscall", "paddq xmm9, xmm12", "movq {number}, xmm9",
            before = in(reg) CAME - 1, number = lateout(reg) number, inlateout("rax") libc::SYS_tgkill => _,
            in("rdi") pid, in("rsi") tid, in("rdx") libc::SIGUSR1, lateout("rcx") _, lateout("r11") _,
            out("xmm9") _, out("xmm12") _);
    }
    number
}

/// Where the state lies.
fn state(context: *mut libc::ucontext_t) -> *mut u64 {
    // SAFETY: the handler's own frame.
    unsafe { (*context).uc_mcontext.fpregs.cast() }
}

/// Offset of the first xmm register, in words (SDM vol. 1 § 10.5.1).
const XMM: usize = 160 / 8;

extern "C" fn registers(_: i32, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    let state = state(context);
    // SAFETY: the legacy area has 512 octets.
    unsafe {
        assert_eq!((state.add(XMM + 2 * 9).read(), state.add(XMM + 2 * 12).read()), (CAME - 1, CAME - 1));
        state.add(XMM + 2 * 9).write(CAME);
        state.add(XMM + 2 * 12).write(CAME);
        // Lost, if the state of the program were not kept.
        asm!("pxor xmm9, xmm9", "pxor xmm12, xmm12", out("xmm9") _, out("xmm12") _);
    }
}

extern "C" fn header(_: i32, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the header follows the legacy area. Its second word is 0 in the form that is used here.
    unsafe { state(context).byte_add(512 + 8).write(1 << 62) };
}

extern "C" fn unaligned(_: i32, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the handler's own frame.
    unsafe { (*context).uc_mcontext.fpregs = (*context).uc_mcontext.fpregs.byte_add(8) };
}

extern "C" fn nowhere(_: i32, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the handler's own frame; nothing is mapped there.
    unsafe { (*context).uc_mcontext.fpregs = std::ptr::without_provenance_mut(0x1000) };
}
