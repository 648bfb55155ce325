//! Whether a scenario makes sense: what it names exists, and its numbers are of a size that a run can
//! have.

use std::collections::BTreeSet;

use kv::{
    core::{ring::RING_SIZE, time::Micros},
    node::config::NodeConfig,
};

use super::{ClockSpec, Cluster, FaultKind, Link, Scenario};
use crate::script::Step;

/// Changes of the ring in a run at most.
const MOST_CHANGES: usize = 100;
/// The longest time of a scenario, in milliseconds: one hour.
const MAX_MS: u64 = 3_600_000;
const MAX_US: u64 = MAX_MS * 1_000;
/// Clients of a run at most.
const MOST_CLIENTS: u32 = 10_000;

impl Scenario {
    pub(super) fn check(&self) -> Result<(), String> {
        let Cluster { nodes, replication, slots, config, sync_us, clocks } = &self.cluster;
        within("cluster.nodes", *nodes, 1..=100)?;
        within("cluster.replication", *replication, 1..=100)?;
        // Each member needs a slot for a token.
        let members = nodes.saturating_add(u32::try_from(self.changes.len()).unwrap_or(u32::MAX));
        within("cluster.slots", u32::from(*slots), members.max(16)..=u32::from(RING_SIZE))?;
        check_config(config)?;
        if clocks.len() > *nodes as usize {
            return Err(format!("cluster.clocks has {} clocks for {nodes} nodes", clocks.len()));
        }
        clocks.iter().try_for_each(check_clock)?;
        check_range("cluster.sync_us", *sync_us)?;
        let links = self.network.links.iter().map(|(_, _, link)| link);
        links.chain([&self.network.usual]).try_for_each(check_link)?;
        within("heal_at_ms", self.heal_at_ms, 0..=MAX_MS)?;
        within("converge_within_ms", self.converge_within_ms, 0..=MAX_MS)?;
        for operation in &self.operations {
            within("an operation's client", operation.client, 0..=MOST_CLIENTS)?;
            within("an operation's after_us", operation.after_us, 0..=MAX_US)?;
        }
        self.check_nodes()
    }

    fn check_nodes(&self) -> Result<(), String> {
        // Each change may bring a node.
        let changes = u32::try_from(self.changes.len()).unwrap_or(u32::MAX);
        let known = |node: u32, what: &str| {
            let nodes = self.cluster.nodes.saturating_add(changes);
            match (1..=nodes).contains(&node) {
                true => Ok(()),
                false => Err(format!("{what} names node {node}; there are nodes 1 to {nodes}")),
            }
        };
        for operation in &self.operations {
            known(operation.node, "an operation")?;
        }
        let mut asked = BTreeSet::new();
        for step in &self.script {
            match step {
                Step::Ask(place) if *place >= self.operations.len() => {
                    return Err(format!("the script asks operation {place}, which there is not"));
                }
                // A value names the write that wrote it: no write can be made twice.
                Step::Ask(place) if !asked.insert(place) => {
                    return Err(format!("the script asks operation {place} twice"));
                }
                Step::Ask(_) => {}
                Step::Deliver(wire) | Step::Lose(wire) | Step::Double(wire) => {
                    known(wire.from, "the script")?;
                    known(wire.to, "the script")?;
                }
                Step::Fire(node, _) | Step::Crash(node) => known(*node, "the script")?,
            }
        }
        for fault in &self.faults {
            for node in fault.kind.nodes() {
                known(node, "a fault")?;
            }
            if fault.at_ms > MAX_MS || fault.for_ms > MAX_MS {
                return Err(format!("a fault begins after, or lasts longer than, {MAX_MS} ms"));
            }
            check_fault(&fault.kind)?;
        }
        for (from, to, _) in &self.network.links {
            known(*from, "a link")?;
            known(*to, "a link")?;
        }
        if let Some(node) = self.stale {
            known(node, "stale")?;
        }
        if self.changes.len() > MOST_CHANGES || self.changes.iter().any(|c| c.at_ms > MAX_MS) {
            return Err(format!("at most {MOST_CHANGES} changes, within {MAX_MS} ms"));
        }
        Ok(())
    }
}

/// A number out of its range is named, with the range.
fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    number: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&number) {
        true => Ok(()),
        false => {
            let (least, most) = (range.start(), range.end());
            Err(format!("{name} is {number}, and must be from {least} to {most}"))
        }
    }
}

fn check_range(name: &str, (from, to): (u64, u64)) -> Result<(), String> {
    match from <= to && to <= MAX_US {
        true => Ok(()),
        false => Err(format!("{name}: ({from}, {to}) is no range of microseconds up to {MAX_US}")),
    }
}

fn check_config(config: &NodeConfig) -> Result<(), String> {
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

fn check_clock(clock: &ClockSpec) -> Result<(), String> {
    let most = i64::try_from(MAX_US).expect("an hour");
    within("a clock's tick_us", clock.tick_us, 1..=1_000_000)?;
    within("a clock's offset_us", clock.offset_us, -most..=most)?;
    within("a clock's drift_ppm", clock.drift_ppm, -100_000..=100_000)
}

fn check_link(link: &Link) -> Result<(), String> {
    check_range("a link's latency_us", link.latency_us)?;
    check_thousandths("a link's", link.loss, link.duplicate, link.reorder)
}

fn check_thousandths(whose: &str, loss: u32, duplicate: u32, reorder: u32) -> Result<(), String> {
    for (name, number) in [("loss", loss), ("duplicate", duplicate), ("reorder", reorder)] {
        within(&format!("{whose} {name}"), number, 0..=1_000)?;
    }
    Ok(())
}

fn check_fault(kind: &FaultKind) -> Result<(), String> {
    let most = i64::try_from(MAX_US).expect("an hour");
    match kind {
        FaultKind::Flapping(_, period_ms) => {
            within("a flapping partition's period", *period_ms, 1..=MAX_MS)
        }
        FaultKind::Slow(_, by_us) => within("a slow node's delay", *by_us, 0..=MAX_US),
        FaultKind::ClockJump(_, by_us) => within("a clock's jump", *by_us, -most..=most),
        FaultKind::Storm { loss, duplicate, reorder } => {
            check_thousandths("a storm's", *loss, *duplicate, *reorder)
        }
        FaultKind::Crash(_)
        | FaultKind::Pause(_)
        | FaultKind::Stall(_)
        | FaultKind::Partition(_)
        | FaultKind::OneWay(..) => Ok(()),
    }
}
