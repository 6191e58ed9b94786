//! The program's start: its stack as execve(2) leaves it, and its first thread.
//!
//! Layout: System V ABI AMD64 § 3.4.1; the auxiliary vector: getauxval(3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use kernel::arch::current::paging::PAGE_SIZE;
use kernel::arch::current::vdso;
use kernel::arch::current::vectors::TrapFrame;
use kernel::entry::Booted;
use kernel::exit::refuse;
use kernel::{mm, random, sched, uaccess};
use sync::Once;

use crate::{console, service};

const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_MINSIGSTKSZ: u64 = 51;

/// The name a program finds in `argv[0]` when the command line gives none.
const DEFAULT_NAME: &str = "/app";
/// Room for a signal frame with AVX-512 state.
const MINSIGSTKSZ: u64 = 4096;

/// Starts the program and becomes the idle thread.
pub fn run(booted: &Booted) -> ! {
    mm::set_program();
    let argv0 = booted.settings.argv0.as_deref().unwrap_or(DEFAULT_NAME);
    service::find_all();
    if !random::is_available()
        && let Some(seed) = service::seed(booted)
    {
        random::seed(seed);
    }
    let mut seed = [0; 16];
    if random::fill(&mut seed).is_err() {
        refuse(format_args!(
            "no source of randomness: the CPU has neither RDRAND nor RDSEED, and the host passed no seed; choose \
             another CPU (--cpu max)"
        ));
    }
    let rsp = build_stack(booted, argv0, seed).unwrap_or_else(|_| {
        refuse(format_args!("too little memory for the program's arguments and environment (-m)"))
    });
    let _ = PROGRAM.set(Program {
        name: argv0.into(),
        args: booted.settings.args.iter().map(|word| word.as_str().into()).collect(),
        env: booted.settings.env.iter().map(|word| word.as_str().into()).collect(),
    });
    if console::open_standard().is_err() {
        refuse(format_args!("too little memory for the program's descriptors (-m)"));
    }
    service::start_all(booted);
    let frame = TrapFrame::for_program(mm::image::info().entry, rsp);
    if sched::spawn(frame, 0, comm(argv0), false).is_err() {
        refuse(format_args!("too little memory for the program's first thread (-m)"));
    }
    sched::idle()
}

/// What the program was started as.
struct Program {
    name: Box<str>,
    args: Vec<Box<str>>,
    env: Vec<Box<str>>,
}

static PROGRAM: Once<Program> = Once::new();

/// The program's name, as it was started.
pub(crate) fn name() -> &'static str {
    PROGRAM.get().map_or(DEFAULT_NAME, |program| &program.name)
}

/// Name and arguments, each with a zero behind it (/proc/self/cmdline).
pub(crate) fn command_line() -> Vec<u8> {
    let args = PROGRAM.get().map(|program| program.args.as_slice()).unwrap_or_default();
    with_zeroes([name()].into_iter().chain(args.iter().map(|word| &**word)))
}

/// The environment it was started with, each variable with a zero behind it (/proc/self/environ).
pub(crate) fn environment() -> Vec<u8> {
    let env = PROGRAM.get().map(|program| program.env.as_slice()).unwrap_or_default();
    with_zeroes(env.iter().map(|word| &**word))
}

fn with_zeroes<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut octets = Vec::new();
    for word in words {
        octets.extend_from_slice(word.as_bytes());
        octets.push(0);
    }
    octets
}

/// The thread name that Linux gives: the last part of the path, 15 octets.
fn comm(argv0: &str) -> [u8; 16] {
    let mut name = [0; 16];
    let base = argv0.rsplit('/').next().unwrap_or_default();
    for (to, from) in name[..15].iter_mut().zip(base.bytes()) {
        *to = from;
    }
    name
}

/// Writes strings and vectors below the stack's top; returns the stack pointer.
fn build_stack(booted: &Booted, argv0: &str, seed: [u8; 16]) -> Result<u64, uaccess::Fault> {
    let mut top = mm::STACK_TOP;
    let mut push = |octets: &[u8]| -> Result<u64, uaccess::Fault> {
        top = top.checked_sub(octets.len() as u64 + 1).ok_or(uaccess::Fault)?;
        uaccess::write_bytes(top, octets)?;
        Ok(top)
    };
    let execfn = push(argv0.as_bytes())?;
    let platform = push(b"x86_64")?;
    let random = push(&seed)?;
    let env = booted.settings.env.iter().map(|word| push(word.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let args =
        booted.settings.args.iter().map(|word| push(word.as_bytes())).collect::<Result<Vec<_>, _>>()?;

    let image = mm::image::info();
    let aux = [
        (AT_SYSINFO_EHDR, vdso::address()),
        (AT_HWCAP, u64::from(booted.features.hwcap)),
        (AT_HWCAP2, 0),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, 100),
        (AT_PHDR, image.phdr),
        (AT_PHENT, 56),
        (AT_PHNUM, image.phnum),
        (AT_BASE, 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, image.entry),
        (AT_UID, 0),
        (AT_EUID, 0),
        (AT_GID, 0),
        (AT_EGID, 0),
        (AT_SECURE, 0),
        (AT_RANDOM, random),
        (AT_EXECFN, execfn),
        (AT_PLATFORM, platform),
        (AT_MINSIGSTKSZ, MINSIGSTKSZ),
        (0, 0),
    ];
    let mut words: Vec<u64> = Vec::with_capacity(64);
    words.push(1 + args.len() as u64);
    words.push(execfn);
    words.extend(args);
    words.push(0);
    words.extend(env);
    words.push(0);
    words.extend(aux.into_iter().flat_map(|(key, value)| [key, value]));
    let octets: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let rsp = (top - octets.len() as u64) & !15;
    uaccess::write_bytes(rsp, &octets)?;
    Ok(rsp)
}
