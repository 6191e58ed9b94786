//! [`IpOptions`]: what a socket asks of the packets that carry what it sends (ip(7), socket(7)).

use crate::IfaceId;

/// How packets that are too long for the way are dealt with (IP_MTU_DISCOVER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// `IP_PMTUDISC_DONT`: anybody may cut them.
    Dont,
    /// `IP_PMTUDISC_WANT`: this host cuts them to what the path is known to take, and no router does.
    Want,
    /// `IP_PMTUDISC_DO`: nobody cuts them; longer than the path is known to take is an error.
    Do,
    /// `IP_PMTUDISC_PROBE`: nobody cuts them, and what is known of the path does not count: for who looks for its MTU.
    Probe,
    /// `IP_PMTUDISC_INTERFACE`: routers may cut them; what is known of the path does not count, and longer than the link takes is
    /// an error.
    Interface,
    /// `IP_PMTUDISC_OMIT`: anybody may cut them; what is known of the path does not count.
    Omit,
}

impl PathMtuDiscovery {
    /// Whether what was learnt of the path counts.
    pub(crate) const fn uses_path_mtu(self) -> bool {
        matches!(self, Self::Dont | Self::Want | Self::Do)
    }

    /// Whether longer than the way takes is an error.
    pub(crate) const fn refuses_long(self) -> bool {
        matches!(self, Self::Do | Self::Probe | Self::Interface)
    }

    /// Whether a packet must not be cut by routers. `fits`: the way is known to take it.
    pub(crate) const fn dont_fragment(self, fits: bool) -> bool {
        match self {
            Self::Do | Self::Probe => true,
            Self::Want => fits,
            Self::Dont | Self::Interface | Self::Omit => false,
        }
    }
}

/// What a socket asks of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOptions {
    /// IP_TTL: time to live, at least 1.
    pub ttl: u8,
    /// IP_TOS. TCP fills the ECN bits in itself.
    pub traffic_class: u8,
    /// IP_MTU_DISCOVER.
    pub discovery: PathMtuDiscovery,
    /// SO_BINDTODEVICE: nothing leaves by another interface, and nothing that came in by another one is heard. What is for this
    /// host itself goes by loopback.
    pub device: Option<IfaceId>,
    /// SO_DONTROUTE: only to hosts on a link, by no gateway.
    pub only_on_link: bool,
}

impl IpOptions {
    /// Linux' defaults.
    pub const DEFAULT: Self = Self {
        ttl: 64,
        traffic_class: 0,
        discovery: PathMtuDiscovery::Want,
        device: None,
        only_on_link: false,
    };

    /// Whether what came in there may be heard.
    pub(crate) fn hears(&self, iface: IfaceId) -> bool {
        self.device.is_none_or(|device| device == iface)
    }
}
