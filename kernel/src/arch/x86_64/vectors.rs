//! The 256 vectors: how the CPU gets from the program, or from kernel code, into Rust and back.
//!
//! Every vector has an interrupt stack (IST): at ring 0 the CPU would otherwise push onto the program's stack, in its
//! red zone. The interrupt stack is left at once, so that the next fault finds it empty:
//!
//! * a **device vector** sets its pending bit and acknowledges the LAPIC (but for lines by level, see `irq`), in
//!   assembly: no lock, no allocation, no xmm register. Inside a kernel section it then returns; from the program it goes on as a trap, for pending work
//!   is done when the outermost section is left.
//! * an **exception or interrupt from the program** becomes a [`TrapFrame`] on the thread's kernel stack and
//!   [`trap_from_program`].
//! * an **exception inside a kernel section** is either a fault of a routine that touches user memory, which goes on at its
//!   fix-up, or the end: [`exception_in_kernel`].
//!
//! With the program at ring 3 ([`super::isolation`]) the stubs go on at entries of their own.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::gdt::{Ist, KERNEL_CODE};
use super::{cpu, percpu};
use crate::report::Cause;
use crate::{exit, irq, mm, report, sched};

/// The program's registers at an entry, as the entry assembly lays them on the kernel stack.
///
/// Upper halves of wider vector registers are not here: kernel code does not touch them, and a thread switch saves
/// the whole state.
#[derive(Clone)]
#[repr(C, align(16))]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct TrapFrame {
    pub xmm: [[u64; 2]; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The vector, or [`SYSCALL_VECTOR`].
    pub vector: u64,
    /// The exception's error code; for a system call its number.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl TrapFrame {
    /// The registers with which a program starts at `rip` with stack `rsp`: everything else zero, interrupts on.
    pub fn for_program(rip: u64, rsp: u64) -> Self {
        const RFLAGS: u64 = 1 << 9 | 1 << 1;
        // SAFETY: integers; zero is a value.
        let zero: Self = unsafe { core::mem::zeroed() };
        let (cs, ss) = super::isolation::program_selectors();
        Self { rip, rsp, rflags: RFLAGS, cs: u64::from(cs), ss: u64::from(ss), ..zero }
    }
}

// SysV AMD64 § 3.2.2: the stack is 16-byte aligned at a call, and the frame is what lies on it.
const _: () = assert!(size_of::<TrapFrame>().is_multiple_of(16));

/// [`TrapFrame::vector`] of a system call.
pub const SYSCALL_VECTOR: u64 = 0x100;
/// First vector that is not an exception.
pub const FIRST_DEVICE: u8 = 32;
/// First vector of lines by level (`irq`). Not acknowledged in the handler, so the lowest class that devices have.
pub const FIRST_LEVEL: u8 = 0x30;
/// How many there are: one class.
pub const LEVEL_COUNT: usize = 16;
/// The LAPIC timer's vector.
pub const TIMER: u8 = 0x40;
/// COM1's vector.
pub const CONSOLE: u8 = 0x41;
/// Sent by another CPU: there is something to look at.
pub const RESCHEDULE: u8 = 0x42;
/// The network pass was asked for, by this CPU or another.
pub const PASS: u8 = 0x44;
/// Sent by another CPU: the page tables have changed (`tlb`).
pub const TLB: u8 = 0x43;
/// First vector of messages and lines by edge (`irq`).
pub const FIRST_EDGE: u8 = 0x50;
/// How many there are.
pub const EDGE_COUNT: usize = 32;
/// The LAPIC's spurious vector.
pub const SPURIOUS: u8 = 0xff;

/// #DB.
pub const VECTOR_DB: u64 = 1;
/// NMI.
pub const VECTOR_NMI: u64 = 2;
/// #BP.
pub const VECTOR_BP: u64 = 3;
/// #OF.
pub const VECTOR_OF: u64 = 4;
/// #DF.
pub const VECTOR_DF: u64 = 8;
/// #GP.
pub const VECTOR_GP: u64 = 13;
/// #PF.
pub const VECTOR_PF: u64 = 14;
/// #MC.
pub const VECTOR_MC: u64 = 18;

/// Assembly macros `SAVE_REGISTERS` and `RESTORE_REGISTERS`: registers into and out of a [`TrapFrame`]; `rsp` is at its
/// `vector` before and after. `RESTORE_XMM`: the first part, after which `rsp` is at `r15`. For the front of a `global_asm!`, guarded as in `irq`.
macro_rules! frame_macros {
    () => {
        ".ifndef FRAME_MACROS
        .set FRAME_MACROS, 1
        .macro SAVE_REGISTERS
        .irp reg, rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15
        push \\reg
        .endr
        sub rsp, 256
        .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movups [rsp + 16 * \\i], xmm\\i
        .endr
        .endm
        .macro RESTORE_XMM
        .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movups xmm\\i, [rsp + 16 * \\i]
        .endr
        add rsp, 256
        .endm
        .macro RESTORE_REGISTERS
        RESTORE_XMM
        .irp reg, r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
        pop \\reg
        .endr
        .endm
        .endif"
    };
}
pub(super) use frame_macros;

global_asm!(
    super::irq::irq_macros!(),
    frame_macros!(),
    ".section .text.vectors,\"ax\",@progbits",
    // Exceptions: 16 bytes each. Those without an error code push 0 in its place (SDM vol. 3 § 7.15).
    ".balign 16",
    ".globl includeos_exception_stubs",
    "includeos_exception_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if (1 << vector) & 0x60227d00 == 0",
    "push 0",
    ".endif",
    "push vector",
    "jmp qword ptr [rip + {exception_entry}]",
    ".set vector, vector + 1",
    ".endr",
    // Devices: 8 bytes each; the return address tells the vector.
    ".balign 8",
    ".globl includeos_device_stubs",
    "includeos_device_stubs:",
    ".rept 224",
    ".balign 8",
    "call qword ptr [rip + {device_entry}]",
    ".endr",
    // Puts the vector in the place of the stub's return address, sets its pending bit and acknowledges the LAPIC. A flush is
    // done at once, whatever it interrupts, and nothing else is. `sync::FlushTickets`, rule 3: the number first.
    ".macro RECORD_DEVICE",
    "push rax",
    "push rcx",
    "push rdx",
    "mov rax, [rsp + 24]",
    "lea rcx, [rip + includeos_device_stubs]",
    "sub rax, rcx",
    "shr rax, 3",
    "add eax, {first_device}",
    "mov [rsp + 24], rax",
    "cmp eax, {tlb}",
    "jne 7f",
    "mov rcx, gs:[{tlb_requested}]",
    "mov rdx, cr3",
    "mov cr3, rdx",
    "mov gs:[{tlb_done}], rcx",
    "jmp 8f",
    // `sync::PendingWork::record`.
    "7: bts gs:[{pending}], rax",
    // A level is acknowledged when its device has let go (`crate::irq`).
    "8: lea ecx, [rax - {first_level}]",
    "cmp ecx, {level_count}",
    "jb 3f",
    "mov rcx, gs:[{lapic_eoi}]",
    "test rcx, rcx",
    "jz 2f",
    "mov dword ptr [rcx], 0",
    "jmp 3f",
    "2: mov ecx, {x2apic_eoi}",
    "xor eax, eax",
    "xor edx, edx",
    "wrmsr",
    "3: pop rdx",
    "pop rcx",
    "pop rax",
    ".endm",
    // From an interrupt stack with vector, error code, rip, cs, rflags, rsp, ss to a TrapFrame on the kernel stack.
    ".macro BEGIN_SECTION",
    "mov dword ptr gs:[{depth}], 1",
    "mov gs:[{scratch}], rax",
    "mov rax, rsp",
    "mov rsp, gs:[{kstack_top}]",
    ".irp offset, 48, 40, 32, 24, 16, 8, 0",
    "push qword ptr [rax + \\offset]",
    ".endr",
    "mov rax, gs:[{scratch}]",
    "SAVE_REGISTERS",
    ".endm",
    // The program at ring 0: whether it was interrupted, or a kernel section, is what the depth says.
    ".globl includeos_device_entry",
    "includeos_device_entry:",
    "RECORD_DEVICE",
    "cmp dword ptr gs:[{depth}], 0",
    "je 4f",
    "9: add rsp, 8",
    "IRQ_RETURN",
    "4: cmp qword ptr [rsp], {tlb}",
    "je 9b",
    "push qword ptr [rsp]",
    "jmp 5f",
    ".globl includeos_exception_entry",
    "includeos_exception_entry:",
    "cmp dword ptr gs:[{depth}], 0",
    "jne 6f",
    "5: BEGIN_SECTION",
    "cld",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "call {trap_from_program}",
    // The end of every thread's first switch, too: rsp is at a TrapFrame, interrupts are masked.
    ".globl includeos_trap_return",
    "includeos_trap_return:",
    "RESTORE_REGISTERS",
    "add rsp, 16",
    "mov dword ptr gs:[{depth}], 0",
    "IRQ_RETURN",
    "6: SAVE_REGISTERS",
    "cld",
    "mov rdi, rsp",
    "call {exception_in_kernel}",
    "RESTORE_REGISTERS",
    "add rsp, 16",
    "IRQ_RETURN",
    // The program at ring 3 (isolation): the ring in the saved cs says whether it was interrupted, and whether `%gs` is its own.
    ".globl includeos_isolated_device_entry",
    "includeos_isolated_device_entry:",
    "test byte ptr [rsp + 16], 3",
    "jz 4f",
    "SWAP_GS",
    "RECORD_DEVICE",
    "cmp qword ptr [rsp], {tlb}",
    "je 9f",
    "push qword ptr [rsp]",
    "jmp 5f",
    "9: add rsp, 8",
    "IRQ_RETURN_TO_RING_3",
    "4: RECORD_DEVICE",
    "add rsp, 8",
    "IRQ_RETURN",
    ".globl includeos_isolated_exception_entry",
    "includeos_isolated_exception_entry:",
    "test byte ptr [rsp + 24], 3",
    "jz 6f",
    "SWAP_GS",
    "5: BEGIN_SECTION",
    // The program's flags do not hold in the kernel; one of them, AC, would open the program's pages to it.
    "push 2",
    "popfq",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "call {trap_from_program}",
    ".globl includeos_isolated_trap_return",
    "includeos_isolated_trap_return:",
    "RESTORE_REGISTERS",
    "add rsp, 16",
    "mov dword ptr gs:[{depth}], 0",
    "IRQ_RETURN_TO_RING_3",
    // In the kernel page faults return, and #GP where the program's floating-point state is loaded. What does not (NMI, #MC, #DF
    // and what should not be) may have come between an entry and its `swapgs`: the kernel's base, and only that, is negative.
    "6: cmp qword ptr [rsp], {page_fault}",
    "je 7f",
    "push rax",
    "push rcx",
    "push rdx",
    "mov ecx, {gs_base}",
    "rdmsr",
    "test edx, edx",
    "js 8f",
    "SWAP_GS",
    "8: pop rdx",
    "pop rcx",
    "pop rax",
    "7: SAVE_REGISTERS",
    "push 2",
    "popfq",
    "mov rdi, rsp",
    "call {exception_in_kernel}",
    "RESTORE_REGISTERS",
    "add rsp, 16",
    "IRQ_RETURN",
    ".text",
    exception_entry = sym EXCEPTION_ENTRY,
    device_entry = sym DEVICE_ENTRY,
    first_device = const FIRST_DEVICE,
    x2apic_eoi = const cpu::msr::X2APIC + 0xb,
    first_level = const FIRST_LEVEL,
    level_count = const LEVEL_COUNT,
    gs_base = const cpu::msr::GS_BASE,
    page_fault = const VECTOR_PF,
    tlb = const TLB,
    tlb_requested = const percpu::TLB_REQUESTED,
    tlb_done = const percpu::TLB_DONE,
    pending = const percpu::PENDING,
    lapic_eoi = const percpu::LAPIC_EOI,
    depth = const percpu::DEPTH,
    scratch = const percpu::SCRATCH,
    kstack_top = const percpu::KSTACK_TOP,
    trap_from_program = sym trap_from_program,
    exception_in_kernel = sym exception_in_kernel,
);

unsafe extern "C" {
    static includeos_exception_stubs: [[u8; 16]; 32];
    static includeos_device_stubs: [[u8; 8]; 224];
    fn includeos_exception_entry();
    fn includeos_device_entry();
    fn includeos_isolated_exception_entry();
    fn includeos_isolated_device_entry();
}

/// Where the stubs of exceptions and devices go on.
static EXCEPTION_ENTRY: AtomicPtr<()> = AtomicPtr::new(includeos_exception_entry as *const () as *mut ());
static DEVICE_ENTRY: AtomicPtr<()> = AtomicPtr::new(includeos_device_entry as *const () as *mut ());

/// Has all vectors expect the program at ring 3. Called at boot, before there is one.
pub(super) fn use_isolated_entries() {
    EXCEPTION_ENTRY.store(includeos_isolated_exception_entry as *const () as *mut (), Ordering::Relaxed);
    DEVICE_ENTRY.store(includeos_isolated_device_entry as *const () as *mut (), Ordering::Relaxed);
}

/// The interrupt descriptor table, shared by all CPUs.
#[repr(C, align(16))]
struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written during boot, before any other CPU runs; the CPUs only read it afterwards.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// An interrupt gate: present, interrupts masked on entry (SDM vol. 3 § 7.14.1). `dpl`: the outermost ring whose `int`
/// instructions may use it; from further out they are #GP.
const fn gate(handler: u64, ist: u8, dpl: u8) -> [u64; 2] {
    let low = handler & 0xffff
        | (KERNEL_CODE as u64) << 16
        | (ist as u64) << 32
        | (0x8e00 | (dpl as u64) << 13) << 32
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

fn ist_of(vector: u8) -> Ist {
    match u64::from(vector) {
        VECTOR_DB => Ist::Debug,
        VECTOR_NMI => Ist::Nmi,
        VECTOR_DF => Ist::DoubleFault,
        VECTOR_PF => Ist::PageFault,
        VECTOR_MC => Ist::MachineCheck,
        v if v >= u64::from(FIRST_DEVICE) => Ist::Device,
        _ => Ist::Exception,
    }
}

/// Fills and loads the table. Before the interrupt stacks exist (`stacks` false) it holds the exceptions alone, and they stay
/// on the stack they find: a fault during early boot is reported.
///
/// # Safety
/// Called on the boot CPU, with interrupts masked; with `stacks`, after [`super::gdt::load`].
pub unsafe fn load_idt(stacks: bool) {
    // SAFETY: interrupts are masked and no other CPU runs, so nobody else uses the table; the stubs are code.
    unsafe {
        let table = &mut *IDT.0.get();
        let (exceptions, devices) =
            ((&raw const includeos_exception_stubs) as u64, (&raw const includeos_device_stubs) as u64);
        let last = if stacks { 255 } else { FIRST_DEVICE - 1 };
        for (vector, entry) in (0..=last).zip(table.iter_mut()) {
            let handler = match vector.checked_sub(FIRST_DEVICE) {
                None => exceptions + 16 * u64::from(vector),
                Some(device) => devices + 8 * u64::from(device),
            };
            // `int3` and `into` are the program's.
            let dpl = if [VECTOR_BP, VECTOR_OF].contains(&u64::from(vector)) { 3 } else { 0 };
            *entry = gate(handler, if stacks { ist_of(vector) as u8 } else { 0 }, dpl);
        }
    }
    use_idt();
}

/// Has this CPU use the table, which [`load_idt`] has filled.
pub fn use_idt() {
    #[repr(C, packed(2))]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let base = mm::direct::of_image(IDT.0.get()) as u64;
    let pointer = Pointer { limit: 256 * 16 - 1, base };
    // SAFETY: the table is filled and never freed.
    unsafe { core::arch::asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
}

/// Has page faults use the stack they find from now on. For a report, which may fault while on an interrupt stack.
pub fn stay_on_stack() {
    let gate = IDT.0.get().cast::<[u64; 2]>().wrapping_add(VECTOR_PF as usize);
    // SAFETY: one bit field of an entry that the CPU reads at the next fault; the machine is about to end and no other
    // code writes the table.
    unsafe { (*gate)[0] &= !(7 << 32) };
}

#[cfg(includeos_metal)]
unsafe extern "Rust" {
    /// `os/linux/signal`: the program faulted.
    safe fn linux_fault(frame: &mut TrapFrame, cause: Cause);
    /// `os/linux/signal`: the thread was notified and is about to go back to the program.
    safe fn linux_attend(frame: &mut TrapFrame);
}
#[cfg(not(includeos_metal))]
fn linux_fault(frame: &mut TrapFrame, cause: Cause) {
    report::program_fault(frame, cause)
}
#[cfg(not(includeos_metal))]
fn linux_attend(_: &mut TrapFrame) {}

/// An exception or an interrupt that found the program running. Enters with interrupts masked and the section's
/// depth at 1; so it leaves.
extern "C" fn trap_from_program(frame: &mut TrapFrame) {
    // Read before anything can fault again.
    let address = cpu::cr2();
    super::irq::enable();
    match frame.vector {
        VECTOR_PF => {
            let access = mm::Access::from_error_code(frame.error);
            if let Err(reason) = mm::page_in(address, access) {
                linux_fault(frame, Cause::Page { address, access, reason });
            }
        }
        VECTOR_NMI => on_nmi(frame, false),
        // Not the program's doing.
        VECTOR_MC | VECTOR_DF => report::kernel_fault(frame, Cause::Exception),
        vector if [TIMER, CONSOLE, RESCHEDULE, PASS, SPURIOUS].map(u64::from).contains(&vector) => {}
        vector if irq::is_connected(vector) => {}
        // An exception; or a vector that no device has, from an `int` instruction.
        _ => linux_fault(frame, Cause::Exception),
    }
    return_to_program(frame);
}

/// Does what came up, for the machine and for the thread, until nothing is left. Returns with interrupts masked: the
/// caller goes back to the program with the registers in `frame`.
pub(crate) fn return_to_program(frame: &mut TrapFrame) {
    loop {
        sched::leave_section();
        if !sched::take_notified() {
            return;
        }
        super::irq::enable();
        linux_attend(frame);
    }
}

/// A non-maskable interrupt: another CPU ends the image, or the host asks for a report.
fn on_nmi(frame: &TrapFrame, in_kernel: bool) -> ! {
    report::note_arrival();
    if exit::is_ending() {
        super::irq::halt_forever();
    }
    report::at_hosts_wish(frame, in_kernel)
}

/// An exception inside a kernel section.
extern "C" fn exception_in_kernel(frame: &mut TrapFrame) {
    let address = cpu::cr2();
    if frame.vector == VECTOR_NMI {
        on_nmi(frame, true);
    }
    if let Some(fixup) = super::uaccess::fixup(frame.vector, frame.rip) {
        percpu::this().uaccess_fault.store(address, Ordering::Relaxed);
        frame.rip = fixup;
        return;
    }
    if frame.vector == VECTOR_PF {
        let access = mm::Access::from_error_code(frame.error);
        report::kernel_fault(frame, Cause::Page { address, access, reason: mm::PageInError::Kernel });
    }
    report::kernel_fault(frame, Cause::Exception);
}
