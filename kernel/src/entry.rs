//! The order in which the kernel comes up.

use alloc::string::ToString;

use abi::attached;
use abi::boot_info::BootInfo;
use abi::cmdline::Settings;

use crate::arch::current::tsc::{self, Clock};
use crate::arch::current::{cpuid, fpu, gdt, isolation, lapic, percpu, syscall, vectors};
use crate::exit::refuse;
use crate::machine::{acpi, clock, pvh};
use crate::mm::{InitError, kstack};
use crate::{log, mm, random, sched, time};

/// What boot found out, for whoever starts the program.
pub struct Booted {
    /// The machine.
    pub info: BootInfo,
    /// The command line.
    pub settings: Settings,
    /// The CPU.
    pub features: cpuid::CpuFeatures,
}

/// Brings the machine up: memory, faults, clocks, threads. Ends the image with one line if it cannot.
///
/// # Safety
/// Called once, first thing, by the boot stub, with what the monitor passed; a console is registered.
pub unsafe fn boot(start_info: u64) -> Booted {
    // SAFETY: first thing, once, on boot's tables.
    unsafe {
        percpu::init_boot_cpu();
        vectors::load_idt(false);
    }
    let features = cpuid::read();
    if let Some(missing) = features.missing {
        refuse(format_args!("this CPU lacks {missing}; choose another (--cpu max)"));
    }
    // SAFETY: `start_info` is the monitor's, and nothing was written to RAM outside the image.
    let start = match unsafe { pvh::StartInfo::read(start_info) } {
        Ok(start) => start,
        Err(error) => refuse(format_args!("{error}")),
    };
    // SAFETY: once, on boot's tables; the hand-over is the only thing in RAM besides the image.
    let taken = unsafe { mm::init(start.ram(), &start.reserved) };
    if let Err(InitError::TooLittle { ram }) = taken {
        refuse(format_args!("too little memory: {} KiB is not enough for this image (-m)", ram / 1024));
    }
    let stacks = kstack::interrupt_stacks()
        .unwrap_or_else(|| refuse(format_args!("too little memory for interrupt stacks (-m)")));
    // SAFETY: the stacks are fresh; interrupts are masked; the IDT is this CPU's alone.
    unsafe {
        gdt::load(percpu::this(), stacks);
        vectors::load_idt(true);
    }

    let settings = read_settings(start.cmdline);
    log::set_level(settings.log.unwrap_or_default());
    if settings.isolation.unwrap_or_default() {
        if !mm::image::kernel_has_own_pages() {
            refuse(format_args!(
                "isolation=on: the linker put kernel and program on the same pages; link with lld, the tool-chain's own"
            ));
        }
        // SAFETY: interrupts are masked, and there is neither a program nor another CPU.
        unsafe { isolation::turn_on() };
        mm::isolate();
    }
    let Some(tsc_hz) = clock::tsc_hz(&settings, &features) else {
        refuse(format_args!("the clock's rate is unknown: pass tsc_hz= on the command line"))
    };
    let monotonic = Clock::new(tsc_hz);
    let wall = clock::wall_ns_at_tsc_0(&settings, monotonic.now_ns());
    time::init(monotonic, wall);
    if lapic::init(&features, &monotonic).is_err() {
        refuse(format_args!("the local APIC is not reachable: too little memory (-m)"));
    }
    // SAFETY: once on this CPU, before the program.
    unsafe {
        fpu::init(&features);
        isolation::init_cpu(&features);
        syscall::init();
    }
    random::init(&features);
    acpi::set_rsdp(start.rsdp);
    if sched::init().is_err() {
        refuse(format_args!("too little memory for the first thread (-m)"));
    }
    let info = BootInfo {
        ram: start.ram().to_vec(),
        cmdline: core::str::from_utf8(start.cmdline).unwrap_or_default().to_string(),
        rsdp: start.rsdp,
        tsc_hz,
        wall_ns_at_tsc_0: wall,
    };
    // SAFETY: the page for it is among `start.reserved`.
    #[cfg(includeos_metal)]
    let all_settled = unsafe { crate::smp::start(&features) };
    #[cfg(not(includeos_metal))]
    let all_settled = true;
    if all_settled {
        // SAFETY: everything of the hand-over is copied; `start`'s slices are not used any more.
        unsafe { mm::release(&start.reserved, &info.ram) };
    }
    log!(
        Info,
        "{} KiB RAM, TSC {} MHz, up after {} us from power-on",
        ram_kib(&info),
        tsc_hz / 1_000_000,
        up_us(tsc_hz)
    );
    Booted { info, settings, features }
}

/// The machine's command line, then what the image was given when it was made.
fn read_settings(cmdline: &[u8]) -> Settings {
    let parse = |from: &str, text: &[u8]| match core::str::from_utf8(text).map(Settings::parse) {
        Ok(Ok(settings)) => settings,
        Ok(Err(error)) => refuse(format_args!("{from}{error}")),
        Err(_) => refuse(format_args!("{from}command line: not UTF-8")),
    };
    let of_image =
        mm::image::attached().and_then(|segment| attached::find(segment, attached::Kind::Settings));
    let of_machine = parse("", cmdline);
    match of_image {
        Some(text) => of_machine.before(parse("the image's own ", text)),
        None => of_machine,
    }
}

fn ram_kib(info: &BootInfo) -> u64 {
    info.ram.iter().map(|range| range.len() / 1024).sum()
}

fn up_us(tsc_hz: u64) -> u64 {
    tsc::rdtsc() / (tsc_hz / 1_000_000).max(1)
}
