//! TCP segments (RFC 9293 § 3.1).

mod options;

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use crate::checksum::Sum;
use crate::{Malformed, Port, SeqNumber};

pub use options::{MAX_SACK_BLOCKS, MAX_WINDOW_SHIFT, Options, SackBlock, Timestamps};

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Octets of the longest header.
pub const MAX_HEADER_LEN: usize = 60;

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No bit.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push function.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);
    /// ECN-echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl BitOr for Flags {
    type Output = Self;
    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// As tcpdump writes them: `S.` is SYN and ACK.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in (0..8).zip(["F", "S", "R", "P", ".", "U", "E", "W"]) {
            if self.0 & 1 << bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({self})")
    }
}

view! {
    /// A TCP segment.
    Packet {
        /// Source.
        src_port, set_src_port: Port = 0;
        /// Destination.
        dst_port, set_dst_port: Port = 2;
        /// Sequence number of the first octet, or of SYN.
        seq, set_seq: SeqNumber = 4;
        /// The next sequence number the sender expects; significant with ACK.
        ack, set_ack: SeqNumber = 8;
        /// Header length in 32-bit words (4 bits), reserved (4 bits), control bits (8 bits).
        offset_flags, set_offset_flags: u16 = 12;
        /// Window, not scaled.
        window, set_window: u16 = 14;
        /// Checksum of pseudo-header, header and payload.
        checksum, set_checksum: u16 = 16;
        /// Urgent pointer; significant with URG.
        urgent, set_urgent: u16 = 18;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps an IP payload. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self { buffer };
        let len = packet.buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let header_len = packet.header_len();
        if header_len < HEADER_LEN {
            return Err(Malformed::Length(header_len));
        }
        if header_len > len {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// Octets of the header, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.offset_flags() >> 12) * 4
    }

    /// The control bits.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.offset_flags() as u8)
    }

    /// The options as they stand, at most 40 octets.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// What the segment carries.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }

    /// Whether the checksum fits. `pseudo`: the pseudo-header's sum. Looks at every octet.
    pub fn is_checksum_valid(&self, pseudo: Sum) -> bool {
        pseudo.with(self.buffer.as_ref()).is_valid()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// What the segment carries, to be written.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let header_len = self.header_len();
        &mut self.buffer.as_mut()[header_len..]
    }

    /// Computes and writes the checksum of a segment that fills this buffer. `pseudo`: the pseudo-header's sum.
    pub fn fill_checksum(&mut self, pseudo: Sum) {
        self.set_checksum(0);
        let checksum = pseudo.with(self.buffer.as_ref()).finish();
        self.set_checksum(checksum);
    }
}

/// A segment's meaning, but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source.
    pub src_port: Port,
    /// Destination.
    pub dst_port: Port,
    /// Sequence number of the first octet, or of SYN.
    pub seq: SeqNumber,
    /// The next sequence number the sender expects; significant with ACK, otherwise 0.
    pub ack: SeqNumber,
    /// The control bits.
    pub flags: Flags,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer; significant with URG, otherwise 0.
    pub urgent: u16,
    /// The options.
    pub options: Options,
}

impl Repr {
    /// Reads a segment's header. `pseudo`: the pseudo-header's sum, to verify the checksum with; `None`: the device
    /// has done it. `Field`: a port is 0 (RFC 6335 § 6). `Option`: see [`Options::parse`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, pseudo: Option<Sum>) -> Result<Self, Malformed> {
        if packet.src_port() == Port::NONE || packet.dst_port() == Port::NONE {
            return Err(Malformed::Field(0));
        }
        if pseudo.is_some_and(|pseudo| !packet.is_checksum_valid(pseudo)) {
            return Err(Malformed::Checksum);
        }
        let flags = packet.flags();
        Ok(Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq: packet.seq(),
            ack: if flags.has(Flags::ACK) { packet.ack() } else { SeqNumber(0) },
            flags,
            window: packet.window(),
            urgent: if flags.has(Flags::URG) { packet.urgent() } else { 0 },
            options: Options::parse(packet.options())?,
        })
    }

    /// Octets of the header with its options, a multiple of 4.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Writes the header with checksum 0; the buffer has at least [`Self::header_len`] octets. The checksum comes
    /// when the payload is there: [`Packet::fill_checksum`], or the device.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let header_len = self.header_len();
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_seq(self.seq);
        packet.set_ack(self.ack);
        packet.set_offset_flags((header_len as u16 / 4) << 12 | u16::from(self.flags.0));
        packet.set_window(self.window);
        packet.set_checksum(0);
        packet.set_urgent(self.urgent);
        self.options.emit(&mut packet.buffer.as_mut()[HEADER_LEN..header_len]);
    }
}
