//! What a node of a server is plugged into: the machine's clocks, the links to peers, the sessions.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use super::timers::Timers;
use crate::{
    clock::Timestamp,
    delivery::{Delivery, Directory, Sessions},
    env::{Entry, Note, Timer},
    locks::atomic::{AtomicU64, Ordering},
    node::{Machine, Outbox, Ports, Position},
    ring::{MemberState, Ring},
    types::{Micros, NodeId},
};

/// Messages that wait for a peer at most; further ones are dropped, and the protocol copes.
const PEER_QUEUE: usize = 16_384;

/// The newest ring, and this node in it.
#[derive(Clone, Debug)]
pub struct Standing {
    pub ring: Arc<Ring>,
    /// What this node is, or was when it was a member last. One that joined and heard nothing of the ring
    /// right before the one that leaves it out may have been Active in it: it was Evicted.
    pub last: MemberState,
    pub is_member: bool,
}

/// The ports of a node.
pub struct ServerPorts {
    me: NodeId,
    standing: watch::Sender<Standing>,
    started: Instant,
    timers: Arc<Timers>,
    delivery: Delivery,
    entries: AtomicU64,
    notes: [AtomicU64; Note::EVERY.len()],
}

impl ServerPorts {
    /// Ports of this node on its first ring.
    pub fn new(me: NodeId, ring: Arc<Ring>, timers: Arc<Timers>) -> Self {
        let standing = Standing { ring, last: MemberState::Joining, is_member: true };
        Self {
            me,
            standing: watch::Sender::new(standing),
            started: Instant::now(),
            timers,
            delivery: Delivery::new(me, PEER_QUEUE),
            entries: AtomicU64::new(0),
            notes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Who the peers are.
    pub fn directory(&self) -> &Directory {
        &self.delivery.directory
    }

    /// Tells of each newer ring.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.delivery.sessions
    }

    /// How often each branch was taken.
    pub fn notes(&self) -> impl Iterator<Item = (Note, u64)> + '_ {
        Note::EVERY.iter().zip(&self.notes).map(|(n, count)| (*n, count.load(Ordering::Relaxed)))
    }
}

impl Ports for ServerPorts {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX >> 10))
    }

    fn uptime(&self) -> Micros {
        Micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn set_timer(&self, machine: Machine, timer: Timer, after: Micros) {
        self.timers.set(machine, timer, after);
    }

    /// There is no journal in production yet: what a process acknowledged is in its memory, and a
    /// restarted process is refused by its peers.
    fn append(&self, _entry: Entry) -> Position {
        Position(self.entries.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn durable(&self) -> Position {
        Position(u64::MAX)
    }

    fn note(&self, note: Note) {
        let index = Note::EVERY.iter().position(|n| *n == note).expect("all notes are listed");
        self.notes[index].fetch_add(1, Ordering::Relaxed);
    }

    fn adopted(&self, ring: &Arc<Ring>) {
        self.delivery.directory.adopt(ring);
        self.standing.send_if_modified(|standing| {
            let is_older = ring.epoch() < standing.ring.epoch();
            if !is_older {
                let member = ring.members().get(&self.me);
                let is_next = ring.epoch().0 <= standing.ring.epoch().0 + 1;
                standing.last = match (member, standing.last) {
                    (Some(member), _) => member.state,
                    // Only the next ring gives up a join for sure.
                    (None, MemberState::Joining) if standing.is_member && !is_next => {
                        MemberState::Evicted
                    }
                    (None, last) => last,
                };
                standing.is_member = member.is_some();
                standing.ring = ring.clone();
            }
            !is_older
        });
    }

    fn send(&self, outbox: &mut Outbox) {
        self.delivery.send(outbox);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ring::{Change, RING_SIZE};

    const ME: NodeId = NodeId(2);

    /// A cluster of one that takes a joiner: joint, with both, without the joiner, and so on.
    fn rings() -> Vec<Arc<Ring>> {
        let nothing = BTreeSet::new();
        let join = Change::Join { address: "h2:1".into(), instance: 7 };
        let mut rings = vec![Ring::form(&["h1:1".into()], 1, RING_SIZE).unwrap()];
        for (changes, is_synced) in [
            (BTreeSet::from([join]), false),
            (nothing.clone(), true),
            (BTreeSet::from([Change::Evict(ME)]), false),
            (nothing, true),
        ] {
            rings.push(rings.last().unwrap().after(&changes, is_synced).unwrap());
        }
        rings.into_iter().map(Arc::new).collect()
    }

    fn standing(first: &Arc<Ring>, then: &[&Arc<Ring>]) -> (MemberState, bool) {
        let ports = ServerPorts::new(ME, first.clone(), Arc::default());
        for ring in [first].into_iter().chain(then.iter().copied()) {
            ports.adopted(ring);
        }
        let standing = ports.standing().borrow().clone();
        (standing.last, standing.is_member)
    }

    #[test]
    fn a_join_is_given_up_by_the_next_ring_only_and_who_missed_rings_was_evicted() {
        let rings = rings();
        let [_, joint, with_it, leaving_it_out, without_it] = &rings[..] else { unreachable!() };
        let cancel = BTreeSet::from([Change::Cancel(joint.epoch())]);
        let cancelled = Arc::new(joint.after(&cancel, false).unwrap());
        assert_eq!(standing(joint, &[]), (MemberState::Joining, true));
        assert_eq!(standing(joint, &[&cancelled]), (MemberState::Joining, false));
        assert_eq!(standing(joint, &[without_it]), (MemberState::Evicted, false));
        assert_eq!(standing(joint, &[with_it, without_it]), (MemberState::Active, false));
        let all = standing(joint, &[with_it, leaving_it_out, without_it]);
        assert_eq!(all, (MemberState::Evicted, false));
        // Later rings change nothing about how it went.
        let later = Arc::new(without_it.next(without_it.members().clone()).unwrap());
        let later = Arc::new(later.next(later.members().clone()).unwrap());
        assert_eq!(standing(joint, &[&cancelled, &later]), (MemberState::Joining, false));
    }
}
