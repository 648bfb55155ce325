//! A short sweep, and that a violation is reported as it should be.

use sim::{
    swarm::Fixed,
    sweep::{Sweep, sweep},
};

#[test]
fn two_hundred_seeds_hold_and_pass_every_gate() {
    let what = Sweep {
        from: 0,
        seeds: 200,
        jobs: 2,
        fixed: Fixed::default(),
        stop_at_first: false,
        logs: None,
    };
    let swept = sweep(&what, |_| {}).unwrap();
    assert_eq!(swept.seeds, 200);
    assert!(swept.fallen.is_empty(), "{:?}", swept.fallen);
    assert_eq!(swept.tally.missing_gates(None), Vec::<String>::new());
}
