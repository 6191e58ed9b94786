//! UDP (RFC 768).

use crate::checksum::Sum;
use crate::{Malformed, Port};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;

view! {
    /// A UDP datagram.
    Packet {
        /// Source.
        src_port, set_src_port: Port = 0;
        /// Destination.
        dst_port, set_dst_port: Port = 2;
        /// Octets of header and payload.
        datagram_len, set_datagram_len: u16 = 4;
        /// Checksum; 0 says that there is none (IPv4 only).
        checksum, set_checksum: u16 = 6;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps an IP payload. `Ok`: no accessor panics. Octets behind the datagram's own length are not seen.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self { buffer };
        let octets = packet.buffer.as_ref().len();
        if octets < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let len = usize::from(packet.datagram_len());
        if len < HEADER_LEN {
            return Err(Malformed::Length(len));
        }
        if len > octets {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// What the datagram carries.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..usize::from(self.datagram_len())]
    }

    /// Whether the checksum fits, or is left out as IPv4 allows. `pseudo`: the pseudo-header's sum. Looks at every
    /// octet.
    pub fn is_checksum_valid(&self, pseudo: Sum) -> bool {
        self.checksum() == 0
            || pseudo.with(&self.buffer.as_ref()[..usize::from(self.datagram_len())]).is_valid()
    }
}

impl<T: AsMut<[u8]>> Packet<T> {
    /// What the datagram carries, to be written.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Computes and writes the checksum of a datagram that is all in this buffer. `pseudo`: the pseudo-header's sum.
    pub fn fill_checksum(&mut self, pseudo: Sum) {
        self.set_checksum(0);
        let checksum = pseudo.with(&self.buffer.as_ref()[..usize::from(self.datagram_len())]).finish();
        // 0 would say that there is none; all ones is the same number in one's complement.
        self.set_checksum(if checksum == 0 { 0xffff } else { checksum });
    }
}

/// The header's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source; [`Port::NONE`]: no reply wanted.
    pub src_port: Port,
    /// Destination.
    pub dst_port: Port,
    /// Octets of the payload, at most 65535 - [`HEADER_LEN`].
    pub payload_len: u16,
}

impl Repr {
    /// Reads a header. `pseudo`: the pseudo-header's sum, to verify the checksum with; `None`: the device has done
    /// it. `Field`: the destination port is 0.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, pseudo: Option<Sum>) -> Result<Self, Malformed> {
        if packet.dst_port() == Port::NONE {
            return Err(Malformed::Field(0));
        }
        if pseudo.is_some_and(|pseudo| !packet.is_checksum_valid(pseudo)) {
            return Err(Malformed::Checksum);
        }
        Ok(Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            payload_len: packet.datagram_len() - HEADER_LEN as u16,
        })
    }

    /// Writes the header with checksum 0; the buffer has at least [`HEADER_LEN`] octets. The checksum comes when the
    /// payload is there: [`Packet::fill_checksum`], or the device.
    pub fn emit<T: AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_datagram_len(self.payload_len.saturating_add(HEADER_LEN as u16));
        packet.set_checksum(0);
    }
}
