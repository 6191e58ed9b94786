//! [`ConflictDetector`]: is an address somebody else's? (RFC 5227)

use core::net::Ipv4Addr;
use core::time::Duration;

use wire::{MacAddr, arp};

use crate::Instant;
use crate::rng::Rng;

/// RFC 5227 § 1.1: ANNOUNCE_NUM, ANNOUNCE_INTERVAL, DEFEND_INTERVAL.
const ANNOUNCE_NUM: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// How thoroughly an address is probed before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTiming {
    /// PROBE_WAIT: the first probe waits for up to so many milliseconds.
    pub wait_ms: u32,
    /// PROBE_NUM: how many probes; 0: the address is used at once.
    pub probes: u8,
    /// PROBE_MIN and PROBE_MAX: milliseconds between probes.
    pub min_ms: u32,
    /// See `min_ms`.
    pub max_ms: u32,
    /// ANNOUNCE_WAIT: milliseconds after the last probe.
    pub announce_wait_ms: u32,
}

impl ProbeTiming {
    /// As in RFC 5227 § 1.1: four to seven seconds.
    pub const STANDARD: Self =
        Self { wait_ms: 1000, probes: 3, min_ms: 1000, max_ms: 2000, announce_wait_ms: 2000 };
    /// For links without the bridges that swallow the first seconds of a port: virtual ones. The standard's times would be
    /// most of the time it takes to boot.
    pub const FAST: Self = Self { wait_ms: 0, probes: 2, min_ms: 30, max_ms: 40, announce_wait_ms: 30 };
    /// None: announced at once.
    pub const NONE: Self = Self { wait_ms: 0, probes: 0, min_ms: 0, max_ms: 0, announce_wait_ms: 0 };
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Broadcast a probe.
    Probe,
    /// The address may be used from now on.
    Claimed,
    /// Broadcast an announcement.
    Announce,
}

/// What a packet of somebody else means for the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// It was in use before it was ours.
    InUse,
    /// Somebody else uses it: an announcement may set that right, and is due ([`Action::Announce`]).
    Defended,
    /// Somebody else keeps using it (§ 2.4).
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Probing { left: u8 },
    Claiming,
    Announcing { left: u8 },
    Settled,
}

/// The life of one address of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConflictDetector {
    address: Ipv4Addr,
    timing: ProbeTiming,
    state: State,
    deadline: Option<Instant>,
    defended: Option<Instant>,
}

impl ConflictDetector {
    pub(crate) fn new(now: Instant, address: Ipv4Addr, timing: ProbeTiming, rng: &mut Rng) -> Self {
        let state = if timing.probes > 0 { State::Probing { left: timing.probes } } else { State::Claiming };
        let deadline = Some(now + millis(rng.below(timing.wait_ms + 1)));
        Self { address, timing, state, deadline, defended: None }
    }

    /// Whether packets may come from the address.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.state, State::Announcing { .. } | State::Settled)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is due.
    pub(crate) fn poll(&mut self, now: Instant, rng: &mut Rng) -> Option<Action> {
        self.deadline.take_if(|deadline| *deadline <= now)?;
        match self.state {
            State::Probing { left } => {
                let between = self.timing.min_ms + rng.below(self.timing.max_ms - self.timing.min_ms + 1);
                let (state, wait) = match left {
                    0 | 1 => (State::Claiming, self.timing.announce_wait_ms),
                    _ => (State::Probing { left: left - 1 }, between),
                };
                self.state = state;
                self.deadline = Some(now + millis(wait));
                Some(Action::Probe)
            }
            State::Claiming => {
                self.state = State::Announcing { left: ANNOUNCE_NUM };
                self.deadline = Some(now);
                Some(Action::Claimed)
            }
            State::Announcing { left } => {
                self.state = match left {
                    0 | 1 => State::Settled,
                    _ => State::Announcing { left: left - 1 },
                };
                self.deadline = (left > 1).then(|| now + ANNOUNCE_INTERVAL);
                Some(Action::Announce)
            }
            State::Settled => Some(Action::Announce),
        }
    }

    /// Takes an ARP packet that arrived at the interface whose address is `mac`.
    pub(crate) fn handle(&mut self, now: Instant, packet: &arp::Repr, mac: MacAddr) -> Option<Conflict> {
        if packet.sender_mac == mac {
            return None;
        }
        let claimed = packet.sender_ip == self.address;
        if !self.is_usable() {
            // § 2.1.1: also somebody who probes for the same address.
            let probed = packet.operation == arp::Operation::Request
                && packet.sender_ip.is_unspecified()
                && packet.target_ip == self.address;
            if claimed || probed {
                self.deadline = None;
                return Some(Conflict::InUse);
            }
            return None;
        }
        if !claimed {
            return None;
        }
        // § 2.4 (b): defend it once in a while, give it up if that did not help.
        if self.defended.is_some_and(|at| now.since(at) < DEFEND_INTERVAL) {
            return Some(Conflict::Lost);
        }
        self.defended = Some(now);
        self.deadline = Some(now);
        Some(Conflict::Defended)
    }
}

const fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use std::vec::Vec;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn packet(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> arp::Repr {
        arp::Repr {
            operation: arp::Operation::Request,
            sender_mac,
            sender_ip,
            target_mac: MacAddr::UNSPECIFIED,
            target_ip,
        }
    }

    /// All that is done, with the time in milliseconds.
    fn run(detector: &mut ConflictDetector, rng: &mut Rng) -> Vec<(u64, Action)> {
        let mut done = Vec::new();
        while let Some(at) = detector.poll_timeout() {
            done.extend(detector.poll(at, rng).map(|action| (at.as_millis(), action)));
        }
        done
    }

    #[test]
    fn probes_then_announcements_at_the_standards_times() {
        for seed in 0..50 {
            let mut rng = Rng::new(Key([seed, 0]));
            let mut detector = ConflictDetector::new(Instant(0), IP, ProbeTiming::STANDARD, &mut rng);
            let done = run(&mut detector, &mut rng);
            let actions: Vec<_> = done.iter().map(|(_, action)| *action).collect();
            assert_eq!(
                actions,
                [
                    Action::Probe,
                    Action::Probe,
                    Action::Probe,
                    Action::Claimed,
                    Action::Announce,
                    Action::Announce
                ]
            );
            assert!(done[0].0 <= 1000 && (1000..=2000).contains(&(done[2].0 - done[1].0)));
            assert_eq!((done[3].0 - done[2].0, done[5].0 - done[4].0), (2000, 2000));
        }
    }

    #[test]
    fn an_address_in_use_is_found() {
        let mut rng = Rng::new(Key([1, 2]));
        let detector = ConflictDetector::new(Instant(0), IP, ProbeTiming::FAST, &mut rng);
        let other = Ipv4Addr::new(10, 0, 0, 9);
        let handle = |repr| detector.clone().handle(Instant(0), &repr, OURS);
        assert_eq!(handle(packet(THEIRS, IP, other)), Some(Conflict::InUse));
        assert_eq!(handle(packet(THEIRS, Ipv4Addr::UNSPECIFIED, IP)), Some(Conflict::InUse), "another probe");
        assert_eq!(handle(packet(OURS, Ipv4Addr::UNSPECIFIED, IP)), None, "our own probe");
        assert_eq!(handle(packet(THEIRS, other, IP)), None, "somebody who asks for whoever has it");
    }

    #[test]
    fn defended_once_in_ten_seconds() {
        let mut rng = Rng::new(Key([1, 2]));
        let mut detector = ConflictDetector::new(Instant(0), IP, ProbeTiming::NONE, &mut rng);
        assert_eq!(run(&mut detector, &mut rng).len(), 3);
        let theirs = packet(THEIRS, IP, IP);
        let at = Instant::from_millis;
        assert_eq!(detector.handle(at(10_000), &theirs, OURS), Some(Conflict::Defended));
        assert_eq!(detector.poll(at(10_000), &mut rng), Some(Action::Announce));
        assert_eq!(detector.handle(at(19_999), &theirs, OURS), Some(Conflict::Lost));
        assert_eq!(detector.handle(at(20_000), &theirs, OURS), Some(Conflict::Defended));
    }
}
