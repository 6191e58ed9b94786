//! The local APIC: acknowledging interrupts and the one-shot timer (SDM vol. 3 § 12).

use core::sync::atomic::{AtomicU64, Ordering};

use sync::Once;

use super::cpu::{msr, rdmsr, wrmsr};
use super::cpuid::CpuFeatures;
use super::tsc::Clock;
use super::vectors::{SPURIOUS, TIMER};
use super::{percpu, port};
use crate::mm;

/// Register offsets of the xAPIC; x2APIC registers are these divided by 16.
mod register {
    pub const EOI: u32 = 0xb0;
    pub const SPURIOUS: u32 = 0xf0;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_LINT0: u32 = 0x350;
    pub const TIMER_INITIAL: u32 = 0x380;
    pub const TIMER_CURRENT: u32 = 0x390;
    pub const TIMER_DIVIDE: u32 = 0x3e0;
}

const LVT_MASKED: u32 = 1 << 16;
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

    /// Counts the timer, masked, over a millisecond of `clock`. The last resort: nothing told its rate.
    fn measure_hz(&self, clock: &Clock) -> u64 {
        const SPAN_NS: u64 = 1_000_000;
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

/// Turns on this CPU's LAPIC, with the timer stopped and the legacy interrupt line masked.
///
/// # Errors
/// [`LapicError`].
pub fn init(features: &CpuFeatures, clock: &Clock) -> Result<(), LapicError> {
    const X2APIC_ENABLE: u64 = 1 << 10;
    const GLOBAL_ENABLE: u64 = 1 << 11;
    mask_pic();
    // SAFETY: every x86_64 CPU has the register.
    let base = unsafe { rdmsr(msr::APIC_BASE) };
    let mmio = if features.x2apic {
        // SAFETY: CPUID offers x2APIC; nothing uses the xAPIC registers.
        unsafe { wrmsr(msr::APIC_BASE, base | GLOBAL_ENABLE | X2APIC_ENABLE) };
        None
    } else {
        let physical = base & 0x000f_ffff_ffff_f000;
        let registers = mm::map_device(physical).ok_or(LapicError::NoMemory)?.cast::<u32>();
        percpu::this()
            .lapic_eoi
            .store(registers.wrapping_byte_add(register::EOI as usize), Ordering::Relaxed);
        Some(registers)
    };
    let timer =
        if features.tsc_deadline { Timer::Deadline } else { Timer::OneShot(features.lapic_hz.unwrap_or(0)) };
    let mut mode = Mode { mmio, timer };
    mode.write(register::SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS));
    mode.write(register::LVT_LINT0, LVT_MASKED);
    match mode.timer {
        Timer::Deadline => mode.write(register::LVT_TIMER, LVT_TSC_DEADLINE | u32::from(TIMER)),
        Timer::OneShot(_) => {
            mode.write(register::TIMER_DIVIDE, DIVIDE_BY_1);
            if features.lapic_hz.is_none() {
                mode.timer = Timer::OneShot(mode.measure_hz(clock));
            }
            mode.write(register::LVT_TIMER, u32::from(TIMER));
        }
    }
    let _ = MODE.set(mode);
    Ok(())
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

/// What the timer is set to, in nanoseconds; 0: nothing.
static ARMED: AtomicU64 = AtomicU64::new(0);

/// Has the timer fire at `deadline_ns` on `clock` or before.
///
/// Each setting is an exit, so a timer that is set to an earlier time stays: whoever it wakes for nothing looks at the clock
/// and arms again.
pub fn arm(clock: &Clock, deadline_ns: u64) {
    let Some(mode) = MODE.get() else { return };
    let deadline = deadline_ns.max(1);
    if (1..=deadline).contains(&ARMED.load(Ordering::Relaxed)) {
        return;
    }
    ARMED.store(deadline, Ordering::Relaxed);
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
    ARMED.store(0, Ordering::Relaxed);
}

/// This CPU's LAPIC id.
pub fn id() -> u32 {
    match MODE.get() {
        Some(mode) if mode.mmio.is_some() => mode.read(0x20) >> 24,
        Some(mode) => mode.read(0x20),
        None => 0,
    }
}
