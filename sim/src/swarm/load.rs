//! What clients do in a seed: how many they are, the keys, levels and kinds of their operations, and when.

use std::collections::BTreeSet;

use harness::{
    random::Random,
    swarm::{pick, subset},
};
use kv::core::{quorum::Level, types::Limits};

use super::Fixed;
use crate::scenario::{Action, Cluster, Operation};

/// Of some keys in each seed, and of nearly all in some.
const TAG: &str = "{tag}";
/// Keys of seeds that have many.
const MANY_KEYS: [&str; 24] = [
    "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "l0", "l1", "l2", "l3", "l4", "l5",
    "l6", "l7", "l8", "l9", "m0", "m1", "m2", "m3",
];

/// What the clients do. Of those that clients can ask there are `most` in the end.
pub(super) fn operations(
    cluster: &Cluster,
    (most, is_changed): (u32, bool),
    load_ms: u64,
    lagging: bool,
    fixed: &Fixed,
    random: &mut Random,
) -> Vec<Operation> {
    let long = "fifty characters, the most that a key may have: 50";
    let keys = ["", "a", "{tag}x", "{tag}y", "b", long, "c", "d", "e"];
    let count = pick(&[1, 1, 2, 4, 8], random);
    let mut keys: Vec<&str> = (0..count).map(|_| pick(&keys, random)).collect();
    // A ring changes under each of its keys once: with many keys it changes under many.
    if is_changed && random.random_bool(0.6) {
        keys.extend(MANY_KEYS);
    }
    let mut levels = subset(&Level::EVERY, random);
    if random.random_bool(0.7) {
        levels.push(Level::Quorum);
    }
    let mut kinds =
        (random.random_range(1..6), random.random_range(0..2), random.random_range(1..12));
    if lagging {
        levels = vec![Level::One, Level::Quorum, Level::Quorum];
        if is_changed && random.random_bool(0.5) {
            levels = vec![Level::Quorum];
        }
        let gets = if is_changed { pick(&[1, 3, 12], random) } else { random.random_range(4..16) };
        kinds = (2, random.random_range(0..2), gets);
    }
    let clients = random.random_range(if lagging { 6 } else { 1 }..=12);
    let least = if lagging { 500 } else { 50 };
    let operations = fixed.operations.unwrap_or(random.random_range(least..1_000));
    // So that the clients are busy for about as long as the load lasts.
    let mean_us = load_ms * 1_000 * u64::from(clients) / operations.max(1) as u64;
    let bursts = random.random_bool(0.5);
    // A client that stays with one node, and one that goes round, see different things.
    let stays = random.random_bool(0.3);
    let mut emptied = Vec::new();
    (0..operations)
        .map(|number| {
            let client = random.random_range(0..clients);
            let pause = random.random_range(0..=2 * mean_us);
            let after_us = if bursts && random.random_bool(0.7) { pause / 50 } else { pause };
            let node = random.random_range(1..=most);
            let node = if stays { client % cluster.nodes + 1 } else { node };
            let mut action = action(number, &keys, &levels, kinds, random);
            // The empty value at most once per key: values name their writes.
            if let Action::Put(key, value, _) = &mut action
                && random.random_bool(0.05)
                && !emptied.contains(key)
            {
                emptied.push(key.clone());
                value.clear();
            }
            Operation { client, after_us, node, action }
        })
        .collect()
}

/// What the four clients do of the scenario that speeds are measured on.
pub(super) fn standard(random: &mut Random) -> Vec<Operation> {
    let keys = ["a", "b", "c", "d"];
    (0..400)
        .map(|number| Operation {
            client: number % 4,
            after_us: random.random_range(0..200_000),
            node: random.random_range(1..=5),
            action: action(number as usize, &keys, &Level::EVERY, (3, 1, 4), random),
        })
        .collect()
}

/// In some seeds, gives some keys to LINEARIZABLE: written at that level only, and mostly read at it.
pub(super) fn make_linearizable(operations: &mut [Operation], random: &mut Random) {
    if !random.random_bool(0.5) {
        return;
    }
    let used: BTreeSet<&str> = operations.iter().map(|op| op.action.key()).collect();
    let used: Vec<String> = used.into_iter().map(str::to_string).collect();
    let keys = subset(&used, random);
    for operation in operations {
        let is_chosen = keys.iter().any(|key| key == operation.action.key());
        if is_chosen && (operation.action.is_write() || random.random_bool(0.8)) {
            operation.action.set_level(Level::Linearizable);
        }
    }
}

fn action(
    number: usize,
    keys: &[&str],
    levels: &[Level],
    (puts, deletes, gets): (u32, u32, u32),
    random: &mut Random,
) -> Action {
    let key = pick(keys, random).to_string();
    let level = pick(levels, random);
    let dice = random.random_range(0..puts + deletes + gets);
    if dice < puts {
        Action::Put(key, format!("v{number}"), level)
    } else if dice < puts + deletes {
        Action::Delete(key, level)
    } else {
        Action::Get(key, level)
    }
}

/// In some seeds, gives all keys one hash tag, so that one slot has them, and is sent in pages. Whether it did.
pub(super) fn gather(operations: &mut [Operation], random: &mut Random) -> bool {
    let is_gathered = random.random_bool(0.15);
    if is_gathered {
        let most = Limits::default().key_chars;
        for operation in operations {
            let key = operation.action.key_mut();
            if !key.is_empty() && !key.starts_with(TAG) && TAG.len() + key.len() <= most {
                key.insert_str(0, TAG);
            }
        }
    }
    is_gathered
}
