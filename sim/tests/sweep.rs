//! What takes long: sweeps, and the largest cluster. They are in one file because its tests share the cores, and
//! one file's run after another's.

use harness::sweep::{Sweep, sweep};
use kv::core::quorum::Level;
use sim::{
    gates::gates,
    run::run,
    swarm::{self, Fixed},
};

fn holds_and_passes_every_gate(level: Option<Level>) {
    let fixed = Fixed { level, ..Fixed::default() };
    let what = Sweep { from: 0, seeds: 400, jobs: 2, stop_at_first: false, logs: None };
    let swept = sweep(&what, |seed, _| run(&swarm::scenario(seed, &fixed), false), |_| {}).unwrap();
    assert_eq!(swept.seeds, 400);
    assert!(swept.failed.is_empty(), "{:?}", swept.failed);
    assert_eq!(swept.tally.missing(&gates(level)), Vec::<String>::new());
}

#[test]
fn four_hundred_seeds_hold_and_pass_every_gate() {
    holds_and_passes_every_gate(None);
}

#[test]
fn four_hundred_seeds_at_each_level_hold_and_pass_its_gates() {
    for level in Level::EVERY {
        holds_and_passes_every_gate(Some(level));
    }
}

#[test]
fn odd_sizes_hold_too() {
    for (nodes, replication) in [(1, 1), (2, 1), (2, 2), (7, 7), (100, 3), (100, 100)] {
        let operations = Some(if nodes == 100 { 20 } else { 60 });
        let fixed = Fixed {
            nodes: Some(nodes),
            replication: Some(replication),
            operations,
            ..Fixed::default()
        };
        for seed in 0..if nodes == 100 { 1 } else { 10 } {
            let verdict = run(&swarm::scenario(seed, &fixed), false);
            let failed = verdict.violation;
            assert!(failed.is_none(), "N = {nodes}, R = {replication}, seed {seed}: {failed:?}");
        }
    }
}
