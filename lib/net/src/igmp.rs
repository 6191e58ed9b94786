//! [`Membership`]: the multicast groups that an interface listens to, as a host tells routers of them (IGMP version 3, RFC
//! 3376; version 2, RFC 2236, where a router speaks that).
//!
//! Groups are joined for all sources. Source filters are left out: their place would be the records of a report.

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use wire::List;
use wire::igmp::{ALL_SYSTEMS, RecordType, Repr, Version};

use crate::Instant;
use crate::rng::Rng;

/// Most groups of an interface; a further one is refused.
pub const MAX_GROUPS: usize = 64;
/// How often a change is told (RFC 3376 § 8.1).
const ROBUSTNESS: u8 = 2;
/// Between two times (§ 8.11; RFC 2236 § 8.10 has 10 s).
const UNSOLICITED_REPORT_INTERVAL_MS: u32 = 1000;
/// After this long without an older querier version 3 is spoken again (§ 8.12).
const OLDER_QUERIER_PRESENT: Duration = Duration::from_secs(260);

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one exists at a time, for as long as it takes to write it out")]
pub enum Message {
    /// Version 3: a report of these records.
    Report(List<(RecordType, Ipv4Addr), MAX_GROUPS>),
    /// Version 2: the group is listened to.
    ReportV2(Ipv4Addr),
    /// Version 2: it is not any more.
    LeaveV2(Ipv4Addr),
}

#[derive(Debug)]
struct Group {
    address: Ipv4Addr,
    /// How often it was joined and not left. 0: it is only kept to tell of that.
    joins: u32,
    /// How often the last change is still to be told.
    changes: u8,
    /// When the change is told next.
    change_at: Option<Instant>,
    /// When a query is answered.
    answer_at: Option<Instant>,
}

/// The groups of an interface.
#[derive(Debug, Default)]
pub struct Membership {
    groups: Vec<Group>,
    /// When a general query is answered.
    answer_at: Option<Instant>,
    /// Until when version 2 is spoken.
    older_querier_until: Option<Instant>,
}

impl Membership {
    /// Listens to a group, once more. `false`: it is none, or there are [`MAX_GROUPS`].
    pub fn join(&mut self, now: Instant, address: Ipv4Addr) -> bool {
        if !address.is_multicast() {
            return false;
        }
        let count = self.groups.len();
        match self.groups.iter_mut().find(|group| group.address == address) {
            Some(group) => {
                group.joins += 1;
                if group.joins == 1 {
                    (group.changes, group.change_at) = (ROBUSTNESS, Some(now));
                }
            }
            None if count >= MAX_GROUPS => return false,
            None => self.groups.push(Group {
                address,
                joins: 1,
                changes: ROBUSTNESS,
                change_at: is_reported(address).then_some(now),
                answer_at: None,
            }),
        }
        true
    }

    /// Takes one join back. `false`: there was none.
    pub fn leave(&mut self, now: Instant, address: Ipv4Addr) -> bool {
        let Some(group) = self.groups.iter_mut().find(|group| group.address == address && group.joins > 0)
        else {
            return false;
        };
        group.joins -= 1;
        if group.joins == 0 {
            (group.changes, group.change_at) = (ROBUSTNESS, Some(now));
            group.answer_at = None;
            self.groups.retain(|group| group.joins > 0 || is_reported(group.address));
        }
        true
    }

    /// Whether packets to the group are taken. All systems listen to 224.0.0.1.
    pub fn is_member(&self, address: Ipv4Addr) -> bool {
        address == ALL_SYSTEMS || self.groups.iter().any(|group| group.address == address && group.joins > 0)
    }

    /// Takes what a router or another host said.
    pub(crate) fn handle(&mut self, now: Instant, message: &Repr, rng: &mut Rng) {
        match *message {
            Repr::Query { version, group, max_response_ms } => {
                if version != Version::V3 {
                    self.older_querier_until = Some(now + OLDER_QUERIER_PRESENT);
                }
                let mut at = || now + Duration::from_millis(rng.below(max_response_ms.max(1)).into());
                match group {
                    None => sooner(&mut self.answer_at, at()),
                    Some(address) => {
                        for group in
                            self.groups.iter_mut().filter(|group| group.address == address && group.joins > 0)
                        {
                            sooner(&mut group.answer_at, at());
                        }
                    }
                }
            }
            // RFC 2236 § 3: somebody else has answered for the group.
            Repr::Report { group: address } if self.speaks_v2(now) => {
                for group in
                    self.groups.iter_mut().filter(|group| group.address == address && group.joins > 0)
                {
                    group.answer_at = None;
                }
            }
            Repr::Report { .. } | Repr::Other => {}
        }
    }

    /// When there is a message to send.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let groups = self.groups.iter().flat_map(|group| [group.change_at, group.answer_at]);
        groups.chain([self.answer_at]).flatten().min()
    }

    /// The next message that is due.
    pub(crate) fn poll(&mut self, now: Instant, rng: &mut Rng) -> Option<Message> {
        let v2 = self.speaks_v2(now);
        if self.answer_at.take_if(|at| *at <= now).is_some() {
            let joined = self.groups.iter_mut().filter(|group| group.joins > 0 && is_reported(group.address));
            if v2 {
                joined.for_each(|group| sooner(&mut group.answer_at, now));
            } else {
                let mut records = List::new((RecordType::IsExclude, Ipv4Addr::UNSPECIFIED));
                records.extend(joined.map(|group| {
                    group.answer_at = None;
                    (RecordType::IsExclude, group.address)
                }));
                if !records.is_empty() {
                    return Some(Message::Report(records));
                }
            }
        }
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        let mut told = None;
        for group in &mut self.groups {
            if due(&mut group.answer_at) {
                told = Some((RecordType::IsExclude, group.address));
            } else if due(&mut group.change_at) {
                group.changes = group.changes.saturating_sub(1);
                let again = Duration::from_millis(rng.below(UNSOLICITED_REPORT_INTERVAL_MS).into());
                group.change_at = (group.changes > 0).then(|| now + again);
                let kind = if group.joins > 0 { RecordType::ToExclude } else { RecordType::ToInclude };
                told = Some((kind, group.address));
            }
            if told.is_some() {
                break;
            }
        }
        self.groups.retain(|group| group.joins > 0 || group.change_at.is_some());
        let (kind, address) = told?;
        Some(match kind {
            RecordType::ToInclude if v2 => Message::LeaveV2(address),
            _ if v2 => Message::ReportV2(address),
            _ => {
                let mut records = List::new((kind, address));
                records.push((kind, address));
                Message::Report(records)
            }
        })
    }

    fn speaks_v2(&self, now: Instant) -> bool {
        self.older_querier_until.is_some_and(|until| now < until)
    }
}

/// RFC 3376 § 5: nobody is told of 224.0.0.1, which all listen to.
fn is_reported(address: Ipv4Addr) -> bool {
    address != ALL_SYSTEMS
}

fn sooner(timer: &mut Option<Instant>, at: Instant) {
    *timer = Some(timer.map_or(at, |known| known.min(at)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    const A: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 2);

    fn report(records: &[(RecordType, Ipv4Addr)]) -> Message {
        let mut list = List::new((RecordType::IsExclude, A));
        list.extend(records.iter().copied());
        Message::Report(list)
    }

    /// All messages up to a time.
    fn run(membership: &mut Membership, rng: &mut Rng, until_ms: u64) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(at) = membership.poll_timeout().filter(|at| at.as_millis() <= until_ms) {
            messages.extend(membership.poll(at, rng));
        }
        messages
    }

    fn query(version: Version, group: Option<Ipv4Addr>) -> Repr {
        Repr::Query { version, group, max_response_ms: 1000 }
    }

    #[test]
    fn changes_are_told_twice() {
        let (mut membership, mut rng) = (Membership::default(), Rng::new(Key([1, 2])));
        assert!(membership.join(Instant(0), A) && membership.join(Instant(0), A));
        assert_eq!(
            run(&mut membership, &mut rng, 10_000),
            [report(&[(RecordType::ToExclude, A)]), report(&[(RecordType::ToExclude, A)])]
        );
        let at = Instant::from_millis(10_000);
        assert!(membership.leave(at, A) && membership.is_member(A));
        assert!(membership.leave(at, A) && !membership.is_member(A) && !membership.leave(at, A));
        assert_eq!(
            run(&mut membership, &mut rng, 20_000),
            [report(&[(RecordType::ToInclude, A)]), report(&[(RecordType::ToInclude, A)])]
        );
        assert!(membership.groups.is_empty());
    }

    #[test]
    fn queries_are_answered_once_within_their_time() {
        let (mut membership, mut rng) = (Membership::default(), Rng::new(Key([1, 2])));
        membership.join(Instant(0), A);
        membership.join(Instant(0), B);
        membership.join(Instant(0), ALL_SYSTEMS);
        run(&mut membership, &mut rng, 10_000);
        let now = Instant::from_millis(10_000);
        membership.handle(now, &query(Version::V3, None), &mut rng);
        membership.handle(now, &query(Version::V3, None), &mut rng);
        assert_eq!(
            run(&mut membership, &mut rng, 11_000),
            [report(&[(RecordType::IsExclude, A), (RecordType::IsExclude, B)])]
        );
        membership.handle(now, &query(Version::V3, Some(B)), &mut rng);
        membership.handle(now, &query(Version::V3, Some(Ipv4Addr::new(239, 9, 9, 9))), &mut rng);
        assert_eq!(run(&mut membership, &mut rng, 12_000), [report(&[(RecordType::IsExclude, B)])]);
    }

    #[test]
    fn version_2_while_a_router_speaks_it() {
        let (mut membership, mut rng) = (Membership::default(), Rng::new(Key([1, 2])));
        membership.handle(Instant(0), &query(Version::V2, None), &mut rng);
        membership.join(Instant(0), A);
        membership.join(Instant(0), B);
        run(&mut membership, &mut rng, 10_000);
        let now = Instant::from_millis(10_000);
        membership.handle(now, &query(Version::V2, None), &mut rng);
        membership.handle(now, &Repr::Report { group: B }, &mut rng);
        let answers = run(&mut membership, &mut rng, 12_000);
        assert!(answers.contains(&Message::ReportV2(A)));
        membership.handle(now, &query(Version::V2, Some(A)), &mut rng);
        membership.handle(now, &Repr::Report { group: A }, &mut rng);
        assert_eq!(run(&mut membership, &mut rng, 12_000), [], "somebody else has answered");
        membership.leave(now, A);
        assert_eq!(run(&mut membership, &mut rng, 20_000), [Message::LeaveV2(A), Message::LeaveV2(A)]);
        membership.join(Instant::from_millis(300_000), A);
        assert_eq!(
            membership.poll(Instant::from_millis(300_000), &mut rng),
            Some(report(&[(RecordType::ToExclude, A)]))
        );
    }

    #[test]
    fn groups_are_bounded() {
        let mut membership = Membership::default();
        assert!(!membership.join(Instant(0), Ipv4Addr::new(10, 0, 0, 1)));
        for n in 0..100 {
            assert_eq!(membership.join(Instant(0), Ipv4Addr::new(239, 1, 0, n)), usize::from(n) < MAX_GROUPS);
        }
    }
}
