//! The time-stamp counter as a clock.

use core::arch::asm;

/// Reads the counter, not before the loads that precede it.
#[inline(always)]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Nanoseconds for a counter value: `ticks * mult / 2^32`.
#[inline(always)]
pub fn scale(ticks: u64, mult: u64) -> u64 {
    ((u128::from(ticks) * u128::from(mult)) >> 32) as u64
}

/// Converts between counter values and nanoseconds since the counter was 0.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: u64,
    mult: u64,
}

impl Clock {
    /// A clock for a counter of `hz` (at least 1 MHz).
    pub fn new(hz: u64) -> Self {
        let hz = hz.max(1_000_000);
        Self { hz, mult: (1_000_000_000u64 << 32) / hz }
    }

    /// 2^32 times nanoseconds per tick.
    pub fn mult(&self) -> u64 {
        self.mult
    }

    /// Nanoseconds since the counter was 0.
    pub fn now_ns(&self) -> u64 {
        scale(rdtsc(), self.mult)
    }

    /// The counter value at which [`Self::now_ns`] reaches `ns` (or just after).
    pub fn ticks_at(&self, ns: u64) -> u64 {
        // Division of 128 bits would need a library routine; a second at a time does not.
        let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
        seconds.saturating_mul(self.hz).saturating_add((rest * (self.hz / 1_000)) / 1_000_000 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_second() {
        for hz in [1_000_000, 999_999_937, 2_400_000_000, 5_000_000_000] {
            let clock = Clock::new(hz);
            let ns = scale(hz * 3600, clock.mult());
            assert!(ns.abs_diff(3600 * 1_000_000_000) < 3_600_000, "{hz}: {ns}");
            let ticks = clock.ticks_at(1_500_000_000);
            assert!(ticks.abs_diff(hz * 3 / 2) <= hz / 1_000_000 + 1, "{hz}: {ticks}");
        }
    }
}
