//! [`Client`]: the life of a lease (RFC 2131 § 4.4, figure 5).

use alloc::string::String;
use core::net::Ipv4Addr;
use core::time::Duration;

use wire::MacAddr;
use wire::dhcpv4::{MessageType, Repr, option};

use crate::dhcp::{Lease, LeaseState, RestoreError};
use crate::rng::Rng;
use crate::{DropReason, Instant, Key};

/// RFC 2131 § 4.1: the first wait, doubled up to the last, each varied by a second.
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LAST_WAIT: Duration = Duration::from_secs(64);
/// How often an offer is requested before another one is looked for (§ 3.1 (5)).
const MAX_REQUESTS: u32 = 4;
/// How often a known address is asked for before it is used as it is, or a new one looked for (§ 3.2).
const MAX_REBOOT_REQUESTS: u32 = 3;
/// § 4.4.5: between two requests while the lease runs on, at least.
const MIN_RENEW_WAIT: Duration = Duration::from_secs(60);
/// § 3.1 (5): after a DECLINE.
const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// How long a RELEASE may take to leave.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// After an offer that was refused when it was requested.
const REFUSED_WAIT: Duration = Duration::from_secs(10);
/// What servers are asked for.
const PARAMETERS: [u8; 10] = [
    option::SUBNET_MASK,
    // RFC 3442: before the router.
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::DOMAIN_NAME_SERVER,
    option::HOST_NAME,
    option::DOMAIN_NAME,
    option::INTERFACE_MTU,
    option::NTP_SERVERS,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
];

/// What the owner of the client has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// See whether somebody else uses the address: [`Client::handle_probed`].
    Probe(Lease),
    /// The address may be used. Also when a renewal brought something new.
    Bound(Lease),
    /// The address must not be used any more.
    Lost,
}

/// Where the client stands (RFC 2131 § 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does nothing.
    Stopped,
    /// INIT: it waits before it begins.
    Init,
    /// SELECTING: it looks for servers.
    Selecting,
    /// REQUESTING: it has taken an offer.
    Requesting,
    /// INIT-REBOOT, REBOOTING: it asks for the address it had.
    Rebooting,
    /// The address is being probed.
    Probing,
    /// BOUND.
    Bound,
    /// RENEWING: it asks the server for more time.
    Renewing,
    /// REBINDING: it asks any server.
    Rebinding,
    /// It gave the address back and keeps it until that has left.
    Releasing,
}

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The address it comes from.
    pub src: Ipv4Addr,
    /// Whom to; broadcast, if that is all.
    pub dst: Ipv4Addr,
    /// What to say.
    pub repr: Repr<'a>,
}

/// What is to be said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    Decline,
    Release,
}

/// The client of one interface. It sends nothing itself and reads no clock.
#[derive(Debug)]
pub struct Client {
    mac: MacAddr,
    client_identifier: [u8; 7],
    host_name: String,
    rng: Rng,
    phase: Phase,
    xid: u32,
    /// When this round of looking for an address began.
    began: Instant,
    /// When the message was sent whose answer is awaited.
    requested: Instant,
    /// How often it was sent.
    sent: u32,
    deadline: Option<Instant>,
    /// A message is due.
    send: bool,
    farewell: Option<(Farewell, Ipv4Addr, Ipv4Addr)>,
    /// Address and server of the offer that was taken.
    offer: Option<(Ipv4Addr, Ipv4Addr)>,
    /// What is held, probed, or asked for again.
    lease: Option<Lease>,
    event: Option<Event>,
}

impl Client {
    /// A client that looks for an address at once. `host_name`: told to the server, up to 63 octets; may be empty. `key`: for its
    /// random numbers alone.
    pub fn new(mac: MacAddr, host_name: &str, key: Key, now: Instant) -> Self {
        let mut client_identifier = [1; 7];
        client_identifier[1..].copy_from_slice(&mac.0);
        let mut client = Self {
            mac,
            client_identifier,
            host_name: host_name.chars().filter(char::is_ascii_graphic).take(63).collect(),
            rng: Rng::new(key),
            phase: Phase::Stopped,
            xid: 0,
            began: now,
            requested: now,
            sent: 0,
            deadline: None,
            send: false,
            farewell: None,
            offer: None,
            lease: None,
            event: None,
        };
        client.discover(now);
        client
    }

    /// A client that asks for an address it had before (INIT-REBOOT).
    pub fn reboot(
        mac: MacAddr,
        host_name: &str,
        key: Key,
        saved: &LeaseState,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let mut client = Self::new(mac, host_name, key, now);
        client.lease = Some(Lease::restore(saved, now)?);
        client.confirm(now);
        Ok(client)
    }

    /// A client that goes on with a lease as if nothing had been between: after a live update.
    pub fn resume(
        mac: MacAddr,
        host_name: &str,
        key: Key,
        saved: &LeaseState,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let mut client = Self::new(mac, host_name, key, now);
        let lease = Lease::restore(saved, now)?;
        client.bind(lease);
        Ok(client)
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What it holds now.
    pub fn lease(&self) -> Option<&Lease> {
        let holds = matches!(self.phase, Phase::Bound | Phase::Renewing | Phase::Rebinding);
        self.lease.as_ref().filter(|_| holds)
    }

    /// The link came up, perhaps another one: the address it had is asked for again.
    pub fn handle_link_up(&mut self, now: Instant) {
        match self.phase {
            Phase::Stopped | Phase::Releasing => {}
            _ if self.lease.is_some() => self.confirm(now),
            _ => self.discover(now),
        }
    }

    /// Gives the address back, and stops. [`Event::Lost`] follows a little later: the message may have to wait for the
    /// server's hardware address.
    pub fn release(&mut self, now: Instant) {
        let held = self.lease().map(|lease| (lease.address.address(), lease.server));
        self.stop();
        match held {
            Some((address, server)) => {
                self.farewell = Some((Farewell::Release, address, server));
                self.phase = Phase::Releasing;
                self.deadline = Some(now + RELEASE_WAIT);
            }
            None => self.event = self.lease.take().map(|_| Event::Lost),
        }
    }

    /// Takes a server's message.
    pub fn handle_message(&mut self, now: Instant, message: &Repr<'_>) -> Result<(), DropReason> {
        if message.xid != self.xid || message.chaddr != self.mac || self.xid == 0 {
            return Err(DropReason::Dhcp);
        }
        match (message.message_type, self.phase) {
            (MessageType::Offer, Phase::Selecting) => {
                // The first offer that can be an address. Later ones could hardly be better.
                let server = message.server_identifier.ok_or(DropReason::Dhcp)?;
                Lease::from_ack(message, now).ok_or(DropReason::Dhcp)?;
                self.offer = Some((message.yiaddr, server));
                self.phase = Phase::Requesting;
                self.restart(now);
                Ok(())
            }
            (MessageType::Ack, Phase::Requesting | Phase::Rebooting | Phase::Renewing | Phase::Rebinding) => {
                self.handle_ack(now, message)
            }
            (MessageType::Nak, Phase::Requesting | Phase::Rebooting | Phase::Renewing | Phase::Rebinding) => {
                if self.phase == Phase::Requesting
                    && message.server_identifier != self.offer.map(|(_, server)| server)
                {
                    return Err(DropReason::Dhcp);
                }
                if self.phase == Phase::Requesting {
                    // A server that refuses what it offers would do so again at once.
                    self.stop();
                    self.phase = Phase::Init;
                    self.deadline = Some(now + REFUSED_WAIT);
                } else {
                    self.lose(now);
                }
                Ok(())
            }
            _ => Err(DropReason::Dhcp),
        }
    }

    fn handle_ack(&mut self, now: Instant, message: &Repr<'_>) -> Result<(), DropReason> {
        // A renewal by a server that leaves its name out, though it must not.
        let server = message.server_identifier.or(self.lease.as_ref().map(|lease| lease.server));
        let message = Repr { server_identifier: server, ..*message };
        let lease = Lease::from_ack(&message, self.requested).ok_or(DropReason::Dhcp)?;
        let expected = match self.phase {
            Phase::Requesting => self.offer.map(|(address, _)| address),
            _ => self.lease.as_ref().map(|lease| lease.address.address()),
        };
        if expected != Some(lease.address.address()) || lease.expires.is_some_and(|at| at <= now) {
            return Err(DropReason::Dhcp);
        }
        if matches!(self.phase, Phase::Renewing | Phase::Rebinding) {
            self.bind(lease);
        } else {
            self.phase = Phase::Probing;
            self.deadline = None;
            self.send = false;
            self.event = Some(Event::Probe(lease.clone()));
            self.lease = Some(lease);
        }
        Ok(())
    }

    /// What [`Event::Probe`] asked for is known, or somebody uses the address later on: `free` says that nobody else has it.
    pub fn handle_probed(&mut self, now: Instant, free: bool) {
        let Some(lease) = self.lease.take() else { return };
        if free {
            if self.phase == Phase::Probing {
                return self.bind(lease);
            }
            self.lease = Some(lease);
            return;
        }
        // § 3.1 (5), § 4.4.4.
        self.farewell = Some((Farewell::Decline, lease.address.address(), lease.server));
        self.event = Some(Event::Lost);
        self.stop();
        self.phase = Phase::Init;
        self.deadline = Some(now + DECLINE_WAIT);
    }

    /// When [`Self::handle_timeout`] has work.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.send || self.farewell.is_some() || self.event.is_some() {
            return Some(Instant(0));
        }
        self.deadline
    }

    /// Does what is due; [`Self::poll_transmit`] and [`Self::poll_event`] follow.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.take_if(|deadline| *deadline <= now).is_none() {
            return;
        }
        let times = self.lease.as_ref().map(|lease| (lease.rebind_at, lease.expires));
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match (self.phase, times) {
            (Phase::Stopped | Phase::Probing, _) => {}
            (Phase::Init, _) => self.discover(now),
            (Phase::Releasing, _) => {
                self.lease = None;
                self.event = Some(Event::Lost);
                self.stop();
            }
            (Phase::Requesting, _) if self.sent >= MAX_REQUESTS => self.discover(now),
            (Phase::Selecting | Phase::Requesting, _) => self.send = true,
            (Phase::Rebooting, Some((_, expires))) if has_come(expires) => self.lose(now),
            (Phase::Rebooting, _) if self.sent >= MAX_REBOOT_REQUESTS => match self.lease.take() {
                // § 3.2: nobody objects, and it is still ours.
                Some(lease) => self.bind(lease),
                None => self.discover(now),
            },
            (Phase::Rebooting, _) => self.send = true,
            (_, Some((_, expires))) if has_come(expires) => self.lose(now),
            (_, Some((rebind_at, _))) if has_come(rebind_at) => self.ask_again(now, Phase::Rebinding),
            (_, Some(_)) => self.ask_again(now, Phase::Renewing),
            (_, None) => self.discover(now),
        }
    }

    /// The next message, if one is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Request<'_>> {
        if let Some((farewell, address, server)) = self.farewell.take() {
            let mut repr = self.message(
                now,
                match farewell {
                    Farewell::Decline => MessageType::Decline,
                    Farewell::Release => MessageType::Release,
                },
            );
            // Table 5: neither carries what the client wants.
            repr.parameter_request_list = None;
            repr.max_message_size = None;
            repr.host_name = None;
            repr.server_identifier = Some(server);
            repr.secs = 0;
            return Some(match farewell {
                Farewell::Decline => {
                    repr.requested_address = Some(address);
                    Request { src: Ipv4Addr::UNSPECIFIED, dst: Ipv4Addr::BROADCAST, repr }
                }
                Farewell::Release => {
                    repr.ciaddr = address;
                    Request { src: address, dst: server, repr }
                }
            });
        }
        if !core::mem::take(&mut self.send) {
            return None;
        }
        self.sent += 1;
        self.requested = now;
        self.deadline = Some(self.next_try(now));
        let held = self.lease.as_ref().map(|lease| (lease.address.address(), lease.server));
        let mut request = Request {
            src: Ipv4Addr::UNSPECIFIED,
            dst: Ipv4Addr::BROADCAST,
            repr: self.message(now, MessageType::Request),
        };
        // Table 4: what each request carries.
        match (self.phase, self.offer, held) {
            (Phase::Selecting, _, _) => request.repr.message_type = MessageType::Discover,
            (Phase::Requesting, Some((address, server)), _) => {
                request.repr.requested_address = Some(address);
                request.repr.server_identifier = Some(server);
            }
            (Phase::Rebooting, _, Some((address, _))) => request.repr.requested_address = Some(address),
            (Phase::Renewing, _, Some((address, server))) => {
                (request.src, request.dst) = (address, server);
                request.repr.ciaddr = address;
            }
            (Phase::Rebinding, _, Some((address, _))) => {
                request.src = address;
                request.repr.ciaddr = address;
            }
            _ => return None,
        }
        Some(request)
    }

    /// What is to be done.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    fn message(&self, now: Instant, message_type: MessageType) -> Repr<'_> {
        let host_name = self.host_name.as_bytes();
        Repr {
            secs: u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX),
            client_identifier: Some(&self.client_identifier),
            parameter_request_list: Some(&PARAMETERS),
            max_message_size: Some(1472),
            host_name: (!host_name.is_empty()).then_some(host_name),
            ..Repr::new(message_type, self.xid, self.mac)
        }
    }

    /// § 4.1; while a lease runs, half of what is left (§ 4.4.5).
    fn next_try(&mut self, now: Instant) -> Instant {
        let lease = self.lease.as_ref();
        let until = match self.phase {
            Phase::Renewing => lease.and_then(|lease| lease.rebind_at),
            Phase::Rebinding => lease.and_then(|lease| lease.expires),
            _ => {
                let wait = FIRST_WAIT.saturating_mul(1 << (self.sent - 1).min(8)).min(LAST_WAIT);
                let jitter = Duration::from_millis(self.rng.below(2001).into());
                return now + (wait + jitter).saturating_sub(Duration::from_secs(1));
            }
        };
        let Some(until) = until else { return now + LAST_WAIT };
        (now + (until.since(now) / 2).max(MIN_RENEW_WAIT)).min(until)
    }

    fn discover(&mut self, now: Instant) {
        self.phase = Phase::Selecting;
        self.offer = None;
        self.began = now;
        self.new_xid();
        self.restart(now);
    }

    /// INIT-REBOOT.
    fn confirm(&mut self, now: Instant) {
        self.phase = Phase::Rebooting;
        self.began = now;
        self.new_xid();
        self.restart(now);
    }

    fn ask_again(&mut self, now: Instant, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.began = now;
            self.new_xid();
            self.sent = 0;
        }
        self.send = true;
    }

    fn bind(&mut self, lease: Lease) {
        self.stop();
        self.phase = Phase::Bound;
        self.deadline = lease.renew_at;
        self.event = Some(Event::Bound(lease.clone()));
        self.lease = Some(lease);
    }

    fn lose(&mut self, now: Instant) {
        self.lease = None;
        self.event = Some(Event::Lost);
        self.discover(now);
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.deadline = None;
        self.send = false;
    }

    fn restart(&mut self, now: Instant) {
        self.sent = 0;
        self.send = true;
        self.deadline = Some(now + FIRST_WAIT);
    }

    fn new_xid(&mut self) {
        self.xid = (self.rng.next() as u32).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn client() -> Client {
        Client::new(MAC, "host", Key([1, 2]), at(0))
    }

    /// What the client sends now, as kind, source, destination, requested address, client address, server.
    type Sent = (MessageType, Ipv4Addr, Ipv4Addr, Option<Ipv4Addr>, Ipv4Addr, Option<Ipv4Addr>);

    fn sent(client: &mut Client, now: Instant) -> Option<Sent> {
        client.handle_timeout(now);
        client.poll_transmit(now).map(|request| {
            let repr = request.repr;
            (
                repr.message_type,
                request.src,
                request.dst,
                repr.requested_address,
                repr.ciaddr,
                repr.server_identifier,
            )
        })
    }

    fn answer(client: &Client, kind: MessageType) -> Repr<'static> {
        Repr {
            yiaddr: ADDRESS,
            server_identifier: Some(SERVER),
            lease_time: Some(3600),
            prefix_len: Some(24),
            ..Repr::new(kind, client.xid, MAC)
        }
    }

    const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;

    /// A client that got its address at 0.
    fn bound() -> Client {
        let mut client = client();
        assert_eq!(sent(&mut client, at(0)), Some((MessageType::Discover, ANY, ALL, None, ANY, None)));
        client.handle_message(at(0), &answer(&client, MessageType::Offer)).unwrap();
        let request = (MessageType::Request, ANY, ALL, Some(ADDRESS), ANY, Some(SERVER));
        assert_eq!(sent(&mut client, at(0)), Some(request));
        client.handle_message(at(0), &answer(&client, MessageType::Ack)).unwrap();
        assert!(matches!(client.poll_event(), Some(Event::Probe(_))));
        assert_eq!(client.lease(), None, "not before it was probed");
        client.handle_probed(at(0), true);
        assert!(matches!(client.poll_event(), Some(Event::Bound(_))));
        assert_eq!(client.phase(), Phase::Bound);
        client
    }

    #[test]
    fn an_address_is_found() {
        let client = bound();
        let lease = client.lease().unwrap();
        assert_eq!((lease.address.address(), lease.server), (ADDRESS, SERVER));
        assert_eq!(
            (lease.renew_at, lease.rebind_at, lease.expires),
            (Some(at(1800)), Some(at(3150)), Some(at(3600)))
        );
        assert_eq!(client.poll_timeout(), Some(at(1800)));
    }

    #[test]
    fn silence_is_met_with_patience() {
        let mut client = client();
        let mut now = at(0);
        let mut waits = std::vec::Vec::new();
        for _ in 0..7 {
            assert!(matches!(sent(&mut client, now), Some((MessageType::Discover, ..))));
            let next = client.poll_timeout().unwrap();
            waits.push(next.since(now).as_millis());
            now = next;
        }
        for (wait, expected) in waits.into_iter().zip([4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000]) {
            assert!(wait.abs_diff(expected) <= 1000, "{wait} {expected}");
        }
    }

    #[test]
    fn an_offer_that_is_not_acknowledged_is_given_up() {
        let mut client = client();
        sent(&mut client, at(0));
        client.handle_message(at(0), &answer(&client, MessageType::Offer)).unwrap();
        let mut requests = 0;
        let mut now = at(0);
        while client.phase() == Phase::Requesting {
            requests += u32::from(sent(&mut client, now).is_some());
            now = client.deadline.unwrap_or(now);
            client.handle_timeout(now);
        }
        assert_eq!((requests, client.phase()), (MAX_REQUESTS, Phase::Selecting));
    }

    #[test]
    fn a_lease_is_renewed() {
        let mut client = bound();
        let renew = (MessageType::Request, ADDRESS, SERVER, None, ADDRESS, None);
        assert_eq!(sent(&mut client, at(1800)), Some(renew));
        let ack = Repr { lease_time: Some(7200), ..answer(&client, MessageType::Ack) };
        client.handle_message(at(1801), &ack).unwrap();
        assert!(matches!(client.poll_event(), Some(Event::Bound(_))));
        assert_eq!(client.lease().unwrap().expires, Some(at(1800 + 7200)), "it counts from the request");
    }

    #[test]
    fn then_rebound_then_lost() {
        let mut client = bound();
        assert!(sent(&mut client, at(1800)).is_some());
        assert_eq!(client.poll_timeout(), Some(at(1800 + 675)), "half of what is left until T2");
        assert_eq!(sent(&mut client, at(2474)), None);
        assert!(sent(&mut client, at(2475)).is_some());
        let rebind = (MessageType::Request, ADDRESS, ALL, None, ADDRESS, None);
        assert_eq!(sent(&mut client, at(3150)), Some(rebind));
        assert_eq!(client.phase(), Phase::Rebinding);
        client.handle_timeout(at(3600));
        assert_eq!(
            (client.poll_event(), client.lease(), client.phase()),
            (Some(Event::Lost), None, Phase::Selecting)
        );
    }

    #[test]
    fn another_server_may_rebind() {
        let mut client = bound();
        sent(&mut client, at(1800));
        sent(&mut client, at(3150));
        let other = Ipv4Addr::new(10, 0, 0, 2);
        let ack = Repr { server_identifier: Some(other), ..answer(&client, MessageType::Ack) };
        client.handle_message(at(3151), &ack).unwrap();
        assert_eq!(client.lease().unwrap().server, other);
    }

    #[test]
    fn an_address_in_use_is_declined() {
        let mut client = client();
        sent(&mut client, at(0));
        client.handle_message(at(0), &answer(&client, MessageType::Offer)).unwrap();
        sent(&mut client, at(0));
        client.handle_message(at(0), &answer(&client, MessageType::Ack)).unwrap();
        client.handle_probed(at(1), false);
        let decline = (MessageType::Decline, ANY, ALL, Some(ADDRESS), ANY, Some(SERVER));
        assert_eq!(sent(&mut client, at(1)), Some(decline));
        assert_eq!(client.poll_event(), Some(Event::Lost));
        assert_eq!(sent(&mut client, at(10)), None);
        assert!(matches!(sent(&mut client, at(11)), Some((MessageType::Discover, ..))));
    }

    #[test]
    fn a_refusal_starts_anew() {
        let mut client = bound();
        sent(&mut client, at(1800));
        client.handle_message(at(1801), &answer(&client, MessageType::Nak)).unwrap();
        assert_eq!((client.poll_event(), client.phase()), (Some(Event::Lost), Phase::Selecting));
    }

    #[test]
    fn a_server_that_refuses_what_it_offers_is_not_asked_at_once() {
        let mut client = client();
        sent(&mut client, at(0));
        client.handle_message(at(0), &answer(&client, MessageType::Offer)).unwrap();
        sent(&mut client, at(0));
        client.handle_message(at(0), &answer(&client, MessageType::Nak)).unwrap();
        assert_eq!((client.phase(), client.poll_timeout()), (Phase::Init, Some(at(10))));
    }

    #[test]
    fn a_known_address_is_asked_for() {
        let saved = bound().lease().unwrap().save(at(100));
        assert_eq!(saved.expires, Some(Duration::from_secs(3500)));
        let mut client = Client::reboot(MAC, "host", Key([3, 4]), &saved, at(50)).unwrap();
        let reboot = (MessageType::Request, ANY, ALL, Some(ADDRESS), ANY, None);
        assert_eq!(sent(&mut client, at(50)), Some(reboot));
        client.handle_message(at(50), &answer(&client, MessageType::Ack)).unwrap();
        client.handle_probed(at(50), true);
        assert_eq!(client.phase(), Phase::Bound);
    }

    #[test]
    fn a_known_address_is_kept_without_a_server_while_it_is_ours() {
        let saved = bound().lease().unwrap().save(at(100));
        let mut client = Client::reboot(MAC, "host", Key([3, 4]), &saved, at(0)).unwrap();
        for _ in 0..MAX_REBOOT_REQUESTS {
            let now = client.deadline.unwrap();
            assert!(sent(&mut client, now).is_some());
        }
        client.handle_timeout(client.deadline.unwrap());
        assert_eq!((client.phase(), client.lease().unwrap().expires), (Phase::Bound, Some(at(3500))));
        let mut old = Client::reboot(MAC, "host", Key([3, 4]), &saved, at(0)).unwrap();
        sent(&mut old, at(0));
        old.handle_message(at(1), &answer(&old, MessageType::Nak)).unwrap();
        assert_eq!((old.phase(), old.poll_event()), (Phase::Selecting, Some(Event::Lost)));
    }

    #[test]
    fn resumed_without_a_word() {
        let saved = bound().lease().unwrap().save(at(100));
        let mut client = Client::resume(MAC, "host", Key([3, 4]), &saved, at(1000)).unwrap();
        assert!(matches!(client.poll_event(), Some(Event::Bound(_))));
        assert_eq!((client.poll_timeout(), sent(&mut client, at(1000))), (Some(at(2700)), None));
    }

    #[test]
    fn saved_states_are_checked() {
        let saved = bound().lease().unwrap().save(at(100));
        let refused = |change: &dyn Fn(&mut LeaseState)| {
            let mut state = saved.clone();
            change(&mut state);
            Lease::restore(&state, at(0)).unwrap_err()
        };
        assert_eq!(refused(&|state| state.version = 9), RestoreError::Version(9));
        assert_eq!(refused(&|state| state.prefix_len = 33), RestoreError::Impossible("address"));
        assert_eq!(refused(&|state| state.address = ALL), RestoreError::Impossible("address"));
        assert_eq!(refused(&|state| state.expires = Some(Duration::ZERO)), RestoreError::Expired);
        assert_eq!(
            refused(&|state| state.routers = std::vec![SERVER; 9]),
            RestoreError::Impossible("routers")
        );
        assert_eq!(Lease::restore(&saved, at(100)).unwrap().save(at(100)), saved);
    }

    #[test]
    fn released() {
        let mut client = bound();
        client.release(at(9));
        assert_eq!(client.lease(), None);
        assert_eq!(
            sent(&mut client, at(9)),
            Some((MessageType::Release, ADDRESS, SERVER, None, ADDRESS, Some(SERVER)))
        );
        assert_eq!((client.poll_event(), client.poll_timeout()), (None, Some(at(10))));
        client.handle_timeout(at(10));
        assert_eq!((client.poll_event(), client.phase()), (Some(Event::Lost), Phase::Stopped));
        assert_eq!(client.poll_timeout(), None);
    }

    #[test]
    fn what_is_not_for_us_or_senseless_is_dropped() {
        let mut client = client();
        sent(&mut client, at(0));
        let offer = answer(&client, MessageType::Offer);
        let other = MacAddr([2, 0, 0, 0, 0, 2]);
        for wrong in [
            Repr { xid: client.xid ^ 1, ..offer },
            Repr { chaddr: other, ..offer },
            Repr { server_identifier: None, ..offer },
            Repr { lease_time: None, ..offer },
            Repr { lease_time: Some(1), ..offer },
            Repr { yiaddr: Ipv4Addr::new(224, 0, 0, 1), ..offer },
            Repr { yiaddr: Ipv4Addr::new(10, 0, 0, 255), ..offer },
            Repr { yiaddr: Ipv4Addr::LOCALHOST, ..offer },
            answer(&client, MessageType::Ack),
            answer(&client, MessageType::Nak),
        ] {
            assert_eq!(client.handle_message(at(0), &wrong), Err(DropReason::Dhcp), "{wrong:?}");
            assert_eq!(client.phase(), Phase::Selecting);
        }
        client.handle_message(at(0), &offer).unwrap();
        sent(&mut client, at(0));
        let elsewhere = Repr { yiaddr: Ipv4Addr::new(10, 0, 0, 8), ..answer(&client, MessageType::Ack) };
        assert_eq!(client.handle_message(at(0), &elsewhere), Err(DropReason::Dhcp), "not what was offered");
    }

    #[test]
    fn times_that_make_no_sense_are_replaced() {
        let client = client();
        let ack = Repr {
            renewal_time: Some(9000),
            rebinding_time: Some(9000),
            ..answer(&client, MessageType::Ack)
        };
        let lease = Lease::from_ack(&ack, at(0)).unwrap();
        assert_eq!((lease.renew_at, lease.rebind_at), (Some(at(1800)), Some(at(3150))));
        let ack = Repr { lease_time: Some(u32::MAX), ..answer(&client, MessageType::Ack) };
        assert_eq!(Lease::from_ack(&ack, at(0)).unwrap().expires, None);
    }
}
