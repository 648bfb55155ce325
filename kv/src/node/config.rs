//! What a node can be told, with its defaults.

use serde::{Deserialize, Serialize};

use crate::core::{
    detector::DetectorConfig,
    shard::ShardConfig,
    time::Micros,
    topology::TopologyConfig,
    types::{Limits, NodeId},
};

/// The settings of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeConfig {
    /// Shards: requests on different shards run in parallel.
    pub shards: u16,
    /// Decides where the stores' keys lie. Secret in production, so that nobody can make them collide.
    pub seed: u64,
    /// A request that too few owners answered fails after this long, and before twice as long.
    pub request_timeout: Micros,
    /// A node that stood still for longer than this takes no request that lies in its sockets, and coordinates
    /// nothing before a majority has told it that its ring is the newest.
    pub pause_after: Micros,
    /// Silent owners are asked again after this, until round trips were measured.
    pub hedge_after: Micros,
    /// Between two comparisons of a shard's digests with a peer's. Zero: never.
    pub sync_every: Micros,
    /// Between two looks at peers' clocks.
    pub probe_every: Micros,
    /// Between two requests for a newer ring.
    pub fetch_every: Micros,
    /// Between two rounds of pulls from a slot's old owners, and of offers to its new ones.
    pub pull_every: Micros,
    /// Records in an answer to a pull, and versions of a slot in an offer, at most.
    pub page: usize,
    /// The shortest time between two proposals of a next ring.
    pub propose_every: Micros,
    /// Between two reports that a node has done its part of a change.
    pub report_every: Micros,
    /// Between two looks at whether a peer is alive. Zero: nobody looks.
    pub detect_every: Micros,
    /// A member that seemed dead for so long is evicted, if enough others stay for all replicas. Zero:
    /// nobody is.
    pub evict_after: Micros,
    /// How far a version may be ahead of true time. Zero: clocks are not judged.
    pub max_clock_drift: Micros,
    /// Requests under way per shard; further ones fail with BUSY.
    pub max_in_flight: usize,
    /// How long keys and values may be.
    pub limits: Limits,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            shards: 8,
            seed: 0,
            request_timeout: Micros::from_millis(1_000),
            pause_after: Micros::from_millis(1_000),
            hedge_after: Micros::from_millis(20),
            sync_every: Micros::from_millis(1_000),
            probe_every: Micros::from_millis(1_000),
            fetch_every: Micros::from_millis(200),
            pull_every: Micros::from_millis(20),
            // A member answers no client while it makes a page, or takes one.
            page: 64,
            propose_every: Micros::from_millis(50),
            report_every: Micros::from_millis(500),
            detect_every: Micros::from_millis(1_000),
            evict_after: Micros::from_millis(60_000),
            max_clock_drift: Micros::from_millis(1_000),
            max_in_flight: 16_384,
            limits: Limits::default(),
        }
    }
}

impl NodeConfig {
    /// What the topology of a node with this configuration is told.
    pub fn topology(&self, node: NodeId) -> TopologyConfig {
        TopologyConfig {
            node,
            shards: self.shards.max(1),
            seed: self.seed,
            fetch_every: self.fetch_every,
            propose_every: self.propose_every,
            report_every: self.report_every,
        }
    }

    /// What the detector of a node with this configuration is told.
    pub fn detector(&self, node: NodeId) -> DetectorConfig {
        DetectorConfig {
            node,
            seed: self.seed,
            period: self.detect_every,
            evict_after: self.evict_after,
        }
    }

    /// What one of the shards of a node with this configuration is told.
    pub fn shard(&self, node: NodeId, shard: u16) -> ShardConfig {
        ShardConfig {
            node,
            shard,
            shards: self.shards.max(1),
            seed: self.seed,
            request_timeout: self.request_timeout,
            hedge_after: self.hedge_after,
            sync_every: self.sync_every,
            probe_every: self.probe_every,
            pull_every: self.pull_every,
            page: self.page.max(1),
            max_clock_drift: self.max_clock_drift,
            max_in_flight: self.max_in_flight,
        }
    }
}
