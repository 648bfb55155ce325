//! Everything that decides a run, as a value and as a text that people read and edit (RON).

pub mod script;
pub mod sense;

use std::{collections::BTreeSet, fmt::Debug, hash::Hash};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::{
    script::ScriptStep,
    sense::{MAX_MS, MAX_US, NoSense, Sense, no_sense, range_us, thousandths, within},
};
use crate::{
    fault::Fault,
    journal::Disks,
    world::{
        clock::ClockSpec,
        network::{Link, Network},
    },
};

/// Changes of a run at most.
const MOST_CHANGES: usize = 100;
/// Clients of a run at most.
const MOST_CLIENTS: u32 = 10_000;
/// Nodes of a run at most, without those that changes bring.
const MOST_NODES: u32 = 100;

/// Everything that decides a run: of a system with this setup, whose clients do these actions, and whose
/// operators want these changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario<C, A, W> {
    /// Decides what the lists below leave open: which message is lost, how long each takes.
    pub seed: u64,
    /// The cluster: its nodes and their settings.
    pub cluster: C,
    /// The network without faults.
    pub network: Network,
    /// What operators want changed.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Wanted<W>>,
    /// A node that is kept behind until the faults are healed: the system says what it does not hear of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<u32>,
    /// What clients do. Those of one client run one after the other, in this order.
    pub operations: Vec<Operation<A>>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Where nothing is left to chance: what happens first, step by step. Clients ask only what it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<ScriptStep>,
    /// When faults end, in milliseconds. What the clients did not begin by then is left out.
    pub heal_at_ms: u64,
    /// How long after that the cluster may take to converge, in milliseconds.
    pub converge_within_ms: u64,
}

/// A cluster, as the harness sees it.
pub trait Setup: Clone + Debug + PartialEq + Serialize + DeserializeOwned {
    /// How many nodes run at first: n1, n2, …
    fn nodes(&self) -> u32;

    /// The clocks of the nodes; nodes beyond the list have true ones.
    fn clocks(&self) -> &[ClockSpec];

    /// How long a sync of a journal takes, from and to, in microseconds.
    fn sync_us(&self) -> (u64, u64);

    /// The disks of the journals that the nodes bring along. None: each node's journal is a list of entries.
    fn disks(&self) -> Option<Disks> {
        None
    }

    /// What else has to make sense, with so many changes.
    ///
    /// # Errors
    ///
    /// What makes no sense, in a sentence.
    fn check(&self, changes: usize) -> Sense {
        let _ = changes;
        Ok(())
    }

    /// The clock of a node.
    fn clock(&self, node: u32) -> ClockSpec {
        self.clocks().get(node as usize - 1).copied().unwrap_or_default()
    }

    /// The cluster in a few words: how the story of a run begins.
    fn words(&self) -> String {
        match self.nodes() {
            1 => "1 node".into(),
            nodes => format!("{nodes} nodes"),
        }
    }
}

/// A cluster that has no settings of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// How many nodes run: n1, n2, …
    pub nodes: u32,
    /// How long a sync of a journal takes, from and to, in microseconds.
    pub sync_us: (u64, u64),
    /// Each node's clock; nodes beyond the list have a true one.
    pub clocks: Vec<ClockSpec>,
}

impl Setup for Plain {
    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn clocks(&self) -> &[ClockSpec] {
        &self.clocks
    }

    fn sync_us(&self) -> (u64, u64) {
        self.sync_us
    }
}

/// A change that an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted<W> {
    /// When it is asked for first, in milliseconds.
    pub at_ms: u64,
    /// What.
    pub kind: W,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation<A> {
    /// Which client.
    pub client: u32,
    /// How long it waits after its last operation, in microseconds.
    pub after_us: u64,
    /// The node that it asks.
    pub node: u32,
    /// What it asks.
    pub action: A,
}

/// What a client asks.
pub trait Action: Clone + Debug + PartialEq + Hash + Serialize + DeserializeOwned {
    /// What it is about: operations on one key are judged together.
    fn key(&self) -> &str;

    /// A short name for tables: what is asked, and how.
    fn name(&self) -> String;
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It cannot be read: where, and why.
    #[error("line {line}, column {column}: {why}")]
    Text {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// Why.
        why: String,
    },
    /// It makes no sense.
    #[error(transparent)]
    Sense(#[from] NoSense),
}

impl<C: Setup, A: Action, W: Serialize + DeserializeOwned> Scenario<C, A, W> {
    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// Where and why the text is none, or which number makes no sense.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = ron::from_str(text).map_err(|error| ScenarioError::Text {
            line: error.span.end.line,
            column: error.span.end.col,
            why: error.code.to_string(),
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Writes a scenario so that [`Scenario::parse`] reads it.
    pub fn text(&self) -> String {
        let config = ron::ser::PrettyConfig::new().depth_limit(3);
        ron::ser::to_string_pretty(self, config).expect("a scenario is plain data")
    }

    /// Whether what it names exists, and its numbers are of a size that a run can have.
    fn check(&self) -> Sense {
        let nodes = self.cluster.nodes();
        within("cluster.nodes", nodes, 1..=MOST_NODES)?;
        self.cluster.check(self.changes.len())?;
        let clocks = self.cluster.clocks();
        if clocks.len() > nodes as usize {
            return no_sense(format!(
                "cluster.clocks has {} clocks for {nodes} nodes",
                clocks.len()
            ));
        }
        clocks.iter().try_for_each(check_clock)?;
        range_us("cluster.sync_us", self.cluster.sync_us())?;
        let links = self.network.links.iter().map(|(_, _, link)| link);
        links.chain([&self.network.usual]).try_for_each(check_link)?;
        within("heal_at_ms", self.heal_at_ms, 0..=MAX_MS)?;
        within("converge_within_ms", self.converge_within_ms, 0..=MAX_MS)?;
        for operation in &self.operations {
            within("an operation's client", operation.client, 0..=MOST_CLIENTS)?;
            within("an operation's after_us", operation.after_us, 0..=MAX_US)?;
        }
        self.check_nodes()?;
        self.check_script()
    }

    /// A node that is named exists. Each change may bring one.
    fn known(&self, node: u32, what: &str) -> Sense {
        let changes = u32::try_from(self.changes.len()).unwrap_or(u32::MAX);
        let nodes = self.cluster.nodes().saturating_add(changes);
        match (1..=nodes).contains(&node) {
            true => Ok(()),
            false => no_sense(format!("{what} names node {node}; there are nodes 1 to {nodes}")),
        }
    }

    fn check_nodes(&self) -> Sense {
        for operation in &self.operations {
            self.known(operation.node, "an operation")?;
        }
        for fault in &self.faults {
            for node in fault.kind.nodes() {
                self.known(node, "a fault")?;
            }
            if fault.at_ms > MAX_MS || fault.for_ms > MAX_MS {
                return no_sense(format!(
                    "a fault begins after, or lasts longer than, {MAX_MS} ms"
                ));
            }
            fault.kind.check()?;
        }
        for (from, to, _) in &self.network.links {
            self.known(*from, "a link")?;
            self.known(*to, "a link")?;
        }
        if let Some(node) = self.stale {
            self.known(node, "stale")?;
        }
        if self.changes.len() > MOST_CHANGES || self.changes.iter().any(|c| c.at_ms > MAX_MS) {
            return no_sense(format!("at most {MOST_CHANGES} changes, within {MAX_MS} ms"));
        }
        Ok(())
    }

    fn check_script(&self) -> Sense {
        let mut asked = BTreeSet::new();
        for step in &self.script {
            match step {
                ScriptStep::Ask(place) if *place >= self.operations.len() => {
                    return no_sense(format!(
                        "the script asks operation {place}, which there is not"
                    ));
                }
                // A value names the write that wrote it: no write can be made twice.
                ScriptStep::Ask(place) if !asked.insert(place) => {
                    return no_sense(format!("the script asks operation {place} twice"));
                }
                ScriptStep::Ask(_) => {}
                ScriptStep::Deliver(wire) | ScriptStep::Lose(wire) | ScriptStep::Double(wire) => {
                    self.known(wire.from, "the script")?;
                    self.known(wire.to, "the script")?;
                }
                ScriptStep::Fire(node, _) | ScriptStep::Crash(node) => {
                    self.known(*node, "the script")?;
                }
            }
        }
        Ok(())
    }
}

fn check_clock(clock: &ClockSpec) -> Sense {
    let most = i64::try_from(MAX_US).expect("an hour");
    within("a clock's tick_us", clock.tick_us, 1..=1_000_000)?;
    within("a clock's offset_us", clock.offset_us, -most..=most)?;
    within("a clock's drift_ppm", clock.drift_ppm, -100_000..=100_000)
}

fn check_link(link: &Link) -> Sense {
    range_us("a link's latency_us", link.latency_us)?;
    thousandths("a link's", link.loss, link.duplicate, link.reorder)
}
