//! What a node of a server is plugged into: the machine's clocks, the links to peers, the sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use strum::VariantArray as _;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{settings::Durability, timers::Timers};
use crate::{
    core::{
        env::{Entry, Note},
        ring::{MemberState, Ring},
        time::{Micros, Seconds, Timestamp},
        types::{Epoch, NodeId},
    },
    node::{
        Alarm, Era, Node, Outbox, Pause, Ports, Position,
        commit::Commit,
        delivery::{Delivery, Directory, Sessions},
        locks::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
    },
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

/// The machine's clocks: the wall clock, and the monotonic one since then.
pub fn clocks(started: Instant) -> (Timestamp, Micros) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX >> 10);
    let uptime = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    (Timestamp::from_micros(micros), Micros(uptime))
}

/// What this node's pauses did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    /// Client connections that were closed because of them.
    pub connections_closed: u64,
    /// How long the last one was.
    pub last: Micros,
    /// Since when a majority has still to say that the ring is the newest.
    since: Option<Instant>,
}

/// A node as a server runs it.
pub type ServerNode = Node<ServerPorts>;

/// The ports of a node.
pub struct ServerPorts {
    me: NodeId,
    standing: watch::Sender<Standing>,
    started: Instant,
    timers: Arc<Timers>,
    delivery: Delivery,
    /// None: the node keeps nothing.
    commit: Option<Arc<Commit>>,
    /// Whether effects wait for the journal.
    waits: bool,
    entries: AtomicU64,
    /// For tests and trials: how far the wall clock that this node goes by is ahead of the machine's.
    clock_offset_ms: i64,
    pauses: Mutex<Pauses>,
    notes: [AtomicU64; Note::VARIANTS.len()],
}

impl ServerPorts {
    /// Ports of this node on its first ring.
    pub fn new(
        me: NodeId,
        ring: Arc<Ring>,
        timers: Arc<Timers>,
        clock_offset_ms: i64,
        journal: Option<(Arc<Commit>, Durability)>,
    ) -> Self {
        let waits =
            journal.as_ref().is_some_and(|(_, durability)| *durability == Durability::Always);
        let standing = Standing { ring, last: MemberState::Joining, is_member: true };
        Self {
            me,
            standing: watch::Sender::new(standing),
            started: Instant::now(),
            timers,
            delivery: Delivery::new(me, PEER_QUEUE),
            commit: journal.map(|(commit, _)| commit),
            waits,
            entries: AtomicU64::new(0),
            clock_offset_ms,
            pauses: Mutex::default(),
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

    /// What this node's pauses did.
    pub fn pauses(&self) -> Pauses {
        *self.pauses.lock()
    }

    /// How often each branch was taken.
    pub fn notes(&self) -> impl Iterator<Item = (Note, u64)> + '_ {
        Note::VARIANTS.iter().zip(&self.notes).map(|(n, count)| (*n, count.load(Ordering::Relaxed)))
    }
}

impl Ports for ServerPorts {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX >> 10);
        Timestamp::from_micros(micros.saturating_add_signed(self.clock_offset_ms * 1_000))
    }

    fn uptime(&self) -> Micros {
        Micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn set_timer(&self, alarm: Alarm, after: Micros) {
        self.timers.set(alarm, after);
    }

    /// Without a journal what a process acknowledged is in its memory alone, and its peers refuse it when it
    /// starts again.
    fn append(&self, entry: Entry) -> Position {
        match &self.commit {
            Some(commit) => commit.append(&entry),
            None => Position(self.entries.fetch_add(1, Ordering::Relaxed) + 1),
        }
    }

    fn durable(&self) -> Position {
        match &self.commit {
            Some(commit) if self.waits => commit.durable(),
            Some(_) | None => Position(u64::MAX),
        }
    }

    fn note(&self, note: Note) {
        let index = Note::VARIANTS.iter().position(|n| *n == note).expect("all notes are listed");
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

    fn paused(&self, pause: Pause) {
        let closed = self.sessions().end_all();
        {
            let mut pauses = self.pauses.lock();
            pauses.connections_closed += closed as u64;
            pauses.last = pause.length;
            pauses.since = Some(Instant::now());
        }
        warn!(
            "{} stood still for {}: its {closed} client connections are closed, for what lies in them is old; it \
             coordinates nothing before a majority has said that its ring is the newest",
            self.me,
            Seconds(pause.length.0),
        );
    }

    fn confirmed(&self, _era: Era, epoch: Epoch) {
        let since = self.pauses.lock().since.take();
        let after = since.map_or(Duration::ZERO, |since| since.elapsed());
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        info!(
            "{}: a majority says that its ring is the newest, ring {}, {} after the pause: it coordinates again",
            self.me,
            epoch.0,
            Seconds(micros),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::ring::{Change, Joiner, RING_SIZE};

    const ME: NodeId = NodeId(2);

    /// A cluster of one that takes a joiner: joint, with both, without the joiner, and so on.
    fn rings() -> Vec<Arc<Ring>> {
        let nothing = BTreeSet::new();
        let join = Change::Join(Joiner::new("h2:1", 7));
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
        let ports = ServerPorts::new(ME, first.clone(), Arc::default(), 0, None);
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
