//! ICMP for IPv4 (RFC 792, RFC 1191 for the next hop's MTU).

use crate::Malformed;
use crate::checksum::{self, Sum};

/// Octets of the header of every supported message.
pub const HEADER_LEN: usize = 8;

view! {
    /// An ICMP message.
    Packet {
        /// Kind of message.
        message_type, set_message_type: u8 = 0;
        /// Kind within the kind.
        code, set_code: u8 = 1;
        /// Checksum of header and payload.
        checksum, set_checksum: u16 = 2;
        /// Echo: identifier.
        ident, set_ident: u16 = 4;
        /// Echo: sequence number. Unreachable: the next hop's MTU (RFC 1191 § 4).
        seq, set_seq: u16 = 6;
        /// Parameter problem: which octet of the header.
        pointer, set_pointer: u8 = 4;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps an IP payload. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Echo: the data. Errors: the start of the datagram at fault, for [`crate::ipv4::Packet::new_quoted`].
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }

    /// Whether the checksum fits. Looks at every octet.
    pub fn is_checksum_valid(&self) -> bool {
        Sum::new().with(self.buffer.as_ref()).is_valid()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Computes and writes the checksum of a message that fills the buffer.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let checksum = checksum::checksum(self.buffer.as_ref());
        self.set_checksum(checksum);
    }

    /// What follows the header, to be written.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// Why a destination is unreachable. The numbers are the codes (RFC 792, RFC 1122 § 3.2.2.1, RFC 1812 § 5.2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No way to the network (0).
    Net,
    /// No way to the host (1).
    Host,
    /// The host does not speak the protocol (2).
    Protocol,
    /// Nobody listens on the port (3).
    Port,
    /// The datagram is longer than the next hop's MTU and must not be cut (4). 0: the router did not say the MTU.
    FragmentationNeeded {
        /// MTU of the next hop in octets.
        mtu: u16,
    },
    /// A filter forbids it (9, 10, 13).
    Prohibited {
        /// The code.
        code: u8,
    },
    /// The other codes up to 15.
    Other {
        /// The code.
        code: u8,
    },
}

/// A message's meaning; the payload is read apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    /// A host asks for its data back.
    EchoRequest {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// The data comes back.
    EchoReply {
        /// Identifier of the request.
        ident: u16,
        /// Sequence number of the request.
        seq: u16,
    },
    /// The quoted datagram did not arrive.
    Unreachable(Unreachable),
    /// The quoted datagram's time to live ran out (`false`), or the time to put its fragments together (`true`).
    TimeExceeded {
        /// Its fragments did not come in time.
        reassembly: bool,
    },
    /// The quoted datagram's header is wrong.
    ParameterProblem {
        /// The octet of the header where it is wrong.
        pointer: u8,
    },
}

impl Repr {
    /// Reads a message, checksum verified. `Field`: a type that is not supported, or a code its type does not have.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        if !packet.is_checksum_valid() {
            return Err(Malformed::Checksum);
        }
        let (ident, seq) = (packet.ident(), packet.seq());
        match (packet.message_type(), packet.code()) {
            (8, 0) => Ok(Self::EchoRequest { ident, seq }),
            (0, 0) => Ok(Self::EchoReply { ident, seq }),
            (3, code @ 0..=15) => Ok(Self::Unreachable(match code {
                0 => Unreachable::Net,
                1 => Unreachable::Host,
                2 => Unreachable::Protocol,
                3 => Unreachable::Port,
                4 => Unreachable::FragmentationNeeded { mtu: seq },
                9 | 10 | 13 => Unreachable::Prohibited { code },
                _ => Unreachable::Other { code },
            })),
            (11, code @ 0..=1) => Ok(Self::TimeExceeded { reassembly: code == 1 }),
            (12, 0) => Ok(Self::ParameterProblem { pointer: packet.pointer() }),
            (kind, code) => Err(Malformed::Field(u32::from(kind) << 8 | u32::from(code))),
        }
    }

    /// Whether it reports an error, so that no error may answer it (RFC 1122 § 3.2.2).
    pub fn is_error(&self) -> bool {
        !matches!(self, Self::EchoRequest { .. } | Self::EchoReply { .. })
    }

    /// Writes the header with checksum 0; the buffer has at least [`HEADER_LEN`] octets. The checksum comes when the
    /// payload is there: [`Packet::fill_checksum`].
    pub fn emit<T: AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let (kind, code, ident, seq) = match *self {
            Self::EchoRequest { ident, seq } => (8, 0, ident, seq),
            Self::EchoReply { ident, seq } => (0, 0, ident, seq),
            Self::Unreachable(reason) => match reason {
                Unreachable::Net => (3, 0, 0, 0),
                Unreachable::Host => (3, 1, 0, 0),
                Unreachable::Protocol => (3, 2, 0, 0),
                Unreachable::Port => (3, 3, 0, 0),
                Unreachable::FragmentationNeeded { mtu } => (3, 4, 0, mtu),
                Unreachable::Prohibited { code } | Unreachable::Other { code } => (3, code, 0, 0),
            },
            Self::TimeExceeded { reassembly } => (11, u8::from(reassembly), 0, 0),
            Self::ParameterProblem { pointer } => (12, 0, u16::from(pointer) << 8, 0),
        };
        packet.set_message_type(kind);
        packet.set_code(code);
        packet.set_checksum(0);
        packet.set_ident(ident);
        packet.set_seq(seq);
    }
}
