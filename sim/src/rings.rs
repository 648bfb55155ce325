//! The operators of the simulation: they ask members for changes of the ring, start the processes that
//! join, and stop those that learn that they are members no more. What is decided the nodes decide.

use std::{collections::BTreeSet, sync::Arc};

use kv::{
    ring::{Change, ChangeError, RING_SIZE, Ring},
    types::{Epoch, NodeId},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    cluster::Cluster,
    queue::Wake,
    scenario::{ChangeKind, Scenario},
    tally::Topic,
};

/// How often the operators look, in microseconds.
const LOOK_EVERY_US: u64 = 20_000;
/// How long after it was asked for, a change that does not show is asked for again.
const ASK_AGAIN_US: u64 = 300_000;
/// Processes that join count from here: zero is the first members'.
const FIRST_INSTANCE: u64 = 1;

/// A change that is to be made.
struct Wanted {
    /// What. A ring to be given up is whichever is joint when it is asked for.
    change: Change,
    /// When it is asked for next, in microseconds of the run.
    at: u64,
    asked: bool,
    /// It is about a node that died.
    is_dead: bool,
}

/// The operators.
pub struct Operator {
    first: Arc<Ring>,
    /// The newest ring that any node showed.
    newest: Arc<Ring>,
    wanted: Vec<Wanted>,
    /// Nodes that die for good, and when.
    deaths: Vec<(u64, NodeId)>,
    random: ChaCha8Rng,
}

impl Operator {
    /// Operators with the plan of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let (nodes, replication) = (scenario.cluster.nodes, scenario.cluster.replication);
        let addresses: Vec<String> = (1..=nodes).map(|n| format!("node{n}:1")).collect();
        let first = Ring::form(&addresses, replication, RING_SIZE)
            .expect("a scenario's cluster is checked when it is read");
        let first = Arc::new(first);
        let mut deaths = Vec::new();
        let mut wanted = Vec::new();
        for (instance, asked) in (FIRST_INSTANCE..).zip(&scenario.changes) {
            let at = asked.at_ms * 1_000;
            let change = match asked.kind {
                ChangeKind::Join => {
                    Change::Join { address: format!("joiner{instance}:1"), instance }
                }
                ChangeKind::Leave(node) => Change::Leave(NodeId(node)),
                ChangeKind::Accuse(node) => Change::Evict(NodeId(node)),
                ChangeKind::Kill(node) => {
                    deaths.push((at, NodeId(node)));
                    Change::Evict(NodeId(node))
                }
                ChangeKind::Replace(node) => {
                    deaths.push((at, NodeId(node)));
                    let change = Change::Evict(NodeId(node));
                    wanted.push(Wanted { change, at, asked: false, is_dead: true });
                    Change::Join { address: format!("node{node}:1"), instance }
                }
                ChangeKind::Cancel => Change::Cancel(Epoch(0)),
            };
            let is_dead = matches!(asked.kind, ChangeKind::Kill(_));
            wanted.push(Wanted { change, at, asked: false, is_dead });
        }
        let newest = first.clone();
        let random = crate::swarm::stream(scenario.seed, "operator");
        Self { first, newest, wanted, deaths, random }
    }

    /// The ring that the nodes start with.
    pub fn first(&self) -> &Arc<Ring> {
        &self.first
    }

    /// The newest ring that any node showed.
    pub fn current(&self) -> &Arc<Ring> {
        &self.newest
    }

    /// Whether all that was wanted is done, and no change is under way.
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.deaths.is_empty() && !self.newest.is_joint()
    }

    /// When to look first, in microseconds of the run. None: there is nothing to do.
    pub fn first_look(&self) -> Option<u64> {
        self.wanted.iter().map(|wanted| wanted.at).min()
    }

    /// Looks at the cluster, and does what is due. Returns the nodes that die now.
    pub fn look(&mut self, cluster: &mut Cluster) -> Vec<NodeId> {
        let now = cluster.at();
        self.see(cluster);
        let (due, later) = self.deaths.drain(..).partition(|(at, _)| *at <= now);
        self.deaths = later;
        let due: Vec<(u64, NodeId)> = due;
        let dead: Vec<NodeId> = due.into_iter().map(|(_, node)| node).collect();
        self.ask(cluster);
        cluster.wake(now + LOOK_EVERY_US, Wake::Operator);
        dead
    }

    /// Starts those who have become members, and stops those who know that they are members no more.
    fn see(&mut self, cluster: &mut Cluster) {
        let rings: Vec<(NodeId, Arc<Ring>)> = cluster
            .nodes()
            .filter_map(|node| cluster.inspect(node, |n| n.ring()).map(|ring| (node, ring)))
            .collect();
        for (node, ring) in rings {
            if cluster.inspect(node, |n| n.is_released()) == Some(true) {
                cluster.tally.add(Topic::Event, "a member was released");
                cluster.retire(node);
            }
            if ring.epoch() > self.newest.epoch() {
                let name = if ring.is_joint() { "joint ring" } else { "final ring" };
                cluster.tally.add(Topic::Event, name);
                self.newest = ring;
            }
        }
        let known: BTreeSet<NodeId> = cluster.nodes().collect();
        let joined = self.newest.members().keys().filter(|id| !known.contains(id));
        for node in joined.copied().collect::<Vec<_>>() {
            cluster.tally.add(Topic::Event, "a process joined");
            cluster.join(node, &self.newest);
        }
    }

    /// Asks members for what is wanted, and asks again what does not show.
    fn ask(&mut self, cluster: &mut Cluster) {
        let (now, newest) = (cluster.at(), self.newest.clone());
        let mut wanted = std::mem::take(&mut self.wanted);
        let members: Vec<NodeId> = newest.members().keys().copied().collect();
        wanted.retain_mut(|wanted| {
            if wanted.at > now {
                return true;
            }
            if let Change::Cancel(epoch) = &mut wanted.change
                && !wanted.asked
            {
                *epoch = newest.epoch();
            }
            // Whoever died is to be evicted, even if somebody cancels it.
            let is_done = match &wanted.change {
                Change::Evict(node) if wanted.is_dead => !newest.members().contains_key(node),
                change => newest.reflects(change),
            };
            if is_done {
                return false;
            }
            if newest.reflects(&wanted.change) && wanted.is_dead {
                return true;
            }
            let refused = newest.allows(&wanted.change).err();
            if matches!(refused, Some(ChangeError::Last(_))) && wanted.is_dead {
                // All the others are to go: that has to be given up first.
                let member = members[self.random.random_range(0..members.len())];
                cluster.change(member, Change::Cancel(newest.epoch()));
                wanted.at = now + ASK_AGAIN_US;
                return true;
            }
            if refused.is_some() {
                cluster.tally.add(Topic::Event, "a change was refused");
                return false;
            }
            if wanted.asked {
                cluster.tally.add(Topic::Event, "a change was asked for again");
            }
            wanted.asked = true;
            wanted.at = now + ASK_AGAIN_US;
            let member = members[self.random.random_range(0..members.len())];
            cluster.change(member, wanted.change.clone());
            true
        });
        self.wanted = wanted;
    }
}
