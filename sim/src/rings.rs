//! The operator of the simulation: decides on rings by decree, seeing all nodes at once.
//!
//! It does what the ring's own protocol is to do later, and no more: a final ring appears only when
//! enough old owners have reached the joint epoch, and whoever gains a slot durably holds all that
//! they hold of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kv::{
    quorum::NodeSet,
    ring::{Member, MemberState, Owners, RING_SIZE, Ring},
    types::NodeId,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    cluster::Cluster,
    queue::Wake,
    scenario::{RingPlan, Scenario},
    tally::Topic,
};

/// How often the operator looks, in microseconds.
const LOOK_EVERY_US: u64 = 50_000;
/// How long after it was told a node is told again.
const TELL_AGAIN_US: u64 = 1_000_000;

/// The operator.
pub struct Operator {
    plan: RingPlan,
    /// The ring that all should have.
    current: Arc<Ring>,
    /// The rings to come.
    coming: Vec<Arc<Ring>>,
    /// When each node was last told of the current ring, in microseconds of the run.
    told: BTreeMap<NodeId, u64>,
    /// Within which time nodes hear of a ring, in microseconds.
    spread_us: u64,
    random: ChaCha8Rng,
}

impl Operator {
    /// An operator with the plan of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let (nodes, replication) = (scenario.cluster.nodes, scenario.cluster.replication);
        let addresses: Vec<String> = (1..=nodes).map(|n| format!("node{n}:1")).collect();
        let base = Ring::form(&addresses, replication, RING_SIZE)
            .expect("a scenario's cluster is checked when it is read");
        let (leaver, joiner) = (NodeId(1), NodeId(nodes));
        let mut before = base.members().clone();
        before.remove(&joiner);
        let mut joint = base.members().clone();
        set_state(&mut joint, leaver, MemberState::Leaving);
        set_state(&mut joint, joiner, MemberState::Joining);
        let mut after = base.members().clone();
        after.remove(&leaver);
        let chain = |members: Vec<BTreeMap<NodeId, Member>>| {
            let mut rings = vec![Arc::new(base.clone())];
            for members in members {
                let last = rings.last().expect("not empty");
                rings.push(Arc::new(last.next(members).expect("a part of a checked ring")));
            }
            rings
        };
        let rings = match scenario.rings {
            RingPlan::Static => chain(vec![]),
            RingPlan::Joint => chain(vec![joint]).split_off(1),
            RingPlan::Retire { .. } => chain(vec![joint, after]).split_off(1),
            RingPlan::Replace { .. } => chain(vec![before, joint, after]).split_off(1),
        };
        Self {
            plan: scenario.rings,
            current: rings[0].clone(),
            coming: rings[1..].to_vec(),
            told: BTreeMap::new(),
            spread_us: scenario.load().0 / 8 + 1,
            random: crate::swarm::stream(scenario.seed, "operator"),
        }
    }

    /// The ring that the nodes start with.
    pub fn current(&self) -> &Arc<Ring> {
        &self.current
    }

    /// Whether no ring is to come.
    pub fn is_done(&self) -> bool {
        self.coming.is_empty()
    }

    /// When to look first, in microseconds of the run.
    pub fn first_look(&self) -> Option<u64> {
        match self.plan {
            RingPlan::Static | RingPlan::Joint => None,
            RingPlan::Retire { final_at_ms } => Some(final_at_ms * 1_000),
            RingPlan::Replace { joint_at_ms, .. } => Some(joint_at_ms * 1_000),
        }
    }

    /// Looks, and decides on the next ring when it may.
    pub fn look(&mut self, cluster: &mut Cluster) {
        if let Some(next) = self.coming.first().cloned()
            && self.may_follow(cluster)
        {
            let name =
                if next.is_joint() { "joint ring installed" } else { "final ring installed" };
            cluster.tally.add(Topic::Event, name);
            self.coming.remove(0);
            self.current = next;
            self.told.clear();
        }
        let behind = self.tell(cluster);
        if behind || !self.is_done() {
            cluster.wake(cluster.at() + LOOK_EVERY_US, Wake::Operator);
        }
    }

    /// Tells each node that runs and is behind, each at another moment, and again when it did not
    /// help. True when some node is behind.
    fn tell(&mut self, cluster: &mut Cluster) -> bool {
        let mut behind = false;
        for node in cluster.nodes() {
            let epoch = cluster.inspect(node, |node| node.ring().epoch());
            if epoch.is_some_and(|epoch| epoch >= self.current.epoch()) {
                continue;
            }
            behind = true;
            let at = cluster.at();
            let is_due = self.told.get(&node).is_none_or(|told| *told + TELL_AGAIN_US < at);
            if is_due && epoch.is_some() && cluster.withheld != Some(node) {
                let after = self.random.random_range(0..self.spread_us);
                self.told.insert(node, at + after);
                cluster.install(at + after, node, &self.current);
            }
        }
        behind
    }

    fn may_follow(&self, cluster: &Cluster) -> bool {
        match self.plan {
            RingPlan::Static | RingPlan::Joint => false,
            // The joint ring began empty: every write was acknowledged by the new owners too.
            RingPlan::Retire { .. } => true,
            RingPlan::Replace { .. } => !self.current.is_joint() || self.gained(cluster),
        }
    }

    /// Whether the joint ring has done its work for every slot, as far as one who sees all nodes can
    /// tell.
    fn gained(&self, cluster: &Cluster) -> bool {
        let at_joint: BTreeSet<NodeId> = cluster
            .nodes()
            .filter(|node| {
                let epoch = cluster.inspect(*node, |node| node.oldest_epoch());
                epoch.is_some_and(|epoch| epoch >= self.current.epoch())
            })
            .collect();
        let fenced = |owners: &Owners| fenced_enough(owners, &at_joint);
        if !self.current.owner_sets().all(fenced) {
            return false;
        }
        let durable: BTreeMap<NodeId, _> =
            cluster.nodes().map(|node| (node, cluster.durable_records(node))).collect();
        at_joint.iter().all(|holder| {
            cluster.records(*holder).iter().all(|(key, record)| {
                let owners = self.current.owners(self.current.slot_of(key.as_str()));
                let has = |node: NodeId| {
                    durable[&node].get(key).is_some_and(|held| held.version >= record.version)
                };
                !is_in(owners, owners.old(), *holder) || pullers(owners).into_iter().all(has)
            })
        })
    }
}

fn is_in(owners: &Owners, set: NodeSet, node: NodeId) -> bool {
    owners.position(node).is_some_and(|at| set.contains(at))
}

/// Whether enough old owners have fenced requests of earlier epochs: so many that each earlier
/// quorum has one of them, and all that lose the slot or go on in a smaller set.
fn fenced_enough(owners: &Owners, at_joint: &BTreeSet<NodeId>) -> bool {
    let (old, new) = (owners.old(), owners.new_set());
    let fenced = owners.members(old).filter(|node| at_joint.contains(node)).count();
    let majority = old.len() / 2 + 1;
    let shrinks = new.len() < old.len();
    let mut must = owners.members(old).filter(|node| shrinks || !is_in(owners, new, *node));
    fenced > old.len() - majority && must.all(|node| at_joint.contains(&node))
}

/// Who has to get what the old owners hold: those that gain the slot, and where the set shrinks,
/// those that stay.
fn pullers(owners: &Owners) -> Vec<NodeId> {
    let (old, new) = (owners.old(), owners.new_set());
    let shrinks = new.len() < old.len();
    owners.members(new).filter(|node| shrinks || !is_in(owners, old, *node)).collect()
}

fn set_state(members: &mut BTreeMap<NodeId, Member>, node: NodeId, state: MemberState) {
    members.get_mut(&node).expect("a node of the scenario").state = state;
}
