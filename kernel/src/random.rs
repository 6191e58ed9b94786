//! Randomness from the CPU.

use core::arch::x86_64::{_rdrand64_step, _rdseed64_step};
use core::sync::atomic::{AtomicU8, Ordering};

use crate::arch::current::cpuid::CpuFeatures;

const NONE: u8 = 0;
const RDRAND: u8 = 1;
const RDSEED: u8 = 2;

static SOURCE: AtomicU8 = AtomicU8::new(NONE);

/// The machine offers no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEntropy;

/// Chooses the source.
pub fn init(features: &CpuFeatures) {
    let source = if features.rdrand {
        RDRAND
    } else if features.rdseed {
        RDSEED
    } else {
        NONE
    };
    SOURCE.store(source, Ordering::Relaxed);
}

/// Fills `out` with random octets.
///
/// # Errors
/// [`NoEntropy`]: no source, or the CPU's has failed (it did not deliver in 100 tries; Intel's guide asks for 10).
pub fn fill(out: &mut [u8]) -> Result<(), NoEntropy> {
    for chunk in out.chunks_mut(8) {
        let word = word().ok_or(NoEntropy)?;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

fn word() -> Option<u64> {
    let mut word = 0;
    let source = SOURCE.load(Ordering::Relaxed);
    (0..100)
        .any(|_| match source {
            // SAFETY: `init` chose the source by CPUID.
            RDRAND => unsafe { rdrand(&mut word) },
            // SAFETY: as above.
            RDSEED => unsafe { rdseed(&mut word) },
            _ => false,
        })
        .then_some(word)
}

/// # Safety
/// The CPU has `rdrand`.
#[target_feature(enable = "rdrand")]
unsafe fn rdrand(word: &mut u64) -> bool {
    _rdrand64_step(word) == 1
}

/// # Safety
/// The CPU has `rdseed`.
#[target_feature(enable = "rdseed")]
unsafe fn rdseed(word: &mut u64) -> bool {
    _rdseed64_step(word) == 1
}
