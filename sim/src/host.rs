//! A machine of the simulation: a node that may run, its clocks, its journal, and its ports.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use kv::{
    core::{
        env::{Entry, Note, Timer},
        record::{Record, Version},
        ring::Ring,
        time::{Micros, Timestamp},
        types::Key,
    },
    node::{Batch, Machine, Node, Outbox, Ports, Position},
};

use crate::{
    queue::Due,
    world::{clock::NodeClock, disk::Journal},
};

/// What a node's ports share with the cluster: the step's clock readings, and its effects.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) now: Timestamp,
    pub(crate) uptime: Micros,
    pub(crate) journal: Journal,
    pub(crate) timers: Vec<(Machine, Timer, Micros)>,
    pub(crate) outbox: Outbox,
    pub(crate) notes: Vec<Note>,
}

/// A node's ports.
pub struct SimPorts(pub(crate) Rc<RefCell<Shared>>);

impl Ports for SimPorts {
    fn now(&self) -> Timestamp {
        self.0.borrow().now
    }

    fn uptime(&self) -> Micros {
        self.0.borrow().uptime
    }

    fn set_timer(&self, machine: Machine, timer: Timer, after: Micros) {
        self.0.borrow_mut().timers.push((machine, timer, after));
    }

    fn append(&self, entry: Entry) -> Position {
        Position(self.0.borrow_mut().journal.append(entry))
    }

    fn durable(&self) -> Position {
        Position(self.0.borrow().journal.durable())
    }

    fn note(&self, note: Note) {
        self.0.borrow_mut().notes.push(note);
    }

    fn send(&self, outbox: &mut Outbox) {
        let mut shared = self.0.borrow_mut();
        shared.outbox.messages.append(&mut outbox.messages);
        shared.outbox.replies.append(&mut outbox.replies);
    }
}

/// A machine that may run a node.
pub(crate) struct Host {
    pub(crate) clock: NodeClock,
    pub(crate) shared: Rc<RefCell<Shared>>,
    pub(crate) node: Option<(Node<SimPorts>, Batch)>,
    /// The ring that it starts with when its journal is empty. None: it is not to be started.
    pub(crate) first_ring: Option<Arc<Ring>>,
    /// How often the node was started: timers and syncs of earlier runs are void.
    pub(crate) starts: u32,
    /// How many faults keep it down, and how many keep it paused.
    pub(crate) down: u32,
    pub(crate) paused: u32,
    /// What happened while it was paused.
    pub(crate) backlog: Vec<Due>,
    /// When it looked at its clocks last because nothing else happened.
    pub(crate) looked: u64,
    /// The newest version of each key that its store held (P2).
    pub(crate) seen: BTreeMap<Key, Version>,
}

impl Host {
    /// A machine whose node was not started yet.
    pub(crate) fn new(clock: NodeClock) -> Self {
        Self {
            clock,
            shared: Rc::default(),
            node: None,
            first_ring: None,
            starts: 0,
            down: 0,
            paused: 0,
            backlog: Vec::new(),
            looked: 0,
            seen: BTreeMap::new(),
        }
    }
}

/// All invariants of a node.
pub(crate) fn check_all(node: &Node<SimPorts>) {
    (0..node.shards()).for_each(|shard| node.inspect(shard, |s| s.check_invariants(None)));
}

/// All records of a node.
pub(crate) fn records(node: &Node<SimPorts>) -> BTreeMap<Key, Record> {
    let shards = 0..node.shards();
    shards.flat_map(|shard| node.inspect(shard, |shard| shard.records())).collect()
}

/// The newest record of each key, by versions alone: what a journal says without the store's help.
pub(crate) fn newest(entries: &[Entry]) -> BTreeMap<Key, Record> {
    let mut newest: BTreeMap<Key, Record> = BTreeMap::new();
    for entry in entries {
        if let Entry::Dropped(_, keys) = entry {
            keys.iter().for_each(|key| drop(newest.remove(key)));
        }
        if let Entry::Record(key, record) = entry {
            let is_newer = newest.get(key).is_none_or(|held| held.version < record.version);
            if is_newer {
                newest.insert(key.clone(), record.clone());
            }
        }
    }
    newest
}
