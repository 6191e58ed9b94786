//! Messages for the DHCP client, with its own numbers in them, and time.

use std::net::Ipv4Addr;
use std::time::Duration;

use net::dhcp::{Client, Event, Lease};
use net::{Instant, Key};
use wire::MacAddr;
use wire::dhcpv4::{Packet, Repr};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let mut now = Instant(0);
    let mut client = Client::new(MAC, "host", Key([1, 2]), now);
    let mut xid = 0;
    let mut rest = octets;
    while let [what, len, behind @ ..] = rest {
        let (data, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        rest = behind;
        match what % 4 {
            0 | 1 => {
                // The options of a reply; the fixed part is right.
                let mut message = vec![0; 240];
                let mut packet = Packet::new_unchecked(&mut message[..]);
                packet.set_operation(2);
                packet.set_hardware_type(1);
                packet.set_hardware_len(6);
                packet.set_xid(xid);
                packet.set_chaddr(MAC);
                packet.set_yiaddr(Ipv4Addr::new(10, 0, 0, what >> 3));
                packet.set_magic(0x6382_5363);
                message.extend_from_slice(data);
                if let Ok(packet) = Packet::new_checked(&message[..])
                    && let Ok(repr) = Repr::parse(&packet)
                {
                    let _ = client.handle_message(now, &repr);
                }
            }
            2 => now += Duration::from_secs(u64::from(*len) * u64::from(*what)),
            _ => match what >> 6 {
                0 => client.handle_link_up(now),
                1 => client.release(now),
                _ => {
                    if let Some(lease) = client.lease() {
                        let saved = lease.save(now);
                        if let Ok(restored) = Lease::restore(&saved, now) {
                            assert_eq!(restored.save(now), saved);
                            client = Client::resume(MAC, "host", Key([1, 2]), &saved, now).unwrap();
                        }
                    }
                }
            },
        }
        for round in 0.. {
            assert!(round < 100, "it is never done: {client:?}");
            let mut done = true;
            if client.poll_timeout().is_some_and(|at| at <= now) {
                client.handle_timeout(now);
                done = false;
            }
            match client.poll_event() {
                Some(Event::Probe(_)) => client.handle_probed(now, what & 4 != 0),
                Some(_) => {}
                None if done => break,
                None => {}
            }
            if let Some(request) = client.poll_transmit(now) {
                xid = request.repr.xid;
                let mut buffer = [0; 548];
                request.repr.emit(&mut Packet::new_unchecked(&mut buffer[..])).unwrap();
            }
        }
        if let Some(lease) = client.lease() {
            assert!(lease.expires.is_none_or(|at| at > now), "an old lease is not held");
        }
    }
}
