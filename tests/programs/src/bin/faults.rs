//! Does what the named function says, and faults. Each is a function of its own, so that its name is in the backtrace.

use std::arch::asm;
use std::hint::black_box;

/// `ret`, where no code may be.
static RET: [u8; 16] = [0xc3; 16];
static mut WRITABLE_RET: [u8; 16] = [0xc3; 16];

fn main() {
    let name = std::env::args().nth(1).expect("usage: faults NAME");
    let (_, fault) = FAULTS.iter().find(|(known, _)| *known == name).expect("a fault of that name");
    println!("{name}:");
    fault();
    println!("survived");
}

const FAULTS: [(&str, fn()); 19] = [
    ("null_read", null_read),
    ("null_write", null_write),
    ("unmapped_read", unmapped_read),
    ("write_text", write_text),
    ("execute_constant", execute_constant),
    ("execute_static", execute_static),
    ("execute_heap", execute_heap),
    ("divide", divide),
    ("invalid", invalid),
    ("non_canonical", non_canonical),
    ("behind_end", behind_end),
    ("main_stack_overflow", main_stack_overflow),
    ("bare_stack_overflow", bare_stack_overflow),
    ("thread_stack_overflow", thread_stack_overflow),
    ("kernel_stack_overflow", kernel_stack_overflow),
    ("kernel_read", kernel_read),
    ("kernel_jump", kernel_jump),
    ("privileged", privileged),
    ("software_interrupt", software_interrupt),
];

/// The image in the kernel's map of all memory.
const KERNEL_ADDRESS: u64 = 0xffff_8880_0010_0000;

#[inline(never)]
fn null_read() {
    // SAFETY: none: the fault is what is wanted. Volatile, so that the access is made.
    unsafe { std::ptr::null::<u64>().wrapping_byte_add(black_box(8)).read_volatile() };
}

#[inline(never)]
fn null_write() {
    // SAFETY: none, as above.
    unsafe { std::ptr::null_mut::<u64>().wrapping_byte_add(black_box(16)).write_volatile(1) };
}

#[inline(never)]
fn unmapped_read() {
    // SAFETY: none, as above. 16 TiB: between the heap and the mappings.
    unsafe { black_box(0x1000_0000_0000 as *const u64).read_volatile() };
}

#[inline(never)]
fn write_text() {
    // SAFETY: none, as above.
    unsafe { black_box(main as fn() as *mut u8).write_volatile(0xcc) };
}

#[inline(never)]
fn execute_constant() {
    call(RET.as_ptr());
}

#[inline(never)]
fn execute_static() {
    call((&raw const WRITABLE_RET).cast());
}

#[inline(never)]
fn execute_heap() {
    call(black_box(RET.to_vec()).as_ptr());
}

/// Inlined: the caller's name is the one that should be seen.
#[inline(always)]
fn call(code: *const u8) {
    // SAFETY: none, as above; the octets would be a `ret`.
    unsafe { asm!("call {}", in(reg) black_box(code), clobber_abi("sysv64")) };
}

#[inline(never)]
fn divide() {
    // SAFETY: none, as above.
    unsafe { asm!("div {:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _) };
}

#[inline(never)]
fn invalid() {
    // SAFETY: none, as above.
    unsafe { asm!("ud2") };
}

#[inline(never)]
fn non_canonical() {
    // SAFETY: none, as above.
    unsafe { black_box(0x8000_0000_0000_0000 as *const u8).read_volatile() };
}

#[inline(never)]
fn main_stack_overflow() {
    println!("{}", recurse(0));
}

/// Without std's handler, as in a program that is not Rust's.
#[inline(never)]
fn bare_stack_overflow() {
    // SAFETY: the default action ends the program.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    println!("{}", recurse(0));
}

/// A file is mapped, and ends before the page.
#[inline(never)]
fn behind_end() {
    let file = std::fs::File::create_new("/tmp/empty").and_then(|_| std::fs::File::open("/tmp/empty"));
    let fd = file.as_ref().map(std::os::fd::AsRawFd::as_raw_fd).expect("a file can be made");
    // SAFETY: std's handler would let the fault happen once more; the mapping is new. The fault is what is wanted.
    let value = unsafe {
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        let place = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
        place.cast::<u8>().read_volatile()
    };
    println!("{value}");
}

#[inline(never)]
fn thread_stack_overflow() {
    let thread = std::thread::Builder::new().name("deep".to_owned()).spawn(|| println!("{}", recurse(0)));
    let _ = thread.expect("a thread can be made").join();
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[1] }
}

/// At ring 0 a program can do what the kernel would have to do wrong: start a system call with 256 octets left on the
/// thread's kernel stack, whose top is at `%gs:8`.
#[inline(never)]
fn kernel_stack_overflow() {
    const LEFT: u64 = 256;
    const STACK_SIZE: u64 = 4 * 4096;
    // SAFETY: none, as above. getpid(2), if it came to it.
    unsafe {
        asm!("mov {top}, gs:[8]", "sub {top}, {size}", "mov gs:[8], {top}", "syscall", top = out(reg) _,
            size = const STACK_SIZE - LEFT, inout("eax") 39 => _, out("rcx") _, out("r11") _);
    }
}

#[inline(never)]
fn kernel_read() {
    // SAFETY: none, as above.
    unsafe { black_box(KERNEL_ADDRESS as *const u64).read_volatile() };
}

#[inline(never)]
fn kernel_jump() {
    call(KERNEL_ADDRESS as *const u8);
}

#[inline(never)]
fn privileged() {
    // SAFETY: none, as above.
    unsafe { asm!("cli") };
}

#[inline(never)]
fn software_interrupt() {
    // SAFETY: none, as above. The vector of the kernel's timer.
    unsafe { asm!("int 0x40") };
}
