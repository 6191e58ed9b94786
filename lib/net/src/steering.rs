//! [`Steering`]: which core a connection belongs to.

use core::net::IpAddr;

use crate::tcp::FourTuple;

/// Entries of a steering table.
pub const STEERING_ENTRIES: usize = 128;
/// Octets of a key: enough for two IPv6 addresses, two ports and the 32 bits of the result.
pub const STEERING_KEY_LEN: usize = 40;

/// A core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreId(pub u16);

/// An interface's steering table. It is data: who changes it hands the connections over.
///
/// The hash is Toeplitz's, as network devices compute it for receive-side scaling (virtio 1.2 § 5.1.6.4.3), so that
/// the queue a device chooses and the owner are the same core. It is linear: a peer can aim many connections at one
/// core. Tables of connections are therefore hashed by something else ([`crate::siphash`]).
#[derive(Clone, Debug)]
pub struct Steering {
    /// The key, which a device that hashes is given, too.
    pub key: [u8; STEERING_KEY_LEN],
    /// By the last 7 bits of the hash: the owner.
    pub table: [CoreId; STEERING_ENTRIES],
}

impl Steering {
    /// Everything belongs to the first core.
    pub const fn new(key: [u8; STEERING_KEY_LEN]) -> Self {
        Self { key, table: [CoreId(0); STEERING_ENTRIES] }
    }

    /// The owner of a connection.
    pub fn owner(&self, tuple: &FourTuple) -> CoreId {
        self.table[self.hash(tuple) as usize % STEERING_ENTRIES]
    }

    /// The hash that a device finds for a received packet of the connection: the peer is its source.
    pub fn hash(&self, tuple: &FourTuple) -> u32 {
        let mut input = [0; 36];
        let mut len = 0;
        let mut put = |octets: &[u8]| {
            input[len..len + octets.len()].copy_from_slice(octets);
            len += octets.len();
        };
        for address in [tuple.remote, tuple.local] {
            match address {
                IpAddr::V4(v4) => put(&v4.octets()),
                IpAddr::V6(v6) => put(&v6.octets()),
            }
        }
        put(&tuple.remote_port.0.to_be_bytes());
        put(&tuple.local_port.0.to_be_bytes());
        toeplitz(&self.key, &input[..len])
    }
}

/// The key's 32 bits from each place where the input has a 1, added without carry.
fn toeplitz(key: &[u8; STEERING_KEY_LEN], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (window, octet) in key.windows(5).zip(input) {
        let bits = window.iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
        for place in 0..8 {
            if octet & 0x80 >> place != 0 {
                hash ^= (bits >> (8 - place)) as u32;
            }
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use wire::Port;

    #[test]
    fn published_vectors() {
        // "Verifying the RSS Hash Calculation", Windows driver documentation.
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let steering = Steering::new(key);
        let tuple = |remote: [u8; 4], remote_port, local: [u8; 4], local_port| FourTuple {
            local: IpAddr::V4(Ipv4Addr::from(local)),
            local_port: Port(local_port),
            remote: IpAddr::V4(Ipv4Addr::from(remote)),
            remote_port: Port(remote_port),
        };
        for (tuple, hash) in [
            (tuple([66, 9, 149, 187], 2794, [161, 142, 100, 80], 1766), 0x51cc_c178),
            (tuple([199, 92, 111, 2], 14230, [65, 69, 140, 83], 4739), 0xc626_b0ea),
            (tuple([24, 19, 198, 95], 12898, [12, 22, 207, 184], 38024), 0x5c2b_394a),
        ] {
            assert_eq!(steering.hash(&tuple), hash);
            assert_eq!(steering.owner(&tuple), CoreId(0));
        }
    }
}
