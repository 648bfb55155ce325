//! From a seed to a scenario. Each seed switches its own subset of operations, levels, faults and
//! sizes, so that rare combinations come up as often as common ones.
//!
//! Source: Groce et al., "Swarm Testing" (2012).

mod load;

use harness::{
    fault::{Fault, FaultKind},
    random::Random,
    swarm::{crash_of_all, faults, network, pick, rot, stall, subset},
    world::{
        clock::ClockSpec,
        network::{Link, Network},
    },
};
use kv::{
    core::{quorum::Level, ring::RING_SIZE, time::Micros},
    node::config::NodeConfig,
};

use crate::{
    journal::JournalSpec,
    scenario::{ChangeAsked, ChangeKind, ChangeName, Cluster, Scenario},
};

/// What the swarm is told to keep fixed.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    /// Nodes.
    pub nodes: Option<u32>,
    /// R.
    pub replication: Option<usize>,
    /// Operations.
    pub operations: Option<usize>,
    /// The level of every operation of a client.
    pub level: Option<Level>,
}

impl Fixed {
    /// Whether the swarm is free to choose all sizes, so that it meets every gate of its levels.
    pub fn leaves_sizes(&self) -> bool {
        self.nodes.is_none() && self.replication.is_none() && self.operations.is_none()
    }
}

/// Makes the scenario of a seed.
pub fn scenario(seed: u64, fixed: &Fixed) -> Scenario {
    let mut sizes = Random::new(seed, "sizes");
    let mut cluster = cluster(seed, fixed, &mut sizes);
    // Dense seeds, where operations overlap all the time, and sparse ones, where faults outlast them.
    let load_ms = pick(&[1_500, 3_000, 6_000, 10_000], &mut sizes);
    let mut rings = Random::new(seed, "ring changes");
    let is_changed = rings.random_bool(0.6);
    // Few replicas hide little of what a change loses.
    if is_changed && fixed.replication.is_none() && rings.random_bool(0.4) {
        cluster.replication = pick(&[1, 1, 2], &mut rings);
    }
    let (mut changes, stale) = match is_changed {
        true => ring_changes(&cluster, load_ms, &mut rings),
        false => (Vec::new(), None),
    };
    let mut network = network(cluster.nodes, &mut Random::new(seed, "links"));
    // In some seeds replicas lag: much is lost, little is repaired, and reads at a quorum have to
    // make up for it.
    let lagging = sizes.random_bool(if changes.is_empty() { 0.35 } else { 0.6 });
    if lagging {
        cluster.config.sync_every = Micros::from_millis(3_000);
        cluster.config.hedge_after = Micros::from_millis(100);
        network.usual.loss = sizes.random_range(150..400);
    }
    // A cluster that cannot answer in time without faults promises nothing.
    let links = network.links.iter().map(|(_, _, link)| link).chain([&network.usual]);
    let slowest_us = links.map(|link| link.latency_us.1).max().unwrap_or(0);
    let needed_us = 4 * slowest_us + 2 * cluster.sync_us.1;
    cluster.config.request_timeout = cluster.config.request_timeout.max(Micros(needed_us));
    cluster.config.pause_after = cluster.config.request_timeout;
    let mut workload = Random::new(seed, "workload");
    // Clients ask those who join too, and faults are theirs too.
    let joins = changes.iter().filter(|change| change.kind == ChangeKind::Join).count();
    let most = cluster.nodes + u32::try_from(joins).expect("few changes");
    let mut operations = load::operations(
        &cluster,
        (most, !changes.is_empty()),
        load_ms,
        lagging,
        fixed,
        &mut workload,
    );
    let mut slots = Random::new(seed, "one slot");
    if load::gather(&mut operations, &mut slots) {
        cluster.config.page = pick(&[1, 1, 2], &mut slots);
    }
    // Who hears of no ring is asked more often than others.
    if let Some(stale) = stale {
        let asked = operations.iter_mut().filter(|_| rings.random_bool(0.25));
        asked.for_each(|operation| operation.node = stale);
    }
    match fixed.level {
        Some(level) => operations.iter_mut().for_each(|op| op.action.set_level(level)),
        None => {
            load::make_linearizable(&mut operations, &mut Random::new(seed, "linearizable keys"))
        }
    }
    let mut faults = faults(cluster.nodes, most, load_ms, &mut Random::new(seed, "faults"));
    bring_near(&mut faults, &changes, load_ms, &mut Random::new(seed, "faults and ring changes"));
    let timeout_us = cluster.config.request_timeout.0;
    let random = &mut Random::new(seed, "pause with requests");
    faults.extend(stall(cluster.nodes, load_ms, timeout_us, random));
    let random = &mut Random::new(seed, "crash of all");
    let mut all_crash: Vec<Fault> = crash_of_all(load_ms, random).into_iter().collect();
    bring_near(&mut all_crash, &changes, load_ms, random);
    faults.extend(all_crash);
    faults.extend(rot_where_it_may(&cluster, &changes, load_ms));
    // The only member of a ring has nobody to tell it the time.
    if members_at_least(&cluster, &changes, true) < 2 {
        faults.retain(|fault| !matches!(fault.kind, FaultKind::ClockJump(..)));
    }
    say_clients(&mut changes, &cluster, load_ms, &mut Random::new(seed, "client addresses"));
    let heal_at_ms = load_ms + 500;
    Scenario {
        seed,
        cluster,
        network,
        changes,
        stale,
        operations,
        faults,
        script: Vec::new(),
        heal_at_ms,
        converge_within_ms: 120_000,
    }
}

/// Where the ring changes, first members say where clients reach them, some of them at one time.
fn say_clients(
    changes: &mut Vec<ChangeAsked>,
    cluster: &Cluster,
    load_ms: u64,
    random: &mut Random,
) {
    if changes.is_empty() || !random.random_bool(0.4) {
        return;
    }
    let at_ms = random.random_range(0..load_ms);
    for node in 1..=cluster.nodes.min(3) {
        if random.random_bool(0.7) {
            changes.push(ChangeAsked { at_ms, kind: ChangeKind::Client(node) });
        }
    }
}

/// The scenario that speeds are measured on: five nodes, R = 3, four clients, default faults.
pub fn standard(seed: u64) -> Scenario {
    let fixed =
        Fixed { nodes: Some(5), replication: Some(3), operations: Some(400), ..Fixed::default() };
    let mut sizes = Random::new(seed, "sizes");
    let mut cluster = cluster(seed, &fixed, &mut sizes);
    cluster.config = NodeConfig { shards: 4, seed, ..NodeConfig::default() };
    cluster.slots = RING_SIZE;
    (cluster.clocks, cluster.journal) = (Vec::new(), None);
    let load_ms = 10_000;
    let operations = load::standard(&mut Random::new(seed, "workload"));
    let usual = Link { latency_us: (500, 5_000), loss: 10, duplicate: 10, reorder: 10 };
    let faults = faults(5, 5, load_ms, &mut Random::new(seed, "faults"));
    Scenario {
        seed,
        cluster,
        network: Network { usual, links: Vec::new() },
        changes: Vec::new(),
        stale: None,
        operations,
        faults,
        script: Vec::new(),
        heal_at_ms: load_ms,
        converge_within_ms: 60_000,
    }
}

/// Who joins, leaves, dies and is accused in a seed, if any; and a node that hears of none of it.
fn ring_changes(
    cluster: &Cluster,
    load_ms: u64,
    random: &mut Random,
) -> (Vec<ChangeAsked>, Option<u32>) {
    // All at once, or one after the other.
    let spread_ms = pick(&[1, load_ms / 4, load_ms * 3 / 4], random);
    let first_ms = random.random_range(0..load_ms / 4);
    let kinds = [
        ChangeName::Join,
        ChangeName::Join,
        ChangeName::Leave,
        ChangeName::Kill,
        ChangeName::KillJoiner,
        ChangeName::Replace,
        ChangeName::Accuse,
        ChangeName::Cancel,
    ];
    let joins_only = random.random_bool(0.3);
    let kinds = if joins_only { vec![ChangeName::Join] } else { subset(&kinds, random) };
    let mut changes: Vec<ChangeAsked> = (0..random.random_range(1..=6))
        .map(|_| {
            let node = random.random_range(1..=cluster.nodes + 1);
            let at_ms = first_ms + random.random_range(0..=spread_ms);
            let kind = match pick(&kinds, random) {
                ChangeName::Join => ChangeKind::Join,
                ChangeName::Leave => ChangeKind::Leave(node),
                ChangeName::Kill => ChangeKind::Kill(node.min(cluster.nodes)),
                ChangeName::KillJoiner => ChangeKind::KillJoiner,
                ChangeName::Replace => ChangeKind::Replace(node.min(cluster.nodes)),
                ChangeName::Accuse => ChangeKind::Accuse(node),
                ChangeName::Cancel => ChangeKind::Cancel,
                // Those are drawn by themselves.
                ChangeName::Client => ChangeKind::Client(node),
            };
            ChangeAsked { at_ms, kind }
        })
        .collect();
    // A majority of the members outlives the deaths, and of each owner set as many as a change needs, whoever
    // goes before.
    let least = members_at_least(cluster, &changes, false);
    let mut mortal = (least.saturating_sub(1) / 2).min(least.min(cluster.replication) / 2);
    changes.retain(|change| {
        let is_death = dies(change);
        let may = !is_death || mortal > 0;
        mortal -= usize::from(is_death && may);
        may
    });
    // Who dies while it joins has to join.
    let doomed = changes.iter().filter(|change| change.kind == ChangeKind::KillJoiner);
    let joins: Vec<ChangeAsked> =
        doomed.map(|doomed| ChangeAsked { kind: ChangeKind::Join, ..*doomed }).collect();
    changes.extend(joins);
    changes.sort_by_key(|change| change.at_ms);
    // A joint ring waits for all but those who only lose by it: with joins alone it passes the one by that
    // hears of nothing.
    let stale = random
        .random_bool(if joins_only { 0.8 } else { 0.4 })
        .then(|| random.random_range(1..=cluster.nodes));
    (changes, stale)
}

/// Half of the faults come while the ring changes.
fn bring_near(faults: &mut [Fault], changes: &[ChangeAsked], load_ms: u64, random: &mut Random) {
    if changes.is_empty() {
        return;
    }
    for fault in faults {
        if random.random_bool(0.5) {
            let change = pick(changes, random);
            fault.at_ms = (change.at_ms + random.random_range(0..500)).min(load_ms - 1);
        }
    }
}

/// Whether somebody dies for good.
fn dies(change: &ChangeAsked) -> bool {
    match change.kind {
        ChangeKind::Kill(_) | ChangeKind::KillJoiner | ChangeKind::Replace(_) => true,
        ChangeKind::Join
        | ChangeKind::Leave(_)
        | ChangeKind::Accuse(_)
        | ChangeKind::Cancel
        | ChangeKind::Client(_) => false,
    }
}

/// How many of the first members stay at least, whoever may go; the dead are gone, or still counted.
fn members_at_least(cluster: &Cluster, changes: &[ChangeAsked], dead_are_gone: bool) -> usize {
    let goes = |change: &&ChangeAsked| match change.kind {
        ChangeKind::Leave(_) | ChangeKind::Accuse(_) => true,
        ChangeKind::Kill(_) | ChangeKind::Replace(_) => dead_are_gone,
        ChangeKind::Join | ChangeKind::KillJoiner | ChangeKind::Cancel | ChangeKind::Client(_) => {
            false
        }
    };
    (cluster.nodes as usize).saturating_sub(changes.iter().filter(goes).count())
}

fn cluster(seed: u64, fixed: &Fixed, random: &mut Random) -> Cluster {
    let nodes = match random.random_range(0..10) {
        0 => random.random_range(1..=2),
        1 => random.random_range(6..=8),
        2..=5 => 3,
        _ => random.random_range(4..=5),
    };
    let nodes = fixed.nodes.unwrap_or(nodes);
    let members = nodes as usize;
    let replication = match random.random_range(0..10) {
        0 => 1,
        1 => members,
        2 => random.random_range(1..=members + 2),
        _ => 3,
    };
    let replication = fixed.replication.unwrap_or(replication);
    let hedge_ms = pick(&[5, 20, 100], random);
    let detect_ms = pick(&[0, 200, 1_000], random);
    let config = NodeConfig {
        shards: pick(&[1, 2, 4], random),
        seed,
        request_timeout: Micros::from_millis(pick(&[150, 300, 600], random)),
        hedge_after: Micros::from_millis(hedge_ms),
        sync_every: Micros::from_millis(pick(&[200, 1_000, 3_000], random)),
        probe_every: Micros::from_millis(pick(&[300, 1_000], random)),
        detect_every: Micros::from_millis(detect_ms),
        // Sooner, and members go before they could be heard of.
        evict_after: Micros::from_millis(pick(&[0, 5, 20], random) * detect_ms),
        pull_every: Micros::from_millis(pick(&[20, 20, 50, 100], random)),
        page: pick(&[1, 2, 256], random),
        max_in_flight: if random.random_bool(0.1) { 1 } else { 1_024 },
        ..NodeConfig::default()
    };
    let sync_us = pick(&[(50, 500), (50, 500), (1_000, 20_000), (20_000, 200_000)], random);
    // All clocks within an eighth of the bound; jumps beyond it are faults of one node.
    let eighth = i64::try_from(config.max_clock_drift.0 / 8).expect("small");
    let spread = if random.random_bool(0.5) { eighth * 3 / 4 } else { 0 };
    let tick_us = pick(&[1, 1_000, 10_000], random);
    let clocks = (0..nodes)
        .map(|_| ClockSpec {
            offset_us: random.random_range(-spread..=spread),
            drift_ppm: random.random_range(-200..=200),
            tick_us,
        })
        .collect();
    let slots = pick(&[32, 256, 4_096, RING_SIZE, RING_SIZE], random);
    let slots = if nodes > 16 { slots.max(256) } else { slots };
    let journal = journal(nodes, &mut Random::new(seed, "journals"));
    Cluster { nodes, replication, slots, config, sync_us, clocks, journal }
}

/// In some seeds the journal of one member is damaged: where no other disk is lost, and each key is on others too.
fn rot_where_it_may(cluster: &Cluster, changes: &[ChangeAsked], load_ms: u64) -> Option<Fault> {
    let may_rot = cluster.journal.is_some()
        && cluster.replication >= 2
        && members_at_least(cluster, changes, true) >= 3
        && !changes.iter().any(dies);
    let random = &mut Random::new(cluster.config.seed, "rot");
    may_rot.then(|| rot(cluster.nodes, load_ms, random)).flatten()
}

/// In most seeds nodes keep their journals on disks, in segments that are soon full.
fn journal(nodes: u32, random: &mut Random) -> Option<JournalSpec> {
    if !random.random_bool(0.8) {
        return None;
    }
    let segment_pages = pick(&[3, 4, 6, 12], random);
    Some(JournalSpec {
        // The ring of many nodes fills several pages, and should not fill most of a journal.
        segment_pages: if nodes > 16 { 24 } else { segment_pages },
        sector_bytes: pick(&[512, 4_096, 4_096], random),
        sync_fails: pick(&[0, 0, 1, 3], random),
        cut_starts: pick(&[0, 1, 3], random),
    })
}
