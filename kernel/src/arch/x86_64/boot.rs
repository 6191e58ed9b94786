//! From the monitor's jump to the first Rust function.
//!
//! PVH (xen `docs/misc/pvh.pandoc`): 32-bit protected mode, paging off, interrupts masked, `ebx` = physical address of
//! the start info. The stub checks that the CPU has 64-bit mode and no-execute pages and that RAM reaches the image's
//! end, maps the first GiB twice (identity, and at the direct map), and enters long mode. It is the only code with
//! absolute 32-bit addresses.
//!
//! The stub is the descriptor of a note: linkers place notes first, so it lies at the image's front, in RAM even where
//! the rest of the image is not, and can say so.

use core::arch::global_asm;
use core::mem::offset_of;

use super::paging::DIRECT_SLOT;
use crate::machine::pvh;

/// Bytes of the stack that boot runs on; it becomes the boot CPU's idle stack.
pub const BOOT_STACK_SIZE: usize = 16 * 1024;

/// Bytes behind the image that firmware may have written to, beside what the memory map says. SeaBIOS 1.16 was seen to
/// write to the last 240 KiB.
const FIRMWARE_SIZE: usize = 448 * 1024;

/// Assembly macro `ENTER_LONG_MODE`, for the front of a `global_asm!`: from 32-bit code without paging to long mode on boot's
/// tables; a far jump to 64-bit code follows. Loses eax, ecx and edx. Guarded as in `irq`.
macro_rules! long_mode_macro {
    () => {
        ".ifndef LONG_MODE_MACRO
        .set LONG_MODE_MACRO, 1
        .macro ENTER_LONG_MODE
        // CR4: PAE, OSFXSR, OSXMMEXCPT. EFER: SCE, LME, NXE. CR0: PE, MP, NE, WP, PG.
        mov eax, cr4
        or eax, 0x620
        mov cr4, eax
        mov eax, offset boot_pml4
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x901
        wrmsr
        mov eax, 0x80010023
        mov cr0, eax
        .endm
        .endif"
    };
}
pub(super) use long_mode_macro;

global_asm!(
    long_mode_macro!(),
    // The PVH note. Descriptor of 8 octets and 4-byte alignment: QEMU rounds name sizes by p_align.
    ".section .note.pvh,\"a\",@note",
    ".balign 4",
    ".long 4",
    ".long 8",
    ".long {pvh_type}",
    ".asciz \"Xen\"",
    ".quad __includeos_pvh_start",
    // The image note; the build id is filled in when the object is made.
    ".section .note.includeos,\"a\",@note",
    ".balign 4",
    ".long 10",
    ".long 20",
    ".long {image_type}",
    ".asciz \"IncludeOS\"",
    ".balign 4",
    ".long {image_abi}",
    ".skip 16",
    ".section .bss.boot,\"aw\",@nobits",
    ".balign 4096",
    "includeos_boot_stack:",
    ".skip {stack_size}",
    "includeos_boot_stack_top:",
    // PML4s lie at multiples of 8 KiB, so that one bit of CR3 can choose between two.
    ".balign 8192",
    "boot_pml4:",
    ".skip 4096",
    "boot_pdpt:",
    ".skip 4096",
    "boot_pd:",
    ".skip 4096",
    ".section .note.includeos.boot,\"a\",@note",
    ".balign 4",
    ".long 10",
    ".long 9f - __includeos_pvh_start",
    ".long {boot_type}",
    ".asciz \"IncludeOS\"",
    ".balign 4",
    ".code32",
    ".globl __includeos_pvh_start",
    "__includeos_pvh_start:",
    "cli",
    "cld",
    // Is there RAM at the image's end? (The stack, too, lies there.)
    "mov eax, offset _end - 4",
    "mov ecx, [eax]",
    "mov edx, 0x1c0de",
    "mov [eax], edx",
    "cmp [eax], edx",
    "mov [eax], ecx",
    "mov esi, offset no_memory",
    "jne boot_refuse",
    // And is all of it as the monitor loaded it? Firmware works at the end of RAM before the image starts, keeps tables
    // there, and asks nobody. A start info without a memory map is refused later.
    "cmp dword ptr [ebx], {magic}",
    "jne 8f",
    "cmp dword ptr [ebx + {version}], 0",
    "je 8f",
    "mov eax, [ebx + {memmap}]",
    "mov ecx, [ebx + {memmap_entries}]",
    "6: sub ecx, 1",
    "jb boot_refuse",
    "mov edx, [eax]",
    "mov ebp, offset _end + {firmware_size}",
    "sub ebp, edx",
    // An entry that starts below 4 GiB, not behind the image's start, and is RAM: is it long enough?
    "cmp dword ptr [eax + 4], 0",
    "jne 7f",
    "cmp edx, offset __ehdr_start",
    "ja 7f",
    "cmp dword ptr [eax + 16], {ram}",
    "jne 7f",
    "cmp dword ptr [eax + 12], 0",
    "jne 8f",
    "cmp [eax + 8], ebp",
    "jae 8f",
    "7: add eax, {entry_size}",
    "jmp 6b",
    "8:",
    "mov esp, offset includeos_boot_stack_top",
    "mov edi, ebx",
    // Long mode and no-execute (CPUID.80000001:EDX, bits 29 and 20).
    "mov eax, 0x80000000",
    "cpuid",
    "mov esi, offset no_long_mode",
    "cmp eax, 0x80000001",
    "jb boot_refuse",
    "mov eax, 0x80000001",
    "cpuid",
    "and edx, 0x20100000",
    "cmp edx, 0x20100000",
    "jne boot_refuse",
    // Tables: 512 pages of 2 MiB, at 0 (executable) and at the direct map (not).
    "mov eax, offset boot_pdpt + 3",
    "mov [boot_pml4], eax",
    "mov [boot_pml4 + 8 * {direct_slot}], eax",
    "mov dword ptr [boot_pml4 + 8 * {direct_slot} + 4], 0x80000000",
    "mov dword ptr [boot_pdpt], offset boot_pd + 3",
    "mov eax, 0x83",
    "xor ecx, ecx",
    "2: mov [boot_pd + 8 * ecx], eax",
    "add eax, 0x200000",
    "inc ecx",
    "cmp ecx, 512",
    "jne 2b",
    "ENTER_LONG_MODE",
    "lgdt [boot_gdt_pointer]",
    // A far jump to 64-bit code, spelt as octets: assemblers disagree about its operands in Intel syntax.
    ".byte 0xea",
    ".long boot_64",
    ".word 0x08",
    // esi: text. Prints it to COM1 and ends the machine with status 125.
    "boot_refuse:",
    "lodsb",
    "test al, al",
    "jz 4f",
    "mov ah, al",
    "mov dx, 0x3fd",
    "mov ecx, 100000",
    "3: in al, dx",
    "test al, 0x20",
    "loopz 3b",
    "mov dx, 0x3f8",
    "mov al, ah",
    "out dx, al",
    "jmp boot_refuse",
    "4: mov esi, offset refuse_record",
    "mov ecx, 9",
    "mov dx, {status_port}",
    "rep outsb",
    "mov dx, {debug_exit_port}",
    "mov eax, {status_kernel}",
    "out dx, eax",
    "5: hlt",
    "jmp 5b",
    "refuse_record: .ascii \"exit 125\\n\"",
    "no_memory: .asciz \"includeos: too little memory: the image does not fit; start the machine with more (-m)\\n\"",
    "no_long_mode: .asciz \"includeos: this CPU lacks 64-bit mode or no-execute pages; choose another (--cpu max)\\n\"",
    ".balign 4",
    "boot_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "boot_gdt_pointer: .word 23",
    ".long boot_gdt",
    ".balign 4",
    "9:",
    ".section .text.boot,\"ax\",@progbits",
    ".code64",
    "boot_64:",
    "mov eax, {data}",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov esp, esp",
    "mov edi, edi",
    "xor ebp, ebp",
    "call includeos_main",
    "ud2",
    ".text",
    firmware_size = const FIRMWARE_SIZE,
    magic = const pvh::MAGIC,
    version = const offset_of!(pvh::RawStartInfo, version),
    memmap = const offset_of!(pvh::RawStartInfo, memmap),
    memmap_entries = const offset_of!(pvh::RawStartInfo, memmap_entries),
    ram = const pvh::MEMMAP_RAM,
    entry_size = const size_of::<pvh::RawMemmapEntry>(),
    pvh_type = const abi::note::PVH_TYPE,
    image_type = const abi::note::IMAGE_TYPE,
    boot_type = const abi::note::BOOT_TYPE,
    image_abi = const abi::note::IMAGE_ABI,
    stack_size = const BOOT_STACK_SIZE,
    direct_slot = const DIRECT_SLOT,
    data = const super::gdt::KERNEL_DATA,
    status_port = const abi::exit::STATUS_PORT,
    debug_exit_port = const abi::exit::DEBUG_EXIT_PORT,
    status_kernel = const abi::exit::STATUS_KERNEL,
);
