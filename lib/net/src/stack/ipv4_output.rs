//! IPv4 packets on their way out: the way, the hooks, the header, fragments (RFC 791 § 3.2, RFC 1122 § 3.3).

use core::net::Ipv4Addr;

use frame::{ChecksumOffload, Frame, Segmentation};
use wire::{Protocol, ipv4};

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::{behind, frame_of, prepend, with_head};
use crate::hooks::{Filtered, Point, View};
use crate::iface::{IfaceId, Kind, Link, Packet};
use crate::ip_options::IpOptions;
use crate::stack::Stack;
use crate::stack::interfaces::Locality;

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// ENETUNREACH, EHOSTUNREACH, ENOBUFS, EPERM or EMSGSIZE, as the reason says.
    Dropped(DropReason),
    /// EDESTADDRREQ: there is no peer.
    NoDestination,
    /// EACCES: to all, without permission.
    Broadcast,
    /// EMSGSIZE: longer than a datagram can be, or than this path takes.
    TooLong,
    /// EBADF: the handle names nothing.
    NoSocket,
    /// ENETUNREACH: it is to come from an address that is not this host's.
    NotOwn,
}

impl From<DropReason> for SendError {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

/// To how many a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    /// To this host itself.
    Local,
    Unicast,
    Broadcast,
    Multicast,
}

/// The way of packets to a destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Egress {
    pub(super) iface: IfaceId,
    /// Who gets it on the link: a gateway, or the destination.
    pub(super) next_hop: Ipv4Addr,
    /// The address it comes from.
    pub(super) source: Ipv4Addr,
    /// Octets that a packet may have on the link.
    pub(super) link_mtu: u16,
    /// Octets that a packet may have on the whole path, as far as is known.
    pub(super) path_mtu: u16,
    pub(super) cast: Cast,
    /// The device completes checksums.
    pub(super) tx_checksum: bool,
    /// It cuts segments.
    pub(super) tx_segmentation: bool,
}

/// What a device is to do about a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offload {
    /// Where in the payload it completes a checksum; only for what need not be fragmented.
    pub(super) checksum: Option<u16>,
    /// How it cuts a TCP segment, counted from the TCP header on.
    pub(super) segmentation: Option<Segmentation>,
}

impl Stack {
    /// The way to a destination of what no socket sends. `source`: the address it is to come from, if that is decided; `iface`:
    /// where it is to leave, for groups and broadcasts.
    pub(super) fn route(
        &self,
        now: Instant,
        dst: Ipv4Addr,
        source: Option<Ipv4Addr>,
        iface: Option<IfaceId>,
    ) -> Result<Egress, DropReason> {
        self.route_by(now, dst, source, iface, &IpOptions::DEFAULT)
    }

    /// As [`Self::route`], for a socket.
    pub(super) fn route_by(
        &self,
        now: Instant,
        dst: Ipv4Addr,
        source: Option<Ipv4Addr>,
        iface: Option<IfaceId>,
        options: &IpOptions,
    ) -> Result<Egress, DropReason> {
        let device = options.device;
        if self.is_own(dst) {
            let source = source.unwrap_or(dst);
            return Ok(Egress {
                iface: IfaceId::LOOPBACK,
                next_hop: dst,
                source,
                link_mtu: u16::MAX,
                path_mtu: u16::MAX,
                cast: Cast::Local,
                tx_checksum: true,
                tx_segmentation: false,
            });
        }
        let is_up = |id: IfaceId| self.interface(id).is_some_and(|iface| iface.link().up);
        let is_usable = |id: IfaceId| is_up(id) && device.is_none_or(|device| device == id);
        let iface = device.or(iface);
        let to_link = dst.is_multicast() || dst.is_broadcast();
        let routed = match iface {
            Some(_) if to_link => None,
            _ => self.routes.lookup(dst, is_usable),
        };
        let id = match (routed, iface) {
            (Some(route), _) => route.iface,
            (None, Some(id)) if to_link => id,
            // Groups and broadcasts leave where there is a link at all.
            (None, _) if to_link => {
                let mut links = self.interfaces().filter(|(id, _)| *id != IfaceId::LOOPBACK && is_up(*id));
                links.next().ok_or(DropReason::NoRoute)?.0
            }
            // Who names an interface without a route says that the destination is there (as Linux).
            (None, _) => device.ok_or(DropReason::NoRoute)?,
        };
        let iface = self.interface(id).filter(|_| is_up(id)).ok_or(DropReason::NoRoute)?;
        let cast = match self.locality(id, dst) {
            Locality::Multicast => Cast::Multicast,
            Locality::Broadcast => Cast::Broadcast,
            _ => Cast::Unicast,
        };
        let gateway = routed.and_then(|route| route.gateway).filter(|_| cast == Cast::Unicast);
        if options.only_on_link && gateway.is_some() {
            return Err(DropReason::NoRoute);
        }
        let next_hop = gateway.unwrap_or(dst);
        let preferred = routed.and_then(|route| route.source).filter(|source| self.is_own(*source));
        let source = source
            .or(preferred)
            .or_else(|| iface.source_for(next_hop))
            .or_else(|| self.interfaces().skip(1).find_map(|(_, other)| other.source_for(dst)))
            .ok_or(DropReason::NoRoute)?;
        let link_mtu = routed.and_then(|route| route.mtu).map_or(iface.mtu(), |mtu| mtu.min(iface.mtu()));
        let path_mtu = self.path_mtus.get(now, dst).map_or(link_mtu, |mtu| mtu.min(link_mtu));
        let Link { tx_checksum, tx_segmentation, .. } = iface.link();
        let tx_segmentation = tx_segmentation && tx_checksum && iface.kind() == Kind::Ethernet;
        Ok(Egress { iface: id, next_hop, source, link_mtu, path_mtu, cast, tx_checksum, tx_segmentation })
    }

    /// Sends what this host made. `payload_len` and `ident` of the header are filled in here. `offload`: what the device is to do
    /// about it.
    pub(super) fn send_ipv4(
        &mut self,
        now: Instant,
        egress: &Egress,
        header: ipv4::Repr,
        payload: Frame,
        offload: Offload,
    ) -> Result<(), DropReason> {
        let payload_len = payload.len();
        let len = ipv4::HEADER_LEN + payload_len;
        let Ok(payload_len) = u16::try_from(payload_len) else { return Err(DropReason::TooBig) };
        if len > usize::from(u16::MAX) {
            return Err(DropReason::TooBig);
        }
        let ident = match header.dont_fragment {
            true => 0,
            false => self.ident.next(header.src, header.dst, header.protocol),
        };
        let header = ipv4::Repr { payload_len, ident, ..header };
        let view = View { input: None, output: Some(egress.iface), header: &header, payload: payload.head() };
        self.hooks.check(Point::Output, &view)?;
        let Offload { checksum, segmentation } = offload;
        if len > usize::from(egress.path_mtu) && header.dont_fragment && segmentation.is_none() {
            return Err(DropReason::TooBig);
        }
        let mut frame = prepend(payload, ipv4::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let head = frame.head_mut().ok_or(DropReason::NoMemory)?;
        header.emit(&mut ipv4::Packet::new_unchecked(&mut head[..ipv4::HEADER_LEN]));
        const LEN: u16 = ipv4::HEADER_LEN as u16;
        let checksum = checksum.map(|offset| ChecksumOffload { start: LEN, offset });
        let segmentation = segmentation
            .map(|segmentation| Segmentation { header_len: segmentation.header_len + LEN, ..segmentation });
        self.send_packet(now, egress, &header, Packet { frame, checksum, segmentation }, None)
    }

    /// The last part of every packet's way: postrouting, fragments, the link. `input`: where it came in, if it is sent on.
    pub(super) fn send_packet(
        &mut self,
        now: Instant,
        egress: &Egress,
        header: &ipv4::Repr,
        packet: Packet,
        input: Option<IfaceId>,
    ) -> Result<(), DropReason> {
        let header_len = packet.frame.len().saturating_sub(header.payload_len.into());
        let packet = self
            .hooks
            .postrouting(packet, header, (input, egress.iface), |packet| behind(&packet.frame, header_len))?;
        // What a router sends on goes by the link's MTU; what this host sends, by the path's.
        let mtu = if input.is_some() { egress.link_mtu } else { egress.path_mtu };
        if packet.get().frame.len() <= usize::from(mtu) || packet.get().segmentation.is_some() {
            return self.transmit(now, egress, packet);
        }
        self.transmit_fragments(now, egress, header, packet, header_len, mtu)
    }

    /// Cuts a packet (RFC 791 § 3.2). Its options stay with the first fragment: those that were to be copied name ways and
    /// classifications that nobody uses (RFC 7126). One that is itself a fragment is cut as well.
    fn transmit_fragments(
        &mut self,
        now: Instant,
        egress: &Egress,
        header: &ipv4::Repr,
        packet: Filtered<Packet>,
        header_len: usize,
        mtu: u16,
    ) -> Result<(), DropReason> {
        let (packet, accepted) = packet.into_pieces();
        let frame = with_head(packet.frame, header_len, self.pool).ok_or(DropReason::NoMemory)?;
        let (head, mut rest) = frame.split(header_len).map_err(|_| DropReason::Ipv4Header)?;
        let mut offset = header.fragment_offset;
        loop {
            let first = offset == header.fragment_offset;
            let this_header_len = if first { header_len } else { ipv4::HEADER_LEN };
            let room = usize::from(mtu).saturating_sub(this_header_len) & !7;
            if room == 0 {
                return Err(DropReason::TooBig);
            }
            let rest_len = rest.len();
            let last = rest_len + this_header_len <= usize::from(mtu);
            let (piece, next) = if last {
                (rest, None)
            } else {
                let (piece, next) = rest.split(room).map_err(|_| DropReason::NoMemory)?;
                (piece, Some(next))
            };
            let repr = ipv4::Repr {
                more_fragments: next.is_some() || header.more_fragments,
                fragment_offset: offset,
                payload_len: piece.len() as u16,
                ..*header
            };
            offset = offset.saturating_add(repr.payload_len);
            let frame = if first {
                let mut octets = [0; ipv4::MAX_HEADER_LEN];
                head.copy_to(0, &mut octets);
                let mut packet = ipv4::Packet::new_unchecked(&mut octets[..header_len]);
                let version_ihl = packet.version_ihl();
                repr.emit(&mut packet);
                packet.set_version_ihl(version_ihl);
                packet.set_total_len((header_len + piece.len()) as u16);
                packet.fill_checksum();
                let mut frame = frame_of(&octets[..header_len], self.pool).ok_or(DropReason::NoMemory)?;
                frame.append(piece).map_err(|_| DropReason::NoMemory)?;
                frame
            } else {
                let mut frame = prepend(piece, ipv4::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
                let octets = frame.head_mut().ok_or(DropReason::NoMemory)?;
                repr.emit(&mut ipv4::Packet::new_unchecked(&mut octets[..ipv4::HEADER_LEN]));
                frame
            };
            self.transmit(now, egress, accepted.piece(Packet { frame, checksum: None, segmentation: None }))?;
            match next {
                Some(next) => rest = next,
                None => return Ok(()),
            }
        }
    }

    /// A header of what this host sends that way.
    pub(super) fn header(egress: &Egress, dst: Ipv4Addr, protocol: Protocol) -> ipv4::Repr {
        ipv4::Repr {
            src: egress.source,
            dst,
            protocol,
            traffic_class: 0,
            ident: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            payload_len: 0,
        }
    }
}
