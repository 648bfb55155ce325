//! Scenarios of the store: its cluster, what its clients ask, and how its ring changes.

use harness::{
    journal::Disks,
    scenario::{
        self, Setup, Wanted,
        sense::{MAX_US, Sense, within},
    },
    world::clock::ClockSpec,
};
use kv::{
    core::{quorum::Level, ring::RING_SIZE, time::Micros},
    node::config::NodeConfig,
};
use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::journal::JournalSpec;

/// Everything that decides a run of the store.
pub type Scenario = scenario::Scenario<Cluster, Action, ChangeKind>;
/// What a client does.
pub type Operation = scenario::Operation<Action>;
/// A change of the ring that somebody wants.
pub type ChangeAsked = Wanted<ChangeKind>;

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
    /// The nodes' journals, on simulated disks. None: they are lists of entries, kept perfectly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalSpec>,
}

fn usual_slots() -> u16 {
    RING_SIZE
}

impl Setup for Cluster {
    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn clocks(&self) -> &[ClockSpec] {
        &self.clocks
    }

    fn sync_us(&self) -> (u64, u64) {
        self.sync_us
    }

    fn disks(&self) -> Option<Disks> {
        self.journal.map(|spec| spec.disks())
    }

    fn words(&self) -> String {
        let nodes = if self.nodes == 1 { "node" } else { "nodes" };
        format!("{} {nodes}, R = {}", self.nodes, self.replication)
    }

    fn check(&self, changes: usize) -> Sense {
        within("cluster.replication", self.replication, 1..=100)?;
        // Each member needs a slot for a token.
        let members = self.nodes.saturating_add(u32::try_from(changes).unwrap_or(u32::MAX));
        let slots = members.max(16)..=u32::from(RING_SIZE);
        within("cluster.slots", u32::from(self.slots), slots)?;
        if let Some(journal) = &self.journal {
            journal.check()?;
        }
        check_config(&self.config)
    }
}

fn check_config(config: &NodeConfig) -> Sense {
    let named = |name: &str| format!("cluster.config.{name}");
    within(&named("shards"), config.shards, 1..=1_024)?;
    within(&named("max_in_flight"), config.max_in_flight, 1..=1_000_000)?;
    within(&named("limits.key_chars"), config.limits.key_chars, 1..=10_000)?;
    within(&named("limits.value_chars"), config.limits.value_chars, 1..=10_000)?;
    let at_least =
        |name: &str, least: u64, Micros(given): Micros| within(&named(name), given, least..=MAX_US);
    at_least("request_timeout", 1, config.request_timeout)?;
    at_least("pause_after", 10_000, config.pause_after)?;
    at_least("hedge_after", 1, config.hedge_after)?;
    at_least("probe_every", 1_000, config.probe_every)?;
    at_least("fetch_every", 1_000, config.fetch_every)?;
    at_least("pull_every", 1_000, config.pull_every)?;
    within(&named("page"), config.page, 1..=100_000)?;
    at_least("propose_every", 1_000, config.propose_every)?;
    at_least("report_every", 1_000, config.report_every)?;
    at_least("evict_after", 0, config.evict_after)?;
    at_least("max_clock_drift", 0, config.max_clock_drift)?;
    // Zero is never.
    for (name, every) in [("sync_every", config.sync_every), ("detect_every", config.detect_every)]
    {
        if every.0 > 0 {
            at_least(name, 1_000, every)?;
        }
    }
    Ok(())
}

/// What somebody wants of the ring. Members are named by their ids: those that join get the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::EnumDiscriminants)]
#[strum_discriminants(name(ChangeName), derive(VariantArray), doc = "The kinds of changes.")]
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

impl scenario::Action for Action {
    fn key(&self) -> &str {
        self.key()
    }

    fn name(&self) -> String {
        let kind = match self {
            Action::Put(..) => "put",
            Action::Delete(..) => "delete",
            Action::Get(..) => "get",
        };
        format!("{kind} {}", self.level())
    }
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
