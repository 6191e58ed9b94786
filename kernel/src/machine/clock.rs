//! Rates and times that the machine or the command line tells, and what to do when neither does.

use abi::cmdline::Settings;

use crate::arch::current::cpuid::CpuFeatures;
use crate::arch::current::port;
use crate::arch::current::tsc::rdtsc;

/// The rate of the time-stamp counter in Hz: the command line's, else CPUID's, else measured.
///
/// Measuring takes 10 ms, so it is the last resort; `None`: there is nothing to measure against.
pub fn tsc_hz(settings: &Settings, features: &CpuFeatures) -> Option<u64> {
    settings.tsc_hz.or(features.tsc_hz).or_else(measure_by_pit)
}

/// Counts the time-stamp counter over 10 ms of the programmable interval timer's channel 2 (Intel 8254), which a
/// PC can gate and read by port 0x61.
fn measure_by_pit() -> Option<u64> {
    const PIT_HZ: u64 = 1_193_182;
    const TICKS: u16 = 11_932;
    // SAFETY: channel 2 drives the speaker alone; the speaker stays off.
    unsafe {
        let before = port::inb(0x61);
        port::outb(0x61, before & !2 & !1);
        port::outb(0x43, 0b1011_0000); // channel 2, both octets, mode 0: output rises at the end
        port::outb(0x42, TICKS as u8);
        port::outb(0x42, (TICKS >> 8) as u8);
        let start = rdtsc();
        port::outb(0x61, before & !2 | 1);
        // Without the device the port never shows the output; give up after what is a second at 1 GHz and more.
        while port::inb(0x61) & 0x20 == 0 {
            if rdtsc() - start > 5_000_000_000 {
                return None;
            }
        }
        let ticks = rdtsc() - start;
        port::outb(0x61, before);
        Some(ticks * PIT_HZ / u64::from(TICKS)).filter(|hz| (1_000_000..=100_000_000_000).contains(hz))
    }
}

/// UNIX time in nanoseconds when the time-stamp counter was 0: the command line's, else from the battery clock.
pub fn wall_ns_at_tsc_0(settings: &Settings, now_ns: u64) -> Option<u64> {
    settings.wall_ns.or_else(|| Some((read_rtc()? * 1_000_000_000).saturating_sub(now_ns)))
}

/// The battery clock (Motorola MC146818A) in seconds since 1970. `None`: no clock answers.
fn read_rtc() -> Option<u64> {
    const STATUS_A: u8 = 0x0a;
    const STATUS_B: u8 = 0x0b;
    const UPDATE: u8 = 0x80;
    let read = |register: u8| {
        // SAFETY: reading the clock's registers; bit 7 of the index (NMI) stays as it is at reset.
        unsafe {
            port::outb(0x70, register);
            port::inb(0x71)
        }
    };
    let sample = || {
        // An update lasts 2 ms at most; without the device the bit is always set.
        for _ in 0..100_000 {
            if read(STATUS_A) & UPDATE == 0 {
                return Some([0, 2, 4, 7, 8, 9].map(read));
            }
        }
        None
    };
    let mut fields = sample()?;
    loop {
        // Twice the same: no update came between.
        let again = sample()?;
        if again == fields {
            break;
        }
        fields = again;
    }
    civil_to_unix(fields, read(STATUS_B))
}

/// Converts the clock's fields (second, minute, hour, day, month, year of the century) as status register B says.
fn civil_to_unix(fields: [u8; 6], status_b: u8) -> Option<u64> {
    let binary = status_b & 4 != 0;
    let decode = |value: u8| if binary { value } else { (value >> 4) * 10 + (value & 15) };
    let pm = fields[2] & 0x80 != 0;
    let mut hour = decode(fields[2] & 0x7f);
    if status_b & 2 == 0 {
        hour = hour % 12 + if pm { 12 } else { 0 };
    }
    let [second, minute, day, month, year] =
        [fields[0], fields[1], fields[3], fields[4], fields[5]].map(decode).map(u64::from);
    if second > 60 || minute > 59 || hour > 23 || !(1..=31).contains(&day) || !(1..=12).contains(&month) {
        return None;
    }
    // Days from civil, with the year starting in March (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = 2000 + year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(days * 86_400 + u64::from(hour) * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_seconds() {
        // 2026-11-23 18:20:00 in BCD, 24 hours.
        assert_eq!(civil_to_unix([0x00, 0x20, 0x18, 0x23, 0x11, 0x26], 2), Some(1_795_458_000));
        // The same in binary, and with 12 hours (bit 7: afternoon).
        assert_eq!(civil_to_unix([0, 20, 18, 23, 11, 26], 6), Some(1_795_458_000));
        assert_eq!(civil_to_unix([0x00, 0x20, 0x86, 0x23, 0x11, 0x26], 0), Some(1_795_458_000));
        // Midnight in 12 hours, a leap day.
        assert_eq!(civil_to_unix([0, 0, 0x12, 0x29, 0x02, 0x24], 0), Some(1_709_164_800));
        assert_eq!(civil_to_unix([0xff; 6], 2), None);
    }
}
