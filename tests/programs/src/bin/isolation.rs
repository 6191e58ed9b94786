//! Everything that a program at ring 3 may not do, caught by a handler. As a Linux process it prints the same.
//!
//! `isolation START END ...`, hexadecimal: the same for ranges of the kernel's own memory, which Linux does not know; from the
//! last of them the program may read, and no more.

use std::arch::asm;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

use libc::{c_int, c_void, siginfo_t};
use programs::{number, syscall};

/// Where the handler goes on, and with which stack.
static RECOVER: AtomicU64 = AtomicU64::new(0);
static STACK: AtomicU64 = AtomicU64::new(0);
/// The last signal, its code and its address.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
/// What [`tamper`] does.
static FLAGS: AtomicU64 = AtomicU64::new(0);
static TARGET: AtomicU64 = AtomicU64::new(0);
static SELECTORS: AtomicU64 = AtomicU64::new(0);
/// Single steps taken.
static STEPS: AtomicU64 = AtomicU64::new(0);

const INTERRUPT_FLAG: u64 = 1 << 9;
const IO_PRIVILEGE: u64 = 3 << 12;
const NESTED_TASK: u64 = 1 << 14;
const VIRTUAL_8086: u64 = 1 << 17;
const SYSTEM_FLAGS: u64 = INTERRUPT_FLAG | IO_PRIVILEGE | NESTED_TASK | VIRTUAL_8086;

extern "C" fn recover(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo and a ucontext; the attempt left both values.
    unsafe {
        SIGNAL.store(signal, SeqCst);
        CODE.store((*info).si_code, SeqCst);
        ADDRESS.store((*info).si_addr() as u64, SeqCst);
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = RECOVER.load(SeqCst) as i64;
        registers[libc::REG_RSP as usize] = STACK.load(SeqCst) as i64;
    }
}

/// Changes in the frame what only the kernel may decide.
extern "C" fn tamper(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        registers[libc::REG_EFL as usize] ^= FLAGS.load(SeqCst) as i64;
        match TARGET.load(SeqCst) {
            0 => {}
            target => registers[libc::REG_RIP as usize] = target as i64,
        }
        match SELECTORS.load(SeqCst) {
            0 => {}
            selectors => registers[libc::REG_CSGSFS as usize] = selectors as i64,
        }
    }
}

extern "C" fn step(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    STEPS.fetch_add(1, SeqCst);
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn install(signal: c_int, handler: Handler) {
    // SAFETY: a zeroed sigaction is valid, and the handlers have the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(signal, &action, null_mut()), 0);
    }
}

/// What became of an attempt.
fn outcome() -> String {
    let address = match ADDRESS.load(SeqCst) {
        0 => "nowhere".to_owned(),
        address => format!("{address:#x}"),
    };
    match SIGNAL.swap(0, SeqCst) {
        0 => "went through".to_owned(),
        // What the code of a trap is depends on the CPU's debug registers.
        libc::SIGTRAP => "SIGTRAP".to_owned(),
        // The address is the instruction's.
        libc::SIGILL => format!("SIGILL code {}", CODE.load(SeqCst)),
        libc::SIGFPE => format!("SIGFPE code {}", CODE.load(SeqCst)),
        libc::SIGBUS => format!("SIGBUS code {} at {address}", CODE.load(SeqCst)),
        libc::SIGSEGV => format!("SIGSEGV code {} at {address}", CODE.load(SeqCst)),
        signal => format!("signal {signal}"),
    }
}

/// Runs instructions that should fault, with `rdi` as operand, and tells what happened. They may change every register that a
/// call may change, and the stack pointer.
macro_rules! attempt {
    ($rdi:expr, $($instruction:literal),+) => {{
        // SAFETY: the instructions fault, and the handler goes on at the label with the stack as it was.
        unsafe {
            asm!(
                "lea rax, [rip + 3f]",
                "mov [rip + {recover}], rax",
                "mov [rip + {stack}], rsp",
                $($instruction,)+
                "3:",
                recover = sym RECOVER,
                stack = sym STACK,
                inout("rdi") $rdi => _,
                clobber_abi("sysv64"),
            );
        }
        outcome()
    }};
}

/// Shows attempts by their instructions.
macro_rules! show {
    ($($instruction:literal),+) => {
        println!("{}: {}", [$($instruction),+].join("; "), attempt!(0u64, $($instruction),+));
    };
}

fn main() {
    let stack =
        libc::stack_t { ss_sp: vec![0u8; 1 << 16].leak().as_mut_ptr().cast(), ss_flags: 0, ss_size: 1 << 16 };
    // SAFETY: the memory is leaked, hence there for ever.
    assert_eq!(unsafe { libc::sigaltstack(&stack, null_mut()) }, 0);
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP, libc::SIGFPE] {
        install(signal, recover);
    }
    install(libc::SIGUSR1, tamper);
    let ranges: Vec<u64> = std::env::args()
        .skip(1)
        .map(|word| u64::from_str_radix(&word, 16).expect("an address in hexadecimal"))
        .collect();
    if ranges.is_empty() {
        addresses();
        instructions();
        segments();
        interrupts();
        stack_pointers();
        flags();
        signal_frames();
        single_steps();
    } else {
        kernels_own(&ranges);
        fixed_selectors();
        alignment_check();
    }
    // The machine still works.
    let threads: Vec<_> =
        (0..4u64).map(|n| std::thread::spawn(move || vec![n; 1000].iter().sum::<u64>())).collect();
    println!("{:?}", threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>());
}

/// The kernel's half of the address space.
fn addresses() {
    let places = [
        ("the direct map", 0xffff_8880_0000_0000),
        ("the image in it", 0xffff_8880_0010_0000),
        ("a kernel stack", 0xffff_c800_0000_1000),
        ("device registers", 0xffff_c97e_e000_0000),
        ("the first of the half", 0xffff_8000_0000_0000),
        ("the last", 0xffff_ffff_ffff_fff8),
        ("not canonical", 0x8000_0000_0000),
        ("the last page of ours", 0x7fff_ffff_f000),
        ("null", 8u64),
    ];
    for (name, address) in places {
        println!("read, {name}: {}", attempt!(address, "mov rax, [rdi]"));
        println!("write, {name}: {}", attempt!(address, "mov qword ptr [rdi], 1"));
        println!("jump, {name}: {}", attempt!(address, "jmp rdi"));
        println!("call, {name}: {}", attempt!(address, "call rdi"));
        println!("atomic, {name}: {}", attempt!(address, "lock inc qword ptr [rdi]"));
    }
}

/// Instructions of ring 0.
fn instructions() {
    show!("cli");
    show!("sti");
    show!("hlt");
    show!("in al, 0x60");
    show!("mov edx, 0x3f8", "in al, dx");
    show!("mov edx, 0xe9", "mov eax, 0x78", "out dx, al");
    // The ports by which an image ends.
    show!("mov edx, 0xf4", "mov eax, 1", "out dx, eax");
    show!("mov edx, 0x64", "mov eax, 0xfe", "out dx, al");
    show!("mov edx, 0x604", "mov eax, 0x2000", "out dx, ax");
    show!("mov edx, 0x3f8", "mov ecx, 1", "mov rsi, rsp", "rep outsb");
    show!("mov ecx, 0xc0000080", "rdmsr");
    show!("mov ecx, 0xc0000101", "xor eax, eax", "xor edx, edx", "wrmsr");
    show!("mov ecx, 0xc0000082", "xor eax, eax", "xor edx, edx", "wrmsr");
    show!("mov rax, cr0");
    show!("mov rax, cr2");
    show!("mov rax, cr3");
    show!("mov rax, cr4");
    show!("xor eax, eax", "mov cr0, rax");
    show!("xor eax, eax", "mov cr3, rax");
    show!("xor eax, eax", "mov cr4, rax");
    show!("mov rax, dr7");
    show!("xor eax, eax", "mov dr7, rax");
    show!("xor eax, eax", "lmsw ax");
    show!("clts");
    show!("lgdt [rsp]");
    show!("lidt [rsp]");
    show!("xor eax, eax", "lldt ax");
    show!("mov eax, 0x28", "ltr ax");
    show!("invlpg [rsp]");
    show!("swapgs");
    show!("sysretq");
    show!("ud2");
}

/// Segment registers.
fn segments() {
    show!("mov eax, 0x10", "mov ds, eax");
    show!("mov eax, 0x10", "mov gs, eax");
    show!("mov eax, 0x10", "mov ss, eax");
    show!("xor eax, eax", "mov ss, eax");
    show!("mov eax, 7", "mov gs, eax");
    show!("mov eax, 0x1003", "mov fs, eax");
    // Base 0, like a null segment: the kernel's base is not to be seen.
    show!("mov rax, gs:[0]");
    show!("xor eax, eax", "mov gs, eax", "mov rax, gs:[8]");
    show!("push 0x10", "lea rax, [rip + 3f]", "push rax", "retfq");
    show!("push 8", "lea rax, [rip + 3f]", "push rax", "retfq");
    show!("push 0x28", "lea rax, [rip + 3f]", "push rax", "retfq");
    show!(
        "mov rax, rsp",
        "push 0x18",
        "push rax",
        "push 0x202",
        "push 0x10",
        "lea rax, [rip + 3f]",
        "push rax",
        "iretq"
    );
}

/// Software interrupts.
fn interrupts() {
    show!("int 0");
    show!("int 1");
    show!("int 2");
    show!("int3");
    show!("int 3");
    show!("int 4");
    show!("int 8");
    show!("int 13");
    show!("int 14");
    show!("int 32");
    show!("int 0x40");
    show!("int 0x41");
    show!("int 0xff");
    // int1
    show!(".byte 0xf1");
    show!("mov edx, 0xffff", "xor eax, eax", "xor ecx, ecx", "div ecx");
}

/// Stack pointers that are nobody's: the kernel does not use them.
fn stack_pointers() {
    for (name, rsp) in [
        ("null", 0),
        ("the kernel's half", 0xffff_8880_0000_1000),
        ("not canonical", 0x8000_0000_0000_0000u64),
    ] {
        if rsp != 0x8000_0000_0000_0000 {
            // A stack-segment fault; QEMU makes another one of it.
            println!("push, {name}: {}", attempt!(rsp, "mov rsp, rdi", "push rax"));
        }
        println!("a fault, {name}: {}", attempt!(rsp, "mov rsp, rdi", "ud2"));
        let pid: u64;
        // SAFETY: getpid(2) touches no memory.
        unsafe {
            asm!("mov {kept}, rsp", "mov rsp, {rsp}", "syscall", "mov rsp, {kept}", kept = out(reg) _, rsp = in(reg) rsp,
                inlateout("rax") number::GETPID => pid, lateout("rcx") _, lateout("r11") _);
        }
        println!("a call, {name}: {}", pid == u64::from(std::process::id()));
    }
}

fn system_flags() -> u64 {
    let flags: u64;
    // SAFETY: reads the flags.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
    flags & SYSTEM_FLAGS
}

/// Flags that ring 3 cannot change, and one that it can.
fn flags() {
    // SAFETY: clears the interrupt flag and sets the privilege, which is without effect.
    unsafe {
        asm!("pushfq", "and qword ptr [rsp], ~0x200", "or qword ptr [rsp], 0x3000", "popfq");
    }
    println!("popf: {:#x}", system_flags());
    let seen: u64;
    // SAFETY: NT is without effect on what follows here, and is cleared again.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], 0x4000", "popfq", "mov eax, 39", "syscall", "pushfq", "pop {seen}", "pushfq",
            "and qword ptr [rsp], ~0x4000", "popfq", seen = out(reg) seen, out("rax") _, out("rcx") _, out("r11") _);
    }
    println!("the nested-task flag over a call: {}", seen & NESTED_TASK != 0);
}

fn raise_tampered(flags: u64, target: u64, selectors: u64) {
    FLAGS.store(flags, SeqCst);
    TARGET.store(target, SeqCst);
    SELECTORS.store(selectors, SeqCst);
    // SAFETY: the signal has a handler; what that changes is looked at.
    unsafe {
        asm!("lea rax, [rip + 3f]", "mov [rip + {recover}], rax", "mov [rip + {stack}], rsp", "mov eax, 39", "syscall",
            "mov edi, eax", "mov esi, {signal}", "mov eax, 62", "syscall", "3:", recover = sym RECOVER, stack = sym STACK,
            signal = const libc::SIGUSR1, clobber_abi("sysv64"));
    }
}

/// A signal frame is the program's claim.
fn signal_frames() {
    raise_tampered(SYSTEM_FLAGS, 0, 0);
    println!("flags of a frame: {:#x}, {}", system_flags(), outcome());
    for target in [0xffff_8880_0000_0000, 0x8000_0000_0000_0000, 0x8000_0000_0000, 0x7fff_ffff_f000u64] {
        raise_tampered(0, target, 0);
        println!("going on at {target:#x}: {}", outcome());
    }
}

/// One instruction at a time, through system calls: each traps once, but for the call itself.
fn single_steps() {
    install(libc::SIGTRAP, step);
    let pid: u64;
    // SAFETY: TF is set for ten instructions. getpid(2) touches no memory.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "mov eax, 39", "syscall", "nop", "mov eax, 39", "syscall",
            "nop", "pushfq", "and qword ptr [rsp], ~0x100", "popfq", out("rax") pid, out("rcx") _, out("r11") _);
    }
    println!("single steps: {}, {}", STEPS.load(SeqCst), pid == u64::from(std::process::id()));
    install(libc::SIGTRAP, recover);
}

/// The kernel's part of the image.
fn kernels_own(bounds: &[u64]) {
    let mut went_through = Vec::new();
    let mut attempts = 0;
    let ranges: Vec<&[u64]> = bounds.chunks_exact(2).collect();
    for (n, range) in ranges.iter().enumerate() {
        let may_read = n + 1 == ranges.len();
        for at in [range[0], range[0] + (range[1] - range[0]) / 2, range[1] - 8] {
            let mut note = |what: &str, outcome: String, allowed: bool| {
                attempts += 1;
                if (outcome == "went through") != allowed || !allowed && !outcome.starts_with("SIGSEGV") {
                    went_through.push(format!("{what} {at:#x}: {outcome}"));
                }
            };
            note("read", attempt!(at, "mov rax, [rdi]"), may_read);
            note("write", attempt!(at, "mov qword ptr [rdi], 1"), false);
            note("jump", attempt!(at, "jmp rdi"), false);
            let page = at & !4095;
            // SAFETY: the calls are refused, or change nothing.
            let calls = unsafe {
                [
                    syscall(number::MPROTECT, [page, 4096, 3, 0, 0, 0]),
                    syscall(number::MUNMAP, [page, 4096, 0, 0, 0, 0]),
                    syscall(number::MMAP, [page, 4096, 3, 0x32, u64::MAX, 0]),
                    syscall(number::GETRANDOM, [at, 8, 0, 0, 0, 0]),
                ]
            };
            attempts += calls.len();
            if calls.iter().any(|&result| result >= 0) {
                went_through.push(format!("calls {at:#x}: {calls:?}"));
            }
        }
    }
    println!("{} ranges, {attempts} attempts, otherwise than expected: {went_through:#?}", ranges.len());
    // Linux answers some of these.
    println!("int 0x80: {}", attempt!(0u64, "mov eax, 20", "int 0x80"));
    println!("sysenter: {}", attempt!(0u64, "sysenter").starts_with("SIG"));
}

/// The flag that checks alignment on Linux opens the program's pages where it is set in the kernel: there it is not.
fn alignment_check() {
    println!(
        "alignment check: {}",
        attempt!(8u64, "pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov rax, [rdi]")
    );
    let word = [1u64];
    let pid: u64;
    // SAFETY: AC is cleared again; getpid(2) touches no memory, and write(2) reads a word.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov eax, 1", "mov edi, 99", "syscall", "mov eax, 39", "syscall",
            "pushfq", "and qword ptr [rsp], ~0x40000", "popfq", in("rsi") &word, in("rdx") 8, out("rdi") _,
            out("rax") pid, out("rcx") _, out("r11") _);
    }
    println!("calls under it: {}", pid == u64::from(std::process::id()));
}

/// Selectors in a signal frame do not count.
fn fixed_selectors() {
    let selectors = || {
        let (cs, ss): (u16, u16);
        // SAFETY: reads two registers.
        unsafe { asm!("mov {:x}, cs", "mov {:x}, ss", out(reg) cs, out(reg) ss) };
        (cs, ss)
    };
    let before = selectors();
    raise_tampered(0, 0, 0x10 << 48 | 0x08);
    println!("ring {}, selectors stay: {}", before.0 & 3, before == selectors());
}
