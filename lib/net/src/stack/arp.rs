//! ARP (RFC 826) and address conflict detection (RFC 5227), for the interfaces of a stack.

use core::net::Ipv4Addr;

use frame::Frame;
use wire::MacAddr;
use wire::arp::{self, Operation};
use wire::ethernet::EtherType;

use crate::Instant;
use crate::acd::{Action, Conflict};
use crate::counters::DropReason;
use crate::frames::{frame_of, with_head};
use crate::iface::{IfaceId, Origin, Packet};
use crate::neighbour::Evidence;
use crate::stack::receive::{LinkInfo, Outcome};
use crate::stack::{Event, Stack};

impl Stack {
    /// Takes an ARP packet.
    pub(super) fn receive_arp(
        &mut self,
        link: LinkInfo,
        frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let frame = with_head(frame, arp::LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let packet = arp::Packet::new_checked(frame.head())
            .and_then(|packet| arp::Repr::parse(&packet))
            .map_err(|_| DropReason::Arp)?;
        self.detect_conflicts(link.iface, &packet, now);
        let iface = self.iface_mut(link.iface)?;
        let mac = iface.link().mac;
        if packet.sender_mac == mac {
            return Err(DropReason::Arp);
        }
        let usable = |address: Ipv4Addr| {
            iface.addresses.iter().any(|known| known.cidr.address() == address && known.is_usable())
        };
        let for_us = usable(packet.target_ip);
        let request = packet.operation == Operation::Request;
        let sender_known = !packet.sender_ip.is_unspecified()
            && !usable(packet.sender_ip)
            && iface.is_on_link(packet.sender_ip);
        if sender_known {
            let evidence = match (for_us, request) {
                (true, true) => Evidence::Request,
                // An answer to a question of ours comes to us alone.
                (true, false) if link.unicast => Evidence::Reply,
                _ => Evidence::Announcement,
            };
            iface.neighbours.note(now, packet.sender_ip, packet.sender_mac, evidence);
        }
        // Whoever claims the address asks nothing.
        if for_us && request && packet.sender_ip != packet.target_ip {
            let reply = arp::Repr {
                operation: Operation::Reply,
                sender_mac: mac,
                sender_ip: packet.target_ip,
                target_mac: packet.sender_mac,
                target_ip: packet.sender_ip,
            };
            self.send_arp(link.iface, packet.sender_mac, &reply);
        }
        if sender_known {
            self.transmit_waiting(link.iface, packet.sender_ip, now);
            self.handle_neighbour_timeout(link.iface, now);
        }
        let announcement = packet.sender_ip == packet.target_ip;
        if for_us || announcement { Ok(Outcome::Delivered) } else { Err(DropReason::ArpOther) }
    }

    /// Asks for a neighbour's address: the neighbour itself, or all.
    pub(super) fn send_arp_request(&mut self, id: IfaceId, address: Ipv4Addr, to: Option<MacAddr>) {
        let Ok(iface) = self.iface_mut(id) else { return };
        let Some(sender_ip) = iface.source_for(address) else { return };
        let request = arp::Repr {
            operation: Operation::Request,
            sender_mac: iface.link().mac,
            sender_ip,
            target_mac: MacAddr::UNSPECIFIED,
            target_ip: address,
        };
        self.send_arp(id, to.unwrap_or(MacAddr::BROADCAST), &request);
    }

    /// Probes and announces addresses.
    pub(super) fn handle_address_timeout(&mut self, id: IfaceId, now: Instant) {
        let mut index = 0;
        while let Some(iface) = self.ifaces.get_mut(id.0 as usize)
            && let Some(address) = iface.addresses.get_mut(index)
        {
            let (ip, origin) = (address.cidr.address(), address.origin);
            let detector = address.detector.as_mut();
            let Some(action) = detector.and_then(|detector| detector.poll(now, &mut self.rng)) else {
                index += 1;
                continue;
            };
            match action {
                Action::Probe => self.send_claim(id, Ipv4Addr::UNSPECIFIED, ip),
                Action::Announce => self.send_claim(id, ip, ip),
                Action::Claimed => {
                    self.collect_locals();
                    if origin == Origin::Dhcp {
                        self.handle_lease_probed(id, now, true);
                    }
                }
            }
        }
    }

    fn detect_conflicts(&mut self, id: IfaceId, packet: &arp::Repr, now: Instant) {
        let Some(iface) = self.ifaces.get_mut(id.0 as usize) else { return };
        let mac = iface.link().mac;
        let conflict = iface.addresses.iter_mut().find_map(|address| {
            let conflict = address.detector.as_mut()?.handle(now, packet, mac)?;
            Some((conflict, address.cidr.address(), address.origin))
        });
        let Some((conflict, address, origin)) = conflict else { return };
        if conflict == Conflict::Defended {
            self.handle_address_timeout(id, now);
            return;
        }
        self.report(Event::AddressConflict { iface: id, address, mac: packet.sender_mac });
        match (conflict, origin) {
            (_, Origin::Dhcp) => self.handle_lease_probed(id, now, false),
            // § 2.4 (c): somebody decided that this host has the address.
            (Conflict::Lost, Origin::Static) => {}
            (_, Origin::Static) => self.remove_address(id, address, now),
        }
    }

    fn send_claim(&mut self, id: IfaceId, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) {
        let Ok(iface) = self.iface_mut(id) else { return };
        let claim = arp::Repr {
            operation: Operation::Request,
            sender_mac: iface.link().mac,
            sender_ip,
            target_mac: MacAddr::UNSPECIFIED,
            target_ip,
        };
        self.send_arp(id, MacAddr::BROADCAST, &claim);
    }

    fn send_arp(&mut self, id: IfaceId, to: MacAddr, packet: &arp::Repr) {
        let mut octets = [0; arp::LEN];
        packet.emit(&mut arp::Packet::new_unchecked(&mut octets[..]));
        let sent = match frame_of(&octets, self.pool) {
            Some(frame) => {
                let packet = Packet { frame, checksum: None, segmentation: None };
                self.transmit_ethernet(id, to, EtherType::ARP, packet)
            }
            None => Err(DropReason::NoMemory),
        };
        if let Err(reason) = sent {
            self.count_late_drop(id, reason);
        }
    }
}
