//! A QEMU TCG plugin that counts what a guest costs, in three columns that hold on any host:
//!
//! * **instructions** executed by the guest;
//! * **string bytes**, octets moved by string instructions (`movs`, `stos`, `lods`, `scas`, `cmps`), which count as
//!   one instruction however long they run;
//! * **device accesses**, each of which leaves the guest on a real machine: port instructions and loads and stores
//!   that reach a device instead of RAM.
//!
//! Beside them it tells how many blocks QEMU translated: under TCG a short run's time is mostly that, about 10 us each.
//!
//! ```text
//! qemu-system-x86_64 -plugin libincludeos_counter.so,out=counts.json,window=boot:0x100000:0x201230 ...
//! ```
//!
//! The arguments are those of [`args::Args`]; the output is one JSON object a line, see [`report`].
//!
//! A window is between two addresses. A *section* is between two marks, instructions that do nothing
//! ([`opcode::Mark`]): a program that carries them is counted alike wherever it is loaded and under any system.
//!
//! # What the numbers mean
//!
//! * TCG of QEMU 10 runs up to 65,535 iterations of a `rep` instruction at a time, older ones and `-icount` a single
//!   one, and enters the same instruction again for the rest. The plugin recognises the second entry (nothing was
//!   executed in between) and counts a `rep` instruction once. It is counted again where it resumes after a fault or an
//!   interrupt.
//! * An instruction that faults was entered and is counted; so is its second attempt.
//! * String bytes are octets stored by `movs` and `stos`, and octets loaded by `lods`, `scas` and (both operands)
//!   `cmps`. `ins` and `outs` are port instructions; a `rep` one counts as one device access.
//! * A window is counted from the first execution of its start to the first execution of its end, by any CPU, the
//!   start included and the end not.
//! * A section is counted from the execution of its start to that of the next end, the start included.
//! * `hlt`, `cpuid` and `wrmsr` also leave the guest on many real machines. They are not devices and not counted.

pub mod args;
pub mod opcode;
pub mod report;

// The functions of QEMU exist only inside of QEMU: a test program could not be linked with them.
#[cfg(not(test))]
mod counter;
#[cfg(not(test))]
mod qemu;
#[cfg(not(test))]
mod slots;
