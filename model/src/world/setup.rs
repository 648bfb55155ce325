//! What decides a model.

use std::sync::Arc;

use kv::core::{
    env::Request,
    message::{Body, ShardBody, SlotsAnswer, SlotsRequest},
    quorum::Level,
    ring::{Change, Ring},
    types::{Key, NodeId, Value},
};

/// The key of all models.
pub const KEY: &str = "k";

/// A request of a client's plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The node that is asked.
    pub node: NodeId,
    /// What.
    pub request: Request,
}

/// Stores a value.
pub fn put(node: u32, value: &str, level: Level) -> Ask {
    let (key, value) = (Key::trusted(KEY), Some(Value::trusted(value)));
    Ask { node: NodeId(node), request: Request::Put { key, value, level } }
}

/// Deletes.
pub fn delete(node: u32, level: Level) -> Ask {
    let key = Key::trusted(KEY);
    Ask { node: NodeId(node), request: Request::Put { key, value: None, level } }
}

/// Reads.
pub fn get(node: u32, level: Level) -> Ask {
    let (key, at_least) = (Key::trusted(KEY), None);
    Ask { node: NodeId(node), request: Request::Get { key, level, at_least } }
}

/// Whether a message is one by which a slot is handed over.
pub fn hands_over(body: &Body) -> bool {
    matches!(
        body,
        Body::Shard(
            ShardBody::Delta { .. }
                | ShardBody::SlotsRequest { request: SlotsRequest::Offer { .. }, .. }
                | ShardBody::SlotsAnswer { answer: SlotsAnswer::Wanted { .. }, .. }
        )
    )
}

/// How often something may go wrong, or happen early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Messages lost.
    pub losses: u8,
    /// Messages delivered twice.
    pub doubles: u8,
    /// Nodes that crash, and start again from their journals.
    pub crashes: u8,
    /// Hedge timers that fire while messages are on their way.
    pub hedges: u8,
    /// Timeouts that fire while messages are on their way.
    pub timeouts: u8,
    /// Comparisons of digests that begin while requests are under way.
    pub syncs: u8,
    /// Proposers that try again.
    pub proposals: u8,
    /// Further rounds of pulls and offers.
    pub pulls: u8,
}

/// What decides a model.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// How many distinct states there are, as it was once counted.
    pub states: usize,
    /// What the nodes' wall clocks say. As many as there are nodes.
    pub clocks: Vec<u64>,
    /// The plans of the clients.
    pub plans: Vec<Vec<Ask>>,
    /// What may go wrong.
    pub budget: Budget,
    /// Whether, when all is quiet, each two nodes compare digests.
    pub converges: bool,
    /// Whether histories are tested for linearizability.
    pub is_register: bool,
    /// The rings that are decided, one after the other; the nodes start with the first. Empty: one ring of
    /// all nodes, for ever.
    pub rings: Vec<Arc<Ring>>,
    /// Changes of the ring that somebody asks a node for.
    pub changes: Vec<(NodeId, Change)>,
    /// Whether such a message is sent at all. All others are lost.
    pub speaks: fn(&Body) -> bool,
    /// Nodes that are dead from the beginning.
    pub dead: Vec<NodeId>,
    /// The nodes that may crash. Empty: all.
    pub frail: Vec<NodeId>,
    /// Who alone makes further rounds of pulls and offers, each when all messages of handing over have
    /// arrived. None: all nodes do, at any time.
    pub patient: Option<NodeId>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            name: "",
            about: "",
            states: 0,
            clocks: Vec::new(),
            plans: Vec::new(),
            budget: Budget::default(),
            converges: false,
            is_register: false,
            rings: Vec::new(),
            changes: Vec::new(),
            speaks: |_| true,
            dead: Vec::new(),
            frail: Vec::new(),
            patient: None,
        }
    }
}

impl Setup {
    /// R.
    pub fn replication(&self) -> usize {
        self.clocks.len().min(3)
    }
}

/// The first ring of so many members, the same as in the simulation; each key is on three of them.
pub fn ring_of(members: usize, size: u16) -> Ring {
    let addresses: Vec<String> = (1..=members).map(|node| format!("node{node}:1")).collect();
    Ring::form(&addresses, members.min(3), size).expect("few members fit")
}
