//! Shards by hand: every message is delivered, or not, by the test.

mod moves;
mod puts;
mod restore;
mod sync;

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::core::{
    clock::ClockGuard,
    env::{
        Clients, Clock, Entry, Failure, Journal, Network, Note, Progress, Reply, Request,
        ShardTimer, Timers, Trace,
    },
    message::{Body, KeyAnswer, KeyRequest, Message, ShardBody, SlotsAnswer, SlotsRequest},
    quorum::Level,
    record::{Record, Version},
    ring::{Member, MemberState, RING_SIZE, Ring, slot_of},
    time::{ClockDoubt, Micros, Timestamp},
    types::{Epoch, Incarnation, Key, NodeId, OpId, RequestId, Slot, Value},
};

/// Collects what a step does.
#[derive(Default)]
struct Effects {
    now: u64,
    sent: Vec<(NodeId, Message)>,
    replies: Vec<(RequestId, Reply)>,
    entries: Vec<Entry>,
    synced: Vec<Epoch>,
    timers: Vec<(ShardTimer, Micros)>,
    notes: Vec<Note>,
}

impl Clock for Effects {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_000_000 + self.now)
    }

    fn uptime(&self) -> Micros {
        Micros(self.now)
    }
}

impl Timers<ShardTimer> for Effects {
    fn set_timer(&mut self, timer: ShardTimer, after: Micros) {
        self.timers.push((timer, after));
    }
}

impl Network for Effects {
    fn send(&mut self, to: NodeId, message: Message) {
        self.sent.push((to, message));
    }
}

impl Journal for Effects {
    fn persist(&mut self, entry: Entry) {
        self.entries.push(entry);
    }
}

impl Clients for Effects {
    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.replies.push((request, reply));
    }
}

impl Progress for Effects {
    fn synced(&mut self, epoch: Epoch) {
        self.synced.push(epoch);
    }
}

impl Trace for Effects {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

const TIMEOUT: Micros = Micros(1_000);

fn ring(nodes: usize, replication: usize) -> Arc<Ring> {
    let addresses: Vec<String> = (1..=nodes).map(|node| format!("node{node}:1")).collect();
    Arc::new(Ring::form(&addresses, replication, RING_SIZE).unwrap())
}

fn shard_of(node: u32, shards: u16, ring: &Arc<Ring>) -> Shard {
    let config = ShardConfig {
        node: NodeId(node),
        shard: 0,
        shards,
        seed: 0,
        request_timeout: TIMEOUT,
        hedge_after: Micros(100),
        sync_every: Micros(100),
        probe_every: Micros(100),
        pull_every: Micros(100),
        page: 2,
        max_clock_drift: Micros(0),
        max_in_flight: 2,
    };
    Shard::new(config, ring.clone(), Timestamp(0), Incarnation(1))
}

fn slot_of_k() -> Slot {
    slot_of("k", RING_SIZE)
}

/// Shards n1, n2, … and the messages between them.
struct World {
    shards: BTreeMap<NodeId, Shard>,
    effects: Effects,
    /// Messages that wait: from, to, what.
    waiting: Vec<(NodeId, NodeId, Message)>,
}

impl World {
    fn new(nodes: usize, replication: usize) -> Self {
        let ring = ring(nodes, replication);
        let shard = |node: u32| (NodeId(node), shard_of(node, 1, &ring));
        let shards = (1..=u32::try_from(nodes).unwrap()).map(shard).collect();
        Self { shards, effects: Effects::default(), waiting: Vec::new() }
    }

    fn step(&mut self, node: u32, input: Input) {
        let node = NodeId(node);
        let shard = self.shards.get_mut(&node).unwrap();
        shard.handle(input, &mut self.effects);
        shard.check_invariants(None);
        for (to, message) in std::mem::take(&mut self.effects.sent) {
            self.waiting.push((node, to, message));
        }
    }

    fn put(&mut self, node: u32, value: &str, level: Level) {
        let (key, value) = (Key::trusted("k"), Some(Value::trusted(value)));
        self.step(
            node,
            Input::Request(RequestId(1), slot_of_k(), Request::Put { key, value, level }),
        );
    }

    fn get(&mut self, node: u32, level: Level) {
        let get = Request::Get { key: Key::trusted("k"), level, at_least: None };
        self.step(node, Input::Request(RequestId(2), slot_of_k(), get));
    }

    fn get_at_least(&mut self, node: u32, at_least: Option<Version>) {
        let (key, level) = (Key::trusted("k"), Level::Session);
        self.step(
            node,
            Input::Request(RequestId(2), slot_of_k(), Request::Get { key, level, at_least }),
        );
    }

    /// Delivers the waiting messages that `wanted` takes: from, to, name. Those that follow wait.
    fn deliver(&mut self, wanted: impl Fn(u32, u32, &str) -> bool) -> usize {
        let (now, later) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(from, to, message)| wanted(from.0, to.0, message.body.name()));
        self.waiting = later;
        let now: Vec<(NodeId, NodeId, Message)> = now;
        let count = now.len();
        for (from, to, message) in now {
            self.hear(to.0, from, message);
        }
        count
    }

    /// A message arrives, as the node hands it on.
    fn hear(&mut self, node: u32, from: NodeId, message: Message) {
        let Message { epoch, body } = message;
        let input = match body {
            Body::KeyRequest(body) => {
                let slot = slot_of(body.key().as_str(), RING_SIZE);
                Input::KeyRequest(from, slot, Message { epoch, body })
            }
            Body::Shard(body) => Input::Message(from, Message { epoch, body }),
            Body::Topology(_) | Body::Gossip(_) => panic!("a shard says {body}"),
        };
        self.step(node, input);
    }

    fn deliver_all(&mut self) {
        while self.deliver(|_, _, _| true) > 0 {}
    }

    fn replies(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.effects.replies).into_iter().map(|(_, reply)| reply).collect()
    }

    fn held(&self, node: u32) -> Option<String> {
        let record = self.shards[&NodeId(node)].record("k")?;
        record.value.map(|value| value.as_str().to_string())
    }
}

fn value_of(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Found(Some(record)) => record.value.as_ref().map(Value::as_str),
        Reply::Found(None) | Reply::Written(_) | Reply::Failed(_) => None,
    }
}

#[test]
fn a_put_at_quorum_is_answered_when_a_majority_has_it() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Quorum);
    assert!(world.replies().is_empty(), "one of three is no majority");
    world.deliver(|_, to, _| to == 2);
    world.deliver(|_, to, _| to == 1);
    assert!(matches!(world.replies()[..], [Reply::Written(_)]));
    assert_eq!((world.held(1), world.held(3)), (Some("v".into()), None));
}

#[test]
fn an_acknowledgement_that_comes_twice_counts_once() {
    let mut world = World::new(5, 5);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, to, _| to == 2);
    let twice = world.waiting.iter().find(|(from, ..)| *from == NodeId(2)).unwrap().clone();
    world.waiting.push(twice);
    assert_eq!(world.deliver(|from, to, _| (from, to) == (2, 1)), 2);
    assert!(world.replies().is_empty(), "two of five are no majority");
    world.deliver_all();
    assert!(matches!(world.replies()[..], [Reply::Written(_)]));
}

#[test]
fn a_quorum_read_that_finds_owners_differ_repairs_a_majority_before_it_answers() {
    let mut world = World::new(4, 3);
    let owners = world.shards[&NodeId(1)].ring.owners(ring(4, 3).slot_of("k")).all().to_vec();
    let outsider = (1..=4).find(|node| !owners.contains(&NodeId(*node))).unwrap();
    let holder = owners[0].0;
    // Only the holder gets the write.
    world.put(outsider, "v", Level::One);
    world.deliver(|_, to, name| name == "write" && to == holder);
    world.waiting.clear();
    world.get(outsider, Level::Quorum);
    // Whoever is asked answers; the hedge asks the rest. Its first firing is about the write alone.
    world.step(outsider, Input::Timer(ShardTimer::Hedge));
    world.step(outsider, Input::Timer(ShardTimer::Hedge));
    world.deliver(|_, _, name| name == "read");
    world.effects.notes.clear();
    while world.deliver(|from, _, name| name == "found" && from == holder) > 0 {}
    world.deliver(|_, _, name| name == "found");
    assert!(world.effects.notes.contains(&Note::ReadRepaired));
    assert!(world.replies().is_empty(), "the repair is on its way");
    world.deliver(|_, _, name| name == "write");
    world.deliver(|_, _, name| name == "written");
    assert_eq!(world.replies().iter().find_map(value_of), Some("v"));
    let holders = owners.iter().filter(|node| world.held(node.0).is_some()).count();
    assert!(holders >= 2, "a majority holds it");
}

#[test]
fn a_request_of_an_earlier_epoch_is_fenced_and_begins_anew_with_its_version() {
    let mut world = World::new(3, 3);
    let first = world.shards[&NodeId(1)].ring.clone();
    let next = Arc::new(first.next(first.members().clone()).unwrap());
    world.step(2, Input::Ring(next.clone()));
    world.step(3, Input::Ring(next.clone()));
    world.put(1, "v", Level::Quorum);
    let version = world.shards[&NodeId(1)].version("k");
    world.deliver(|_, _, name| name == "write");
    assert_eq!(world.effects.notes.iter().filter(|note| **note == Note::Fenced).count(), 2);
    assert_eq!((world.held(2), world.held(3)), (None, None));
    world.deliver_all();
    assert!(world.replies().is_empty());
    world.step(1, Input::Ring(next));
    world.deliver_all();
    assert_eq!(world.replies(), [Reply::Written(version.unwrap())]);
    assert_eq!(world.shards[&NodeId(2)].version("k"), version);
}

#[test]
fn answers_of_an_earlier_epoch_do_not_count() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, _, name| name == "write");
    let first = world.shards[&NodeId(1)].ring.clone();
    let next = Arc::new(first.next(first.members().clone()).unwrap());
    world.step(1, Input::Ring(next));
    world.deliver(|_, to, name| name == "written" && to == 1);
    assert!(world.replies().is_empty(), "they were given at the earlier epoch");
}

#[test]
fn on_a_joint_ring_a_put_needs_both_majorities() {
    let mut world = World::new(4, 3);
    let first = world.shards[&NodeId(1)].ring.clone();
    let mut members: BTreeMap<NodeId, Member> = first.members().clone();
    members.get_mut(&NodeId(3)).unwrap().state = MemberState::Leaving;
    members.get_mut(&NodeId(4)).unwrap().state = MemberState::Joining;
    let joint = Arc::new(first.next(members).unwrap());
    (1..=4).for_each(|node| world.step(node, Input::Ring(joint.clone())));
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, to, _| to == 3);
    world.deliver(|from, _, _| from == 3);
    assert!(world.replies().is_empty(), "n1 and n3 are a majority of the old owners only");
    world.deliver(|_, to, _| to == 4);
    world.deliver(|from, _, _| from == 4);
    assert!(matches!(world.replies()[..], [Reply::Written(_)]));
}

#[test]
fn a_request_beyond_the_bound_is_refused_as_busy() {
    let mut world = World::new(3, 3);
    (0..3).for_each(|_| world.get(1, Level::All));
    assert_eq!(world.replies(), [Reply::Failed(Failure::Busy)]);
    assert_eq!(world.shards[&NodeId(1)].in_flight(), 2);
}

#[test]
fn a_request_is_given_up_at_the_second_firing_at_the_latest() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Quorum);
    let armed = world.effects.timers.iter().filter(|(timer, _)| *timer == ShardTimer::Timeout);
    assert_eq!(armed.map(|(_, after)| *after).collect::<Vec<_>>(), [TIMEOUT]);
    world.get(1, Level::Quorum);
    world.step(1, Input::Timer(ShardTimer::Timeout));
    assert_eq!(world.replies(), [Reply::Failed(Failure::Timeout)], "the first one only");
    world.step(1, Input::Timer(ShardTimer::Timeout));
    assert_eq!(world.replies(), [Reply::Failed(Failure::Timeout)]);
    world.effects.timers.clear();
    world.step(1, Input::Timer(ShardTimer::Timeout));
    assert!(world.effects.timers.is_empty(), "an idle shard has no such timer");
}

#[test]
fn silent_owners_are_asked_again_ever_more_rarely() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Quorum);
    let mut resent = Vec::new();
    for _ in 0..16 {
        world.waiting.clear();
        world.step(1, Input::Timer(ShardTimer::Hedge));
        resent.push(world.waiting.len());
    }
    assert_eq!(resent, [2, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2]);
}

#[test]
fn anti_entropy_brings_a_replica_what_it_missed_and_then_rests() {
    let mut world = World::new(2, 2);
    world.put(1, "v", Level::One);
    world.waiting.clear();
    world.step(2, Input::Timer(ShardTimer::Sync));
    world.deliver_all();
    assert_eq!(world.held(2), Some("v".into()));
    assert!(world.effects.notes.contains(&Note::RecordSynced));
    world.effects.notes.clear();
    world.step(2, Input::Timer(ShardTimer::Sync));
    world.step(1, Input::Timer(ShardTimer::Sync));
    world.deliver_all();
    assert!(!world.effects.notes.contains(&Note::SlotDiffered));
}

#[test]
fn anti_entropy_merges_a_key_only_into_its_own_slot() {
    let mut world = World::new(2, 2);
    let record = Record {
        version: Version { timestamp: Timestamp(1), node: NodeId(2) },
        value: Some(Value::trusted("v")),
    };
    let wrong = Slot((ring(2, 2).slot_of("k").0 + 1) % RING_SIZE);
    let body = ShardBody::Delta { slot: wrong, records: vec![(Key::trusted("k"), record)] };
    world.step(1, Input::Message(NodeId(2), Message { epoch: Epoch(1), body }));
    assert_eq!(world.held(1), None);
}

#[test]
fn what_is_read_elsewhere_moves_the_clock_on() {
    let mut world = World::new(3, 3);
    let body = KeyRequest::Write {
        op: OpId { shard: 0, sequence: 1 },
        again: false,
        key: Key::trusted("k"),
        record: Record {
            version: Version { timestamp: Timestamp::from_micros(9_000_000), node: NodeId(3) },
            value: None,
        },
    };
    world.hear(1, NodeId(3), Message { epoch: Epoch(1), body: body.into() });
    world.put(1, "v", Level::One);
    assert_eq!(
        world.held(1),
        Some("v".into()),
        "the later write wins, whatever the wall clock says"
    );
}

#[test]
fn a_linearizable_put_is_larger_than_what_a_majority_told() {
    let mut world = World::new(3, 3);
    // n2 and n3 hold a version far ahead of n1's clock.
    world.effects.now = 5_000_000;
    world.put(2, "ahead", Level::One);
    world.deliver(|_, to, name| name == "write" && to == 3);
    world.waiting.clear();
    world.effects = Effects::default();
    world.put(1, "v", Level::Linearizable);
    assert!(world.waiting.iter().all(|(_, _, message)| message.body.name() == "read"));
    assert_eq!(world.held(1), None, "nothing is written before the versions are known");
    world.deliver(|_, to, _| to == 3);
    world.deliver(|from, to, _| (from, to) == (3, 1));
    world.deliver_all();
    assert!(matches!(world.replies()[..], [Reply::Written(_)]));
    assert_eq!([1, 2, 3].map(|node| world.held(node)), [1; 3].map(|_| Some("v".to_string())));
}

#[test]
fn a_linearizable_put_that_no_majority_answers_is_unavailable_and_writes_nothing() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Linearizable);
    world.step(1, Input::Timer(ShardTimer::Hedge));
    assert_eq!(world.waiting.len(), 4, "the silent ones are asked again");
    world.step(1, Input::Timer(ShardTimer::Timeout));
    assert_eq!(world.replies(), [Reply::Failed(Failure::Unavailable)]);
    world.deliver_all();
    assert_eq!([1, 2, 3].map(|node| world.held(node)), [None, None, None]);
}

#[test]
fn a_linearizable_put_that_wrote_times_out_as_any_other() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Linearizable);
    world.deliver(|_, _, name| name == "read");
    world.deliver(|from, _, _| from == 2);
    world.step(1, Input::Timer(ShardTimer::Timeout));
    assert_eq!(world.replies(), [Reply::Failed(Failure::Timeout)]);
}

#[test]
fn a_linearizable_put_asks_anew_on_a_newer_ring_until_it_has_a_version() {
    let mut world = World::new(3, 3);
    let first = world.shards[&NodeId(1)].ring.clone();
    let next = Arc::new(first.next(first.members().clone()).unwrap());
    world.put(1, "v", Level::Linearizable);
    (1..=3).for_each(|node| world.step(node, Input::Ring(next.clone())));
    // What was asked at the earlier epoch is refused; what was asked anew is answered.
    world.deliver(|_, _, name| name == "read");
    assert_eq!(world.deliver(|_, _, name| name == "fenced"), 2);
    assert_eq!(world.deliver(|_, _, name| name == "found"), 2);
    let version = world.shards[&NodeId(1)].version("k");
    let last = Arc::new(next.next(next.members().clone()).unwrap());
    (1..=3).for_each(|node| world.step(node, Input::Ring(last.clone())));
    world.deliver_all();
    assert_eq!(world.replies(), [Reply::Written(version.unwrap())], "the version stays");
}

#[test]
fn a_session_read_goes_from_owner_to_owner_until_one_is_new_enough() {
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::One);
    world.waiting.clear();
    let version = world.shards[&NodeId(1)].version("k");
    world.replies();
    // n2 and n3 have nothing: for whoever saw nothing that is an answer.
    world.get_at_least(2, None);
    assert_eq!(world.replies(), [Reply::Found(None)]);
    world.get_at_least(2, version);
    world.deliver(|_, _, name| name == "read");
    if world.waiting.iter().any(|(from, ..)| *from == NodeId(3)) {
        world.deliver(|from, _, _| from == 3);
        assert!(world.replies().is_empty(), "n3 is too old as well");
    }
    world.deliver_all();
    assert_eq!(world.replies().iter().find_map(value_of), Some("v"));
    assert!(world.effects.notes.contains(&Note::SessionBehind));
}

#[test]
fn a_session_read_that_finds_every_owner_older_says_so() {
    let mut world = World::new(3, 3);
    let lost = Version { timestamp: Timestamp::from_micros(1), node: NodeId(9) };
    world.get_at_least(1, Some(lost));
    world.deliver_all();
    assert_eq!(world.replies(), [Reply::Failed(Failure::Stale)]);
    assert_eq!(world.shards[&NodeId(1)].in_flight(), 0);
}
