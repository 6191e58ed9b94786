//! The local APIC: acknowledging interrupts and the one-shot timer (SDM vol. 3 § 12).

use core::sync::atomic::Ordering;

use sync::Once;

use super::cpu::{msr, rdmsr, wrmsr};
use super::cpuid::CpuFeatures;
use super::percpu::{self, PerCpu};
use super::port;
use super::tsc::Clock;
use super::vectors::{SPURIOUS, TIMER};
use crate::mm;

/// Register offsets of the xAPIC; x2APIC registers are these divided by 16.
mod register {
    pub const ID: u32 = 0x20;
    pub const EOI: u32 = 0xb0;
    pub const SPURIOUS: u32 = 0xf0;
    pub const ICR_LOW: u32 = 0x300;
    pub const ICR_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const TIMER_INITIAL: u32 = 0x380;
    pub const TIMER_CURRENT: u32 = 0x390;
    pub const TIMER_DIVIDE: u32 = 0x3e0;
}

const LVT_MASKED: u32 = 1 << 16;
/// Delivery mode: a non-maskable interrupt.
const DELIVER_NMI: u32 = 0b100 << 8;
const LVT_TSC_DEADLINE: u32 = 2 << 17;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const DIVIDE_BY_1: u32 = 0b1011;

/// How the LAPIC and its timer are driven on this machine.
struct Mode {
    /// Base of the xAPIC's registers; `None`: x2APIC.
    mmio: Option<*mut u32>,
    timer: Timer,
}

enum Timer {
    /// The LAPIC compares the time-stamp counter itself.
    Deadline,
    /// Counts down at this rate, in Hz.
    OneShot(u64),
}

// SAFETY: the registers behind the pointer are each CPU's own.
unsafe impl Send for Mode {}
// SAFETY: as above.
unsafe impl Sync for Mode {}

static MODE: Once<Mode> = Once::new();

/// The LAPIC's registers could not be reached, or its timer's rate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LapicError {
    /// The registers could not be mapped.
    NoMemory,
}

impl Mode {
    fn write(&self, register: u32, value: u32) {
        match self.mmio {
            // SAFETY: `init` mapped the page of registers; the offsets lie in it.
            Some(base) => unsafe { base.byte_add(register as usize).write_volatile(value) },
            // SAFETY: x2APIC mode is on, and the register exists in it.
            None => unsafe { wrmsr(msr::X2APIC + register / 16, u64::from(value)) },
        }
    }

    /// Turns this CPU's LAPIC on and records its number.
    fn enable(&self) {
        const X2APIC_ENABLE: u64 = 1 << 10;
        const GLOBAL_ENABLE: u64 = 1 << 11;
        match self.mmio {
            None => {
                // SAFETY: every x86_64 CPU has the register; CPUID offers x2APIC, and nothing uses the xAPIC registers.
                unsafe {
                    let base = rdmsr(msr::APIC_BASE);
                    wrmsr(msr::APIC_BASE, base | GLOBAL_ENABLE | X2APIC_ENABLE);
                }
            }
            Some(registers) => {
                let eoi = registers.wrapping_byte_add(register::EOI as usize);
                percpu::this().lapic_eoi.store(eoi, Ordering::Relaxed);
            }
        }
        self.write(register::SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS));
        self.write(register::LVT_LINT0, LVT_MASKED);
        // Where PCs have the line by which the host asks for a report (`report::at_hosts_wish`).
        self.write(register::LVT_LINT1, DELIVER_NMI);
        percpu::this().apic_id.store(self.id(), Ordering::Relaxed);
    }

    fn id(&self) -> u32 {
        let id = self.read(register::ID);
        if self.mmio.is_some() { id >> 24 } else { id }
    }

    /// Stops the timer, ready to be set.
    fn stop_timer(&self) {
        match self.timer {
            Timer::Deadline => self.write(register::LVT_TIMER, LVT_TSC_DEADLINE | u32::from(TIMER)),
            Timer::OneShot(_) => {
                self.write(register::TIMER_DIVIDE, DIVIDE_BY_1);
                self.write(register::LVT_TIMER, u32::from(TIMER));
            }
        }
    }

    /// Writes the interrupt command register (SDM vol. 3 § 12.6.1).
    fn command(&self, apic_id: u32, command: u32) {
        match self.mmio {
            Some(_) => {
                // The last one must have gone out. Senders are in kernel sections, of which a CPU has one at a time.
                const PENDING: u32 = 1 << 12;
                while self.read(register::ICR_LOW) & PENDING != 0 {
                    core::hint::spin_loop();
                }
                self.write(register::ICR_HIGH, apic_id << 24);
                self.write(register::ICR_LOW, command);
            }
            None => {
                let value = u64::from(apic_id) << 32 | u64::from(command);
                // The x2APIC's write does not wait for earlier stores to be seen (SDM vol. 3 § 12.12.3); whoever gets
                // the interrupt looks at them.
                core::sync::atomic::fence(Ordering::SeqCst);
                // SAFETY: x2APIC mode is on; the command interrupts a CPU that is ready for it.
                unsafe {
                    core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
                    wrmsr(msr::X2APIC + register::ICR_LOW / 16, value);
                }
            }
        }
    }

    /// Counts the timer, masked, over a millisecond of `clock`. The last resort: nothing told its rate.
    fn measure_hz(&self, clock: &Clock) -> u64 {
        const SPAN_NS: u64 = 1_000_000;
        self.write(register::TIMER_DIVIDE, DIVIDE_BY_1);
        self.write(register::LVT_TIMER, LVT_MASKED);
        self.write(register::TIMER_INITIAL, u32::MAX);
        let start = clock.now_ns();
        while clock.now_ns() - start < SPAN_NS {
            core::hint::spin_loop();
        }
        let counted = u32::MAX - self.read(register::TIMER_CURRENT);
        self.write(register::TIMER_INITIAL, 0);
        // A timer that does not count at all would fire for ever.
        (u64::from(counted) * (1_000_000_000 / SPAN_NS)).max(1_000_000)
    }

    fn read(&self, register: u32) -> u32 {
        match self.mmio {
            // SAFETY: as in `write`.
            Some(base) => unsafe { base.byte_add(register as usize).read_volatile() },
            // SAFETY: as in `write`.
            None => unsafe { rdmsr(msr::X2APIC + register / 16) as u32 },
        }
    }
}

/// Finds out how LAPICs are driven here, and turns on the boot CPU's with the legacy interrupt line masked.
///
/// # Errors
/// [`LapicError`].
pub fn init(features: &CpuFeatures, clock: &Clock) -> Result<(), LapicError> {
    mask_pic();
    let mmio = if features.x2apic {
        None
    } else {
        // SAFETY: every x86_64 CPU has the register.
        let physical = unsafe { rdmsr(msr::APIC_BASE) } & 0x000f_ffff_ffff_f000;
        Some(mm::map_device(physical).ok_or(LapicError::NoMemory)?.cast::<u32>())
    };
    let timer =
        if features.tsc_deadline { Timer::Deadline } else { Timer::OneShot(features.lapic_hz.unwrap_or(0)) };
    let mut mode = Mode { mmio, timer };
    mode.enable();
    if let Timer::OneShot(0) = mode.timer {
        mode.timer = Timer::OneShot(mode.measure_hz(clock));
    }
    mode.stop_timer();
    let _ = MODE.set(mode);
    Ok(())
}

/// Turns on the LAPIC of a CPU other than the boot CPU.
pub fn init_this_cpu() {
    if let Some(mode) = MODE.get() {
        mode.enable();
        mode.stop_timer();
    }
}

/// Masks the two legacy interrupt controllers (Intel 8259A), which firmware leaves with the timer's line open. It must
/// come before LINT0 is masked: a request that the LAPIC already took would stay pending with nobody to name it.
fn mask_pic() {
    // SAFETY: the controllers' mask registers; where there are none the writes go nowhere.
    unsafe {
        port::outb(0x21, 0xff);
        port::outb(0xa1, 0xff);
    }
}

/// Has the timer fire at `deadline_ns` on `clock` or before.
///
/// Each setting is an exit, so a timer that is set to an earlier time stays: whoever it wakes for nothing looks at the clock
/// and arms again.
pub fn arm(clock: &Clock, deadline_ns: u64) {
    let Some(mode) = MODE.get() else { return };
    let deadline = deadline_ns.max(1);
    let armed = &percpu::this().timer_armed;
    if (1..=deadline).contains(&armed.load(Ordering::Relaxed)) {
        return;
    }
    armed.store(deadline, Ordering::Relaxed);
    match mode.timer {
        // SAFETY: CPUID offers the register.
        Timer::Deadline => unsafe { wrmsr(msr::TSC_DEADLINE, clock.ticks_at(deadline)) },
        Timer::OneShot(hz) => {
            // A deadline beyond the counter's range fires early, too.
            let left = deadline.saturating_sub(clock.now_ns()).min(4_000_000_000);
            let count = (left * (hz / 1_000) / 1_000_000).clamp(1, u64::from(u32::MAX)) as u32;
            mode.write(register::TIMER_INITIAL, count);
        }
    }
}

/// The timer fired: what was armed is gone.
pub fn fired() {
    percpu::this().timer_armed.store(0, Ordering::Relaxed);
}

/// Ends the one interrupt that the handler left open: that of a line by level.
pub fn end_of_interrupt() {
    if let Some(mode) = MODE.get() {
        mode.write(register::EOI, 0);
    }
}

/// Interrupts another CPU.
pub fn send_ipi(cpu: &PerCpu, vector: u8) {
    if let Some(mode) = MODE.get() {
        mode.command(cpu.apic_id.load(Ordering::Relaxed), u32::from(vector));
    }
}

/// Sends another CPU a non-maskable interrupt.
pub fn send_nmi(cpu: &PerCpu) {
    if let Some(mode) = MODE.get() {
        mode.command(cpu.apic_id.load(Ordering::Relaxed), DELIVER_NMI);
    }
}

/// Resets a CPU that has not started: it waits for [`send_startup`] (SDM vol. 3 § 10.4.4.1).
pub fn send_init(apic_id: u32) {
    const INIT: u32 = 0b101 << 8;
    const ASSERT: u32 = 1 << 14;
    if let Some(mode) = MODE.get() {
        mode.command(apic_id, INIT | ASSERT);
    }
}

/// Starts a CPU in real mode at `page`, a page below 1 MiB.
pub fn send_startup(apic_id: u32, page: u64) {
    const STARTUP: u32 = 0b110 << 8;
    const ASSERT: u32 = 1 << 14;
    if let Some(mode) = MODE.get() {
        mode.command(apic_id, STARTUP | ASSERT | (page >> 12) as u32);
    }
}

/// Whether LAPIC numbers above 254 can be named.
pub fn has_wide_ids() -> bool {
    MODE.get().is_some_and(|mode| mode.mmio.is_none())
}
