//! Randomness: from the CPU, or from a seed that the host hands over where the CPU has none, or that a device gives (virtio-rng,
//! in images that drive such devices).

use core::arch::x86_64::{_rdrand64_step, _rdseed64_step};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use sync::SpinLock;

use crate::arch::current::cpuid::CpuFeatures;
use crate::machine::fw_cfg;

enum Source {
    None,
    /// `rdrand`, a generator of its own behind each read (SDM vol. 1 § 7.3.17).
    Rdrand,
    /// `rdseed`, where that is all there is.
    Rdseed,
    /// A generator keyed by the host's seed. The key is replaced at each use, so that what was given out cannot be
    /// worked out from what is in memory later.
    Seeded([u8; abi::seed::LEN]),
}

static SOURCE: SpinLock<Source> = SpinLock::new(Source::None);

/// The machine offers no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEntropy;

/// Chooses the source. Called once, at boot.
pub fn init(features: &CpuFeatures) {
    *SOURCE.lock() = if features.rdrand {
        Source::Rdrand
    } else if features.rdseed {
        Source::Rdseed
    } else {
        fw_cfg::read_file(abi::seed::FILE).map_or(Source::None, Source::Seeded)
    };
}

/// Whether there is a source.
pub fn is_available() -> bool {
    !matches!(*SOURCE.lock(), Source::None)
}

/// Takes a seed from a device, where there is no other source. Called at boot.
pub fn seed(octets: [u8; abi::seed::LEN]) {
    let mut source = SOURCE.lock();
    if matches!(*source, Source::None) {
        *source = Source::Seeded(octets);
    }
}

/// Fills `out` with random octets.
///
/// # Errors
/// [`NoEntropy`]: no source, or the CPU's has failed (it did not deliver in 100 tries; Intel's guide asks for 10).
pub fn fill(out: &mut [u8]) -> Result<(), NoEntropy> {
    match &mut *SOURCE.lock() {
        Source::None => Err(NoEntropy),
        // SAFETY: `init` chose the source by CPUID.
        Source::Rdrand => fill_words(out, |word| unsafe { rdrand(word) }),
        // SAFETY: as above.
        Source::Rdseed => fill_words(out, |word| unsafe { rdseed(word) }),
        Source::Seeded(key) => {
            let mut generator = ChaCha20Rng::from_seed(*key);
            generator.fill_bytes(key);
            generator.fill_bytes(out);
            Ok(())
        }
    }
}

fn fill_words(out: &mut [u8], step: impl Fn(&mut u64) -> bool) -> Result<(), NoEntropy> {
    for chunk in out.chunks_mut(8) {
        let mut word = 0;
        if !(0..100).any(|_| step(&mut word)) {
            return Err(NoEntropy);
        }
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    Ok(())
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
