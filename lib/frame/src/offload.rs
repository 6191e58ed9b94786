//! What the stack and a device say to each other about a frame: who saw to the checksum.

use crate::Frame;

/// A frame that a device received.
#[derive(Debug)]
pub struct RxFrame {
    /// From the link-layer header on.
    pub frame: Frame,
    /// The device has verified the checksum of TCP or UDP, or vouches for it because the frame never left the
    /// machine. `false`: nothing is known.
    pub checksum_valid: bool,
}

/// A frame that a device is to send.
#[derive(Debug)]
pub struct TxFrame {
    /// From the link-layer header on; it may be a chain.
    pub frame: Frame,
    /// What the device has to add. `None`: the frame is complete.
    pub checksum: Option<ChecksumOffload>,
    /// The device has to make several segments of it; `checksum` is what each of them needs. `None`: it leaves as it is.
    pub segmentation: Option<Segmentation>,
}

/// A TCP segment over IPv4, longer than the link takes, that the device cuts (virtio 1.2 § 5.1.6.2): each piece gets a copy of all
/// headers, with its own sequence number, lengths and checksums, and FIN and PSH only the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Octets before the payload: all headers.
    pub header_len: u16,
    /// Octets of payload of each piece but the last.
    pub size: u16,
}

/// A checksum that the device completes (virtio 1.2 § 5.1.6.2): the internet checksum of everything from `start` on is
/// put at `start + offset`, where the pseudo-header's sum stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumOffload {
    /// Octets before the first one that counts.
    pub start: u16,
    /// From there to the checksum field.
    pub offset: u16,
}
