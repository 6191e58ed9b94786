//! [`Lease`]: what a server gave, and for how long.

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use wire::List;
use wire::dhcpv4::{Addresses, MAX_ADDRESSES, MAX_ROUTES, Repr, Route};

use crate::{Instant, Ipv4Cidr};

/// The version that [`Lease::save`] writes.
pub const LEASE_STATE_VERSION: u16 = 1;
/// A shorter lease would be nothing but renewals.
const MIN_LEASE: u32 = 10;
/// What a server's time of `u32::MAX` means.
const FOR_EVER: u32 = u32::MAX;

/// An address with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address and its network.
    pub address: Ipv4Cidr,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Default gateways, best first. Empty where `routes` are given (RFC 3442).
    pub routers: Addresses,
    /// Classless static routes.
    pub routes: List<Route, MAX_ROUTES>,
    /// Name servers, best first.
    pub name_servers: Addresses,
    /// Time servers, best first.
    pub ntp_servers: Addresses,
    /// The domain of this host's name.
    pub domain: List<u8, 255>,
    /// The link's MTU.
    pub mtu: Option<u16>,
    /// T1: when the server is asked again.
    pub renew_at: Option<Instant>,
    /// T2: when any server is asked.
    pub rebind_at: Option<Instant>,
    /// When the address is no longer this host's. `None`: never.
    pub expires: Option<Instant>,
}

impl Lease {
    /// What an ACK gives; the lease began when it was asked for, at `requested` (RFC 2131 § 4.4.1). `None`: something is missing or
    /// cannot be.
    pub(crate) fn from_ack(ack: &Repr<'_>, requested: Instant) -> Option<Self> {
        let address = ack.yiaddr;
        let seconds = ack.lease_time.filter(|seconds| *seconds >= MIN_LEASE)?;
        let prefix_len = ack.prefix_len.unwrap_or(class_prefix(address));
        let address = Ipv4Cidr::new(address, prefix_len).filter(|cidr| is_usable(*cidr))?;
        let after = |seconds: u32| Some(requested + Duration::from_secs(seconds.into()));
        let (renew_at, rebind_at, expires) = if seconds == FOR_EVER {
            (None, None, None)
        } else {
            // § 4.4.5: half, and seven eighths, unless the server says otherwise and that makes sense.
            let t2 = ack.rebinding_time.filter(|t2| *t2 < seconds).unwrap_or(seconds / 8 * 7);
            let t1 = ack.renewal_time.filter(|t1| *t1 < t2).unwrap_or((seconds / 2).min(t2));
            (after(t1), after(t2), after(seconds))
        };
        let mut domain = List::new(0);
        domain.extend(ack.domain_name.unwrap_or(&[]).iter().copied());
        let routers = if ack.routes.is_empty() { ack.routers } else { no_addresses() };
        Some(Self {
            address,
            server: ack.server_identifier?,
            routers,
            routes: ack.routes,
            name_servers: ack.name_servers,
            ntp_servers: ack.ntp_servers,
            domain,
            mtu: ack.mtu,
            renew_at,
            rebind_at,
            expires,
        })
    }

    /// The lease as data: what is left of it, not moments.
    pub fn save(&self, now: Instant) -> LeaseState {
        let left = |at: Option<Instant>| at.map(|at| at.since(now));
        LeaseState {
            version: LEASE_STATE_VERSION,
            address: self.address.address(),
            prefix_len: self.address.prefix_len(),
            server: self.server,
            routers: self.routers.to_vec(),
            routes: self.routes.iter().map(|route| (route.network, route.prefix_len, route.router)).collect(),
            name_servers: self.name_servers.to_vec(),
            ntp_servers: self.ntp_servers.to_vec(),
            domain: self.domain.to_vec(),
            mtu: self.mtu,
            renew: left(self.renew_at),
            rebind: left(self.rebind_at),
            expires: left(self.expires),
        }
    }

    /// The lease from data, which is checked as if it had come from the network.
    pub fn restore(saved: &LeaseState, now: Instant) -> Result<Self, RestoreError> {
        if saved.version != LEASE_STATE_VERSION {
            return Err(RestoreError::Version(saved.version));
        }
        let address = Ipv4Cidr::new(saved.address, saved.prefix_len);
        let address = address.filter(|cidr| is_usable(*cidr)).ok_or(RestoreError::Impossible("address"))?;
        if saved.expires.is_some_and(|left| left.is_zero()) {
            return Err(RestoreError::Expired);
        }
        let addresses = |saved: &[Ipv4Addr], field| {
            let mut list = no_addresses();
            list.extend(saved.iter().copied());
            if list.len() == saved.len() { Ok(list) } else { Err(RestoreError::Impossible(field)) }
        };
        let mut routes =
            List::new(Route { network: Ipv4Addr::UNSPECIFIED, prefix_len: 0, router: Ipv4Addr::UNSPECIFIED });
        for &(network, prefix_len, router) in &saved.routes {
            if prefix_len > 32 || !routes.push(Route { network, prefix_len, router }) {
                return Err(RestoreError::Impossible("routes"));
            }
        }
        let mut domain = List::new(0);
        domain.extend(saved.domain.iter().copied());
        let at = |left: Option<Duration>| left.map(|left| now + left);
        Ok(Self {
            address,
            server: saved.server,
            routers: addresses(&saved.routers, "routers")?,
            routes,
            name_servers: addresses(&saved.name_servers, "name_servers")?,
            ntp_servers: addresses(&saved.ntp_servers, "ntp_servers")?,
            domain,
            mtu: saved.mtu.filter(|mtu| *mtu >= crate::iface::MIN_MTU),
            renew_at: at(saved.renew),
            rebind_at: at(saved.rebind),
            expires: at(saved.expires),
        })
    }
}

/// A lease as plain data, for live update, and to ask for the same address at the next start. No pointers, no moments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of `Lease`")]
pub struct LeaseState {
    pub version: u16,
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub server: Ipv4Addr,
    pub routers: Vec<Ipv4Addr>,
    /// Network, prefix length, router.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    pub name_servers: Vec<Ipv4Addr>,
    pub ntp_servers: Vec<Ipv4Addr>,
    pub domain: Vec<u8>,
    pub mtu: Option<u16>,
    /// What is left until T1, T2 and the end; `None`: for ever.
    pub renew: Option<Duration>,
    pub rebind: Option<Duration>,
    pub expires: Option<Duration>,
}

/// Why a lease was not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Written by another version.
    Version(u16),
    /// No lease was ever like that; the name of the field that shows it.
    Impossible(&'static str),
    /// Nothing is left of it.
    Expired,
}

fn no_addresses() -> Addresses {
    const { assert!(MAX_ADDRESSES > 0) };
    List::new(Ipv4Addr::UNSPECIFIED)
}

/// Whether a host can have this address.
fn is_usable(cidr: Ipv4Cidr) -> bool {
    let address = cidr.address();
    let first = address.octets()[0];
    let network = cidr.prefix_len() <= 30 && cidr.network().address() == address;
    cidr.prefix_len() > 0
        && first != 0
        && first < 224
        && !address.is_loopback()
        && !network
        && cidr.broadcast() != Some(address)
}

/// The prefix of a server that does not say: that of the address's class (RFC 791 § 2.3).
fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}
