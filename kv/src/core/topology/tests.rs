//! Topologies by hand: every message is delivered, or not, by the test.

mod joins;
mod pauses;

use std::{collections::BTreeSet, sync::Arc};

use super::{steps::WANTED_FOR, wants::MOST_JOINS, *};
use crate::core::{
    env::{Clock, Entry, Journal, Network, Note, Publish, Timers, TopologyTimer, Trace},
    message::{Body, Message, Paxos, TopologyBody},
    ring::{Acceptor, Change, Joiner, MemberState, RING_SIZE, Ring},
    time::{Micros, Timestamp},
    types::{Ballot, Epoch, NodeId},
};

/// Collects what a step does.
#[derive(Default)]
struct Effects {
    sent: Vec<(NodeId, Message<TopologyBody>)>,
    timers: Vec<TopologyTimer>,
    notes: Vec<Note>,
    confirmed: Vec<(u64, Epoch)>,
}

impl Clock for Effects {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1)
    }

    fn uptime(&self) -> Micros {
        Micros(1)
    }
}

impl Timers<TopologyTimer> for Effects {
    fn set_timer(&mut self, timer: TopologyTimer, _after: Micros) {
        self.timers.push(timer);
    }
}

impl Network for Effects {
    fn send(&mut self, to: NodeId, message: Message) {
        let Message { epoch, body: Body::Topology(body) } = message else {
            panic!("a topology says {message:?}");
        };
        self.sent.push((to, Message { epoch, body }));
    }
}

impl Journal for Effects {
    fn persist(&mut self, _entry: Entry) {}
}

impl Trace for Effects {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

impl Publish for Effects {
    fn publish(&mut self, _ring: Arc<Ring>) {}

    fn confirmed(&mut self, era: u64, epoch: Epoch) {
        self.confirmed.push((era, epoch));
    }
}

fn ring(members: usize, replication: usize) -> Arc<Ring> {
    let addresses: Vec<String> = (1..=members).map(|n| format!("node{n}:1")).collect();
    Arc::new(Ring::form(&addresses, replication, RING_SIZE).unwrap())
}

fn after(ring: &Ring, changes: &[Change]) -> Arc<Ring> {
    Arc::new(ring.after(&changes.iter().cloned().collect(), false).unwrap())
}

/// Topologies n1, n2, … and the messages between them.
struct World {
    nodes: Vec<Topology>,
    armed: Vec<BTreeSet<TopologyTimer>>,
    notes: Vec<Note>,
    /// Which nodes were told that their rings are the newest, in which eras.
    confirmed: Vec<(u32, u64, Epoch)>,
    waiting: Vec<(NodeId, NodeId, Message<TopologyBody>)>,
}

impl World {
    fn new(nodes: u32, ring: &Arc<Ring>) -> Self {
        let config = |node| TopologyConfig {
            node: NodeId(node),
            shards: 1,
            seed: 0,
            fetch_every: Micros(100),
            propose_every: Micros(100),
            report_every: Micros(100),
        };
        let node = |node| Topology::new(config(node), ring.clone(), Acceptor::default());
        Self {
            nodes: (1..=nodes).map(node).collect(),
            armed: (1..=nodes).map(|_| BTreeSet::new()).collect(),
            notes: Vec::new(),
            confirmed: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn step(&mut self, node: u32, input: TopologyInput) {
        let at = node as usize - 1;
        let mut effects = Effects::default();
        if let TopologyInput::Timer(timer) = &input {
            self.armed[at].remove(timer);
        }
        self.nodes[at].handle(input, &mut effects);
        self.armed[at].extend(effects.timers);
        self.notes.extend(effects.notes);
        self.confirmed.extend(effects.confirmed.into_iter().map(|(era, at)| (node, era, at)));
        self.waiting.extend(effects.sent.into_iter().map(|(to, m)| (NodeId(node), to, m)));
    }

    /// Delivers messages between these nodes until none is left. All others are lost.
    fn settle(&mut self, among: &[u32]) {
        while !self.waiting.is_empty() {
            let (from, to, message) = self.waiting.remove(0);
            if among.contains(&from.0) && among.contains(&to.0) {
                if message.epoch > self.nodes[to.0 as usize - 1].ring().epoch() {
                    self.step(to.0, TopologyInput::Seen(from, message.epoch));
                }
                self.step(to.0, TopologyInput::Message(from, message));
            }
        }
    }

    fn fire(&mut self, node: u32, timer: TopologyTimer) {
        assert!(self.armed[node as usize - 1].contains(&timer), "{timer:?} is not armed");
        self.step(node, TopologyInput::Timer(timer));
    }

    fn epoch(&self, node: u32) -> u64 {
        self.nodes[node as usize - 1].ring().epoch().0
    }
}

#[test]
fn a_change_is_decided_by_a_majority_and_told_to_all() {
    let mut world = World::new(3, &ring(3, 2));
    world.step(1, TopologyInput::Change(Change::Leave(NodeId(3))));
    world.settle(&[1, 2]);
    assert_eq!((world.epoch(1), world.epoch(2), world.epoch(3)), (2, 2, 1));
    assert!(world.nodes[0].ring().is_joint());
}

#[test]
fn one_of_three_decides_nothing_and_tries_again_later() {
    let mut world = World::new(3, &ring(3, 2));
    world.step(1, TopologyInput::Change(Change::Leave(NodeId(3))));
    world.settle(&[1]);
    assert_eq!(world.epoch(1), 1);
    world.fire(1, TopologyTimer::Propose);
    world.settle(&[1, 3]);
    assert_eq!((world.epoch(1), world.epoch(3)), (2, 2));
}

/// Found by the simulation: n2 decided on a ring without itself, told nobody, and was stopped; n1, which
/// needed it for the decision, could not learn of it.
#[test]
fn who_is_a_member_no_more_stays_until_the_others_know_it() {
    let first = ring(3, 1);
    let joint = after(&first, &[Change::Leave(NodeId(3))]);
    let last = Arc::new(joint.after(&BTreeSet::new(), true).unwrap());
    let mut world = World::new(3, &joint);
    world.step(3, TopologyInput::Install(last));
    world.waiting.clear();
    assert!(!world.nodes[2].is_member() && !world.nodes[2].is_released());
    for _ in 0..3 {
        world.fire(3, TopologyTimer::Report);
        world.settle(&[1, 3]);
    }
    assert!(!world.nodes[2].is_released(), "one of two is no majority");
    for _ in 0..2 {
        world.fire(3, TopologyTimer::Report);
        world.settle(&[1, 2, 3]);
    }
    assert_eq!((world.epoch(1), world.epoch(2)), (3, 3));
    assert!(world.nodes[2].is_released());
}

/// Found by the simulation: the one who told of a newer ring was gone, and asked for it for ever.
#[test]
fn a_ring_is_fetched_from_whoever_showed_it_last() {
    let first = ring(3, 2);
    let joint = after(&first, &[Change::Leave(NodeId(2))]);
    let mut world = World::new(3, &first);
    world.step(3, TopologyInput::Install(joint));
    world.step(1, TopologyInput::Seen(NodeId(2), Epoch(2)));
    world.settle(&[1, 3]);
    assert_eq!(world.epoch(1), 1);
    world.step(1, TopologyInput::Seen(NodeId(3), Epoch(2)));
    world.fire(1, TopologyTimer::Fetch);
    world.settle(&[1, 3]);
    assert_eq!(world.epoch(1), 2);
}

/// Found by the simulation: ten members that all took over a proposal never let one of them through.
#[test]
fn who_hears_another_propose_waits_once_more() {
    let mut world = World::new(3, &ring(3, 2));
    world.step(1, TopologyInput::Change(Change::Leave(NodeId(3))));
    // n2 promises, and hears no more.
    let prepare = world.waiting.iter().position(|(_, to, _)| *to == NodeId(2)).unwrap();
    let (from, to, message) = world.waiting.remove(prepare);
    world.step(to.0, TopologyInput::Message(from, message));
    world.step(2, TopologyInput::Change(Change::Leave(NodeId(3))));
    world.waiting.clear();
    world.fire(2, TopologyTimer::Propose);
    assert!(world.waiting.is_empty(), "it heard n1 since its timer was armed");
    world.fire(2, TopologyTimer::Propose);
    assert!(!world.waiting.is_empty());
}

/// Found by the simulation: a cancellation without an epoch gave up one change after the other.
#[test]
fn a_change_is_given_up_once() {
    let first = ring(3, 1);
    let joint = after(&first, &[Change::Evict(NodeId(3))]);
    let mut world = World::new(2, &joint);
    world.step(1, TopologyInput::Change(Change::Cancel(Epoch(2))));
    world.settle(&[1, 2]);
    assert_eq!((world.epoch(1), world.nodes[0].ring().is_joint()), (3, false));
    assert_eq!(*world.nodes[0].ring().members(), *first.members());
    world.step(1, TopologyInput::Change(Change::Evict(NodeId(3))));
    world.step(1, TopologyInput::Change(Change::Cancel(Epoch(2))));
    world.settle(&[1, 2]);
    assert_eq!((world.epoch(1), world.nodes[0].ring().is_joint()), (4, true));
}

/// Found by the simulation: the new members' majority was dead, and the change could not even be given up.
#[test]
fn a_change_whose_new_members_are_dead_is_given_up() {
    let first = ring(3, 3);
    let joint = after(&first, &[Change::Evict(NodeId(1))]);
    let mut world = World::new(2, &joint);
    world.step(1, TopologyInput::Change(Change::Cancel(Epoch(2))));
    world.settle(&[1, 2]);
    assert_eq!((world.epoch(1), world.nodes[0].ring().is_joint()), (3, false));
}

#[test]
fn who_joins_and_is_to_go_at_once_is_left_out() {
    let first = ring(3, 1);
    let join = |instance| Change::Join(Joiner::new("node4:1", instance));
    let both: BTreeSet<Change> = [join(1), join(2)].into();
    let joint = first.after(&both, false).unwrap();
    let joining = |ring: &Ring| {
        let all = ring.members().iter().filter(|(_, m)| m.state == MemberState::Joining);
        all.map(|(id, _)| *id).collect::<Vec<_>>()
    };
    assert_eq!(joining(&joint), [NodeId(5)], "ids are not used again");
    assert!(first.may_be_followed_by(&joint));
    let leaves: BTreeSet<Change> = [join(1), Change::Leave(NodeId(4))].into();
    assert_eq!(first.after(&leaves, false), None, "nothing is left to change");
}

/// Who hears no answer asks once more: the change may be done by then.
#[test]
fn a_process_that_asks_to_join_twice_is_one_member() {
    let join = Change::Join(Joiner::new("node4:1", 4));
    let twice: BTreeSet<Change> = [join.clone()].into();
    let joint = after(&ring(3, 1), &[join]);
    assert_eq!(joint.after(&twice, false), None);
    let done = joint.after(&twice, true).unwrap();
    assert!(!done.is_joint() && done.members().contains_key(&NodeId(4)));
    assert_eq!(done.after(&twice, false), None, "it is a member, and stays the same one");
}

/// Found by the simulation: two evictions, each of them allowed, left nobody, and the change never ended.
#[test]
fn evictions_that_together_leave_nobody_are_made_one_by_one() {
    let joint = after(&ring(3, 1), &[Change::Evict(NodeId(2))]);
    let rest: BTreeSet<Change> = [1, 3].map(|n| Change::Evict(NodeId(n))).into();
    let next = joint.after(&rest, false).unwrap();
    assert!(joint.may_be_followed_by(&next));
    let stays = next.members().iter().filter(|(_, member)| member.state.is_new());
    assert_eq!(stays.map(|(id, _)| *id).collect::<Vec<_>>(), [NodeId(3)]);
    assert_eq!(next.after(&rest, false), None, "the last one stays");
    assert!(!next.after(&rest, true).unwrap().is_joint());
}

/// Found by the simulation: a process that had joined, and was evicted, was made a member again by one
/// who was asked for it long before.
#[test]
fn a_change_that_was_asked_for_long_ago_is_forgotten() {
    let mut ring = ring(3, 1);
    let mut world = World::new(3, &ring);
    let join = Change::Join(Joiner::new("node4:1", 7));
    world.step(1, TopologyInput::Change(join));
    world.waiting.clear();
    for _ in 0..=WANTED_FOR {
        ring = Arc::new(ring.next(ring.members().clone()).unwrap());
        world.step(1, TopologyInput::Install(ring.clone()));
        world.waiting.clear();
    }
    world.fire(1, TopologyTimer::Propose);
    assert!(world.waiting.is_empty());
}

/// Found with real processes: a change that was given up was made later, by a member that had been asked for
/// it too and heard nothing meanwhile.
#[test]
fn a_change_that_others_gave_up_is_forgotten() {
    let leave = || TopologyInput::Change(Change::Leave(NodeId(3)));
    let mut world = World::new(3, &ring(3, 1));
    world.step(1, leave());
    world.waiting.clear();
    world.step(2, leave());
    world.settle(&[2, 3]);
    assert_eq!((world.epoch(1), world.epoch(2), world.epoch(3)), (1, 2, 2));
    world.step(2, TopologyInput::Change(Change::Cancel(Epoch(2))));
    world.settle(&[2, 3]);
    let given_up = world.nodes[1].ring().clone();
    assert_eq!((given_up.epoch(), given_up.is_joint()), (Epoch(3), false));
    world.step(1, TopologyInput::Install(given_up));
    world.settle(&[1, 2, 3]);
    world.fire(1, TopologyTimer::Propose);
    world.settle(&[1, 2, 3]);
    assert_eq!(world.epoch(1), 3);
}

/// Found with real processes: a leave was refused, for another member left; it was made when a third one came.
#[test]
fn a_change_that_another_one_rules_out_is_forgotten() {
    let first = ring(4, 3);
    let mut world = World::new(4, &first);
    world.step(2, TopologyInput::Change(Change::Leave(NodeId(2))));
    world.waiting.clear();
    let joint = after(&first, &[Change::Leave(NodeId(1))]);
    world.step(2, TopologyInput::Install(joint.clone()));
    let last = Arc::new(joint.after(&BTreeSet::new(), true).unwrap());
    let join = Change::Join(Joiner::new("node5:1", 7));
    let joins = after(&last, &[join]);
    let joined = Arc::new(joins.after(&BTreeSet::new(), true).unwrap());
    assert!(joined.allows(&Change::Leave(NodeId(2))).is_ok());
    for ring in [last, joins, joined] {
        world.step(2, TopologyInput::Install(ring));
    }
    world.waiting.clear();
    if world.armed[1].contains(&TopologyTimer::Propose) {
        world.fire(2, TopologyTimer::Propose);
    }
    assert!(world.waiting.is_empty() && world.nodes[1].ballot().is_none());
}

#[test]
fn a_proposal_that_may_not_follow_is_not_taken() {
    let first = ring(3, 2);
    let joint = after(&first, &[Change::Leave(NodeId(3))]);
    let last = Arc::new(joint.after(&BTreeSet::new(), true).unwrap());
    let mut world = World::new(2, &first);
    let ballot = Ballot { round: 1, node: NodeId(2) };
    let skipping = Message { epoch: Epoch(1), body: Paxos::Accept { ballot, ring: last }.into() };
    world.step(1, TopologyInput::Message(NodeId(2), skipping));
    assert!(world.waiting.is_empty());
    assert_eq!(*world.nodes[0].acceptor(), Acceptor::default());
}

#[test]
fn a_ring_of_another_size_or_replication_is_not_taken() {
    let mut world = World::new(1, &ring(3, 2));
    let epoch = |ring: &Ring| ring.epoch();
    let mut value = serde_json::to_value(&*ring(3, 2)).unwrap();
    let addresses: Vec<String> = (1..=3).map(|n| format!("node{n}:1")).collect();
    for (name, replication, size) in [("size", 2, 8), ("replication", 3, RING_SIZE)] {
        let other = Ring::form(&addresses, replication, size).unwrap();
        let mut other = serde_json::to_value(other).unwrap();
        (other["epoch"], other["cluster"]) = (2.into(), value["cluster"].clone());
        let other: Ring = serde_json::from_value(other).unwrap();
        let body = TopologyBody::Ring(Arc::new(other));
        world.step(1, TopologyInput::Message(NodeId(2), Message { epoch: Epoch(2), body }));
        assert_eq!(epoch(world.nodes[0].ring()), Epoch(1), "{name}");
    }
    value["epoch"] = u64::MAX.into();
    let why = serde_json::from_value::<Ring>(value).unwrap_err().to_string();
    assert!(why.contains("the epoch e18446744073709551615 is beyond"), "{why}");
}

#[test]
fn who_speaks_of_an_epoch_that_nobody_has_is_not_believed_for_ever() {
    let mut world = World::new(1, &ring(3, 2));
    world.step(1, TopologyInput::Seen(NodeId(2), Epoch(1_000_000)));
    world.step(1, TopologyInput::Seen(NodeId(3), Epoch(2)));
    world.fire(1, TopologyTimer::Fetch);
    world.step(1, TopologyInput::Seen(NodeId(3), Epoch(2)));
    world.waiting.clear();
    world.fire(1, TopologyTimer::Fetch);
    let asked: Vec<NodeId> = world.waiting.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(asked, [NodeId(3)]);
}
