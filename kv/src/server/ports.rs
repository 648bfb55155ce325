//! What a node of a server is plugged into: the machine's clocks, the links to peers, the sessions.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::timers::Timers;
use crate::{
    clock::Timestamp,
    delivery::{Delivery, Peers, Sessions},
    env::{Entry, Note, Timer},
    locks::atomic::{AtomicU64, Ordering},
    node::{Machine, Outbox, Ports, Position},
    types::{Micros, NodeId},
};

/// Messages that wait for a peer at most; further ones are dropped, and the protocol copes.
const PEER_QUEUE: usize = 16_384;

/// The ports of a node.
pub struct ServerPorts {
    started: Instant,
    timers: Arc<Timers>,
    delivery: Delivery,
    entries: AtomicU64,
    notes: [AtomicU64; Note::EVERY.len()],
}

impl ServerPorts {
    /// Ports with links to these peers.
    pub fn new(peers: impl Iterator<Item = NodeId>, timers: Arc<Timers>) -> Self {
        Self {
            started: Instant::now(),
            timers,
            delivery: Delivery::new(peers, PEER_QUEUE),
            entries: AtomicU64::new(0),
            notes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The queues to the peers.
    pub fn peers(&self) -> &Peers {
        &self.delivery.peers
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

    fn send(&self, outbox: &mut Outbox) {
        self.delivery.send(outbox);
    }
}
