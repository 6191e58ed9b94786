//! The entropy device (§ 5.4): asked once, at boot, for a seed.

use core::sync::atomic::Ordering;

use abi::seed::LEN;
use kernel::mm::dma::DmaRegion;

use super::feature;
use super::queue::{Direction, Piece, Queue};
use super::transport::{Error, Found};

const WANTED: u64 = feature::VERSION_1 | feature::ACCESS_PLATFORM;
const REQUESTS: u16 = 0;

/// Reads a seed, and leaves the device reset. `is_late` is called while there is no answer; the device may give less than it
/// is asked for, and is asked again.
///
/// # Errors
/// [`Error`]; [`Error::NoAnswer`] when `is_late` says so.
pub fn read_seed(found: Found, mut is_late: impl FnMut() -> bool) -> Result<[u8; LEN], Error> {
    let mut device = found.acknowledge().negotiate(WANTED)?;
    let parts = device
        .queue(REQUESTS, 1, false)
        .and_then(|queue: Queue<()>| Ok((queue, DmaRegion::allocate(LEN).ok_or(Error::NoMemory)?)));
    let (mut queue, region) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            device.fail();
            return Err(error);
        }
    };
    queue.disable_interrupts();
    // Last, so that it is dropped first: the device is reset before its memory goes.
    let live = device.driver_ok();
    let mut seed = [0; LEN];
    let mut have = 0;
    while have < LEN {
        let piece = Piece { dma: region.dma(), len: LEN as u32 };
        queue.add(&[piece], Direction::FromDevice, ()).map_err(|()| Error::NoMemory)?;
        if queue.publish() {
            live.notify(REQUESTS);
        }
        let used = loop {
            match queue.pop() {
                Some(used) => break used,
                None if is_late() => return Err(Error::NoAnswer),
                None => core::hint::spin_loop(),
            }
        };
        if used.written == 0 && is_late() {
            return Err(Error::NoAnswer);
        }
        let given = (used.written as usize).min(LEN - have);
        for (at, octet) in seed[have..have + given].iter_mut().enumerate() {
            let word = region.u32(at & !3).load(Ordering::Relaxed);
            *octet = word.to_le_bytes()[at & 3];
        }
        have += given;
    }
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::fake::{Device, Offer};

    fn offer() -> Offer {
        Offer { features: feature::VERSION_1, config: std::vec::Vec::new(), ..Offer::default() }
    }

    /// Reads a seed from a device that answers a request with each of `answers`, then not at all.
    fn read(offer: Offer, answers: &[&[u8]]) -> (Device, Result<[u8; LEN], Error>) {
        let (device, transport) = Device::new(offer);
        let mut answers = answers.iter();
        let result = Found::new(transport).and_then(|found| {
            read_seed(found, || {
                let (Some(answer), Some(chain)) = (answers.next(), device.take(0)) else { return true };
                let written = chain.write(answer);
                device.put_used(0, chain.id, written as u32);
                device.show(0);
                false
            })
        });
        (device, result)
    }

    #[test]
    fn a_seed_in_one_piece_or_in_several() {
        let octets: std::vec::Vec<u8> = (1..=LEN as u8).collect();
        for cut in [LEN, 1, 13, 16, LEN - 1] {
            let (device, seed) = read(offer(), &[&octets[..cut], &octets[cut..]]);
            assert_eq!(seed.unwrap()[..], octets, "{cut}");
            assert_eq!(device.statuses().last(), Some(&0), "it is reset");
        }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let (device, seed) = read(offer(), &[&[7; 5]]);
        assert_eq!(seed, Err(Error::NoAnswer));
        assert_eq!(device.statuses().last(), Some(&0), "it is reset");
    }

    #[test]
    fn nothing_again_and_again_is_no_answer() {
        assert_eq!(read(offer(), &[&[], &[], &[]]).1, Err(Error::NoAnswer));
    }

    #[test]
    fn what_it_does_not_accept() {
        assert!(matches!(read(Offer { accepts: false, ..offer() }, &[]).1, Err(Error::Features(_))));
        assert_eq!(read(Offer { queue_max: 0, ..offer() }, &[]).1, Err(Error::NoQueue(0)));
    }
}
