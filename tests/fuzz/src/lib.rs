//! Fuzz targets: a function for each parser of untrusted octets, and for each machine that lives on them. What it is given it
//! plays; it panics where something does not hold that always has to.
//!
//! `fuzz/run TARGET` looks for octets that make one panic. `corpus/` keeps the fewest that reach all that was ever reached;
//! `tests/replay.rs` plays them.
#![forbid(unsafe_code)]

/// A target.
pub type Target = fn(&[u8]);

macro_rules! targets {
    ($($name:ident)*) => {
        $(mod $name;)*

        /// All targets, by name.
        pub const TARGETS: &[(&str, Target)] = &[$((stringify!($name), $name::run)),*];
    };
}

targets! {
    // Formats.
    arp
    dhcpv4
    ethernet
    icmpv4
    igmp
    ipv4
    ipv6
    net_config
    packed_tree
    tcp
    udp
    vlan
    // Machines.
    dhcp_client
    net_stack
    reassembly
    tcp_flow
    tcp_listen
    two_peers
    virtio_net
}

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
