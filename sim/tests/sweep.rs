//! A short sweep, and that a violation is reported as it should be.

use kv::quorum::Level;
use sim::{
    swarm::Fixed,
    sweep::{Sweep, sweep},
};

fn holds_and_passes_every_gate(level: Option<Level>) {
    let fixed = Fixed { level, ..Fixed::default() };
    let what = Sweep { from: 0, seeds: 400, jobs: 2, fixed, stop_at_first: false, logs: None };
    let swept = sweep(&what, |_| {}).unwrap();
    assert_eq!(swept.seeds, 400);
    assert!(swept.fallen.is_empty(), "{:?}", swept.fallen);
    assert_eq!(swept.tally.missing_gates(level), Vec::<String>::new());
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
