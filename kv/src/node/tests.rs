//! Nodes by hand: the journal is durable as far as the test says.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{config::NodeConfig, recover::Recovered, *};
use crate::core::{
    env::{Entry, Note, Reply, Request, ShardTimer},
    message::{Message, ShardBody, SlotsRequest, TopologyBody},
    quorum::Level,
    record::{Record, Version},
    ring::{Change, RING_SIZE, Ring},
    shard::Shard,
    time::{Micros, Timestamp},
    types::{Epoch, Incarnation, Key, NodeId, RequestId, Value},
};

/// A world in which the journal is durable as far as the test says.
#[derive(Default)]
struct Slow {
    entries: RefCell<Vec<Entry>>,
    durable: Cell<u64>,
    messages: RefCell<Vec<(NodeId, Message)>>,
    replies: RefCell<Vec<(RequestId, Reply)>>,
}

impl Ports for &Slow {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1)
    }

    fn uptime(&self) -> Micros {
        Micros(1)
    }

    fn set_timer(&self, _alarm: Alarm, _after: Micros) {}

    fn append(&self, entry: Entry) -> Position {
        self.entries.borrow_mut().push(entry);
        Position(self.entries.borrow().len() as u64)
    }

    fn durable(&self) -> Position {
        Position(self.durable.get())
    }

    fn note(&self, _note: Note) {}

    fn send(&self, outbox: &mut Outbox) {
        self.messages.borrow_mut().append(&mut outbox.messages);
        self.replies.borrow_mut().append(&mut outbox.replies);
    }
}

fn node(world: &Slow, members: usize, shards: u16) -> Node<&Slow> {
    let addresses: Vec<String> = (1..=members).map(|n| format!("h{n}:1")).collect();
    let ring = Arc::new(Ring::form(&addresses, members, RING_SIZE).unwrap());
    let config = NodeConfig { shards, max_clock_drift: Micros(0), ..NodeConfig::default() };
    Node::start(NodeId(1), &config, ring, Recovered::default(), world)
}

fn put(node: &Node<&Slow>, id: u64, key: &str) {
    let mut batch = node.batch();
    let (key, value) = (Key::trusted(key), Some(Value::trusted("v")));
    node.request(&mut batch, RequestId(id), Request::Put { key, value, level: Level::One });
    node.run_and_flush(&mut batch);
}

#[test]
fn a_put_is_not_acknowledged_before_it_is_durable_nor_is_anything_that_rests_on_it() {
    let world = Slow::default();
    let node = node(&world, 1, 1);
    put(&node, 1, "a");
    let mut batch = node.batch();
    let (key, level) = (Key::trusted("a"), Level::One);
    node.request(&mut batch, RequestId(2), Request::Get { key, level, at_least: None });
    node.run_and_flush(&mut batch);
    node.durable();
    assert!(world.replies.borrow().is_empty(), "a read must not show what a crash takes back");
    world.durable.set(world.entries.borrow().len() as u64);
    node.durable();
    let answered: Vec<u64> = world.replies.borrow().iter().map(|(id, _)| id.0).collect();
    assert_eq!(answered, [1, 2]);
    put(&node, 3, "a");
    assert_eq!(world.replies.borrow().len(), 2, "the next one waits for its own entry");
}

#[test]
fn a_ring_reaches_the_shards_only_once_it_is_durable() {
    let world = Slow::default();
    let node = node(&world, 3, 2);
    world.durable.set(u64::MAX);
    node.durable();
    world.durable.set(world.entries.borrow().len() as u64);
    let ring = node.ring();
    node.install(Arc::new(ring.next(ring.members().clone()).unwrap()));
    assert_eq!((node.ring().epoch(), node.oldest_epoch()), (Epoch(2), Epoch(1)));
    world.durable.set(u64::MAX);
    node.durable();
    assert_eq!(node.oldest_epoch(), Epoch(2));
}

#[test]
fn who_is_evicted_is_not_released_before_its_shards_know() {
    let world = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
    let node = node(&world, 3, 2);
    put(&node, 1, "only here");
    let ring = node.ring();
    let evicted = BTreeSet::from([Change::Evict(node.id())]);
    let joint = ring.after(&evicted, false).unwrap();
    let last = Arc::new(joint.after(&BTreeSet::new(), true).unwrap());
    node.install(Arc::new(joint));
    world.durable.set(world.entries.borrow().len() as u64);
    node.install(last.clone());
    for other in [2, 3].map(NodeId) {
        let mut batch = node.batch();
        node.message(
            &mut batch,
            other,
            Message { epoch: last.epoch(), body: TopologyBody::Synced.into() },
        );
        node.run_and_flush(&mut batch);
    }
    assert_eq!(node.oldest_epoch(), Epoch(2), "the ring without it is not durable here yet");
    assert!(!node.is_released(), "it did not hand over what it held");
    world.durable.set(u64::MAX);
    node.durable();
    assert_eq!(node.oldest_epoch(), last.epoch());
    assert!(!node.is_released(), "it offers what it held");
}

#[test]
fn a_journal_gives_back_what_it_holds_to_any_number_of_shards() {
    let world = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
    let first = node(&world, 1, 4);
    (0..50).for_each(|n| put(&first, n, &format!("key{n}")));
    let entries = world.entries.borrow().clone();
    let ring = first.ring();
    let config = NodeConfig { shards: 3, ..NodeConfig::default() };
    let again = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
    let second = Node::start(NodeId(1), &config, ring, Recovered::replay(entries), &again);
    let held = |node: &Node<&Slow>| -> BTreeMap<Key, _> {
        (0..node.shards()).flat_map(|s| node.inspect(s, Shard::records)).collect()
    };
    assert_eq!(held(&second), held(&first));
    assert!(matches!(again.entries.borrow()[0], Entry::Opened(Incarnation(2))));
}

#[test]
fn digests_of_a_peer_with_another_number_of_shards_reach_each_shard_that_they_concern() {
    let world = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
    let node = node(&world, 2, 4);
    let mut batch = node.batch();
    let slot = crate::core::types::Slot;
    let digests = vec![(slot(1), 1), (slot(3), 3), (slot(5), 5)];
    let request = SlotsRequest::Digests { shards: 2, pass: 1, digests };
    let body = ShardBody::SlotsRequest { shard: 1, request }.into();
    node.message(&mut batch, NodeId(2), Message { epoch: Epoch(1), body });
    // Odd slots are on our shards 1 and 3.
    let got: Vec<usize> = batch.shards.iter().map(Vec::len).collect();
    assert_eq!(got, [0, 1, 0, 1]);
}

/// Lets each shard of a node compare with its peer, until nobody says anything any more.
fn compare(nodes: [&Node<&Slow>; 2]) {
    for shard in 0..nodes[0].shards() {
        nodes[0].timer(Alarm::Shard(u16::try_from(shard).unwrap(), ShardTimer::Sync));
    }
    loop {
        let mut count = 0;
        for (at, from) in nodes.iter().enumerate() {
            let mut batch = nodes[1 - at].batch();
            for (_, message) in from.ports().messages.take() {
                nodes[1 - at].message(&mut batch, from.id(), message);
                count += 1;
            }
            nodes[1 - at].run_and_flush(&mut batch);
        }
        if count == 0 {
            return;
        }
    }
}

#[test]
fn nodes_with_other_numbers_of_shards_compare_all_that_they_have() {
    for shards in [(1, 4), (4, 1), (3, 8), (8, 3), (4, 6), (5, 5)] {
        let worlds = [0, 1].map(|_| Slow { durable: Cell::new(u64::MAX), ..Slow::default() });
        let addresses = ["h1:1".to_string(), "h2:1".to_string()];
        let ring = Arc::new(Ring::form(&addresses, 2, RING_SIZE).unwrap());
        let start = |id: u32, shards, world| {
            let config = NodeConfig { shards, max_clock_drift: Micros(0), ..NodeConfig::default() };
            let key = |n: u32| Key::trusted(&format!("key{n}"));
            let version = Version { timestamp: Timestamp(u64::from(id)), node: NodeId(id) };
            let record = Record { version, value: Some(Value::trusted("v")) };
            let entries = (0..900).filter(|n| n % 3 != id);
            let entries = entries.map(|n| Entry::Record(key(n), record.clone()));
            let recovered = Recovered::replay(entries);
            Node::start(NodeId(id), &config, ring.clone(), recovered, world)
        };
        let (one, other) = (start(1, shards.0, &worlds[0]), start(2, shards.1, &worlds[1]));
        worlds.iter().for_each(|world| drop(world.messages.take()));
        let records = |node: &Node<&Slow>| -> BTreeMap<Key, Record> {
            (0..node.shards()).flat_map(|s| node.inspect(s, Shard::records)).collect()
        };
        assert_eq!(one.behind().peers_to_compare, BTreeSet::from([NodeId(2)]));
        compare([&one, &other]);
        assert_eq!(records(&one).len(), 900, "{shards:?}");
        assert_eq!(records(&one), records(&other), "{shards:?}");
        assert!(one.behind().is_nothing(), "{shards:?}");
    }
}

/// Found by the simulation: the new member's journal said nothing of the clock, so that its next start was behind its own
/// records. And the entry that says it may be the one that is damaged.
#[test]
fn a_new_member_that_begins_with_old_records_does_not_forget_their_clock() {
    let record =
        Record { version: Version { timestamp: Timestamp(70), node: NodeId(2) }, value: None };
    let records = [Entry::Record(Key::trusted("k"), record)];
    let floor = |at| Entry::ClockFloor(Timestamp(at));
    for (kept, wanted) in
        [(vec![floor(90)], floor(90)), (vec![floor(20)], floor(71)), (vec![], floor(71))]
    {
        let damaged = Recovered::replay(kept.into_iter().chain(records.clone()));
        let begins = damaged.without_identity();
        let written: Vec<Entry> = begins.head_start().collect();
        assert_eq!(written[0], wanted);
        assert_eq!(written[1..], records);
        assert_eq!(Recovered::replay(written), begins, "the next start finds what this one has");
    }
    assert_eq!(
        Recovered::default().head_start().count(),
        0,
        "a node without a past has nothing to say"
    );
}
