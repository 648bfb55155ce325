//! The next ring is decided once: whoever proposes what, whatever is lost, and whoever crashes and
//! starts again.

use std::{collections::BTreeMap, sync::Arc};

use kv::core::{
    message::{Body, Paxos, TopologyBody},
    ring::{Change, Joiner, Member, MemberState, Ring},
    types::{Epoch, NodeId},
};

use crate::world::{Budget, ClusterModel, ModelState, Setup, ring_of};

const SLOTS: u16 = 8;

/// Of the messages, those that decide. Who is told the outcome decides nothing, so nobody is: that leaves the
/// others the most time to decide otherwise.
fn speaks(body: &Body) -> bool {
    let Body::Topology(TopologyBody::Paxos(paxos)) = body else { return false };
    match paxos {
        Paxos::Prepare { .. }
        | Paxos::Promise { .. }
        | Paxos::Accept { .. }
        | Paxos::Accepted { .. } => true,
        Paxos::Refused { .. } => false,
    }
}

fn base(setup: Setup) -> ClusterModel {
    ClusterModel::new(Setup { speaks, ..setup }).always(
        "one ring of each epoch is decided",
        |_, world: &ModelState| {
            let rings = || world.nodes.iter().map(|node| node.topology.ring());
            let epochs = rings().map(|ring| (ring.epoch(), ring));
            let mut decided: BTreeMap<_, &Arc<Ring>> = BTreeMap::new();
            epochs.into_iter().all(|(epoch, ring)| **decided.entry(epoch).or_insert(ring) == *ring)
        },
    )
}

/// Whether a ring like this one was decided.
fn decided(world: &ModelState, is_it: impl Fn(&Ring) -> bool) -> bool {
    world.nodes.iter().any(|node| is_it(node.topology.ring()))
}

fn has(ring: &Ring, address: &str) -> bool {
    ring.members().values().any(|member| member.address == address)
}

fn join(address: &str, instance: u64) -> Change {
    Change::Join(Joiner::new(address, instance))
}

/// Two members propose different rings at once.
pub fn model() -> ClusterModel {
    base(Setup {
        name: "paxos",
        about: "two members propose the next ring, one crashes",
        states: 363_458,
        clocks: vec![1, 1, 1],
        rings: vec![Arc::new(ring_of(3, SLOTS))],
        changes: vec![(NodeId(1), join("x:1", 7)), (NodeId(2), join("y:1", 8))],
        budget: Budget { crashes: 1, proposals: 1, ..Budget::default() },
        ..Setup::default()
    })
    .sometimes("the first proposal is decided", |_, world| decided(world, |ring| has(ring, "x:1")))
    .sometimes("the second proposal is decided", |_, world| decided(world, |ring| has(ring, "y:1")))
}

/// On a joint ring: its change is given up by one, while another drops a member from it.
pub fn joint() -> ClusterModel {
    let first = ring_of(3, SLOTS);
    let mut members = first.members().clone();
    set(&mut members, 3, MemberState::Leaving);
    let joint = first.next(members).expect("members of a ring");
    base(Setup {
        name: "paxos-joint",
        about: "a joint ring is given up by one member, and another evicts one",
        states: 548_336,
        clocks: vec![1, 1, 1],
        rings: vec![Arc::new(joint)],
        changes: vec![(NodeId(1), Change::Cancel(Epoch(2))), (NodeId(2), Change::Evict(NodeId(3)))],
        budget: Budget { crashes: 1, proposals: 1, ..Budget::default() },
        ..Setup::default()
    })
    .sometimes("the change is given up", |_, world| {
        decided(world, |ring| ring.epoch() == Epoch(3) && !ring.is_joint())
    })
    .sometimes("one more is left out", |_, world| {
        decided(world, |ring| ring.epoch() == Epoch(3) && ring.is_joint())
    })
}

fn set(members: &mut BTreeMap<NodeId, Member>, id: u32, state: MemberState) {
    members.get_mut(&NodeId(id)).expect("a member").state = state;
}
