//! What goes to a device: neighbours, Ethernet, VLAN tags.

use core::net::Ipv4Addr;

use frame::{ChecksumOffload, Frame, Segmentation, TxFrame};
use wire::ethernet::{self, EtherType};
use wire::{MacAddr, vlan};

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::prepend;
use crate::hooks::Filtered;
use crate::iface::{IfaceId, Kind, Packet};
use crate::neighbour::Output;
use crate::stack::ipv4_output::{Cast, Egress};
use crate::stack::{MAX_LOOPBACK_QUEUE, Stack};

impl Stack {
    /// The next frame for a device, if there is one: what waits, then a segment of a connection that may send, each in
    /// its turn. A caller without room stops asking; connections wait until it asks again.
    pub fn poll_transmit(&mut self, iface: IfaceId, now: Instant) -> Option<TxFrame> {
        loop {
            let device =
                self.ifaces.get_mut(iface.0 as usize).filter(|iface| iface.kind() == Kind::Ethernet)?;
            if let Some(frame) = device.tx.pop_front() {
                device.counters.tx_frames += 1;
                device.counters.tx_octets += frame.frame.len() as u64;
                return Some(frame);
            }
            let flow = device.ready.pop_front()?;
            self.transmit_flow(flow, now);
        }
    }

    /// Sends a packet to a link. It was filtered: nothing else comes here.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        egress: &Egress,
        packet: Filtered<Packet>,
    ) -> Result<(), DropReason> {
        let mac = match egress.cast {
            Cast::Local => return self.transmit_loopback(egress.iface, packet.into_inner().frame),
            // The loopback interface's only station is this host.
            Cast::Broadcast | Cast::Multicast if egress.iface == IfaceId::LOOPBACK => {
                return self.transmit_loopback(egress.iface, packet.into_inner().frame);
            }
            Cast::Broadcast => MacAddr::BROADCAST,
            Cast::Multicast => multicast_mac(egress.next_hop),
            Cast::Unicast => {
                let neighbours = &mut self.iface_mut(egress.iface)?.neighbours;
                match neighbours.lookup(now, egress.next_hop) {
                    Some(mac) => mac,
                    None => {
                        return match neighbours.wait(now, egress.next_hop, packet) {
                            Ok(()) => {
                                self.handle_neighbour_timeout(egress.iface, now);
                                Ok(())
                            }
                            Err((packet, reason)) => {
                                if reason == DropReason::NeighbourUnreachable {
                                    self.handle_unreachable(now, egress.iface, &packet.into_inner().frame);
                                }
                                Err(reason)
                            }
                        };
                    }
                }
            }
        };
        self.transmit_to(egress.iface, mac, packet)
    }

    /// Sends a packet to a station.
    pub(super) fn transmit_to(
        &mut self,
        iface: IfaceId,
        mac: MacAddr,
        packet: Filtered<Packet>,
    ) -> Result<(), DropReason> {
        let packet = packet.into_inner();
        self.transmit_ethernet(iface, mac, EtherType::IPV4, packet)
    }

    /// Puts the Ethernet header, and a tag where the interface is a VLAN, in front of something and queues it for the
    /// device.
    pub(super) fn transmit_ethernet(
        &mut self,
        id: IfaceId,
        dst: MacAddr,
        ethertype: EtherType,
        packet: Packet,
    ) -> Result<(), DropReason> {
        let Packet { frame, checksum, segmentation } = packet;
        let pool = self.pool;
        let iface = self.iface_mut(id)?;
        let src = iface.link().mac;
        let (device, tag) = match iface.kind() {
            Kind::Loopback => return Err(DropReason::NoRoute),
            Kind::Ethernet => (id, None),
            Kind::Vlan { parent, id } => (parent, Some(id)),
        };
        let header_len = ethernet::HEADER_LEN + if tag.is_some() { vlan::HEADER_LEN } else { 0 };
        let mut frame = prepend(frame, header_len, pool).ok_or(DropReason::NoMemory)?;
        let octets = frame.head_mut().ok_or(DropReason::NoMemory)?;
        let outer = if tag.is_some() { EtherType::VLAN } else { ethertype };
        let header = ethernet::Repr { dst, src, ethertype: outer };
        header.emit(&mut ethernet::Packet::new_unchecked(&mut octets[..ethernet::HEADER_LEN]));
        if tag.is_some() {
            let repr = vlan::Repr { vlan: tag, priority: 0, drop_eligible: false, ethertype };
            repr.emit(&mut vlan::Packet::new_unchecked(&mut octets[ethernet::HEADER_LEN..header_len]));
        }
        let checksum = checksum
            .map(|checksum| ChecksumOffload { start: checksum.start + header_len as u16, ..checksum });
        let segmentation = segmentation.map(|segmentation| Segmentation {
            header_len: segmentation.header_len + header_len as u16,
            ..segmentation
        });
        let octets = frame.len() as u64;
        self.iface_mut(device)?.queue(TxFrame { frame, checksum, segmentation })?;
        if device != id {
            let counters = &mut self.iface_mut(id)?.counters;
            counters.tx_frames += 1;
            counters.tx_octets += octets;
        }
        Ok(())
    }

    /// Queues a packet for this host itself.
    pub(super) fn transmit_loopback(&mut self, seen_at: IfaceId, frame: Frame) -> Result<(), DropReason> {
        if self.loopback.len() >= MAX_LOOPBACK_QUEUE {
            return Err(DropReason::TxQueueFull);
        }
        let counters = &mut self.ifaces[0].counters;
        counters.tx_frames += 1;
        counters.tx_octets += frame.len() as u64;
        self.loopback.push_back((seen_at, frame));
        Ok(())
    }

    /// Sends what waited for a neighbour that is known now.
    pub(super) fn transmit_waiting(&mut self, iface: IfaceId, address: Ipv4Addr, now: Instant) {
        loop {
            let Ok(neighbours) = self.iface_mut(iface).map(|iface| &mut iface.neighbours) else { return };
            let Some((mac, packet)) = neighbours.pop_waiting(now, address) else { return };
            if let Err(reason) = self.transmit_to(iface, mac, packet) {
                self.count_late_drop(iface, reason);
            }
        }
    }

    /// Asks for neighbours, and gives up packets for those that do not answer.
    pub(super) fn handle_neighbour_timeout(&mut self, iface: IfaceId, now: Instant) {
        loop {
            let Ok(neighbours) = self.iface_mut(iface).map(|iface| &mut iface.neighbours) else { return };
            match neighbours.poll(now) {
                None => return,
                Some(Output::Solicit { address, to }) => self.send_arp_request(iface, address, to),
                Some(Output::Dropped { packet, reason }) => {
                    self.count_late_drop(iface, reason);
                    if reason == DropReason::NeighbourUnreachable {
                        self.handle_unreachable(now, iface, &packet.get().frame);
                    }
                }
            }
        }
    }

    pub(super) fn iface_mut(&mut self, iface: IfaceId) -> Result<&mut crate::Interface, DropReason> {
        self.ifaces.get_mut(iface.0 as usize).ok_or(DropReason::NoRoute)
    }
}

/// RFC 1112 § 6.4: the group's last 23 bits.
fn multicast_mac(group: Ipv4Addr) -> MacAddr {
    let [_, b, c, d] = group.octets();
    MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}
