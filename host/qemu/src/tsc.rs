//! The rate of the host's time-stamp counter.
//!
//! Under TCG as under KVM the guest's counter runs at the host's rate, and no machine type tells it to the guest.
//! A processor or hypervisor that states its rate is believed. Otherwise the rate is measured between two moments
//! that the process lives through anyway: [`mark`] at its start, and [`host_hz`] when a machine is started.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::time::Duration;

/// Least distance of the two moments. Reading both clocks together is exact to well under a microsecond, so that
/// the error is under 50 parts in a million.
const LEAST_APART: Duration = Duration::from_millis(20);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
struct Sample {
    tsc: u64,
    raw_ns: u64,
}

static START: OnceLock<Option<Sample>> = OnceLock::new();

/// Takes the first of the two moments. Later calls change nothing.
pub fn mark() {
    START.get_or_init(sample);
}

/// The rate in Hz; `None` where the guest's counter would not be the host's (another processor family).
///
/// Waits at most 20 ms, and not at all when [`mark`] was that long ago.
pub fn host_hz() -> Option<u64> {
    if let Some(hz) = stated_hz() {
        return Some(hz);
    }
    let start = (*START.get_or_init(sample))?;
    let mut now = sample()?;
    let elapsed = Duration::from_nanos(now.raw_ns.saturating_sub(start.raw_ns));
    if let Some(missing) = LEAST_APART.checked_sub(elapsed) {
        std::thread::sleep(missing + Duration::from_millis(1));
        now = sample()?;
    }
    rate(start, now)
}

/// Counter ticks per second between two readings.
fn rate(start: Sample, end: Sample) -> Option<u64> {
    let ticks = end.tsc.checked_sub(start.tsc)?;
    let ns = end.raw_ns.checked_sub(start.raw_ns).filter(|&ns| ns > 0)?;
    u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(ns)).ok()
}

/// Rate by CPUID leaf 0x15: crystal frequency times ratio. 0 stands for "not stated".
fn crystal_hz(denominator: u32, numerator: u32, crystal: u32) -> Option<u64> {
    if denominator == 0 || numerator == 0 || crystal == 0 {
        return None;
    }
    Some(u64::from(crystal) * u64::from(numerator) / u64::from(denominator))
}

#[cfg(target_arch = "x86_64")]
fn sample() -> Option<Sample> {
    use rustix::time::{ClockId, clock_gettime};
    let raw_ns = || {
        let t = clock_gettime(ClockId::MonotonicRaw);
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    };
    // SAFETY: every x86-64 processor has RDTSC; Linux does not set CR4.TSD.
    let tsc = || unsafe { core::arch::x86_64::_rdtsc() };
    // The tightest of a few pairs: nothing came between the readings.
    (0..5)
        .map(|_| {
            let before = tsc();
            let raw_ns = raw_ns();
            let after = tsc();
            (after.wrapping_sub(before), Sample { tsc: before + after.wrapping_sub(before) / 2, raw_ns })
        })
        .min_by_key(|(width, _)| *width)
        .map(|(_, sample)| sample)
}

#[cfg(target_arch = "x86_64")]
fn stated_hz() -> Option<u64> {
    #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
    // SAFETY: every x86-64 processor has CPUID.
    let cpuid = |leaf| unsafe { core::arch::x86_64::__cpuid(leaf) };
    let by_crystal = (cpuid(0).eax >= 0x15).then(|| {
        let leaf = cpuid(0x15);
        crystal_hz(leaf.eax, leaf.ebx, leaf.ecx)
    });
    // Hypervisors that have the timing leaf state the rate in kHz.
    let by_hypervisor = || {
        let hypervisor = cpuid(1).ecx & (1 << 31) != 0;
        let khz = (hypervisor && cpuid(0x4000_0000).eax >= 0x4000_0010).then(|| cpuid(0x4000_0010).eax)?;
        (khz != 0).then_some(u64::from(khz) * 1000)
    };
    by_crystal.flatten().or_else(by_hypervisor)
}

#[cfg(not(target_arch = "x86_64"))]
fn sample() -> Option<Sample> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn stated_hz() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_ticks_by_time() {
        let start = Sample { tsc: 5_000_000_000, raw_ns: 700 };
        let end = Sample { tsc: 5_050_000_000, raw_ns: 20_000_700 };
        assert_eq!(rate(start, end), Some(2_500_000_000));
    }

    #[test]
    fn a_year_of_ticks_does_not_overflow() {
        let end = Sample { tsc: 4_000_000_000 * 31_536_000, raw_ns: 31_536_000 * 1_000_000_000 };
        assert_eq!(rate(Sample { tsc: 0, raw_ns: 0 }, end), Some(4_000_000_000));
    }

    #[test]
    fn no_time_or_a_clock_that_steps_back_gives_no_rate() {
        let at = |tsc, raw_ns| Sample { tsc, raw_ns };
        assert_eq!(rate(at(1, 1), at(2, 1)), None);
        assert_eq!(rate(at(2, 1), at(1, 2)), None);
        assert_eq!(rate(at(1, 2), at(2, 1)), None);
    }

    #[test]
    fn crystal_times_ratio() {
        assert_eq!(crystal_hz(2, 216, 24_000_000), Some(2_592_000_000));
        assert_eq!(crystal_hz(2, 216, 0), None);
        assert_eq!(crystal_hz(0, 0, 24_000_000), None);
    }
}
