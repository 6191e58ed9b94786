//! What became of every frame, as arrays of numbers.

/// Defines [`DropReason`] with its names.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal;)*) => {
        /// Why a packet was dropped. The number is its place in the arrays of [`Counters`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $reason,)*
        }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$reason),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The reason's name, for tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// The link or the interface is down.
    LinkDown = "link down";
    /// Ethernet: too short, an IEEE 802.3 length, a group as source, a tag that cannot be.
    Ethernet = "bad ethernet header";
    /// To another station.
    OtherStation = "other station";
    /// Tagged for a VLAN without an interface.
    UnknownVlan = "unknown vlan";
    /// Neither IPv4 nor ARP.
    UnknownEtherType = "unknown ethertype";
    /// ARP that makes no sense.
    Arp = "bad arp";
    /// ARP of no concern to this host.
    ArpOther = "arp for others";
    /// IPv4 header that cannot be.
    Ipv4Header = "bad ipv4 header";
    /// IPv4 header checksum.
    Ipv4Checksum = "bad ipv4 checksum";
    /// IPv4 source route option (RFC 7126 § 4.3).
    SourceRoute = "source route";
    /// A source or destination that no such packet can have (RFC 1812 § 5.3.7).
    Martian = "martian";
    /// Not for this host, which does not forward.
    NotLocal = "not for this host";
    /// No route.
    NoRoute = "no route";
    /// Time to live used up.
    TtlExpired = "ttl expired";
    /// Longer than the next hop's MTU and not to be cut.
    TooBig = "too big";
    /// Prerouting hook.
    Prerouting = "prerouting";
    /// Input hook.
    Input = "input";
    /// Forward hook.
    Forward = "forward";
    /// Output hook.
    Output = "output";
    /// Postrouting hook.
    Postrouting = "postrouting";
    /// A fragment that serves only to fool filters (RFC 3128).
    TinyFragment = "tiny fragment";
    /// Fragments that overlap (as RFC 5722), and those that come after them.
    FragmentOverlap = "overlapping fragment";
    /// A fragment that was there already.
    FragmentDuplicate = "duplicate fragment";
    /// The other fragments did not come in time.
    ReassemblyTimeout = "reassembly timeout";
    /// No room among the datagrams being put together.
    ReassemblyFull = "reassembly full";
    /// No such protocol above IP.
    UnknownProtocol = "unknown protocol";
    /// ICMP that cannot be, or with a wrong checksum.
    Icmp = "bad icmp";
    /// ICMP that this host does not react to.
    IcmpIgnored = "icmp ignored";
    /// An ICMP error that quotes nothing this host sent lately (RFC 5927 § 4).
    IcmpQuote = "icmp quote does not match";
    /// An ICMP message that would exceed the rate.
    IcmpRate = "icmp rate";
    /// IGMP that cannot be.
    Igmp = "bad igmp";
    /// TCP header that cannot be.
    TcpHeader = "bad tcp header";
    /// TCP checksum.
    TcpChecksum = "bad tcp checksum";
    /// UDP header that cannot be.
    UdpHeader = "bad udp header";
    /// UDP checksum.
    UdpChecksum = "bad udp checksum";
    /// Nobody listens there.
    NoSocket = "no socket";
    /// The listener's queue is full.
    ListenFull = "listen queue full";
    /// As many connections as there may be.
    FlowsFull = "connection table full";
    /// The socket's receive queue is full.
    SocketFull = "socket queue full";
    /// DHCP that cannot be, or for others.
    Dhcp = "bad dhcp";
    /// Too many packets wait for the neighbour's address.
    NeighbourQueueFull = "neighbour queue full";
    /// Too many neighbours.
    NeighbourTableFull = "neighbour table full";
    /// The neighbour does not answer.
    NeighbourUnreachable = "neighbour unreachable";
    /// The device's queue is full.
    TxQueueFull = "transmit queue full";
    /// No packet memory.
    NoMemory = "no packet memory";
}

/// What happened at an interface since it was made. Plain numbers; they wrap after 2^64.
///
/// `rx_frames == delivered + forwarded + sum of rx_dropped` holds whenever no call is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub rx_frames: u64,
    /// Octets of these.
    pub rx_octets: u64,
    /// Of the frames received: consumed by this host, fragments that wait for others among them.
    pub delivered: u64,
    /// Of the frames received: sent on.
    pub forwarded: u64,
    /// Of the frames received: dropped, by [`DropReason`].
    pub rx_dropped: [u64; DropReason::COUNT],
    /// Frames given to the device.
    pub tx_frames: u64,
    /// Octets of these.
    pub tx_octets: u64,
    /// Packets dropped later than on receipt: those that were to leave here, and fragments that waited here, by [`DropReason`].
    pub late_dropped: [u64; DropReason::COUNT],
}

impl Counters {
    /// Nothing happened.
    pub const ZERO: Self = Self {
        rx_frames: 0,
        rx_octets: 0,
        delivered: 0,
        forwarded: 0,
        rx_dropped: [0; DropReason::COUNT],
        tx_frames: 0,
        tx_octets: 0,
        late_dropped: [0; DropReason::COUNT],
    };

    /// Frames received that were dropped for this reason.
    pub const fn rx_drops(&self, reason: DropReason) -> u64 {
        self.rx_dropped[reason as usize]
    }

    /// Packets that were to leave or waited, and were dropped for this reason.
    pub const fn late_drops(&self, reason: DropReason) -> u64 {
        self.late_dropped[reason as usize]
    }

    /// Whether every frame received is accounted for.
    pub fn add_up(&self) -> bool {
        let dropped: u64 = self.rx_dropped.iter().sum();
        self.rx_frames == self.delivered + self.forwarded + dropped
    }

    pub(crate) fn count_late_drop(&mut self, reason: DropReason) {
        self.late_dropped[reason as usize] += 1;
    }
}
