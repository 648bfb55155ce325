//! Everything that decides a run, as a value and as a text that people read and edit (RON).

mod sense;

use kv::{
    core::{quorum::Level, ring::RING_SIZE, time::Micros},
    node::config::NodeConfig,
};
use serde::{Deserialize, Serialize};

use crate::script::Step;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Decides what the lists below leave open: which message is lost, how long each takes.
    pub seed: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// The network without faults.
    pub network: Network,
    /// How the ring changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeAsked>,
    /// A node that hears of no ring until the faults are healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<u32>,
    /// What clients do. Those of one client run one after the other, in this order.
    pub operations: Vec<Operation>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Where nothing is left to chance: what happens first, step by step. Clients ask only what it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<Step>,
    /// When faults end, in milliseconds. What the clients did not begin by then is left out.
    pub heal_at_ms: u64,
    /// How long after that the cluster may take to converge, in milliseconds.
    pub converge_within_ms: u64,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many nodes run: n1, n2, …
    pub nodes: u32,
    /// R.
    pub replication: usize,
    /// The ring's slots. A smaller ring changes sooner.
    #[serde(default = "usual_slots")]
    pub slots: u16,
    /// The nodes' settings.
    pub config: NodeConfig,
    /// How long a sync of a journal takes, from and to, in microseconds.
    pub sync_us: (u64, u64),
    /// Each node's clock; nodes beyond the list have a true one.
    pub clocks: Vec<ClockSpec>,
}

fn usual_slots() -> u16 {
    RING_SIZE
}

/// A node's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockSpec {
    /// How far ahead of true time it starts, in microseconds.
    pub offset_us: i64,
    /// How much faster than true time it runs, in millionths.
    pub drift_ppm: i64,
    /// How coarse it is: it shows multiples of so many microseconds.
    pub tick_us: u64,
}

impl Default for ClockSpec {
    /// A true clock.
    fn default() -> Self {
        Self { offset_us: 0, drift_ppm: 0, tick_us: 1 }
    }
}

/// The network without faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What holds of links that are not listed.
    pub usual: Link,
    /// Links that are different: sender, receiver.
    pub links: Vec<(u32, u32, Link)>,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// How long a message takes, from and to, in microseconds.
    pub latency_us: (u64, u64),
    /// Messages lost, in thousandths.
    pub loss: u32,
    /// Messages delivered twice, in thousandths.
    pub duplicate: u32,
    /// Messages held back so long that later ones overtake them, in thousandths.
    pub reorder: u32,
}

/// A change of the ring that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeAsked {
    /// When it is asked for first, in milliseconds.
    pub at_ms: u64,
    /// What.
    pub kind: ChangeKind,
}

/// What somebody wants of the ring. Members are named by their ids: those that join get the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// Another process joins.
    Join,
    /// A member leaves.
    Leave(u32),
    /// A member dies for good, and is evicted.
    Kill(u32),
    /// A member loses its disk, and starts again as a new member of the same address.
    Replace(u32),
    /// The next process that joins dies for good while it is being filled, and is evicted.
    KillJoiner,
    /// A member is evicted though it lives.
    Accuse(u32),
    /// The change that is under way is given up.
    Cancel,
    /// A member says where clients reach it.
    Client(u32),
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Which client.
    pub client: u32,
    /// How long it waits after its last operation, in microseconds.
    pub after_us: u64,
    /// The node that it asks.
    pub node: u32,
    /// What it asks.
    pub action: Action,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Store a value. Values are unique per key, so that a read names its write.
    Put(String, String, Level),
    /// Delete.
    Delete(String, Level),
    /// Read.
    Get(String, Level),
}

impl Action {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Action::Put(key, _, _) | Action::Delete(key, _) | Action::Get(key, _) => key,
        }
    }

    /// The key, to change it.
    pub fn key_mut(&mut self) -> &mut String {
        match self {
            Action::Put(key, _, _) | Action::Delete(key, _) | Action::Get(key, _) => key,
        }
    }

    /// The level.
    pub fn level(&self) -> Level {
        match self {
            Action::Put(_, _, level) | Action::Delete(_, level) | Action::Get(_, level) => *level,
        }
    }

    /// Asks at another level.
    pub fn set_level(&mut self, to: Level) {
        match self {
            Action::Put(_, _, level) | Action::Delete(_, level) | Action::Get(_, level) => {
                *level = to;
            }
        }
    }

    /// Whether it writes.
    pub fn is_write(&self) -> bool {
        match self {
            Action::Put(..) | Action::Delete(..) => true,
            Action::Get(..) => false,
        }
    }
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins, in milliseconds.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds. All end when the run heals.
    pub for_ms: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// These nodes stop at once and start again at the end: what was not durable is lost.
    Crash(Vec<u32>),
    /// This node does nothing, and then all that it missed at once.
    Pause(u32),
    /// As a pause, and the next request of each client goes to this node: it lies in its socket.
    Stall(u32),
    /// What this node sends and receives takes so many microseconds longer.
    Slow(u32, u64),
    /// No message between these nodes and the others.
    Partition(Vec<u32>),
    /// No message from the first to the second.
    OneWay(Vec<u32>, Vec<u32>),
    /// As a partition, on and off every so many milliseconds.
    Flapping(Vec<u32>, u64),
    /// Every link loses, doubles and reorders so many more, in thousandths.
    Storm {
        /// Lost.
        loss: u32,
        /// Doubled.
        duplicate: u32,
        /// Reordered.
        reorder: u32,
    },
    /// This node's wall clock jumps by so many microseconds, and back at the end.
    ClockJump(u32, i64),
}

impl FaultKind {
    /// A short name for logs and tables.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash(_) => "crash",
            FaultKind::Pause(_) => "pause",
            FaultKind::Stall(_) => "pause with requests",
            FaultKind::Slow(..) => "slow node",
            FaultKind::Partition(_) => "partition",
            FaultKind::OneWay(..) => "one-way partition",
            FaultKind::Flapping(..) => "flapping partition",
            FaultKind::Storm { .. } => "storm",
            FaultKind::ClockJump(..) => "clock jump",
        }
    }

    /// The names of all kinds.
    pub const NAMES: [&'static str; 9] = [
        "crash",
        "pause",
        "pause with requests",
        "slow node",
        "partition",
        "one-way partition",
        "flapping partition",
        "storm",
        "clock jump",
    ];

    fn nodes(&self) -> Vec<u32> {
        match self {
            FaultKind::Crash(nodes)
            | FaultKind::Partition(nodes)
            | FaultKind::Flapping(nodes, _) => nodes.clone(),
            FaultKind::OneWay(from, to) => from.iter().chain(to).copied().collect(),
            FaultKind::Pause(node)
            | FaultKind::Stall(node)
            | FaultKind::Slow(node, _)
            | FaultKind::ClockJump(node, _) => vec![*node],
            FaultKind::Storm { .. } => Vec::new(),
        }
    }
}

/// Why a text is no scenario.
#[derive(Debug)]
pub enum ScenarioError {
    /// It cannot be read: where, and why.
    Text {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// Why.
        why: String,
    },
    /// It makes no sense.
    Sense(String),
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ScenarioError::Text { line, column, why } => {
                write!(f, "line {line}, column {column}: {why}")
            }
            ScenarioError::Sense(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// Reads a scenario.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Scenario = ron::from_str(text).map_err(|error| ScenarioError::Text {
            line: error.span.end.line,
            column: error.span.end.col,
            why: error.code.to_string(),
        })?;
        scenario.check().map_err(ScenarioError::Sense)?;
        Ok(scenario)
    }

    /// Writes a scenario so that [`Scenario::parse`] reads it.
    pub fn text(&self) -> String {
        let config = ron::ser::PrettyConfig::new().depth_limit(3);
        ron::ser::to_string_pretty(self, config).expect("a scenario is plain data")
    }

    /// How many milliseconds the load lasts.
    pub fn load(&self) -> Micros {
        Micros::from_millis(self.heal_at_ms)
    }
}
