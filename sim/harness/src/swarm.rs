//! From a seed to faults, networks and small scenarios. Each seed switches its own subset, so that rare combinations come up as
//! often as common ones.
//!
//! Source: Groce et al., "Swarm Testing" (2012).

use strum::VariantArray as _;

use crate::{
    fault::{Fault, FaultKind, FaultName},
    random::Random,
    scenario::{Operation, Plain, Scenario},
    world::network::{Link, Network},
};

/// One of a list that is not empty.
pub fn pick<T: Clone>(from: &[T], random: &mut Random) -> T {
    from[random.random_range(0..from.len())].clone()
}

/// A part of a list that is not empty.
pub fn subset<T: Clone>(of: &[T], random: &mut Random) -> Vec<T> {
    let chosen: Vec<T> = of.iter().filter(|_| random.random_bool(0.5)).cloned().collect();
    if chosen.is_empty() { vec![pick(of, random)] } else { chosen }
}

fn link(random: &mut Random) -> Link {
    let latencies = [(50, 200), (500, 5_000), (1_000, 20_000), (100, 60_000), (100, 100_000)];
    let latency_us = pick(&latencies, random);
    let most_lost = pick(&[100, 400], random);
    let mut per_mille = |most: u32| match random.random_bool(0.5) {
        true => random.random_range(0..most),
        false => 0,
    };
    Link {
        latency_us,
        loss: per_mille(most_lost),
        duplicate: per_mille(100),
        reorder: per_mille(200),
    }
}

/// A network of so many nodes: in some seeds some of its links are different.
pub fn network(nodes: u32, random: &mut Random) -> Network {
    let usual = link(random);
    let mut links = Vec::new();
    if random.random_bool(0.3) {
        for from in 1..=nodes {
            for to in (1..=nodes).filter(|to| *to != from) {
                if random.random_bool(0.2) {
                    links.push((from, to, link(random)));
                }
            }
        }
    }
    Network { usual, links }
}

/// Which faults a seed has, and how they come, within a load of so many milliseconds. Of `first` nodes one may
/// have a wrong clock; faults may hit any of `nodes`, those that come later too.
pub fn faults(first: u32, nodes: u32, load_ms: u64, random: &mut Random) -> Vec<Fault> {
    if random.random_bool(0.1) {
        return Vec::new();
    }
    let kinds = FaultName::VARIANTS.iter().copied().filter(|name| {
        // Some are drawn by themselves, and a node alone has nobody to tell it the time.
        !matches!(name, FaultName::Stall | FaultName::CrashAll | FaultName::Rot)
            && (nodes > 1 || *name != FaultName::ClockJump)
    });
    let names = subset(&kinds.collect::<Vec<_>>(), random);
    // One clock of a cluster may be wrong by any amount.
    let wrong_clock = random.random_range(1..=first);
    let count = random.random_range(1..=6);
    (0..count)
        .map(|_| {
            let kind = fault(pick(&names, random), nodes, wrong_clock, random);
            let at_ms = random.random_range(0..load_ms);
            Fault { at_ms, for_ms: random.random_range(50..=load_ms / 2), kind }
        })
        .collect()
}

fn fault(name: FaultName, nodes: u32, wrong_clock: u32, random: &mut Random) -> FaultKind {
    let node = random.random_range(1..=nodes);
    let mut side = |share: f64| -> Vec<u32> {
        let chosen: Vec<u32> = (1..=nodes).filter(|_| random.random_bool(share)).collect();
        if chosen.is_empty() { vec![node] } else { chosen }
    };
    match name {
        FaultName::Crash => FaultKind::Crash(side(0.25)),
        FaultName::CrashAll => FaultKind::CrashAll,
        FaultName::Rot => FaultKind::Rot(node),
        FaultName::Pause => FaultKind::Pause(node),
        FaultName::Stall => FaultKind::Stall(node),
        FaultName::Slow => FaultKind::Slow(node, random.random_range(1_000..200_000)),
        FaultName::Partition => FaultKind::Partition(side(0.4)),
        FaultName::OneWay => FaultKind::OneWay(side(0.4), side(0.4)),
        FaultName::Flapping => {
            let side = side(0.4);
            FaultKind::Flapping(side, random.random_range(20..500))
        }
        FaultName::ClockJump => FaultKind::ClockJump(
            // With one node nobody tells it the time.
            wrong_clock,
            if nodes == 1 {
                0
            } else {
                pick(&[-1, 1], random) * random.random_range(1..100_000_000)
            },
        ),
        FaultName::Storm => FaultKind::Storm {
            loss: random.random_range(0..300),
            duplicate: random.random_range(0..300),
            reorder: random.random_range(0..300),
        },
    }
}

/// A seed's scenario of a system without settings or operators: so many nodes and clients, these actions, and every
/// kind of fault but for wrong clocks.
pub fn scenario<A: Clone, W>(
    seed: u64,
    nodes: u32,
    clients: u32,
    actions: &[A],
) -> Scenario<Plain, A, W> {
    let load_ms = 2_000;
    let mut random = Random::new(seed, "operations");
    let operations = (0..100).map(|_| Operation {
        client: random.random_range(0..clients),
        after_us: random.random_range(0..100_000),
        node: random.random_range(1..=nodes),
        action: pick(actions, &mut random),
    });
    let mut faults = faults(1, nodes, load_ms, &mut Random::new(seed, "faults"));
    faults.retain(|fault| !matches!(fault.kind, FaultKind::ClockJump(..)));
    faults.extend(crash_of_all(load_ms, &mut Random::new(seed, "crash of all")));
    Scenario {
        seed,
        cluster: Plain { nodes, sync_us: (100, 10_000), clocks: Vec::new() },
        operations: operations.collect(),
        network: network(nodes, &mut Random::new(seed, "links")),
        changes: Vec::new(),
        stale: None,
        faults,
        script: Vec::new(),
        heal_at_ms: load_ms,
        converge_within_ms: 10_000,
    }
}

/// In some seeds, a node stands still with a request of each client in its socket, mostly for so long that they
/// give up and go on with others.
pub fn stall(nodes: u32, load_ms: u64, timeout_us: u64, random: &mut Random) -> Option<Fault> {
    if !random.random_bool(0.35) {
        return None;
    }
    let kind = FaultKind::Stall(random.random_range(1..=nodes));
    let at_ms = random.random_range(0..load_ms);
    let timeouts = random.random_range(1..=10);
    let for_ms = timeouts * timeout_us / 1_000;
    Some(Fault { at_ms, for_ms, kind })
}

/// In some seeds all nodes crash at once, somewhere in a load of so many milliseconds.
pub fn crash_of_all(load_ms: u64, random: &mut Random) -> Option<Fault> {
    if !random.random_bool(0.25) {
        return None;
    }
    let at_ms = random.random_range(0..load_ms);
    let for_ms = random.random_range(20..=load_ms / 4);
    Some(Fault { at_ms, for_ms, kind: FaultKind::CrashAll })
}

/// In some seeds the disk of one of these nodes is damaged: the system says whether it can be.
pub fn rot(nodes: u32, load_ms: u64, random: &mut Random) -> Option<Fault> {
    if !random.random_bool(0.4) {
        return None;
    }
    let kind = FaultKind::Rot(random.random_range(1..=nodes));
    let at_ms = random.random_range(0..load_ms);
    let for_ms = random.random_range(20..=load_ms / 4);
    Some(Fault { at_ms, for_ms, kind })
}
