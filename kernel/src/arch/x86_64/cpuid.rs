//! What CPUID says, read once at boot.

use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Features and rates of this CPU, as far as the kernel needs them.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuFeatures {
    /// CPUID.1:EDX, handed to the program as `AT_HWCAP`.
    pub hwcap: u32,
    /// The first thing that the kernel cannot do without and this CPU does not have.
    pub missing: Option<&'static str>,
    /// `xsave` and its kin.
    pub xsave: bool,
    /// Components of the extended state that XCR0 may enable: x87, SSE, AVX, AVX-512. Never AMX: its 8 KiB would
    /// burden every switch.
    pub xcr0: u64,
    /// The LAPIC can be reached through model-specific registers.
    pub x2apic: bool,
    /// The LAPIC timer can compare with the time-stamp counter.
    pub tsc_deadline: bool,
    /// `rdrand`.
    pub rdrand: bool,
    /// `rdseed`.
    pub rdseed: bool,
    /// Supervisor mode execution prevention: code of the program's pages does not run at ring 0.
    pub smep: bool,
    /// Supervisor mode access prevention: the kernel touches the program's pages only when it says so.
    pub smap: bool,
    /// User mode instruction prevention: ring 3 does not see where the descriptor tables lie.
    pub umip: bool,
    /// Rate of the time-stamp counter where CPUID tells it, in Hz.
    pub tsc_hz: Option<u64>,
    /// Rate of the LAPIC timer's input clock where it is known, in Hz.
    pub lapic_hz: Option<u64>,
}

/// x87, SSE, AVX and the three AVX-512 components (SDM vol. 1 § 13.1).
const XCR0_WANTED: u64 = 0b1110_0111;

/// Reads CPUID. Each instruction is an exit on a virtual machine, so this is called once.
pub fn read() -> CpuFeatures {
    let max = __cpuid(0).eax;
    let one = __cpuid(1);
    let mut features = CpuFeatures {
        hwcap: one.edx,
        missing: missing(one.edx, __cpuid(0x8000_0001).edx),
        xsave: one.ecx & 1 << 26 != 0,
        x2apic: one.ecx & 1 << 21 != 0,
        tsc_deadline: one.ecx & 1 << 24 != 0,
        rdrand: one.ecx & 1 << 30 != 0,
        ..CpuFeatures::default()
    };
    if max >= 7 {
        let seven = __cpuid_count(7, 0);
        features.smep = seven.ebx & 1 << 7 != 0;
        features.rdseed = seven.ebx & 1 << 18 != 0;
        features.smap = seven.ebx & 1 << 20 != 0;
        features.umip = seven.ecx & 1 << 2 != 0;
    }
    if features.xsave {
        let components = __cpuid_count(0xd, 0);
        features.xcr0 = (u64::from(components.edx) << 32 | u64::from(components.eax)) & XCR0_WANTED;
    }
    if max >= 0x15 {
        // SDM vol. 3 § 20.7.3: crystal rate in ECX; TSC rate is that times EBX / EAX. The LAPIC timer runs at it.
        let leaf = __cpuid(0x15);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            features.tsc_hz = Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax));
            features.lapic_hz = Some(u64::from(leaf.ecx));
        }
    }
    let hypervised = one.ecx & 1 << 31 != 0;
    if hypervised {
        let vendor = __cpuid(0x4000_0000);
        let name = [vendor.ebx, vendor.ecx, vendor.edx];
        let is = |text: &[u8; 12]| {
            name.iter().zip(text.chunks_exact(4)).all(|(word, octets)| word.to_le_bytes() == *octets)
        };
        if is(b"TCGTCGTCGTCG") || is(b"KVMKVMKVM\0\0\0") {
            // QEMU's and KVM's LAPIC timers count nanoseconds (APIC_BUS_CYCLE_NS is 1).
            features.lapic_hz = Some(1_000_000_000);
        }
        if vendor.eax >= 0x4000_0010 && vendor.eax < 0x4000_0100 {
            // The frequency leaf that VMware introduced and others took over: TSC and bus rate in kHz.
            let rates = __cpuid(0x4000_0010);
            features.tsc_hz = (rates.eax != 0).then(|| u64::from(rates.eax) * 1000).or(features.tsc_hz);
            features.lapic_hz = (rates.ebx != 0).then(|| u64::from(rates.ebx) * 1000).or(features.lapic_hz);
        }
    }
    features
}

/// What every x86_64 CPU has, unless somebody took it away. 64-bit mode and no-execute pages were looked at before.
fn missing(one_edx: u32, extended_edx: u32) -> Option<&'static str> {
    const NEEDED: [(u32, &str); 6] = [
        (1 << 4, "the time-stamp counter"),
        (1 << 5, "model-specific registers"),
        (1 << 9, "a local APIC"),
        (1 << 24, "FXSAVE"),
        (1 << 25, "SSE"),
        (1 << 26, "SSE2"),
    ];
    let has_syscall = extended_edx & 1 << 11 != 0;
    let needed = NEEDED.iter().find(|(bit, _)| one_edx & bit == 0).map(|(_, name)| *name);
    needed.or((!has_syscall).then_some("the syscall instruction"))
}

/// Size of the state that `xsave` writes under the XCR0 in force, in bytes (SDM vol. 1 § 13.2).
pub fn xsave_size() -> usize {
    __cpuid_count(0xd, 0).ebx as usize
}
